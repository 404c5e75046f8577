"""Whether a ciphertext is of a proven update: proofs that clients hand in with their ciphertexts.

A session that names a rule (`inputs`, the rule's digest) takes only clients whose ciphertext comes
with a proof `encrypted_update` of it, and, if the rule names keys for it, with the proven history
of the training that led to the update. Others are sums of whatever the clients encrypted, and say
so (`bound`).

    body = {"format": "zkai.he-input/1", "proof", "history": [proof, ...], "terms": null or terms}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from zkai.beacon import BeaconFile
from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.encoding import (
    canonical_json,
    hex32,
    load_json,
    new_folder,
    read_capped,
    sha256,
    write_atomic,
)
from zkai.encrypted import Sent, check_update_of, verify_encrypted_update
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.decisions import Round
from zkai.federated.messages import Message, dealing_digest
from zkai.federated.scheme import Inputs, Scheme
from zkai.federated.session import Session
from zkai.history import History
from zkai.proof import formats
from zkai.proof.formats import Proof, VerifyingKey
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import encode

FORMAT, RULE_FORMAT = "zkai.he-input/1", "zkai.he-rule/1"
MAX_HISTORY = 1 << 10


@dataclass(frozen=True)
class InputRule:
    """What a session asks of its inputs: the proofs' key, the norm, the keys of the histories.

    Without keys of histories, any two states of a fork will do.
    """

    key: VerifyingKey = field(repr=False)
    norm_bound: int
    update_bits: int | None = None
    history: tuple[VerifyingKey, ...] = field(default=(), repr=False)
    beacon: BeaconFile | None = field(default=None, repr=False)

    @cached_property
    def digest(self) -> bytes:
        """What a session names the rule by."""
        return sha256(
            encode(
                [
                    "zkai/he-inputs/1",
                    hex32(self.key.digest),
                    self.norm_bound,
                    self.update_bits,
                    sorted(hex32(key.digest) for key in self.history),
                    None if self.beacon is None else str(self.beacon.id),
                ]
            )
        )

    def check(self, sent: Sent, data: bytes, where: str) -> None:
        """Return None if a body proves that what was sent encrypts a (trained) update.

        Raises VerificationError with the reason, InvalidInput for malformed bytes.
        """
        value: Any = load_json(data, where)
        expect_fields(value, ("format", "proof", "history", "terms"), where)
        listed = value["history"]
        if value["format"] != FORMAT or not isinstance(listed, list) or len(listed) > MAX_HISTORY:
            raise InvalidInput(f"{where}: expected {FORMAT}")
        proof = Proof.from_json(value["proof"], where)
        limits: dict[str, Any] = {"norm_bound": self.norm_bound, "update_bits": self.update_bits}
        verify_encrypted_update(proof, self.key, sent, **limits)
        if self.history:
            terms = value["terms"]
            parsed = None if terms is None else ForkTerms.from_json(terms, f"{where}: terms")
            history = [Proof.from_json(item, f"{where}: history[{i}]")
                       for i, item in enumerate(listed)]  # fmt: skip
            self._check_history(history, parsed)
            check_update_of(proof, history)

    def _check_history(self, history: Sequence[Proof], terms: ForkTerms | None) -> None:
        keys = {key.digest: key for key in self.history}
        chain = History(terms, None if terms is None else self.beacon)
        for place, proof in enumerate(history):
            if proof.vk_digest not in keys:
                raise VerificationError(f"history: proof {place} is under another key")
            formats.verify(proof, keys[proof.vk_digest])
            chain.add(proof)

    def write(self, folder: Path) -> None:
        """Write the rule to a new folder, but the beacon: its own file goes there as beacon.json.

        Raises InvalidInput if that is impossible.
        """
        with new_folder(folder) as made:
            limits = {
                "format": RULE_FORMAT,
                "norm_bound": self.norm_bound,
                "update_bits": self.update_bits,
            }
            write_atomic(made / "rule.json", encode(limits))
            self.key.write(made / "verifying.json")
            for i, key in enumerate(self.history):
                key.write(made / f"history-{i}.json")

    @staticmethod
    def from_path(folder: Path) -> InputRule:
        """Read a rule's folder: rule.json, verifying.json, history-*.json, beacon.json.

        Raises InvalidInput naming the file.
        """
        where = str(folder / "rule.json")
        value: Any = load_json(read_capped(folder / "rule.json", 1 << 12), where)
        expect_fields(value, ("format", "norm_bound", "update_bits"), where)
        bits = value["update_bits"]
        if (
            value["format"] != RULE_FORMAT
            or type(value["norm_bound"]) is not int
            or not (bits is None or type(bits) is int)
        ):
            raise InvalidInput(f"{where}: expected {RULE_FORMAT}")
        beacon = folder / "beacon.json"
        return InputRule(
            VerifyingKey.from_path(folder / "verifying.json"),
            value["norm_bound"],
            bits,
            tuple(VerifyingKey.from_path(path) for path in sorted(folder.glob("history-*.json"))),
            BeaconFile.from_path(beacon) if beacon.exists() else None,
        )


def input_bytes(
    proof: Proof, history: Sequence[Proof] = (), terms: ForkTerms | None = None
) -> bytes:
    """Return the body that a client hands in with its ciphertext."""
    return canonical_json(
        {
            "format": FORMAT,
            "proof": proof.to_json(),
            "history": [item.to_json() for item in history],
            "terms": None if terms is None else terms.to_json(),
        }
    )


def check_rule(session: Session, rule: Inputs | None) -> None:
    """Return None if a rule is the session's. Raises InvalidInput if it is missing or another."""
    if session.inputs is not None and (rule is None or rule.digest != session.inputs):
        raise InvalidInput(
            "session: takes ciphertexts with proofs only: give the rule of its inputs"
        )


def check_input(rnd: Round, scheme: Scheme, keyid: str, commitment: Message) -> None:
    """Return None if the session asks for no proofs, or a client's proof is of its ciphertext.

    Raises VerificationError, naming the client, otherwise.
    """
    if rnd.session.inputs is None:
        return
    check_rule(rnd.session, rnd.inputs)
    assert rnd.inputs is not None
    name = rnd.session.clients_by_keyid[keyid].name
    dealing = dealing_digest(commitment.predicate["shares"])
    sizes = {"ciphertext": scheme.ciphertext_bytes, "check": scheme.check_bytes, "proof": None}
    bodies = {
        what: rnd.board.body(rnd.number, commitment.digest(what), size, f"{name}: {what}")
        for what, size in sizes.items()
    }
    try:
        sent = scheme.sent(rnd.number, bodies["ciphertext"], bodies["check"], dealing)
        rnd.inputs.check(sent, bodies["proof"], f"{name}: proof")
    except (InvalidInput, VerificationError) as error:
        raise VerificationError(f"{name} proved another update, or none: {error}") from error
