"""query/1: a committed query is well-formed: so many integers, each in range, not too long.

Specified in circuits/query/README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt, prod
from typing import Any, ClassVar

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.norm import sum_of_squares
from zkai.circuit.gadgets.range import check_range, check_signed, signed_bound
from zkai.circuit.r1cs import Circuit
from zkai.circuit.statements import commitments
from zkai.circuit.statements.base import (
    COMMIT,
    PLAIN,
    Format,
    PublicValues,
    bind_context,
    check_format,
    check_names,
    describe_format,
    field_element,
    int_tensor,
    integer,
)
from zkai.circuit.statements.encrypted import ciphertext, public_polynomials
from zkai.circuit.statements.encrypted_update import (
    KNOWN,
    ciphertext_inputs,
    paired_polynomials,
)
from zkai.circuit.statements.encryption import Encryption
from zkai.circuit.tensor import Field, Tensor
from zkai.errors import InvalidInput

VERSION = "query/1"

MAX_NORM = (1 << 30) - 1
MAX_INPUTS, MAX_DIMENSIONS = 1 << 14, 4
WIDTHS = (2, 24)
FIELD_INPUTS = ("input_salt", "context")
SENT = ("ciphertext", "seed")


@dataclass(frozen=True)
class Query:
    """Prove that a commitment holds a query of this shape: integers of `width` bits with sign.

    It is the commitment that an inference has of a committed input of the same shape and width, so
    that both proofs can speak of one query. `norm_bound` is a public signal. Real numbers are
    scaled by 2**scale_bits. With an `encryption` it is also what a ciphertext of threshold RLWE
    encrypts, as in an encrypted update: a verifier needs that ciphertext
    (`zkai.encrypted.verify_encrypted_query`).

    Raises InvalidInput, naming the part, for sizes out of range.
    """

    shape: tuple[int, ...]
    width: int
    scale_bits: int = 0
    format: Format = PLAIN
    encryption: Encryption | None = None
    version: ClassVar[str] = VERSION

    def __post_init__(self) -> None:
        check_format(VERSION, self.format)
        if not isinstance(self.shape, tuple) or not 1 <= len(self.shape) <= MAX_DIMENSIONS:
            raise InvalidInput(f"{VERSION}: shape: expected 1 to {MAX_DIMENSIONS} lengths")
        for length in self.shape:
            integer(VERSION, "shape", length, 1, MAX_INPUTS)
        integer(VERSION, "shape", prod(self.shape), 1, MAX_INPUTS)
        integer(VERSION, "width", self.width, *WIDTHS)
        integer(VERSION, "scale_bits", self.scale_bits, 0, 32)
        if self.encryption is None:
            return
        if not isinstance(self.encryption, Encryption) or self.format != COMMIT:
            raise InvalidInput(f"{VERSION}: encryption: expected an Encryption, and {COMMIT!r}")
        integer(VERSION, "width", self.width, WIDTHS[0], self.encryption.value_bits)

    @property
    def largest_norm(self) -> int:
        """A bound that every query in range keeps: it says nothing of the query."""
        return min(isqrt(prod(self.shape) << (2 * self.width - 2)) + 1, MAX_NORM)

    def build(self) -> Circuit:
        """Return the statement's circuit; equal statements share one."""
        return _build(self.shape, self.width, self.format, self.encryption)

    def describe(self) -> dict[str, Any]:
        """Return every static choice, for canonical JSON."""
        description: dict[str, Any] = {"statement": VERSION, "shape": list(self.shape)}
        description |= {"width": self.width, "scale_bits": self.scale_bits}
        if self.encryption is not None:
            description["encryption"] = self.encryption.describe()
        return description | describe_format(self.format)

    @property
    def encryption_digest(self) -> int:
        """The signal `encryption`, where there is one."""
        assert self.encryption is not None
        return self.encryption.digest(prod(self.shape), self.width)

    def polynomials(self, c: Any, a: Any) -> dict[str, Any]:
        """Return the public polynomials' coefficients, from the ciphertext's and the round's."""
        assert self.encryption is not None
        return paired_polynomials(self.encryption, prod(self.shape), c, a)

    def assign(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the circuit's inputs.

        `values`: input of the statement's shape; norm_bound, in units of the integers; and the
        field elements input_salt and context. With an encryption also secret_key, errors, c, a,
        ciphertext and seed, as an `EncryptedUpdate` has them.

        Raises InvalidInput, naming the tensor or value, for anything missing, unknown, of another
        shape or type, or out of range.
        """
        fields = FIELD_INPUTS if self.encryption is None else (*FIELD_INPUTS, *SENT)
        known = () if self.encryption is None else KNOWN
        check_names(VERSION, values, ("input", "norm_bound", *fields, *known))
        low, high = signed_bound(self.width)
        x = int_tensor(VERSION, "input", values["input"], self.shape, low, high)
        bound = integer(VERSION, "norm_bound", values["norm_bound"], 0, MAX_NORM)
        if int((x.astype(object) ** 2).sum()) > bound * bound:
            raise InvalidInput(f"{VERSION}: the query is longer than norm_bound {bound}")
        inputs: dict[str, Any] = {"input_values": x, "norm_bound": bound}
        inputs |= {n: field_element(VERSION, n, values[n]) for n in fields}
        if self.encryption is None:
            return inputs
        return inputs | ciphertext_inputs(self.encryption, x.ravel(), values, VERSION)

    def public_values(self, values: Mapping[str, Any]) -> PublicValues:
        """Return the public signals of `values`, computed without the circuit."""
        given = self.assign(values)
        x = np.asarray(given["input_values"])
        salt, signals = given["input_salt"], PublicValues()
        signals["input"] = commitments.tensor_commitment([(x, self.width)], salt)
        if self.encryption is not None:
            signals["encryption"] = self.encryption_digest
            signals |= {name: given[name] for name in SENT}
        return signals | {"norm_bound": given["norm_bound"], "context": given["context"]}


@lru_cache(maxsize=4)
def _build(
    shape: tuple[int, ...], width: int, proof_format: Format, encryption: Encryption | None
) -> Circuit:
    polynomials = () if encryption is None else public_polynomials(encryption, prod(shape))
    builder = Builder(VERSION, commit=proof_format != PLAIN, polynomials=polynomials)
    signal, sent = builder.public_field("input"), dict[str, Field]()
    if encryption is not None:
        sent = {name: builder.public_field(name) for name in ("encryption", *SENT)}
    norm_bound, context = builder.public_int("norm_bound"), builder.public_field("context")
    for given in (context, *(sent[name] for name in SENT if sent)):
        bind_context(builder, given)
    with builder.at("input"):
        x = check_signed(builder, builder.private_int("input_values", shape), width, "input")
        salt = builder.private_field("input_salt")
        builder.bind_public(signal, commitments.tensor_gadget(builder, [(x, width)], salt))
    with builder.at("norm"):
        bound = check_range(builder, norm_bound, 0, MAX_NORM, "norm_bound")
        left = builder.multiply(bound, bound, "norm") - sum_of_squares(builder, x)
        check_range(builder, Tensor((), left.rows, None), 0, MAX_NORM * MAX_NORM, rule="norm bound")
    if encryption is not None:
        with builder.at("encryption"):
            constant = builder.constant_field([encryption.digest(x.size, width)])
            builder.bind_public(sent["encryption"], constant)
        with builder.at("ciphertext"):
            ciphertext(builder, encryption).bind(x.reshape(x.size))
    return builder.build()
