"""A linear model of integers asked under RLWE: the query whose ciphertext a proof can be bound to.

    client   c = Delta x + e - A s,  b = e_0 - A_0 s        (`ClientKey`: x in the coefficients)
    server   (w c + r b + Delta v + e_1,  w A + r A_0 + e_2)
    client   first + second s = Delta (w x + v) + noise

w holds as many rows W_k of the model as fit: W_(k, i) at coefficient k n + n - 1 - i for n inputs,
so that coefficient k n + n - 1 of w x is W_k . x. v has the bias there and uniform numbers
elsewhere: of the model the client sees W x + bias and nothing else of w x. The second half is
hidden by r A_0 + e_2 (RLWE), and e_1, uniform below 2^60, hides w e + r e_0. The key is used once.

`query/1` with this encryption proves that c encrypts the committed query, and that e and e_0 are
small: a client who sends other ciphertexts can read more of w than it should, so a server that
cares asks for the proof.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np

from zkai import native_rlwe as native
from zkai.encoding import Limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.he.client import ClientKey, Opening, check_mask, masks
from zkai.he.dealing import open_check
from zkai.he.parameters import RING, RlweParameters, Round
from zkai.he.ring import ERROR_BOUND
from zkai.he.wire import Kind, open_polynomials
from zkai.native import Int64s

PARAMETERS = RlweParameters.choose(1, 2, 2, value_bits=40, values_per_coefficient=1)
"""One value of 40 bits a coefficient; there is no committee, whatever its numbers."""
DEALING = bytes(32)
"""Nothing is dealt: the check polynomial serves the server as a public key."""
LARGEST = 1 << 19
MAX_OUTPUTS = 1 << 14
SMUDGE_BITS, MASK_BITS = 60, PARAMETERS.value_bits - 1
_TERNARY, _ERRORS, _SMUDGE, _MASK = range(4)


def query_round(session: bytes, inputs: int) -> Round:
    """Return what a query is of; `session` is 32 fresh bytes. Raises InvalidInput for its size."""
    if not 1 <= inputs <= RING.n:
        raise InvalidInput(f"query: expected 1 to {RING.n} inputs, got {inputs}")
    return Round(PARAMETERS, session, 0, inputs)


@dataclass(frozen=True, eq=False)
class EncryptedQuery:
    """What a client sends: the round, and the framed bytes of ciphertext and check polynomial."""

    round: Round
    ciphertext: bytes = field(repr=False)
    check: bytes = field(repr=False)


class QueryKey:
    """A client's secret for one query of integers, shape (inputs,).

    Raises InvalidInput for another shape or type, or integers above the parameters' bound.
    """

    def __init__(self, query: Int64s) -> None:
        self._round = query_round(os.urandom(32), query.size)
        if query.dtype != np.int64 or int(np.abs(query).max()) >= LARGEST:
            raise InvalidInput(f"query: expected 64-bit integers below {LARGEST} in size")
        key = ClientKey(self._round)
        ciphertext, check = key.encrypt(query), key.check(DEALING)
        self.sent = EncryptedQuery(self._round, ciphertext, check)
        self.opening: Opening = key.opening()
        key.wipe()

    def __repr__(self) -> str:
        return f"QueryKey({self._round.values} inputs)"

    def open(self, answer: bytes, outputs: int) -> Int64s:
        """Return the model's answers (outputs,).

        Raises InvalidInput for bytes of another length or residues out of range, VerificationError
        if the noise is larger than an honest answer has.
        """
        return open_answer(self._round.values, self.opening.secret, answer, outputs)


def open_answer(inputs: int, secret: Int64s, answer: bytes, outputs: int) -> Int64s:
    """Return a model's answers (outputs,) to a query of so many inputs under a secret (n,).

    Raises InvalidInput for bytes of another length or residues out of range, VerificationError if
    the noise is larger than an honest answer has.
    """
    groups = -(-outputs // _per_group(inputs))
    residues = RING.unpack(answer, 2 * groups, "answer").reshape(groups, 2, *RING.shape)
    key = RING.ntt(RING.small(secret[None]))[0]
    masked = RING.multiply(RING.ntt(np.ascontiguousarray(residues[:, 1])), key)
    opened = RING.add(np.ascontiguousarray(residues[:, 0]), RING.coefficients(masked))
    messages, noise = native.round_off(RING.tables, opened, PARAMETERS.delta)
    if max(noise) > 1 << (SMUDGE_BITS + 1):
        raise VerificationError("answer: not one to this query: the noise is too large")
    return messages[:, _places(inputs)].reshape(-1)[:outputs].copy()


def answer_bytes(inputs: int, outputs: int) -> int:
    """Return the length of so many answers."""
    return 2 * -(-outputs // _per_group(inputs)) * RING.polynomial_bytes


def answer(query: EncryptedQuery, weights: Int64s, bias: Int64s) -> bytes:
    """Return the encrypted answers of a model, weights (outputs, inputs) and bias (outputs,).

    Raises InvalidInput for a query that is none, or a model of other shapes or whose answers could
    leave 40 bits.
    """
    inputs = query.round.values
    if weights.ndim != 2 or weights.shape[1] != inputs or bias.shape != weights.shape[:1]:
        raise InvalidInput(f"model: expected weights (outputs, {inputs}) and as many biases")
    if not 1 <= len(bias) <= MAX_OUTPUTS:
        raise InvalidInput(f"model: expected 1 to {MAX_OUTPUTS} outputs, got {len(bias)}")
    if query.round.parameters != PARAMETERS:
        raise InvalidInput("query: of a round of other parameters")
    key, c = open_polynomials(query.ciphertext, Kind.CIPHERTEXT, query.round, 1, "ciphertext")
    other, b, _ = open_check(query.round, query.check, "check polynomial")
    if key != other:
        raise InvalidInput("check polynomial: of another key than the ciphertext")
    w, v = _model(weights, bias, os.urandom(native.SEED_BYTES))
    w_ntt, seed = RING.ntt(RING.small(w)), os.urandom(native.SEED_BYTES)
    r = RING.ntt(RING.small(RING.ternary(seed, _TERNARY, len(w))))
    scaled = RING.combine(RING.small(v)[:, None], RING.residues([PARAMETERS.delta]))
    noise = (
        RING.add(scaled, RING.small(RING.smudge(seed, _SMUDGE, len(w), SMUDGE_BITS))),
        RING.small(RING.errors(seed, _ERRORS, len(w))),
    )
    pairs = (RING.ntt(c)[0], RING.ntt(b)[0]), (masks(query.round, 0, 1)[0], _mask(query, key))
    halves = [_half(w_ntt, r, pair, extra) for pair, extra in zip(pairs, noise, strict=True)]
    return RING.pack(np.stack(halves, 1))


def _half(w: Limbs, r: Limbs, pair: tuple[Limbs, Limbs], extra: Limbs) -> Limbs:
    """Return w f + r g + extra in coefficient form, for a pair (f, g) in NTT form."""
    product = RING.add(RING.multiply(w, pair[0]), RING.multiply(r, pair[1]))
    return RING.add(RING.coefficients(product), extra)


def _mask(query: EncryptedQuery, key: bytes) -> Limbs:
    return check_mask(query.round, key, DEALING)


def _per_group(inputs: int) -> int:
    return RING.n // inputs


def _places(inputs: int) -> Int64s:
    """Return the coefficients that hold answers."""
    return np.arange(_per_group(inputs), dtype=np.int64) * inputs + inputs - 1


def _model(weights: Int64s, bias: Int64s, seed: bytes) -> tuple[Int64s, Int64s]:
    """Return w and v (groups, N)."""
    outputs, inputs = weights.shape
    largest = int(np.abs(weights.astype(object)).sum(1).max())
    if largest >= 1 << 19 or int(np.abs(bias).max()) >= 1 << (MASK_BITS - 1):
        raise InvalidInput("model: a row's weights add up to 2^19 or more, or a bias is too large")
    per = _per_group(inputs)
    groups = -(-outputs // per)
    w = np.zeros((groups, RING.n), np.int64)
    v = RING.smudge(seed, _MASK, groups, MASK_BITS)
    padded = np.zeros((groups * per, inputs), np.int64)
    padded[:outputs] = weights[:, ::-1]
    w[:, : per * inputs] = padded.reshape(groups, per * inputs)
    added = np.zeros(groups * per, np.int64)
    added[:outputs] = bias
    v[:, _places(inputs)] = added.reshape(groups, per)
    return w, v


assert ERROR_BOUND << 32 < 1 << SMUDGE_BITS
