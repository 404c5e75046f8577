"""The vectors with a commitment round that the contract tests share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from chain_support import ROOT, Case, _program, compile_each, proof_from_words

from tests.ceremony_record import recorded
from zkai.chain.abi import decode_revert, verify_calldata
from zkai.chain.artifact import load_artifact
from zkai.chain.chain import Chain
from zkai.chain.formats import COMMIT
from zkai.chain.render import render_words
from zkai.chain.verifier import key_words
from zkai.proof.commit.keys import SLOTS, CommitProof, CommitVerifyingKey

SHAPES = ((0, 1), (1, 2), (2, 3), (9, 2), (10, 2), (64, 2))
Shape = tuple[int, int]

ABI = load_artifact(COMMIT.contract).abi

make_commit_vectors = _program("contracts", "make_commit_vectors")


@dataclass(frozen=True)
class Vectors:
    """A key and the cases under it."""

    vk: CommitVerifyingKey
    cases: list[Case]
    challenges: dict[str, list[int]]
    """Of the valid cases, by name."""

    @property
    def valid(self) -> Case:
        return self.cases[0]

    def case(self, name: str) -> Case:
        return next(case for case in self.cases if case.name == name)


def _words(values: list[str]) -> list[int]:
    return [int(value, 16) for value in values]


@cache
def commit_vectors(shape: Shape) -> Vectors:
    """The vectors of a number of public inputs and one of challenges."""
    name = f"commit_{shape[0]}_{shape[1]}.json"
    record = json.loads((ROOT / "contracts" / "vectors" / name).read_text())
    rows = record["cases"]
    cases = [
        Case(row["name"], row["error"], _words(row["proof"]), _words(row["publics"]))
        for row in rows
    ]
    challenges = {row["name"]: _words(row["challenges"]) for row in rows if row["success"]}
    return Vectors(commit_key(shape, record["key"]), cases, challenges)


def commit_key(shape: Shape, document: dict[str, Any]) -> CommitVerifyingKey:
    """The key of a file of vectors; one that claims a ceremony is given the record it lacks."""
    if document["key_status"] == "ceremony":
        key = make_commit_vectors.key_of(*shape)
        record = recorded((key.delta1, key.delta2), SLOTS)
        document = {**document, "ceremony": record.to_json()}
    return CommitVerifyingKey.from_json(document)


def proof_of(vk: CommitVerifyingKey, case: Case) -> CommitProof:
    """The case as a proof file would give it, for a key whose signals are x0, x1, ..."""
    return proof_of_words(vk, case.proof, case.publics)


def proof_of_words(vk: CommitVerifyingKey, proof: list[int], publics: list[int]) -> CommitProof:
    """The proof of 10 words as a proof file would give it."""
    plain = proof_from_words(vk, proof[:8], publics)
    dx, dy = proof[8:]
    return CommitProof(**vars(plain), d=(dx, dy) if dx or dy else None)


def refusal(chain: Chain, address: str, data: bytes) -> str | None:
    """The error with which a contract answers a call; None if it accepts."""
    outcome = chain.call(address, data)
    return None if outcome.success else decode_revert(outcome.output, ABI)


def refusal_of(chain: Chain, address: str, case: Case) -> str | None:
    return refusal(chain, address, verify_calldata(case.proof, case.publics))


@cache
def rendered_creation_codes() -> dict[Shape, bytes]:
    """The creation code of the rendered verifier of each vectors' key."""
    files = {f"{shape}.sol": render_words(key_words(commit_vectors(shape).vk)) for shape in SHAPES}
    compiled = compile_each(files, COMMIT.contract)
    return {
        shape: bytes.fromhex(compiled[f"{shape}.sol"]["bytecode"]["object"]) for shape in SHAPES
    }
