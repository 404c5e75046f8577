"""The known orders of signals are those of the circuits, in each variant."""

from __future__ import annotations

from small_shapes import HEAD, LINKED, SHAPES, dataset_step, linked

from zkai.circuit.statements.base import COMMIT
from zkai.circuit.statements.dataset import DatasetShape
from zkai.circuit.statements.signals import ORDERS, check_signals

# Linked states on a dataset have no line of their own among the small shapes.
MORE = linked(dataset_step(HEAD, 1, DatasetShape(1)))


def test_every_variant_has_its_order() -> None:
    seen = {version: set[tuple[str, ...]]() for version in ORDERS}
    for make in (*(line[2] for line in SHAPES + LINKED), MORE):
        statement, _ = make(COMMIT)
        public = statement.build().public
        check_signals(statement.version, public)
        if statement.version in seen:
            seen[statement.version].add(tuple(signal.name for signal in public))
    assert {version: set(orders) for version, orders in ORDERS.items()} == seen
