"""The users' updates, summed so that nobody sees one: three key holders in processes of their own.

Everything that passes between the parties lies in aggregation/board, for `zkai he verify`.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zkai.circuit.statements.encrypted_update import MAX_NORM, EncryptedUpdate
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.training_step import TrainingStep
from zkai.demo.stage import History, Stage
from zkai.encoding import hex32, write_atomic
from zkai.encrypted import encrypted_update
from zkai.errors import ToolError, VerificationError
from zkai.federated.aggregator import OPENED, Aggregator
from zkai.federated.board import Board
from zkai.federated.client import ClientParty, Prove
from zkai.federated.decisions import Round
from zkai.federated.inputs import input_bytes
from zkai.federated.messages import REVEAL
from zkai.federated.opening import Opened, open_sum, verify_aggregate
from zkai.federated.parties import AGGREGATOR, CLIENT, HOLDER, make_party, members, read_party_key
from zkai.federated.receipts import aggregate_receipt, check_aggregate_receipt
from zkai.federated.record import View
from zkai.federated.rules import Base, InputRule
from zkai.federated.scheme import Int64, Scheme
from zkai.federated.schemes import choose_parameters, load_scheme
from zkai.federated.session import RLWE, Session, Tensor
from zkai.federated.update import unflatten
from zkai.he.rlwe import RlweParameters
from zkai.model.head_state import HeadState
from zkai.model.training import accuracy
from zkai.pipeline import prove, setup
from zkai.proof.formats import Keys
from zkai.receipt.trust import trust
from zkai.receipt.verify import verify_receipt

HOLDERS, THRESHOLD = 3, 2
ORIGIN = "zkai.example/demo-aggregation"
TENSOR = "weights"
PATIENCE_S = 120
_SCRYPT_LOG2_N = 14
"""The passphrase is 128 random bits: nothing to guess."""


@dataclass(frozen=True)
class Aggregated:
    """The demo's round of aggregation: where it lies, what it opened, what the summary says."""

    session: Session
    scheme: Scheme = field(repr=False)
    rule: InputRule = field(repr=False)
    folder: Path
    passphrase: str = field(repr=False)
    opened: Opened = field(repr=False)
    summary: Mapping[str, Any] = field(repr=False)
    accuracy: float

    def round(self) -> Round:
        """The round as its board shows it."""
        board = Board(self.folder / "board")
        return Round(self.session, 1, View.read(board, self.session), self.rule)


def aggregate(stage: Stage, histories: Sequence[History]) -> Aggregated:
    """Sum what every user's training changed, check the sum, and sign a receipt of it.

    Raises VerificationError if the opened sum is not that of the updates, ToolError if a key
    holder's process fails.
    """
    started, label = time.perf_counter(), "aggregate under encryption"
    stage.report(label, 0.0)
    base = stage.setting.base.weights
    updates = {h.user.name: np.asarray(h.state.values.weights - base, np.int64) for h in histories}
    folder, passphrase = stage.out / "aggregation", secrets.token_hex(16)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    session, rule, provers = _open_session(stage, folder, histories, updates, passphrase)
    scheme, board = load_scheme(session), Board(folder / "board")
    key = read_party_key(folder / "aggregator", passphrase)
    aggregator = Aggregator.open(session, scheme, key, folder / "aggregator", board, rule)
    aggregator.begin()
    with _holders(folder, passphrase):
        stage.report(label, 0.2)
        clients = {
            name: ClientParty(folder / name, read_party_key(folder / name, passphrase))
            for name in updates
        }
        for name, client in clients.items():
            update = {TENSOR: updates[name]}
            client.encrypt(session, scheme, board, 1, update, prove=provers[name])
        _advance(aggregator, REVEAL)
        stage.report(label, 0.5)
        sent = sum(client.reveal(session, board, 1) for client in clients.values())
        _advance(aggregator, OPENED)
    aggregator.close()
    stage.report(label, 0.9)
    rnd = Round(session, 1, View.read(board, session), rule)
    opened = open_sum(rnd, scheme)
    verify_aggregate(rnd, scheme, opened.to_bytes(), opened.values)
    total = unflatten(session, opened.values)[TENSOR]
    error = int(np.abs(total - np.sum(list(updates.values()), axis=0)).max())
    if error or not opened.statement["checked"]:
        raise VerificationError("the opened sum is not that of the users' updates, or not checked")
    _write(folder, opened, total, key)
    seconds = stage.seconds["aggregate"] = time.perf_counter() - started
    summary = {
        "clients": len(updates),
        "parameters": session.values,
        "bytes_per_client": sent // len(updates),
        "max_abs_error": float(error),
        "scheme": session.scheme,
        "holders": HOLDERS,
        "threshold": THRESHOLD,
        "session": hex32(session.id),
        "clients_root": opened.statement["clients_root"],
        "bound": opened.statement["bound"],
        "checked": opened.statement["checked"],
        "seconds": round(seconds, 3),
    }
    stage.report(label, 1.0)
    reached = _accuracy(stage, histories, total)
    return Aggregated(session, scheme, rule, folder, passphrase, opened, summary, reached)


def _open_session(
    stage: Stage,
    folder: Path,
    histories: Sequence[History],
    updates: Mapping[str, Int64],
    passphrase: str,
) -> tuple[Session, InputRule, dict[str, Prove]]:
    """Return the session, its rule of proven inputs, and what proves each user's ciphertext."""
    roles = [(AGGREGATOR, AGGREGATOR)] + [(CLIENT, name) for name in updates]
    roles += [(HOLDER, f"holder-{j}") for j in range(1, HOLDERS + 1)]
    parties = [
        make_party(folder / name, role, name, passphrase, rounds=1, log2_n=_SCRYPT_LOG2_N)
        for role, name in roles
    ]
    aggregator, clients, holders = members(parties)
    bound = 1 << max(int(np.abs(update).max()) for update in updates.values()).bit_length()
    parameters = choose_parameters(RLWE, len(clients), bound, THRESHOLD, HOLDERS)
    tensors = (Tensor(TENSOR, next(iter(updates.values())).shape),)
    norm = min(bound * (math.isqrt(tensors[0].size) + 1), MAX_NORM)
    statement = encrypted_update(stage.setting.head, RlweParameters.from_json(dict(parameters)))
    keys = setup(statement)
    steps = tuple(stage.verifying(v) for v in (Genesis.version, TrainingStep.version))
    base = Base.of([histories[0].proofs[0]])
    users = {h.user.name: h.proofs[0].public["user"][0] for h in histories}
    rule = InputRule(keys.verifying, statement, norm, steps, stage.beacon, base, users)
    rule.write(folder / "rule")
    shutil.copy(stage.out / "beacon.json", folder / "rule" / "beacon.json")
    session = Session(
        os.urandom(32), ORIGIN, aggregator, RLWE, parameters, tensors, bound, 1, clients, holders,
        THRESHOLD, len(clients), 100, rule.digest,
    )  # fmt: skip
    provers = {h.user.name: _prover(statement, keys, norm, h) for h in histories}
    return session, rule, provers


def _prover(statement: EncryptedUpdate, keys: Keys, norm: int, history: History) -> Prove:
    """Return what proves that a ciphertext is of everything that a user trained."""
    states = {"old_state": history.proofs[0].opening.state, "new_state": history.state}

    def body(sent: Any, opening: Any) -> bytes:
        values = {**states, "norm_bound": norm, "sent": sent, "opening": opening}
        proof = prove(statement, keys.proving, values)
        return input_bytes(proof, history.proofs, history.terms)

    return body


@contextmanager
def _holders(folder: Path, passphrase: str) -> Iterator[None]:
    """Run each key holder as a process with its own folder, until the round is over."""
    command = [sys.executable, "-m", "zkai.cli", "he", "serve", "--board", str(folder / "board")]
    command += ["--inputs", str(folder / "rule")]
    environment = {**os.environ, "ZKAI_PASSPHRASE": passphrase}
    processes = [
        subprocess.Popen(
            [*command, str(folder / f"holder-{j}"), "--follow", str(PATIENCE_S)],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        for j in range(1, HOLDERS + 1)
    ]  # fmt: skip
    try:
        yield
        for process in processes:
            _, errors = process.communicate(timeout=PATIENCE_S)
            if process.returncode:
                raise ToolError(f"a key holder failed: {errors.decode(errors='replace')[-400:]}")
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _advance(aggregator: Aggregator, phase: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while (status := aggregator.advance(1)).phase != phase:
        if time.monotonic() > until:
            raise ToolError(f"aggregation: nothing came of {', '.join(status.waiting)}")
        time.sleep(0.02)


def _write(folder: Path, opened: Opened, total: Int64, key: Any) -> None:
    """Write sum, statement and receipt, and check the receipt."""
    with open(folder / "sum.npz", "wb") as file:
        np.savez(file, weights=total)
    write_atomic(folder / "sum.json", opened.to_bytes())
    receipt = aggregate_receipt(opened, [key])
    verify_receipt(receipt, trust([("aggregator", key.public)]))
    check_aggregate_receipt(receipt, opened.to_bytes())
    write_atomic(folder / "sum.receipt", receipt.to_bytes())


def _accuracy(stage: Stage, histories: Sequence[History], total: Int64) -> float:
    """Return the mean accuracy, on the users' held-out samples, of base plus the mean update."""
    base, head = stage.setting.base, stage.setting.head
    mean = np.rint(total / len(histories)).astype(np.int64)
    state = HeadState(base.weights + mean, base.velocity, base.frozen)
    found = [accuracy(head, state, h.user.held_out, h.user.held_out_labels) for h in histories]
    return sum(found) / len(found)


def sentence(found: Mapping[str, Any]) -> str:
    """Return what the report says of it."""
    return (
        f"{found['clients']} users' updates, {found['parameters']:,} integers each, were summed"
        f" under encryption: {found['bytes_per_client'] / 1e3:.0f} kB a user, whose keys any"
        f" {found['threshold']} of {found['holders']} key holders (processes of their own) can"
        " open in a sum only. Each holder added up the logged ciphertexts itself, signed one set"
        f" and opened it once, in {found['seconds']:.1f} s in all; the sum is exact, and the"
        " holders' parts of the decryption agree, so no one of them shifted it. Each user proved"
        " that the ciphertext holds exactly what the proven steps trained (<code>"
        "encrypted_update</code>), and every holder checked it. Check it again: <code>zkai he"
        " verify aggregation/sum.npz --board aggregation/board --inputs aggregation/rule</code>."
    )
