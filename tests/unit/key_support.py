"""Key ceremonies in a folder: parties with files, and what moves a ceremony on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from zkai.federated.aggregator import Status
from zkai.federated.board import Board
from zkai.federated.key_ceremony import KeyCeremony, Member, Renewal, numbered
from zkai.federated.key_member import KeyMember
from zkai.federated.key_organiser import CONCLUDED, Organiser
from zkai.federated.key_transcript import Transcript, read_transcript
from zkai.he import key_dealing
from zkai.he.joint_key import JointKey
from zkai.he.key_dealing import Dealing, Share, Terms
from zkai.receipt.signer import PrivateKey, generate


class Hall:
    """A ceremony's parties, each with a folder, and its board."""

    terms: KeyCeremony

    def __init__(
        self,
        root: Path,
        holders: int = 4,
        threshold: int = 2,
        *,
        once: bool = False,
        renews: tuple[Hall, Sequence[int]] | None = None,
        first: str = "h",
    ) -> None:
        """`renews` names the ceremony whose key is handed on, and who deals (from 0)."""
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.operator = generate()
        self.keys = {f"{first}{j}": generate() for j in range(holders)}
        self.folders = {name: root / name for name in self.keys}
        renewal, joint = None, None
        if renews is not None:
            old, places = renews
            found = old.transcript()
            joint = found.joint
            assert joint is not None
            dealers = tuple(old.terms.holders[j] for j in places)
            renewal = Renewal(joint.id, old.terms.terms.digest, dealers)
            self.keys |= {m.name: old.keys[m.name] for m in old.terms.holders}
            self.folders |= {m.name: old.folders[m.name] for m in old.terms.holders}
        named = [(name, key.public) for name, key in self.keys.items() if name.startswith(first)]
        self.terms = KeyCeremony(
            os.urandom(32), "zkai.example/keys", self.operator.public, threshold,
            numbered(named), once, renewal,
        )  # fmt: skip
        self.board = Board(root / "board")
        self.begin(joint)

    def begin(self, joint: JointKey | None = None) -> None:
        organiser = self.organiser()
        organiser.begin(joint)
        organiser.close()

    def organiser(self) -> Organiser:
        return Organiser.open(self.terms, self.operator, self.root / "aggregator", self.board)

    def member(self, name: str, *, agreed: bool = True) -> KeyMember:
        """Return a party as a new process would see it."""
        self.folders[name].mkdir(exist_ok=True)
        return KeyMember(self.terms, self.keys[name], self.folders[name], agreed)

    @property
    def names(self) -> list[str]:
        members: list[Member] = [*self.terms.dealers, *self.terms.holders]
        return sorted({member.name for member in members})

    def step(self, who: Iterable[str] | None = None) -> dict[str, list[str]]:
        return {name: self.member(name).step(self.board) for name in who or self.names}

    def advance(self, *, wait: bool = True) -> Status:
        organiser = self.organiser()
        try:
            return organiser.advance(wait=wait)
        finally:
            organiser.close()

    def until(self, phase: str, who: Iterable[str] | None = None, *, wait: bool = True) -> Status:
        """Move on, with some of the parties, until the aggregator waits at a phase."""
        who = None if who is None else list(who)
        for _ in range(20):
            status = self.advance(wait=wait)
            if status.phase.startswith(phase):
                return status
            self.step(who)
        raise AssertionError(f"never at {phase}, but {status}")

    def conclude(self, who: Iterable[str] | None = None, *, wait: bool = True) -> Transcript:
        """Move on to the end, and return what the board tells."""
        who = None if who is None else list(who)
        self.until(CONCLUDED, who, wait=wait)
        self.step(who)
        return self.transcript()

    def transcript(self) -> Transcript:
        return read_transcript(self.terms, self.board)

    def key(self, name: str) -> PrivateKey:
        return self.keys[name]

    def copy(self, root: Path) -> Hall:
        """Return the same ceremony at this moment, in another folder: both may go on."""
        shutil.copytree(self.root, root)
        other = Hall.__new__(Hall)
        other.root, other.operator, other.keys = root, self.operator, self.keys
        other.folders = {
            name: root / path.relative_to(self.root) if path.is_relative_to(self.root) else path
            for name, path in self.folders.items()
        }
        other.terms, other.board = self.terms, Board(root / "board")
        return other


def flipped(terms: Terms, dealing: Dealing) -> Dealing:
    """A dealing with one bit turned in the share for holder 2, committed to as such."""
    share = Share.from_bytes(terms, dealing.opening, 2, dealing.messages[1])
    value = share.value.copy()
    value[0, 7] ^= np.uint64(1)
    changed = replace(share, value=value).to_bytes(terms)
    messages = (dealing.messages[0], changed, *dealing.messages[2:])
    digests = tuple(key_dealing._share_digest(message) for message in messages)
    return Dealing(replace(dealing.opening, shares=digests), messages)
