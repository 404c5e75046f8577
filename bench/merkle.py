"""Roots over a large buffer, beside other keccak-256 and SHA-3 libraries, and samples with proofs.

Peers hash leaves and nodes one by one, as their users do, with the same prefixes; one pass of each
alternates with ours. hashlib's sha3_256 differs from keccak256 in one padding byte.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench import harness
from zkai import native
from zkai.merkle.sample import Challenge
from zkai.native_merkle import keccak256_many, keccak_kernel, levels, multiproof, subtrees

SIZE, QUICK_SIZE = 64 << 20, 16 << 20
LEAVES = 1 << 18
SAMPLES = 1024
Hash = Callable[[bytes], bytes]


def root_by(hash_bytes: Hash, data: bytes, leaf: int) -> bytes:
    """Return the root as a user of a library for single hashes computes it."""
    level = [hash_bytes(b"zkaileaf" + data[i : i + leaf]) for i in range(0, len(data), leaf)]
    while len(level) > 1:
        odd = level[len(level) // 2 * 2 :]
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [hash_bytes(b"zkainode" + left + right) for left, right in pairs] + odd
    return level[0]


def our_root(data: np.ndarray[Any, Any], leaf: int) -> bytes:
    """Return the root as `zkai merkle root` computes it."""
    return bytes(levels(subtrees(data, leaf, 6))[-1].tobytes())


def peers() -> dict[str, Hash | None]:
    """Return each peer's hash function, or None if it is not installed."""
    found: dict[str, Hash | None] = {"pysha3": None, "pycryptodome": None}
    try:
        import sha3

        found["pysha3"] = lambda data: bytes(sha3.keccak_256(data).digest())
    except ImportError:
        pass
    from Crypto.Hash import keccak

    found["pycryptodome"] = lambda data: bytes(keccak.new(digest_bits=256, data=data).digest())
    found["hashlib_sha3"] = lambda data: hashlib.sha3_256(data).digest()
    return found


def samples_seconds() -> float:
    """Return the least seconds of 20 draws of SAMPLES leaves with their multiproof."""
    nodes = levels(keccak256_many(os.urandom(32 * LEAVES), 32))
    root, best = nodes[-1].tobytes(), 1e9
    for trial in range(20):
        challenge = Challenge(bytes([trial]) * 32, SAMPLES)
        start = time.perf_counter()
        multiproof(nodes, LEAVES, challenge.draw(root, LEAVES))
        best = min(best, time.perf_counter() - start)
    return best


def cycles_per_byte(data: np.ndarray[Any, Any]) -> float | None:
    """Return cycles of the CPU's nominal clock a byte, on one thread, for leaves of 4 KiB."""
    hertz = nominal_hertz()
    if hertz is None:
        return None
    native.set_threads(1)
    try:
        best = 1e9
        for _ in range(5):
            start = time.perf_counter()
            our_root(data, 4096)
            best = min(best, time.perf_counter() - start)
    finally:
        native.set_threads(None)
    return best * hertz / data.size


def nominal_hertz() -> float | None:
    """Return the clock that /proc/cpuinfo states; under a hypervisor, the time stamp counter's."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    clocks = [float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")]
    return max(clocks) * 1e6 if clocks else None


def main() -> None:
    """Measure in one process, in turn, and print the medians."""
    options = harness.arguments("merkle", __doc__ or "").parse_args()
    size = QUICK_SIZE if options.quick else SIZE
    data = np.frombuffer(os.urandom(size), np.uint8)
    text = data.tobytes()

    def timed(root: Callable[[int], bytes], small: bool) -> harness.Run:
        def run() -> dict[str, float]:
            figures = {}
            for key, leaf in (("root_4k_s", 4096), ("root_256_s", 256)):
                if leaf == 4096 or small:
                    with harness.Stopwatch() as watch:
                        root(leaf)
                    figures[key] = watch.wall_s
            return figures

        return run

    others = peers()
    runs: dict[str, harness.Run | None] = {"ours": timed(lambda leaf: our_root(data, leaf), True)}
    for name, hash_bytes in others.items():
        runs[name] = hash_bytes and timed(
            lambda leaf, hash_bytes=hash_bytes: root_by(hash_bytes, text, leaf),  # type: ignore[misc]
            not options.quick,
        )
    figures = harness.alternate(runs, 3 if options.quick else 5)
    ours = figures.pop("ours") or {}
    ours["samples_1024_s"] = samples_seconds()
    ours["cycles_per_byte"] = cycles_per_byte(data)
    parameters = {
        "bytes": size,
        "kernel": keccak_kernel(),
        "threads": native.threads(),
        "samples_of": LEAVES,
    }
    ratios = {
        f"root_4k_{name}": harness.ratio(ours, peer, "root_4k_s") for name, peer in figures.items()
    }
    harness.show(harness.report("merkle", parameters, ours, figures, ratios), options.json)


if __name__ == "__main__":
    main()
