"""Leaves of a committed model, and what leads from each to the root, without zkai's code.

    python tests/vectors/make_tensor_vectors.py            writes the vectors
    python tests/vectors/make_tensor_vectors.py --check    compares them with what stands there

docs/commitments.md, followed with pycryptodome and numpy. Solidity's tests read the same file.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
from Crypto.Hash import keccak

PATH = Path(__file__).resolve().parents[2] / "contracts" / "vectors" / "tensor_commitment.json"
LEAF_BYTES = 64


def keccak256(*parts: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=b"".join(parts)).digest()


def tensors() -> dict[str, tuple[str, bytes]]:
    """Heads and bytes by name: full and short last leaves, a scalar, nothing at all."""
    values = (np.arange(7 * 33) * 37 % 1009 - 500).astype(np.float32) / 256
    return {
        "layer.1.weight": ("float32[7,33]", values.tobytes()),
        "layer.1.bias": ("int16[64]", np.arange(-32, 32, dtype=np.int16).tobytes()),
        "temperature": ("float64[]", np.float64(0.75).tobytes()),
        "café": ("bool[3]", b"\x01\x00\x01"),
        "nothing": ("float16[0,4]", b""),
    }


def root_and_path(hashes: list[bytes], place: int | None = None) -> tuple[bytes, list[bytes]]:
    """RFC 9162, sections 2.1.1 and 2.1.3.1, with keccak256 and a prefix."""
    if len(hashes) == 1:
        return hashes[0], []
    split = 1 << (len(hashes) - 1).bit_length() - 1
    left = place is not None and place < split
    first, path = root_and_path(hashes[:split], place if left else None)
    second, other = root_and_path(hashes[split:], None if left or place is None else place - split)
    whole = keccak256(b"zkainode", first, second)
    return whole, [*path, second] if left else [*other, first]


def build() -> dict[str, Any]:
    """The whole document."""
    table = sorted(tensors().items(), key=lambda item: item[0].encode())
    trees, layers = [], []
    for name, (head, data) in table:
        pieces = [data[i : i + LEAF_BYTES] for i in range(0, len(data) or 1, LEAF_BYTES)]
        hashes = [keccak256(b"zkaileaf", piece) for piece in pieces]
        top, _ = root_and_path(hashes)
        sizes = struct.pack(">QQ", LEAF_BYTES, len(data))
        digest = keccak256(b"zkaitnsr", sizes, keccak256(head.encode()), top)
        layers.append(keccak256(b"zkailayr", keccak256(name.encode()), digest))
        trees.append((name, head, data, pieces, hashes))
    top, _ = root_and_path(layers)
    cases = [
        {
            "name": hexed(keccak256(name.encode())),
            "head": hexed(keccak256(head.encode())),
            "total": len(data),
            "place": place,
            "index": index,
            "data": hexed(piece),
            "path": [hexed(node) for node in root_and_path(hashes, index)[1]],
            "layers": [hexed(node) for node in root_and_path(layers, place)[1]],
        }
        for place, (name, head, data, pieces, hashes) in enumerate(trees)
        for index, piece in enumerate(pieces)
    ]
    return {
        "root": hexed(keccak256(b"zkaimodl", struct.pack(">Q", len(layers)), top)),
        "leaf_bytes": LEAF_BYTES,
        "tensors": len(layers),
        "heads": {name: head for name, (head, _) in table},
        "count": len(cases),
        "cases": cases,
    }


def hexed(data: bytes) -> str:
    return "0x" + data.hex()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="compare, write nothing")
    text = json.dumps(build(), indent=1, ensure_ascii=True) + "\n"
    if not options.parse_args().check:
        PATH.write_text(text)
    elif not PATH.exists() or PATH.read_text() != text:
        print(f"{PATH.name} differs; run `python {Path(__file__).name}`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
