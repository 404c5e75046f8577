"""Training steps of both backends under one name: our circuits, and EZKL's (format halo2)."""

from __future__ import annotations

from typing import Any

from zkai.circuit.statements import training_step
from zkai.errors import InvalidInput
from zkai.halo2.training import Halo2TrainingStep
from zkai.model.onnx_file import GROTH16, HALO2, check_backend


class _OfEitherBackend(type):
    """What `TrainingStep(...)` returns is of another class, and still counts as one."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, training_step.TrainingStep | Halo2TrainingStep)


class TrainingStep(training_step.TrainingStep, metaclass=_OfEitherBackend):
    """Prove SGD steps: `zkai.circuit.statements.training_step.TrainingStep`, with its arguments.

    With backend "halo2" the result is a `zkai.halo2.training.Halo2TrainingStep` with that class's:
    a head or a graph of `zkai.load`, proven by EZKL.

    Raises InvalidInput as those do, and for an argument that the backend does not take.
    """

    def __new__(  # type: ignore[misc]  # each backend's statement is a class of its own
        cls, *arguments: Any, backend: str = GROTH16, **choices: Any
    ) -> training_step.TrainingStep | Halo2TrainingStep:
        """Return the backend's statement."""
        check_backend(backend)
        kind = Halo2TrainingStep if backend == HALO2 else training_step.TrainingStep
        try:
            return kind(*arguments, **choices)
        except TypeError as error:
            if "argument" not in str(error):
                raise
            raise InvalidInput(f"TrainingStep, backend {backend}: {error}") from error
