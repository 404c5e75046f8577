"""Recomputes every fixed-point vector with unbounded integers, from circuits/README.md alone."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from head_steps import sgd_step
from unbounded import (
    Refused,
    Vector,
    check_row,
    divide,
    fits,
    nested,
    product,
    rescale,
    softmax_row,
    turned,
)

from zkai.model import fixed_point, training

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "circuits/vectors").glob("[0-9]*.json"))


def to_fixed(v: Vector) -> Any:
    x = float.fromhex(v["x"])
    if not math.isfinite(x):
        raise Refused("x")
    y = Fraction(x) * 2 ** v["scale_bits"]
    if abs(y) >= 2**53:
        raise Refused("x")
    return {"out": math.floor(y + Fraction(1, 2))}


def matmul(v: Vector) -> Any:
    bias = v.get("b", [0] * len(v["w"][0]))
    acc = product(v["x"], v["w"])
    shifted = [
        [a + b * 2 ** v["bias_shift"] for a, b in zip(row, bias, strict=True)] for row in acc
    ]
    out = nested(lambda a: rescale(v["multiplier"] * a, v["shift"]), shifted)
    return {"out": nested(lambda a: fits(a, v["width"], "out"), out)}


def conv(v: Vector) -> Any:
    x, w, (top, left, bottom, right) = v["x"], v["w"], v["pads"]
    channels, height, width = len(x[0]), len(x[0][0]), len(x[0][0][0])
    size, (kh, kw) = len(w[0]), (len(w[0][0]), len(w[0][0][0]))
    (sh, sw), (dh, dw) = v["strides"], v["dilations"]
    rows = (height + top + bottom - dh * (kh - 1) - 1) // sh + 1
    columns = (width + left + right - dw * (kw - 1) - 1) // sw + 1

    def at(n: int, c: int, i: int, j: int) -> int:
        return x[n][c][i][j] if 0 <= i < height and 0 <= j < width else 0

    def place(n: int, m: int, i: int, j: int) -> int:
        first = m // (len(w) // v["groups"]) * size
        acc = v["b"][m] * 2 ** v["bias_shift"]
        for c, a, b in itertools.product(range(size), range(kh), range(kw)):
            value = at(n, first + c, i * sh - top + a * dh, j * sw - left + b * dw)
            acc += w[m][c][a][b] * value
        return rescale(acc * v["multiplier"], v["shift"])

    assert channels == size * v["groups"]
    return {
        "out": [
            [
                [[place(n, m, i, j) for j in range(columns)] for i in range(rows)]
                for m in range(len(w))
            ]
            for n in range(len(x))
        ]
    }


def add(v: Vector) -> Any:
    b = v["b"]
    if isinstance(v["a"][0], list) and not isinstance(b[0], list):
        b = [b] * len(v["a"])
    sa, sb = v["shifts"]

    def one(a: int, b: int) -> int:
        return fits(rescale(a * 2**sa + v["sign"] * b * 2**sb, v["shift"]), v["width"], "out")

    return {"out": nested(one, v["a"], b)}


def average_pool(v: Vector) -> Any:
    x, (top, left, bottom, right) = v["x"], v["pads"]
    height, width = len(x[0][0]), len(x[0][0][0])
    (kh, kw), (sh, sw) = v["kernel"], v["strides"]
    rows, columns = (height + top + bottom - kh) // sh + 1, (width + left + right - kw) // sw + 1

    def place(plane: list[list[int]], i: int, j: int) -> int:
        inside = [
            plane[a][b]
            for a in range(i * sh - top, i * sh - top + kh)
            for b in range(j * sw - left, j * sw - left + kw)
            if 0 <= a < height and 0 <= b < width
        ]
        return divide(sum(inside), kh * kw if v["count_include_pad"] else len(inside))

    planes = [
        [[[place(p, i, j) for j in range(columns)] for i in range(rows)] for p in item]
        for item in x
    ]
    return {"out": planes}


def check_logits(v: Vector) -> Any:
    for row in v["u"]:
        check_row(row, 2 ** (v["width"] - 1), "u")
    return {}


def softmax(v: Vector) -> Any:
    rows = [softmax_row(u, v["logit_scale_bits"], v["error_scale_bits"]) for u in v["u"]]
    wrapped = {"S": [[row["S"]] for row in rows], "rho": [[row["rho"]] for row in rows]}
    return wrapped | {"e": [row["e"] for row in rows], "p": [row["p"] for row in rows]}


def softmax_node(v: Vector) -> Any:
    sa, se = v["logit_scale_bits"], v["error_scale_bits"]
    return {"out": [[softmax_row(row, sa, se)["p"] for row in plane] for plane in v["u"]]}


def sigmoid(v: Vector) -> Any:
    sa, se = v["logit_scale_bits"], v["error_scale_bits"]
    return {"out": [softmax_row([u, 0], sa, se)["p"][0] for u in v["u"]]}


def log2(v: int, scale: int, s: int) -> int:
    n = v.bit_length() - 1
    f = math.floor(Fraction(v, 2**n) * 2**s) - 2**s
    return (n - scale) * 2**s + f + rescale(22 * f * (2**s - f), 6 + s)


def cross_entropy_sum(v: Vector) -> Any:
    s, total = v["result_scale_bits"], 0
    for row, label in zip(v["u"], v["labels"], strict=True):
        d = max(row) - row[label]
        total += log2(softmax_row(row, 8, 8)["S"], 32, s) + rescale(d, 8 - s)
    return {"out": rescale(45426 * total, 16)}


def error_and_gradient(v: Vector) -> Any:
    one = 2 ** v["error_scale_bits"]
    error = [
        [p - one * (place == label) for place, p in enumerate(row)]
        for row, label in zip(v["probabilities"], v["labels"], strict=True)
    ]
    x = [[*row, 2 ** v["input_scale_bits"]] for row in v["x"]]
    return {"error": error, "gradient": product(turned(x), error)}


def apply_update(v: Vector) -> Any:
    width = v["head"]["weight_width"]
    nested(lambda a: fits(a, width + 1, "update"), v["update"])
    name = "weights after the update"
    return {"new_weights": nested(lambda a, b: fits(a + b, width, name), v["weights"], v["update"])}


def clip(v: Vector) -> Any:
    norms = [0] * len(v["layers"][0]["inputs"])
    for layer in v["layers"]:
        bounds = layer["activation"] + layer["one"] ** 2, layer["delta"]
        p = max(0, sum(bound.bit_length() for bound in bounds) - 60)
        k = 2 * layer["scale_bits"] - p - v["norm_scale_bits"]
        for row, (a, d) in enumerate(zip(layer["inputs"], layer["errors"], strict=True)):
            first = math.ceil(Fraction(sum(x * x for x in [*a, layer["one"]]), 2**p))
            norms[row] += math.ceil(first * sum(x * x for x in d) / Fraction(2) ** k)
    threshold = v["threshold"]
    factors = [max(f for f in range(4097) if f * f * n <= threshold) for n in norms]
    return {"norms": norms, "factors": factors}


def transpose(v: Vector) -> Any:
    return {"out": np.array(v["x"], dtype=object).transpose(v["perm"]).tolist()}


OPERATIONS: dict[str, Callable[[Vector], Any]] = {
    "add": add,
    "apply_update": apply_update,
    "average_pool": average_pool,
    "check_logits": check_logits,
    "clip": clip,
    "check_width": lambda v: [fits(a, v["width"], "t") for a in v["values"]] and {},
    "conv": conv,
    "cross_entropy_sum": cross_entropy_sum,
    "divide": lambda v: {"out": [divide(a, v["b"]) for a in v["a"]]},
    "error_and_gradient": error_and_gradient,
    "log2": lambda v: {"out": [log2(a, v["scale_bits"], v["result_scale_bits"]) for a in v["v"]]},
    "matmul": matmul,
    "mul": lambda v: {
        "out": nested(lambda a, c: rescale(a * c, v["shift"]), v["x"], [v["c"]] * len(v["x"]))
    },
    "relu": lambda v: {"out": [max(a, 0) for a in v["x"]]},
    "relu_mask": lambda v: {"out": [int(a > 0) for a in v["x"]]},
    "rescale": lambda v: {"out": [rescale(a, v["k"]) for a in v["a"]]},
    "reshape": lambda v: {"out": np.array(v["x"], dtype=object).reshape(v["shape"]).tolist()},
    "scale": lambda v: {"out": [rescale(v["multiplier"] * a, v["shift"]) for a in v["x"]]},
    "sgd_step": sgd_step,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "softmax_node": softmax_node,
    "squared_error_sum": lambda v: {
        "out": sum((a - b) ** 2 for a, b in zip(v["z"], v["t"], strict=True))
    },
    "to_fixed": to_fixed,
    "transpose": transpose,
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_vectors_follow_from_the_text(path: Path) -> None:
    data = json.loads(path.read_text())
    assert data["format"] == "zkai.vectors/1"
    assert data["rule"] == int(path.stem[:2])
    for vector in data["vectors"]:
        operation = OPERATIONS[vector["operation"]]
        if vector["valid"]:
            expected = operation(vector)
            assert {name: vector[name] for name in expected} == expected, vector["operation"]
        else:
            with pytest.raises(Refused) as refused:
                operation(vector)
            assert vector["names"].strip("'") == str(refused.value)


def test_the_reference_still_makes_the_vectors() -> None:
    command = [sys.executable, str(ROOT / "circuits/make_vectors.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_rule_has_vectors_and_refusals() -> None:
    rules = {json.loads(path.read_text())["rule"] for path in FILES}
    assert rules == set(range(1, 18))
    text = "".join(path.read_text() for path in FILES)
    assert text.count('"valid": false') > 50


def golden() -> list[Vector]:
    vectors = json.loads((Path(__file__).parent / "golden_fixed_point.json").read_text())["vectors"]
    assert len(vectors) == 37
    return vectors


def integers(values: Any) -> Any:
    return np.array(values, dtype=np.int64)


def golden_step(v: Vector) -> None:
    head = training.SoftmaxHead(6, 3, rate_shift=16)
    state = training.HeadState(integers([*v["W"], v["b"]]))
    rate = 1 << (16 - v["kexp"])
    trace = training.trace_step(head, state, integers(v["X"]), integers(v["y"]), rate)
    assert trace.logits.tolist() == v["u"]
    assert trace.error.tolist() == v["E"]
    assert trace.state.weights.tolist() == [*v["W_out"], v["b_out"]]


def golden_result(v: Vector) -> Any:
    match v["op"]:
        case "rescale":
            return fixed_point.rescale(integers(v["a"]), v["k"])
        case "div_round":
            return fixed_point.divide(integers(v["a"]), v["b"])
        case "to_fix":
            return fixed_point.to_fixed(float.fromhex(v["x"]), v["s"])
        case "softmax":
            return fixed_point.softmax(integers(v["u"]))
        case "sigmoid":
            return fixed_point.sigmoid(integers(v["u"]))
        case "ce_sum":
            u, y = integers(v["u"]), integers(v["y"])
            return fixed_point.cross_entropy_sum(u, y, result_scale_bits=v["s"])
        case "avgpool":
            x = integers(v["X"])
            rows = x.reshape(1, 1, 2, 2, 2, 2).sum(axis=(3, 5))
            return fixed_point.divide(rows, v["k"] ** 2)
    raise AssertionError(v["op"])


@pytest.mark.parametrize("vector", golden(), ids=lambda v: v["op"])
def test_golden_vectors_hold(vector: Vector) -> None:
    if vector["op"] == "lr_step":
        golden_step(vector)
    else:
        assert np.array_equal(golden_result(vector), integers(vector["out"]))
