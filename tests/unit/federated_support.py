"""A whole session in one folder: parties with keys and files, and what moves a round on."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.services import MEMORY, fits
from zkai.federated.aggregator import OPENED, Aggregator, Status
from zkai.federated.board import Board
from zkai.federated.client import ClientParty
from zkai.federated.compression import Compression
from zkai.federated.decisions import Round
from zkai.federated.holder import KeyHolder
from zkai.federated.memory import Memory
from zkai.federated.noise import Privacy
from zkai.federated.opening import Opened, open_sum
from zkai.federated.record import View
from zkai.federated.scheme import Inputs
from zkai.federated.schemes import choose_parameters, load_scheme
from zkai.federated.sealing import RoundKeys
from zkai.federated.session import RLWE, Client, Holder, Session, Tensor, recipients_message
from zkai.receipt.signer import generate

TENSORS = (Tensor("w", (3, 2)), Tensor("b", (2,)))
BOUND = 100


class World:
    """A session's parties, and what moves its rounds on."""

    def __init__(
        self,
        root: Path,
        clients: int = 4,
        holders: int = 3,
        threshold: int = 2,
        *,
        rounds: int = 2,
        percent: int = 50,
        minimum: int = 2,
        max_weight: int = 1,
        clusters: Sequence[str | None] = (),
        tensors: tuple[Tensor, ...] = TENSORS,
        bound: int = BOUND,
        rule: Callable[[Mapping[str, Any]], Inputs] | None = None,
        noise: Privacy | None = None,
        compression: Compression | None = None,
    ) -> None:
        """`rule` makes the rule of the inputs from the scheme's parameters."""
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.keys = [generate() for _ in range(clients)]
        self.holder_keys = [generate() for _ in range(holders)]
        self.operator = generate()
        self.board = Board(root / "board")
        self.names = [f"c{i}" for i in range(clients)]
        made = []
        for j, key in enumerate(self.holder_keys):
            round_keys = RoundKeys(root / f"h{j}" / "round-keys", key)
            recipients = round_keys.generate(rounds)
            signature = key.sign(recipients_message(recipients))
            made.append(Holder(f"h{j}", key.public, recipients, signature))
        groups = list(clusters) or [None] * clients
        largest = bound * max_weight + (noise.noise_bound if noise else 0)
        parameters = choose_parameters(RLWE, clients, largest, threshold, holders)
        self.rule = None if rule is None else rule(parameters)
        self.session = Session(
            os.urandom(32),
            "zkai.example/test",
            self.operator.public,
            RLWE,
            parameters,
            tensors,
            bound,
            max_weight,
            tuple(
                Client(name, key.public, group)
                for name, key, group in zip(self.names, self.keys, groups, strict=True)
            ),
            tuple(made),
            threshold,
            minimum,
            percent,
            None if self.rule is None else self.rule.digest,
            privacy=noise.fields if noise else None,
            compress=compression.fields if compression else None,
        )
        self.scheme = load_scheme(self.session)
        for name in self.names:
            (root / name).mkdir()
        self.updates: dict[tuple[int, int], dict[str, Any]] = {}
        self._open_all()
        self.aggregator.begin()

    def _open_all(self) -> None:
        self.aggregator = self.open_aggregator()
        self.clients = [
            ClientParty(self.root / name, key)
            for name, key in zip(self.names, self.keys, strict=True)
        ]
        self.holders = [self.open_holder(j) for j in range(len(self.holder_keys))]

    def copy(self, root: Path) -> World:
        """Return the same session at this moment, in another folder: both may go on."""
        self.aggregator.close()
        shutil.copytree(self.root, root)
        self.aggregator = self.open_aggregator()
        other = copy.copy(self)
        other.root, other.board = root, Board(root / "board")
        other._open_all()
        return other

    def open_aggregator(self) -> Aggregator:
        folder = self.root / "aggregator"
        folder.mkdir(exist_ok=True)
        return Aggregator.open(
            self.session, self.scheme, self.operator, folder, self.board, self.rule
        )

    def open_holder(self, j: int) -> KeyHolder:
        """Return a holder as a new process would see it."""
        folder, key = self.root / f"h{j}", self.holder_keys[j]
        keys, memory = RoundKeys(folder / "round-keys", key), Memory(folder / "memory")
        return KeyHolder(self.session, self.scheme, key, keys, memory, self.rule)

    def keyid(self, i: int) -> str:
        return self.keys[i].keyid

    def update(self, i: int, number: int = 1) -> dict[str, Any]:
        """Return client i's update of a round: always the same."""
        if (i, number) not in self.updates:
            source = np.random.default_rng(1000 * number + i)
            self.updates[i, number] = {
                t.name: source.integers(-BOUND, BOUND + 1, t.shape) for t in self.session.tensors
            }
        return self.updates[i, number]

    def commit(self, who: Iterable[int] | None = None, number: int = 1, weight: int = 1) -> None:
        for i in self._all(who):
            self.clients[i].encrypt(
                self.session, self.scheme, self.board, number, self.update(i, number), weight
            )

    def _all(self, who: Iterable[int] | None) -> Iterable[int]:
        return range(len(self.clients)) if who is None else who

    def reveal(self, who: Iterable[int] | None = None, number: int = 1) -> None:
        for i in self._all(who):
            self.clients[i].reveal(self.session, self.board, number)

    def advance(self, number: int = 1, wait: bool = False) -> Status:
        return self.aggregator.advance(number, wait=wait)

    def serve(
        self, who: Iterable[int] | None = None, number: int = 1, opening: bool = True
    ) -> None:
        for j in range(len(self.holders)) if who is None else who:
            self.holders[j].step(self.board, number, opening=opening)

    def close(self, who: Iterable[int] | None = None, number: int = 1) -> None:
        """Clients commit, holders close, clients reveal."""
        who = list(self._all(who))
        self.commit(who, number)
        self.advance(number)
        self.serve(None, number)
        self.advance(number)
        self.reveal(who, number)

    def until(self, phase: str, number: int = 1) -> Status:
        """Move on, everyone taking part, until the aggregator waits at a phase."""
        for _ in range(9):
            status = self.advance(number)
            if status.phase.startswith(phase):
                return status
            if status.phase == "reveal":
                self.reveal([self.names.index(name) for name in status.waiting], number)
            self.serve(None, number)
        raise AssertionError(f"never at {phase}, but {status}")

    def open(self, number: int = 1) -> Opened:
        """Move on to the end and return the sum."""
        self.until(OPENED, number)
        return open_sum(self.round(number), self.scheme)

    def round(self, number: int = 1) -> Round:
        return Round(self.session, number, View.read(self.board, self.session), self.rule)

    def expected(self, who: Iterable[int], number: int = 1) -> list[int]:
        """Return the sum over some clients, flattened."""
        parts = [
            np.concatenate([self.update(i, number)[t.name].ravel() for t in self.session.tensors])
            for i in who
        ]
        return [int(v) for v in np.sum(parts, axis=0)]

    def altered(self, **changes: Any) -> Session:
        return replace(self.session, **changes)

    def opens_to(self, who: Iterable[int], number: int = 1) -> None:
        """Check that the round's sum is exactly that over some clients."""
        assert self.open(number).values.tolist() == self.expected(who, number)


def fast_folder() -> Path:
    """Return a new folder, in memory where there is much of it: these tests fsync a lot."""
    parent = MEMORY if fits(MEMORY) else None
    return Path(tempfile.mkdtemp(prefix="zkai-federated-", dir=parent))
