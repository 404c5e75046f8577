"""The compiled contracts that ship with the package: no compiler is needed to deploy them.

`make contracts` recompiles the sources and compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from zkai.encoding import load_json
from zkai.errors import InvalidInput

NAMES = (
    "Anchor",
    "ForkRecorder",
    "Groth16CommitVerifier",
    "Groth16LinkVerifier",
    "Groth16Verifier",
    "Halo2Adapter",
)


@dataclass(frozen=True)
class Artifact:
    """One compiled contract, with how it was compiled."""

    contract: str
    compiler: str
    """The Solidity compiler's full version."""
    settings: Mapping[str, Any]
    """The compiler's settings, as in standard JSON."""
    source_digest: str
    """SHA-256 over the sources' names and digests."""
    abi: tuple[Mapping[str, Any], ...]
    creation_code: bytes
    runtime_code: bytes


@cache
def load_artifact(contract: str) -> Artifact:
    """Return the shipped artifact of `contract`, one of `NAMES`.

    Raises InvalidInput for any other name.
    """
    if contract not in NAMES:
        raise InvalidInput(f"no contract {contract!r} ships; there are {', '.join(NAMES)}")
    record = load_json(_shipped(f"{contract}.json").encode(), f"{contract}.json")
    return Artifact(
        contract=record["contract"],
        compiler=record["compiler"],
        settings=record["settings"],
        source_digest=record["source_digest"],
        abi=tuple(record["abi"]),
        creation_code=bytes.fromhex(record["creation_code"][2:]),
        runtime_code=bytes.fromhex(record["runtime_code"][2:]),
    )


@cache
def verifier_source(base: str = "Groth16Base") -> str:
    """Return the Solidity source, without a key, from which verifiers are rendered.

    It ends with the abstract contract `base`: Groth16Base, Groth16CommitBase or Groth16LinkBase.
    """
    return _shipped(f"{base}.sol")


def _shipped(name: str) -> str:
    return resources.files("zkai.chain").joinpath("artifacts", name).read_text(encoding="utf-8")
