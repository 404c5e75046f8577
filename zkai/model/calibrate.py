"""Scales and widths for every tensor of a graph, chosen from the ranges of calibration data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil, log2, prod

import numpy as np

from zkai.errors import InvalidInput
from zkai.model import graph as real
from zkai.model import quant_graph as quant
from zkai.model.fixed_point import (
    ERROR_SCALE_BITS,
    LOG2_E_NUMERATOR,
    LOG2_E_SHIFT,
    LOGIT_SCALE_BITS,
    MAX_SCALE_BITS,
    MAX_WIDTH,
    FloatArray,
    IntArray,
    softmax_widths,
    to_fixed,
)
from zkai.model.quant_graph import QuantGraph, QuantNode, QuantOp, QuantTensor, Role

PROVEN_WIDTH = 40
"""An exact result keeps its proven width up to this one; a wider one is brought back by one R."""


@dataclass(frozen=True)
class QuantConfig:
    """How precise a quantised model is.

    A tensor's scale is the largest at which its calibration range needs at most `activation_bits`
    (parameters: `weight_bits`) bits besides the sign; its width is what the range needs, plus the
    sign, plus `margin_bits`: with 2, values up to 4 times those of the calibration data fit.
    `scale_bits` fixes the scales of named tensors. Softmax and sigmoid take base-2 logits at
    `logit_scale_bits` and give probabilities at `error_scale_bits`.

    Raises InvalidInput for numbers out of range.
    """

    activation_bits: int = 12
    weight_bits: int = 12
    margin_bits: int = 2
    logit_scale_bits: int = LOGIT_SCALE_BITS
    error_scale_bits: int = ERROR_SCALE_BITS
    scale_bits: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ranges = {
            "activation_bits": (2, MAX_SCALE_BITS),
            "weight_bits": (2, MAX_SCALE_BITS),
            "margin_bits": (0, 8),
            "logit_scale_bits": (2, 12),
            "error_scale_bits": (2, 12),
        }
        for name, (low, high) in ranges.items():
            _check_integer(name, getattr(self, name), low, high)
        if not isinstance(self.scale_bits, Mapping):
            raise InvalidInput(
                "scale_bits: expected a mapping of tensors to bits, got"
                f" {type(self.scale_bits).__name__}"
            )
        for tensor, bits in self.scale_bits.items():
            _check_integer(f"scale_bits[{tensor!r}]", bits, 0, MAX_SCALE_BITS)


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidInput(f"{name}: expected an integer of {low} to {high}, got {value!r}")


def choose(graph: real.Graph, ranges: Mapping[str, float], config: QuantConfig) -> QuantGraph:
    """Return the integer model of `graph`.

    `ranges` gives the largest absolute value of every input and computed tensor.

    Raises InvalidInput, naming the node or tensor, for an accumulator that could pass MAX_WIDTH
    signed bits, and for a name in `config.scale_bits` whose scale is not free.
    """
    return _Chooser(graph, ranges, config).run()


def scale_for(largest: float, bits: int) -> int:
    """Return the largest scale at which values up to `largest` need at most `bits` bits."""
    if largest <= 0:
        return min(bits, MAX_SCALE_BITS)
    return min(max(bits - ceil(log2(largest)), 0), MAX_SCALE_BITS)


def bound_width(bound: int) -> int:
    """Return the signed width that holds every integer of [-bound, bound]."""
    return bound.bit_length() + 1


def _without_trailing_zeros(values: IntArray, scale_bits: int) -> tuple[IntArray, int]:
    """Lower the scale while every value is even: exact, and cheaper in a circuit."""
    merged = int(np.bitwise_or.reduce(np.abs(values).ravel(), initial=0))
    spare = min(scale_bits, (merged & -merged).bit_length() - 1) if merged else scale_bits
    return values >> np.int64(spare), scale_bits - spare


class _Chooser:
    def __init__(self, graph: real.Graph, ranges: Mapping[str, float], config: QuantConfig) -> None:
        self.graph, self.ranges, self.config = graph, ranges, config
        self.tensors: dict[str, QuantTensor] = {}
        self.values: dict[str, IntArray] = {}
        self.nodes: list[QuantNode] = []
        self.used: set[str] = set()
        self.logits = self._fused_logits()

    def run(self) -> QuantGraph:
        for name in self.graph.inputs:
            scale = self._target_scale(name)
            self._add_tensor(name, scale, self._calibrated_width(name, scale), True, "input")
        steps: dict[type, Callable[[real.Node], None]] = {
            real.MatMul: self._linear,
            real.Conv: self._linear,
            real.Add: self._add,
            real.Mul: self._mul,
            real.Softmax: self._softmax,
            real.Sigmoid: self._softmax,
        }
        for node in self.graph.nodes:
            steps.get(type(node.op), self._same_scale)(node)
        unknown = sorted(set(self.config.scale_bits) - self.used)
        if unknown:
            raise InvalidInput(f"scale_bits: {unknown} are not tensors whose scale can be chosen")
        order = [*self.graph.inputs, *(name for node in self.nodes for name in node.inputs)]
        order += [node.output for node in self.nodes]
        tensors = {name: self.tensors[name] for name in dict.fromkeys(order)}
        return QuantGraph(
            self.graph.name,
            self.graph.inputs,
            self.graph.outputs,
            tensors,
            tuple(self.nodes),
            self.values,
        )

    def _fused_logits(self) -> dict[str, bool]:
        """Tensors that only a softmax (True) or sigmoid (False) reads, made by a linear layer."""
        fused = {}
        makers = {node.output: node for node in self.graph.nodes}
        for node in self.graph.nodes:
            if isinstance(node.op, real.Softmax | real.Sigmoid):
                tensor = node.inputs[0]
                maker = makers.get(tensor)
                alone = len(self.graph.consumers(tensor)) == 1 and tensor not in self.graph.outputs
                if maker and alone and isinstance(maker.op, real.MatMul | real.Conv):
                    fused[tensor] = isinstance(node.op, real.Softmax)
        return fused

    def _add_tensor(
        self, name: str, scale: int, width: int, checked: bool, role: Role | None = None
    ) -> None:
        if not 1 <= width <= MAX_WIDTH:
            raise InvalidInput(
                f"tensor {name!r}: would need {width} bits of {MAX_WIDTH}; lower activation_bits"
            )
        if role is None:
            role = "output" if name in self.graph.outputs else "hidden"
        shape = self.values[name].shape if role == "parameter" else self.graph.shapes[name]
        self.tensors[name] = QuantTensor(name, shape, scale, width, role, checked)

    def _add_node(self, node: real.Node, op: QuantOp, inputs: tuple[str, ...], rule: str) -> None:
        self.nodes.append(QuantNode(node.name, node.source, op, inputs, node.output, rule))

    def _target_scale(self, name: str) -> int:
        if name in self.config.scale_bits:
            self.used.add(name)
            return self.config.scale_bits[name]
        return scale_for(self.ranges[name], self.config.activation_bits)

    def _calibrated_width(self, name: str, scale: int) -> int:
        return bound_width(int(self.ranges[name] * 2.0**scale) + 1) + self.config.margin_bits

    def _bound(self, name: str) -> int:
        return 1 << (self.tensors[name].width - 1)

    def _parameter(self, name: str, scale: int, exact: bool) -> str:
        """Quantise a parameter at `scale`, or, if `exact`, lower where that loses nothing."""
        values = to_fixed(self.graph.values[name], scale, name)
        if exact:
            values, scale = _without_trailing_zeros(values, scale)
        free, number = name, 1
        while free in self.tensors:
            same = self.tensors[free].scale_bits == scale and free in self.values
            if same and np.array_equal(self.values[free], values):
                return free
            free, number = f"{name}.{number}", number + 1
        self.values[free] = values
        largest = int(np.max(np.abs(values), initial=0))
        self._add_tensor(free, scale, bound_width(largest), True, "parameter")
        return free

    def _weight_scale(self, name: str) -> int:
        if name in self.config.scale_bits:
            self.used.add(name)
            return self.config.scale_bits[name]
        largest = float(np.max(np.abs(self.graph.values[name]), initial=0.0))
        return scale_for(largest, self.config.weight_bits)

    def _linear(self, node: real.Node) -> None:
        x, w, *bias = node.inputs
        if w in self.graph.values:
            scale = self._weight_scale(w)
            if w not in self.config.scale_bits:
                scale = self._common_scale([w, *bias], scale)
            w = self._parameter(w, scale, exact=False)
            bias = [self._parameter(b, scale, exact=False) for b in bias]
        x_scale, w_scale = self.tensors[x].scale_bits, self.tensors[w].scale_bits
        shape = self.tensors[w].shape
        terms = shape[0] if isinstance(node.op, real.MatMul) else prod(shape[1:])
        bound = terms * self._bound(x) * self._bound(w)
        bound += sum(self._bound(b) << x_scale for b in bias)
        rule, multiplier, shift = "3", 1, 0
        if node.output in self.logits:
            rule, multiplier = "3, 7", LOG2_E_NUMERATOR
            shift = self._logits(node.output, self.logits[node.output], x_scale + w_scale, bound)
        else:
            shift = self._result(node.output, x_scale + w_scale, bound)
        width = self._checked_width(node, bound)
        if isinstance(node.op, real.Conv):
            c = node.op
            op: QuantOp = quant.Conv(
                c.strides, c.pads, c.dilations, c.groups, shift, x_scale, multiplier, width
            )
        else:
            op = quant.MatMul(shift, x_scale, multiplier, width)
        self._add_node(node, op, (x, w, *bias), rule)

    def _common_scale(self, names: list[str], scale: int) -> int:
        """Lower a scale while all the parameters stay as precise."""
        values = [to_fixed(self.graph.values[name], scale, name).ravel() for name in names]
        return _without_trailing_zeros(np.concatenate(values), scale)[1]

    def _checked_width(self, node: real.Node, bound: int) -> int:
        width = bound_width(bound)
        if width > MAX_WIDTH:
            raise InvalidInput(
                f"node {node.source}: its accumulator could need {width} bits of {MAX_WIDTH};"
                " lower activation_bits or weight_bits"
            )
        return width

    def _result(self, name: str, scale: int, bound: int, exact: bool = False) -> int:
        """Declare a result whose accumulator has `scale` and `bound`; return R's shift.

        `exact` prefers no R where the proven width allows it.
        """
        target = self._target_scale(name)
        if exact and name not in self.config.scale_bits and bound_width(bound) <= PROVEN_WIDTH:
            target = MAX_SCALE_BITS
        shift = max(scale - min(target, MAX_SCALE_BITS), 0)
        proven = bound_width((bound >> shift) + (1 if shift else 0))
        calibrated = self._calibrated_width(name, scale - shift)
        if shift == 0 and proven <= PROVEN_WIDTH:
            self._add_tensor(name, scale, proven, False)
        else:
            self._add_tensor(name, scale - shift, min(proven, calibrated), True)
        return shift

    def _logits(self, name: str, softmax: bool, scale: int, bound: int) -> int:
        """Declare base-2 logits made from an accumulator; return the shift of rule 7."""
        sa = self.config.logit_scale_bits
        shift = scale + LOG2_E_SHIFT - sa
        width = bound_width(LOG2_E_NUMERATOR * bound << max(-shift, 0))
        if width > MAX_WIDTH:
            raise InvalidInput(
                f"tensor {name!r}: 369 times its accumulator could need {width} bits of"
                f" {MAX_WIDTH}; lower activation_bits or weight_bits"
            )
        self._add_tensor(name, sa, sa + (9 if softmax else 8), False, "hidden")
        return shift

    def _add(self, node: real.Node) -> None:
        target = self._target_scale(node.output)
        others = [self.tensors[n].scale_bits for n in node.inputs if n not in self.graph.values]
        if not others:
            raise InvalidInput(f"node {node.source}: adds two constants; fold them first")
        scale = max(*others, target) if len(others) == 1 else max(others)
        a, b = (
            self._parameter(n, scale, exact=True) if n in self.graph.values else n
            for n in node.inputs
        )
        scales = self.tensors[a].scale_bits, self.tensors[b].scale_bits
        shifts = max(scales) - scales[0], max(scales) - scales[1]
        bound = (self._bound(a) << shifts[0]) + (self._bound(b) << shifts[1])
        width = self._checked_width(node, bound)
        shift = self._result(node.output, max(scales), bound, exact=True)
        assert isinstance(node.op, real.Add)
        self._add_node(node, quant.Add(shifts, node.op.sign, shift, width), (a, b), "4")

    def _mul(self, node: real.Node) -> None:
        x, c = node.inputs
        if c not in self.graph.values:
            raise InvalidInput(f"node {node.source}: multiplies two computed tensors")
        c = self._parameter(c, self._weight_scale(c), exact=True)
        bound = self._bound(x) * self._bound(c)
        width = self._checked_width(node, bound)
        scale = self.tensors[x].scale_bits + self.tensors[c].scale_bits
        shift = self._result(node.output, scale, bound)
        self._add_node(node, quant.Mul(shift, width), (x, c), "15")

    def _softmax(self, node: real.Node) -> None:
        x, softmax = node.inputs[0], isinstance(node.op, real.Softmax)
        sa, se = self.config.logit_scale_bits, self.config.error_scale_bits
        classes = self.graph.shapes[x][-1] if softmax else 2
        width = softmax_widths(classes, sa, se)["p"]
        if x not in self.logits:
            x = self._scaled_logits(node, x, softmax)
        self._add_tensor(node.output, se, width, False)
        op = quant.Softmax(sa, se) if softmax else quant.Sigmoid(sa, se)
        self._add_node(node, op, (x,), "7, 8" if softmax else "9")

    def _scaled_logits(self, node: real.Node, x: str, softmax: bool) -> str:
        name = f"{x}.logits"
        while name in self.tensors or name in self.graph.shapes:
            name += "_"
        shift = self._shape_logits(name, x, softmax)
        op = quant.Scale(LOG2_E_NUMERATOR, shift)
        self.nodes.append(QuantNode(f"{node.name}.logits", node.source, op, (x,), name, "7"))
        return name

    def _shape_logits(self, name: str, x: str, softmax: bool) -> int:
        tensor = self.tensors[x]
        sa = self.config.logit_scale_bits
        shift = tensor.scale_bits + LOG2_E_SHIFT - sa
        width = sa + (9 if softmax else 8)
        self.tensors[name] = QuantTensor(name, tensor.shape, sa, width, "hidden", False)
        if bound_width(LOG2_E_NUMERATOR * self._bound(x) << max(-shift, 0)) > MAX_WIDTH:
            raise InvalidInput(f"tensor {x!r}: is too wide for a softmax; lower activation_bits")
        return shift

    def _same_scale(self, node: real.Node) -> None:
        """ReLU, pooling and rearrangements keep the scale, and their results fit the same width."""
        x = self.tensors[node.inputs[0]]
        op: QuantOp
        if isinstance(node.op, real.Relu):
            op, rule = quant.Relu(), "5"
        elif isinstance(node.op, real.AveragePool):
            p = node.op
            op, rule = quant.AveragePool(p.kernel, p.strides, p.pads, p.count_include_pad), "6"
            self._checked_width(node, 2 * prod(p.kernel) * self._bound(x.name))
        elif isinstance(node.op, real.Transpose):
            op, rule = quant.Transpose(node.op.perm), "16"
        else:
            op, rule = quant.Reshape(), "16"
        self._add_tensor(node.output, x.scale_bits, x.width, False)
        self._add_node(node, op, (x.name,), rule)


def largest_values(tensors: Mapping[str, FloatArray]) -> dict[str, float]:
    """Return the largest absolute value of every tensor."""
    return {name: float(np.max(np.abs(value), initial=0.0)) for name, value in tensors.items()}
