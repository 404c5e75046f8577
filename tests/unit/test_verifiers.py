"""The library, the one-file verifier and the page's code: the same verdicts, byte for byte."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.page_support import page_call, page_flip
from tests.unit.receipt_support import (
    NOW,
    PLACE,
    fork_proofs,
    fork_receipts,
    signer,
    signers,
    store,
)
from tests.unit.test_receipt import flips, payload, tampered
from tests.unit.verifier_support import (
    STEP,
    UNUSABLE,
    VERIFIERS,
    WITHOUT_LOG,
    Case,
    agree,
    alone,
    good,
    library,
    logged,
    page,
    resigned,
)
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.checkpoint import InclusionProof, LogPolicy
from zkai.ledger.note import Note
from zkai.receipt import jcs, standalone
from zkai.receipt.envelope import sign_envelope
from zkai.receipt.signer import ED25519
from zkai.receipt.statement import Place
from zkai.receipt.trust import revoke, trust

pytestmark = pytest.mark.node
PARTS = ("receipt", "proof", "inclusion")


def test_all_accept_what_is_good() -> None:
    for name, check in VERIFIERS.items():
        assert check(good()) is None, name


# ------------------------------------------------------------------ every byte


@pytest.mark.parametrize("part", PARTS)
def test_all_refuse_every_flipped_byte(part: str) -> None:
    """Every field's edge and every 64th byte of receipt, proof and inclusion proof."""
    case = good()
    assert page(case) is None  # it keeps this case for the flips
    data: bytes = getattr(case, part)
    places = {*flips(data, fields=part == "receipt")}
    if part == "inclusion":
        places |= edges(data)
    for at in sorted(places):
        changed = replace(case, **{part: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]})
        assert library(changed) is not None, at
        assert alone(changed) is not None, at
        assert not page_flip(part, at)["accepted"], at


def edges(note: bytes) -> set[int]:
    """The bytes of a note's or inclusion proof's text, and those beside spaces and line ends."""
    marks = {i for i, byte in enumerate(note) if byte in b" \n"}
    return {*range(100), *marks, *(i - 1 for i in marks), *(i + 1 for i in marks)} & {
        *range(len(note))
    }


def test_all_refuse_a_checkpoint_s_flipped_bytes() -> None:
    """The note alone, as witnesses and anchors hand it on."""
    data, policy = logged()
    note = InclusionProof.from_bytes(data).note.to_bytes()
    said = json.dumps(policy.to_json()).encode()

    def ours(changed: bytes) -> None:
        policy.verify(Note.from_bytes(changed))

    checks: dict[str, Callable[[bytes], object]] = {
        "library": ours,
        "standalone": lambda changed: standalone.verify_checkpoint(changed, policy.to_json()),
        "page": lambda changed: require(page_call("checkpoint", changed, said)),
    }
    for name, check in checks.items():
        check(note)
        for at in sorted({*flips(note, fields=False), *edges(note)}):
            changed = note[:at] + bytes([note[at] ^ 1]) + note[at + 1 :]
            assert refuses(check, changed), (name, at)


def refuses(check: Callable[[bytes], object], data: bytes) -> bool:
    """Whether a check raises what a refusal raises."""
    try:
        check(data)
    except (standalone.Refused, InvalidInput, VerificationError, *UNUSABLE):
        return True
    return False


def require(answer: dict[str, Any]) -> None:
    """Raise VerificationError if the page refused."""
    if not answer["accepted"]:
        raise VerificationError(answer["reason"])


def test_all_refuse_flipped_bytes_of_payload_and_signatures_in_new_base64() -> None:
    """The base64 is made anew, so that what refuses is the signature or the statement's form."""
    receipt = fork_receipts()[STEP]
    for case in changed_inside(receipt.envelope.payload, receipt.envelope.signatures):
        for name, check in VERIFIERS.items():
            assert check(case) is not None, name


def changed_inside(said: bytes, signatures: tuple[tuple[str, bytes], ...]) -> Iterator[Case]:
    """The case with a byte of the payload, then of each signature, changed."""
    envelope = fork_receipts()[STEP].envelope
    slow = bool(os.environ.get("ZKAI_TEST_SLOW"))
    for at in flips(said)[:: 1 if slow else 5]:
        other = said[:at] + bytes([said[at] ^ 1]) + said[at + 1 :]
        yield replace(good(), receipt=replace(envelope, payload=other).to_bytes())
    for index, (keyid, signature) in enumerate(signatures):
        for at in flips(signature, fields=False):
            other = signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
            listed = list(signatures)
            listed[index] = (keyid, other)
            yield replace(good(), receipt=replace(envelope, signatures=tuple(listed)).to_bytes())


# -------------------------------------------------------------- known forgeries


def repeated_key() -> bytes:
    """A payload with a key twice, signed by the right keys."""
    text = fork_receipts()[STEP].envelope.payload.replace(b'{"_type"', b'{"_type":"","_type"', 1)
    return sign_envelope(text, signers()).to_bytes()


def spelled(old: str, new: str) -> bytes:
    """The receipt's bytes with one piece of text replaced."""
    data = fork_receipts()[STEP].to_bytes()
    assert old.encode() in data
    return data.replace(old.encode(), new.encode(), 1)


def re_encoded() -> bytes:
    """The same statement in other bytes, under the same signatures."""
    receipt = fork_receipts()[STEP]
    text = json.dumps(receipt.statement, indent=1).encode()
    return replace(receipt.envelope, payload=text).to_bytes()


def stray_bits() -> bytes:
    """A signature whose base64 ends in bits that no byte holds."""

    def change(value: dict[str, Any]) -> None:
        text = value["signatures"][1]["sig"]
        assert text.endswith("==")
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        other = alphabet[alphabet.index(text[-3]) ^ 1]
        value["signatures"][1]["sig"] = text[:-3] + other + "=="
        assert base64.b64decode(value["signatures"][1]["sig"]) == base64.b64decode(text)

    return tampered(change)


def url_alphabet() -> bytes:
    """A signature in the alphabet of base64url."""

    def change(value: dict[str, Any]) -> None:
        text = value["signatures"][0]["sig"]
        value["signatures"][0]["sig"] = text.replace("+", "-").replace("/", "_")
        assert value["signatures"][0]["sig"] != text

    return tampered(change)


def signed_alone() -> bytes:
    """A payload whose only signer is a stranger's key: the attacker writes the list."""
    statement, key = payload(), signer("stranger")
    statement["predicate"]["signers"] = [{"alg": key.alg, "keyid": key.keyid}]
    return sign_envelope(jcs.encode(statement), [key]).to_bytes()


def signed_twice() -> bytes:
    """A payload that lists a key twice, with a signature for each."""
    statement, keys = payload(), [*signers(), signer()]
    statement["predicate"]["signers"].append(statement["predicate"]["signers"][0])
    return sign_envelope(jcs.encode(statement), keys).to_bytes()


LIST = "not the signatures of the signed list|not those of the signed list"
FORGED = "does not verify"
FORM = "one form|not canonical|RFC 8785|base64|JSON"
RECEIPTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "ML-DSA stripped": (lambda: tampered(lambda v: v["signatures"].pop(0)), LIST),
    "Ed25519 stripped": (lambda: tampered(lambda v: v["signatures"].pop(1)), LIST),
    "all stripped": (lambda: tampered(lambda v: v["signatures"].clear()), LIST + "|expected"),
    "reordered": (lambda: tampered(lambda v: v["signatures"].reverse()), LIST),
    "a signature twice": (
        lambda: tampered(lambda v: v["signatures"].append(v["signatures"][0])), LIST,
    ),
    "signed list reordered": (lambda: tampered_list(lambda s: s.reverse()), LIST),
    "signed list cut": (lambda: tampered_list(lambda s: s.pop()), LIST),
    "algorithms swapped": (
        lambda: resigned(lambda p: p["signers"][0].update(alg=ED25519)), "another algorithm",
    ),
    "a signer twice": (
        lambda: resigned(lambda p: p["signers"].append(p["signers"][0])),
        LIST + "|there twice|listed twice",
    ),
    "a signer twice, signing twice": (signed_twice, "there twice|listed twice"),
    "signed by a stranger": (signed_alone, "requires a signature|required signer"),
    "a key twice in the envelope": (lambda: spelled('{"payload":', '{"payload":"","payload":'),
                                    "repeats a key"),
    "a key twice in the payload": (repeated_key, "repeats a key"),
    "payload re-encoded": (re_encoded, FORGED),
    "spaces": (lambda: spelled('{"payload":', '{ "payload":'), FORM),
    "a line end": (lambda: fork_receipts()[STEP].to_bytes() + b"\n", FORM),
    "escaped": (lambda: spelled("payloadType", "payload\\u0054ype"), FORM),
    "another type": (
        lambda: tampered(lambda v: v.update(payloadType="application/json")), "payloadType|form",
    ),
    "a field more": (lambda: tampered(lambda v: v.update(x=1)), "unknown field|one form"),
    "a signature's field more": (
        lambda: tampered(lambda v: v["signatures"][0].update(x=1)), "unknown field|one form",
    ),
    "stray bits": (stray_bits, "canonical"),
    "the other alphabet": (url_alphabet, "base64"),
    "a line end in base64": (
        lambda: tampered(lambda v: v.update(payload=v["payload"] + "\n")), "base64|padding",
    ),
    "critical": (lambda: resigned(lambda p: p.update(critical=["note"])), "critical"),
    "a predicate's field more": (lambda: resigned(lambda p: p.update(more=1)), "unknown"),
    "a number that is none": (lambda: resigned_text(b'"prove_ms":12', b'"prove_ms":12.0'),
                              "integer"),
    "another fork's receipt": (lambda: fork_receipts()[0].to_bytes(), "root|proof"),
    "nothing": (lambda: b"", ""),
    "an empty list": (lambda: b"[]", ""),
    "an empty object": (lambda: b"{}", ""),
}  # fmt: skip
"""Forged receipts by what was done, each with the words of a refusal."""


def tampered_list(change: Callable[[list[Any]], object]) -> bytes:
    """The receipt with another signed list of signers, under the old signatures."""
    statement, envelope = payload(), fork_receipts()[STEP].envelope
    change(statement["predicate"]["signers"])
    return replace(envelope, payload=jcs.encode(statement)).to_bytes()


def resigned_text(old: bytes, new: bytes) -> bytes:
    """The payload with one piece of text replaced, signed by the right keys."""
    text = fork_receipts()[STEP].envelope.payload
    assert old in text
    return sign_envelope(text.replace(old, new), signers()).to_bytes()


@pytest.mark.parametrize("name", RECEIPTS)
def test_all_refuse_a_forged_receipt(name: str) -> None:
    """Without the log's proof, which names other bytes and would refuse all of them."""
    make, reason = RECEIPTS[name]
    case = good()
    forged = make()
    assert forged != case.receipt
    for verifier, check in WITHOUT_LOG.items():
        assert check(case.receipt) is None, verifier
        found = check(forged)
        assert found is not None, verifier
        assert re.search(reason, found), (verifier, found)


def test_all_refuse_what_belongs_to_another() -> None:
    case = good()
    other = fork_proofs()[2].file_bytes()
    for changed in (
        replace(case, proof=other), replace(case, proof=case.proof + b" "),
        replace(case, inclusion=case.inclusion + b"\n"), replace(case, proof=b""),
        replace(case, inclusion=b""), replace(case, receipt=fork_receipts()[0].to_bytes()),
        replace(case, policy=replace(logged()[1], origin="example.org/other")),
        replace(case, policy=replace(logged()[1], key=signer("other").public)),
        replace(case, policy=LogPolicy(logged()[1].origin, logged()[1].key,
                                       (("w1", signer("w9").public),), 1)),
    ):  # fmt: skip
        for name, check in VERIFIERS.items():
            assert check(changed) is not None, name


@pytest.mark.parametrize(
    "place",
    [replace(PLACE, chain_id=8), replace(PLACE, ledger=bytes(32)),
     replace(PLACE, recipient=bytes(32)), Place()],
)  # fmt: skip
def test_all_refuse_a_replay_on_another_chain(place: Place) -> None:
    for name, check in VERIFIERS.items():
        assert check(replace(good(), place=None)) is None
        assert "another" in str(check(replace(good(), place=place))), name


# ------------------------------------------------------------------------- time


def test_all_agree_on_time() -> None:
    """Logged at NOW + 7: later revocations and expiries change nothing, earlier ones do."""
    listed = store().keys
    for change, expected in (
        ({"not_after": NOW + 8}, None), ({"not_after": NOW + 7}, "expired"),
        ({"not_before": NOW + 1}, "not yet valid"), ({"not_before": NOW}, None),
    ):  # fmt: skip
        trusted = replace(store(), keys=(replace(listed[0], **change), *listed[1:]))  # type: ignore[arg-type]
        agree(replace(good(), trusted=trusted, now=NOW + 999), expected)
    for at, expected in ((NOW + 8, None), (NOW + 7, "revoked"), (NOW, "revoked")):
        revoked = revoke(store(), signer().keyid, at, "stolen")
        agree(replace(good(), trusted=revoked, now=NOW + 999), expected)
    for trusted in (trust([("other", signer("other").public)]), trust([("i", signer().public)])):
        agree(replace(good(), trusted=trusted), "require|not in the trust store")


def test_all_agree_on_time_without_a_witness() -> None:
    """The policy asks for nobody: keys must be good now, whatever time the receipt claims."""
    policy = replace(logged()[1], quorum=0)
    case = replace(good(), policy=policy)
    agree(replace(case, now=NOW + 999), None)
    agree(replace(case, now=NOW - 301), "later than it was seen")
    revoked = revoke(store(), signer().keyid, NOW + 50, "stolen")
    agree(replace(case, trusted=revoked, now=NOW + 49), None)
    agree(replace(case, trusted=revoked, now=NOW + 50), "revoked")
    listed = store().keys
    ending = replace(store(), keys=(replace(listed[0], not_after=NOW + 50), *listed[1:]))
    agree(replace(case, trusted=ending, now=NOW + 49), None)
    agree(replace(case, trusted=ending, now=NOW + 50), "expired")
