"""A committee opens a sum of encrypted updates: bytes, seconds, memory and errors.

    python -m bench.he_aggregate [--clients 10] [--values 1000000] [--json] [--quick]
    python -m bench.he_aggregate --clients 1000 --values 100000 --clusters 32 [--dropouts 0.2]

Ours: threshold additive RLWE, 3 of 5. encrypt: one client's float64 update to all that it sends,
with stochastic rounding (rounding_cpu_s of it), the shares of its key and the check polynomial.
sum: the clients' ciphertexts, from bytes. decrypt: the parts of the decryption of all five holders
one after another, each with its sum of shares, and the fusion with the test that all five agree,
which is agreement_s of it. check: the dealing check, answered by
five holders and verified. bytes_per_client counts everything before shares are sealed (1.1 kB
each). max_abs_error is against the sum of the floats; the sum of the integers is exact or the
benchmark fails. Each run is a process of its own, so peak_rss_bytes is its own, all clients' data
included.

Peer: TenSEAL vectors with NVIDIA FLARE's parameters (ring 8192, [60, 40, 40], scale 2^40), whose
secret key every client has: encrypt and serialise, then load and add, then decrypt.

With --clusters: one simulated round, ciphertexts summed and dealings checked cluster by cluster. Of
the clients that drop out, half never send, half after dealing their key.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.harness import (
    Stopwatch,
    alternate,
    arguments,
    note,
    peak_rss_bytes,
    ratio,
    report,
    run_worker,
    show,
)
from zkai.encoding import sha256
from zkai.he.quantise import Quantiser
from zkai.he.rlwe import (
    CiphertextSum,
    ClientKey,
    Dealing,
    RlweParameters,
    Round,
    ShareSum,
    check_partial,
    fuse,
    partial,
    verify_dealings,
)
from zkai.native import Int64s

Figures = dict[str, float | int]
THRESHOLD, HOLDERS = 3, 5
FLOAT32 = 4


class Sent:
    """What a client sent, and the integers that it encrypted."""

    def __init__(self, round_: Round, values: Int64s) -> None:
        key = ClientKey(round_)
        self.values = values
        self.ciphertext = key.encrypt(values)
        self.shares = key.deal()
        digest = sha256(b"".join(self.shares))
        self.dealing = Dealing(key.identifier, digest, key.check(digest))
        key.wipe()

    @property
    def size(self) -> int:
        return len(self.ciphertext) + len(self.dealing.check) + sum(map(len, self.shares))


def check(round_: Round, clients: Sequence[Sent]) -> None:
    """Every holder answers, and the answers are verified."""
    dealings = [client.dealing for client in clients]
    answers = {
        j: check_partial(round_, j, dealings, [client.shares[j - 1] for client in clients])
        for j in range(1, HOLDERS + 1)
    }
    verify_dealings(round_, dealings, answers)


def ours(count: int, size: int) -> Figures:
    """Run one round of `count` clients with `size` values each."""
    round_ = Round(RlweParameters.choose(count, THRESHOLD, HOLDERS), os.urandom(32), 1, size)
    quantiser = Quantiser(1.0, round_.parameters.bound)
    source = np.random.default_rng(1)
    exact, integers = np.zeros(size), np.zeros(size, np.int64)
    clients, watches, roundings = [], [], []
    for _ in range(count):
        update = source.uniform(-1, 1, size)
        with Stopwatch() as watch:
            with Stopwatch() as rounding:
                values = quantiser.quantise(update)
            client = Sent(round_, values)
        watches.append(watch)
        roundings.append(rounding)
        clients.append(client)
        exact += update
        integers += client.values
    with Stopwatch() as checking:
        check(round_, clients)
    with Stopwatch() as summing:
        total = CiphertextSum(round_)
        for client in clients:
            total.add(client.ciphertext)
    with Stopwatch() as opening:
        partials = {}
        for j in range(1, HOLDERS + 1):
            shares = ShareSum(round_, j)
            for client in clients:
                shares.add(client.dealing.key, client.shares[j - 1])
            partials[j] = partial(total, shares, count)
        with Stopwatch() as fusing:
            opened = fuse(total, partials)
    if not np.array_equal(opened.values, integers) or not opened.checked:
        raise SystemExit("the opened sum is not the sum, or not checked")
    with Stopwatch() as bare:
        fuse(total, {j: partials[j] for j in range(1, THRESHOLD + 1)})
    return {
        "bytes_per_client": clients[0].size,
        "bytes_over_float32": clients[0].size / (FLOAT32 * size),
        "encrypt_s": statistics.median(watch.wall_s for watch in watches),
        "encrypt_cpu_s": statistics.median(watch.cpu_s for watch in watches),
        "rounding_cpu_s": statistics.median(watch.cpu_s for watch in roundings),
        "sum_s": summing.wall_s,
        "decrypt_s": opening.wall_s,
        "agreement_s": fusing.wall_s - bare.wall_s,
        "check_s": checking.wall_s,
        "max_abs_error": float(np.abs(quantiser.dequantise(opened.values) - exact).max()),
        "smudge_bits": round_.parameters.smudge_bits,
        "statistical_bits": round_.parameters.statistical_bits(size),
        "peak_rss_bytes": peak_rss_bytes(),
    }


def flare(count: int, size: int) -> Figures:
    """The same sum of TenSEAL vectors with FLARE's parameters; one client encrypts for all."""
    import tenseal

    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=8192, coeff_mod_bit_sizes=[60, 40, 40]
    )
    context.global_scale = 2**40
    update = np.random.default_rng(1).uniform(-1, 1, size).tolist()
    with Stopwatch() as encrypting:
        data = tenseal.ckks_vector(context, update).serialize()
    with Stopwatch() as summing:
        total = tenseal.ckks_vector_from(context, data)
        for _ in range(count - 1):
            total += tenseal.ckks_vector_from(context, data)
    with Stopwatch() as opening:
        found = np.array(total.decrypt())
    return {
        "bytes_per_client": len(data),
        "bytes_over_float32": len(data) / (FLOAT32 * size),
        "encrypt_s": encrypting.wall_s,
        "encrypt_cpu_s": encrypting.cpu_s,
        "sum_s": summing.wall_s,
        "decrypt_s": opening.wall_s,
        "max_abs_error": float(np.abs(found - count * np.array(update)).max()),
        "peak_rss_bytes": peak_rss_bytes(),
    }


def hierarchy(count: int, size: int, clusters: int, dropouts: float) -> Figures:
    """Simulate one round of many clients in clusters, and check that it is exact."""
    round_ = Round(RlweParameters.choose(count, THRESHOLD, HOLDERS), os.urandom(32), 1, size)
    source, chance, bound = np.random.default_rng(1), random.Random(1), round_.parameters.bound
    gone = set(chance.sample(range(count), round(dropouts * count)))
    silent = set(chance.sample(sorted(gone), len(gone) // 2))
    total, expected = CiphertextSum(round_), np.zeros(size, np.int64)
    shares = {j: ShareSum(round_, j) for j in range(1, HOLDERS + 1)}
    spent = dict.fromkeys(("clients_s", "check_s", "sum_s"), 0.0)
    start = time.perf_counter()
    for number in range(clusters):
        members = [i for i in range(number, count, clusters) if i not in silent]
        with Stopwatch() as watch:
            sent = {
                i: Sent(round_, source.integers(-bound, bound + 1, size, dtype=np.int64))
                for i in members
            }
        spent["clients_s"] += watch.wall_s
        with Stopwatch() as watch:
            check(round_, list(sent.values()))
        spent["check_s"] += watch.wall_s
        with Stopwatch() as watch:
            cluster = CiphertextSum(round_)
            for i, client in sent.items():
                if i not in gone:
                    cluster.add(client.ciphertext)
                    expected += client.values
                    for j, held in shares.items():
                        held.add(client.dealing.key, client.shares[j - 1])
            total.merge(CiphertextSum.from_bytes(round_, cluster.to_bytes(), cluster.keys))
        spent["sum_s"] += watch.wall_s
        note(f"cluster {number + 1} of {clusters}")
    with Stopwatch() as watch:
        parts = {j: partial(total, held, len(total.keys)) for j, held in shares.items()}
        opened = fuse(total, parts)
    exact = np.array_equal(opened.values, expected) and opened.checked
    if not exact or len(total.keys) != count - len(gone):
        raise SystemExit("the opened sum is not the sum")
    return {
        "round_s": time.perf_counter() - start,
        **spent,
        "decrypt_s": watch.wall_s,
        "summed_clients": len(total.keys),
        "bytes_per_client": round_.parameters.client_bytes(size),
        "bytes_over_float32": round_.parameters.client_bytes(size) / (FLOAT32 * size),
        "max_abs_error": 0,
        "statistical_bits": round_.parameters.statistical_bits(size),
        "peak_rss_bytes": peak_rss_bytes(),
    }


def worker(options: argparse.Namespace) -> Figures:
    """Run what a process of its own was started for."""
    if options.worker == "flare":
        return flare(options.clients, options.values)
    if options.clusters:
        return hierarchy(options.clients, options.values, options.clusters, options.dropouts)
    return ours(options.clients, options.values)


def main() -> int:
    """Run and print."""
    parser = arguments("he_aggregate", __doc__ or "")
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--values", type=int, default=1_000_000)
    parser.add_argument("--clusters", type=int, default=0)
    parser.add_argument("--dropouts", type=float, default=0.2)
    parser.add_argument("--worker", choices=("ours", "flare"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(worker(options)))
        return 0
    if options.quick:
        options.values = min(options.values, 100_000)
        options.clients = min(options.clients, 50)
    names = ("clients", "values", "clusters", "dropouts")
    passed = [f"--{name}={getattr(options, name)}" for name in names]

    def run(subject: str) -> Figures:
        return run_worker("bench.he_aggregate", "--worker", subject, *passed)

    compare = not options.clusters and importlib.util.find_spec("tenseal") is not None
    runs: dict[str, Any] = {
        "ours": lambda: run("ours"),
        "flare": (lambda: run("flare")) if compare else None,
    }
    figures = alternate(runs, repeats=1 if options.quick or options.clusters else 3)
    found, peer = figures["ours"], figures["flare"]
    parameters = {name: getattr(options, name) for name in names[: 4 if options.clusters else 2]}
    ratios = {
        "bytes_flare": ratio(found, peer, "bytes_per_client"),
        "encrypt_flare": ratio(found, peer, "encrypt_s"),
        "encrypt_cpu_flare": ratio(found, peer, "encrypt_cpu_s"),
    }
    committee = {"threshold": THRESHOLD, "holders": HOLDERS}
    result = report("he_aggregate", {**parameters, **committee}, found, {"flare": peer}, ratios)
    show(result, options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
