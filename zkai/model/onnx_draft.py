"""An ONNX graph while it is drawn: each method adds one operator and names the tensor it makes.

The only module besides export.py that imports onnx: what export.py reads, this one writes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from zkai.errors import InvalidInput
from zkai.model.fixed_point import IntArray
from zkai.model.graph import Shape
from zkai.model.lowering import MAX_TENSOR_ELEMENTS

OPSET = 17
IR_VERSION = 8

EXP_STEP = 130 / (1 << 13)
"""What exponents are multiplied by before they are looked up: no power of two, which EZKL would not
round, and exact at 13 or more fraction bits."""

EXP_RANGE = 12.0
"""exp(-12) is far below what 13 fraction bits show."""

Key = tuple[Any, ...]


class OnnxDraft:
    """A graph under construction over named inputs of static shape.

    Shapes follow numpy's rules. An operator that is asked for twice is added once.
    """

    def __init__(self, inputs: Mapping[str, Shape]) -> None:
        self.inputs = dict(inputs)
        self.shapes: dict[str, Shape] = dict(inputs)
        self._nodes: list[Any] = []
        self._constants: dict[str, npt.NDArray[Any]] = {}
        self._made: dict[Key, str] = {}

    def model(self, outputs: Mapping[str, str]) -> bytes:
        """Return the ONNX file whose outputs, by name, are these tensors of the draft.

        Raises InvalidInput for an output of the same name as a tensor.
        """
        nodes = list(self._nodes)
        for name, tensor in outputs.items():
            if name in self.shapes:
                raise InvalidInput(f"the graph has a tensor {name!r} already")
            nodes.append(helper.make_node("Identity", [tensor], [name]))
        made_here = {name: self.shapes[tensor] for name, tensor in outputs.items()}
        constants = [
            numpy_helper.from_array(array, name) for name, array in self._constants.items()
        ]
        graph = helper.make_graph(nodes, "zkai", _infos(self.inputs), _infos(made_here), constants)
        opset = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
        data: bytes = made.SerializeToString()
        return data

    def constant(self, value: npt.ArrayLike) -> str:
        """Return a tensor of known real numbers."""
        return self._keep(np.asarray(value, np.float32))

    def _keep(self, array: npt.NDArray[Any]) -> str:
        key = ("constant", array.dtype.str, array.shape, array.tobytes())
        if key not in self._made:
            name = f"c{len(self._constants)}"
            self._made[key] = name
            self._constants[name], self.shapes[name] = array, array.shape
        return self._made[key]

    def _add(self, operator: str, inputs: Sequence[str], shape: Shape, **attributes: Any) -> str:
        if prod(shape) > MAX_TENSOR_ELEMENTS:
            raise InvalidInput(
                f"{operator}: a tensor {shape} has over {MAX_TENSOR_ELEMENTS} numbers"
            )
        key = (operator, *inputs, str(sorted(attributes.items())))
        if key not in self._made:
            name = f"t{len(self._nodes)}"
            self._nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
            self._made[key], self.shapes[name] = name, shape
        return self._made[key]

    def _broadcast(self, operator: str, a: str, b: str) -> str:
        shape = np.broadcast_shapes(self.shapes[a], self.shapes[b])
        return self._add(operator, (a, b), shape)

    def add(self, a: str, b: str) -> str:
        """Return a + b."""
        return self._broadcast("Add", a, b)

    def subtract(self, a: str, b: str) -> str:
        """Return a - b."""
        return self._broadcast("Sub", a, b)

    def multiply(self, a: str, b: str) -> str:
        """Return a * b, number by number."""
        return self._broadcast("Mul", a, b)

    def negate(self, a: str) -> str:
        """Return -a."""
        return self._add("Neg", (a,), self.shapes[a])

    def matmul(self, a: str, b: str) -> str:
        """Return the product of two matrices."""
        (rows, _), (_, columns) = self.shapes[a], self.shapes[b]
        return self._add("MatMul", (a, b), (rows, columns))

    def relu(self, a: str) -> str:
        """Return max(a, 0)."""
        return self._add("Relu", (a,), self.shapes[a])

    def positive(self, a: str) -> str:
        """Return 1 where a > 0, else 0."""
        flags = self._add("Greater", (a, self.constant(0.0)), self.shapes[a])
        return self._add("Cast", (flags,), self.shapes[a], to=TensorProto.FLOAT)

    def sigmoid(self, a: str) -> str:
        """Return 1 / (1 + exp(-a))."""
        return self._add("Sigmoid", (a,), self.shapes[a])

    def softmax(self, a: str) -> str:
        """Return the softmax over the last axis, with logits EXP_RANGE below the largest cut there.

        A prover looks exponentials up in a table with a row for each value of their argument. So
        exp(z) = exp(h / c) exp(z - h / c) with h = c z, which a fixed-point prover rounds, and the
        second factor is near 1: 1 + z - h / c. In real numbers it is 1, and the whole is exact.

        The table's length is read off the arguments that samples give. One argument is always at
        the cut, so that the table is whole whatever the samples are; exp(-12) / 1024, which is
        nothing in float32, goes into the sum for it.
        """
        shape, last = self.shapes[a], len(self.shapes[a]) - 1
        top = self._add("ReduceMax", (a,), (*shape[:-1], 1), axes=[last], keepdims=1)
        deepest, step = self.constant(EXP_RANGE), self.constant(EXP_STEP)
        above = self.relu(self.add(self.subtract(a, top), deepest))
        z = self.subtract(above, deepest)
        coarse = self.multiply(z, step)
        rest = self.subtract(z, self.multiply(coarse, self.constant(1 / EXP_STEP)))
        exps = self.multiply(self._power(coarse), self.add(rest, self.constant(1.0)))
        first = self.part(self.reshape(above, (math.prod(shape),)), 0, 1)
        cut = self.multiply(self.subtract(self.subtract(first, first), deepest), step)
        guard = self.multiply(self._power(cut), self.constant(2.0**-10))
        total = self.add(self.sum(exps, (last,), keep=True), guard)
        return self.multiply(exps, self._add("Reciprocal", (total,), self.shapes[total]))

    def _power(self, coarse: str) -> str:
        """Return exp(coarse / EXP_STEP)."""
        base = self.constant(math.exp(1 / EXP_STEP))
        return self._add("Pow", (base, coarse), self.shapes[coarse])

    def one_hot(self, labels: str, classes: int) -> str:
        """Return (rows, classes) with a 1 in each row of labels (rows, 1), whatever number it is.

        t_c = [label > c - 1/2] for c >= 1 falls from 1 to 0 once, and that is where the 1 is.
        """
        rows, steps = self.shapes[labels][0], np.arange(classes - 1) + 0.5
        above = self._add("Greater", (labels, self.constant(steps[None])), (rows, classes - 1))
        flags = self._add("Cast", (above,), (rows, classes - 1), to=TensorProto.FLOAT)
        moves = np.eye(classes)[1:] - np.eye(classes)[:-1]
        return self.add(
            self.matmul(flags, self.constant(moves)), self.constant(np.eye(classes)[:1])
        )

    def sum(self, a: str, axes: Sequence[int], keep: bool = False) -> str:
        """Return the sum over axes, which stay with length 1 if `keep` says so."""
        shape = self.shapes[a]
        kept = tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)
        names = self._keep(np.array(sorted(axes), np.int64))
        return self._add("ReduceSum", (a, names), kept, keepdims=int(keep))

    def reshape(self, a: str, shape: Shape) -> str:
        """Return the numbers in row-major order in another shape."""
        if self.shapes[a] == shape:
            return a
        return self._add("Reshape", (a, self._keep(np.array(shape, np.int64))), shape)

    def transpose(self, a: str, permutation: Sequence[int]) -> str:
        """Return numpy.transpose(a, permutation)."""
        shape = tuple(self.shapes[a][axis] for axis in permutation)
        return self._add("Transpose", (a,), shape, perm=list(permutation))

    def concatenate(self, parts: Sequence[str], axis: int) -> str:
        """Return tensors joined along an axis."""
        shape = list(self.shapes[parts[0]])
        shape[axis] = sum(self.shapes[part][axis] for part in parts)
        return self._add("Concat", parts, tuple(shape), axis=axis)

    def part(self, a: str, start: int, stop: int) -> str:
        """Return a[start:stop]."""
        bounds = [self._keep(np.array([number], np.int64)) for number in (start, stop, 0)]
        return self._add("Slice", (a, *bounds), (stop - start, *self.shapes[a][1:]))

    def gather(self, a: str, table: IntArray) -> str:
        """Return a[:, table] of a matrix (n, elements), with zeros where an index is -1."""
        rows, elements = self.shapes[a]
        if (table < 0).any():
            a = self.concatenate([a, self.constant(np.zeros((rows, 1)))], 1)
        indices = np.where(table < 0, elements, table).astype(np.int64).ravel()
        picked = self._add("Gather", (a, self._keep(indices)), (rows, indices.size), axis=1)
        return self.reshape(picked, (rows, *table.shape))

    def gathered_sum(self, a: str, table: IntArray) -> str:
        """Return the sums over the last axis of a[:, table]: (n, places) for (places, terms)."""
        return self.sum(self.gather(a, table), (2,))


def _infos(shapes: Mapping[str, Shape]) -> list[Any]:
    info = helper.make_tensor_value_info
    return [info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]


def transposed_table(table: IntArray, elements: int) -> IntArray:
    """Return the table of the adjoint of `gathered_sum`: who reads each element, -1 for nobody.

    table: (places, terms) of indices in [-1, elements); the result is (elements, readers).
    """
    places = np.repeat(np.arange(len(table)), table.shape[1])
    flat = table.ravel()
    places, flat = places[flat >= 0], flat[flat >= 0]
    order = np.argsort(flat, kind="stable")
    places, flat = places[order], flat[order]
    counts = np.bincount(flat, minlength=elements)
    starts = np.cumsum(counts) - counts
    found = np.full((elements, max(int(counts.max(initial=0)), 1)), -1, np.int64)
    found[flat, np.arange(flat.size) - starts[flat]] = places
    return found
