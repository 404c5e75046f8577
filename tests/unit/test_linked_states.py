"""Statements whose states are polynomials: histories, their links, and what holds them together."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zkai
from zkai.assignment import Destination, complete
from zkai.circuit.gadgets.link import BLINDERS
from zkai.circuit.statements import commitments, linked
from zkai.circuit.statements.apply_aggregate import ApplyAggregate
from zkai.circuit.statements.dataset import Dataset, DatasetShape
from zkai.circuit.statements.evaluation import Evaluation
from zkai.circuit.statements.evaluation_set import EvaluationSet, Samples
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.inference import Inference
from zkai.circuit.statements.linked import LinkedState
from zkai.circuit.statements.registry import from_description
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import FIELD_MODULUS, canonical_json, from_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.model.heads import Head, LoraHead, MlpHead, SoftmaxHead
from zkai.model.quantize import head_graph
from zkai.opening import MAX_OPENINGS, UserState, count_openings, read_state
from zkai.proof import formats
from zkai.proof.commit import argument, setup
from zkai.proof.commit.keys import CommitKeys, CommitProof
from zkai.statement_file import parse

NUMBERS: dict[str, Any] = {
    "input_width": 5,
    "logit_scale_bits": 3,
    "error_scale_bits": 3,
    "weight_scale_bits": 8,
    "weight_width": 10,
    "rate_shift": 6,
    "rate_bits": 3,
}
HIDDEN: dict[str, Any] = {"hidden_scale_bits": 3, "hidden_width": 8, "error_width": 8}
HEADS: dict[str, Head] = {
    "softmax": SoftmaxHead(3, 3, momentum=128, **NUMBERS),
    "mlp": MlpHead((3, 2, 3), **NUMBERS, **HIDDEN),
    "lora": LoraHead((3, 2, 3), 2, (1,), momentum=64, **NUMBERS, **HIDDEN),
}
COMMIT, KZG = "groth16-commit", "kzg"


def statements(head: Head) -> dict[str, Any]:
    return {
        "genesis": Genesis(head, COMMIT, KZG),
        "training_step": TrainingStep(head, 2, format=COMMIT, weights_commitment=KZG),
        "apply_aggregate": ApplyAggregate(head, COMMIT, KZG),
    }


def make_keys(folder: Path, made: dict[str, Any]) -> dict[str, CommitKeys]:
    """Development keys of one tau."""
    return {
        name: setup.setup(
            s.build(), s.version, folder / name, scalars=setup.kept_tau(folder / "tau")
        )
        for name, s in made.items()
    }


def base(head: Head) -> dict[str, Any]:
    rng = np.random.default_rng(4)
    values: dict[str, Any] = {"weights_integers": rng.integers(-99, 99, head.shape)}
    if head.frozen_size:
        values["base_integers"] = rng.integers(-99, 99, head.frozen_size)
    return values


def batch(head: Head, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    x, labels = rng.integers(-9, 9, (2, head.features)), rng.integers(0, head.classes, 2)
    return {"x_integers": x, "labels": labels, "learning_rate": 0.21875}


@pytest.mark.parametrize("kind", HEADS)
def test_a_history_of_linked_states(kind: str, tmp_path: Path) -> None:
    head = HEADS[kind]
    made = statements(head)
    keys = make_keys(tmp_path, made)
    names = ["genesis", "training_step", "apply_aggregate", "training_step"]
    update = {"update_integers": np.full(head.shape, 2)}
    proofs: list[Any] = []
    for name, values in zip(
        names, [base(head), batch(head, 1), update, batch(head, 2)], strict=True
    ):
        if proofs:
            path = tmp_path / f"{len(proofs)}.json"
            proofs[-1].opening.write(path)
            values = values | {"state": read_state(path, head)}
        proofs.append(zkai.prove(made[name], keys[name].proving, values))
    by_version = {k.verifying.statement: k.verifying for k in keys.values()}
    zkai.verify_chain(proofs, by_version)
    for before, after in pairwise(proofs):
        assert before.opening.state.commitment == before.public["new_state"][0]
        assert before.public["new_link"] == after.public["old_link"]
        assert before.link.commitments[1] == after.link.commitments[0]
        assert before.link.evaluations[1] != after.link.evaluations[0]
    assert len({p.link.commitments[1] for p in proofs}) == 4
    path = tmp_path / "proof.json"
    proofs[1].write(path)
    zkai.verify(CommitProof.from_path(path), keys["training_step"].verifying, verifier="py-ecc")
    # The whole link of a proof about other states, named by this proof's signals or its own.
    for public in (
        proofs[1].public,
        proofs[1].public
        | {"old_link": proofs[3].public["old_link"], "new_link": proofs[3].public["new_link"]},
    ):
        forged = replace(proofs[1], link=proofs[3].link, public=public)
        with pytest.raises(VerificationError):
            zkai.verify(forged, keys["training_step"].verifying)


def test_states_of_another_kind_or_tau(tmp_path: Path) -> None:
    head = HEADS["mlp"]
    made = statements(head)
    keys = make_keys(tmp_path, made)
    proof = zkai.prove(made["genesis"], keys["genesis"].proving, base(head))
    state = proof.opening.state
    assert state is not None
    values = batch(head, 1) | {"state": state}
    other = setup.setup(made["training_step"].build(), "training_step/1", tmp_path / "other")
    with pytest.raises(InvalidInput, match="another tau"):
        zkai.prove(made["training_step"], other.proving, values)
    hashed = TrainingStep(head, 2, format=COMMIT)
    hashed_keys = zkai.setup(hashed, tmp_path / "hashed")
    with pytest.raises(InvalidInput, match="'kzg', the statement's weights_commitment 'poseidon'"):
        zkai.prove(hashed, hashed_keys.proving, values)
    unlinked = values | {"state": replace(state, link=None)}
    with pytest.raises(InvalidInput, match="'poseidon', the statement's weights_commitment 'kzg'"):
        zkai.prove(made["training_step"], keys["training_step"].proving, unlinked)
    wrong = values | {"state": replace(state, salt=state.salt + 1)}
    with pytest.raises(InvalidInput, match="the state was changed"):
        zkai.prove(made["training_step"], keys["training_step"].proving, wrong)
    assert formats.linker(hashed_keys.proving) is None


def test_keys_of_one_kept_tau(tmp_path: Path) -> None:
    """By the verb: the file is made once, private, and shared."""
    made, tau = statements(HEADS["mlp"]), tmp_path / "tau"
    keys = [zkai.setup(made[n], tmp_path / n, tau=tau) for n in ("genesis", "training_step")]
    assert keys[0].verifying.tau == keys[1].verifying.tau  # type: ignore[attr-defined]
    assert tau.stat().st_mode & 0o77 == 0
    assert tau.stat().st_size == 32
    alone: Any = zkai.setup(made["genesis"], tmp_path / "alone")
    assert alone.verifying.tau != keys[0].verifying.tau  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="ptau or tau, not both"):
        zkai.setup(made["genesis"], tmp_path / "both", tau=tau, ptau=tau)
    with pytest.raises(InvalidInput, match="with a commitment round"):
        zkai.setup(Genesis(HEADS["mlp"]), tmp_path / "plain", tau=tau)
    for content in (bytes(32), b"", bytes(31) + b"\1"):
        tau.write_bytes(content)
        with pytest.raises(InvalidInput, match="no secret"):
            zkai.setup(made["genesis"], tmp_path / "bad", tau=tau)


def test_a_linked_state_binds_what_a_hashed_one_does() -> None:
    """Each name in its own place, and under labels of its own."""
    head = HEADS["mlp"]
    names = {"model": 1, "fork": 2, "step": 3, "user": 4, "salt": 5}
    found = {linked.state_commitment(head, 6, **names)}
    for name in names:
        found.add(linked.state_commitment(head, 6, **(names | {name: 9})))
    found.add(linked.state_commitment(head, 7, **names))
    found.add(linked.state_commitment(replace(head, momentum=1), 6, **names))
    assert len(found) == 8
    # A small head's packed weights are one element: under one label it could be a link.
    tiny = SoftmaxHead(1, 2, weight_width=8)
    state = np.array([[1, 2], [3, 4]])
    (packed,) = commitments._packed(state, 8)
    hashed = commitments.state_commitment(tiny, commitments.HeadState(state), **names)
    assert linked.state_commitment(tiny, packed, **names) != hashed
    assert linked.model_id(tiny, packed, 5) != commitments.model_id(tiny, state, 5)


@pytest.mark.parametrize("kind", HEADS)
def test_the_polynomial_is_the_state(kind: str) -> None:
    """Coefficients in the circuit are those that the user commits to, and y is their value."""
    head = HEADS[kind]
    statement = statements(head)["training_step"]
    values = step_values(head)
    circuit = statement.build()
    witness = circuit.solve(statement.assign(values), challenge=lambda _: [987_654_321, 5])
    circuit.check(witness)
    states = statement.linked_states(values)
    y = from_limbs(circuit.public_values(witness))[3:]
    for i, name in enumerate(("old_link", "new_link")):
        coefficients = from_limbs(states[name].coefficients)
        assert len(coefficients) == np.prod(head.shape) * (1 + head.has_velocity) + BLINDERS
        assert len(circuit.links[i].coefficients.rows) == len(coefficients)
        power = [c * pow(987_654_321, k, FIELD_MODULUS) for k, c in enumerate(coefficients)]
        assert sum(power) % FIELD_MODULUS == y[i]
    assert circuit.public[-2:] == tuple(type(circuit.public[0])(n, 1) for n in statement.links)


def step_values(head: Head) -> dict[str, Any]:
    rng = np.random.default_rng(7)
    values: dict[str, Any] = {
        "weights": rng.integers(-99, 99, head.shape),
        "x": rng.integers(-9, 9, (2, head.features)),
        "labels": np.array([0, 2]),
        "learning_rate": 3,
        "step": 4,
        "old_link": 11,
        "new_link": 12,
    }
    fields = ("model", "fork", "context", "secret", "old_salt", "new_salt", "batch_salt")
    values |= {name: 100 + i for i, name in enumerate(fields)}
    if head.has_velocity:
        values["velocity"] = rng.integers(-50, 50, head.shape)
    if head.frozen_size:
        values["frozen"] = rng.integers(-99, 99, head.frozen_size)
    return values


def test_other_weights_have_another_value() -> None:
    """Each weight and blinder moves y: a state that differs anywhere is another polynomial."""
    head = HEADS["mlp"]
    statement = statements(head)["genesis"]
    circuit = statement.build()
    values = {"weights": np.zeros(head.shape, np.int64), "fork": 1, "context": 2, "secret": 3}
    values |= {"model_salt": 4, "new_salt": 5, "model_link": 6, "new_link": 7}
    inputs = statement.assign(values)

    def evaluations(given: dict[str, Any]) -> list[int]:
        witness = circuit.solve(given, challenge=lambda _: [12_345, 6])
        circuit.check(witness)
        return from_limbs(circuit.public_values(witness))[3:]

    honest = evaluations(inputs)
    for i in range(int(np.prod(head.shape))):
        weights = np.zeros(head.shape, np.int64)
        weights[i] = 1
        moved = [pow(12_345, i, FIELD_MODULUS)] * 2
        found = evaluations(inputs | {"weights": weights})
        assert [(b - a) % FIELD_MODULUS for a, b in zip(honest, found, strict=True)] == moved
    for name, place in (("model_blinders", 0), ("new_blinders", 1)):
        changed = list(inputs[name])
        changed[63] = (changed[63] + 1) % FIELD_MODULUS
        found = evaluations(inputs | {name: changed})
        assert [a != b for a, b in zip(honest, found, strict=True)] == [place == 0, place == 1]


@pytest.mark.parametrize("kind", ["softmax", "mlp"])
def test_a_linked_state_answers(kind: str, tmp_path: Path) -> None:
    head = HEADS[kind]
    genesis = statements(head)["genesis"]
    zeros = np.zeros(head.shape, np.int64)
    empty = commitments.HeadState(zeros, zeros if head.has_velocity else None)
    graph = head_graph(head, empty, 2)
    seen = dict.fromkeys(graph.parameters, "state")
    statement = Inference(graph, seen, head, COMMIT, KZG)
    keys = make_keys(tmp_path, {"genesis": genesis, "inference": statement})
    first = zkai.prove(genesis, keys["genesis"].proving, base(head))
    state = first.opening.state
    x = np.array([[1, -2, 3], [4, 5, -6]])
    proof: Any = zkai.prove(
        statement, keys["inference"].proving, {"input_integers": x, "state": state}
    )
    zkai.verify(proof, keys["inference"].verifying)
    assert proof.public["state"] == first.public["new_state"]
    assert proof.public["state_link"] == first.public["new_link"]
    assert len(proof.link.commitments) == 1
    assert state is not None
    unlinked = {"input_integers": x, "state": replace(state, link=None)}
    with pytest.raises(InvalidInput, match="'poseidon', the statement's"):
        zkai.prove(statement, keys["inference"].proving, unlinked)
    with pytest.raises(InvalidInput, match="of a head's state"):
        Inference(graph, {}, None, COMMIT, KZG)


@pytest.mark.parametrize("kind", HEADS)
def test_linked_states_are_evaluated(kind: str, tmp_path: Path) -> None:
    head, shape = HEADS[kind], DatasetShape(3)
    statement = Evaluation(head, 2, shape, COMMIT, KZG)
    rng = np.random.default_rng(8)
    x, labels = rng.integers(-9, 9, (6, head.features)), rng.integers(0, head.classes, 6)
    dataset = Dataset(shape.schema(head), x, labels, 99)
    values = Samples.drawn(dataset, EvaluationSet.of(dataset, owner=42), 777, 12, 2).values()
    for side in ("old", "new"):
        values[f"{side}_weights"] = rng.integers(-99, 99, head.shape)
        if head.has_velocity:
            values[f"{side}_velocity"] = rng.integers(-99, 99, head.shape)
    if head.frozen_size:
        values["frozen"] = rng.integers(-99, 99, head.frozen_size)
    values |= {"old_step": 3, "step": 7, "margin": 0, "beacon": 777, "beacon_round": 12}
    values |= {"owner": 42, "model": 1, "fork": 2, "context": 3, "secret": 4}
    values |= {"old_salt": 5, "new_salt": 6}
    values |= {"root": dataset.root, "size": dataset.size}
    (keys,) = make_keys(tmp_path, {"evaluation": statement}).values()
    link = formats.linker(keys.proving)
    assert link is not None
    values |= {name: link(state) for name, state in statement.linked_states(values).items()}
    circuit = statement.build()
    proof = argument.prove(
        circuit, keys.proving, circuit.begin(statement.assign(values)), statement.version
    )
    argument.verify(proof, keys.verifying)
    public = statement.public_values(values)
    assert {name: value for name, (value,) in proof.public.items()} == public
    user = commitments.user_commitment(4)
    names = {"model": 1, "fork": 2, "step": 7, "user": user, "salt": 6}
    expected = linked.state_commitment(
        head, values["new_link"], frozen=values.get("frozen"), **names
    )
    assert public["new_state"] == expected


def test_options_and_descriptions() -> None:
    head = HEADS["mlp"]
    with pytest.raises(InvalidInput, match="needs the format"):
        Genesis(head, weights_commitment=KZG)
    with pytest.raises(InvalidInput, match="weights_commitment must be"):
        ApplyAggregate(head, COMMIT, "pedersen")  # type: ignore[arg-type]
    evaluation = Evaluation(head, 2, DatasetShape(3), COMMIT, KZG)
    for statement in (*statements(head).values(), evaluation):
        text = canonical_json(statement.describe())
        assert from_description(json.loads(text)) == statement
        assert b'"weights_commitment":"kzg"' in text
        unlinked = replace(statement, weights_commitment="poseidon")
        assert b"weights_commitment" not in canonical_json(unlinked.describe())
        assert unlinked.build().digest != statement.build().digest
        assert unlinked.linked_states({}) == {}
    text = 'statement = "training_step"\nbatch = 2\nweights_commitment = "kzg"\n'
    toml = '[head]\nkind = "softmax"\nfeatures = 3\nclasses = 2\n'
    made: Any = parse((text + f'format = "{COMMIT}"\n' + toml).encode(), Path("s.toml"))
    assert made.links == ("old_link", "new_link")
    for broken in (text + toml, text.replace("kzg", "x") + f'format = "{COMMIT}"\n' + toml):
        with pytest.raises(InvalidInput, match="weights_commitment"):
            parse(broken.encode(), Path("s.toml"))


def test_links_are_needed_exactly_where_states_are_linked() -> None:
    head = HEADS["mlp"]
    made, values = statements(head)["training_step"], step_values(head)
    for missing in made.links:
        with pytest.raises(InvalidInput, match=missing):
            made.assign({k: v for k, v in values.items() if k != missing})
    with pytest.raises(InvalidInput, match="unknown new_link, old_link"):
        replace(made, weights_commitment="poseidon").assign(values)
    given = made.assign(values)
    assert len(given["old_blinders"]) == len(given["new_blinders"]) == BLINDERS
    assert given["old_blinders"] != given["new_blinders"]


def test_a_linked_state_is_opened_63_times_at_most() -> None:
    old, new, other = 11, 12, 13
    count_openings("training_step/1", [old, new])
    for _ in range(MAX_OPENINGS - 1):
        count_openings("inference/1", [new])
    with pytest.raises(InvalidInput, match="inference/1: this linked state was opened 63 times"):
        count_openings("inference/1", [new])
    with pytest.raises(InvalidInput, match="opened 63 times"):
        count_openings("training_step/1", [new, other])
    for _ in range(MAX_OPENINGS):
        count_openings("training_step/1", [other])  # the refused one was not counted
    assert MAX_OPENINGS == BLINDERS - 1


def test_proofs_count_as_openings() -> None:
    def seven_or_public(state: LinkedState) -> int:
        return 7 if state.salt else 9

    made, values = (
        statements(HEADS["softmax"])["genesis"],
        {"weights_integers": np.zeros((4, 3), np.int64)},
    )
    for _ in range(MAX_OPENINGS):
        complete(made, values, Destination(), bytes(32), seven_or_public)
    with pytest.raises(InvalidInput, match="genesis/1: this linked state was opened 63 times"):
        complete(made, values, Destination(), bytes(32), seven_or_public)
    complete(made, values, Destination(), bytes(32), lambda state: 8)


def test_linked_user_states_go_through_json() -> None:
    head = HEADS["mlp"]
    state = commitments.HeadState(np.zeros(head.shape, np.int64))
    user = UserState(head, state, model=1, fork=2, step=3, secret=4, salt=5, link=6)
    value = json.loads(json.dumps(user.to_json()))
    again = UserState.from_json(value, head, "state")
    assert again.link == 6
    names = {"model": 1, "fork": 2, "step": 3, "user": user.user, "salt": 5}
    assert again.commitment == linked.state_commitment(head, 6, **names)
    assert "link" not in replace(user, link=None).to_json()
    with pytest.raises(InvalidInput, match="link"):
        UserState.from_json(value | {"link": str(FIELD_MODULUS)}, head, "state")
    assert "LinkedState" in repr(LinkedState.of(state, 5))
    assert "5" not in repr(LinkedState.of(state, 5)).split("0x")[0]
