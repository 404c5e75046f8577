"""Who sees which tensor of an inference, and the public signals' names that follow."""

from __future__ import annotations

from collections.abc import Mapping

from zkai.circuit.statements.hashed_input import HASHED
from zkai.errors import InvalidInput
from zkai.model.quant_graph import QuantGraph

CHOICES = {
    "input": ("committed", "public", HASHED),
    "output": ("public", "committed", "argmax"),
    "weights": ("constant", "committed", "public", "state"),
}
"""What each kind of tensor may be; the first is the default."""


def kinds(graph: QuantGraph) -> dict[str, str]:
    """Return "input", "output" or "weights" for each tensor that has a visibility, in order."""
    result = dict.fromkeys(graph.inputs, "input")
    for name in graph.outputs:
        if name in result:
            raise InvalidInput(f"tensor {name!r} is both an input and an output of the graph")
        result[name] = "output"
    return result | dict.fromkeys(graph.parameters, "weights")


def check_visibility(visibility: object) -> None:
    """Return None for a mapping. Raises InvalidInput naming the type of anything else."""
    if not isinstance(visibility, Mapping):
        raise InvalidInput(
            f"visibility: expected a mapping of names to choices, got {type(visibility).__name__}"
        )


def resolve(graph: QuantGraph, visibility: Mapping[str, str]) -> dict[str, str]:
    """Return each tensor's visibility: its own, else its kind's, else the default.

    Raises InvalidInput for an unknown name or choice, and for the largest entry of a tensor that
    has only one.
    """
    check_visibility(visibility)
    kind_of = kinds(graph)
    for name, choice in visibility.items():
        kind = kind_of.get(name, name)
        if kind not in CHOICES:
            raise InvalidInput(
                f"visibility: unknown tensor {name!r}; the model has {', '.join(kind_of)}, and"
                " input, output or weights stand for all of a kind"
            )
        if not isinstance(choice, str) or choice not in CHOICES[kind]:
            raise InvalidInput(
                f"visibility: {name} cannot be {choice!r}; choose from {', '.join(CHOICES[kind])}"
            )
    chosen = {
        name: visibility.get(name, visibility.get(kind, CHOICES[kind][0]))
        for name, kind in kind_of.items()
    }
    for name, choice in chosen.items():
        if choice == "argmax" and not graph.tensors[name].shape:
            raise InvalidInput(
                f"visibility: {name} cannot be 'argmax': it is a single number, without a shape"
            )
    return chosen


def signal_name(graph: QuantGraph, name: str) -> str:
    """Return the public signal of a tensor: "input", or "input.NAME" where there are several."""
    kind = kinds(graph)[name]
    alone = {"input": graph.inputs, "output": graph.outputs}.get(kind, ())
    return kind if len(alone) == 1 else f"{kind}.{name}"
