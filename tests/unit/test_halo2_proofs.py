"""Halo2 proofs: what verifies, and what each edit of a proof, a key or a model is refused for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.unit.halo2_support import keys, points, proof, scratch, statement
from zkai.circuit.gadgets.halo2_hash import halo2_hash
from zkai.encoding import FIELD_MODULUS
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.keys import Halo2Keys, Halo2VerifyingKey
from zkai.halo2.proof import Halo2Proof, prove, prove_opened, verify
from zkai.halo2.setup import setup
from zkai.halo2.statement import HASH, POINT, VALUES


def test_a_proof_verifies_and_shows_the_models_own_numbers() -> None:
    made, found = keys(), proof()
    verify(found, made.verifying)
    assert [(s.name, s.kind, s.size) for s in made.verifying.signals] == [
        ("input", VALUES, 4),
        ("output", VALUES, 2),
    ]
    shown = found.decoded(made.verifying)
    wanted = statement().model.run({"input": points()[0]})["output"]
    np.testing.assert_array_equal(shown["input"], points()[0])
    np.testing.assert_allclose(shown["output"], wanted, atol=0.05)


def test_files_survive_a_round_trip() -> None:
    made, found, folder = keys(), proof(), scratch()
    found.write(folder / "proof.json")
    assert Halo2Proof.from_path(folder / "proof.json") == found
    again = Halo2Keys.from_path(made.proving.folder)
    assert again.verifying == made.verifying
    assert again.verifying.digest == made.verifying.digest


@pytest.mark.parametrize("part", ["input", "output"])
def test_an_edited_public_value_is_refused(part: str) -> None:
    found = proof()
    values = found.public[part]
    edited = {**found.public, part: ((values[0] + 1) % FIELD_MODULUS, *values[1:])}
    with pytest.raises(VerificationError, match="does not hold"):
        verify(replace(found, public=edited), keys().verifying)


def test_a_value_plus_r_is_refused_before_EZKL_sees_it() -> None:
    found = proof()
    values = found.public["output"]
    edited = {**found.public, "output": (values[0] + FIELD_MODULUS, *values[1:])}
    with pytest.raises(VerificationError, match="not below r"):
        verify(replace(found, public=edited), keys().verifying)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda data: bytes([data[0] ^ 1]) + data[1:], "does not hold"),
        (lambda data: data[:-32] + bytes(32), "does not hold"),
        (lambda data: data[:-1], "does not hold"),
        (lambda data: data + b"\0", "bytes after its end"),
        (lambda data: data + data, "bytes after its end"),
    ],
)
def test_edited_bytes_of_a_proof_are_refused(edit: Any, reason: str) -> None:
    found = proof()
    with pytest.raises(VerificationError, match=reason):
        verify(replace(found, proof=edit(found.proof)), keys().verifying)


def test_EZKLs_own_copies_of_proof_and_values_have_no_place_in_a_file() -> None:
    """EZKL's verifier ignores hex_proof and pretty_public_inputs: edits of them still verify."""
    whole = proof().to_json()
    assert sorted(whole["proof"]) == ["bytes"]
    for name in ("hex_proof", "pretty_public_inputs", "instances"):
        with pytest.raises(InvalidInput, match=name):
            Halo2Proof.from_json({**whole, name: "0x00"})
        with pytest.raises(InvalidInput, match=name):
            Halo2Proof.from_json({**whole, "proof": {**whole["proof"], name: "0x00"}})


def test_a_proof_of_another_model_with_the_same_shapes_is_refused() -> None:
    other = proof(seed=1)
    with pytest.raises(VerificationError, match="another circuit"):
        verify(other, keys().verifying)
    mine = keys().verifying
    dressed = replace(other, circuit_digest=mine.circuit_digest, vk_digest=mine.digest)
    with pytest.raises(VerificationError, match="does not hold"):
        verify(dressed, mine)


def test_a_key_of_another_model_proves_nothing_of_this_one() -> None:
    with pytest.raises(InvalidInput, match="another model"):
        prove(statement(seed=1), keys().proving, {"input": points()[0]})


def test_hidden_weights_have_one_key_and_committed_ones_their_own_hash() -> None:
    """With weights committed, models of one shape share keys, and the hash tells them apart."""
    made = keys(weights="committed")
    assert next((s.name, s.kind) for s in made.verifying.signals) == ("weights", HASH)
    other = statement(seed=1, weights="committed")
    assert statement(seed=0, weights="committed").describe() == other.describe()
    theirs = setup(other, scratch())
    assert theirs.verifying.digest != made.verifying.digest  # another setup string
    first = proof(weights="committed")
    second = prove(other, theirs.proving, {"input": points()[0]})
    assert first.public["weights"] != second.public["weights"]
    verify(first, made.verifying)
    edited = replace(first, public={**first.public, "weights": second.public["weights"]})
    with pytest.raises(VerificationError, match="does not hold"):
        verify(edited, made.verifying)


@pytest.mark.parametrize("output", ["public", "committed"])
@pytest.mark.parametrize("shown", ["public", "committed"])
def test_every_signal_has_its_own_place_among_the_instances(shown: str, output: str) -> None:
    """The input's and the output's signals are what our own Poseidon and the model say."""
    chosen = {"input": shown, "output": output, "weights": "committed"}
    made = keys(0, **chosen)
    asked = {"input": points()[0]}
    found, tensors = prove_opened(statement(0, **chosen), made.proving, asked)
    wanted = {s.name: s for s in made.verifying.signals}
    for name, way in (("input", shown), ("output", output)):
        integers = [int(v) % FIELD_MODULUS for v in tensors[name].reshape(-1)]
        if way == "public":
            assert wanted[name].kind == VALUES
            assert found.public[name] == tuple(integers)
        else:
            assert wanted[name].kind == HASH
            assert found.public[name] == (halo2_hash(integers),)


def test_a_polynomial_commitment_is_the_one_in_the_proof() -> None:
    made, found = keys(input="polycommit"), proof(input="polycommit")
    (signal,) = [s for s in made.verifying.signals if s.kind == POINT]
    assert signal.name == "input"
    verify(found, made.verifying)
    edited = replace(found, public={**found.public, "input": (1, 2)})
    with pytest.raises(VerificationError, match="not the commitment in the proof"):
        verify(edited, made.verifying)
    generator = (1).to_bytes(32, "big") + (2).to_bytes(32, "big")
    both = replace(edited, proof=generator + found.proof[64:])
    with pytest.raises(VerificationError, match="does not hold"):
        verify(both, made.verifying)


def test_every_field_of_a_verifying_key_is_in_its_digest() -> None:
    whole = keys().verifying.to_json()
    settings = json.loads(whole["settings"])
    settings["run_args"]["logrows"] += 1
    description = {**whole["description"], "model": "0x" + "00" * 32}
    for edit in (
        {"settings": json.dumps(settings)},
        {"description": description},
        {"srs_sha256": "0x" + "00" * 32},
        {"key_status": "ceremony"},
    ):
        with pytest.raises(InvalidInput, match="digest"):
            Halo2VerifyingKey.from_json({**whole, **edit})


def test_settings_with_another_rebase_multiplier_are_refused() -> None:
    whole = keys().verifying.to_json()
    settings = json.loads(whole["settings"])
    settings["run_args"]["scale_rebase_multiplier"] = 10
    with pytest.raises(InvalidInput, match="scale_rebase_multiplier is 10"):
        Halo2VerifyingKey.from_json({**whole, "settings": json.dumps(settings)})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model_output_scales", [1 << 30], "out of range"),
        ("model_input_scales", [True], "out of range"),
        ("num_rows", -1, "out of range"),
        ("model_output_scales", [7, 7], "2 scales for 1 tensors"),
        ("run_args", {}, "not settings of EZKL"),
    ],
)
def test_settings_with_impossible_numbers_are_refused(name: str, value: Any, message: str) -> None:
    whole = keys().verifying.to_json()
    settings = json.loads(whole["settings"]) | {name: value}
    with pytest.raises(InvalidInput, match=message):
        Halo2VerifyingKey.from_json({**whole, "settings": json.dumps(settings)})


@pytest.mark.parametrize("shape", [[1 << 24, 1 << 24, 1 << 24], [0], [-1], [True], "1", [1.5]])
def test_a_key_of_a_tensor_of_no_possible_size_is_refused(shape: Any) -> None:
    whole = keys().verifying.to_json()
    description = {**whole["description"], "outputs": [["output", shape]]}
    with pytest.raises(InvalidInput, match="description"):
        Halo2VerifyingKey.from_json({**whole, "description": description})


def test_production_refuses_development_keys() -> None:
    with pytest.raises(VerificationError, match="development key"):
        verify(proof(), keys().verifying, production=True)
