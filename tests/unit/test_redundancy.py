"""Several trainers of one task: majorities, outliers, ties, colluders, and evidence that holds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zkai.cli import main
from zkai.compute.redundancy import (
    Submission,
    Tolerance,
    agree_by_digest,
    agree_by_tolerance,
    sign_result,
    sign_seal,
    tally,
    values_of,
)
from zkai.compute.signed import RESULT, SEAL, read, sign
from zkai.encoding import hex32, keccak256
from zkai.errors import InvalidInput, VerificationError
from zkai.merkle import sample
from zkai.merkle.commitment import Commitment, Tensor, commit
from zkai.merkle.tensor import Head, from_array
from zkai.receipt.envelope import Envelope
from zkai.receipt.keyfile import write_key
from zkai.receipt.signer import PrivateKey, generate

TASK = keccak256(b"the task")
RIGHT, WRONG = keccak256(b"right"), keccak256(b"wrong")


@pytest.fixture(scope="module")
def keys() -> dict[str, PrivateKey]:
    return {name: generate() for name in ("ada", "bo", "cy", "dee", "ed")}


def results(keys: dict[str, PrivateKey], **roots: bytes) -> list[Envelope]:
    return [sign_result(TASK, root, keys[name]) for name, root in roots.items()]


def public(keys: dict[str, PrivateKey], *names: str) -> dict[str, object]:
    return {name: keys[name].public for name in names or keys}


def agree(keys: dict[str, PrivateKey], envelopes: list[Envelope], *names: str):  # type: ignore[no-untyped-def]
    return agree_by_digest(TASK, public(keys, *names), envelopes)  # type: ignore[arg-type]


def test_all_agree(keys: dict[str, PrivateKey]) -> None:
    found = agree(keys, results(keys, ada=RIGHT, bo=RIGHT, cy=RIGHT), "ada", "bo", "cy")
    assert (found.majority, found.outliers, found.root) == (("ada", "bo", "cy"), (), RIGHT)
    assert found.unanimous


def test_a_colluding_minority_stands_apart(keys: dict[str, PrivateKey]) -> None:
    given = results(keys, ada=WRONG, bo=RIGHT, cy=RIGHT, dee=WRONG, ed=RIGHT)
    found = agree(keys, given)
    assert (found.majority, found.outliers) == (("bo", "cy", "ed"), ("ada", "dee"))
    assert not found.unanimous


def test_a_colluding_majority_wins_and_is_said_to(keys: dict[str, PrivateKey]) -> None:
    assert (
        agree(keys, results(keys, ada=WRONG, bo=WRONG, cy=RIGHT), "ada", "bo", "cy").root == WRONG
    )


@pytest.mark.parametrize("names", [("ada", "bo", "cy", "dee"), ("ada", "bo", "cy", "dee", "ed")])
def test_a_tie_accuses_nobody(keys: dict[str, PrivateKey], names: tuple[str, ...]) -> None:
    given = results(keys, ada=WRONG, bo=RIGHT, cy=RIGHT, dee=WRONG)
    found = agree(keys, given, *names)
    assert (found.majority, found.outliers, found.root) == ((), (), None)
    assert found.absent == tuple(n for n in names if n == "ed")


def test_keeping_others_away_makes_no_majority(keys: dict[str, PrivateKey]) -> None:
    found = agree(keys, results(keys, ada=WRONG, bo=WRONG))
    assert (found.majority, found.absent) == ((), ("cy", "dee", "ed"))


def test_two_results_of_one_trainer_count_for_none(keys: dict[str, PrivateKey]) -> None:
    given = results(keys, ada=RIGHT, bo=RIGHT, cy=RIGHT) + results(keys, cy=WRONG)
    found = agree(keys, given, "ada", "bo", "cy")
    assert (found.majority, found.outliers) == (("ada", "bo"), ("cy",))
    # The same result signed again, with other randomness, is no second one.
    again = results(keys, ada=RIGHT, bo=RIGHT, cy=RIGHT) + results(keys, cy=RIGHT)
    assert agree(keys, again, "ada", "bo", "cy").unanimous


def test_results_of_strangers_other_tasks_and_forgers_are_refused(
    keys: dict[str, PrivateKey],
) -> None:
    names = ("ada", "bo", "cy")
    with pytest.raises(VerificationError, match="was not given the task"):
        agree(keys, results(keys, dee=RIGHT), *names)
    other = sign_result(keccak256(b"another"), RIGHT, keys["ada"])
    with pytest.raises(VerificationError, match="not a result of this task"):
        agree(keys, [other], *names)
    honest, wrong = results(keys, ada=RIGHT, bo=WRONG)
    forged = replace(wrong, signatures=((keys["ada"].keyid, wrong.signatures[0][1]),))
    with pytest.raises(VerificationError, match="signature does not verify"):
        agree(keys, [forged], *names)
    with pytest.raises(VerificationError, match="alone"):
        agree(keys, [replace(honest, signatures=honest.signatures * 2)], *names)
    odd = sign(RESULT, TASK, {"root": hex32(RIGHT), "more": 1}, keys["ada"])
    with pytest.raises(InvalidInput, match="unknown field"):
        agree(keys, [odd], *names)
    with pytest.raises(InvalidInput, match="same key"):
        agree_by_digest(TASK, {"a": keys["ada"].public, "b": keys["ada"].public}, [])


def test_a_copied_result_is_none(keys: dict[str, PrivateKey]) -> None:
    """A lazy trainer waits for another's root, or takes another's seal for its own."""
    trainers = public(keys, "ada", "bo", "cy")
    results = [sign_result(TASK, RIGHT, keys[name]) for name in trainers]
    seals = [sign_seal(TASK, RIGHT, keys[name]) for name in ("ada", "bo")]
    assert agree_by_digest(TASK, trainers, results).unanimous  # without seals nobody sees it
    taken = read(seals[0], "seal")[2]
    for third in (
        [], [sign_seal(TASK, WRONG, keys["cy"])], [sign(SEAL, TASK, taken, keys["cy"])],
        [sign_seal(TASK, root, keys["cy"]) for root in (RIGHT, WRONG)],
    ):  # fmt: skip
        found = agree_by_digest(TASK, trainers, results, [*seals, *third])
        assert (found.majority, found.absent) == (("ada", "bo"), ("cy",))
    whole = [*seals, sign_seal(TASK, RIGHT, keys["cy"])]
    assert agree_by_digest(TASK, trainers, results, whole).unanimous
    for odd, message in (
        (seals[0:1] + results[0:1], "not a seal"),
        ([sign_seal(RIGHT, RIGHT, keys["ada"])], "not a seal of this task"),
        ([sign_seal(TASK, RIGHT, generate())], "was not given the task"),
    ):
        with pytest.raises(VerificationError, match=message):
            agree_by_digest(TASK, trainers, results, odd)
    with pytest.raises(VerificationError, match="not a result"):
        agree_by_digest(TASK, trainers, seals)


def test_evidence_survives_its_file(keys: dict[str, PrivateKey]) -> None:
    given = results(keys, ada=RIGHT, bo=RIGHT, cy=WRONG)
    again = [Envelope.from_bytes(envelope.to_bytes()) for envelope in given]
    assert agree(keys, again, "ada", "bo", "cy") == agree(keys, given, "ada", "bo", "cy")


def test_tallies() -> None:
    assert tally({}, 3) == ()
    assert tally({"a": 1}, 1) == ("a",)
    assert tally({"a": 1, "b": 1}, 4) == ()
    assert tally({"b": 1, "a": 1, "c": 2}, 3) == ("a", "b")


# --- by tolerance on sampled values

CHALLENGE = sample.Challenge(keccak256(b"beacon"), 16)
CLOSE = Tolerance(1e-6, 1e-4)


class Trainer:
    """A trainer's result, which it can show under a draw."""

    def __init__(self, key: PrivateKey, values: np.ndarray, leaf_bytes: int = 64) -> None:
        self.sources = {"w": from_array(values)}
        self.table = commit(self.sources, leaf_bytes)
        self.envelope = sign_result(TASK, self.table.root, key)

    def show(self) -> Submission:
        answers = sample.answer(self.table, self.sources, CHALLENGE, drawn_by=TASK)
        return Submission(self.table, answers)


def made(keys: dict[str, PrivateKey], **values: np.ndarray) -> dict[str, Trainer]:
    return {name: Trainer(keys[name], array) for name, array in values.items()}


def judge(keys: dict[str, PrivateKey], trainers: dict[str, Trainer], **changed: Submission):  # type: ignore[no-untyped-def]
    shown = {name: trainer.show() for name, trainer in trainers.items()} | changed
    envelopes = [trainer.envelope for trainer in trainers.values()]
    return agree_by_tolerance(
        TASK, public(keys, *trainers), envelopes, shown, CHALLENGE, CLOSE  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture(scope="module")
def honest() -> np.ndarray:
    return np.random.default_rng(1).normal(size=1024).astype(np.float32)


def rounded(honest: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(-2e-5, 2e-5, honest.size)
    return (honest * (1 + noise)).astype(np.float32)


def test_rounding_agrees_and_noise_does_not(
    keys: dict[str, PrivateKey], honest: np.ndarray
) -> None:
    noisy = honest + np.random.default_rng(9).normal(scale=0.01, size=1024).astype(np.float32)
    three = made(keys, ada=honest, bo=rounded(honest, 2), cy=rounded(honest, 3), dee=noisy)
    assert len({t.table.root for t in three.values()}) == 4
    found = judge(keys, three)
    assert (found.majority, found.outliers) == (("ada", "bo", "cy"), ("dee",))


def test_colluders_in_the_minority_do_not_move_the_median_away(
    keys: dict[str, PrivateKey], honest: np.ndarray
) -> None:
    given = {n: rounded(honest, i) for i, n in enumerate(("ada", "bo", "cy"))}
    away = np.full_like(honest, 1e30)
    found = judge(keys, made(keys, **given, dee=away, ed=away))
    assert (found.majority, found.outliers) == (("ada", "bo", "cy"), ("dee", "ed"))


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_values_that_are_not_finite_stand_apart(
    keys: dict[str, PrivateKey], honest: np.ndarray, odd: float
) -> None:
    found = judge(keys, made(keys, ada=honest, bo=honest, cy=np.full_like(honest, odd)))
    assert (found.majority, found.outliers) == (("ada", "bo"), ("cy",))


def test_others_tensors_and_answers_stand_apart(
    keys: dict[str, PrivateKey], honest: np.ndarray
) -> None:
    trainers = made(keys, ada=honest, bo=honest, cy=honest)
    other = Trainer(keys["cy"], honest.astype(np.float64))
    assert judge(keys, {**trainers, "cy": other}).outliers == ("cy",)
    # A table that the trainer did not sign, leaves that are not those drawn, no answer at all.
    unsigned = Trainer(keys["cy"], rounded(honest, 4)).show()
    assert judge(keys, trainers, cy=unsigned).outliers == ("cy",)
    shown = trainers["cy"].show()
    data = bytearray(shown.answers[0].leaves)
    data[5] ^= 1
    changed = replace(shown, answers={0: replace(shown.answers[0], leaves=bytes(data))})
    assert judge(keys, trainers, cy=changed).outliers == ("cy",)
    assert judge(keys, trainers, cy=replace(shown, answers={})).outliers == ("cy",)
    by_root = sample.answer(trainers["cy"].table, trainers["cy"].sources, CHALLENGE)
    assert judge(keys, trainers, cy=replace(shown, answers=by_root)).outliers == ("cy",)


def test_an_answer_that_cannot_be_read_stops_nobody(
    keys: dict[str, PrivateKey], honest: np.ndarray
) -> None:
    trainers = made(keys, ada=honest, bo=honest, cy=honest)
    huge = Commitment(1, (Tensor("w", Head("uint8", (1 << 40,)), bytes(32)),))
    trainers["cy"].envelope = sign_result(TASK, huge.root, keys["cy"])
    found = judge(keys, trainers, cy=Submission(huge, {}))
    assert (found.majority, found.outliers) == (("ada", "bo"), ("cy",))
    trainers = made(keys, ada=honest, bo=honest, cy=honest)
    odd = replace(trainers["bo"].show().answers[0], proof=np.zeros((3, 31), np.uint8))
    shown = replace(trainers["bo"].show(), answers={0: odd})
    assert judge(keys, trainers, bo=shown).outliers == ("bo",)


def test_no_majority_within_the_tolerance_accuses_nobody(
    keys: dict[str, PrivateKey], honest: np.ndarray
) -> None:
    found = judge(keys, made(keys, ada=honest, bo=honest, cy=honest + 1, dee=honest + 1))
    assert (found.majority, found.outliers) == ((), ())


def test_values_are_read_as_their_types() -> None:
    torch = pytest.importorskip("torch")
    x = torch.tensor([1.5, -2.0, 0.25, 3e38])
    for kind in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        source = from_array(x.to(kind))
        read = values_of(source.head, bytes(source.read(0, source.head.total)), 8)
        assert read.tolist() == x.to(kind).double().tolist()
    whole = np.arange(-3, 5, dtype=np.int16)
    assert values_of(Head("int16", (8,)), whole.tobytes(), 16).tolist() == whole.tolist()
    for head, leaf_bytes in ((Head("float32", (3,)), 6), (Head("bfloat16", (3,)), 3)):
        with pytest.raises(InvalidInput, match="cuts values"):
            values_of(head, bytes(head.total), leaf_bytes)
    with pytest.raises(InvalidInput, match="by digest"):
        values_of(Head("complex64", (1,)), bytes(8), 8)


@pytest.mark.parametrize("bounds", [(-1.0, 0.0), (0.0, float("nan")), (float("inf"), 0.0)])
def test_odd_tolerances_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(InvalidInput):
        Tolerance(*bounds)


def test_results_are_signed_and_compared_at_the_command_line(
    keys: dict[str, PrivateKey], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("ZKAI_PASSPHRASE", "x")
    task = ("--task", hex32(TASK))
    trainers: list[str] = []
    for name, root in (("ada", RIGHT), ("bo", RIGHT), ("cy", WRONG)):
        write_key(tmp_path / f"{name}.key", keys[name], "x", log2_n=14)
        out = ("-o", str(tmp_path / name), "--key", str(tmp_path / f"{name}.key"))
        assert main(["compute", "result", hex32(root), *task, *out]) == 0
        trainers += ["--trainer", str(tmp_path / f"{name}.key")]
    files = [str(tmp_path / name) for name in ("ada", "bo", "cy")]
    capsys.readouterr()
    assert main(["compute", "agree", *files, *task, *trainers, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["majority"], said["outliers"]) == (["ada", "bo"], ["cy"])
    assert main(["compute", "agree", files[0], files[2], *task, *trainers]) == 1
    sealed: list[str] = []
    for name, root in (("ada", RIGHT), ("cy", WRONG)):
        out = ("-o", str(tmp_path / f"{name}.seal"), "--key", str(tmp_path / f"{name}.key"))
        assert main(["compute", "result", hex32(root), *task, *out, "--seal"]) == 0
        assert hex32(root)[2:].encode() not in (tmp_path / f"{name}.seal").read_bytes()
        sealed += ["--seal", str(tmp_path / f"{name}.seal")]
    assert main(["compute", "agree", *files, *task, *trainers, *sealed]) == 1
    assert main(["compute", "agree", files[0], *task, *trainers[:2], *sealed[:2]]) == 0
    assert main(["compute", "agree", *files, "--task", hex32(RIGHT), *trainers]) == 1
