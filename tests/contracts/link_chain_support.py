"""The vectors with two linked polynomials that the contract tests share."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from chain_support import ROOT, Case, _program, compile_each, proof_from_words
from commit_chain_support import Vectors, _words

from tests.ceremony_record import recorded
from zkai.chain.abi import decode_revert, verify_calldata
from zkai.chain.artifact import load_artifact
from zkai.chain.chain import Chain
from zkai.chain.formats import LINK
from zkai.chain.render import render_words
from zkai.chain.verifier import key_words
from zkai.proof.commit.keys import SLOTS, CommitProof, CommitVerifyingKey
from zkai.proof.commit.link import Link
from zkai.proof.points import G1

SHAPES = ((2, 1), (3, 2), (12, 2))
Shape = tuple[int, int]
RENDERED = ((3, 2),)
"""Compiling takes seconds."""

ABI = load_artifact(LINK.contract).abi

make_link_vectors = _program("contracts", "make_link_vectors")


@cache
def link_vectors(shape: Shape) -> Vectors:
    """The vectors of a number of public inputs and one of challenges; `challenges` has v and u."""
    name = f"link_{shape[0]}_{shape[1]}.json"
    record = json.loads((ROOT / "contracts" / "vectors" / name).read_text())
    rows = record["cases"]
    cases = [
        Case(row["name"], row["error"], _words(row["proof"]), _words(row["publics"]))
        for row in rows
    ]
    scalars = {row["name"]: _words(row["scalars"]) for row in rows if row["success"]}
    return Vectors(_key(shape, record["key"]), cases, scalars)


def _key(shape: Shape, document: dict[str, Any]) -> CommitVerifyingKey:
    if document["key_status"] == "ceremony":
        key = make_link_vectors.key_of(*shape)
        record = recorded((key.delta1, key.delta2), SLOTS)
        document = {**document, "ceremony": record.to_json()}
    return CommitVerifyingKey.from_json(document)


def proof_of(vk: CommitVerifyingKey, case: Case) -> CommitProof:
    """The case as a proof file would give it, for a key whose signals are x0, x1, ..."""
    return link_proof_of_words(vk, case.proof, case.publics)


def link_proof_of_words(
    vk: CommitVerifyingKey, words: list[int], publics: list[int]
) -> CommitProof:
    """The proof of 18 words as a proof file would give it."""
    plain = proof_from_words(vk, words[:8], publics)

    def point(i: int) -> G1:
        return (words[i], words[i + 1]) if words[i] or words[i + 1] else None

    link = Link((point(12), point(14)), (words[16], words[17]), point(10))
    return CommitProof(**vars(plain), d=point(8), link=link)


def refusal(chain: Chain, address: str, data: bytes) -> str | None:
    """The error with which a contract answers a call; None if it accepts."""
    outcome = chain.call(address, data)
    return None if outcome.success else decode_revert(outcome.output, ABI)


def refusal_of(chain: Chain, address: str, case: Case) -> str | None:
    return refusal(chain, address, verify_calldata(case.proof, case.publics))


@cache
def rendered_creation_codes() -> dict[Shape, bytes]:
    """The creation code of the rendered verifiers of the vectors' keys, as `RENDERED` says."""
    files = {f"{shape}.sol": render_words(key_words(link_vectors(shape).vk)) for shape in RENDERED}
    compiled = compile_each(files, LINK.contract)
    return {
        shape: bytes.fromhex(compiled[f"{shape}.sol"]["bytecode"]["object"]) for shape in RENDERED
    }
