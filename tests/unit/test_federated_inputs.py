"""Rounds that take proven updates only: whose ciphertext, proof and training disagree is named."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytest
from federated_support import World, fast_folder

import zkai
from zkai.circuit.statements.apply_aggregate import ApplyAggregate
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import hex32
from zkai.encrypted import encrypted_update, norm_bound
from zkai.errors import InvalidInput, VerificationError
from zkai.federated import client
from zkai.federated.inputs import input_bytes
from zkai.federated.messages import PARTIAL, SET, sign_message
from zkai.federated.moving import applied, rule_at, was_aborted
from zkai.federated.opening import open_sum, verify_aggregate
from zkai.federated.rules import Base, InputRule
from zkai.federated.schemes import RlweScheme
from zkai.federated.session import Tensor
from zkai.he.rlwe import RING, RlweParameters
from zkai.he.shamir import modular_weights
from zkai.model.heads import SoftmaxHead

HEAD = SoftmaxHead(3, 3, input_width=5, rate_shift=6, rate_bits=4)
COMMIT: Any = "groth16-commit"
BOUND, VALUES, CLIENTS = 1 << 15, 12, 3
NAMES = [f"c{i}" for i in range(CLIENTS)]
AGGREGATE = np.full(HEAD.shape, 3, np.int64)


class Training:
    """Keys of the statements, and a trained fork for each client."""

    def __init__(self) -> None:
        self.genesis, self.step = Genesis(HEAD, COMMIT), TrainingStep(HEAD, 2, format=COMMIT)
        self.apply = ApplyAggregate(HEAD, COMMIT)
        made = (self.genesis, self.step, self.apply)
        self.keys: dict[str, Any] = {s.version: zkai.setup(s) for s in made}
        self.history = tuple(self.keys[s.version].verifying for s in made)
        self.forks = [self.train([i % 3, 1]) for i in range(CLIENTS)]
        self.bound = norm_bound(HEAD, 0.5)

    def begin(self, weight: float = 0.0) -> Any:
        start = {"weights": np.full((3, 3), weight), "bias": np.zeros(3)}
        return zkai.prove(self.genesis, self.keys[self.genesis.version].proving, start)

    def then(self, fork: Sequence[Any], labels: list[int]) -> list[Any]:
        rows = {
            "x": [[0.5, 0.25, 0.875], [0.75, -0.5, 0.0]],
            "labels": labels,
            "learning_rate": 0.25,
        }
        state = {"state": fork[-1].opening.state}
        key = self.keys[self.step.version].proving
        return [*fork, zkai.prove(self.step, key, state | rows)]

    def apply_to(self, fork: Sequence[Any], update: Any = AGGREGATE) -> list[Any]:
        given = {"state": fork[-1].opening.state, "update_integers": update}
        return [*fork, zkai.prove(self.apply, self.keys[self.apply.version].proving, given)]

    def train(self, labels: list[int], weight: float = 0.0) -> list[Any]:
        return self.then([self.begin(weight)], labels)

    @lru_cache  # noqa: B019 - lives as long as the module's tests
    def statement(self, parameters: RlweParameters, max_weight: int = 1) -> Any:
        """Return a statement and its keys."""
        statement = encrypted_update(HEAD, parameters, max_weight=max_weight)
        return statement, zkai.setup(statement)

    def rule(self, parameters: Mapping[str, Any], max_weight: int = 1) -> InputRule:
        given = RlweParameters.from_json(dict(parameters))
        statement, keys = self.statement(given, max_weight)
        base = Base.of(self.forks[0][:1])
        users = {n: f[0].public["user"][0] for n, f in zip(NAMES, self.forks, strict=True)}
        return InputRule(
            keys.verifying, statement, self.bound, self.history, base=base, users=users
        )

    def weighted(self, parameters: Mapping[str, Any]) -> InputRule:
        return self.rule(parameters, 4)

    def update(self, i: int) -> Any:
        return difference(self.forks[i][0], self.forks[i][-1])

    def prove(
        self, i: int, fork: Sequence[Any] | None = None, **changes: Any
    ) -> Callable[[Any, Any], bytes]:
        """Return what makes a client's body, honestly but for what `fork` and `changes` say."""
        fork = self.forks[i] if fork is None else fork

        def body(sent: Any, opening: Any) -> bytes:
            return input_bytes(self.proof(sent, opening, fork[0], fork[-1], **changes), fork)

        return body

    def proof(self, sent: Any, opening: Any, old: Any, new: Any, **changes: Any) -> Any:
        statement, keys = self.statement(sent.round.parameters, 4 if "weight" in changes else 1)
        values = {
            "old_state": old.opening.state, "new_state": new.opening.state,
            "norm_bound": self.bound, "sent": sent, "opening": opening,
        }  # fmt: skip
        return zkai.prove(statement, keys.proving, values | changes)


def difference(old: Any, new: Any) -> Any:
    weights = [proof.opening.state.values.weights for proof in (old, new)]
    return np.asarray(weights[1] - weights[0], np.int64).ravel()


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


@pytest.fixture(scope="module")
def weighted_base(training: Training) -> Iterator[World]:
    """The same with weights of up to 4: of client 0 it is 1, of client 1 it is 2."""
    root = fast_folder()
    world = World(
        root / "world", 3, 3, 2, tensors=(Tensor("w", (VALUES,)),), bound=BOUND, max_weight=4,
        rule=training.weighted,
    )  # fmt: skip
    for i in (0, 1):
        commit(world, i, training.update(i), training.prove(i, weight=i + 1), i + 1)
    yield world
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def world(base: World) -> Iterator[World]:
    folder = fast_folder()
    yield base.copy(folder / "world")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def weighted(weighted_base: World) -> Iterator[World]:
    folder = fast_folder()
    yield weighted_base.copy(folder / "world")
    shutil.rmtree(folder, ignore_errors=True)


def commit(world: World, i: int, update: Any, prove: Any, weight: int = 1) -> None:
    update = {"w": update}
    world.clients[i].encrypt(
        world.session, world.scheme, world.board, 1, update, weight, prove=prove
    )


def only_c2_is_out(world: World, reason: str) -> None:
    """Check that the aggregator proposes the other two, and a key holder signs that."""
    world.until(SET)
    proposed = world.round().proposal(SET)
    (entry,) = proposed.body["excluded"]
    assert entry["client"] == world.keyid(2)
    assert reason in entry["reason"]
    assert len(proposed.clients) == 2
    world.holders[0].cosign(world.board, 1, SET)


def forged_part(world: World, first: int, second: int, place: int, step: int) -> None:
    """Let holder `first` add to its honest part what shifts the sum that it and `second` open."""
    world.holders[second].partial(world.board, 1)
    said = world.holders[first].partial(world.board, 1)
    data = world.board.body(1, said.digest("body"), world.scheme.partial_bytes, "part")
    assert isinstance(world.scheme, RlweScheme)
    parameters = world.scheme.parameters
    each, bits = parameters.values_per_coefficient, parameters.value_bits
    shift = (step << (bits * (place % each))) * parameters.delta
    part = RING.unpack(data[80:], (len(data) - 80) // RING.polynomial_bytes, "part")
    weight = modular_weights(RING, (first + 1, second + 1), 0)[0]
    for row, q in enumerate(RING.primes):
        by = shift * pow(int(weight[row]), -1, q)
        part[0, row, place // each] = (int(part[0, row, place // each]) + by) % q
    body = hex32(world.board.put_body(1, data[:80] + RING.pack(part)))
    forged = sign_message(PARTIAL, {**said.predicate, "body": body}, world.holder_keys[first])
    world.board.put(1, f"partials/{said.predicate['holder']}", forged.to_bytes())
    assert world.advance().phase == "opened"


def active(world: World) -> list[int]:
    found = world.round().require("active").body["holders"]
    return [world.session.holder_keyids.index(keyid) for keyid in found]


def test_a_bound_sum_says_so_and_is_of_what_was_trained(world: World, training: Training) -> None:
    commit(world, 2, training.update(2), training.prove(2))
    opened = world.open()
    assert opened.statement["bound"] is True
    assert opened.statement["checked"] is True
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
    first, second, third = active(world)
    step = 3 * training.bound + 1
    forged_part(world, first, second, 1, step)
    with pytest.raises(VerificationError, match="longer than 3 updates of the proven norm"):
        open_sum(world.round(), world.scheme)
    blind = replace(world.round(), inputs=None)
    expected = sum(training.update(i) for i in range(3))
    expected[1] += step
    assert open_sum(blind, world.scheme).values.tolist() == expected.tolist()
    # With the third part too, all contradict each other: of three, one wrong one is not known.
    world.serve([third])
    assert world.advance().phase == "opened"
    with pytest.raises(VerificationError, match="contradict each other"):
        open_sum(world.round(), world.scheme)


def test_another_update_than_the_proven_one_is_left_out_by_name(
    world: World, training: Training
) -> None:
    """Client 2 proves what it trained, and encrypts something else."""

    def cheat(sent: Any, opening: Any) -> bytes:
        made = world.scheme.start(1, training.update(2))
        check = made.check(bytes(32))
        own = world.scheme.sent(1, made.ciphertext, check, bytes(32))
        return training.prove(2)(own, made.opening())

    commit(world, 2, training.update(2) + 1, cheat)
    only_c2_is_out(world, "the proof is about another ciphertext")


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
        fork = training.forks[2]
        return input_bytes(training.proof(sent, opening, fork[0], fork[-1]), history(training))

    commit(world, 2, training.update(2), cheat)
    only_c2_is_out(world, reason)


class Sender:
    """Bodies of one client's updates, checked against rules without a round around them."""

    def __init__(self, world: World, training: Training) -> None:
        self.scheme, self.training, self.rule = world.scheme, training, world.rule
        assert isinstance(self.rule, InputRule)

    def check(self, fork: Sequence[Any], start: int, **rule: Any) -> int:
        """Hold the update of a fork since its proof `start` to a rule that differs from the own."""
        made = self.scheme.start(1, difference(fork[start], fork[-1]))
        sent = self.scheme.sent(1, made.ciphertext, made.check(bytes(32)), bytes(32))
        proof = self.training.proof(sent, made.opening(), fork[start], fork[-1])
        used = replace(self.rule, **({"users": None} | rule))  # type: ignore[type-var]
        found: int = used.check(sent, input_bytes(proof, fork), "c2", "body")
        return found


def test_the_base_is_the_rules(base: World, training: Training) -> None:
    sender, first = Sender(base, training), training.begin()
    applied = training.apply_to([first])
    pinned = Base.of(applied)
    assert pinned == Base(first.public["model"][0], (applied[1].public["update"][0],))
    trained = training.then(applied, [0, 1])
    assert sender.check(trained, 1, base=pinned) == first.public["user"][0]
    for other in (Base.of([first]), replace(pinned, updates=(*pinned.updates, 1))):
        with pytest.raises(VerificationError, match="other aggregates than the rule's base"):
            other.check(trained)
    own = training.then(training.apply_to([first], AGGREGATE + 1), [0, 1])
    with pytest.raises(VerificationError, match="other aggregates than the rule's base"):
        sender.check(own, 1, base=pinned)
    assert sender.check(own, 1, base=None)
    with pytest.raises(InvalidInput, match="a genesis, then those of aggregates"):
        Base.of(training.forks[0])
    with pytest.raises(InvalidInput, match="without the keys of the histories"):
        sender.check(training.forks[2], 0, history=())


def test_training_before_the_last_aggregate_is_another_base(
    base: World, training: Training
) -> None:
    """The update starts at the right aggregate, but on weights of the client's own making."""
    fork = training.then(training.apply_to(training.forks[2]), [0, 1])
    pinned = Base.of(training.apply_to([training.forks[2][0]]))
    with pytest.raises(VerificationError, match="other aggregates than the rule's base"):
        Sender(base, training).check(fork, 2, base=pinned)


def test_an_update_of_another_model_is_refused(base: World, training: Training) -> None:
    fork, sender = training.train([2, 1], 0.25), Sender(base, training)
    with pytest.raises(VerificationError, match="another base model"):
        sender.check(fork, 0)
    assert sender.check(fork, 0, base=None) == fork[0].public["user"][0]
    assert isinstance(base.rule, InputRule)
    with pytest.raises(VerificationError, match="another user than the rule has for it"):
        base.rule.check_user("c2", fork[0].public["user"][0])


def test_another_users_chain_is_left_out_by_name(
    world: World, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Client 2 sends what client 1 trained, as if it had trained it."""
    commit(world, 2, training.update(1), training.prove(1))
    only_c2_is_out(world, "another user than the rule has for it")


def test_one_user_is_one_client_where_the_rule_names_nobody(
    world: World, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InputRule, "check_user", lambda *args: None)
    commit(world, 2, training.update(1), training.prove(1))
    world.until(SET)
    (entry,) = world.round().proposal(SET).body["excluded"]
    assert entry["client"] in (world.keyid(1), world.keyid(2))
    assert re.fullmatch("c[12] sent an update of c[12]'s user", entry["reason"])


def test_holders_refuse_a_set_with_one_users_update_twice(
    world: World, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zkai.federated import judging

    monkeypatch.setattr(InputRule, "check_user", lambda *args: None)
    commit(world, 2, training.update(1), training.prove(1))
    with monkeypatch.context() as careless:
        careless.setattr(judging.Bound, "add", lambda *args: None)
        world.until(SET)
    assert not world.round().proposal(SET).body["excluded"]
    with pytest.raises(VerificationError, match=r"an update of c[12]'s user"):
        world.holders[0].cosign(world.board, 1, SET)


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
    assert rule.base is not None
    others = [
        {"norm_bound": rule.norm_bound + 1}, {"history": rule.history[:2]}, {"users": None},
        {"base": None}, {"base": replace(rule.base, updates=(1,))},
        {"statement": replace(rule.statement, update_bits=15)},
    ]  # fmt: skip
    for other in (None, *(replace(rule, **change) for change in others)):
        with pytest.raises(InvalidInput, match="give the rule of its inputs"):
            replace(world.holders[0], inputs=other)


def test_a_set_with_an_unproven_update_is_refused_by_holders(
    world: World, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The aggregator itself cheats: it proposes a client whose proof does not hold."""
    from zkai.federated import judging

    commit(world, 2, training.update(2), lambda sent, opening: b"{}")
    with monkeypatch.context() as careless:
        careless.setattr(judging.Bound, "add", lambda *args: None)
        world.until(SET)
    assert not world.round().proposal(SET).body["excluded"]
    with pytest.raises(VerificationError, match="c2 proved another update, or none"):
        world.holders[0].cosign(world.board, 1, SET)


def test_a_weighted_bound_sum_opens_to_the_weighted_mean(
    weighted: World, training: Training
) -> None:
    commit(weighted, 2, training.update(2), training.prove(2, weight=4), 4)
    opened = weighted.open()
    assert opened.statement["bound"] is True
    assert opened.statement["checked"] is True
    weights = (1, 2, 4)
    expected = sum(w * training.update(i) for i, w in enumerate(weights))
    assert opened.values.tolist() == [*expected.tolist(), sum(weights)]
    verify_aggregate(weighted.round(), weighted.scheme, opened.to_bytes(), opened.values)


def test_a_weight_above_the_largest_is_left_out_by_name(
    weighted: World, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the proof stands between a client of its own making and a weight of 9."""

    def cheat(sent: Any, opening: Any) -> bytes:
        with pytest.raises(InvalidInput, match=r"weight must be in \[1, 4\]"):
            training.proof(sent, opening, fork[0], fork[-1], weight=9)
        made = weighted.scheme.start(1, np.append(training.update(2) * 4, 4))
        own = weighted.scheme.sent(1, made.ciphertext, made.check(bytes(32)), bytes(32))
        return training.prove(2, weight=4)(own, made.opening())

    fork = training.forks[2]
    monkeypatch.setattr(client, "flatten", lambda s, u, w=1: np.append(u["w"] * 9, 9))
    commit(weighted, 2, training.update(2), cheat, 4)
    only_c2_is_out(weighted, "the proof is about another ciphertext")


def test_a_proof_under_another_weight_is_left_out_by_name(
    weighted: World, training: Training
) -> None:
    def cheat(sent: Any, opening: Any) -> bytes:
        with pytest.raises(InvalidInput, match="does not encrypt"):
            training.proof(sent, opening, fork[0], fork[-1], weight=2)
        made = weighted.scheme.start(1, np.append(training.update(2) * 2, 2))
        own = weighted.scheme.sent(1, made.ciphertext, made.check(bytes(32)), bytes(32))
        return training.prove(2, weight=2)(own, made.opening())

    fork = training.forks[2]
    commit(weighted, 2, training.update(2), cheat, 3)
    only_c2_is_out(weighted, "the proof is about another ciphertext")


def test_one_update_goes_in_under_one_weight(weighted: World, training: Training) -> None:
    client, update = weighted.clients[1], {"w": training.update(1)}
    place = (weighted.session, weighted.scheme, weighted.board)
    with pytest.raises(InvalidInput, match="there is one a round"):
        client.encrypt(*place, 1, update, 3, prove=training.prove(1, weight=3))
    with pytest.raises(InvalidInput, match="Train on, and send a new one"):
        client.encrypt(*place, 2, update, 3, prove=training.prove(1, weight=3))
    commit(weighted, 2, training.update(1), training.prove(1, weight=3), 3)
    only_c2_is_out(weighted, "another user than the rule has for it")


def test_a_corrupt_holder_cannot_shift_the_sum_of_proven_weights(
    weighted: World, training: Training
) -> None:
    commit(weighted, 2, training.update(2), training.prove(2, weight=4), 4)
    weighted.until(PARTIAL)
    forged_part(weighted, *active(weighted)[:2], VALUES, 6)
    with pytest.raises(VerificationError, match="sum of weights is 13, of 3 proven ones"):
        open_sum(weighted.round(), weighted.scheme)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"max_weight": 2}, "weights of up to 4"),
        ({"max_weight": 1, "tensors": (Tensor("w", (VALUES + 1,)),)}, "weights of up to 4"),
        ({"value_bound": BOUND - 1}, "16 signed bits"),
        ({"tensors": (Tensor("w", (VALUES + 1,)),)}, "14 values, weight included"),
    ],
)
def test_a_session_and_its_rule_agree_or_no_key_holder_serves(
    weighted: World, changes: dict[str, Any], reason: str
) -> None:
    altered = weighted.altered(**changes)
    for use in (weighted.rule.check_session, lambda s: replace(weighted.holders[0], session=s)):  # type: ignore[union-attr]
        with pytest.raises(InvalidInput, match=reason):
            use(altered)


def test_sums_of_weighted_values_cannot_overflow(weighted: World) -> None:
    """Twice the clients share the same bits: the parameters leave no room for these proofs."""
    rule = weighted.rule
    assert isinstance(rule, InputRule)
    narrow = {**weighted.session.parameters, "clients": 40}
    with pytest.raises(InvalidInput, match="bits times 4 reach past"):
        rule.check_session(weighted.altered(parameters=narrow))
    renamed = replace(rule, users={"stranger": 1})
    with pytest.raises(InvalidInput, match="users of other clients"):
        renamed.check_session(weighted.session)


def test_a_base_that_follows_moves_with_the_sessions_sums(
    training: Training,
) -> None:
    """Round 2 starts from the base model and the mean of round 1; who stays behind is left out."""
    root, rule = fast_folder(), training.rule

    def follows(given: Mapping[str, Any]) -> InputRule:
        made = rule(given)
        assert made.base is not None
        return replace(made, base=replace(made.base, follows=True))

    world = World(
        root / "world", 3, 3, 2, tensors=(Tensor("w", (VALUES,)),), bound=BOUND, rule=follows
    )
    for i in range(3):
        commit(world, i, training.update(i), training.prove(i))
    with pytest.raises(InvalidInput, match="round 1 is neither opened nor aborted"):
        rule_at(world.rule, world.session, world.scheme, world.round().view, 2)
    total = world.open().values
    mean = np.floor(total / 3 + 0.5).astype(np.int64).reshape(HEAD.shape)
    moved = rule_at(world.rule, world.session, world.scheme, world.round().view, 2)
    assert isinstance(moved, InputRule)
    assert moved.digest == world.session.inputs
    assert applied(moved, world.round(), world.scheme).tolist() == mean.tolist()
    begun = [[fork[0]] for fork in training.forks]
    forks = [training.then(training.apply_to(fork, mean), [2, 0]) for fork in begun[:2]]
    forks.append(training.then(begun[2], [2, 0]))
    for i, start in enumerate((1, 1, 0)):
        update = difference(forks[i][start], forks[i][-1])
        body = partial(late_body, training, forks[i], start)
        world.clients[i].encrypt(
            world.session, world.scheme, world.board, 2, {"w": update}, prove=body
        )
    world.until(SET, 2)
    (entry,) = world.round(2).proposal(SET).body["excluded"]
    assert entry["client"] == world.keyid(2)
    assert "other aggregates than the rule's base" in entry["reason"]
    world.holders[0].cosign(world.board, 2, SET)
    shutil.rmtree(root, ignore_errors=True)


def late_body(
    training: Training, fork: Sequence[Any], start: int, sent: Any, opening: Any
) -> bytes:
    return input_bytes(training.proof(sent, opening, fork[start], fork[-1]), fork)


def test_an_aborted_round_moves_no_base(base: World, training: Training) -> None:
    folder = fast_folder()
    world = base.copy(folder / "world")
    assert isinstance(world.rule, InputRule)
    assert world.rule.base is not None
    moving = replace(world.rule, base=replace(world.rule.base, follows=True))
    world.aggregator.abort(1, "a test")
    view = world.round().view
    found = rule_at(moving, world.session, world.scheme, view, 2)
    assert isinstance(found, InputRule)
    assert found.base == moving.base
    assert was_aborted(world.session, view, 1, before=2)
    assert was_aborted(world.session, view, 1, before=3)
    world.board.put(2, "closed.certificate", view.entry(0))
    assert not was_aborted(world.session, view, 1, before=2)
    # Round 2 began from its sum: an abort that comes later takes it from no later base either.
    assert not was_aborted(world.session, view, 1, before=3)
    (world.board.round_path(1, "abort")).write_bytes(b"{}")
    with pytest.raises(InvalidInput):
        rule_at(moving, world.session, world.scheme, view, 2)
    shutil.rmtree(folder, ignore_errors=True)
