"""Encrypted updates between `zkai.he` and the proof: what was sent, in the proof's numbers.

A client sends a ciphertext and a check polynomial, under one secret, and the digest of the sealed
shares of that secret. The proof's public polynomials are these and the round's uniform ones, which
everybody expands from the seed; its signals `ciphertext` and `seed` fix all of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from zkai import native
from zkai.circuit.statements.apply_aggregate import ApplyAggregate
from zkai.circuit.statements.encrypted_update import (
    MAX_NORM,
    VERSION,
    EncryptedUpdate,
    paired_polynomials,
)
from zkai.circuit.statements.encryption import Encryption
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.linked import POSEIDON, WeightsCommitment
from zkai.circuit.statements.query import Query
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import Limbs, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.he.client import Opening, check_mask, masks
from zkai.he.dealing import open_check
from zkai.he.parameters import RlweParameters, Round
from zkai.he.ring import ERROR_BOUND
from zkai.he.wire import Kind, open_polynomials
from zkai.model.heads import Head
from zkai.opening import UserState
from zkai.proof import formats
from zkai.proof.commit.keys import CommitProof
from zkai.proof.formats import Proof, VerifyingKey
from zkai.reader import Reader, read_two_states

LABEL = b"zkai/encrypted-update/1\0"


@dataclass(frozen=True)
class Sent:
    """What a client sent in a round: framed bytes, and the digest of its sealed shares.

    Raises InvalidInput, naming the part, for bytes that are not of this round or of one key.
    """

    round: Round
    ciphertext: bytes
    check: bytes
    dealing: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.dealing, bytes) or len(self.dealing) != 32:
            raise InvalidInput("dealing: expected the 32 bytes of a digest")
        self.residues()

    def residues(self) -> tuple[bytes, Limbs]:
        """Return the key's identifier, and all polynomials (P, L, n), the check's first."""
        for what, data in (("check polynomial", self.check), ("ciphertext", self.ciphertext)):
            if not isinstance(data, bytes):
                raise InvalidInput(f"{what}: expected bytes, got {type(data).__name__}")
        key, check, _ = open_check(self.round, self.check, "check polynomial")
        other, body = open_polynomials(
            self.ciphertext, Kind.CIPHERTEXT, self.round, self.round.polynomials, "ciphertext"
        )
        if key != other:
            raise InvalidInput("check polynomial: of another key than the ciphertext")
        return key, np.concatenate([check, body])

    def polynomials(self) -> dict[str, Limbs]:
        """Return c and a, one polynomial after the other, as an `EncryptedUpdate` takes them."""
        ring = self.round.parameters.ring
        key, c = self.residues()
        first = check_mask(self.round, key, self.dealing)
        rest = masks(self.round, 0, self.round.polynomials)
        a = ring.coefficients(np.concatenate([first[None], rest]))
        return {"c": _elements(ring.lift(c)), "a": _elements(ring.lift(a))}

    def signals(self) -> dict[str, int]:
        """Return the signals `ciphertext` and `seed`: 248 bits of SHA-256 each.

        ciphertext = SHA-256(label || SHA-256(ciphertext) || SHA-256(check) || dealing) >> 8, and
        seed = the round's seed >> 8. Together they fix every polynomial.
        """
        digest = sha256(LABEL + sha256(self.ciphertext) + sha256(self.check) + self.dealing)
        return {"ciphertext": _shifted(digest), "seed": _shifted(self.round.seed)}


def _shifted(digest: bytes) -> int:
    return int.from_bytes(digest[:31], "big")


def _elements(words: Limbs) -> Limbs:
    """Return 128-bit integers in two's complement (..., n, 2) as field elements (k, 4)."""
    flat = words.reshape(-1, 2)
    negative = flat[:, 1] >> np.uint64(63) == 1
    size = flat.copy()
    size[negative] = ~size[negative]
    size[negative, 0] += np.uint64(1)
    size[negative & (size[:, 0] == 0), 1] += np.uint64(1)
    elements = np.zeros((len(flat), 4), np.uint64)
    elements[:, :2] = size
    elements[negative] = native.fr_sub(
        np.zeros((int(negative.sum()), 4), np.uint64), elements[negative]
    )
    return elements


def encryption_of(parameters: RlweParameters) -> Encryption:
    """Return a round's parameters as a circuit's constants."""
    ring = parameters.ring
    return Encryption(
        ring.n,
        ring.primes,
        parameters.values_per_coefficient,
        parameters.value_bits,
        ERROR_BOUND,
    )


def encrypted_update(
    head: Head,
    parameters: RlweParameters,
    weights_commitment: WeightsCommitment = POSEIDON,
    update_bits: int | None = None,
    max_weight: int = 1,
) -> EncryptedUpdate:
    """Return the statement for a head's updates in rounds of these parameters.

    Without update_bits a value has `default_bits`.

    Raises InvalidInput where the bound leaves no bits, or fewer than update_bits.
    """
    bits = default_bits(parameters, max_weight) if update_bits is None else update_bits
    check_bits(bits, parameters, max_weight)
    return EncryptedUpdate(head, encryption_of(parameters), bits, weights_commitment, max_weight)


def default_bits(parameters: RlweParameters, max_weight: int = 1) -> int:
    """Return the signed bits of values that fill the parameters' bound, 16 at most."""
    return min((parameters.bound // max(max_weight, 1)).bit_length(), 16)


def check_bits(update_bits: int, parameters: RlweParameters, max_weight: int = 1) -> None:
    """Return None if sums of values of so many signed bits, weighted, cannot overflow.

    Raises InvalidInput otherwise.
    """
    if type(max_weight) is not int or max_weight < 1:
        raise InvalidInput(f"{VERSION}: max_weight must be an integer of at least 1")
    if type(update_bits) is not int or not 2 <= update_bits <= 60:
        raise InvalidInput(f"{VERSION}: update_bits must be an integer in [2, 60]")
    if max_weight << (update_bits - 1) > parameters.bound:
        times = "" if max_weight == 1 else f" times {max_weight}"
        raise InvalidInput(
            f"{VERSION}: update_bits: {update_bits} bits{times} reach past {parameters.bound},"
            f" the bound for {parameters.clients} clients"
        )


def norm_bound(head: Head, norm: float) -> int:
    """Return a norm of real weights in the integers' last place, rounded down.

    Raises InvalidInput for what is negative, not finite or too large.
    """
    if isinstance(norm, bool) or not isinstance(norm, int | float) or not math.isfinite(norm):
        raise InvalidInput("norm: expected a finite number")
    bound = math.floor(norm * (1 << head.weight_scale_bits))
    if not 0 <= bound <= MAX_NORM:
        raise InvalidInput(f"norm: expected 0 to {MAX_NORM / (1 << head.weight_scale_bits):g}")
    return bound


def encrypted_values(
    statement: EncryptedUpdate, reader: Reader
) -> tuple[UserState, dict[str, Any]]:
    """Return the new state and the values of an encrypted update but its context.

    Takes old_state and new_state, sent (`Sent`), opening (`zkai.he.rlwe.Opening`), norm_bound, and
    weight where the statement has one.

    Raises InvalidInput, naming the value, for anything missing or of another type, for states that
    are not of one fork, and for a round of other parameters.
    """
    new, exact = read_two_states(reader, statement)
    sent = _typed(reader, "sent", Sent)
    opening = _typed(reader, "opening", Opening)
    if statement.encryption != encryption_of(sent.round.parameters):
        raise InvalidInput(f"{reader.where}: sent: of a round of other parameters")
    if sent.round.values != statement.n_values:
        raise InvalidInput(f"{reader.where}: sent: of a round of {sent.round.values} values")
    exact |= sent.signals() | sent.polynomials()
    exact["secret_key"] = opening.secret
    exact["errors"] = np.concatenate([opening.check_error[None], opening.errors])
    if statement.weighted:
        exact["weight"] = reader.take("weight", "an integer")
    exact["norm_bound"] = reader.take("norm_bound", "an integer, of `norm_bound`")
    return new, exact


def sent_query(statement: Query, reader: Reader) -> dict[str, Any]:
    """Return what an encrypted query's proof knows of its ciphertext.

    Takes sent (`Sent`) and opening. Raises InvalidInput, naming the value, for another type or a
    round of other parameters.
    """
    sent, opening = _typed(reader, "sent", Sent), _typed(reader, "opening", Opening)
    if statement.encryption != encryption_of(sent.round.parameters):
        raise InvalidInput(f"{reader.where}: sent: of a round of other parameters")
    errors = np.concatenate([opening.check_error[None], opening.errors])
    known = {"secret_key": opening.secret, "errors": errors}
    return {**known, **sent.signals(), **sent.polynomials()}


def verify_encrypted_query(
    proof: Proof,
    key: VerifyingKey,
    sent: Sent,
    statement: Query,
    *,
    norm_bound: int,
    verifier: str = "native",
    production: bool = False,
    trusted_digests: Collection[bytes | str] = (),
) -> None:
    """Return None if what a client sent encrypts the query under the proof's commitment.

    Raises VerificationError with the reason; InvalidInput for a malformed key, or a round of other
    parameters than the statement's.
    """
    if statement.encryption != encryption_of(sent.round.parameters):
        raise InvalidInput(f"{Query.version}: a round of other parameters than the statement's")
    if proof.statement != Query.version or not isinstance(proof, CommitProof):
        raise VerificationError(f"expected a proof of {Query.version}, got {proof.statement}")
    if sent.round.values != math.prod(statement.shape):
        raise InvalidInput(f"{Query.version}: a round of {sent.round.values} values")
    for name, value in (sent.signals() | {"encryption": statement.encryption_digest}).items():
        if proof.public.get(name) != (value,):
            raise VerificationError(f"the proof is about another {name}")
    if (found := proof.public.get("norm_bound", (MAX_NORM + 1,))[0]) > norm_bound:
        raise VerificationError(f"the proof allows a norm of {found}, above {norm_bound}")
    given = sent.polynomials()
    polynomials = statement.polynomials(given["c"], given["a"])
    formats.verify(proof, key, verifier, production, trusted_digests, polynomials)


def _typed(reader: Reader, name: str, kind: type) -> Any:
    value = reader.take(name, f"of type {kind.__name__}")
    if not isinstance(value, kind):
        found = type(value).__name__
        raise InvalidInput(f"{reader.where}: {name}: expected {kind.__name__}, got {found}")
    return value


def verify_encrypted_update(
    proof: Proof,
    key: VerifyingKey,
    sent: Sent,
    *,
    norm_bound: int,
    update_bits: int | None = None,
    max_weight: int = 1,
    verifier: str = "native",
    production: bool = False,
    trusted_digests: Collection[bytes | str] = (),
) -> None:
    """Return None if what a client sent encrypts the update between the proof's two states.

    `norm_bound`, `update_bits` and `max_weight` are what was agreed on: how long an update may be,
    how large a value (`default_bits`) and its weight: every value fits its place in a sum. Who
    trained these states is another question: `check_update_of`.

    Raises VerificationError with the reason; InvalidInput for a malformed key, or values that could
    overflow a sum of the round's clients.
    """
    parameters, values = sent.round.parameters, sent.round.values
    bits = default_bits(parameters, max_weight) if update_bits is None else update_bits
    check_bits(bits, parameters, max_weight)
    encryption = encryption_of(parameters)
    if proof.statement != VERSION or not isinstance(proof, CommitProof):
        raise VerificationError(f"expected a proof of {VERSION}, got {proof.statement}")
    wanted = sent.signals() | {"encryption": encryption.digest(values, bits, max_weight)}
    for name, value in wanted.items():
        if proof.public.get(name) != (value,):
            raise VerificationError(f"the proof is about another {name}")
    if (found := proof.public.get("norm_bound", (MAX_NORM + 1,))[0]) > norm_bound:
        raise VerificationError(f"the proof allows a norm of {found}, above {norm_bound}")
    polynomials = paired_polynomials(encryption, values, **sent.polynomials())
    formats.verify(proof, key, verifier, production, trusted_digests, polynomials)


BASES = (Genesis.version, ApplyAggregate.version)


def check_update_of(proof: Proof, history: Iterable[Proof]) -> None:
    """Return None if an encrypted update is the one of a history's training since its last base.

    `history` has a fork's proofs, which `verify_chain` has accepted. The update starts from the
    state of its last genesis or aggregate, ends in its last state, and there is a training step
    between. `verify_encrypted_update` has accepted the proof.

    Raises VerificationError, saying why, otherwise.
    """
    if proof.statement != VERSION:
        raise VerificationError(f"expected a proof of {VERSION}, and a history with its base")
    found = update_of(history)
    for name in ("old_state", "new_state"):
        if proof.public.get(name) != found[name]:
            which = "base" if name == "old_state" else "last state"
            raise VerificationError(f"the update's {name} is not the history's {which}")
    for name in ("user", "model", "fork"):
        if proof.public.get(name) != found[name]:
            raise VerificationError(f"the update is of another {name} than the history")


def update_of(history: Iterable[Proof]) -> dict[str, tuple[int, ...]]:
    """Return the public signals of the update that a history's training since its last base is.

    Raises VerificationError for a history without a base, or without training behind it.
    """
    proofs = list(history)
    bases = [place for place, p in enumerate(proofs) if p.statement in BASES]
    if not bases:
        raise VerificationError(f"expected a proof of {VERSION}, and a history with its base")
    base, last = proofs[bases[-1]], proofs[-1]
    if not any(p.statement == TrainingStep.version for p in proofs[bases[-1] + 1 :]):
        raise VerificationError("nothing was trained since the history's base")
    states = {"old_state": base.public["new_state"], "new_state": last.public["new_state"]}
    return states | {name: last.public[name] for name in ("user", "model", "fork")}
