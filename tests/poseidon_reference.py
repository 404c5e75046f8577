"""Poseidon in plain Python integers, straight from the paper: the C library's reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from zkai.encoding import FIELD_MODULUS as R


def grain(t: int, full: int, partial: int) -> Callable[[], int]:
    """The self-shrinking Grain LFSR (ePrint 2019/458, appendix E); each call gives 254 bits."""
    fields = ((1, 2), (0, 4), (254, 12), (t, 12), (full, 10), (partial, 10))
    state = [int(bit) for value, width in fields for bit in f"{value:0{width}b}"] + [1] * 30

    def step() -> int:
        bit = state[62] ^ state[51] ^ state[38] ^ state[23] ^ state[13] ^ state[0]
        del state[0]
        state.append(bit)
        return bit

    def shrunken() -> int:
        while True:
            keep, bit = step(), step()
            if keep:
                return bit

    for _ in range(160):
        step()
    return lambda: int("".join(str(shrunken()) for _ in range(254)), 2)


@lru_cache
def parameters(t: int, full: int, partial: int) -> tuple[list[int], list[list[int]]]:
    """Round constants and the Cauchy matrix."""
    number = grain(t, full, partial)
    constants: list[int] = []
    while len(constants) < (full + partial) * t:
        if (value := number()) < R:
            constants.append(value)
    points = [number() % R for _ in range(2 * t)]
    assert len(set(points)) == 2 * t
    return constants, [[pow(x + y, -1, R) for y in points[t:]] for x in points[:t]]


def permute(
    state: Sequence[int],
    full: int,
    partial: int,
    forge: Callable[[int, int], int] = lambda sbox, y: y,
) -> tuple[list[int], list[tuple[int, int]]]:
    """The final state, and each S-box's (input, output); `forge` may change an output."""
    t, values, sboxes = len(state), list(state), []
    constants, matrix = parameters(t, full, partial)
    for r in range(full + partial):
        values = [(v + constants[r * t + i]) % R for i, v in enumerate(values)]
        is_full = r < full // 2 or r >= full // 2 + partial
        for i in range(t if is_full else 1):
            y = forge(len(sboxes), pow(values[i], 5, R))
            sboxes.append((values[i], y))
            values[i] = y
        values = [sum(m * v for m, v in zip(row, values, strict=True)) % R for row in matrix]
    return values, sboxes
