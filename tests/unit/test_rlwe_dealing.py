"""The dealing check: every way to deal another key, or shares of no polynomial, is noticed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from tests.unit.rlwe_support import HOLDERS, PARAMETERS, ROUND, Client, answers, flipped
from zkai.encoding import Limbs, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.he.client import check_mask
from zkai.he.ring import first
from zkai.he.rlwe import (
    RING,
    Dealing,
    RlweParameters,
    Round,
    check_partial,
    consistent_holders,
    open_share,
    verify_dealings,
)
from zkai.he.wire import Kind, frame, open_polynomials


@pytest.fixture
def clients() -> list[Client]:
    return [Client(seed) for seed in range(3)]


def dealings(clients: Sequence[Client]) -> list[Dealing]:
    return [client.dealing for client in clients]


def check(clients: Sequence[Client], holders: Sequence[int] = HOLDERS) -> None:
    verify_dealings(ROUND, dealings(clients), answers(clients, holders))


def deal_again(client: Client, shares: dict[int, Limbs]) -> None:
    """Replace full shares, and bind the key to the new dealing: what a bad dealer would do."""
    for holder, share in shares.items():
        client.shares[holder - 1] = frame(Kind.SHARE, ROUND, client.name, RING.pack(share), holder)
    client.digest = sha256(b"".join(client.shares))
    client.key._dealing = None
    client.check = client.key.check(client.digest)


def share(client: Client, holder: int) -> Limbs:
    return open_share(ROUND, holder, client.name, client.shares[holder - 1])


# --- sound dealings ------------------------------------------------------------------------------


def test_sound_dealings_pass_alone_and_in_groups(clients: list[Client]) -> None:
    for group in (clients[:1], clients[:2], clients):
        check(group)
        assert consistent_holders(ROUND, dealings(group), answers(group)) == frozenset(HOLDERS)


@pytest.mark.parametrize("holders", [(1, 2, 3), (3, 4, 5), (1, 2, 4, 5)])
def test_fewer_holders_check_what_concerns_them(
    clients: list[Client], holders: tuple[int, ...]
) -> None:
    check(clients, holders)


@pytest.mark.parametrize(("t", "n"), [(2, 2), (4, 7), (5, 10), (10, 10)])
def test_other_committees(t: int, n: int) -> None:
    round_ = Round(RlweParameters.choose(30_000, t, n), bytes(32), 1, 5)
    two = [Client(seed, round_) for seed in range(2)]
    found = answers(two, range(1, n + 1), round_)
    verify_dealings(round_, dealings(two), found)
    worse = {**found, n: flipped(found[n], 100, 5)}
    with pytest.raises(VerificationError):
        verify_dealings(round_, dealings(two), worse)


# --- what a dealer could try ---------------------------------------------------------------------


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_one_bit_of_one_share(clients: list[Client], bit: int) -> None:
    client = clients[1]
    client.shares[3] = flipped(client.shares[3], 90, bit)
    deal_again(client, {})
    with pytest.raises(VerificationError, match=r"holders \[4\] do not fit"):
        check([client])
    with pytest.raises(VerificationError, match=r"holders \[4\] do not fit"):
        check(clients)
    check(clients, (1, 2, 3, 5))


def test_a_seed_that_is_another(clients: list[Client]) -> None:
    clients[0].shares[0] = flipped(clients[0].shares[0], 100)
    deal_again(clients[0], {})
    with pytest.raises(VerificationError, match=r"holders \[1\] do not fit"):
        check(clients[:1])


def test_shares_of_a_polynomial_of_higher_degree(clients: list[Client]) -> None:
    """f + x (x - 1) (x - 2) h: right at 0, 1 and 2, of degree t."""
    client, extra = clients[0], first(RING.uniform(bytes(32), 0))
    changed = {
        j: RING.combine(
            np.stack([share(client, j), extra]), RING.residues([1, j * (j - 1) * (j - 2)])
        )
        for j in (3, 4, 5)
    }
    deal_again(client, changed)
    with pytest.raises(VerificationError):
        check([client])
    with pytest.raises(VerificationError):
        check([client], (1, 3, 4, 5))
    with pytest.raises(VerificationError):
        check([client], (3, 4, 5))


def test_a_polynomial_through_another_key(clients: list[Client]) -> None:
    """Consistent shares, but of a key that the check polynomial is not of."""
    client, other = clients[0], clients[1]
    client.shares = [piece[:48] + client.name + piece[80:] for piece in other.shares]
    deal_again(client, {})
    for holders in ((1, 2, 3), (2, 4, 5), tuple(HOLDERS)):
        with pytest.raises(VerificationError, match="not of the key that encrypts"):
            check([client], holders)
    with pytest.raises(VerificationError):
        check(clients)
    check(clients[1:])


def test_a_deviation_in_one_value_of_the_transform(clients: list[Client]) -> None:
    """The least that a share can be wrong: one residue of one row by one."""
    client = clients[0]
    wrong = share(client, 5)
    wrong[1, 4095] = (int(wrong[1, 4095]) + 1) % RING.primes[1]
    deal_again(client, {5: wrong})
    with pytest.raises(VerificationError, match=r"\[5\]"):
        check(clients)


def test_a_deviation_that_is_small_after_another_mask(clients: list[Client]) -> None:
    """Had A_check been known when the shares were made, a share could be wrong by 1 / A_check."""
    client = clients[0]
    mask = check_mask(ROUND, client.name, client.digest)
    inverse = np.array(
        [[pow(int(x), -1, q) for x in row] for row, q in zip(mask, RING.primes, strict=True)],
        dtype=np.uint64,
    )
    wrong = RING.add(share(client, 5), inverse)
    client.shares[4] = frame(Kind.SHARE, ROUND, client.name, RING.pack(wrong), 5)
    check([client])  # the digest is still that of the other shares: this is the attack
    deal_again(client, {})  # and this is what the protocol has it do
    with pytest.raises(VerificationError, match=r"\[5\]"):
        check([client])


def test_opposite_deviations_of_two_clients_do_not_cancel(clients: list[Client]) -> None:
    one, two = clients[:2]
    extra = first(RING.uniform(bytes(32), 0))
    deal_again(one, {5: RING.add(share(one, 5), extra)})
    deal_again(two, {5: RING.subtract(share(two, 5), extra)})
    for group in ([one], [two], [one, two], clients):
        with pytest.raises(VerificationError, match=r"\[5\]"):
            check(group)


def test_deviations_that_cancel_without_weights_are_noticed(clients: list[Client]) -> None:
    """Two dealers who could fit their deviations to both masks still meet the group's weights."""
    one, two = clients[:2]
    deal_again(one, {})
    deal_again(two, {})
    a, b = (check_mask(ROUND, c.name, c.digest) for c in (one, two))
    for client, other in ((one, b), (two, np.array(RING.primes, np.uint64)[:, None] - a)):
        wrong = RING.add(share(client, 5), other)  # A_1 A_2 - A_2 A_1 = 0
        client.shares[4] = frame(Kind.SHARE, ROUND, client.name, RING.pack(wrong), 5)
    with pytest.raises(VerificationError, match=r"\[5\]"):
        check([one, two])


def test_a_check_polynomial_of_another_dealing_or_client(clients: list[Client]) -> None:
    client, other = clients[:2]
    forged = Dealing(client.name, sha256(b"another dealing"), client.check)
    pieces = {j: [client.shares[j - 1]] for j in HOLDERS}
    found = {j: check_partial(ROUND, j, [forged], pieces[j]) for j in HOLDERS}
    with pytest.raises(VerificationError, match="not of the key that encrypts"):
        verify_dealings(ROUND, [forged], found)
    swapped = Dealing(client.name, client.digest, other.check)
    found = {j: check_partial(ROUND, j, [swapped], pieces[j]) for j in HOLDERS}
    with pytest.raises(InvalidInput, match=r"check polynomial of .*: of key"):
        verify_dealings(ROUND, [swapped], found)


# --- what a holder could try ---------------------------------------------------------------------


def test_a_holder_that_answers_wrongly_stands_apart(clients: list[Client]) -> None:
    found = dict(answers(clients))
    found[3] = flipped(found[3], 5000, 6)
    assert consistent_holders(ROUND, dealings(clients), found) == frozenset({1, 2, 4, 5})
    with pytest.raises(VerificationError, match=r"holders \[3\]"):
        verify_dealings(ROUND, dealings(clients), found)


def test_answers_for_another_group_holder_or_round(clients: list[Client]) -> None:
    found = dict(answers(clients))
    other = answers(clients[:2])
    with pytest.raises(InvalidInput, match="another group"):
        verify_dealings(ROUND, dealings(clients), {**found, 1: other[1]})
    with pytest.raises(InvalidInput, match="another group"):
        verify_dealings(ROUND, dealings(clients[::-1]), found)
    with pytest.raises(InvalidInput, match="not of holder 2"):
        verify_dealings(ROUND, dealings(clients), {**found, 2: found[1]})
    with pytest.raises(InvalidInput, match="3 answers or more"):
        verify_dealings(ROUND, dealings(clients), {1: found[1], 2: found[2]})
    with pytest.raises(InvalidInput, match="distinct"):
        verify_dealings(ROUND, dealings(clients), {**found, 6: found[1]})
    later = Round(PARAMETERS, ROUND.session, 2, ROUND.values)
    with pytest.raises(InvalidInput, match="another round"):
        verify_dealings(later, dealings(clients), found)


def test_groups_that_are_none(clients: list[Client]) -> None:
    with pytest.raises(InvalidInput, match="distinct keys"):
        check([clients[0], clients[0]])
    with pytest.raises(InvalidInput, match="distinct keys"):
        check([])
    with pytest.raises(InvalidInput, match="one share for each"):
        check_partial(ROUND, 1, dealings(clients), [clients[0].shares[0]])
    with pytest.raises(InvalidInput, match="of key"):
        check_partial(ROUND, 1, dealings(clients[:1]), [clients[1].shares[0]])
    with pytest.raises(InvalidInput, match="more dealings"):
        check([Client(seed) for seed in range(5)])


# --- what the answers give away ------------------------------------------------------------------


def test_an_answer_is_the_same_however_often_it_is_asked_for(clients: list[Client]) -> None:
    """So no average of answers comes closer to share A_check; and one serves every set of t."""
    assert answers(clients) == answers(clients)
    assert answers(clients)[1] != answers(clients[::-1])[1]


def test_an_answer_hides_the_share_behind_its_noise(clients: list[Client]) -> None:
    client = clients[0]
    half = 2.0**PARAMETERS.check_smudge_bits
    noises = []
    for j in HOLDERS:
        product = RING.multiply(check_mask(ROUND, client.name, client.digest), share(client, j))
        _, answer = open_polynomials(answers([client])[j], Kind.CHECK_PARTIAL, ROUND, 1, "a", j)
        noise = RING.subtract(first(answer), RING.coefficients(product))
        values = RING.lift(noise)[:, 0].view(np.int64)
        assert 0.9 * half < abs(values).max() <= half
        assert abs((values / half).var() - 1 / 3) < 0.05
        noises.append(values)
    for one, two in combinations(noises, 2):
        assert abs(np.corrcoef(one, two)[0, 1]) < 0.1
