"""EZKL's hash of a tensor: known answers, EZKL itself, and the paper in Python."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import poseidon_reference as reference
import pytest

from zkai import native_poseidon
from zkai.circuit.gadgets.halo2_hash import (
    CAPACITY,
    halo2_hash,
    halo2_hash_integers,
    halo2_hash_many,
    n_rows,
)
from zkai.circuit.gadgets.poseidon import poseidon
from zkai.encoding import FIELD_MODULUS, from_limbs, sha256, to_limbs
from zkai.errors import InvalidInput

R = FIELD_MODULUS

KNOWN = {
    (R - 1,): 18809417116717517002718989926063310724737491140360595992685378568436078198987,
    (0, 0): 18116891830787381520138994527517410387389342918285178143815294323311971631342,
    (0, 0, 0): 19641183328611372456554883805138411573507823001205814639189755098927277642662,
    (R - 1, 1, 1 << 253, R - (1 << 31)): (
        3888727827068681550025376690810247681658466627734600247584778995500913778579
    ),
    5: 5340209824501897527886859789281903740640612380777040022517113111742896681463,
    32: 183402135916233495504904042388396513553646531739067309162587994670248802389,
    33: 1657800657645106453169888702241790385400001270391507869015145317977160476181,
    64: 17741809801821362156256351972815906847180217882881492969860474904141361028510,
    65: 18598471077165242131170113691835766325601838360850111485862028770574410750594,
    257: 12777770688142327306103911271405382096058269326172034548957216139331456128569,
}
"""What `ezkl.poseidon_hash` of 23.0.5 answers; a number stands for that many of `elements`."""


def elements(n: int) -> list[int]:
    return [(i * i * 7919 - 50 * i - 3) % R if i % 3 else (R - 1 - i) for i in range(n)]


@pytest.mark.parametrize("given", KNOWN, ids=str)
def test_known_answers(given: tuple[int, ...] | int) -> None:
    values = elements(given) if isinstance(given, int) else list(given)
    assert halo2_hash(values) == KNOWN[given]


SCRIPT = """
import json, sys, ezkl
vectors = json.load(sys.stdin)
hexes = [[int(v).to_bytes(32, "little").hex() for v in vector] for vector in vectors]
print(json.dumps([ezkl.poseidon_hash(h)[0] for h in hexes]))
"""


def test_ezkl_agrees_at_every_length(tmp_path: Path) -> None:
    if importlib.util.find_spec("ezkl") is None:
        pytest.skip("needs the extra ezkl")
    vectors = [elements(n) for n in range(1, 80)] + [[pow(5, i, R)] * (i + 1) for i in range(40)]
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(vectors, default=str),
        env={"HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    theirs = [int.from_bytes(bytes.fromhex(text), "little") for text in json.loads(answer.stdout)]
    assert theirs == [halo2_hash(vector) for vector in vectors]


def test_the_sponge_is_the_papers() -> None:
    state = [0, CAPACITY]
    for element in elements(9):
        state, _ = reference.permute([(state[0] + element) % R, state[1]], 8, 56)
    assert halo2_hash(elements(9)) == state[0]


def test_the_parameters_are_pinned() -> None:
    constants, mds = native_poseidon.parameters(2, 8, 56)
    expected = reference.parameters(2, 8, 56)
    assert from_limbs(constants) == expected[0]
    assert from_limbs(mds) == [entry for row in expected[1] for entry in row]
    digest = sha256(constants.tobytes() + mds.tobytes()).hex()
    assert digest == "9edb3db6904c1f71da56f2d2ff947964dfee79d3cc3cfbea8c0ea9a6ad6ff47d"


def test_it_is_not_circoms() -> None:
    for n in (1, 2, 5):
        assert halo2_hash(elements(n)) != poseidon(elements(n))


def test_many_lanes_equal_one_by_one() -> None:
    vectors = to_limbs(elements(60)).reshape(6, 10, 4)
    assert from_limbs(halo2_hash_many(vectors)) == [halo2_hash(from_limbs(v)) for v in vectors]


def test_order_length_and_every_element_matter() -> None:
    base = elements(12)
    others = [base[::-1], base[:-1], [*base, 0], [0, *base]]
    others += [[*base[:i], (base[i] + 1) % R, *base[i + 1 :]] for i in range(12)]
    assert len({halo2_hash(base), *map(halo2_hash, others)}) == 1 + len(others)


def test_integers_are_taken_mod_r_in_row_major_order() -> None:
    tensor = np.array([[-1, 2], [3, -(1 << 40)]])
    assert halo2_hash_integers(tensor) == halo2_hash([R - 1, 2, 3, R - (1 << 40)])
    assert halo2_hash_integers(tensor, [7]) == halo2_hash([R - 1, 2, 3, R - (1 << 40), 7])
    assert halo2_hash_integers(tensor.T) != halo2_hash_integers(tensor)
    assert n_rows(4) == 4 * 216


@pytest.mark.parametrize("bad", [[R], [-1], [1.0], [True, None]])
def test_other_elements_are_refused(bad: list[int]) -> None:
    with pytest.raises(InvalidInput, match=r"\[0, r\)"):
        halo2_hash(bad)


def test_no_elements_have_no_digest() -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        halo2_hash([])


def test_elements_at_or_above_r_are_refused_by_the_library() -> None:
    vectors = np.zeros((5, 3, 4), np.uint64)
    halo2_hash_many(vectors)
    vectors[4, 2] = to_limbs([R])[0]
    with pytest.raises(InvalidInput, match="not canonical"):
        halo2_hash_many(vectors)
