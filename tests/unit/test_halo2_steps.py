"""Halo2's training steps: against torch, chained, and each edit refused."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as nn

from tests.unit.halo2_step_support import (
    BIAS,
    LABELS,
    RATE,
    SMALL,
    WEIGHTS,
    X,
    cnn,
    keys,
    others,
    softmax,
    steps,
)
from tests.unit.halo2_support import require_ezkl, scratch
from zkai.circuit.gadgets.halo2_hash import halo2_hash
from zkai.encoding import FIELD_MODULUS
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2 import labels as tags
from zkai.halo2 import proof as proofs
from zkai.halo2.calibration import COMPILED, WITNESS, witness
from zkai.halo2.chain import check_context, verify_steps
from zkai.halo2.keys import Halo2VerifyingKey
from zkai.halo2.process import Fault, Worker
from zkai.halo2.proof import Halo2Proof, prove, verify
from zkai.halo2.settings import Halo2Config
from zkai.halo2.setup import calibration_of, setup
from zkai.halo2.step_layout import SALT_LIMBS
from zkai.halo2.step_proof import initial_model, nowhere, prove_step
from zkai.halo2.step_state import StepState, read_state
from zkai.halo2.training import Halo2TrainingStep
from zkai.model.heads import MlpHead, SoftmaxHead
from zkai.model.onnx_draft import OnnxDraft

KINDS = ("hashed", "polycommit")
NEAR = 2e-4
"""A step's error at 13 fraction bits: about one unit of the last bit."""


def torch_steps(count: int) -> tuple[Any, Any]:
    """Return torch's weights and bias after steps on the same batch."""
    weights = torch.tensor(WEIGHTS, requires_grad=True)
    bias = torch.tensor(BIAS, requires_grad=True)
    optimizer = torch.optim.SGD([weights, bias], lr=RATE)
    for _ in range(count):
        optimizer.zero_grad()
        nn.cross_entropy(torch.tensor(X) @ weights + bias, torch.tensor(LABELS)).backward()
        optimizer.step()
    return weights.detach().numpy(), bias.detach().numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_two_steps_are_torchs_and_their_proofs_chain(kind: str) -> None:
    made, found = keys(kind), steps(kind)
    verify_steps(found, made.verifying)
    for count, proof in enumerate(found, 1):
        weights, bias = torch_steps(count)
        state = proof.opening.state.tensors
        np.testing.assert_allclose(state["layer1.weight"], weights, atol=NEAR * count)
        np.testing.assert_allclose(state["layer1.bias"], bias, atol=NEAR * count)
        assert proof.public["step"] == (count - 1,)
    assert found[0].public["new_state"] == found[1].public["old_state"]
    assert found[0].public["old_state"] != found[0].public["new_state"]


@pytest.mark.parametrize("kind", KINDS)
def test_anyone_computes_the_name_of_a_public_model(kind: str) -> None:
    statement, made, found = softmax(kind), keys(kind), steps(kind)
    public = {"weights": WEIGHTS, "bias": BIAS}
    model = initial_model(statement, made.proving, public)
    verify_steps(found, made.verifying, model=model)
    other = initial_model(statement, made.proving, {**public, "bias": BIAS + 0.5})
    with pytest.raises(VerificationError, match="another model"):
        verify_steps(found, made.verifying, model=other)


@pytest.mark.parametrize("name", ["mlp", "lora", "cnn"])
def test_other_models_fit_their_circuits_and_stay_near_float(name: str) -> None:
    """Held-out samples satisfy the circuit, and its integers are near the graph in real numbers."""
    require_ezkl()
    statement = others()[name]
    found = calibration_of(statement)
    assert found.settings.output_scales == (13,)
    assert set(found.settings.input_scales) == {13}
    assert found.report["outputs"]["new_state"]["max_abs_error"] < 10 * NEAR


@pytest.mark.skipif(os.environ.get("ZKAI_TEST_SLOW") != "1", reason="slow: 2^13 rows each")
@pytest.mark.parametrize("name", ["mlp", "lora"])
def test_heads_steps_are_proven(name: str) -> None:
    """Heads with hidden layers: a proof verifies, another new state and another key do not."""
    require_ezkl()
    statement = others()[name]
    made = setup(statement, scratch())
    rng = np.random.default_rng(3)
    layers = [(rng.uniform(-0.5, 0.5, (n, 3)), rng.uniform(-0.5, 0.5, n)) for n in (3, 2)]
    values: dict[str, Any] = {"x": rng.uniform(-1, 1, (2, 3)), "labels": [1, 0]}
    if name == "mlp":
        values["weights"] = layers
    else:
        values |= {"weights": [(rng.uniform(-0.5, 0.5, (1, 3)), np.zeros((3, 1)))], "base": layers}
    proof = prove_step(statement, made.proving, values)
    verify(proof, made.verifying)
    first, second = proof.public["new_state"]
    forged = {**proof.public, "new_state": (second, first)}
    with pytest.raises(VerificationError):
        verify(replace(proof, public=forged), made.verifying)
    moved = (
        made.verifying.key[:-40] + bytes([made.verifying.key[-40] ^ 1]) + made.verifying.key[-39:]
    )
    with pytest.raises(VerificationError):
        verify(proof, replace(made.verifying, key=moved))


def test_a_cnns_step_is_proven() -> None:
    require_ezkl()
    statement = others()["cnn"]
    made = setup(statement, scratch())
    rng = np.random.default_rng(5)
    x, graph = rng.uniform(0, 1, (1, 1, 4, 4)), cnn()
    proof = prove_step(statement, made.proving, {"x": x, "labels": [1]})
    tensors = {n: torch.tensor(v, requires_grad=True) for n, v in graph.values.items()}
    out = nn.conv2d(torch.tensor(x), tensors["k"], tensors["kb"])
    out = nn.avg_pool2d(torch.relu(out), 2, 1).flatten(1) @ tensors["w"] + tensors["b"]
    nn.cross_entropy(out, torch.tensor([1])).backward()
    for name, tensor in tensors.items():
        moved = RATE * tensor.grad.numpy()
        state = proof.opening.state.tensors
        np.testing.assert_allclose(state[f"{name}.velocity"], moved, atol=NEAR * 4)
        np.testing.assert_allclose(state[name], graph.values[name] - moved, atol=NEAR * 4)
    verify(proof, made.verifying)


# Commitments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_openings_open_what_the_proof_commits_to(kind: str) -> None:
    """Each commitment is recomputed here from the integers, without EZKL."""
    found, statement = steps(kind)[1], softmax(kind)
    state = found.opening.state
    if kind == "hashed":
        assert tags.hash_commitment(state.vector) == found.public["new_state"]
    else:
        from zkai.halo2.srs import commitment_points

        points = commitment_points(keys(kind).proving.folder / "kzg.srs", len(state.vector))
        assert tags.point_commitment(state.vector, points) == found.public["new_state"]
        assert tags.point_commitment(state.vector + 1, points) != found.public["new_state"]
    batch = statement.layout.pack_batch(X, LABELS, found.opening.salts["batch_salt"])
    if kind == "hashed":
        assert tags.hash_commitment(batch) == found.public["batch"]


def test_EZKLs_own_hash_is_ours() -> None:
    require_ezkl()
    vector = steps("hashed")[0].opening.state.vector
    felts = [(int(v) % FIELD_MODULUS).to_bytes(32, "little").hex() for v in vector]
    with Worker(scratch()) as worker:
        (found,) = worker.call("poseidon_hash", message=felts)
    assert (
        int.from_bytes(bytes.fromhex(found), "little") == steps("hashed")[0].public["new_state"][0]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_equal_tensors_have_unequal_commitments(kind: str) -> None:
    """The salt stands in the committed vector itself: a guess cannot be tested without it."""
    layout = softmax(kind).layout
    first, second = layout.salt(), layout.salt()
    assert len(first) == SALT_LIMBS[kind]
    assert not np.array_equal(first, second)
    tensors = {"layer1.weight": WEIGHTS, "layer1.bias": BIAS}
    for salt in (first, second):
        assert np.array_equal(layout.pack_state(tensors, salt)[-len(salt) :], salt)
        assert np.array_equal(layout.pack_batch(X, LABELS, salt)[-len(salt) :], salt)
    opening = steps(kind)[0].opening
    salt = opening.salts["new_salt"]
    assert np.array_equal(opening.state.vector[-len(salt) :], salt)
    assert salt.any()
    found = steps(kind)
    assert found[0].public["batch"] != found[1].public["batch"]  # the same rows
    guess = layout.pack_batch(X, LABELS, np.zeros_like(first))
    if kind == "hashed":
        assert tags.hash_commitment(guess) != found[0].public["batch"]


def test_secrets_stay_out_of_proofs_and_reprs() -> None:
    found = steps()[0]
    state = found.opening.state
    text = json.dumps(found.to_json()) + repr(found) + repr(state) + repr(found.opening)
    assert str(state.secret) not in text
    assert "vector" not in repr(state)
    assert "opening" not in found.to_json()


def test_a_state_survives_its_file_and_the_file_is_the_owners() -> None:
    found, statement = steps()[0], softmax()
    path = scratch() / "opening.json"
    found.opening.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    again = read_state(path, statement.layout)
    assert np.array_equal(again.vector, found.opening.state.vector)
    assert (again.step, again.fork, again.user) == (1, 7, found.opening.state.user)
    with pytest.raises(InvalidInput, match="exists"):
        found.opening.write(path)
    with pytest.raises(InvalidInput, match="another model"):
        read_state(path, softmax("hashed", RATE).layout.__class__(
            (("other", (2, 2)),), (), False, (2, 2), 20, 13
        ))  # fmt: skip
    broken = found.opening.state.to_json() | {"vector": [1 << 24] * len(again.vector)}
    with pytest.raises(InvalidInput, match=r"2\*\*24"):
        StepState.from_json(broken, statement.layout, "state")


# What a cheat would try -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["old_state", "batch", "new_salt", "new_state"])
def test_an_edited_commitment_is_refused(kind: str, name: str) -> None:
    first, second = steps(kind)
    edited = replace(first, public={**first.public, name: second.public["new_state"]})
    if kind == "polycommit" and name == "new_state":
        data = bytearray(first.proof)
        data[256:320] = second.proof[256:320]
        edited = replace(edited, proof=bytes(data))
    with pytest.raises(VerificationError, match=r"does not hold|not the commitment in the proof"):
        verify(edited, keys(kind).verifying)


def test_a_commitments_edited_bytes_are_refused() -> None:
    first, second = steps("polycommit")
    data = bytearray(first.proof)
    data[:64] = second.proof[:64]
    edited = replace(first, proof=bytes(data))
    with pytest.raises(VerificationError, match="old_state is not the commitment in the proof"):
        verify(edited, keys().verifying)
    public = {**first.public, "old_state": second.public["old_state"]}
    with pytest.raises(VerificationError, match="does not hold"):
        verify(replace(edited, public=public), keys().verifying)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", tags.LABELS)
def test_a_proof_is_for_its_labels_alone(kind: str, name: str) -> None:
    """Neither with the old tag nor with the new labels' own does it verify."""
    proof, key = steps(kind)[0], keys(kind).verifying
    (value,) = proof.public[name]
    public = {**proof.public, name: ((value + 1) % FIELD_MODULUS,)}
    with pytest.raises(VerificationError, match="other labels"):
        verify(replace(proof, public=public), key)
    if name != "user":
        return
    limbs, data = tags.tag_limbs(public), bytearray(proof.proof)
    if kind == "hashed":
        public["tag"] = tags.hash_commitment(limbs)
    else:
        from zkai.halo2.srs import commitment_points

        points = commitment_points(keys(kind).proving.folder / "kzg.srs", len(limbs))
        public["tag"] = tags.point_commitment(limbs, points)
        data[192:256] = b"".join(v.to_bytes(32, "big") for v in public["tag"])
    with pytest.raises(VerificationError, match="does not hold"):
        verify(replace(proof, public=public, proof=bytes(data)), key)


def test_a_label_out_of_range_or_missing_is_refused() -> None:
    proof, key = steps()[0], keys().verifying
    (step,) = proof.public["step"]
    for values in ((step + FIELD_MODULUS,), (step, step), ()):
        with pytest.raises(VerificationError, match="step is no single value below r"):
            verify(replace(proof, public={**proof.public, "step": values}), key)
    public = {name: value for name, value in proof.public.items() if name != "fork"}
    with pytest.raises(VerificationError, match="not those of the key"):
        verify(replace(proof, public=public), key)


def test_a_proof_for_another_destination_is_refused() -> None:
    proof = steps()[0]
    check_context(proof, nowhere)
    with pytest.raises(VerificationError, match="another chain, ledger or recipient"):
        check_context(proof, lambda statement, fork, step, digest: 1)
    with pytest.raises(VerificationError, match=r"proof 0 .*: the proof's context"):
        verify_steps([proof], keys().verifying, context_of=lambda *_: 1)


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ((1,), "proof 0 .*: it is step 1; a history starts with step 0"),
        ((1, 0), "proof 0 .*: it is step 1"),
        ((0, 0), "proof 1 .*: it is step 0, after step 0"),
        ((0, 1, 1), "proof 2 .*: it is step 1, after step 1"),
        ((), "empty"),
    ],
)
def test_swapped_replayed_and_missing_steps_are_refused(
    order: tuple[int, ...], reason: str
) -> None:
    with pytest.raises(VerificationError, match=reason):
        verify_steps([steps()[place] for place in order], keys().verifying)


def test_a_forged_middle_state_is_refused() -> None:
    """A second step that honestly proves a step from weights that the first did not reach."""
    first, statement = steps()[0], softmax()
    state = first.opening.state
    forged = state.vector.copy()
    forged[0] += 8192
    middle = prove_step(
        statement,
        keys().proving,
        {"x": X, "labels": LABELS, "state": replace(state, vector=forged)},
    )
    verify(middle, keys().verifying)
    with pytest.raises(VerificationError, match=r"proof 1 .*: old_state is not the new_state"):
        verify_steps([first, middle], keys().verifying)


@pytest.mark.parametrize("name", ["user", "model", "fork"])
def test_steps_of_another_fork_do_not_follow(name: str) -> None:
    """Whoever holds the state can prove its step under other labels; no history takes it."""
    from zkai.halo2.chain import StepHistory

    first, second = steps()
    history = StepHistory()
    history.add(first)
    other = replace(second, public={**second.public, name: (1,)})
    with pytest.raises(VerificationError, match=f"{name} is not that of the proof before"):
        history.add(other)
    history.add(second)


def test_a_first_step_from_a_state_that_its_model_does_not_name_is_refused() -> None:
    from zkai.halo2.chain import StepHistory

    first = steps()[0]
    other = replace(first, public={**first.public, "model": (5,)})
    with pytest.raises(VerificationError, match="not the one that its model names"):
        StepHistory().add(other)


def test_a_step_of_another_model_is_refused() -> None:
    """The same shapes, another learning rate: another circuit, so another key."""
    theirs, mine = keys(rate=2 * RATE), keys()
    (stranger,) = steps(count=1, rate=2 * RATE)
    assert theirs.verifying.circuit_digest != mine.verifying.circuit_digest
    with pytest.raises(VerificationError, match="another circuit"):
        verify(stranger, mine.verifying)
    digests = {
        "circuit_digest": mine.verifying.circuit_digest,
        "vk_digest": mine.verifying.digest,
    }
    with pytest.raises(VerificationError, match=r"other labels|does not hold"):
        verify(replace(stranger, **digests), mine.verifying)
    with pytest.raises(InvalidInput, match="another model or other choices"):
        prove(softmax(rate=2 * RATE), mine.proving, {})


@pytest.mark.parametrize("kind", KINDS)
def test_an_edited_proof_and_another_key_are_refused(kind: str) -> None:
    proof, key = steps(kind)[0], keys(kind).verifying
    data = bytearray(proof.proof)
    data[-40] ^= 1
    with pytest.raises(VerificationError, match="does not hold"):
        verify(replace(proof, proof=bytes(data)), key)
    other = replace(key, key=key.key[:-1] + bytes([key.key[-1] ^ 1]))
    with pytest.raises(VerificationError, match="another verifying key"):
        verify(proof, other)


def test_a_keys_points_are_in_its_digest_and_on_the_curve() -> None:
    key = keys().verifying
    assert len(key.points) == 17
    swapped = replace(key, points=(key.points[1], key.points[0], *key.points[2:]))
    assert swapped.digest != key.digest
    value = key.to_json()
    value["points"][3][0] = "5"
    with pytest.raises(InvalidInput, match="points"):
        Halo2VerifyingKey.from_json(value)
    assert Halo2VerifyingKey.from_json(key.to_json()) == key
    assert keys("hashed").verifying.points == ()


def test_proofs_survive_their_files() -> None:
    proof, path = steps()[0], scratch() / "proof.json"
    proof.write(path)
    again = Halo2Proof.from_path(path)
    assert again.public == proof.public
    verify_steps([again], keys().verifying)


def test_outputs_at_another_scale_are_refused() -> None:
    """EZKL's calibration may choose a rebase multiplier of 10; outputs then leave at scale 26."""
    settings = keys().verifying.settings
    content = json.loads(settings.text)
    content["run_args"]["scale_rebase_multiplier"] = 10
    value = keys().verifying.to_json() | {"settings": json.dumps(content)}
    with pytest.raises(InvalidInput, match="scale_rebase_multiplier is 10"):
        Halo2VerifyingKey.from_json(value)
    assert settings.output_scales == (13,)


def test_a_graph_that_EZKL_computes_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """EZKL's Equal leaves 1/8192 for 1: labels would count for nothing, and proofs verify."""
    require_ezkl()

    def by_equal(draft: OnnxDraft, labels: str, classes: int) -> str:
        shape = (draft.shapes[labels][0], classes)
        flags = draft._add("Equal", (labels, draft.constant(np.arange(classes)[None])), shape)
        return draft._add("Cast", (flags,), shape, to=1)

    statement = softmax()
    assert statement.config.tolerance == 2.0**-10
    monkeypatch.setattr(OnnxDraft, "one_hot", by_equal)
    with pytest.raises(InvalidInput, match=r"'new_state' values that differ by 0\.1"):
        calibration_of(statement)


# What is refused before any proof ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"learning_rate": 0.3}, "no power of two.*nearest rate is 0.25"),
        ({"learning_rate": -1.0}, "positive"),
        ({"learning_rate": float("nan")}, "finite"),
        ({"learning_rate": 8.0}, "no power of two"),
        ({"momentum": 0.5}, "a head says itself"),
        ({"commitments": "public"}, "expected hashed or polycommit"),
        ({"batch": 0}, "batch"),
        ({"source": "head"}, "expected a head or a Graph"),
        ({"source": SoftmaxHead(2, 2, clip=1 << 20)}, "clip"),
        ({"config": Halo2Config(scale=8)}, "scale is 13 to 16"),
        ({"config": Halo2Config(check_ranges=False)}, "can be forged"),
        ({"calibration": {"x": np.zeros((1, 2, 2))}}, "2 samples or more"),
        ({"calibration": {"y": np.zeros((1, 2, 2))}}, "the state has no y"),
        ({"source": cnn(2), "momentum": 0.3}, "multiple of 1/256"),
        ({"source": cnn()}, "the model's input has the shape"),
        ({"source": SoftmaxHead(2, 256), "config": Halo2Config(scale=16)}, None),
    ],
)
def test_unusable_choices_are_refused(change: dict[str, Any], reason: str | None) -> None:
    given: dict[str, Any] = {"source": SoftmaxHead(2, 2), "batch": 2, "learning_rate": RATE}
    if reason is None:
        Halo2TrainingStep(**{**given, **change})
        return
    with pytest.raises(InvalidInput, match=reason):
        Halo2TrainingStep(**{**given, **change})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x": np.zeros((3, 2))}, "x: expected shape"),
        ({"x": [[np.nan, 0], [0, 0]]}, "NaN"),
        ({"x": [[1e9, 0], [0, 0]]}, "of 2048 or more"),
        ({"labels": [0.5, 1]}, "labels: expected integers"),
        ({"weights": WEIGHTS.T[:1]}, "layer1.weight: expected shape"),
        ({"secret": 5}, "can be guessed"),
        ({"old_salt": -1}, "old_salt: expected an integer below"),
        ({"new_salt": 1 << 1600}, "new_salt: expected an integer below"),
        ({"fork": FIELD_MODULUS}, "fork"),
        ({"velocity": 1}, "unknown velocity"),
    ],
)
def test_unusable_values_are_refused(change: dict[str, Any], reason: str) -> None:
    values: dict[str, Any] = {"x": X, "labels": LABELS, "weights": WEIGHTS, "bias": BIAS}
    with pytest.raises(InvalidInput, match=reason):
        prove_step(softmax(), keys().proving, {**values, **change})


def test_a_state_goes_with_nothing_that_it_has_itself() -> None:
    values = {"x": X, "labels": LABELS, "state": steps()[0].opening.state}
    with pytest.raises(InvalidInput, match="fork: the state has one already"):
        prove_step(softmax(), keys().proving, {**values, "fork": 3})
    layout = Halo2TrainingStep(MlpHead((2, 2)), 2, RATE, config=SMALL).layout
    assert layout != softmax().layout
    other = replace(steps()[0].opening.state, layout=layout)
    with pytest.raises(InvalidInput, match="another model"):
        prove_step(softmax(), keys().proving, {**values, "state": other})


# Forged witnesses -------------------------------------------------------------------------------


def forged(edit: Any) -> Halo2Proof:
    """Return the proof that EZKL makes of a witness after an edit of its file."""
    statement, key = softmax("hashed"), keys("hashed").proving
    layout, honest = statement.layout, steps("hashed")[0]
    vectors = {
        "state": layout.pack_state(
            {"layer1.weight": WEIGHTS, "layer1.bias": BIAS}, np.zeros(layout.salt_limbs, np.int64)
        ),
        "batch": layout.pack_batch(X, LABELS, layout.salt()),
        "new_salt": layout.salt(),
        "tag": tags.tag_limbs(honest.public),
    }
    feeds = statement.feeds(vectors)
    names = {"vk_path": "vk.key", "srs_path": "kzg.srs"}
    with proofs._workplace(statement, key, None, None) as worker:
        found = witness(worker, statement.model, feeds, **names)
        edit(found)
        (worker.folder / WITNESS).write_text(json.dumps(found))
        worker.call(
            "prove", witness=WITNESS, model=COMPILED, pk_path="pk.key", proof_path="proof.json",
            srs_path="kzg.srs",
        )  # fmt: skip
        stated = {name: honest.public[name][0] for name in tags.LABELS}
        return proofs.read_proof(worker.folder / "proof.json", key.verifying, stated)


def felt_text(value: int) -> str:
    return (value % FIELD_MODULUS).to_bytes(32, "little").hex()


def rehash(texts: list[str]) -> str:
    return felt_text(halo2_hash([int.from_bytes(bytes.fromhex(t), "little") for t in texts]))


def test_a_new_state_that_the_step_does_not_make_has_no_proof() -> None:
    def edit(found: Any) -> None:
        output = found["outputs"][0]
        output[0] = felt_text(int.from_bytes(bytes.fromhex(output[0]), "little") + 8192)
        found["processed_outputs"]["poseidon_hash"] = [rehash(output)]

    with pytest.raises(VerificationError, match="does not hold"):
        verify(forged(edit), keys("hashed").verifying)


def test_an_input_outside_its_range_has_no_proof() -> None:
    """x = 1/2 mod r is 2**-14 of nothing: products with it are anything one likes."""

    def edit(found: Any) -> None:
        batch = found["inputs"][1]
        batch[0] = felt_text(pow(2, -1, FIELD_MODULUS))
        found["processed_inputs"]["poseidon_hash"][1] = rehash(batch)

    with pytest.raises(Fault, match=r"prove failed .*synthesis error"):
        verify(forged(edit), keys("hashed").verifying)
