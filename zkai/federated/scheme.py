"""What a round needs of a scheme, and which schemes there are.

A scheme works on bytes whose lengths are known before they are read. Holders are numbered from 0;
`seed` is the round's, and fixes the common random string.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from zkai.encoding import sha256
from zkai.federated.session import Session
from zkai.receipt.jcs import encode

Int64 = npt.NDArray[np.int64]
DOMAIN = "zkai/he-round/1"


@dataclass(frozen=True)
class Contribution:
    """What a client makes of its values: all of it is for others to see but the shares."""

    ciphertext: bytes = field(repr=False)
    check: bytes = field(repr=False)
    shares: tuple[bytes, ...] = field(repr=False)


class Scheme(Protocol):
    """Threshold additive encryption of integer vectors under keys that clients deal."""

    @property
    def ciphertext_bytes(self) -> int:
        """The length of a ciphertext, and of a sum."""

    @property
    def check_bytes(self) -> int:
        """The length of a check polynomial."""

    @property
    def partial_bytes(self) -> int:
        """The length of a holder's part of a decryption."""

    @property
    def dealing_bytes(self) -> int:
        """The length of a holder's part of the dealing check of one client."""

    @property
    def primes(self) -> tuple[int, ...]:
        """The primes modulo which ciphertexts are added."""

    def residues(self, ciphertext: bytes) -> npt.NDArray[np.uint64]:
        """Return coefficients of shape (polynomials, primes, degree). Raises InvalidInput."""

    def share_bytes(self, holder: int) -> int:
        """Return the length of a holder's share."""

    def encrypt(self, seed: bytes, values: Int64) -> Contribution:
        """Return the ciphertext of values under a fresh key, and that key's shares.

        Raises InvalidInput if a value is out of the bound.
        """

    def add(self, ciphertexts: Iterable[bytes]) -> bytes:
        """Return the sum of ciphertexts or sums. Raises InvalidInput for what is none."""

    def check_share(self, holder: int, share: bytes) -> None:
        """Return None for a well-formed share. Raises VerificationError."""

    def deal(self, seed: bytes, holder: int, share: bytes) -> bytes:
        """Return a holder's part of the dealing check of one client."""

    def check_dealing(self, seed: bytes, check: bytes, parts: Mapping[int, bytes]) -> None:
        """Return None if holders' parts agree with a check polynomial, whichever t open.

        Raises VerificationError if the client's shares are not of one key, and its own.
        """

    def partial(
        self, seed: bytes, holder: int, active: Sequence[int], shares: Iterable[bytes]
    ) -> bytes:
        """Return a holder's part of the decryption of the sum over those who dealt `shares`."""

    def fuse(self, total: bytes, parts: Mapping[int, bytes]) -> Int64:
        """Return the sum of the values. Raises VerificationError if a part is wrong."""


def round_seed(session: Session, number: int) -> bytes:
    """Return SHA-256 over domain, parameters, session and round: the random string's seed."""
    return sha256(encode([DOMAIN, dict(session.parameters), session.id.hex(), number]))
