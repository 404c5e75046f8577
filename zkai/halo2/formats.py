"""Proof and key files of every format behind one set of functions: Groth16's two, and Halo2's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from zkai.encoding import as_path, load_json, read_capped
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2 import proof as halo2
from zkai.halo2.keys import Halo2VerifyingKey
from zkai.halo2.proof import Halo2Proof
from zkai.proof import formats
from zkai.proof.formats import Proof, VerifyingKey
from zkai.proof.keys import MAX_PROOF_BYTES
from zkai.proof.scalars import Progress

AnyProof: TypeAlias = Proof | Halo2Proof
AnyKey: TypeAlias = VerifyingKey | Halo2VerifyingKey


def parse_proof(data: bytes, where: str = "proof") -> AnyProof:
    """Return the proof of any format. Raises InvalidInput, naming the field."""
    if len(data) > MAX_PROOF_BYTES:
        raise InvalidInput(f"{where}: larger than {MAX_PROOF_BYTES} bytes")
    value = load_json(data, where)
    if _format_of(value) == Halo2Proof.FORMAT:
        return Halo2Proof.from_json(value, where)
    return Proof.from_json(value, where)


def read_proof(path: Path | str) -> AnyProof:
    """Return the proof of a file. Raises InvalidInput, naming the file and the field."""
    return parse_proof(read_capped(path, Proof.MAX_BYTES), str(as_path(path)))


def read_key(path: Path | str) -> AnyKey:
    """Return the verifying key of a file. Raises InvalidInput, naming the file and the field."""
    where = str(as_path(path, "verifying key"))
    return key_from_json(load_json(read_capped(where, VerifyingKey.MAX_BYTES), where), where)


def key_from_json(value: Any, where: str) -> AnyKey:
    """Return the verifying key of any format. Raises InvalidInput, naming the field."""
    if _format_of(value) == Halo2VerifyingKey.FORMAT:
        return Halo2VerifyingKey.from_json(value, where)
    return VerifyingKey.from_json(value, where)


def _format_of(value: Any) -> Any:
    return value.get("format") if isinstance(value, Mapping) else None


def verify(
    proof: AnyProof,
    key: AnyKey,
    verifier: str = "native",
    production: bool = False,
    trusted_digests: Collection[bytes | str] = (),
    progress: Progress | None = None,
) -> None:
    """Return None if `proof` holds under `key`, by the verifier of their format.

    Raises VerificationError if they are of different formats, and as each format's `verify` does;
    InvalidInput for another verifier than "native" in format halo2, which has one.
    """
    if isinstance(proof, Halo2Proof) and isinstance(key, Halo2VerifyingKey):
        if verifier != "native":
            raise InvalidInput(f"verifier: format halo2 has one, EZKL's, and no {verifier!r}")
        return halo2.verify(
            proof, key, production=production, trusted_digests=trusted_digests, progress=progress
        )
    if isinstance(proof, Halo2Proof) or isinstance(key, Halo2VerifyingKey):
        raise VerificationError(
            f"the proof has the format {proof.FORMAT}, the verifying key is for {key.PROOFS}"
        )
    return formats.verify(proof, key, verifier, production, trusted_digests)
