"""The proof formats behind one set of functions: plain Groth16, and with a commitment round.

A circuit, a key file and a proof each know their format; here it is looked up, and nowhere else
above. `ProvingKey`, `VerifyingKey`, `Keys` and `Proof` here are of either format.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from zkai.circuit.r1cs import Circuit
from zkai.circuit.statements.linked import LinkedState
from zkai.encoding import as_path
from zkai.errors import InvalidInput, VerificationError
from zkai.proof import ceremony as plain_ceremony
from zkai.proof import groth16
from zkai.proof.commit import argument
from zkai.proof.commit import ceremony as commit_ceremony
from zkai.proof.commit.ceremony import Ceremony
from zkai.proof.commit.keyfile import MAGIC
from zkai.proof.commit.keys import CommitProof, CommitProvingKey, CommitVerifyingKey
from zkai.proof.commit.link import link_value
from zkai.proof.commit.setup import kept_tau
from zkai.proof.commit.setup import setup as commit_setup
from zkai.proof.keys import KeyDocument as VerifyingKey
from zkai.proof.keys import Proof
from zkai.proof.keys import VerifyingKey as PlainVerifyingKey
from zkai.proof.proving_keys import Keys
from zkai.proof.proving_keys import MarkedKey as ProvingKey
from zkai.proof.proving_keys import ProvingKey as PlainProvingKey
from zkai.proof.scalars import Progress, no_progress, random_scalar
from zkai.proof.setup import setup as plain_setup
from zkai.proof.transcript import Contribution

__all__ = ["Ceremony", "Keys", "Proof", "ProvingKey", "VerifyingKey"]


def has_round(circuit: Circuit) -> bool:
    """Return whether the circuit's proofs have a commitment round."""
    return bool(circuit.challenges)


def setup(
    circuit: Circuit,
    statement: str,
    folder: Path,
    progress: Progress | None = None,
    tau: Path | None = None,
) -> Keys:
    """Make a development key in `folder`; `tau` keeps a secret tau for others to share.

    Raises as each format's own `setup` does, and InvalidInput for a tau of plain Groth16.
    """
    if has_round(circuit):
        scalars = random_scalar if tau is None else kept_tau(tau)
        return commit_setup(circuit, statement, folder, progress, scalars)
    if tau is not None:
        raise InvalidInput(f"{tau}: only keys with a commitment round share their tau")
    return plain_setup(circuit, statement, folder, progress)


def proving_file(circuit: Circuit) -> str:
    """Return what the circuit's proving key is called in a folder of keys."""
    return (CommitProvingKey if has_round(circuit) else PlainProvingKey).NAME


def open_proving_key(path: Path | str) -> ProvingKey:
    """Map a proving key of either format. Raises InvalidInput if it is malformed."""
    return CommitProvingKey(path) if is_commit_file(path) else PlainProvingKey(path)


def is_commit_file(path: Path | str) -> bool:
    """Return whether a file starts as a proving key with a commitment round does."""
    path = as_path(path)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def prove(
    circuit: Circuit,
    key: ProvingKey,
    inputs: Mapping[str, Any],
    statement: str,
    progress: Progress | None = None,
) -> Proof:
    """Return a proof that the circuit holds for `inputs`, checked before it is returned.

    Raises InvalidInput for a key of another format, and as the format's own `prove` does.
    """
    report = progress or no_progress
    report("witness", 0.0)
    if isinstance(key, CommitProvingKey) and has_round(circuit):
        partial = circuit.begin(inputs)
        report("witness", 1.0)
        return argument.prove(circuit, key, partial, statement, progress)
    if isinstance(key, PlainProvingKey) and not has_round(circuit):
        witness = circuit.solve(inputs)
        report("witness", 1.0)
        return groth16.prove(circuit, key, witness, statement, progress)
    raise InvalidInput(f"{key.path}: a key of another proof format than {circuit.name}'s")


def linker(key: ProvingKey) -> Callable[[LinkedState], int] | None:
    """Return what names the commitments to linked states under a key; None if it links none."""
    if not isinstance(key, CommitProvingKey) or not key.file.header.sizes.n_links:
        return None
    return lambda state: link_value(key.commit(state.coefficients))


def verify(
    proof: Proof,
    key: VerifyingKey,
    verifier: str = "native",
    production: bool = False,
    trusted_digests: Collection[bytes | str] = (),
    polynomials: Mapping[str, Any] | None = None,
) -> None:
    """Return None if `proof` holds under `key`, by the verifier of their format.

    `polynomials` are the coefficients of public polynomials, where the key has some.

    Raises VerificationError if they are of different formats, and as the format's own `verify`
    does.
    """
    check_format(proof, key)
    if isinstance(key, CommitVerifyingKey) and isinstance(proof, CommitProof):
        return argument.verify(proof, key, verifier, production, trusted_digests, polynomials)
    assert isinstance(key, PlainVerifyingKey)
    if polynomials:
        raise InvalidInput("plain Groth16 has no public polynomials")
    return groth16.verify(proof, key, verifier, production, trusted_digests)


def check_format(proof: Proof, key: VerifyingKey) -> None:
    """Return None if proof and key are of one format. Raises VerificationError naming both."""
    if proof.FORMAT != key.PROOFS:
        raise VerificationError(
            f"the proof has the format {proof.FORMAT}, the verifying key is for {key.PROOFS}"
        )


def init(start: Ceremony, target: Path, progress: Progress | None = None) -> None:
    """Start a ceremony of the circuit's format. Raises as the format's own `init` does."""
    if has_round(start.circuit):
        return commit_ceremony.init(start, target, progress)
    return plain_ceremony.init(start.circuit, start.statement, start.ptau, target, progress)


def contribute(
    start: Ceremony | None,
    source: Path,
    target: Path,
    name: str,
    progress: Progress | None = None,
) -> tuple[Contribution, ...]:
    """Multiply each delta of a key by a fresh secret; return the contributions, one for each.

    `start`, the ceremony's circuit and .ptau, is what a key with a commitment round is verified
    against before; a plain one takes none.

    Raises InvalidInput if `start` is missing or too much, and as the format's `contribute` does.
    """
    if is_commit_file(source):
        begun = _needed(start, source)
        return commit_ceremony.contribute(begun, source, target, name, progress=progress)
    _unneeded(start, source)
    return (plain_ceremony.contribute(source, target, name, progress=progress),)


def beacon(
    start: Ceremony | None,
    source: Path,
    target: Path,
    value: bytes,
    log_iterations: int,
    name: str = "",
    progress: Progress | None = None,
) -> tuple[Contribution, ...]:
    """Close a ceremony with a public random value; `start` and the result are `contribute`'s.

    Raises as `contribute` does, and InvalidInput for a value or a number out of bounds.
    """
    if is_commit_file(source):
        begun = _needed(start, source)
        return commit_ceremony.beacon(begun, source, target, value, log_iterations, name, progress)
    _unneeded(start, source)
    return (plain_ceremony.beacon(source, target, value, log_iterations, name, progress),)


def _needed(start: Ceremony | None, source: Path) -> Ceremony:
    if start is None:
        raise InvalidInput(
            f"{source}: a key with a commitment round is verified before it is contributed to:"
            " give the statement and the .ptau too"
        )
    return start


def _unneeded(start: Ceremony | None, source: Path) -> None:
    if start is not None:
        raise InvalidInput(
            f"{source}: a key without a commitment round is contributed to without looking at"
            " circuit and .ptau; leave the statement and the .ptau out"
        )


def finalize(start: Ceremony, source: Path, folder: Path, progress: Progress | None = None) -> Keys:
    """Verify a whole ceremony and write its keys.

    Raises InvalidInput for a key of another format, and as the format's own `finalize` does.
    """
    if is_commit_file(source) != has_round(start.circuit):
        kind = "with" if has_round(start.circuit) else "without"
        raise InvalidInput(
            f"{source}: not a key {kind} a commitment round, which {start.circuit.name} needs"
        )
    if has_round(start.circuit):
        return commit_ceremony.finalize(start, source, folder, progress)
    return plain_ceremony.finalize(
        start.circuit, start.statement, start.ptau, source, folder, progress
    )
