"""A key ceremony's terms: who makes a joint key for scheme `ckks`, or hands one on. Named by bytes.

    {"format": "zkai.he-key-ceremony/1", "nonce", "origin", "aggregator": JWK, "threshold",
     "holders": [{"name", "key"}], "once",
     "renews": null or {"key", "committee", "dealers": [{"place", "name", "key"}]}}

`holders` shall hold the key, by their numbers from 1. In a resharing `renews` names the key, the
committee that holds it, and the `threshold` old holders that deal. A key that is for `once` serves
a single round, and is never handed on. The aggregator keeps the log, and holds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from zkai.encoding import hex32, parse_hex32, read_capped, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.board import Board
from zkai.he.ckks import CHAIN
from zkai.he.joint_key import JointKey
from zkai.he.key_dealing import Terms
from zkai.ledger.note import check_name
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import decode, encode
from zkai.receipt.signer import ML_DSA_65, PublicKey

FORMAT = "zkai.he-key-ceremony/1"
FILE, RENEWED = "ceremony.json", "renewed.key"
MAX_BYTES = 1 << 20
_FIELDS = ("format", "nonce", "origin", "aggregator", "threshold", "holders", "once", "renews")


@dataclass(frozen=True)
class Member:
    """A party of a ceremony, with its number among dealers or holders."""

    place: int
    name: str
    key: PublicKey

    @property
    def keyid(self) -> str:
        """The signing key's thumbprint."""
        return self.key.keyid


@dataclass(frozen=True)
class Renewal:
    """The key that a resharing hands on, the committee that holds it, and who deals."""

    key: bytes
    committee: bytes
    dealers: tuple[Member, ...]


@dataclass(frozen=True)
class KeyCeremony:
    """What a ceremony's parties agree on. Raises InvalidInput where it is contradictory or weak."""

    nonce: bytes
    origin: str
    aggregator: PublicKey
    threshold: int
    holders: tuple[Member, ...]
    once: bool = False
    renews: Renewal | None = field(default=None)

    def __post_init__(self) -> None:
        check_name(self.origin)
        deal = () if self.renews is None else self.renews.dealers
        for members in (self.holders, deal):
            if len({member.keyid for member in members}) != len(members):
                raise InvalidInput("ceremony: a key is there twice: each party has its own")
        parties = (*self.holders, *deal)
        if any(key.alg != ML_DSA_65 for key in (self.aggregator, *(m.key for m in parties))):
            raise InvalidInput(f"ceremony: every party signs with {ML_DSA_65}")
        if self.aggregator.keyid in {member.keyid for member in parties}:
            raise InvalidInput("ceremony: the aggregator holds no part of the key")
        names = {member.keyid: member.name for member in self.holders}
        if any(names.get(m.keyid, m.name) != m.name for m in deal):
            raise InvalidInput("ceremony: a party has two names")
        if len({m.keyid for m in parties}) != len({m.name for m in parties}):
            raise InvalidInput("ceremony: two parties have one name")
        if self.renews is not None and self.once:
            raise InvalidInput("ceremony: a key that is handed on serves more than one round")
        _ = self.terms

    @cached_property
    def terms(self) -> Terms:
        """The terms of `zkai.he.committee`; their session is this ceremony's id."""
        names = tuple(member.name for member in self.holders)
        if self.renews is None:
            return Terms(CHAIN, self.threshold, names, self.id)
        old = tuple((member.place, member.name) for member in self.renews.dealers)
        return Terms(CHAIN, self.threshold, names, self.id, self.renews.key, old)

    @property
    def dealers(self) -> tuple[Member, ...]:
        """Who deals: the holders of a new key, or old holders."""
        return self.holders if self.renews is None else self.renews.dealers

    @property
    def quorum(self) -> int:
        """How many holders sign that a phase is over: two quorums share an honest one."""
        return (len(self.holders) + self.threshold - 1) // 2 + 1

    @cached_property
    def id(self) -> bytes:
        """SHA-256 of the terms' bytes."""
        return sha256(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the one byte form."""
        renews = None
        if self.renews is not None:
            renews = {
                "key": hex32(self.renews.key),
                "committee": hex32(self.renews.committee),
                "dealers": [
                    {"place": m.place, "name": m.name, "key": m.key.jwk}
                    for m in self.renews.dealers
                ],
            }
        return encode(
            {
                "format": FORMAT,
                "nonce": hex32(self.nonce),
                "origin": self.origin,
                "aggregator": self.aggregator.jwk,
                "threshold": self.threshold,
                "holders": [{"name": m.name, "key": m.key.jwk} for m in self.holders],
                "once": self.once,
                "renews": renews,
            }
        )

    @staticmethod
    def from_bytes(data: bytes, where: str = "ceremony") -> KeyCeremony:
        """Parse `to_bytes`'s form. Raises InvalidInput naming the field."""
        value = decode(data, where)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise InvalidInput(f"{where}: expected {FORMAT}")
        expect_fields(value, _FIELDS, where)
        if not isinstance(value["origin"], str) or len(value["origin"]) > 255:
            raise InvalidInput(f"{where}.origin: expected short text")
        if type(value["once"]) is not bool or type(value["threshold"]) is not int:
            raise InvalidInput(f"{where}: threshold is an integer, once is true or false")
        holders = _members(value["holders"], f"{where}.holders", None)
        return KeyCeremony(
            parse_hex32(value["nonce"], f"{where}.nonce"),
            value["origin"],
            PublicKey.from_jwk(value["aggregator"], f"{where}.aggregator"),
            value["threshold"],
            holders,
            value["once"],
            _renewal(value["renews"], f"{where}.renews"),
        )


def _members(listed: Any, where: str, place: str | None) -> tuple[Member, ...]:
    if not isinstance(listed, list) or not 1 <= len(listed) <= 10:
        raise InvalidInput(f"{where}: expected a list of at most 10")
    found = []
    for i, value in enumerate(listed):
        at = f"{where}[{i}]"
        expect_fields(value, ("name", "key") if place is None else (place, "name", "key"), at)
        number = i + 1 if place is None else value[place]
        if type(number) is not int or not isinstance(value["name"], str):
            raise InvalidInput(f"{at}: expected a number and a name")
        found.append(Member(number, value["name"], PublicKey.from_jwk(value["key"], f"{at}.key")))
    return tuple(found)


def _renewal(value: Any, where: str) -> Renewal | None:
    if value is None:
        return None
    expect_fields(value, ("key", "committee", "dealers"), where)
    return Renewal(
        parse_hex32(value["key"], f"{where}.key"),
        parse_hex32(value["committee"], f"{where}.committee"),
        _members(value["dealers"], f"{where}.dealers", "place"),
    )


def read_ceremony(board: Board, expected: bytes | None = None) -> KeyCeremony:
    """Return a board's ceremony, with `expected` only if it has that id.

    Raises InvalidInput if there is none, VerificationError if it is another.
    """
    path = board.root / FILE
    found = KeyCeremony.from_bytes(read_capped(path, MAX_BYTES), str(path))
    if expected is not None and found.id != expected:
        raise VerificationError(f"{board.root}: holds another ceremony than the one joined")
    return found


def read_renewed(board: Board, ceremony: KeyCeremony) -> JointKey | None:
    """Return the key that a resharing hands on, from the board; None for a new key's ceremony.

    Raises VerificationError if it is another than the terms name.
    """
    if ceremony.renews is None:
        return None
    path = board.root / RENEWED
    joint = JointKey.from_seal(CHAIN, read_capped(path, CHAIN.public_key_bytes), str(path))
    if joint.id != ceremony.renews.key:
        raise VerificationError(f"{path}: not the key that the terms name")
    return joint


def numbered(parties: Sequence[tuple[str, PublicKey]]) -> tuple[Member, ...]:
    """Return holders in order of their names, numbered from 1."""
    return tuple(
        Member(i, name, key) for i, (name, key) in enumerate(sorted(parties, key=_name), 1)
    )


def _name(party: tuple[str, PublicKey]) -> str:
    return party[0]


def by_keyid(members: Sequence[Member]) -> Mapping[str, Member]:
    """Return members by their thumbprints."""
    return {member.keyid: member for member in members}
