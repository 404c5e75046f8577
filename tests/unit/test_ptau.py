"""Powers of tau: honest files pass, each inconsistency is refused by file and section."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proof_support import ceremony_files, circuit, folder, ptau, section, write_first_phase
from proof_support import copy as copy_with

from zkai import native_keys
from zkai.circuit.binfile import SectionWriter
from zkai.encoding import BASE_MODULUS, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.proof import ceremony, overread
from zkai.proof.blake2b import Blake2b
from zkai.proof.phase1 import (
    first_challenge,
    independent,
    read_contributions,
    verify_phase1,
)
from zkai.proof.points import g1_to_bytes, g2_to_bytes
from zkai.proof.powers import write_development_ptau
from zkai.proof.ptau import (
    ALPHA_G1,
    BETA_G1,
    BETA_G2,
    CONTRIBUTIONS,
    HEADER,
    MAGIC,
    TAU_G1,
    TAU_G2,
    VERSION,
    Ptau,
    check_powers,
    prepare,
    section_points,
)
from zkai.proof.randompoint import SeedStream
from zkai.proof.transcript import BEACON

Q = BASE_MODULUS


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def at(kind: int, offset: int = 0) -> int:
    return section(ptau(), kind)[0] + offset


def g1_point(scalar: int) -> bytes:
    return native_keys.points_generate("g1", to_limbs([scalar])).tobytes()


def g2_point(scalar: int) -> bytes:
    return native_keys.points_generate("g2", to_limbs([scalar])).tobytes()


def test_an_honest_file_passes() -> None:
    file = Ptau(ptau())
    check_powers(file)
    assert [c.name for c in verify_phase1(file)] == ["first"]
    assert file.prepared
    assert not Ptau(folder() / "plain.ptau").prepared


def test_the_lagrange_form_is_that_of_known_secrets(tmp_path: Path) -> None:
    """The group's transform against Lagrange polynomials evaluated in the field."""
    tau, log = to_limbs([987654321]), 4
    powers = native_keys.points_generate("g2", native_keys.fr_powers(to_limbs([1]), tau, 16))
    from zkai import native

    in_field = native.from_montgomery(native_keys.lagrange_at(tau, log))
    expected = native_keys.points_generate("g2", in_field)
    assert (native_keys.points_lagrange("g2", powers) == expected).all()
    first = native_keys.points_generate("g1", in_field)
    powers = native_keys.points_generate("g1", native_keys.fr_powers(to_limbs([1]), tau, 16))
    assert (native_keys.points_lagrange("g1", powers) == first).all()


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data, path = ptau().read_bytes(), tmp_path / "cut.ptau"
    cuts = {0, 3, 11, 12, 23, len(data) - 1}
    for kind in (HEADER, TAU_G1, TAU_G2, ALPHA_G1, BETA_G1, BETA_G2, CONTRIBUTIONS, 12, 13, 15):
        start, size = section(ptau(), kind)
        cuts |= {start - 1, start, start + size - 1}
    for cut in cuts:
        path.write_bytes(data[:cut])
        with pytest.raises(InvalidInput, match=r"cut\.ptau"):
            Ptau(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(InvalidInput, match="after the last section"):
        Ptau(path)


DAMAGE: dict[str, tuple[Callable[[], dict[int, bytes]], str]] = {
    "magic": (lambda: {0: b"zkey"}, "wrong magic"),
    "another q": (lambda: {at(HEADER, 4): b"\1"}, "not that of BN254"),
    "power 0": (lambda: {at(HEADER, 36): u32(0)}, "powers 0"),
    "a larger power": (lambda: {at(HEADER, 36): u32(5)}, "powers 5 and 4|section 2"),
    "a huge power": (lambda: {at(HEADER, 36): u32(200) + u32(200)}, "powers 200"),
    "a smaller power": (lambda: {at(HEADER, 36): u32(3)}, "section 2"),
    "no section 13": (lambda: {at(13) - 12: u32(99)}, "12 to 15 are missing"),
    "tau does not start at G1": (lambda: {at(TAU_G1): g1_point(2)}, "section 2.*start"),
    "tau does not start at G2": (lambda: {at(TAU_G2): g2_point(2)}, "section 3.*start"),
    "another tau in G2": (lambda: {at(TAU_G2, 128): g2_point(3)}, "section 3"),
    "a power of another tau": (lambda: {at(TAU_G1, 5 * 64): g1_point(3)}, "section 2.*consec"),
    "the last power": (lambda: {at(TAU_G1, 30 * 64): g1_point(3)}, "section 2.*consec"),
    "a power in G2": (lambda: {at(TAU_G2, 15 * 128): g2_point(3)}, "section 3.*consec"),
    "an alpha power": (lambda: {at(ALPHA_G1, 3 * 64): g1_point(3)}, "section 4.*consec"),
    "a beta power": (lambda: {at(BETA_G1, 15 * 64): g1_point(3)}, "section 5.*consec"),
    "another beta in G2": (lambda: {at(BETA_G2): g2_point(3)}, "section 6.*beta"),
    "infinity": (lambda: {at(TAU_G1, 64): bytes(64)}, r"section 2.*\[1\].*infinity"),
    "off the curve": (lambda: {at(ALPHA_G1, 64): b"\1" * 32}, r"section 4.*\[1\].*curve"),
    "not canonical": (
        lambda: {at(BETA_G1, 2 * 64): Q.to_bytes(32, "little")},
        r"section 5.*\[2\].*canonical",
    ),
    "outside the subgroup": (
        lambda: {at(TAU_G2, 7 * 128): g2_to_bytes(SeedStream(bytes(32)).twist_point())},
        r"section 3.*\[7\].*subgroup",
    ),
    "Lagrange tau": (lambda: {at(12, 40 * 64): g1_point(3)}, "section 12.*Lagrange form"),
    "Lagrange tau, 2n": (lambda: {at(12, 62 * 64): g1_point(3)}, "section 12.*2[*][*]5.*form"),
    "Lagrange tau in G2": (lambda: {at(13, 20 * 128): g2_point(3)}, "section 13.*form"),
    "Lagrange alpha": (lambda: {at(14, 20 * 64): g1_point(3)}, "section 14.*form"),
    "Lagrange beta": (lambda: {at(15, 30 * 64): g1_point(3)}, "section 15.*form"),
    "Lagrange subgroup": (
        lambda: {at(13, 30 * 128): g2_to_bytes(SeedStream(bytes(32)).twist_point())},
        "section 13.*subgroup",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    changes, reason = DAMAGE[name]
    path = copy_with(ptau(), tmp_path / "bad.ptau", changes())
    with pytest.raises(InvalidInput, match=reason) as caught:
        check_powers(Ptau(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "name", ["Lagrange tau, 2n", "infinity", "a power of another tau", "outside the subgroup"]
)
def test_init_refuses_a_damaged_file(name: str, tmp_path: Path) -> None:
    changes, reason = DAMAGE[name]
    path = copy_with(ptau(), tmp_path / "bad.ptau", changes())
    with pytest.raises(InvalidInput, match=reason):
        ceremony.init(circuit(), "power/1", path, tmp_path / "0.zkey")
    assert not (tmp_path / "0.zkey").exists()


def test_init_needs_a_prepared_file_of_the_right_size(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not prepared for phase 2"):
        ceremony.init(circuit(), "power/1", folder() / "plain.ptau", tmp_path / "0.zkey")
    write_development_ptau(tmp_path / "3", 3)
    prepare(tmp_path / "3", tmp_path / "3p")
    with pytest.raises(InvalidInput, match="use a larger"):
        ceremony.init(circuit(), "power/1", tmp_path / "3p", tmp_path / "0.zkey")


def test_init_takes_a_larger_file(tmp_path: Path) -> None:
    write_first_phase(tmp_path / "5", 5, "first")
    prepare(tmp_path / "5", tmp_path / "5p")
    ceremony.init(circuit(), "power/1", tmp_path / "5p", tmp_path / "0.zkey")
    ceremony.contribute(tmp_path / "0.zkey", tmp_path / "1.zkey", "one")
    record = ceremony.verify(circuit(), tmp_path / "5p", tmp_path / "1.zkey")
    assert record.phase1_power == 5


# --- the contributions of the first phase ---------------------------------------------------------

RECORD: dict[str, tuple[int, str]] = {
    "tau": (4, "1: tau does not follow"),
    "tau in G2": (4 + 64, "1: tau in G2 does not follow"),
    "alpha": (4 + 192, "1: alpha does not follow"),
    "beta": (4 + 256, "1: beta does not follow"),
    "beta in G2": (4 + 320, "1: beta in G2 does not follow"),
    "key of tau": (4 + 448, "1: its proof of knowledge of tau"),
    "key of alpha": (4 + 448 + 128, "1: its proof of knowledge of alpha"),
    "key of beta": (4 + 448 + 256, "1: its proof of knowledge of beta"),
    "proof of tau in G2": (4 + 448 + 384, "1: its proof of knowledge of tau"),
    "proof of alpha in G2": (4 + 448 + 384 + 128, "1: its proof of knowledge of alpha"),
    "proof of beta in G2": (4 + 448 + 384 + 256, "1: its proof of knowledge of beta"),
    "state": (4 + 448 + 768 + 5, "last challenge"),
    "next challenge": (4 + 448 + 768 + 216, "last challenge"),
}


@pytest.mark.parametrize("name", RECORD)
def test_a_forged_contribution_is_refused(name: str, tmp_path: Path) -> None:
    offset, reason = RECORD[name]
    new = g2_point(9) if "G2" in name else g1_point(9)
    if reason == "last challenge":
        new = b"\xff"
    path = copy_with(ptau(), tmp_path / "bad.ptau", {at(CONTRIBUTIONS, offset): new})
    with pytest.raises(VerificationError, match=reason):
        verify_phase1(Ptau(path))


def test_points_of_another_party_are_refused(tmp_path: Path) -> None:
    """A consistent file whose record is another file's."""
    write_development_ptau(tmp_path / "other", 4, "second")
    mine, theirs = (folder() / "plain.ptau").read_bytes(), (tmp_path / "other").read_bytes()
    start, _ = section(tmp_path / "other", CONTRIBUTIONS)
    size = len(theirs) - start
    (tmp_path / "mixed").write_bytes(mine[: section(folder() / "plain.ptau", 7)[0]])
    with open(tmp_path / "mixed", "ab") as file:
        file.write(theirs[-size:])
    data = bytearray((tmp_path / "mixed").read_bytes())
    at_size = section(folder() / "plain.ptau", 7)[0] - 8
    data[at_size : at_size + 8] = struct.pack("<Q", size)
    (tmp_path / "mixed").write_bytes(data)
    check_powers(Ptau(tmp_path / "mixed"))
    with pytest.raises(VerificationError, match="not those of the last contribution"):
        verify_phase1(Ptau(tmp_path / "mixed"))


def test_a_file_without_contributions_has_no_first_phase(tmp_path: Path) -> None:
    write_development_ptau(tmp_path / "x", 2)
    with pytest.raises(VerificationError, match="no contribution"):
        verify_phase1(Ptau(tmp_path / "x"))


def test_development_powers_are_recognised(tmp_path: Path) -> None:
    """Their proofs hold, as anybody's would; their mark cannot be taken off without the secrets."""
    assert independent(Ptau(ptau()), verify_phase1(Ptau(ptau()))) == verify_phase1(Ptau(ptau()))
    write_development_ptau(tmp_path / "x", 3, "Eve")
    file = Ptau(tmp_path / "x")
    with pytest.raises(VerificationError, match="development powers"):
        independent(file, verify_phase1(file))
    start, _ = section(tmp_path / "x", CONTRIBUTIONS)
    changes = {start + 4 + 448: g1_point(9)}
    with pytest.raises(VerificationError, match="proof of knowledge of tau"):
        verify_phase1(Ptau(copy_with(tmp_path / "x", tmp_path / "y", changes)))


def test_a_lone_contribution_that_cannot_be_verified_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As beyond 2**22, where the first contribution has nothing to be checked against."""
    last = ceremony_files()[3]
    monkeypatch.setattr("zkai.proof.phase1._LARGEST_HASHED_POWER", 3)
    with pytest.raises(VerificationError, match="cannot be verified"):
        ceremony.verify(circuit(), ptau(), last)


def as_beacon(log_iterations: int) -> bytes:
    """The only contribution's record as a beacon's."""
    item = read_contributions(Ptau(ptau()))[0]
    beacon = replace(item, kind=BEACON, beacon=b"v", beacon_log_iterations=log_iterations)
    return u32(1) + beacon.to_bytes()


@pytest.mark.parametrize(
    ("log", "reason"),
    [(10, "do not follow from the beacon"), (21, "a beacon needs"), (63, "needs")],
)
def test_a_beacon_of_the_first_phase_is_bounded(log: int, reason: str, tmp_path: Path) -> None:
    record, source = as_beacon(log), Ptau(folder() / "plain.ptau")
    kinds = [HEADER, *section_points(4)]
    sizes = [(kind, source.file.size(kind)) for kind in kinds]
    path = tmp_path / "beacon.ptau"
    with SectionWriter(path, MAGIC, VERSION, [*sizes, (CONTRIBUTIONS, len(record))]) as writer:
        for kind in kinds:
            writer.write(kind, bytes(source.file.view(kind)))
        writer.write(CONTRIBUTIONS, record)
    with pytest.raises(VerificationError, match=reason):
        verify_phase1(Ptau(path))


@pytest.mark.parametrize("offset", [0, 4 + 448 + 768 + 216 + 64, 4 + 448 + 768 + 216 + 68])
def test_a_malformed_record_is_refused(offset: int, tmp_path: Path) -> None:
    """Its count, its type, the length of its parameters."""
    bad = {at(CONTRIBUTIONS, offset): u32(2**31 + 7)}
    with pytest.raises(InvalidInput, match="section 7"):
        read_contributions(Ptau(copy_with(ptau(), tmp_path / "bad.ptau", bad)))


def test_the_first_challenge_covers_the_files_size() -> None:
    assert len({first_challenge(power) for power in range(1, 6)}) == 5
    assert first_challenge(28) is None


@pytest.mark.parametrize(("power", "name"), [(0, ""), (21, ""), (13, "n"), (3, "n" * 65)])
def test_a_development_file_has_limits(power: int, name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="development"):
        write_development_ptau(tmp_path / "x", power, name)
    assert not list(tmp_path.iterdir())


def test_preparing_what_is_no_ptau_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"ptau" + bytes(100))
    with pytest.raises(InvalidInput, match="x: "):
        prepare(tmp_path / "x", tmp_path / "y")
    assert not (tmp_path / "y").exists()


def test_the_hash_past_a_section_is_that_of_snarkjs() -> None:
    """From a setup by snarkjs 0.7.6 of 2**15 rows with a .ptau of 2**15, tau = 12345**9."""
    following = bytes.fromhex(
        "0300000000004000000000002620bc02d1b5838e72017b493519ebdcdf1a8197"
        "4726b8fb3b5096af4138571940614ca87d73b4afc4d802585add4360862fa052"
    )
    last = bytes.fromhex(
        "367eaafb2424ec1c393a84f4e49ffb737a87d4833be1012c72f3b6a46a163c1d"
        "d76ad78194b4d3451fc8c6205df9791b00fc0c91d9466c3306795702f2cb6029"
    )
    assert overread.hash_input(following, last).hex() == (
        "089491e141eed55f99858936412cc5d28832246dbb16518c60e3b3094cd457f8"
        "21678460db1f194e0f94a2e3bdf467c8df23ff166cec3ba15525891b27e898f9"
    )


# --- a hash that stops and goes on ---------------------------------------------------------------


@given(st.binary(max_size=600), st.binary(max_size=600))
def test_blake2b_goes_on_from_its_state(first: bytes, second: bytes) -> None:
    state = Blake2b(first)
    assert state.digest() == hashlib.blake2b(first).digest()
    resumed = Blake2b.from_state(state.state())
    resumed.update(second)
    assert resumed.digest() == hashlib.blake2b(first + second).digest()


def test_points_survive_their_bytes() -> None:
    assert g1_to_bytes(None) == bytes(64)
    assert g2_to_bytes(None) == bytes(128)
