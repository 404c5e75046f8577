"""A fork with terms, from its dataset's commitment to a certificate of improvement, as proofs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zkai
from zkai.circuit.statements.commitments import user_commitment
from zkai.model.training import predict

HEAD = zkai.SoftmaxHead(
    3, 2, weight_width=10, weight_scale_bits=8, input_width=5, logit_scale_bits=3,
    error_scale_bits=3, rate_shift=6, rate_bits=6,
)  # fmt: skip
SHAPE = zkai.DatasetShape(2, 2)
FORM = "groth16-commit"
OWNER, USER = (1 << 200) + 1, (1 << 200) + 2


def rounds() -> zkai.BeaconFile:
    values = {i: hashlib.sha256(bytes([i])).digest() for i in range(40)}
    return zkai.BeaconFile("test beacon", "00", genesis_time=1000, period=10, rounds=values)


@dataclass
class Story:
    """The proofs of one fork, their keys, and what its user kept."""

    beacon: zkai.BeaconFile
    dataset: zkai.Dataset
    terms: zkai.ForkTerms
    statements: dict[str, Any]
    keys: dict[str, zkai.Keys]
    proofs: list[Any]

    @property
    def verifying(self) -> list[Any]:
        return [keys.verifying for keys in self.keys.values()]


def rows(seed: int, n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two classes that a line through the origin tells apart."""
    x = np.random.default_rng(seed).integers(-15, 16, (n, 3))
    return x, (x[:, 0] > 0).astype(np.int64)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    beacon, schema = rounds(), SHAPE.schema(HEAD)
    dataset = zkai.Dataset(schema, *rows(1), salt=11)
    terms = zkai.ForkTerms(
        dataset.root, dataset.size, schema.digest, beacon.id, first_round=5, max_skips=1, nonce=1
    )
    statements = {
        "genesis": zkai.Genesis(HEAD, FORM),
        "step": zkai.TrainingStep(HEAD, 4, format=FORM, dataset=SHAPE, learning_rate=2.0),
        "skip": zkai.SkipStep(HEAD, FORM),
        "evaluation": zkai.Evaluation(HEAD, 8, SHAPE, FORM),
    }
    folder = tmp_path_factory.mktemp("keys")
    keys = {name: zkai.setup(s, folder / name) for name, s in statements.items()}
    weights = np.zeros(HEAD.shape, np.int64)
    first = zkai.prove(
        statements["genesis"], keys["genesis"].proving,
        {"weights_integers": weights, "terms": terms, "secret": USER},
    )  # fmt: skip
    proofs = [first]
    for name in ("step", "skip", "step"):
        values: dict[str, Any] = {"state": proofs[-1].opening.state, "terms": terms}
        if name == "step":
            values |= {"dataset": dataset, "beacon": beacon}
        proofs.append(zkai.prove(statements[name], keys[name].proving, values))
    return Story(beacon, dataset, terms, statements, keys, proofs)


def test_the_history_verifies(story: Story) -> None:
    zkai.verify_chain(story.proofs, story.verifying, terms=story.terms, beacon=story.beacon)
    steps = [p.public["step"][0] for p in story.proofs[1:]]
    assert steps == [0, 1, 2]
    assert [p.public["beacon_round"] for p in (story.proofs[1], story.proofs[3])] == [(5,), (7,)]
    assert story.proofs[0].public["fork"] == (story.terms.fork,)
    zkai.verify_pinned(story.terms, story.beacon, logged_at=1039)


def test_the_history_needs_its_terms(story: Story) -> None:
    for given in ({}, {"terms": story.terms}, {"beacon": story.beacon}):
        with pytest.raises(zkai.VerificationError, match="give the fork's terms"):
            zkai.verify_chain(story.proofs, story.verifying, **given)
    other = replace(story.terms, max_skips=2)
    with pytest.raises(zkai.VerificationError, match="not the one with the given terms"):
        zkai.verify_chain(story.proofs, story.verifying, terms=other, beacon=story.beacon)
    with pytest.raises(zkai.InvalidInput, match="terms: expected a ForkTerms"):
        zkai.verify_chain(story.proofs, story.verifying, terms={})  # type: ignore[arg-type]
    with pytest.raises(zkai.InvalidInput, match="beacon: expected a Beacon"):
        zkai.verify_chain(story.proofs, story.verifying, beacon=5)  # type: ignore[arg-type]


def test_a_beacon_that_says_otherwise(story: Story) -> None:
    changed = dict(story.beacon.rounds) | {7: bytes(32)}
    other = replace(story.beacon, rounds=changed)
    with pytest.raises(zkai.VerificationError, match=r"proof 3 .* round 7 is another"):
        zkai.verify_chain(story.proofs, story.verifying, terms=story.terms, beacon=other)


def test_one_skip_more_than_the_terms_allow(story: Story) -> None:
    values = {"state": story.proofs[2].opening.state, "terms": story.terms}
    again = zkai.prove(story.statements["skip"], story.keys["skip"].proving, values)
    history = [*story.proofs[:3], again]
    with pytest.raises(zkai.VerificationError, match=r"proof 3 .*skip number 2; the terms allow 1"):
        zkai.verify_chain(history, story.verifying, terms=story.terms, beacon=story.beacon)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"terms": 5}, "terms: expected a mapping"),
        ({"dataset": 5}, "dataset: expected a mapping"),
        ({"beacon": 5}, "beacon: expected a beacon"),
        ({"x": [[1]]}, "unknown x"),
    ],
)
def test_values_that_a_step_cannot_take(
    story: Story, changes: dict[str, Any], message: str
) -> None:
    values = {"state": story.proofs[3].opening.state, "terms": story.terms}
    values |= {"dataset": story.dataset, "beacon": story.beacon}
    with pytest.raises(zkai.InvalidInput, match=message):
        zkai.prove(story.statements["step"], story.keys["step"].proving, values | changes)


def test_a_state_of_another_fork(story: Story) -> None:
    state = replace(story.proofs[3].opening.state, fork=3)
    values = {"state": state, "terms": story.terms}
    with pytest.raises(zkai.InvalidInput, match="not those of the state's fork"):
        zkai.prove(story.statements["skip"], story.keys["skip"].proving, values)


# The certificate --------------------------------------------------------------------------------


def evaluated(story: Story, by: int, round_number: int = 9, **changes: Any) -> Any:
    """A certificate of the last state against the first, from the owner's rows."""
    dataset = zkai.Dataset(SHAPE.schema(HEAD), *rows(2), salt=12)
    chosen = zkai.EvaluationSet.of(dataset, user_commitment(OWNER))
    beacon = zkai.beacon.beacon_element(
        story.beacon.id, round_number, story.beacon.value(round_number)
    )
    values: dict[str, Any] = {
        "old_state": story.proofs[0].opening.state,
        "new_state": story.proofs[3].opening.state,
        "evaluation_set": chosen,
        "samples": zkai.Samples.drawn(dataset, chosen, beacon, round_number, 8),
        "beacon": story.beacon,
        "round": round_number,
        "margin": by,
    }
    values |= changes
    statement, key = story.statements["evaluation"], story.keys["evaluation"]
    return zkai.prove(statement, key.proving, values), chosen, values


def test_a_certificate_of_improvement(story: Story) -> None:
    proof, chosen, values = evaluated(story, 1)
    zkai.verify(proof, story.keys["evaluation"].verifying)
    samples = values["samples"]
    counts = [
        int((predict(HEAD, s.values, samples.x) == samples.labels).sum())
        for s in (values["old_state"], values["new_state"])
    ]
    assert counts[1] > counts[0]
    assert proof.public["improved"] == (1,)
    assert proof.public["new_state"] == story.proofs[3].public["new_state"]
    known: dict[str, Any] = {"history": story.proofs}
    zkai.verify_improvement(proof, chosen, story.beacon, logged_at=1079, margin=1, **known)
    for cut, side in ((slice(0, 3), "new"), (slice(1, 4), "old")):
        with pytest.raises(zkai.VerificationError, match=f"the {side} state is not one"):
            zkai.verify_improvement(
                proof, chosen, story.beacon, logged_at=1079, history=story.proofs[cut]
            )
    for arguments, message in (
        ({"logged_at": 1080}, "the first after the state was logged is 10"),
        ({"logged_at": 1060}, "the first after the state was logged is 8"),
        ({"logged_at": 1079, "margin": 2}, "the margin is 1, below 2"),
    ):
        with pytest.raises(zkai.VerificationError, match=message):
            zkai.verify_improvement(proof, chosen, story.beacon, **arguments, **known)
    own = replace(chosen, owner=user_commitment(USER))
    with pytest.raises(zkai.VerificationError, match="another evaluation set"):
        zkai.verify_improvement(proof, own, story.beacon, logged_at=1079, **known)
    with pytest.raises(zkai.VerificationError, match="is a proof of evaluation/1"):
        zkai.verify_improvement(story.proofs[1], chosen, story.beacon, logged_at=1079, **known)
    other = replace(story.beacon, rounds=dict(story.beacon.rounds) | {9: bytes(32)})
    with pytest.raises(zkai.VerificationError, match="round 9 is another"):
        zkai.verify_improvement(proof, chosen, other, logged_at=1079, **known)


def test_no_improvement_is_no_certificate(story: Story) -> None:
    proof, chosen, _ = evaluated(story, 8)
    assert proof.public["improved"] == (0,)
    with pytest.raises(zkai.VerificationError, match="not improved by 8 samples"):
        zkai.verify_improvement(proof, chosen, story.beacon, logged_at=1079, history=story.proofs)


def test_an_evaluation_set_of_ones_own(story: Story) -> None:
    dataset = zkai.Dataset(SHAPE.schema(HEAD), *rows(2), salt=12)
    own = zkai.EvaluationSet.of(dataset, user_commitment(USER))
    value = story.beacon.value(9)
    beacon = zkai.beacon.beacon_element(story.beacon.id, 9, value)
    samples = zkai.Samples.drawn(dataset, own, beacon, 9, 8)
    proof, _, _ = evaluated(story, 0, evaluation_set=own, samples=samples)
    with pytest.raises(zkai.VerificationError, match="the user's own"):
        zkai.verify_improvement(proof, own, story.beacon, logged_at=1079, history=story.proofs)


def test_values_that_an_evaluation_cannot_take(story: Story) -> None:
    state = story.proofs[3].opening.state
    for changes, message in (
        ({"new_state": replace(state, fork=1)}, "of another fork than old_state"),
        ({"new_state": replace(state, secret=1 << 201)}, "of another secret than old_state"),
        ({"old_state": state}, "old_step must be"),
        ({"round": 99}, "no round 99"),
        ({"margin": -1}, "margin must be"),
        ({"evaluation_set": 5}, "evaluation_set: expected a mapping"),
        ({"samples": 5}, "samples: expected a mapping"),
    ):
        with pytest.raises((zkai.InvalidInput, zkai.VerificationError), match=message):
            evaluated(story, 1, **changes)


def test_files_take_the_place_of_objects(story: Story, tmp_path: Path) -> None:
    """What the command line hands over is JSON: the same proof's public signals follow."""
    state = story.proofs[0].opening.state
    values = {
        "state": state.to_json(),
        "terms": story.terms.to_json(),
        "dataset": story.dataset.to_json(),
        "beacon": story.beacon,
        "new_salt": str(story.proofs[1].opening.state.salt),
    }
    proof = zkai.prove(story.statements["step"], story.keys["step"].proving, values)
    assert proof.public == story.proofs[1].public
