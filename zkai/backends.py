"""The four verbs for statements of both backends: our circuits, and EZKL's (format halo2)."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, overload

from zkai import pipeline
from zkai.assignment import Destination
from zkai.beacon import Beacon
from zkai.circuit.statements.base import Statement
from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.encoding import as_path, new_folder
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2 import proof as halo2_proof
from zkai.halo2 import setup as halo2_setup
from zkai.halo2.chain import check_context, verify_steps
from zkai.halo2.estimate import Halo2Estimate
from zkai.halo2.formats import AnyKey, AnyProof, read_key
from zkai.halo2.formats import verify as verify_format
from zkai.halo2.keys import Halo2Keys, Halo2ProvingKey, Halo2VerifyingKey, is_halo2_folder
from zkai.halo2.proof import Halo2Proof
from zkai.halo2.slice_prover import (
    SlicedEstimate,
    SlicedKeys,
    estimate_slices,
    prove_slices,
    setup_slices,
)
from zkai.halo2.slices import (
    SlicedInference,
    SlicedProof,
    SlicedVerifyingKey,
    is_sliced,
    verify_slices,
)
from zkai.halo2.statement import Halo2Statement
from zkai.halo2.step_proof import OpenedStepProof, prove_step
from zkai.halo2.training import Halo2TrainingStep
from zkai.pipeline import OpenedProof, ProgressCallback, reporter
from zkai.proof.estimate import Estimate
from zkai.proof.formats import Keys, ProvingKey

AnyHalo2: TypeAlias = Halo2Statement | SlicedInference


@overload
def estimate(
    statement: Statement, *, compare: bool = ..., progress: ProgressCallback | None = ...
) -> Estimate: ...


@overload
def estimate(
    statement: Halo2Statement, *, compare: bool = ..., progress: ProgressCallback | None = ...
) -> Halo2Estimate: ...


@overload
def estimate(
    statement: SlicedInference, *, compare: bool = ..., progress: ProgressCallback | None = ...
) -> SlicedEstimate: ...


def estimate(
    statement: Statement | AnyHalo2,
    *,
    compare: bool = False,
    progress: ProgressCallback | None = None,
) -> Estimate | Halo2Estimate | SlicedEstimate:
    """Return what a statement costs, before any key is made; see `zkai.pipeline.estimate`.

    A statement of format halo2 is calibrated, and its costs come from a measured table.

    Raises InvalidInput if the circuit cannot be built or is too large to be proven here.
    """
    if not isinstance(statement, Halo2Statement | SlicedInference):
        return pipeline.estimate(statement, compare=compare, progress=progress)
    if compare:
        raise InvalidInput("compare: format halo2 has no other proof format")
    if isinstance(statement, SlicedInference):
        return estimate_slices(statement, progress=reporter(progress))
    return halo2_setup.estimate(statement, progress=reporter(progress))


@overload
def setup(
    statement: Statement,
    folder: Path | str | None = ...,
    *,
    ptau: Path | str | None = ...,
    tau: Path | str | None = ...,
    digest: bytes | str | None = ...,
    progress: ProgressCallback | None = ...,
) -> Keys: ...


@overload
def setup(
    statement: Halo2Statement,
    folder: Path | str | None = ...,
    *,
    ptau: Path | str | None = ...,
    tau: Path | str | None = ...,
    digest: bytes | str | None = ...,
    progress: ProgressCallback | None = ...,
) -> Halo2Keys: ...


@overload
def setup(
    statement: SlicedInference,
    folder: Path | str | None = ...,
    *,
    ptau: Path | str | None = ...,
    tau: Path | str | None = ...,
    digest: bytes | str | None = ...,
    progress: ProgressCallback | None = ...,
) -> SlicedKeys: ...


def setup(
    statement: Statement | AnyHalo2,
    folder: Path | str | None = None,
    *,
    ptau: Path | str | None = None,
    tau: Path | str | None = None,
    digest: bytes | str | None = None,
    progress: ProgressCallback | None = None,
) -> Keys | Halo2Keys | SlicedKeys:
    """Return new keys of a statement, in `folder`; see `zkai.pipeline.setup`.

    Keys of format halo2 need powers of tau and no second phase: with a .ptau that records
    contributions, or a file whose published SHA-256 is `digest`, they are a ceremony's
    (`zkai.halo2.srs`). Without `ptau` they are for development; `tau` keeps the secret for others.

    Raises InvalidInput for both a .ptau and a tau, or if the folder holds anything or cannot be
    written, or the circuit is too large for the powers.
    """
    if not isinstance(statement, Halo2Statement | SlicedInference):
        if digest is not None:
            raise InvalidInput("setup: a digest of the setup string is for format halo2")
        return pipeline.setup(statement, folder, ptau=ptau, tau=tau, progress=progress)
    if ptau is not None and tau is not None:
        raise InvalidInput("setup: a .ptau has its own tau; give ptau or tau, not both")
    report = reporter(progress)
    given: dict[str, Any] = {"ptau": ptau, "tau": tau, "digest": digest, "progress": report}
    if folder is None:
        temporary = tempfile.mkdtemp(prefix="zkai-keys-")
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        return _make_keys(statement, Path(temporary), given)
    target = as_path(folder, "folder")
    with new_folder(target) as partial:
        _make_keys(statement, partial, given)
    sliced = isinstance(statement, SlicedInference)
    return SlicedKeys.from_path(target) if sliced else Halo2Keys.from_path(target)


def _make_keys(
    statement: AnyHalo2, folder: Path, given: Mapping[str, Any]
) -> Halo2Keys | SlicedKeys:
    if isinstance(statement, SlicedInference):
        return setup_slices(statement, folder, **given)
    return halo2_setup.setup(statement, folder, **given)


def open_keys(folder: Path | str) -> Keys | Halo2Keys:
    """Return the keys in a folder, of any format. Raises InvalidInput as `Keys.from_path` does."""
    return Halo2Keys.from_path(folder) if is_halo2_folder(folder) else Keys.from_path(folder)


@overload
def prove(
    statement: Statement,
    proving_key: ProvingKey | Path | str,
    values: Mapping[str, Any],
    *,
    destination: Destination | None = ...,
    progress: ProgressCallback | None = ...,
) -> OpenedProof: ...


@overload
def prove(
    statement: Halo2TrainingStep,
    proving_key: Halo2ProvingKey | Path | str,
    values: Mapping[str, Any],
    *,
    destination: Destination | None = ...,
    progress: ProgressCallback | None = ...,
) -> OpenedStepProof: ...


@overload
def prove(
    statement: Halo2Statement,
    proving_key: Halo2ProvingKey | Path | str,
    values: Mapping[str, Any],
    *,
    destination: Destination | None = ...,
    progress: ProgressCallback | None = ...,
) -> Halo2Proof: ...


@overload
def prove(
    statement: SlicedInference,
    proving_key: SlicedKeys | Path | str,
    values: Mapping[str, Any],
    *,
    jobs: int = ...,
    progress: ProgressCallback | None = ...,
) -> SlicedProof: ...


def prove(
    statement: Statement | AnyHalo2,
    proving_key: ProvingKey | Halo2ProvingKey | SlicedKeys | Path | str,
    values: Mapping[str, Any],
    *,
    destination: Destination | None = None,
    jobs: int = 1,
    progress: ProgressCallback | None = None,
) -> OpenedProof | Halo2Proof | SlicedProof:
    """Return a proof of `statement` on private `values`, checked; see `zkai.pipeline.prove`.

    In format halo2 a training step's proof is for a destination and has an opening; an inference's
    has neither. A model in slices takes all of its keys, or their folder, and proves `jobs` slices
    at a time.

    Raises InvalidInput, naming the value, for values that the statement cannot take, a key of
    another circuit or format, or a destination where there is none; VerificationError if the values
    do not satisfy the circuit.
    """
    if isinstance(statement, SlicedInference):
        keys = proving_key
        if isinstance(keys, ProvingKey | Halo2ProvingKey):
            raise InvalidInput(f"{keys.path}: one key; a model in slices takes one for each slice")
        keys = keys if isinstance(keys, SlicedKeys) else SlicedKeys.from_path(keys)
        return prove_slices(statement, keys, values, jobs=jobs, progress=reporter(progress))
    if isinstance(proving_key, SlicedKeys):
        raise InvalidInput("keys: of a model in slices, not of this statement")
    if not isinstance(statement, Halo2Statement):
        if isinstance(proving_key, Halo2ProvingKey):
            raise InvalidInput(f"{proving_key.path}: a key of format halo2, not of this statement")
        return pipeline.prove(
            statement, proving_key, values, destination=destination, progress=progress
        )
    is_step = isinstance(statement, Halo2TrainingStep)
    if destination is not None and not is_step:
        raise InvalidInput("destination: a proof of an inference in format halo2 has none")
    key = proving_key
    if isinstance(key, ProvingKey):
        raise InvalidInput(f"{key.path}: not a key of format halo2")
    if not isinstance(key, Halo2ProvingKey):
        key = Halo2ProvingKey(key)
    if isinstance(statement, Halo2TrainingStep):
        place = destination or Destination()
        report = reporter(progress)
        return prove_step(statement, key, values, context_of=place.context, progress=report)
    return halo2_proof.prove(statement, key, values, progress=reporter(progress))


def verify(
    proof: AnyProof | SlicedProof,
    verifying_key: AnyKey | SlicedVerifyingKey | Path | str,
    *,
    verifier: str = "native",
    production: bool = False,
    trusted_digests: Collection[bytes | str] = (),
    destination: Destination | None = None,
    progress: ProgressCallback | None = None,
) -> None:
    """Return None if `proof` holds under `verifying_key`, of any format; see `pipeline.verify`.

    Raises VerificationError with the reason; InvalidInput for a malformed key.
    """
    key = verifying_key
    if isinstance(key, str | Path):
        key = SlicedVerifyingKey.from_path(key) if is_sliced(key) else read_key(key)
    if isinstance(proof, SlicedProof) or isinstance(key, SlicedVerifyingKey):
        if not isinstance(proof, SlicedProof) or not isinstance(key, SlicedVerifyingKey):
            raise VerificationError(
                f"the proof has the format {proof.FORMAT}, the verifying key is for {key.PROOFS}"
            )
        if destination is not None:
            raise VerificationError("a proof of an inference in format halo2 is for no destination")
        given: dict[str, Any] = {"production": production, "trusted_digests": trusted_digests}
        verify_slices(proof, key, **given, progress=reporter(progress))
        return
    if not isinstance(proof, Halo2Proof) and not isinstance(key, Halo2VerifyingKey):
        pipeline.verify(
            proof,
            key,
            verifier=verifier,
            production=production,
            trusted_digests=trusted_digests,
            destination=destination,
            progress=progress,
        )
        return
    if destination is not None and "context" not in proof.public:
        raise VerificationError(
            "this proof is for no chain, ledger or recipient: anyone may show it again"
        )
    report = reporter(progress)
    verify_format(proof, key, verifier, production, trusted_digests, report)
    if destination is not None and isinstance(proof, Halo2Proof):
        check_context(proof, destination.context)


def verify_chain(
    proofs: Iterable[AnyProof],
    keys: Mapping[str, Any] | Collection[Any],
    *,
    production: bool = False,
    trusted_digests: Collection[bytes | str] = (),
    destination: Destination | None = None,
    terms: ForkTerms | None = None,
    beacon: Beacon | None = None,
    updates: Collection[int] = (),
    progress: ProgressCallback | None = None,
) -> None:
    """Return None if the proofs are one fork's history; see `zkai.pipeline.verify_chain`.

    In format halo2 a history is training steps under one key, from the state that `model` names
    (`zkai.halo2.chain`), without terms, beacon or aggregates.

    Raises VerificationError naming the proof's place and what is wrong; InvalidInput for what is
    no proof, or an option that format halo2 has not.
    """
    if not isinstance(proofs, Iterable):
        raise InvalidInput(f"proofs: expected an Iterable, got {type(proofs).__name__}")
    history: list[Any] = list(proofs)
    given: dict[str, Any] = {"production": production, "trusted_digests": trusted_digests}
    given["progress"] = progress
    if not (history and isinstance(history[0], Halo2Proof)):
        given |= {"terms": terms, "beacon": beacon, "updates": updates}
        return pipeline.verify_chain(history, keys, destination=destination, **given)
    if terms is not None or beacon is not None or updates:
        raise InvalidInput("verify_chain: steps of format halo2 have no terms, beacon or updates")
    listed = list(keys.values() if isinstance(keys, Mapping) else keys)
    fitting = [k for k in listed if isinstance(k, Halo2VerifyingKey)]
    chosen = [k for k in fitting if k.digest == history[0].vk_digest] or fitting
    if not chosen:
        raise VerificationError("proof 0: no key of format halo2 was given")
    given["progress"] = reporter(progress)
    place = None if destination is None else destination.context
    return verify_steps(history, chosen[0], context_of=place, **given)
