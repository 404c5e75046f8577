"""The shipped artifacts are what the sources compile to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chain_support import build, compile_one, make_vectors, vectors

from zkai.chain.artifact import load_artifact
from zkai.chain.render import render

pytestmark = pytest.mark.node


def test_the_sources_compile_to_what_ships(repo: Path) -> None:
    shipped = repo / "zkai" / "chain" / "artifacts"
    for name, text in build.artifacts().items():
        assert (shipped / name).read_text() == text, f"{name}: run contracts/build.py"


def test_a_changed_source_or_setting_shows() -> None:
    sources = build.sources_of(build.PLAIN)
    artifact = load_artifact("Groth16Verifier")
    assert build.source_digest(sources) == artifact.source_digest
    base = sources["src/Groth16Base.sol"]
    weaker = base.replace("if (one != 1) revert Groth16Verifier__InvalidProof();", "")
    assert weaker != base
    sources["src/Groth16Base.sol"] = weaker
    assert build.source_digest(sources) != artifact.source_digest
    _, units = build.compile_sources(sources, build.SETTINGS)
    code = units["src/Groth16Verifier.sol"]["Groth16Verifier"]["evm"]["deployedBytecode"]["object"]
    assert bytes.fromhex(code) != artifact.runtime_code


@pytest.mark.parametrize(("evm_version", "via_ir"), [("london", True), ("osaka", False)])
def test_rendered_source_compiles_for_old_and_new(evm_version: str, via_ir: bool) -> None:
    source = render(vectors(1).vk)
    evm = compile_one(source, "Groth16Verifier", evmVersion=evm_version, viaIR=via_ir)
    assert len(evm["deployedBytecode"]["object"]) // 2 < 24_576


def test_the_vectors_are_what_their_program_makes(repo: Path) -> None:
    for n in (0, 1):
        text = (repo / "contracts" / "vectors" / f"groth16_{n}.json").read_text()
        assert text == json.dumps(make_vectors.vectors(n), indent=1) + "\n"
