"""The vectors with a commitment round that the contract tests share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from chain_support import ROOT, Case, _program, build, compile_each

from zkai.chain.abi import decode_revert, verify_calldata, words
from zkai.chain.artifact import load_artifact
from zkai.chain.chain import Chain
from zkai.chain.commit import COMMIT_CONTRACT
from zkai.chain.render import render_words
from zkai.chain.verifier import key_words
from zkai.encoding import keccak256
from zkai.errors import VerificationError
from zkai.proof.points import G1, G2

SHAPES = ((0, 1), (1, 2), (2, 3), (9, 2), (9, 4), (64, 4))
Shape = tuple[int, int]

ABI = load_artifact(COMMIT_CONTRACT).abi

make_commit_vectors = _program("contracts", "make_commit_vectors")


@dataclass(frozen=True)
class Key:
    """A key as the vectors give it."""

    circuit_digest: bytes
    key_status: str
    n_public: int
    alpha: G1
    beta: G2
    delta1: G2
    delta2: G2
    ic: tuple[G1, ...]

    @cached_property
    def digest(self) -> bytes:
        return keccak256(words(key_words(self)))

    def check_production(self) -> None:
        if self.key_status == "ceremony":
            raise VerificationError("the key claims a ceremony but records none")


@dataclass(frozen=True)
class Proof:
    """A proof as the vectors give it."""

    vk_digest: bytes
    publics: list[int]
    a: G1
    b: G2
    c: G1
    d: G1

    def public_values(self, key: Any, /) -> list[int]:
        return self.publics


@dataclass(frozen=True)
class Vectors:
    """A key and the cases under it."""

    vk: Key
    cases: list[Case]
    vk_digest: bytes
    """What the vectors' program says it is."""
    challenges: dict[str, list[int]]
    """Of the valid cases, by name."""

    @property
    def valid(self) -> Case:
        return self.cases[0]

    def case(self, name: str) -> Case:
        return next(case for case in self.cases if case.name == name)


def _point(pair: list[str]) -> G1:
    return int(pair[0]), int(pair[1])


def _twist(pairs: list[list[str]]) -> G2:
    (x0, x1), (y0, y1) = pairs
    return (int(x0), int(x1)), (int(y0), int(y1))


def _words(values: list[str]) -> list[int]:
    return [int(value, 16) for value in values]


@cache
def commit_vectors(shape: Shape) -> Vectors:
    """The vectors of a number of public inputs and one of challenges."""
    name = f"commit_{shape[0]}_{shape[1]}.json"
    record = json.loads((ROOT / "contracts" / "vectors" / name).read_text())
    key, rows = record["key"], record["cases"]
    vk = Key(
        bytes.fromhex(key["circuit_digest"][2:]),
        key["key_status"],
        sum(signal["size"] for signal in key["public"]),
        _point(key["alpha"]),
        _twist(key["beta"]),
        _twist(key["delta1"]),
        _twist(key["delta2"]),
        tuple(_point(point) for point in key["ic"]),
    )
    cases = [
        Case(row["name"], row["error"], _words(row["proof"]), _words(row["publics"]))
        for row in rows
    ]
    challenges = {row["name"]: _words(row["challenges"]) for row in rows if row["success"]}
    return Vectors(vk, cases, bytes.fromhex(key["vk_digest"][2:]), challenges)


def proof_of(vk: Key, case: Case) -> Proof:
    """The case as a proof file would give it."""
    ax, ay, bx1, bx0, by1, by0, cx, cy, dx, dy = case.proof
    return Proof(
        vk.digest, case.publics, (ax, ay), ((bx0, bx1), (by0, by1)), (cx, cy), (dx, dy)
    )  # fmt: skip


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
    compiled = compile_each(files, COMMIT_CONTRACT, **build.COMMIT.settings)
    return {
        shape: bytes.fromhex(compiled[f"{shape}.sol"]["bytecode"]["object"]) for shape in SHAPES
    }
