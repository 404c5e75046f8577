"""Commitments to tensors: sources, roots, samples, and who cheats at them."""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from Crypto.Hash import keccak as pycryptodome

from zkai.errors import InvalidInput, VerificationError
from zkai.merkle.commitment import Commitment, Tensor, commit, level
from zkai.merkle.sample import (
    Answer,
    Challenge,
    answer,
    by_tensor,
    detection_probability,
    read_answer,
    verify,
    write_answer,
)
from zkai.merkle.tensor import ITEM_BYTES, ArraySource, Head, Source, from_array, open_tensors
from zkai.native_merkle import multiproof

BEACON = bytes(range(32))


def keccak256(data: bytes) -> bytes:
    return pycryptodome.new(digest_bits=256, data=data).digest()


def tree(hashes: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.1, with keccak256 and a prefix."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return keccak256(b"zkainode" + tree(hashes[:split]) + tree(hashes[split:]))


def expected_root(tensors: Mapping[str, tuple[str, bytes]], leaf: int) -> bytes:
    """docs/commitments.md, written again."""
    layers = []
    for name in sorted(tensors, key=str.encode):
        head, data = tensors[name]
        top = tree(
            [keccak256(b"zkaileaf" + data[i : i + leaf]) for i in range(0, len(data) or 1, leaf)]
        )
        sizes = struct.pack(">QQ", leaf, len(data))
        digest = keccak256(b"zkaitnsr" + sizes + keccak256(head.encode()) + top)
        layers.append(keccak256(b"zkailayr" + keccak256(name.encode()) + digest))
    return keccak256(b"zkaimodl" + struct.pack(">Q", len(layers)) + tree(layers))


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {
        "b.weight": rng.normal(size=(64, 33)).astype(np.float32),
        "a": rng.integers(-100, 100, (5,)).astype(np.int16),
        "émoi": np.array(2.5),
        "none": np.zeros((0, 4), np.float16),
    }


def sources() -> dict[str, Source]:
    return {name: from_array(array, name) for name, array in arrays().items()}


def test_roots_follow_the_specification() -> None:
    heads = {
        "b.weight": "float32[64,33]", "a": "int16[5]", "émoi": "float64[]", "none": "float16[0,4]",
    }  # fmt: skip
    for leaf in (1, 64, 100, 4096):
        given = {name: (heads[name], array.tobytes()) for name, array in arrays().items()}
        assert commit(sources(), leaf).root == expected_root(given, leaf)


def test_everything_in_the_head_counts() -> None:
    array = np.arange(16, dtype=np.float32)
    roots = [
        commit({"w": from_array(array)}).root,
        commit({"v": from_array(array)}).root,
        commit({"w": from_array(array.reshape(4, 4))}).root,
        commit({"w": from_array(array.view(np.int32))}).root,
        commit({"w": from_array(array)}, 64).root,
        commit({"w": from_array(array), "x": from_array(array[:0])}).root,
    ]
    assert len(set(roots)) == len(roots)


def test_arrays_of_any_layout_and_order_give_the_same_bytes() -> None:
    array = np.arange(60, dtype=np.int64).reshape(4, 15)
    expected = commit({"w": from_array(array)}).root
    for same in (np.asfortranarray(array), array.astype(">i8"), np.repeat(array, 2, 1)[:, ::2]):
        assert commit({"w": from_array(same)}).root == expected


def test_torch_tensors_are_committed_as_they_are() -> None:
    torch = pytest.importorskip("torch")
    array = np.linspace(-1, 1, 40, dtype=np.float32).reshape(5, 8)
    tensor = torch.from_numpy(array)
    assert commit({"w": from_array(tensor)}).root == commit({"w": from_array(array)}).root
    turned = from_array(tensor.t())
    assert turned.head.text == "float32[8,5]"
    assert bytes(turned.read(0, 160)) == array.T.tobytes()
    half = tensor.to(torch.bfloat16)
    source = from_array(half)
    assert source.head.text == "bfloat16[5,8]"
    # The upper half of each float32, rounded to even: compare through float32 again.
    words = np.frombuffer(bytes(source.read(0, 80)), "<u2").astype(np.uint32) << 16
    assert (words.view(np.float32).reshape(5, 8) == half.float().numpy()).all()
    for dtype in (torch.bool, torch.float8_e4m3fn, torch.complex64, torch.uint8):
        head = from_array(torch.ones(3).to(dtype)).head
        assert head.shape == (3,)
        assert head.text.startswith(str(dtype).removeprefix("torch."))
    assert from_array(torch.tensor(1.5, requires_grad=True)).head.text == "float32[]"
    with pytest.raises(InvalidInput, match="dense tensor"):
        from_array(torch.ones(3, device="meta"))
    with pytest.raises(InvalidInput, match="dense tensor"):
        from_array(torch.eye(3).to_sparse())


@pytest.mark.parametrize("dtype", list(ITEM_BYTES))
def test_torch_tensors_of_every_type_and_layout_give_their_elements_in_order(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    kind = getattr(torch, dtype)
    flat = torch.arange(48).to(torch.float32).sub(20).to(kind)
    whole = flat.reshape(2, 3, 8)
    layouts = (
        whole, whole.transpose(0, 2), whole[:, 1:, ::3], whole[1, 2, 5], whole[:0],
        flat[7:9].reshape(2, 1).expand(2, 5), whole.permute(2, 0, 1)[3:],
    )  # fmt: skip
    for tensor in layouts:
        # Element by element, in row-major order, from the flat tensor's own bytes.
        source = from_array(tensor)
        data = b"".join(
            bytes(element.reshape(1).clone().view(torch.uint8).numpy())
            for element in tensor.reshape(-1)
        )
        assert source.head.text == f"{dtype}[{','.join(map(str, tensor.shape))}]"
        assert bytes(source.read(0, source.head.total)) == data
    if dtype.startswith("complex"):
        turned = whole.imag.neg(), (whole * 1j).conj()
        assert bytes(from_array(turned[0]).read(0, 384)) == turned[0].numpy().tobytes()[:384]
        plain = turned[1].resolve_conj().numpy().tobytes()
        assert bytes(from_array(turned[1]).read(0, len(plain))) == plain


@pytest.mark.parametrize("wrong", [[1, 2], "x", np.array(["a"]), np.array([None]), np.array(b"x")])
def test_other_objects_are_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInput):
        from_array(wrong)


# --- files


def test_safetensors_files_are_read_as_their_library_writes_them(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    library.save_file(arrays(), tmp_path / "m.safetensors", metadata={"made": "here"})
    found = open_tensors(tmp_path / "m.safetensors")
    assert commit(found, 100) == commit(sources(), 100)
    assert {name: source.head for name, source in found.items()} == {
        name: source.head for name, source in sources().items()
    }


def test_npy_files_are_read(tmp_path: Path) -> None:
    array = arrays()["b.weight"]
    expected = commit({"tensor": from_array(array)}).root
    for n, saved in enumerate((array, np.asfortranarray(array), array.astype(">f4"))):
        np.save(tmp_path / f"{n}.npy", saved)
        assert commit(open_tensors(tmp_path / f"{n}.npy")).root == expected
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(InvalidInput, match=r"objects\.npy"):
        open_tensors(tmp_path / "objects.npy")


def test_files_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(1).bytes(100_000)
    np.save(tmp_path / "x.npy", np.frombuffer(array, np.uint8))
    whole = commit(open_tensors(tmp_path / "x.npy"), 64).root
    monkeypatch.setattr("zkai.merkle.commitment.CHUNK", 9000)
    seen: list[float] = []
    parts = commit(open_tensors(tmp_path / "x.npy"), 64, lambda _, done: seen.append(done))
    assert parts.root == whole
    assert seen == sorted(seen)
    assert (len(seen), seen[-1]) == (13, 1.0)


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: Any = "U8", shape: Any = (4,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither"),
        (b"\x00" * 7, "neither"),
        (struct.pack("<Q", 1 << 60) + b"{}", "neither"),
        (safetensors(b"{ "), "not valid JSON"),
        (safetensors(b"[]"), "not a JSON object"),
        (safetensors(b'{"a":{},"a":{}}'), "repeats a key"),
        (safetensors({"a": {}}), "expected dtype"),
        (safetensors({"a": entry("Q4")}, b"1234"), "unknown dtype"),
        (safetensors({"a": entry(["U8"])}, b"1234"), "unknown dtype"),
        (safetensors({"a": entry(shape=4)}, b"1234"), "lists"),
        (safetensors({"a": entry(shape=[-4])}, b"1234"), "dimensions"),
        (safetensors({"a": entry(shape=[True] * 4)}, b"1"), "dimensions"),
        (safetensors({"a": entry(shape=[1 << 40, 1 << 40])}, b"1234"), "2\\^48"),
        (safetensors({"a": entry(offsets=[0, 3])}, b"123"), "3 bytes for uint8"),
        (safetensors({"a": entry(offsets=[0.0, 4])}, b"1234"), "ascending integers"),
        (safetensors({"a": entry(offsets=[4, 0])}, b"1234"), "ascending integers"),
        (safetensors({"a": entry(), "b": entry()}, b"1234"), "overlaps"),
        (safetensors({"a": entry(offsets=[1, 5])}, b"12345"), "gap"),
        (safetensors({"a": entry()}, b"12345"), "end at byte"),
        (safetensors({"a": entry()}, b"123"), "end at byte"),
    ],
)
def test_files_that_break_their_format_are_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=message) as caught:
        open_tensors(path)
    assert (
        "broken.safetensors" in str(caught.value)
        or "2^48" in str(caught.value)
        or ("dimensions" in str(caught.value))
    )


def test_a_file_that_shrinks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors({"a": entry()}, b"1234"))
    found = open_tensors(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InvalidInput, match="ended early"):
        commit(found)
    with pytest.raises(InvalidInput, match=r"missing\.npy"):
        open_tensors(tmp_path / "missing.npy")


# --- tables


def test_tables_survive_their_file_and_state_their_root() -> None:
    table = commit(sources(), 64)
    document = json.loads(json.dumps(table.to_json()))
    assert Commitment.from_json(document) == table
    with pytest.raises(VerificationError, match="do not have the root"):
        Commitment.from_json(document | {"root": "0x" + "00" * 32})
    for change in (
        {"format": "zkai.commitment/2"}, {"leaf_bytes": "64"}, {"leaf_bytes": 0}, {"tensors": []},
        {"tensors": {}}, {"more": 1}, {"tensors": document["tensors"][::-1]},
        {"tensors": document["tensors"] + document["tensors"][-1:]},
        {"tensors": [document["tensors"][0] | {"name": ""}]},
        {"tensors": [document["tensors"][0] | {"dtype": "float31"}]},
        {"tensors": [document["tensors"][0] | {"shape": [1.0]}]},
        {"tensors": [document["tensors"][0] | {"extra": 1}]},
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            Commitment.from_json(document | change)
    for wrong in ({"": sources()["a"]}, {"x" * 2000: sources()["a"]}, {"\ud800": sources()["a"]}):
        with pytest.raises(InvalidInput):
            commit(wrong)


# --- samples


def honest(count: int = 9, leaf: int = 64) -> tuple[Commitment, Challenge, dict[int, Answer]]:
    table = commit(sources(), leaf)
    challenge = Challenge(BEACON, count)
    return table, challenge, answer(table, sources(), challenge)


@pytest.mark.parametrize("count", [1, 2, 9, 100, 135, 136, 10_000])
def test_honest_answers_verify_through_their_file(tmp_path: Path, count: int) -> None:
    table, challenge, answers = honest(count)
    assert table.leaves == 1 + 132 + 1 + 1
    verify(table, challenge, answers, table.root)
    write_answer(tmp_path / "a", answers)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600  # weights may be private
    read = read_answer(tmp_path / "a", table, challenge)
    verify(table, challenge, read, table.root)


def test_draws_are_distinct_uniform_and_the_beacons() -> None:
    """The definition, one draw at a time, with pycryptodome."""
    root = keccak256(b"root")
    for leaves, count in ((10, 7), (1000, 300), ((1 << 32) - 1, 50), (50, 50), (3, 5)):
        expected: list[int] = []
        draws = map(
            lambda i, n=leaves: int.from_bytes(
                keccak256(b"zkaismpl" + BEACON + root + struct.pack(">Q", i))[:8], "big"
            ) * n >> 64,
            itertools.count(),
        )  # fmt: skip
        while len(expected) < min(count, leaves):
            if (drawn := next(draws)) not in expected:
                expected.append(drawn)
        found = Challenge(BEACON, count).draw(root, leaves)
        assert found.tolist() == sorted(expected)
    other = Challenge(BEACON[::-1], 300).draw(root, 1000)
    assert (other != Challenge(BEACON, 300).draw(root, 1000)).any()
    counts = np.bincount(
        np.concatenate([Challenge(bytes([i]) * 32, 10).draw(root, 20) for i in range(200)]).astype(
            int
        )
    )
    assert counts.min() > 60
    assert counts.max() < 140


Cheat = Callable[[Commitment, dict[int, Answer]], dict[int, Answer]]


def change_leaf(table: Commitment, answers: dict[int, Answer]) -> dict[int, Answer]:
    place = min(answers)
    leaves = bytearray(answers[place].leaves)
    leaves[-1] ^= 1
    return answers | {place: Answer(bytes(leaves), answers[place].proof)}


def change_proof(table: Commitment, answers: dict[int, Answer]) -> dict[int, Answer]:
    place = max(answers, key=lambda place: len(answers[place].proof))
    proof = answers[place].proof.copy()
    proof[0, 0] ^= 1
    return answers | {place: Answer(answers[place].leaves, proof)}


def leave_out(table: Commitment, answers: dict[int, Answer]) -> dict[int, Answer]:
    return dict(list(answers.items())[1:])


def shorten(table: Commitment, answers: dict[int, Answer]) -> dict[int, Answer]:
    place = max(answers)
    return answers | {place: Answer(answers[place].leaves[:-1], answers[place].proof)}


def lengthen_proof(table: Commitment, answers: dict[int, Answer]) -> dict[int, Answer]:
    place = max(answers, key=lambda place: len(answers[place].proof))
    proof = np.concatenate([answers[place].proof, answers[place].proof[:1]])
    return answers | {place: Answer(answers[place].leaves, proof)}


def other_leaves(table: Commitment, answers: dict[int, Answer]) -> dict[int, Answer]:
    """Leaves that were committed to, with a valid proof, but that nobody drew."""
    return answer(table, sources(), Challenge(BEACON[::-1], 9))


def add_tensor(table: Commitment, answers: dict[int, Answer]) -> dict[int, Answer]:
    missing = next(place for place in range(4) if place not in answers)
    return answers | {missing: Answer(b"", np.empty((0, 32), np.uint8))}


@pytest.mark.parametrize(
    "cheat",
    [change_leaf, change_proof, leave_out, shorten, lengthen_proof, other_leaves, add_tensor],
)
def test_cheats_are_found(cheat: Cheat) -> None:
    table, challenge, answers = honest()
    verify(table, challenge, answers, table.root)
    with pytest.raises(VerificationError):
        verify(table, challenge, cheat(table, answers), table.root)


def test_another_table_is_not_believed() -> None:
    table, challenge, _ = honest()
    changed = sources() | {"a": from_array(np.zeros(5, np.int16))}
    other = commit(changed, 64)
    answers = answer(other, changed, challenge)
    verify(other, challenge, answers, other.root)
    with pytest.raises(VerificationError, match="does not have this root"):
        verify(other, challenge, answers, table.root)


def test_who_changed_a_tensor_cannot_answer() -> None:
    table = commit(sources(), 64)
    everything = Challenge(BEACON, 10_000)
    for change in (
        {"a": from_array(np.zeros(5, np.int16))},
        {"a": from_array(np.zeros(6, np.int16))},
    ):
        with pytest.raises(VerificationError, match="'a'"):
            answer(table, sources() | change, everything)
    with pytest.raises(VerificationError, match="'a'"):
        answer(table, {k: v for k, v in sources().items() if k != "a"}, everything)


def test_answers_that_break_their_format_are_refused(tmp_path: Path) -> None:
    table, challenge, _ = honest()
    path = tmp_path / "answer"
    path.write_bytes(safetensors({"0.leaves": entry()}, b"1234"))
    with pytest.raises(InvalidInput, match="belong together"):
        read_answer(path, table, challenge)
    path.write_bytes(safetensors({"9.leaves": entry()}, b"1234"))
    with pytest.raises(InvalidInput, match=r"unexpected '9\.leaves'"):
        read_answer(path, table, challenge)
    path.write_bytes(
        safetensors({"0.leaves": entry(), "0.proof": entry(shape=[4], offsets=[4, 8])}, b"12345678")
    )
    with pytest.raises(InvalidInput, match=r"shape \(n, 32\)"):
        read_answer(path, table, challenge)
    with path.open("wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(InvalidInput, match="larger than an answer"):
        read_answer(path, table, challenge)
    for beacon, count in ((b"", 1), (BEACON, 0), (BEACON, 1 << 25)):
        with pytest.raises(InvalidInput):
            Challenge(beacon, count)


def test_samples_of_many_tensors_reach_each(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = tuple(Tensor(f"{n:03}", Head("uint8", (n,)), bytes(32)) for n in range(1, 200))
    table = Commitment(16, tensors)
    drawn = by_tensor(table, np.arange(table.leaves, dtype=np.uint64))
    assert [len(drawn[place]) for place in range(199)] == [-(-n // 16) for n in range(1, 200)]
    assert all((drawn[place] == np.arange(len(drawn[place]))).all() for place in drawn)


# --- what a sample is worth


def test_detection_is_the_hypergeometric_chance() -> None:
    from math import comb

    for leaves, altered, count in ((100, 3, 10), (100, 97, 3), (50, 1, 1), (1000, 10, 200)):
        exact = 1 - comb(leaves - altered, count) / comb(leaves, count)
        assert detection_probability(leaves, altered, count) == pytest.approx(exact, rel=1e-12)
    assert detection_probability(100, 60, 41) == 1.0
    assert detection_probability(100, 0, 41) == 0.0
    with pytest.raises(InvalidInput):
        detection_probability(10, 11, 1)


def test_cheats_are_caught_as_often_as_stated() -> None:
    """1,000 beacons against 12 altered leaves of 1,000: within four standard errors."""
    altered = np.arange(0, 120, 10)
    caught = sum(
        bool(
            np.isin(
                Challenge(keccak256(bytes([i >> 8, i & 255])), 60).draw(BEACON, 1000), altered
            ).any()
        )
        for i in range(1000)
    )
    chance = detection_probability(1000, 12, 60)
    assert 0.4 < chance < 0.6
    assert abs(caught / 1000 - chance) < 4 * (chance * (1 - chance) / 1000) ** 0.5


# --- vectors that Solidity reads too


def test_vectors_written_without_zkai_agree(repo: Path) -> None:
    """contracts/vectors/tensor_commitment.json: its root, and each leaf's path."""
    vectors = json.loads((repo / "contracts/vectors/tensor_commitment.json").read_text())
    data: dict[int, bytes] = {}
    for case in vectors["cases"]:
        data[case["place"]] = data.get(case["place"], b"") + bytes.fromhex(case["data"][2:])
    heads = sorted(vectors["heads"].items(), key=lambda item: item[0].encode())
    given: dict[str, Source] = {}
    for place, (name, text) in enumerate(heads):
        dtype, _, dimensions = text.rstrip("]").partition("[")
        shape = tuple(int(n) for n in dimensions.split(",") if n)
        given[name] = ArraySource(Head(dtype, shape), data[place], name)
    table = commit(given, vectors["leaf_bytes"])
    assert table.root.hex() == vectors["root"][2:]
    for case in vectors["cases"]:
        source = given[table.tensors[case["place"]].name]
        leaves = table.tensors[case["place"]].leaves(table.leaf_bytes)
        proof = multiproof(
            level(source, table.leaf_bytes, 0), leaves, np.array([case["index"]], np.uint64)
        )
        assert ["0x" + row.tobytes().hex() for row in proof] == case["path"]
