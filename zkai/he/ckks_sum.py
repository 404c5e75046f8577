"""The parameters of scheme `ckks`: sums of real vectors that cannot overflow, and their bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import comb, log2, sqrt

from zkai.errors import InvalidInput
from zkai.he.seal_file import Chain
from zkai.he.shamir import check_committee

CHAIN = Chain(8192, (1152921504606683137, 1152921504606748673, 1152921504606830593))
"""SEAL's own primes for [60, 60, 60]: 180 of the 218 bits that n = 8192 allows."""

MAX_VALUES = 1 << 28
MAX_CLIENTS = 1 << 20
HEAD = struct.Struct("<8sII32s32s32s")
_ERROR_VARIANCE = 10.5
_TAIL = 9
"""Standard deviations: a coefficient's noise is beyond them with probability below 2**-60."""


@dataclass(frozen=True)
class CkksSum:
    """Sums of at most `clients` vectors of `values` numbers x, |x| <= bound, opened by t of n.

    With `integers` they are integers, and sums exact. Raises InvalidInput if a sum could overflow,
    which CKKS would not notice, or integers could be off:

        clients bound 2**scale_bits + sets 2**smudge_bits + noise < Q / 2
        sets 2**smudge_bits + noise < 2**scale_bits / 2
    """

    values: int
    clients: int
    bound: int
    threshold: int
    holders: int
    chain: Chain = CHAIN
    scale_bits: int = 96
    smudge_bits: int = 61
    integers: bool = False

    def __post_init__(self) -> None:
        check_committee(self.threshold, self.holders)
        if not 1 <= self.values <= MAX_VALUES or not 1 <= self.clients <= MAX_CLIENTS:
            raise InvalidInput(f"ckks: at most {MAX_VALUES} values and {MAX_CLIENTS} clients")
        if len(self.chain.data_primes) > 2:
            raise InvalidInput("ckks: at most two primes and the special one")
        if self.bound < 1 or not 20 <= self.scale_bits <= 110 or not 20 <= self.smudge_bits <= 61:
            raise InvalidInput("ckks: bound >= 1, scale_bits 20..110, smudge_bits 20..61 expected")
        if self.largest(self.clients) >= self.chain.data_ring.modulus // 2:
            raise InvalidInput(
                f"ckks: the sum of {self.clients} values up to {self.bound} overflows at "
                f"2**{self.scale_bits}: take a smaller scale or bound"
            )
        if self.integers and 2 * self.spread(self.clients) >= 1 << self.scale_bits:
            raise InvalidInput(f"ckks: sums of integers are not exact at 2**{self.scale_bits}")

    @property
    def scale(self) -> float:
        """What values are multiplied with."""
        return 2.0**self.scale_bits

    @property
    def ciphertexts(self) -> int:
        """SEAL ciphertexts a vector: n integers each, or n / 2 real numbers."""
        return -(-self.values // (self.chain.n if self.integers else self.chain.slots))

    @property
    def noise(self) -> float:
        """What a coefficient's noise in one fresh ciphertext stays below, but for 2**-60.

        Its variance is 10.5 (1 + 4/3 n h) / P**2 + (1 + 2/3 n h) / 12 with a special prime P and
        h dealers' ternary secrets; without one, the first term with P = 1.
        """
        spread = self.chain.n * self.holders * 2 / 3
        error = _ERROR_VARIANCE * (1 + 2 * spread)
        if len(self.chain.primes) == 1:
            return _TAIL * sqrt(error)
        return _TAIL * sqrt(error / self.chain.primes[-1] ** 2 + (1 + spread) / 12)

    @property
    def sets(self) -> int:
        """How many sets of n - t + 1 holders add noise."""
        return comb(self.holders, self.threshold - 1)

    def largest(self, clients: int) -> int:
        """Return what coefficients of an opened sum of so many clients stay below."""
        return clients * (self.bound << self.scale_bits) + self.spread(clients)

    def spread(self, clients: int) -> int:
        """Return what smudge and noise of an opened sum of so many clients stay below."""
        return (self.sets << self.smudge_bits) + clients * (int(self.noise) + 1)

    def statistical_bits(self, rounds: int = 1) -> float:
        """Return the bits of statistical security of what is opened in so many rounds.

        The noise of one set of holders counts, since t - 1 corrupt ones may be in all others:

            smudge_bits + 1 - log2(clients noise) - log2(coefficients) - log2(rounds)
        """
        coefficients = self.ciphertexts * self.chain.n
        hidden = log2(self.clients * self.noise) + log2(coefficients) + log2(rounds)
        return self.smudge_bits + 1 - hidden

    @property
    def ciphertext_bytes(self) -> int:
        """The length of a client's ciphertext, and of a sum."""
        return HEAD.size + self.ciphertexts * self.chain.ciphertext_bytes

    @property
    def partial_bytes(self) -> int:
        """The length of a holder's part of a decryption."""
        words = self.ciphertexts * len(self.chain.data_primes) * self.chain.n
        return HEAD.size + 8 * words
