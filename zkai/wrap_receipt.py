"""Receipts of wrapped decisions: one signed statement that names the head's proof and the body's.

The receipt's proof is the head's, as `zkai.receipt` knows it, so that whoever knows nothing of
bodies can verify that much. The body's file is the subject `body`, and the extensions `body.NAME`
say which circuit and key it is of and which hash both proofs show. To sign is to say that both were
verified; to verify again takes the body's file and key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from zkai import wrap
from zkai.calibrated import Inference
from zkai.encoding import hex32, load_json, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.keys import Halo2VerifyingKey
from zkai.halo2.proof import MAX_FILE_BYTES, Halo2Proof
from zkai.proof.formats import Proof, VerifyingKey
from zkai.receipt.signer import PrivateKey
from zkai.receipt.statement import Facts, Place, Receipt, issue
from zkai.receipt.trust import TrustStore
from zkai.receipt.verify import verify_proof_of, verify_receipt
from zkai.wrap import Decision

SUBJECT = "body"
_PREFIX = "body."


def sign(
    decision: Decision,
    body_key: Halo2VerifyingKey,
    head_key: VerifyingKey,
    signers: Sequence[PrivateKey],
    *,
    head: Inference | None = None,
    place: Place | None = None,
    facts: Facts | None = None,
    signed: int | None = None,
) -> Receipt:
    """Return a receipt of a decision, after both proofs and their match were verified.

    Raises VerificationError as `wrap.verify` does; InvalidInput as `issue` does, and for facts that
    speak of a body themselves.
    """
    wrap.verify(decision, body_key, head_key, head=head)
    given = facts or Facts()
    if taken := [name for name in given.extensions if name.startswith(_PREFIX)]:
        raise InvalidInput(f"receipt: the extension {taken[0]} is the wrapped body's")
    said = replace(given, extensions={**given.extensions, **_body_facts(decision.body, body_key)})
    return issue(
        decision.head,
        signers,
        verifying_key=head_key,
        place=place,
        facts=said,
        artifacts={SUBJECT: sha256(decision.body.file_bytes())},
        commitments=(wrap.INPUT,),
        signed=signed,
    )


def _body_facts(body: Halo2Proof, key: Halo2VerifyingKey) -> dict[str, Any]:
    """Return what a receipt says of a body."""
    signal = next(s for s in key.signals if s.name == wrap.OUTPUT)
    facts = {
        "format": body.FORMAT,
        "statement": body.statement,
        "circuit_digest": hex32(body.circuit_digest),
        "vk_digest": hex32(body.vk_digest),
        "key_status": body.key_status,
        "output": str(body.public[wrap.OUTPUT][0]),
        "scale_bits": signal.scale,
    }
    return {_PREFIX + name: value for name, value in facts.items()}


def verify(
    receipt: Receipt,
    store: TrustStore,
    body: bytes,
    head: bytes,
    body_key: Halo2VerifyingKey,
    head_key: VerifyingKey,
    *,
    statement: Inference | None = None,
    production: bool = False,
    trusted_digests: Collection[bytes | str] = (),
    at: int | None = None,
    place: Place | None = None,
) -> Decision:
    """Return the decision in the files `body` and `head`, after everything about it was verified.

    The receipt's signatures; that it names exactly these files and says of both what they and the
    keys say; both proofs, and that they are of one activation. `statement` is the head's, as in
    `wrap.verify`.

    Raises VerificationError with the reason, InvalidInput for malformed files.
    """
    verify_receipt(receipt, store, at=at, place=place)
    trusted: Any = {"production": production, "trusted_digests": trusted_digests}
    proof = verify_proof_of(receipt, head, head_key, **trusted)
    assert isinstance(proof, Proof)  # the head's key is of Groth16
    decision = Decision(read_body(body), proof)
    check_body(receipt, body, decision.body, body_key)
    wrap.verify(decision, body_key, head_key, head=statement, **trusted)
    return decision


def read_body(data: bytes, where: str = "body") -> Halo2Proof:
    """Return the body's proof in a file's bytes. Raises InvalidInput naming the field."""
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInput(f"{where}: larger than {MAX_FILE_BYTES} bytes")
    return Halo2Proof.from_json(load_json(data, where), where)


def check_body(receipt: Receipt, data: bytes, body: Halo2Proof, key: Halo2VerifyingKey) -> None:
    """Return None if a receipt names this body, and says of it what it and its key say.

    Raises VerificationError naming the difference.
    """
    subjects = {s["name"]: s["digest"]["sha256"] for s in receipt.statement["subject"]}
    if SUBJECT not in subjects:
        raise VerificationError(
            "the receipt names no body: it is of a decision that is not wrapped"
        )
    if subjects[SUBJECT] != sha256(data).hex():
        raise VerificationError("the receipt names a different body")
    if body.public.get(wrap.OUTPUT) is None or len(body.public[wrap.OUTPUT]) != 1:
        raise VerificationError("the body does not show the hash of its one output")
    extensions: Mapping[str, Any] = receipt.predicate["extensions"]
    wanted = _body_facts(body, key)
    for name, value in wanted.items():
        if extensions.get(name) != value:
            raise VerificationError(f"the receipt's {name} is not the body's")
    if known := [n for n in extensions if n.startswith(_PREFIX) and n not in wanted]:
        raise VerificationError(f"the receipt's {known[0]} is nothing that a body has")
