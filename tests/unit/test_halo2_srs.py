"""Setup strings: made, taken from a .ptau, imported; what passes for a ceremony's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.unit.halo2_support import keys, proof, require_ezkl, scratch, statement
from zkai.encoding import BASE_MODULUS, hex32
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2 import srs
from zkai.halo2.keys import Halo2Keys
from zkai.halo2.process import Worker
from zkai.halo2.proof import prove, verify
from zkai.halo2.setup import setup
from zkai.proof.points import G1_GENERATOR, G2_GENERATOR, g2_to_bytes
from zkai.proof.powers import _development_keys, write_development_ptau, write_powers
from zkai.proof.ratio import g1_multiply

K = 8


def test_a_development_string_is_what_EZKL_makes_and_reads(tmp_path: Path) -> None:
    """EZKL's own file passes our check, so the order of its Lagrange points is ours."""
    require_ezkl()
    with Worker(tmp_path) as worker:
        worker.call("gen_srs", srs_path="theirs.srs", logrows=6)
    srs.check(srs.open_srs(tmp_path / "theirs.srs", "development"))
    ours = srs.develop(tmp_path / "ours.srs", 6)
    assert (ours.k, ours.status) == (6, "development")
    assert ours.path.stat().st_size == srs.file_bytes(6) == (tmp_path / "theirs.srs").stat().st_size
    srs.check(ours)
    assert srs.open_srs(ours.path, "development") == ours


def test_a_shared_tau_makes_one_string(tmp_path: Path) -> None:
    first = srs.develop(tmp_path / "a", K, tmp_path / "tau")
    second = srs.develop(tmp_path / "b", K, tmp_path / "tau")
    assert first.sha256 == second.sha256
    assert srs.develop(tmp_path / "c", K).sha256 != first.sha256
    assert (tmp_path / "tau").stat().st_mode & 0o77 == 0


def powers(path: Path, power: int, *, marked: bool = True) -> Path:
    """Write a .ptau of one contribution: marked as for development, or passed off as somebody's."""
    if marked:
        write_development_ptau(path, power, "tests")
        return path
    secrets = [(x, g1_multiply(G1_GENERATOR, 5 + i), None) for i, (x, _, _) in
               enumerate(_development_keys())]  # fmt: skip
    write_powers(path, power, "party", [(x, s, g1_multiply(s, x)) for x, s, _ in secrets])
    return path


def test_a_ptau_is_a_ceremony_by_its_contributions_alone(tmp_path: Path) -> None:
    marked = srs.install(powers(tmp_path / "d.ptau", K), K, tmp_path / "d.srs")
    assert marked.status == "development"
    party = srs.install(powers(tmp_path / "p.ptau", K, marked=False), K, tmp_path / "p.srs")
    assert party.status == "ceremony"
    srs.check(party)
    write_development_ptau(tmp_path / "none.ptau", K)
    assert srs.install(tmp_path / "none.ptau", K, tmp_path / "n.srs").status == "development"


def test_a_published_digest_makes_a_ceremony_and_another_is_refused(tmp_path: Path) -> None:
    source = srs.develop(tmp_path / "large.srs", K).path
    digest = hashlib.sha256(source.read_bytes()).digest()
    found = srs.install(source, K, tmp_path / "same.srs", hex32(digest))
    assert found.status == "ceremony"
    assert found.path.read_bytes() == source.read_bytes()
    smaller = srs.install(source, K - 2, tmp_path / "small.srs", digest)
    assert (smaller.k, smaller.status) == (K - 2, "ceremony")
    srs.check(smaller)
    assert srs.install(source, K, tmp_path / "unsaid.srs").status == "development"
    with pytest.raises(VerificationError, match="its SHA-256 is"):
        srs.install(source, K, tmp_path / "x.srs", bytes(32))
    with pytest.raises(InvalidInput, match="srs digest"):
        srs.install(source, K, tmp_path / "x.srs", "0x12")
    with pytest.raises(InvalidInput, match=f"made for 2\\*\\*{K} rows"):
        srs.install(source, K + 1, tmp_path / "x.srs")
    assert not (tmp_path / "x.srs").exists()


def test_the_digest_of_a_marked_ptau_makes_no_ceremony(tmp_path: Path) -> None:
    source = powers(tmp_path / "d.ptau", K)
    digest = hashlib.sha256(source.read_bytes()).digest()
    with pytest.raises(VerificationError, match="says that it is for development"):
        srs.install(source, K, tmp_path / "x.srs", digest)
    assert not (tmp_path / "x.srs").exists()
    party = powers(tmp_path / "p.ptau", K, marked=False)
    digest = hashlib.sha256(party.read_bytes()).digest()
    assert srs.install(party, K, tmp_path / "p.srs", digest).status == "ceremony"


def spoiled(path: Path, start: int, data: bytes) -> Path:
    content = bytearray(path.read_bytes())
    content[start : start + len(data)] = data
    path.write_bytes(content)
    return path


def test_a_string_with_a_wrong_point_anywhere_is_refused(tmp_path: Path) -> None:
    n, end = 1 << K, srs.file_bytes(K)
    other = srs.develop(tmp_path / "other", K).path.read_bytes()
    places = {
        "power": (4 + 64 * 7, 64, "not consecutive powers"),
        "Lagrange": (4 + 64 * (n + 3), 64, "not the Lagrange form"),
        "tau": (end - 128, 128, "not consecutive powers"),
    }
    for name, (start, size, message) in places.items():
        path = spoiled(srs.develop(tmp_path / name, K).path, start, other[start : start + size])
        with pytest.raises(InvalidInput, match=message):
            srs.install(path, K, tmp_path / "x")
    off = spoiled(srs.develop(tmp_path / "off", K).path, 4 + 64 * 9, bytes([1]) * 8)
    with pytest.raises(InvalidInput, match=r"off\[9\]"):
        srs.install(off, K, tmp_path / "x")


def test_swapped_lagrange_points_are_refused(tmp_path: Path) -> None:
    """Each is a point of the true string: keys would commit to other columns than the circuit's."""
    path = srs.develop(tmp_path / "s", K).path
    data, start = path.read_bytes(), 4 + (64 << K)
    swapped = data[start + 64 : start + 128] + data[start : start + 64]
    with pytest.raises(InvalidInput, match="not the Lagrange form"):
        srs.install(spoiled(path, start, swapped), K, tmp_path / "x")


def test_a_string_that_anyone_knows_is_refused(tmp_path: Path) -> None:
    """tau = 1, -1, or a point at infinity: pairings then hold for what nobody proved."""
    good = srs.develop(tmp_path / "s", K)
    x, y = G2_GENERATOR
    minus = (x, (-y[0] % BASE_MODULUS, -y[1] % BASE_MODULUS))
    for bad in (g2_to_bytes(G2_GENERATOR), g2_to_bytes(minus), bytes(128)):
        spoiled(good.path, srs.file_bytes(K) - 128, bad)
        with pytest.raises(InvalidInput, match=r"tau\]_2"):
            srs.open_srs(good.path, "ceremony")


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        srs.install(tmp_path / "missing", K, tmp_path / "x")
    good = srs.develop(tmp_path / "s", K).path.read_bytes()
    for name, data in (("short", good[:-1]), ("long", good + b"\0"), ("tiny", good[:10]),
                       ("k", b"\x09" + good[1:]), ("huge", b"\xff" + good[1:])):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InvalidInput, match="not a setup string"):
            srs.install(tmp_path / name, K, tmp_path / "x")
    with pytest.raises(InvalidInput, match="expected k in"):
        srs.develop(tmp_path / "x", 40)


def test_keys_of_a_ceremony_pass_for_production_only_by_their_digest(tmp_path: Path) -> None:
    require_ezkl()
    source = powers(tmp_path / "p.ptau", 9, marked=False)
    made = setup(statement(), scratch(), ptau=source)
    again = setup(statement(), scratch(), ptau=source)
    assert made.verifying.key_status == "ceremony"
    assert made.verifying.digest == again.verifying.digest  # so anybody can make it again
    found = prove(statement(), made.proving, {"input": np.zeros((1, 4))})
    with pytest.raises(InvalidInput, match="digests of the keys that you trust"):
        verify(found, made.verifying, production=True)
    with pytest.raises(VerificationError, match="not one that you trust"):
        verify(found, made.verifying, production=True, trusted_digests=[keys().verifying.digest])
    verify(found, made.verifying, production=True, trusted_digests=[made.verifying.digest])
    with pytest.raises(VerificationError):
        verify(proof(), made.verifying)


def test_a_setup_string_that_is_gone_or_another_is_named(tmp_path: Path) -> None:
    require_ezkl()
    made = setup(statement(), tmp_path)
    path = tmp_path / "kzg.srs"
    srs.develop(path, made.verifying.settings.k)
    with pytest.raises(InvalidInput, match=r"kzg\.srs: not the setup string"):
        prove(statement(), made.proving, {"input": np.zeros((1, 4))})
    path.unlink()
    with pytest.raises(InvalidInput, match=r"kzg\.srs: missing"):
        Halo2Keys.from_path(tmp_path)
