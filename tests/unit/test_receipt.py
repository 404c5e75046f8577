"""Receipts: what is signed, who must sign, and every way to tamper that must be refused."""

from __future__ import annotations

import base64
import copy
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit import proof_support
from tests.unit.receipt_support import (
    NOW,
    PLACE,
    fork_proofs,
    fork_receipts,
    signer,
    signers,
    store,
    verifying_keys,
)
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.formats import parse_proof
from zkai.proof.keys import Proof
from zkai.receipt import jcs, schema
from zkai.receipt.envelope import IN_TOTO, Envelope, pae, sign_envelope
from zkai.receipt.signer import ED25519, generate
from zkai.receipt.statement import (
    MAX_LISTED,
    Facts,
    Place,
    Receipt,
    issue,
    parse_statement,
    signal,
)
from zkai.receipt.trust import SKEW_S, TrustStore, revoke, rotate, trust
from zkai.receipt.verify import verify_proof_of, verify_receipt

STEP = 1


def payload() -> dict[str, Any]:
    """The step's statement, to be changed."""
    return copy.deepcopy(dict(fork_receipts()[STEP].statement))


def resigned(statement: Any) -> Receipt:
    """A changed statement, signed by the right keys: what only an issuer can do."""
    return Receipt.from_bytes(sign_envelope(jcs.encode(statement), signers()).to_bytes())


def check(data: bytes, proof: bytes, **options: Any) -> None:
    """All that a reader does with a receipt and its proof."""
    receipt = Receipt.from_bytes(data)
    verify_receipt(receipt, store(), at=NOW, place=PLACE, **options)
    verify_proof_of(receipt, proof, verifying_keys()["training_step/1"])


def test_a_receipt_and_its_proof_verify() -> None:
    for receipt, proof in zip(fork_receipts(), fork_proofs(), strict=True):
        again = Receipt.from_bytes(receipt.to_bytes())
        assert again == receipt
        verify_receipt(again, store(), at=NOW, place=PLACE)
        key = verifying_keys()[proof.statement]
        assert verify_proof_of(again, proof.file_bytes(), key) == proof
        assert again.grade == "proven (development key)"
    first, second, third = fork_receipts()
    assert first.predicate["parent"] is None
    assert second.predicate["parent"] == "0x" + first.id.hex()
    assert (first.predicate["kind"], third.predicate["kind"]) == ("genesis", "training_step")
    assert [r.predicate["step"] for r in fork_receipts()] == [0, 0, 1]


def test_a_proof_without_context_and_one_of_the_commitment_round(tmp_path: Path) -> None:
    from tests.unit import commit_support

    proof = proof_support.proof()
    receipt = issue(proof, [signer()], kind="query", signed=NOW)
    trusted = trust([("issuer", signer().public)])
    verify_receipt(receipt, trusted, at=NOW)
    key = proof_support.keys().verifying
    verify_proof_of(receipt, proof.file_bytes(), key)
    with pytest.raises(VerificationError, match="development key"):
        verify_proof_of(
            receipt, proof.file_bytes(), key, production=True, trusted_digests=[key.digest]
        )
    commit = commit_support.proof()
    receipt = issue(commit, [signer()], kind="query", signed=NOW)
    commit_key = commit_support.keys().verifying
    verify_proof_of(receipt, commit.file_bytes(), commit_key)
    with pytest.raises(VerificationError, match="the proof has the format"):
        verify_proof_of(receipt, commit.file_bytes(), key)


def test_a_ceremony_s_transcript_is_named(tmp_path: Path) -> None:
    from zkai.proof import groth16

    keys = proof_support.ceremony_keys()
    proof = groth16.prove(
        proof_support.circuit(), keys.proving, proof_support.witness(), proof_support.STATEMENT
    )
    with pytest.raises(InvalidInput, match="needs that verifying key"):
        issue(proof, [signer()], kind="query", signed=NOW)
    receipt = issue(proof, [signer()], kind="query", verifying_key=keys.verifying, signed=NOW)
    assert receipt.grade == "proven (ceremony key)"
    verify_proof_of(receipt, proof.file_bytes(), keys.verifying)
    statement = copy.deepcopy(dict(receipt.statement))
    statement["predicate"]["proof"]["key"]["transcript"] = "0x" + "00" * 32
    other = Receipt.from_bytes(sign_envelope(jcs.encode(statement), [signer()]).to_bytes())
    with pytest.raises(VerificationError, match="transcript"):
        verify_proof_of(other, proof.file_bytes(), keys.verifying)


def test_what_has_no_proof_is_signed_only() -> None:
    artifacts = {"model": bytes(32)}
    receipt = issue(None, signers(), kind="merge", artifacts=artifacts, signed=NOW)
    verify_receipt(receipt, store(), at=NOW)
    assert receipt.grade == "signed only"
    with pytest.raises(VerificationError, match="names no proof"):
        verify_proof_of(receipt, b"{}", verifying_keys()["genesis/1"])
    with pytest.raises(VerificationError, match="another chain"):
        verify_receipt(receipt, store(), at=NOW, place=PLACE)
    with pytest.raises(InvalidInput, match="subject"):
        issue(None, signers(), kind="merge", signed=NOW)


def test_long_signals_are_named_by_their_digest() -> None:
    assert signal([5]) == "5"
    assert signal([5, 6]) == ["5", "6"]
    values = list(range(MAX_LISTED + 1))
    assert signal(values) != signal([*values[:-1], 0])
    assert signal(values)["count"] == MAX_LISTED + 1


# ------------------------------------------------------------------ every byte


def flips(data: bytes, fields: bool = True) -> list[int]:
    """Every 64th byte, and with JSON every byte beside a structural character.

    All of them in `make test-slow`.
    """
    if os.environ.get("ZKAI_TEST_SLOW"):
        return list(range(len(data)))
    marks = set(range(0, len(data), 64)) | {len(data) - 1}
    if fields:
        marks |= {i for i, byte in enumerate(data) if byte in b'{}[]:,"'}
        marks |= {i + 1 for i in marks if i + 1 < len(data)}
    return sorted(marks)


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_a_flipped_byte_of_the_envelope_is_refused(mask: int) -> None:
    data, proof = fork_receipts()[STEP].to_bytes(), fork_proofs()[STEP].file_bytes()
    check(data, proof)
    for at in flips(data):
        changed = bytearray(data)
        changed[at] ^= mask
        with pytest.raises((InvalidInput, VerificationError)):
            check(bytes(changed), proof)


def test_a_flipped_byte_of_the_payload_is_refused_though_the_base64_is_made_anew() -> None:
    receipt = fork_receipts()[STEP]
    for at in flips(receipt.envelope.payload):
        changed = bytearray(receipt.envelope.payload)
        changed[at] ^= 1
        envelope = replace(receipt.envelope, payload=bytes(changed))
        with pytest.raises((InvalidInput, VerificationError)):
            verify_receipt(Receipt.from_bytes(envelope.to_bytes()), store(), at=NOW)


def test_a_flipped_byte_of_a_signature_is_refused() -> None:
    receipt = fork_receipts()[STEP]
    for index, (keyid, signature) in enumerate(receipt.envelope.signatures):
        for at in flips(signature, fields=False):
            changed = bytearray(signature)
            changed[at] ^= 4
            listed = list(receipt.envelope.signatures)
            listed[index] = (keyid, bytes(changed))
            envelope = replace(receipt.envelope, signatures=tuple(listed))
            with pytest.raises(VerificationError, match="does not verify"):
                verify_receipt(replace(receipt, envelope=envelope), store(), at=NOW)


def test_a_flipped_byte_of_the_proof_is_refused() -> None:
    receipt, proof = fork_receipts()[STEP], fork_proofs()[STEP].file_bytes()
    for at in flips(proof, fields=False):
        changed = bytearray(proof)
        changed[at] ^= 1
        with pytest.raises(VerificationError, match="different proof"):
            verify_proof_of(receipt, bytes(changed), verifying_keys()["training_step/1"])


# -------------------------------------------------------------- known forgeries


def tampered(change: Callable[[dict[str, Any]], None]) -> bytes:
    """The envelope's JSON after a change, in canonical form."""
    value = json.loads(fork_receipts()[STEP].to_bytes())
    change(value)
    return jcs.encode(value)


def swap(value: dict[str, Any]) -> None:
    value["signatures"].reverse()


def strip_ml_dsa(value: dict[str, Any]) -> None:
    del value["signatures"][0]


def strip_ed25519(value: dict[str, Any]) -> None:
    del value["signatures"][1]


def repeat(value: dict[str, Any]) -> None:
    value["signatures"].append(value["signatures"][0])


def swap_key_ids(value: dict[str, Any]) -> None:
    first, second = value["signatures"]
    first["keyid"], second["keyid"] = second["keyid"], first["keyid"]


def add_stranger(value: dict[str, Any]) -> None:
    key = signer("stranger")
    sig = key.sign(pae(IN_TOTO, base64.b64decode(value["payload"])))
    value["signatures"].append({"keyid": key.keyid, "sig": base64.b64encode(sig).decode()})


@pytest.mark.parametrize(
    "change", [swap, strip_ml_dsa, strip_ed25519, repeat, swap_key_ids, add_stranger]
)
def test_stripped_swapped_and_added_signatures_are_refused(
    change: Callable[[dict[str, Any]], None],
) -> None:
    with pytest.raises(VerificationError, match="signed list of signers"):
        verify_receipt(Receipt.from_bytes(tampered(change)), store(), at=NOW)


def test_a_payload_signed_anew_by_others_is_refused() -> None:
    """The attacker writes the signed list: the policy stands in the trust store."""
    statement, key = payload(), signer("stranger")
    statement["predicate"]["signers"] = [{"alg": key.alg, "keyid": key.keyid}]
    forged = Receipt.from_bytes(sign_envelope(jcs.encode(statement), [key]).to_bytes())
    with pytest.raises(VerificationError, match="requires a signature of issuer"):
        verify_receipt(forged, store(), at=NOW)
    both = trust([("issuer", signer().public)])
    statement["predicate"]["signers"].insert(0, {"alg": signer().alg, "keyid": signer().keyid})
    forged = Receipt.from_bytes(sign_envelope(jcs.encode(statement), [signer(), key]).to_bytes())
    with pytest.raises(VerificationError, match="not in the trust store"):
        verify_receipt(forged, both, at=NOW)


def test_the_classical_signature_alone_is_not_enough() -> None:
    statement, key = payload(), signer("classic", ED25519)
    statement["predicate"]["signers"] = [{"alg": key.alg, "keyid": key.keyid}]
    forged = Receipt.from_bytes(sign_envelope(jcs.encode(statement), [key]).to_bytes())
    with pytest.raises(VerificationError, match="requires a signature of issuer"):
        verify_receipt(forged, store(), at=NOW)
    with pytest.raises(InvalidInput, match="ML-DSA-65 keys only"):
        trust([("classic", key.public)])


def test_an_algorithm_swapped_in_the_payload_is_refused() -> None:
    statement = payload()
    statement["predicate"]["signers"][0]["alg"] = "Ed25519"
    with pytest.raises(VerificationError, match="another algorithm"):
        verify_receipt(resigned(statement), store(), at=NOW)


def test_a_payload_encoded_otherwise_is_refused() -> None:
    receipt = fork_receipts()[STEP]
    text = json.dumps(receipt.statement, indent=1).encode()
    other = Receipt.from_bytes(replace(receipt.envelope, payload=text).to_bytes())
    assert other.statement == receipt.statement
    with pytest.raises(VerificationError, match="does not verify"):
        verify_receipt(other, store(), at=NOW)


def test_envelopes_have_one_byte_form() -> None:
    data = fork_receipts()[STEP].to_bytes()
    value = json.loads(data)
    spaced = json.dumps(value, indent=1).encode()
    unsorted = json.dumps(dict(reversed(value.items())), separators=(",", ":")).encode()
    for other in (spaced, unsorted, data + b"\n", b" " + data, data[:-1]):
        with pytest.raises(InvalidInput):
            Receipt.from_bytes(other)
    with pytest.raises(InvalidInput, match="repeats a key"):
        Receipt.from_bytes(data.replace(b'{"payload":', b'{"payload":"","payload":', 1))
    with pytest.raises(InvalidInput, match="payloadType"):
        Receipt.from_bytes(tampered(lambda v: v.update(payloadType="application/json")))


@pytest.mark.parametrize("text", ["QQ", "QR==", "QQ==\n", "Q Q=", "QQ=", "_w==", "é", "QQ===="])
def test_base64_is_canonical(text: str) -> None:
    assert jcs.from_base64("QQ==", "x", 8) == b"A"
    with pytest.raises(InvalidInput):
        jcs.from_base64(text, "x", 8)


@pytest.mark.parametrize("text", ["QQ==", "QR", "Q", "+w", "QQ\n", "é"])
def test_base64url_is_canonical(text: str) -> None:
    assert jcs.from_base64url("QQ", "x", 8) == b"A"
    with pytest.raises(InvalidInput):
        jcs.from_base64url(text, "x", 8)


def test_a_repeated_key_inside_the_payload_is_refused() -> None:
    text = fork_receipts()[STEP].envelope.payload.replace(b'{"_type"', b'{"_type":"","_type"', 1)
    with pytest.raises(InvalidInput, match="repeats a key"):
        Receipt.from_bytes(sign_envelope(text, signers()).to_bytes())


# --------------------------------------------------------- time and revocation


def test_keys_count_within_their_window() -> None:
    receipt = fork_receipts()[STEP]
    keys = store().keys

    def windowed(**changes: Any) -> TrustStore:
        return replace(store(), keys=(replace(keys[0], **changes), *keys[1:]))

    verify_receipt(receipt, windowed(not_before=NOW, not_after=NOW + 1), at=NOW)
    with pytest.raises(VerificationError, match="not yet valid"):
        verify_receipt(receipt, windowed(not_before=NOW + 1), at=NOW + 5)
    expired = windowed(not_after=NOW + 10)
    with pytest.raises(VerificationError, match="expired now"):
        verify_receipt(receipt, expired, at=NOW + 10)
    verify_receipt(receipt, expired, at=NOW + 1000, logged_at=NOW + 9)
    with pytest.raises(VerificationError, match="expired when this was logged"):
        verify_receipt(receipt, expired, at=NOW + 1000, logged_at=NOW + 10)
    with pytest.raises(VerificationError, match="expired when it says"):
        verify_receipt(receipt, windowed(not_after=NOW), at=NOW - 1)


def test_a_revoked_key_counts_only_for_what_was_logged_before() -> None:
    receipt = fork_receipts()[STEP]
    revoked = revoke(store(), signer().keyid, NOW + 50, "stolen")
    verify_receipt(receipt, revoked, at=NOW + 49)
    with pytest.raises(VerificationError, match="revoked now: stolen"):
        verify_receipt(receipt, revoked, at=NOW + 50)
    verify_receipt(receipt, revoked, at=NOW + 999, logged_at=NOW + 49)
    with pytest.raises(VerificationError, match="revoked when this was logged"):
        verify_receipt(receipt, revoked, at=NOW + 999, logged_at=NOW + 50)
    later = revoke(revoked, signer().keyid, NOW + 60, "again")
    assert later == revoked
    earlier = revoke(revoked, signer().keyid, NOW, "stolen before")
    with pytest.raises(VerificationError, match="revoked when it says"):
        verify_receipt(receipt, earlier, at=NOW - 1)


def test_a_signing_time_in_the_future_is_refused() -> None:
    receipt = fork_receipts()[STEP]
    verify_receipt(receipt, store(), at=NOW - SKEW_S)
    with pytest.raises(VerificationError, match="later than it was seen"):
        verify_receipt(receipt, store(), at=NOW - SKEW_S - 1)


def test_rotation_keeps_old_receipts_and_moves_on() -> None:
    new = signer("successor")
    rotated = rotate(store(), signer().keyid, new.public, "successor", NOW + 100)
    assert TrustStore.from_json(rotated.to_json()) == rotated
    old = fork_receipts()[STEP]
    verify_receipt(old, rotated, at=NOW + 1)
    with pytest.raises(VerificationError, match="expired now"):
        verify_receipt(old, rotated, at=NOW + 100 + SKEW_S)
    keys = [new, signer("classic", ED25519)]
    proof = fork_proofs()[STEP]
    young = issue(proof, keys, place=PLACE, signed=NOW + 200)
    verify_receipt(young, rotated, at=NOW + 200)
    early = issue(proof, keys, place=PLACE, signed=NOW)
    with pytest.raises(VerificationError, match="not yet valid"):
        verify_receipt(early, rotated, at=NOW + 200)
    with pytest.raises(InvalidInput, match="one of the same"):
        rotate(store(), signer().keyid, signer("classic", ED25519).public, "x", NOW)


# -------------------------------------------------- what the payload may contain


def test_a_receipt_for_another_place_is_refused() -> None:
    receipt = fork_receipts()[STEP]
    for other in (replace(PLACE, chain_id=8), replace(PLACE, ledger=bytes(32)), Place()):
        with pytest.raises(VerificationError, match="another chain"):
            verify_receipt(receipt, store(), at=NOW, place=other)
        with pytest.raises(InvalidInput, match="another destination"):
            issue(fork_proofs()[STEP], signers(), place=other, signed=NOW)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("proof", "destination", "chain_id"), 8, "another destination"),
        (("proof", "destination", "recipient"), "0x" + "00" * 32, "another destination"),
        (("proof", "public", "new_state"), "5", "proof.public"),
        (("proof", "circuit_digest"), "0x" + "00" * 32, "circuit_digest"),
        (("proof", "vk_digest"), "0x" + "00" * 32, "vk_digest"),
        (("proof", "statement"), "genesis/1", "proof.statement"),
        (("proof", "format"), "zkai.groth16/2", "proof.format"),
        (("proof", "commitments"), ["nonsense"], "no public signal"),
        (("proof", "key"), {"status": "ceremony", "transcript": "0x" + "00" * 32}, "key status"),
        (("kind",), "genesis", "is no genesis"),
        (("model",), "5", "model is not"),
        (("fork",), None, "fork is not"),
        (("user",), "5", "user is not"),
        (("step",), 1, "step is not"),
    ],
)
def test_a_false_word_about_the_proof_is_refused(
    path: tuple[str, ...], value: Any, reason: str
) -> None:
    statement = payload()
    part = statement["predicate"]
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    receipt = resigned(statement)
    verify_receipt(receipt, store(), at=NOW)
    data = fork_proofs()[STEP].file_bytes()
    with pytest.raises(VerificationError, match=reason):
        verify_proof_of(receipt, data, verifying_keys()["training_step/1"])


def test_another_proof_of_the_same_statement_is_refused() -> None:
    data = fork_proofs()[2].file_bytes()
    with pytest.raises(VerificationError, match="different proof"):
        verify_proof_of(fork_receipts()[1], data, verifying_keys()["training_step/1"])
    key = proof_support.keys().verifying
    with pytest.raises(VerificationError):
        verify_proof_of(fork_receipts()[1], fork_proofs()[1].file_bytes(), key)


def test_unknown_versions_fields_and_critical_extensions_are_refused() -> None:
    def refused(change: Callable[[dict[str, Any]], None], reason: str) -> None:
        statement = payload()
        change(statement)
        with pytest.raises(InvalidInput, match=reason):
            parse_statement(jcs.encode(statement), "receipt")

    refused(lambda s: s.update(predicateType="urn:zkai:compute-receipt/v2"), "predicateType")
    refused(lambda s: s.update(_type="https://in-toto.io/Statement/v2"), "_type")
    refused(lambda s: s["predicate"].update(later=1), "unknown field 'later'")
    refused(lambda s: s["predicate"].pop("privacy"), "missing field privacy")
    refused(lambda s: s["predicate"].update(critical=["note"]), "does not understand")
    refused(lambda s: s["predicate"].update(critical=["other"]), "no extension")
    refused(lambda s: s["predicate"]["times"].update(signed="2026-02-30T00:00:00Z"), "not a time")
    refused(lambda s: s["predicate"].update(step=-1), "step")
    refused(lambda s: s["predicate"].update(step=True), "step")
    refused(lambda s: s["subject"][0].update(name="model"), "proof comes first")
    refused(lambda s: s["subject"].append(s["subject"][0]), "twice")
    refused(lambda s: s["predicate"]["signers"].append(s["predicate"]["signers"][0]), "twice")
    refused(lambda s: s["predicate"]["metering"].update(cpu=-1), "metering")


def test_issue_refuses_what_the_schema_does_not_have() -> None:
    proof = fork_proofs()[STEP]
    for facts in (
        Facts(metering={"seconds": 0.5}),  # type: ignore[dict-item]
        Facts(environment={"a b": "c"}),
        Facts(sources=[{"source": "x"}]),
        Facts(tee={"kind": "sgx", "quote": "not base64"}),
        Facts(critical=["x"], extensions={"x": 1}),
        Facts(extensions={"é": 1}),
        Facts(hyperparameters={"n": 1 << 60}),
    ):
        with pytest.raises(InvalidInput):
            issue(proof, signers(), place=PLACE, facts=facts, signed=NOW)
    with pytest.raises(InvalidInput, match="is no"):
        issue(proof, signers(), place=PLACE, kind="genesis", signed=NOW)
    with pytest.raises(InvalidInput, match="signers"):
        issue(proof, [], place=PLACE, signed=NOW)


# --------------------------------------------------------- schema and encodings


def mutants(value: Any) -> list[Any]:
    """A value with each of its parts dropped or replaced, one at a time."""
    found: list[Any] = []
    others: tuple[Any, ...] = (None, -1, 1 << 40, "", "x" * 300, "5", [], {}, True, [1, 1])
    found += [other for other in others if other != value]
    if isinstance(value, dict):
        found += [{k: v for k, v in value.items() if k != name} for name in value]
        found.append({**value, "later": 1})
        found += [{**value, name: m} for name in value for m in mutants(value[name])]
    elif isinstance(value, list):
        found += [
            [*value[:i], m, *value[i + 1 :]] for i in range(len(value)) for m in mutants(value[i])
        ]
        found.append(value + value)
    return found


def test_an_independent_validator_agrees_with_ours() -> None:
    """The shipped schema is what the code enforces: jsonschema decides each mutant as we do."""
    document = schema.load("receipt.schema.json")
    jsonschema.Draft202012Validator.check_schema(document)
    validator = jsonschema.Draft202012Validator(document)
    agreed = {True: 0, False: 0}
    for mutant in [payload(), *mutants(payload())]:
        try:
            schema.check(mutant, document, "receipt")
            ours = True
        except InvalidInput:
            ours = False
        assert validator.is_valid(mutant) == ours, mutant
        agreed[ours] += 1
    assert agreed[True] > 100
    assert agreed[False] > 500


texts = st.text(st.characters(codec="utf-8"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="ascii"), max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(values)
@settings(max_examples=200)
def test_canonical_json_is_rfc_8785(value: Any) -> None:
    data = jcs.encode(value)
    assert data == rfc8785.dumps(value)
    assert jcs.decode(data, "x") == value


@pytest.mark.parametrize("value", [0.5, 2**53, {1: 2}, {"é": 1}, "\ud800", b"x", [[0.5]]])
def test_canonical_json_refuses(value: Any) -> None:
    with pytest.raises(InvalidInput):
        jcs.encode(value)


def test_nesting_is_capped() -> None:
    with pytest.raises(InvalidInput):
        jcs.decode(b"[" * 100 + b"]" * 100, "x")
    with pytest.raises(InvalidInput):
        Envelope.from_bytes(b"[" * 100_000)


def test_pae_is_dsse_s() -> None:
    """The example of the DSSE protocol document."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_a_proof_of_neither_format_is_refused() -> None:
    for data in (b"{}", b"[]", b"", b'{"format": "zkai.groth16/9"}', b"\xff"):
        with pytest.raises(InvalidInput):
            parse_proof(data)
    proof = fork_proofs()[0]
    assert parse_proof(proof.file_bytes()) == proof
    assert isinstance(proof, Proof)


def test_trust_stores_are_strict(tmp_path: Path) -> None:
    store().write(tmp_path / "trust.json")
    assert TrustStore.from_path(tmp_path / "trust.json") == store()
    value = store().to_json()

    def refused(change: Callable[[dict[str, Any]], object]) -> None:
        other = copy.deepcopy(value)
        change(other)
        with pytest.raises(InvalidInput):
            TrustStore.from_json(other)

    refused(lambda v: v.update(format="zkai.trust/2"))
    refused(lambda v: v.update(extra=1))
    refused(lambda v: v.update(required=[]))
    refused(lambda v: v.update(required=[[]]))
    refused(lambda v: v.update(required=["x"]))
    refused(lambda v: v["required"].append(["A" * 43]))
    refused(lambda v: v["keys"].append(v["keys"][0]))
    refused(lambda v: v["keys"].pop(0))
    refused(lambda v: v["keys"][0].update(not_before=-1))
    refused(lambda v: v["keys"][0].update(not_after="soon"))
    refused(lambda v: v["keys"][0].update(revoked={"at": 1}))
    refused(lambda v: v["keys"][0]["jwk"].update(alg="ML-DSA-44"))
    refused(lambda v: v["keys"][0]["jwk"].update(pub="AAAA"))
    refused(lambda v: v["keys"][0]["jwk"].update(priv="AAAA"))
    assert generate(ED25519).public.jwk["kty"] == "OKP"


def test_the_document_names_every_field(repo: Path) -> None:
    text = (repo / "docs/receipt.md").read_text()
    document = schema.load("receipt.schema.json")
    for part in ("predicate", "proof", "privacy", "source", "destination", "key"):
        options = document["$defs"][part].get("anyOf", [document["$defs"][part]])
        for name in options[0]["properties"]:
            assert f"`{name}`" in text, name


def test_the_document_s_example_runs(repo: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (repo / "docs/receipt.md").read_text(), re.S)
    exec(compile(code, "docs/receipt.md", "exec"), {})
