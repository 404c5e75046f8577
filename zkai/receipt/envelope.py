"""DSSE 1.0.2 envelopes: a payload, its type, and signatures over both (PAE).

An envelope has one byte form: canonical JSON. A re-spaced or reordered copy is refused, so that
every byte of an envelope counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from zkai.encoding import sha256
from zkai.errors import InvalidInput
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import decode, encode, from_base64, to_base64
from zkai.receipt.signer import PrivateKey

IN_TOTO = "application/vnd.in-toto+json"
MAX_PAYLOAD = 1 << 19
MAX_ENVELOPE = 1 << 20
MAX_SIGNATURES = 16
_MAX_SIGNATURE = 8192
KEYID = re.compile(r"[A-Za-z0-9_-]{43}")


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding, the bytes that are signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True)
class Envelope:
    """A payload with signatures that nobody has checked yet: (keyid, signature) in order."""

    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]
    payload_type: str = IN_TOTO

    @property
    def signed_bytes(self) -> bytes:
        """What each signature covers."""
        return pae(self.payload_type, self.payload)

    @property
    def id(self) -> bytes:
        """SHA-256 of the payload: the same for every signing of the same statement."""
        return sha256(self.payload)

    def to_bytes(self) -> bytes:
        """Return the envelope's one byte form."""
        return encode(
            {
                "payloadType": self.payload_type,
                "payload": to_base64(self.payload),
                "signatures": [{"keyid": k, "sig": to_base64(s)} for k, s in self.signatures],
            }
        )

    @staticmethod
    def from_bytes(data: bytes, where: str = "envelope") -> Envelope:
        """Parse `to_bytes`'s form; signatures are for a trust store to check.

        Raises InvalidInput, naming the field, for anything else, and for more than 1 MiB.
        """
        if len(data) > MAX_ENVELOPE:
            raise InvalidInput(f"{where}: larger than {MAX_ENVELOPE} bytes")
        value = decode(data, where)
        expect_fields(value, ("payloadType", "payload", "signatures"), where)
        if value["payloadType"] != IN_TOTO:
            raise InvalidInput(f"{where}.payloadType: expected {IN_TOTO}")
        listed = value["signatures"]
        if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_SIGNATURES:
            raise InvalidInput(f"{where}.signatures: expected 1 to {MAX_SIGNATURES}")
        signatures = []
        for i, item in enumerate(listed):
            at = f"{where}.signatures[{i}]"
            expect_fields(item, ("keyid", "sig"), at)
            if not isinstance(item["keyid"], str) or not KEYID.fullmatch(item["keyid"]):
                raise InvalidInput(f"{at}.keyid: expected an RFC 7638 thumbprint")
            signatures.append(
                (item["keyid"], from_base64(item["sig"], f"{at}.sig", _MAX_SIGNATURE))
            )
        payload = from_base64(value["payload"], f"{where}.payload", MAX_PAYLOAD)
        return Envelope(payload, tuple(signatures))


def sign_envelope(payload: bytes, keys: Sequence[PrivateKey]) -> Envelope:
    """Return an envelope that each key signs, in order. Raises InvalidInput without a key."""
    if not 1 <= len(keys) <= MAX_SIGNATURES:
        raise InvalidInput(f"envelope: expected 1 to {MAX_SIGNATURES} signing keys")
    if len(payload) > MAX_PAYLOAD:
        raise InvalidInput(f"envelope: a payload has at most {MAX_PAYLOAD} bytes")
    message = pae(IN_TOTO, payload)
    return Envelope(payload, tuple((key.keyid, key.sign(message)) for key in keys))
