"""Cuts an ONNX graph at tensors into slices that are small graphs of their own.

A slice takes what earlier slices made, or the model's inputs, and gives what later ones take, or
the model's outputs. Where a cut lies changes nothing of what the whole computes: the slices run one
after the other are the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from zkai.errors import InvalidInput
from zkai.model.graph import Shape
from zkai.model.onnx_file import OnnxModel, load_onnx

MAX_SLICES = 64


def cut_model(model: OnnxModel, cuts: Sequence[str] | int) -> list[OnnxModel]:
    """Return the slices of an ONNX file: cut after named tensors, or into so many slices.

    Raises InvalidInput as `cut` and `suggest` do.
    """
    proto = onnx.load_model_from_string(model.data)
    places = suggest(proto, cuts, "model") if isinstance(cuts, int) else cuts
    return [load_onnx(part.SerializeToString()) for part in cut(proto, places, "model")]


def cut(model: onnx.ModelProto, places: Sequence[str], where: str) -> list[onnx.ModelProto]:
    """Return the slices of a model between the tensors in `places`, in their order.

    A cut lies after the node that makes the tensor it is named by; whatever else crosses it is
    taken along. Shapes must be static.

    Raises InvalidInput, naming the tensor, if it is made by no node, is named out of order, or
    something that crosses a cut is no tensor of real numbers with a static shape.
    """
    model = _stored(model)
    nodes = list(model.graph.node)
    made = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    ends = []
    for name in places:
        if name not in made:
            raise InvalidInput(f"{where}: cut {name!r}: no node makes this tensor")
        ends.append(made[name] + 1)
    if ends != sorted(set(ends)) or (ends and ends[-1] >= len(nodes)):
        raise InvalidInput(
            f"{where}: cuts {list(places)}: name tensors before the last one, in order"
        )
    if len(ends) >= MAX_SLICES:
        raise InvalidInput(f"{where}: at most {MAX_SLICES} slices")
    values = _values(model)
    bounds = [0, *ends, len(nodes)]
    return [_slice(model, nodes, first, last, values, where) for first, last in pairwise(bounds)]


def suggest(model: onnx.ModelProto, slices: int, where: str) -> tuple[str, ...]:
    """Return where to cut for `slices` parts of about the same work, at one tensor each.

    A node's work is counted as its products (of Conv, Gemm, MatMul) or its outputs' elements.

    Raises InvalidInput if the graph has too few tensors that all later nodes depend on alone.
    """
    if not 1 <= slices <= MAX_SLICES:
        raise InvalidInput(f"{where}: slices: expected 1 to {MAX_SLICES}, got {slices}")
    model = _stored(model)
    nodes, values = list(model.graph.node), _values(model)
    works = [_work(model, node, values) for node in nodes]
    done, total = 0, sum(works)
    narrow: list[tuple[int, str]] = []
    for place, node in enumerate(nodes[:-1]):
        done += works[place]
        crossing = _crossing(model, nodes, place + 1)
        if len(crossing) == 1 and crossing[0] in node.output and crossing[0] in values:
            narrow.append((done, crossing[0]))
    if len(narrow) < slices - 1:
        raise InvalidInput(
            f"{where}: {slices} slices need {slices - 1} tensors that alone carry the computation;"
            f" there are {len(narrow)}: {', '.join(name for _, name in narrow) or 'none'}"
        )
    chosen: list[int] = []
    for part in range(1, slices):
        # Later cuts need a tensor each, so the last ones are left for them.
        free = range(chosen[-1] + 1 if chosen else 0, len(narrow) - (slices - 1 - part))
        chosen.append(min(free, key=lambda i: abs(narrow[i][0] - total * part / slices)))
    return tuple(narrow[place][1] for place in chosen)


def _stored(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with its Constant nodes as stored tensors, which every slice may hold."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    for node in model.graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type != "Constant" or value is None:
            copy.graph.node.append(node)
            continue
        stored = copy.graph.initializer.add()
        stored.CopyFrom(value)
        stored.name = node.output[0]
    return copy


def _values(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Return the tensors of real numbers whose static shapes are known."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: value
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if value.type.HasField("tensor_type")
        and value.type.tensor_type.elem_type in (TensorProto.FLOAT, TensorProto.DOUBLE)
        and value.type.tensor_type.HasField("shape")
        and all(size.dim_value > 0 for size in value.type.tensor_type.shape.dim)
    }


def _shape(value: onnx.ValueInfoProto) -> Shape:
    return tuple(int(size.dim_value) for size in value.type.tensor_type.shape.dim)


def _crossing(model: onnx.ModelProto, nodes: Sequence[NodeProto], place: int) -> list[str]:
    """Return the computed tensors and inputs that nodes from `place` on, or outputs, need."""
    held = {tensor.name for tensor in model.graph.initializer}
    later = {name for node in nodes[place:] for name in _read(node)}
    later |= {value.name for value in model.graph.output}
    before = [value.name for value in model.graph.input if value.name not in held]
    before += [name for node in nodes[:place] for name in node.output if name]
    return [name for name in before if name in later]


def _read(node: NodeProto) -> list[str]:
    """Return what a node reads, the bodies of its loops and branches included."""
    found = [name for name in node.input if name]
    for attribute in node.attribute:
        if attribute.HasField("g"):
            found += [name for inner in attribute.g.node for name in _read(inner)]
    return found


def _work(
    model: onnx.ModelProto, node: NodeProto, values: Mapping[str, onnx.ValueInfoProto]
) -> int:
    outputs = sum(prod(_shape(values[name])) for name in node.output if name in values)
    if node.op_type not in ("Conv", "Gemm", "MatMul"):
        return outputs
    shapes: dict[str, Shape] = {
        tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer
    }
    shapes |= {name: _shape(value) for name, value in values.items()}
    weight = shapes.get(node.input[1], ())
    if node.op_type == "Conv":
        return outputs * prod(weight[1:])
    turned = any(a.name == "transB" and a.i for a in node.attribute)
    return outputs * (weight[-1 if turned else -2] if len(weight) > 1 else prod(weight))


def _slice(
    model: onnx.ModelProto,
    nodes: Sequence[NodeProto],
    first: int,
    last: int,
    values: Mapping[str, onnx.ValueInfoProto],
    where: str,
) -> onnx.ModelProto:
    """Return the graph of nodes `first` to `last`."""
    own = nodes[first:last]
    read = {name for node in own for name in _read(node)}
    held = {tensor.name for tensor in model.graph.initializer}
    made = {name for node in own for name in node.output if name}
    into = [name for name in _crossing(model, nodes, first) if name in read]
    given = {value.name for value in model.graph.output}
    later = {name for node in nodes[last:] for name in _read(node)} | given
    out = [name for node in own for name in node.output if name in later]
    for name in (*into, *out):
        if name not in values:
            raise InvalidInput(
                f"{where}: the tensor {name!r} crosses a cut and is no tensor of real numbers with"
                " a static shape; cut elsewhere, or fix the model's input shapes"
            )
    missing = read - held - made - set(into)
    assert not missing, missing
    graph = helper.make_graph(
        own,
        f"{model.graph.name}[{first}:{last}]",
        [values[name] for name in into],
        [values[name] for name in out],
        [tensor for tensor in model.graph.initializer if tensor.name in read],
    )
    return helper.make_model(
        graph, opset_imports=list(model.opset_import), ir_version=model.ir_version
    )


BLINDERS = "blinders"
"""The input that `blinded` adds."""


def blinded(model: onnx.ModelProto, count: int, where: str) -> onnx.ModelProto:
    """Return a model whose one output is flattened, (1, n + count): `count` blinders end it.

    They come from a further input, (1, count), and touch nothing else: who hides the output behind
    a hash hides it from guesses too.

    Raises InvalidInput for a model with several outputs, an output of unknown shape, or a tensor
    that has the new input's name.
    """
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph, values = found.graph, _values(model)
    if len(graph.output) != 1 or graph.output[0].name not in values:
        raise InvalidInput(f"{where}: to be blinded it must have one output of a known shape")
    last = values[graph.output[0].name]
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    flat, joined = f"{last.name}.flat", f"{last.name}.blinded"
    if names & {BLINDERS, flat, joined, f"{flat}.shape"}:
        raise InvalidInput(f"{where}: it has a tensor called {BLINDERS!r} or {flat!r} already")
    size, kind = prod(_shape(last)), last.type.tensor_type.elem_type
    shape = numpy_helper.from_array(np.array([1, size], np.int64), f"{flat}.shape")
    graph.initializer.append(shape)
    graph.input.append(helper.make_tensor_value_info(BLINDERS, kind, [1, count]))
    graph.node.append(helper.make_node("Reshape", [last.name, shape.name], [flat], name=flat))
    node = helper.make_node("Concat", [flat, BLINDERS], [joined], name=joined, axis=1)
    graph.node.append(node)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(joined, kind, [1, size + count]))
    return found
