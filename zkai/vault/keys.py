"""Encryption keys of users: X25519 and ML-KEM-768 together, and object keys wrapped to them.

The KEM is X-Wing (HPKE's MLKEM768-X25519, 0x647a): its shared secret is

    SHA3-256(ss_mlkem || ss_x25519 || ct_x25519 || pk_x25519 || label)

and ML-KEM's own key derivation binds its ciphertext and public key. It holds as long as either
part does. A private key is a 32-byte seed; SHAKE256 makes both parts of it. Wrapping is HPKE in
base mode (RFC 9180) with HKDF-SHA256 and ChaCha20-Poly1305.

Source: draft-connolly-cfrg-xwing-kem, draft-ietf-hpke-pq, RFC 9180.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from zkai.encoding import sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import encode, from_base64url, to_base64url
from zkai.receipt.keyfile import parse_sealed, read_sealed, write_sealed

ALG = "MLKEM768-X25519"
FORMAT = "zkai.vault-key/1"
_FIELDS = ("format", "jwk", "kdf", "nonce", "ciphertext")
SEED_BYTES = 32
_MLKEM_PUBLIC = 1184
PUBLIC_BYTES = _MLKEM_PUBLIC + 32
KEY_BYTES = 32
WRAP_BYTES = 1120 + KEY_BYTES + 16
_DOMAIN = "zkai/wrap/1"


def _suite() -> hpke.Suite:
    return hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


@dataclass(frozen=True)
class Recipient:
    """A public key to which object keys are wrapped: ML-KEM-768's, then X25519's.

    Raises InvalidInput for other lengths.
    """

    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) != PUBLIC_BYTES:
            raise InvalidInput(f"recipient: a key has {PUBLIC_BYTES} bytes, not {len(self.data)}")

    @property
    def jwk(self) -> dict[str, str]:
        """The key as JWK."""
        return {"alg": ALG, "kty": "AKP", "pub": to_base64url(self.data)}

    @property
    def keyid(self) -> str:
        """RFC 7638 thumbprint."""
        return to_base64url(sha256(encode(self.jwk)))

    @staticmethod
    def from_jwk(value: Any, where: str = "recipient") -> Recipient:
        """Parse `jwk`'s form. Raises InvalidInput naming the field."""
        expect_fields(value, ("alg", "kty", "pub"), where)
        if (value["alg"], value["kty"]) != (ALG, "AKP"):
            raise InvalidInput(f"{where}: expected a key of {ALG}")
        return Recipient(from_base64url(value["pub"], f"{where}.pub", PUBLIC_BYTES))

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Return an object's key, readable with this key's secret and the same context only.

        Raises InvalidInput for a key of another length, or a public key that is none.
        """
        if len(key) != KEY_BYTES:
            raise InvalidInput(f"wrap: an object's key has {KEY_BYTES} bytes")
        try:
            public = hpke.MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(self.data[:_MLKEM_PUBLIC]),
                X25519PublicKey.from_public_bytes(self.data[_MLKEM_PUBLIC:]),
            )
            return _suite().encrypt(key, public, info=_info(self, context))
        except ValueError as error:
            raise InvalidInput("recipient: not a public key of this kind") from error


@dataclass(frozen=True)
class VaultKey:
    """A user's private encryption key. Raises InvalidInput unless the seed has 32 bytes."""

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_BYTES:
            raise InvalidInput(f"vault key: a seed has {SEED_BYTES} bytes")

    def _parts(self) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
        both = hashlib.shake_256(self.seed).digest(96)
        return (
            MLKEM768PrivateKey.from_seed_bytes(both[:64]),
            X25519PrivateKey.from_private_bytes(both[64:]),
        )

    @property
    def recipient(self) -> Recipient:
        """The public half."""
        mlkem, x25519 = self._parts()
        return Recipient(
            mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        )

    def unwrap(self, wrap: bytes, context: bytes) -> bytes:
        """Return the object's key. Raises VerificationError unless it was wrapped to this key."""
        if len(wrap) != WRAP_BYTES:
            raise VerificationError(f"wrap: expected {WRAP_BYTES} bytes, got {len(wrap)}")
        private = hpke.MLKEM768X25519PrivateKey(*self._parts())
        try:
            return _suite().decrypt(wrap, private, info=_info(self.recipient, context))
        except (InvalidTag, ValueError) as error:
            raise VerificationError(
                "wrap: made for another key or another object, or altered"
            ) from error


def generate() -> VaultKey:
    """Return a new key from the operating system's randomness."""
    return VaultKey(os.urandom(SEED_BYTES))


def _info(recipient: Recipient, context: bytes) -> bytes:
    return encode([_DOMAIN, recipient.keyid, context.hex()])


def write_vault_key(
    path: Path | str, key: VaultKey, passphrase: str, *, log2_n: int | None = None
) -> None:
    """Write a key, encrypted, in a file of its owner; as `zkai.receipt.keyfile.write_key` does."""
    header = {"format": FORMAT, "jwk": key.recipient.jwk}
    write_sealed(path, header, key.seed, passphrase, log2_n=log2_n)


def read_vault_key(path: Path | str, passphrase: str) -> VaultKey:
    """Return a file's key; raises as `zkai.receipt.keyfile.read_key` does."""
    value, seed = read_sealed(path, FORMAT, _FIELDS, passphrase, SEED_BYTES)
    key = VaultKey(seed)
    if key.recipient != Recipient.from_jwk(value["jwk"], f"{path}: jwk"):
        raise VerificationError(f"{path}: the public key is not the secret's")
    return key


def read_recipient(path: Path | str) -> Recipient:
    """Return the public half of a key file, which needs no passphrase. Raises InvalidInput."""
    return Recipient.from_jwk(parse_sealed(path, FORMAT, _FIELDS)["jwk"], f"{path}: jwk")
