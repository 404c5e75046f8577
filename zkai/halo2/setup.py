"""Makes the keys of a Halo2 circuit: calibrates, takes a setup string, and runs EZKL's setup."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from zkai.encoding import as_path, read_capped
from zkai.errors import InvalidInput
from zkai.halo2 import srs
from zkai.halo2.calibration import COMPILED, Calibration, calibrate
from zkai.halo2.estimate import Halo2Estimate, check_memory, estimate_settings
from zkai.halo2.keys import (
    MAX_KEY_BYTES,
    PROVING_FILE,
    SRS_FILE,
    VERIFYING_FILE,
    Halo2Keys,
    Halo2VerifyingKey,
)
from zkai.halo2.process import Fault, Limits, Worker
from zkai.halo2.statement import Halo2Statement, signals_of
from zkai.proof.scalars import Progress

_KEY, _PROVING = "vk.key", "pk.key"


def calibration_of(
    statement: Halo2Statement, *, limits: Limits | None = None, progress: Progress | None = None
) -> Calibration:
    """Return a statement's settings and their error, and nothing else.

    Raises InvalidInput, VerificationError and ToolError as `settings.calibrate` does.
    """
    with (
        tempfile.TemporaryDirectory(prefix="zkai-halo2-") as name,
        Worker(Path(name), limits, progress) as worker,
    ):
        return _calibrate(worker, statement)


def estimate(
    statement: Halo2Statement, *, limits: Limits | None = None, progress: Progress | None = None
) -> Halo2Estimate:
    """Return what a statement costs, and the error of its integers on held-out samples.

    Raises InvalidInput, naming the operator where EZKL does, for a model that it cannot take, and
    if keys and proofs would not fit into this machine's memory.
    """
    found = calibration_of(statement, limits=limits, progress=progress)
    signals = signals_of(statement.describe(), found.settings)
    check_memory(found.settings)
    return estimate_settings(found.settings, statement.version, signals, found.report)


def _calibrate(worker: Worker, statement: Halo2Statement) -> Calibration:
    return calibrate(
        worker,
        statement.model,
        statement.samples,
        statement.ezkl_visibility,
        statement.config,
        chained=statement.chained,
    )


def setup(
    statement: Halo2Statement,
    folder: Path,
    *,
    ptau: Path | str | None = None,
    digest: bytes | str | None = None,
    tau: Path | str | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Halo2Keys:
    """Write a statement's keys into an empty `folder`.

    Without `ptau`, the setup string is made here, for development; `tau` keeps its secret for other
    keys to share. With `ptau`, a .ptau or a string in EZKL's form, `srs.install` says what counts.

    Raises InvalidInput, VerificationError and ToolError as `calibrate` and `srs.install` do.
    """
    if ptau is None and digest is not None:
        raise InvalidInput("setup: a digest is of the file in ptau")
    with (
        tempfile.TemporaryDirectory(prefix="zkai-halo2-") as name,
        Worker(Path(name), limits, progress) as worker,
    ):
        settings = _calibrate(worker, statement).settings
        check_memory(settings, worker.limits.memory_bytes)
        target = worker.folder / SRS_FILE
        if ptau is None:
            string = srs.develop(target, settings.k, tau)
        else:
            string = srs.install(as_path(ptau, "ptau"), settings.k, target, digest, progress)
        try:
            worker.call("setup", model=COMPILED, vk_path=_KEY, pk_path=_PROVING, srs_path=SRS_FILE)
        except Fault as fault:
            raise InvalidInput(f"setup: EZKL cannot make keys: {fault.text}") from fault
        verifying = Halo2VerifyingKey(
            statement.describe(),
            settings,
            read_capped(worker.folder / _KEY, MAX_KEY_BYTES),
            string.tau_g2,
            string.status,
            string.sha256,
            srs.pinned_points(target, statement.pinned_points),
        )
        verifying.check()
        for source, file in (
            (_PROVING, PROVING_FILE),
            (SRS_FILE, SRS_FILE),
        ):
            shutil.move(worker.folder / source, folder / file)
    verifying.write(folder / VERIFYING_FILE)
    return Halo2Keys.from_path(folder)
