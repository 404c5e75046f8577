"""The process in which SEAL runs: `python -m zkai.he.seal_process MEMORY_BYTES CPU_SECONDS`.

It limits itself before SEAL is loaded, then answers requests of `zkai.he.seal_worker` on standard
input until that closes. A frame is u32 size || JSON || blobs, the JSON naming the blobs' sizes.
Nothing here is trusted by the other side: it checks every answer's size and form.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from zkai.he.limits import limit_this_process

MAX_HEADER = 1 << 16
MAX_BLOBS = 1 << 16
MAX_FRAME = 1 << 30

Frame = tuple[dict[str, Any], list[bytes]]


def write_frame(stream: IO[bytes], header: dict[str, Any], blobs: list[bytes]) -> None:
    """Write one message."""
    text = json.dumps({**header, "blobs": [len(blob) for blob in blobs]}).encode("ascii")
    stream.write(struct.pack("<I", len(text)) + text)
    for blob in blobs:
        stream.write(blob)
    stream.flush()


def read_frame(stream: IO[bytes]) -> Frame | None:
    """Return one message, or None at the end of the stream.

    Raises ValueError for a message that is cut off, malformed or larger than a message may be.
    """
    prefix = stream.read(4)
    if not prefix:
        return None
    size = struct.unpack("<I", _exactly(prefix, 4))[0]
    if size > MAX_HEADER:
        raise ValueError("a message's head is too large")
    header = json.loads(_exactly(stream.read(size), size))
    sizes = header.pop("blobs", None) if isinstance(header, dict) else None
    if not isinstance(sizes, list) or len(sizes) > MAX_BLOBS:
        raise ValueError("a message's head is malformed")
    if any(type(n) is not int or n < 0 for n in sizes) or sum(sizes) > MAX_FRAME:
        raise ValueError("a message's parts are too large")
    return header, [_exactly(stream.read(n), n) for n in sizes]


def _exactly(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise ValueError("a message is cut off")
    return data


class Seal:
    """SEAL with one set of parameters, and the requests it answers."""

    def __init__(self, n: int, primes: list[int], folder: Path) -> None:
        import tenseal.sealapi as seal

        self.seal = seal
        self.folder = folder
        parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(n)
        parameters.set_coeff_modulus([seal.Modulus(prime) for prime in primes])
        self.context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
        if not self.context.parameters_set():
            raise ValueError(f"SEAL refuses them: {self.context.parameters_error_message()}")
        self.encoder = seal.CKKSEncoder(self.context)
        self.slots = n // 2

    def load(self, kind: str, data: bytes) -> Any:
        """Parse one of SEAL's files with SEAL."""
        path = self.folder / "in"
        path.write_bytes(data)
        found = getattr(self.seal, kind)()
        found.load(self.context, str(path))
        return found

    def save(self, found: Any) -> bytes:
        """Return an object's file, uncompressed."""
        from zkai.he.seal_file import uncompressed

        path = self.folder / "out"
        found.save(str(path))
        return uncompressed(path.read_bytes())

    def _plaintexts(self, values: bytes, scale: float) -> list[Any]:
        import numpy as np

        found = []
        for row in np.frombuffer(values, "<f8").reshape(-1, self.slots):
            plaintext = self.seal.Plaintext()
            self.encoder.encode(row.tolist(), scale, plaintext)
            found.append(plaintext)
        return found

    def encode(self, request: dict[str, Any], blobs: list[bytes]) -> list[bytes]:
        """Blob: (n, N/2) doubles. Answer: n plaintexts."""
        return [self.save(plain) for plain in self._plaintexts(blobs[0], request["scale"])]

    def encrypt(self, request: dict[str, Any], blobs: list[bytes]) -> list[bytes]:
        """Blobs: a public key, (n, N/2) doubles. Answer: n ciphertexts."""
        encryptor = self.seal.Encryptor(self.context, self.load("PublicKey", blobs[0]))
        found = []
        for plaintext in self._plaintexts(blobs[1], request["scale"]):
            ciphertext = self.seal.Ciphertext()
            encryptor.encrypt(plaintext, ciphertext)
            found.append(self.save(ciphertext))
        return found

    def add(self, request: dict[str, Any], blobs: list[bytes]) -> list[bytes]:
        """Blobs: ciphertexts. Answer: their sum."""
        total = self.seal.Ciphertext()
        loaded = [self.load("Ciphertext", blob) for blob in blobs]
        self.seal.Evaluator(self.context).add_many(loaded, total)
        return [self.save(total)]

    def decode(self, request: dict[str, Any], blobs: list[bytes]) -> list[bytes]:
        """Blobs: plaintexts. Answer: (n, N/2) doubles."""
        import numpy as np

        rows = [self.encoder.decode_double(self.load("Plaintext", blob)) for blob in blobs]
        return [np.array(rows, dtype="<f8").tobytes()]

    def normalise(self, request: dict[str, Any], blobs: list[bytes]) -> list[bytes]:
        """Blobs: objects of one kind, saved anyhow. Answer: their uncompressed, unseeded files."""
        return [self.save(self.load(request["kind"], blob)) for blob in blobs]


KINDS = ("Ciphertext", "PublicKey", "Plaintext")
"""What `normalise` reads: no secret keys."""


def _answer(
    state: dict[str, Seal], folder: Path, request: dict[str, Any], blobs: list[bytes]
) -> Frame:
    """Do one request."""
    operation = request["do"]
    if operation == "open":
        state["seal"] = Seal(request["n"], request["primes"], folder)
        return {"ok": True}, []
    table: dict[str, Callable[[dict[str, Any], list[bytes]], list[bytes]]] = {
        name: getattr(state["seal"], name) for name in OPERATIONS
    }
    if request.get("kind", KINDS[0]) not in KINDS:
        raise ValueError("no such kind")
    return {"ok": True}, table[operation](request, blobs)


OPERATIONS = ("encode", "encrypt", "add", "decode", "normalise")


def serve(stream_in: IO[bytes], stream_out: IO[bytes]) -> None:
    """Answer requests until the input ends."""
    state: dict[str, Seal] = {}
    with tempfile.TemporaryDirectory() as scratch:
        while (frame := read_frame(stream_in)) is not None:
            try:
                answer, blobs = _answer(state, Path(scratch), *frame)
            except ModuleNotFoundError as error:
                answer, blobs = {"fault": "missing", "text": error.name}, []
            except (MemoryError, ImportError):
                answer, blobs = {"fault": "memory", "text": ""}, []
            except Exception as error:  # noqa: BLE001 - whatever SEAL throws is the other side's to judge
                kind = "memory" if "bad_alloc" in str(error) else "input"
                answer, blobs = {"fault": kind, "text": str(error)[:200]}, []
            write_frame(stream_out, answer, blobs)


def main() -> None:
    """Limit this process, then serve."""
    memory_bytes, cpu_seconds = int(sys.argv[1]), int(sys.argv[2])
    limit_this_process(memory_bytes)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not stand among the answers
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
