"""The rules of `set`: which clients are summed, and that the sum is theirs.

Every key holder applies all of them before it signs, from the bodies themselves; a verifier does
the same later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zkai.encoding import parse_hex32, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.coordinates import read_coordinates
from zkai.federated.decisions import Decision, Round
from zkai.federated.inputs import Bound
from zkai.federated.messages import CLOSED, Message, dealing_digest
from zkai.federated.noise import spent_record
from zkai.federated.scheme import Scheme, Total


@dataclass(frozen=True)
class Chosen:
    """A set whose rules hold: its commitments by client, and the dealing checks behind it."""

    decision: Decision
    commitments: Mapping[str, Message]
    dealings: tuple[Message, ...]


def check_set(rnd: Round, scheme: Scheme, decision: Decision) -> Chosen:
    """Return a set after checking every rule of it.

    The clients committed before the round was closed, are enough and distinct; everybody else who
    committed is named with a reason; each one's shares are of one key, which is its ciphertext's;
    inputs are bound as the session asks; cluster sums and sum are those of the bodies.

    Raises VerificationError naming what does not hold, InvalidInput for malformed bodies.
    """
    bound = Bound(rnd, scheme)
    closed, commitments = _check_entries(rnd, decision)
    reveal = rnd.reveal(decision.body["reveal"], closed)
    members = rnd.revealed(reveal, closed)
    if missing := sorted(set(decision.clients) - set(members)):
        raise VerificationError(f"set: {missing[0]} handed in no bodies")
    dealings = Dealings.read(rnd, scheme, decision.body["dealings"], reveal, members)
    for keyid in decision.clients:
        dealings.check(rnd, scheme, keyid, commitments[keyid])
    _check_flags(rnd, decision)
    if rnd.session.keeps:
        read_coordinates(rnd, {m.predicate["coordinates"] for m in commitments.values()})
    for keyid in decision.clients:
        bound.add(keyid, commitments[keyid])
    clusters, total = sums(rnd, scheme, decision.clients, commitments)
    said = {c["name"]: parse_hex32(c["sum"], "sum") for c in decision.body["clusters"]}
    if len(said) != len(decision.body["clusters"]) or said != {
        name: sha256(data) for name, data in clusters.items()
    }:
        raise VerificationError("set: the cluster sums are not those of the logged ciphertexts")
    if parse_hex32(decision.body["sum"], "sum") != sha256(total):
        raise VerificationError("set: the sum is not that of the logged ciphertexts")
    return Chosen(decision, commitments, dealings.messages)


def _check_entries(rnd: Round, decision: Decision) -> tuple[Decision, dict[str, Message]]:
    rnd.check_common(decision)
    closed = rnd.require(CLOSED)
    rnd.check_enough(decision.clients, "set")
    logged = {entry["client"]: entry["index"] for entry in closed.entries}
    found = {}
    for entry in decision.entries:
        keyid = entry["client"]
        if logged.get(keyid) != entry["index"]:
            raise VerificationError(f"set: {keyid} committed nothing at entry {entry['index']}")
        message = rnd.commitment(entry)
        for name in ("key", "ciphertext", "weight_bound", "proof"):
            if message.predicate[name] != entry[name]:
                raise VerificationError(f"set: {keyid}'s {name} is not the one that was logged")
        found[keyid] = message
    for name in ("key", "ciphertext"):
        if len({message.predicate[name] for message in found.values()}) != len(found):
            raise VerificationError(f"set: a {name} is there twice")
    left = sorted(set(logged) - set(found))
    if [entry["client"] for entry in decision.body["excluded"]] != left:
        raise VerificationError("set: not everybody who is left out is named, or too many are")
    return closed, found


def _check_flags(rnd: Round, decision: Decision) -> None:
    if decision.body["bound"] != (rnd.session.inputs is not None):
        raise VerificationError("set: `bound` does not say whether the inputs came with proofs")
    wanted = spent_record(rnd.session.privacy, rnd.session.values, rnd.number)
    if decision.body["privacy"] != wanted:
        raise VerificationError("set: `privacy` is not what the session and the round's number say")


@dataclass(frozen=True)
class Dealings:
    """The dealing checks of several holders: by holder, the part about each client it can read."""

    messages: tuple[Message, ...]
    parts: Mapping[int, Mapping[str, bytes]] = field(repr=False)

    @staticmethod
    def read(
        rnd: Round, scheme: Scheme, indices: Sequence[int], reveal: Message, members: Sequence[str]
    ) -> Dealings:
        """Return logged dealing checks, one a holder, at least t. Raises VerificationError."""
        found = tuple(rnd.dealing(index, reveal) for index in indices)
        holders = [message.predicate["holder"] for message in found]
        if len(set(holders)) != len(holders):
            raise VerificationError("set: a holder's dealing check is there twice")
        if len(found) < rnd.session.threshold:
            raise VerificationError(
                f"set: {len(found)} holders checked the dealings, {rnd.session.threshold} must"
            )
        order = rnd.session.holder_keyids
        parts = {
            order.index(keyid): Dealings.read_one(rnd, scheme, message, members)
            for keyid, message in zip(holders, found, strict=True)
        }
        return Dealings(found, parts)

    @staticmethod
    def read_one(
        rnd: Round, scheme: Scheme, message: Message, members: Sequence[str]
    ) -> dict[str, bytes]:
        """Return a holder's part about each client it can read. Raises VerificationError."""
        size, complaints = scheme.dealing_bytes, message.predicate["complaints"]
        if strangers := sorted(set(complaints) - set(members)):
            raise VerificationError(f"dealing check: complains about {strangers[0]}, not asked for")
        able = [member for member in members if member not in set(complaints)]
        what = f"{rnd.session.holders_by_keyid[message.predicate['holder']].name}'s dealing check"
        data = rnd.board.body(rnd.number, message.digest("body"), size * len(able), what)
        return {member: data[size * i : size * (i + 1)] for i, member in enumerate(able)}

    def check(self, rnd: Round, scheme: Scheme, keyid: str, commitment: Message) -> None:
        """Return None if a client's shares, as the holders saw them, are of its ciphertext's key.

        Raises VerificationError, naming the client, otherwise.
        """
        name = rnd.session.clients_by_keyid[keyid].name
        order = rnd.session.holders
        if unread := [order[j].name for j in sorted(self.parts) if keyid not in self.parts[j]]:
            raise VerificationError(f"{name} dealt no share that {', '.join(unread)} can read")
        parts = {j: found[keyid] for j, found in self.parts.items()}
        self._check(rnd, scheme, keyid, commitment, parts)

    def _check(
        self,
        rnd: Round,
        scheme: Scheme,
        keyid: str,
        commitment: Message,
        parts: Mapping[int, bytes],
    ) -> None:
        name, size = rnd.session.clients_by_keyid[keyid].name, scheme.check_bytes
        check = rnd.board.body(rnd.number, commitment.digest("check"), size, f"{name}: check")
        key, dealing = commitment.digest("key"), dealing_digest(commitment.predicate["shares"])
        try:
            scheme.check_dealing(rnd.number, key, dealing, check, parts)
        except (VerificationError, InvalidInput) as error:
            raise VerificationError(f"{name} dealt badly: {error}") from error

    def faults(
        self, rnd: Round, scheme: Scheme, commitments: Mapping[str, Message]
    ) -> dict[str, str]:
        """Return what is wrong with which client's dealing."""
        found = {}
        for keyid in sorted(set().union(*self.parts.values(), *self._complaints())):
            try:
                self.check(rnd, scheme, keyid, commitments[keyid])
            except (VerificationError, InvalidInput) as error:
                found[keyid] = str(error)
        return found

    def _complaints(self) -> list[list[str]]:
        return [message.predicate["complaints"] for message in self.messages]

    def blames(
        self, rnd: Round, scheme: Scheme, commitments: Mapping[str, Message], keyids: Sequence[str]
    ) -> dict[int, list[str]]:
        """Return, for each holder, the faulty clients that are sound by the others' account.

        Empty lists if only t holders are there: then nothing tells who is wrong.
        """
        found: dict[int, list[str]] = {j: [] for j in self.parts}
        if len(self.parts) == rnd.session.threshold:
            return found
        for keyid in keyids:
            for j in self.parts:
                parts = {i: p[keyid] for i, p in self.parts.items() if i != j and keyid in p}
                try:
                    if len(parts) == len(self.parts) - 1:
                        self._check(rnd, scheme, keyid, commitments[keyid], parts)
                        found[j].append(keyid)
                except (VerificationError, InvalidInput):
                    continue
        return found


def sums(
    rnd: Round, scheme: Scheme, clients: Sequence[str], commitments: Mapping[str, Message]
) -> tuple[dict[str, bytes], bytes]:
    """Return each cluster's sum and the sum of all, from the bodies."""

    totals: dict[str | None, Total] = {}
    for keyid in clients:
        cluster = rnd.session.clients_by_keyid[keyid].cluster
        total = totals.setdefault(cluster, scheme.total(rnd.number))
        add_ciphertext(rnd, scheme, keyid, commitments[keyid], total)
    clusters = {n: totals[n].to_bytes() for n in rnd.session.clusters if n in totals}
    whole = scheme.total(rnd.number)
    for total in totals.values():
        whole.merge(total)
    return clusters, whole.to_bytes()


def add_ciphertext(
    rnd: Round, scheme: Scheme, keyid: str, commitment: Message, total: Total
) -> bytes:
    """Add a client's ciphertext, as it was logged, to a sum, and return its bytes.

    Raises VerificationError or InvalidInput, naming the client, for any other bytes.
    """
    name, size = rnd.session.clients_by_keyid[keyid].name, scheme.ciphertext_bytes
    digest = commitment.digest("ciphertext")
    data = rnd.board.body(rnd.number, digest, size, f"{name}: ciphertext")
    try:
        total.add(data, commitment.digest("key"))
    except InvalidInput as error:
        raise VerificationError(f"{name}: {error}") from error
    return data


def entry_of(message: Message, index: int) -> dict[str, Any]:
    """Return what `set` says of a client."""
    predicate = message.predicate
    names = ("client", "key", "ciphertext", "weight_bound", "proof")
    return {**{name: predicate[name] for name in names}, "index": index}
