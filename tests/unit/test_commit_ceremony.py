"""Ceremonies over two deltas and the files they leave: honest ones verify, each cheat is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commit_support import (
    STATEMENT,
    begin,
    ceremony_files,
    ceremony_keys,
    circuit,
    folder,
    keys,
    proof,
    the_ceremony,
)

from zkai import native_keys
from zkai.circuit.binfile import SectionWriter
from zkai.encoding import FIELD_MODULUS, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.ceremony import new_contribution, party
from zkai.proof.commit import argument, ceremony, keyfile
from zkai.proof.commit.keyfile import K1, K2, CommitHeader, CommitKeyFile, commit_key_writer
from zkai.proof.commit.keys import SLOTS, CommitKeys, CommitProof, CommitVerifyingKey
from zkai.proof.points import G1_GENERATOR, G2_GENERATOR
from zkai.proof.powers import write_development_ptau
from zkai.proof.ptau import prepare
from zkai.proof.randompoint import beacon_seed, contribution_key, slot_seed
from zkai.proof.ratio import g1_multiply, g2_multiply
from zkai.proof.scalars import no_progress
from zkai.proof.transcript import Transcript
from zkai.proof.zkey import B1, B2, CONTRIBUTIONS, HEADER, IC, MARK, A, H


def transcript(path: Path) -> Transcript:
    return Transcript.from_bytes(CommitKeyFile(path).file.view(CONTRIBUTIONS), str(path))


def rewrite(
    source: Path,
    name: str,
    header: Callable[[CommitHeader], CommitHeader] = lambda h: h,
    record: Callable[[Transcript], Transcript] = lambda t: t,
    sections: dict[int, bytes] | None = None,
) -> Path:
    """Write a key again with a changed header, transcript or sections."""
    key, target = CommitKeyFile(source), folder() / f"{name}.zkck"
    mark = key.mark() or {}
    changed = record(transcript(source)).to_bytes()
    with commit_key_writer(target, header(key.header), changed, mark) as writer:
        for kind in key.header.sizes.points():
            writer.view(kind)[:] = (sections or {}).get(kind, bytes(key.file.view(kind)))
    return target


def refuse(path: Path, reason: str, error: type[Exception] = VerificationError) -> None:
    with pytest.raises(error, match=reason):
        ceremony.verify(the_ceremony(), path)


def scaled(path: Path, kind: int, factor: int, row: int | None = None) -> bytes:
    """Return a section with one point, or all, multiplied."""
    points = CommitKeyFile(path).g1(kind)
    changed = native_keys.points_scale("g1", points, to_limbs([factor]))
    if row is None:
        return changed.tobytes()
    mixed = points.copy()
    mixed[row] = changed[row]
    return mixed.tobytes()


def test_a_ceremonys_keys_prove_for_production() -> None:
    used = ceremony_keys()
    made = argument.prove(circuit(), used.proving, begin(), STATEMENT)
    for verifier in ("native", "py-ecc"):
        argument.verify(
            made, used.verifying, verifier, production=True, trusted_digests=[used.verifying.digest]
        )
    record = used.verifying.ceremony
    assert record is not None
    assert [entry.name for entry in record.transcript.contributions] == [
        "first", "first", "second", "second", "beacon", "beacon"
    ]  # fmt: skip
    assert CommitVerifyingKey.from_path(folder() / "ceremony" / "verifying.json") == used.verifying
    assert CommitKeys.from_path(folder() / "ceremony").verifying == used.verifying


def test_production_needs_a_digest_that_the_verifier_trusts() -> None:
    used = ceremony_keys()
    made = argument.prove(circuit(), used.proving, begin(), STATEMENT)
    argument.verify(made, used.verifying)
    with pytest.raises(InvalidInput, match="name the digest"):
        argument.verify(made, used.verifying, production=True)
    for production in (False, True):
        with pytest.raises(VerificationError, match="not one that you trust"):
            argument.verify(
                made, used.verifying, production=production, trusted_digests=[bytes(32)]
            )
    digests = [keys().verifying.digest]
    with pytest.raises(VerificationError, match="development key"):
        argument.verify(proof(), keys().verifying, production=True, trusted_digests=digests)


def test_a_relabelled_development_key_is_refused() -> None:
    relabelled = replace(keys().verifying, key_status="ceremony")
    borrowed = replace(relabelled, ceremony=ceremony_keys().verifying.ceremony)
    claimed = replace(proof(), key_status="ceremony", vk_digest=relabelled.digest)
    for key, reason in ((relabelled, "records none"), (borrowed, "not lead to the key's delta")):
        for verifier in ("native", "py-ecc"):
            for _ in range(2):
                with pytest.raises(VerificationError, match=reason):
                    argument.verify(claimed, key, verifier)
        with pytest.raises(VerificationError, match=reason):
            key.check_production()


def test_a_key_file_claims_a_ceremony_exactly_if_it_records_one() -> None:
    used = ceremony_keys().verifying
    with pytest.raises(InvalidInput, match="claims a ceremony but records none"):
        CommitVerifyingKey.from_json(replace(used, ceremony=None).to_json())
    with pytest.raises(InvalidInput, match="a development key has no record"):
        CommitVerifyingKey.from_json(replace(keys().verifying, ceremony=used.ceremony).to_json())


def test_development_powers_make_no_ceremonys_key(tmp_path: Path) -> None:
    plain, prepared = tmp_path / "plain.ptau", tmp_path / "prepared.ptau"
    write_development_ptau(plain, 4, "alone")
    prepare(plain, prepared)
    run = replace(the_ceremony(), ptau=prepared)
    ceremony.init(run, tmp_path / "0.zkck")
    ceremony.contribute(run, tmp_path / "0.zkck", tmp_path / "1.zkck", "first")
    with pytest.raises(VerificationError, match="development powers"):
        ceremony.verify(run, tmp_path / "1.zkck")


def test_every_step_verifies_but_the_first() -> None:
    for path in ceremony_files()[1:]:
        ceremony.verify(the_ceremony(), path)
    refuse(ceremony_files()[0], "no contribution")


def test_the_beacon_gives_two_different_secrets() -> None:
    seed = beacon_seed(b"public value", 10)
    first, second = (contribution_key(slot_seed(seed, slot))[0] for slot in SLOTS)
    assert first != second
    header = CommitKeyFile(ceremony_files()[2]).header
    after = CommitKeyFile(ceremony_files()[3]).header
    assert after.delta1_g1 == g1_multiply(header.delta1_g1, first)
    assert after.delta2_g2 == g2_multiply(header.delta2_g2, second)


@pytest.mark.parametrize("section", [K1, K2, H, A, B1, IC])
@pytest.mark.parametrize("row", [0, -1])
def test_every_section_is_checked(section: int, row: int) -> None:
    last = ceremony_files()[3]
    points = CommitKeyFile(last).g1(section)
    rows = np.flatnonzero(points.any(axis=1))
    changed = scaled(last, section, 2, int(rows[row]))
    refuse(rewrite(last, f"bad{section}{row}", sections={section: changed}), f"section {section} ")


def test_b_in_g2_is_checked() -> None:
    last = ceremony_files()[3]
    points = CommitKeyFile(last).g2(B2)
    row = int(np.flatnonzero(points.any(axis=1))[0])
    mixed = points.copy()
    mixed[row] = native_keys.points_scale("g2", points, to_limbs([2]))[row]
    refuse(rewrite(last, "badb2", sections={B2: mixed.tobytes()}), "section 7 ")


def test_exchanged_and_misplaced_points_are_refused() -> None:
    """K of round 2 divided by delta1, K of round 1 divided by delta2."""
    last = ceremony_files()[3]
    k1, k2 = (CommitKeyFile(last).g1(kind).copy() for kind in (K1, K2))
    for kind, own, other in ((K1, k1, k2), (K2, k2, k1)):
        taken = own.copy()
        taken[0] = other[np.flatnonzero(other.any(axis=1))[0]]
        refuse(rewrite(last, f"mis{kind}", sections={kind: taken.tobytes()}), f"section {kind} ")


def start(run: ceremony.Ceremony, path: Path) -> None:
    """Start a ceremony without the lint."""
    ptau = ceremony._checked_ptau(run, no_progress)
    ceremony._write_initial(run, ptau, path, no_progress)


def test_a_key_of_another_partition_is_refused() -> None:
    """A whole ceremony, but over a circuit where v moved to round 2."""
    rounds = circuit().rounds.copy()
    rounds[circuit().inputs["v"].wires] = 2
    other = replace(the_ceremony(), circuit=replace(circuit(), rounds=rounds))
    with pytest.raises(InvalidInput):
        ceremony.init(other, folder() / "never.zkck")
    paths = [folder() / f"moved{i}.zkck" for i in range(2)]
    ceremony._write_initial(
        other, ceremony._checked_ptau(other, no_progress), paths[0], no_progress
    )
    ceremony.contribute(other, paths[0], paths[1], "someone")
    refuse(paths[1], "sizes")
    # Two wires exchanged between the rounds: the same sizes.
    rounds = circuit().rounds.copy()
    rounds[[int(circuit().inputs["v"].wires[0]), circuit().n_wires - 1]] = (2, 1)
    other = replace(the_ceremony(), circuit=replace(circuit(), rounds=rounds))
    ceremony._write_initial(
        other, ceremony._checked_ptau(other, no_progress), paths[0], no_progress
    )
    ceremony.contribute(other, paths[0], paths[1], "someone")
    refuse(paths[1], "circuit's hash")
    honest = transcript(ceremony_files()[3])
    mixed = rewrite(
        paths[1],
        "relabelled",
        header=lambda h: replace(CommitKeyFile(ceremony_files()[3]).header, sizes=h.sizes),
        record=lambda _: honest,
    )
    refuse(mixed, "not the initial key's points divided")


def test_a_contributor_refuses_a_key_that_is_not_the_circuits() -> None:
    """Else it would divide a misplaced point by its secret, which is the whole attack."""
    source = ceremony_files()[1]
    k2 = CommitKeyFile(source).g1(K2)
    planted = CommitKeyFile(source).g1(K1).copy()
    planted[0] = k2[np.flatnonzero(k2.any(axis=1))[0]]
    bad = rewrite(source, "planted", sections={K1: planted.tobytes()})
    for step in (
        lambda: ceremony.contribute(the_ceremony(), bad, folder() / "x.zkck", "victim"),
        lambda: ceremony.beacon(the_ceremony(), bad, folder() / "x.zkck", b"value"),
    ):
        with pytest.raises(VerificationError, match="section 11"):
            step()
    assert not (folder() / "x.zkck").exists()


def with_deltas(d1: int, d2: int) -> Callable[[CommitHeader], CommitHeader]:
    def change(header: CommitHeader) -> CommitHeader:
        return replace(
            header,
            delta1_g1=g1_multiply(G1_GENERATOR, d1),
            delta1_g2=g2_multiply(G2_GENERATOR, d1),
            delta2_g1=g1_multiply(G1_GENERATOR, d2),
            delta2_g2=g2_multiply(G2_GENERATOR, d2),
        )

    return change


def chain(d1: int, d2: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[Transcript], Transcript]:
    """Return a well-formed contribution by known secrets, from the initial key."""

    def change(past: Transcript) -> Transcript:
        result = Transcript(past.circuit_hash)
        seed, template = party("known", b"")
        for slot, secret in zip(SLOTS, (d1, d2), strict=True):
            with monkeypatch.context() as patch:
                patch.setattr(
                    "zkai.proof.ceremony.contribution_key",
                    lambda _, d=secret: (
                        d, g1_multiply(G1_GENERATOR, 77), g1_multiply(G1_GENERATOR, 77 * d)
                    ),
                )  # fmt: skip
                _, entry = new_contribution(template, result, G1_GENERATOR, seed, slot)
            result = result.append(entry)
        return result

    return change


@pytest.mark.parametrize(
    ("d1", "d2", "reason"),
    [
        (5, 5, "equal, up to sign"),
        (5, -5, "equal, up to sign"),
        (1, 5, "everyone knows"),
        (5, 1, "everyone knows"),
        (5, -1, "everyone knows"),
        (5, 6, None),
    ],
)
def test_equal_and_trivial_deltas(
    d1: int, d2: int, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    initial = ceremony_files()[0]
    inverse = {d: pow(d, -1, FIELD_MODULUS) for d in (d1, d2)}
    path = rewrite(
        initial,
        f"deltas{d1}{d2}",
        header=with_deltas(d1, d2),
        record=chain(d1, d2, monkeypatch),
        sections={
            K1: scaled(initial, K1, inverse[d1]),
            K2: scaled(initial, K2, inverse[d2]),
            H: scaled(initial, H, inverse[d2]),
        },
    )
    if reason:
        refuse(path, reason)
    else:
        ceremony.verify(the_ceremony(), path)


def test_identity_deltas_are_refused() -> None:
    last = ceremony_files()[3]
    for name in ("delta1_g1", "delta2_g1", "delta1_g2", "delta2_g2"):
        path = rewrite(last, name, header=lambda h, n=name: replace(h, **{n: None}))
        refuse(path, "infinity", InvalidInput)


def contributions(change: Callable[[list[Any]], list[Any]]) -> Callable[[Transcript], Transcript]:
    return lambda t: Transcript(t.circuit_hash, tuple(change(list(t.contributions))))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c[:-1], "does not cover every delta"),
        (lambda c: c[2:], "does not follow|does not hold"),
        (lambda c: [c[1], c[0], *c[2:]], "transcript hash"),
        (lambda c: [c[0], c[0], *c[2:]], "transcript hash"),
        (lambda c: c[:2] + c[4:] + c[2:4], "transcript hash"),
        (lambda c: c[:-2], "does not lead"),
        (lambda c: [replace(c[0], name="other"), *c[1:]], "different parties"),
        (lambda c: [*c[:-1], replace(c[-1], beacon=b"another")], "different parties"),
        (lambda c: [*c[:4], *(replace(e, beacon=b"another") for e in c[4:])], "beacon's value"),
        (lambda c: [replace(c[0], g2_spx=c[1].g2_spx), *c[1:]], "proof of knowledge"),
        (lambda c: [replace(c[0], delta_after=c[1].delta_after), *c[1:]], "delta does not follow"),
        (lambda c: [], "no contribution"),
    ],
)
def test_broken_chains(change: Any, reason: str) -> None:
    last = ceremony_files()[3]
    refuse(rewrite(last, "chain", record=contributions(change)), reason)
    record = ceremony_keys().verifying.ceremony
    assert record is not None
    broken = replace(record, transcript=contributions(change)(record.transcript))
    with pytest.raises(VerificationError, match=reason):
        replace(ceremony_keys().verifying, ceremony=broken).check_production()


def test_a_proof_of_knowledge_is_bound_to_its_delta() -> None:
    """The proof for delta1 under the name of delta2, at the same place of the transcript."""
    past = transcript(ceremony_files()[0])
    seed, template = party("one", b"")
    _, entry = new_contribution(template, past, G1_GENERATOR, seed, SLOTS[0])
    assert entry.transcript != past.challenge(entry.g1_s, entry.g1_sx, SLOTS[1])
    assert entry.transcript != past.challenge(entry.g1_s, entry.g1_sx)


def test_a_damaged_key_file() -> None:
    last = ceremony_files()[3]
    data = last.read_bytes()
    for size in (0, 8, 100, len(data) // 2, len(data) - 1):
        path = folder() / "cut.zkck"
        path.write_bytes(data[:size])
        with pytest.raises(InvalidInput):
            CommitKeyFile(path)
    key = CommitKeyFile(last)
    for change, reason in (
        ({"n_public": 1}, "two rounds"),
        ({"n_round1": 99}, "two rounds"),
        ({"domain_size": 3}, "power of two"),
        ({"n_wires": 13}, "section"),
    ):
        header = replace(key.header, sizes=replace(key.header.sizes, **change))
        patched = data.replace(key.header.to_bytes(), header.to_bytes())
        path.write_bytes(patched)
        with pytest.raises(InvalidInput, match=reason):
            CommitKeyFile(path)


def test_a_key_with_another_section_is_refused() -> None:
    """It could publish K of a wire under the other delta."""
    key = CommitKeyFile(ceremony_files()[3])
    kinds = [*sorted(key.file.kinds()), 99]
    path = folder() / "extra.zkck"
    sizes = [(kind, key.file.size(kind) if kind != 99 else 64) for kind in kinds]
    with SectionWriter(path, keyfile.MAGIC, keyfile.VERSION, sizes, align=kinds) as writer:
        for kind in kinds[:-1]:
            writer.view(kind)[:] = key.file.view(kind)
    with pytest.raises(InvalidInput, match="no section 99"):
        CommitKeyFile(path)
    assert {HEADER, MARK, CONTRIBUTIONS} < key.file.kinds()


def test_documents_round_trip(tmp_path: Path) -> None:
    proof().write(tmp_path / "proof.json")
    assert CommitProof.from_path(tmp_path / "proof.json") == proof()
    keys().verifying.write(tmp_path / "key.json")
    assert CommitVerifyingKey.from_path(tmp_path / "key.json") == keys().verifying


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "zkai.groth16-vk/1"}, "format"),
        ({"challenges": []}, "1 to 255"),
        ({"challenges": ["fold", "fold"]}, "twice"),
        ({"challenges": ["alpha", "fold"]}, "the first"),
        ({"challenges": ["fold"]}, "disagree"),
        ({"challenges": "fold"}, "list of names"),
        ({"public": [{"name": "x", "size": 3}]}, "vk_digest"),
        ({"vk_digest": "0x" + "00" * 32}, "vk_digest"),
        ({"delta1": "delta2"}, "equal"),
        ({"more": 1}, "unknown field"),
    ],
)
def test_a_malformed_verifying_key(change: dict[str, Any], reason: str) -> None:
    value = json.loads(json.dumps(keys().verifying.to_json()))
    if change.get("delta1") == "delta2":
        change = {"delta1": value["delta2"]}
    with pytest.raises(InvalidInput, match=reason):
        CommitVerifyingKey.from_json(value | change)


def test_a_malformed_proof() -> None:
    value = json.loads(json.dumps(proof().to_json()))
    value["proof"].pop("d")
    with pytest.raises(InvalidInput, match="missing field d"):
        CommitProof.from_json(value)
    with pytest.raises(InvalidInput, match="format"):
        CommitProof.from_json(value | {"format": "zkai.groth16/1"})


def test_the_digest_binds_every_part_of_the_key() -> None:
    key = keys().verifying
    changed = [
        replace(key, key_status="ceremony"),
        replace(key, circuit_digest=bytes(32)),
        replace(key, alpha=G1_GENERATOR),
        replace(key, beta=G2_GENERATOR),
        replace(key, delta1=G2_GENERATOR),
        replace(key, delta2=G2_GENERATOR),
        replace(key, ic=(*key.ic[:-1], G1_GENERATOR)),
        replace(key, ic=(*key.ic[1:], key.ic[0])),
    ]
    assert len({k.digest for k in [key, *changed]}) == len(changed) + 1
