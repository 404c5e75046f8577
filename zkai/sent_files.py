"""Files about one ciphertext: what was sent, for everyone, and the secrets behind it, for proofs.

    {"format": "zkai.he-sent/1", "parameters", "session", "round", "values", "ciphertext", "check",
     "dealing"}
    {"format": "zkai.he-secrets/1", "sent", "secret", "errors", "check_error"}

Bytes are base64url. `sent` is the SHA-256 of the other file's bytes, and secret, errors and
check_error are signed bytes, a polynomial after the other. Whoever reads the secrets reads what was
encrypted: the file is its owner's alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zkai.encoding import (
    canonical_json,
    hex32,
    load_json,
    parse_hex32,
    read_capped,
    sha256,
    write_atomic,
)
from zkai.encrypted import Sent
from zkai.errors import InvalidInput
from zkai.he.client import Opening
from zkai.he.parameters import RING, RlweParameters, Round
from zkai.he.ring import ERROR_BOUND
from zkai.native import Int64s
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import from_base64url, to_base64url

SENT, SECRETS = "zkai.he-sent/1", "zkai.he-secrets/1"
MAX_BYTES = 1 << 30
_FIELDS = ("format", "parameters", "session", "round", "values", "ciphertext", "check", "dealing")
_SECRET_FIELDS = ("format", "sent", "secret", "errors", "check_error")


def sent_bytes(sent: Sent) -> bytes:
    """Return the one byte form of what was sent."""
    round_ = sent.round
    return canonical_json(
        {
            "format": SENT,
            "parameters": round_.parameters.to_json(),
            "session": hex32(round_.session),
            "round": round_.number,
            "values": round_.values,
            "ciphertext": to_base64url(sent.ciphertext),
            "check": to_base64url(sent.check),
            "dealing": hex32(sent.dealing),
        }
    )


def read_sent(path: Path | str) -> Sent:
    """Read what was sent. Raises InvalidInput naming file and field."""
    where = str(path)
    value: Any = load_json(read_capped(path, MAX_BYTES), where)
    expect_fields(value, _FIELDS, where)
    if value["format"] != SENT:
        raise InvalidInput(f"{where}: expected {SENT}")
    parameters = RlweParameters.from_json(value["parameters"], f"{where}: parameters")
    if any(type(value[name]) is not int for name in ("round", "values")):
        raise InvalidInput(f"{where}: round and values: expected integers")
    session = parse_hex32(value["session"], f"{where}: session")
    round_ = Round(parameters, session, value["round"], value["values"])
    sizes = {
        "ciphertext": parameters.ciphertext_bytes(round_.values),
        "check": parameters.check_bytes,
    }
    bodies = {n: from_base64url(value[n], f"{where}: {n}", size) for n, size in sizes.items()}
    return Sent(round_, **bodies, dealing=parse_hex32(value["dealing"], f"{where}: dealing"))


@dataclass(frozen=True)
class SentFiles:
    """Where a ciphertext and its secrets are kept: DIR/sent.json and DIR/secrets.json."""

    folder: Path
    opening: Opening = field(repr=False)
    sent: Sent = field(repr=False)

    def write(self) -> None:
        """Write both files to a new folder, the secrets for the owner alone.

        Raises InvalidInput if there are such files, or none can be written.
        """
        try:
            self.folder.mkdir(mode=0o700)
        except OSError as error:
            raise InvalidInput(f"{self.folder}: name a new folder ({error.strerror})") from error
        data, opening = sent_bytes(self.sent), self.opening
        secrets = {
            "format": SECRETS,
            "sent": hex32(sha256(data)),
            "secret": _packed(opening.secret),
            "errors": _packed(opening.errors),
            "check_error": _packed(opening.check_error),
        }
        write_atomic(self.folder / "secrets.json", canonical_json(secrets), mode=0o600)
        write_atomic(self.folder / "sent.json", data)

    @staticmethod
    def read(folder: Path) -> SentFiles:
        """Read both files. Raises InvalidInput naming file and field."""
        sent = read_sent(folder / "sent.json")
        where, count = str(folder / "secrets.json"), sent.round.polynomials
        value: Any = load_json(read_capped(folder / "secrets.json", MAX_BYTES), where)
        expect_fields(value, _SECRET_FIELDS, where)
        if value["format"] != SECRETS:
            raise InvalidInput(f"{where}: expected {SECRETS}")
        if value["sent"] != hex32(sha256(sent_bytes(sent))):
            raise InvalidInput(f"{where}: the secrets of another ciphertext than sent.json's")
        opening = Opening(
            _unpacked(value["secret"], f"{where}: secret", 1, 1)[0],
            _unpacked(value["errors"], f"{where}: errors", count, ERROR_BOUND),
            _unpacked(value["check_error"], f"{where}: check_error", 1, ERROR_BOUND)[0],
        )
        return SentFiles(folder, opening, sent)


def _packed(values: Int64s) -> str:
    return to_base64url(values.astype(np.int8).tobytes())


def _unpacked(text: object, where: str, count: int, bound: int) -> Int64s:
    data = from_base64url(text, where, count * RING.n)
    if len(data) != count * RING.n:
        raise InvalidInput(f"{where}: expected {count * RING.n} numbers")
    values = np.frombuffer(data, np.int8).astype(np.int64).reshape(count, RING.n)
    if int(np.abs(values).max()) > bound:
        raise InvalidInput(f"{where}: a number is larger than {bound}")
    return values
