"""The verbs with a commitment round: what they make and accept, and what they refuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import zkai
from tests.e2e.conftest import BATCH, HEAD, RATE, WEIGHTS, World, batch, samples
from zkai import pipeline
from zkai.assignment import Destination
from zkai.circuit.statements.training_step import TrainingStep
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.commit.keys import CommitKeys, CommitProof, CommitVerifyingKey
from zkai.proof.keys import Proof
from zkai.proof.powers import write_development_ptau
from zkai.proof.proving_keys import Keys, PlainKeys


def all_proofs(world: World) -> list[tuple[Proof, str]]:
    return [(world.genesis, "genesis"), (world.steps[0], "step"), (world.inference, "inference")]


@pytest.mark.parametrize("verifier", ["native", "py-ecc"])
def test_every_statement_s_proof_verifies(commit_world: World, verifier: str) -> None:
    for proof, name in all_proofs(commit_world)[:: 1 if verifier == "native" else 3]:
        key = commit_world.keys[name].verifying
        assert isinstance(proof, CommitProof)
        pipeline.verify(proof, key, verifier=verifier)
        signal, (value, *rest) = next(iter(proof.public.items()))
        forged = replace(proof, public={**proof.public, signal: (value + 1, *rest)})
        with pytest.raises(VerificationError, match="equation"):
            pipeline.verify(forged, key, verifier=verifier)


def test_the_commitment_is_the_proof_s_own(commit_world: World) -> None:
    """D of another proof under the same key gives other challenges, and no equation."""
    first, second = commit_world.steps
    assert isinstance(second, CommitProof)
    key = commit_world.keys["step"].verifying
    for forged in (replace(first, d=second.d), replace(first, d=second.a), replace(first, d=None)):  # type: ignore[call-arg]
        with pytest.raises(VerificationError, match=r"equation|D is the point at infinity"):
            pipeline.verify(forged, key)


def test_what_is_proven_does_not_depend_on_the_format(world: World, commit_world: World) -> None:
    """The same values give the same signals, but for the context, which names the key."""
    state = world.genesis.opening.state
    values = {"state": state, **batch(1), "new_salt": 5, "batch_salt": 6}
    proofs = [
        pipeline.prove(w.statements["step"], w.keys["step"].proving, values)
        for w in (world, commit_world)
    ]
    contexts = [proof.public["context"] for proof in proofs]
    assert contexts[0] != contexts[1]
    plain, commit = ({**p.public, "context": ()} for p in proofs)
    assert plain == commit
    states = [proof.opening.state for proof in proofs]
    assert [state.commitment for state in states if state] == 2 * [plain["new_state"][0]]


def test_a_key_takes_proofs_of_its_own_format_only(world: World, commit_world: World) -> None:
    for (plain, name), (commit, _) in zip(all_proofs(world), all_proofs(commit_world), strict=True):
        for proof, wrong in ((commit, world.keys[name]), (plain, commit_world.keys[name])):
            relabelled = replace(
                proof, vk_digest=wrong.verifying.digest, circuit_digest=wrong.proving.circuit_digest
            )
            for attempt in (proof, relabelled):
                with pytest.raises(VerificationError, match=r"the proof has the format zkai.groth"):
                    pipeline.verify(attempt, wrong.verifying)
                with pytest.raises(VerificationError, match=r"the proof has the format zkai.groth"):
                    pipeline.verify(attempt, wrong.verifying, verifier="py-ecc")


def test_a_proof_stripped_of_its_commitment_is_no_plain_one(
    world: World, commit_world: World
) -> None:
    proof, key = commit_world.steps[0], world.keys["step"].verifying
    stripped = Proof(
        proof.statement, key.circuit_digest, key.digest, key.key_status, proof.public,
        proof.a, proof.b, proof.c,
    )  # fmt: skip
    with pytest.raises(VerificationError, match="equation"):
        pipeline.verify(stripped, key)


def test_files_say_their_format_and_are_read_by_it(commit_world: World, tmp_path: Path) -> None:
    proof, keys = commit_world.genesis, commit_world.keys["genesis"]
    proof.write(tmp_path / "p.json")
    read = zkai.Proof.from_path(tmp_path / "p.json")
    assert type(read) is CommitProof
    assert read.to_json() == proof.to_json()
    zkai.verify(read, Path(commit_world.folder / "genesis" / "verifying.json"))
    assert isinstance(
        zkai.VerifyingKey.from_path(commit_world.folder / "genesis" / "verifying.json"),
        CommitVerifyingKey,
    )
    opened = zkai.Keys.from_path(commit_world.folder / "genesis")
    assert isinstance(opened, CommitKeys)
    assert opened.verifying == keys.verifying
    assert sorted(p.name for p in (commit_world.folder / "genesis").iterdir()) == [
        "proving.zkck",
        "verifying.json",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "zkai.groth16-commit/2"}, "format 'zkai.groth16-commit/2', expected"),
        ({"format": "zkai.groth16/1"}, "unknown field 'd'"),
        ({"format": "groth16-commit"}, "expected 'zkai.groth16/1' or 'zkai.groth16-commit/1'"),
        ({"format": None}, "format None"),
        ({"format": ["zkai.groth16-commit/1"]}, "format \\["),
        ({"format": {}}, "format {}"),
        ({"format": "zkai.groth16-commit-vk/1"}, "format 'zkai.groth16-commit-vk/1'"),
        ({"d": ["1", "2"]}, "unknown field 'd'"),
    ],
)
def test_a_proof_of_no_known_format_is_refused(
    commit_world: World, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    value = json.loads(json.dumps(commit_world.genesis.to_json()))
    path = tmp_path / "p.json"
    path.write_text(json.dumps(value))
    zkai.Proof.from_path(path)
    path.write_text(json.dumps(value | change))
    with pytest.raises(InvalidInput, match=message):
        zkai.Proof.from_path(path)


def test_a_proof_without_its_commitment_is_refused(world: World, commit_world: World) -> None:
    without = commit_world.genesis.to_json()
    del without["proof"]["d"]
    for value in (without, world.genesis.to_json() | {"format": "zkai.groth16-commit/1"}):
        with pytest.raises(InvalidInput, match=r"proof.proof: missing field d"):
            zkai.Proof.from_json(value)


def test_a_class_of_one_format_reads_that_one(world: World, commit_world: World) -> None:
    with pytest.raises(InvalidInput, match=r"format 'zkai.groth16/1', expected 'zkai.groth16-com"):
        CommitProof.from_json(world.genesis.to_json())
    with pytest.raises(InvalidInput, match=r"expected 'zkai.groth16-commit-vk/1'"):
        CommitVerifyingKey.from_json(world.keys["genesis"].verifying.to_json())
    with pytest.raises(InvalidInput, match=r"proving\.zkck: cannot be read"):
        CommitKeys.from_path(world.folder / "genesis")
    with pytest.raises(InvalidInput, match=r"proving\.zkey: cannot be read"):
        PlainKeys.from_path(commit_world.folder / "genesis")


def test_a_folder_of_mixed_keys_is_refused(
    world: World, commit_world: World, tmp_path: Path
) -> None:
    plain, commit = world.folder / "genesis", commit_world.folder / "genesis"
    both = tmp_path / "both"
    shutil.copytree(plain, both)
    shutil.copy(commit / "proving.zkck", both)
    with pytest.raises(InvalidInput, match=r"holds both proving.zkey and proving.zkck"):
        Keys.from_path(both)
    for proving, other in ((commit / "proving.zkck", plain), (plain / "proving.zkey", commit)):
        crossed = tmp_path / proving.name
        crossed.mkdir()
        shutil.copy(proving, crossed)
        shutil.copy(other / "verifying.json", crossed)
        with pytest.raises(InvalidInput, match=r"verifying\.json: format 'zkai.groth16"):
            Keys.from_path(crossed)
    other_step = tmp_path / "other"
    other_step.mkdir()
    shutil.copy(commit / "proving.zkck", other_step)
    shutil.copy(commit_world.folder / "step" / "verifying.json", other_step)
    with pytest.raises(
        InvalidInput, match=r"proving.zkck and verifying.json are of different keys"
    ):
        Keys.from_path(other_step)


def test_a_key_proves_for_statements_of_its_own_format(world: World, commit_world: World) -> None:
    for mine, other in ((world, commit_world), (commit_world, world)):
        for key in (other.keys["genesis"].proving, other.keys["genesis"].proving.path):
            with pytest.raises(InvalidInput, match="key of genesis/1 for another circuit"):
                pipeline.prove(mine.statements["genesis"], key, WEIGHTS)
    path = commit_world.folder / "genesis" / "proving.zkck"
    proof = pipeline.prove(commit_world.statements["genesis"], path, WEIGHTS)
    pipeline.verify(proof, commit_world.keys["genesis"].verifying)


def test_powers_of_tau_from_a_file(commit_world: World, tmp_path: Path) -> None:
    powers = tmp_path / "p.ptau"
    write_development_ptau(powers, 10, "me")
    statement = commit_world.statements["genesis"]
    keys = pipeline.setup(statement, tmp_path / "keys", ptau=powers)
    assert keys.verifying.key_status == "development"
    assert sorted(p.name for p in (tmp_path / "keys").iterdir()) == [
        "proving.zkck",
        "verifying.json",
    ]
    pipeline.verify(pipeline.prove(statement, keys.proving, WEIGHTS), keys.verifying)
    with pytest.raises(VerificationError, match="another key"):
        pipeline.verify(commit_world.genesis, keys.verifying)


def test_powers_of_tau_that_are_too_few_are_refused(commit_world: World, tmp_path: Path) -> None:
    write_development_ptau(tmp_path / "p.ptau", 8, "me")
    with pytest.raises(InvalidInput, match=r"needs 2\*\*"):
        pipeline.setup(
            commit_world.statements["genesis"], tmp_path / "keys", ptau=tmp_path / "p.ptau"
        )
    assert not (tmp_path / "keys").exists()


def test_no_key_with_a_commitment_round_is_imported(commit_world: World, tmp_path: Path) -> None:
    for path in (commit_world.folder / "genesis" / "proving.zkck", tmp_path / "nothing.zkey"):
        with pytest.raises(InvalidInput, match="cannot be imported"):
            pipeline.import_key(commit_world.statements["genesis"], path, tmp_path / "keys")
    assert not (tmp_path / "keys").exists()


def test_a_plain_import_takes_no_key_with_a_commitment_round(
    world: World, commit_world: World, tmp_path: Path
) -> None:
    path = commit_world.folder / "genesis" / "proving.zkck"
    with pytest.raises(InvalidInput, match=r"not a \.zkey file"):
        pipeline.import_key(world.statements["genesis"], path, tmp_path / "keys")


# Histories --------------------------------------------------------------------------------------


def mixed(world: World, commit_world: World) -> tuple[list[Proof], list[Any]]:
    """A history whose genesis is plain, whose first step is not, and whose second is again."""
    proofs: list[Any] = [world.genesis]
    for number, w in enumerate((commit_world, world)):
        values = {"state": proofs[-1].opening.state, **batch(number + 1)}
        proofs.append(pipeline.prove(w.statements["step"], w.keys["step"].proving, values))
    keys = [w.keys[name].verifying for w in (world, commit_world) for name in ("genesis", "step")]
    return proofs, keys


def test_a_history_may_change_its_format(world: World, commit_world: World) -> None:
    proofs, keys = mixed(world, commit_world)
    pipeline.verify_chain(proofs, keys)
    pipeline.verify_chain(proofs, keys[::-1])
    pipeline.verify_chain([commit_world.genesis, *commit_world.steps], keys)
    with pytest.raises(VerificationError, match=r"proof 1 .*a gap"):
        pipeline.verify_chain([proofs[0], proofs[2]], keys)
    with pytest.raises(VerificationError, match=r"proof 2 .*user is not that"):
        pipeline.verify_chain([*proofs[:2], commit_world.steps[1]], keys)


def test_a_history_needs_a_key_of_each_format(world: World, commit_world: World) -> None:
    proofs, keys = mixed(world, commit_world)
    for left_out, place in ((0, 0), (3, 1), (1, 2)):
        with pytest.raises(VerificationError, match=rf"proof {place} .*no key was given for .*/1"):
            pipeline.verify_chain(proofs, keys[:left_out] + keys[left_out + 1 :])
    by_version = {key.statement: key for key in keys[:2]}
    with pytest.raises(VerificationError, match=r"proof 1 .*the proof has the format"):
        pipeline.verify_chain(proofs, by_version)


def test_a_history_may_use_several_keys_of_a_statement(commit_world: World) -> None:
    """Each proof is verified under the key that it names, if that is one of those given."""
    wide = TrainingStep(HEAD, batch=2 * BATCH, learning_rate=RATE, format="groth16-commit")
    keys = pipeline.setup(wide)
    x, labels = ([*batch(1)[name].tolist(), *batch(2)[name].tolist()] for name in ("x", "labels"))
    values = {"state": commit_world.steps[0].opening.state, "x": x, "labels": labels}
    proof = pipeline.prove(wide, keys.proving, values)
    given = [commit_world.keys[name].verifying for name in ("genesis", "step")]
    history = [commit_world.genesis, commit_world.steps[0], proof]
    pipeline.verify_chain(history, [*given, keys.verifying])
    with pytest.raises(VerificationError, match=r"proof 2 .*another circuit"):
        pipeline.verify_chain(history, given)


def test_a_destination_is_bound(commit_world: World) -> None:
    here = Destination(5, "0x" + "22" * 20, "0x" + "33" * 20)
    statement, keys = commit_world.statements["genesis"], commit_world.keys["genesis"]
    proof = pipeline.prove(statement, keys.proving, WEIGHTS, destination=here)
    pipeline.verify(proof, keys.verifying, destination=here)
    with pytest.raises(VerificationError, match="another chain, ledger or recipient"):
        pipeline.verify(proof, keys.verifying, destination=replace(here, chain_id=6))


def test_production_refuses_development_keys(commit_world: World) -> None:
    key = commit_world.keys["genesis"].verifying
    with pytest.raises(VerificationError, match="development key"):
        pipeline.verify(commit_world.genesis, key, production=True, trusted_digests=[key.digest])
    pipeline.verify(commit_world.genesis, key, trusted_digests=[key.digest])
    with pytest.raises(VerificationError, match="not one that you trust"):
        pipeline.verify(commit_world.genesis, key, trusted_digests=[bytes(32)])


class Cancelled(Exception):
    pass


@pytest.mark.parametrize("stage", ["build the circuit", "witness", "prove: commitment", "prove: H"])
def test_proving_can_be_cancelled(commit_world: World, stage: str) -> None:
    seen: list[str] = []

    def stop(name: str, fraction: float) -> None:
        seen.append(name)
        if name == stage:
            raise Cancelled

    statement, keys = commit_world.statements["genesis"], commit_world.keys["genesis"]
    with pytest.raises(Cancelled):
        pipeline.prove(statement, keys.proving, WEIGHTS, progress=stop)
    assert seen[-1] == stage


def test_setting_up_can_be_cancelled_and_leaves_nothing(
    commit_world: World, tmp_path: Path
) -> None:
    def stop(name: str, fraction: float) -> None:
        if name.startswith("setup"):
            raise Cancelled

    with pytest.raises(Cancelled):
        pipeline.setup(commit_world.statements["genesis"], tmp_path / "keys", progress=stop)
    assert list(tmp_path.iterdir()) == []


BAD_VALUES: list[tuple[Callable[[], dict[str, Any]], str]] = [
    (lambda: {"weights": WEIGHTS["weights"][:2]}, "expected weights"),
    (lambda: {"weights": WEIGHTS["weights"] * 1e9}, "weights"),
    (dict, "missing weights"),
    (lambda: {**WEIGHTS, "sample": 1}, "unknown sample"),
]


@pytest.mark.parametrize(("values", "message"), BAD_VALUES)
def test_bad_values_are_named(
    commit_world: World, values: Callable[[], dict[str, Any]], message: str
) -> None:
    statement, keys = commit_world.statements["genesis"], commit_world.keys["genesis"]
    with pytest.raises(InvalidInput, match=message):
        pipeline.prove(statement, keys.proving, values())


def test_an_inference_shows_its_output(commit_world: World) -> None:
    statement: Any = commit_world.statements["inference"]
    (found,) = statement.read_outputs(commit_world.inference.public).values()
    assert found.shape == (1, 2)
    keys = commit_world.keys["inference"]
    with pytest.raises(InvalidInput, match=r"calibrat|width|range"):
        pipeline.prove(statement, keys.proving, {"input": samples()[:1] * 100})
