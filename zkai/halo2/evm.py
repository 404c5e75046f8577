"""What EZKL writes for an EVM: a key's verifier in Solidity, and the key of its reusable verifier.

EZKL writes a Solidity file and then fails, for it wants to download a compiler; so its failure says
nothing, and what it wrote is checked instead: that it is there, whole, and of this key.
"""

from __future__ import annotations

import re
import struct
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from zkai.encoding import read_capped, sha256
from zkai.errors import ToolError
from zkai.halo2.calibration import SETTINGS
from zkai.halo2.keys import Halo2VerifyingKey
from zkai.halo2.process import Fault, Limits, Worker
from zkai.halo2.srs import verifier_string
from zkai.halo2.statement import POINT
from zkai.proof.scalars import Progress

GENERATED, REUSABLE = "Halo2Verifier", "Halo2VerifierReusable"
"""EZKL's names of the contracts: one of a single key, one that is given its key with each proof."""

REUSABLE_SHA256 = "b426d5f31e2f9d327baac7d9415dd135df06a6d2628f971ae7446c4bffbcd80f"
"""SHA-256 of the reusable verifier of EZKL 23.0.5, which is one for all keys."""

LIMITS = Limits(memory_bytes=8 << 30, seconds=600.0)
MAX_SOURCE_BYTES = 8 << 20
MAX_VKA_BYTES = 4 << 20
DECIMALS = 18

_KEY, _SRS, _SOURCE, _ABI, _VKA = "vk.key", "kzg.srs", "verifier.sol", "verifier.abi", "vka.bytes"
_FACTS = {
    "the proof's length": re.compile(r"eq\((0x[0-9a-f]{1,8}), proof\.length\)"),
    "the key's digest": re.compile(r"mstore\(\w+, (0x[0-9a-f]{64})\) // vk_digest"),
    "the public inputs": re.compile(r"mstore\(\w+, (0x[0-9a-f]{64})\) // num_instances"),
}


@dataclass(frozen=True)
class EvmSources:
    """A key's contracts in Solidity; `vka` are the words that the reusable one is given."""

    generated: str = field(repr=False)
    reusable: str = field(repr=False)
    vka: tuple[int, ...] = field(repr=False)
    n_public: int
    proof_bytes: int


def generate(
    key: Halo2VerifyingKey, *, limits: Limits | None = None, progress: Progress | None = None
) -> EvmSources:
    """Return the contracts of a key.

    Polynomial commitments are no public inputs of theirs: they stand at the start of the proof's
    bytes, where a caller reads them.

    Raises ToolError if EZKL is missing, writes nothing, or writes what is not of this key.
    """
    n_public = sum(signal.size for signal in key.signals if signal.kind != POINT)
    with tempfile.TemporaryDirectory(prefix="zkai-evm-") as name:
        folder = Path(name)
        (folder / SETTINGS).write_text(key.settings.text)
        (folder / _KEY).write_bytes(key.key)
        (folder / _SRS).write_bytes(verifier_string(key.tau_g2))
        with Worker(folder, limits or LIMITS, progress) as worker:
            generated = _source(worker, GENERATED)
            reusable = _source(worker, REUSABLE)
            vka = _vka(worker)
    found = _facts(generated)
    if sha256(reusable.encode()).hex() != REUSABLE_SHA256:
        raise ToolError(
            "EZKL writes another reusable verifier than the one known here: use ezkl 23.0.5"
        )
    if not vka or vka[0] != found["the key's digest"]:
        raise ToolError("EZKL's two verifiers are not of the same key: is a file stale?")
    if found["the public inputs"] != n_public:
        raise ToolError(
            f"EZKL's verifier takes {found['the public inputs']} public inputs, the key has"
            f" {n_public}: is a file stale?"
        )
    return EvmSources(generated, reusable, vka, n_public, found["the proof's length"])


def _source(worker: Worker, contract: str) -> str:
    """Return the Solidity file that EZKL writes now. Raises ToolError if it writes none."""
    path = worker.folder / _SOURCE
    path.unlink(missing_ok=True)
    said = "it said nothing"
    try:
        worker.call(
            "create_evm_verifier",
            stage="write the contract",
            vk_path=_KEY,
            settings_path=SETTINGS,
            sol_code_path=_SOURCE,
            abi_path=_ABI,
            srs_path=_SRS,
            reusable=contract == REUSABLE,
        )
    except Fault as fault:
        # It wants to download a compiler, after it has written the file.
        said = fault.text
    if not path.is_file():
        raise ToolError(f"EZKL wrote no contract: {said}")
    text = ""
    with suppress(UnicodeDecodeError):
        text = read_capped(path, MAX_SOURCE_BYTES).decode("ascii")
    if f"contract {contract} " not in text or text.count("{") != text.count("}"):
        raise ToolError(f"EZKL wrote no whole contract {contract}: {said}")
    return text


def _facts(source: str) -> dict[str, int]:
    """Return what a generated contract says of its key. Raises ToolError if it does not."""
    found = {}
    for what, pattern in _FACTS.items():
        values = set(pattern.findall(source))
        if len(values) != 1:
            raise ToolError(f"EZKL's contract does not say {what}")
        found[what] = int(values.pop(), 16)
    return found


def _vka(worker: Worker) -> tuple[int, ...]:
    """Return the words of a reusable verifier's key. Raises ToolError as `_source` does."""
    path = worker.folder / _VKA
    try:
        worker.call(
            "create_evm_vka",
            stage="write the contract's key",
            vk_path=_KEY,
            settings_path=SETTINGS,
            vka_path=_VKA,
            srs_path=_SRS,
            decimals=DECIMALS,
        )
    except Fault as fault:
        raise ToolError(f"EZKL wrote no key for a reusable verifier: {fault.text}") from fault
    data = read_capped(path, MAX_VKA_BYTES)
    if len(data) < 8 or len(data) != 8 + 32 * struct.unpack_from("<Q", data)[0]:
        raise ToolError("EZKL's key for a reusable verifier has another form than known here")
    return tuple(int.from_bytes(data[i : i + 32], "big") for i in range(8, len(data), 32))
