"""Writes circuits/vectors/*.json from the numpy reference; with --check, compares instead.

`python circuits/make_vectors.py [--check]`. See circuits/vectors/SOURCES.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from zkai.encoding import write_atomic
from zkai.errors import InvalidInput
from zkai.model import clipping, training
from zkai.model import fixed_point as fixed
from zkai.model import quantize as integer
from zkai.model.fixed_point import IntArray
from zkai.model.quant_graph import (
    Add,
    AveragePool,
    Conv,
    MatMul,
    Mul,
    QuantGraph,
    QuantNode,
    QuantOp,
    QuantTensor,
    Relu,
    Reshape,
    Scale,
    Sigmoid,
    Softmax,
    Transpose,
)

FOLDER = Path(__file__).resolve().parent / "vectors"
Vector = dict[str, Any]


def integers(label: str, shape: tuple[int, ...], low: int, high: int) -> IntArray:
    """Return integers in [low, high]: the first 8 bytes, little-endian, of SHA-256(label:i)."""
    size = int(np.prod(shape, dtype=np.int64))
    words = (hashlib.sha256(f"{label}:{i}".encode()).digest()[:8] for i in range(size))
    values = [low + int.from_bytes(word, "little") % (high - low + 1) for word in words]
    return np.array(values, dtype=np.int64).reshape(shape)


def array(values: Any) -> IntArray:
    """Return integers as an array."""
    return np.array(values, dtype=np.int64)


def plain(value: Any) -> Any:
    """Return arrays and numpy integers as JSON has them."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.integer):
        return int(value)
    return value


def vector(operation: str, work: Callable[[], dict[str, Any]], **arguments: Any) -> Vector:
    """Return a vector with what `work` gives, or with the tensor that its refusal names."""
    head = {"operation": operation, **{name: plain(v) for name, v in arguments.items()}}
    try:
        return {**head, "valid": True, **{name: plain(v) for name, v in work().items()}}
    except InvalidInput as error:
        return {**head, "valid": False, "names": str(error).split(":")[0].removeprefix("tensor ")}


def rule_01() -> list[Vector]:
    """Floats to integers."""
    below_half = float.fromhex("0x1.fffffffffffffp-2")
    cases = [0.5, -0.5, below_half, -below_half, 1.5, 2.5, 3.5, -1.5, -2.5, 0.0, -0.0, 5e-324]
    cases += [-5e-324, 1 / 3, -1 / 3, 2.0**52, -(2.0**52), 2.0**53, -(2.0**53)]
    cases += [float("nan"), float("inf"), float("-inf"), 1e300]
    result = []
    for scale in (0, 1, 8, 16, 24):
        for x in cases:
            result.append(
                vector(
                    "to_fixed",
                    lambda x=x, s=scale: {"out": fixed.to_fixed(x, s, "x")},
                    x=x.hex(),
                    scale_bits=scale,
                )
            )
    return result


def rule_02() -> list[Vector]:
    """R and DIV."""
    result = []
    for k in (-3, 0, 1, 2, 10, 24, 40):
        edge = 1 << max(k - 1, 0)
        a = [0, 1, -1, 2, -2, 3, -3, edge, edge - 1, edge + 1, -edge, -edge - 1, -edge + 1]
        a += [3 * edge, -3 * edge, *integers(f"rescale {k}", (8,), -(1 << 45), 1 << 45).tolist()]
        out = fixed.rescale(array(a), k)
        result.append(vector("rescale", lambda out=out: {"out": out}, a=a, k=k))
    for b in (1, 2, 3, 9, 10, 49, 1 << 34, (1 << 37) - 1):
        a = [0, 1, -1, 5, -5, 7, -7, b // 2, b // 2 + 1, -(b // 2), -(b // 2) - 1, 3 * b, -3 * b]
        a += integers(f"divide {b}", (8,), -(1 << 47), 1 << 47).tolist()
        out = fixed.divide(array(a), b)
        result.append(vector("divide", lambda out=out: {"out": out}, a=a, b=b))
    for b in (0, -1):
        result.append(
            vector("divide", lambda b=b: {"out": fixed.divide(array([1]), b)}, a=[1], b=b)
        )
    return result


def run_node(
    op: QuantOp, arguments: dict[str, IntArray], parameters: tuple[str, ...], out: QuantTensor
) -> IntArray:
    """Run one operator of an integer model on one sample."""
    tensors = {
        name: QuantTensor(
            name, value.shape, 0, 48, "parameter" if name in parameters else "input", True
        )
        for name, value in arguments.items()
    }
    graph = QuantGraph(
        "vector",
        tuple(name for name in arguments if name not in parameters),
        (out.name,),
        {**tensors, out.name: out},
        (QuantNode("node", "node", op, tuple(arguments), out.name, ""),),
        {name: arguments[name] for name in parameters},
    )
    inputs = {name: arguments[name][None] for name in graph.inputs}
    return integer.forward(graph, inputs)[out.name][0]


def node_vector(
    operation: str,
    op: QuantOp,
    arguments: dict[str, IntArray],
    parameters: tuple[str, ...],
    shape: tuple[int, ...],
    width: int = 40,
) -> Vector:
    """Return the vector of one operator; its attributes stand beside its arguments."""
    attributes = {name: value for name, value in vars(op).items() if name not in ("acc_width",)}
    out = QuantTensor("out", shape, 0, width, "output", True)
    return vector(
        operation,
        lambda: {"out": run_node(op, arguments, parameters, out)},
        **attributes,
        **arguments,
        width=width,
    )


def rule_03() -> list[Vector]:
    """Linear layers; widths one bit too small are refused."""
    x, w = integers("x", (3, 5), -128, 127), integers("w", (5, 4), -(1 << 15), 1 << 15)
    b = integers("b", (4,), -(1 << 17), 1 << 17)
    result = []
    for shift, bias_shift in ((0, 0), (1, 4), (12, 8), (-2, 0)):
        op = MatMul(shift, bias_shift, 1, 40)
        result.append(node_vector("matmul", op, {"x": x, "w": w, "b": b}, ("w", "b"), (3, 4)))
        result.append(node_vector("matmul", op, {"x": x, "w": w}, ("w",), (3, 4)))
    limit = {"x": array([[1 << 14]]), "w": array([[1 << 10]])}
    for width in (15, 16):
        op = MatMul(10, 0, 1, 40)
        result.append(node_vector("matmul", op, limit, ("w",), (1, 1), width))
    image = integers("image", (2, 4, 5, 4), -128, 127)
    for groups, strides, pads, dilations, shape in (
        (1, (1, 1), (0, 0, 0, 0), (1, 1), (2, 6, 4, 2)),
        (2, (2, 1), (1, 0, 1, 2), (1, 1), (2, 6, 3, 4)),
        (4, (1, 2), (1, 2, 0, 1), (2, 1), (2, 4, 4, 3)),
    ):
        filters = shape[1]
        kernel = integers(f"kernel {groups}", (filters, 4 // groups, 2, 3), -4096, 4095)
        bias = integers("bias", (filters,), -(1 << 15), 1 << 15)
        op_conv = Conv(strides, pads, dilations, groups, 9, 7, 1, 40)
        arguments = {"x": image, "w": kernel, "b": bias}
        result.append(node_vector("conv", op_conv, arguments, ("w", "b"), shape))
    return result


def rule_04() -> list[Vector]:
    """Sums."""
    a, b = integers("a", (2, 3), -4096, 4095), integers("b", (2, 3), -4096, 4095)
    row = integers("row", (3,), -4096, 4095)
    result = []
    for shifts, sign, shift in (((0, 0), 1, 0), ((3, 0), 1, 0), ((0, 5), -1, 3), ((2, 0), -1, 1)):
        op = Add(shifts, sign, shift, 40)
        result.append(node_vector("add", op, {"a": a, "b": b}, (), (2, 3)))
        result.append(node_vector("add", op, {"a": a, "b": row}, ("b",), (2, 3)))
    edge = {"a": array([127]), "b": array([1])}
    for width in (8, 9):
        result.append(node_vector("add", Add((0, 0), 1, 0, 40), edge, (), (1,), width))
    return result


def rule_05() -> list[Vector]:
    """ReLU."""
    z = array([-(1 << 30), -2, -1, 0, 1, 2, (1 << 30) - 1])
    return [
        node_vector("relu", Relu(), {"x": z}, (), z.shape),
        vector("relu_mask", lambda: {"out": fixed.relu_mask(z)}, x=z),
    ]


def rule_06() -> list[Vector]:
    """Averages and squares."""
    x = integers("pool", (1, 2, 4, 5), -4096, 4095)
    result = []
    for kernel, strides, pads, count, shape in (
        ((2, 2), (2, 2), (0, 0, 0, 0), False, (1, 2, 2, 2)),
        ((3, 3), (1, 2), (1, 1, 1, 1), False, (1, 2, 4, 3)),
        ((3, 3), (1, 2), (1, 1, 1, 1), True, (1, 2, 4, 3)),
        ((4, 5), (4, 5), (0, 0, 0, 0), False, (1, 2, 1, 1)),
    ):
        op = AveragePool(kernel, strides, pads, count)
        result.append(node_vector("average_pool", op, {"x": x}, (), shape))
    z, t = integers("z", (7,), -(1 << 16), 1 << 16), integers("t", (7,), -(1 << 16), 1 << 16)
    work = fixed.squared_error_sum(z, t)
    result.append(vector("squared_error_sum", lambda: {"out": work}, z=z, t=t))
    return result


LOGIT_ROWS = [
    [0] * 10,
    [100, -300, 0],
    [0, 2559, 2560, 2561],
    [0, -2560],
    [0, -2559],
    [0, -2561],
    [-16384, 16383],
    [5, 5, 4],
    [7],
    [32767, 0],
    [32767, 32767, 32767],
    [-32768, -32768],
    [-32768, -65535],
    [32767, 1],
    [255, 256, 257, 511, 512, 513],
]
BAD_LOGIT_ROWS = [[32768, 32767], [-32769, -32769], [32767, -1], [0, -32768], [-32768, -65536]]


def rule_07() -> list[Vector]:
    """Base-2 logits, and which rows are valid."""
    x, w = integers("x7", (3, 6), 0, 16), integers("w7", (6, 4), -(1 << 17), 1 << 17)
    b = integers("b7", (4,), -(1 << 17), 1 << 17)
    result = [
        node_vector("matmul", MatMul(20, 4, 369, 40), {"x": x, "w": w, "b": b}, ("w", "b"), (3, 4)),
        node_vector("scale", Scale(369, 9), {"x": integers("s7", (9,), -999, 999)}, (), (9,)),
        node_vector("scale", Scale(369, -1), {"x": integers("s8", (9,), -9, 9)}, (), (9,)),
    ]
    for row in LOGIT_ROWS + BAD_LOGIT_ROWS:

        def work(row: list[int] = row) -> dict[str, Any]:
            fixed.check_logits(array([row]), 16, "u")
            return {}

        result.append(vector("check_logits", work, u=[row], width=16))
    return result


def softmax_vector(u: IntArray, sa: int, se: int) -> Vector:
    """Return a softmax with all of its intermediate values."""

    def work() -> dict[str, Any]:
        p = fixed.softmax(u, sa, se, "u")
        e, total, rho = fixed.softmax_terms(u, sa, se)
        return {"e": e, "S": total, "rho": rho, "p": p}

    return vector("softmax", work, u=u, logit_scale_bits=sa, error_scale_bits=se)


def rule_08() -> list[Vector]:
    """Softmax."""
    rows = [softmax_vector(array([row]), 8, 8) for row in LOGIT_ROWS + BAD_LOGIT_ROWS]
    rows.append(softmax_vector(integers("u8", (6, 10), -2000, 2000), 8, 8))
    rows.append(softmax_vector(integers("u8b", (3, 256), -500, 500), 8, 8))
    rows.append(softmax_vector(integers("u8c", (3, 5), -9000, 9000), 10, 12))
    rows.append(softmax_vector(integers("u8d", (3, 5), -200, 200), 4, 6))
    return rows


def rule_09() -> list[Vector]:
    """Sigmoid."""
    u = array([*range(-2600, 2601, 100), -2560, -2559, -1, 0, 1, 32767, -32767])
    result = [node_vector("sigmoid", Sigmoid(8, 8), {"u": u}, (), u.shape)]
    for value in (32768, -32768):
        one = {"u": array([value])}
        result.append(node_vector("sigmoid", Sigmoid(8, 8), one, (), (1,)))
    return result


def rule_10() -> list[Vector]:
    """Cross-entropy."""
    values = [
        1,
        2,
        3,
        4,
        5,
        255,
        256,
        257,
        (1 << 32) - 1,
        1 << 32,
        (1 << 32) + 1,
        (1 << 36) + 12345,
    ]
    result = []
    for s in (8, 12):
        out = fixed.log2_fixed(array(values), 32, s)
        result.append(
            vector(
                "log2", lambda out=out: {"out": out}, v=values, scale_bits=32, result_scale_bits=s
            )
        )
    u, y = integers("u10", (6, 10), -2000, 2000), integers("y10", (6,), 0, 9)
    for s in (6, 12):
        out_sum = fixed.cross_entropy_sum(u, y, result_scale_bits=s)
        result.append(
            vector(
                "cross_entropy_sum",
                lambda o=out_sum: {"out": o},
                u=u,
                labels=y,
                result_scale_bits=s,
            )
        )
    return result


def rule_11() -> list[Vector]:
    """Errors and gradients; those of hidden layers are in rule 13's steps."""
    head = training.SoftmaxHead(6, 3)
    weights = integers("w11", head.shape, -60000, 60000)
    x, y = integers("x11", (4, 6), 0, 16), integers("y11", (4,), 0, 2)
    trace = training.trace_step(head, training.HeadState(weights), x, y, 128)
    return [
        vector(
            "error_and_gradient",
            lambda: {"error": trace.error, "gradient": trace.gradient},
            x=x,
            labels=y,
            probabilities=trace.probabilities,
            input_scale_bits=4,
            error_scale_bits=8,
        ),
    ]


def step_vector(
    head: training.Head, label: str, batch: int, rate: int, low: int = -60000
) -> Vector:
    """Return a whole SGD step from weights in [low, 60000]."""
    top = 1 << (head.input_width - 1)
    weights = integers(f"{label} w", head.shape, low, 60000)
    x = integers(f"{label} x", (batch, head.features), -top, top - 1)
    y = integers(f"{label} y", (batch,), 0, head.classes - 1)
    velocity = integers(f"{label} v", head.shape, -5000, 5000) if head.momentum else None
    frozen = None
    if head.frozen_size:
        frozen = integers(f"{label} f", (head.frozen_size,), -60000, 60000)
    state = training.HeadState(weights, velocity, frozen)

    def work() -> dict[str, Any]:
        trace = training.trace_step(head, state, x, y, rate)
        result: dict[str, Any] = {"u": trace.logits, "error": trace.error}
        result["new_weights"] = trace.state.weights
        if trace.state.velocity is not None:
            result["new_velocity"] = trace.state.velocity
        return result

    arguments: dict[str, Any] = {"head": head.describe(), "weights": weights}
    if velocity is not None:
        arguments["velocity"] = velocity
    if frozen is not None:
        arguments["frozen"] = frozen
    return vector("sgd_step", work, **arguments, x=x, labels=y, learning_rate=rate)


def rule_12() -> list[Vector]:
    """Fused updates and whole SGD steps."""
    head = training.SoftmaxHead(6, 3, input_width=6)
    result = [
        step_vector(head, "plain", 4, 2048),
        step_vector(head, "plain", 4, 1),
        step_vector(head, "plain", 4, 4095),
        step_vector(head, "plain", 4, 4096),
        step_vector(head, "plain", 4, 0),
        step_vector(training.SoftmaxHead(6, 3, input_width=6, momentum=230), "momentum", 4, 512),
        step_vector(
            training.SoftmaxHead(
                5, 4, input_scale_bits=8, input_width=12, momentum=255, rate_shift=20
            ),
            "fine",
            3,
            777,
        ),
        step_vector(
            training.SoftmaxHead(6, 3, input_width=8, weight_width=17), "full", 4, 4095, 60000
        ),
        step_vector(training.SoftmaxHead(6, 3, weight_width=16), "wide", 4, 2048),
        step_vector(training.SoftmaxHead(6, 3, input_width=6, decay=1), "decay", 4, 512),
        step_vector(training.SoftmaxHead(6, 3, input_width=6, decay=77777), "decay", 4, 512),
        step_vector(
            training.SoftmaxHead(6, 3, input_width=6, momentum=230, decay=4096), "both", 4, 512
        ),
    ]
    state = training.HeadState(integers("w12", head.shape, -60000, 60000))
    for edge in (0, (1 << 19) + 60001, 1 << 20):
        update = integers("u12", head.shape, -999, 999)
        update[0, 0] = edge or update[0, 0]
        result.append(
            vector(
                "apply_update",
                lambda u=update: {"new_weights": training.apply_update(head, state, u).weights},
                head=head.describe(),
                weights=state.weights,
                update=update,
            )
        )
    return result


def rule_13() -> list[Vector]:
    """Steps through hidden layers, of networks and of LoRA's factors."""
    small: dict[str, Any] = {"input_width": 6}
    mlp, lora = training.MlpHead, training.LoraHead
    return [
        step_vector(mlp((6, 5, 3), **small), "mlp", 4, 1024),
        step_vector(mlp((6, 3), **small), "no hidden layer", 4, 1024),
        step_vector(mlp((4, 5, 4, 3), **small), "deep", 3, 512),
        step_vector(mlp((4, 3, 4, 3, 2), hidden_scale_bits=10, **small), "finer", 3, 512),
        step_vector(mlp((6, 5, 3), momentum=200, **small), "mlp momentum", 4, 256),
        step_vector(mlp((6, 5, 3), momentum=99, decay=999, **small), "mlp both", 4, 256),
        step_vector(mlp((4, 5, 4, 3), decay=2048, **small), "deep decay", 3, 512),
        step_vector(mlp((6, 5, 3), hidden_width=9, **small), "narrow hidden", 4, 512),
        step_vector(mlp((4, 5, 4, 3), error_width=7, **small), "narrow error", 4, 512),
        step_vector(lora((6, 5, 3), 2, **small), "lora", 4, 1024),
        step_vector(lora((6, 5, 3), 2, input_scale_bits=10, input_width=11), "lora fine", 4, 1024),
        step_vector(lora((6, 5, 3), 2, (2,), **small), "lora last", 4, 1024),
        step_vector(lora((6, 5, 3), 2, (1, 2), **small), "lora both", 4, 1024),
        step_vector(lora((4, 5, 4, 3), 1, (1, 2), **small), "lora deep", 3, 512),
        step_vector(lora((4, 5, 4, 3), 2, (1, 3), momentum=50, **small), "lora momentum", 3, 512),
        step_vector(lora((4, 5, 4, 3), 2, (2,), decay=500, **small), "lora decay", 3, 512),
        step_vector(lora((6, 5, 3), 2, error_width=4, **small), "lora narrow", 4, 512),
    ]


def rule_14() -> list[Vector]:
    """Widths, at their edges."""
    result = []
    for width in (2, 8, 20):
        half = 1 << (width - 1)
        for value in (half - 1, half, -half, -half - 1):

            def work(value: int = value, width: int = width) -> dict[str, Any]:
                fixed.check_width(array([0, value]), width, "t")
                return {}

            result.append(vector("check_width", work, values=[0, value], width=width))
    return result


def rule_15() -> list[Vector]:
    """Constant factors."""
    x, c = integers("x15", (2, 3), -4096, 4095), integers("c15", (3,), -4096, 4095)
    return [
        node_vector("mul", Mul(shift, 40), {"x": x, "c": c}, ("c",), (2, 3)) for shift in (0, 1, 11)
    ]


def rule_16() -> list[Vector]:
    """Rearrangements."""
    x = integers("x16", (2, 3, 4), -99, 99)
    result = [
        node_vector("transpose", Transpose(perm), {"x": x}, (), tuple(x.shape[a] for a in perm))
        for perm in ((0, 2, 1), (2, 1, 0), (1, 2, 0))
    ]
    result += [
        {**node_vector("reshape", Reshape(), {"x": x}, (), shape), "shape": list(shape)}
        for shape in ((24,), (6, 4), (1, 2, 3, 4))
    ]
    # A softmax node takes its rows from the last axis whatever the rank.
    op, u = Softmax(8, 8), integers("u16", (2, 2, 3), -900, 900)
    result.append(node_vector("softmax_node", op, {"u": u}, (), u.shape))
    return result


def norm_vector(
    plan: clipping.NormPlan, parts: list[tuple[IntArray, IntArray]], threshold: int
) -> Vector:
    """Return examples' squared norms and clipping factors."""

    def work() -> dict[str, Any]:
        norms = clipping.squared_norms(plan, parts)
        return {"norms": norms, "factors": clipping.clip_factors(norms, threshold)}

    layers = [
        {**vars(layer), "inputs": plain(inputs), "errors": plain(errors)}
        for layer, (inputs, errors) in zip(plan.layers, parts, strict=True)
    ]
    return vector("clip", work, layers=layers, norm_scale_bits=plan.scale_bits, threshold=threshold)


def rule_17() -> list[Vector]:
    """Per-example clipping."""
    one = clipping.NormPlan((clipping.LayerBounds(5 << 14, 3 << 16, 1 << 4, 12),))
    two = clipping.NormPlan(
        (
            clipping.LayerBounds(5 << 22, 4 << 26, 1 << 8, 16),
            clipping.LayerBounds(4 << 28, 3 << 36, 0, 20),  # too wide: p = 9
        )
    )
    x, e = integers("x17", (6, 5), -128, 127), integers("e17", (6, 3), -256, 256)
    fine, d = integers("f17", (6, 5), -2048, 2047), integers("d17", (6, 4), -8192, 8191)
    h = integers("h17", (6, 4), 0, (1 << 14) - 1)
    e[0] = d[0] = 0
    e[1], d[1] = integers("e17b", (3,), -3, 3), integers("d17b", (4,), -3, 3)
    x[2], e[2], fine[2], d[2], h[2] = -128, 256, -2048, -8192, (1 << 14) - 1
    result = [
        norm_vector(one, [(x, e)], clipping.norm_threshold(one, norm))
        for norm in (0.001, 0.5, 4.0, 700.0)
    ]
    result += [
        norm_vector(two, [(fine, d), (h, e)], clipping.norm_threshold(two, norm))
        for norm in (0.05, 1.5, 700.0)
    ]
    # The edges of f: T = f^2 N exactly, and one less.
    (norm,) = clipping.squared_norms(one, [(x[3:4], e[3:4])]).tolist()
    result += [
        norm_vector(one, [(x[3:4], e[3:4])], f * f * norm - less)
        for f in (1, 2, 128, 4095, 4096, 4097)
        for less in (0, 1)
    ]
    return result + [
        step_vector(head.clipped(norm), label, 5, 512)
        for label, head in CLIPPED_HEADS.items()
        for norm in (0.3, 5.0)
    ]


CLIPPED_HEADS: dict[str, training.Head] = {
    "clip": training.SoftmaxHead(6, 3, input_width=6),
    "clip both": training.SoftmaxHead(6, 3, input_width=6, momentum=230, decay=999),
    "clip mlp": training.MlpHead((6, 5, 4, 3), input_width=6),
    "clip wide": training.MlpHead((6, 5, 3), input_scale_bits=10, input_width=14, hidden_width=22),
    "clip lora": training.LoraHead((6, 5, 3), 2, input_width=6),
    "clip lora both": training.LoraHead((6, 5, 4, 3), 2, (2, 3), input_width=6, decay=70),
}


RULES: dict[str, Callable[[], list[Vector]]] = {
    "01_tensors": rule_01,
    "02_rounding": rule_02,
    "03_linear": rule_03,
    "04_sums": rule_04,
    "05_relu": rule_05,
    "06_averages": rule_06,
    "07_logits": rule_07,
    "08_softmax": rule_08,
    "09_sigmoid": rule_09,
    "10_cross_entropy": rule_10,
    "11_backward": rule_11,
    "12_update": rule_12,
    "13_hidden_layers": rule_13,
    "14_overflow": rule_14,
    "15_constant_factors": rule_15,
    "16_rearrangements": rule_16,
    "17_clipping": rule_17,
}


def render(name: str) -> bytes:
    """Return one file's bytes: a vector a line."""
    lines = [json.dumps(item, allow_nan=False) for item in RULES[name]()]
    head = f'{{"format": "zkai.vectors/1", "rule": {int(name[:2])}, "vectors": [\n'
    return (head + ",\n".join(lines) + "\n]}\n").encode("ascii")


def main() -> int:
    """Write or compare every file; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the files, write none")
    check = parser.parse_args().check
    stale = []
    for name in RULES:
        path, data = FOLDER / f"{name}.json", render(name)
        if not check:
            write_atomic(path, data)
        elif not path.exists() or path.read_bytes() != data:
            stale.append(path.name)
    if stale:
        print(f"differ from the reference: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
