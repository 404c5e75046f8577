"""JWS and COSE forms: other tools verify them, and tampering is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey
from hypothesis import given
from hypothesis import strategies as st
from jwcrypto import jwk, jws

from tests.unit.receipt_support import (
    NOW,
    PLACE,
    fork_proofs,
    fork_receipts,
    signer,
    signers,
    store,
)
from tests.unit.test_receipt import flips
from zkai.errors import InvalidInput, VerificationError
from zkai.receipt import jcs
from zkai.receipt.exports import cbor, open_cose, open_jws, parse_cbor, sign1_bytes, to_cose, to_jws
from zkai.receipt.signer import ED25519
from zkai.receipt.statement import Receipt, issue
from zkai.receipt.trust import revoke, trust


def single() -> Receipt:
    """A receipt by the issuer's ML-DSA key alone."""
    return issue(fork_proofs()[1], [signer()], place=PLACE, signed=NOW)


def alone() -> Any:
    return trust([("issuer", signer().public)])


def test_jwcrypto_verifies_the_jws() -> None:
    data = to_jws(fork_receipts()[1], signers())
    for key, alg in ((signer(), "ML-DSA-65"), (signer("classic", ED25519), "EdDSA")):
        token = jws.JWS()
        token.allowed_algs = [alg]
        token.deserialize(data.decode())
        token.verify(jwk.JWK(**key.public.jwk), alg=alg)
        assert token.payload == fork_receipts()[1].envelope.payload
    assert open_jws(data, store(), at=NOW) == fork_receipts()[1].statement


def test_pyca_verifies_the_jws() -> None:
    """RFC 7515's signing input, as anybody can write it."""
    value = json.loads(to_jws(fork_receipts()[1], signers()))
    for key, item in zip(signers(), value["signatures"], strict=True):
        message = f"{item['protected']}.{value['payload']}".encode()
        signature = jcs.from_base64url(item["signature"], "signature", 8192)
        loaded: Any = MLDSA65PublicKey if key.alg == "ML-DSA-65" else Ed25519PublicKey
        loaded.from_public_bytes(key.public.data).verify(signature, message)
        with pytest.raises(InvalidSignature):
            loaded.from_public_bytes(key.public.data).verify(signature, message + b"x")


def test_pyca_verifies_the_cose_form() -> None:
    """The Sig_structure as cbor2 writes it, checked with pyca alone."""
    receipt = single()
    for names in ({}, {"issuer": "https://example.org", "subject": "fork 11"}):
        data = to_cose(receipt, signer(), **names)
        protected, unprotected, payload, signature = cbor2.loads(data).value
        assert (cbor2.loads(data).tag, unprotected) == (18, {})
        header = cbor2.loads(protected)
        assert header[1] == -49
        assert header.get(15) == ({1: "https://example.org", 2: "fork 11"} if names else None)
        message = cbor2.dumps(["Signature1", protected, b"", payload])
        MLDSA65PublicKey.from_public_bytes(signer().public.data).verify(signature, message)
        assert open_cose(data, alone(), at=NOW) == receipt.statement


def test_a_scitt_statement_s_claims_count() -> None:
    names = {"issuer": "https://example.org", "subject": "fork 11"}
    scitt, plain = to_cose(single(), signer(), **names), to_cose(single(), signer())
    open_cose(scitt, alone(), at=NOW, **names)
    for data, wanted, reason in (
        (scitt, {"issuer": "https://example.com"}, "another issuer"),
        (scitt, {"subject": "fork 12"}, "another subject"),
        (plain, {"issuer": "https://example.org"}, "another issuer"),
    ):
        with pytest.raises(VerificationError, match=reason):
            open_cose(data, alone(), at=NOW, **wanted)
    protected, _, payload, _ = cbor2.loads(scitt).value
    for claims in (5, {}, {1: "x"}, {1: "x", 2: 3}, {1: "x", 2: "y", 6: 1}, "x"):
        header = cbor(cbor2.loads(protected) | {15: claims})
        signature = signer().sign(sign1_bytes(header, payload))
        with pytest.raises(InvalidInput, match="the only claims"):
            open_cose(b"\xd2" + cbor([header, {}, payload, signature]), alone(), at=NOW)


def test_exports_need_the_receipt_s_signers() -> None:
    with pytest.raises(InvalidInput, match="not the receipt's signers"):
        to_jws(fork_receipts()[1], [signer()])
    with pytest.raises(InvalidInput, match="not the receipt's signers"):
        to_cose(fork_receipts()[1], signer())
    with pytest.raises(InvalidInput, match="issuer and a subject"):
        to_cose(single(), signer(), issuer="x")


@pytest.mark.parametrize("form", ["jws", "cose"])
def test_a_flipped_byte_of_an_export_is_refused(form: str) -> None:
    if form == "jws":
        data, check = to_jws(single(), [signer()]), open_jws
    else:
        data, check = to_cose(single(), signer()), open_cose  # type: ignore[assignment]
    for at in flips(data, fields=form == "jws"):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises((InvalidInput, VerificationError)):
            check(changed, alone(), at=NOW)


def test_swapped_algorithms_and_stripped_signatures_are_refused() -> None:
    good = json.loads(to_jws(fork_receipts()[1], signers()))

    def refused(change: Callable[[dict[str, Any]], object], reason: str) -> None:
        value = json.loads(json.dumps(good))
        change(value)
        with pytest.raises((InvalidInput, VerificationError), match=reason):
            open_jws(json.dumps(value).encode(), store(), at=NOW)

    def header(**changes: Any) -> Callable[[dict[str, Any]], object]:
        def change(value: dict[str, Any]) -> None:
            item = value["signatures"][0]
            old = json.loads(jcs.from_base64url(item["protected"], "x", 1024))
            item["protected"] = jcs.to_base64url(jcs.encode({**old, **changes}))

        return change

    refused(header(alg="EdDSA"), "another algorithm")
    refused(header(alg="none"), "another algorithm")
    refused(header(crit=["x"]), "unknown field")
    refused(header(cty="x"), "cty")
    refused(header(kid="A" * 43), "signed list")
    refused(lambda v: v["signatures"].pop(0), "signed list")
    refused(lambda v: v["signatures"].reverse(), "signed list")
    refused(lambda v: v["signatures"].clear(), "expected 1")
    refused(lambda v: v.update(header={}), "unknown field")
    with pytest.raises(VerificationError, match="revoked"):
        open_jws(json.dumps(good).encode(), revoke(store(), signer().keyid, NOW, "x"), at=NOW)
    data = bytearray(to_cose(single(), signer()))
    data[data.index(b"\x01\x38\x30") + 2] = 0x31  # -50: ML-DSA-87
    with pytest.raises(VerificationError, match="another algorithm"):
        open_cose(bytes(data), alone(), at=NOW)


values = st.recursive(
    st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=30) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.integers(-30, 300) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(values)
def test_our_cbor_is_cbor2_s_canonical_form(value: Any) -> None:
    data = cbor(value)
    assert cbor2.loads(data) == value
    assert parse_cbor(data) == value


@pytest.mark.parametrize(
    "data",
    ["", "1801", "190001", "41", "6161ff", "61ff", "9f01ff", "a201010102", "a20201010 2", "f5",
     "c001", "a1810102", "8" + "1" * 21, "bb" + "ff" * 8, "9b" + "ff" * 8, "1c"],
)  # fmt: skip
def test_other_cbor_is_refused(data: str) -> None:
    with pytest.raises(InvalidInput):
        parse_cbor(bytes.fromhex(data.replace(" ", "").ljust(len(data) + len(data) % 2, "0")))
