"""What a key says of its circuit, held against the settings that EZKL reads the circuit with.

The description is what people read and provers compare with their statement; the settings are what
EZKL obeys. A key in which they differ could show as public what its description calls hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zkai.errors import InvalidInput
from zkai.halo2.labels import LABELS
from zkai.halo2.settings import FIXED, HASHED, POLYCOMMIT, PUBLIC, Settings
from zkai.halo2.srs import UNUSABLE_ROWS
from zkai.halo2.statement import INFERENCE, TRAINING_STEP
from zkai.halo2.step_layout import NAMES

_MORE = ("names", "labels", "step")


def check_description(description: Mapping[str, Any], settings: Settings) -> None:
    """Return None if a description says of a circuit what its settings say.

    Raises InvalidInput naming the difference, or for a statement that is none of this format, a
    hidden number without a range, and a commitment that is larger than a column.
    """
    seen = settings.visibility
    _check_kind(description, settings)
    said = (description["visibility"], description["weights"])
    if said != (
        [seen.input, seen.output, seen.weights],
        "constant" if seen.weights == FIXED else "hidden",
    ):
        raise InvalidInput(
            f"verifying key: the description's visibility is {said[0]}, weights {said[1]}; the"
            f" settings show input {seen.input}, output {seen.output}, weights {seen.weights}"
        )
    _check_config(description["config"], settings)
    if not settings.check_ranges and (seen.input, seen.output) != (PUBLIC, PUBLIC):
        raise InvalidInput("verifying key: hidden numbers without a range may be any field element")
    shown = [
        shape
        for part, word in (("inputs", seen.input), ("outputs", seen.output))
        if word == PUBLIC
        for _, shape in description[part]
    ]
    if shown != settings.content["model_instance_shapes"]:
        raise InvalidInput("verifying key: the public tensors' shapes are not the settings'")
    if any(size > (1 << settings.k) - UNUSABLE_ROWS for size in settings.committed_lengths):
        raise InvalidInput("verifying key: a polynomial is committed to in several columns")


def _check_kind(description: Mapping[str, Any], settings: Settings) -> None:
    """Return None if a training step has its names, labels and commitments, an inference none."""
    statement, seen = description["statement"], settings.visibility
    if statement not in (INFERENCE, TRAINING_STEP):
        raise InvalidInput(f"verifying key: {statement!r} is no statement of format halo2")
    if statement == INFERENCE:
        if given := [name for name in _MORE if name in description]:
            raise InvalidInput(f"verifying key: {INFERENCE} has no {given[0]}")
        return
    if description.get("labels") != list(LABELS) or description.get("names") != NAMES:
        raise InvalidInput(f"verifying key: {TRAINING_STEP} has other names or labels")
    if seen.input not in (HASHED, POLYCOMMIT) or seen.output != seen.input:
        raise InvalidInput(f"verifying key: {TRAINING_STEP} commits to all of its vectors alike")


def _check_config(config: object, settings: Settings) -> None:
    arguments = settings.content["run_args"]
    wanted = {
        "scale": arguments["input_scale"],
        "columns": arguments["num_inner_cols"],
        "check_ranges": settings.check_ranges,
    }
    for name, value in wanted.items():
        if not isinstance(config, Mapping) or config.get(name) != value:
            raise InvalidInput(f"verifying key: the description's {name} is not the settings'")
    if arguments["param_scale"] != arguments["input_scale"]:
        raise InvalidInput("verifying key: weights have another scale than inputs")
