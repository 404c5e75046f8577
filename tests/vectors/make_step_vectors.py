"""A task, a step's root and what beacons draw from it, without zkai's code.

    python tests/vectors/make_step_vectors.py            writes the vectors
    python tests/vectors/make_step_vectors.py --check    compares them with what stands there

docs/compute.md, followed with pycryptodome and hashlib.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

from Crypto.Hash import keccak

PATH = Path(__file__).resolve().parent / "training_step.json"
GROUPS = (
    "batch", "deltas", "gradients", "losses", "optimizer_after", "optimizer_before", "rng",
    "statistics", "weights_after", "weights_before",
)  # fmt: skip
ENVIRONMENT = {
    "torch": "2.13.0+cpu", "build": "0x" + "11" * 32, "machine": "x86_64", "cpu": "AVX512",
    "threads": 2, "deterministic": True, "mkldnn": True, "flush_denormal": False,
    "matmul_precision": "highest", "default_dtype": "float32", "cbwr": "",
}  # fmt: skip


def keccak256(*parts: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=b"".join(parts)).digest()


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def tree(hashes: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.1, with keccak256 and a prefix."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return keccak256(b"zkainode", tree(hashes[:split]), tree(hashes[split:]))


def hexed(data: bytes) -> str:
    return "0x" + data.hex()


def drawn(seed: bytes, leaves: int, count: int) -> list[int]:
    found: list[int] = []
    i = 0
    while len(found) < min(count, leaves):
        hashed = keccak256(b"zkaismpl", seed, struct.pack(">Q", i))
        leaf = int.from_bytes(hashed[:8], "big") * leaves >> 64
        found += [leaf] if leaf not in found else []
        i += 1
    return sorted(found)


def build() -> dict[str, Any]:
    """The whole document."""
    task = {
        "format": "zkai.compute-task/1", "name": "example", "program": "0x" + "22" * 32,
        "initial": "0x" + "33" * 32, "seed": "0x" + "44" * 32, "every": 100, "leaf_bytes": 256,
    }  # fmt: skip
    digest = hashlib.sha256(canonical(task)).digest()
    seeds = {
        str(step): int.from_bytes(
            keccak256(b"zkaiseed", bytes([0x44]) * 32, struct.pack(">Q", step))[:8], "big"
        )
        for step in (0, 1, 100)
    }
    roots = {name: keccak256(b"group", name.encode()) for name in GROUPS}
    groups = [keccak256(b"zkaigrup", keccak256(n.encode()), roots[n]) for n in sorted(roots)]
    trainer, previous, step = bytes([0x55]) * 32, bytes([0x66]) * 32, 100
    root = keccak256(
        b"zkaistep", digest, trainer, previous, struct.pack(">Q", step),
        hashlib.sha256(canonical(ENVIRONMENT)).digest(), struct.pack(">Q", len(groups)),
        tree(groups),
    )  # fmt: skip
    beacon, group, name = bytes(range(32)), keccak256(b"gradients"), "layer.1.weight"
    place = keccak256(b"zkaiplac", beacon, root, group)
    seed = beacon + keccak256(b"zkaichal", root, group, keccak256(name.encode()))
    return {
        "task": {"text": canonical(task).decode(), "digest": hexed(digest), "seeds": {
            step: str(value) for step, value in seeds.items()
        }},
        "step": {
            "trainer": hexed(trainer), "previous": hexed(previous), "step": step,
            "environment": ENVIRONMENT, "groups": {n: hexed(r) for n, r in roots.items()},
            "root": hexed(root),
        },
        "draw": {
            "beacon": hexed(beacon), "group": "gradients", "tensor": name, "permille": 20,
            "tensors": 40, "place": int.from_bytes(place[:8], "big") * 40 >> 64,
            "leaves": 1000, "drawn": drawn(seed, 1000, 20),
        },
    }  # fmt: skip


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="compare, write nothing")
    text = json.dumps(build(), indent=1) + "\n"
    if not options.parse_args().check:
        PATH.write_text(text)
    elif not PATH.exists() or PATH.read_text() != text:
        print(f"{PATH.name} differs; run `python {Path(__file__).name}`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
