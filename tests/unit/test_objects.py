"""Encrypted objects: only readers with a grant open them, and every altered byte shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.objects import (
    CURVE,
    GRANT,
    KEM_CIPHERTEXT,
    Folder,
    ReaderKey,
    ReaderPublic,
    cid,
    grant,
    open_object,
    seal,
)

ADA, BEN = ReaderKey.generate(), ReaderKey.generate()


def test_a_reader_opens_what_was_granted() -> None:
    for plaintext in (b"", b"weights", bytes(100_000)):
        name, data, key = seal(plaintext)
        for reader in (ADA, BEN):
            given = grant(key, name, reader.public)
            assert open_object(data, name, reader.open_grant(given, name)) == plaintext
    assert seal(b"same")[0] != seal(b"same")[0]
    assert grant(key, name, ADA.public) != grant(key, name, ADA.public)


def test_others_open_nothing() -> None:
    name, data, key = seal(b"weights")
    other_name, other_data, other_key = seal(b"others")
    given = grant(key, name, ADA.public)
    with pytest.raises(VerificationError, match="another object or reader"):
        BEN.open_grant(given, name)
    with pytest.raises(VerificationError, match="another object or reader"):
        ADA.open_grant(given, other_name)
    with pytest.raises(VerificationError, match="of another object"):
        open_object(data, name, other_key)
    with pytest.raises(VerificationError, match="these bytes are not"):
        open_object(other_data, name, key)


def test_both_halves_of_the_agreement_count() -> None:
    """A reader who has only one of the two secrets cannot open."""
    name, _, key = seal(b"weights")
    given = grant(key, name, ADA.public)
    mixed = (
        ReaderKey(ADA.secret[:CURVE] + BEN.secret[CURVE:]),
        ReaderKey(BEN.secret[:CURVE] + ADA.secret[CURVE:]),
    )
    for half in mixed:
        with pytest.raises(VerificationError):
            half.open_grant(given, name)


def test_every_altered_byte_shows() -> None:
    name, data, key = seal(b"weights")
    given = grant(key, name, ADA.public)
    for at in [*range(0, len(given), 16), len(GRANT) + KEM_CIPHERTEXT, len(given) - 1]:
        changed = given[:at] + bytes([given[at] ^ 1]) + given[at + 1 :]
        with pytest.raises((InvalidInput, VerificationError)):
            ADA.open_grant(changed, name)
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(VerificationError):
            open_object(changed, name, key)
        with pytest.raises((InvalidInput, VerificationError)):
            open_object(changed, cid(changed), key)


def test_small_order_and_malformed_keys_are_refused() -> None:
    name, _, key = seal(b"weights")
    with pytest.raises(InvalidInput, match="not valid"):
        grant(key, name, ReaderPublic(bytes(CURVE) + ADA.public.data[CURVE:]))
    with pytest.raises(InvalidInput, match="not valid"):
        grant(key, name, ReaderPublic(ADA.public.curve + b"\xff" * 1184))
    for size in (0, 95, 97):
        with pytest.raises(InvalidInput, match="96 bytes"):
            ReaderKey(bytes(size))
    with pytest.raises(InvalidInput, match="1216 bytes"):
        ReaderPublic(bytes(1215))
    for bad in (b"", GRANT, grant(key, name, ADA.public)[:-1]):
        with pytest.raises(InvalidInput, match=r"zkai\.grant/1"):
            ADA.open_grant(bad, name)
    for bad in (b"", b"x" * 99):
        with pytest.raises(InvalidInput, match=r"zkai\.object/1"):
            open_object(bad, cid(bad), key)


def test_names_are_cids() -> None:
    """The CID that IPFS tools give these bytes as a raw block."""
    assert cid(b"") == "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


def test_a_folder_keeps_and_checks(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    name, data, _ = seal(b"weights")
    assert folder.put(data) == name
    assert folder.get(name) == data
    (tmp_path / name).write_bytes(data + b"x")
    with pytest.raises(VerificationError, match="stored bytes"):
        folder.get(name)
    for bad in ("../etc/passwd", "", "a/b", "é"):
        with pytest.raises(InvalidInput, match="base32"):
            folder.get(bad)
    with pytest.raises(InvalidInput, match="cannot be read"):
        folder.get(cid(b"none"))


def test_secrets_stay_out_of_sight() -> None:
    assert ADA.secret.hex() not in repr(ADA)
    assert repr(ADA.secret) not in repr(ADA)


def test_the_document_s_example_runs(repo: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (repo / "docs/ledger.md").read_text(), re.S)
    exec(compile(code, "docs/ledger.md", "exec"), {})
