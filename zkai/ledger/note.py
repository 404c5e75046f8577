"""Signed notes (C2SP signed-note): a text, a blank line, and a line for each signature.

    — <name> base64(key id || signature)
    key id = SHA-256(name || 0x0a || type || public key)[:4]

Types: Ed25519 is 0x01 and its witness cosignature 0x04, as C2SP assigns them. ML-DSA-65 has no
number there, so ours are 0xff with a name. A cosignature is a u64 time and a signature over
"cosignature/v1\\ntime <seconds>\\n" and the text (C2SP tlog-cosignature), for ML-DSA-65 too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from zkai.encoding import sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.receipt.jcs import from_base64, to_base64
from zkai.receipt.signer import ED25519, ML_DSA_65, PrivateKey, PublicKey

MAX_NOTE = 1 << 18
MAX_LINES = 32
_DASH = "— "
_NAME = re.compile(r"[^\s+]{1,255}")
_TYPES = {
    (ED25519, False): b"\x01",
    (ED25519, True): b"\x04",
    (ML_DSA_65, False): b"\xffzkai/ml-dsa-65/1",
    (ML_DSA_65, True): b"\xffzkai/ml-dsa-65/cosignature/1",
}


@dataclass(frozen=True)
class NoteKey:
    """A named key that signs notes, or with `cosigner` a witness's that cosigns them.

    Raises InvalidInput for a name that a note cannot hold.
    """

    name: str
    public: PublicKey
    cosigner: bool = False

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def id(self) -> bytes:
        """The four bytes that, with the name, say whose a signature line is."""
        kind = _TYPES[self.public.alg, self.cosigner]
        return sha256(self.name.encode() + b"\n" + kind + self.public.data)[:4]


def check_name(name: str) -> None:
    """Return None for a key's name or a log's origin. Raises InvalidInput for other text."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.isprintable():
        raise InvalidInput("note: a name is 1 to 255 characters without spaces and plus signs")


@dataclass(frozen=True)
class SignatureLine:
    """One signature as it stands in a note."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True)
class Note:
    """A text, ending in a newline, with signature lines that nobody has checked yet."""

    text: str
    lines: tuple[SignatureLine, ...]

    def to_bytes(self) -> bytes:
        """Return the note's bytes."""
        lines = [
            f"{_DASH}{line.name} {to_base64(line.key_id + line.signature)}\n" for line in self.lines
        ]
        return (self.text + "\n" + "".join(lines)).encode("utf-8")

    @staticmethod
    def from_bytes(data: bytes, where: str = "note") -> Note:
        """Parse a note. Raises InvalidInput for anything that `to_bytes` would not write."""
        if len(data) > MAX_NOTE:
            raise InvalidInput(f"{where}: larger than {MAX_NOTE} bytes")
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{where}: not UTF-8") from error
        head, blank, tail = whole.rpartition("\n\n")
        if not blank or not tail.endswith("\n") or any(c < " " and c != "\n" for c in whole):
            raise InvalidInput(f"{where}: expected text, a blank line and signature lines")
        listed = tail[:-1].split("\n")
        if len(listed) > MAX_LINES:
            raise InvalidInput(f"{where}: more than {MAX_LINES} signatures")
        return Note(head + "\n", tuple(_line(text, where) for text in listed))

    def signature_of(self, key: NoteKey) -> bytes | None:
        """Return what a key signed here, not verified, or None.

        Raises VerificationError if there are two lines of one key.
        """
        found = [s for s in self.lines if (s.name, s.key_id) == (key.name, key.id)]
        if len(found) > 1:
            raise VerificationError(f"note: {key.name} signed twice")
        return found[0].signature if found else None


def _line(text: str, where: str) -> SignatureLine:
    parts = text.removeprefix(_DASH).split(" ")
    if not text.startswith(_DASH) or len(parts) != 2 or not _NAME.fullmatch(parts[0]):
        raise InvalidInput(f"{where}: a signature line is not '— name signature'")
    data = from_base64(parts[1], f"{where}: the signature of {parts[0][:40]}", 8192)
    if len(data) < 5:
        raise InvalidInput(f"{where}: the signature of {parts[0][:40]} is too short")
    return SignatureLine(parts[0], data[:4], data[4:])


def sign_note(text: str, signers: Sequence[tuple[str, PrivateKey]]) -> Note:
    """Return a note that each named key signs. Raises InvalidInput for a text no note can hold."""
    if not text.endswith("\n") or any(c < " " and c != "\n" for c in text):
        raise InvalidInput("note: a text ends in a newline and has no other control characters")
    data = text.encode("utf-8")
    lines = []
    for name, key in signers:
        lines.append(SignatureLine(name, NoteKey(name, key.public).id, key.sign(data)))
    return Note(text, tuple(lines))


def verify_note(note: Note, key: NoteKey) -> None:
    """Return None if `key` signed the note. Raises VerificationError otherwise."""
    signature = note.signature_of(key)
    if signature is None:
        raise VerificationError(f"note: not signed by {key.name}")
    key.public.verify(signature, note.text.encode("utf-8"))


def _cosigned_bytes(text: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def cosign_note(note: Note, name: str, key: PrivateKey, at: int) -> Note:
    """Return the note with one more line: that `name` saw it at `at` (seconds since 1970)."""
    if not 0 < at < 1 << 63:
        raise InvalidInput("note: a time is a positive number of seconds")
    identity = NoteKey(name, key.public, cosigner=True)
    signature = at.to_bytes(8, "big") + key.sign(_cosigned_bytes(note.text, at))
    kept = [s for s in note.lines if (s.name, s.key_id) != (name, identity.id)]
    return Note(note.text, (*kept, SignatureLine(name, identity.id, signature)))


def verify_cosignature(note: Note, key: NoteKey) -> int | None:
    """Return when a witness saw the note, or None if it did not cosign.

    Raises VerificationError for a cosignature of this witness that does not verify.
    """
    signature = note.signature_of(key)
    if signature is None:
        return None
    at = int.from_bytes(signature[:8], "big")
    if len(signature) <= 8 or not 0 < at < 1 << 63:
        raise VerificationError(f"note: the cosignature of {key.name} is malformed")
    key.public.verify(signature[8:], _cosigned_bytes(note.text, at))
    return at
