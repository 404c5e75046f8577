"""Private objects (states, interaction data) at rest: encrypted once, granted reader by reader.

    object = "zkai.object/1\\n" || nonce (12) || ChaCha20-Poly1305(key, plaintext, AAD = the label)
    name   = CIDv1 of the object's bytes: base32, codec raw, SHA-256
    grant  = "zkai.grant/1\\n" || ML-KEM-768 ciphertext (1088) || ephemeral X25519 key (32)
             || ChaCha20-Poly1305(kek, key, AAD = label || name || reader)
    kek    = SHA3-256(ss_mlkem || ss_x25519 || ephemeral || reader's X25519 key || ct_mlkem
             || label)

Both key agreements must be broken to read a grant: the combiner hashes both secrets with what they
were made from, as X-Wing does (draft-connolly-cfrg-xwing-kem), and the ML-KEM ciphertext besides.
Each object has a key of its own, so access is given object by object; taking it away means sealing
the content again, and cannot recall copies. An object does not say whose it is.
"""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from zkai.encoding import read_capped, sha256, write_atomic
from zkai.errors import InvalidInput, VerificationError

OBJECT, GRANT = b"zkai.object/1\n", b"zkai.grant/1\n"
MAX_OBJECT = 1 << 30
KEM_CIPHERTEXT, KEM_PUBLIC, KEM_SEED, CURVE = 1088, 1184, 64, 32
GRANT_BYTES = len(GRANT) + KEM_CIPHERTEXT + CURVE + 32 + 16
_NONCE = bytes(12)
"""Of grants, whose key is used once."""


@dataclass(frozen=True)
class ReaderPublic:
    """Whom an object can be granted to: an X25519 key and an ML-KEM-768 key, 1,216 bytes.

    Raises InvalidInput for another length.
    """

    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) != CURVE + KEM_PUBLIC:
            raise InvalidInput(f"reader: a public key has {CURVE + KEM_PUBLIC} bytes")

    @property
    def curve(self) -> bytes:
        """The X25519 half."""
        return self.data[:CURVE]

    @property
    def id(self) -> bytes:
        """SHA-256 of both halves."""
        return sha256(self.data)


@dataclass(frozen=True)
class ReaderKey:
    """A reader's secret: 32 bytes of X25519 and the 64-byte seed of ML-KEM-768.

    Raises InvalidInput for another length.
    """

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != CURVE + KEM_SEED:
            raise InvalidInput(f"reader: a secret key has {CURVE + KEM_SEED} bytes")

    @staticmethod
    def generate() -> ReaderKey:
        """Return a new key from the operating system's randomness."""
        return ReaderKey(os.urandom(CURVE + KEM_SEED))

    @cached_property
    def _curve(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.secret[:CURVE])

    @cached_property
    def _kem(self) -> MLKEM768PrivateKey:
        return MLKEM768PrivateKey.from_seed_bytes(self.secret[CURVE:])

    @cached_property
    def public(self) -> ReaderPublic:
        """The public half."""
        curve = self._curve.public_key().public_bytes_raw()
        return ReaderPublic(curve + self._kem.public_key().public_bytes_raw())

    def open_grant(self, grant: bytes, name: str) -> bytes:
        """Return the key of the object `name` that a grant gives to this reader.

        Raises InvalidInput for a malformed grant, VerificationError for one of another object or
        reader, or an altered one.
        """
        if len(grant) != GRANT_BYTES or not grant.startswith(GRANT):
            raise InvalidInput("grant: not of the form zkai.grant/1")
        at = len(GRANT)
        sealed_secret = grant[at : at + KEM_CIPHERTEXT]
        ephemeral = grant[at + KEM_CIPHERTEXT : at + KEM_CIPHERTEXT + CURVE]
        try:
            curve = self._curve.exchange(X25519PublicKey.from_public_bytes(ephemeral))
            kem = self._kem.decapsulate(sealed_secret)
            kek = _combine(kem, curve, ephemeral, self.public.curve, sealed_secret)
            cipher = ChaCha20Poly1305(kek)
            wrapped = grant[at + KEM_CIPHERTEXT + CURVE :]
            return cipher.decrypt(_NONCE, wrapped, _grant_label(name, self.public))
        except (InvalidTag, ValueError) as error:
            raise VerificationError("grant: of another object or reader, or altered") from error


def _combine(kem: bytes, curve: bytes, ephemeral: bytes, public: bytes, sealed: bytes) -> bytes:
    return hashlib.sha3_256(kem + curve + ephemeral + public + sealed + GRANT).digest()


def _grant_label(name: str, reader: ReaderPublic) -> bytes:
    return GRANT + name.encode("ascii") + b"\n" + reader.id


def seal(plaintext: bytes) -> tuple[str, bytes, bytes]:
    """Return an object's name, its bytes, and the new key that opens it.

    Raises InvalidInput if it is larger than 1 GiB.
    """
    if len(plaintext) > MAX_OBJECT:
        raise InvalidInput(f"object: larger than {MAX_OBJECT} bytes")
    key, nonce = os.urandom(32), os.urandom(12)
    data = OBJECT + nonce + ChaCha20Poly1305(key).encrypt(nonce, plaintext, OBJECT)
    return cid(data), data, key


def open_object(data: bytes, name: str, key: bytes) -> bytes:
    """Return an object's content.

    Raises VerificationError if the bytes are not those of the name, or the key is another.
    """
    if cid(data) != name:
        raise VerificationError(f"object: these bytes are not {name}")
    at = len(OBJECT)
    if not data.startswith(OBJECT) or len(data) < at + 12 + 16 or len(key) != 32:
        raise InvalidInput("object: not of the form zkai.object/1")
    try:
        return ChaCha20Poly1305(key).decrypt(data[at : at + 12], data[at + 12 :], OBJECT)
    except InvalidTag as error:
        raise VerificationError("object: the key is of another object") from error


def grant(key: bytes, name: str, reader: ReaderPublic) -> bytes:
    """Return a grant of an object's key to a reader; each is made anew.

    Raises InvalidInput if the reader's key is not valid.
    """
    try:
        public = X25519PublicKey.from_public_bytes(reader.curve)
        kem_key = MLKEM768PublicKey.from_public_bytes(reader.data[CURVE:])
        kem, sealed_secret = kem_key.encapsulate()
        ephemeral = X25519PrivateKey.generate()
        curve = ephemeral.exchange(public)
    except ValueError as error:
        raise InvalidInput("reader: the key is not valid") from error
    shown = ephemeral.public_key().public_bytes_raw()
    kek = _combine(kem, curve, shown, reader.curve, sealed_secret)
    wrapped = ChaCha20Poly1305(kek).encrypt(_NONCE, key, _grant_label(name, reader))
    return GRANT + sealed_secret + shown + wrapped


def cid(data: bytes) -> str:
    """Return the CIDv1 of bytes as one raw block: base32, codec raw (0x55), SHA-256 (0x12)."""
    binary = b"\x01\x55\x12\x20" + sha256(data)
    return "b" + base64.b32encode(binary).decode("ascii").rstrip("=").lower()


class Folder:
    """Objects in a local folder, each under its name; what is read is held against the name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, data: bytes) -> str:
        """Keep an object and return its name. Raises InvalidInput if it cannot be written."""
        name = cid(data)
        write_atomic(self.path / name, data)
        return name

    def get(self, name: str) -> bytes:
        """Return an object's bytes.

        Raises InvalidInput if it is not there, VerificationError if its bytes are others.
        """
        if not name.isalnum() or not name.isascii():
            raise InvalidInput("object: a name is base32")
        data = read_capped(self.path / name, MAX_OBJECT + 64)
        if cid(data) != name:
            raise VerificationError(f"object: the stored bytes are not {name}")
        return data
