"""The dealing check: every way to deal another key, or shares of no polynomial, is noticed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.unit.rlwe_support import HOLDERS, PARAMETERS, ROUND, Client, answers, flipped
from zkai import native_rlwe as native
from zkai.encoding import Limbs, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.he.client import check_mask
from zkai.he.dealing import _projection
from zkai.he.parameters import CHECK_BITS, MASK_BITS, MASKS
from zkai.he.projection import largest
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
from zkai.he.shamir import modular_weights
from zkai.he.wire import Kind, frame

SEEDS = slice(-192, None)  # six seeds of 32 bytes at the end of a share


@pytest.fixture
def clients() -> list[Client]:
    return [Client(seed) for seed in range(3)]


def dealings(clients: Sequence[Client]) -> list[Dealing]:
    return [client.dealing for client in clients]


def check(clients: Sequence[Client], holders: Sequence[int] = HOLDERS) -> None:
    verify_dealings(ROUND, dealings(clients), answers(clients, holders))


def bind(client: Client) -> None:
    """Bind the key to the shares as they are now: what a bad dealer would do."""
    client.digest = sha256(b"".join(client.shares))
    client.key._dealing = None
    client.check = client.key.check(client.digest)


def share(client: Client, holder: int) -> Limbs:
    return open_share(ROUND, holder, client.name, client.shares[holder - 1]).polynomial


def put(client: Client, holder: int, polynomial: Limbs) -> None:
    """Replace the polynomial in the share of a holder that has a full one."""
    data = client.shares[holder - 1]
    packed = RING.pack(polynomial)
    body = packed + data[80 + len(packed) :]
    client.shares[holder - 1] = frame(Kind.SHARE, ROUND, client.name, body, holder)


def words(client: Client, holder: int) -> Limbs:
    """h_j of a holder's answer."""
    body = answers([client])[holder][80 : 80 + native.polynomial_bytes(MASKS)]
    return first(native.unpack(MASKS, body, 1, "answer"))


# --- sound dealings ------------------------------------------------------------------------------


def test_sound_dealings_pass_alone_and_in_lists(clients: list[Client]) -> None:
    for some in (clients[:1], clients[:2], clients):
        check(some)
        found = consistent_holders(ROUND, dealings(some), answers(some))
        assert found == (frozenset(HOLDERS),) * len(some)


@pytest.mark.parametrize("holders", [(1, 2, 3), (3, 4, 5), (1, 2, 4, 5)])
def test_fewer_holders_check_what_concerns_them(
    clients: list[Client], holders: tuple[int, ...]
) -> None:
    check(clients, holders)


@pytest.mark.parametrize(("t", "n"), [(2, 2), (4, 7), (5, 10), (10, 10)])
def test_other_committees(t: int, n: int) -> None:
    round_ = Round(RlweParameters.choose(30_000, t, n), bytes(32), 1, 5)
    client = Client(0, round_)
    found = answers([client], range(1, n + 1), round_)
    verify_dealings(round_, [client.dealing], found)
    assert len(found[1]) == round_.parameters.answer_bytes()
    with pytest.raises(VerificationError):
        verify_dealings(round_, [client.dealing], {**found, n: flipped(found[n], 100, 5)})


# --- what a dealer could try ---------------------------------------------------------------------


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_one_bit_of_one_share(clients: list[Client], bit: int) -> None:
    client = clients[1]
    client.shares[3] = flipped(client.shares[3], 90, bit)
    bind(client)
    name = client.name.hex()[:16]
    for some in ([client], clients):
        with pytest.raises(VerificationError, match=rf"{name}.*holders \[4\] do not fit"):
            check(some)
    everyone = frozenset(HOLDERS)
    found = consistent_holders(ROUND, dealings(clients), answers(clients))
    assert found == (everyone, everyone - {4}, everyone)
    check(clients, (1, 2, 3, 5))


def test_a_seed_that_is_another(clients: list[Client]) -> None:
    clients[0].shares[0] = flipped(clients[0].shares[0], 100)
    bind(clients[0])
    with pytest.raises(VerificationError, match=r"holders \[1\] do not fit"):
        check(clients[:1])


def test_one_bit_of_a_mask(clients: list[Client]) -> None:
    clients[0].shares[4] = flipped(clients[0].shares[4], 80 + 55296 + 9)
    bind(clients[0])
    with pytest.raises(VerificationError, match=r"holders \[5\] do not fit"):
        check(clients[:1])


@pytest.mark.parametrize("at", range(-192, 0, 32))
def test_a_set_of_holders_with_two_seeds(clients: list[Client], at: int) -> None:
    """Holder 2 has another seed than the others of a set: its part would not fit theirs."""
    client = clients[0]
    data = client.shares[1]
    client.shares[1] = flipped(data, len(data) + at)
    bind(client)
    with pytest.raises(VerificationError, match=r"holders \[2\] do not fit"):
        check([client])
    check([client], [j for j in HOLDERS if j != 2])


def test_hashes_of_seeds_that_no_holder_has(clients: list[Client]) -> None:
    client = clients[0]
    client.check = flipped(client.check, len(client.check) - 1)  # of holders 3, 4 and 5
    with pytest.raises(VerificationError, match=r"not of the key that encrypts"):
        check([client])
    client = clients[1]
    client.check = flipped(client.check, len(client.check) - 1 - 32 * 9)  # of 1, 2 and 3
    with pytest.raises(VerificationError, match="not of the key that encrypts"):
        check([client])
    for at in range(1, 10):
        client.check = flipped(client.check, len(client.check) - 32 * at)
    with pytest.raises(VerificationError, match="not of the key that encrypts"):
        check([client])


def test_shares_of_a_polynomial_of_higher_degree(clients: list[Client]) -> None:
    """f + x (x - 1) (x - 2) h: right at 0, 1 and 2, of degree t."""
    client, extra = clients[0], first(RING.uniform(bytes(32), 0))
    for j in (3, 4, 5):
        scale = RING.residues([1, j * (j - 1) * (j - 2)])
        put(client, j, RING.combine(np.stack([share(client, j), extra]), scale))
    bind(client)
    for holders in (HOLDERS, (1, 3, 4, 5), (3, 4, 5), (1, 2, 3)):
        with pytest.raises(VerificationError):
            check([client], holders)


def test_a_polynomial_through_another_key(clients: list[Client]) -> None:
    """Consistent shares, but of a key that the check polynomial is not of."""
    client, other = clients[0], clients[1]
    client.shares = [piece[:48] + client.name + piece[80:] for piece in other.shares]
    bind(client)
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
    put(client, 5, wrong)
    bind(client)
    with pytest.raises(VerificationError, match=r"\[5\]"):
        check(clients)


def inverse_of(mask: Limbs) -> Limbs:
    rows = [[pow(int(x), -1, q) for x in row] for row, q in zip(mask, RING.primes, strict=True)]
    return np.array(rows, dtype=np.uint64)


def test_a_key_that_is_off_by_what_the_mask_makes_small(clients: list[Client]) -> None:
    """All shares off by 1 / A_check: had the dealer known A_check, the check would hold."""
    client = clients[0]
    mask = check_mask(ROUND, client.name, client.digest)
    threshold = PARAMETERS.threshold
    free = [share(client, j) for j in range(1, threshold)]
    key = RING.combine(np.stack([*free, share(client, 3)]), modular_weights(RING, (1, 2, 3), 0))
    other = RING.add(key, inverse_of(mask))
    for j in range(threshold, 6):
        put(client, j, RING.combine(np.stack([other, *free]), modular_weights(RING, (0, 1, 2), j)))
    check([client])  # the digest is still that of the shares before: this is the attack
    bind(client)  # and this is what the protocol has it do
    with pytest.raises(VerificationError, match="not of the key"):
        check([client])


def test_the_key_may_be_off_by_nothing_larger(clients: list[Client]) -> None:
    """The bound of the check: an error of 2^46 in one coefficient of b is too much."""
    client = clients[0]
    body = RING.unpack(client.check[80 : 80 + 55296], 1, "b")
    for size, refused in ((1 << 20, False), (1 << (CHECK_BITS + 1), True)):
        error = np.zeros((1, RING.n), dtype=np.int64)
        error[0, 7] = size
        changed = RING.pack(RING.add(body, RING.small(error)))
        client.check = client.check[:80] + changed + client.check[80 + len(changed) :]
        if refused:
            with pytest.raises(VerificationError, match="not of the key"):
                check([client])
        else:
            check([client])


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


def test_the_projection_follows_from_everything_that_the_dealer_fixes(
    clients: list[Client],
) -> None:
    base = clients[0].dealing
    later = Round(PARAMETERS, ROUND.session, 2, ROUND.values)
    seen = {
        _projection(round_, dealing).matrix.tobytes()
        for round_, dealing in (
            (ROUND, base),
            (later, base),
            (ROUND, Dealing(clients[1].name, base.digest, base.check)),
            (ROUND, Dealing(base.key, sha256(b"x"), base.check)),
            (ROUND, Dealing(base.key, base.digest, flipped(base.check, 1000))),
        )
    }
    assert len(seen) == 5


# --- what a holder could try ---------------------------------------------------------------------


def test_a_holder_that_answers_wrongly_stands_apart(clients: list[Client]) -> None:
    each = PARAMETERS.answer_bytes() - 80
    for at in (80, 80 + each - 1, 80 + 2 * each + 1000):  # words, a tag, words of the last
        found = dict(answers(clients))
        found[3] = flipped(found[3], at)
        with pytest.raises(VerificationError, match=r"holders \[3\]|holders \[5\]"):
            verify_dealings(ROUND, dealings(clients), found)


def test_answers_for_another_list_holder_or_round(clients: list[Client]) -> None:
    found = dict(answers(clients))
    other = answers(clients[::-1])
    with pytest.raises(InvalidInput, match="another list"):
        verify_dealings(ROUND, dealings(clients), {**found, 1: other[1]})
    with pytest.raises(InvalidInput, match="bytes"):
        verify_dealings(ROUND, dealings(clients), {**found, 1: answers(clients[:2])[1]})
    with pytest.raises(InvalidInput, match="not of holder 2"):
        verify_dealings(ROUND, dealings(clients), {**found, 2: found[1]})
    with pytest.raises(InvalidInput, match="3 answers or more"):
        verify_dealings(ROUND, dealings(clients), {1: found[1], 2: found[2]})
    with pytest.raises(InvalidInput, match="distinct"):
        verify_dealings(ROUND, dealings(clients), {**found, 6: found[1]})
    later = Round(PARAMETERS, ROUND.session, 2, ROUND.values)
    with pytest.raises(InvalidInput, match="another round"):
        verify_dealings(later, dealings(clients), found)


def test_lists_that_are_none(clients: list[Client]) -> None:
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


@pytest.mark.parametrize("corrupt", [(4, 5), (1, 2), (1, 5)])
def test_fewer_than_t_holders_learn_the_value_at_zero_only(
    clients: list[Client], corrupt: tuple[int, ...]
) -> None:
    """All answers follow from their own and one value: the projected error behind its mask.

    Noise added to each answer would not do this: relations between shares have denominators, and
    t - 1 holders would read the error modulo them, whatever the noise.
    """
    client = clients[0]
    known = [words(client, j) for j in corrupt]
    points = (0, *corrupt)
    zero = native.combine(
        MASKS,
        np.stack([words(client, j) for j in (1, 2, 3)]),
        modular_weights(RING, (1, 2, 3), 0),
    )
    rows = np.stack([zero, *known])
    for j in HOLDERS:
        expected = native.combine(MASKS, rows, modular_weights(RING, points, j))
        assert np.array_equal(words(client, j), expected)
    projection = _projection(ROUND, client.dealing)
    b = first(RING.ntt(RING.unpack(client.check[80 : 80 + 55296], 1, "b")))
    seen = native.operate(MASKS, "add", zero, projection.apply(RING, b))
    error = projection.apply(
        RING, first(RING.ntt(RING.small(client.key.opening().check_error[None])))
    )
    mask = native.operate(MASKS, "subtract", seen, error)
    assert np.array_equal(mask, client.key._mask())
    assert largest(RING, error) < 1 << 17
    assert 1 << (MASK_BITS - 1) < largest(RING, mask) <= 1 << MASK_BITS
    assert largest(RING, seen) < 1 << CHECK_BITS


def test_masks_are_of_one_key_only(clients: list[Client]) -> None:
    assert not np.array_equal(clients[0].key._mask(), clients[1].key._mask())
    parts = [clients[0].shares[j][SEEDS] for j in range(5)]
    seeds = {parts[j][i : i + 32] for j in range(5) for i in range(0, 192, 32)}
    assert len(seeds) == 10  # one for each set of three
