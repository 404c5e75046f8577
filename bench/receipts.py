"""Signatures and the ledger: how many receipts are signed, verified, logged and proven.

    python -m bench.receipts [--entries 10000000] [--json] [--quick]

sign and verify: ML-DSA-65 over a receipt's 4 kB, on one core. append: entries of 10 kB into the
log with two names of the map each, 500 a transaction, and one by one, each durable before the
next; admit: signed receipts into a ledger, which parses each, verifies its signature and looks for
its parent, in the same two ways (what verifying proofs costs comes on top, see bench.groth16).
*_cpu_us is what one in a batch costs this process, whatever else the machine does.
fdatasync_per_s is how often this disk makes 16 kB durable: one by one, nothing is faster, and other
work on the disk slows both. postgres: the same in a server of our own, where one is installed, its
data on the same disk. inclusion: the proof of a random entry of a log of --entries made by a bulk
import, with the most memory that the process had before and after 1,000 of them.
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

from bench._postgres import postgres_binaries, running_postgres
from bench.harness import alternate, arguments, note, peak_rss_bytes, report, run_worker, show
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.log import Log
from zkai.ledger.store import Store
from zkai.receipt.signer import PQCRYPTO, PYCA, generate
from zkai.receipt.statement import issue
from zkai.receipt.trust import trust

MESSAGE, ENTRY, SYNCED = 4096, 10_000, 16_384
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


def fdatasyncs(folder: Path, seconds: float) -> float:
    """Return how often a second 16 kB are durable in a file that does not grow."""
    path, size, count = folder / "sync", 1 << 22, 0
    with path.open("w+b") as file:
        file.write(bytes(size))
        os.fsync(file.fileno())
        start = time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds:
            os.pwrite(file.fileno(), os.urandom(SYNCED), count * SYNCED % size)
            os.fdatasync(file.fileno())
            count += 1
    path.unlink()
    return count / spent


def in_batches(name: str, append: Callable[[int], object], batches: int, singles: int) -> Figures:
    """Return entries a second, in batches and one by one, and the CPU time of one in a batch."""
    append(BATCH)
    start, used = time.perf_counter(), time.process_time()
    for _ in range(batches):
        append(BATCH)
    batched, used = time.perf_counter() - start, time.process_time() - used
    start = time.perf_counter()
    for _ in range(singles):
        append(1)
    return {
        f"{name}_per_s": batches * BATCH / batched,
        f"{name}_cpu_us": used / (batches * BATCH) * 1e6,
        f"{name}_durable_per_s": singles / (time.perf_counter() - start),
    }


def appends(place: Path | str, batches: int, singles: int) -> Figures:
    """Return entries a second into a log."""
    store = Store(place, create=True)
    log = Log(store, "bench")

    def append(count: int) -> None:
        names = [
            {f"fork/{secrets.token_hex(4)}": b"x" * 300, f"nullifier/{secrets.token_hex(16)}": b"1"}
            for _ in range(count)
        ]
        with store.transaction():
            log.extend([os.urandom(ENTRY) for _ in range(count)], names)

    found = in_batches("append", append, batches, singles)
    store.close()
    return found


def admissions(place: Path | str, batches: int, singles: int) -> Figures:
    """Return signed receipts a second into a ledger, with every check that it makes."""
    issuer, operator, now = generate(), generate(), int(time.time())
    ledger = Ledger.create(place, "bench", operator, trust([("i", issuer.public)]), [], at=now)
    signed = iter(
        [
            Submission(issue(None, [issuer], kind="merge", artifacts=artifacts).to_bytes())
            for artifacts in (
                {"model": os.urandom(32)} for _ in range((batches + 1) * BATCH + singles)
            )
        ]
    )
    found = in_batches(
        "admit",
        lambda count: ledger.append_all([next(signed) for _ in range(count)], now + 60),
        batches,
        singles,
    )
    ledger.close()
    return found


def ours(folder: Path, quick: bool) -> Figures:
    """Return signatures, and both kinds of entries into SQLite."""
    seconds, batches, singles = (0.2, 1, 20) if quick else (3.0, 20, 1500)
    name = secrets.token_hex(4)
    return {
        **signatures(PYCA, seconds),
        "fdatasync_per_s": fdatasyncs(folder, seconds),
        **appends(folder / f"{name}.db", batches, singles),
        **admissions(folder / f"{name}-ledger.db", (batches + 1) // 2, singles),
    }


def postgres(folder: Path, quick: bool) -> Figures:
    """Return both kinds of entries into a server of our own."""
    batches, singles = (1, 10) if quick else (5, 500)
    binaries = postgres_binaries()
    assert binaries is not None
    folder.chmod(0o755)  # the server's account reads its own folder below
    with running_postgres(binaries, folder) as cluster:
        return {
            **appends(f"{cluster.url}&schema=log", batches, singles),
            **admissions(f"{cluster.url}&schema=ledger", batches, singles),
        }


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
        server = postgres_binaries() is not None and has("sqlalchemy") and has("psycopg")
        runs: dict[str, Any] = {
            "ours": lambda: ours(folder, quick),
            "postgres": (lambda: postgres(folder, quick)) if server else None,
            "pqcrypto": (lambda: signatures(PQCRYPTO, seconds)) if has("pqcrypto") else None,
            "dilithium-py": (
                (lambda: dilithium(seconds)) if has("dilithium_py") and not quick else None
            ),
            "pymerkle": (lambda: run_worker(
                "bench._pymerkle", "--entries", "1000", "--bytes", str(ENTRY)
            )) if has("pymerkle") and not quick else None,
        }  # fmt: skip
        found = alternate(runs, 1 if quick else 3)
        mine, theirs = found.pop("ours") or {}, found.pop("postgres")
        for key in ("append_per_s", "append_durable_per_s", "admit_per_s", "admit_durable_per_s"):
            mine[f"postgres_{key}"] = theirs[key] if theirs else None
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
