"""Mutations of bytes and of JSON documents, driven by a seeded generator."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable

EDGES = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WIDE_EDGES = (*EDGES, 1 << 32, (1 << 61) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
MODULI = (
    21888242871839275222246405745257275088548364400416034343698204186575808495617,
    21888242871839275222246405745257275088696311157297823662689037894645226208583,
)
ODD_VALUES = (
    None, True, False, 0, -1, 1.5, float("nan"), float("inf"), 1 << 70, "", "0", "-1", "01", "+1",
    " 1", "0x1", "1e3", "١", "\x00", "9" * 400, [], {}, [[]], [None], {"a": 1},
    *(str(m + d) for m in MODULI for d in (-1, 0, 1)),
)  # fmt: skip
MAX_BYTES = 1 << 20


def mutate_bytes(rng: random.Random, data: bytes, corpus: list[bytes]) -> bytes:
    """One to four random edits of `data`; `corpus` gives pieces to splice in."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(_EDITS)(rng, out, corpus)
    return bytes(out[:MAX_BYTES])


def mutate_json(rng: random.Random, data: bytes, corpus: list[bytes]) -> bytes:
    """Replace, remove, double or move one node of a JSON document; sometimes edit its bytes."""
    if rng.random() < 0.25:
        return mutate_bytes(rng, data, corpus)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return mutate_bytes(rng, data, corpus)
    places = _places(document)
    if not places:
        return json.dumps(rng.choice(ODD_VALUES)).encode()
    container, key = rng.choice(places)
    action = rng.randrange(5)
    if action == 0:
        del container[key]
    elif action == 1 and isinstance(container, list):
        container.append(container[key])
    elif action == 1:
        container[rng.choice(("x", "", "__proto__", str(key) * 2))] = container[key]
    elif action == 2:
        other, other_key = rng.choice(places)
        with contextlib.suppress(KeyError, IndexError):
            container[key] = other[other_key]
    elif action == 3 and isinstance(container[key], str):
        text = mutate_bytes(rng, container[key].encode("utf-8", "replace"), corpus)
        container[key] = text.decode("utf-8", "replace")
    else:
        container[key] = rng.choice(ODD_VALUES)
    try:
        return json.dumps(document).encode()[:MAX_BYTES]
    except (ValueError, RecursionError):
        return data


def _places(document: object) -> list[tuple[object, object]]:
    """Every (container, key) of a document, without recursion."""
    found: list[tuple[object, object]] = []
    stack = [document]
    while stack and len(found) < 10_000:
        node = stack.pop()
        items = node.items() if isinstance(node, dict) else None
        if isinstance(node, list):
            items = enumerate(node)
        for key, child in items or ():
            found.append((node, key))
            stack.append(child)
    return found


def _flip(rng: random.Random, out: bytearray, corpus: list[bytes]) -> None:
    if out:
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, out: bytearray, corpus: list[bytes]) -> None:
    if out:
        out[rng.randrange(len(out))] = rng.randrange(256)


def _word(rng: random.Random, out: bytearray, corpus: list[bytes]) -> None:
    """Overwrite an aligned word with a value at some edge; headers are near the start."""
    size = rng.choice((4, 8))
    reach = min(len(out), 400) if rng.random() < 0.7 else len(out)
    if reach < size:
        return
    at = rng.randrange((reach - size) // 4 + 1) * 4
    value = rng.choice(WIDE_EDGES if size == 8 else EDGES)
    if rng.random() < 0.3:
        value = (int.from_bytes(out[at : at + size], "little") + rng.choice((-1, 1))) % 2 ** (
            8 * size
        )
    out[at : at + size] = value.to_bytes(size, "little")


def _modulus(rng: random.Random, out: bytearray, corpus: list[bytes]) -> None:
    """Overwrite an aligned field element with a value around a modulus."""
    if len(out) >= 32:
        at = rng.randrange((len(out) - 32) // 4 + 1) * 4
        out[at : at + 32] = (rng.choice(MODULI) + rng.choice((-1, 0, 1))).to_bytes(32, "little")


def _cut(rng: random.Random, out: bytearray, corpus: list[bytes]) -> None:
    del out[rng.randrange(len(out) + 1) :]


def _remove(rng: random.Random, out: bytearray, corpus: list[bytes]) -> None:
    at = rng.randrange(len(out) + 1)
    del out[at : at + rng.choice((1, 4, 8, 32, 64))]


def _double(rng: random.Random, out: bytearray, corpus: list[bytes]) -> None:
    at = rng.randrange(len(out) + 1)
    out[at:at] = out[at : at + rng.choice((1, 4, 8, 32, 64, 256))]


def _append(rng: random.Random, out: bytearray, corpus: list[bytes]) -> None:
    out += rng.randbytes(rng.choice((1, 4, 32, 1000)))


def _splice(rng: random.Random, out: bytearray, corpus: list[bytes]) -> None:
    other = rng.choice(corpus)
    at, start = rng.randrange(len(out) + 1), rng.randrange(len(other) + 1)
    size = rng.choice((4, 12, 32, 64, 1000))
    out[at : at + size] = other[start : start + size]


_EDITS: tuple[Callable[[random.Random, bytearray, list[bytes]], None], ...] = (
    _flip, _byte, _word, _word, _word, _modulus, _cut, _remove, _double, _append, _splice,
)  # fmt: skip
