"""The challenges of a commitment round, as the prover, the verifiers and the contract derive them.

seed = keccak256(DST || vkDigest || n || x_1..x_n || D.x || D.y), where DST is the hash of the
format's name, and challenge j = 1..c is keccak256(seed || j) mod r; every item is 32 bytes,
big-endian. Reduction makes no residue likelier than 6 / 2**256; zero is a value like any other.
"""

from __future__ import annotations

from collections.abc import Sequence

from zkai.encoding import FIELD_MODULUS, keccak256, word
from zkai.proof.points import G1, g1_uncompressed

PROOF_FORMAT = "zkai.groth16-commit/1"
_TAG = keccak256(PROOF_FORMAT.encode())


def challenge_seed(vk_digest: bytes, values: Sequence[int], d: G1) -> bytes:
    """Return the seed of the challenges: it binds the key, every public value and D.

    Values and coordinates must have been found canonical before: x and x + r hash differently.
    """
    words = b"".join(word(value) for value in (len(values), *values))
    return keccak256(_TAG + vk_digest + words + g1_uncompressed(d))


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
