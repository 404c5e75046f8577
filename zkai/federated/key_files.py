"""What a holder keeps of key ceremonies: one-time keys while one lasts, then its share of the key.

    seal_message   a dealer's private message, to the one-time key that a holder made for this
                   dealer and ceremony: wrap (HPKE, X-Wing) || sealed object
    OneTimeKeys    those keys' seeds, under the holder's signing key; deleted at the end
    KeyShares      FOLDER/joint-keys/COMMITTEE.share and .certificate, or .left-out

A complaint shows one seed: it opens one message of one dealer, and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from zkai.encoding import read_capped, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.messages import MAX_MESSAGE, Message, parse_message
from zkai.he.ckks import CHAIN
from zkai.he.joint_key import HolderKey
from zkai.he.key_dealing import Share, Terms
from zkai.receipt.jcs import encode
from zkai.receipt.signer import PrivateKey
from zkai.vault.keys import KEY_BYTES, SEED_BYTES, WRAP_BYTES, Recipient, VaultKey
from zkai.vault.sealed import seal_bytes, sealed_length, unseal_bytes

MAX_SHARE = 1 << 20
_DOMAIN = "zkai/he-key-share/1"


def _context(terms: Terms, dealer: int, holder: int) -> bytes:
    return encode([_DOMAIN, terms.session.hex(), dealer, holder])


def sealed_message_bytes(terms: Terms) -> int:
    """Return the length of a sealed private message."""
    return WRAP_BYTES + sealed_length(Share.bytes_each(terms))


def seal_message(
    terms: Terms, dealer: int, holder: int, recipient: Recipient, message: bytes
) -> bytes:
    """Return a dealer's private message for a holder, which its one-time key opens."""
    context, key = _context(terms, dealer, holder), os.urandom(KEY_BYTES)
    return recipient.wrap(key, context) + seal_bytes(key, context, message)


def unseal_message(terms: Terms, dealer: int, holder: int, key: VaultKey, body: bytes) -> bytes:
    """Return what a sealed message says.

    Raises VerificationError if it was sealed for another key, ceremony, dealer or holder.
    """
    context, size = _context(terms, dealer, holder), Share.bytes_each(terms)
    try:
        found = key.unwrap(body[:WRAP_BYTES], context)
        return unseal_bytes(found, context, body[WRAP_BYTES:], size)
    except InvalidInput as error:
        raise VerificationError(f"private message: {error}") from error


@dataclass(frozen=True)
class Locked:
    """Bytes that only a party's signing key opens again."""

    signer: PrivateKey = field(repr=False)
    label: bytes

    def close(self, data: bytes) -> bytes:
        """Return the locked bytes."""
        nonce = os.urandom(12)
        return nonce + self._cipher().encrypt(nonce, data, self.label)

    def open(self, data: bytes, where: str) -> bytes:
        """Return what was locked. Raises VerificationError naming `where`."""
        try:
            return self._cipher().decrypt(data[:12], data[12:], self.label)
        except (InvalidTag, ValueError) as error:
            raise VerificationError(f"{where}: altered, or of another party") from error

    def _cipher(self) -> ChaCha20Poly1305:
        kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"zkai/he-joint-key/1")
        return ChaCha20Poly1305(kdf.derive(self.signer.secret))


def new_seeds(signer: PrivateKey, ceremony: bytes, dealers: int) -> bytes:
    """Return fresh one-time seeds, one for each dealer in order, locked."""
    return Locked(signer, b"one-time " + ceremony).close(os.urandom(SEED_BYTES * dealers))


def open_seeds(
    signer: PrivateKey, ceremony: bytes, dealers: Sequence[int], data: bytes
) -> dict[int, VaultKey]:
    """Return the one-time key for each dealer. Raises VerificationError for altered bytes."""
    seeds = Locked(signer, b"one-time " + ceremony).open(data, "one-time keys")
    places = enumerate(dealers)
    return {d: VaultKey(seeds[SEED_BYTES * i : SEED_BYTES * (i + 1)]) for i, d in places}


@dataclass(frozen=True)
class KeyShares:
    """A holder's shares of joint keys, a file for each committee, locked."""

    folder: Path
    signer: PrivateKey = field(repr=False)

    def write(self, key: HolderKey, certificate: Message) -> None:
        """Keep a share, with the decision that concluded its ceremony."""
        self._make()
        data = Locked(self.signer, b"share " + key.committee).close(key.to_bytes())
        write_atomic(self._path(key.committee, "certificate"), certificate.to_bytes(), mode=0o600)
        write_atomic(self._path(key.committee, "share"), data, mode=0o600)

    def leave_out(self, committee: bytes) -> None:
        """Note that a committee has this holder without a share."""
        self._make()
        write_atomic(self._path(committee, "left-out"), b"", mode=0o600)

    def expected(self, committee: bytes) -> HolderKey | None:
        """Return the share in a committee, or None for one that was left out.

        Raises InvalidInput if its ceremony's end was not seen here, and as `read` does.
        """
        found = self.read(committee)
        if found is None and not self._path(committee, "left-out").exists():
            raise InvalidInput(
                f"{self.folder}: no share of this session's key: finish its ceremony first, with"
                " `zkai he ceremony step`"
            )
        return found

    def read(self, committee: bytes) -> HolderKey | None:
        """Return the share in a committee, or None.

        Raises VerificationError if the file is altered, or the share was handed on.
        """
        path = self._path(committee, "share")
        if not path.exists():
            if self.known(committee):
                raise VerificationError(f"{path}: was handed on to another committee, and deleted")
            return None
        locked = Locked(self.signer, b"share " + committee)
        data = locked.open(read_capped(path, MAX_SHARE), str(path))
        return HolderKey.from_bytes(CHAIN, data, str(path))

    def certificate(self, committee: bytes) -> Message:
        """Return the decision that concluded a share's ceremony. Raises InvalidInput."""
        path = self._path(committee, "certificate")
        return parse_message(read_capped(path, MAX_MESSAGE), str(path))

    def known(self, committee: bytes) -> bool:
        """Whether there is, or was, a share in a committee."""
        return self._path(committee, "certificate").exists()

    def missing(self, committee: bytes) -> bool:
        """Whether there is no share in a committee, or none any more."""
        return not self._path(committee, "share").exists()

    def delete(self, committee: bytes) -> None:
        """Delete a share that a new committee holds now; that there was one stays known."""
        self._path(committee, "share").unlink(missing_ok=True)

    def _make(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise InvalidInput(f"{self.folder}: cannot be made ({error.strerror})") from error

    def _path(self, committee: bytes, kind: str) -> Path:
        return self.folder / f"{committee.hex()[:32]}.{kind}"
