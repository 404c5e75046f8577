"""A session: who takes part, what is summed, and how many must agree. Named by its bytes.

    {"format": "zkai.he-session/1", "nonce", "origin", "aggregator": JWK, "scheme", "parameters",
     "tensors": [{"name", "shape"}], "value_bound", "max_weight", "clients": [{"name", "key",
     "cluster"}], "holders": [{"name", "key", "recipients": [JWK], "signature"}],
     "threshold", "minimum", "percent", "inputs", "privacy", "compression"}

`threshold` (t) key holders open a sum; of n, q = floor((n + t - 1) / 2) + 1 must sign each
decision, so that two quorums share a holder that is honest while at most t - 1 are not. A sum has
at least `minimum` clients and `percent` of all. `recipients` are one-time encryption keys, one for
each round, and `signature` is their holder's of them: nobody else's keys can stand in for them. A
session has as many rounds as each holder has keys. `value_bound` limits each value before it is
multiplied by the client's weight, which is at most `max_weight`; `inputs` is null, or the digest
of the rule of the proofs that every client's ciphertext must come with; `compression` is null, or
says how real updates are rounded and which of their values are sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from zkai.encoding import hex32, parse_hex32, read_capped, sha256, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.compression import Compression
from zkai.federated.noise import Privacy
from zkai.ledger.note import check_name
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import MAX_INTEGER, decode, encode, from_base64url, to_base64url
from zkai.receipt.signer import ML_DSA_65, SIGNATURE_BYTES, PublicKey
from zkai.vault.keys import Recipient

FORMAT = "zkai.he-session/1"
MAX_BYTES = 32 << 20
MAX_CLIENTS, MAX_HOLDERS, MAX_ROUNDS = 1 << 12, 10, 1 << 10
MAX_TENSORS, MAX_DIMENSIONS, MAX_VALUES = 1 << 12, 8, 1 << 27
RLWE, CKKS = "rlwe", "ckks"
COUNT = "samples"
"""The name of the value that a weighted session adds: each client's weight."""
_RECIPIENTS = "zkai/he-round-keys/1"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}")
_FIELDS = (
    "format", "nonce", "origin", "aggregator", "scheme", "parameters", "tensors", "value_bound",
    "max_weight", "clients", "holders", "threshold", "minimum", "percent", "inputs", "privacy",
    "compression",
)  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A named part of an update."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of its values."""
        size = 1
        for length in self.shape:
            size *= length
        return size


@dataclass(frozen=True)
class Client:
    """Who may contribute, and in which cluster (or none)."""

    name: str
    key: PublicKey
    cluster: str | None = None

    @property
    def keyid(self) -> str:
        """The signing key's thumbprint."""
        return self.key.keyid


@dataclass(frozen=True)
class Holder:
    """A key holder: its signing key, an encryption key for each round, its signature of these."""

    name: str
    key: PublicKey
    recipients: tuple[Recipient, ...] = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def keyid(self) -> str:
        """The signing key's thumbprint."""
        return self.key.keyid

    def check_recipients(self) -> None:
        """Return None if the holder signed its encryption keys. Raises VerificationError."""
        try:
            self.key.verify(self.signature, recipients_message(self.recipients))
        except VerificationError as error:
            raise VerificationError(
                f"session: {self.name} did not sign its encryption keys: somebody else may hold"
                " them"
            ) from error


def recipients_message(recipients: Sequence[Recipient]) -> bytes:
    """Return what a holder signs of its encryption keys: their SHA-256 in the rounds' order."""
    return encode([_RECIPIENTS, *(sha256(recipient.data).hex() for recipient in recipients)])


@dataclass(frozen=True)
class Session:
    """What all parties agreed on. Raises InvalidInput where it is contradictory or too weak."""

    nonce: bytes
    origin: str
    aggregator: PublicKey
    scheme: str
    parameters: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    value_bound: int
    max_weight: int
    clients: tuple[Client, ...] = field(repr=False)
    holders: tuple[Holder, ...] = field(repr=False)
    threshold: int
    minimum: int
    percent: int
    inputs: bytes | None = None
    privacy: Mapping[str, Any] | None = None
    compress: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_name(self.origin)
        self._check_parties()
        n, t = len(self.holders), self.threshold
        if not 2 <= t <= n <= MAX_HOLDERS:
            raise InvalidInput(f"session: threshold {t} of {n}: expected 2 to n, n at most 10")
        if not 2 <= self.minimum <= len(self.clients) <= MAX_CLIENTS:
            raise InvalidInput(
                f"session: minimum {self.minimum} of {len(self.clients)} clients: expected at least"
                f" 2 and no more than there are, of at most {MAX_CLIENTS}"
            )
        if not 1 <= self.percent <= 100:
            raise InvalidInput("session: percent: expected 1 to 100")
        if self.max_weight < 1 or not 1 <= self.largest <= MAX_INTEGER:
            raise InvalidInput("session: value_bound and max_weight: expected positive integers")
        names = [tensor.name for tensor in self.tensors]
        if not 1 <= len(names) <= MAX_TENSORS or len(set(names)) != len(names):
            raise InvalidInput("session: tensors: expected names, each once")
        if self.weighted and COUNT in names:
            raise InvalidInput(f"session: tensors: {COUNT!r} is the name of the clients' weights")
        if not 1 <= self.values <= MAX_VALUES:
            raise InvalidInput(f"session: tensors: expected 1 to {MAX_VALUES} values in all")
        if (noise := self.noise) is not None and noise.honest > self.least:
            raise InvalidInput(
                f"session: privacy: {noise.honest} honest clients, of sums of {self.least} or more"
            )
        if noise is not None and self.inputs is not None:
            raise InvalidInput(
                "session: a proven update is encrypted without noise: ask for proofs or for privacy"
            )
        self._check_compression()

    def _check_compression(self) -> None:
        if self.compression is None:
            return
        if self.inputs is not None:
            raise InvalidInput(
                "session: a proven update is the whole difference of two states, exactly: ask for"
                " proofs or for compression"
            )
        if self.sent > self.plain:
            raise InvalidInput(f"session: compression: keep: an update has {self.plain} values")

    def _check_parties(self) -> None:
        keys = [self.aggregator, *(c.key for c in self.clients), *(h.key for h in self.holders)]
        if any(key.alg != ML_DSA_65 for key in keys):
            raise InvalidInput(f"session: every party signs with {ML_DSA_65}")
        if len({key.keyid for key in keys}) != len(keys):
            raise InvalidInput("session: a key is there twice: each party has its own")
        names = [c.name for c in self.clients] + [h.name for h in self.holders]
        if len(set(names)) != len(names) or not all(_NAME.fullmatch(name) for name in names):
            raise InvalidInput("session: clients and holders need short names, each once")
        recipients = [r.data for h in self.holders for r in h.recipients]
        if len(set(recipients)) != len(recipients):
            raise InvalidInput("session: holders: an encryption key is there twice")
        if not self.rounds:
            raise InvalidInput("session: every holder has one encryption key for each round")
        for holder in self.holders:
            holder.check_recipients()

    @property
    def rounds(self) -> int:
        """How many rounds the session has at most: one with a `ckks` key that is for one round."""
        if self.scheme == CKKS and self.parameters.get("once") is True:
            return min([1, *(len(holder.recipients) for holder in self.holders)])
        return min((len(holder.recipients) for holder in self.holders), default=0)

    @property
    def weighted(self) -> bool:
        """Whether clients multiply by a weight and send it as one more value."""
        return self.max_weight > 1

    @cached_property
    def noise(self) -> Privacy | None:
        """What every client adds to its values, or None. Raises InvalidInput if it is unusable."""
        if self.privacy is None:
            return None
        return Privacy.from_fields(dict(self.privacy), "session.privacy")

    @property
    def largest(self) -> int:
        """The largest absolute value that a client encrypts, noise included."""
        noise = 0 if self.noise is None else self.noise.noise_bound
        return self.value_bound * self.max_weight + noise

    @cached_property
    def compression(self) -> Compression | None:
        """How real updates are made integers, or None. Raises InvalidInput if it is unusable."""
        if self.compress is None:
            return None
        return Compression.from_fields(dict(self.compress), "session.compression")

    @property
    def plain(self) -> int:
        """How many values an update has."""
        return sum(tensor.size for tensor in self.tensors)

    @property
    def keeps(self) -> bool:
        """Whether only the values at some coordinates are sent."""
        return self.compression is not None and self.compression.keep is not None

    @property
    def sent(self) -> int:
        """How many of an update's values are sent."""
        if self.compression is None or self.compression.keep is None:
            return self.plain
        return self.compression.keep

    @property
    def values(self) -> int:
        """How many values a client encrypts."""
        return self.sent + self.weighted

    @property
    def quorum(self) -> int:
        """q: how many holders sign a decision."""
        return (len(self.holders) + self.threshold - 1) // 2 + 1

    @property
    def least(self) -> int:
        """How many clients a sum has at least."""
        return max(self.minimum, -(-self.percent * len(self.clients) // 100))

    @cached_property
    def clients_by_keyid(self) -> Mapping[str, Client]:
        """The clients by their thumbprints."""
        return {client.keyid: client for client in self.clients}

    @cached_property
    def holders_by_keyid(self) -> Mapping[str, Holder]:
        """The holders by their thumbprints."""
        return {holder.keyid: holder for holder in self.holders}

    @cached_property
    def holder_keyids(self) -> tuple[str, ...]:
        """The holders' thumbprints, in order: holder j has Shamir's point j + 1."""
        return tuple(holder.keyid for holder in self.holders)

    @cached_property
    def clusters(self) -> tuple[str, ...]:
        """The clusters' names, in order; none if the clients are in none."""
        return tuple(sorted({c.cluster for c in self.clients if c.cluster is not None}))

    @cached_property
    def id(self) -> bytes:
        """SHA-256 of the session's bytes."""
        return sha256(self.to_bytes())

    def check_round(self, number: int) -> None:
        """Return None for a round of this session, counted from 1. Raises InvalidInput."""
        if type(number) is not int or not 1 <= number <= self.rounds:
            raise InvalidInput(f"round {number}: the session has rounds 1 to {self.rounds}")

    def to_bytes(self) -> bytes:
        """Return the session's one byte form."""
        return encode(
            {
                "format": FORMAT,
                "nonce": hex32(self.nonce),
                "origin": self.origin,
                "aggregator": self.aggregator.jwk,
                "scheme": self.scheme,
                "parameters": dict(self.parameters),
                "tensors": [{"name": t.name, "shape": list(t.shape)} for t in self.tensors],
                "value_bound": self.value_bound,
                "max_weight": self.max_weight,
                "clients": [
                    {"name": c.name, "key": c.key.jwk, "cluster": c.cluster} for c in self.clients
                ],
                "holders": [
                    {
                        "name": h.name,
                        "key": h.key.jwk,
                        "recipients": [r.jwk for r in h.recipients],
                        "signature": to_base64url(h.signature),
                    }
                    for h in self.holders
                ],
                "threshold": self.threshold,
                "minimum": self.minimum,
                "percent": self.percent,
                "inputs": None if self.inputs is None else hex32(self.inputs),
                "privacy": None if self.privacy is None else dict(self.privacy),
                "compression": None if self.compress is None else dict(self.compress),
            }
        )

    def write(self, path: Path | str) -> None:
        """Write the session. Raises InvalidInput if that is impossible."""
        write_atomic(path, self.to_bytes())

    @staticmethod
    def from_path(path: Path | str) -> Session:
        """Read a session. Raises InvalidInput naming file and field."""
        return Session.from_bytes(read_capped(path, MAX_BYTES), str(path))

    @staticmethod
    def from_bytes(data: bytes, where: str = "session") -> Session:
        """Parse `to_bytes`'s form. Raises InvalidInput naming the field."""
        value = decode(data, where)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise InvalidInput(f"{where}: expected {FORMAT}")
        expect_fields(value, _FIELDS, where)
        if not isinstance(value["parameters"], dict):
            raise InvalidInput(f"{where}.parameters: expected an object")
        for name in ("privacy", "compression"):
            if value[name] is not None and not isinstance(value[name], dict):
                raise InvalidInput(f"{where}.{name}: expected null or an object")
        inputs = value["inputs"]
        return Session(
            parse_hex32(value["nonce"], f"{where}.nonce"),
            _text(value, "origin", where),
            PublicKey.from_jwk(value["aggregator"], f"{where}.aggregator"),
            _text(value, "scheme", where),
            value["parameters"],
            parse_tensors(value["tensors"], f"{where}.tensors"),
            _count(value, "value_bound", where),
            _count(value, "max_weight", where),
            tuple(map(_client, *_listed(value, "clients", where, MAX_CLIENTS))),
            tuple(map(_holder, *_listed(value, "holders", where, MAX_HOLDERS))),
            _count(value, "threshold", where),
            _count(value, "minimum", where),
            _count(value, "percent", where),
            None if inputs is None else parse_hex32(inputs, f"{where}.inputs"),
            value["privacy"],
            value["compression"],
        )


def parse_tensors(value: Any, where: str) -> tuple[Tensor, ...]:
    """Return a manifest's tensors. Raises InvalidInput naming the entry."""
    if not isinstance(value, list) or len(value) > MAX_TENSORS:
        raise InvalidInput(f"{where}: expected a list of at most {MAX_TENSORS} tensors")
    found = []
    for i, item in enumerate(value):
        at = f"{where}[{i}]"
        expect_fields(item, ("name", "shape"), at)
        shape = item["shape"]
        if not isinstance(item["name"], str) or not _NAME.fullmatch(item["name"]):
            raise InvalidInput(f"{at}.name: expected a short name")
        if (
            not isinstance(shape, list)
            or len(shape) > MAX_DIMENSIONS
            or not all(type(n) is int and 1 <= n <= MAX_VALUES for n in shape)
        ):
            raise InvalidInput(f"{at}.shape: expected at most {MAX_DIMENSIONS} positive lengths")
        found.append(Tensor(item["name"], tuple(shape)))
    return tuple(found)


def _text(value: Mapping[str, Any], name: str, where: str) -> str:
    if not isinstance(value[name], str) or len(value[name]) > 255:
        raise InvalidInput(f"{where}.{name}: expected short text")
    return str(value[name])


def _count(value: Mapping[str, Any], name: str, where: str) -> int:
    if type(value[name]) is not int:
        raise InvalidInput(f"{where}.{name}: expected an integer")
    return int(value[name])


def _listed(
    value: Mapping[str, Any], name: str, where: str, most: int
) -> tuple[Sequence[Any], Sequence[str]]:
    listed = value[name]
    if not isinstance(listed, list) or len(listed) > most:
        raise InvalidInput(f"{where}.{name}: expected a list of at most {most}")
    return listed, [f"{where}.{name}[{i}]" for i in range(len(listed))]


def _client(value: Any, where: str) -> Client:
    expect_fields(value, ("name", "key", "cluster"), where)
    cluster = value["cluster"]
    if cluster is not None and not (isinstance(cluster, str) and _NAME.fullmatch(cluster)):
        raise InvalidInput(f"{where}.cluster: expected null or a short name")
    return Client(
        _text(value, "name", where), PublicKey.from_jwk(value["key"], f"{where}.key"), cluster
    )


def _holder(value: Any, where: str) -> Holder:
    expect_fields(value, ("name", "key", "recipients", "signature"), where)
    listed, places = _listed(value, "recipients", where, MAX_ROUNDS)
    recipients = tuple(map(Recipient.from_jwk, listed, places))
    key = PublicKey.from_jwk(value["key"], f"{where}.key")
    signature = from_base64url(value["signature"], f"{where}.signature", SIGNATURE_BYTES[ML_DSA_65])
    return Holder(_text(value, "name", where), key, recipients, signature)
