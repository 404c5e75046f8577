"""What a round needs of a scheme.

A scheme works on bytes whose lengths are known before they are read. Holders are numbered from 0.
A client's key of a round is named by 32 bytes, and its dealing by a digest of the sealed shares,
which the check polynomial depends on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Fused:
    """An opened sum (values,), the holders whose parts agree on it, and those whose do not.

    `checked` says that so many agree that the corrupt holders which a committee withstands did not
    shift it.
    """

    values: Int64 = field(repr=False)
    agreed: tuple[int, ...]
    apart: tuple[int, ...]
    checked: bool


class Contribution(Protocol):
    """A client's side of a round, with a fresh key that is used once."""

    @property
    def key(self) -> bytes:
        """The name of the key."""

    @property
    def ciphertext(self) -> bytes:
        """The encrypted values."""

    @property
    def shares(self) -> tuple[bytes, ...]:
        """The key's shares, one for each holder: secret."""

    def check(self, dealing: bytes) -> bytes:
        """Return the check polynomial, for the digest of all sealed shares."""

    def opening(self) -> Any:
        """Return the secrets behind the ciphertext, for a proof about it."""

    def wipe(self) -> None:
        """Forget the key."""


class Total(Protocol):
    """A running sum of ciphertexts, of distinct keys."""

    def add(self, ciphertext: bytes, key: bytes | None = None) -> bytes:
        """Add a ciphertext of a key. Raises InvalidInput for anything else."""

    def merge(self, other: Self) -> None:
        """Add a sum of other keys."""

    def to_bytes(self) -> bytes:
        """Return the sum's one byte form."""


class Inputs(Protocol):
    """What a session asks of its clients' ciphertexts beyond their form."""

    @property
    def digest(self) -> bytes:
        """What a session names it by."""

    @property
    def norm_bound(self) -> int:
        """The largest L2 norm of an update that it takes."""

    def check_session(self, session: Any) -> None:
        """Return None if a session can ask for it. Raises InvalidInput."""

    def check(self, sent: Any, data: bytes, client: str, where: str) -> int:
        """Return whose update a body proves to be what a client sent.

        Raises VerificationError, InvalidInput.
        """


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

    def share_bytes(self, holder: int) -> int:
        """Return the length of a holder's share."""

    def seed(self, number: int) -> bytes:
        """Return the seed of a round's random string: a digest of what the round is about."""

    def start(self, number: int, values: Int64) -> Contribution:
        """Return values encrypted under a fresh key. Raises InvalidInput for ones out of bounds."""

    def total(self, number: int) -> Total:
        """Return an empty sum."""

    def check_share(self, number: int, holder: int, key: bytes, share: bytes) -> None:
        """Return None for a well-formed share of a key. Raises InvalidInput."""

    def deal(
        self, number: int, holder: int, key: bytes, dealing: bytes, check: bytes, share: bytes
    ) -> bytes:
        """Return a holder's part of the dealing check of one client."""

    def check_dealing(
        self, number: int, key: bytes, dealing: bytes, check: bytes, parts: Mapping[int, bytes]
    ) -> None:
        """Return None if any t of these holders have shares of the key that encrypts.

        Raises VerificationError otherwise, InvalidInput for unusable bytes.
        """

    def partial(
        self,
        number: int,
        holder: int,
        inputs: Iterable[tuple[bytes, bytes, bytes]],
        minimum: int,
    ) -> bytes:
        """Return a holder's part of the decryption of a sum of (key, ciphertext, share).

        It is the same whoever else opens the sum; t parts give all others.
        """

    def sent(self, number: int, ciphertext: bytes, check: bytes, dealing: bytes) -> Any:
        """Return what proofs about a ciphertext speak of. Raises InvalidInput."""

    def fuse(
        self, number: int, total: bytes, keys: Sequence[bytes], parts: Mapping[int, bytes]
    ) -> Fused:
        """Return the sum of the values. Raises VerificationError if the parts do not open it."""

    def check_linear(self, number: int, ciphertexts: Iterable[bytes], total: bytes) -> None:
        """Return None if a sum has the random linear combinations of its ciphertexts' sum.

        Raises VerificationError otherwise.
        """
