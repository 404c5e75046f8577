"""The stories, told through the public functions: each honest ending beside its dishonest twin."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zkai
from tests.e2e.conftest import HEAD, RATE, WEIGHTS, World, batch, mlp_graph, samples
from zkai import pipeline, sizing
from zkai.assignment import Destination, complete
from zkai.calibrated import Inference
from zkai.circuit.statements.apply_aggregate import ApplyAggregate
from zkai.circuit.statements.commitments import state_commitment, tensor_commitment
from zkai.circuit.statements.context import address_word
from zkai.circuit.statements.training_step import TrainingStep
from zkai.errors import InvalidInput, VerificationError
from zkai.model.quantize import head_graph, predict, quantize_inputs
from zkai.model.training import SoftmaxHead, sgd_step
from zkai.opening import read_state
from zkai.proof.keys import Proof
from zkai.proof.proving_keys import Keys
from zkai.proof.sizes import sizes_of

# Inference ------------------------------------------------------------------------------------


@pytest.mark.parametrize("verifier", ["native", "py-ecc"])
def test_an_inference_verifies_and_an_altered_one_does_not(world: World, verifier: str) -> None:
    key = world.keys["inference"].verifying
    pipeline.verify(world.inference, key, verifier=verifier)
    output = world.inference.public["output"]
    altered = replace(
        world.inference, public={**world.inference.public, "output": (output[0] + 1, output[1])}
    )
    with pytest.raises(VerificationError, match="pairing equation"):
        pipeline.verify(altered, key, verifier=verifier)


def test_the_public_output_is_the_integer_model_s(world: World) -> None:
    statement = world.statements["inference"]
    assert isinstance(statement, Inference)
    found = statement.read_outputs(world.inference.public)
    expected = predict(statement.graph, {"x": samples()[0:1]})
    np.testing.assert_array_equal(found["y"], expected["y"][0])
    assert statement.source is not None


def test_the_salt_opens_the_input_s_commitment(world: World) -> None:
    statement = world.statements["inference"]
    assert isinstance(statement, Inference)
    integers = quantize_inputs(statement.graph, samples()[0:1])["x"][0]
    width = statement.graph.tensors["x"].width
    opening = world.inference.opening
    salt = opening.salts["input_salt"]
    assert opening.commitments["input"] == world.inference.public["input"][0]
    assert opening.commitments["input"] == tensor_commitment([(integers, width)], salt)
    other = integers + 1
    assert opening.commitments["input"] != tensor_commitment([(other, width)], salt)


def test_production_refuses_a_development_key(world: World) -> None:
    with pytest.raises(VerificationError, match="development key"):
        pipeline.verify(world.inference, world.keys["inference"].verifying, production=True)


def test_a_proof_is_for_its_destination_alone(world: World) -> None:
    statement, keys = world.statements["inference"], world.keys["inference"]
    here = Destination(1, "0x" + "11" * 20, address_word("0x" + "22" * 20))
    assert here.ledger == address_word("0x" + "11" * 20)
    proof = pipeline.prove(statement, keys.proving, {"x": samples()[1:2]}, destination=here)
    pipeline.verify(proof, keys.verifying, destination=here)
    for elsewhere in (
        replace(here, chain_id=2),
        replace(here, ledger=here.recipient),
        replace(here, recipient=here.ledger),
        Destination(),
    ):
        with pytest.raises(VerificationError, match="another chain, ledger or recipient"):
            pipeline.verify(proof, keys.verifying, destination=elsewhere)


# Training -------------------------------------------------------------------------------------


def keys_by_version(world: World) -> dict[str, zkai.VerifyingKey]:
    return {k.verifying.statement: k.verifying for k in world.keys.values()}


def test_a_history_without_a_gap_verifies(world: World) -> None:
    pipeline.verify_chain([world.genesis, *world.steps], keys_by_version(world))


def test_each_step_is_the_reference_s(world: World) -> None:
    old, new = world.genesis.opening.state, world.steps[0].opening.state
    assert old is not None
    assert new is not None
    given = batch(1)
    x = np.floor(given["x"] * 16 + 0.5).astype(np.int64)
    rate = int(RATE / 4 * 2**HEAD.rate_shift)
    expected = sgd_step(HEAD, old.values, x, given["labels"], rate)
    np.testing.assert_array_equal(new.values.weights, expected.weights)
    assert not np.array_equal(new.values.weights, old.values.weights)
    assert new.commitment == world.steps[0].public["new_state"][0]
    assert (old.step, new.step) == (0, 1)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("", "the history is empty"),
        ("1", "proof 0 .*a history starts with genesis/1"),
        ("g2", r"proof 1 \(training_step/1\): old_state is not the new_state .*: a gap"),
        ("g21", "proof 1 .*a gap"),
        ("g11", "proof 2 .*a gap"),
        ("gg", "proof 1 .*a second genesis"),
    ],
)
def test_a_history_with_a_gap_does_not(world: World, order: str, message: str) -> None:
    proofs = {"g": world.genesis, "1": world.steps[0], "2": world.steps[1]}
    with pytest.raises(VerificationError, match=message):
        pipeline.verify_chain([proofs[c] for c in order], keys_by_version(world))


def test_a_history_needs_each_key(world: World) -> None:
    with pytest.raises(VerificationError, match=r"proof 1 .*no key was given for training_step/1"):
        pipeline.verify_chain(
            [world.genesis, world.steps[0]], {"genesis/1": world.keys["genesis"].verifying}
        )


def test_another_user_cannot_go_on_from_my_state(world: World) -> None:
    """A step with another secret does not link: its old state is another commitment."""
    state = world.genesis.opening.state
    assert state is not None
    stolen = replace(state, secret=state.secret + 1)
    keys = world.keys["step"]
    proof = pipeline.prove(world.statements["step"], keys.proving, {"state": stolen, **batch(1)})
    pipeline.verify(proof, keys.verifying)
    with pytest.raises(VerificationError, match="user is not that of the proof before"):
        pipeline.verify_chain([world.genesis, proof], keys_by_version(world))


def test_several_steps_in_one_proof_end_where_single_ones_do(world: World) -> None:
    statement = TrainingStep(HEAD, batch=4, steps=2, learning_rate=RATE)
    keys = pipeline.setup(statement)
    one, two = batch(1), batch(2)
    together = {name: np.concatenate([one[name], two[name]]) for name in one}
    proof = pipeline.prove(
        statement, keys.proving, {"state": world.genesis.opening.state, **together}
    )
    pipeline.verify(proof, keys.verifying)
    mine, theirs = proof.opening.state, world.steps[1].opening.state
    assert mine is not None
    assert theirs is not None
    np.testing.assert_array_equal(mine.values.weights, theirs.values.weights)
    assert mine.step == theirs.step == 2


def test_momentum_is_carried_by_the_state() -> None:
    head = SoftmaxHead(features=2, classes=2, momentum=128)
    statement = TrainingStep(head, batch=2, learning_rate=2**-4)
    keys = pipeline.setup(statement)
    values = {"x": [[1.0, -0.5], [0.25, 2.0]], "labels": [0, 1]}
    first = pipeline.prove(statement, keys.proving, {**values, "weights": np.zeros((2, 2))})
    state = first.opening.state
    assert state is not None
    assert state.values.velocity is not None
    assert state.values.velocity.any()
    second = pipeline.prove(statement, keys.proving, {**values, "state": state})
    pipeline.verify(second, keys.verifying)
    assert second.public["old_state"] == first.public["new_state"]


def test_an_aggregate_and_an_inference_go_on_from_the_state(world: World) -> None:
    state = world.steps[1].opening.state
    assert state is not None
    statement = ApplyAggregate(HEAD)
    keys = pipeline.setup(statement)
    update = np.full(HEAD.shape, 0.25)
    proof = pipeline.prove(statement, keys.proving, {"state": state, "update": update})
    history = [world.genesis, *world.steps, proof]
    pipeline.verify_chain(history, {**keys_by_version(world), statement.version: keys.verifying})
    after = proof.opening.state
    assert after is not None
    np.testing.assert_array_equal(after.values.weights, state.values.weights + (1 << 14))


def test_the_state_in_a_proof_is_the_one_that_was_opened(world: World) -> None:
    state = world.steps[0].opening.state
    assert state is not None
    facts = {"model": state.model, "fork": 0, "step": 1, "user": state.user, "salt": state.salt}
    shown = world.steps[0].public["new_state"][0]
    assert shown == state_commitment(HEAD, state.values, **facts)
    assert shown != state_commitment(HEAD, state.values, **{**facts, "step": 2})
    assert shown != state_commitment(HEAD, state.values, **{**facts, "salt": state.salt ^ 1})


# Openings -------------------------------------------------------------------------------------


def test_openings_are_kept_apart_from_proofs(world: World, tmp_path: Path) -> None:
    proof, opening = world.steps[0], world.steps[0].opening
    assert opening.state is not None
    secrets = [*map(str, opening.salts.values()), str(opening.state.secret)]
    for text in (repr(proof), repr(opening), json.dumps(proof.to_json())):
        assert not [s for s in secrets if s in text]
    opening.write(tmp_path / "o.json")
    assert stat.S_IMODE((tmp_path / "o.json").stat().st_mode) == 0o600
    assert all(s in (tmp_path / "o.json").read_text() for s in secrets)
    read = read_state(tmp_path / "o.json", HEAD)
    assert read.commitment == opening.state.commitment
    proof.write(tmp_path / "p.json")
    assert Proof.from_path(tmp_path / "p.json").public == dict(proof.public)


def test_an_opening_is_never_overwritten(world: World, tmp_path: Path) -> None:
    (tmp_path / "o.json").write_text("precious")
    with pytest.raises(InvalidInput, match=r"o\.json: exists, and may hold the only copy"):
        world.genesis.opening.write(tmp_path / "o.json")
    assert (tmp_path / "o.json").read_text() == "precious"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), "zkai.opening/2", "format 'zkai.opening/2', expected"),
        (("state",), None, "the opening of a 'genesis/1' proof has no state"),
        (("extra",), 1, "unknown extra"),
        (("state", "extra"), 1, "state: unknown extra"),
        (("state", "architecture"), "5", "of another head"),
        (("state", "salt"), "-5", r"state\.salt: expected a canonical decimal string"),
        (("state", "secret"), "9" * 77, r"state\.secret: .*not below its modulus"),
        (("state", "step"), 1 << 32, r"state\.step: expected an integer of 0 to"),
        (("state", "step"), True, r"state\.step: expected an integer"),
        (("state", "weights"), [[1], [1, 2]], r"state\.weights: expected lists of integers"),
        (("state", "weights"), [["a"]], r"state\.weights: expected lists of 64-bit integers"),
        (("state", "weights"), [[1, 2]], "weights: expected shape"),
        (("state", "weights"), [[1 << 30, 0]] * 4, "weights"),
        (("state", "velocity"), [[0, 0]] * 4, "velocity"),
    ],
)
def test_damaged_openings_are_refused_by_field(
    world: World, tmp_path: Path, path: tuple[str, ...], value: Any, message: str
) -> None:
    whole = world.genesis.opening.to_json()
    place = whole
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    (tmp_path / "o.json").write_text(json.dumps(whole))
    with pytest.raises(InvalidInput, match=rf"o\.json.*{message}"):
        read_state(tmp_path / "o.json", HEAD)


SECRET = 17 << 200


def test_given_salts_are_used_and_absent_ones_are_fresh(world: World) -> None:
    statement = world.statements["genesis"]
    given = {**WEIGHTS, "secret": str(SECRET), "new_salt": 23, "fork": 5}
    one, two = (complete(statement, given, Destination(), bytes(32)) for _ in range(2))
    assert one.public == two.public
    assert one.opening.state is not None
    assert (one.opening.state.secret, one.opening.state.salt) == (SECRET, 23)
    one, two = (complete(statement, WEIGHTS, Destination(), bytes(32)) for _ in range(2))
    assert one.public["new_state"] != two.public["new_state"]
    assert one.public["user"] != two.public["user"]
    assert one.public["model"] == two.public["model"]


# Keys, estimates, cancelling ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["genesis", "step", "inference"])
def test_estimates_hold_against_what_was_made(world: World, name: str) -> None:
    statement, keys = world.statements[name], world.keys[name]
    estimate = pipeline.estimate(statement)
    circuit = statement.build()
    assert estimate.constraints == circuit.n_constraints
    assert estimate.public_inputs == keys.verifying.n_public
    assert estimate.circuit_digest == "0x" + keys.verifying.circuit_digest.hex()
    size = Path(keys.proving.path).stat().st_size
    assert abs(estimate.proving_key_bytes - size) < 1000
    written = len(json.dumps(keys.verifying.to_json(), indent=1))
    assert 0.6 * written < estimate.verifying_key_bytes < 1.7 * written
    assert sum(estimate.constraints_by_place.values()) == estimate.constraints
    assert min(estimate.prove_s, estimate.setup_s, estimate.verify_s, estimate.memory_bytes) > 0
    json.dumps(estimate.to_json(), allow_nan=False)
    assert f"{estimate.constraints:,}" in str(estimate)


@pytest.mark.parametrize(("batch_rows", "steps"), [(32, 1), (16, 3)])
def test_a_large_step_s_size_is_extrapolated(batch_rows: int, steps: int) -> None:
    statement = TrainingStep(SoftmaxHead(16, 4), batch=batch_rows, steps=steps)
    found, true = sizing._extrapolated(statement), sizes_of(statement.build())
    for name in ("constraints", "wires", "entries", "key_entries"):
        assert 0.9 < getattr(found, name) / getattr(true, name) < 1.15, name
    assert found.circuit_digest is None


def test_a_large_inference_s_size_is_counted() -> None:
    for weights in ("constant", "committed"):
        statement = Inference(
            mlp_graph(32, 16, 4),
            calibration=np.random.default_rng(1).normal(size=(10, 32)),
            visibility={"input": "committed", "weights": weights},
        )
        found, true = sizing._counted(statement), sizes_of(statement.build())
        for name in ("constraints", "wires", "entries"):
            assert 0.5 < getattr(found, name) / getattr(true, name) < 2, (weights, name)
        assert found.public == true.public


def test_what_cannot_be_built_is_estimated_and_refused_at_once(tmp_path: Path) -> None:
    large = TrainingStep(SoftmaxHead(64, 10), batch=4000)
    estimate = pipeline.estimate(large)
    assert not estimate.exact
    assert estimate.circuit_digest is None
    assert estimate.constraints > 5_000_000
    assert "too large to be built for an estimate" in str(estimate)
    assert pipeline.estimate(TrainingStep(HEAD, batch=4)).exact
    absurd = TrainingStep(SoftmaxHead(64, 10), batch=1 << 18)
    for work in (pipeline.estimate, lambda s: pipeline.setup(s, tmp_path / "keys")):
        with pytest.raises(InvalidInput, match=r"about [\d,]+ constraints, at most 2\*\*27"):
            work(absurd)
    assert list(tmp_path.iterdir()) == []


def test_an_inference_s_estimate_reports_its_error(world: World) -> None:
    estimate = pipeline.estimate(world.statements["inference"])
    assert estimate.quantization is not None
    error = estimate.quantization["outputs"]["y"]
    assert 0 < error["max_abs_error"] < 0.01
    assert {t.name for t in estimate.tensors} >= {"x", "w", "b", "y"}
    assert "error against float on 20 calibration samples" in str(estimate)
    assert pipeline.estimate(world.statements["genesis"]).quantization is None


def test_gas_is_at_most_the_estimate(world: World) -> None:
    from zkai.chain.embedded import EmbeddedChain
    from zkai.chain.verifier import deploy, verify_on_chain

    chain = EmbeddedChain()
    for name, proof in (("step", world.steps[0]), ("inference", world.inference)):
        vk = world.keys[name].verifying
        gas = verify_on_chain(chain, deploy(vk, chain).address, proof, vk)
        assert 0.95 * pipeline.estimate(world.statements[name]).gas < gas
        assert gas <= pipeline.estimate(world.statements[name]).gas


class Cancelled(Exception):
    pass


@pytest.mark.parametrize("stage", ["build the circuit", "setup: A", "setup: H", "setup"])
def test_a_cancelled_setup_leaves_nothing(world: World, tmp_path: Path, stage: str) -> None:
    def progress(name: str, fraction: float) -> None:
        if name == stage:
            raise Cancelled

    with pytest.raises(Cancelled):
        pipeline.setup(world.statements["genesis"], tmp_path / "keys", progress=progress)
    assert list(tmp_path.iterdir()) == []


def test_a_proof_reports_its_stages_and_can_be_cancelled(world: World) -> None:
    seen: list[tuple[str, float]] = []
    statement, keys = world.statements["genesis"], world.keys["genesis"]
    pipeline.prove(statement, keys.proving, WEIGHTS, progress=lambda s, f: seen.append((s, f)))
    assert seen[0] == ("build the circuit", 0.0)
    assert ("witness", 1.0) in seen
    assert seen[-1] == ("prove", 1.0)
    assert all(0 <= fraction <= 1 for _, fraction in seen)

    def stop(name: str, fraction: float) -> None:
        if name == "prove: H":
            raise Cancelled

    with pytest.raises(Cancelled):
        pipeline.prove(statement, keys.proving, WEIGHTS, progress=stop)


def test_verifying_reports_and_can_be_cancelled(world: World) -> None:
    seen: list[tuple[str, float]] = []
    keys = {pair.verifying.statement: pair.verifying for pair in world.keys.values()}
    history = (world.genesis, *world.steps)

    def note(stage: str, fraction: float) -> None:
        seen.append((stage, fraction))

    def stop(stage: str, fraction: float) -> None:
        raise Cancelled

    pipeline.verify(world.genesis, keys["genesis/1"], progress=note)
    assert seen == [("verify", 0.0), ("verify", 1.0)]
    seen.clear()
    pipeline.verify_chain(history, keys, progress=note)
    assert seen == [("verify the history", place / 3) for place in range(4)]
    with pytest.raises(Cancelled):
        pipeline.verify(world.genesis, keys["genesis/1"], progress=stop)
    with pytest.raises(Cancelled):
        pipeline.verify_chain(history, keys, progress=stop)


def test_keys_without_a_folder_last_as_long_as_the_process(world: World) -> None:
    keys = pipeline.setup(world.statements["genesis"])
    assert Path(keys.proving.path).exists()
    proof = pipeline.prove(world.statements["genesis"], keys.proving, WEIGHTS)
    with pytest.raises(VerificationError, match="another key"):
        pipeline.verify(proof, world.keys["genesis"].verifying)
    with pytest.raises(InvalidInput, match="another circuit"):
        pipeline.prove(world.statements["step"], keys.proving, WEIGHTS | batch(1))


def test_keys_of_a_folder_are_read_back(world: World) -> None:
    keys = Keys.from_path(world.folder / "genesis")
    proof = pipeline.prove(world.statements["genesis"], Path(keys.proving.path), WEIGHTS)
    pipeline.verify(proof, world.folder / "genesis" / "verifying.json")
    assert sorted(p.name for p in (world.folder / "genesis").iterdir()) == [
        "proving.zkey",
        "verifying.json",
    ]


def test_an_empty_folder_takes_keys_and_a_full_one_does_not(world: World, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    pipeline.setup(world.statements["genesis"], tmp_path / "keys")
    before = (tmp_path / "keys" / "verifying.json").read_bytes()
    with pytest.raises(InvalidInput, match="holds files already"):
        pipeline.setup(world.statements["genesis"], tmp_path / "keys")
    assert (tmp_path / "keys" / "verifying.json").read_bytes() == before


def test_keys_in_no_folder_are_gone_when_the_process_is(tmp_path: Path) -> None:
    program = (
        "import zkai, pathlib\n"
        "keys = zkai.setup(zkai.Genesis(zkai.SoftmaxHead(2, 2)))\n"
        "assert pathlib.Path(keys.proving.path).exists()\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONWARNINGS": "error"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_the_public_names_tell_the_same_story(world: World) -> None:
    statement = zkai.TrainingStep(
        zkai.SoftmaxHead(3, 2), loss="softmax", batch=4, learning_rate=RATE
    )
    keys = world.keys["step"]
    proof = zkai.prove(statement, keys.proving, WEIGHTS | batch(3))
    zkai.verify(proof, keys.verifying)
    with pytest.raises(zkai.VerificationError):
        zkai.verify(replace(proof, c=world.steps[0].c), keys.verifying)


def test_an_inference_of_the_head_speaks_of_the_step_s_state(world: World) -> None:
    state = world.steps[1].opening.state
    assert state is not None
    graph = head_graph(HEAD, state.values)
    visibility = {"weights": "state", "features": "committed", "output": "argmax"}
    statement = Inference(graph, visibility=visibility, head=HEAD)
    keys = pipeline.setup(statement)
    x = batch(5)["x"][:1]
    proof = pipeline.prove(statement, keys.proving, {"input": x, "state": state})
    pipeline.verify(proof, keys.verifying)
    assert proof.public["state"] == world.steps[1].public["new_state"]
    assert proof.public["user"] == world.steps[1].public["user"]
    expected = int(predict(graph, {"features": x})["probabilities"].argmax())
    assert proof.public["output"] == (expected,)
    other = replace(state, values=world.steps[0].opening.state.values)  # type: ignore[union-attr]
    forged = pipeline.prove(statement, keys.proving, {"input": x, "state": other})
    assert forged.public["state"] != world.steps[1].public["new_state"]
