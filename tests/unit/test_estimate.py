"""What an estimate promises: exact counts, close extrapolation, sane models, a reasoned choice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import zkai
from bench.gas import (
    LINK_STEP_INPUTS,
    commit_key_of,
    commit_proof_of,
    link_key,
    link_proof,
    prebuilt_code,
    transaction,
)
from zkai import advice, sizing
from zkai.chain.abi import verify_calldata
from zkai.chain.embedded import EmbeddedChain
from zkai.circuit.builder import CHALLENGES
from zkai.circuit.statements.dataset import DatasetShape
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.training_step import TrainingStep
from zkai.errors import InvalidInput
from zkai.model.heads import Head, LoraHead, MlpHead, SoftmaxHead
from zkai.proof import costs
from zkai.proof.commit.setup import setup
from zkai.proof.sizes import sizes_of
from zkai.proof.speed import Scalars, Speed

SMALL = SoftmaxHead(
    3, 3, weight_width=10, rate_shift=6, rate_bits=3, input_width=5, logit_scale_bits=3,
    error_scale_bits=3, weight_scale_bits=8,
)  # fmt: skip
STEP = TrainingStep(SMALL, 2, format="groth16-commit")


def test_a_commit_estimate_is_the_circuit_s_and_the_key_s(tmp_path: Path) -> None:
    found, circuit = zkai.estimate(STEP), STEP.build()
    keys = setup(circuit, STEP.version, tmp_path)
    assert found.format == "groth16-commit"
    assert found.exact
    assert found.constraints == circuit.n_constraints == sum(found.constraints_by_place.values())
    assert found.circuit_digest == "0x" + circuit.digest.hex()
    assert found.public_inputs == keys.verifying.n_public
    assert found.lookup_table_bits == circuit.lookups.tables != ()
    assert abs(found.proving_key_bytes - Path(keys.proving.path).stat().st_size) < 1000
    assert found.proof_bytes == 320
    assert 0 < found.constraints_commitments < found.constraints
    assert min(found.prove_s, found.setup_s, found.verify_s, found.memory_bytes) > 0
    assert found.prove_s <= found.prove_cpu_s
    json.dumps(found.to_json(), allow_nan=False)
    assert "tables of 2^" in str(found)


@pytest.mark.parametrize(
    ("head", "batch", "steps", "samples"),
    [
        (SoftmaxHead(16, 4), 500, 1, {(125, 16), (250, 16)}),
        (SoftmaxHead(24, 6, momentum=230), 96, 3, {(48, 24), (96, 24)}),
        (SoftmaxHead(200, 10), 32, 1, {(16, 50), (32, 50), (16, 100), (32, 100)}),
        (MlpHead((200, 16, 10)), 32, 1, {(16, 50), (32, 50), (16, 100), (32, 100)}),
        (LoraHead((200, 32, 10), rank=4), 32, 1, {(8, 50), (16, 50), (8, 100), (16, 100)}),
    ],
)
def test_extrapolated_constraints_are_within_two_percent(
    head: Head,
    batch: int,
    steps: int,
    samples: set[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sizing, "_SAMPLE_LIMIT", 40_000)
    statement = TrainingStep(head, batch, steps, format="groth16-commit")
    assert {(s.batch, s.features) for s in sizing._samples(statement)} == samples
    found, true = sizing._extrapolated(statement), sizes_of(statement.build())
    assert abs(found.constraints / true.constraints - 1) < 0.02
    assert found.circuit_digest is None
    need = sizing._need(true)
    lookups = [sizing._lookup_rows(need, tables) for tables in (found.tables, true.tables)]
    assert lookups[1] <= lookups[0] < 1.01 * lookups[1]
    assert found.public == true.public
    for name in ("wires", "entries", "key_entries"):
        assert 0.85 < getattr(found, name) / getattr(true, name) < 1.15, name


def test_samples_compute_what_the_large_step_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """c E where the batch is the smaller one: samples whose batch is larger compute c G."""
    monkeypatch.setattr(
        sizing, "_sample", lambda _, weight, features, batch, steps: (features, batch)
    )
    statement = TrainingStep(MlpHead((784, 128, 10)), 256, format="groth16-commit")
    assert all(batch <= features for features, batch in sizing._samples(statement))


def test_dataset_and_linked_steps_are_extrapolated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "_SAMPLE_LIMIT", 20_000)
    for statement in (
        TrainingStep(SoftmaxHead(64, 10), 40, dataset=DatasetShape(8, 8), format="groth16-commit"),
        TrainingStep(SoftmaxHead(100, 10), 16, format="groth16-commit", weights_commitment="kzg"),
    ):
        found, true = sizing._extrapolated(statement), sizes_of(statement.build())
        assert abs(found.constraints / true.constraints - 1) < 0.02
        assert found.links == true.links


def test_what_is_too_large_to_build_is_extrapolated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "COMMIT_EXACT_LIMIT", 10_000)
    statement = TrainingStep(SoftmaxHead(16, 4), 128, format="groth16-commit")
    found = zkai.estimate(statement)
    assert not found.exact
    assert found.lookup_table_bits
    assert "too large to be built for an estimate" in str(found)
    assert zkai.estimate(STEP).exact


@pytest.mark.parametrize("shape", [zkai.DatasetShape(6, 8), zkai.DatasetShape(5)])
def test_a_step_on_a_dataset_is_extrapolated(
    shape: zkai.DatasetShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaves shrink with the sample where they must: a few per cent, of a small circuit."""
    monkeypatch.setattr(sizing, "_SAMPLE_LIMIT", 40_000)
    head = SoftmaxHead(16, 4)
    statement = TrainingStep(head, 64, 2, format="groth16-commit", dataset=shape)
    found, true = sizing._extrapolated(statement), sizes_of(statement.build())
    assert abs(found.constraints / true.constraints - 1) < 0.03


def test_models_grow_with_what_they_count() -> None:
    speed = Speed(1e-7, 2e-7, 1e-8)
    sizes = sizes_of(STEP.build())
    twice = replace(sizes, rest=Scalars(2 * sizes.rest.full, 0), constraints=3 * sizes.constraints)
    for cost in (costs.prove_cpu_s, costs.setup_cpu_s):
        assert cost(twice, speed) > cost(sizes, speed) > 0
    assert costs.prove_memory_bytes(twice) > costs.prove_memory_bytes(sizes)
    assert Scalars().additions() == 0
    assert Scalars(1000).additions() > Scalars(0, 1000).additions() > 1000
    assert costs.wall_s(1.0, costs.PROVE_THREADS) <= costs.wall_s(1.0, costs.SETUP_THREADS) <= 1.0


def test_a_circuit_beyond_the_field_s_roots_is_refused() -> None:
    sizes = replace(sizes_of(STEP.build()), constraints=1 << 28)
    with pytest.raises(InvalidInput, match="can be proven at once"):
        _ = sizes.domain


def test_both_formats_side_by_side_and_the_choice() -> None:
    found = zkai.estimate(TrainingStep(SoftmaxHead(24, 4), 32), compare=True)
    assert found.other_format is not None
    assert found.recommended is not None
    assert (found.format, found.other_format.format) == ("groth16", "groth16-commit")
    assert found.recommended.format == "groth16-commit"
    text = str(found)
    for e in (found, found.other_format):
        assert f"{e.constraints:,}" in text
        assert f"{e.constraints:,}" in found.recommended.reason
    assert "\n" not in found.recommended.reason
    assert "recommended: groth16-commit" in text
    json.dumps(found.to_json(), allow_nan=False)


def test_the_recommendation_follows_from_the_circuits(monkeypatch: pytest.MonkeyPatch) -> None:
    step = TrainingStep(SoftmaxHead(24, 4), 32)
    assert zkai.recommend(step).format == "groth16-commit"
    assert zkai.recommend(replace(step, format="groth16-commit")) == zkai.recommend(step)
    assert zkai.recommend(TrainingStep(SMALL, 1)).format == "groth16"
    assert zkai.recommend(Genesis(SMALL)).reason
    monkeypatch.setattr(advice, "PLAIN_WHILE_FASTER_THAN", 100)
    assert zkai.recommend(step).format == "groth16"
    monkeypatch.setattr(advice, "COUNT_BOTH_BELOW", 10)
    assert "every product and bit" in zkai.recommend(step).reason


def test_a_head_that_is_mostly_hashed_is_worth_a_link(tmp_path: Path) -> None:
    small = zkai.recommend(TrainingStep(SoftmaxHead(16, 4), 32))
    large = TrainingStep(SoftmaxHead(128, 10), 2, format="groth16-commit")
    linked = replace(large, weights_commitment="kzg")
    chosen = zkai.recommend(large)
    assert (small.commitment, chosen.commitment) == ("poseidon", "kzg")
    assert zkai.recommend(linked) == chosen
    assert f"{linked.build().n_constraints:,} with linked weights" in chosen.reason
    assert advice.in_format(linked, "groth16") == replace(large, format="groth16")


def test_an_estimate_knows_linked_weights(tmp_path: Path) -> None:
    linked = replace(STEP, weights_commitment="kzg")
    found, hashed = zkai.estimate(linked), zkai.estimate(STEP)
    keys = zkai.setup(linked, tmp_path / "keys")
    assert abs(found.proving_key_bytes - Path(keys.proving.path).stat().st_size) < 1000
    assert found.proof_bytes == 320 + 64 + 2 * 96
    assert found.gas > hashed.gas


@pytest.mark.parametrize("shape", ["1", "64"])
def test_the_gas_formula_holds_on_chain(shape: str) -> None:
    chain = EmbeddedChain()
    address = chain.deploy(prebuilt_code(commit_key_of(shape))).address
    measured = transaction(chain, address, verify_calldata(*commit_proof_of(shape, 0)))
    sizes = replace(sizes_of(STEP.build()), public=int(shape), challenges=len(CHALLENGES))
    assert measured <= costs.gas(sizes) < measured + 4000


def test_the_gas_formula_holds_for_linked_states() -> None:
    chain = EmbeddedChain()
    address = chain.deploy(prebuilt_code(link_key())).address
    measured = transaction(chain, address, verify_calldata(*link_proof(0)))
    sizes = replace(
        sizes_of(replace(STEP, weights_commitment="kzg").build()), public=LINK_STEP_INPUTS
    )
    assert measured <= costs.gas(sizes) < measured + 6000
