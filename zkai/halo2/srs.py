"""Setup strings of KZG in EZKL's form: made for development, taken from a .ptau, or imported.

A file is u32 k, [tau^i]_1 and [L_i(tau)]_1 for i < 2**k, [1]_2 and [tau]_2, coordinates in
Montgomery form, little-endian. L_i belongs to Halo2's root of unity, another than iden3's: its
Lagrange forms are those of a .ptau in another order.
"""

from __future__ import annotations

import functools
import hashlib
import os
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zkai import native, native_keys
from zkai.circuit.binfile import Words
from zkai.encoding import FIELD_MODULUS, as_path, hex32, parse_hex32, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.commit.setup import kept_tau
from zkai.proof.keys import CEREMONY, DEVELOPMENT
from zkai.proof.phase1 import development_points, independent, verify_phase1
from zkai.proof.points import (
    G1,
    G1_GENERATOR,
    G2,
    G2_GENERATOR,
    g1_from_bytes,
    g1_to_bytes,
    g2_from_bytes,
    g2_to_bytes,
)
from zkai.proof.ptau import MAGIC, TAU_G1, TAU_G2, Ptau, check_powers, combine, random_coefficients
from zkai.proof.ptau import same_ratio_g1 as _same_ratio
from zkai.proof.ratio import check_g2, g1_from_words
from zkai.proof.scalars import Progress, no_progress, random_scalar

MIN_K, MAX_K = 1, 26
UNUSABLE_ROWS = 6
"""The rows at a column's end that EZKL's circuits keep for blinding, filled or not."""
_HEAD = struct.Struct("<I")
_TAIL_BYTES = 256
_GENERATOR_ORDER = 28
_HALO2_ROOT = pow(7, (FIELD_MODULUS - 1) >> _GENERATOR_ORDER, FIELD_MODULUS)
"""The root of unity of order 2**28 that Halo2's domains use: 7 generates the field's units."""


@dataclass(frozen=True)
class Srs:
    """A setup string's file: its size, its digest, the part that verifiers need, and its status."""

    path: Path
    k: int
    tau_g2: G2
    sha256: bytes
    status: str

    def verifier_bytes(self) -> bytes:
        """Return the string that is enough to verify with; see `verifier_string`."""
        return verifier_string(self.tau_g2)


def file_bytes(k: int) -> int:
    """Return the size of a string of 2**k rows."""
    return _HEAD.size + 2 * (64 << k) + _TAIL_BYTES


def verifier_string(tau_g2: G2) -> bytes:
    """Return a string of two rows: verifiers look at [1]_1, [1]_2 and [tau]_2 only."""
    row = g1_to_bytes(G1_GENERATOR)
    return _HEAD.pack(1) + 4 * row + g2_to_bytes(G2_GENERATOR) + g2_to_bytes(tau_g2)


def develop(target: Path | str, k: int, tau: Path | str | None = None) -> Srs:
    """Write a DEVELOPMENT string: whoever runs this could know tau and forge proofs.

    With `tau`, the secret that this file keeps, made if there is none; strings of one tau go
    together, as committed tensors that several proofs share need.

    Raises InvalidInput for a k out of range or a file that cannot be written.
    """
    _check_k(k)
    secret = random_scalar() if tau is None else kept_tau(as_path(tau, "tau"))()
    powers = native_keys.points_generate("g1", native_keys.fr_powers(to_limbs([1]), secret, 1 << k))
    values = native.from_montgomery(native_keys.lagrange_at(secret, k))
    lagrange = native_keys.points_generate("g1", values)
    tau_g2 = _point(native_keys.points_generate("g2", secret))
    native_keys.wipe(secret, values)
    return _write(as_path(target), powers, lagrange, tau_g2, DEVELOPMENT)


def install(
    source: Path | str,
    k: int,
    target: Path | str,
    digest: bytes | str | None = None,
    progress: Progress | None = None,
) -> Srs:
    """Write the string of 2**k rows that a .ptau, or a larger string in EZKL's form, makes.

    Every point is checked. It counts as a ceremony's if `digest`, the SHA-256 of `source` from
    those who publish it, is the file's, or if a .ptau's own record shows contributions that are
    not for development; otherwise it is a development string.

    Raises InvalidInput for a malformed or too small file, VerificationError for another digest, and
    for the digest of a .ptau that says itself that it is for development.
    """
    _check_k(k)
    source = as_path(source, "ptau")
    known = digest is not None
    if digest is not None:
        wanted = digest if isinstance(digest, bytes) else parse_hex32(digest, "srs digest")
        if (found := sha256_of(source)) != wanted:
            raise VerificationError(
                f"{source}: its SHA-256 is {hex32(found)}, expected {hex32(wanted)}"
            )
    if _starts_with(source, MAGIC):
        return _install_ptau(Ptau(source), k, as_path(target), known, progress)
    status = CEREMONY if known else DEVELOPMENT
    string = open_srs(source, status)
    check(string, progress)
    _check_enough(source, string.k, k)
    n = 1 << k
    powers = _powers(string, n)
    if string.k == k:
        lagrange = _words(source, _HEAD.size + 64 * n, n)[_inverse_order(k)]
    else:
        lagrange = native_keys.points_lagrange("g1", powers)
    return _write(as_path(target), powers, lagrange, string.tau_g2, status)


def _install_ptau(ptau: Ptau, k: int, target: Path, known: bool, progress: Progress | None) -> Srs:
    _check_enough(ptau.path, ptau.power, k)
    check_powers(ptau, k, progress)
    if known and _only_marked(ptau):
        raise VerificationError(
            f"{ptau.path}: its own record says that it is for development; whoever published its"
            " digest does not make it a ceremony's"
        )
    status = CEREMONY if known or _has_parties(ptau) else DEVELOPMENT
    powers = ptau.powers(TAU_G1, 1 << k)
    if ptau.prepared:
        lagrange = ptau.lagrange(TAU_G1, k)
    else:
        lagrange = native_keys.points_lagrange("g1", powers)
    return _write(target, powers, lagrange, ptau.g2(TAU_G2, 1), status)


def _has_parties(ptau: Ptau) -> bool:
    """Return whether a .ptau records contributions that count."""
    try:
        return bool(independent(ptau, verify_phase1(ptau)))
    except VerificationError:
        return False


def _only_marked(ptau: Ptau) -> bool:
    """Return whether all contributions that a .ptau records, one or more, are for development."""
    try:
        made, mark = verify_phase1(ptau), development_points()
    except VerificationError:
        return False
    return bool(made) and all(tuple(p.g1_s for p in one.proofs) == mark for one in made)


def _starts_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from error


def open_srs(path: Path | str, status: str) -> Srs:
    """Return a string's file after a look at its size and its single points; see `check`.

    Raises InvalidInput, naming the file.
    """
    path = as_path(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD.size + 64)
            size = file.seek(0, os.SEEK_END)
            if len(head) < _HEAD.size + 64 or size < _TAIL_BYTES:
                raise InvalidInput(f"{path}: not a setup string of EZKL's form")
            (k,) = _HEAD.unpack_from(head)
            if not MIN_K <= k <= MAX_K or size != file_bytes(k):
                raise InvalidInput(f"{path}: not a setup string of EZKL's form: its size is wrong")
            file.seek(size - _TAIL_BYTES)
            tail = file.read(_TAIL_BYTES)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from error
    first = g1_from_bytes(head[_HEAD.size :], f"{path}: first point")
    if first != G1_GENERATOR or g2_from_bytes(tail[:128], f"{path}: [1]_2") != G2_GENERATOR:
        raise InvalidInput(f"{path}: does not start at the groups' generators")
    tau_g2 = g2_from_bytes(tail[128:], f"{path}: [tau]_2")
    check_tau(tau_g2, f"{path}: [tau]_2")
    return Srs(path, k, tau_g2, sha256_of(path), status)


def commitment_points(path: Path, n: int) -> Words:
    """Return what a committed column of n numbers is a combination of, in Montgomery form.

    EZKL commits to v_0 ... v_(n-1) in the first rows of a column that it does not blind, with 1 in
    each of the last UNUSABLE_ROWS rows: C = sum_i v_i [L_i(tau)]_1 + sum_j [L_j(tau)]_1. The first
    of the n + 1 points is that second sum.

    Raises InvalidInput for a file that is no string, or has too few rows.
    """
    string = open_srs(path, DEVELOPMENT)
    rows = 1 << string.k
    if n > rows - UNUSABLE_ROWS:
        raise InvalidInput(f"{path}: has 2**{string.k} rows, {n} numbers are committed to")
    points = _words(path, _HEAD.size + 64 * rows, rows)
    ones = to_limbs([1] * UNUSABLE_ROWS).reshape(-1, 4)
    rest = native_keys.points_msm("g1", np.ascontiguousarray(points[-UNUSABLE_ROWS:]), ones)
    return np.concatenate([rest, points[:n]])


def pinned_points(path: Path, n: int) -> tuple[G1, ...]:
    """Return `commitment_points` of n numbers as coordinates; none for n = 0."""
    if not n:
        return ()
    rows = native_keys.points_store("g1", commitment_points(path, n))
    return tuple(g1_from_words(row[None]) for row in rows)


def check_tau(tau_g2: G2, where: str) -> None:
    """Return None for a usable [tau]_2. Raises InvalidInput: anyone could forge with tau = 1."""
    check_g2((tau_g2,), where)
    assert tau_g2 is not None
    if tau_g2[0] == G2_GENERATOR[0]:
        raise InvalidInput(f"{where}: tau is 1 or -1, so anyone can forge proofs")


def check(string: Srs, progress: Progress | None = None) -> None:
    """Return None if the points are the powers of one tau, in both forms.

    Each point is on the curve, a random combination holds e(P_i, [tau]_2) = e(P_{i+1}, [1]_2), and
    another is the same in the Lagrange form.

    Raises InvalidInput naming the file.
    """
    report = progress or no_progress
    n, where = 1 << string.k, str(string.path)
    report("check the setup string", 0.0)
    powers, lagrange = _powers(string, n), _words(string.path, _HEAD.size + 64 * n, n)
    native_keys.points_check("g1", powers, where, False)
    native_keys.points_check("g1", lagrange, f"{where}, Lagrange form", False)
    report("check the setup string", 0.5)
    coefficients = random_coefficients(n)
    lower = combine("g1", powers[:-1], coefficients[:-1])
    if not _same_ratio(lower, combine("g1", powers[1:], coefficients[:-1]), string.tau_g2):
        raise InvalidInput(f"{where}: not consecutive powers of tau")
    values = native.ntt(coefficients)[_order(string.k)]
    if not np.array_equal(
        combine("g1", powers, coefficients), combine("g1", lagrange, np.ascontiguousarray(values))
    ):
        raise InvalidInput(f"{where}: not the Lagrange form of its powers")
    report("check the setup string", 1.0)


def sha256_of(path: Path) -> bytes:
    """Return the SHA-256 of a file. Raises InvalidInput if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from error


def _check_k(k: object) -> None:
    if type(k) is not int or not MIN_K <= k <= MAX_K:
        raise InvalidInput(f"setup string: expected k in {MIN_K}..{MAX_K}, got {k!r}")


def _check_enough(path: Path, found: int, k: int) -> None:
    if found < k:
        raise InvalidInput(f"{path}: made for 2**{found} rows, 2**{k} are needed")


def _powers(string: Srs, n: int) -> Words:
    return _words(string.path, _HEAD.size, n)


def _words(path: Path, start: int, n: int) -> Words:
    return np.fromfile(path, dtype="<u8", count=8 * n, offset=start).reshape(n, 8)


def _point(words: Words) -> G2:
    return g2_from_bytes(words.tobytes(), "[tau]_2")


def _write(target: Path, powers: Words, lagrange: Words, tau_g2: G2, status: str) -> Srs:
    """Write a string; `lagrange` is in the order of our own roots."""
    k = len(powers).bit_length() - 1
    parts: tuple[Callable[[], bytes], ...] = (
        lambda: _HEAD.pack(k),
        powers.tobytes,
        lagrange[_order(k)].tobytes,
        lambda: g2_to_bytes(G2_GENERATOR) + g2_to_bytes(tau_g2),
    )
    digest = hashlib.sha256()
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                for part in parts:
                    data = part()
                    digest.update(data)
                    file.write(data)
            os.chmod(name, 0o644)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise InvalidInput(f"{target}: cannot be written ({error.strerror})") from error
    return Srs(target, k, tau_g2, digest.digest(), status)


@functools.cache
def _exponent() -> int:
    """Return e with w**e = Halo2's root, w iden3's root of order 2**28: bit by bit from below."""
    ours = _native_root()
    exponent, inverse = 0, pow(ours, -1, FIELD_MODULUS)
    for bit in range(_GENERATOR_ORDER):
        rest = _HALO2_ROOT * pow(inverse, exponent, FIELD_MODULUS) % FIELD_MODULUS
        if pow(rest, 1 << (_GENERATOR_ORDER - 1 - bit), FIELD_MODULUS) != 1:
            exponent |= 1 << bit
    return exponent


def _native_root() -> int:
    """Return the root of order 2**28 that our own transforms, and iden3's files, use: of 5."""
    return pow(5, (FIELD_MODULUS - 1) >> _GENERATOR_ORDER, FIELD_MODULUS)


def _order(k: int) -> npt.NDArray[np.intp]:
    """Return where Halo2's i-th root, w**(e i), stands among ours."""
    return np.arange(1 << k, dtype=np.intp) * (_exponent() % (1 << k)) % (1 << k)


def _inverse_order(k: int) -> npt.NDArray[np.intp]:
    """Return where our i-th root stands among Halo2's."""
    return np.argsort(_order(k))
