"""Rounds of aggregation: exact sums, weights, clusters, and losing anyone at any moment."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from federated_support import TENSORS, World, fast_folder

from zkai.errors import InvalidInput, VerificationError
from zkai.federated.aggregator import OPENED
from zkai.federated.messages import ACTIVE, CLOSED, SET
from zkai.federated.opening import open_sum, verify_aggregate
from zkai.federated.update import unflatten


@pytest.fixture
def folder() -> Iterator[Path]:
    made = fast_folder()
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_a_weighted_round_in_clusters_opens_to_the_weighted_sum(folder: Path) -> None:
    world = World(folder, 4, 4, 2, max_weight=9, clusters=["east", "east", "west", None])
    weights = [1, 9, 3, 5]
    for i, weight in enumerate(weights):
        world.commit([i], weight=weight)
    world.advance()
    world.serve()
    world.advance()
    world.reveal()
    opened = world.open()
    found = unflatten(world.session, opened.values)
    assert found["samples"] == sum(weights)
    for tensor in TENSORS:
        parts = [w * world.update(i)[tensor.name] for i, w in enumerate(weights)]
        assert np.array_equal(found[tensor.name], sum(parts))
    chosen = world.round().require(SET)
    assert [c["name"] for c in chosen.body["clusters"]] == ["east", "west"]
    assert opened.statement["bound"] is False
    assert opened.statement["clients"] == 4
    verify_aggregate(world.round(), world.scheme, opened.to_bytes(), opened.values)


def test_two_rounds_follow_each_other(folder: Path) -> None:
    world = World(folder, 3, 3, 2)
    world.close()
    world.opens_to(range(3))
    with pytest.raises(VerificationError, match="the key of round 1 was deleted"):
        world.holders[0].keys.read(1)
    world.close(number=2)
    world.opens_to(range(3), number=2)
    with pytest.raises(VerificationError, match="round 1 is over"):
        world.holders[0].cosign(world.board, 1, CLOSED)


def test_a_round_needs_the_one_before(folder: Path) -> None:
    world = World(folder, 3, 3, 2)
    with pytest.raises(InvalidInput, match="round 1 is neither opened nor aborted"):
        world.advance(2)
    world.aggregator.abort(1, "nobody came")
    assert world.advance(2).phase == "commitment"
    with pytest.raises(VerificationError, match="round 1 was aborted"):
        world.advance(1)
    with pytest.raises(InvalidInput, match="rounds 1 to 2"):
        world.advance(3)


def test_everything_is_idempotent_and_survives_a_restart(folder: Path) -> None:
    """After every step all processes begin anew, and do everything twice: not a byte changes."""
    world = World(folder, 3, 3, 2)
    world.commit()
    world.commit()

    def again() -> None:
        before = {p: p.read_bytes() for p in world.board.root.rglob("*") if p.is_file()}
        world.aggregator.close()
        world.aggregator = world.open_aggregator()
        world.holders = [world.open_holder(j) for j in range(3)]
        world.advance()
        for holder in world.holders:
            for name in [
                p for p in before if holder.key.keyid in p.name and "commit" not in str(p)
            ]:
                name.unlink()
            holder.step(world.board, 1)
        for path, data in before.items():
            if "record" not in path.parts:
                assert path.read_bytes() == data, path

    for reveals in (False, False, True, False, False, False):
        world.advance()
        world.serve()
        if reveals:
            world.reveal()
            world.reveal()
        again()
    world.opens_to(range(3))


PHASES = ("commitment", "closed", "reveal", "dealing", "set", "active", "partial")


@pytest.fixture(scope="module")
def stages() -> Iterator[dict[str, World]]:
    """A round of 4 clients and 2-of-4 holders, just before each phase: q is 3."""
    root = fast_folder()
    world = World(root / "world", 4, 4, 2)
    found = {"commitment": world.copy(root / "commitment")}
    world.commit()
    world.advance()
    found["closed"] = world.copy(root / "closed")
    world.serve()
    world.advance()
    found["reveal"] = world.copy(root / "reveal")
    world.reveal()
    world.advance()
    for phase in ("dealing", "set", "active", "partial"):
        found[phase] = world.copy(root / phase)
        world.serve()
        world.advance()
    yield found
    shutil.rmtree(root, ignore_errors=True)


def go_on(world: World, clients: list[int], holders: list[int]) -> str:
    """Go on with those who live, and return how the round ends."""
    for _ in range(8):
        try:
            status = world.advance()
        except VerificationError as error:
            return str(error)
        if status.phase == OPENED:
            return OPENED
        if status.phase == "commitment":
            world.commit(clients)
        if status.phase == "reveal":
            world.reveal(clients)
        world.serve(holders)
    return status.phase


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("dead", [("client", 1), ("client", 3), ("holder", 1), ("holder", 2)])
def test_whoever_dies_the_sum_is_exact_or_nothing_is_opened(
    stages: dict[str, World], folder: Path, phase: str, dead: tuple[str, int]
) -> None:
    """Every phase, every kind of loss: the last ones of their kind are gone from then on."""
    who, count = dead
    world = stages[phase].copy(folder / "world")
    clients, holders = list(range(4)), list(range(4))
    if who == "client":
        clients = clients[: 4 - count]
    else:
        holders = holders[count:]
    end = go_on(world, clients, holders)
    gone_before_their_bodies = who == "client" and phase in ("commitment", "closed", "reveal")
    enough = not gone_before_their_bodies or len(clients) >= world.session.least
    if enough and (who == "client" or count == 1 or phase == "partial"):
        assert end == OPENED
        opened = world.open()
        assert opened.values.tolist() == world.expected(
            clients if gone_before_their_bodies else range(4)
        )
        assert opened.statement["checked"] == (len(holders) >= 3)
        return
    assert end != OPENED
    with pytest.raises((VerificationError, InvalidInput)):
        open_sum(world.round(), world.scheme)
    world.aggregator.abort(1, "too few are left")
    held = len(world.board.listed(1, "partials"))
    assert held < world.session.threshold
    for holder in map(world.open_holder, range(4)):
        with pytest.raises(VerificationError, match="aborted"):
            holder.partial(world.board, 1)
        for step in (CLOSED, SET, ACTIVE):
            with pytest.raises(VerificationError, match="aborted"):
                holder.cosign(world.board, 1, step)
    assert len(world.board.listed(1, "partials")) == held


def test_too_few_clients_end_a_round(folder: Path) -> None:
    world = World(folder, 4, 3, 2, percent=75)
    world.commit([0, 1])
    assert world.advance().phase == "commitment"
    world.commit([2])
    world.advance()
    world.serve()
    world.advance()
    world.reveal([0, 1])
    status = world.advance()
    assert (status.phase, status.waiting) == ("reveal", ("c2",))
    world.reveal([2])
    world.opens_to(range(3))
