"""What a round of threshold additive RLWE is about: its parameters, its committee, its seed.

A sum of m = sum over i of 2^(value_bits i) u_i comes out of a ciphertext as

    Delta m + noise,   Delta = floor(Q / 2^(value_bits values_per_coefficient)),
    |noise| <= sets 2^smudge_bits + clients 21 < Delta / 2,   sets = holders over threshold - 1,

so it is exact: each set of holders - threshold + 1 holders adds noise. `smudge_bits` is the largest
that keeps this.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, log2
from typing import Any

from zkai.encoding import canonical_json, sha256
from zkai.errors import InvalidInput
from zkai.he.ring import ERROR_BOUND, Ring
from zkai.he.shamir import check_committee
from zkai.native_rlwe import Tables, polynomial_bytes

RING = Ring(4096, (18014398509293569, 18014398509309953))
"""n = 4096 and the two largest 54-bit primes = 1 (mod 8192): 108 of the 109 bits allowed."""

FORMAT = "zkai.rlwe-parameters/1"
HEADER_BYTES = 80
ID_BYTES = 32
MAX_CLIENTS = 1 << 16
MAX_VALUES = 1 << 30
MASKS = Tables.make(128, RING.primes)
"""Rows of 128 numbers modulo the same primes: the projections of a dealing check."""

MASK_BITS = 44
"""What hides a projection of a client's error is uniform in [-2^44, 2^44)."""

CHECK_BITS = MASK_BITS + 1
"""A dealing check holds if its numbers are at most 2^45 in size: 2^44 + 21 n and some room."""

_MIN_SMUDGE_BITS = 39
_FIELDS = ("format", "clients", "threshold", "holders", "value_bits", "values_per_coefficient")


@dataclass(frozen=True)
class RlweParameters:
    """Parameters of threshold additive RLWE for at most `clients` clients and t-of-n holders.

    Raises InvalidInput where a sum could overflow or decrypt wrongly.
    """

    clients: int
    threshold: int
    holders: int
    value_bits: int = 20
    values_per_coefficient: int = 3

    def __post_init__(self) -> None:
        check_committee(self.threshold, self.holders)
        if not 1 <= self.clients <= MAX_CLIENTS:
            raise InvalidInput(f"parameters: 1..{MAX_CLIENTS} clients, not {self.clients}")
        if not 2 <= self.value_bits <= 60 or not 1 <= self.values_per_coefficient <= 16:
            raise InvalidInput("parameters: 2..60 bits a value, 1..16 values a coefficient")
        if self.bound < 1:
            raise InvalidInput(
                f"parameters: the sum of {self.clients} clients' values overflows "
                f"{self.value_bits} bits: take more bits a value, or fewer clients"
            )
        if self.smudge_bits < _MIN_SMUDGE_BITS:
            raise InvalidInput(
                f"parameters: {self.values_per_coefficient} values of {self.value_bits} bits leave "
                f"no room for {_MIN_SMUDGE_BITS} bits of smudging: take fewer values a coefficient"
            )

    @classmethod
    def choose(
        cls,
        clients: int,
        threshold: int,
        holders: int,
        value_bits: int = 20,
        values_per_coefficient: int = 3,
    ) -> RlweParameters:
        """Return the parameters for so many clients and a committee of `threshold` of `holders`."""
        return cls(clients, threshold, holders, value_bits, values_per_coefficient)

    @property
    def ring(self) -> Ring:
        """The ring of all polynomials: frozen."""
        return RING

    @property
    def delta(self) -> int:
        """Delta: what a packed message is multiplied by."""
        return RING.modulus >> (self.value_bits * self.values_per_coefficient)

    @property
    def bound(self) -> int:
        """The largest size of a value that a client may encrypt, weight included."""
        return ((1 << (self.value_bits - 1)) - 1) // self.clients

    @property
    def sets(self) -> int:
        """How many sets of holders - threshold + 1 holders there are: each has a seed."""
        return comb(self.holders, self.threshold - 1)

    @property
    def sets_of_holder(self) -> int:
        """How many of these sets a holder is in."""
        return comb(self.holders - 1, self.threshold - 1)

    @property
    def smudge_bits(self) -> int:
        """b: the noise of each set of holders is uniform in [-2^b, 2^b)."""
        room = ((self.delta + 1) // 2 - 1 - self.clients * ERROR_BOUND) // self.sets
        return min(room.bit_length() - 1, 61)

    @property
    def noise_bound(self) -> int:
        """The largest size of the noise in an honest sum of all clients; below Delta / 2."""
        return (self.sets << self.smudge_bits) + self.clients * ERROR_BOUND

    @property
    def checking(self) -> int:
        """2t - 1: so many holders whose parts agree opened rightly, if at most t - 1 are corrupt.

        More than there are holders where 2 threshold - 1 > holders: nothing can be checked then.
        """
        return 2 * self.threshold - 1

    @property
    def identifier(self) -> bytes:
        """SHA-256 of the parameters' canonical JSON."""
        return sha256(canonical_json(self.to_json()))

    def polynomials(self, values: int) -> int:
        """Return how many polynomials hold `values` values."""
        if not 1 <= values <= MAX_VALUES:
            raise InvalidInput(f"round: 1..{MAX_VALUES} values, not {values}")
        return -(-values // (RING.n * self.values_per_coefficient))

    def ciphertext_bytes(self, values: int) -> int:
        """Return the length of a ciphertext, of a sum, and of a partial decryption."""
        return HEADER_BYTES + self.polynomials(values) * RING.polynomial_bytes

    @property
    def check_bytes(self) -> int:
        """The length of a check polynomial, with a hash for each set of holders."""
        return HEADER_BYTES + RING.polynomial_bytes + ID_BYTES * self.sets

    def share_bytes(self, holder: int) -> int:
        """Return the length of a holder's share: seeds only for the first t - 1 holders."""
        full = RING.polynomial_bytes + polynomial_bytes(MASKS)
        seeds = ID_BYTES * self.sets_of_holder
        return HEADER_BYTES + (ID_BYTES if holder < self.threshold else full) + seeds

    def answer_bytes(self, dealings: int = 1) -> int:
        """Return the length of a holder's answer to the check of so many dealings."""
        each = polynomial_bytes(MASKS) + ID_BYTES * self.sets_of_holder
        return HEADER_BYTES + dealings * each

    def client_bytes(self, values: int) -> int:
        """Return what a client sends in a round: ciphertext, check polynomial, all shares."""
        shares = sum(self.share_bytes(j) for j in range(1, self.holders + 1))
        return self.ciphertext_bytes(values) + self.check_bytes + shares

    def statistical_bits(self, values: int, rounds: int = 1) -> float:
        """Return the statistical security of smudging, in bits, over all coefficients and rounds.

        smudge_bits - log2(clients 21) - log2(coefficients) - log2(rounds). What smudging hides is
        the sum of the errors of one round's keys; docs/decisions/0015 says what that would give.
        """
        coefficients = self.polynomials(values) * RING.n
        return self.smudge_bits - log2(self.clients * ERROR_BOUND * coefficients * max(rounds, 1))

    def to_json(self) -> dict[str, Any]:
        """Return the parameters as JSON; n and the primes belong to the format."""
        return {"format": FORMAT, **{name: getattr(self, name) for name in _FIELDS[1:]}}

    @classmethod
    def from_json(cls, value: object, where: str = "parameters") -> RlweParameters:
        """Read what `to_json` wrote. Raises InvalidInput, naming `where`."""
        if not isinstance(value, dict) or set(value) != set(_FIELDS) or value["format"] != FORMAT:
            raise InvalidInput(f"{where}: expected an object of {FORMAT}: {', '.join(_FIELDS)}")
        numbers = [value[name] for name in _FIELDS[1:]]
        if any(type(number) is not int for number in numbers):
            raise InvalidInput(f"{where}: the parameters are integers")
        return cls(*numbers)


@dataclass(frozen=True)
class Round:
    """One round of a session: the parameters, and how many values each client encrypts.

    `session` names the session by 32 bytes (a digest of what its parties agreed on); a number is
    used once in a session. Every random polynomial that clients share follows from `seed`, so
    nobody chooses it and no two rounds have the same.
    """

    parameters: RlweParameters
    session: bytes
    number: int
    values: int

    def __post_init__(self) -> None:
        if len(self.session) != ID_BYTES:
            raise InvalidInput(f"round: a session is named by {ID_BYTES} bytes")
        if not 0 <= self.number < 1 << 63:
            raise InvalidInput("round: a number is at least 0 and below 2^63")
        self.parameters.polynomials(self.values)

    @property
    def seed(self) -> bytes:
        """SHA-256 of domain, parameters, session, number, values; it also names the round."""
        numbers = self.number.to_bytes(8, "big") + self.values.to_bytes(8, "big")
        identifier = self.parameters.identifier
        return sha256(b"zkai/rlwe/round/1\0" + identifier + self.session + numbers)

    @property
    def polynomials(self) -> int:
        """How many polynomials a ciphertext of this round has."""
        return self.parameters.polynomials(self.values)
