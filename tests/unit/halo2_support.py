"""What tests of the Halo2 backend share: EZKL or a reason to skip, and the smallest keys."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from tests.services import require_service
from zkai.halo2.keys import Halo2Keys
from zkai.halo2.proof import Halo2Proof, prove
from zkai.halo2.settings import Halo2Config
from zkai.halo2.setup import setup
from zkai.halo2.statement import Halo2Inference

SMALL = Halo2Config(scale=7, decomposition=(64, 3))
"""Small numbers and no search: keys in well under a second."""


def require_ezkl() -> None:
    """Skip the test without EZKL; with ZKAI_REQUIRE_SERVICES=1 fail it."""
    spec = importlib.util.find_spec("ezkl")
    require_service("EZKL (pip install 'zkai[ezkl]')", None if spec is None else spec.origin)


def scratch() -> Path:
    """Return a folder that goes when the tests end."""
    folder = Path(tempfile.mkdtemp(prefix="zkai-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def mlp(seed: int = 0, sizes: tuple[int, ...] = (4, 3, 2)) -> bytes:
    """Return an ONNX file of a small network, (1, sizes[0]) to (1, sizes[-1])."""
    rng = np.random.default_rng(seed)
    nodes, weights, last = [], [], "input"
    for layer, (n, m) in enumerate(pairwise(sizes)):
        for name, shape in ((f"w{layer}", (n, m)), (f"b{layer}", (m,))):
            array = rng.normal(size=shape).astype(np.float32)
            weights.append(numpy_helper.from_array(array, name))
        final = layer == len(sizes) - 2
        target = "output" if final else f"sum{layer}"
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [target]))
        if not final:
            last = f"relu{layer}"
            nodes.append(helper.make_node("Relu", [target], [last]))
    return onnx_bytes(nodes, weights, {"input": (1, sizes[0])}, {"output": (1, sizes[-1])})


def onnx_bytes(nodes: Any, weights: Any, inputs: Any, outputs: Any, opset: int = 13) -> bytes:
    """Return an ONNX file of float inputs and outputs."""
    kinds = [
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in part.items()]
        for part in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "g", *kinds, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    data: bytes = model.SerializeToString()
    return data


def points(count: int = 8, width: int = 4, seed: int = 1) -> npt.NDArray[np.float64]:
    """Return inputs for `mlp`, (count, 1, width), each a multiple of 2^-7."""
    rng = np.random.default_rng(seed)
    return np.round(rng.uniform(-1, 1, size=(count, 1, width)) * 128) / 128


def statement(seed: int = 0, **visibility: str) -> Halo2Inference:
    """Return a small network's statement; the input is public if nothing else is said."""
    return Halo2Inference(mlp(seed), points(), {"input": "public", **visibility}, SMALL)


def keys(seed: int = 0, **visibility: str) -> Halo2Keys:
    """Return the statement's keys, made once."""
    require_ezkl()
    return _keys(seed, tuple(sorted(visibility.items())))


def proof(seed: int = 0, **visibility: str) -> Halo2Proof:
    """Return a proof for the first of `points`, made once."""
    require_ezkl()
    return _proof(seed, tuple(sorted(visibility.items())))


@functools.cache
def _keys(seed: int, visibility: tuple[tuple[str, str], ...]) -> Halo2Keys:
    return setup(statement(seed, **dict(visibility)), scratch())


@functools.cache
def _proof(seed: int, visibility: tuple[tuple[str, str], ...]) -> Halo2Proof:
    made = _keys(seed, visibility)
    return prove(statement(seed, **dict(visibility)), made.proving, {"input": points()[0]})
