"""SEAL at arm's length: encode, encrypt, add and decode in a process with limits of its own.

SEAL is C++ that parses what strangers send. It runs in `zkai.he.seal_process`, which may use so
much memory and processor time and no more; when it crashes, hangs or is killed, the caller gets a
ToolError, and whatever it answers is checked here for its exact size and form.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from zkai.child import Child
from zkai.encoding import Limbs
from zkai.errors import InvalidInput, ToolError
from zkai.he.seal_file import (
    Chain,
    read_ciphertext,
    read_plaintext,
    read_public_key,
    write_ciphertext,
    write_plaintext,
    write_public_key,
)
from zkai.he.seal_process import Frame, read_frame, write_frame

Doubles = npt.NDArray[np.float64]

MEMORY_BYTES = 2 << 30
CPU_SECONDS = 600
WALL_SECONDS = 300.0
BATCH = 64
"""Ciphertexts a request: some 16 MB at the default parameters."""

MAX_FOREIGN = 1 << 26
"""A file from elsewhere may have this many bytes before SEAL sees it."""

_ENVIRONMENT = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH")


class SealWorker(Child):
    """One SEAL process with one set of parameters; use it in a `with` block.

    Raises ToolError if SEAL (pip install 'zkai[he]') is missing or the process cannot start within
    its limits, and InvalidInput if SEAL refuses the parameters.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        memory_bytes: int = MEMORY_BYTES,
        cpu_seconds: int = CPU_SECONDS,
        wall_seconds: float = WALL_SECONDS,
    ) -> None:
        self.chain = chain
        self._limits = f"{memory_bytes >> 20} MiB, {cpu_seconds} processor-seconds"
        self._scratch = tempfile.TemporaryDirectory()
        command = [sys.executable, "-P", "-m", "zkai.he.seal_process"]
        command += [str(memory_bytes), str(cpu_seconds)]
        # Temporary files of a process that was killed go with this folder.
        variables = {"TMPDIR": self._scratch.name, "OPENBLAS_NUM_THREADS": "1"}
        super().__init__(
            "SEAL's process", command, _ENVIRONMENT, wall_seconds, environment=variables
        )
        try:
            self._ask({"do": "open", "n": chain.n, "primes": list(chain.primes)}, [], 0)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process and remove its files."""
        super().close()
        self._scratch.cleanup()

    def encode(self, values: Doubles, scale: float) -> Limbs:
        """Return (M, L, N) plaintexts of (M, N/2) real numbers at a scale."""
        files = self._batched("encode", values, scale, [], self.chain.plaintext_bytes)
        return np.array([read_plaintext(self.chain, file, scale) for file in files])

    def encrypt(self, public_key: Limbs, values: Doubles, scale: float) -> Limbs:
        """Return (M, 2, L, N) ciphertexts of (M, N/2) real numbers under a (2, K, N) key."""
        key = write_public_key(self.chain, public_key)
        files = self._batched("encrypt", values, scale, [key], self.chain.ciphertext_bytes)
        return np.array([read_ciphertext(self.chain, file, scale) for file in files])

    def add(self, ciphertexts: Limbs, scale: float) -> Limbs:
        """Return the (2, L, N) sum of (M, 2, L, N) ciphertexts, as SEAL adds them."""
        files = [write_ciphertext(self.chain, one, scale) for one in ciphertexts]
        total = self._ask({"do": "add"}, files, 1)[0]
        return read_ciphertext(self.chain, total, scale)

    def decode(self, plaintexts: Limbs, scale: float) -> Doubles:
        """Return the (M, N/2) real numbers of (M, L, N) plaintexts at a scale."""
        found = []
        for start in range(0, len(plaintexts), BATCH):
            part = plaintexts[start : start + BATCH]
            files = [write_plaintext(self.chain, one, scale) for one in part]
            data = self._ask({"do": "decode"}, files, 1)[0]
            if len(data) != 8 * len(files) * self.chain.slots:
                raise ToolError("SEAL's process: an answer of another size than asked for")
            found.append(np.frombuffer(data, "<f8").reshape(-1, self.chain.slots))
        return np.concatenate(found).astype(np.float64)

    def ciphertext(self, data: bytes, scale: float, where: str = "ciphertext") -> Limbs:
        """Return the (2, L, N) coefficients of a ciphertext that SEAL saved in any of its forms.

        Raises InvalidInput, naming `where`, unless SEAL accepts it and it has the parameters and
        the scale.
        """
        return read_ciphertext(self.chain, self._normalise("Ciphertext", data, where), scale, where)

    def public_key(self, data: bytes, where: str = "public key") -> Limbs:
        """Return the (2, K, N) coefficients of a public key that SEAL saved in any of its forms.

        Raises InvalidInput, naming `where`, unless SEAL accepts it and it has the parameters.
        """
        return read_public_key(self.chain, self._normalise("PublicKey", data, where), where)

    def _normalise(self, kind: str, data: bytes, where: str) -> bytes:
        if len(data) > MAX_FOREIGN:
            raise InvalidInput(f"{where}: larger than the {MAX_FOREIGN} bytes it may have")
        return self._ask({"do": "normalise", "kind": kind}, [data], 1, where)[0]

    def _batched(
        self, operation: str, values: Doubles, scale: float, head: list[bytes], size: int
    ) -> list[bytes]:
        if values.ndim != 2 or values.shape[1] != self.chain.slots:
            raise InvalidInput(f"{operation}: expected rows of {self.chain.slots} numbers")
        if not np.isfinite(values).all():
            raise InvalidInput(f"{operation}: a value is not finite")
        found: list[bytes] = []
        for start in range(0, len(values), BATCH):
            part = np.ascontiguousarray(values[start : start + BATCH], dtype="<f8")
            request = {"do": operation, "scale": scale}
            found += self._ask(request, [*head, part.tobytes()], len(part))
        if any(len(file) != size for file in found):
            raise ToolError("SEAL's process: an answer of another size than asked for")
        return found

    def _ask(
        self,
        request: dict[str, Any],
        blobs: Sequence[bytes],
        expected: int,
        where: str = "SEAL",
    ) -> list[bytes]:
        def exchange(asked: IO[bytes], answers: IO[bytes]) -> Frame:
            write_frame(asked, request, list(blobs))
            if (frame := read_frame(answers)) is None:
                raise EOFError("no answer")
            return frame

        try:
            answer, found = self.ask(exchange)
        except ToolError as error:
            raise ToolError(f"{error}; its limits: {self._limits}") from error
        _check_fault(answer, where, self._limits)
        if len(found) != expected:
            raise ToolError("SEAL's process: another number of answers than asked for")
        return found


def _check_fault(answer: dict[str, Any], where: str, limits: str) -> None:
    fault = answer.get("fault")
    text = str(answer.get("text", ""))[:200]
    if fault == "missing":
        raise ToolError(f"{text} is not installed; pip install 'zkai[he]'")
    if fault == "memory":
        raise ToolError(f"SEAL's process ran out of memory; its limits: {limits}")
    if fault is not None:
        raise InvalidInput(f"{where}: SEAL refused it ({text})")
