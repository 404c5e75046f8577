"""A small circuit with a commitment round, its keys and its forgers, shared by several tests.

The statement: the public pair x is (v, 2v) for a private v. It is checked by a challenge alone,
(x1 - v1) + (x2 - v2) alpha = 0, so that whoever knows alpha before v is fixed can cheat.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from proof_support import write_first_phase

from zkai import native
from zkai.circuit.builder import Builder
from zkai.circuit.r1cs import Circuit, Partial
from zkai.circuit.second_round import define_product
from zkai.circuit.tensor import Field, Rows, Tensor, as_tensor
from zkai.encoding import BASE_MODULUS, FIELD_MODULUS, to_limbs
from zkai.proof.commit import argument, ceremony
from zkai.proof.commit.keyfile import partition
from zkai.proof.commit.keys import CommitKeys, CommitProof
from zkai.proof.commit.setup import setup
from zkai.proof.points import G1, g1_words
from zkai.proof.ptau import prepare
from zkai.proof.ratio import g1_from_words
from zkai.proof.scalars import no_progress, random_scalar

R = FIELD_MODULUS
STATEMENT = "double/1"
FOLD, ALPHA = 0, 1
"""The places of the challenges that the tests reason about."""


@functools.cache
def folder() -> Path:
    """A folder that lives as long as the test run."""
    _folders.append(tempfile.TemporaryDirectory(prefix="zkai-test-"))
    return Path(_folders[-1].name)


_folders: list[tempfile.TemporaryDirectory[str]] = []


def _wire(field: Field, i: int) -> Tensor:
    return Tensor((), Rows.of_wires(field.wires[i : i + 1]), None)


@functools.cache
def circuit(factor: int = 2) -> Circuit:
    """x = (v, factor * v); another factor makes another circuit of the same sizes."""
    builder = Builder("double", commit=True)
    x = builder.public_field("x", 2)
    v = builder.private_field("v", 2)
    builder.require_round_one(x, v)
    alpha = builder.challenge("alpha")
    one = as_tensor(1)
    builder.constrain(_wire(v, 0) * factor, one, _wire(v, 1), "double")
    second = define_product(builder, "second", _wire(x, 1) - _wire(v, 1), alpha)
    builder.constrain(second + _wire(x, 0) - _wire(v, 0), one, one * 0, "same")
    return builder.build()


def begin(v: int = 3, x: Sequence[int] | None = None) -> Partial:
    """Round 1; a true statement by default."""
    values = [v % R, 2 * v % R]
    return circuit().begin({"v": values, "x": values if x is None else [a % R for a in x]})


@functools.cache
def keys() -> CommitKeys:
    """A development key."""
    return setup(circuit(), STATEMENT, folder() / "keys")


def fixed(*values: int) -> Callable[[], np.ndarray]:
    """Return a source of known scalars."""
    rest = iter(values)
    return lambda: to_limbs([next(rest)])


TOXIC = (1009, 2003, 3001, 4001, 5003)
"""tau, alpha, beta, delta1, delta2 of the key that tests know everything about."""


@functools.cache
def known_keys(delta1: int = TOXIC[3]) -> CommitKeys:
    """A key whose secrets the tests know; equal deltas need `known_deltas` switched off."""
    path = folder() / f"known{delta1}"
    return setup(circuit(), STATEMENT, path, scalars=fixed(*TOXIC[:3], delta1, TOXIC[4]))


@functools.cache
def proof() -> CommitProof:
    """An honest proof with the development key."""
    return argument.prove(circuit(), keys().proving, begin(), STATEMENT)


def add(*points: G1) -> G1:
    """Return the sum of points."""
    total = g1_words(None)
    for point in points:
        total = native.g1_add(total, g1_words(point))
    return g1_from_words(total)


def negative(point: G1) -> G1:
    """Return the point's inverse."""
    return None if point is None else (point[0], -point[1] % BASE_MODULUS)


def late_proof(
    used: CommitKeys, x: Sequence[int], d: G1, public: Sequence[int], mend: bool
) -> CommitProof:
    """Forge: choose v after alpha. With `mend`, C makes up for what D should have held.

    v satisfies (x1 - v) + (x2 - 2v) alpha = 0, whatever x is.
    """
    alpha = public[1 + ALPHA]
    v = (x[0] + x[1] * alpha) * pow(1 + 2 * alpha, -1, R) % R
    witness = circuit().finish(begin(v, x), public[1:])
    circuit().check(witness)
    first, second = partition(circuit())
    t = random_scalar()
    a, b, c = argument._points(
        circuit(), used.proving, witness, second, t, random_scalar, no_progress
    )
    true_d = argument._commitment(used.proving, witness[first], t)
    found = g1_from_words(c)
    return CommitProof(
        STATEMENT,
        circuit().digest,
        used.verifying.digest,
        used.verifying.key_status,
        {"x": tuple(value % R for value in x)},
        g1_from_words(a),
        argument.g2_from_words(b),
        add(found, true_d, negative(d)) if mend else found,
        d=d if mend else true_d,
    )


def values_of(p: CommitProof) -> list[int]:
    """Return the public values in order."""
    return list(p.public["x"])


def committed(used: CommitKeys, v: int, x: Sequence[int], t: int) -> G1:
    """Return the commitment to round 1."""
    first, _ = partition(circuit())
    witness = circuit().round_one(begin(v, x))
    return argument._commitment(used.proving, witness[first], to_limbs([t]))


# A ceremony ------------------------------------------------------------------------------------


@functools.cache
def the_ceremony() -> ceremony.Ceremony:
    """The ceremony of the circuit on a .ptau with one recorded contribution."""
    plain, prepared = folder() / "plain.ptau", folder() / "prepared.ptau"
    write_first_phase(plain, 4, "first")
    prepare(plain, prepared)
    return ceremony.Ceremony(circuit(), STATEMENT, prepared)


@functools.cache
def ceremony_files() -> list[Path]:
    """The .zkck after each step: initial, first party, second party, beacon."""
    paths = [folder() / f"ceremony{i}.zkck" for i in range(4)]
    run = the_ceremony()
    ceremony.init(run, paths[0])
    ceremony.contribute(run, paths[0], paths[1], "first", b"some entropy")
    ceremony.contribute(run, paths[1], paths[2], "second")
    ceremony.beacon(run, paths[2], paths[3], b"public value", 10, "beacon")
    return paths


@functools.cache
def ceremony_keys() -> CommitKeys:
    """The key of the finished ceremony."""
    return ceremony.finalize(the_ceremony(), ceremony_files()[3], folder() / "ceremony")


def public_of(p: CommitProof, used: CommitKeys) -> list[int]:
    """Return y and the challenges of a proof."""
    return used.verifying.public_wires(values_of(p), p.d)
