"""Rounds that take proven updates only: whose ciphertext, proof and training disagree is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from federated_support import World, fast_folder

import zkai
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import hex32
from zkai.encrypted import encrypted_update, norm_bound
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.inputs import InputRule, input_bytes
from zkai.federated.messages import PARTIAL, SET, sign_message
from zkai.federated.opening import open_sum, verify_aggregate
from zkai.federated.schemes import RlweScheme
from zkai.federated.session import Tensor
from zkai.he.rlwe import RING, RlweParameters
from zkai.model.heads import SoftmaxHead

HEAD = SoftmaxHead(3, 3, input_width=5, rate_shift=6, rate_bits=4)
COMMIT: Any = "groth16-commit"
BOUND, VALUES = 1 << 15, 12


class Training:
    """Keys of the statements, and a trained fork for each client."""

    def __init__(self) -> None:
        self.genesis, self.step = Genesis(HEAD, COMMIT), TrainingStep(HEAD, 2, format=COMMIT)
        self.keys: dict[str, Any] = {s.version: zkai.setup(s) for s in (self.genesis, self.step)}
        self.forks = [self.train([i % 3, 1]) for i in range(3)]

    def train(self, labels: list[int]) -> list[Any]:
        start = {"weights": np.zeros((3, 3)), "bias": np.zeros(3)}
        first = zkai.prove(self.genesis, self.keys[self.genesis.version].proving, start)
        rows = {
            "x": [[0.5, 0.25, 0.875], [0.75, -0.5, 0.0]],
            "labels": labels,
            "learning_rate": 0.25,
        }
        state = {"state": first.opening.state}
        key = self.keys[self.step.version].proving
        return [first, zkai.prove(self.step, key, state | rows)]

    def rule(self, parameters: Mapping[str, Any]) -> InputRule:
        self.statement = encrypted_update(HEAD, RlweParameters.from_json(dict(parameters)))
        self.bound = norm_bound(HEAD, 2.0)
        self.keys[self.statement.version] = zkai.setup(self.statement)
        history = [self.keys[s.version].verifying for s in (self.genesis, self.step)]
        key = self.keys[self.statement.version].verifying
        return InputRule(key, self.bound, None, tuple(history))

    def update(self, i: int) -> Any:
        old, new = (proof.opening.state.values.weights for proof in self.forks[i])
        return np.asarray(new - old, np.int64).ravel()

    def prove(self, i: int) -> Callable[[Any, Any], bytes]:
        """Return what makes a client's body, honestly."""

        def body(sent: Any, opening: Any) -> bytes:
            return input_bytes(self.proof(i, sent, opening), self.forks[i])

        return body

    def proof(self, i: int, sent: Any, opening: Any) -> Any:
        old, new = (proof.opening.state for proof in self.forks[i])
        values = {"old_state": old, "new_state": new, "norm_bound": self.bound}
        key = self.keys[self.statement.version].proving
        return zkai.prove(self.statement, key, values | {"sent": sent, "opening": opening})


@pytest.fixture(scope="module")
def training() -> Training:
    return Training()


@pytest.fixture(scope="module")
def base(training: Training) -> Iterator[World]:
    """3 clients, of whom 0 and 1 have committed to what they trained."""
    root = fast_folder()
    world = World(
        root / "world", 3, 3, 2, tensors=(Tensor("w", (VALUES,)),), bound=BOUND, rule=training.rule
    )
    for i in (0, 1):
        commit(world, i, training.update(i), training.prove(i))
    yield world
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def world(base: World) -> Iterator[World]:
    folder = fast_folder()
    yield base.copy(folder / "world")
    shutil.rmtree(folder, ignore_errors=True)


def commit(world: World, i: int, update: Any, prove: Any) -> None:
    update = {"w": update}
    world.clients[i].encrypt(world.session, world.scheme, world.board, 1, update, prove=prove)


def excluded(world: World) -> dict[str, str]:
    names = {c.keyid: c.name for c in world.session.clients}
    found = world.round().require(SET).body["excluded"]
    return {names[e["client"]]: e["reason"] for e in found}


def test_a_bound_sum_says_so_and_is_of_what_was_trained(world: World, training: Training) -> None:
    commit(world, 2, training.update(2), training.prove(2))
    opened = world.open()
    assert opened.statement["bound"] is True
    expected = sum(training.update(i) for i in range(3))
    assert opened.values.tolist() == expected.tolist()
    verify_aggregate(world.round(), world.scheme, opened.to_bytes(), opened.values)
    blind = replace(world.round(), inputs=None)
    with pytest.raises(InvalidInput, match="give the rule of its inputs"):
        verify_aggregate(blind, world.scheme, opened.to_bytes(), opened.values)


def test_a_corrupt_holder_cannot_shift_a_bound_sum_past_the_proven_norms(
    world: World, training: Training
) -> None:
    """Delta v on top of an honest part: the noise is as it should be, only the sum is not."""
    commit(world, 2, training.update(2), training.prove(2))
    world.until(PARTIAL)
    active = world.round().require("active").body["holders"]
    first, second = (world.session.holder_keyids.index(keyid) for keyid in active)
    world.holders[second].partial(world.board, 1)
    said = world.holders[first].partial(world.board, 1)
    data = world.board.body(1, said.digest("body"), world.scheme.partial_bytes, "part")
    assert world.rule is not None
    assert isinstance(world.scheme, RlweScheme)
    parameters, values = world.scheme.parameters, world.session.values
    each, bits = parameters.values_per_coefficient, parameters.value_bits
    step, count = (1 << (bits - 1)) - 17000, values // each
    shift = sum(step << (bits * digit) for digit in range(each)) * parameters.delta
    part = RING.unpack(data[80:], (len(data) - 80) // RING.polynomial_bytes, "part")
    for row, q in enumerate(RING.primes):
        part[0, row, :count] = (part[0, row, :count].astype(object) + shift) % q
    body = hex32(world.board.put_body(1, data[:80] + RING.pack(part)))
    forged = sign_message(PARTIAL, {**said.predicate, "body": body}, world.holder_keys[first])
    world.board.put(1, f"partials/{active[0]}", forged.to_bytes())
    world.until("opened")
    with pytest.raises(VerificationError, match="longer than 3 updates of the proven norm"):
        open_sum(world.round(), world.scheme)
    blind = replace(world.round(), inputs=None)
    expected = sum(training.update(i) for i in range(3)) + step
    assert open_sum(blind, world.scheme).values.tolist() == expected.tolist()


def test_another_update_than_the_proven_one_is_left_out_by_name(
    world: World, training: Training
) -> None:
    """Client 2 proves what it trained, and encrypts something else."""

    def cheat(sent: Any, opening: Any) -> bytes:
        made = world.scheme.start(1, training.update(2))
        check = made.check(bytes(32))
        own = world.scheme.sent(1, made.ciphertext, check, bytes(32))
        return input_bytes(training.proof(2, own, made.opening()), training.forks[2])

    commit(world, 2, training.update(2) + 1, cheat)
    opened = world.open()
    assert list(excluded(world)) == ["c2"]
    assert "the proof is about another ciphertext" in excluded(world)["c2"]
    assert opened.values.tolist() == (training.update(0) + training.update(1)).tolist()


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        (lambda t: t.forks[0], "the update's"),
        (lambda t: t.forks[2][:1], "nothing was trained"),
        (lambda t: t.forks[2][1:], "a history starts with"),
        (lambda t: [], "a history with its base"),
    ],
)
def test_an_update_of_another_training_is_left_out_by_name(
    world: World, training: Training, history: Any, reason: str
) -> None:
    def cheat(sent: Any, opening: Any) -> bytes:
        return input_bytes(training.proof(2, sent, opening), history(training))

    commit(world, 2, training.update(2), cheat)
    world.until(SET)
    world.open()
    assert list(excluded(world)) == ["c2"]
    assert reason in excluded(world)["c2"]


def test_no_proof_garbage_or_another_rule(world: World, training: Training, base: World) -> None:
    with pytest.raises(InvalidInput, match="a proof is needed exactly if"):
        commit(world, 2, training.update(2), None)
    commit(world, 2, training.update(2), lambda sent, opening: b"{}")
    world.until(SET)
    reason = world.round().proposal(SET).body["excluded"]
    assert "c2 proved another update, or none" in reason[0]["reason"]
    rule = world.rule
    assert isinstance(rule, InputRule)
    rule.write(world.root / "rule")
    assert InputRule.from_path(world.root / "rule").digest == rule.digest
    for other in (None, replace(rule, norm_bound=rule.norm_bound + 1), replace(rule, history=())):
        with pytest.raises(InvalidInput, match="give the rule of its inputs"):
            replace(world.holders[0], inputs=other)


def test_a_weighted_session_cannot_be_bound(world: World) -> None:
    with pytest.raises(InvalidInput, match="without a weight"):
        world.altered(max_weight=2, value_bound=10)


def test_a_set_with_an_unproven_update_is_refused_by_holders(
    world: World, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The aggregator itself cheats: it proposes a client whose proof does not hold."""
    import zkai.federated.judging as judging

    commit(world, 2, training.update(2), lambda sent, opening: b"{}")
    monkeypatch.setattr(judging, "check_input", lambda *args: None)
    world.until(SET)
    assert not world.round().proposal(SET).body["excluded"]
    monkeypatch.undo()
    with pytest.raises(VerificationError, match="c2 proved another update, or none"):
        world.holders[0].cosign(world.board, 1, SET)
