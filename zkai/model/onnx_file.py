"""ONNX files taken as they are: what EZKL proves, of any operators, and onnx's reference runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from zkai.encoding import as_path, read_capped, sha256
from zkai.errors import InvalidInput
from zkai.model.export import MAX_FILE_BYTES, MAX_NODES, load, parse_onnx, static_shape
from zkai.model.graph import Graph, Shape
from zkai.model.plain_onnx import plain

Feeds = Mapping[str, npt.NDArray[Any]]

_REALS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)


@dataclass(frozen=True)
class OnnxModel:
    """An ONNX file with static shapes: its bytes, inputs and outputs in the file's order."""

    data: bytes = field(repr=False)
    inputs: Mapping[str, Shape]
    outputs: tuple[str, ...]
    operators: tuple[str, ...]

    @cached_property
    def _proto(self) -> onnx.ModelProto:
        return onnx.load_model_from_string(self.data)

    def run(self, feeds: Feeds) -> dict[str, npt.NDArray[Any]]:
        """Return the outputs for one input, by onnx's own reference implementation.

        Raises InvalidInput if that cannot run the graph.
        """
        from onnx.reference import ReferenceEvaluator

        kinds = {value.name: value.type.tensor_type.elem_type for value in self._proto.graph.input}
        given = {
            name: np.asarray(feeds[name]).astype(onnx.helper.tensor_dtype_to_np_dtype(kinds[name]))
            for name in self.inputs
        }
        try:
            found = ReferenceEvaluator(self._proto).run(list(self.outputs), given)
        except Exception as error:
            raise InvalidInput(f"model: onnx's reference cannot run it ({error})") from error
        return dict(zip(self.outputs, map(np.asarray, found), strict=True))

    @cached_property
    def output_shapes(self) -> Mapping[str, Shape]:
        """The outputs' shapes, from one run on zeros."""
        zeros = {name: np.zeros(shape) for name, shape in self.inputs.items()}
        return MappingProxyType({n: tuple(v.shape) for n, v in self.run(zeros).items()})

    def digest(self, *, weights: bool) -> bytes:
        """Return the SHA-256 of the model, or of its structure without the values of weights."""
        model = onnx.ModelProto()
        model.CopyFrom(self._proto)
        if not weights:
            for tensor in model.graph.initializer:
                if tensor.data_type in _REALS:
                    blank = np.zeros(tuple(tensor.dims), numpy_helper.to_array(tensor).dtype)
                    tensor.CopyFrom(numpy_helper.from_array(blank, tensor.name))
        return sha256(model.SerializeToString(deterministic=True))


GROTH16, HALO2 = "groth16", "halo2"
"""The backends: our own circuits, and EZKL."""


def check_backend(backend: str) -> None:
    """Return None for the name of a backend. Raises InvalidInput otherwise."""
    if backend not in (GROTH16, HALO2):
        raise InvalidInput(f"backend: expected {GROTH16!r} or {HALO2!r}, got {backend!r}")


@overload
def load_model(
    source: str | Path | bytes,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    backend: Literal["groth16"] = "groth16",
) -> Graph: ...


@overload
def load_model(
    source: str | Path | bytes,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    backend: Literal["halo2"],
) -> OnnxModel: ...


def load_model(
    source: str | Path | bytes,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    backend: str = GROTH16,
) -> Graph | OnnxModel:
    """Return an ONNX file for a backend: a graph of our own operators, or the file as it is.

    Raises InvalidInput as `zkai.model.export.load` or `load_onnx` does.
    """
    check_backend(backend)
    return load_onnx(source, input_shapes) if backend == HALO2 else load(source, input_shapes)


def load_onnx(
    source: str | Path | bytes,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    only: Sequence[int] | None = None,
) -> OnnxModel:
    """Return an ONNX file (path or bytes) as it is; any operator is taken.

    `input_shapes` gives the shape of inputs that the file leaves dynamic, `only` that of a single
    input; neither says anything about a shape that the file fixes.

    Raises InvalidInput for a file that is missing, too large, malformed, keeps tensors in other
    files, or leaves a shape open.
    """
    where, data = "model", source
    if not isinstance(data, bytes):
        where = str(as_path(source, "model"))
        data = read_capped(where, MAX_FILE_BYTES)
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInput(f"{where}: larger than the {MAX_FILE_BYTES} bytes a model may have")
    source = parse_onnx(where, data)
    for part in _graphs(source.graph):
        _check_graph(where, part)
    model = plain(source, where)
    graph = model.graph
    if len(graph.node) > MAX_NODES:
        raise InvalidInput(f"{where}: more than {MAX_NODES} nodes")
    constants = {tensor.name for tensor in graph.initializer}
    given = [value for value in graph.input if value.name not in constants]
    shapes = dict(input_shapes or {})
    if only is not None and len(given) == 1:
        shapes[given[0].name] = only
    inputs = {}
    for value in given:
        wanted = shapes.get(value.name) if _leaves_open(value) else None
        shape = static_shape(where, value, wanted)
        inputs[value.name] = shape
        sizes = value.type.tensor_type.shape
        sizes.ClearField("dim")
        for size in shape:
            sizes.dim.add().dim_value = size
    outputs = tuple(value.name for value in graph.output)
    if not inputs or not outputs or len(set(outputs)) < len(outputs):
        raise InvalidInput(f"{where}: needs at least one input, and outputs of different names")
    operators = tuple(
        node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        for node in graph.node
    )
    fixed = model.SerializeToString(deterministic=True)
    return OnnxModel(fixed, MappingProxyType(inputs), outputs, operators)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Give a graph and the graphs in its nodes' attributes."""
    yield graph
    for attribute in (a for node in graph.node for a in node.attribute):
        for inner in (attribute.g, *attribute.graphs):
            yield from _graphs(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """Give the tensors that a graph itself holds, in its nodes' attributes too."""
    sparse = list(graph.sparse_initializer)
    yield from graph.initializer
    for attribute in (a for node in graph.node for a in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)


def _check_graph(where: str, graph: onnx.GraphProto) -> None:
    """Return None for a graph that is whole and ends. Raises InvalidInput otherwise."""
    if any(node.op_type == "Loop" for node in graph.node):
        raise InvalidInput(f"{where}: the operator Loop: EZKL cannot prove it")
    for tensor in _tensors(graph):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise InvalidInput(
                f"{where}: the weight {tensor.name!r} is kept in another file; store all weights in"
                " the model"
            )


def _leaves_open(value: onnx.ValueInfoProto) -> bool:
    """Return whether a file says less than the whole shape of an input."""
    kind = value.type.tensor_type
    return not kind.HasField("shape") or not all(d.HasField("dim_value") for d in kind.shape.dim)


def sample_arrays(
    samples: Any, inputs: Mapping[str, Shape], where: str = "calibration"
) -> dict[str, npt.NDArray[np.float64]]:
    """Return samples as arrays of (n, *shape), one for each input.

    Raises InvalidInput, naming the input, for other names, shapes, or values that are not finite.
    """
    given = samples if isinstance(samples, Mapping) else {next(iter(inputs)): samples}
    if set(given) != set(inputs):
        raise InvalidInput(f"{where}: expected samples of {', '.join(inputs)}")
    found = {}
    for name, shape in inputs.items():
        try:
            array = np.asarray(given[name], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"{where}: {name!r} holds no numbers ({error})") from error
        if array.shape[1:] != shape or not array.size:
            raise InvalidInput(
                f"{where}: {name!r} must have the shape (samples, {', '.join(map(str, shape))}),"
                f" got {array.shape}"
            )
        if not np.isfinite(array).all():
            raise InvalidInput(f"{where}: {name!r} holds NaN or an infinity")
        found[name] = array
    if len({len(array) for array in found.values()}) != 1:
        raise InvalidInput(f"{where}: the inputs have different numbers of samples")
    return found
