"""The challenges of a commitment round, as the prover, the verifiers and the contract derive them.

seed = keccak256(DST || vkDigest || n || x_1..x_n || D.x || D.y), where DST is the hash of the
format's name, and challenge j = 1..c is keccak256(seed || j) mod r; every item is 32 bytes,
big-endian. Reduction makes no residue likelier than 6 / 2**256; zero is a value like any other.

A proof with linked polynomials has its own DST, and the coordinates of their commitments before D's
in the seed. Two scalars more come from hashes: v joins the openings into one, u joins their check
to the proof's equation (docs/decisions/0008-kzg-link.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from zkai.encoding import FIELD_MODULUS, keccak256, word
from zkai.proof.points import G1, G2, g1_uncompressed, g2_uncompressed

PROOF_FORMAT = "zkai.groth16-commit/1"
LINKED_FORMAT = "zkai.groth16-commit-link/1"
POLYNOMIALS_TAG = "zkai.groth16-commit-polynomials/1"
"""What starts the digest of a key with public polynomials; the digest is in every seed."""


def challenge_seed(
    vk_digest: bytes, values: Sequence[int], d: G1, commitments: Sequence[G1] = ()
) -> bytes:
    """Return the seed of the challenges: it binds the key, every public value, D and the links.

    Values and coordinates must have been found canonical before: x and x + r hash differently.
    """
    tag = keccak256((LINKED_FORMAT if commitments else PROOF_FORMAT).encode())
    words = b"".join(word(value) for value in (len(values), *values))
    points = b"".join(g1_uncompressed(point) for point in (*commitments, d))
    return keccak256(tag + vk_digest + words + points)


def batching_hash(seed: bytes, evaluations: Sequence[int]) -> bytes:
    """Return h = keccak256(seed || 0 || y_1 .. y_L); h mod r is v."""
    return keccak256(seed + word(0) + b"".join(word(y) for y in evaluations))


def joining_scalar(batching: bytes, a: G1, b: G2, c: G1, opening: G1) -> int:
    """Return u = keccak256(h || A || B || C || pi) mod r: it binds all of a proof."""
    points = g1_uncompressed(a) + g2_uncompressed(b) + g1_uncompressed(c) + g1_uncompressed(opening)
    return int.from_bytes(keccak256(batching + points), "big") % FIELD_MODULUS


def challenges(seed: bytes, count: int) -> list[int]:
    """Return independent challenges in [0, r), the fold first."""
    return [
        int.from_bytes(keccak256(seed + word(j)), "big") % FIELD_MODULUS
        for j in range(1, count + 1)
    ]


def folded(values: Sequence[int], fold: int) -> int:
    """Return y = sum over i = 1..n of x_i * fold**i mod r, by Horner's rule."""
    total = 0
    for value in reversed(values):
        total = (total + value) * fold % FIELD_MODULUS
    return total
