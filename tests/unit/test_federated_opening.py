"""The checked opening: a wrong part is seen by everybody, and its holder is named."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from federated_support import World, fast_folder

from zkai.encoding import hex32, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.messages import ACTIVE, PARTIAL, sign_message
from zkai.federated.opening import Opened, open_sum, verify_aggregate
from zkai.federated.receipts import aggregate_receipt, check_aggregate_receipt
from zkai.federated.schemes import RlweScheme
from zkai.he.rlwe import RING
from zkai.he.shamir import modular_weights
from zkai.receipt.jcs import decode, encode
from zkai.receipt.signer import generate
from zkai.receipt.statement import Facts, issue


@pytest.fixture(scope="module")
def bases() -> Iterator[dict[str, World]]:
    """2-of-4 and 3-of-5 holders that are about to open the sum of three clients."""
    root, found = fast_folder(), {}
    for threshold, holders in ((2, 4), (3, 5)):
        world = World(root / f"{threshold}", 3, holders, threshold)
        world.close()
        world.until(PARTIAL)
        found[f"{threshold} of {holders}"] = world
    yield found
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(params=["2 of 4", "3 of 5"])
def world(request: pytest.FixtureRequest, bases: dict[str, World]) -> Iterator[World]:
    folder = fast_folder()
    yield bases[request.param].copy(folder / "world")
    shutil.rmtree(folder, ignore_errors=True)


def lie(world: World, j: int, steps: int, points: Sequence[int] = (), *, by: int = 0) -> None:
    """Hand in a part that is off in one coefficient: by `steps` of the sum times a polynomial that
    is 1 at 0 and 0 at `points`, and by `by`."""
    assert isinstance(world.scheme, RlweScheme)
    holder = world.holders[j]
    said = holder.partial(world.board, 1)
    data = world.board.body(1, said.digest("body"), world.scheme.partial_bytes, "part")
    part = RING.unpack(data[80:], (len(data) - 80) // RING.polynomial_bytes, "part")
    weight = modular_weights(RING, (0, *points), j + 1)[0]
    for row, q in enumerate(RING.primes):
        off = steps * world.scheme.parameters.delta * int(weight[row]) + by
        part[0, row, 0] = (int(part[0, row, 0]) + off) % q
    body = hex32(world.board.put_body(1, data[:80] + RING.pack(part)))
    forged = sign_message(PARTIAL, {**said.predicate, "body": body}, world.holder_keys[j])
    world.board.put(1, f"partials/{holder.key.keyid}", forged.to_bytes())


def opened(world: World) -> Opened:
    assert world.advance().phase == "opened"
    return open_sum(world.round(), world.scheme)


def named(world: World, opened: Opened, field: str) -> list[int]:
    return sorted(world.session.holder_keyids.index(keyid) for keyid in opened.statement[field])


def test_honest_parts_all_agree_and_the_receipt_says_so(world: World) -> None:
    world.serve()
    found = opened(world)
    assert found.values.tolist() == world.expected(range(3))
    everyone = list(range(len(world.holders)))
    assert (named(world, found, "agreed"), named(world, found, "apart")) == (everyone, [])
    assert found.statement["checked"] is True
    verify_aggregate(world.round(), world.scheme, found.to_bytes(), found.values)
    receipt = aggregate_receipt(found, [generate()])
    assert receipt.predicate["extensions"]["aggregate.checked"] is True
    check_aggregate_receipt(receipt, found.to_bytes())
    altered = encode({**decode(found.to_bytes(), "s"), "checked": False})
    with pytest.raises(VerificationError, match="names a different aggregate"):
        check_aggregate_receipt(receipt, altered)


def test_a_receipt_of_a_malformed_statement_is_refused(world: World) -> None:
    world.serve()
    found = opened(world)
    extensions = aggregate_receipt(found, [generate()]).predicate["extensions"]
    for privacy in ("mechanism", 5, ["epsilon"]):
        said = encode({**found.statement, "privacy": privacy})
        artifacts = {"aggregate": sha256(said), "sum": bytes.fromhex(found.statement["result"][2:])}
        facts = Facts(metering={"clients": 3}, extensions=extensions)
        forged = issue(None, [generate()], kind="aggregation", facts=facts, artifacts=artifacts)
        with pytest.raises(VerificationError, match="no statement about a sum"):
            check_aggregate_receipt(forged, said)


@pytest.mark.parametrize(("steps", "by"), [(1, 0), (0, 1), (-5, 12345)])
def test_a_shifted_part_does_not_shift_the_sum_and_names_its_author(
    world: World, steps: int, by: int
) -> None:
    liar, count, t = 1, len(world.holders), world.session.threshold
    lie(world, liar, steps, by=by)
    world.serve([j for j in range(count) if j != liar])
    found = opened(world)
    assert found.values.tolist() == world.expected(range(3))
    assert named(world, found, "apart") == [liar]
    assert found.statement["checked"] is (count - 1 >= 2 * t - 1)
    verify_aggregate(world.round(), world.scheme, found.to_bytes(), found.values)


def test_with_t_parts_a_shift_is_possible_and_the_statement_says_unchecked(world: World) -> None:
    """And parts that come later contradict it: the statement does not verify any more."""
    t = world.session.threshold
    lie(world, 0, 1, range(2, t + 1))
    world.serve(range(1, t))
    found = opened(world)
    expected = world.expected(range(3))
    assert found.values.tolist() == [expected[0] + 1, *expected[1:]]
    assert found.statement["checked"] is False
    verify_aggregate(world.round(), world.scheme, found.to_bytes(), found.values)
    world.serve()
    later = opened(world)
    assert later.values.tolist() == expected
    assert named(world, later, "apart") == [0]
    with pytest.raises(VerificationError, match="with all parts that are logged, another sum"):
        verify_aggregate(world.round(), world.scheme, found.to_bytes(), found.values)
    verify_aggregate(world.round(), world.scheme, later.to_bytes(), later.values)


def test_a_holder_with_two_parts_in_the_log_is_named_where_nothing_checks_the_sum(
    world: World,
) -> None:
    """Otherwise one log would tell two sums: each board shows another of its parts."""
    t, name = world.session.threshold, f"partials/{world.session.holder_keyids[0]}"
    world.serve(range(t))
    first, part = opened(world), world.board.read(1, name)
    lie(world, 0, 1, range(2, t + 1))
    second, other = opened(world), world.board.read(1, name)
    assert first.values.tolist() == world.expected(range(3)) != second.values.tolist()
    for found, data in ((first, part), (second, other)):
        world.board.put(1, name, data)
        with pytest.raises(VerificationError, match="h0 handed in two parts"):
            verify_aggregate(world.round(), world.scheme, found.to_bytes(), found.values)
    world.serve()
    if len(world.holders) == 2 * t:
        checked = opened(world)
        assert checked.statement["checked"] is True
        verify_aggregate(world.round(), world.scheme, checked.to_bytes(), checked.values)


def test_later_parts_that_agree_leave_an_earlier_statement_true(world: World) -> None:
    t = world.session.threshold
    world.serve(range(t))
    early = opened(world)
    assert early.statement["checked"] is False
    world.serve()
    late = opened(world)
    assert late.statement["checked"] is True
    for found in (early, late):
        verify_aggregate(world.round(), world.scheme, found.to_bytes(), found.values)


def test_a_statement_cannot_claim_a_check_that_was_not(world: World) -> None:
    t, order = world.session.threshold, world.session.holder_keyids
    world.serve(range(t))
    found = opened(world)
    said = decode(found.to_bytes(), "s")
    for change, reason in (
        ({"checked": True}, "checked is not what"),
        ({"checked": True, "agreed": list(order)}, "PARTIAL|partial|cannot be read|not what"),
        ({"agreed": [order[0], *said["agreed"]]}, "do not name holders"),
        ({"agreed": [*said["agreed"], generate().keyid]}, "do not name holders"),
        ({"agreed": said["agreed"][1:]}, "are logged"),
        ({"agreed": said["agreed"][1:], "apart": said["agreed"][:1]}, "is not what the record"),
        ({"agreed": None}, "are logged"),
        ({"agreed": [7]}, "do not name holders"),
        ({"agreed": [[]], "apart": [{}]}, "do not name holders"),
    ):
        with pytest.raises(Exception, match=reason) as caught:
            verify_aggregate(world.round(), world.scheme, encode({**said, **change}), found.values)
        assert caught.type.__module__ == "zkai.errors"


def test_a_part_that_is_not_logged_does_not_count(world: World) -> None:
    """Whoever writes to the board adds nothing to the check, and takes nothing from the sum."""
    t = world.session.threshold
    world.serve(range(t))
    found = opened(world)
    world.holders[t].partial(world.board, 1)  # not logged yet
    junk = world.session.holder_keyids[-1]
    world.board.put(1, f"partials/{junk}", b"junk")
    again = open_sum(world.round(), world.scheme)
    assert again.statement == found.statement


def test_a_holder_that_signed_a_part_before_says_the_same(world: World) -> None:
    """One part a round, whoever asks: a lie is the liar's own."""
    said = world.holders[0].partial(world.board, 1)
    body = world.board.body(1, said.digest("body"), world.scheme.partial_bytes, "part")
    lie(world, 0, 1)
    again = world.open_holder(0).partial(world.board, 1)
    assert again.to_bytes() == said.to_bytes()
    assert world.board.body(1, again.digest("body"), len(body), "part") == body


def test_colluding_holders_below_the_threshold_get_no_check(world: World) -> None:
    """t - 1 of 2t - 1 fit their parts to t - 1 honest ones: what is opened is shifted, an honest
    holder stands apart, and the statement is unchecked. 2 of 4 has one to spare."""
    t, count = world.session.threshold, len(world.holders)
    liars = list(range(count))[-(t - 1) :]
    honest = [j for j in range(count) if j not in liars]
    for j in liars:
        lie(world, j, 1, [i + 1 for i in honest[: t - 1]])
    world.serve(honest)
    expected = world.expected(range(3))
    if count == 2 * t - 1:
        found = opened(world)
        assert found.values.tolist() == [expected[0] + 1, *expected[1:]]
        assert (named(world, found, "apart"), found.statement["checked"]) == ([2], False)
    else:
        found = opened(world)
        assert found.values.tolist() == expected
        assert (named(world, found, "apart"), found.statement["checked"]) == (liars, True)


def test_a_round_whose_parts_are_out_is_not_aborted(world: World) -> None:
    """They are on the board for everyone, though nobody has logged them yet."""
    t = world.session.threshold
    world.serve(range(t))
    with pytest.raises(InvalidInput, match="opened already"):
        world.aggregator.abort(1, "too late")
    assert opened(world).values.tolist() == world.expected(range(3))


def test_a_round_of_which_fewer_parts_are_out_is(world: World) -> None:
    world.serve(range(world.session.threshold - 1))
    said = world.aggregator.abort(1, "in time")
    assert world.aggregator.abort(1, "again").id == said.id
    with pytest.raises(VerificationError, match="aborted"):
        world.holders[-1].partial(world.board, 1)
    with pytest.raises(VerificationError, match="are needed"):
        open_sum(world.round(), world.scheme)


def test_parts_name_the_decision_of_who_opens(world: World) -> None:
    world.serve()
    found = opened(world)
    assert found.statement["active"] == hex32(world.round().require(ACTIVE).id)
    assert np.array_equal(found.values, world.expected(range(3)))
