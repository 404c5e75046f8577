"""The head of a statement file: its [head] table, with the options of its steps from above it."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from typing import Any

from zkai.errors import InvalidInput
from zkai.model.heads import MOMENTUM_BITS, Head, LoraHead, MlpHead, SoftmaxHead, field_names
from zkai.model.training import weight_decay
from zkai.statement_table import Table

_HEAD_KINDS: dict[str, type[Head]] = {"softmax": SoftmaxHead, "mlp": MlpHead, "lora": LoraHead}
_NOT_IN_TABLE = ("momentum", "clip")
_SEQUENCES = ("sizes", "adapted")


def read_head(top: Table, *also: str) -> Head:
    """Return the head of a file's [head] table, with the options of its step from above it."""
    table = top.table("head")
    kind = _HEAD_KINDS[table.choice("kind", tuple(_HEAD_KINDS), "softmax")]
    names = [name for name in field_names(kind) if name not in _NOT_IN_TABLE]
    table.only("kind", *names, *also)
    required = [f.name for f in fields(kind) if f.default is MISSING]
    if missing := [name for name in required if name not in table.content]:
        raise InvalidInput(f"{table.where}: missing {', '.join(missing)}")
    values: dict[str, Any] = {
        name: table.integers(name) if name in _SEQUENCES else table.integer(name)
        for name in names
        if name in table.content
    }
    head = kind(**values, momentum=_momentum(top.number("momentum", 0.0), top.where))
    if "clip_norm" in top.content:
        head = head.clipped(top.number("clip_norm"))
    if "weight_decay" not in top.content:
        return head
    if "decay" in table.content:
        raise InvalidInput(f"{top.where}: give weight_decay, or decay in [head], not both")
    return replace(head, decay=weight_decay(head, top.number("weight_decay"), top.integer("batch")))


def _momentum(value: float, where: str) -> int:
    scaled = value * (1 << MOMENTUM_BITS)
    if scaled != int(scaled) or not 0 <= scaled < 1 << MOMENTUM_BITS:
        near = min(max(round(scaled), 0), (1 << MOMENTUM_BITS) - 1) / (1 << MOMENTUM_BITS)
        raise InvalidInput(
            f"{where}: momentum: expected a multiple of 1/256 of at least 0 and below 1, got"
            f" {value}; the nearest is {near}"
        )
    return int(scaled)
