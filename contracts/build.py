"""Compiles the contracts and writes what the package ships of them.

    python contracts/build.py            writes zkai/chain/artifacts/
    python contracts/build.py --check    recompiles and compares with what is shipped

The compiler is the npm package solc (WebAssembly), called through contracts/compile.js with
standard JSON. Nothing is downloaded; `npm ci` must have run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
SHIPPED = FOLDER.parent / "zkai" / "chain" / "artifacts"

SETTINGS: dict[str, Any] = {
    # The oldest EVM in wide use: no PUSH0 or MCOPY, so that the code runs on every chain.
    "evmVersion": "paris",
    "optimizer": {"enabled": True, "runs": 200},
    "viaIR": True,
    # No metadata in the bytecode: it depends on the code alone, not on comments or file names.
    "metadata": {"appendCBOR": False, "bytecodeHash": "none"},
}
OUTPUTS = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]


@dataclass(frozen=True)
class Verifier:
    """One proof format's verifier: `name`.sol, and the sources that a rendered one is made of."""

    name: str
    template: tuple[str, ...]
    """Without imports of other files, in order; the last is the base contract."""


PLAIN = Verifier("Groth16Verifier", ("IGroth16Verifier.sol", "Groth16Key.sol", "Groth16Base.sol"))
COMMIT = Verifier(
    "Groth16CommitVerifier",
    ("IGroth16CommitVerifier.sol", "Groth16CommitKey.sol", "Groth16CommitBase.sol"),
)
LINK = Verifier(
    "Groth16LinkVerifier", ("IGroth16LinkVerifier.sol", "Groth16LinkKey.sol", "Groth16LinkBase.sol")
)


def sources_of(verifier: Verifier) -> dict[str, str]:
    """The sources that are compiled with a verifier, by name.

    Each format's are compiled apart: what one ships does not depend on the other.
    """
    return read_sources(*verifier.template, f"{verifier.name}.sol")


def read_sources(*names: str) -> dict[str, str]:
    """The texts of these files of src, by the names that the compiler gets."""
    return {f"src/{name}": (FOLDER / "src" / name).read_text() for name in sorted(names)}


def compile_sources(
    sources: dict[str, str], settings: dict[str, Any], strict: bool = True
) -> tuple[str, Any]:
    """Return the compiler's version and its contracts by file and name.

    Ends the program on an error, and, if `strict`, on a warning.
    """
    request = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sources.items()},
        "settings": {**settings, "outputSelection": {"*": {"*": OUTPUTS}}},
    }
    answer = subprocess.run(
        ["node", str(FOLDER / "compile.js")],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise SystemExit(f"the Solidity compiler did not run:\n{answer.stderr[-2000:]}")
    result = json.loads(answer.stdout)
    found = result["output"].get("errors", [])
    problems = [e["formattedMessage"] for e in found if strict or e["severity"] == "error"]
    if problems:
        raise SystemExit("\n".join(problems))
    return result["version"], result["output"]["contracts"]


def source_digest(sources: dict[str, str]) -> str:
    """SHA-256 over the files' names and digests, by name."""
    rows = (
        f"{name} {hashlib.sha256(text.encode()).hexdigest()}\n"
        for name, text in sorted(sources.items())
    )
    return "0x" + hashlib.sha256("".join(rows).encode()).hexdigest()


def flatten(verifier: Verifier, sources: dict[str, str]) -> str:
    """One file without imports, to which `zkai chain render` adds a key."""
    body = []
    for name in verifier.template:
        text = sources[f"src/{name}"]
        body.append(re.sub(r"^(// SPDX.*|pragma .*|import .*)\n", "", text, flags=re.M).strip("\n"))
    return "\n\n".join(body) + "\n"


def artifacts() -> dict[str, str]:
    """The shipped files' contents by name."""
    verifiers = {**_verifier(PLAIN), **_verifier(COMMIT), **_verifier(LINK)}
    return {**verifiers, **_recorder(), **_anchor(), **_adapter()}


def _verifier(verifier: Verifier) -> dict[str, str]:
    sources = sources_of(verifier)
    unit = _compiled(sources)
    # The verifier is deployed by a constructor that returns its code followed by the key.
    deployment = f"{verifier.name}Deployment"
    constructor = [e for e in unit.built[deployment]["abi"] if e["type"] == "constructor"]
    abi = constructor + unit.built[verifier.name]["abi"]
    return {
        f"{verifier.name}.json": unit.shipped(abi, deployment, verifier.name),
        verifier.template[-1]: flatten(verifier, sources),
    }


def _recorder() -> dict[str, str]:
    name = "ForkRecorder"
    interfaces = (verifier.template[0] for verifier in (PLAIN, COMMIT, LINK))
    unit = _compiled(read_sources(f"{name}.sol", *interfaces))
    return {f"{name}.json": unit.shipped(unit.built[name]["abi"], name, name)}


def _anchor() -> dict[str, str]:
    name = "Anchor"
    unit = _compiled(read_sources(f"{name}.sol"))
    return {f"{name}.json": unit.shipped(unit.built[name]["abi"], name, name)}


def _adapter() -> dict[str, str]:
    name, deployment = "Halo2Adapter", "Halo2AdapterDeployment"
    unit = _compiled(read_sources(f"{name}.sol", "IHalo2Verifier.sol"))
    constructor = [e for e in unit.built[deployment]["abi"] if e["type"] == "constructor"]
    abi = constructor + unit.built[name]["abi"]
    return {f"{name}.json": unit.shipped(abi, deployment, name)}


@dataclass(frozen=True)
class Compiled:
    """Contracts by name, and what their artifacts have in common."""

    built: dict[str, Any]
    common: dict[str, Any]

    def shipped(self, abi: list[Any], creation: str, runtime: str) -> str:
        """Return an artifact: the code that creates and the code that runs."""
        record = {
            "contract": runtime,
            **self.common,
            "abi": abi,
            "creation_code": "0x" + self.built[creation]["evm"]["bytecode"]["object"],
            "runtime_code": "0x" + self.built[runtime]["evm"]["deployedBytecode"]["object"],
        }
        return json.dumps(record, indent=1) + "\n"


def _compiled(sources: dict[str, str]) -> Compiled:
    version, contracts = compile_sources(sources, SETTINGS)
    built = {name: value for unit in contracts.values() for name, value in unit.items()}
    digest = source_digest(sources)
    return Compiled(built, {"compiler": version, "settings": SETTINGS, "source_digest": digest})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    stale = []
    for name, text in artifacts().items():
        path = SHIPPED / name
        if check and (not path.exists() or path.read_text() != text):
            stale.append(name)
        elif not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    for name in stale:
        print(
            f"{name} differs from what the sources compile to; run contracts/build.py",
            file=sys.stderr,
        )
    if not stale:
        print(
            "the shipped artifacts are what the sources compile to" if check else f"wrote {SHIPPED}"
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
