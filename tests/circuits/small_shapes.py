"""Small shapes of every statement with an assignment each: what exhaustive tests run over.

A line of SHAPES is (statement, shape, a function that gives both for a proof format).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from test_dataset_step import case
from test_evaluation import case as evaluation_case
from test_skip_step import example as skip_example

from zkai.circuit.statements.apply_aggregate import ApplyAggregate
from zkai.circuit.statements.base import Format, Statement
from zkai.circuit.statements.dataset import DatasetShape
from zkai.circuit.statements.encrypted_update import EncryptedUpdate
from zkai.circuit.statements.encryption import Encryption
from zkai.circuit.statements.evaluation import Evaluation
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.inference import Inference
from zkai.circuit.statements.query import Query
from zkai.circuit.statements.skip_step import SkipStep
from zkai.circuit.statements.training_step import TrainingStep
from zkai.model.heads import Head, LoraHead, MlpHead, SoftmaxHead
from zkai.model.quantize import head_graph
from zkai.model.training import HeadState

Values = dict[str, Any]
Shape = Callable[[Format], tuple[Statement, Values]]

# Small scales keep the tables of the exponential small.
TINY = {"input_width": 5, "logit_scale_bits": 3, "error_scale_bits": 3, "weight_scale_bits": 8}
HEAD = SoftmaxHead(3, 3, weight_width=10, rate_shift=6, rate_bits=3, **TINY)
MOMENTUM = replace(HEAD, momentum=230)
WIDER = SoftmaxHead(4, 2, weight_width=11, rate_shift=6, rate_bits=3, **TINY)
NETWORK = {
    "weight_width": 10, "rate_shift": 7, "rate_bits": 3, "hidden_scale_bits": 3,
    "hidden_width": 8, "error_width": 8, **TINY, "logit_scale_bits": 2, "error_scale_bits": 2,
}  # fmt: skip
MLP = MlpHead((3, 2, 3), **NETWORK)
LORA = LoraHead((3, 2, 3), 1, **NETWORK)
NAMES = (
    "step", "model", "fork", "context", "secret", "old_salt", "new_salt", "batch_salt",
    "model_salt",
)  # fmt: skip


def example(statement: Statement, wanted: tuple[str, ...] = ()) -> Values:
    """Values for a statement about a head's states; `wanted` are the field elements it takes."""
    head: Head = statement.head
    rng = np.random.default_rng(3)
    limit = 1 << (head.weight_width - 2)
    values: Values = {"weights": rng.integers(-limit, limit, head.shape)}
    if head.has_velocity and not isinstance(statement, Genesis):
        values["velocity"] = rng.integers(-30, 30, head.shape)
    if head.frozen_size:
        values["frozen"] = rng.integers(-limit, limit, head.frozen_size)
    return values | {name: 7 + i for i, name in enumerate(NAMES) if name in wanted}


def step(head: Head, batch: int, steps: int = 1) -> Shape:
    """Training steps."""

    def make(form: Format) -> tuple[Statement, Values]:
        statement = TrainingStep(head, batch, steps, format=form)
        values = example(statement, NAMES[:-1])
        rng = np.random.default_rng(4)
        values["x"] = rng.integers(-8, 9, (batch * steps, head.features))
        values["labels"] = rng.integers(0, head.classes, batch * steps)
        return statement, values | {"learning_rate": 3}

    return make


def dataset_step(head: Head, batch: int, shape: DatasetShape, steps: int = 1) -> Shape:
    """Training steps on rows that a beacon draws from a dataset."""

    def make(form: Format) -> tuple[Statement, Values]:
        statement = TrainingStep(head, batch, steps, format=form, dataset=shape)
        return statement, case(statement, rows=2 * shape.rows_per_leaf).values

    return make


def skip(head: Head) -> Shape:
    """Steps that are not taken."""
    return lambda form: (SkipStep(head, form), skip_example(head))


def genesis(head: Head) -> Shape:
    """First states."""

    def make(form: Format) -> tuple[Statement, Values]:
        statement = Genesis(head, form)
        return statement, example(
            statement, ("fork", "context", "secret", "model_salt", "new_salt")
        )

    return make


def update(head: Head) -> Shape:
    """Steps by an aggregate."""

    def make(form: Format) -> tuple[Statement, Values]:
        statement = ApplyAggregate(head, form)
        values = example(statement, NAMES[:-2])
        rng = np.random.default_rng(5)
        return statement, values | {"update": rng.integers(-99, 100, head.shape)}

    return make


def evaluation(head: Head, samples: int) -> Shape:
    """Certificates of improvement."""

    def make(form: Format) -> tuple[Statement, Values]:
        statement = Evaluation(head, samples, DatasetShape(3), form)
        return statement, evaluation_case(statement).values

    return make


def _ciphertext_example() -> ModuleType:
    path = Path(__file__).parents[1] / "vectors" / "ciphertext_example.py"
    spec = importlib.util.spec_from_file_location("ciphertext_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLE = _ciphertext_example()
"""Encryption by the schoolbook (tests/vectors/ciphertext_example.py)."""


def ciphertext(head: Head, encryption: Encryption, bits: int = 8, max_weight: int = 1) -> Shape:
    """Encrypted updates, which only a commitment round can have."""

    def make(form: Format) -> tuple[Statement, Values]:
        statement = EncryptedUpdate(head, encryption, bits, max_weight=max_weight)
        rng = np.random.default_rng(7)
        states = example(statement)
        update = rng.integers(-99, 100, head.shape)
        values: Values = {
            "old_weights": states["weights"],
            "new_weights": states["weights"] + update,
        }
        if head.has_velocity:
            values |= {f"{side}_velocity": states["velocity"] for side in ("old", "new")}
        if head.frozen_size:
            values["frozen"] = states["frozen"]
        names = ("ciphertext", "seed", *NAMES[1:-2])
        values |= {name: 41 + i for i, name in enumerate(names)}
        values |= {"old_step": 3, "step": 5, "norm_bound": 999}
        held = update.ravel().tolist()
        if statement.weighted:
            values["weight"] = max_weight - 1
            held = [*(v * (max_weight - 1) for v in held), max_weight - 1]
        return statement, values | EXAMPLE.encrypt(encryption, held)

    return make


def query(shape: tuple[int, ...], width: int) -> Shape:
    """Queries of a few integers."""

    def make(form: Format) -> tuple[Statement, Values]:
        statement = Query(shape, width, format=form)
        x = np.arange(np.prod(shape)).reshape(shape) % 3 - 1
        return statement, {"input": x, "norm_bound": 9, "input_salt": 41, "context": 42}

    return make


def encrypted_query(shape: tuple[int, ...], width: int, encryption: Encryption) -> Shape:
    """The same, encrypted."""

    def make(form: Format) -> tuple[Statement, Values]:
        _, values = query(shape, width)(form)
        values = values | {"ciphertext": 43, "seed": 44}
        statement = Query(shape, width, format="groth16-commit", encryption=encryption)
        return statement, values | EXAMPLE.encrypt(encryption, values["input"].ravel().tolist())

    return make


def linked(shape: Shape) -> Shape:
    """The same with linked states, which only a commitment round can have."""

    def make(form: Format) -> tuple[Statement, Values]:
        statement, values = shape(form)
        statement = replace(statement, weights_commitment="kzg")
        return statement, values | {name: 31 + i for i, name in enumerate(statement.links)}

    return make


def inference(head: Head, rows: int, weights: str, output: str) -> Shape:
    """Answers to a committed input."""

    def make(form: Format) -> tuple[Statement, Values]:
        rng = np.random.default_rng(6)
        state = HeadState(rng.integers(-200, 200, head.shape))
        graph = head_graph(head, state, rows, probabilities=output != "argmax")
        visibility = {"input": "committed", "output": output, "weights": weights}
        bound = head if weights == "state" else None
        statement = Inference(graph, visibility, bound, form)
        x = rng.integers(-8, 9, (rows, head.features))
        values: Values = {"input": x, "context": 7}
        values |= {name: 8 + i for i, name in enumerate(statement.salts)}
        if bound is not None:
            values |= {"weights": state.weights, "fork": 5, "step": 7, "user": 3, "model": 4}
        return statement, values

    return make


SMALL_RING = Encryption(8, (1048573, 1048571), 2, 10, error_bound=1)
"""Every value in one polynomial, beside the one for the dealing."""

NARROW_RING = replace(SMALL_RING, degree=4)
"""Several pairs of polynomials; one has no second."""

SHAPES: list[tuple[str, str, Shape]] = [
    ("training_step", "3-3", step(HEAD, 2)),
    ("training_step", "3-3, momentum", step(MOMENTUM, 2)),
    ("training_step", "4-2, two steps", step(WIDER, 1, 2)),
    ("training_step", "MLP 3-2-3", step(MLP, 2)),
    ("training_step", "MLP 3-2-3, decay", step(replace(MLP, decay=9, weight_scale_bits=7), 2)),
    ("training_step", "MLP 2-2-2-2, momentum", step(replace(MLP, sizes=(2,) * 4, momentum=230), 1)),
    ("training_step", "LoRA 3-2-3, first layer", step(LORA, 2)),
    ("training_step", "LoRA 3-2-3, last layer", step(replace(LORA, adapted=(2,)), 2)),
    (
        "training_step",
        "LoRA, two layers, momentum",
        step(replace(LORA, sizes=(2, 2, 2), adapted=(1, 2), momentum=230), 1),
    ),
    ("training_step", "3-3, dataset", dataset_step(HEAD, 1, DatasetShape(1))),
    ("training_step", "4-2, dataset, leaves", dataset_step(WIDER, 2, DatasetShape(2, 2))),
    ("training_step", "3-3, dataset, two steps", dataset_step(HEAD, 1, DatasetShape(1), 2)),
    ("training_step", "3-3, clipped", step(replace(HEAD, clip=4000), 2)),
    ("training_step", "MLP 3-2-3, clipped", step(replace(MLP, clip=4000), 1)),
    ("training_step", "LoRA 3-2-3, clipped", step(replace(LORA, clip=4000), 1)),
    ("skip_step", "3-2", skip(SoftmaxHead(3, 2))),
    ("skip_step", "3-2, momentum", skip(SoftmaxHead(3, 2, momentum=230))),
    ("skip_step", "LoRA 2-2-2", skip(LoraHead((2, 2, 2), 1))),
    ("genesis", "3-3", genesis(HEAD)),
    ("genesis", "3-3, momentum", genesis(MOMENTUM)),
    ("genesis", "4-2", genesis(WIDER)),
    ("genesis", "LoRA 3-2-3", genesis(LORA)),
    ("apply_aggregate", "3-3", update(HEAD)),
    ("apply_aggregate", "3-3, momentum", update(MOMENTUM)),
    ("apply_aggregate", "4-2", update(WIDER)),
    ("apply_aggregate", "LoRA 3-2-3", update(LORA)),
    ("inference", "3-3 of a state, class", inference(HEAD, 2, "state", "argmax")),
    ("inference", "3-3, committed weights", inference(HEAD, 2, "committed", "public")),
    ("inference", "4-2, constant weights", inference(WIDER, 1, "constant", "public")),
    ("evaluation", "3-3", evaluation(HEAD, 2)),
    ("evaluation", "3-3, momentum", evaluation(MOMENTUM, 1)),
    ("evaluation", "3-3, rows in pairs", evaluation(HEAD, 3)),
    ("evaluation", "MLP 3-2-3", evaluation(MLP, 1)),
    ("query", "3 of 4 bits", query((3,), 4)),
    ("query", "2x2 of 6 bits", query((2, 2), 6)),
    ("query", "1x1 of 2 bits", query((1, 1), 2)),
]
"""In both formats."""

LINKED: list[tuple[str, str, Shape]] = [
    ("training_step", "3-3, linked", linked(step(MOMENTUM, 2))),
    ("training_step", "MLP 3-2-3, linked", linked(step(MLP, 1))),
    ("training_step", "LoRA 3-2-3, linked", linked(step(LORA, 1))),
    ("genesis", "3-3, linked", linked(genesis(MOMENTUM))),
    ("apply_aggregate", "3-3, linked", linked(update(MOMENTUM))),
    ("evaluation", "3-3, linked", linked(evaluation(HEAD, 2))),
    ("inference", "3-3, linked", linked(inference(HEAD, 2, "state", "argmax"))),
    ("encrypted_update", "3-3", ciphertext(HEAD, SMALL_RING)),
    ("encrypted_update", "3-3, momentum, two pairs", ciphertext(MOMENTUM, NARROW_RING)),
    ("encrypted_update", "LoRA 3-2-3", ciphertext(LORA, SMALL_RING)),
    ("query", "2x3 of 6 bits, encrypted", encrypted_query((2, 3), 6, SMALL_RING)),
    ("encrypted_update", "3-3, weighted", ciphertext(HEAD, SMALL_RING, 8, 4)),
    ("encrypted_update", "MLP 3-2-3, linked", linked(ciphertext(MLP, NARROW_RING))),
]
"""With a commitment round alone."""
