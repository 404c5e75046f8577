"""The schemes that a session may name: threshold additive RLWE (`zkai.he.rlwe`), CKKS."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zkai.encrypted import Sent
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.ckks_scheme import load_ckks
from zkai.federated.scheme import Fused, Int64, Scheme, Total
from zkai.federated.session import CKKS, RLWE, Session
from zkai.he.joint_key import HolderKey
from zkai.he.rlwe import (
    CiphertextSum,
    ClientKey,
    Dealing,
    Opening,
    RlweParameters,
    Round,
    ShareSum,
    check_partial,
    fingerprint,
    fuse,
    open_share,
    partial,
    verify_dealings,
    verify_fingerprints,
)

SCHEMES = (RLWE, CKKS)
COEFFICIENT_BITS = 60
"""How many bits of values a coefficient holds: what is left over is for smudging."""


def load_scheme(session: Session, key: HolderKey | None = None) -> Scheme:
    """Return a session's scheme; a holder of `ckks` brings its share of the joint key.

    Raises InvalidInput if it is unknown, or its parameters unfit.
    """
    if session.scheme == CKKS:
        return load_ckks(session, key)
    if session.scheme != RLWE:
        raise InvalidInput(f"session: scheme {session.scheme!r}: expected {' or '.join(SCHEMES)}")
    parameters = RlweParameters.from_json(dict(session.parameters), "session.parameters")
    wanted = (len(session.clients), session.threshold, len(session.holders))
    if (parameters.clients, parameters.threshold, parameters.holders) != wanted:
        raise InvalidInput("session: parameters are for another number of clients or holders")
    if session.largest > parameters.bound:
        raise InvalidInput(
            f"session: values of up to {session.largest}, weights included, can overflow: the"
            f" parameters allow {parameters.bound} for {parameters.clients} clients"
        )
    return RlweScheme(parameters, session.id, session.values)


def choose_parameters(
    scheme: str, clients: int, largest: int, threshold: int, holders: int
) -> Mapping[str, Any]:
    """Return parameters under which sums of `clients` values of at most `largest` are exact.

    As many values share a coefficient as leave room for smudging.

    Raises InvalidInput if there are none.
    """
    if scheme != RLWE:
        raise InvalidInput(f"session: scheme {scheme!r}: its parameters come with a joint key")
    if largest < 1 or clients < 1:
        raise InvalidInput("session: bound and weight: expected positive integers")
    bits = max((clients * (largest + 1)).bit_length() + 1, 2)
    if bits > COEFFICIENT_BITS:
        raise InvalidInput(
            f"session: sums of {clients} values of up to {largest} need {bits} bits, of"
            f" {COEFFICIENT_BITS}: take a smaller bound or weight, or fewer clients"
        )
    count = min(COEFFICIENT_BITS // bits, 16)
    return RlweParameters.choose(clients, threshold, holders, bits, count).to_json()


@dataclass(frozen=True)
class _Contribution:
    _key: ClientKey = field(repr=False)
    key: bytes
    ciphertext: bytes = field(repr=False)
    shares: tuple[bytes, ...] = field(repr=False)

    def check(self, dealing: bytes) -> bytes:
        return self._key.check(dealing)

    def opening(self) -> Opening:
        return self._key.opening()

    def wipe(self) -> None:
        self._key.wipe()


@dataclass(frozen=True)
class RlweScheme:
    """`zkai.he.rlwe` for one session; holders are numbered from 0 here, and from 1 there."""

    parameters: RlweParameters
    session: bytes
    values: int

    def _round(self, number: int) -> Round:
        return Round(self.parameters, self.session, number, self.values)

    @property
    def ciphertext_bytes(self) -> int:
        """The length of a ciphertext, and of a sum."""
        return self.parameters.ciphertext_bytes(self.values)

    @property
    def partial_bytes(self) -> int:
        """The length of a holder's part of a decryption."""
        return self.ciphertext_bytes

    @property
    def check_bytes(self) -> int:
        """The length of a check polynomial."""
        return self.parameters.check_bytes

    @property
    def dealing_bytes(self) -> int:
        """The length of a holder's part of the dealing check of one client."""
        return self.parameters.answer_bytes()

    def share_bytes(self, holder: int) -> int:
        """Return the length of a holder's share."""
        return self.parameters.share_bytes(holder + 1)

    def seed(self, number: int) -> bytes:
        """Return the seed of a round's random string."""
        return self._round(number).seed

    def start(self, number: int, values: Int64) -> _Contribution:
        """Return values encrypted under a fresh key. Raises InvalidInput for ones out of bounds."""
        key = ClientKey(self._round(number))
        return _Contribution(key, key.identifier, key.encrypt(values), key.deal())

    def total(self, number: int) -> Total:
        """Return an empty sum."""
        return CiphertextSum(self._round(number))

    def check_share(self, number: int, holder: int, key: bytes, share: bytes) -> None:
        """Return None for a well-formed share of a key. Raises InvalidInput."""
        open_share(self._round(number), holder + 1, key, share)

    def deal(
        self, number: int, holder: int, key: bytes, dealing: bytes, check: bytes, share: bytes
    ) -> bytes:
        """Return a holder's part of the dealing check of one client."""
        listed = [Dealing(key, dealing, check)]
        return check_partial(self._round(number), holder + 1, listed, [share])

    def check_dealing(
        self, number: int, key: bytes, dealing: bytes, check: bytes, parts: Mapping[int, bytes]
    ) -> None:
        """Return None if any t of these holders have shares of the key that encrypts."""
        answers = {j + 1: part for j, part in parts.items()}
        verify_dealings(self._round(number), [Dealing(key, dealing, check)], answers)

    def partial(
        self,
        number: int,
        holder: int,
        inputs: Iterable[tuple[bytes, bytes, bytes]],
        minimum: int,
    ) -> bytes:
        """Return a holder's part of the decryption of a sum of (key, ciphertext, share)."""
        round_ = self._round(number)
        total, shares = CiphertextSum(round_), ShareSum(round_, holder + 1)
        try:
            for key, ciphertext, share in inputs:
                total.add(ciphertext, key)
                shares.add(key, share)
            return partial(total, shares, minimum)
        finally:
            shares.wipe()

    def sent(self, number: int, ciphertext: bytes, check: bytes, dealing: bytes) -> Sent:
        """Return what proofs about a ciphertext speak of. Raises InvalidInput."""
        return Sent(self._round(number), ciphertext, check, dealing)

    def fuse(
        self, number: int, total: bytes, keys: Sequence[bytes], parts: Mapping[int, bytes]
    ) -> Fused:
        """Return the sum of the values. Raises VerificationError if the parts do not open it."""
        read = CiphertextSum.from_bytes(self._round(number), total, keys)
        try:
            found = fuse(read, {j + 1: part for j, part in parts.items()})
        except InvalidInput as error:
            raise VerificationError(str(error)) from error
        agreed, apart = (tuple(j - 1 for j in some) for some in (found.agreed, found.apart))
        return Fused(found.values, agreed, apart, found.checked)

    def check_linear(self, number: int, ciphertexts: Iterable[bytes], total: bytes) -> None:
        """Return None if a sum has the random linear combinations of its ciphertexts' sum."""
        round_, challenge = self._round(number), os.urandom(32)
        parts = (fingerprint(round_, data, challenge) for data in ciphertexts)
        verify_fingerprints(parts, fingerprint(round_, total, challenge))
