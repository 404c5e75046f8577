"""The first phase's record: the contributions of a .ptau and the proofs that chain them.

A contribution multiplies tau, alpha and beta by secrets and proves that it knows each: (s, x s) in
G1 and x S in G2, where S is hashed from the challenge before it, as in Bowe, Gabizon and Miers
(ePrint 2017/1050). Its format and hashes are those of iden3's section 7.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from dataclasses import dataclass

from zkai import native_keys
from zkai.encoding import FIELD_MODULUS
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.blake2b import STATE_BYTES, Blake2b
from zkai.proof.points import (
    G1,
    G1_GENERATOR,
    G2,
    G2_GENERATOR,
    g1_from_bytes,
    g1_to_bytes,
    g1_uncompressed,
    g2_from_bytes,
    g2_to_bytes,
    g2_uncompressed,
)
from zkai.proof.ptau import (
    ALPHA_G1,
    BETA_G1,
    BETA_G2,
    CONTRIBUTIONS,
    TAU_G1,
    TAU_G2,
    Ptau,
    group_of,
    section_points,
)
from zkai.proof.randompoint import SeedStream, hash_to_g2
from zkai.proof.ratio import g1_multiply, same_ratio
from zkai.proof.transcript import (
    BEACON,
    MAX_CONTRIBUTIONS,
    PARTY,
    Beacons,
    parse_parameters,
    tail_bytes,
)

_FIXED = 64 + 128 + 64 + 64 + 128 + 6 * 64 + 3 * 128 + STATE_BYTES + 64
_TAIL = struct.Struct("<II")
_KEYS = ("tau", "alpha", "beta")


@dataclass(frozen=True)
class KeyProof:
    """Knowledge of one secret x: s and x s in G1, x S in G2."""

    g1_s: G1
    g1_sx: G1
    g2_spx: G2


@dataclass(frozen=True)
class PowersContribution:
    """One contribution of the first phase."""

    tau_g1: G1
    tau_g2: G2
    alpha_g1: G1
    beta_g1: G1
    beta_g2: G2
    proofs: tuple[KeyProof, KeyProof, KeyProof]
    hash_state: bytes
    next_challenge: bytes
    kind: int = PARTY
    name: str = ""
    beacon: bytes = b""
    beacon_log_iterations: int = 0

    def to_bytes(self) -> bytes:
        """Return the record as section 7 holds it."""
        return (
            g1_to_bytes(self.tau_g1)
            + g2_to_bytes(self.tau_g2)
            + g1_to_bytes(self.alpha_g1)
            + g1_to_bytes(self.beta_g1)
            + g2_to_bytes(self.beta_g2)
            + b"".join(g1_to_bytes(p.g1_s) + g1_to_bytes(p.g1_sx) for p in self.proofs)
            + b"".join(g2_to_bytes(p.g2_spx) for p in self.proofs)
            + self.hash_state
            + self.next_challenge
            + tail_bytes(self.kind, self.name, self.beacon, self.beacon_log_iterations)
        )

    def key_bytes(self) -> bytes:
        """Return the proofs as the response hash takes them."""
        in_g1 = b"".join(g1_uncompressed(p.g1_s) + g1_uncompressed(p.g1_sx) for p in self.proofs)
        return in_g1 + b"".join(g2_uncompressed(p.g2_spx) for p in self.proofs)


def read_contributions(ptau: Ptau) -> tuple[PowersContribution, ...]:
    """Return the contributions of section 7.

    Raises InvalidInput, naming the contribution, if the section is malformed.
    """
    data = bytes(ptau.file.view(CONTRIBUTIONS))
    where = ptau.file.where(CONTRIBUTIONS)
    if len(data) < 4:
        raise InvalidInput(f"{where} is truncated")
    (count,) = struct.unpack_from("<I", data)
    if count > MAX_CONTRIBUTIONS:
        raise InvalidInput(f"{where}: {count} contributions, at most {MAX_CONTRIBUTIONS}")
    result, position = [], 4
    for index in range(count):
        item = f"{where}: contribution {index + 1}"
        if len(data) - position < _FIXED + _TAIL.size:
            raise InvalidInput(f"{item} is truncated")
        kind, length = _TAIL.unpack_from(data, position + _FIXED)
        end = position + _FIXED + _TAIL.size + length
        if end > len(data) or kind not in (PARTY, BEACON):
            raise InvalidInput(f"{item} is truncated or of an unknown type")
        result.append(_parse(data[position:end], kind, item))
        position = end
    if position != len(data):
        raise InvalidInput(f"{where}: {len(data) - position} bytes after the last contribution")
    return tuple(result)


class _Reader:
    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.position, self.where = data, 0, where

    def take(self, n: int) -> bytes:
        self.position += n
        return self.data[self.position - n : self.position]

    def g1(self) -> G1:
        return g1_from_bytes(self.take(64), self.where)

    def g2(self) -> G2:
        return g2_from_bytes(self.take(128), self.where)


def _parse(data: bytes, kind: int, where: str) -> PowersContribution:
    reader = _Reader(data, where)
    points = (reader.g1(), reader.g2(), reader.g1(), reader.g1(), reader.g2())
    in_g1 = [(reader.g1(), reader.g1()) for _ in _KEYS]
    in_g2 = [reader.g2() for _ in _KEYS]
    tau, alpha, beta = (KeyProof(*pair, last) for pair, last in zip(in_g1, in_g2, strict=True))
    state, challenge = reader.take(STATE_BYTES), reader.take(64)
    parameters = parse_parameters(data[_FIXED + _TAIL.size :], where)
    return PowersContribution(*points, (tau, alpha, beta), state, challenge, kind, **parameters)


def verify_phase1(ptau: Ptau) -> tuple[PowersContribution, ...]:
    """Return the contributions after checking their chain, from generators to the file's points.

    Call `check_powers` for the points themselves. The hash of the points is compared where the file
    has not been truncated to fewer powers than its ceremony's.

    Raises VerificationError naming the contribution, or if there is none.
    """
    contributions = read_contributions(ptau)
    if not contributions:
        raise VerificationError(
            f"{ptau.path}: its first phase has no contribution: whoever made it knows its secrets"
        )
    challenge = first_challenge(ptau.ceremony_power)
    beacons = Beacons()
    before = (G1_GENERATOR, G2_GENERATOR, G1_GENERATOR, G1_GENERATOR, G2_GENERATOR)
    for number, item in enumerate(contributions, 1):
        where = f"{ptau.path}: phase 1 contribution {number}"
        _verify_contribution(item, before, challenge, where)
        if item.kind == BEACON:
            _verify_beacon(item, beacons, where)
        before = (item.tau_g1, item.tau_g2, item.alpha_g1, item.beta_g1, item.beta_g2)  # type: ignore[assignment]
        challenge = item.next_challenge
    _verify_end(ptau, contributions[-1])
    return contributions


def _verify_contribution(
    item: PowersContribution,
    before: tuple[G1, G2, G1, G1, G2],
    challenge: bytes | None,
    where: str,
) -> None:
    tau, alpha, beta = item.proofs
    if challenge is not None:
        for number, (name, proof) in enumerate(zip(_KEYS, item.proofs, strict=True)):
            point = key_challenge(number, challenge, proof.g1_s, proof.g1_sx)
            if not same_ratio((proof.g1_s, proof.g1_sx), (point, proof.g2_spx)):
                raise VerificationError(f"{where}: its proof of knowledge of {name} does not hold")
            old, new = (
                (before[0], item.tau_g1),
                (before[2], item.alpha_g1),
                (before[3], item.beta_g1),
            )[number]
            if not same_ratio((old, new), (point, proof.g2_spx)):
                raise VerificationError(f"{where}: {name} does not follow from the one before")
    if not same_ratio((tau.g1_s, tau.g1_sx), (before[1], item.tau_g2)):
        raise VerificationError(f"{where}: tau in G2 does not follow from the one before")
    if not same_ratio((beta.g1_s, beta.g1_sx), (before[4], item.beta_g2)):
        raise VerificationError(f"{where}: beta in G2 does not follow from the one before")
    if None in (alpha.g1_s, alpha.g1_sx):
        raise VerificationError(f"{where}: a key is the point at infinity")


def key_challenge(number: int, challenge: bytes, g1_s: G1, g1_sx: G1) -> G2:
    """Return the point S for key `number` (tau, alpha, beta) after a 64-byte challenge."""
    data = bytes([number]) + challenge + g1_uncompressed(g1_s) + g1_uncompressed(g1_sx)
    return hash_to_g2(hashlib.blake2b(data).digest())


def beacon_keys(seed: bytes) -> list[tuple[int, G1, G1]]:
    """Return (x, s, x s) for tau, alpha and beta from a 32-byte seed."""
    stream = SeedStream(seed)
    secrets = [stream.element(FIELD_MODULUS) for _ in _KEYS]
    points = [stream.g1() for _ in _KEYS]
    return [(x, s, g1_multiply(s, x)) for x, s in zip(secrets, points, strict=True)]


@functools.cache
def development_points() -> tuple[G1, G1, G1]:
    """Return the s of tau, alpha and beta that mark a contribution as made for development.

    A contribution's proofs of knowledge and all challenges after it are bound to its s, so nobody
    who does not know the secrets can take the mark off.
    """
    stream = SeedStream(hashlib.sha256(b"zkai/development-powers/1").digest())
    return stream.g1(), stream.g1(), stream.g1()


def independent(
    ptau: Ptau, contributions: tuple[PowersContribution, ...]
) -> tuple[PowersContribution, ...]:
    """Return the contributions that stand for a first phase: verified and not for development.

    Raises VerificationError if there is none.
    """
    verified = contributions if first_challenge(ptau.ceremony_power) else contributions[1:]
    if not verified:
        raise VerificationError(
            f"{ptau.path}: the only contribution to its first phase cannot be verified, since a "
            f"ceremony beyond 2**{_LARGEST_HASHED_POWER} has no start to hash; use a .ptau with "
            "more contributions"
        )
    mark = development_points()
    result = tuple(c for c in verified if tuple(p.g1_s for p in c.proofs) != mark)
    if not result:
        raise VerificationError(
            f"{ptau.path}: development powers: one program knew their secrets; use a .ptau of a "
            "public ceremony, or have others contribute to this one first (snarkjs powersoftau "
            "contribute)"
        )
    return result


def _verify_beacon(item: PowersContribution, beacons: Beacons, where: str) -> None:
    expected = beacon_keys(beacons.seed(item.beacon, item.beacon_log_iterations, where))
    if [(s, sx) for _, s, sx in expected] != [(p.g1_s, p.g1_sx) for p in item.proofs]:
        raise VerificationError(f"{where}: its keys do not follow from the beacon's value")


def _verify_end(ptau: Ptau, last: PowersContribution) -> None:
    """Check that the file's points are the last contribution's."""
    found = (
        ptau.g1(TAU_G1, 1),
        ptau.g2(TAU_G2, 1),
        ptau.g1(ALPHA_G1, 0),
        ptau.g1(BETA_G1, 0),
        ptau.g2(BETA_G2, 0),
    )
    if found != (last.tau_g1, last.tau_g2, last.alpha_g1, last.beta_g1, last.beta_g2):
        raise VerificationError(f"{ptau.path}: its points are not those of the last contribution")
    if ptau.power != ptau.ceremony_power:
        return
    response = Blake2b.from_state(last.hash_state)
    response.update(last.key_bytes())
    state = hashlib.blake2b(response.digest())
    for section, n in section_points(ptau.power).items():
        for start in range(0, n, 1 << 16):
            stop = min(n, start + (1 << 16))
            state.update(
                native_keys.points_encode(group_of(section), ptau.range(section, start, stop))
            )
    if state.digest() != last.next_challenge:
        raise VerificationError(f"{ptau.path}: its points do not hash to the last challenge")


_LARGEST_HASHED_POWER = 22


def first_challenge(power: int) -> bytes | None:
    """Return the challenge before any contribution: the hash of a file of generators.

    None for ceremonies beyond 2**22, whose start is too long to hash: the first contribution's
    proofs of knowledge cannot be recomputed, and the later ones carry the chain.
    """
    if power > _LARGEST_HASHED_POWER:
        return None
    g1, g2 = g1_uncompressed(G1_GENERATOR), g2_uncompressed(G2_GENERATOR)
    state = hashlib.blake2b(hashlib.blake2b(b"").digest())
    for point, n in ((g1, (2 << power) - 1), (g2, 1 << power), (g1, 1 << power), (g1, 1 << power)):
        block = point * min(n, 4096)
        for start in range(0, n, 4096):
            state.update(block[: len(point) * min(4096, n - start)])
    state.update(g2)
    return state.digest()
