"""Malformed keys and proofs: every damaged file is refused with its name and the place."""

from __future__ import annotations

import copy
import json
import os
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from proof_support import (
    STATEMENT,
    ceremony_keys,
    circuit,
    folder,
    keys,
    proof,
    section,
)
from proof_support import copy as copy_with

from zkai.encoding import BASE_MODULUS, FIELD_MODULUS
from zkai.errors import InvalidInput
from zkai.proof.foreign import import_zkey
from zkai.proof.groth16 import verify
from zkai.proof.keys import Proof, VerifyingKey
from zkai.proof.proving_keys import ProvingKey
from zkai.proof.zkey import (
    B1,
    B2,
    COEF,
    COEFS,
    CONTRIBUTIONS,
    HEADER,
    IC,
    MARK,
    PROTOCOL,
    A,
    H,
    L,
    Zkey,
    point_sections,
)

Q = BASE_MODULUS


def proving_path() -> Path:
    return keys().proving.path


# --- .zkey ---------------------------------------------------------------------------------------


def test_large_sections_lie_on_their_alignment() -> None:
    path = proving_path()
    for kind in point_sections(keys().proving.zkey.header):
        assert section(path, kind)[0] % 64 == 0


def boundaries() -> list[int]:
    """Cuts at and around every section's ends, and inside every table entry."""
    path = proving_path()
    cuts = {0, 1, 4, 11, 12, 13, 23, 24, path.stat().st_size - 1}
    for kind in (PROTOCOL, HEADER, IC, COEFS, A, B1, B2, L, H, CONTRIBUTIONS, MARK):
        start, size = section(path, kind)
        cuts |= {start - 12, start - 1, start, start + 1, start + size - 1, start + size}
    return sorted(c for c in cuts if c < path.stat().st_size)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data, path = proving_path().read_bytes(), tmp_path / "cut.zkey"
    for cut in boundaries():
        path.write_bytes(data[:cut])
        with pytest.raises(InvalidInput, match=re.escape(str(path))):
            ProvingKey(path)


def test_anything_after_the_last_section_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.zkey"
    path.write_bytes(proving_path().read_bytes() + b"\0")
    with pytest.raises(InvalidInput, match="1 bytes after the last section"):
        ProvingKey(path)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def at(kind: int, offset: int = 0) -> int:
    return section(proving_path(), kind)[0] + offset


SIZES = 2 * 36
DAMAGE: dict[str, tuple[Callable[[], dict[int, bytes]], str]] = {
    "magic": (lambda: {0: b"wtns"}, "wrong magic"),
    "version": (lambda: {4: u32(2)}, "version 2"),
    "no sections": (lambda: {8: u32(0)}, "after the last section"),
    "too many sections": (lambda: {8: u32(2**31)}, "claims 2147483648 sections"),
    "a section more": (lambda: {8: u32(18)}, "truncated|after the last"),
    "a huge section": (lambda: {at(A) - 8: struct.pack("<Q", 2**63)}, r"5 \(A in G1\) claims"),
    "a short section": (lambda: {at(A) - 8: struct.pack("<Q", 64)}, "section"),
    "a section twice": (lambda: {at(B1) - 12: u32(A)}, "appears twice"),
    "a section missing": (lambda: {at(H) - 12: u32(77)}, r"9 \(H\) is missing"),
    "another protocol": (lambda: {at(PROTOCOL): u32(2)}, "protocol 2"),
    "another q": (lambda: {at(HEADER, 4): b"\1"}, "q is not that of BN254"),
    "another r": (lambda: {at(HEADER, 40): b"\2"}, "r is not that of BN254"),
    "wires": (lambda: {at(HEADER, SIZES): u32(99)}, "section 5"),
    "no wires": (lambda: {at(HEADER, SIZES): u32(0)}, "public signals of 0 wires"),
    "publics": (lambda: {at(HEADER, SIZES + 4): u32(4)}, "section"),
    "all public": (lambda: {at(HEADER, SIZES + 4): u32(2**31)}, "public signals"),
    "domain": (lambda: {at(HEADER, SIZES + 8): u32(12)}, "no power of two"),
    "huge domain": (lambda: {at(HEADER, SIZES + 8): u32(2**31)}, "no power of two"),
    "other domain": (lambda: {at(HEADER, SIZES + 8): u32(32)}, r"section 9 \(H\)"),
    "alpha.x = q": (lambda: {at(HEADER, 84): Q.to_bytes(32, "little")}, "alpha: a coordinate"),
    "coefficients": (lambda: {at(COEFS): u32(2**32 - 1)}, "4 .coefficients. has"),
    "mark not JSON": (lambda: {at(MARK): b"?"}, "zkai mark.: not valid JSON"),
    "mark's format": (
        lambda: {at(MARK) + proving_path().read_bytes()[at(MARK) :].index(b"zkai.zkey/1"): b"Z"},
        "unknown format",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_zkey_is_refused(name: str, tmp_path: Path) -> None:
    changes, reason = DAMAGE[name]
    path = copy_with(proving_path(), tmp_path / "bad.zkey", changes())
    with pytest.raises(InvalidInput, match=reason) as caught:
        ProvingKey(path)
    assert str(path) in str(caught.value)


def test_a_zkey_without_our_mark_names_no_circuit(tmp_path: Path) -> None:
    path = copy_with(proving_path(), tmp_path / "plain.zkey", {at(MARK) - 12: u32(77)})
    assert Zkey(path).mark() is None
    with pytest.raises(InvalidInput, match="import_zkey"):
        ProvingKey(path)


# --- import --------------------------------------------------------------------------------------


def test_an_imported_key_proves_and_is_a_development_key(tmp_path: Path) -> None:
    from proof_support import witness

    from zkai.proof.groth16 import prove

    imported = import_zkey(circuit(), STATEMENT, proving_path(), tmp_path)
    assert imported.verifying.key_status == "development"
    verify(prove(circuit(), imported.proving, witness(), STATEMENT), imported.verifying)


def test_importing_a_ceremonys_zkey_does_not_keep_its_status(tmp_path: Path) -> None:
    imported = import_zkey(circuit(), STATEMENT, ceremony_keys().proving.path, tmp_path)
    assert imported.verifying.key_status == imported.proving.key_status == "development"
    assert imported.verifying.ceremony is None


OFF_CURVE = b"\1" + bytes(63)
POINTS: dict[str, tuple[int, int, bytes, str]] = {
    "IC at infinity": (IC, 0, bytes(64), r"3 \(IC\)\[0\].*infinity"),
    "IC off the curve": (IC, 64, OFF_CURVE, r"3 \(IC\)\[1\].*curve"),
    "A off the curve": (A, 3 * 64, OFF_CURVE, r"5 \(A in G1\)\[3\].*curve"),
    "A not canonical": (A, 64, Q.to_bytes(32, "little"), r"5 \(A in G1\)\[1\].*canonical"),
    "B1 off the curve": (B1, 5 * 64, OFF_CURVE, r"6 \(B in G1\)\[5\].*curve"),
    "B2 off the curve": (B2, 6 * 128, OFF_CURVE, r"7 \(B in G2\)\[6\].*curve"),
    "L off the curve": (L, 0, OFF_CURVE, r"8 \(L\)\[0\].*curve"),
    "H at infinity": (H, 64, bytes(64), r"9 \(H\)\[1\].*infinity"),
    "H off the curve": (H, 15 * 64, OFF_CURVE, r"9 \(H\)\[15\].*curve"),
    "delta at infinity": (HEADER, 84 + 64 + 64 + 128 + 128, bytes(64), "delta1.*infinity"),
    "gamma off the curve": (HEADER, 84 + 64 + 64 + 128, OFF_CURVE, "gamma2"),
}


@pytest.mark.parametrize("name", POINTS)
def test_an_import_checks_every_point(name: str, tmp_path: Path) -> None:
    kind, offset, data, reason = POINTS[name]
    path = copy_with(proving_path(), tmp_path / "bad.zkey", {at(kind, offset): data})
    with pytest.raises(InvalidInput, match=reason):
        import_zkey(circuit(), STATEMENT, path, tmp_path / "keys")
    assert not (tmp_path / "keys" / "proving.zkey").exists()


def test_an_import_checks_the_subgroup(tmp_path: Path) -> None:
    from test_groth16 import g2_off_subgroup

    from zkai.proof.points import g2_to_bytes

    bad = {at(B2, 128): g2_to_bytes(g2_off_subgroup())}
    path = copy_with(proving_path(), tmp_path / "bad.zkey", bad)
    with pytest.raises(InvalidInput, match=r"7 \(B in G2\)\[1\].*subgroup"):
        import_zkey(circuit(), STATEMENT, path, tmp_path / "keys")


@pytest.mark.parametrize("field", ["matrix", "row", "wire", "value"])
def test_an_import_checks_the_coefficients(field: str, tmp_path: Path) -> None:
    offset = 4 + COEF.itemsize * 3 + COEF.fields[field][1]  # type: ignore[index]
    path = copy_with(proving_path(), tmp_path / "bad.zkey", {at(COEFS, offset): b"\7"})
    with pytest.raises(InvalidInput, match=r"4 \(coefficients\)"):
        import_zkey(circuit(), STATEMENT, path, tmp_path / "keys")


def test_an_import_refuses_another_circuits_key(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"coefficients|wires"):
        import_zkey(_longer_circuit(), STATEMENT, proving_path(), tmp_path / "keys")


def _longer_circuit() -> Any:
    from zkai.circuit.builder import Builder

    builder = Builder("longer")
    x = builder.private_int("x", (20,))
    builder.constrain(x, x, x, "bit")
    return builder.build()


def test_an_import_that_cannot_write_leaves_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InvalidInput, match="cannot be made"):
        import_zkey(circuit(), STATEMENT, proving_path(), blocked / "keys")


# --- proof.json and verifying.json ---------------------------------------------------------------


def edit(document: Any, path: str, value: Any) -> Any:
    """Return a deep copy with the value at a dotted path replaced, or removed for `...`."""
    result = copy.deepcopy(document)
    *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    target = result
    for parent in parents:
        target = target[parent]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return result


PROOF_EDITS: list[tuple[str, Any, str]] = [
    ("format", "zkai.groth16/2", "format 'zkai.groth16/2'"),
    ("format", ..., "format None"),
    ("format", 1, "format 1"),
    ("statement", "power", "statement"),
    ("statement", "Power/1", "statement"),
    ("statement", ["power/1"], "statement"),
    ("circuit_digest", "0x12", "circuit_digest"),
    ("circuit_digest", "0x" + "AB" * 32, "circuit_digest"),
    ("vk_digest", None, "vk_digest"),
    ("key_status", "production", "key_status"),
    ("key_status", ..., "missing field key_status"),
    ("extra", 1, "unknown field 'extra'"),
    ("public", [], "public"),
    ("public.result", 7, r"public\.result"),
    ("public.result", "07", r"public\.result"),
    ("public.result", "-7", r"public\.result"),
    ("public.result", "+7", r"public\.result"),
    ("public.result", " 7", r"public\.result"),
    ("public.result", "7.0", r"public\.result"),
    ("public.result", "0x7", r"public\.result"),
    ("public.result", "1e3", r"public\.result"),
    ("public.result", "１", r"public\.result"),
    ("public.result", "", r"public\.result"),
    ("public.result", str(2**256), r"public\.result"),
    ("public.result", "9" * 5000, r"public\.result"),
    ("public.result", ["7"], "a list of two or more"),
    ("public.spare", [], "a list of two or more"),
    ("public.spare.1", None, r"public\.spare\[1\]"),
    ("public.spare.1", ["1", "2"], r"public\.spare\[1\]"),
    ("proof.d", ["1", "2"], "unknown field 'd'"),
    ("proof.a", ["1"], r"proof\.a"),
    ("proof.a", ["1", "2", "1"], r"proof\.a"),
    ("proof.a", {"x": "1"}, r"proof\.a"),
    ("proof.b", ["1", "2"], r"proof\.b"),
    ("proof.b.0", ["1", 2], r"proof\.b\[0\]\[1\]"),
    ("proof.c.1", "00", r"proof\.c\[1\]"),
    ("proof", ..., "missing field proof"),
]


@pytest.mark.parametrize(("path", "value", "reason"), PROOF_EDITS)
def test_a_malformed_proof_is_refused(path: str, value: Any, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(edit(proof().to_json(), path, value)))
    with pytest.raises(InvalidInput, match=reason) as caught:
        Proof.from_path(file)
    assert str(file) in str(caught.value)


def test_a_proof_survives_its_file(tmp_path: Path) -> None:
    proof().write(tmp_path / "proof.json")
    assert Proof.from_path(tmp_path / "proof.json") == proof()
    verify(Proof.from_path(tmp_path / "proof.json"), keys().verifying)


TEXTS = {
    "empty": (b"", "not valid JSON"),
    "a list": (b"[]", "expected a JSON object"),
    "not text": (b"\xff\xfe\x00", "not valid JSON"),
    "repeated key": (b'{"format": "zkai.groth16/1", "format": "zkai.groth16/1"}', "repeats a key"),
    "a float": (b'{"format": 1.0}', "1.0"),
    "not a number": (b'{"format": NaN}', "NaN"),
    "deep": (b"[" * 100_000, "not valid JSON"),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("reader", [Proof.from_path, VerifyingKey.from_path])
def test_what_is_no_document_is_refused(
    name: str, reader: Callable[[Path], Any], tmp_path: Path
) -> None:
    text, reason = TEXTS[name]
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(InvalidInput, match=reason):
        reader(tmp_path / "x.json")


def test_an_oversized_document_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    with open(path, "wb") as file:
        file.truncate(1 << 30)
    for reader in (Proof.from_path, VerifyingKey.from_path):
        with pytest.raises(InvalidInput, match="larger than"):
            reader(path)


KEY_EDITS: list[tuple[str, Any, str]] = [
    ("format", "zkai.groth16-vk/2", "format"),
    ("key_status", "Ceremony", "key_status"),
    ("key_status", ..., "missing field key_status"),
    ("key_status", None, "key_status"),
    ("statement", "", "statement"),
    ("circuit_digest", "0x" + "00" * 32, "vk_digest: not the digest"),
    ("vk_digest", "0x" + "00" * 32, "vk_digest: not the digest"),
    ("vk_digest", ..., "missing field vk_digest"),
    ("public.0.size", 0, "size"),
    ("public.0.size", True, "size"),
    ("public.0.size", 2, "disagree"),
    ("public.0.size", 1 << 60, "size"),
    ("public.0.name", "spare", "appears twice"),
    ("public.0.name", "a b", "name"),
    ("public.0.note", 1, "unknown field"),
    ("public", {}, "public"),
    ("ic", [], "ic"),
    ("ic.0", ["0", "0"], r"ic\[0\] is the point at infinity"),
    ("ic.1", ["1", "3"], r"ic\[1\] is not a point"),
    ("ic.1.0", str(Q + 1), r"ic\[1\] is not a point"),
    ("alpha", ["1", "3"], "alpha"),
    ("alpha", ["1", "2"], "vk_digest: not the digest"),
    ("beta", [["1", "0"], ["2", "0"]], "beta"),
    ("gamma", [["0", "0"], ["0", "0"]], "infinity"),
    ("delta.0.0", str(FIELD_MODULUS), "beta, gamma, delta"),
    ("ceremony", {}, r"ceremony: missing field"),
    ("ceremony", [], "ceremony"),
]


@pytest.mark.parametrize(("path", "value", "reason"), KEY_EDITS)
def test_a_malformed_verifying_key_is_refused(
    path: str, value: Any, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "verifying.json"
    file.write_text(json.dumps(edit(keys().verifying.to_json(), path, value)))
    with pytest.raises(InvalidInput, match=reason) as caught:
        VerifyingKey.from_path(file)
    assert "verifying.json" in str(caught.value) or "verifying key" in str(caught.value)


def test_raising_the_status_changes_the_digest() -> None:
    """So a development key's proofs, receipts and contracts never name a ceremony's key."""
    document = edit(keys().verifying.to_json(), "key_status", "ceremony")
    with pytest.raises(InvalidInput, match="vk_digest: not the digest"):
        VerifyingKey.from_json(document)


def test_a_key_file_that_is_cut_while_mapped_is_refused(tmp_path: Path) -> None:
    """Reading past a file's new end would kill the process."""
    path = copy_with(keys().proving.path, tmp_path / "cut.zkey", {})
    zkey = ProvingKey(path).zkey
    assert len(zkey.g1(A)) == len(keys().proving.zkey.g1(A))
    os.truncate(path, 4096)
    for use in (lambda: zkey.g1(A), lambda: zkey.g2(B2), lambda: zkey.coefs, zkey.mark):
        with pytest.raises(InvalidInput, match="became shorter while in use"):
            use()
    with pytest.raises(InvalidInput, match="became shorter while in use"):
        zkey.file.after(A, 64)


def test_status_and_record_must_agree() -> None:
    development, made = keys().verifying, ceremony_keys().verifying
    raised = replace(development, key_status="ceremony")
    lowered = replace(made, key_status="development")
    VerifyingKey.from_json(made.to_json())
    with pytest.raises(InvalidInput, match="claims a ceremony but records none"):
        VerifyingKey.from_json(raised.to_json())
    with pytest.raises(InvalidInput, match="development key has no record"):
        VerifyingKey.from_json(lowered.to_json())


def test_gamma_must_not_be_delta() -> None:
    with pytest.raises(InvalidInput, match="gamma and delta are the same"):
        replace(keys().verifying, delta=keys().verifying.gamma).check()


CEREMONY_EDITS: list[tuple[str, Any, str]] = [
    ("ceremony.phase1.power", -1, "power"),
    ("ceremony.phase1.digest", "00", "digest"),
    ("ceremony.circuit_hash", "zz", "circuit_hash"),
    ("ceremony.contributions", {}, "contributions"),
    ("ceremony.contributions", [{}] * 1001, "at most 1000"),
    ("ceremony.contributions.0.kind", "robot", "kind"),
    ("ceremony.contributions.0.name", "n" * 300, "name"),
    ("ceremony.contributions.0.beacon_log_iterations", 64, "beacon_log_iterations"),
    ("ceremony.contributions.0.g1_s", ["1"], "g1_s"),
    ("ceremony.contributions.0.transcript", "00" * 63, "transcript"),
    ("ceremony.contributions.0.more", 1, "unknown field"),
]


@pytest.mark.parametrize(("path", "value", "reason"), CEREMONY_EDITS)
def test_a_malformed_ceremony_record_is_refused(path: str, value: Any, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        VerifyingKey.from_json(edit(ceremony_keys().verifying.to_json(), path, value))


def test_a_ceremonys_key_survives_its_file() -> None:
    read = VerifyingKey.from_path(ceremony_keys().proving.path.parent / "verifying.json")
    assert read == ceremony_keys().verifying
    read.check_production()
    assert folder().is_dir()
