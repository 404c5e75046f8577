"""Statement files of format halo2, which EZKL proves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from zkai.circuit.statements.base import Statement
from zkai.errors import InvalidInput
from zkai.halo2.settings import HASHED, Halo2Config
from zkai.halo2.slices import SlicedInference
from zkai.halo2.statement import Halo2Inference, Halo2Statement, model_for
from zkai.halo2.step_layout import SALT_LIMBS
from zkai.halo2.training import Halo2TrainingStep
from zkai.model.export import load
from zkai.statement_head import read_head
from zkai.statement_table import Table, read_samples

AnyHalo2: TypeAlias = Halo2Statement | SlicedInference
AnyStatement: TypeAlias = Statement | AnyHalo2

_TOP = ("statement", "format")
_INTEGERS = ("scale", "max_k", "columns", "lookup_margin")


def read_halo2(kind: str, top: Table, folder: Path) -> AnyHalo2:
    """Return the statement of a file of format halo2.

    Raises InvalidInput, naming the key, as the statement itself does.
    """
    if kind not in READERS:
        known = " and ".join(f'"{name}"' for name in READERS)
        raise InvalidInput(f'{top.where}: format "halo2" is for {known}')
    return READERS[kind](top, folder)


def _inference(top: Table, folder: Path) -> AnyHalo2:
    top.only(*_TOP, "model", "calibration", "visibility", "halo2", *_SLICING)
    path, samples = folder / top.text("model"), folder / top.text("calibration")
    calibration: Any = read_samples(samples)
    if len(calibration) == 1:
        (calibration,) = calibration.values()
    seen = top.table("visibility").content if "visibility" in top.content else {}
    config = read_config(top)
    try:
        model = model_for(path, calibration)
        if cuts := _cuts(top):
            return SlicedInference(model, calibration, cuts, seen, config)
        return Halo2Inference(model, calibration, seen, config)
    except InvalidInput as error:
        raise InvalidInput(f"{top.where} (calibration {samples}): {error}") from error


_SLICING = ("slices", "cuts")


def _cuts(top: Table) -> tuple[str, ...] | int | None:
    """Return where a file cuts its model: after named tensors, or into so many slices."""
    if all(name in top.content for name in _SLICING):
        raise InvalidInput(f"{top.where}: give slices or cuts, one of the two")
    if "cuts" in top.content:
        return top.texts("cuts")
    return top.integer("slices") if "slices" in top.content else None


def _training_step(top: Table, folder: Path) -> Halo2Statement:
    known = ("batch", "learning_rate", "momentum", "loss", "commitments", "calibration", "halo2")
    top.only(*_TOP, *known, *(("model", "trained") if "model" in top.content else ("head",)))
    top.choice("loss", ("softmax",), "softmax")
    source: Any
    choices: dict[str, Any] = {}
    if "model" in top.content:
        source = load(folder / top.text("model"))
        choices["momentum"] = top.number("momentum", 0.0)
        if "trained" in top.content:
            choices["trained"] = top.texts("trained")
    else:
        source = read_head(top)
    if "calibration" in top.content:
        choices["calibration"] = read_samples(folder / top.text("calibration"))
    return Halo2TrainingStep(
        source,
        top.integer("batch"),
        top.number("learning_rate"),
        commitments=top.choice("commitments", tuple(SALT_LIMBS), HASHED),
        config=read_config(top),
        **choices,
    )


def read_config(top: Table) -> Halo2Config:
    """Return the choices of a file's [halo2] table. Raises InvalidInput naming the key."""
    table = top.table("halo2") if "halo2" in top.content else Table({}, top.where)
    table.only(*_INTEGERS, "decomposition", "tolerance")
    given: dict[str, Any] = {n: table.integer(n) for n in _INTEGERS if n in table.content}
    if "decomposition" in table.content:
        pair = table.integers("decomposition")
        if len(pair) != 2:
            raise InvalidInput(f"{table.where}: decomposition: expected [base, legs]")
        given["decomposition"] = pair
    if "tolerance" in table.content:
        given["tolerance"] = table.number("tolerance")
    return Halo2Config(**given)


READERS: dict[str, Callable[[Table, Path], AnyHalo2]] = {
    "inference": _inference,
    "training_step": _training_step,
}
"""The reader of each kind of statement that the format has."""
