"""Sessions of few and small values: coordinates that all share, residuals that nothing loses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from federated_support import World, fast_folder

from zkai.errors import InvalidInput, VerificationError
from zkai.federated import client as client_module
from zkai.federated.compression import Compression
from zkai.federated.coordinates import coordinates_bytes, coordinates_of
from zkai.federated.messages import PARTIAL, SET
from zkai.federated.noise import Privacy
from zkai.federated.residual import Rounded, round_off, unsent
from zkai.federated.schemes import choose_parameters
from zkai.federated.session import RLWE, Session
from zkai.federated.update import COORDINATES, mean, unflatten
from zkai.he.compression import shared_coordinates
from zkai.he.quantise import clip_norm, rounded_norm, squared_norm
from zkai.he.rlwe import RlweParameters

KEEP, LEVELS, REAL = 3, 127, 0.5
COMPRESSION = Compression(repr(REAL), KEEP)
COUNT = 8


def real(i: int, number: int = 1) -> dict[str, Any]:
    """Client i's update of a round."""
    source = np.random.default_rng(100 * number + i)
    return {"w": source.uniform(-0.2, 0.2, (3, 2)), "b": source.uniform(-0.2, 0.2, 2)}


def flat(update: dict[str, Any]) -> Any:
    return np.concatenate([update["w"].ravel(), update["b"].ravel()])


@pytest.fixture(scope="module")
def base() -> Iterator[World]:
    root = fast_folder()
    yield World(
        root / "world", 3, 3, 2, rounds=3, max_weight=4, bound=LEVELS, compression=COMPRESSION
    )
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def world(base: World) -> Iterator[World]:
    folder = fast_folder()
    yield base.copy(folder / "world")
    shutil.rmtree(folder, ignore_errors=True)


def commit(world: World, i: int, number: int = 1, weight: int = 1, update: Any = None) -> None:
    given = real(i, number) if update is None else update
    world.clients[i].encrypt(world.session, world.scheme, world.board, number, given, weight)


def kept(world: World, i: int, number: int = 1) -> Rounded:
    name = f"{world.session.id.hex()[:32]}-{number}.npz"
    return Rounded.read(world.root / f"c{i}" / "compressed" / name)


def opened(world: World, number: int = 1) -> tuple[dict[str, Any], int]:
    """Return a round's mean, and its weight."""
    values = world.open(number).values
    total = unflatten(world.session, values)
    total[COORDINATES] = coordinates_of(world.round(number))
    return mean(world.session, total, len(world.clients)), int(values[-1])


def test_two_rounds_and_the_residuals_are_all_that_was_trained(world: World) -> None:
    """What is not in the sums is in the residuals, to the last bit that floats have."""
    weights, seen, total = (1, 2, 4), [], np.zeros(COUNT)
    for number in (1, 2):
        for i, weight in enumerate(weights):
            commit(world, i, number, weight)
        found, weight = opened(world, number)
        assert weight == sum(weights)
        seen.append(coordinates_of(world.round(number)))
        total += flat(found) * weight
    left = sum(w * kept(world, i, 2).residual for i, w in enumerate(weights))
    trained = sum(w * flat(real(i, n)) for i, w in enumerate(weights) for n in (1, 2))
    np.testing.assert_allclose(total + left, trained, atol=1e-12)
    assert seen[0].tolist() == [0, 1, 2]
    assert len(set(seen[1].tolist()) & {0, 1, 2}) == KEEP - 1
    assert not list((world.root / "c0" / "compressed").glob("*-1.npz"))
    assert all(p.stat().st_mode & 0o077 == 0 for p in (world.root / "c0").rglob("*.npz"))


def test_error_feedback_brings_every_value_into_the_sums(world: World) -> None:
    """A constant update of 0.3 at every place, 3 of 8 places a turn: nothing is left behind."""
    residual, sent, given = np.zeros(COUNT), np.zeros(COUNT), np.full(COUNT, 0.03)
    session, turns = replace(world.session, max_weight=1), 48
    for turn in range(turns):
        coordinates = shared_coordinates(COUNT, KEEP, turn, sent if turn else None)
        made = round_off(session, given, residual, coordinates, 1)
        residual, before = made.residual, sent.copy()
        sent[coordinates] += made.integers * REAL / LEVELS
        assert (sent != before).sum() <= KEEP
    np.testing.assert_allclose(sent + residual, turns * given, atol=1e-9)
    assert np.abs(residual).max() < 1.0
    without = KEEP / COUNT * turns * 0.03
    assert sent.mean() > 2 * without


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("where", ["_write", "_make"])
def test_a_residual_is_added_once_whenever_the_client_is_killed(
    world: World, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(world, 0)
    world.session.check_round(2)
    before = kept(world, 0).residual

    def killed(*args: Any) -> None:
        raise Killed

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(client_module.ClientParty, where, killed)
            with pytest.raises(Killed):
                commit(world, 0, 2)
    rounded = kept(world, 0, 2)
    commit(world, 0, 2)
    after = kept(world, 0, 2)
    if where == "_make":
        assert after.integers.tolist() == rounded.integers.tolist()
    np.testing.assert_allclose(unsent(world.session, after), flat(real(0, 2)) + before, atol=1e-12)
    commit(world, 0, 2)
    assert kept(world, 0, 2).integers.tolist() == after.integers.tolist()


def test_an_update_goes_into_one_round_and_another_does_not_take_its_place(world: World) -> None:
    commit(world, 0)
    with pytest.raises(InvalidInput, match="there is one a round"):
        commit(world, 0, 1, 1, real(1))
    with pytest.raises(InvalidInput, match="Train on, and send a new one"):
        commit(world, 0, 2, 1, real(0, 1))
    commit(world, 0, 2)
    with pytest.raises(InvalidInput, match="round 1 is over for it"):
        commit(world, 0)


def test_what_an_aborted_round_took_comes_back(world: World) -> None:
    commit(world, 0)
    first = kept(world, 0)
    world.aggregator.abort(1, "a test")
    commit(world, 0, 2)
    wanted = flat(real(0, 1)) + flat(real(0, 2))
    np.testing.assert_allclose(unsent(world.session, kept(world, 0, 2)), wanted, atol=1e-12)
    assert np.abs(first.residual - flat(real(0, 1))).max() > 0


def test_values_that_may_have_been_opened_do_not_come_back(world: World) -> None:
    """An abort after holders gave parts: t - 1 corrupt ones know the sum with one honest part."""
    for i in range(3):
        commit(world, i)
    world.until(PARTIAL)
    world.serve([0])
    world.aggregator.abort(1, "a cheat has the sum")
    (world.board.round_path(1, "active.certificate")).unlink()
    left = kept(world, 0).residual
    commit(world, 0, 2)
    wanted = flat(real(0, 2)) + left
    np.testing.assert_allclose(unsent(world.session, kept(world, 0, 2)), wanted, atol=1e-12)


def use_list(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(client_module, "coordinates_bytes", lambda coordinates: data)


BAD = {
    "longer": (coordinates_bytes(np.arange(KEEP + 1)), "larger than the 24 bytes"),
    "shorter": (coordinates_bytes(np.arange(KEEP - 1)), "expected 24 bytes, got 16"),
    "twice": (coordinates_bytes(np.array([0, 1, 1])), "indices of the update, ascending"),
    "outside": (coordinates_bytes(np.array([0, 1, COUNT])), "indices of the update, ascending"),
    "negative": (coordinates_bytes(np.array([-1, 1, 2])), "indices of the update, ascending"),
}


@pytest.mark.parametrize("what", BAD)
def test_lists_of_indices_that_are_none_are_refused(
    world: World, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All clients agree on it; the key holders do not sign."""
    data, reason = BAD[what]
    use_list(monkeypatch, data)
    for i in range(3):
        commit(world, i)
    world.until(SET)
    with pytest.raises((VerificationError, InvalidInput), match=reason):
        world.holders[0].cosign(world.board, 1, SET)


def test_a_client_with_other_coordinates_is_left_out_by_name(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(world, 0)
    commit(world, 1)
    with monkeypatch.context() as patch:
        use_list(patch, coordinates_bytes(np.array([0, 1, 5])))
        commit(world, 2)
    world.until(SET)
    (entry,) = world.round().proposal(SET).body["excluded"]
    assert entry["client"] == world.keyid(2)
    assert "other coordinates than most" in entry["reason"]
    world.holders[0].cosign(world.board, 1, SET)


def test_holders_refuse_a_set_of_different_coordinates(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zkai.federated import judging

    commit(world, 0)
    commit(world, 1)
    with monkeypatch.context() as patch:
        use_list(patch, coordinates_bytes(np.array([0, 1, 5])))
        commit(world, 2)
    monkeypatch.setattr(judging, "Counter", AllAgree)
    world.until(SET)
    monkeypatch.undo()
    assert not world.round().proposal(SET).body["excluded"]
    with pytest.raises(VerificationError, match="different coordinates"):
        world.holders[0].cosign(world.board, 1, SET)


class AllAgree:
    """What a careless aggregator counts: every list is the one of most."""

    def __init__(self, listed: Any) -> None:
        self.listed = listed

    def most_common(self, n: int) -> list[tuple[Any, int]]:
        return [(self, n)]

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def test_sessions_that_contradict_themselves_are_refused(world: World) -> None:
    with pytest.raises(InvalidInput, match="ask for proofs or for compression"):
        world.altered(inputs=bytes(32))
    with pytest.raises(InvalidInput, match="an update has 8 values"):
        world.altered(compress={"bound": "0.5", "keep": 9})
    for bad in ({"bound": 0.5, "keep": 1}, {"bound": "0", "keep": 1}, {"bound": "nan", "keep": 1},
                {"bound": "0.50", "keep": 1}, {"bound": "0.5", "keep": 0},
                {"bound": "0.5", "keep": True}, {"bound": "0.5"}):  # fmt: skip
        with pytest.raises(InvalidInput, match="compression"):
            world.altered(compress=bad)
    assert Session.from_bytes(world.session.to_bytes()) == world.session
    with pytest.raises(InvalidInput, match="expected real numbers"):
        commit(world, 0, 1, 1, {"w": np.zeros((2, 3)), "b": np.zeros(2)})
    with pytest.raises(InvalidInput, match="value 7 of the update is nan"):
        commit(world, 0, 1, 1, {"w": np.zeros((3, 2)), "b": np.array([0, np.nan])})


def test_a_damaged_residual_is_named(world: World) -> None:
    commit(world, 0)
    (path,) = (world.root / "c0" / "compressed").iterdir()
    whole = path.read_bytes()
    for data in (b"", whole[:-30], b"PK" + whole[:100]):
        path.write_bytes(data)
        with pytest.raises(InvalidInput, match=path.name):
            commit(world, 0, 2)
    np.savez(Path(path), integers=np.zeros(3), coordinates=np.zeros(3, int), residual=np.zeros(8),
             update=np.zeros(32, np.uint8))  # fmt: skip
    with pytest.raises(InvalidInput, match="not a round's rounding"):
        commit(world, 0, 2)


def test_with_noise_update_and_residual_are_clipped_together(world: World) -> None:
    """The noise hides a norm; the residual cannot bring more than that into a sum."""
    norm = 40_000
    noise = Privacy(norm, 10**6, 2, "1", "0.00001")
    session = world.altered(privacy=noise.fields)
    coordinates, residual = np.arange(KEEP), np.full(COUNT, 5.0)
    for weight in (1, 3):
        made = round_off(session, np.full(COUNT, 5.0), residual, coordinates, weight)
        assert weight**2 * (squared_norm(made.integers) + 1) <= norm
        assert squared_norm(made.integers) > 100
    small = world.altered(privacy=replace(noise, norm=16).fields)
    with pytest.raises(InvalidInput, match="send fewer values, or agree on a larger norm"):
        round_off(small, np.full(COUNT, 5.0), residual, coordinates, 4)


def test_the_norm_to_clip_to_is_the_longest_that_rounding_keeps() -> None:
    for within, count in ((10_000, 50), (500, 8), (10**12, 10**6)):
        found = clip_norm(within, count)
        assert rounded_norm(found, count) <= within < rounded_norm(found * 1.001 + 1e-3, count)
    with pytest.raises(InvalidInput, match="values takes a squared norm"):
        clip_norm(10, 1000)


def test_eight_bits_take_three_fifths_of_the_bytes() -> None:
    """Ten clients: 12 bits a sum, five values a coefficient, where 20 bits leave room for three."""
    each = {}
    for levels in (LEVELS, (1 << 19) // 10 - 1):
        chosen = choose_parameters(RLWE, 10, levels, 3, 5)
        parameters = RlweParameters.from_json(dict(chosen))
        each[levels] = parameters.ciphertext_bytes(10**6) / 10**6
    small, large = each.values()
    assert (round(small, 1), round(large, 1)) == (2.7, 4.5)
