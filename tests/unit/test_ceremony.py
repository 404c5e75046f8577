"""Ceremonies: an honest one verifies, every way to cheat in one is refused by its reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from proof_support import (
    STATEMENT,
    ceremony_files,
    ceremony_keys,
    circuit,
    folder,
    keys,
    ptau,
    section,
    write_first_phase,
)
from proof_support import copy as copy_with

from zkai import native_keys
from zkai.encoding import FIELD_MODULUS, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.proof import ceremony
from zkai.proof.foreign import import_zkey
from zkai.proof.keys import VerifyingKey
from zkai.proof.points import G1_GENERATOR, G2_GENERATOR
from zkai.proof.powers import write_development_ptau
from zkai.proof.proving_keys import Keys, ProvingKey, key_mark
from zkai.proof.ptau import prepare
from zkai.proof.randompoint import contribution_key, hash_to_g2
from zkai.proof.ratio import g1_multiply, g2_multiply
from zkai.proof.transcript import BEACON, Contribution, Transcript, verify_chain
from zkai.proof.zkey import (
    B1,
    B2,
    COEFS,
    CONTRIBUTIONS,
    IC,
    A,
    H,
    L,
    Zkey,
    ZkeyHeader,
    zkey_writer,
)


def transcript(path: Path) -> Transcript:
    return Transcript.from_bytes(Zkey(path).file.view(CONTRIBUTIONS), str(path))


def rewrite(
    source: Path,
    target: Path,
    header: Callable[[ZkeyHeader], ZkeyHeader] = lambda h: h,
    record: Callable[[Transcript], Transcript] = lambda t: t,
    sections: dict[int, bytes] | None = None,
) -> Path:
    """Write a key again with a changed header, transcript or sections."""
    zkey = Zkey(source)
    with zkey_writer(
        target,
        header(zkey.header),
        len(zkey.coefs),
        record(transcript(source)).to_bytes(),
        zkey.mark(),
    ) as writer:
        for kind in (IC, COEFS, A, B1, B2, L, H):
            writer.view(kind)[:] = (sections or {}).get(kind, zkey.file.view(kind))
    return target


def add(past: Transcript, delta: Any, secret: int, **changes: Any) -> Transcript:
    """Append a well-formed contribution by a known secret."""
    _, s, _ = contribution_key(bytes(range(32)))
    sx = g1_multiply(s, secret)
    challenge = past.challenge(s, sx)
    point = g2_multiply(hash_to_g2(challenge), secret)
    honest = Contribution(g1_multiply(delta, secret), s, sx, point, challenge, name="x")
    return past.append(replace(honest, **changes))


# --- honest ceremonies ---------------------------------------------------------------------------


def test_an_honest_ceremony_verifies_and_is_recorded() -> None:
    record = ceremony.verify(circuit(), ptau(), ceremony_files()[3])
    assert [c.name for c in record.transcript.contributions] == ["first", "second", "beacon"]
    assert (record.phase1_power, record.phase1_contributions) == (4, 1)
    assert ceremony_keys().verifying.key_status == "ceremony"
    assert ceremony_keys().verifying.ceremony == record


def test_a_ceremony_may_stop_after_any_contribution() -> None:
    for path in ceremony_files()[1:3]:
        ceremony.verify(circuit(), ptau(), path)


def test_contributions_change_delta_l_and_h_alone() -> None:
    before, after = Zkey(ceremony_files()[0]), Zkey(ceremony_files()[1])
    for kind in (IC, COEFS, A, B1, B2):
        assert before.file.view(kind) == after.file.view(kind)
    for kind in (L, H):
        assert before.file.view(kind) != after.file.view(kind)
    assert before.header.delta1 == G1_GENERATOR != after.header.delta1


def test_two_contributions_with_the_same_entropy_differ(tmp_path: Path) -> None:
    made = [
        ceremony.contribute(ceremony_files()[0], tmp_path / f"{i}", "n", b"same") for i in range(2)
    ]
    assert made[0].delta_after != made[1].delta_after
    assert made[0].digest != made[1].digest


def test_a_beacon_can_be_repeated(tmp_path: Path) -> None:
    made = [ceremony.beacon(ceremony_files()[1], tmp_path / f"{i}", b"value", 10) for i in range(2)]
    assert made[0] == made[1]
    other = ceremony.beacon(ceremony_files()[1], tmp_path / "other", b"valuf", 10)
    assert other.delta_after != made[0].delta_after


def test_the_initial_key_equals_a_setup_with_delta_one() -> None:
    """Made in the group or in the field: a ceremony's key and a development key agree in shape."""
    initial, development = Zkey(ceremony_files()[0]), keys().proving.zkey
    assert initial.coefs.tobytes() == development.coefs.tobytes()
    for kind in (A, B1, B2, L):
        ours, theirs = initial.file.view(kind), development.file.view(kind)
        width = 128 if kind == B2 else 64
        infinite = [bytes(width) == ours[i : i + width] for i in range(0, len(ours), width)]
        assert infinite == [
            bytes(width) == theirs[i : i + width] for i in range(0, len(theirs), width)
        ]


# --- cheating with the chain of contributions ----------------------------------------------------


def forge_last(**changes: Any) -> Callable[[Transcript], Transcript]:
    return lambda t: Transcript(
        t.circuit_hash, (*t.contributions[:-1], replace(t.contributions[-1], **changes))
    )


def chain(path: int = 3) -> tuple[Transcript, Any]:
    return transcript(ceremony_files()[path]), Zkey(ceremony_files()[path]).header.delta1


def other_point() -> Any:
    return g1_multiply(G1_GENERATOR, 77)


FORGED_CHAINS: dict[str, tuple[Callable[[Transcript], Transcript], str]] = {
    "no contribution": (lambda t: Transcript(t.circuit_hash), "no contribution"),
    "another circuit's": (
        lambda t: replace(t, circuit_hash=bytes(64)),
        "contribution 1: its transcript hash",
    ),
    "first one dropped": (
        lambda t: replace(t, contributions=t.contributions[1:]),
        "contribution 1: its transcript hash",
    ),
    "middle one dropped": (
        lambda t: replace(t, contributions=(t.contributions[0], t.contributions[2])),
        "contribution 2: its transcript hash",
    ),
    "last one dropped": (
        lambda t: replace(t, contributions=t.contributions[:-1]),
        "does not lead to the key's delta",
    ),
    "order changed": (
        lambda t: replace(t, contributions=t.contributions[::-1]),
        "contribution 1: its transcript hash",
    ),
    "one repeated": (
        lambda t: replace(t, contributions=(*t.contributions, t.contributions[-1])),
        "contribution 4: its transcript hash",
    ),
    "key of nobody": (
        forge_last(g2_spx=G2_GENERATOR),
        "contribution 3: its proof of knowledge",
    ),
    "key at infinity": (forge_last(g2_spx=None), "contribution 3: its proof of knowledge"),
    "s at infinity": (forge_last(g1_s=None, g1_sx=None), "contribution 3: its transcript hash"),
    "delta of nobody": (
        forge_last(delta_after=(1, 2)),
        "contribution 3: its delta does not follow",
    ),
    "delta at infinity": (
        forge_last(delta_after=None),
        "contribution 3: its delta does not follow",
    ),
    "another beacon": (forge_last(beacon=b"chosen"), "does not follow from the beacon's value"),
    "no beacon value": (forge_last(beacon=b""), "a beacon needs a value"),
    "a quick beacon": (forge_last(beacon_log_iterations=0), "a beacon needs a value"),
    "an endless beacon": (forge_last(beacon_log_iterations=63), "a beacon needs a value"),
    "a beacon of hours": (forge_last(beacon_log_iterations=21), r"2\*\*20 iterations, not 2\*\*21"),
    "a party as a beacon": (
        lambda t: replace(
            t,
            contributions=(
                t.contributions[0],
                replace(t.contributions[1], kind=BEACON, beacon=b"b", beacon_log_iterations=10),
                t.contributions[2],
            ),
        ),
        "contribution 2: its key does not follow",
    ),
}


@pytest.mark.parametrize("name", FORGED_CHAINS)
def test_a_forged_chain_is_refused(name: str) -> None:
    record, delta = chain()
    verify_chain(record, delta)
    forge, reason = FORGED_CHAINS[name]
    with pytest.raises(VerificationError, match=reason):
        verify_chain(forge(record), delta)


def test_a_contribution_from_another_ceremony_is_refused(tmp_path: Path) -> None:
    """It is bound to what preceded it: the same party in a second ceremony does not fit."""
    ceremony.contribute(ceremony_files()[0], tmp_path / "0", "first")
    elsewhere = transcript(tmp_path / "0")
    mixed = replace(
        elsewhere,
        contributions=(*elsewhere.contributions, transcript(ceremony_files()[2]).contributions[1]),
    )
    with pytest.raises(VerificationError, match="contribution 2: its transcript hash"):
        verify_chain(mixed, mixed.contributions[-1].delta_after)


def test_a_known_delta_is_refused() -> None:
    """The secret 1, or secrets that cancel: each proof holds, and anyone could forge."""
    empty = Transcript(bytes(64))
    trivial = add(empty, G1_GENERATOR, 1)
    with pytest.raises(VerificationError, match="delta that everyone knows"):
        verify_chain(trivial, G1_GENERATOR)
    once = add(empty, G1_GENERATOR, 5)
    verify_chain(once, once.contributions[0].delta_after)
    back = add(once, once.contributions[0].delta_after, pow(5, -1, FIELD_MODULUS))
    assert back.contributions[-1].delta_after == G1_GENERATOR
    with pytest.raises(VerificationError, match="delta that everyone knows"):
        verify_chain(back, G1_GENERATOR)


def test_the_work_of_a_chain_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each beacon and each contribution is cheap enough; a thousand beacons together are not."""
    record, delta = chain()
    monkeypatch.setattr("zkai.proof.transcript.MAX_BEACON_WORK", 1 << 10)
    verify_chain(record, delta)
    monkeypatch.setattr("zkai.proof.transcript.MAX_BEACON_WORK", (1 << 10) - 1)
    with pytest.raises(VerificationError, match="contribution 3: the beacons of one chain"):
        verify_chain(record, delta)
    many = replace(record, contributions=record.contributions[:1] * 1001)
    with pytest.raises(VerificationError, match="more than 1000 contributions"):
        verify_chain(many, delta)
    with pytest.raises(InvalidInput, match="1001 contributions, at most 1000"):
        Transcript.from_bytes(many.to_bytes(), "x")


def test_a_delta_without_knowledge_of_its_secret_is_refused() -> None:
    """delta' chosen to cancel the others' secrets needs a proof of knowledge that nobody has."""
    record = transcript(ceremony_files()[2])
    cancelled = add(record, G1_GENERATOR, 9)
    with pytest.raises(VerificationError, match="contribution 3: its delta does not follow"):
        verify_chain(cancelled, cancelled.contributions[-1].delta_after)


# --- cheating with the key itself ----------------------------------------------------------------


def scaled(kind: int, factor: int) -> Callable[[Path], dict[int, bytes]]:
    def change(path: Path) -> dict[int, bytes]:
        points = native_keys.points_scale("g1", Zkey(path).g1(kind), to_limbs([factor]))
        return {kind: points.tobytes()}

    return change


def swapped(kind: int, width: int = 64, first: int = 0) -> Callable[[Path], dict[int, bytes]]:
    def change(path: Path) -> dict[int, bytes]:
        data = bytearray(Zkey(path).file.view(kind))
        i, j, k = first, first + width, first + 2 * width
        data[i:k] = data[j:k] + data[i:j]
        return {kind: bytes(data)}

    return change


def undivided(kind: int) -> Callable[[Path], dict[int, bytes]]:
    return lambda _: {kind: bytes(Zkey(ceremony_files()[0]).file.view(kind))}


def cancelling(path: Path) -> dict[int, bytes]:
    """Add a point to one of L and take it from the next: their plain sum stays."""
    points = Zkey(path).g1(L).copy()
    extra = native_keys.points_generate("g1", to_limbs([3]))
    zero = native_keys.points_generate("g1", to_limbs([0]))
    minus = native_keys.points_subtract("g1", zero, extra)
    points[0:1] = native_keys.points_subtract("g1", points[0:1], minus)
    points[1:2] = native_keys.points_subtract("g1", points[1:2], extra)
    return {L: points.tobytes()}


FORGED_SECTIONS: dict[str, tuple[Callable[[Path], dict[int, bytes]], str]] = {
    "L points exchanged": (swapped(L), r"section 8 \(L\)"),
    "L not divided": (undivided(L), r"section 8 \(L\)"),
    "L divided twice": (scaled(L, 5), r"section 8 \(L\)"),
    "L shifted in two places": (cancelling, r"section 8 \(L\)"),
    "H points exchanged": (swapped(H), r"section 9 \(H\)"),
    "H not divided": (undivided(H), r"section 9 \(H\)"),
    "IC points exchanged": (swapped(IC), r"section 3 \(IC\)"),
    "IC of another key": (scaled(IC, 2), r"section 3 \(IC\)"),
    "A points exchanged": (swapped(A), r"section 5 \(A in G1\)"),
    "B1 points exchanged": (swapped(B1, first=4 * 64), r"section 6 \(B in G1\)"),
    "B2 points exchanged": (swapped(B2, 128, first=4 * 128), r"section 7 \(B in G2\)"),
}


@pytest.mark.parametrize("name", FORGED_SECTIONS)
def test_a_forged_section_is_refused(name: str, tmp_path: Path) -> None:
    change, reason = FORGED_SECTIONS[name]
    path = ceremony_files()[3]
    forged = rewrite(path, tmp_path / "forged.zkey", sections=change(path))
    with pytest.raises(VerificationError, match=reason):
        ceremony.verify(circuit(), ptau(), forged)


FORGED_HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "delta in G2": ({"delta2": g2_multiply(G2_GENERATOR, 5)}, "delta differs"),
    "delta in G1": ({"delta1": g1_multiply(G1_GENERATOR, 5)}, "does not lead to the key's delta"),
    "both deltas": (
        {
            "delta1": g1_multiply(G1_GENERATOR, 5),
            "delta2": g2_multiply(G2_GENERATOR, 5),
        },
        "does not lead to the key's delta",
    ),
    "alpha": ({"alpha1": g1_multiply(G1_GENERATOR, 5)}, "alpha, beta or gamma"),
    "beta in G1": ({"beta1": g1_multiply(G1_GENERATOR, 5)}, "alpha, beta or gamma"),
    "beta in G2": ({"beta2": g2_multiply(G2_GENERATOR, 5)}, "alpha, beta or gamma"),
    "gamma": ({"gamma2": g2_multiply(G2_GENERATOR, 5)}, "alpha, beta or gamma"),
}


@pytest.mark.parametrize("name", FORGED_HEADERS)
def test_a_forged_header_is_refused(name: str, tmp_path: Path) -> None:
    changes, reason = FORGED_HEADERS[name]
    forged = rewrite(
        ceremony_files()[3], tmp_path / "forged.zkey", header=lambda h: replace(h, **changes)
    )
    with pytest.raises(VerificationError, match=reason):
        ceremony.verify(circuit(), ptau(), forged)


def test_a_forged_transcript_in_the_file_is_refused(tmp_path: Path) -> None:
    for name, record, reason in (
        ("empty", lambda t: Transcript(t.circuit_hash), "no contribution"),
        ("circuit", lambda t: replace(t, circuit_hash=bytes(64)), "circuit's hash"),
    ):
        forged = rewrite(ceremony_files()[3], tmp_path / name, record=record)
        with pytest.raises(VerificationError, match=reason):
            ceremony.verify(circuit(), ptau(), forged)


def test_changed_coefficients_are_refused(tmp_path: Path) -> None:
    start, _ = section(ceremony_files()[3], COEFS)
    forged = copy_with(ceremony_files()[3], tmp_path / "forged", {start + 4 + 44 + 12: b"\7"})
    with pytest.raises(VerificationError, match="coefficients"):
        ceremony.verify(circuit(), ptau(), forged)


def test_another_circuit_or_ptau_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match=r"3 \(IC\)|4 \(coef"):
        ceremony.verify(circuit(6), ptau(), ceremony_files()[3])
    write_first_phase(tmp_path / "other", 4, "someone else")
    prepare(tmp_path / "other", tmp_path / "prepared")
    with pytest.raises(VerificationError, match="alpha, beta or gamma"):
        ceremony.verify(circuit(), tmp_path / "prepared", ceremony_files()[3])


def test_the_initial_key_is_no_ceremony(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="no contribution"):
        ceremony.finalize(circuit(), STATEMENT, ptau(), ceremony_files()[0], tmp_path / "keys")
    assert not (tmp_path / "keys").exists()


def test_a_first_phase_of_nobody_never_gives_a_ceremonys_key(tmp_path: Path) -> None:
    write_development_ptau(tmp_path / "plain", 4)
    prepare(tmp_path / "plain", tmp_path / "prepared")
    ceremony.init(circuit(), STATEMENT, tmp_path / "prepared", tmp_path / "0.zkey")
    ceremony.contribute(tmp_path / "0.zkey", tmp_path / "1.zkey", "honest")
    with pytest.raises(VerificationError, match="first phase has no contribution"):
        ceremony.finalize(
            circuit(), STATEMENT, tmp_path / "prepared", tmp_path / "1.zkey", tmp_path / "keys"
        )


def test_development_powers_never_give_a_ceremonys_key(tmp_path: Path) -> None:
    write_development_ptau(tmp_path / "plain", 4, "Eve")
    prepare(tmp_path / "plain", tmp_path / "prepared")
    ceremony.init(circuit(), STATEMENT, tmp_path / "prepared", tmp_path / "0.zkey")
    ceremony.contribute(tmp_path / "0.zkey", tmp_path / "1.zkey", "honest")
    with pytest.raises(VerificationError, match="development powers"):
        ceremony.finalize(
            circuit(), STATEMENT, tmp_path / "prepared", tmp_path / "1.zkey", tmp_path / "keys"
        )
    assert not (tmp_path / "keys").exists()


def test_contributing_to_a_forged_key_is_refused(tmp_path: Path) -> None:
    start, _ = section(ceremony_files()[1], L)
    bad = copy_with(ceremony_files()[1], tmp_path / "bad", {start: b"\1" * 32})
    with pytest.raises(InvalidInput, match=r"8 \(L\)\[0\]"):
        ceremony.contribute(bad, tmp_path / "next", "honest")
    assert not (tmp_path / "next").exists()


@pytest.mark.parametrize(
    ("value", "log", "reason"), [(b"", 10, "1 to 255"), (b"x", 9, "2"), (b"x" * 256, 10, "255")]
)
def test_a_beacons_parameters_are_checked(
    value: bytes, log: int, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        ceremony.beacon(ceremony_files()[1], tmp_path / "next", value, log)


def test_a_long_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="64 bytes"):
        ceremony.contribute(ceremony_files()[0], tmp_path / "next", "n" * 65)


# --- what the mark is worth ----------------------------------------------------------------------


def test_a_relabelled_development_zkey_convinces_nobody(tmp_path: Path) -> None:
    """A development key whose file claims a ceremony: production finds no record of one."""
    zkey = keys().proving.zkey
    mark = key_mark(STATEMENT, circuit().digest, "ceremony")
    ceremony.copy_zkey(zkey, tmp_path / "proving.zkey", mark)
    claimed = ProvingKey(tmp_path / "proving.zkey").verifying_key(circuit())
    assert claimed.key_status == "ceremony"
    with pytest.raises(VerificationError, match="records none"):
        claimed.check_production()
    with pytest.raises(VerificationError, match="alpha, beta or gamma"):
        ceremony.verify(circuit(), ptau(), tmp_path / "proving.zkey")


def test_a_key_without_any_contribution_is_not_imported(tmp_path: Path) -> None:
    """Its delta is the generator, as gamma is: whoever has a proof shifts C to prove anything."""
    import_zkey(circuit(), STATEMENT, ceremony_files()[1], tmp_path / "contributed")
    with pytest.raises(InvalidInput, match="no contribution yet"):
        import_zkey(circuit(), STATEMENT, ceremony_files()[0], tmp_path / "keys")
    assert not (tmp_path / "keys").exists()


def test_a_contribution_to_a_finished_key_makes_it_a_development_key(tmp_path: Path) -> None:
    ceremony.contribute(ceremony_keys().proving.path, tmp_path / "next.zkey", "late")
    assert ProvingKey(tmp_path / "next.zkey").key_status == "development"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_production_follows_the_recorded_chain(count: int) -> None:
    """A record with fewer contributions does not end at the key's delta."""
    key = ceremony_keys().verifying
    key.check_production()
    assert key.ceremony is not None
    short = replace(
        key.ceremony.transcript, contributions=key.ceremony.transcript.contributions[:count]
    )
    cut = replace(key, ceremony=replace(key.ceremony, transcript=short))
    with pytest.raises(VerificationError, match=r"no contribution|key's delta"):
        cut.check_production()


def test_production_needs_a_first_phase_and_the_keys_own_delta() -> None:
    key = ceremony_keys().verifying
    assert key.ceremony is not None
    nobody = replace(key, ceremony=replace(key.ceremony, phase1_contributions=0))
    with pytest.raises(VerificationError, match="first phase"):
        nobody.check_production()
    moved = replace(key, delta=g2_multiply(key.delta, 2))
    with pytest.raises(VerificationError, match="key's delta"):
        moved.check_production()


def test_the_keys_of_a_ceremony_open_from_their_folder() -> None:
    opened = Keys.from_path(folder() / "ceremony")
    opened.verifying.check_production()
    assert VerifyingKey.from_path(folder() / "ceremony" / "verifying.json") == opened.verifying


def test_an_import_of_a_contributed_key_can_be_finalised(tmp_path: Path) -> None:
    """A foreign tool drops our mark; import and finalize bring the key back."""
    path = ceremony_files()[3]
    imported = import_zkey(circuit(), STATEMENT, path, tmp_path / "imported")
    made = ceremony.finalize(
        circuit(), STATEMENT, ptau(), imported.proving.path, tmp_path / "final"
    )
    assert made.verifying == ceremony_keys().verifying
