"""A key that nobody holds: made by its holders together, and handed on to other holders.

    s = sum of s_i, b = sum of b_i = -(a s + e): the joint public key (b, a)
    holder j keeps f(j), f = sum of the dealers' polynomials of degree below t, f(0) = s

A ceremony is the same for a new key and for new holders (resharing: dealer j shares its old share
times its Lagrange coefficient, so f(0) stays s and b is unchanged):

    1 commit    each dealer logs a digest        (nobody can choose b after seeing the others': a
    2 open      each dealer opens it              rogue key, b' - sum b_i)
    3 complain  whoever got no share as committed shows what it got; the one at fault is named
    4 respond   each holder says its projections; P comes from all openings
    5 settle    only if a dealing fails: all show that dealer's shares; the one at fault is named
    6 conclude

`Ceremony` is what everybody computes from the log, private parts apart. Signatures, transport and
deadlines are the caller's. Sources: Pedersen (Eurocrypt 1991); Gennaro, Jarecki, Krawczyk, Rabin
(J. Cryptology 2007) for complaints; Mouchet, Bertrand, Hubaux (J. Cryptology 2023) for RLWE.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from zkai.encoding import Limbs, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.he.joint_key import HolderKey, JointKey, weight
from zkai.he.key_dealing import (
    Dealing,
    Opening,
    Share,
    Terms,
    check_small,
    deal,
    parse_response,
    respond,
    response_bytes,
    sets_of,
    verify_dealing,
)
from zkai.he.projection import ROWS, Projection
from zkai.he.shamir import HolderSet

_DOMAIN = b"zkai/he/committee/1/"


def start(terms: Terms, dealer: int) -> Dealing:
    """Make a dealer's part of a new key. The secret is forgotten: only its shares remain."""
    ring = terms.ring
    seed = os.urandom(32)
    secret = ring.ntt(ring.small(ring.ternary(seed, 0)[0]))
    error = ring.ntt(ring.small(ring.errors(seed, 1)[0]))
    zero = ring.zeros()
    public = ring.subtract(zero, ring.add(ring.multiply(terms.common(), secret), error))
    return deal(terms, dealer, secret, public)


def start_resharing(terms: Terms, key: HolderKey) -> Dealing:
    """Make an old holder's part of a resharing: lambda_j f(j), shared anew.

    Raises InvalidInput if the terms are of another key or do not name this holder, or too few.
    """
    ring, active = terms.ring, sorted(terms.dealers)
    if terms.renews != key.key_id:
        raise InvalidInput("resharing: the terms are of another key")
    if len(active) != key.threshold:
        raise InvalidInput(f"resharing: {len(active)} old holders deal; exactly {key.threshold} do")
    blind = key.blind(ring, active, b"resharing" + terms.digest, 0, 1)[0][:, : 2 * ROWS]
    value = ring.combine(key.share[None], weight(ring, key.place, active))
    return deal(terms, key.place, value, None, blind)


@dataclass
class Ceremony:
    """What is public of a ceremony. Whoever fails or lies stands in `excluded` with the reason.

    In a resharing, `joint` is the key whose shares move.
    """

    terms: Terms
    joint: JointKey | None = None
    excluded: dict[str, str] = field(default_factory=dict)
    commitments: dict[int, bytes] = field(default_factory=dict)
    openings: dict[int, Opening] = field(default_factory=dict)
    responses: dict[int, dict[int, Limbs]] = field(default_factory=dict)
    spent: set[int] = field(default_factory=set)
    """Dealers whose shares were shown to settle a dispute: their part is not used."""
    asked: tuple[int, ...] = ()
    """The dealers about whom holders respond: those qualified when the complaints were closed."""
    _projection: Projection | None = None
    _verdicts: dict[tuple[int, ...], Limbs | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.joint is None) != (not self.terms.renews):
            raise InvalidInput("ceremony: a resharing, and only that, has a key already")
        if self.joint is not None and self.joint.id != self.terms.renews:
            raise InvalidInput("ceremony: the terms renew another key")

    def commit(self, dealer: int, commitment: bytes) -> None:
        """Take a dealer's commitment. Raises InvalidInput for a second one, or one too late."""
        if self.openings:
            raise InvalidInput("ceremony: the first opening is here; no more commitments")
        if dealer not in self.terms.dealers or dealer in self.commitments:
            raise InvalidInput(f"ceremony: dealer {dealer} is none, or has committed already")
        if len(commitment) != 32:
            raise InvalidInput("ceremony: a commitment has 32 bytes")
        self.commitments[dealer] = commitment

    def open(self, dealer: int, data: bytes) -> None:
        """Take what a dealer committed to. Who opens anything else is excluded.

        Raises InvalidInput for a second opening or one too late.
        """
        if self._projection is not None or dealer in self.openings:
            raise InvalidInput(f"ceremony: dealer {dealer} opens too late or again")
        name = self.terms.dealers.get(dealer, "")
        try:
            opening = Opening.from_bytes(self.terms, data)
        except InvalidInput as error:
            return self.exclude(name, f"opened nothing of use: {error}")
        if opening.dealer != dealer or opening.commitment(self.terms) != self.commitments.get(
            dealer
        ):
            return self.exclude(name, "opened something else than it committed to")
        self.openings[dealer] = opening
        return None

    def close_openings(self) -> None:
        """End the openings: who did not open is excluded, and P is fixed."""
        for dealer, name in self.terms.dealers.items():
            if dealer not in self.openings:
                self.exclude(name, "did not open a commitment")
        parts = [o.commitment(self.terms) for _, o in sorted(self.openings.items())]
        seed = sha256(_DOMAIN + b"projection" + self.terms.digest + b"".join(parts))
        self._projection = Projection.from_seed(seed, self.terms.chain.n)

    @property
    def common(self) -> Limbs:
        """The public key's second half, a."""
        return self.terms.common() if self.joint is None else self.joint.key[1]

    @property
    def projection(self) -> Projection:
        """The matrix P. Raises InvalidInput before the openings are closed."""
        if self._projection is None:
            raise InvalidInput("ceremony: the openings are not closed")
        return self._projection

    @property
    def qualified(self) -> list[int]:
        """The dealers whose parts count."""
        return [
            dealer
            for dealer in sorted(self.openings)
            if self.terms.dealers[dealer] not in self.excluded and dealer not in self.spent
        ]

    @property
    def holders(self) -> list[int]:
        """The holders that are not excluded."""
        names = enumerate(self.terms.holders, 1)
        return [place for place, name in names if name not in self.excluded]

    def complain(self, dealer: int, holder: int, shown: bytes) -> None:
        """Decide a complaint: `shown` is what the dealer's sealed message opens to, for anybody.

        (The holder shows the one-time key that the message was sealed to.) If that is the share
        that the dealer committed to, the complaint is false and the holder is excluded; else the
        dealer is.

        Raises InvalidInput unless both take part, before the complaints are closed.
        """
        if dealer not in self.qualified or holder not in self.holders or self.asked:
            raise InvalidInput("ceremony: a complaint about no dealer, by no holder, or too late")
        fault = self._share_fault(dealer, holder, shown)
        if fault is None:
            self.exclude(self.terms.holders[holder - 1], "complained about a share that is good")
        else:
            self.exclude(self.terms.dealers[dealer], f"dealt a bad share: {fault}")

    def accept(self, dealer: int, holder: int, message: bytes) -> Share:
        """Return a dealer's share for a holder.

        Raises VerificationError or InvalidInput, naming the dealer, for one to complain about.
        """
        return Share.from_bytes(self.terms, self.openings[dealer], holder, message)

    def close_complaints(self) -> None:
        """End the complaints, and with them the list of dealers about whom holders respond.

        Raises InvalidInput if no dealer is left.
        """
        _ = self.projection
        if not self.qualified:
            raise InvalidInput("ceremony: no dealer is left")
        self.asked = tuple(self.qualified)

    def answer(self, holder: int, messages: Mapping[int, bytes]) -> bytes:
        """Return a holder's response, from the private messages of all dealers.

        Raises VerificationError or InvalidInput as `accept` does.
        """
        common, said = self.common, {}
        for dealer in self.asked:
            share = self.accept(dealer, holder, messages.get(dealer, b""))
            said[dealer] = respond(self.terms, self.projection, common, share)
        return response_bytes(self.terms, holder, said)

    def respond(self, holder: int, data: bytes) -> None:
        """Take a holder's response; one that is malformed excludes the holder.

        Raises InvalidInput for a second response.
        """
        if holder in self.responses or holder not in self.holders:
            raise InvalidInput(f"ceremony: holder {holder} is excluded or has responded")
        if not self.asked:
            raise InvalidInput("ceremony: the complaints are not closed")
        try:
            named, said = parse_response(self.terms, self.asked, data)
        except InvalidInput as error:
            return self.exclude(
                self.terms.holders[holder - 1], f"responded nothing of use: {error}"
            )
        if named != holder:
            return self.exclude(self.terms.holders[holder - 1], "responded for another")
        self.responses[holder] = said
        return None

    def close_responses(self) -> list[int]:
        """End the responses: who said nothing is excluded. Return the dealers in dispute."""
        for holder in self.holders:
            if holder not in self.responses:
                self.exclude(self.terms.holders[holder - 1], "did not respond")
        return self.disputes()

    def disputes(self) -> list[int]:
        """Return the dealers whose dealing fails, of those whose parts count."""
        return [dealer for dealer in self.qualified if self._in_dispute(dealer)]

    def _said_of(self, dealer: int) -> dict[int, Limbs]:
        return {h: self.responses[h][dealer] for h in self.holders if h in self.responses}

    def _verdict(self, dealer: int) -> Limbs | str:
        """Return a dealer's masked projections from those who responded, or what is wrong."""
        said = self._said_of(dealer)
        case = (dealer, *sorted(said))
        if case not in self._verdicts:
            try:
                opening = self.openings[dealer]
                found = verify_dealing(self.terms, self.projection, opening, said)
                self._verdicts[case] = found
            except (VerificationError, InvalidInput) as error:
                self._verdicts[case] = str(error)
        return self._verdicts[case]

    def _in_dispute(self, dealer: int) -> bool:
        return isinstance(self._verdict(dealer), str)

    def settle(self, dealer: int, shown: Mapping[int, bytes]) -> list[int]:
        """Decide a dispute about a dealer from the private messages that its holders show.

        Holders that show nothing, not what the dealer committed to, or responded otherwise are
        excluded; if there are none, the dealer is. Its part is not used in either case. Return the
        dealers that are in dispute still: show the shares of one after the other, since those that
        are shown are lost.

        Raises InvalidInput for a dealer that is not in dispute.
        """
        if dealer not in self.qualified or not self._in_dispute(dealer):
            raise InvalidInput(f"ceremony: dealer {dealer} is not in dispute")
        liars = []
        for holder in list(self.holders):
            fault = self._lie(dealer, holder, shown.get(holder, b""))
            if fault is not None:
                liars.append((self.terms.holders[holder - 1], fault))
        self.spent.add(dealer)
        for name, fault in liars:
            self.exclude(name, fault)
        if not liars:
            self.exclude(self.terms.dealers[dealer], "dealt shares that are not of one small value")
        return self.disputes()

    def _lie(self, dealer: int, holder: int, shown: bytes) -> str | None:
        if self._share_fault(dealer, holder, shown) is not None:
            return f"did not show the share of dealer {dealer} that it had accepted"
        share = self.accept(dealer, holder, shown)
        said = respond(self.terms, self.projection, self.common, share)
        if not np.array_equal(said, self.responses[holder][dealer]):
            return f"responded something else than its share of dealer {dealer} gives"
        return None

    def _share_fault(self, dealer: int, holder: int, message: bytes) -> str | None:
        try:
            self.accept(dealer, holder, message)
        except (VerificationError, InvalidInput) as error:
            return str(error)
        return None

    def conclude(self) -> JointKey:
        """Return the joint key. In a resharing it is the old one, and its shares were checked.

        Raises VerificationError if a dispute is open, too few are left, or (resharing) a dealer
        is missing or the old holders shared another key: then others must deal.
        """
        needed = self.terms.threshold
        if len(self.holders) < needed:
            raise VerificationError(f"ceremony: {len(self.holders)} holders left, {needed} needed")
        open_disputes = self.disputes()
        if open_disputes:
            raise VerificationError(f"ceremony: dealers {open_disputes} are in dispute")
        if self.joint is not None:
            self._check_renewed(self.joint)
            return self.joint
        if len(self.qualified) < needed:
            raise VerificationError(
                f"ceremony: {len(self.qualified)} dealers left, {needed} needed"
            )
        ring = self.terms.ring
        publics = [self.openings[dealer].public for dealer in self.qualified]
        total = ring.zeros()
        for public in publics:
            if public is not None:
                total = ring.add(total, public)
        return JointKey(self.terms.chain, np.stack([total, self.common]))

    def _check_renewed(self, joint: JointKey) -> None:
        missing = sorted(set(self.terms.dealers) - set(self.qualified))
        if missing:
            raise VerificationError(f"resharing: the parts of old holders {missing} are missing")
        primes = np.array(self.terms.chain.primes, np.uint64)[:, None]
        total = np.zeros(self.terms.response_words, np.uint64)
        for dealer in self.qualified:
            found = self._verdict(dealer)
            if isinstance(found, str):
                raise VerificationError(f"resharing: {found}")
            total = (total + found) % primes
        masks = len(self.qualified)
        check_small(self.terms, self.projection, joint.key[0], total, "resharing", masks)

    def holder_key(self, holder: int, messages: Mapping[int, bytes]) -> HolderKey:
        """Return a holder's share of the key, after `conclude`.

        Raises VerificationError as `conclude` does, or for messages that are not the accepted ones.
        """
        joint, ring = self.conclude(), self.terms.ring
        if holder not in self.holders:
            raise VerificationError(f"ceremony: holder {holder} is excluded")
        total = ring.zeros()
        seeds: dict[HolderSet, list[bytes]] = {s: [] for s in sets_of(self.terms, holder)}
        for dealer in self.qualified:
            share = self.accept(dealer, holder, messages[dealer])
            total = ring.add(total, share.value)
            for members, seed in zip(seeds, share.seeds, strict=True):
                seeds[members].append(seed)
        keys = {
            members: sha256(_DOMAIN + b"set" + self.terms.digest + b"".join(found))
            for members, found in seeds.items()
        }
        threshold, count = self.terms.threshold, len(self.terms.holders)
        return HolderKey(joint.id, self.terms.digest, holder, threshold, count, total, keys)

    def exclude(self, name: str, reason: str) -> None:
        """Leave a party out for a reason that the log shows; the first reason stands."""
        if name:
            self.excluded.setdefault(name, reason)
