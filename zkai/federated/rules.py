"""The rule of a session's inputs: which proofs its clients' ciphertexts must come with.

A folder holds a rule: `verifying.json`, the key of the `encrypted_update` proofs; `history-*.json`,
the keys of the histories that must lead to them; `beacon.json` for forks in a beacon's order; and

    rule.json   {"format": "zkai.he-rule/1", "statement", "norm_bound",
                 "base": null or {"model", "updates": [...], "follows"},
                 "users": null or {client: user}}

`base` pins where updates start: at the base model with this public name, after exactly these
aggregates, by their digests, and with `follows` those of the session's own earlier rounds
(`zkai.federated.moving`). `users` pins whose fork each client trains. Both are public signals
of the histories' proofs, as decimals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from zkai.beacon import BeaconFile
from zkai.circuit.statements.apply_aggregate import ApplyAggregate
from zkai.circuit.statements.encrypted_update import MAX_NORM, EncryptedUpdate
from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.circuit.statements.registry import from_description
from zkai.encoding import (
    FIELD_MODULUS,
    canonical_json,
    hex32,
    load_json,
    new_folder,
    parse_decimal,
    read_capped,
    sha256,
    write_atomic,
)
from zkai.encrypted import (
    Sent,
    check_bits,
    check_update_of,
    encryption_of,
    verify_encrypted_update,
)
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.session import MAX_CLIENTS, RLWE, Session
from zkai.he.rlwe import RlweParameters
from zkai.history import History
from zkai.proof import formats
from zkai.proof.formats import Proof, VerifyingKey
from zkai.proof.jsonform import expect_fields

FORMAT, RULE_FORMAT = "zkai.he-input/1", "zkai.he-rule/1"
MAX_HISTORY, MAX_RULE = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Base:
    """Where updates start: the base model's public name, and the aggregates applied to it.

    With `follows` the aggregates of the session's rounds so far come behind these: `moved`, which
    is no part of a rule.
    """

    model: int
    updates: tuple[int, ...] = ()
    follows: bool = False
    moved: tuple[int, ...] = ()

    @property
    def all(self) -> tuple[int, ...]:
        """The digests of all aggregates, in order."""
        return (*self.updates, *self.moved)

    @staticmethod
    def of(history: Sequence[Proof]) -> Base:
        """Return the base that a genesis, and the aggregates right behind it, lead to.

        The proofs themselves are for `InputRule.check_history` to verify. Raises InvalidInput for
        any other history, VerificationError for proofs that do not follow one another.
        """
        chain = History()
        for proof in history:
            chain.add(proof)
        if not history or any(p.statement != ApplyAggregate.version for p in history[1:]):
            raise InvalidInput("base: expected the proof of a genesis, then those of aggregates")
        return Base(
            history[0].public["model"][0], tuple(p.public["update"][0] for p in history[1:])
        )

    def check(self, history: Sequence[Proof]) -> None:
        """Return None if a verified history trains from this base on.

        Raises VerificationError saying what it starts from instead.
        """
        if history[0].public["model"] != (self.model,):
            raise VerificationError("the history starts from another base model than the rule's")
        updates = self.all
        last = 1 + len(updates)
        wanted = [(ApplyAggregate.version, (update,)) for update in updates]
        found = [(p.statement, p.public.get("update")) for p in history[1:last]]
        later = any(p.statement == ApplyAggregate.version for p in history[last:])
        if found != wanted or later:
            raise VerificationError("the history applies other aggregates than the rule's base")


@dataclass(frozen=True)
class InputRule:
    """What a session asks of its inputs: the proofs' key and statement, the norm, the histories.

    Without keys of histories any two states of a fork will do; without `base`, any model; without
    `users`, any user for a client, but each for one client only. Raises InvalidInput, naming the
    field, for what is out of range or says nothing.
    """

    key: VerifyingKey = field(repr=False)
    statement: EncryptedUpdate = field(repr=False)
    norm_bound: int
    history: tuple[VerifyingKey, ...] = field(default=(), repr=False)
    beacon: BeaconFile | None = field(default=None, repr=False)
    base: Base | None = None
    users: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.statement, EncryptedUpdate):
            raise InvalidInput(f"rule: statement: expected an {EncryptedUpdate.version}")
        if self.key.statement != EncryptedUpdate.version:
            raise InvalidInput(f"rule: key: of {self.key.statement}, not {EncryptedUpdate.version}")
        if type(self.norm_bound) is not int or not 0 <= self.norm_bound <= MAX_NORM:
            raise InvalidInput(f"rule: norm_bound: expected an integer of 0 to {MAX_NORM}")
        if self.base is not None and not self.history:
            raise InvalidInput("rule: base: nothing shows it without the keys of the histories")

    @cached_property
    def digest(self) -> bytes:
        """What a session names the rule by."""
        keys = [hex32(self.key.digest), sorted(hex32(key.digest) for key in self.history)]
        beacon = None if self.beacon is None else str(self.beacon.id)
        return sha256(canonical_json(["zkai/he-inputs/1", keys, self._fields(), beacon]))

    def _fields(self) -> dict[str, Any]:
        base, users, pinned = self.base, self.users, None
        if base is not None:
            listed = [str(update) for update in base.updates]
            pinned = {"model": str(base.model), "updates": listed, "follows": base.follows}
        return {
            "format": RULE_FORMAT,
            "statement": self.statement.describe(),
            "norm_bound": self.norm_bound,
            "base": pinned,
            "users": None if users is None else {n: str(u) for n, u in users.items()},
        }

    def check_session(self, session: Session) -> None:
        """Return None if a session sums what the proofs are about, and no sum can overflow.

        Raises InvalidInput naming what does not fit.
        """
        statement = self.statement
        if session.scheme != RLWE:
            raise InvalidInput(f"session: proofs are about ciphertexts of {RLWE} only")
        parameters = RlweParameters.from_json(dict(session.parameters), "session.parameters")
        if encryption_of(parameters) != statement.encryption:
            raise InvalidInput("session: other parameters than those of the rule's statement")
        if session.max_weight != statement.max_weight:
            raise InvalidInput(
                f"session: max_weight {session.max_weight}; its proofs are about weights of up to"
                f" {statement.max_weight}"
            )
        if session.values != statement.n_values:
            raise InvalidInput(
                f"session: tensors: {session.values} values, weight included; the rule's statement"
                f" has {statement.n_values}"
            )
        check_bits(statement.update_bits, parameters, statement.max_weight)
        if 1 << (statement.update_bits - 1) > session.value_bound:
            raise InvalidInput(
                f"session: value_bound {session.value_bound}: proofs allow values of"
                f" {statement.update_bits} signed bits"
            )
        names = {client.name for client in session.clients}
        if self.users is not None and set(self.users) != names:
            raise InvalidInput("session: the rule names the users of other clients")

    def check(self, sent: Sent, data: bytes, client: str, where: str) -> int:
        """Return the user whose (trained) update a body proves to be what a client sent.

        Raises VerificationError with the reason, InvalidInput for malformed bytes.
        """
        value: Any = load_json(data, where)
        expect_fields(value, ("format", "proof", "history", "terms"), where)
        listed = value["history"]
        if value["format"] != FORMAT or not isinstance(listed, list) or len(listed) > MAX_HISTORY:
            raise InvalidInput(f"{where}: expected {FORMAT}")
        proof = Proof.from_json(value["proof"], where)
        bits, weight = self.statement.update_bits, self.statement.max_weight
        limits: dict[str, Any] = {"norm_bound": self.norm_bound, "update_bits": bits}
        verify_encrypted_update(proof, self.key, sent, max_weight=weight, **limits)
        (user,) = proof.public["user"]
        self.check_user(client, user)
        if self.history:
            terms = value["terms"]
            parsed = None if terms is None else ForkTerms.from_json(terms, f"{where}: terms")
            history = [Proof.from_json(item, f"{where}: history[{i}]")
                       for i, item in enumerate(listed)]  # fmt: skip
            self.check_history(history, parsed)
            check_update_of(proof, history)
        return user

    def moved_by(self, updates: tuple[int, ...]) -> InputRule:
        """Return the rule for a round behind these aggregates of its session: the same rule."""
        assert self.base is not None
        return replace(self, base=replace(self.base, moved=updates))

    def check_user(self, client: str, user: int) -> None:
        """Return None if a client may send this user's updates. Raises VerificationError."""
        if self.users is not None and self.users.get(client) != user:
            raise VerificationError("the update is of another user than the rule has for it")

    def check_history(self, history: Sequence[Proof], terms: ForkTerms | None) -> None:
        """Return None if a fork's proofs hold, and lead on from the rule's base.

        Raises VerificationError saying which does not.
        """
        keys = {key.digest: key for key in self.history}
        updates = () if self.base is None else self.base.all
        chain = History(terms, None if terms is None else self.beacon, updates)
        for place, proof in enumerate(history):
            if proof.vk_digest not in keys:
                raise VerificationError(f"history: proof {place} is under another key")
            formats.verify(proof, keys[proof.vk_digest])
            chain.add(proof)
        if self.base is not None and history:
            self.base.check(history)

    def write(self, folder: Path) -> None:
        """Write the rule to a new folder, but the beacon: its own file goes there as beacon.json.

        Raises InvalidInput if that is impossible.
        """
        with new_folder(folder) as made:
            write_atomic(made / "rule.json", canonical_json(self._fields()))
            self.key.write(made / "verifying.json")
            for i, key in enumerate(self.history):
                key.write(made / f"history-{i}.json")

    @staticmethod
    def from_path(folder: Path) -> InputRule:
        """Read a rule's folder: rule.json, verifying.json, history-*.json, beacon.json.

        Raises InvalidInput naming the file.
        """
        where, beacon = str(folder / "rule.json"), folder / "beacon.json"
        said = parse_rule(read_capped(folder / "rule.json", MAX_RULE), where)
        key = VerifyingKey.from_path(folder / "verifying.json")
        paths = sorted(folder.glob("history-*.json"))
        history = tuple(VerifyingKey.from_path(path) for path in paths)
        found = BeaconFile.from_path(beacon) if beacon.exists() else None
        return InputRule(key, history=history, beacon=found, **said)


def parse_rule(data: bytes, where: str) -> dict[str, Any]:
    """Return what a rule.json says: statement, norm_bound, base and users.

    Raises InvalidInput naming the field.
    """
    value: Any = load_json(data, where)
    expect_fields(value, ("format", "statement", "norm_bound", "base", "users"), where)
    if value["format"] != RULE_FORMAT:
        raise InvalidInput(f"{where}: expected {RULE_FORMAT}")
    statement = from_description(value["statement"])
    if not isinstance(statement, EncryptedUpdate):
        raise InvalidInput(f"{where}.statement: expected an {EncryptedUpdate.version}")
    return {
        "statement": statement,
        "norm_bound": value["norm_bound"],
        "base": _base(value["base"], f"{where}.base"),
        "users": _users(value["users"], f"{where}.users"),
    }


def _base(value: Any, where: str) -> Base | None:
    if value is None:
        return None
    expect_fields(value, ("model", "updates", "follows"), where)
    listed = value["updates"]
    if type(value["follows"]) is not bool:
        raise InvalidInput(f"{where}.follows: expected true or false")
    if not isinstance(listed, list) or len(listed) > MAX_HISTORY:
        raise InvalidInput(f"{where}.updates: expected a list of at most {MAX_HISTORY}")
    model = parse_decimal(value["model"], f"{where}.model", FIELD_MODULUS)
    updates = [parse_decimal(u, f"{where}.updates[{i}]", FIELD_MODULUS)
               for i, u in enumerate(listed)]  # fmt: skip
    return Base(model, tuple(updates), value["follows"])


def _users(value: Any, where: str) -> dict[str, int] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not 1 <= len(value) <= MAX_CLIENTS:
        raise InvalidInput(f"{where}: expected null, or a user for each client")
    return {n: parse_decimal(user, f"{where}.{n[:80]}", FIELD_MODULUS) for n, user in value.items()}
