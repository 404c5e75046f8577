"""The second phase of a setup: several parties multiply delta, and anyone checks all of it.

The key is sound if one contributor of either phase was honest. Files and transcripts are iden3's:
snarkjs verifies our ceremonies and we verify snarkjs's.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai import native, native_keys
from zkai.circuit.r1cs import Circuit
from zkai.encoding import to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.initial import write_initial
from zkai.proof.keys import CEREMONY, DEVELOPMENT, with_ceremony
from zkai.proof.phase1 import independent, verify_phase1
from zkai.proof.points import G1, G1_GENERATOR, G2, G2_GENERATOR
from zkai.proof.proving_keys import PROVING_FILE, VERIFYING_FILE, PlainKeys, ProvingKey, key_mark
from zkai.proof.ptau import Ptau, check_powers, combine, random_coefficients, same_ratio_g1
from zkai.proof.randompoint import beacon_seed, contribution_key, hash_to_g2, slot_seed
from zkai.proof.ratio import g1_multiply, g2_multiply, same_ratio
from zkai.proof.record import CeremonyRecord
from zkai.proof.scalars import Progress, no_progress
from zkai.proof.setup import domain_log, make_folder
from zkai.proof.transcript import (
    BEACON,
    BEACON_BOUNDS,
    MAX_BEACON_LOG,
    MIN_BEACON_LOG,
    PARTY,
    Contribution,
    Transcript,
    verify_chain,
)
from zkai.proof.zkey import B1, B2, COEFS, CONTRIBUTIONS, IC, A, H, KeyFile, L, Zkey, zkey_writer


def init(
    circuit: Circuit,
    statement: str,
    ptau_path: Path | str,
    zkey_path: Path | str,
    progress: Progress | None = None,
) -> None:
    """Start a ceremony: check the .ptau and write the key that the first contributor takes.

    The .ptau's points are checked one by one and against each other. It must be prepared.

    Raises InvalidInput if the .ptau is malformed, inconsistent or too small.
    """
    report = progress or no_progress
    ptau = Ptau(ptau_path)
    check_powers(ptau, min(domain_log(circuit), ptau.power), report)
    write_initial(
        circuit, ptau, zkey_path, key_mark(statement, circuit.digest, DEVELOPMENT), report
    )
    report("init", 1.0)


def contribute(
    source: Path | str,
    target: Path | str,
    name: str,
    entropy: bytes = b"",
    progress: Progress | None = None,
) -> Contribution:
    """Multiply the key's delta by a fresh secret, and forget the secret.

    The secret comes from the operating system; `entropy` is mixed in and need not be secret.
    Returns the contribution, whose `digest` its maker should publish.

    Raises InvalidInput if `source` is malformed or `target` cannot be written.
    """
    return _apply(source, target, *party(name, entropy), progress)


def party(name: str, entropy: bytes) -> tuple[bytes, Contribution]:
    """Return a party's fresh seed and a record that names the party.

    Raises InvalidInput for a name of more than 64 bytes.
    """
    if len(name.encode()) > 64:
        raise InvalidInput("a contributor's name has at most 64 bytes")
    seed = hashlib.blake2b(secrets.token_bytes(64) + entropy).digest()[:32]
    return seed, Contribution(None, None, None, None, b"", PARTY, name)


def beacon(
    source: Path | str,
    target: Path | str,
    value: bytes,
    log_iterations: int = 10,
    name: str = "",
    progress: Progress | None = None,
) -> Contribution:
    """Close a ceremony with a public random value that nobody could know before.

    The secret is derived from SHA-256 iterated 2**log_iterations times, which anyone can repeat.

    Raises InvalidInput unless the value has 1..255 bytes and 10 <= log_iterations <= 20.
    """
    return _apply(source, target, *public_party(value, log_iterations, name), progress)


def public_party(value: bytes, log_iterations: int, name: str) -> tuple[bytes, Contribution]:
    """Return a beacon's seed and a record that names it.

    Raises InvalidInput unless the value has 1..255 bytes and 10 <= log_iterations <= 20.
    """
    if not 1 <= len(value) <= 255 or not MIN_BEACON_LOG <= log_iterations <= MAX_BEACON_LOG:
        raise InvalidInput(f"{BEACON_BOUNDS}, not 2**{log_iterations}")
    record = Contribution(None, None, None, None, b"", BEACON, name, value, log_iterations)
    return beacon_seed(value, log_iterations), record


def new_contribution(
    template: Contribution, past: Transcript, delta1: G1, seed: bytes, slot: bytes = b""
) -> tuple[int, Contribution]:
    """Return the secret d of a seed, and the record that proves knowledge of it for d delta1."""
    secret, g1_s, g1_sx = contribution_key(slot_seed(seed, slot))
    challenge = past.challenge(g1_s, g1_sx, slot)
    return secret, replace(
        template,
        delta_after=g1_multiply(delta1, secret),
        g1_s=g1_s,
        g1_sx=g1_sx,
        g2_spx=g2_multiply(hash_to_g2(challenge), secret),
        transcript=challenge,
    )


def _apply(
    source: Path | str,
    target: Path | str,
    seed: bytes,
    template: Contribution,
    progress: Progress | None,
) -> Contribution:
    report = progress or no_progress
    zkey = Zkey(source)
    check_points(zkey, report)
    transcript = Transcript.from_bytes(
        zkey.file.view(CONTRIBUTIONS), zkey.file.where(CONTRIBUTIONS)
    )
    secret, contribution = new_contribution(template, transcript, zkey.header.delta1, seed)
    header = replace(
        zkey.header,
        delta1=contribution.delta_after,
        delta2=g2_multiply(zkey.header.delta2, secret),
    )
    mark = zkey.mark()
    if mark is not None:
        mark = {**mark, "key_status": DEVELOPMENT}
    inverse = native.fr_inv(to_limbs([secret]))
    section_10 = transcript.append(contribution).to_bytes()
    with zkey_writer(target, header, len(zkey.coefs), section_10, mark) as writer:
        for kind in (IC, COEFS, A, B1, B2):
            writer.view(kind)[:] = zkey.file.view(kind)
        for done, kind in enumerate((L, H)):
            report(f"contribute: {'LH'[done]}", 0.2 + 0.4 * done)
            points = zkey.g1(kind)
            native_keys.points_scale("g1", points, inverse, writer.words(kind, len(points), 8))
    native_keys.wipe(inverse)
    report("contribute", 1.0)
    return contribution


def check_points(zkey: Zkey, report: Progress) -> None:
    """Return None if every point of a key is canonical, on its curve and in its subgroup.

    IC and H may not hold infinity; wires that do not occur leave it in A, B and L.

    Raises InvalidInput naming the section and the point.
    """
    check_sections(zkey, (A, B1, L), (IC, H), report)
    zkey.check_header()


def check_sections(
    key: KeyFile, sparse: Iterable[int], full: Iterable[int], report: Progress
) -> None:
    """Check every point of these sections in G1 and of B in G2; `full` ones hold no infinity.

    Raises InvalidInput naming the section and the point.
    """
    for sections, allowed in ((sparse, True), (full, False)):
        for section in sections:
            report(f"check key: section {section}", 0.0)
            where = key.file.where(section)
            native_keys.points_check("g1", key.g1(section), where, allowed)
    report(f"check key: section {B2}", 0.1)
    native_keys.points_check("g2", key.g2(B2), key.file.where(B2), True)


def verify(
    circuit: Circuit,
    ptau_path: Path | str,
    zkey_path: Path | str,
    progress: Progress | None = None,
) -> CeremonyRecord:
    """Check a whole ceremony and return its record for the verifying key.

    The .ptau: every point, its powers, its chain of contributions, one of them verifiable and not
    by `write_development_ptau`. The key: A, B, IC, alpha, beta,
    gamma and coefficients equal to those made afresh from circuit and .ptau; L and H those, divided
    by delta (random linear combinations over every point); delta the same in G1 and G2, not the
    generator, and the end of a chain of proven contributions.

    Raises InvalidInput for malformed files and VerificationError naming what does not hold.
    """
    report = progress or no_progress
    ptau = Ptau(ptau_path)
    check_powers(ptau, min(domain_log(circuit), ptau.power), report)
    phase1 = independent(ptau, verify_phase1(ptau))
    zkey = Zkey(zkey_path)
    check_points(zkey, report)
    transcript = Transcript.from_bytes(
        zkey.file.view(CONTRIBUTIONS), zkey.file.where(CONTRIBUTIONS)
    )
    with tempfile.TemporaryDirectory(prefix="zkai-ceremony-") as folder:
        path = os.path.join(folder, "initial.zkey")
        write_initial(circuit, ptau, path, None, report)
        initial = Zkey(path)
        _verify_unchanged(zkey, initial)
        start = Transcript.from_bytes(initial.file.view(CONTRIBUTIONS), path)
        if transcript.circuit_hash != start.circuit_hash:
            raise VerificationError(
                f"{zkey.file.where(CONTRIBUTIONS)}: the circuit's hash is not that of this circuit"
            )
        report("verify ceremony: contributions", 0.8)
        verify_chain(transcript, zkey.header.delta1)
        report("verify ceremony: L and H", 0.9)
        _verify_divided(zkey, initial)
    report("verify ceremony", 1.0)
    return CeremonyRecord(ptau.power, len(phase1), phase1[-1].next_challenge, transcript)


def _verify_unchanged(zkey: Zkey, initial: Zkey) -> None:
    expected = replace(initial.header, delta1=zkey.header.delta1, delta2=zkey.header.delta2)
    if zkey.header != expected:
        raise VerificationError(
            f"{zkey.path}: sizes, alpha, beta or gamma are not those of circuit and .ptau"
        )
    verify_equal(zkey, initial)
    if not same_coefs(zkey.coefs, initial.coefs):
        raise VerificationError(
            f"{zkey.file.where(COEFS)}: its coefficients are not those of the circuit"
        )


def verify_equal(key: KeyFile, initial: KeyFile, sections: Iterable[int] = (IC, A, B1, B2)) -> None:
    """Return None if sections of a key are the initial key's. Raises VerificationError."""
    for section in sections:
        if key.file.view(section) != initial.file.view(section):
            raise VerificationError(
                f"{key.file.where(section)}: its points are not those of circuit and .ptau"
            )


def same_coefs(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    """Return whether two section 4 hold the same entries, in whatever order."""
    if len(first) != len(second):
        return False
    ordered = [x[np.lexsort((x["wire"], x["row"], x["matrix"]))] for x in (first, second)]
    return ordered[0].tobytes() == ordered[1].tobytes()


def _verify_divided(zkey: Zkey, initial: Zkey) -> None:
    delta = zkey.header.delta2
    if not same_ratio((G1_GENERATOR, zkey.header.delta1), (G2_GENERATOR, delta)):
        raise VerificationError(f"{zkey.path}: delta differs between G1 and G2")
    for section in (L, H):
        verify_divided(zkey, initial, section, delta)


def verify_divided(key: KeyFile, initial: KeyFile, section: int, delta: G2) -> None:
    """Return None if a section holds the initial key's points divided by delta.

    A random linear combination over every point. Raises VerificationError naming the section.
    """
    points, before = key.g1(section), initial.g1(section)
    if len(points) != len(before):
        raise VerificationError(f"{key.file.where(section)}: not as many points as the circuit has")
    if not len(points):
        return
    coefficients = random_coefficients(len(points))
    divided = combine("g1", points, coefficients)
    whole = combine("g1", before, coefficients)
    if not whole.any() and not divided.any():
        return
    if not same_ratio_g1(divided, whole, delta):
        raise VerificationError(
            f"{key.file.where(section)}: not the initial key's points divided by delta"
        )


def finalize(
    circuit: Circuit,
    statement: str,
    ptau_path: Path | str,
    zkey_path: Path | str,
    folder: Path | str,
    progress: Progress | None = None,
) -> PlainKeys:
    """Verify a ceremony and write its keys to `folder`, marked as a ceremony's.

    Raises InvalidInput for malformed files and VerificationError if the ceremony does not verify.
    """
    record = verify(circuit, ptau_path, zkey_path, progress)
    make_folder(folder)
    path = Path(folder) / PROVING_FILE
    copy_zkey(Zkey(zkey_path), path, key_mark(statement, circuit.digest, CEREMONY))
    proving = ProvingKey(path)
    verifying = with_ceremony(proving.verifying_key(circuit), record)
    verifying.check_production()
    verifying.write(Path(folder) / VERIFYING_FILE)
    return PlainKeys(proving, verifying)


def copy_zkey(zkey: Zkey, target: Path | str, mark: dict[str, str]) -> None:
    """Write a key again, its sections aligned and with a new mark."""
    section_10 = bytes(zkey.file.view(CONTRIBUTIONS))
    with zkey_writer(target, zkey.header, len(zkey.coefs), section_10, mark) as writer:
        for kind in (IC, COEFS, A, B1, B2, L, H):
            writer.view(kind)[:] = zkey.file.view(kind)
