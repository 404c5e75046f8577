"""The fixed-point rules on int64 arrays: the one arithmetic that models, circuits and tests share.

Every function is exact and has no data-dependent rounding mode. `circuits/README.md` states each
rule in mathematics; the rule numbers below are its numbers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

MAX_SCALE_BITS = 24
"""The largest scale a tensor may have (rule 1)."""

MAX_WIDTH = 62
"""The largest signed width of any value, so that int64 holds it and the sum of two of them."""

WEIGHT_SCALE_BITS = 16
LOGIT_SCALE_BITS = 8
ERROR_SCALE_BITS = 8
LOGIT_WIDTH = 16
"""Profile 16/8/8: weights sw = 16, base-2 logits sa = 8, probabilities and errors se = 8; a row's
maximum logit and every distance from it fit LOGIT_WIDTH signed bits (rule 7)."""

LOG2_E_NUMERATOR = 369
LOG2_E_SHIFT = 8
"""369 / 2**8 = 1.44140625 stands for log2(e) = 1.442695... (rule 7)."""

GUARD_BITS = 4
"""Extra fraction bits of the reciprocal in rule 8."""

LN2_NUMERATOR = 45426
"""round(ln(2) * 2**16) (rule 10)."""


def check_width(values: IntArray, width: int, tensor: str) -> None:
    """Return None if every value v has -2**(width-1) <= v < 2**(width-1).

    Raises InvalidInput, naming `tensor`, otherwise: an overflow is rejected and never saturates
    or wraps (rule 14).
    """
    half = 1 << (width - 1)
    if values.size and (int(values.min()) < -half or int(values.max()) >= half):
        raise InvalidInput(
            f"tensor {tensor!r}: a value does not fit its {width} signed bits; give calibration"
            " samples that cover such inputs, or a larger margin"
        )


def rescale(acc: IntArray, shift: int) -> IntArray:
    """Drop `shift` fraction bits, rounding halves up: R_shift(acc), rule 2.

    Returns floor((acc + 2**(shift-1)) / 2**shift), or acc * 2**-shift exactly if shift <= 0.
    """
    if shift <= 0:
        return np.asarray(acc << np.int64(-shift), dtype=np.int64)
    return np.asarray((acc + (np.int64(1) << np.int64(shift - 1))) >> np.int64(shift), np.int64)


def divide(numerator: IntArray, denominator: IntArray | int) -> IntArray:
    """Divide, rounding halves up: DIV(a, b) = floor((2a + b) / (2b)), rule 2.

    Raises InvalidInput unless every denominator is at least 1.
    """
    if np.any(np.asarray(denominator) < 1):
        raise InvalidInput("denominator: DIV needs one of at least 1")
    below = np.asarray(denominator, dtype=np.int64)
    return np.asarray((2 * numerator + below) // (2 * below), dtype=np.int64)


def to_fixed(values: npt.ArrayLike, scale_bits: int, tensor: str = "input") -> IntArray:
    """Round floats to integers at scale 2**scale_bits, halves up.

    Returns floor(y) + [y - floor(y) >= 1/2] with y = values * 2**scale_bits, which is exact;
    floor(y + 0.5) is not. Minus zero and subnormal numbers give 0.

    Raises InvalidInput, naming `tensor`, for values that are not real numbers, for NaN and
    infinities, and for |y| >= 2**53, where a float no longer holds every integer.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise InvalidInput(f"tensor {tensor!r}: expected real numbers, got dtype {array.dtype}")
    if not 0 <= scale_bits <= MAX_SCALE_BITS:
        raise InvalidInput(
            f"tensor {tensor!r}: the scale must be 0 to {MAX_SCALE_BITS} bits, got {scale_bits}"
        )
    real = array.astype(np.float64)
    if not np.all(np.isfinite(real)):
        raise InvalidInput(f"tensor {tensor!r}: holds NaN or an infinity; give finite numbers")
    scaled = real * float(1 << scale_bits)
    if np.any(np.abs(scaled) >= 2.0**53):
        raise InvalidInput(
            f"tensor {tensor!r}: a value times 2**{scale_bits} is 2**53 or more; scale it down"
        )
    down = np.floor(scaled)
    return np.asarray(down + (scaled - down >= 0.5), dtype=np.int64)


def from_fixed(values: IntArray, scale_bits: int) -> FloatArray:
    """Return the real numbers values / 2**scale_bits."""
    return np.asarray(values, dtype=np.float64) / float(1 << scale_bits)


def relu_mask(values: IntArray) -> IntArray:
    """Return [z >= 1] as 0 or 1: the derivative of ReLU, 0 at 0 (rule 5)."""
    return np.asarray(values >= 1, dtype=np.int64)


def relu(values: IntArray) -> IntArray:
    """Return z [z >= 1] (rule 5)."""
    return np.asarray(values * relu_mask(values), dtype=np.int64)


def squared_error_sum(values: IntArray, targets: IntArray) -> int:
    """Return the exact sum of (z - t)**2, at twice the scale of z (rule 6).

    The factor 2 / N of a mean's gradient belongs into the learning rate.
    """
    return sum(int(d) ** 2 for d in np.ravel(values - targets))


def exponent_scale(logit_scale_bits: int, error_scale_bits: int) -> int:
    """Return E0 = 2 sa + se + 8: rule 8's exponentials are integers at scale 2**E0."""
    return 2 * logit_scale_bits + error_scale_bits + 8


def exp2_negative(distance: IntArray, logit_scale_bits: int, error_scale_bits: int) -> IntArray:
    """Approximate 2**(-d / 2**sa) for d >= 0 as an integer at scale 2**E0 (rule 8).

    With q = d >> sa and f = d mod 2**sa: e = (64 2**(2 sa) - 43 f 2**sa + 11 f**2) 2**(se+2-q),
    which is never rounded, and 0 once q >= se + 2.
    """
    sa, limit = np.int64(logit_scale_bits), error_scale_bits + 2
    whole = distance >> sa
    part = distance & ((np.int64(1) << sa) - 1)
    polynomial = (np.int64(64) << (2 * sa)) - 43 * (part << sa) + 11 * part * part
    shift = np.clip(limit - whole, 0, limit)
    return np.asarray(np.where(whole < limit, polynomial << shift, 0), dtype=np.int64)


def check_logits(logits: IntArray, width: int, tensor: str) -> None:
    """Return None if every row has m in [-2**(w-1), 2**(w-1)) and m - u < 2**(w-1) (rule 7).

    `logits` has shape (..., classes); m is a row's maximum. Raises InvalidInput naming `tensor`.
    """
    top = logits.max(axis=-1, keepdims=True)
    half = 1 << (width - 1)
    if np.any(top < -half) or np.any(top >= half) or np.any(top - logits >= half):
        raise InvalidInput(
            f"tensor {tensor!r}: a row's largest base-2 logit, or the distance of another from it,"
            f" does not fit {width} signed bits; the softmax input is too large"
        )


def softmax_terms(
    logits: IntArray,
    logit_scale_bits: int = LOGIT_SCALE_BITS,
    error_scale_bits: int = ERROR_SCALE_BITS,
) -> tuple[IntArray, IntArray, IntArray]:
    """Return rule 8's exponentials e (..., C), their sums S (..., 1) and reciprocals rho (..., 1).

    rho = DIV(2**(E0 + se + 4), S). S >= 2**E0, as the row's largest term is 2**E0 exactly.
    """
    top = logits.max(axis=-1, keepdims=True)
    terms = exp2_negative(top - logits, logit_scale_bits, error_scale_bits)
    total = np.asarray(terms.sum(axis=-1, keepdims=True), dtype=np.int64)
    scale = exponent_scale(logit_scale_bits, error_scale_bits)
    numerator = np.full_like(total, np.int64(1) << (scale + error_scale_bits + GUARD_BITS))
    return terms, total, divide(numerator, total)


def softmax(
    logits: IntArray,
    logit_scale_bits: int = LOGIT_SCALE_BITS,
    error_scale_bits: int = ERROR_SCALE_BITS,
    tensor: str = "logits",
) -> IntArray:
    """Return the softmax of base-2 logits over the last axis at scale 2**se (rules 7 and 8).

    p = R_{E0+4}(e rho), each in [0, 2**se]. Rows need not sum to 2**se exactly.

    Raises InvalidInput, naming `tensor`, if a row is out of rule 7's range.
    """
    check_logits(logits, logit_scale_bits + 8, tensor)
    terms, _, reciprocal = softmax_terms(logits, logit_scale_bits, error_scale_bits)
    scale = exponent_scale(logit_scale_bits, error_scale_bits)
    return rescale(terms * reciprocal, scale + GUARD_BITS)


def sigmoid(
    logits: IntArray,
    logit_scale_bits: int = LOGIT_SCALE_BITS,
    error_scale_bits: int = ERROR_SCALE_BITS,
    tensor: str = "logits",
) -> IntArray:
    """Return the first entry of the softmax of (u, 0), elementwise (rule 9)."""
    pair = np.stack([logits, np.zeros_like(logits)], axis=-1)
    result = softmax(pair, logit_scale_bits, error_scale_bits, tensor)
    return np.asarray(result[..., 0], dtype=np.int64)


def softmax_widths(
    classes: int,
    logit_scale_bits: int = LOGIT_SCALE_BITS,
    error_scale_bits: int = ERROR_SCALE_BITS,
) -> dict[str, int]:
    """Return signed widths that provably hold rule 8's values for a row of `classes` entries.

    Keys: m, d, e, S, rho, e_rho, p. With 2**E0 <= S <= C 2**E0: rho <= 2**(se+4), and
    e rho <= 2**(E0+se+4) + 2**(E0-1) since e <= S.

    Raises InvalidInput if one of them passes MAX_WIDTH.
    """
    if classes < 1:
        raise InvalidInput(f"a softmax needs at least 1 class, got {classes}")
    scale = exponent_scale(logit_scale_bits, error_scale_bits)
    largest = {
        "e": 1 << scale,
        "S": classes << scale,
        "rho": 1 << (error_scale_bits + GUARD_BITS),
        "e_rho": (1 << (scale + error_scale_bits + GUARD_BITS)) + (1 << (scale - 1)),
        "p": 1 << error_scale_bits,
    }
    widths = {"m": logit_scale_bits + 8, "d": logit_scale_bits + 8}
    widths |= {name: value.bit_length() + 1 for name, value in largest.items()}
    # DIV also forms 2 * numerator + S and 2 * S.
    work = ((2 << (scale + error_scale_bits + GUARD_BITS)) + (classes << scale)).bit_length() + 1
    if max(work, *widths.values()) > MAX_WIDTH + 1:
        raise InvalidInput(
            f"softmax over {classes} classes at scales {logit_scale_bits}/{error_scale_bits} does"
            f" not fit {MAX_WIDTH} bits; lower a scale"
        )
    return widths


def log2_fixed(values: IntArray, scale_bits: int, result_scale_bits: int) -> IntArray:
    """Approximate log2(v / 2**scale_bits) at scale 2**result_scale_bits for v >= 1 (rule 10).

    With n the place of v's leading bit and f its mantissa's fraction, rounded down to s bits:
    (n - scale_bits) 2**s + f + R_{6+s}(22 f (2**s - f)).

    Raises InvalidInput for values below 1.
    """
    flat = np.asarray(values, dtype=np.int64).ravel()
    if np.any(flat < 1):
        raise InvalidInput("log2 needs values of at least 1")
    place = np.array([int(v).bit_length() - 1 for v in flat], dtype=np.int64)
    s = np.int64(result_scale_bits)
    down, up = np.maximum(place - s, 0), np.maximum(s - place, 0)
    part = ((flat >> down) << up) - (np.int64(1) << s)
    bend = rescale(22 * part * ((np.int64(1) << s) - part), 6 + result_scale_bits)
    result = ((place - scale_bits) << s) + part + bend
    return np.asarray(result.reshape(np.shape(values)), dtype=np.int64)


def cross_entropy_sum(
    logits: IntArray,
    labels: IntArray,
    logit_scale_bits: int = LOGIT_SCALE_BITS,
    error_scale_bits: int = ERROR_SCALE_BITS,
    result_scale_bits: int = 12,
) -> int:
    """Return the sum over rows of -ln p_y at scale 2**result_scale_bits, for reports (rule 10).

    R_16(45426 * sum over rows of (log2(S / 2**E0) + d_y)). `logits`: (B, C); `labels`: (B,).
    """
    check_logits(logits, logit_scale_bits + 8, "logits")
    _, total, _ = softmax_terms(logits, logit_scale_bits, error_scale_bits)
    scale = exponent_scale(logit_scale_bits, error_scale_bits)
    distance = logits.max(axis=-1) - logits[np.arange(len(labels)), labels]
    bits = log2_fixed(total[:, 0], scale, result_scale_bits)
    bits = bits + rescale(distance, logit_scale_bits - result_scale_bits)
    return int(rescale(np.asarray(int(bits.sum()) * LN2_NUMERATOR, dtype=np.int64), 16))
