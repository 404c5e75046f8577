"""ONNX files and torch modules to graphs: where onnx is read, and lazily torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx.shape_inference
from onnx import AttributeProto, TensorProto, numpy_helper

from zkai.encoding import as_path, read_capped
from zkai.errors import InvalidInput
from zkai.model.fold import fold
from zkai.model.graph import Graph, Shape
from zkai.model.lowering import (
    MAX_TENSOR_ELEMENTS,
    Array,
    SourceModel,
    SourceNode,
    lower,
)
from zkai.model.operators import OPERATORS
from zkai.model.plain_onnx import plain

MAX_FILE_BYTES = 1 << 28
MAX_NODES = 1 << 12
MIN_OPSET = 9

_NUMBERS = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.FLOAT16,
    TensorProto.INT8,
    TensorProto.UINT8,
    TensorProto.INT32,
    TensorProto.INT64,
)


def load(
    source: str | Path | bytes, input_shapes: Mapping[str, Sequence[int]] | None = None
) -> Graph:
    """Return the graph of an ONNX file (path or bytes) within the supported operators.

    Linear models and trees of the domain ai.onnx.ml are written in plain operators first.

    `input_shapes` gives the shape of inputs that the file leaves dynamic.

    Raises InvalidInput for a file that is missing, too large, malformed, keeps tensors in other
    files, or has an unresolved dynamic shape, a NaN or an infinity in a weight, naming it; and
    one InvalidInput naming every node that is not supported, its operator and its place.
    """
    if input_shapes is not None and not isinstance(input_shapes, Mapping):
        raise InvalidInput(
            "input_shapes: expected a mapping of names to shapes, got"
            f" {type(input_shapes).__name__}"
        )
    if isinstance(source, bytes):
        where, data = "model", source
        if len(data) > MAX_FILE_BYTES:
            raise InvalidInput(f"{where}: larger than the {MAX_FILE_BYTES} bytes a model may have")
    else:
        source = as_path(source, "model")
        where, data = str(source), read_capped(source, MAX_FILE_BYTES)
    model = _read(where, plain(parse_onnx(where, data), where), input_shapes or {})
    return fold(lower(model, OPERATORS))


def parse_onnx(where: str, data: bytes) -> onnx.ModelProto:
    """Return a file's model, its functions inlined. Raises InvalidInput naming `where`."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:
        raise InvalidInput(f"{where}: not an ONNX file ({error})") from error
    if not model.HasField("graph") or not model.opset_import:
        raise InvalidInput(f"{where}: not an ONNX file (it holds no graph)")
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as error:
            raise InvalidInput(f"{where}: its functions cannot be inlined ({error})") from error
    return model


def _read(
    where: str, model: onnx.ModelProto, input_shapes: Mapping[str, Sequence[int]]
) -> SourceModel:
    graph = model.graph
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < MIN_OPSET:
        raise InvalidInput(f"{where}: opset {opset}; export with opset {MIN_OPSET} or later")
    if len(graph.node) > MAX_NODES:
        raise InvalidInput(f"{where}: more than {MAX_NODES} nodes")
    if graph.sparse_initializer:
        raise InvalidInput(f"{where}: holds sparse weights; store them densely")
    constants = {}
    for tensor in graph.initializer:
        if tensor.name in constants:
            raise InvalidInput(f"{where}: the weight {tensor.name!r} is given twice")
        constants[tensor.name] = _tensor(where, tensor, tensor.name)
    given = [value for value in graph.input if value.name not in constants]
    unknown = sorted(set(input_shapes) - {value.name for value in given})
    if unknown:
        raise InvalidInput(f"{where}: {unknown} are not inputs of the model")
    inputs = {v.name: static_shape(where, v, input_shapes.get(v.name)) for v in given}
    outputs = tuple(value.name for value in graph.output)
    if not inputs or not outputs or len(set(outputs)) < len(outputs):
        raise InvalidInput(f"{where}: needs at least one input, and outputs of different names")
    nodes = _nodes(where, graph)
    _check_names(where, nodes, [*constants, *inputs])

    def inferred() -> dict[str, Shape]:
        return _inferred_shapes(model, inputs)

    return SourceModel(where, opset, nodes, constants, inputs, outputs, inferred)


def _inferred_shapes(model: onnx.ModelProto, inputs: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return the static shapes that onnx infers for inner tensors; empty if it cannot."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        if value.name in inputs:
            sizes = value.type.tensor_type.shape
            sizes.ClearField("dim")
            for size in inputs[value.name]:
                sizes.dim.add().dim_value = size
    for domain in {node.domain for node in copy.graph.node} - {o.domain for o in copy.opset_import}:
        copy.opset_import.add(domain=domain, version=1)
    try:
        graph = onnx.shape_inference.infer_shapes(copy, data_prop=True).graph
    except Exception:  # noqa: BLE001 - a better error message is all that is lost
        return {}
    shapes = {}
    for value in (*graph.value_info, *graph.output):
        sizes = value.type.tensor_type.shape
        if value.type.HasField("tensor_type") and all(d.dim_value > 0 for d in sizes.dim):
            shapes[value.name] = tuple(int(d.dim_value) for d in sizes.dim)
    return shapes


def _check_names(where: str, nodes: Sequence[SourceNode], known: Sequence[str]) -> None:
    seen = set(known)
    if len(seen) < len(known):
        raise InvalidInput(f"{where}: an input and a weight share a name")
    for node in nodes:
        for name in node.outputs:
            if name and name in seen:
                raise InvalidInput(f"{where}: two nodes write the tensor {name!r}")
            seen.add(name)


def _tensor(where: str, tensor: TensorProto, name: str) -> Array:
    """Return a stored tensor's numbers, with its size checked before anything is allocated."""
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise InvalidInput(
            f"{where}: the weight {name!r} is kept in another file; store all weights in the model"
        )
    if tensor.data_type not in _NUMBERS:
        kind = TensorProto.DataType.Name(tensor.data_type) if tensor.data_type < 30 else "unknown"
        raise InvalidInput(f"{where}: the weight {name!r} has the unsupported type {kind}")
    if any(size < 0 for size in tensor.dims) or prod(tensor.dims) > MAX_TENSOR_ELEMENTS:
        raise InvalidInput(
            f"{where}: the weight {name!r} of shape {list(tensor.dims)} has more than"
            f" {MAX_TENSOR_ELEMENTS} elements"
        )
    try:
        array = np.array(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, RuntimeError) as error:
        raise InvalidInput(f"{where}: the weight {name!r} is malformed ({error})") from error
    if array.shape != tuple(tensor.dims):
        raise InvalidInput(f"{where}: the weight {name!r} does not fill its shape")
    if not np.all(np.isfinite(array)):
        raise InvalidInput(f"{where}: the weight {name!r} holds NaN or an infinity")
    return array


def static_shape(where: str, value: onnx.ValueInfoProto, wanted: Sequence[int] | None) -> Shape:
    """Return an input's static shape, `wanted` where the file leaves it open.

    Raises InvalidInput naming the input.
    """
    if wanted is not None and not (
        isinstance(wanted, Sequence) and all(isinstance(size, int) for size in wanted)
    ):
        raise InvalidInput(
            f"input_shapes: {value.name!r}: expected a tuple of integers, got {wanted!r}"
        )
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type not in _NUMBERS:
        raise InvalidInput(f"{where}: the input {value.name!r} is not a tensor of numbers")
    if not kind.HasField("shape"):
        if wanted is None:
            raise InvalidInput(_dynamic(where, value.name, "its whole shape"))
        sizes: list[int | None] = [None] * len(wanted)
    else:
        sizes = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
    if wanted is None:
        for place, size in enumerate(sizes):
            if size is None:
                name = kind.shape.dim[place].dim_param
                axis = f"axis {place}" + (f" ({name!r})" if name else "")
                raise InvalidInput(_dynamic(where, value.name, axis))
        shape = tuple(size for size in sizes if size is not None)
    else:
        shape = tuple(int(size) for size in wanted)
        agree = [size is None or size == w for size, w in zip(sizes, shape, strict=False)]
        if len(shape) != len(sizes) or not all(agree):
            raise InvalidInput(
                f"{where}: the input {value.name!r} has the shape {sizes}, not {list(shape)}"
            )
    if any(size < 1 for size in shape) or prod(shape) > MAX_TENSOR_ELEMENTS:
        raise InvalidInput(
            f"{where}: the input {value.name!r} has the shape {list(shape)}; its sizes must be at"
            f" least 1, with at most {MAX_TENSOR_ELEMENTS} elements"
        )
    return shape


def _dynamic(where: str, name: str, what: str) -> str:
    return (
        f"{where}: the input {name!r} leaves {what} open, and circuits have fixed shapes; give"
        f" input_shapes={{{name!r}: (...)}} or export the model with a fixed shape"
    )


def _nodes(where: str, graph: onnx.GraphProto) -> tuple[SourceNode, ...]:
    nodes = []
    for place, node in enumerate(graph.node, start=1):
        operator = node.op_type
        if node.domain not in ("", "ai.onnx"):
            operator = f"{node.domain}.{node.op_type}"
        if not any(node.output):
            raise InvalidInput(f"{where}: node {place} ({operator}) writes nothing")
        attributes = {}
        for attribute in node.attribute:
            if operator in OPERATORS and attribute.name in _TYPE_OF:
                name = f"{node.name or node.output[0]}.{attribute.name}"
                attributes[attribute.name] = _attribute(where, attribute, name)
        nodes.append(
            SourceNode(
                place, node.name, operator, tuple(node.input), tuple(node.output), attributes
            )
        )
    return tuple(nodes)


_ATTRIBUTES = {
    AttributeProto.INT: (
        "i",
        "allowzero axis ceil_mode count_include_pad group keepdims to training_mode transA transB"
        " value_int",
    ),
    AttributeProto.INTS: (
        "ints",
        "axes dilations kernel_shape pads perm strides value_ints",
    ),
    AttributeProto.FLOAT: ("f", "alpha beta epsilon value_float"),
    AttributeProto.FLOATS: ("floats", "value_floats"),
    AttributeProto.STRING: ("s", "auto_pad"),
    AttributeProto.TENSOR: ("t", "value"),
}
"""For each type: the protobuf field, and the attributes of it that operators read."""

_TYPE_OF = {name: kind for kind, (_, names) in _ATTRIBUTES.items() for name in names.split()}


def _attribute(where: str, attribute: AttributeProto, name: str) -> Any:
    kind = _TYPE_OF[attribute.name]
    if attribute.type != kind or attribute.ref_attr_name:
        wanted = AttributeProto.AttributeType.Name(kind)
        raise InvalidInput(f"{where}: the attribute {name} must be of type {wanted}")
    if kind == AttributeProto.TENSOR:
        return _tensor(where, attribute.t, name)
    if kind == AttributeProto.STRING:
        return attribute.s.decode("utf-8", "replace")
    value = getattr(attribute, _ATTRIBUTES[kind][0])
    if kind in (AttributeProto.INTS, AttributeProto.FLOATS):
        value = tuple(value)
    if not np.all(np.isfinite(np.asarray(value, dtype=np.float64))):
        raise InvalidInput(f"{where}: the attribute {name} holds NaN or an infinity")
    return value
