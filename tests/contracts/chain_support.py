"""The vectors, compiled contracts and answers that the contract tests share."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.ceremony_record import recorded
from zkai.chain.abi import decode_revert, verify_calldata
from zkai.chain.artifact import load_artifact
from zkai.chain.chain import Chain
from zkai.chain.render import render_words
from zkai.chain.verifier import key_words
from zkai.proof.keys import KeyDocument, Proof, VerifyingKey

ROOT = Path(__file__).resolve().parent.parent.parent
COUNTS = (0, 1, 2, 9, 64)


def _program(folder: str, name: str) -> ModuleType:
    """A program that is in no installed package."""
    path = ROOT / folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{folder}_{name}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


build = _program("contracts", "build")
make_vectors = _program("contracts", "make_vectors")
node_program = _program("bench", "_anvil")

ABI = load_artifact("Groth16Verifier").abi


@dataclass(frozen=True)
class Case:
    """One proof and what a verifier must say of it: None or the contract's error."""

    name: str
    error: str | None
    proof: list[int]
    publics: list[int]


@dataclass(frozen=True)
class Vectors:
    """A key and the cases under it."""

    vk: VerifyingKey
    cases: list[Case]

    @property
    def valid(self) -> Case:
        return self.cases[0]


@cache
def vectors(n: int) -> Vectors:
    """The vectors of `n` public inputs."""
    record = json.loads((ROOT / "contracts" / "vectors" / f"groth16_{n}.json").read_text())
    cases = [
        Case(
            row["name"],
            row["error"],
            [int(v, 16) for v in row["proof"]],
            [int(v, 16) for v in row["publics"]],
        )
        for row in record["cases"]
    ]
    return Vectors(_key(n, record["key"]), cases)


def _key(n: int, document: dict[str, Any]) -> VerifyingKey:
    """The key of a file of vectors; one that claims a ceremony is given the record it lacks."""
    if document["key_status"] == "ceremony":
        delta = make_vectors.Key(f"groth16/{n}", n).delta
        document = {**document, "ceremony": recorded((delta,)).to_json()}
    return VerifyingKey.from_json(document)


def proof_from_words(vk: KeyDocument, proof: list[int], publics: list[int]) -> Proof:
    """The proof as a proof file would give it, for a key whose signals are x0, x1, ..."""
    ax, ay, bx1, bx0, by1, by0, cx, cy = proof
    return Proof(
        vk.statement,
        vk.circuit_digest,
        vk.digest,
        vk.key_status,
        {f"x{i}": (value,) for i, value in enumerate(publics)},
        (ax, ay) if ax or ay else None,
        ((bx0, bx1), (by0, by1)) if any(proof[2:6]) else None,
        (cx, cy) if cx or cy else None,
    )


def refusal(chain: Chain, address: str, data: bytes) -> str | None:
    """The error with which a contract answers a call; None if it accepts."""
    outcome = chain.call(address, data)
    return None if outcome.success else decode_revert(outcome.output, ABI)


def refusal_of(chain: Chain, address: str, case: Case) -> str | None:
    return refusal(chain, address, verify_calldata(case.proof, case.publics))


def compile_each(sources: dict[str, str], contract: str, **settings: Any) -> dict[str, Any]:
    """Compile files that each define `contract`, with the shipped settings unless others are given.

    Returns by file name the compiler's "evm" object, which holds the bytecodes.
    """
    version, units = build.compile_sources(sources, {**build.SETTINGS, **settings})
    assert version == load_artifact("Groth16Verifier").compiler
    return {name: units[name][contract]["evm"] for name in sources}


def compile_one(source: str, contract: str, **settings: Any) -> dict[str, Any]:
    """Compile one file as `compile_each` does."""
    return compile_each({"one.sol": source}, contract, **settings)["one.sol"]  # type: ignore[no-any-return]


@cache
def rendered_creation_codes() -> dict[int, bytes]:
    """The creation code of the rendered verifier of each vectors' key, by its public inputs."""
    files = {f"{n}.sol": render_words(key_words(vectors(n).vk)) for n in COUNTS}
    compiled = compile_each(files, "Groth16Verifier")
    return {n: bytes.fromhex(compiled[f"{n}.sol"]["bytecode"]["object"]) for n in COUNTS}
