"""Signatures and the ledger: how many receipts are signed, verified, logged and proven.

    python -m bench.receipts [--entries 10000000] [--json] [--quick]

sign and verify: ML-DSA-65 over a receipt's 4 kB, on one core. append: entries of a receipt's size
into the log with two names of the map each, 500 a transaction, and one by one, each durable before
the next; what a receipt's own signatures and its proof cost comes on top, see verify_per_s and
bench.groth16. inclusion: the proof of a random entry of a log of --entries made by a bulk import,
with the most memory that the process had before and after 1,000 of them.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.harness import alternate, arguments, note, peak_rss_bytes, report, run_worker, show
from zkai.ledger.log import Log
from zkai.ledger.store import Store
from zkai.receipt.signer import PQCRYPTO, PYCA, generate

MESSAGE, ENTRY = 4096, 10_000
BATCH = 500
Figures = dict[str, float | int]


def rate(action: Callable[[], object], seconds: float) -> float:
    """Return how often an action runs in a second of this process's CPU time."""
    count, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        action()
        count += 1
    return count / spent


def signatures(implementation: str, seconds: float) -> Figures:
    """Return signatures and verifications a second."""
    key, message = generate(implementation=implementation), os.urandom(MESSAGE)
    signature = key.sign(message)
    return {
        "sign_per_s": rate(lambda: key.sign(message), seconds),
        "verify_per_s": rate(
            lambda: key.public.verify(signature, message, implementation), seconds
        ),
    }


def dilithium(seconds: float) -> Figures:
    """Return dilithium-py's."""
    from dilithium_py.ml_dsa import ML_DSA_65

    message = os.urandom(MESSAGE)
    public, secret = ML_DSA_65.keygen()
    signature = ML_DSA_65.sign(secret, message)
    return {
        "sign_per_s": rate(lambda: ML_DSA_65.sign(secret, message), seconds),
        "verify_per_s": rate(lambda: ML_DSA_65.verify(public, message, signature), seconds),
    }


def appends(folder: Path, batches: int, singles: int) -> Figures:
    """Return entries a second, in batches and one by one."""
    store = Store(folder / f"{secrets.token_hex(4)}.db", create=True)
    log = Log(store, "bench")

    def append(count: int) -> None:
        names = [
            {f"fork/{secrets.token_hex(4)}": b"x" * 300, f"nullifier/{secrets.token_hex(16)}": b"1"}
            for _ in range(count)
        ]
        with store.transaction():
            log.extend([os.urandom(ENTRY) for _ in range(count)], names)

    append(BATCH)
    start = time.perf_counter()
    for _ in range(batches):
        append(BATCH)
    batched = batches * BATCH / (time.perf_counter() - start)
    start = time.perf_counter()
    for _ in range(singles):
        append(1)
    durable = singles / (time.perf_counter() - start)
    store.close()
    return {"append_per_s": batched, "append_durable_per_s": durable}


def inclusion(folder: Path, entries: int) -> Figures:
    """Import small entries in bulk, then prove random ones."""
    store = Store(folder / "bulk.db", create=True)
    log, chunk = Log(store, "bench"), 1 << 16
    start = time.perf_counter()
    for first in range(0, entries, chunk):
        with store.transaction():
            log.extend([i.to_bytes(8, "big") for i in range(first, min(first + chunk, entries))])
        if first % (chunk * 16) == 0:
            note(f"bulk import: {first:,} of {entries:,}")
    imported = time.perf_counter() - start
    before, took = peak_rss_bytes(), []
    for _ in range(1000):
        index = secrets.randbelow(entries)
        start = time.perf_counter()
        log.inclusion(index, entries)
        took.append(time.perf_counter() - start)
    took.sort()
    size = Path(store.name).stat().st_size
    store.close()
    return {
        "inclusion_ms": took[500] * 1e3,
        "inclusion_p99_ms": took[990] * 1e3,
        "import_s": imported,
        "import_peak_rss_bytes": before,
        "prove_peak_rss_bytes": peak_rss_bytes(),
        "database_bytes": size,
    }


def main() -> int:
    """Run and print."""
    parser = arguments("receipts", __doc__ or "")
    parser.add_argument("--entries", type=int, default=10_000_000)
    options = parser.parse_args()
    quick = options.quick
    seconds, entries = (0.2, min(options.entries, 100_000)) if quick else (3.0, options.entries)
    has = importlib.util.find_spec
    with tempfile.TemporaryDirectory(prefix="zkai-bench-") as scratch:
        folder = Path(scratch)

        def ours() -> Figures:
            batches, singles = (2, 50) if quick else (20, 1500)
            return {**signatures(PYCA, seconds), **appends(folder, batches, singles)}

        peers: dict[str, Any] = {
            "pqcrypto": (lambda: signatures(PQCRYPTO, seconds)) if has("pqcrypto") else None,
            "dilithium-py": (
                (lambda: dilithium(seconds)) if has("dilithium_py") and not quick else None
            ),
            "pymerkle": (lambda: run_worker(
                "bench._pymerkle", "--entries", "1000", "--bytes", str(ENTRY)
            )) if has("pymerkle") and not quick else None,
        }  # fmt: skip
        found = alternate({"ours": ours, **peers}, 1 if quick else 3)
        mine = found.pop("ours") or {}
        mine |= inclusion(folder, entries)
    other = found["pqcrypto"]
    # Rates: a peer's seconds over ours is our rate over the peer's.
    ratios = {
        f"{name}_pqcrypto": float(mine[f"{name}_per_s"] or 0) / float(other[f"{name}_per_s"] or 1)
        if other
        else None
        for name in ("sign", "verify")
    }
    parameters = {
        "message_bytes": MESSAGE, "entry_bytes": ENTRY, "batch": BATCH, "log_entries": entries,
    }  # fmt: skip
    show(report("receipts", parameters, mine, found, ratios), options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
