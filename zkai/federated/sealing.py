"""Shares on their way to key holders, and the holders' one-time keys.

A share is sealed under a key of its own, which is wrapped to the recipient key that the holder
published for this round, with session, round, client and holder as context:

    body = wrap (HPKE, X-Wing) || sealed object

A holder deletes a round's key once its part of the decryption is out: keys that are stolen later
open no earlier round.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from zkai.encoding import read_capped, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.session import Session
from zkai.receipt.jcs import encode
from zkai.receipt.signer import PrivateKey
from zkai.vault.keys import KEY_BYTES, SEED_BYTES, WRAP_BYTES, Recipient, VaultKey
from zkai.vault.sealed import seal_bytes, sealed_length, unseal_bytes

_DOMAIN = "zkai/he-share/1"


def _context(session: Session, number: int, client: str, holder: str) -> bytes:
    return encode([_DOMAIN, session.id.hex(), number, client, holder])


def sealed_share_bytes(size: int) -> int:
    """Return the length of a sealed share of `size` bytes."""
    return WRAP_BYTES + sealed_length(size)


def seal_share(session: Session, number: int, client: str, holder: int, share: bytes) -> bytes:
    """Return a share that only a holder's key of this round opens."""
    party = session.holders[holder]
    context = _context(session, number, client, party.keyid)
    key = os.urandom(KEY_BYTES)
    wrap = party.recipients[number - 1].wrap(key, context)
    return wrap + seal_bytes(key, context, share)


def unseal_share(
    key: VaultKey, session: Session, number: int, client: str, holder: int, body: bytes, size: int
) -> bytes:
    """Return a share of exactly `size` bytes.

    Raises VerificationError if it was sealed for another key, round, session, client or holder.
    """
    if len(body) != sealed_share_bytes(size):
        raise VerificationError("share: of another length")
    context = _context(session, number, client, session.holders[holder].keyid)
    try:
        share = unseal_bytes(
            key.unwrap(body[:WRAP_BYTES], context), context, body[WRAP_BYTES:], size
        )
    except InvalidInput as error:
        raise VerificationError(f"share: {error}") from error
    if len(share) != size:
        raise VerificationError("share: of another length")
    return share


@dataclass(frozen=True)
class RoundKeys:
    """A holder's one-time keys, a file for each round, sealed under the holder's signing key."""

    folder: Path
    signer: PrivateKey = field(repr=False)

    def generate(self, rounds: int) -> tuple[Recipient, ...]:
        """Make keys for rounds 1 to `rounds` and return their public halves."""
        try:
            self.folder.mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise InvalidInput(f"{self.folder}: cannot be made ({error.strerror})") from error
        made = []
        for number in range(1, rounds + 1):
            key, nonce = VaultKey(os.urandom(SEED_BYTES)), os.urandom(12)
            data = nonce + self._cipher().encrypt(nonce, key.seed, b"%d" % number)
            write_atomic(self._path(number), data, mode=0o600)
            made.append(key.recipient)
        return tuple(made)

    def read(self, number: int) -> VaultKey:
        """Return the key of a round. Raises VerificationError if it was deleted or altered."""
        path = self._path(number)
        if not path.exists():
            raise VerificationError(f"holder: the key of round {number} was deleted: it is over")
        data = read_capped(path, 12 + SEED_BYTES + 16)
        try:
            return VaultKey(self._cipher().decrypt(data[:12], data[12:], b"%d" % number))
        except InvalidTag as error:
            raise VerificationError(f"{path}: altered, or of another holder") from error

    def delete_below(self, number: int) -> None:
        """Delete the keys of all rounds before `number`."""
        for path in self.folder.iterdir():
            if path.suffix == ".key" and path.stem.isdecimal() and int(path.stem) < number:
                path.unlink()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.key"

    def _cipher(self) -> ChaCha20Poly1305:
        info = b"zkai/he-round-key/1"
        kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=info)
        return ChaCha20Poly1305(kdf.derive(self.signer.secret))
