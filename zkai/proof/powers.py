"""Making .ptau files: a small development one, and the contribution that gives it a past."""

from __future__ import annotations

import hashlib
import secrets
import struct
from pathlib import Path

from zkai import native_keys
from zkai.circuit.binfile import SectionWriter
from zkai.encoding import BASE_MODULUS, FIELD_MODULUS, Limbs, to_limbs
from zkai.errors import InvalidInput
from zkai.proof.blake2b import Blake2b
from zkai.proof.phase1 import (
    KeyProof,
    PowersContribution,
    development_points,
    first_challenge,
    key_challenge,
)
from zkai.proof.points import G1, G1_GENERATOR, G2_GENERATOR
from zkai.proof.ptau import (
    ALPHA_G1,
    BETA_G1,
    BETA_G2,
    CONTRIBUTIONS,
    HEADER,
    HEADER_LAYOUT,
    MAGIC,
    POINT_BYTES,
    TAU_G1,
    TAU_G2,
    VERSION,
    group_of,
    section_points,
)
from zkai.proof.randompoint import SeedStream
from zkai.proof.ratio import g1_multiply, g2_multiply

MAX_DEVELOPMENT_POWER = 20
MAX_RECORDED_POWER = 12

Keys = list[tuple[int, G1, G1]]


def write_development_ptau(path: Path | str, power: int, contributor: str = "") -> None:
    """Write an unprepared .ptau of one party, which knew tau, alpha and beta for a moment.

    Without `contributor` the file records no contribution. With it, the file is the one after that
    party's contribution to an empty file: a first phase of one (its hashes are slow here, so up to
    2**12). The contribution is marked, by `development_points`: no key counts as a ceremony's
    unless others contributed after it.

    Raises InvalidInput for a power out of range, or if the file cannot be written.
    """
    write_powers(path, power, contributor, _development_keys())


def _development_keys() -> Keys:
    stream = SeedStream(secrets.token_bytes(32))
    values = [stream.element(FIELD_MODULUS) for _ in range(3)]
    points = development_points()
    return [(x, s, g1_multiply(s, x)) for x, s in zip(values, points, strict=True)]


def write_powers(path: Path | str, power: int, contributor: str, keys: Keys) -> None:
    """Write what `write_development_ptau` does from given secrets (x, s, x s), without its mark.

    `keys` is for tau, alpha and beta; whoever chose them can forge proofs.

    Raises InvalidInput as `write_development_ptau` does.
    """
    largest = MAX_RECORDED_POWER if contributor else MAX_DEVELOPMENT_POWER
    if not 1 <= power <= largest or len(contributor.encode()) > 64:
        raise InvalidInput(
            f"a development .ptau needs 1 <= power <= {largest} and a name of at most 64 bytes"
        )
    tau, alpha, beta = (to_limbs([x]) for x, _, _ in keys)
    one = to_limbs([1])
    firsts = {TAU_G1: one, TAU_G2: one, ALPHA_G1: alpha, BETA_G1: beta, BETA_G2: beta}
    points = {
        kind: native_keys.points_generate(
            group_of(kind), native_keys.fr_powers(firsts[kind], tau, n)
        )
        for kind, n in section_points(power).items()
    }
    record = struct.pack("<I", 0)
    if contributor:
        record = struct.pack("<I", 1) + _contribution(keys, points, power, contributor).to_bytes()
    _write(path, power, points, record)
    native_keys.wipe(tau, alpha, beta)


def _write(path: Path | str, power: int, points: dict[int, Limbs], record: bytes) -> None:
    sections = [(HEADER, HEADER_LAYOUT.size)]
    sections += [
        (kind, n * POINT_BYTES[group_of(kind)]) for kind, n in section_points(power).items()
    ]
    sections.append((CONTRIBUTIONS, len(record)))
    with SectionWriter(path, MAGIC, VERSION, sections) as writer:
        modulus = BASE_MODULUS.to_bytes(32, "little")
        writer.write(HEADER, HEADER_LAYOUT.pack(32, modulus, power, power))
        for kind, rows in points.items():
            writer.write(kind, rows.tobytes())
        writer.write(CONTRIBUTIONS, record)


def _contribution(
    keys: Keys, points: dict[int, Limbs], power: int, name: str
) -> PowersContribution:
    """Return the record of a contribution to an empty file."""
    challenge = first_challenge(power)
    assert challenge is not None
    proofs = []
    for number, (x, s, sx) in enumerate(keys):
        point = key_challenge(number, challenge, s, sx)
        proofs.append(KeyProof(s, sx, g2_multiply(point, x)))
    tau, alpha, beta = (x for x, _, _ in keys)
    response = Blake2b(challenge)
    for kind in section_points(power):
        response.update(compressed(group_of(kind), points[kind]))
    state = response.state()
    contribution = PowersContribution(
        g1_multiply(G1_GENERATOR, tau),
        g2_multiply(G2_GENERATOR, tau),
        g1_multiply(G1_GENERATOR, alpha),
        g1_multiply(G1_GENERATOR, beta),
        g2_multiply(G2_GENERATOR, beta),
        (proofs[0], proofs[1], proofs[2]),
        state,
        b"",
        name=name,
    )
    response.update(contribution.key_bytes())
    following = hashlib.blake2b(response.digest())
    for kind in section_points(power):
        following.update(native_keys.points_encode(group_of(kind), points[kind]))
    return PowersContribution(**{**vars(contribution), "next_challenge": following.digest()})


def compressed(group: str, points: Limbs) -> bytes:
    """Return x of every point, big-endian, the top bit set where y is the larger root."""
    size = POINT_BYTES[group]
    data = native_keys.points_encode(group, points)
    result = []
    for start in range(0, len(data), size):
        x, y = data[start : start + size // 2], data[start + size // 2 : start + size]
        # In G2 the coefficient of u comes first and decides, unless it is zero.
        high = int.from_bytes(y[:32], "big") or int.from_bytes(y[-32:], "big")
        sign = 0x80 if high > BASE_MODULUS // 2 else 0
        result.append(bytes([x[0] | sign]) + x[1:])
    return b"".join(result)
