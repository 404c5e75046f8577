"""Writes halo2-operators.md and halo2-models.md: what EZKL proves right, found by running it.

    python docs/reference/write_halo2.py operators [NAME ...]
    python docs/reference/write_halo2.py models

Operators: every test case of the ONNX standard for one operator with real inputs, of at most
MAX_VALUES numbers, goes through calibration, as `zkai setup` does it: EZKL takes it or not, and its
outputs on held-out samples, which satisfy the constraints, are the reference's or not. What is no
real tensor, and every real input after the first, is stored in the model where the case does not
pass otherwise. Takes about a quarter of an hour.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.halo2.process import Limits
from zkai.halo2.proof import prove, verify
from zkai.halo2.settings import Halo2Config
from zkai.halo2.setup import calibration_of, setup
from zkai.halo2.statement import Halo2Inference
from zkai.model.onnx_file import load_onnx

HERE = Path(__file__).resolve().parent
CONFIG = Halo2Config(scale=10, decomposition=(256, 5), max_k=17)
LIMITS = Limits(memory_bytes=6 << 30, seconds=60.0)
MAX_VALUES, CASES = 6000, 4
OPSETS = (17, 18, 13, 19, 20, 21, 22, 23)


@dataclass(frozen=True)
class Found:
    """What came of one test case."""

    case: str
    state: str
    error: float | None = None
    reason: str = ""


def cases(only: list[str]) -> dict[str, list[Any]]:
    """Return the standard's test cases of single operators, the smallest first."""
    from onnx.backend.test.case.node import collect_testcases

    found = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        collected = collect_testcases(None)
    for case in collected:
        nodes = case.model.graph.node
        if len(nodes) != 1 or nodes[0].domain or (only and nodes[0].op_type not in only):
            continue
        inputs, outputs = case.data_sets[0]
        arrays = [*inputs, *outputs]
        if not all(isinstance(a, np.ndarray) for a in arrays):
            continue
        size = sum(a.size for a in arrays)
        if size <= MAX_VALUES and any(a.dtype == np.float32 and a.size for a in inputs):
            found[nodes[0].op_type].append((size, case.name, case.model, inputs))
    return {name: sorted(items, key=lambda item: item[0])[:CASES] for name, items in found.items()}


def model_of(model: Any, inputs: Any, kept: int) -> tuple[bytes, dict[str, Any]] | None:
    """Return a case as a file with `kept` real inputs and the others stored, and what it is fed."""
    given, stored, feeds = [], [], {}
    for value, array in zip(model.graph.input, inputs, strict=True):
        if array.dtype == np.float32 and len(feeds) < kept:
            feeds[value.name] = array
            given.append(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, array.shape))
        else:
            stored.append(numpy_helper.from_array(array, value.name))
    graph = helper.make_graph(
        list(model.graph.node), "case", given, list(model.graph.output)[:1], stored
    )
    for opset in OPSETS:
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        made.ir_version = 8
        if _known(made):
            return made.SerializeToString(), feeds
    return None


def _known(model: onnx.ModelProto) -> bool:
    """Return whether a model's opset has the operator in this form."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception:  # noqa: BLE001 - the checker and shape inference raise many types
        return False
    return True


def run_case(name: str, model: Any, inputs: Any) -> Found:
    """Run one case, with all real inputs open first, then with one."""
    real = sum(array.dtype == np.float32 for array in inputs)
    last = Found(name, "no file of opset 13 to 23")
    for kept in sorted({real, 1}, reverse=True):
        if (made := model_of(model, inputs, kept)) is None:
            continue
        data, feeds = made
        factors = (1.0, 0.875, 0.9375, 1.0)
        samples = {n: np.stack([a * f for f in factors]) for n, a in feeds.items()}
        try:
            statement = Halo2Inference(load_onnx(data), samples, {}, CONFIG)
            (report,) = calibration_of(statement, limits=LIMITS).report["outputs"].values()
            return Found(name, "right", report["max_abs_error"])
        except (InvalidInput, VerificationError, ToolError) as error:
            reason = str(error)
            state = "other numbers" if "most held-out samples" in reason else "refused"
            last = Found(name, state, None, reason)
    return last


def operators(only: list[str]) -> None:
    """Write halo2-operators.md."""
    rows = []
    for operator, items in sorted(cases(only).items()):
        start = time.monotonic()
        found = [run_case(name, model, inputs) for _, name, model, inputs in items]
        found = [one for one in found if not one.state.startswith("no file")]
        print(operator, [(f.case, f.state, f.error, f.reason[:160]) for f in found],
              f"{time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)  # fmt: skip
        if found:
            rows.append((operator, found))
    write(HERE / "halo2-operators.md", _OPERATORS, [_operator_row(*row) for row in rows], only)


def _operator_row(operator: str, found: list[Found]) -> str:
    right = [one for one in found if one.state == "right"]
    wrong = [one.case for one in found if one.state == "other numbers"]
    refused = [one.case for one in found if one.state == "refused"]
    errors = [one.error for one in right if one.error is not None]
    names = ", ".join([*(f"{n} (other numbers)" for n in wrong), *refused]) or "-"
    error = f"{max(errors):.1g}" if errors else "-"
    return f"| {operator} | {len(right)} of {len(found)} | {error} | {names} |"


_OPERATORS = (
    "# Operators that EZKL proves right\n"
    "\n"
    "Written by `python docs/reference/write_halo2.py operators`, with EZKL 23.0.5: the ONNX "
    "standard's own test cases of single operators, up to four of each, run as a statement of"
    " format `halo2` with 10 fraction bits and at most 2^17 rows. A case passes if EZKL takes"
    " it, its constraints hold, and its outputs are those of onnx's reference on most "
    'held-out samples. "Other numbers" means that EZKL takes the operator and computes '
    "something else; `zkai setup` refuses such a model at calibration. A case that does not "
    "pass need not matter: exporters at opset 17 write many of these operators in others.\n"
    "\n"
    "| operator | cases that pass | largest error | cases that do not |\n"
    "|---|---|---|---|\n"
)


def models(_: list[str]) -> None:
    """Write halo2-models.md."""
    sys.path.insert(0, str(HERE.parent.parent))
    from tests.unit.halo2_zoo import MODELS, example

    rows = []
    for name in MODELS:
        given = example(name)
        inputs = [v.name for v in onnx.load_model_from_string(given.onnx).graph.input]
        plain = load_onnx(given.onnx, dict.fromkeys(inputs, given.samples.shape[1:]))
        statement = Halo2Inference(plain, given.samples, {"input": "public"}, given.config)
        found = calibration_of(statement)
        (report,) = found.report["outputs"].values()
        with tempfile.TemporaryDirectory() as folder:
            keys = setup(statement, Path(folder))
            proof = prove(statement, keys.proving, {"input": given.samples[0]})
            verify(proof, keys.verifying)
            size = keys.proving.path.stat().st_size / 1e6
        agreed = f"{report['argmax_agreement']:.0%}" if given.classifies else "-"
        rows.append(
            f"| {name} | {given.config.scale} | {found.settings.rows:,} in 2^{found.settings.k} |"
            f" {agreed} | {report['max_abs_error']:.2g} | {len(proof.proof):,} | {size:.1f} |"
        )
        print(rows[-1], file=sys.stderr, flush=True)
    write(HERE / "halo2-models.md", _MODELS, rows, [])


_MODELS = (
    "# Models that were proven\n"
    "\n"
    "Written by `python docs/reference/write_halo2.py models`, with EZKL 23.0.5: models of "
    "scikit-learn (by skl2onnx) and torch, trained on scikit-learn's own data, exported, "
    "calibrated, proven and verified. Agreement and error are against float, on samples that "
    "calibration did not see.\n"
    "\n"
    "| model | fraction bits | rows | same class | largest error | proof bytes | proving key "
    "MB |\n"
    "|---|---|---|---|---|---|---|\n"
)


def write(path: Path, head: str, rows: list[str], only: list[str]) -> None:
    """Write a page, or print its rows if only some operators were asked for."""
    if only:
        print("\n".join(rows))
    else:
        path.write_text(head + "\n".join(rows) + "\n")


if __name__ == "__main__":
    {"operators": operators, "models": models}[sys.argv[1]](sys.argv[2:])
