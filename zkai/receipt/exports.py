"""A receipt's statement in the forms of other tools: JWS (RFC 7515) and COSE_Sign1 (RFC 9052).

Each signs the same payload bytes under the tool's own envelope, so an export needs the signing
keys again. ML-DSA-65 is RFC 9964's: JOSE "ML-DSA-65", COSE -49. With an issuer and a subject the
COSE form is a SCITT signed statement (RFC 9943).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from zkai.encoding import load_json
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.jsonform import expect_fields
from zkai.receipt.envelope import IN_TOTO, MAX_ENVELOPE, MAX_PAYLOAD, MAX_SIGNATURES, Envelope
from zkai.receipt.jcs import encode, from_base64url, to_base64url
from zkai.receipt.signer import ED25519, ML_DSA_65, SIGNATURE_BYTES, PrivateKey
from zkai.receipt.statement import Receipt, parse_statement, parse_time
from zkai.receipt.trust import TrustStore, check_signers

JOSE = {ML_DSA_65: "ML-DSA-65", ED25519: "EdDSA"}
COSE = {ML_DSA_65: -49, ED25519: -8}
_ALG, _CONTENT_TYPE, _KID, _CLAIMS, _ISS, _SUB = 1, 3, 4, 15, 1, 2
_SIGN1 = b"\xd2"
"""Tag 18."""


def to_jws(receipt: Receipt, keys: Sequence[PrivateKey]) -> bytes:
    """Return a JWS in its general JSON form, signed by the receipt's signers in their order.

    Raises InvalidInput if the keys are not those of the signed list.
    """
    _check_keys(receipt, keys)
    payload = to_base64url(receipt.envelope.payload)
    signatures = []
    for key in keys:
        header = {"alg": JOSE[key.alg], "cty": IN_TOTO, "kid": key.keyid}
        protected = to_base64url(encode(header))
        signature = key.sign(f"{protected}.{payload}".encode("ascii"))
        signatures.append({"protected": protected, "signature": to_base64url(signature)})
    return encode({"payload": payload, "signatures": signatures})


def _check_keys(receipt: Receipt, keys: Sequence[PrivateKey]) -> None:
    listed = [s["keyid"] for s in receipt.predicate["signers"]]
    if [key.keyid for key in keys] != listed:
        raise InvalidInput("export: the keys are not the receipt's signers in their order")


def open_jws(
    data: bytes, store: TrustStore, *, at: int | None = None, logged_at: int | None = None
) -> Mapping[str, Any]:
    """Return the statement of a JWS whose signers `store` accepts, see `verify_signers`.

    Raises VerificationError or InvalidInput with the reason.
    """
    if len(data) > MAX_ENVELOPE:
        raise InvalidInput(f"JWS: larger than {MAX_ENVELOPE} bytes")
    value = load_json(data, "JWS")
    expect_fields(value, ("payload", "signatures"), "JWS")
    listed = value["signatures"]
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_SIGNATURES:
        raise InvalidInput(f"JWS.signatures: expected 1 to {MAX_SIGNATURES}")
    payload = from_base64url(value["payload"], "JWS.payload", MAX_PAYLOAD)
    signed, messages, algorithms = [], [], []
    for i, item in enumerate(listed):
        where = f"JWS.signatures[{i}]"
        expect_fields(item, ("protected", "signature"), where)
        header = load_json(from_base64url(item["protected"], f"{where}.protected", 1024), where)
        expect_fields(header, ("alg", "cty", "kid"), f"{where}.protected")
        if header["cty"] != IN_TOTO or not isinstance(header["kid"], str):
            raise InvalidInput(f"{where}.protected: expected cty {IN_TOTO} and a kid")
        signed.append((header["kid"], from_base64url(item["signature"], where, 8192)))
        messages.append(f"{item['protected']}.{value['payload']}".encode("ascii"))
        algorithms.append(header["alg"])
    return _accept(payload, signed, messages, algorithms, JOSE, store, at, logged_at)


def to_cose(
    receipt: Receipt, key: PrivateKey, *, issuer: str | None = None, subject: str | None = None
) -> bytes:
    """Return a tagged COSE_Sign1 by the receipt's only signer; with both names a SCITT statement.

    Raises InvalidInput if the receipt has other signers, or only one of the names is given.
    """
    _check_keys(receipt, [key])
    if (issuer is None) != (subject is None):
        raise InvalidInput("export: a SCITT statement has an issuer and a subject")
    header: dict[int, Any] = {
        _ALG: COSE[key.alg], _CONTENT_TYPE: IN_TOTO, _KID: key.keyid.encode("ascii"),
    }  # fmt: skip
    if issuer is not None:
        header[_CLAIMS] = {_ISS: issuer, _SUB: subject}
    protected, payload = cbor(header), receipt.envelope.payload
    signature = key.sign(sign1_bytes(protected, payload))
    return _SIGN1 + cbor([protected, {}, payload, signature])


def sign1_bytes(protected: bytes, payload: bytes) -> bytes:
    """Return the Sig_structure of a COSE_Sign1 without external data (RFC 9052, section 4.4)."""
    return cbor(["Signature1", protected, b"", payload])


def open_cose(
    data: bytes,
    store: TrustStore,
    *,
    at: int | None = None,
    logged_at: int | None = None,
    issuer: str | None = None,
    subject: str | None = None,
) -> Mapping[str, Any]:
    """Return the statement of a COSE_Sign1 of `to_cose`'s form whose signer `store` accepts.

    With `issuer` or `subject` it must be a SCITT statement of that issuer, or about that subject.

    Raises VerificationError or InvalidInput with the reason.
    """
    if len(data) > MAX_ENVELOPE or data[:1] != _SIGN1:
        raise InvalidInput("COSE: expected a tagged COSE_Sign1 of at most 1 MiB")
    value = parse_cbor(data[1:])
    if not isinstance(value, list) or len(value) != 4 or value[1] != {}:
        raise InvalidInput("COSE: expected [protected, {}, payload, signature]")
    protected, _, payload, signature = value
    if not all(isinstance(part, bytes) for part in (protected, payload, signature)):
        raise InvalidInput("COSE: expected byte strings")
    header = parse_cbor(protected)
    known = {_ALG, _CONTENT_TYPE, _KID}
    if not isinstance(header, dict) or set(header) - {_CLAIMS} != known:
        raise InvalidInput("COSE: the protected header has unknown or missing parameters")
    kid = header[_KID]
    if header[_CONTENT_TYPE] != IN_TOTO or not isinstance(kid, bytes) or not kid.isascii():
        raise InvalidInput(f"COSE: expected content type {IN_TOTO} and a key id")
    _check_claims(header, {_ISS: issuer, _SUB: subject})
    message = sign1_bytes(protected, payload)
    signed = [(kid.decode("ascii"), signature)]
    return _accept(payload, signed, [message], [header[_ALG]], COSE, store, at, logged_at)


def _check_claims(header: Mapping[Any, Any], wanted: Mapping[int, str | None]) -> None:
    claims = header.get(_CLAIMS, {})
    texts = isinstance(claims, dict) and all(isinstance(v, str) for v in claims.values())
    if not texts or set(claims) != (set(wanted) if _CLAIMS in header else set()):
        raise InvalidInput("COSE: expected an issuer and a subject as the only claims")
    for claim, text in wanted.items():
        if text is not None and claims.get(claim) != text:
            name = "issuer" if claim == _ISS else "subject"
            raise VerificationError(f"COSE: the statement names another {name}, or none")


def _accept(
    payload: bytes,
    signed: Sequence[tuple[str, bytes]],
    messages: Sequence[bytes],
    algorithms: Sequence[Any],
    names: Mapping[str, Any],
    store: TrustStore,
    at: int | None,
    logged_at: int | None,
) -> Mapping[str, Any]:
    """Return the statement once every signer of its list signed, as `store` asks."""
    statement = parse_statement(payload, "payload")
    for (keyid, signature), alg in zip(signed, algorithms, strict=True):
        key = store.by_keyid.get(keyid)
        if key is not None and (alg != names[key.public.alg] or isinstance(alg, bool)):
            raise VerificationError(f"signer {key.name} is named under another algorithm")
        if key is not None and len(signature) != SIGNATURE_BYTES[key.public.alg]:
            raise VerificationError(f"signer {key.name}: a signature has another length")
    check_signers(
        store,
        Envelope(payload, tuple(signed)),
        statement["predicate"]["signers"],
        messages,
        signed=parse_time(statement["predicate"]["times"]["signed"], "times.signed"),
        at=int(time.time()) if at is None else at,
        logged_at=logged_at,
    )
    return statement


def cbor(value: Any) -> bytes:
    """Return deterministic CBOR (RFC 8949, section 4.2) of integers, bytes, text, lists, maps."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(cbor(item) for item in value)
    if isinstance(value, dict):
        pairs = sorted((cbor(key), cbor(item)) for key, item in value.items())
        return _head(5, len(value)) + b"".join(key + item for key, item in pairs)
    raise InvalidInput(f"CBOR: {type(value).__name__} has no form here")


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * size:
            return bytes([major << 5 | code]) + argument.to_bytes(size, "big")
    raise InvalidInput("CBOR: a number is beyond 64 bits")


def parse_cbor(data: bytes) -> Any:
    """Return the value of deterministic CBOR. Raises InvalidInput for anything else."""
    value, end = _item(data, 0, 0)
    if end != len(data) or cbor(value) != data:
        raise InvalidInput("CBOR: not deterministic, or bytes are left over")
    return value


def _item(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if at >= len(data) or depth > 8:
        raise InvalidInput("CBOR: cut short, or nested too deeply")
    major, code = data[at] >> 5, data[at] & 31
    size = {24: 1, 25: 2, 26: 4, 27: 8}.get(code, 0)
    if code > 27 or at + 1 + size > len(data) or major > 5:
        raise InvalidInput("CBOR: cut short, or of a kind that is not used here")
    argument = int.from_bytes(data[at + 1 : at + 1 + size], "big") if size else code
    at += 1 + size
    if major < 2:
        return (argument if major == 0 else -1 - argument), at
    if argument > len(data) - at:
        raise InvalidInput("CBOR: cut short")
    if major < 4:
        raw = data[at : at + argument]
        try:
            return (raw if major == 2 else raw.decode("utf-8")), at + argument
        except UnicodeDecodeError as error:
            raise InvalidInput("CBOR: text is not UTF-8") from error
    items = []
    for _ in range(argument * (major - 3)):
        item, at = _item(data, at, depth + 1)
        items.append(item)
    if major == 4:
        return items, at
    if any(isinstance(key, list | dict) for key in items[::2]):
        raise InvalidInput("CBOR: a key is a list or a map")
    return dict(zip(items[::2], items[1::2], strict=True)), at
