"""What a Halo2 proof shows of a tensor that a polynomial commits to, and what a salt must cover."""

from __future__ import annotations

import re

from tests.unit.halo2_support import keys, points, proof
from zkai.encoding import FIELD_MODULUS, keccak256, word
from zkai.halo2.evm import generate
from zkai.halo2.proof import Halo2Proof
from zkai.halo2.settings import POLYCOMMIT
from zkai.halo2.srs import UNUSABLE_ROWS
from zkai.halo2.step_layout import LIMB_BITS, PROOFS_OF_A_STATE, SALT_LIMBS

R = FIELD_MODULUS


def transcript(found: Halo2Proof, instances: list[int], source: str) -> tuple[int, list[int]]:
    """Return a proof's evaluation point and its evaluations, as EZKL's contract reads them."""
    ends = re.findall(r"proof_cptr_end := add\(proof_cptr, (0x[0-9a-f]+)\)", source)
    sizes = [int(size, 16) for size in ends]
    (key,) = set(re.findall(r"(0x[0-9a-f]{64})\) // vk_digest", source))
    state, place = word(int(key, 16)) + b"".join(map(word, instances)), 0
    for phase, size in enumerate(sizes[:4]):
        state = keccak256(state + found.proof[place : place + size])
        x = int.from_bytes(state, "big") % R
        if phase == 1:  # it draws two numbers here
            state = keccak256(state + b"\1")
        place += size
    shown = found.proof[place : place + sizes[4]]
    return x, [int.from_bytes(shown[i : i + 32], "big") for i in range(0, len(shown), 32)]


def test_every_proof_shows_the_committed_columns_value_at_a_point() -> None:
    """sum_i v_i L_i(x) for a public x: one linear equation in the tensor's numbers, each time."""
    made, found = keys(input="polycommit").verifying, proof(input="polycommit")
    x, evaluations = transcript(found, found.instances(made), generate(made).generated)
    rows = 1 << made.settings.k
    column = [round(v * 128) for v in points()[0].ravel()]
    column += [0] * (rows - UNUSABLE_ROWS - len(column)) + [1] * UNUSABLE_ROWS
    root = pow(7, (R - 1) // rows, R)
    powers = [pow(root, i, R) for i in range(rows)]
    value = sum(
        v * w * (pow(x, rows, R) - 1) * pow(rows * (x - w), -1, R)
        for v, w in zip(column, powers, strict=True)
        if v
    )
    assert value % R in evaluations


def test_a_polynomials_salt_covers_all_that_proofs_show_of_it() -> None:
    """The state's commitment, that of its salt alone, both values, and one for each next proof."""
    shown = (4 + PROOFS_OF_A_STATE) * R.bit_length()
    assert LIMB_BITS * SALT_LIMBS[POLYCOMMIT] >= shown + 64
