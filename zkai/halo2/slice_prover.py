"""Costs, keys and proofs of a model in slices: one key a slice, proven one by one or at once."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Self

from zkai.encoding import as_path
from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.halo2.estimate import Halo2Estimate
from zkai.halo2.keys import VERIFYING_FILE, Halo2Keys
from zkai.halo2.process import POLL_SECONDS, Limits, default_memory
from zkai.halo2.proof import Halo2Proof, compute, prove_opened
from zkai.halo2.setup import estimate, setup
from zkai.halo2.slices import SlicedInference, SlicedProof, SlicedVerifyingKey, join
from zkai.halo2.statement import tensor_names
from zkai.model.fixed_point import IntArray
from zkai.proof.scalars import Progress, no_progress

MIN_SHARE = 2 << 30
"""The least address space that EZKL starts in with room to work."""

Tensors = dict[str, IntArray]


@dataclass(frozen=True)
class SlicedKeys:
    """The keys of all slices, each in a folder of its own, and the verifying key of the whole."""

    slices: tuple[Halo2Keys, ...]
    verifying: SlicedVerifyingKey

    @classmethod
    def from_path(cls, folder: Path | str) -> Self:
        """Open a folder of keys. Raises InvalidInput if a file is missing, or of other slices."""
        path = as_path(folder)
        verifying = SlicedVerifyingKey.from_path(path / VERIFYING_FILE)
        slices = tuple(
            Halo2Keys.from_path(_folder(path, place)) for place in range(len(verifying.keys))
        )
        for place, (keys, wanted) in enumerate(zip(slices, verifying.keys, strict=True)):
            if keys.verifying.digest != wanted.digest:
                raise InvalidInput(f"{_folder(path, place)}: not the keys of slice {place}")
        return cls(slices, verifying)


def _folder(path: Path, place: int) -> Path:
    return path / f"slice-{place}"


@dataclass(frozen=True)
class SlicedEstimate:
    """What each slice costs."""

    slices: tuple[Halo2Estimate, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the estimate as JSON values: sums, and the most memory that one slice takes."""
        parts = self.slices
        return {
            "statement": parts[0].statement,
            "format": parts[0].format,
            "constraints": sum(part.constraints for part in parts),
            "proof_bytes": sum(part.proof_bytes for part in parts),
            "proving_key_bytes": sum(part.proving_key_bytes for part in parts),
            "setup_s": sum(part.setup_s for part in parts),
            "prove_s": sum(part.prove_s for part in parts),
            "verify_s": sum(part.verify_s for part in parts),
            "memory_bytes": max(part.memory_bytes for part in parts),
            "slices": [part.to_json() for part in parts],
        }

    def __str__(self) -> str:
        whole = self.to_json()
        lines = [
            f"{whole['statement']}, in {len(self.slices)} slices",
            f"  rows   {whole['constraints']:>14,}   in all, exact",
            f"  setup  {whole['setup_s']:>12.1f} s   one by one, about, on this machine",
            f"  prove  {whole['prove_s']:>12.1f} s   one by one, about, on this machine",
            f"  memory {whole['memory_bytes'] / 1e6:>11,.0f} MB   of the largest slice, about",
        ]
        return "\n".join([*lines, *(f"slice {n}: {part}" for n, part in enumerate(self.slices))])


def estimate_slices(
    statement: SlicedInference, *, limits: Limits | None = None, progress: Progress | None = None
) -> SlicedEstimate:
    """Return what each slice costs. Raises InvalidInput, naming the slice, as `estimate` does."""
    found = []
    for place, part in enumerate(statement.slices):
        (progress or no_progress)("calibrate the slices", place / len(statement.slices))
        try:
            found.append(estimate(part, limits=limits))
        except InvalidInput as error:
            raise InvalidInput(f"slice {place}: {error}") from error
    (progress or no_progress)("calibrate the slices", 1.0)
    return SlicedEstimate(tuple(found))


def setup_slices(
    statement: SlicedInference,
    folder: Path,
    *,
    ptau: Path | str | None = None,
    digest: bytes | str | None = None,
    tau: Path | str | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> SlicedKeys:
    """Write the keys of every slice below an empty `folder`, one after the other.

    The options are those of `zkai.halo2.setup.setup`, for each slice.

    Raises InvalidInput, naming the slice, VerificationError and ToolError as that does.
    """
    keys = []
    for place, part in enumerate(statement.slices):
        (progress or no_progress)("set up the slices", place / len(statement.slices))
        target = _folder(folder, place)
        target.mkdir()
        try:
            keys.append(setup(part, target, ptau=ptau, digest=digest, tau=tau, limits=limits))
        except InvalidInput as error:
            raise InvalidInput(f"slice {place}: {error}") from error
        except VerificationError as error:
            raise VerificationError(f"slice {place}: {error}") from error
    verifying = SlicedVerifyingKey(tuple(one.verifying for one in keys))
    verifying.check()
    verifying.write(folder / VERIFYING_FILE)
    (progress or no_progress)("set up the slices", 1.0)
    return SlicedKeys(tuple(keys), verifying)


def activations(
    statement: SlicedInference,
    keys: SlicedKeys,
    values: Mapping[str, Any],
    *,
    limits: Limits | None = None,
) -> list[dict[str, Any]]:
    """Return what each slice takes, as `prove_slice` wants it: PRIVATE integers, by tensor.

    Raises InvalidInput, naming the slice, for keys of another statement or unusable values.
    """
    if len(keys.slices) != len(statement.slices):
        raise InvalidInput(
            f"keys: of {len(keys.slices)} slices, and the statement has {len(statement.slices)}"
        )
    known: dict[str, Any] = dict(values)
    alone = next(iter(statement.model.inputs))
    if len(statement.model.inputs) == 1 and alone not in known:
        known |= {alone + k.removeprefix("input"): known.pop(k) for k in list(known)
                  if k in ("input", "input_integers")}  # fmt: skip
    taken = []
    for place, (part, one) in enumerate(zip(statement.slices, keys.slices, strict=True)):
        mine = {
            key: known[key]
            for name in part.model.inputs
            for key in (name, f"{name}_integers")
            if key in known
        }
        taken.append(mine)
        try:
            made = compute(part, one.proving, mine, limits=limits)
        except InvalidInput as error:
            raise InvalidInput(f"slice {place}: {error}") from error
        listed = one.verifying.description["outputs"]
        names = tensor_names("output", listed, {})
        for signal, (tensor, _) in zip(names, listed, strict=True):
            known[f"{tensor}_integers"] = made[signal]
    unknown = set(values) - {"input", "input_integers"}
    unknown -= {form for n in statement.model.inputs for form in (n, f"{n}_integers")}
    if unknown:
        raise InvalidInput(f"{statement.version}: unknown {', '.join(sorted(map(str, unknown)))}")
    return taken


def prove_slice(
    statement: SlicedInference,
    keys: SlicedKeys,
    place: int,
    taken: Mapping[str, Any],
    *,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Halo2Proof:
    """Return the proof of one slice from what it takes (`activations`); a job of its own.

    Raises InvalidInput, VerificationError and ToolError as `zkai.halo2.proof.prove` does.
    """
    if not 0 <= place < len(statement.slices):
        raise InvalidInput(f"slice: expected 0 to {len(statement.slices) - 1}, got {place}")
    part, one = statement.slices[place], keys.slices[place]
    return prove_opened(part, one.proving, taken, limits=limits, progress=progress)[0]


def prove_slices(
    statement: SlicedInference,
    keys: SlicedKeys,
    values: Mapping[str, Any],
    *,
    jobs: int = 1,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> SlicedProof:
    """Return the proof of the whole model on private `values`, every slice verified.

    At most `jobs` slices are proven at the same time, each in a process with `limits` of its own,
    without them with an equal share of what one process may use: one by one a model takes the
    memory of its largest slice. Whatever `progress` raises ends all of them.

    Raises InvalidInput, VerificationError and ToolError, naming the slice, as `prove_slice` does.
    """
    if type(jobs) is not int or not 1 <= jobs <= len(statement.slices):
        raise InvalidInput(f"jobs: expected 1 to {len(statement.slices)}, got {jobs!r}")
    report, stopped = progress or no_progress, Event()
    report("compute the slices", 0.0)
    taken = activations(statement, keys, values, limits=limits)
    report("compute the slices", 1.0)

    share = limits or Limits(memory_bytes=max(default_memory() // jobs, MIN_SHARE))

    def watch(stage: str, fraction: float) -> None:
        if stopped.is_set():
            raise ToolError("another slice ended the proof")

    def job(place: int) -> Halo2Proof:
        return prove_slice(statement, keys, place, taken[place], limits=share, progress=watch)

    with ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(job, place) for place in range(len(taken))]
        left = set(waiting)
        try:
            while left:
                report("prove the slices", 1 - len(left) / len(waiting))
                done, left = wait(left, POLL_SECONDS, FIRST_EXCEPTION)
                for one in done:
                    one.result()
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    proofs = [one.result() for one in waiting]
    report("prove the slices", 1.0)
    return join(proofs, keys.verifying)
