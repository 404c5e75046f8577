"""The process in which EZKL runs: `python -m zkai.halo2.worker MEMORY_BYTES CPU_SECONDS`.

It limits itself before EZKL is loaded, works in its current folder, and answers requests of
`zkai.halo2.process` on standard input, one line of JSON each, until that closes. Whatever EZKL
prints goes to the file `worker.log`. Nothing here is trusted by the other side.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from zkai.halo2.confine import limit_this_process, refuse_network

LOG = "worker.log"
FUNCTIONS = frozenset(
    {
        "calibrate_settings", "compile_circuit", "create_evm_verifier", "create_evm_vka",
        "encode_evm_calldata", "gen_settings", "gen_srs", "gen_vk_from_pk_single", "gen_witness",
        "kzg_commit", "mock", "poseidon_hash", "prove", "setup", "swap_proof_commitments", "table",
        "verify",
    }
)  # fmt: skip
"""What may be called. `get_srs`, which downloads, and what talks to a chain may not."""

_RUN_ARGUMENTS = "py_run_args"
_NO_ANSWER = frozenset({"gen_witness", "prove"})
"""They return what they write to a file, only less exactly."""


def call(ezkl: Any, function: str, arguments: dict[str, Any]) -> Any:
    """Return what one of EZKL's functions returns, as JSON values."""
    if function not in FUNCTIONS:
        raise ValueError(f"{function} may not be called")
    given = dict(arguments)
    if _RUN_ARGUMENTS in given:
        settings = ezkl.PyRunArgs()
        for name, value in given[_RUN_ARGUMENTS].items():
            setattr(settings, name, tuple(value) if isinstance(value, list) else value)
        given[_RUN_ARGUMENTS] = settings
    if function.startswith("create_evm"):
        return asyncio.run(_awaited(ezkl, function, given))
    found = getattr(ezkl, function)(**given)
    if function in _NO_ANSWER:
        return None
    if function == "kzg_commit":
        return [str(point) for point in found]
    return found


async def _awaited(ezkl: Any, function: str, given: dict[str, Any]) -> Any:
    """EZKL makes its future when it is called, and wants a running loop then."""
    found = getattr(ezkl, function)(**given)
    return await found if inspect.isawaitable(found) else found


def answer(line: bytes) -> dict[str, Any]:
    """Do one request; whatever EZKL raises becomes an answer."""
    start = os.path.getsize(LOG)
    try:
        request = json.loads(line)
        import ezkl

        found = call(ezkl, request["function"], request["arguments"])
        return {"ok": True, "result": found, "peak": _peak_bytes()}
    except ModuleNotFoundError as error:
        return {"ok": False, "kind": "missing", "text": str(error.name)}
    except MemoryError:
        return {"ok": False, "kind": "memory", "text": ""}
    except BaseException as error:  # noqa: BLE001 - EZKL's panics are BaseExceptions
        text = f"{error}"[:4000]
        return {"ok": False, "kind": type(error).__name__, "text": text, "log": _log(start)}


def _log(start: int) -> str:
    with open(LOG, "rb") as file:
        file.seek(max(start, os.path.getsize(LOG) - 4000))
        return file.read().decode("utf-8", "replace")


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """Limit this process, then serve."""
    memory, cpu_seconds = int(sys.argv[1]), int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "wb")
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    limit_this_process(memory, cpu_seconds)
    refuse_network()
    Path("home").mkdir(exist_ok=True)
    for line in sys.stdin.buffer:
        answers.write(json.dumps(answer(line)).encode("ascii") + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
