"""What may enter a ledger, and what it changes there.

A receipt enters only if it verifies against the ledger's trust store, its parent is the fork's
head, its commitments chain from there, its proof verifies under one of the ledger's keys, and its
statement is new. Everything here runs within the transaction that appends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zkai.encoding import hex32, load_json, parse_hex32, sha256, word
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.formats import AnyKey, AnyProof, key_from_json
from zkai.halo2.labels import STEP_KIND, begins_fork, state_id
from zkai.ledger.account import admit_account
from zkai.ledger.checkpoint import LogPolicy
from zkai.ledger.consent import admit_consent, check_access
from zkai.ledger.merkle import leaf_hash, range_hash
from zkai.ledger.records import (
    ACCESS,
    ACCOUNT,
    BLOCK,
    CHAIN_KINDS,
    CONSENT,
    KEY_STATUS,
    LEDGER,
    NODE,
    Record,
    parse_entry,
)
from zkai.ledger.store import Store
from zkai.receipt.jcs import encode
from zkai.receipt.signer import PublicKey
from zkai.receipt.statement import Receipt
from zkai.receipt.trust import TrustStore, revoke, rotate, trust, verify_signers
from zkai.receipt.verify import verify_proof_of, verify_receipt


@dataclass
class Effects:
    """What an admitted entry changes besides the log itself."""

    names: dict[str, bytes] = field(default_factory=dict)
    fork: tuple[str, bytes] | None = None
    proof: bytes | None = None
    trust: TrustStore | None = None


class Admission:
    """A ledger's rules: whose it is, whose receipts and which proofs may enter, for which place."""

    def __init__(self, store: Store) -> None:
        """Read the rules. Raises InvalidInput if the store has none."""
        rules = store.meta("rules")
        if rules is None:
            raise InvalidInput(f"{store.name}: a ledger that was never begun")
        self.rules: dict[str, Any] = load_json(rules, f"{store.name}: rules")
        self.store = store
        operator = PublicKey.from_jwk(self.rules["operator"], "operator")
        self._trust: tuple[bytes, TrustStore] = b"", trust([("operator", operator)])
        self.policy = LogPolicy(self.rules["origin"], operator)
        keys = [_verifying_key(item) for item in self.rules["verifying_keys"]]
        self.keys: dict[bytes, AnyKey] = {key.digest: key for key in keys}

    def trust(self, name: str = "trust") -> TrustStore:
        """Return the keys that count now, or with "trust_0" those with which the ledger began."""
        data = self.store.meta(name)
        assert data is not None
        if data != self._trust[0]:  # another process may have changed it
            self._trust = data, TrustStore.from_json(load_json(data, name))
        return self._trust[1]

    def admit(self, record: Receipt | Record, proof: bytes | None, index: int, at: int) -> Effects:
        if isinstance(record, Receipt):
            if index == 0:
                raise VerificationError("ledger: entry 0 states the ledger's rules")
            return self._admit_receipt(record, proof, index, at)
        if proof is not None:
            raise InvalidInput("ledger: only receipts come with a proof")
        if (record.type == LEDGER) != (index == 0):
            raise VerificationError("ledger: entry 0, and no other, states the ledger's rules")
        if record.type == KEY_STATUS:
            return self._admit_key_status(record, index, at)
        if record.type == CONSENT:
            return Effects(admit_consent(self.store, self.trust(), record, index, at))
        if record.type == ACCOUNT:
            origin = self.policy.origin
            return Effects(admit_account(self.store, self.trust(), origin, record, index, at))
        self._check_operator(record, at)
        if record.type == ACCESS:
            check_access(self.store, record, index)
            return Effects()
        if record.type == BLOCK:
            return self._admit_block(record, index)
        if record.type == NODE:
            return self._admit_node(record)
        return self._admit_rules(record, index)

    def _check_operator(self, record: Record, at: int) -> None:
        """Return None if the operator signed a record. Raises VerificationError otherwise."""
        known = self.trust().by_keyid.get(self.policy.key.keyid)
        if known is not None and known.revoked is not None:
            raise VerificationError(f"ledger: the revocation of {known.name} is in the log")
        verify_signers(
            trust([("the operator", self.policy.key)]),
            record.envelope,
            record.predicate["signers"],
            signed=record.signed_at,
            at=at,
        )

    def _admit_rules(self, record: Record, index: int) -> Effects:
        for name, value in rules_body(self.rules, self.trust("trust_0")).items():
            if record.predicate[name] != value:
                raise VerificationError(f"ledger: entry 0 states another {name} than the rules")
        status = encode({"at": record.signed_at, "index": index, "status": "active"})
        return Effects({f"key/{keyid}": status for keyid in self.trust().by_keyid})

    # receipts

    def _admit_receipt(self, receipt: Receipt, data: bytes | None, index: int, at: int) -> Effects:
        store = self.trust()
        for signer in receipt.predicate["signers"]:
            key = store.by_keyid.get(signer["keyid"])
            if key is not None and key.revoked is not None:
                raise VerificationError(f"ledger: the revocation of {key.name} is in the log")
        verify_receipt(receipt, store, at=at)
        said, kind = receipt.predicate["proof"], receipt.predicate["kind"]
        parent = receipt.predicate["parent"]
        moves = kind in CHAIN_KINDS and not _is_sum(receipt)
        if parent is not None and not self._has_receipt(parent, moves):
            raise VerificationError("ledger: the receipt's parent is not in the log")
        if said is None:
            if moves or data is not None:
                raise VerificationError(f"ledger: a {kind} names its proof")
            return Effects()
        if data is None:
            raise VerificationError("ledger: the receipt's proof is missing")
        self._check_place(said["destination"])
        digest = parse_hex32(said["vk_digest"], "vk_digest")
        if digest not in self.keys:
            raise VerificationError("ledger: the proof's verifying key is not one of this ledger's")
        proof = verify_proof_of(receipt, data, self.keys[digest])
        name = f"nullifier/{nullifier(proof).hex()}"
        if (found := self.store.map_value(name, index)) is not None:
            there = load_json(found, name)["index"]
            raise VerificationError(f"ledger: this statement is entry {there} already")
        effects = Effects({name: encode({"index": index})}, proof=data)
        if kind in CHAIN_KINDS:
            fork, value = self._move(receipt, proof, index)
            effects.fork = (fork, value)
            effects.names[f"fork/{fork}"] = value
        return effects

    def _check_place(self, destination: Mapping[str, Any]) -> None:
        place = self.rules["place"]
        if place is not None and place != {n: destination[n] for n in ("chain_id", "ledger")}:
            raise VerificationError("ledger: the proof is for another chain or ledger")

    def _move(self, receipt: Receipt, proof: AnyProof, index: int) -> tuple[str, bytes]:
        """Return a fork and its new end. Raises VerificationError if the receipt does not follow.

        The commitments chain: user and model stay, the old state is the current one, and the
        parent is the receipt that made it. A commitment of two coordinates goes by one number.
        """
        predicate = receipt.predicate
        fork, step = predicate["fork"], predicate["step"]
        found = self.store.head(fork) if fork is not None else None
        if fork is None or "new_state" not in proof.public:
            raise VerificationError(f"ledger: a {predicate['kind']} names a fork and a new state")
        count = 1
        if predicate["kind"] == "genesis":
            if found is not None:
                raise VerificationError(f"ledger: fork {fork} has begun already")
            if predicate["parent"] is not None:
                raise VerificationError("ledger: a genesis has no parent")
        elif found is None and begins_fork(proof.statement, proof.public):
            if predicate["parent"] is not None:
                raise VerificationError("ledger: a fork's first step has no parent")
        else:
            if found is None:
                raise VerificationError(f"ledger: fork {fork} has not begun")
            head = load_json(found, "head")
            self._check_follows(predicate, proof, head)
            count = head["count"] + 1
        value = {
            "count": count,
            "head": hex32(receipt.id),
            "index": index,
            "model": predicate["model"],
            "state": str(state_id(proof.public["new_state"])),
            "step": step,
            "user": predicate["user"],
        }
        return fork, encode(value)

    def _check_follows(
        self, predicate: Mapping[str, Any], proof: AnyProof, head: Mapping[str, Any]
    ) -> None:
        if predicate["parent"] != head["head"]:
            raise VerificationError("ledger: the receipt's parent is not the fork's head")
        old = proof.public.get("old_state")
        if not old or str(state_id(old)) != head["state"]:
            raise VerificationError("ledger: old_state is not the fork's state")
        for name in ("user", "model"):
            if predicate[name] != head[name]:
                raise VerificationError(f"ledger: {name} is not that of the fork")
        if predicate["step"] < head["step"]:
            raise VerificationError("ledger: the step is before the fork's")
        # A state of our own circuits covers its number; of this kind the label is all there is.
        is_label = proof.statement.partition("/")[0] == STEP_KIND
        if is_label and predicate["step"] != head["step"] + 1:
            raise VerificationError("ledger: the step is not the fork's next")

    def _has_receipt(self, name: str, any_record: bool = False) -> bool:
        """Whether the log has a receipt of this id, or any record: those have ids too.

        What moves a fork needs no closer look: its parent must be the fork's head.
        """
        index = self.store.index_of(parse_hex32(name, "receipt"))
        if index is None or any_record:
            return index is not None
        return isinstance(parse_entry(self.store.entry(index) or b""), Receipt)

    # keys

    def _admit_key_status(self, record: Record, index: int, at: int) -> Effects:
        """The operator may say anything about keys; a key may revoke itself or name a successor."""
        said, store = record.predicate, self.trust()
        signer = said["follows"] if said["status"] == "active" else said["keyid"]
        own = store.by_keyid.get(signer or "")
        if own is not None and [s["keyid"] for s in said["signers"]] == [signer]:
            if own.revoked is not None:
                raise VerificationError(f"ledger: the revocation of {own.name} is in the log")
            one = TrustStore((own,), (frozenset({own.public.keyid}),))
            verify_signers(one, record.envelope, said["signers"], signed=record.signed_at, at=at)
        else:
            self._check_operator(record, at)
        if said["status"] == "revoked":
            store = revoke(store, said["keyid"], said["at"], said["reason"])
        else:
            if said["jwk"] is None or said["follows"] is None:
                raise VerificationError("ledger: a new key is given, and follows another")
            public = PublicKey.from_jwk(said["jwk"], "key status.jwk")
            if public.keyid != said["keyid"]:
                raise VerificationError("ledger: the key is not that of the key id")
            store = rotate(store, said["follows"], public, said["name"], said["at"])
        status = {"at": said["at"], "index": index, "status": said["status"]}
        return Effects({f"key/{said['keyid']}": encode(status)}, trust=store)

    def block_body(self, end: int, update_digest: bytes | None) -> dict[str, Any]:
        last = self.store.map_value("block", end)
        number, previous, first = 0, None, 0
        if last is not None:
            block = load_json(last, "block")
            number, previous, first = block["number"] + 1, block["id"], block["index"] + 1
        if first >= end:
            raise VerificationError("ledger: nothing was logged since the last block")
        chains = user_chains(self.store.entries(first, end))
        leaves = [leaf_hash(encode([user, *ids])) for user, ids in sorted(chains.items())]
        return {
            "number": number,
            "previous": previous,
            "first": first,
            "end": end,
            "operations_root": hex32(plain_root(self.store.leaves(0, first, end))),
            "update_digest": None if update_digest is None else hex32(update_digest),
            "users": len(chains),
            "users_root": hex32(plain_root(leaves)),
        }

    def _admit_block(self, record: Record, index: int) -> Effects:
        said = record.predicate
        digest = said["update_digest"]
        update = None if digest is None else parse_hex32(digest, "update_digest")
        for name, value in self.block_body(index, update).items():
            if said[name] != value:
                raise VerificationError(f"ledger: the block's {name} is not what the log holds")
        value = {"id": hex32(record.id), "index": index, "number": said["number"]}
        return Effects({"block": encode(value)})

    def _admit_node(self, record: Record) -> Effects:
        said = record.predicate
        bound = [said["receipt"], *said["parents"]]
        bound += [f["receipt"] for f in said["fitness"] if f["receipt"] is not None]
        for name in bound:
            if not self._has_receipt(name):
                raise VerificationError("ledger: a node is bound to receipts that are in the log")
        if said["receipt"] in said["parents"]:
            raise VerificationError("ledger: a node is not its own parent")
        return Effects()


def rules_body(rules: Mapping[str, Any], trust: TrustStore) -> dict[str, Any]:
    """Return what entry 0 says of a ledger's rules."""
    return {
        "origin": rules["origin"],
        "operator": rules["operator"],
        "trust": hex32(sha256(encode(trust.to_json()))),
        "verifying_keys": [key["vk_digest"] for key in rules["verifying_keys"]],
        "place": rules["place"],
    }


def nullifier(proof: AnyProof) -> bytes:
    """Return what a statement is known by, however it is proven and whoever signs for it.

    The public signal `nullifier` where there is one, else SHA-256 over the statement, the key and
    every public value.
    """
    if "nullifier" in proof.public:
        return sha256(b"nullifier" + word(proof.public["nullifier"][0]))
    values = {name: [str(v) for v in values] for name, values in proof.public.items()}
    return sha256(encode([proof.statement, hex32(proof.vk_digest), values]))


def user_chains(entries: Iterator[bytes]) -> dict[str, list[str]]:
    """Return each user's receipts among some entries, by id, in order."""
    chains: dict[str, list[str]] = {}
    for data in entries:
        record = parse_entry(data)
        if isinstance(record, Receipt) and record.predicate["user"] is not None:
            chains.setdefault(record.predicate["user"], []).append(hex32(record.id))
    return chains


def plain_root(leaves: Sequence[bytes]) -> bytes:
    """Return the RFC 9162 root over leaf hashes that are at hand."""

    def node(height: int, index: int) -> bytes:
        if height == 0:
            return leaves[index]
        low, high = index << height, (index + 1) << height
        middle = (low + high) >> 1
        return sha256(b"\1" + range_hash(low, middle, node) + range_hash(middle, high, node))

    return range_hash(0, len(leaves), node)


def _is_sum(receipt: Receipt) -> bool:
    """Whether a receipt is of an opened sum: it moves no fork, and whoever doubts it recomputes."""
    of_fork = any(receipt.predicate[name] is not None for name in ("fork", "step", "parent"))
    subjects = {subject["name"] for subject in receipt.statement["subject"]}
    return receipt.predicate["kind"] == "aggregation" and not of_fork and "aggregate" in subjects


def _verifying_key(value: Any) -> AnyKey:
    return key_from_json(value, "ledger's key")
