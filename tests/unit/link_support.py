"""A small circuit with two linked states, its keys and its forger, shared by several tests.

The statement: the new state is the old one plus `step`, element by element. It is short enough for
every attack to be told from the argument in docs/decisions/0008-kzg-link.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from commit_support import TOXIC, R, fixed, folder
from proof_support import write_first_phase

from zkai.circuit.builder import Builder
from zkai.circuit.gadgets.link import links
from zkai.circuit.r1cs import Circuit, combine
from zkai.encoding import Limbs, from_limbs, to_limbs
from zkai.proof.commit import argument, ceremony
from zkai.proof.commit.keyfile import partition
from zkai.proof.commit.keys import CommitKeys, CommitProof
from zkai.proof.commit.link import commit, link_value
from zkai.proof.commit.setup import setup
from zkai.proof.points import G1
from zkai.proof.ptau import prepare
from zkai.proof.scalars import no_progress, random_scalar

STATEMENT = "move/1"
OLD = np.array([5, -7, 11])
STEP = 2
BLINDERS = ([21, 22, R - 23, 24], [31, 32, 33, 34])

Polynomials = list[Limbs]
Fake = Callable[[int, int, Polynomials], Polynomials]
"""Other polynomials to commit to, for fold and v where the forger knows them."""


@functools.cache
def circuit() -> Circuit:
    """new = old + step, with the polynomials old_link and new_link."""
    builder = Builder("move", commit=True, links=2)
    step = builder.public_int("step")
    builder.public_field("old_link"), builder.public_field("new_link")
    old = builder.private_int("old", (3,))
    new = builder.private_int("new", (3,))
    blinders = [builder.private_field(name, 4) for name in ("old_blinders", "new_blinders")]
    links(builder).bind("old_link", [old], blinders[0])
    links(builder).bind("new_link", [new], blinders[1])
    builder.constrain_equal(old + step.broadcast_to((3,)), new, "move")
    return builder.build()


def coefficients(of: Circuit, new: Sequence[int] | None = None) -> Polynomials:
    """The two polynomials of an honest witness."""
    partial = of.begin(inputs([0, 0], new))
    return [combine(link.coefficients.rows, partial.witness) for link in of.links]


def inputs(names: Sequence[int], new: Sequence[int] | None = None) -> dict[str, object]:
    """Round 1 for links with these names; the new state is the true one by default."""
    return {
        "step": STEP,
        "old_link": [names[0]],
        "new_link": [names[1]],
        "old": OLD,
        "new": OLD + STEP if new is None else np.asarray(new),
        "old_blinders": BLINDERS[0],
        "new_blinders": BLINDERS[1],
    }


@functools.cache
def known_keys() -> CommitKeys:
    """A development key whose secrets the tests know."""
    return setup(circuit(), STATEMENT, folder() / "linked", scalars=fixed(*TOXIC))


def powers(keys: CommitKeys) -> Limbs:
    """[tau^i] of a key."""
    return keys.proving.file.g1(12)


def prove(keys: CommitKeys | None = None, of: Circuit | None = None) -> CommitProof:
    """An honest proof."""
    keys, of = keys or known_keys(), of or circuit()
    names = [link_value(keys.proving.commit(p)) for p in coefficients(of)]
    return argument.prove(of, keys.proving, of.begin(inputs(names)), STATEMENT)


@functools.cache
def proof() -> CommitProof:
    """One honest proof under the known key."""
    return prove()


def craft(
    fakes: Polynomials | Fake,
    names: Sequence[int] | None = None,
    of: Circuit | None = None,
    keys: CommitKeys | None = None,
) -> CommitProof:
    """Forge: the rows hold for the true states, the commitments and the opening are of `fakes`.

    A function as `fakes` is asked after the challenges, which then do not hash its commitments.
    """
    of, keys = of or circuit(), keys or known_keys()
    file, first = keys.proving.file, partition(of)[0]
    early = [] if callable(fakes) else fakes
    commitments: list[G1] = [commit(powers(keys), p) for p in early]
    if names is None:
        names = [link_value(point) for point in commitments]
    partial = of.begin(inputs(names))
    committed = of.round_one(partial)
    t = random_scalar()
    d = argument._commitment(keys.proving, committed[first], t)
    values = from_limbs(of.signal_values(committed))
    seed = keys.verifying.seed(values, d, commitments)
    public = keys.verifying.public_wires(values, d, commitments)
    tamper = None
    if callable(fakes):
        fakes = fakes(public[1], 0, coefficients(of))
        commitments = [commit(powers(keys), p) for p in fakes]
    if "free" in {step.label for step in of.steps}:
        values_at = iter([value_at(p, public[1]) for p in fakes])
        tamper = {
            "free": lambda _: to_limbs([next(values_at)]),
            "free#2": lambda _: to_limbs([next(values_at)]),
        }
    witness = of.finish(partial, public[1:], tamper)
    of.check(witness)
    a, b, c = argument._points(
        of, keys.proving, witness, partition(of)[1], t, random_scalar, no_progress
    )
    assert file is keys.proving.file
    return replace(
        proof() if of is circuit() else empty(of, keys),
        vk_digest=keys.verifying.digest,
        public={"step": (STEP,), "old_link": (names[0],), "new_link": (names[1],)},
        a=argument.g1_from_words(a),
        b=argument.g2_from_words(b),
        c=argument.g1_from_words(c),
        d=d,
        link=argument._open(of, keys.proving, witness, fakes, commitments, seed),
    )


def empty(of: Circuit, keys: CommitKeys) -> CommitProof:
    """A proof's names, without points."""
    return CommitProof(
        STATEMENT, of.digest, keys.verifying.digest, "development", {}, None, None, None, d=None
    )


def value_at(polynomial: Limbs, point: int) -> int:
    """Return the polynomial's value."""
    return sum(c * pow(point, i, R) for i, c in enumerate(from_limbs(polynomial))) % R


def plus(polynomial: Limbs, *terms: int) -> Limbs:
    """Return the polynomial plus one with these coefficients."""
    values = from_limbs(polynomial)
    return to_limbs([(c + (terms[i] if i < len(terms) else 0)) % R for i, c in enumerate(values)])


@functools.cache
def the_ceremony() -> ceremony.Ceremony:
    """The ceremony of the circuit on a .ptau with one recorded contribution."""
    plain, prepared = folder() / "link_plain.ptau", folder() / "link.ptau"
    write_first_phase(plain, 5, "first")
    prepare(plain, prepared)
    return ceremony.Ceremony(circuit(), STATEMENT, prepared)


@functools.cache
def ceremony_files() -> list[Path]:
    """The .zkck after each step: initial, a party, beacon."""
    paths = [folder() / f"link{i}.zkck" for i in range(3)]
    ceremony.init(the_ceremony(), paths[0])
    ceremony.contribute(the_ceremony(), paths[0], paths[1], "party")
    ceremony.beacon(the_ceremony(), paths[1], paths[2], b"public value", 10, "beacon")
    return paths
