"""Sums with noise: who adds it, what a record says of it, and who refuses once it is spent."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from federated_support import BOUND, World, fast_folder

from zkai.errors import InvalidInput, VerificationError
from zkai.federated.messages import SET
from zkai.federated.noise import Privacy, decimal, plan, spent_record
from zkai.federated.opening import verify_aggregate
from zkai.federated.receipts import aggregate_receipt, check_aggregate_receipt
from zkai.federated.schemes import load_scheme
from zkai.federated.session import Session
from zkai.he.privacy import Budget, epsilon_spent
from zkai.receipt.signer import generate

pytest.importorskip("dp_accounting")

CLIENTS, VALUES = 3, 8


@pytest.fixture
def folder() -> Iterator[Path]:
    made = fast_folder()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@lru_cache
def one_sum(sums: int = 1) -> Privacy:
    """Noise for `sums` sums of updates of the test's bound at epsilon 1."""
    return plan(CLIENTS, 2, VALUES, sums, 1.0, 1e-5, VALUES * BOUND**2)[0]


def private_world(folder: Path, noise: Privacy | None = None) -> World:
    return World(folder, CLIENTS, 3, 2, percent=100, noise=noise or one_sum())


def test_a_private_sum_carries_every_clients_noise(folder: Path) -> None:
    world = private_world(folder)
    noise = world.session.noise
    assert noise is not None
    world.close()
    opened = world.open()
    added = opened.values - np.array(world.expected(range(CLIENTS)))
    assert 0 < np.abs(added).max() <= CLIENTS * noise.noise_bound
    # The standard deviation, within a factor that 8 samples leave with overwhelming probability.
    assert 0.1 < np.sqrt((added**2).mean() / (CLIENTS * noise.variance)) < 4
    assert opened.statement["privacy"] == {**noise.fields, "spent_epsilon": decimal(
        float(opened.statement["privacy"]["spent_epsilon"])
    )}  # fmt: skip
    assert 0.99 < float(opened.statement["privacy"]["spent_epsilon"]) <= 1.0
    verify_aggregate(world.round(), world.scheme, opened.to_bytes(), opened.values)
    receipt = aggregate_receipt(opened, [generate()])
    assert receipt.predicate["privacy"]["mechanism"] == "discrete-gaussian"
    assert receipt.predicate["privacy"]["epsilon"] == "1"
    check_aggregate_receipt(receipt, opened.to_bytes())


def test_a_retry_adds_no_second_noise(folder: Path) -> None:
    world = private_world(folder)
    client = world.clients[0]
    made = [
        client.encrypt(world.session, world.scheme, world.board, 1, world.update(0))
        for _ in range(2)
    ]
    assert made[0].to_bytes() == made[1].to_bytes()
    budget = client.budget()
    assert budget is not None
    assert len(budget.releases) == 1


def test_a_client_stops_when_its_budget_is_spent(folder: Path) -> None:
    """In the session's next round, and in the next session."""
    world = private_world(folder)
    world.close()
    world.open()
    with pytest.raises(VerificationError, match="privacy budget is spent"):
        world.commit(number=2)
    other = replace(world.session, nonce=bytes(32))
    with pytest.raises(VerificationError, match="privacy budget is spent"):
        world.clients[0].encrypt(other, load_scheme(other), world.board, 1, world.update(0, 2))
    raised = world.clients[0].set_budget(3.0, 1e-5)
    assert 0.99 < raised.spent <= 1.0
    world.commit([0], number=2)
    assert len((world.clients[0].budget() or Budget()).releases) == 2


def test_holders_sign_no_set_once_the_budget_is_spent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients that raise their own budgets, and an aggregator that does not count."""
    world = private_world(folder)
    for client in world.clients:
        client.set_budget(9.0, 1e-5)
    world.close()
    world.open()
    world.commit(number=2)
    world.until("reveal", 2)
    world.reveal(number=2)
    with pytest.raises(VerificationError, match="privacy budget is spent: sum 2"):
        world.until("opened", 2)
    careless = {**one_sum().fields, "spent_epsilon": "1"}
    monkeypatch.setattr("zkai.federated.judging.spent_record", lambda *_: careless)
    status = world.advance(2)
    assert status.phase.startswith(SET)
    with pytest.raises(VerificationError, match="privacy budget is spent: sum 2"):
        world.holders[0].cosign(world.board, 2, SET)


def test_a_set_that_says_less_than_was_spent_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = private_world(folder, one_sum(4))
    world.close()
    monkeypatch.setattr(
        "zkai.federated.judging.spent_record",
        lambda *arguments: {**spent_record(*arguments), "spent_epsilon": "0.1"},  # type: ignore[dict-item]
    )
    world.until(SET)
    with pytest.raises(VerificationError, match="`privacy` is not what the session"):
        world.holders[0].cosign(world.board, 1, SET)


def test_updates_beyond_the_norm_are_refused(folder: Path) -> None:
    noise = replace(one_sum(), norm=5 * BOUND**2)
    world = private_world(folder, noise)
    update = {name: np.full(part.shape, BOUND) for name, part in world.update(0).items()}
    with pytest.raises(InvalidInput, match=r"squared norm is 80000.* hides 50000"):
        world.clients[0].encrypt(world.session, world.scheme, world.board, 1, update)


def test_clients_that_leave_their_noise_out_are_counted_on(folder: Path) -> None:
    """Epsilon is for two honest clients of three: the third's noise is not relied upon."""
    noise = one_sum()
    two = epsilon_spent([noise.release(VALUES)])
    three = epsilon_spent([replace(noise, honest=3).release(VALUES)])
    assert three < 0.9 * two <= 0.9


def test_sessions_state_noise_that_fits(folder: Path) -> None:
    session = private_world(folder).session
    assert Session.from_bytes(session.to_bytes()) == session
    fields: dict[str, Any] = dict(session.privacy or {})
    for change, message in (
        ({"honest": 4}, "4 honest clients"),
        ({"honest": True}, "integers"),
        ({"variance": 0}, "variance"),
        ({"norm": 0}, "norm"),
        ({"norm": 1 << 60}, "norm"),
        ({"epsilon": 1}, "epsilon"),
        ({"epsilon": "0"}, "epsilon"),
        ({"epsilon": "1e0"}, "epsilon"),
        ({"epsilon": "1.0"}, "epsilon"),
        ({"epsilon": "nan"}, "epsilon"),
        ({"delta": "1"}, "delta"),
        ({"unit": "example"}, "unit client"),
        ({"mechanism": "laplace"}, "discrete-gaussian"),
        ({"more": 1}, "more"),
    ):
        with pytest.raises(InvalidInput, match=message):
            replace(session, privacy=fields | change)
    with pytest.raises(InvalidInput, match="for proofs or for privacy"):
        replace(session, inputs=bytes(32))
    louder = replace(session, privacy=fields | {"variance": fields["variance"] * 100})
    with pytest.raises(InvalidInput, match="can overflow"):
        load_scheme(louder)


def test_a_record_counts_every_sum() -> None:
    noise = one_sum(4)
    spent = [
        float((spent_record(noise.fields, VALUES, n) or {})["spent_epsilon"]) for n in range(1, 5)
    ]
    assert spent == sorted(set(spent))
    assert spent[-1] <= 1.0
    with pytest.raises(VerificationError, match="begin no further round"):
        spent_record(noise.fields, VALUES, 5)
    assert spent_record(None, VALUES, 5) is None
