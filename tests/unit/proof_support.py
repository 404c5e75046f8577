"""A small circuit with its keys, shared by the tests of keys, proofs and ceremonies."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from zkai.circuit.builder import Builder
from zkai.circuit.r1cs import Circuit, Witness
from zkai.encoding import FIELD_MODULUS, Limbs, from_limbs, to_limbs
from zkai.proof import ceremony, groth16
from zkai.proof.keys import Proof
from zkai.proof.phase1 import beacon_keys
from zkai.proof.powers import write_powers
from zkai.proof.proving_keys import Keys
from zkai.proof.ptau import prepare
from zkai.proof.setup import setup

STATEMENT = "power/1"
ROWS = 6
START = 3**150 % FIELD_MODULUS


@functools.cache
def folder() -> Path:
    """A folder that lives as long as the test run."""
    _folders.append(tempfile.TemporaryDirectory(prefix="zkai-test-"))
    return Path(_folders[-1].name)


_folders: list[tempfile.TemporaryDirectory[str]] = []


def circuit(step: int = 5) -> Circuit:
    """x_{i+1} = x_i^2 + step from a private start; public: the result and two unused signals."""
    return _circuit(step)


@functools.cache
def _circuit(step: int) -> Circuit:
    builder = Builder("power")
    result = builder.public_field("result")
    builder.public_field("spare", 2)
    start = builder.private_field("start")
    middle = builder.field_hint("chain", lambda x: _values(x, step), [start], ROWS - 1)
    wires = np.concatenate([start.wires, middle.wires, result.wires])
    one, minus_step = builder.coef_ids([1, -step])
    rows = np.arange(ROWS + 1)
    square = (rows, wires[:-1], np.full(ROWS, one, np.uint32))
    following = np.stack([np.zeros(ROWS, np.int64), wires[1:]], axis=1).ravel()
    coefs = np.tile(np.array([minus_step, one], np.uint32), ROWS)
    with builder.at("node"):
        builder.rows("square", square, square, (2 * rows, following, coefs))
    return builder.build()


def _values(start: Limbs, step: int) -> Limbs:
    values = from_limbs(start)
    for _ in range(ROWS - 1):
        values.append((values[-1] ** 2 + step) % FIELD_MODULUS)
    return to_limbs(values[1:])


def witness(step: int = 5) -> Witness:
    """A satisfying witness, with spare signals 7 and r - 1."""
    values = from_limbs(_values(to_limbs([START]), step))
    result = (values[-1] ** 2 + step) % FIELD_MODULUS
    return circuit(step).solve({"result": result, "spare": [7, FIELD_MODULUS - 1], "start": START})


def keys(step: int = 5) -> Keys:
    """A development key."""
    return _keys(step)


@functools.cache
def _keys(step: int) -> Keys:
    return setup(circuit(step), STATEMENT, folder() / f"keys{step}")


@functools.cache
def proof() -> Proof:
    """A proof with the development key."""
    return groth16.prove(circuit(), keys().proving, witness(), STATEMENT)


def write_first_phase(path: Path, power: int, name: str) -> None:
    """Write powers with one contribution that does not say that it is for development."""
    write_powers(path, power, name, beacon_keys(os.urandom(32)))


@functools.cache
def ptau() -> Path:
    """A prepared .ptau for 16 rows with one recorded contribution."""
    plain, prepared = folder() / "plain.ptau", folder() / "prepared.ptau"
    write_first_phase(plain, 4, "first")
    prepare(plain, prepared)
    return prepared


@functools.cache
def ceremony_files() -> list[Path]:
    """The .zkey after each step: initial, first party, second party, beacon."""
    paths = [folder() / f"ceremony{i}.zkey" for i in range(4)]
    ceremony.init(circuit(), STATEMENT, ptau(), paths[0])
    ceremony.contribute(paths[0], paths[1], "first", b"some entropy")
    ceremony.contribute(paths[1], paths[2], "second")
    ceremony.beacon(paths[2], paths[3], b"public value", 10, "beacon")
    return paths


@functools.cache
def ceremony_keys() -> Keys:
    """The key of the finished ceremony."""
    return ceremony.finalize(
        circuit(), STATEMENT, ptau(), ceremony_files()[3], folder() / "ceremony"
    )


def copy(path: Path, target: Path, changes: dict[int, bytes]) -> Path:
    """Copy a file and overwrite the bytes at each offset."""
    shutil.copyfile(path, target)
    with open(target, "r+b") as file:
        for offset, data in changes.items():
            file.seek(offset)
            file.write(data)
    return target


def section(path: Path, kind: int) -> tuple[int, int]:
    """Return the offset and size of a section."""
    data, position = path.read_bytes(), 12
    while position < len(data):
        found = int.from_bytes(data[position : position + 4], "little")
        size = int.from_bytes(data[position + 4 : position + 12], "little")
        position += 12
        if found == kind:
            return position, size
        position += size
    raise AssertionError(f"no section {kind}")
