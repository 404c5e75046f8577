"""The Solidity compiler at run time, for contracts that cannot ship compiled: npm's `solc`.

It runs in Node, from the packages of a folder; nothing is downloaded.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zkai.encoding import parse_json
from zkai.errors import InvalidInput, ToolError

MAX_CODE_BYTES = 24_576
"""The largest code that a chain takes (EIP-170)."""

MAX_SOURCE_BYTES = 8 << 20
SECONDS = 600

SETTINGS: dict[str, Any] = {
    "evmVersion": "paris",
    # For size: the generated contracts are assembly, and the limit is near.
    "optimizer": {"enabled": True, "runs": 1},
    # Through the intermediate representation the generated assembly runs out of stack.
    "viaIR": False,
    "metadata": {"appendCBOR": False, "bytecodeHash": "none"},
    "outputSelection": {
        "*": {"*": ["evm.bytecode.object", "evm.deployedBytecode.object"]},
    },
}

_SCRIPT = """
const solc = require("solc");
const answer = JSON.parse(solc.compile(require("fs").readFileSync(0, "utf8")));
process.stdout.write(JSON.stringify({version: solc.version(), output: answer}));
"""
_MISSING = (
    "needs Node.js and the Solidity compiler: npm install solc in {folder}, or name the folder"
    " where it is installed"
)


@dataclass(frozen=True)
class Bytecode:
    """One compiled contract."""

    compiler: str
    creation_code: bytes
    runtime_code: bytes


def compile_contract(source: str, contract: str, packages: Path | None = None) -> Bytecode:
    """Return `contract` of one Solidity file without imports, compiled by npm's solc.

    `packages` is the folder whose node_modules hold it, the current one by default.

    Raises ToolError if Node or solc is missing, fails, or refuses the source; InvalidInput for a
    source of more than MAX_SOURCE_BYTES.
    """
    if len(source) > MAX_SOURCE_BYTES:
        raise InvalidInput(f"{contract}: its source has more than {MAX_SOURCE_BYTES} bytes")
    request = {
        "language": "Solidity",
        "sources": {"contract.sol": {"content": source}},
        "settings": SETTINGS,
    }
    folder = Path.cwd() if packages is None else packages
    answer = _run(json.dumps(request), contract, folder)
    problems = [e for e in answer["output"].get("errors", []) if e.get("severity") == "error"]
    if problems:
        said = str(problems[0].get("formattedMessage", ""))[:300]
        raise ToolError(f"{contract}: the Solidity compiler refuses it: {said}")
    try:
        evm = answer["output"]["contracts"]["contract.sol"][contract]["evm"]
        codes = [bytes.fromhex(evm[k]["object"]) for k in ("bytecode", "deployedBytecode")]
    except (KeyError, ValueError, TypeError) as error:
        raise ToolError(f"{contract}: the Solidity compiler gave no code") from error
    return Bytecode(str(answer["version"]), *codes)


def _run(request: str, contract: str, folder: Path) -> dict[str, Any]:
    try:
        done = subprocess.run(
            ["node", "-e", _SCRIPT],
            input=request,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except FileNotFoundError as error:
        raise ToolError(f"compiling {contract} " + _MISSING.format(folder=folder)) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"the Solidity compiler did not finish {contract}") from error
    if "Cannot find module 'solc'" in done.stderr:
        raise ToolError(f"compiling {contract} " + _MISSING.format(folder=folder))
    if done.returncode:
        raise ToolError(f"the Solidity compiler failed on {contract}: {done.stderr[-300:].strip()}")
    try:
        found = parse_json(done.stdout.encode())
    except InvalidInput as error:
        raise ToolError("the Solidity compiler's answer cannot be read") from error
    if not isinstance(found, dict) or not isinstance(found.get("output"), dict):
        raise ToolError("the Solidity compiler's answer cannot be read")
    return found
