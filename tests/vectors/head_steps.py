"""A head's SGD step in unbounded integers, written from rules 5, 7, 8, 11 to 14 and 17."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

from unbounded import Refused, Vector, fits, nested, product, rescale, softmax_row, turned

Rows = list[list[int]]


@dataclass
class Layer:
    """A layer's matrix, with the bias last, its factors, and what the step leaves here."""

    number: int
    trained: bool
    w: Rows
    a: Rows | None = None
    b: Rows | None = None
    x: Rows = field(default_factory=list)
    scale: int = 0
    low: Rows = field(default_factory=list)
    mask: Rows = field(default_factory=list)


@dataclass
class Outer:
    """One trained matrix: its gradient's factors, scales, and the largest |a|^2 and |d|^2."""

    w: Rows
    left: Rows
    error: Rows
    scale: int
    error_scale: int
    bias: bool
    bounds: tuple[int, int]
    raw: int = 0

    @property
    def gradient(self) -> Rows:
        one = [2**self.scale] if self.bias else []
        return product(turned([[*row, *one] for row in self.left]), self.error)


def sgd_step(v: Vector) -> Any:
    head, rate = v["head"], v["learning_rate"]
    if not 1 <= rate < 2 ** head["rate_bits"]:
        raise Refused("learning_rate")
    nested(lambda w: fits(w, head["weight_width"], "weights"), v["weights"])
    layers = layers_of(head, v)
    u = forward(head, layers, v["x"])
    p = [softmax_row(row, head["logit_scale_bits"], error_scale(head), "logits")["p"] for row in u]
    one = 2 ** error_scale(head)
    error = [
        [q - one * (place == label) for place, q in enumerate(row)]
        for row, label in zip(p, v["labels"], strict=True)
    ]
    outers = backward(head, layers, error)
    if head.get("clip"):
        clip(head, outers)
    result = {"u": u, "error": error}
    return result | update(head, v, outers, rate)


def error_scale(head: Vector) -> int:
    return int(head["error_scale_bits"])


def kind(head: Vector) -> str:
    return str(head["name"]).removeprefix("zkai.").removesuffix("-head/1")


def layers_of(head: Vector, v: Vector) -> list[Layer]:
    if kind(head) == "softmax":
        return [Layer(1, True, v["weights"])]
    trained = kind(head) == "mlp"
    flat = iter(v["weights"] if trained else v["frozen"])
    layers = []
    for number, (n, m) in enumerate(pairwise(head["sizes"]), 1):
        layers.append(Layer(number, trained, take(flat, n + 1, m)))
    if not trained:
        flat = iter(v["weights"])
        for number in head["adapted"]:
            layer, rank = layers[number - 1], head["rank"]
            layer.a = take(flat, len(layer.w) - 1, rank)
            layer.b = take(flat, rank, len(layer.w[0]))
    return layers


def take(flat: Any, n: int, m: int) -> Rows:
    return [[next(flat) for _ in range(m)] for _ in range(n)]


def hidden_scale(head: Vector) -> int:
    return int(head.get("hidden_scale_bits", head["logit_scale_bits"]))


def forward(head: Vector, layers: list[Layer], x: Rows) -> Rows:
    sw, sa, sh = head["weight_scale_bits"], head["logit_scale_bits"], hidden_scale(head)
    scale = head["input_scale_bits"]
    for layer in layers:
        layer.x, layer.scale, common = x, scale, scale
        with_one = [[*row, 2**scale] for row in x]
        acc = product(with_one, layer.w)
        if layer.a is not None:
            name = f"layer {layer.number} A t"
            layer.low = nested(
                lambda a, s=scale, n=name: fits(rescale(a, s + sw - sh), head["hidden_width"], n),
                product(x, layer.a),
            )
            common = max(scale, sh)
            acc = nested(lambda a, k=common - scale: a * 2**k, acc)
            added = nested(lambda a, k=common - sh: a * 2**k, product(layer.low, layer.b))
            acc = nested(lambda a, b: a + b, acc, added)
        if layer is layers[-1]:
            break
        z = nested(lambda a, c=common: rescale(a, c + sw - sh), acc)
        name = f"hidden layer {layer.number}"
        nested(lambda a, n=name: fits(a - 1, head["hidden_width"], n), z)
        layer.mask = nested(lambda a: int(a >= 1), z)
        x, scale = nested(lambda a: max(a, 0), z), sh
    return nested(lambda a: rescale(369 * a, common + sw + 8 - sa), acc)


def backward(head: Vector, layers: list[Layer], error: Rows) -> list[Outer]:
    """Return the trained matrices in the order of the weights."""
    sw, se, clips = head["weight_scale_bits"], error_scale(head), bool(head.get("clip"))
    lowest = next(x.number for x in layers if x.trained or x.a is not None)
    found: list[Outer] = []
    rounded, raw = error, error
    for layer in reversed(layers):
        last, first = layer is layers[-1], layer.number == 1
        width = head["input_width"] if first else head["hidden_width"]
        inputs = (len(layer.w) - 1) * 4 ** (width - 1)
        largest = 4**se if last else 4 ** (head["error_width"] - 1)
        errors = len(layer.w[0]) * largest
        here, extra = [], None
        if layer.trained:
            bounds = (inputs + 4**layer.scale, errors)
            here.append(Outer(layer.w, layer.x, rounded, layer.scale, se, True, bounds))
        if layer.a is not None and layer.b is not None:
            bits = 0 if last or clips else sw
            own = raw if bits else rounded
            name = f"layer {layer.number} A error"
            extra = nested(
                lambda a, k=sw + bits, n=name: fits(rescale(a, k), head["error_width"], n),
                product(own, turned(layer.b)),
            )
            rank = len(layer.b)
            low = rank * 4 ** (head["error_width"] - 1)
            here.append(Outer(layer.a, layer.x, extra, layer.scale, se, False, (inputs, low)))
            bounds = (rank * 4 ** (head["hidden_width"] - 1), errors)
            scale = hidden_scale(head)
            here.append(Outer(layer.b, layer.low, own, scale, se + bits, False, bounds, bits))
        found = here + found
        if layer.number == lowest:
            break
        sums = product(rounded, turned(layer.w[:-1]))
        if extra is not None:
            sums = nested(lambda a, b: a + b, sums, product(extra, turned(layer.a)))
        below = layers[layer.number - 2]
        raw = nested(lambda a, m: a * m, sums, below.mask)
        if below.trained or below.number > lowest or clips:
            name = f"hidden error {below.number}"
            rounded = nested(lambda a, n=name: fits(rescale(a, sw), head["error_width"], n), raw)
    return found


def clip(head: Vector, outers: list[Outer]) -> None:
    """Multiply the examples' errors by their factors f (rule 17)."""
    parts = []
    for o in outers:
        p = max(0, sum(bound.bit_length() for bound in o.bounds) - 60)
        parts.append((o, p, 2 * (o.scale + o.error_scale) - p))
    scale = min(16, 2 * max(o.scale + o.error_scale for o in outers))
    while sum(largest(o, p) for o, p, _ in scaled(parts, scale)) >= 2**60:
        scale -= 1
    for row in range(len(outers[0].left)):
        norm = 0
        for o, p, s in parts:
            one = 4**o.scale if o.bias else 0
            first = math.ceil(Fraction(sum(a * a for a in o.left[row]) + one, 2**p))
            product_ = first * sum(d * d for d in o.error[row])
            norm += math.ceil(product_ / Fraction(2) ** (s - scale))
        f = max(k for k in range(4097) if k * k * norm <= head["clip"])
        for o in outers:
            o.error = [[f * d for d in r] if i == row else r for i, r in enumerate(o.error)]


def scaled(parts: Any, scale: int) -> Any:
    return [(o, (p, s - scale), s) for o, p, s in parts]


def largest(o: Outer, shifts: tuple[int, int]) -> int:
    p, k = shifts
    first = math.ceil(Fraction(o.bounds[0], 2**p))
    return math.ceil(first * o.bounds[1] / Fraction(2) ** k)


def moved(head: Vector, w: int, g: int, shift: int, rate: int) -> int:
    new = rescale(w * 2**shift - rate * g, shift)
    return fits(new, head["weight_width"], "weights after the step")


def update(head: Vector, v: Vector, outers: list[Outer], rate: int) -> Vector:
    sw, m, decay = head["weight_scale_bits"], head["momentum"], head.get("decay", 0)
    more = 12 if head.get("clip") else 0
    k = 20 if decay and not more else 8
    old_v = iter(flat_of(v["velocity"])) if m else None
    new_w: list[int] = []
    new_v: list[int] = []
    for o in outers:
        scale = o.scale + o.error_scale + more
        step = o.gradient
        if m or decay:
            scale -= o.raw
            lam = Fraction(decay) * Fraction(2) ** (scale + k - sw - 16)
            assert lam.denominator == 1
            before = take(old_v, len(o.w), len(o.w[0])) if old_v else nested(lambda g: 0, step)
            step = nested(
                lambda b, g, w, o=o, lam=lam: rescale(
                    (m * b + 256 * rescale(g, o.raw)) * 2 ** (k - 8) + int(lam) * w, k
                ),
                before,
                step,
                o.w,
            )
            new_v += flat_of(step)
        shift = scale + head["rate_shift"] - sw
        new_w += flat_of(nested(lambda w, g, k=shift: moved(head, w, g, k, rate), o.w, step))
    result = {"new_weights": new_w} | ({"new_velocity": new_v} if m else {})
    if kind(head) == "softmax":
        width = head["classes"]
        return {n: [r[i : i + width] for i in range(0, len(r), width)] for n, r in result.items()}
    return result


def flat_of(rows: Any) -> list[int]:
    return [x for row in rows for x in row] if isinstance(rows[0], list) else list(rows)
