"""Aggregation rules for updates in the clear, some of which may be hostile.

Updates are rows of an (n, d) array of floats. A rule keeps what up to `f` of them can do within
bounds; none can tell a small lie from honest data. Updates under encryption are only ever summed:
there a norm bound is proven instead (statement `encrypted_update`).

Sources: Yin et al., "Byzantine-Robust Distributed Learning" (2018) for the median and the trimmed
mean; Blanchard et al., "Machine Learning with Adversaries" (2017) for Krum; Karimireddy, He, Jaggi,
"Learning from History for Byzantine Robust Optimization" (2021) for clipping around a centre.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from zkai.errors import InvalidInput

Float64 = npt.NDArray[np.float64]

_COLUMNS = 1 << 16


def weighted_mean(updates: Float64, weights: Float64) -> Float64:
    """Return sum w_i x_i / sum w_i, which one hostile update moves anywhere.

    Raises InvalidInput for weights that are negative, not finite, or all zero.
    """
    rows = check_updates(updates)
    scale = np.asarray(weights, np.float64)
    if scale.shape != (len(rows),) or not np.isfinite(scale).all() or (scale < 0).any():
        raise InvalidInput(f"weights: expected {len(rows)} finite numbers that are not negative")
    if not (most := float(scale.max())) > 0:
        raise InvalidInput("weights: all are zero")
    scale = scale / most  # so that their sum is finite
    return np.asarray(scale / scale.sum() @ rows)


def median(updates: Float64) -> Float64:
    """Return the median of each coordinate: right as long as most updates are honest there."""
    return _by_columns(check_updates(updates), lambda part: np.median(part, axis=0))


def trimmed_mean(updates: Float64, f: int) -> Float64:
    """Return each coordinate's mean without its `f` least and `f` greatest values.

    Raises InvalidInput unless 0 <= 2 f < n.
    """
    rows = check_updates(updates)
    n = len(rows)
    if not 0 <= 2 * f < n:
        raise InvalidInput(f"f must be at least 0 and below half of {n} updates, got {f}")

    def trim(part: Float64) -> Float64:
        kept = np.partition(part, (f, n - f - 1), axis=0)[f : n - f]
        return np.asarray(kept.mean(axis=0))

    return _by_columns(rows, trim)


def krum(updates: Float64, f: int, keep: int = 1) -> tuple[Float64, list[int]]:
    """Return the mean of the `keep` updates that lie closest to others, and which they are.

    An update's score is the sum of its squared distances to its n - f - 2 nearest neighbours; with
    `keep` above 1 this is Multi-Krum.

    Raises InvalidInput unless n >= 2 f + 3 and 1 <= keep <= n - f.
    """
    rows = check_updates(updates)
    n = len(rows)
    if f < 0 or n < 2 * f + 3:
        raise InvalidInput(f"Krum needs at least 2 f + 3 updates: {n} are too few for f = {f}")
    if not 1 <= keep <= n - f:
        raise InvalidInput(f"keep must be 1 to {n - f}, got {keep}")
    # Around their median, so that neither a common part nor a huge update drowns the differences.
    with np.errstate(over="ignore", invalid="ignore"):
        around = rows - median(rows)
        products = around @ around.T
        squares = np.diag(products)
        distances = np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0.0)
    distances[np.isnan(distances)] = np.inf
    np.fill_diagonal(distances, np.inf)
    scores = np.sort(distances, axis=1)[:, : n - f - 2].sum(axis=1)
    chosen = sorted(np.argsort(scores, kind="stable")[:keep].tolist())
    return np.asarray(rows[chosen].mean(axis=0)), chosen


def clipped_mean(
    updates: Float64, norm: float, centre: Float64 | None = None, passes: int = 1
) -> Float64:
    """Return c + mean of (x_i - c) min(1, norm / |x_i - c|), `passes` times with the new c.

    `centre` is the last aggregate (default: zeros): no update moves the result by more than
    norm / n a pass.

    Raises InvalidInput for a norm that is not positive, a centre of another size, or no pass.
    """
    rows = check_updates(updates)
    if not (np.isfinite(norm) and norm > 0) or passes < 1:
        raise InvalidInput("norm must be a positive number, and passes at least 1")
    c = np.zeros(rows.shape[1]) if centre is None else np.asarray(centre, np.float64)
    if c.shape != rows.shape[1:] or not np.isfinite(c).all():
        raise InvalidInput(f"centre: expected {rows.shape[1]} finite numbers")
    for _ in range(passes):
        around = rows - c
        lengths = np.linalg.norm(around, axis=1)
        factors = np.minimum(1.0, norm / np.maximum(lengths, np.finfo(float).tiny))
        c = c + factors @ around / len(rows)
    return c


def check_updates(updates: Float64) -> Float64:
    """Return (n, d) float64 updates.

    Raises InvalidInput, naming the update, for other shapes or values that are not finite.
    """
    rows = np.asarray(updates, np.float64)
    if rows.ndim != 2 or not rows.size:
        raise InvalidInput(f"updates: expected an (n, d) array, got shape {rows.shape}")
    wrong = ~np.isfinite(rows).all(axis=1)
    if wrong.any():
        raise InvalidInput(f"update {int(np.argmax(wrong))} holds a value that is not finite")
    return rows


def _by_columns(rows: Float64, rule: Callable[[Float64], Float64]) -> Float64:
    """Apply a rule to some columns at a time: it may sort copies."""
    parts = [rule(rows[:, start : start + _COLUMNS]) for start in range(0, rows.shape[1], _COLUMNS)]
    return np.concatenate(parts)
