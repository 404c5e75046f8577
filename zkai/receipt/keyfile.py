"""Signing keys at rest: encrypted under a passphrase, in files that their owner alone can read.

    {"format": "zkai.key/1", "alg", "implementation", "jwk", "kdf": {"name": "scrypt", "log2_n",
     "r", "p", "salt"}, "nonce", "ciphertext"}

The secret is sealed by ChaCha20-Poly1305 under scrypt(passphrase); every other field is
authenticated with it, so that none can be swapped.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from zkai.encoding import as_path, load_json, read_capped, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import encode, from_base64, to_base64
from zkai.receipt.signer import EXPANDED_BYTES, PrivateKey, PublicKey

FORMAT = "zkai.key/1"
MAX_BYTES = 1 << 16
LOG2_N = 17
"""scrypt's cost: 2**17 with r = 8 takes 128 MiB and about half a second."""
_R, _P = 8, 1
_LEAST_LOG2_N, _MOST_LOG2_N = 14, 20
_FIELDS = ("format", "alg", "implementation", "jwk", "kdf", "nonce", "ciphertext")


def write_key(
    path: Path | str, key: PrivateKey, passphrase: str, *, log2_n: int | None = None
) -> None:
    """Write a signing key where nothing is yet, encrypted, readable by its owner alone.

    Raises InvalidInput if `path` exists or the passphrase is empty.
    """
    header = {
        "format": FORMAT,
        "alg": key.alg,
        "implementation": key.implementation,
        "jwk": key.public.jwk,
    }
    write_sealed(path, header, key.secret, passphrase, log2_n=log2_n)


def write_sealed(
    path: Path | str,
    header: Mapping[str, Any],
    secret: bytes,
    passphrase: str,
    *,
    log2_n: int | None = None,
) -> None:
    """Write a secret under a header that is authenticated with it; see `write_key`."""
    if os.path.lexists(as_path(path)):
        raise InvalidInput(f"{path}: exists, and may hold the only copy of a key; name another")
    log2_n = LOG2_N if log2_n is None else log2_n
    salt, nonce = os.urandom(16), os.urandom(12)
    kdf = {"name": "scrypt", "log2_n": log2_n, "r": _R, "p": _P, "salt": to_base64(salt)}
    full: dict[str, Any] = {**header, "kdf": kdf, "nonce": to_base64(nonce)}
    cipher = ChaCha20Poly1305(_derive(passphrase, salt, log2_n, str(path)))
    full["ciphertext"] = to_base64(cipher.encrypt(nonce, secret, encode(full)))
    write_atomic(path, json.dumps(full, indent=1).encode("ascii") + b"\n", mode=0o600)


def read_key(path: Path | str, passphrase: str) -> PrivateKey:
    """Return the signing key of a file.

    Raises InvalidInput for a malformed file or one that others may read, VerificationError for a
    wrong passphrase or an altered file.
    """
    value, secret = read_sealed(path, FORMAT, _FIELDS, passphrase, EXPANDED_BYTES)
    public = PublicKey.from_jwk(value["jwk"], f"{path}: jwk")
    key = PrivateKey(value["alg"], secret, value["implementation"], public)
    if key.public != public:
        raise VerificationError(f"{path}: the public key is not the secret's")
    return key


def read_sealed(
    path: Path | str, format_: str, fields: Sequence[str], passphrase: str, most: int
) -> tuple[dict[str, Any], bytes]:
    """Return header and secret, of at most `most` bytes, of `write_sealed`; see `read_key`."""
    _check_owner_only(as_path(path))
    value = parse_sealed(path, format_, fields)
    kdf = value["kdf"]
    salt = from_base64(kdf["salt"], f"{path}: kdf.salt", 64)
    nonce = from_base64(value["nonce"], f"{path}: nonce", 12)
    ciphertext = from_base64(value["ciphertext"], f"{path}: ciphertext", most + 16)
    if len(nonce) != 12 or len(salt) < 16:
        raise InvalidInput(f"{path}: nonce or salt is too short")
    header = encode({name: value[name] for name in fields if name != "ciphertext"})
    cipher = ChaCha20Poly1305(_derive(passphrase, salt, kdf["log2_n"], str(path)))
    try:
        return value, cipher.decrypt(nonce, ciphertext, header)
    except InvalidTag as error:
        raise VerificationError(f"{path}: wrong passphrase, or an altered file") from error


def read_public(path: Path | str) -> PublicKey:
    """Return the public half of a key file, which needs no passphrase. Raises InvalidInput."""
    return PublicKey.from_jwk(parse_sealed(path, FORMAT, _FIELDS)["jwk"], f"{path}: jwk")


def parse_sealed(path: Path | str, format_: str, fields: Sequence[str]) -> dict[str, Any]:
    """Return a sealed file's fields as they stand, still encrypted. Raises InvalidInput."""
    value = load_json(read_capped(path, MAX_BYTES), str(path))
    if isinstance(value, dict) and value.get("format") != format_:
        raise InvalidInput(f"{path}: format {value.get('format')!r}, expected {format_!r}")
    expect_fields(value, fields, str(path))
    kdf = value["kdf"]
    expect_fields(kdf, ("name", "log2_n", "r", "p", "salt"), f"{path}: kdf")
    if (kdf["name"], kdf["r"], kdf["p"]) != ("scrypt", _R, _P):
        raise InvalidInput(f"{path}: kdf: expected scrypt with r {_R} and p {_P}")
    checked: dict[str, Any] = value
    return checked


def _check_owner_only(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from error
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise InvalidInput(f"{path}: others may read this key; chmod 600 it, and replace the key")


def _derive(passphrase: str, salt: bytes, log2_n: object, where: str) -> bytes:
    if not isinstance(passphrase, str) or not passphrase:
        raise InvalidInput(f"{where}: the passphrase is empty")
    if type(log2_n) is not int or not _LEAST_LOG2_N <= log2_n <= _MOST_LOG2_N:
        raise InvalidInput(f"{where}: kdf.log2_n: expected {_LEAST_LOG2_N} to {_MOST_LOG2_N}")
    return Scrypt(salt=salt, length=32, n=1 << log2_n, r=_R, p=_P).derive(passphrase.encode())
