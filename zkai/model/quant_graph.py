"""A quantised model: integer tensors with static scales and widths, and the operators between them.

The classes here are data. `zkai.model.quantize` makes them and runs them; the circuit builder
walks them. Each operator's docstring is its exact integer meaning (circuits/README.md gives the
same in mathematics).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from zkai.errors import InvalidInput
from zkai.model.fixed_point import IntArray

Role = Literal["input", "parameter", "hidden", "output"]
Shape = tuple[int, ...]
Pair = tuple[int, int]


@dataclass(frozen=True)
class QuantTensor:
    """One integer tensor: value v stands for v / 2**scale_bits, in `width` signed bits.

    `checked` True: the width is a promise about data, so the integer forward rejects a value
    outside it and a circuit must range-check it (inputs, parameters, results of R and DIV whose
    width came from calibration). `checked` False: the width follows from the operands' widths,
    or, for base-2 logits, from rule 7's check in the softmax or sigmoid that reads them.
    """

    name: str
    shape: Shape
    scale_bits: int
    width: int
    role: Role
    checked: bool

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class MatMul:
    """Inputs (x, w) or (x, w, b): out = R_shift(multiplier * (x @ w + (b << bias_shift))).

    x: (..., n); w: (n, m), a parameter or, if x is 2-D, any tensor; b: (m,), a parameter.
    multiplier is 1 (rule 3) or 369 (rule 7: out are base-2 logits). shift may be negative: an
    exact left shift. |x @ w + (b << bias_shift)| fits acc_width signed bits.
    """

    shift: int
    bias_shift: int
    multiplier: int
    acc_width: int


@dataclass(frozen=True)
class Conv:
    """Inputs (x, w) or (x, w, b): 2-D cross-correlation with zero padding, then as MatMul.

    x: (N, C, H, W); w: (M, C / groups, KH, KW); b: (M,); out: (N, M, OH, OW).
    pads are (top, left, bottom, right). `zkai.model.quantize.conv_patches` lists the im2col
    indices.
    """

    strides: Pair
    pads: tuple[int, int, int, int]
    dilations: Pair
    groups: int
    shift: int
    bias_shift: int
    multiplier: int
    acc_width: int


@dataclass(frozen=True)
class Add:
    """Inputs (a, b), numpy broadcasting: out = R_shift((a << shifts[0]) + sign * (b << shifts[1])).

    Rule 4; sign is 1, or -1 for a subtraction. Either operand may be a parameter.
    |the sum| fits acc_width signed bits.
    """

    shifts: Pair
    sign: int
    shift: int
    acc_width: int


@dataclass(frozen=True)
class Mul:
    """Inputs (x, c), numpy broadcasting: out = R_shift(x * c); c is a parameter (rule 15).

    |x * c| fits acc_width signed bits.
    """

    shift: int
    acc_width: int


@dataclass(frozen=True)
class Scale:
    """Input (x,): out = R_shift(multiplier * x) with a fixed integer (rule 7 with 369)."""

    multiplier: int
    shift: int


@dataclass(frozen=True)
class Relu:
    """Input (x,): out = x * [x >= 1] (rule 5)."""


@dataclass(frozen=True)
class AveragePool:
    """Input (x,): out = DIV(sum of the window, count) per channel (rule 6).

    x: (N, C, H, W); pads (top, left, bottom, right) add zeros; the count of a window is
    kernel[0] * kernel[1], or the number of its unpadded places if count_include_pad is False.
    `zkai.model.quantize.pool_patches` lists the indices and counts.
    """

    kernel: Pair
    strides: Pair
    pads: tuple[int, int, int, int]
    count_include_pad: bool


@dataclass(frozen=True)
class Softmax:
    """Input (u,), base-2 logits at scale sa: out = rule 8's softmax over the last axis at scale se.

    Rejects rows outside rule 7's range: m in [-2**(sa+7), 2**(sa+7)) and m - u < 2**(sa+7).
    """

    logit_scale_bits: int
    error_scale_bits: int


@dataclass(frozen=True)
class Sigmoid:
    """Input (u,), base-2 logits at scale sa: out = the first entry of softmax(u, 0) (rule 9)."""

    logit_scale_bits: int
    error_scale_bits: int


@dataclass(frozen=True)
class Reshape:
    """Input (x,): the same elements in row-major order in the output's shape (rule 16)."""


@dataclass(frozen=True)
class Transpose:
    """Input (x,): out = numpy.transpose(x, perm) (rule 16)."""

    perm: tuple[int, ...]


QuantOp = (
    MatMul | Conv | Add | Mul | Scale | Relu | AveragePool | Softmax | Sigmoid | Reshape | Transpose
)


@dataclass(frozen=True)
class QuantNode:
    """One operator: reads the tensors `inputs`, writes the tensor `output`.

    `source` names the model's node that it came from; `rule` the rules of circuits/README.md.
    """

    name: str
    source: str
    op: QuantOp
    inputs: tuple[str, ...]
    output: str
    rule: str


@dataclass(frozen=True)
class QuantGraph:
    """An integer model: nodes in topological order over named tensors.

    `values` holds the integers of every parameter, read-only. Which of them are constants of a
    circuit and which are committed is the statement's choice and changes nothing here.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, QuantTensor]
    nodes: tuple[QuantNode, ...]
    values: Mapping[str, IntArray] = field(repr=False)

    def __post_init__(self) -> None:
        frozen = {}
        for name, value in self.values.items():
            array = np.array(value, dtype=np.int64)
            array.flags.writeable = False
            frozen[name] = array
        object.__setattr__(self, "values", MappingProxyType(frozen))
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        self._check_wiring()

    def _check_wiring(self) -> None:
        known = set(self.inputs) | set(self.values)
        for name in self.parameters:
            if name not in self.values or self.values[name].shape != self.tensors[name].shape:
                raise InvalidInput(f"parameter {name!r}: no integers of its shape were given")
        for node in self.nodes:
            missing = [name for name in node.inputs if name not in known]
            if missing or node.output in known or node.output not in self.tensors:
                raise InvalidInput(f"node {node.name!r}: reads or writes a tensor out of order")
            known.add(node.output)
        for name in (*self.inputs, *self.outputs):
            if name not in self.tensors or name not in known:
                raise InvalidInput(f"tensor {name!r}: listed but never made")

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters in the order of first use."""
        return tuple(name for name, t in self.tensors.items() if t.role == "parameter")

    def describe(self) -> dict[str, Any]:
        """Return the architecture, without any parameter's values, for canonical JSON."""
        return {
            "name": "zkai.quant-graph/1",
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "tensors": [
                [t.name, list(t.shape), t.scale_bits, t.width, t.role, int(t.checked)]
                for t in self.tensors.values()
            ],
            "nodes": [
                {
                    "op": type(node.op).__name__,
                    "attributes": {
                        f.name: _plain(getattr(node.op, f.name)) for f in fields(node.op)
                    },
                    "inputs": list(node.inputs),
                    "output": node.output,
                }
                for node in self.nodes
            ],
        }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [int(item) for item in value]
    return int(value)
