"""The second phase of a setup with two deltas: each party multiplies both, anyone checks all of it.

A contribution multiplies delta1 by d1 and delta2 by d2, with two proofs of knowledge that bind the
delta's name and everything before; K1 is divided by d1, K2 and H by d2. The key is sound if one
contributor of either phase was honest.

A contributor first verifies the whole key it was given: dividing a point that an earlier party put
in a wrong place (K of an IC wire, or of a wire of the other round) would complete the attack, and
the place could be mended afterwards, so that the last key shows nothing.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from zkai import native, native_keys
from zkai.circuit.binfile import Words
from zkai.circuit.r1cs import Circuit
from zkai.circuit.rounds import lint_rounds
from zkai.encoding import to_limbs
from zkai.errors import VerificationError
from zkai.proof.ceremony import (
    check_sections,
    new_contribution,
    party,
    public_party,
    verify_divided,
    verify_equal,
)
from zkai.proof.commit.keyfile import (
    K1,
    K2,
    POWERS,
    CommitHeader,
    CommitKeyFile,
    Sizes,
    commit_key_writer,
    partition,
)
from zkai.proof.commit.keys import (
    PROVING_FILE,
    SLOTS,
    CommitKeys,
    CommitProvingKey,
)
from zkai.proof.initial import hash_points, ptau_log, write_points
from zkai.proof.keys import CEREMONY, DEVELOPMENT, with_ceremony
from zkai.proof.phase1 import independent, verify_phase1
from zkai.proof.points import G1_GENERATOR, G2_GENERATOR
from zkai.proof.proving_keys import VERIFYING_FILE, key_mark
from zkai.proof.ptau import (
    ALPHA_G1,
    BETA_G1,
    BETA_G2,
    TAU_G1,
    TAU_G2,
    Ptau,
    check_powers,
)
from zkai.proof.ratio import g2_multiply, same_ratio
from zkai.proof.record import CeremonyRecord
from zkai.proof.scalars import Progress, no_progress
from zkai.proof.setup import make_folder
from zkai.proof.transcript import Contribution, Transcript, verify_chains
from zkai.proof.zkey import B1, B2, CONTRIBUTIONS, IC, A, H

_DIVIDED_BY = {K1: 0, K2: 1, H: 1}
"""Which delta divides a section."""


def _fixed(header: CommitHeader) -> tuple[int, ...]:
    """Return the sections of points that no contribution changes."""
    return (IC, A, B1, B2, POWERS) if header.sizes.n_links else (IC, A, B1, B2)


@dataclass(frozen=True)
class Ceremony:
    """What every step of a ceremony works on: circuit, statement, the first phase's file."""

    circuit: Circuit
    statement: str
    ptau: Path | str


def init(ceremony: Ceremony, target: Path | str, progress: Progress | None = None) -> None:
    """Start a ceremony: check the .ptau and write the key that the first contributor takes.

    Raises InvalidInput if the .ptau is malformed, inconsistent or too small, or the circuit's
    rounds would make the argument unsound.
    """
    report = progress or no_progress
    lint_rounds(ceremony.circuit)
    _write_initial(ceremony, _checked_ptau(ceremony, report), target, report)
    report("init", 1.0)


def contribute(
    ceremony: Ceremony,
    source: Path | str,
    target: Path | str,
    name: str,
    entropy: bytes = b"",
    progress: Progress | None = None,
) -> tuple[Contribution, ...]:
    """Verify a key, multiply each of its deltas by a fresh secret, and forget the secrets.

    The secrets come from the operating system; `entropy` is mixed in and need not be secret.
    Returns the contributions to delta1 and delta2, whose `digest`s their maker should publish.

    Raises InvalidInput if a file is malformed or cannot be written, VerificationError if the key
    is not that of the circuit after the contributions that it records.
    """
    return _apply(ceremony, source, target, *party(name, entropy), progress)


def beacon(
    ceremony: Ceremony,
    source: Path | str,
    target: Path | str,
    value: bytes,
    log_iterations: int = 10,
    name: str = "",
    progress: Progress | None = None,
) -> tuple[Contribution, ...]:
    """Close a ceremony with a public random value that nobody could know before.

    SHA-256 iterated 2**log_iterations times gives a seed, and the seed one secret for each delta.

    Raises as `contribute` does, and InvalidInput unless the value has 1..255 bytes and
    10 <= log_iterations <= 20.
    """
    return _apply(ceremony, source, target, *public_party(value, log_iterations, name), progress)


def _apply(
    ceremony: Ceremony,
    source: Path | str,
    target: Path | str,
    seed: bytes,
    template: Contribution,
    progress: Progress | None,
) -> tuple[Contribution, ...]:
    report = progress or no_progress
    key = CommitKeyFile(source)
    transcript = _verify_key(ceremony, _checked_ptau(ceremony, report), key, False, report)
    header, made, inverses = key.header, [], []
    in_g1 = [header.delta1_g1, header.delta2_g1]
    in_g2 = [header.delta1_g2, header.delta2_g2]
    for i, slot in enumerate(SLOTS):
        secret, entry = new_contribution(template, transcript, in_g1[i], seed, slot)
        in_g1[i], in_g2[i] = entry.delta_after, g2_multiply(in_g2[i], secret)
        inverses.append(native.fr_inv(to_limbs([secret])))
        transcript = transcript.append(entry)
        made.append(entry)
    header = replace(
        header, delta1_g1=in_g1[0], delta2_g1=in_g1[1], delta1_g2=in_g2[0], delta2_g2=in_g2[1]
    )
    mark = key_mark(ceremony.statement, ceremony.circuit.digest, DEVELOPMENT)
    with commit_key_writer(target, header, transcript.to_bytes(), mark) as writer:
        for kind in _fixed(header):
            writer.view(kind)[:] = key.file.view(kind)
        for done, (kind, index) in enumerate(_DIVIDED_BY.items()):
            report(f"contribute: section {kind}", 0.6 + 0.1 * done)
            points = key.g1(kind)
            out = writer.words(kind, len(points), 8)
            native_keys.points_scale("g1", points, inverses[index], out)
    native_keys.wipe(*inverses)
    report("contribute", 1.0)
    return tuple(made)


def verify(
    ceremony: Ceremony, source: Path | str, progress: Progress | None = None
) -> CeremonyRecord:
    """Check a whole ceremony and return its record for the verifying key.

    The .ptau: every point, its powers, its chain of contributions, one of them verifiable and not
    by `write_development_ptau`. The proving key, all of it: the
    partition's sizes, alpha, beta, IC, A and B equal to those made afresh from circuit and .ptau;
    K1 those of round 1 divided by delta1, K2 those of round 2 and H divided by delta2; the deltas
    the same in G1 and G2, trivial in no way, and each the end of a chain of proven contributions.

    Raises InvalidInput for malformed files and VerificationError naming what does not hold.
    """
    report = progress or no_progress
    lint_rounds(ceremony.circuit)
    ptau = _checked_ptau(ceremony, report)
    phase1 = independent(ptau, verify_phase1(ptau))
    transcript = _verify_key(ceremony, ptau, CommitKeyFile(source), True, report)
    report("verify ceremony", 1.0)
    return CeremonyRecord(ptau.power, len(phase1), phase1[-1].next_challenge, transcript)


def finalize(
    ceremony: Ceremony,
    source: Path | str,
    folder: Path | str,
    progress: Progress | None = None,
) -> CommitKeys:
    """Verify a ceremony and write its keys to `folder`, marked as a ceremony's.

    Raises InvalidInput for malformed files and VerificationError if the ceremony does not verify.
    """
    record = verify(ceremony, source, progress)
    make_folder(folder)
    path, key = Path(folder) / PROVING_FILE, CommitKeyFile(source)
    mark = key_mark(ceremony.statement, ceremony.circuit.digest, CEREMONY)
    section_10 = bytes(key.file.view(CONTRIBUTIONS))
    with commit_key_writer(path, key.header, section_10, mark) as writer:
        for kind in key.header.sizes.points():
            writer.view(kind)[:] = key.file.view(kind)
    proving = CommitProvingKey(path)
    verifying = with_ceremony(proving.verifying_key(ceremony.circuit), record)
    verifying.check_production()
    verifying.write(Path(folder) / VERIFYING_FILE)
    return CommitKeys(proving, verifying)


def _checked_ptau(ceremony: Ceremony, report: Progress) -> Ptau:
    ptau = Ptau(ceremony.ptau)
    needed = (Sizes.of(ceremony.circuit).n_powers // 2).bit_length()  # 2**(needed + 1) - 1 powers
    check_powers(ptau, max(ptau_log(ceremony.circuit, ptau), needed), report)
    return ptau


def check_points(key: CommitKeyFile, report: Progress) -> None:
    """Return None if every point of a key is canonical, on its curve and in its subgroup.

    IC and H may not hold infinity; wires that do not occur leave it in A, B, K1 and K2.

    Raises InvalidInput naming the section and the point.
    """
    full = (IC, H, POWERS) if key.header.sizes.n_links else (IC, H)
    check_sections(key, (A, B1, K1, K2), full, report)
    key.check_header()


def _verify_key(
    ceremony: Ceremony, ptau: Ptau, key: CommitKeyFile, finished: bool, report: Progress
) -> Transcript:
    """Verify a key against the initial one; only unfinished ones may have no contribution."""
    check_points(key, report)
    where = key.file.where(CONTRIBUTIONS)
    transcript = Transcript.from_bytes(key.file.view(CONTRIBUTIONS), where)
    with tempfile.TemporaryDirectory(prefix="zkai-ceremony-") as folder:
        path = os.path.join(folder, "initial.zkck")
        _write_initial(ceremony, ptau, path, report)
        initial = CommitKeyFile(path)
        start = Transcript.from_bytes(initial.file.view(CONTRIBUTIONS), path)
        _verify_unchanged(key, initial)
        if transcript.circuit_hash != start.circuit_hash:
            raise VerificationError(f"{where}: the circuit's hash is not that of this circuit")
        header = key.header
        deltas = (header.delta1_g1, header.delta2_g1)
        report("verify ceremony: contributions", 0.8)
        if finished or transcript.contributions:
            verify_chains(transcript, deltas, SLOTS)
        elif deltas != (G1_GENERATOR, G1_GENERATOR):
            raise VerificationError(f"{where}: no contribution leads to the key's deltas")
        for name, (in_g1, in_g2) in header.secrets().items():
            if not same_ratio((G1_GENERATOR, in_g1), (G2_GENERATOR, in_g2)):
                raise VerificationError(f"{key.path}: {name} differs between G1 and G2")
        report("verify ceremony: K and H", 0.9)
        for section, index in _DIVIDED_BY.items():
            delta = (header.delta1_g2, header.delta2_g2)[index]
            verify_divided(key, initial, section, delta)
    return transcript


def _verify_unchanged(key: CommitKeyFile, initial: CommitKeyFile) -> None:
    header = key.header
    expected = replace(
        initial.header,
        delta1_g1=header.delta1_g1,
        delta1_g2=header.delta1_g2,
        delta2_g1=header.delta2_g1,
        delta2_g2=header.delta2_g2,
    )
    if header != expected:
        raise VerificationError(
            f"{key.path}: sizes, alpha, beta or tau are not those of circuit and .ptau"
        )
    verify_equal(key, initial, _fixed(header))


def _write_initial(ceremony: Ceremony, ptau: Ptau, path: Path | str, report: Progress) -> None:
    """Write the circuit's key before any contribution: both deltas 1."""
    circuit = ceremony.circuit
    sizes = Sizes.of(circuit)
    header = CommitHeader(
        sizes,
        alpha_g1=ptau.g1(ALPHA_G1, 0),
        beta_g1=ptau.g1(BETA_G1, 0),
        beta_g2=ptau.g2(BETA_G2, 0),
        delta1_g1=G1_GENERATOR,
        delta1_g2=G2_GENERATOR,
        delta2_g1=G1_GENERATOR,
        delta2_g2=G2_GENERATOR,
        tau_g2=ptau.g2(TAU_G2, 1) if sizes.n_links else None,
    )
    mark = key_mark(ceremony.statement, circuit.digest, DEVELOPMENT)
    start = circuit.n_public + 1
    with commit_key_writer(path, header, Transcript(bytes(64)).to_bytes(), mark) as writer:
        private = native.new_limbs(circuit.n_wires - start, 8)
        write_points(writer, private, circuit, ptau, ptau_log(circuit, ptau), report)
        digest = hashlib.blake2b(SLOTS[0] + SLOTS[1] + circuit.digest + header.to_bytes())
        if sizes.n_links:
            digest.update(header.link_bytes())
            writer.words(POWERS, sizes.n_powers, 8)[:] = ptau.powers(TAU_G1, sizes.n_powers)
        for section, wires in zip((K1, K2), partition(circuit), strict=True):
            writer.words(section, len(wires), 8)[:] = private[wires - start]
        for section, size in sizes.points().items():
            group, width = ("g2", 16) if section == B2 else ("g1", 8)
            points: Words = writer.words(section, size // (8 * width), width)
            hash_points(digest, group, points)
        writer.write(CONTRIBUTIONS, Transcript(digest.digest()).to_bytes())
