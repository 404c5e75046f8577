"""evaluation/1: the counts are exact, the samples are the beacon's, the states are a fork's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_hint_forced,
    assert_every_wire_forced,
    assert_refused,
    challenges_of,
    forger,
)

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.correct import correct_rows, is_zero
from zkai.circuit.gadgets.freivalds import products
from zkai.circuit.gadgets.range import check_range
from zkai.circuit.statements.commitments import state_commitment, user_commitment
from zkai.circuit.statements.dataset import Dataset, DatasetShape
from zkai.circuit.statements.evaluation import Evaluation
from zkai.circuit.statements.evaluation_set import EvaluationSet, Samples
from zkai.circuit.statements.registry import from_description
from zkai.circuit.tensor import Tensor
from zkai.encoding import FIELD_MODULUS, from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.model.heads import Head, LoraHead, MlpHead, SoftmaxHead
from zkai.model.training import HeadState, accuracy, predict

HEAD = SoftmaxHead(5, 3, input_width=6, rate_shift=9, rate_bits=4)
MOMENTUM = replace(HEAD, momentum=230)
MLP = MlpHead((5, 4, 3), input_width=6)
LORA = LoraHead((4, 3, 2), rank=1, input_scale_bits=8, input_width=12)
SHAPE = DatasetShape(4, 2)
PLAIN = Evaluation(HEAD, 8, SHAPE)
COMMIT = Evaluation(HEAD, 8, SHAPE, "groth16-commit")
STATEMENTS = [
    PLAIN,
    COMMIT,
    Evaluation(MOMENTUM, 3, DatasetShape(3), "groth16-commit"),
    Evaluation(MLP, 2, SHAPE),
    Evaluation(MLP, 2, SHAPE, "groth16-commit"),
    Evaluation(LORA, 2, SHAPE, "groth16-commit"),
]
IDS = ["plain", "commit", "odd", "mlp", "mlp commit", "lora"]
SPELLINGS = ("range top", "top word top")
BEACON, ROUND = 777, 12


@dataclass
class Case:
    """A statement, the set's rows, and honest values."""

    statement: Evaluation
    dataset: Dataset
    values: dict[str, Any]


def dataset_of(head: Head, shape: DatasetShape, rows: int, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    limit = 1 << (head.input_width - 2)
    x = rng.integers(-limit, limit, (rows, head.features))
    return Dataset(shape.schema(head), x, rng.integers(0, head.classes, rows), 99 + seed)


def case(statement: Evaluation = PLAIN, **changes: Any) -> Case:
    head = statement.head
    rng = np.random.default_rng(5)
    dataset = dataset_of(head, statement.dataset, 6 if statement.dataset.depth == 3 else 20)
    chosen = EvaluationSet.of(dataset, owner=4242)
    values = Samples.drawn(dataset, chosen, BEACON, ROUND, statement.samples).values()
    limit = 1 << (head.weight_width - 3)
    for side in ("old", "new"):
        values[f"{side}_weights"] = rng.integers(-limit, limit, head.shape)
        if head.has_velocity:
            values[f"{side}_velocity"] = rng.integers(-99, 99, head.shape)
    if head.frozen_size:
        values["frozen"] = rng.integers(-limit, limit, head.frozen_size)
    values |= {name: getattr(chosen, name) for name in ("root", "size", "owner")}
    values |= {"old_step": 3, "step": 9, "margin": 1, "beacon": BEACON, "beacon_round": ROUND}
    names = ("model", "fork", "context", "secret", "old_salt", "new_salt")
    values |= {name: 20 + i for i, name in enumerate(names)}
    return Case(statement, dataset, values | changes)


def solved(made: Case) -> Any:
    circuit = made.statement.build()
    challenge = challenges_of if circuit.challenges else None
    return circuit.solve(made.statement.assign(made.values), challenge=challenge)


def refused(made: Case, changes: dict[str, Any], rule: str) -> None:
    circuit = made.statement.build()
    inputs = made.statement.assign(made.values) | changes
    challenge = challenges_of if circuit.challenges else None
    with pytest.raises(VerificationError) as caught:
        circuit.check(forger(circuit).solve(inputs, challenge=challenge))
    assert rule in str(caught.value)


def signal_refused(made: Case, name: str, value: int) -> None:
    circuit = made.statement.build()
    witness = solved(made)
    place = 1 + [s.name for s in circuit.public].index(name)
    witness[place] = to_limbs([value % FIELD_MODULUS])[0]
    with pytest.raises(VerificationError):
        circuit.check(witness)


# Honest ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", STATEMENTS, ids=IDS)
def test_the_honest_evaluation_and_all_of_its_wires(statement: Evaluation) -> None:
    made = case(statement)
    circuit, witness = statement.build(), solved(made)
    circuit.check(witness)
    public = statement.public_values(made.values)
    assert [s.name for s in circuit.public] == list(public)
    assert from_limbs(circuit.signal_values(witness)) == list(public.values())
    assert_every_wire_forced(circuit, witness)
    assert from_description(statement.describe()) == statement


@pytest.mark.parametrize("statement", [PLAIN, COMMIT], ids=["plain", "commit"])
@pytest.mark.parametrize("node", ["old answers", "new answers", "logits", "improved", "numbers"])
def test_every_hint_is_forced(statement: Evaluation, node: str) -> None:
    """Those of the samples are tested with the dataset."""
    values = statement.assign(case(statement).values)
    assert_every_hint_forced(statement.build(), values, free=SPELLINGS, within=node)


def test_signals() -> None:
    made = case(MOMENTUM_STATEMENT)
    public = made.statement.public_values(made.values)
    assert list(public) == [
        "old_state", "new_state", "evaluation_set", "beacon", "beacon_round", "improved",
        "margin", "user", "model", "fork", "old_step", "step", "context",
    ]  # fmt: skip
    chosen = EvaluationSet.of(made.dataset, 4242)
    assert public["evaluation_set"] == chosen.commitment
    names = {"model": 20, "fork": 21, "user": user_commitment(23)}
    for side, step, salt in (("old", 3, 24), ("new", 9, 25)):
        state = HeadState(made.values[f"{side}_weights"], made.values[f"{side}_velocity"])
        expected = state_commitment(MOMENTUM, state, step=step, salt=salt, **names)
        assert public[f"{side}_state"] == expected


MOMENTUM_STATEMENT = STATEMENTS[2]


@pytest.mark.parametrize("margin", range(5))
def test_the_bit_is_the_comparison(margin: int) -> None:
    """Every margin around the difference of the two counts, which the reference counts."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        weights = {f"{s}_weights": rng.integers(-65536, 65536, HEAD.shape) for s in ("old", "new")}
        made = case(PLAIN, margin=margin, **weights)
        counts = made.statement.correct(made.values)
        rows = made.values["x"], made.values["labels"]
        for side in ("old", "new"):
            share = accuracy(HEAD, HeadState(weights[f"{side}_weights"]), *rows)
            assert counts[side] == round(8 * share)
        witness = solved(made)
        PLAIN.build().check(witness)
        public = dict(zip(PLAIN.public_values(made.values), from_limbs(witness[1:]), strict=False))
        assert public["improved"] == (counts["new"] >= counts["old"] + margin)


def test_samples_are_drawn_by_the_round_for_everybody() -> None:
    dataset = dataset_of(HEAD, SHAPE, 20)
    one, two = EvaluationSet.of(dataset, 1), EvaluationSet.of(dataset, 2)
    assert one.commitment != two.commitment

    def rows(chosen: EvaluationSet, beacon: int, number: int) -> bytes:
        return Samples.drawn(dataset, chosen, beacon, number, 8).x.tobytes()

    first = rows(one, 5, 6)
    assert first == rows(one, 5, 6)
    assert len({first, rows(two, 5, 6), rows(one, 6, 6), rows(one, 5, 7)}) == 4


# What a prover may try --------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["old", "new"])
@pytest.mark.parametrize("statement", [PLAIN, COMMIT], ids=["plain", "commit"])
def test_an_answer_that_is_not_the_largest(side: str, statement: Evaluation) -> None:
    """The label claimed as the answer of a row that the state gets wrong, and the other way."""
    made = case(statement)
    weights = made.values[f"{side}_weights"]
    answers = predict(HEAD, HeadState(weights), made.values["x"])
    labels = made.values["labels"]
    wrong, right = np.flatnonzero(answers != labels), np.flatnonzero(answers == labels)
    assert wrong.size
    assert right.size
    for row, claim in ((wrong[0], labels[wrong[0]]), (right[0], (labels[right[0]] + 1) % 3)):

        def forge(hot: Any, row: int = int(row), claim: int = int(claim)) -> Any:
            forged = np.array(hot).reshape(8, 2)
            forged[row] = np.arange(1, 3) == claim
            return forged

        message = assert_refused(
            statement.build(), statement.assign(made.values), {f"{side} answers/selected": forge}
        )
        assert "answers" in message or "lookups" in message


@pytest.mark.parametrize("side", ["old", "new"])
def test_a_forged_bit_of_one_row(side: str) -> None:
    for statement in (PLAIN, COMMIT):

        def flip(bits: Any) -> Any:
            return 1 - np.ravel(bits)

        message = assert_refused(
            statement.build(),
            statement.assign(case(statement).values),
            {f"{side} answers/correct": flip},
        )
        assert "correct" in message


def test_a_forged_result() -> None:
    made = case()
    honest = PLAIN.public_values(made.values)["improved"]
    signal_refused(made, "improved", 1 - int(honest))  # type: ignore[arg-type]
    for value in (2, -1, FIELD_MODULUS - 2):
        signal_refused(made, "improved", value)


@pytest.mark.parametrize("margin", [-1, 16, 1 << 40, FIELD_MODULUS - 1])
def test_margins_out_of_bounds(margin: int) -> None:
    if abs(margin) < 1 << 62:
        refused(case(), {"margin": margin}, "numbers: range")
    signal_refused(case(), "margin", margin)
    with pytest.raises(InvalidInput, match="margin must be"):
        PLAIN.assign(case(margin=margin).values)


def test_old_and_new_swapped() -> None:
    """The better state may not pass as the later one: step numbers are inside the states."""
    made = case()
    refused(made, {"old_step": 9, "step": 3}, "numbers: later step")
    refused(made, {"old_step": 9, "step": 9}, "numbers: later step")
    with pytest.raises(InvalidInput, match="old_step must be"):
        PLAIN.assign(made.values | {"old_step": 9, "step": 3})
    honest = PLAIN.public_values(made.values)
    swapped = made.values | {
        "old_weights": made.values["new_weights"],
        "new_weights": made.values["old_weights"],
    }
    other = PLAIN.public_values(swapped)
    assert {other["old_state"], other["new_state"]}.isdisjoint(
        {honest["old_state"], honest["new_state"]}
    )


@pytest.mark.parametrize("name", ["old_state", "new_state", "user", "model", "fork"])
def test_a_state_of_another_fork(name: str) -> None:
    """Both states are opened with the same fork, model and user: no other state's commitment."""
    made = case()
    other = PLAIN.public_values(case(fork=1, model=2, secret=3).values)[name]
    signal_refused(made, name, other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["evaluation_set", "beacon", "beacon_round", "old_step", "step", "context"]
)
@pytest.mark.parametrize("statement", [PLAIN, COMMIT], ids=["plain", "commit"])
def test_no_signal_floats(name: str, statement: Evaluation) -> None:
    made = case(statement)
    circuit, witness = statement.build(), solved(made)
    place = [s.name for s in circuit.public].index(name)
    wire = circuit.signal_wires[place]
    witness[wire] = to_limbs([from_limbs(witness[wire : wire + 1])[0] + 1])[0]
    with pytest.raises(VerificationError):
        circuit.check(witness)


def test_other_samples_than_the_drawn_ones() -> None:
    made = case()
    for changes in (
        {"beacon": BEACON + 1},
        {"beacon_round": ROUND + 1},
        {"owner": 4243},
        made.dataset.open(np.zeros(4, np.int64)),
    ):
        refused(made, changes, "samples/membership: Merkle child")
    x = made.values["x"].copy()
    x[0, 0] ^= 1
    refused(made, {"x": x}, "Merkle child")
    labels = predict(HEAD, HeadState(made.values["new_weights"]), made.values["x"])
    refused(made, {"labels": labels}, "Merkle child")


def test_another_set_than_committed() -> None:
    """The prover's own rows under its own root: the signal says so."""
    made = case()
    own = dataset_of(HEAD, SHAPE, 20, seed=8)
    other = EvaluationSet.of(own, 4242)
    honest = PLAIN.public_values(made.values)["evaluation_set"]
    assert other.commitment != honest
    values = Samples.drawn(own, other, BEACON, ROUND, 8).values() | {"root": own.root}
    forged = replace(made, values=made.values | values)
    assert PLAIN.public_values(forged.values)["evaluation_set"] == other.commitment
    signal_refused(forged, "evaluation_set", int(honest))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["old_weights", "new_weights", "x"])
@pytest.mark.parametrize("statement", [PLAIN, COMMIT], ids=["plain", "commit"])
def test_integers_that_pack_alike(name: str, statement: Evaluation) -> None:
    made = case(statement)
    forged = made.values[name].copy()
    bits = HEAD.input_width if name == "x" else HEAD.weight_width
    forged.flat[0] += 1 << bits
    forged.flat[1] -= 1
    refused(made, {name: forged}, "range" if statement is PLAIN else "")


def test_logits_beyond_rule_7_are_rejected_by_name_and_by_constraint() -> None:
    extreme = np.full(HEAD.shape, (1 << 19) - 1) * np.array([1, -1, -1])
    made = case(old_weights=extreme)
    dataset = Dataset(SHAPE.schema(HEAD), np.full((20, 5), 31), np.zeros(20, np.int64), 1)
    chosen = EvaluationSet.of(dataset, 4242)
    made.values |= Samples.drawn(dataset, chosen, BEACON, ROUND, 8).values()
    made.values["root"] = dataset.root
    circuit = PLAIN.build()
    with pytest.raises(InvalidInput, match="'logits of the old state'"):
        circuit.solve(PLAIN.assign(made.values))
    refused(made, {}, "old answers")


# The product of pairs ---------------------------------------------------------------------------


def test_a_product_whose_pairs_trade() -> None:
    """z_0 + 2^60 and z_1 - 1 satisfy Freivalds' check: the bound on z is what refuses them."""
    made = case(COMMIT)

    def forge(z: Any) -> Any:
        forged = np.array(z).reshape(8, 6)
        forged[0, 0] += 1 << 60
        forged[1, 0] -= 1
        return forged

    circuit = COMMIT.build()
    witness = forger(circuit).solve(
        COMMIT.assign(made.values), {"logits/matmul": forge}, challenges_of
    )
    with pytest.raises(VerificationError) as caught:
        circuit.check(witness)
    assert "freivalds" not in str(caught.value)


def test_paired_products_refuse_what_could_wrap() -> None:
    builder = Builder("paired", commit=True)
    x = check_range(builder, builder.private_int("x", (4, 4)), 0, (1 << 30) - 1)
    w = check_range(builder, builder.private_int("w", (4, 4)), 0, (1 << 30) - 1)
    with pytest.raises(InvalidInput, match="could reach 2\\^58"):
        products(builder).paired(x, w, 1)
    with pytest.raises(InvalidInput, match="without a proven range"):
        products(builder).paired(Tensor((4, 4), x.rows, None), w, 1)
    with pytest.raises(InvalidInput, match="3 rows"):
        products(builder).paired(x[:2], w, 1)


@pytest.mark.parametrize("rows", [3, 4, 5])
def test_paired_products_of_any_number_of_rows(rows: int) -> None:
    builder = Builder("paired", commit=True)
    x = check_range(builder, builder.private_int("x", (rows, 3)), -8, 7)
    w = check_range(builder, builder.private_int("w", (3, 2)), -8, 7)
    z = products(builder).paired(x, w, 1)
    check_range(builder, z, -512, 511)
    circuit = builder.build()
    rng = np.random.default_rng(rows)
    inputs = {"x": rng.integers(-8, 8, (rows, 3)), "w": rng.integers(-8, 8, (3, 2))}
    circuit.check(circuit.solve(inputs, challenge=challenges_of))
    forged = circuit.solve(
        inputs, {"matmul": lambda z: np.ravel(z) + np.eye(1, rows * 2, 3, dtype=int)[0]},
        challenges_of,
    )  # fmt: skip
    with pytest.raises(VerificationError, match="freivalds"):
        circuit.check(forged)


# The gadget's edges -----------------------------------------------------------------------------


@pytest.mark.parametrize("commit", [False, True])
def test_ties_and_roundings_take_the_lowest_index(commit: bool) -> None:
    """Sums around the edges of rounding: u ties though the sums differ, and the lowest wins."""
    shift = 4
    sums = np.array(
        [[8, 23, 7], [7, 8, 8], [23, 8, 0], [-9, -8, -24], [24, 23, 0], [8, 24, 24], [0, 0, 0]]
    )
    u = (sums + 8) >> shift
    expected = u.argmax(1)
    builder = Builder("correct", commit)
    scaled = check_range(builder, builder.private_int("sums", sums.shape), -64, 63)
    labels = check_range(builder, builder.private_int("labels", (7,)), 0, 3)
    bits = correct_rows(builder, scaled, labels, shift, 2, "logits")
    circuit = builder.build()
    challenge = challenges_of if commit else None
    for label in range(3):
        inputs = {"sums": sums, "labels": np.full(7, label)}
        witness = circuit.solve(inputs, challenge=challenge)
        circuit.check(witness)
        whole = [v - FIELD_MODULUS if v > FIELD_MODULUS // 2 else v for v in from_limbs(witness)]
        small = np.array([v if abs(v) < 1 << 62 else 0 for v in whole], np.int64)
        assert bits.evaluate(small).tolist() == (expected == label).tolist()
        for row in range(7):  # any other index is refused, a tie's higher one too
            for other in {0, 1, 2} - {int(expected[row])}:
                chosen = expected.copy()
                chosen[row] = other
                tie = {"selected": lambda _, c=chosen: np.arange(1, 3) == c[:, None]}
                forged = forger(circuit).solve(inputs, tie, challenge)
                with pytest.raises(VerificationError):
                    circuit.check(forged)


def test_a_difference_that_is_not_zero() -> None:
    """Of the three rows each stops what the other two allow."""
    builder = Builder("zero")
    value = check_range(builder, builder.private_int("v"), -3, 3)
    is_zero(builder, value, "zero")
    circuit = builder.build()
    for v, flag, inverse in ((2, 1, 0), (0, 0, 0), (0, 1, 7), (2, 0, 0), (0, 0, 1), (2, 1, 1)):
        forged = {"zero": lambda _, f=flag: np.array(f)}
        forged["zero inverse"] = lambda _, i=inverse: to_limbs([i])
        message = assert_refused(circuit, {"v": v}, forged)
        assert "zero" in message


def test_shifts_that_cannot_be_compared() -> None:
    builder = Builder("correct")
    x = check_range(builder, builder.private_int("x", (2, 3)), 0, 7)
    for shift in (0, 40):
        with pytest.raises(InvalidInput, match="cannot be compared"):
            correct_rows(builder, x, x[:, 0], shift, 8, "logits")


# What a caller may get wrong --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros((7, 5), np.int64)}, "'x' must have shape"),
        ({"labels": np.full(8, 3)}, "'labels' has a value outside"),
        ({"step": 1 << 32}, "step must be in"),
        ({"paths": [1]}, "paths must be a list of 32"),
        ({"size": 21}, "no whole number of leaves"),
        ({"size": 40}, "more rows than a tree of depth 4"),
        ({"owner": -1}, "owner must be in"),
        ({"schema": 5}, "unknown schema"),
    ],
)
def test_unusable_values_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        PLAIN.assign(case().values | changes)


def test_unusable_statements() -> None:
    with pytest.raises(InvalidInput, match="no whole number of leaves of 2"):
        Evaluation(HEAD, 5, SHAPE)
    with pytest.raises(InvalidInput, match="samples must be"):
        Evaluation(HEAD, 0, SHAPE)


def test_sets_and_samples_are_written_and_read(tmp_path: Any) -> None:
    made = case()
    chosen = EvaluationSet.of(made.dataset, 4242)
    chosen.write(tmp_path / "set.json")
    assert EvaluationSet.from_path(tmp_path / "set.json") == chosen
    samples = Samples.drawn(made.dataset, chosen, BEACON, ROUND, 8)
    samples.write(tmp_path / "samples.json")
    found = Samples.from_path(tmp_path / "samples.json").values()
    for name, value in samples.values().items():
        assert (
            np.array_equal(found[name], value) if name in ("x", "labels") else found[name] == value
        )
    made.dataset.write(tmp_path / "rows.json")
    again = Dataset.from_path(tmp_path / "rows.json")
    assert EvaluationSet.of(again, 4242) == chosen
    assert (tmp_path / "rows.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(InvalidInput, match="only copy"):
        made.dataset.write(tmp_path / "rows.json")
    with pytest.raises(InvalidInput, match="of another dataset"):
        Samples.drawn(dataset_of(HEAD, SHAPE, 20, 3), chosen, BEACON, ROUND, 8)
    for change, message in (
        ({"format": "zkai.evaluation-set/2"}, "expected 'zkai.evaluation-set/1'"),
        ({"root": 5}, "canonical decimal"),
        ({"size": 0}, "size must be in"),
    ):
        with pytest.raises(InvalidInput, match=message):
            EvaluationSet.from_json(chosen.to_json() | change, "set.json")
    for change, message in (
        ({"x": [[1], [1, 2]]}, "equal lengths"),
        ({"labels": [0.5]}, "64-bit integers"),
        ({"paths": "x"}, "expected a list"),
    ):
        with pytest.raises(InvalidInput, match=message):
            Samples.from_json(samples.to_json() | change, "samples.json")


def test_rows_stand_in_pairs_only_where_biases_leave_room() -> None:
    wide = SoftmaxHead(
        2, 2, input_scale_bits=24, weight_scale_bits=3, weight_width=27, logit_scale_bits=4,
        error_scale_bits=4, rate_shift=0, rate_bits=4,
    )  # fmt: skip
    for head, paired in ((replace(wide, weight_width=20), True), (wide, False)):
        circuit = Evaluation(head, 3, DatasetShape(1), "groth16-commit").build()
        places = {origin.node for origin in circuit.origins}
        assert any(place.startswith("old network") for place in places) != paired
