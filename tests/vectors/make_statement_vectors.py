"""Writes circuits/<statement>/shapes.json and vectors/*.json; with --check, compares instead.

`python tests/vectors/make_statement_vectors.py [--check]`. Values are integers derived from
SHA-256 of a label and a counter, so that any language can make the same ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from canonical_shapes import SHAPES, element, integers, shape, state_of, weights_of
from ciphertext_example import encrypt
from network_steps import honest_step, step_attempts

from zkai.circuit.gadgets.range import OVERFLOW
from zkai.circuit.r1cs import Circuit
from zkai.circuit.statements.apply_aggregate import ApplyAggregate
from zkai.circuit.statements.base import Statement
from zkai.circuit.statements.batch_order import order_values
from zkai.circuit.statements.dataset import Dataset
from zkai.circuit.statements.encrypted_update import EncryptedUpdate
from zkai.circuit.statements.evaluation import Evaluation
from zkai.circuit.statements.evaluation_set import EvaluationSet, Samples
from zkai.circuit.statements.fork_terms import TERMS, ForkTerms
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.inference import Inference
from zkai.circuit.statements.query import Query
from zkai.circuit.statements.skip_step import SkipStep
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import FIELD_MODULUS, from_limbs, to_limbs, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.model.fixed_point import IntArray

FOLDER = Path(__file__).resolve().parents[2] / "circuits"
Vector = dict[str, Any]


# Vectors --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forgery:
    """An attempt: other values, other circuit inputs, forged hints, or another public signal."""

    name: str
    values: Mapping[str, Any] | None = None
    inputs: Mapping[str, Any] | None = None
    hint: tuple[str, int, int] | None = None
    signal: tuple[str, int] | None = None


def plain(value: Any) -> Any:
    """Return arrays as lists of integers and field elements as decimal strings."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list):
        return [str(v) for v in value]
    return str(value)


def cheating(circuit: Circuit) -> Circuit:
    """Return the circuit with a solver that reports no overflow."""
    kept = [s for s in circuit.steps if s.label.rsplit("/", 1)[-1].split("#")[0] != OVERFLOW]
    return replace(circuit, steps=tuple(kept))


def challenges_of(circuit: Circuit) -> list[int]:
    """Return the challenges of a circuit's vectors: fixed, because no commitment is made here."""
    return [element(name) for name in circuit.challenges]


def solved(circuit: Circuit, inputs: Mapping[str, Any], tamper: Any = None) -> Any:
    """Return the witness under the vectors' challenges."""
    return circuit.solve(inputs, tamper, lambda _: challenges_of(circuit))


def refused_at(circuit: Circuit, witness: Any) -> str:
    """Return the first constraint that refuses a witness."""
    try:
        circuit.check(witness)
    except VerificationError as error:
        return str(error).rsplit("(", 1)[1].removesuffix(")")
    raise AssertionError("a forged vector is accepted")


def forged(statement: Statement, honest: Mapping[str, Any], forgery: Forgery) -> Vector:
    """Return an attempt with what refuses it."""
    circuit = statement.build()
    result: Vector = {"name": forgery.name, "valid": False}
    if forgery.values is not None:
        try:
            solved(circuit, statement.assign({**honest, **forgery.values}))
        except InvalidInput as error:
            changed = {k: plain(v) for k, v in forgery.values.items()}
            return {**result, "values": changed, "refused": str(error)}
        raise AssertionError(f"{forgery.name} is accepted")
    inputs = statement.assign(honest)
    if forgery.inputs is not None:
        witness = solved(cheating(circuit), {**inputs, **forgery.inputs})
        changed = {k: plain(v) for k, v in forgery.inputs.items()}
        return {**result, "inputs": changed, "refused": refused_at(circuit, witness)}
    if forgery.hint is not None:
        label, place, amount = forgery.hint

        def tamper(out: Any) -> Any:
            changed = np.ravel(out).copy()
            changed[place] += amount
            return changed

        witness = solved(cheating(circuit), inputs, {label: tamper})
        what = {"step": label, "index": place, "add": amount}
        return {**result, "hint": what, "refused": refused_at(circuit, witness)}
    assert forgery.signal is not None
    name, value = forgery.signal
    partial = circuit.begin(inputs)
    index = [s.name for s in circuit.public].index(name)
    place = circuit.signal_wires[sum(s.size for s in circuit.public[:index])]
    partial.witness[place] = to_limbs([value])[0]
    witness = circuit.finish(partial, challenges_of(circuit))
    what = {"name": name, "value": str(value)}
    return {**result, "signal": what, "refused": refused_at(circuit, witness)}


def vectors(statement: Statement, honest: dict[str, Any], forgeries: list[Forgery]) -> list[Vector]:
    """Return the honest vector and all attempts at it.

    A circuit with a commitment round has other hints: attempts on those of the plain one alone are
    left out, and some on its own are added.
    """
    circuit = statement.build()
    public = {name: plain(value) for name, value in statement.public_values(honest).items()}
    values = {name: plain(value) for name, value in honest.items()}
    valid = {"name": "honest", "valid": True, "values": values, "public": public}
    if circuit.challenges:
        witness = solved(circuit, statement.assign(honest))
        y, *rest = from_limbs(circuit.public_values(witness))[: 1 + len(circuit.challenges)]
        named = zip(circuit.challenges, map(str, rest), strict=True)
        valid |= {"challenges": dict(named), "folded": str(y)}
        forgeries = [*_possible(circuit, forgeries), *_of_round_one(circuit)]
    return [valid, *(forged(statement, honest, forgery) for forgery in forgeries)]


def _possible(circuit: Circuit, forgeries: list[Forgery]) -> list[Forgery]:
    labels = {step.label for step in circuit.steps}
    return [f for f in forgeries if f.hint is None or f.hint[0] in labels]


def _of_round_one(circuit: Circuit) -> list[Forgery]:
    """Return attempts on the limbs and multiplicities of lookups."""
    labels = [step.label for step in circuit.steps if step.round_number == 1]
    wanted = [label for label in labels if label.endswith(("limbs", "multiplicities"))]
    return [Forgery(label.replace("/", ": "), hint=(label, 0, 1)) for label in wanted]


def numbers(*names: str) -> dict[str, Any]:
    """Return example field elements."""
    return {name: element(name) for name in names}


def moved(tensor: IntArray, bits: int) -> IntArray:
    """Return other integers that pack to the same elements."""
    result = tensor.copy()
    result.flat[0] += 1 << bits
    result.flat[1] -= 1
    return result


def changed(tensor: IntArray, value: int, place: int = 0) -> IntArray:
    """Return the tensor with one element replaced."""
    result = tensor.copy()
    result.flat[place] = value
    return result


def ordered_vectors(statement: TrainingStep) -> list[Vector]:
    """Steps on a dataset, honest and not."""
    head, shape = statement.head, statement.dataset
    assert shape is not None
    n = 10 * shape.rows_per_leaf
    x, y = integers("rows", (n, head.features), -16, 16), integers("row labels", (n,), 0, 2)
    dataset = Dataset(shape.schema(head), x, y, element("dataset salt"))
    terms = ForkTerms(
        dataset.root, n, dataset.schema.digest, element("source"), 100, 3, 2, element("nonce")
    )
    beacon = [element(f"beacon {i}") for i in range(statement.steps)]
    honest: dict[str, Any] = {"weights": weights_of(head), "learning_rate": 3, "step": 7}
    honest |= numbers("model", "context", "secret", "old_salt", "new_salt")
    honest |= order_values(dataset, terms, beacon, 7, statement.batch)
    order = "batch/order" if statement.steps == 1 else "batch/order 2"
    salts, paths = honest["leaf_salts"], honest["paths"]
    forgeries = [
        Forgery("a row that is not the dataset's", inputs={"x": changed(honest["x"], 17)}),
        Forgery(
            "a label that is not the row's",
            inputs={"labels": changed(honest["labels"], (int(honest["labels"][0]) + 1) % 3)},
        ),
        Forgery("rows that pack alike", inputs={"x": moved(honest["x"], head.input_width)}),
        Forgery("rows in another order", inputs={"x": honest["x"][::-1].copy()}),
        Forgery("another leaf's salt", inputs={"leaf_salts": [salts[1], *salts[1:]]}),
        Forgery("another path", inputs={"paths": [*paths[:-1], element("other")]}),
        Forgery("another index", hint=(f"{order}/index", 0, 1)),
        Forgery("another word of the hash", hint=(f"{order}/words", 0, 1)),
        Forgery("a size that leaves rows out", inputs={"leaves": 9}),
        Forgery("no leaves", inputs={"leaves": 0}),
        Forgery("a size beyond the tree", values={"size": (16 * shape.rows_per_leaf) * 2}),
        Forgery("no rounds per step", inputs={"rounds_per_step": 0}),
        Forgery("other skips", inputs={"max_skips": 3}),
    ]
    signals = ("old_state", "new_state", "beacon", "beacon_round", "user", "model", "fork", "step")
    forgeries += [Forgery(f"another {name}", signal=(name, element("other"))) for name in signals]
    return vectors(statement, honest, forgeries)


def skip_vectors(statement: SkipStep) -> list[Vector]:
    """Skips, honest and not."""
    state = state_of(statement.head)
    honest: dict[str, Any] = {"weights": state.weights, "step": 7}
    honest |= numbers("model", "context", "secret", "old_salt", "new_salt", *TERMS)
    honest |= {"size": 20, "first_round": 100, "rounds_per_step": 3, "max_skips": 2}
    if state.velocity is not None:
        honest["velocity"] = state.velocity
    w = honest["weights"]
    forgeries = [
        Forgery("weight out of width", values={"weights": changed(w, 1 << 19)}),
        Forgery("step beyond 32 bits", inputs={"step": 1 << 32}),
    ]
    signals = ("old_state", "new_state", "max_skips", "user", "model", "fork", "step", "context")
    forgeries += [Forgery(f"another {name}", signal=(name, element("other"))) for name in signals]
    return vectors(statement, honest, forgeries)


def training_vectors(statement: TrainingStep) -> list[Vector]:
    """Steps, honest and not."""
    if statement.dataset is not None:
        return ordered_vectors(statement)
    if len(statement.head.layers) > 1:
        values = honest_step(statement)
        return vectors(statement, values, [Forgery(**a) for a in step_attempts(statement, values)])
    head, rows = statement.head, statement.batch * statement.steps
    state = state_of(head)
    honest: dict[str, Any] = {
        "weights": state.weights,
        "x": integers("x", (rows, head.features), -16, 16),
        "labels": integers("labels", (rows,), 0, head.classes - 1),
        "learning_rate": 3,
        "step": 7,
        "fork": 5,
        **numbers("model", "context", "secret", "old_salt", "new_salt", "batch_salt"),
    }
    if state.velocity is not None:
        honest["velocity"] = state.velocity
    node = "step" if statement.steps == 1 else "step 2"
    w, x, y = honest["weights"], honest["x"], honest["labels"]
    overflow = np.where(np.arange(w.shape[0])[:, None] == 0, (1 << 19) - 1, 0)
    overflow = np.broadcast_to(overflow, w.shape).copy()
    forgeries = [
        Forgery("learning rate 0", values={"learning_rate": 0}),
        Forgery("learning rate too large", values={"learning_rate": 1 << head.rate_bits}),
        Forgery("label out of range", values={"labels": changed(y, head.classes)}),
        Forgery("input out of width", values={"x": changed(x, 1 << (head.input_width - 1))}),
        Forgery("weight out of width", values={"weights": changed(w, 1 << 19)}),
        Forgery(
            "new weights overflow",
            values={
                "weights": overflow,
                "x": np.full_like(x, -32),
                "labels": np.ones_like(y),
                "learning_rate": 15,
            },
        ),
        Forgery("old weights that pack alike", inputs={"weights": moved(w, head.weight_width)}),
        Forgery("inputs that pack alike", inputs={"x": moved(x, head.input_width)}),
        Forgery("learning rate 0 to the circuit", inputs={"learning_rate": 0}),
        Forgery("negative learning rate to the circuit", inputs={"learning_rate": -1}),
        Forgery("step beyond 32 bits", inputs={"step": 1 << 32}),
        Forgery("label of no class", inputs={"labels": changed(y, head.classes)}),
        Forgery("one-hot row without booleans", hint=("labels/one-hot", 0, 2)),
        Forgery("accumulator", hint=(f"{node}/logits/matmul", 1, 1)),
        Forgery("maximum", hint=(f"{node}/logits/maximum", 0, 1)),
        Forgery("distance", hint=(f"{node}/logits/distance", 1, 1)),
        Forgery("exponential", hint=(f"{node}/softmax/exponential", 0, 1)),
        Forgery("reciprocal one higher", hint=(f"{node}/softmax/quotient", 0, 1)),
        Forgery("reciprocal one lower", hint=(f"{node}/softmax/quotient", 0, -1)),
        Forgery("probability", hint=(f"{node}/softmax/quotient#2", 0, 1)),
        Forgery("gradient", hint=(f"{node}/gradient/matmul", 0, 1)),
        Forgery("learning rate times gradient", hint=(f"{node}/update/rate times step", 0, 1)),
        Forgery("new weight", hint=(f"{node}/update/quotient", 0, 1)),
    ]
    signals = ("old_state", "new_state", "batch", "user", "model", "fork", "step", "context")
    forgeries += [Forgery(f"another {name}", signal=(name, element("other"))) for name in signals]
    if head.momentum:
        v = honest["velocity"]
        forgeries.append(Forgery("velocity that packs alike", inputs={"velocity": moved(v, 42)}))
    if head.smooths:
        forgeries.append(Forgery("new velocity", hint=(f"{node}/velocity/quotient", 0, 1)))
    if head.clip:
        label = f"{node}/clipping/clip factors"
        forgeries += [
            Forgery("a factor one higher", hint=(label, 0, 1)),
            Forgery("a factor one lower", hint=(label, 0, -1)),
            Forgery("a gradient that is whole, they say", hint=(label, rows, 1)),
            Forgery("a smaller norm", hint=(f"{node}/clipping/squared norm", 0, -1000)),
            Forgery("another error after clipping", hint=(f"{node}/gradient/clipped error", 0, 1)),
        ]
    return vectors(statement, honest, forgeries)


def evaluation_vectors(statement: Evaluation) -> list[Vector]:
    """Evaluations, honest and not."""
    head, shape, sides = statement.head, statement.dataset, ("old", "new")
    n = 10 * shape.rows_per_leaf
    x, y = integers("rows", (n, head.features), -16, 16), integers("row labels", (n,), 0, 2)
    dataset = Dataset(shape.schema(head), x, y, element("dataset salt"))
    chosen = EvaluationSet.of(dataset, element("owner"))
    beacon = element("beacon")
    honest = Samples.drawn(dataset, chosen, beacon, 12, statement.samples).values()
    honest |= {f"{side}_weights": weights_of(head, side) for side in sides}
    if head.has_velocity:
        honest |= {f"{s}_velocity": integers(f"{s} v", head.shape, -99, 99) for s in sides}
    honest |= {name: getattr(chosen, name) for name in ("root", "size", "owner")}
    honest |= {"old_step": 3, "step": 9, "margin": 1, "beacon": beacon, "beacon_round": 12}
    honest |= numbers("model", "fork", "context", "secret", "old_salt", "new_salt")
    w = honest["new_weights"]
    forgeries = [
        Forgery("a negative margin", values={"margin": -1}),
        Forgery("a negative margin to the circuit", inputs={"margin": -1}),
        Forgery("steps in the wrong order", values={"old_step": 9}),
        Forgery("steps in the wrong order to the circuit", inputs={"old_step": 9}),
        Forgery("a sample that is not the set's", inputs={"x": changed(honest["x"], 17)}),
        Forgery("another round", inputs={"beacon_round": 13}),
        Forgery("another owner", inputs={"owner": element("other")}),
        Forgery("weights that pack alike", inputs={"new_weights": moved(w, head.weight_width)}),
        Forgery("samples that pack alike", inputs={"x": moved(honest["x"], head.input_width)}),
        Forgery("another maximum", hint=("new answers/maximum", 0, 1)),
        Forgery("another answer", hint=("new answers/selected", 0, 1)),
        Forgery("another gap", hint=("old answers/gap", 0, 1)),
        Forgery("one more that is correct", hint=("new answers/correct", 0, 1)),
        Forgery("one less that is correct", hint=("old answers/correct", 0, -1)),
        Forgery("another sum", hint=("new network/logits/matmul", 0, 1)),
    ]
    signals = ("old_state", "new_state", "evaluation_set", "beacon", "beacon_round", "improved")
    signals += ("margin", "user", "model", "fork", "old_step", "step", "context")
    forgeries += [Forgery(f"another {name}", signal=(name, element("other"))) for name in signals]
    return vectors(statement, honest, forgeries)


def encrypted_vectors(statement: EncryptedUpdate) -> list[Vector]:
    """Ciphertexts of updates, honest and not."""
    head, sides = statement.head, ("old", "new")
    honest: dict[str, Any] = {"old_weights": weights_of(head, "old")}
    u = integers("update", head.shape, -999, 999)
    honest["new_weights"] = honest["old_weights"] + u
    if head.has_velocity:
        honest |= {f"{s}_velocity": integers(f"{s} v", head.shape, -99, 99) for s in sides}
    honest |= {"old_step": 3, "step": 9, "norm_bound": 9000}
    honest |= numbers("ciphertext", "seed", "model", "fork", "context", "secret")
    honest |= numbers("old_salt", "new_salt") | encrypt(statement.encryption, u.ravel().tolist())
    inputs, w = statement.assign(honest), honest["old_weights"]
    digits, carries = (from_limbs(inputs[name]) for name in ("error_digits", "carries"))
    q, gap = statement.encryption.modulus, statement.encryption.gap
    forgeries = [
        Forgery("a longer update", values={"norm_bound": 1000}),
        Forgery("a longer update to the circuit", inputs={"norm_bound": 1000}),
        Forgery("steps in the wrong order", values={"old_step": 9}),
        Forgery("a secret that is not ternary", values={"secret_key": honest["secret_key"] * 2}),
        Forgery("an error out of range", values={"errors": changed(honest["errors"], 4)}),
        Forgery("another update", values={"new_weights": changed(honest["new_weights"], 77)}),
        Forgery("another update to the circuit", inputs={"new_weights": w}),
        Forgery("an error out of range to the circuit", inputs={"error_digits": more(digits, 7)}),
        Forgery("a quotient out of range", inputs={"error_digits": more(digits, q << 9)}),
        Forgery("an error of the next", inputs={"error_digits": more(digits, gap)}),
        Forgery("another carry", inputs={"carries": more(carries, 1)}),
        Forgery("another secret", inputs={"secret_key": moved(inputs["secret_key"], 0)}),
        Forgery("weights that pack alike", inputs={"old_weights": moved(w, 20)}),
        Forgery("another sum of squares", hint=("update/norm sum", 0, 1)),
    ]
    signals = ("old_state", "new_state", "encryption", "ciphertext", "seed", "norm_bound", "user")
    signals += ("model", "fork", "old_step", "step", "context")
    forgeries += [Forgery(f"another {name}", signal=(name, element("other"))) for name in signals]
    return vectors(statement, honest, forgeries)


def more(elements: list[int], amount: int) -> list[int]:
    """Return field elements with the first one larger."""
    return [(elements[0] + amount) % FIELD_MODULUS, *elements[1:]]


def query_vectors(statement: Query) -> list[Vector]:
    """Queries, well-formed and not."""
    most = (1 << (statement.width - 1)) - 1
    x = integers("query", statement.shape, -(most // 2), most // 2)
    length = int((x**2).sum()) ** 0.5
    honest: dict[str, Any] = {"input": x, "norm_bound": int(length) + 1}
    honest |= numbers("input_salt", "context")
    short = int(length) // 2
    forgeries = [
        Forgery("an input out of width", values={"input": changed(x, most + 1)}),
        Forgery(
            "an input out of width to the circuit",
            inputs={"input_values": changed(x, 2 * most + 2)},
        ),
        Forgery("a longer query", values={"norm_bound": short}),
        Forgery("a longer query to the circuit", inputs={"norm_bound": short}),
        Forgery("inputs that pack alike", inputs={"input_values": moved(x, statement.width)}),
        Forgery("another sum of squares", hint=("norm/norm sum", 0, 1)),
        Forgery("a bound beyond 2^30", inputs={"norm_bound": 1 << 30}),
    ]
    signals = ("input", "norm_bound", "context")
    forgeries += [Forgery(f"another {name}", signal=(name, element("other"))) for name in signals]
    return vectors(statement, honest, forgeries)


def genesis_vectors(statement: Genesis) -> list[Vector]:
    """First states, honest and not."""
    head = statement.head
    w = weights_of(head, "base")
    names = ("context", "secret", "model_salt", "new_salt")
    honest = {"weights": w, "fork": 5, **numbers(*names)}
    forgeries = [
        Forgery("weight out of width", values={"weights": changed(w, -(1 << 19) - 1)}),
        Forgery("weights that pack alike", inputs={"weights": moved(w, head.weight_width)}),
    ]
    signals = ("model", "new_state", "user", "fork", "context")
    forgeries += [Forgery(f"another {name}", signal=(name, element("other"))) for name in signals]
    return vectors(statement, honest, forgeries)


def aggregate_vectors(statement: ApplyAggregate) -> list[Vector]:
    """Updates, honest and not."""
    head, state = statement.head, state_of(statement.head)
    w, u = state.weights, integers("update", head.shape, -999, 999)
    honest: dict[str, Any] = {"weights": w, "update": u, "step": 7, "fork": 5}
    honest |= numbers("model", "context", "secret", "old_salt", "new_salt")
    if state.velocity is not None:
        honest["velocity"] = state.velocity
    forgeries = [
        Forgery("update out of width", values={"update": changed(u, 1 << 20)}),
        Forgery("new weight overflows", values={"update": changed(u, (1 << 19) + 60001)}),
        Forgery(
            "new weight overflows the circuit", inputs={"delta": changed(u, (1 << 19) + 60001)}
        ),
        Forgery("old weights that pack alike", inputs={"weights": moved(w, head.weight_width)}),
        Forgery("update that packs alike", inputs={"delta": moved(u, head.weight_width + 1)}),
        Forgery("step beyond 32 bits", inputs={"step": 1 << 32}),
    ]
    signals = ("old_state", "new_state", "update", "user", "model", "fork", "step", "context")
    forgeries += [Forgery(f"another {name}", signal=(name, element("other"))) for name in signals]
    return vectors(statement, honest, forgeries)


def inference_vectors(statement: Inference) -> list[Vector]:
    """Answers, honest and not."""
    graph = statement.graph
    x = integers("features", graph.tensors["features"].shape, -16, 16)
    honest: dict[str, Any] = {"input": x, **numbers("context", *statement.salts)}
    signals = [s.name for s in statement.build().public]
    forgeries = [
        Forgery("input out of width", values={"input": changed(x, 32)}),
        Forgery("input that packs alike", inputs={"input_values": moved(x, 6)}),
        Forgery("accumulator", hint=("logits/matmul", 1, 1)),
    ]
    if statement.head is not None:
        honest |= {"weights": weights_of(statement.head), "fork": 5, "step": 7}
        honest |= numbers("user", "model")
        w = honest["weights"]
        forgeries += [
            Forgery("weights that pack alike", inputs={"head_weights": moved(w, 20)}),
            Forgery("another maximum", hint=("logits (output)/maximum", 0, 1)),
            Forgery("another class", hint=("logits (output)/selected", 0, 1)),
        ]
    else:
        w = graph.values["weight"]
        forgeries += [
            Forgery("weights that pack alike", inputs={"parameter.weight": moved(w, 20)}),
            Forgery("probability", hint=("softmax/quotient#2", 0, 1)),
        ]
    forgeries += [Forgery(f"another {name}", signal=(name, element("other"))) for name in signals]
    return vectors(statement, honest, forgeries)


VECTORS: dict[str, tuple[Callable[[Any], list[Vector]], tuple[str, ...]]] = {
    "training_step": (
        training_vectors,
        (
            "5x3, batch 4",
            "5x3, batch 4, momentum",
            "5x3, batch 4, decay",
            "5x3, batch 4, clipped",
            "5x3, batch 4, 2 steps",
            "5x3, batch 4, dataset",
            "5x3, batch 2, 2 steps, dataset",
            "5x3, batch 4, commitment round",
            "5x3, batch 4, momentum, commitment round",
            "5x3, batch 4, clipped, commitment round",
            "5x3, batch 4, dataset, commitment round",
            "MLP 5-4-3, batch 4",
            "MLP 5-4-3, batch 4, commitment round",
            "LoRA 5-4-3, batch 4, momentum",
            "LoRA 5-4-3, batch 4, momentum, commitment round",
        ),
    ),
    "evaluation": (
        evaluation_vectors,
        ("5x3, 8 samples", "5x3, 8 samples, momentum", "5x3, 8 samples, commitment round"),
    ),
    "encrypted_update": (
        encrypted_vectors,
        ("5x3, degree 16", "5x3, degree 16, momentum", "MLP 5-4-3, degree 16"),
    ),
    "query": (
        query_vectors,
        ("5 of 8 bits", "2x3 of 6 bits", "2x3 of 6 bits, commitment round"),
    ),
    "skip_step": (skip_vectors, ("5x3", "5x3, momentum", "5x3, commitment round")),
    "genesis": (genesis_vectors, ("5x3", "5x3, momentum", "5x3, commitment round")),
    "apply_aggregate": (aggregate_vectors, ("5x3", "5x3, momentum", "5x3, commitment round")),
    "inference": (
        inference_vectors,
        (
            "head 5x3 of a state, class",
            "head 5x3, committed weights",
            "head 5x3 of a state, class, commitment round",
            "head 5x3, committed weights, commitment round",
        ),
    ),
}


def files() -> dict[Path, bytes]:
    """Return every file's bytes."""
    result = {}
    for name, shapes in SHAPES.items():
        rows = [shape(title, make()) for title, make in shapes.items()]
        result[FOLDER / name / "shapes.json"] = render("zkai.shapes/1", name, "shapes", rows)
        make_vectors, titles = VECTORS[name]
        for title in titles:
            found = make_vectors(shapes[title]())
            file = title.replace(", ", "-").replace(" ", "_") + ".json"
            data = render("zkai.statement-vectors/1", name, "vectors", found, title)
            result[FOLDER / name / "vectors" / file] = data
    return result


def render(form: str, name: str, key: str, rows: list[Any], title: str = "") -> bytes:
    """Return a file: one entry a line."""
    head = {"format": form, "statement": f"{name}/1"} | ({"shape": title} if title else {})
    lines = ",\n".join(json.dumps(row, allow_nan=False) for row in rows)
    return f'{json.dumps(head)[:-1]}, "{key}": [\n{lines}\n]}}\n'.encode("ascii")


def main() -> int:
    """Write or compare every file; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the files, write none")
    check = parser.parse_args().check
    stale = []
    for path, data in files().items():
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, data)
        elif not path.exists() or path.read_bytes() != data:
            stale.append(str(path.relative_to(FOLDER)))
    if stale:
        print(f"differ from the statements: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
