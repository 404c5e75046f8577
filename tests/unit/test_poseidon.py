"""Poseidon against the paper in Python, light-poseidon, circomlibjs, and known answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import light_poseidon_python
import numpy as np
import poseidon_reference as reference
import pytest

from zkai import native, native_poseidon
from zkai.circuit.gadgets.poseidon import (
    FULL_ROUNDS,
    PARTIAL_ROUNDS,
    hash_elements,
    hash_many,
    hash_tag,
    poseidon,
)
from zkai.encoding import FIELD_MODULUS, from_limbs, to_limbs
from zkai.errors import InvalidInput

R = FIELD_MODULUS
EDGES = [0, 1, R - 1, R - 2, (1 << 253) + 17, 1 << 64, (1 << 128) - 1, 3]


def element(i: int) -> int:
    return EDGES[i] if i < len(EDGES) else pow(7, i * i + 1, R)


@pytest.fixture(params=[name for name, runs in native.kernels().items() if runs])
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    before = native.kernel()
    native.set_kernel(request.param)
    yield request.param
    native.set_kernel(before)


def test_known_answer() -> None:
    expected = 0x115CC0F5E7D690413DF64C6B9662E9CF2A3617F2743245519E19607A4417189A
    assert poseidon([1, 2]) == expected
    assert poseidon([2, 1]) != expected


@pytest.mark.parametrize(
    "shape", [(2, 8, 56), (3, 8, 57), (5, 8, 60), (17, 8, 68), (3, 4, 5), (2, 2, 1), (4, 10, 3)]
)
def test_parameters_and_permutation_match_the_paper(
    shape: tuple[int, int, int], kernel: str
) -> None:
    t, full, partial = shape
    native_poseidon.parameters.cache_clear()
    constants, mds = native_poseidon.parameters(t, full, partial)
    expected_constants, expected_mds = reference.parameters(t, full, partial)
    assert from_limbs(constants) == expected_constants
    assert from_limbs(mds) == [entry for row in expected_mds for entry in row]

    states = [[element(3 * lane + i) for i in range(t)] for lane in range(3)]
    limbs = to_limbs([v for s in states for v in s]).reshape(3, t, 4)
    outputs = 0b10
    final, trace = native_poseidon.permute(limbs, full, partial, outputs, trace=True)
    assert trace is not None
    for lane, state in enumerate(states):
        expected, sboxes = reference.permute(state, full, partial)
        assert from_limbs(final[lane]) == expected
        inputs = [x for x, _ in sboxes]
        last = [y for _, y in sboxes[-t:]]
        last[1] = expected[1]
        following = [*inputs[t:], *last]
        wanted = [
            w for x, n in zip(inputs, following, strict=True) for w in (x * x % R, x**4 % R, n)
        ]
        assert from_limbs(trace[lane].reshape(-1, 4)) == wanted


@pytest.mark.parametrize("n", range(1, 13))
def test_light_poseidon_agrees(n: int) -> None:
    inputs = [element(i) for i in range(n)]
    digest = light_poseidon_python.Hasher(n).hash_bytes_be([v.to_bytes(32, "big") for v in inputs])
    assert poseidon(inputs) == int(digest, 16)


SCRIPT = """
const {buildPoseidon} = require("circomlibjs");
buildPoseidon().then((hash) => {
  const {F} = hash, text = (v) => F.toString(v);
  const {plain, sponges} = JSON.parse(require("fs").readFileSync(0));
  const sponge = ({tag, blocks}) => {
    let capacity = F.e(tag), out;
    for (const block of blocks) {
      out = hash(block.map((v) => F.e(v)), capacity, 2);
      capacity = out[0];
    }
    return text(out[1]);
  };
  console.log(JSON.stringify({
    plain: plain.map((x) => text(hash(x.map((v) => F.e(v))))), sponges: sponges.map(sponge)}));
});
"""


@pytest.mark.node
def test_circomlibjs_agrees_at_every_width_and_as_a_sponge(node_modules: Path) -> None:
    plain = [[element(i) for i in range(n)] for n in range(1, 17)]
    lengths = (1, 2, 15, 16, 17, 32, 33, 40)
    sponges = []
    for n in lengths:
        rate = min(n, 16)
        padded = [element(i) for i in range(n)] + [0] * (-n % rate)
        blocks = [padded[i : i + rate] for i in range(0, len(padded), rate)]
        sponges.append({"tag": hash_tag("zkai/test/1", n), "blocks": blocks})
    # JSON numbers lose digits: send decimal strings.
    request = json.loads(json.dumps({"plain": plain, "sponges": sponges}), parse_int=str)
    answer = subprocess.run(
        ["node", "-e", SCRIPT], input=json.dumps(request), cwd=node_modules.parent,
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    theirs = json.loads(answer.stdout)
    assert [int(v) for v in theirs["plain"]] == [poseidon(x) for x in plain]
    ours = [hash_elements("zkai/test/1", [element(i) for i in range(n)]) for n in lengths]
    assert [int(v) for v in theirs["sponges"]] == ours


def test_many_lanes_equal_one_by_one_at_any_thread_count() -> None:
    vectors = to_limbs([element(i) for i in range(37 * 20)]).reshape(37, 20, 4)
    one_by_one = [hash_elements("zkai/test/1", from_limbs(v)) for v in vectors]
    try:
        for threads in (1, 2, 3):
            native.set_threads(threads)
            assert from_limbs(hash_many("zkai/test/1", vectors)) == one_by_one
    finally:
        native.set_threads(None)


def test_label_length_and_every_element_matter() -> None:
    base = [5] * 18
    digest = hash_elements("zkai/test/1", base)
    others = [
        hash_elements("zkai/test/2", base),
        hash_elements("zkai/test/1", base[:-1]),
        hash_elements("zkai/test/1", [*base, 0]),
        *(hash_elements("zkai/test/1", [*base[:i], 6, *base[i + 1 :]]) for i in range(18)),
    ]
    assert len({digest, *others}) == 1 + len(others)


def test_defaults_are_circoms() -> None:
    assert FULL_ROUNDS == 8
    assert len(PARTIAL_ROUNDS) == 16


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "1..16"),
        ([1] * 17, "1..16"),
        ([R], "[0, r)"),
        ([-1], "[0, r)"),
        ([1.0], "[0, r)"),
    ],
)
def test_bad_elements_are_refused(inputs: list[int], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        poseidon(inputs)
    assert message in str(caught.value)


def test_no_elements_have_no_digest() -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        hash_elements("zkai/test/1", [])


def test_values_at_or_above_r_are_refused_by_the_library(kernel: str) -> None:
    states = np.zeros((6, 3, 4), np.uint64)
    native_poseidon.permute(states, 8, 57)
    states[5, 2] = to_limbs([R])[0]
    with pytest.raises(InvalidInput, match="not canonical"):
        native_poseidon.permute(states, 8, 57)
    inputs = np.zeros((6, 1, 2, 4), np.uint64)
    inputs[0, 0, 1] = 2**64 - 1
    with pytest.raises(InvalidInput, match="not canonical"):
        native_poseidon.sponge(np.zeros((6, 3, 4), np.uint64), inputs, 8, 57)


@pytest.mark.parametrize(
    "shape", [(1, 8, 57), (18, 8, 57), (3, 7, 57), (3, 0, 57), (3, 66, 57), (3, 8, 0), (3, 8, 257)]
)
def test_bad_parameters_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(InvalidInput, match="Poseidon needs"):
        native_poseidon.parameters(*shape)


def test_bad_buffers_are_refused() -> None:
    good = np.zeros((2, 3, 4), np.uint64)
    with pytest.raises(InvalidInput, match="shape"):
        native_poseidon.permute(good[0], 8, 57)
    with pytest.raises(InvalidInput, match="uint64"):
        native_poseidon.permute(good.astype(np.int64), 8, 57)
    with pytest.raises(InvalidInput, match="mask of 3 bits"):
        native_poseidon.permute(good, 8, 57, outputs=8)
    with pytest.raises(InvalidInput, match="inputs must be"):
        native_poseidon.sponge(good, np.zeros((2, 1, 3, 4), np.uint64), 8, 57)
    with pytest.raises(InvalidInput, match="inputs must be"):
        native_poseidon.sponge(good, np.zeros((3, 1, 2, 4), np.uint64), 8, 57)
