"""training_step/1 on a dataset: rows of the fork's dataset, in the beacon's order, or nothing."""

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

from zkai.circuit.gadgets.draw import draw
from zkai.circuit.gadgets.merkle import merkle_tree, verify_membership
from zkai.circuit.gadgets.poseidon import hash_elements
from zkai.circuit.statements.batch_order import GIVEN_TERMS, order_values
from zkai.circuit.statements.dataset import Dataset, DatasetShape, Schema
from zkai.circuit.statements.fork_terms import FORK, TERMS, ForkTerms
from zkai.circuit.statements.registry import from_description
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import FIELD_MODULUS, canonical_json, from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.model.training import SoftmaxHead

HEAD = SoftmaxHead(5, 3, input_width=6, rate_shift=9, rate_bits=4)
SHAPE = DatasetShape(depth=4, rows_per_leaf=2)
STEP = TrainingStep(HEAD, 4, dataset=SHAPE)
TWO = TrainingStep(HEAD, 2, 2, dataset=SHAPE)
SMALL = SoftmaxHead(
    3, 3, weight_width=10, weight_scale_bits=8, input_width=5, logit_scale_bits=3,
    error_scale_bits=3, rate_shift=6, rate_bits=3,
)  # fmt: skip
COMMIT = TrainingStep(SMALL, 2, dataset=DatasetShape(1), format="groth16-commit")
SPELLINGS = ("range top", "word top", "top word top")


@dataclass
class Case:
    """A dataset, the terms of a fork on it, and the values of its step number 7."""

    statement: TrainingStep
    dataset: Dataset
    terms: ForkTerms
    values: dict[str, Any]


def dataset_of(statement: TrainingStep, rows: int, seed: int = 1) -> Dataset:
    rng = np.random.default_rng(seed)
    head, shape = statement.head, statement.dataset
    assert shape is not None
    limit = 1 << (head.input_width - 2)
    x = rng.integers(-limit, limit, (rows, head.features))
    return Dataset(shape.schema(head), x, rng.integers(0, head.classes, rows), salt=1000 + seed)


def terms_of(dataset: Dataset, **changes: int) -> ForkTerms:
    known = {"beacon_source": 5, "first_round": 100, "rounds_per_step": 3, "max_skips": 2}
    schema = dataset.schema.digest
    return ForkTerms(dataset.root, dataset.size, schema, nonce=77, **{**known, **changes})


def case(statement: TrainingStep = STEP, rows: int = 20) -> Case:
    dataset = dataset_of(statement, rows)
    terms = terms_of(dataset)
    head = statement.head
    beacon = [900 + i for i in range(statement.steps)]
    values = order_values(dataset, terms, beacon, 7, statement.batch)
    limit = 1 << (head.weight_width - 2)
    values |= {
        "weights": np.random.default_rng(3).integers(-limit, limit, head.shape),
        "learning_rate": 3,
        "step": 7,
    }
    names = ("model", "context", "secret", "old_salt", "new_salt")
    return Case(statement, dataset, terms, values | {n: 20 + i for i, n in enumerate(names)})


def solved(statement: TrainingStep, values: dict[str, Any]) -> Any:
    circuit = statement.build()
    challenge = challenges_of if circuit.challenges else None
    return circuit.solve(statement.assign(values), challenge=challenge)


def refused(made: Case, changes: dict[str, Any], rule: str) -> None:
    """Other circuit inputs, with everything that follows from them recomputed, are refused."""
    circuit = made.statement.build()
    inputs = made.statement.assign(made.values) | changes
    with pytest.raises(VerificationError) as caught:
        circuit.check(forger(circuit).solve(inputs))
    assert rule in str(caught.value)


def changed(values: Any, place: int, value: Any) -> Any:
    result = np.array(values) if isinstance(values, np.ndarray) else list(values)
    result[place] = value
    return result


def opened(made: Case, leaves: list[int], dataset: Dataset | None = None) -> dict[str, Any]:
    """The circuit inputs of other leaves than the drawn ones."""
    return (dataset or made.dataset).open(np.array(leaves))


def drawn(made: Case) -> list[int]:
    seed = [made.values["beacon"][0], made.terms.fork, made.values["step"]]
    return made.dataset.draw(seed, made.statement.batch).tolist()


# The honest step --------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", [STEP, TWO, COMMIT], ids=["plain", "two steps", "commit"])
def test_the_honest_step_and_all_of_its_wires(statement: TrainingStep) -> None:
    made = case(statement, 20 if statement.dataset == SHAPE else 2)
    circuit = statement.build()
    witness = solved(statement, made.values)
    circuit.check(witness)
    public = statement.public_values(made.values)
    assert [s.name for s in circuit.public] == list(public)
    flat = [x for v in public.values() for x in (v if isinstance(v, list) else [v])]
    assert from_limbs(circuit.signal_values(witness)) == flat
    assert_every_wire_forced(circuit, witness)


def test_every_hint_is_forced() -> None:
    made = case(TWO)
    assert_every_hint_forced(TWO.build(), TWO.assign(made.values), within="batch/")


def test_with_a_commitment_round_every_hint_is_forced() -> None:
    made = case(COMMIT, 2)
    values = COMMIT.assign(made.values)
    assert_every_hint_forced(COMMIT.build(), values, free=SPELLINGS, within="batch/")


def test_signals() -> None:
    made = case()
    public = STEP.public_values(made.values)
    assert list(public) == [
        "old_state", "new_state", "beacon", "beacon_round", "user", "model", "fork", "step",
        "learning_rate", "context",
    ]  # fmt: skip
    assert public["beacon"] == 900
    assert public["beacon_round"] == 100 + 3 * 7
    elements = [getattr(made.terms, name) for name in TERMS]
    assert public["fork"] == made.terms.fork == hash_elements(FORK, elements)
    two = TWO.public_values(case(TWO).values)
    assert (two["beacon"], two["beacon_round"]) == ([900, 901], [121, 124])


def test_rows_are_those_of_the_rule() -> None:
    """The leaves are drawn by (beacon, fork, step), and each step of a proof has its own."""
    made = case()
    leaves = draw([900, made.terms.fork, 7], 2, 10)
    rows = [2 * i + j for i in leaves.tolist() for j in (0, 1)]
    assert np.array_equal(made.values["x"], made.dataset.x[rows])
    assert np.array_equal(made.values["labels"], made.dataset.labels[rows])
    two = case(TWO)
    seeds = [[900, two.terms.fork, 7], [901, two.terms.fork, 8]]
    assert np.array_equal(
        two.values["x"].reshape(2, 2, 5),
        [two.dataset.x[2 * i : 2 * i + 2] for i in (draw(s, 1, 10)[0] for s in seeds)],
    )


def test_the_state_after_is_that_of_a_step_on_these_rows() -> None:
    """Only where the rows come from differs: with the fork's number given, the states agree."""
    made = case()
    plain = TrainingStep(HEAD, 4)
    kept = {"weights", "x", "labels", "learning_rate", "step", "model", "context", "secret"}
    values = {n: v for n, v in made.values.items() if n in kept or n.endswith("_salt")}
    values |= {"fork": made.terms.fork, "batch_salt": 3}
    one, other = STEP.public_values(made.values), plain.public_values(values)
    assert {n: one[n] for n in ("old_state", "new_state")} == {
        n: other[n] for n in ("old_state", "new_state")
    }


def test_descriptions() -> None:
    assert STEP.describe()["dataset"] == {"depth": 4, "rows_per_leaf": 2}
    texts = {canonical_json(s.describe()) for s in (STEP, TWO, TrainingStep(HEAD, 4))}
    assert len(texts) == 3
    for statement in (STEP, TWO, COMMIT):
        assert from_description(statement.describe()) == statement


# What a trainer may try -------------------------------------------------------------------------


def test_a_row_that_is_not_in_the_dataset() -> None:
    made = case()
    x = made.values["x"].copy()
    x[0, 0] ^= 1
    refused(made, {"x": x}, "batch/membership: Merkle child")


def test_a_label_that_is_not_the_rows() -> None:
    made = case()
    labels = made.values["labels"]
    refused(made, {"labels": changed(labels, 0, (labels[0] + 1) % 3)}, "Merkle child")


def test_labels_swapped_inside_a_leaf() -> None:
    made = case(rows=20)
    for index in range(10):
        labels = made.dataset.labels[2 * index : 2 * index + 2]
        if labels[0] != labels[1]:
            break
    swapped = replace_rows(made, index)
    refused(made, swapped, "Merkle")


def replace_rows(made: Case, index: int) -> dict[str, Any]:
    """Open leaf `index` in place of every drawn one, its two labels exchanged."""
    inputs = opened(made, [index, index])
    return inputs | {"labels": inputs["labels"].reshape(2, 2)[:, ::-1].ravel()}


def test_rows_permuted_inside_a_leaf() -> None:
    made = case()
    order = [1, 0, 2, 3]
    refused(made, {"x": made.values["x"][order], "labels": made.values["labels"][order]}, "Merkle")


def test_leaves_permuted() -> None:
    made = case()
    leaves = drawn(made)
    assert leaves[0] != leaves[1]
    refused(made, opened(made, leaves[::-1]), "Merkle child")


def test_a_true_row_at_another_index() -> None:
    made = case()
    leaves = drawn(made)
    other = next(i for i in range(10) if i not in leaves)
    refused(made, opened(made, [leaves[0], other]), "Merkle child")


def test_another_index_with_its_own_path() -> None:
    """The forger also claims that the beacon drew it: the draw's rows refuse."""
    made = case()
    leaves = drawn(made)
    other = next(i for i in range(10) if i not in leaves)
    circuit = STEP.build()
    bits = np.array([[i >> j & 1 for j in range(4)] for i in (leaves[0], other)])
    inputs = STEP.assign(made.values) | opened(made, [leaves[0], other])
    message = assert_refused(circuit, inputs, {"batch/order/index": lambda _: bits.ravel()})
    assert "index remainder" in message


def test_another_dataset_than_the_forks() -> None:
    """Other rows under another root: the fork's number is another, and so are both states'."""
    made = case()
    other = dataset_of(STEP, 20, seed=2)
    inputs = opened(made, drawn(made), other)
    refused(made, inputs, "Merkle root")
    honest = STEP.public_values(made.values)
    terms = terms_of(other)
    values = made.values | order_values(other, terms, [900], 7, 4)
    forged = STEP.public_values(values)
    for name in ("fork", "old_state", "new_state"):
        assert honest[name] != forged[name]
    # With the old fork in the public signals, the terms refuse.
    witness = solved(STEP, values)
    place = 1 + [s.name for s in STEP.build().public].index("fork")
    witness[place] = to_limbs([honest["fork"]])[0]
    with pytest.raises(VerificationError):
        STEP.build().check(witness)


@pytest.mark.parametrize("name", [n for n in GIVEN_TERMS if n not in ("dataset", "size")])
def test_terms_other_than_the_forks(name: str) -> None:
    """Any term changed makes another fork's number; the draw then differs too."""
    made = case()
    forged = made.values | {name: made.values[name] + 1}
    assert STEP.public_values(forged)["fork"] != made.terms.fork
    refused(made, {name: made.values[name] + 1}, "batch/")


def test_a_smaller_size_keeps_rows_out() -> None:
    """Claiming nine leaves of ten: another fork."""
    made = case()
    terms = replace(made.terms, size=18)
    assert terms.fork != made.terms.fork
    refused(made, {"leaves": 9}, "batch/")


@pytest.mark.parametrize("leaves", [0, -1, 17, 1 << 40])
def test_sizes_out_of_bounds(leaves: int) -> None:
    refused(case(), {"leaves": leaves}, "batch/terms: range")


def test_a_size_that_counts_absent_leaves() -> None:
    """Indices of absent leaves can be drawn, and then nothing opens them: the step is skipped."""
    made = case()
    dataset = made.dataset
    terms = replace(made.terms, size=32)
    step = next(s for s in range(99) if draw([900, terms.fork, s], 2, 16)[0] >= 10)
    absent = int(draw([900, terms.fork, step], 2, 16)[0])
    given = {name: getattr(terms, name) for name in GIVEN_TERMS} | {"beacon": [900], "step": step}
    values = made.values | given | dataset.open(np.array([0, 0]))
    circuit = STEP.build()
    with pytest.raises(VerificationError, match="Merkle child"):
        circuit.check(forger(circuit).solve(STEP.assign(values)))
    with pytest.raises(InvalidInput, match="it has 10 leaves"):
        dataset.open(np.array([absent]))


def test_another_beacon() -> None:
    """Another value in the signal than the one that ordered the rows."""
    made = case()
    values = made.values | {"beacon": [901]}
    assert drawn(made) != draw([901, made.terms.fork, 7], 2, 10).tolist()
    refused(made, {"beacon": [901]}, "Merkle child")
    witness = solved(STEP, made.values)
    place = 1 + [s.name for s in STEP.build().public].index("beacon")
    witness[place] = to_limbs([901])[0]
    with pytest.raises(VerificationError):
        STEP.build().check(witness)
    assert STEP.public_values(values)["beacon"] == 901


def test_another_round() -> None:
    witness = solved(STEP, case().values)
    place = 1 + [s.name for s in STEP.build().public].index("beacon_round")
    for change in (1, FIELD_MODULUS - 3):
        forged = witness.copy()
        forged[place] = to_limbs([(121 + change) % FIELD_MODULUS])[0]
        with pytest.raises(VerificationError, match="terms: public"):
            STEP.build().check(forged)


def test_another_steps_order() -> None:
    made = case()
    other = order_values(made.dataset, made.terms, [900], 8, 4)
    refused(made, {n: other[n] for n in ("x", "labels", "leaf_salts", "paths")}, "Merkle child")


def test_the_second_step_of_a_proof_has_its_own_order() -> None:
    """The first step's rows again: the second draw, by its own number and beacon, refuses."""
    made = case(TWO)
    first = TWO.dataset
    assert first is not None
    leaf = int(draw([900, made.terms.fork, 7], 1, 10)[0])
    other = int(draw([901, made.terms.fork, 8], 1, 10)[0])
    assert leaf != other
    refused(made, opened(made, [leaf, leaf]), "Merkle child")
    refused(made, {"beacon": [900, 900]}, "Merkle child")


def test_words_of_the_hash_that_are_not_canonical() -> None:
    """h + r where h is small enough: the same element, other words, other rows."""
    made = case()
    made.statement.build()
    for nonce in range(200):
        terms = replace(made.terms, nonce=nonce)
        hashed = hash_elements("zkai/draw/1", [900, terms.fork, 7, 0])
        if hashed + FIELD_MODULUS < 1 << 254:
            break
    values = made.values | order_values(made.dataset, terms, [900], 7, 4)
    other = hashed + FIELD_MODULUS
    words = [other >> (32 * i) & 0xFFFFFFFF for i in range(6)] + [other >> 192]
    leaves = [(other >> (64 * i) & (1 << 64) - 1) * 10 >> 64 for i in range(2)]
    assert leaves != draw([900, terms.fork, 7], 2, 10).tolist()
    inputs = STEP.assign(values) | opened(made, leaves)
    tamper = {"batch/order/words": lambda _: np.array(words, np.int64)}
    assert "top word" in assert_refused(STEP.build(), inputs, tamper)


def test_inputs_that_pack_alike() -> None:
    made = case()
    x = made.values["x"].copy()
    x[0, 0] += 1 << 6
    x[0, 1] -= 1
    refused(made, {"x": x}, "inputs: range")


@pytest.mark.parametrize("change", [1, FIELD_MODULUS - 1])
@pytest.mark.parametrize("name", ["leaf_salts", "paths", "dataset", "nonce"])
def test_elements_other_than_committed(name: str, change: int) -> None:
    made = case()
    value = made.values[name]
    if isinstance(value, list):
        refused(made, {name: changed(value, 1, (value[1] + change) % FIELD_MODULUS)}, "Merkle")
    else:
        refused(made, {name: (value + change) % FIELD_MODULUS}, "batch/membership: Merkle")


def test_a_leaf_of_another_schema() -> None:
    """Leaves of four rows, or of other widths, open as nothing of this statement's."""
    made = case()
    for changes in ({"rows_per_leaf": 4}, {"input_width": 8}, {"depth": 5}):
        schema = replace(made.dataset.schema, **changes)
        other = Dataset(schema, made.dataset.x, made.dataset.labels, salt=5)
        terms = terms_of(other)
        # Under this statement's schema its root opens to nothing.
        forged = replace(terms, schema=made.dataset.schema.digest)
        assert forged.fork != terms.fork
        values = made.values | {n: getattr(forged, n) for n in GIVEN_TERMS if n != "size"}
        circuit = STEP.build()
        with pytest.raises(VerificationError, match="Merkle"):
            circuit.check(forger(circuit).solve(STEP.assign(values)))
    head = replace(HEAD, input_scale_bits=3)
    assert SHAPE.schema(head).digest != SHAPE.schema(HEAD).digest


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("first_round", -1),
        ("first_round", 1 << 40),
        ("rounds_per_step", 0),
        ("rounds_per_step", 1 << 16),
        ("max_skips", -1),
        ("max_skips", 1 << 32),
    ],
)
def test_terms_out_of_bounds(name: str, value: int) -> None:
    refused(case(), {name: value}, "batch/terms: range")
    with pytest.raises(InvalidInput, match=f"{name} must be in"):
        terms_of(case().dataset, **{name: value})


# The dataset ------------------------------------------------------------------------------------


def test_leaves_are_what_the_specification_says() -> None:
    dataset = dataset_of(STEP, 20)
    leaf = []
    for i in range(10):
        x = dataset.x[2 * i : 2 * i + 2].ravel().tolist()
        y = dataset.labels[2 * i : 2 * i + 2].tolist()
        salt = hash_elements("zkai/leaf-salt/1", [1001, i])
        packed = sum((v + 32) << (6 * j) for j, v in enumerate(x))
        leaf.append([salt, packed, sum((v + 256) << (9 * j) for j, v in enumerate(y))])
    tree = merkle_tree(to_limbs([v for e in leaf for v in e]).reshape(10, 3, 4), 4)
    assert tree.root == dataset.root
    for i in (0, 9):
        found = dataset.open(np.array([i]))
        assert found["leaf_salts"] == [leaf[i][0]]
        verify_membership(dataset.root, leaf[i], i, found["paths"], 4)


def test_inputs_of_several_elements_are_packed_leaf_by_leaf() -> None:
    """Each leaf starts an element of its own: its hash does not depend on its neighbours'."""
    schema = Schema(50, 3, 6, 4, 1, 2)
    rng = np.random.default_rng(5)
    x, y = rng.integers(-32, 32, (4, 50)), rng.integers(0, 3, 4)
    whole = Dataset(schema, x, y, salt=9)
    alone = Dataset(schema, x[:1], y[:1], salt=9)
    assert np.array_equal(whole.tree.levels[0][0], alone.tree.levels[0][0])


def test_equal_rows_have_different_leaves() -> None:
    schema = SHAPE.schema(HEAD)
    dataset = Dataset(schema, np.zeros((20, 5), np.int64), np.zeros(20, np.int64), salt=4)
    assert len({tuple(h) for h in dataset.tree.levels[0].tolist()}) == 10


def test_a_dataset_shows_nothing() -> None:
    dataset = dataset_of(STEP, 20)
    text = repr(dataset)
    assert str(dataset.salt) not in text
    assert "array" not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros((20, 4), np.int64)}, "'x' must have shape"),
        ({"x": np.full((20, 5), 32)}, "'x' has a value outside"),
        ({"x": np.zeros((20, 5))}, "'x' must hold integers"),
        ({"labels": np.full(20, 3)}, "'labels' has a value outside"),
        ({"labels": np.zeros(19, np.int64)}, "18 or 20 would do"),
        ({"labels": np.zeros(0, np.int64)}, "2 or 4 would do"),
        ({"labels": np.zeros(34, np.int64)}, "do not fit a tree of depth 4"),
    ],
)
def test_unusable_datasets(changes: dict[str, Any], message: str) -> None:
    values = {"x": np.zeros((20, 5), np.int64), "labels": np.zeros(20, np.int64)} | changes
    with pytest.raises(InvalidInput, match=message):
        Dataset(SHAPE.schema(HEAD), values["x"], values["labels"], salt=1)


def test_shapes() -> None:
    assert DatasetShape.for_rows(1797) == DatasetShape(11)
    assert DatasetShape.for_rows(1792, 32) == DatasetShape(6, 32)
    assert DatasetShape.for_rows(2, 2) == DatasetShape(1, 2)
    with pytest.raises(InvalidInput, match="1792 or 1824 would do"):
        DatasetShape.for_rows(1797, 32)
    for depth, per in ((0, 1), (25, 1), (4, 0), (4, 1 << 11)):
        with pytest.raises(InvalidInput):
            DatasetShape(depth, per)


def test_statements_that_do_not_fit() -> None:
    with pytest.raises(InvalidInput, match="no whole number of leaves of 2"):
        TrainingStep(HEAD, 3, dataset=SHAPE)
    with pytest.raises(InvalidInput, match="expected a DatasetShape"):
        TrainingStep(HEAD, 4, dataset=4)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paths": [1]}, "paths must be a list of 16 integers"),
        ({"leaf_salts": 5}, "leaf_salts must be a list of 2"),
        ({"beacon": [1, 2]}, "beacon must be a list of 1"),
        ({"beacon": [FIELD_MODULUS]}, "beacon must be in"),
        ({"size": 21}, "no whole number of leaves"),
        ({"size": 34}, "more rows than a tree of depth 4"),
        ({"size": 0}, "size must be in"),
        ({"first_round": "1"}, "first_round must be an integer"),
        ({"fork": 5}, "unknown fork"),
        ({"batch_salt": 5}, "unknown batch_salt"),
    ],
)
def test_unusable_values_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        STEP.assign(case().values | changes)


def test_terms_of_another_dataset() -> None:
    made = case()
    with pytest.raises(InvalidInput, match="of another dataset"):
        order_values(dataset_of(STEP, 20, 2), made.terms, [900], 7, 4)
    with pytest.raises(InvalidInput, match="schema is not the dataset's"):
        order_values(made.dataset, replace(made.terms, schema=5), [900], 7, 4)


def test_terms_are_written_and_read(tmp_path: Any) -> None:
    terms = case().terms
    terms.write(tmp_path / "terms.json")
    assert ForkTerms.from_path(tmp_path / "terms.json") == terms
    assert terms.round_of(7) == 121
    assert ForkTerms(1, 2, 3, 4, 5).nonce != ForkTerms(1, 2, 3, 4, 5).nonce
    for change, message in (
        ({"format": "zkai.fork-terms/2"}, "expected 'zkai.fork-terms/1'"),
        ({"size": "20"}, "size must be an integer"),
        ({"dataset": 5}, "canonical decimal"),
        ({"extra": 5}, "unknown extra"),
    ):
        with pytest.raises(InvalidInput, match=message):
            ForkTerms.from_json(terms.to_json() | change, "terms.json")
