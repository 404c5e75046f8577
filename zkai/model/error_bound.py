"""How far an integer model may be from its graph: proven bounds, and measured errors.

`error_bounds` follows every rounding and approximation through the graph for given inputs; it is
the tolerance that the checks and tests use. `quantization_report` measures what really happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput
from zkai.model import graph as real
from zkai.model import quantize as integer
from zkai.model.fixed_point import LOG2_E_NUMERATOR, LOG2_E_SHIFT, FloatArray, IntArray, from_fixed
from zkai.model.quant_graph import (
    Add,
    AveragePool,
    Conv,
    MatMul,
    Mul,
    QuantGraph,
    QuantNode,
    Relu,
    Scale,
    Sigmoid,
    Softmax,
)

EXP2_ERROR = 0.00323
"""The largest relative error of rule 8's polynomial against 2**-f on [0, 1) (.003220 at .801)."""

LOG2_E_ERROR = abs(LOG2_E_NUMERATOR / 2**LOG2_E_SHIFT - np.log2(np.e))
"""The error of rule 7's 369 / 256 against log2(e)."""

SLACK = 1e-9
"""Relative room for float64's own rounding in the bounds."""

Inputs = npt.ArrayLike | Mapping[str, npt.ArrayLike]


@dataclass(frozen=True)
class OutputError:
    """The error of one output over the calibration samples, in the output's own units.

    `argmax_agreement` is the share of rows whose largest entry is at the same index, or None if
    rows have one entry.
    """

    name: str
    max_abs_error: float
    mean_abs_error: float
    argmax_agreement: float | None


@dataclass(frozen=True)
class QuantizationReport:
    """Measured errors of an integer model against real numbers.

    `rejected` of `samples` samples overflow and would be refused; they are left out of the errors.
    `worst_tensor` has the largest error relative to its own largest value, `worst_relative_error`.
    """

    samples: int
    rejected: int
    outputs: tuple[OutputError, ...]
    worst_tensor: str
    worst_relative_error: float

    def describe(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "samples": self.samples,
            "rejected": self.rejected,
            "worst_tensor": self.worst_tensor,
            "worst_relative_error": self.worst_relative_error,
            "outputs": {
                output.name: {
                    "max_abs_error": output.max_abs_error,
                    "mean_abs_error": output.mean_abs_error,
                    "argmax_agreement": output.argmax_agreement,
                }
                for output in self.outputs
            },
        }


def quantization_report(
    graph: real.Graph, quant_graph: QuantGraph, calibration: Inputs
) -> QuantizationReport:
    """Return the measured errors of `quant_graph` against `graph` on samples.

    Raises InvalidInput for unusable samples, and if every sample overflows.
    """
    samples = real.named_samples(graph.inputs, graph.shapes, calibration)
    kept = _accepted(quant_graph, samples)
    count = len(kept)
    if not kept.any():
        raise InvalidInput("every sample overflows the integer model; calibrate it on such samples")
    samples = {name: value[kept] for name, value in samples.items()}
    exact = real.forward(graph, samples)
    integers = integer.forward(quant_graph, integer.quantize_inputs(quant_graph, samples))
    outputs = []
    for name in graph.outputs:
        ours = integer.dequantize(quant_graph, name, integers[name])
        error = np.abs(ours - exact[name])
        agreement = None
        if exact[name].ndim > 1 and exact[name].shape[-1] > 1:
            agreement = float(np.mean(ours.argmax(axis=-1) == exact[name].argmax(axis=-1)))
        outputs.append(OutputError(name, float(error.max()), float(error.mean()), agreement))
    relative = _relative_errors(quant_graph, exact, integers)
    worst = max(relative, key=lambda name: relative[name])
    return QuantizationReport(
        count, int(count - kept.sum()), tuple(outputs), worst, relative[worst]
    )


def _accepted(quant_graph: QuantGraph, samples: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    count = len(next(iter(samples.values())))
    kept = np.ones(count, dtype=bool)
    try:
        integer.predict(quant_graph, samples)
    except InvalidInput:
        for index in range(count):
            try:
                one = {name: value[index : index + 1] for name, value in samples.items()}
                integer.predict(quant_graph, one)
            except InvalidInput:
                kept[index] = False
    return kept


def _relative_errors(
    quant_graph: QuantGraph, exact: Mapping[str, FloatArray], integers: Mapping[str, IntArray]
) -> dict[str, float]:
    result = {}
    for name, value in integers.items():
        if name in exact:
            target = exact[name] * (np.log2(np.e) if _holds_logits(quant_graph, name) else 1.0)
            error = np.max(np.abs(integer.dequantize(quant_graph, name, value) - target))
            result[name] = float(error / max(float(np.max(np.abs(target))), 1e-30))
    return result


def _holds_logits(quant_graph: QuantGraph, name: str) -> bool:
    """Whether a tensor holds base-2 logits, z log2(e), in place of z."""
    for node in quant_graph.nodes:
        if node.output == name and isinstance(node.op, MatMul | Conv | Scale):
            return node.op.multiplier != 1
    return False


def error_bounds(
    graph: real.Graph, quant_graph: QuantGraph, inputs: Inputs
) -> dict[str, FloatArray]:
    """Return, for each tensor and element, a proven bound on |integer model - graph|.

    Each bound is (samples, *shape), for these inputs and in the tensor's own units. Follows
    rounding (half a unit for each R and DIV), the parameters' actual errors, 369/256 for log2(e),
    and rule 8's polynomial, cut-off and reciprocal. Base-2 logits are held against z log2(e).

    Raises InvalidInput as the two forward passes do.
    """
    samples = real.named_samples(graph.inputs, graph.shapes, inputs)
    exact = real.forward(graph, samples)
    integers = integer.forward(quant_graph, integer.quantize_inputs(quant_graph, samples))
    bounds = _Bounds(graph, quant_graph, exact, integers)
    for name in graph.inputs:
        ours = integer.dequantize(quant_graph, name, integers[name])
        bounds.bound[name] = np.abs(ours - exact[name])
    for node in quant_graph.nodes:
        bounds.follow(node)
    return bounds.bound


class _Bounds:
    def __init__(
        self,
        graph: real.Graph,
        quant_graph: QuantGraph,
        exact: Mapping[str, FloatArray],
        integers: Mapping[str, IntArray],
    ) -> None:
        self.graph, self.quant_graph = graph, quant_graph
        self.exact, self.integers = exact, integers
        self.bound: dict[str, FloatArray] = {}
        self.nodes = {node.output: node for node in graph.nodes}

    def follow(self, node: QuantNode) -> None:
        """Set the bound of a node's output."""
        op = node.op
        half = 0.5 / 2.0 ** self.quant_graph.tensors[node.output].scale_bits
        if isinstance(op, MatMul | Conv | Mul):
            multiplier = op.multiplier if isinstance(op, MatMul | Conv) else 1
            value = self._product(node)
            if multiplier != 1:
                value = self._to_logits(value, self.exact[node.output])
            value = value + (half if op.shift > 0 else 0.0)
        elif isinstance(op, Scale):
            x = node.inputs[0]
            value = self._to_logits(self.bound[x], self.exact[x]) + (half if op.shift > 0 else 0.0)
        elif isinstance(op, Softmax | Sigmoid):
            value = self._softmax(node, op.error_scale_bits)
        else:
            value = self._linear(node) + (half if isinstance(op, AveragePool) else 0.0)
            if isinstance(op, Add) and op.shift > 0:
                value = value + half
        self.bound[node.output] = value + SLACK * (1.0 + value)

    def _operands(self, node: QuantNode) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
        """Return each operand's real value, integer value and bound, with a sample axis."""
        source = self.nodes[node.output]
        result = []
        for name, original in zip(node.inputs, source.inputs, strict=True):
            scale = self.quant_graph.tensors[name].scale_bits
            if name in self.quant_graph.values:
                value = self.graph.values[original][None]
                ours = from_fixed(self.quant_graph.values[name], scale)[None]
                result.append((value, ours, np.abs(ours - value)))
            else:
                ours = from_fixed(self.integers[name], scale)
                result.append((self.exact[name], ours, self.bound[name]))
        return result

    def _product(self, node: QuantNode) -> FloatArray:
        """|x' w' - x w| <= |x' - x| |w'| + |x| |w' - w|, and the bias's own error."""
        source = self.nodes[node.output]
        x, w, *bias = self._operands(node)
        value = real.apply(self.graph, source, [x[2], np.abs(w[1])])
        value = value + real.apply(self.graph, source, [np.abs(x[0]), w[2]])
        if bias:
            spread = (1, 1, -1, 1, 1) if isinstance(node.op, Conv) else (1, -1)
            value = value + bias[0][2].reshape(spread)
        return value

    def _linear(self, node: QuantNode) -> FloatArray:
        """Bounds add up, average and move as the values do; a ReLU does not widen them."""
        source = self.nodes[node.output]
        operands = self._operands(node)
        if isinstance(node.op, Relu):
            return operands[0][2]
        if isinstance(node.op, Add):
            rank = len(self.graph.shapes[node.output])
            return np.asarray(real.align(operands[0][2], rank) + real.align(operands[1][2], rank))
        return real.apply(self.graph, source, [operands[0][2]])

    def _to_logits(self, bound: FloatArray, exact: FloatArray) -> FloatArray:
        factor = LOG2_E_NUMERATOR / 2.0**LOG2_E_SHIFT
        return np.asarray(factor * bound + LOG2_E_ERROR * np.abs(exact))

    def _softmax(self, node: QuantNode, se: int) -> FloatArray:
        """Bound the softmax of (..., C) logits, or the sigmoid as the softmax of (u, 0).

        A change of at most eps in every base-2 logit changes p by at most ln(2) eps / 2, since
        sum_j |dp_i / du_j| = 2 ln(2) p_i (1 - p_i). A relative error d of each term and an absolute
        2**-(se+2) of terms that rule 8 cuts off change p = e / S by (de + p dS) / S. The rounded
        reciprocal adds 1/32 and the last R 1/2 of a unit.
        """
        scale = self.quant_graph.tensors[node.inputs[0]].scale_bits
        u = from_fixed(self.integers[node.inputs[0]], scale)
        change = self.bound[node.inputs[0]]
        if isinstance(node.op, Sigmoid):
            u = np.stack([u, np.zeros_like(u)], axis=-1)
            change = change[..., None]
        terms = np.exp2(u - u.max(axis=-1, keepdims=True))
        total, cut = terms.sum(axis=-1, keepdims=True), 2.0 ** -(se + 2)
        least = np.maximum(1.0, (1 - EXP2_ERROR) * total - terms.shape[-1] * cut)
        term_error = EXP2_ERROR * terms + cut
        total_error = EXP2_ERROR * total + terms.shape[-1] * cut
        value = np.log(2.0) / 2.0 * change.max(axis=-1, keepdims=True)
        value = value + (term_error + terms / total * total_error) / least
        value = value + (0.5 + 1 / 32) / 2.0**se
        return np.asarray(value[..., 0] if isinstance(node.op, Sigmoid) else value)
