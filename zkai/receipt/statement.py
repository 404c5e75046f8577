"""The signed statement: an in-toto Statement v1 whose predicate is our compute receipt, version 1.

`docs/receipt.md` explains every field and `receipt.schema.json` is what the code enforces. Every
field of the predicate is critical: unknown ones are refused. What is not may go into `extensions`,
and `critical` lists those extensions that a verifier must understand or refuse.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from zkai.circuit.statements.context import Context
from zkai.encoding import canonical_json, hex32, load_json, parse_hex32, sha256, word
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.formats import AnyKey, AnyProof
from zkai.halo2.keys import Halo2VerifyingKey
from zkai.halo2.statement import VALUES
from zkai.proof.keys import CEREMONY
from zkai.receipt import schema
from zkai.receipt.envelope import Envelope, sign_envelope
from zkai.receipt.jcs import encode
from zkai.receipt.signer import PrivateKey

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:zkai:compute-receipt/v1"
SCHEMA = "receipt.schema.json"
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_YEAR_10000 = 253_402_300_800
MAX_LISTED = 64
"""Signals of more values than this are in a receipt by their digest."""
UNDERSTOOD: frozenset[str] = frozenset()
"""The extensions that this version understands."""

KINDS = {
    "inference": "inference",
    "genesis": "genesis",
    "training_step": "training_step",
    "skip_step": "skipped_step",
    "apply_aggregate": "aggregation",
    "evaluation": "evaluation",
    "query": "query",
    "onnx_inference": "inference",
    "onnx_step": "training_step",
}
"""The kind of receipt that each statement's proof gives."""
COMMITMENTS = ("model", "user", "old_state", "new_state", "batch", "dataset", "state")


@dataclass(frozen=True)
class Place:
    """Where and for whom a proof counts: the parts of its context (`zkai.circuit...context`)."""

    chain_id: int = 0
    ledger: bytes = bytes(32)
    recipient: bytes = bytes(32)

    def to_json(self) -> dict[str, Any]:
        """Return the place as JSON values."""
        return {
            "chain_id": self.chain_id,
            "ledger": hex32(self.ledger),
            "recipient": hex32(self.recipient),
        }


@dataclass(frozen=True)
class Facts:
    """What a signer says beyond the proof. The proof shows none of it; the signature does."""

    parent: bytes | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    metering: Mapping[str, int] = field(default_factory=dict)
    privacy: Mapping[str, str] | None = None
    sources: Sequence[Mapping[str, str]] = ()
    tee: Mapping[str, str] | None = None
    started: int | None = None
    finished: int | None = None
    critical: Sequence[str] = ()
    extensions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Receipt:
    """A receipt that is well formed; its signatures and proof are not yet verified."""

    envelope: Envelope
    statement: Mapping[str, Any] = field(repr=False)

    @staticmethod
    def from_bytes(data: bytes, where: str = "receipt") -> Receipt:
        """Parse an envelope and the statement in it. Raises InvalidInput, naming the field."""
        envelope = Envelope.from_bytes(data, where)
        return Receipt(envelope, parse_statement(envelope.payload, f"{where}.payload"))

    def to_bytes(self) -> bytes:
        """Return the receipt's one byte form."""
        return self.envelope.to_bytes()

    @property
    def id(self) -> bytes:
        """SHA-256 of the signed payload: what children name as their parent."""
        return self.envelope.id

    @property
    def predicate(self) -> Mapping[str, Any]:
        """What the receipt says."""
        predicate: Mapping[str, Any] = self.statement["predicate"]
        return predicate

    @property
    def signed_at(self) -> int:
        """When the signer says that it signed, in seconds since 1970."""
        return parse_time(self.predicate["times"]["signed"], "times.signed")

    @property
    def grade(self) -> str:
        """How much the receipt shows, once verified with its proof."""
        proof = self.predicate["proof"]
        if proof is None:
            return "signed only"
        return f"proven ({proof['key']['status']} key)"


def parse_statement(payload: bytes, where: str) -> dict[str, Any]:
    """Return the statement of a payload.

    Raises InvalidInput, naming the field, for unknown versions and fields, critical extensions
    that are not understood, and parts that contradict each other.
    """
    return check_statement(load_json(payload, where), where)


def check_statement(value: Any, where: str) -> dict[str, Any]:
    """Return a statement that has been read from JSON; see `parse_statement`."""
    if isinstance(value, dict) and value.get("predicateType") != PREDICATE_TYPE:
        raise InvalidInput(f"{where}.predicateType: expected {PREDICATE_TYPE}")
    schema.check(value, schema.load(SCHEMA), where)
    predicate = value["predicate"]
    for name in predicate["critical"]:
        if name not in predicate["extensions"]:
            raise InvalidInput(f"{where}.predicate.critical: there is no extension {name!r}")
        if name not in UNDERSTOOD:
            raise InvalidInput(
                f"{where}.predicate.extensions.{name}: is critical, and this version of zkai does"
                " not understand it"
            )
    for name, text in predicate["times"].items():
        if text is not None:
            parse_time(text, f"{where}.predicate.times.{name}")
    if len({s["keyid"] for s in predicate["signers"]}) != len(predicate["signers"]):
        raise InvalidInput(f"{where}.predicate.signers: a key is there twice")
    names = [subject["name"] for subject in value["subject"]]
    if len(set(names)) != len(names):
        raise InvalidInput(f"{where}.subject: a name is there twice")
    if (predicate["proof"] is not None) != (names[0] == "proof") or "proof" in names[1:]:
        raise InvalidInput(f"{where}.subject: the proof comes first, exactly if there is one")
    checked: dict[str, Any] = value
    return checked


def parse_time(text: str, where: str) -> int:
    """Return the seconds since 1970 of an RFC 3339 time in UTC. Raises InvalidInput."""
    try:
        if not _TIME.fullmatch(text):
            raise ValueError
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError as error:
        raise InvalidInput(f"{where}: not a time such as 2026-01-31T23:59:59Z") from error


def write_time(seconds: int) -> str:
    """Return seconds since 1970 as an RFC 3339 time in UTC.

    Raises InvalidInput for times that have no such form.
    """
    if not 0 <= seconds < _YEAR_10000:
        raise InvalidInput(f"{seconds}: expected seconds since 1970")
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def issue(
    proof: AnyProof | None,
    keys: Sequence[PrivateKey],
    *,
    kind: str | None = None,
    verifying_key: AnyKey | None = None,
    place: Place | None = None,
    facts: Facts | None = None,
    artifacts: Mapping[str, bytes] | None = None,
    commitments: Sequence[str] = (),
    signed: int | None = None,
) -> Receipt:
    """Return a receipt, signed by each of `keys` in order.

    With a proof, its statement gives the kind, and model, fork, user and step are its public
    signals. A proof under a ceremony's key needs `verifying_key`, whose transcript the receipt
    names. `artifacts` are further subjects by SHA-256. `commitments` adds names of public signals
    that are commitments.

    Raises InvalidInput if a value does not fit the schema, or the place is not the proof's.
    """
    facts = facts or Facts()
    signals = {} if proof is None else proof.public
    subject = [] if proof is None else [("proof", sha256(proof.file_bytes()))]
    subject += list((artifacts or {}).items())
    part = None
    if proof is not None:
        part = _proof_part(proof, verifying_key, place or Place(), commitments)
        kind = kind or KINDS.get(proof.statement.partition("/")[0])
    now = int(time.time()) if signed is None else signed
    predicate = {
        "kind": kind,
        **{name: _single(signals, name) for name in ("model", "fork", "user")},
        "step": _step(signals),
        "parent": None if facts.parent is None else hex32(facts.parent),
        "proof": part,
        "hyperparameters": dict(facts.hyperparameters),
        "environment": dict(facts.environment),
        "metering": dict(facts.metering),
        "privacy": None if facts.privacy is None else dict(facts.privacy),
        "sources": [dict(source) for source in facts.sources],
        "tee": None if facts.tee is None else dict(facts.tee),
        "times": {
            "started": None if facts.started is None else write_time(facts.started),
            "finished": None if facts.finished is None else write_time(facts.finished),
            "signed": write_time(now),
        },
        "signers": [{"alg": key.alg, "keyid": key.keyid} for key in keys],
        "critical": list(facts.critical),
        "extensions": dict(facts.extensions),
    }
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": n, "digest": {"sha256": d.hex()}} for n, d in subject],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }
    payload = encode(statement)
    checked = parse_statement(payload, "receipt")
    if proof is not None:
        try:
            check_against_proof(checked, proof)
        except VerificationError as error:
            raise InvalidInput(f"receipt: {error}") from error
    return Receipt(sign_envelope(payload, keys), checked)


def _proof_part(
    proof: AnyProof, key: AnyKey | None, place: Place, commitments: Sequence[str]
) -> dict[str, Any]:
    transcript = None
    if proof.key_status == CEREMONY:
        if key is None or key.digest != proof.vk_digest or not _has_transcript(key):
            raise InvalidInput(
                "receipt: a proof under a ceremony's key needs that verifying key, for the digest"
                " of its transcript"
            )
        transcript = hex32(transcript_digest(key))
    if unknown := [name for name in commitments if name not in proof.public]:
        raise InvalidInput(f"receipt: the commitment {unknown[0]} is no public signal")
    known = {*COMMITMENTS, *commitments, *_committed(proof, key)}
    listed = [n for n in proof.public if n in known]
    return {
        "format": proof.FORMAT,
        "statement": proof.statement,
        "circuit_digest": hex32(proof.circuit_digest),
        "vk_digest": hex32(proof.vk_digest),
        "key": {"status": proof.key_status, "transcript": transcript},
        "public": {name: signal(values) for name, values in proof.public.items()},
        "commitments": listed,
        "destination": place.to_json(),
    }


def _committed(proof: AnyProof, key: AnyKey | None) -> set[str]:
    """Return the signals that a key of format halo2, if it is the proof's, calls commitments."""
    if not isinstance(key, Halo2VerifyingKey) or key.digest != proof.vk_digest:
        return set()
    return {signal.name for signal in key.signals if signal.kind != VALUES}


def _has_transcript(key: AnyKey) -> bool:
    return isinstance(key, Halo2VerifyingKey) or key.ceremony is not None


def transcript_digest(key: AnyKey) -> bytes:
    """SHA-256 of the canonical JSON of a key's record of its ceremony.

    A key of format halo2 has none of its own: SHA-256 of the setup string's file.
    """
    if isinstance(key, Halo2VerifyingKey):
        return key.transcript_digest
    assert key.ceremony is not None
    return sha256(canonical_json(key.ceremony.to_json()))


def signal(values: Sequence[int]) -> Any:
    """Return how a receipt shows a public signal: text, a list, or for long ones a digest."""
    if len(values) > MAX_LISTED:
        digest = sha256(b"".join(word(value) for value in values))
        return {"count": len(values), "sha256": hex32(digest)}
    return str(values[0]) if len(values) == 1 else [str(value) for value in values]


def _single(signals: Mapping[str, tuple[int, ...]], name: str) -> str | None:
    values = signals.get(name, ())
    return str(values[0]) if len(values) == 1 else None


def _step(signals: Mapping[str, tuple[int, ...]]) -> int | None:
    """The step that a proof starts from: its signal; a genesis makes step 0."""
    if "step" in signals:
        return signals["step"][0]
    return 0 if "fork" in signals else None


def check_against_proof(statement: Mapping[str, Any], proof: AnyProof) -> None:
    """Return None if a statement says of a proof what the proof says itself.

    Format, statement, digests, key status, every public signal, the identities that are signals,
    and the context recomputed from the destination.

    Raises VerificationError naming the difference.
    """
    predicate = statement["predicate"]
    said = predicate["proof"]
    if said is None:
        raise VerificationError("the receipt names no proof")
    wanted = {
        "format": proof.FORMAT,
        "statement": proof.statement,
        "circuit_digest": hex32(proof.circuit_digest),
        "vk_digest": hex32(proof.vk_digest),
        "public": {name: signal(values) for name, values in proof.public.items()},
    }
    for name, value in wanted.items():
        if said[name] != value:
            raise VerificationError(f"the receipt's proof.{name} is not the proof's")
    if said["key"]["status"] != proof.key_status:
        raise VerificationError("the receipt's key status is not the proof's")
    if KINDS.get(proof.statement.partition("/")[0], predicate["kind"]) != predicate["kind"]:
        raise VerificationError(f"a proof of {proof.statement} is no {predicate['kind']}")
    for name in ("model", "fork", "user"):
        if predicate[name] != _single(proof.public, name):
            raise VerificationError(f"the receipt's {name} is not the proof's")
    if predicate["step"] != _step(proof.public):
        raise VerificationError("the receipt's step is not the proof's")
    if unknown := [name for name in said["commitments"] if name not in proof.public]:
        raise VerificationError(f"the receipt's commitment {unknown[0]} is no public signal")
    _check_context(said["destination"], proof)


def _check_context(place: Mapping[str, Any], proof: AnyProof) -> None:
    if "context" not in proof.public:
        return
    context = Context(
        proof.statement,
        place["chain_id"],
        parse_hex32(place["ledger"], "ledger"),
        (proof.public.get("fork") or (0,))[0],
        (proof.public.get("step") or (0,))[0],
        parse_hex32(place["recipient"], "recipient"),
        proof.vk_digest,
    )
    if proof.public["context"] != (context.signal(),):
        raise VerificationError("the proof's context is for another destination than the receipt's")
