"""How large a statement's circuit will be, without building it: a guard for what cannot be built.

A training step's rows grow linearly in its batch and steps, so three small circuits tell the size
of any. An inference's are counted by operator; there the result is within a factor of two.
"""

from __future__ import annotations

from math import prod

from zkai.circuit.statements.base import PLAIN, Statement
from zkai.circuit.statements.inference import STATE_SIGNALS, Inference
from zkai.circuit.statements.training_step import TrainingStep
from zkai.errors import InvalidInput
from zkai.model.quant_graph import Conv, MatMul, QuantNode, Relu, Sigmoid, Softmax
from zkai.proof.estimate import Sizes, sizes_of

EXACT_LIMIT = 6_000_000
"""Statements of about this many rows or a few times as many entries are built for an estimate."""

_SAMPLE_ROWS = 8
_ROWS_PER_SOFTMAX_ENTRY, _ROWS_PER_COMMITTED_BIT = 110, 1.2


def rough_sizes(statement: Statement) -> Sizes | None:
    """Return a large statement's approximate sizes, or None if it can well be built.

    Raises InvalidInput for a statement with a commitment round, which is counted otherwise.
    """
    if isinstance(statement, TrainingStep | Inference) and statement.format != PLAIN:
        raise InvalidInput(
            f"{statement.version}: this is for plain Groth16; zkai.proof.commit makes keys and "
            f"proofs of the format {statement.format}"
        )
    if isinstance(statement, TrainingStep):
        cells = prod(statement.head.shape)
        rows = statement.batch * statement.steps
        # Two products a weight and row, and at least as many for bits, would be built.
        if 2 * cells * rows < EXACT_LIMIT // 4:
            return None
        sizes = _extrapolated(statement)
    elif isinstance(statement, Inference):
        sizes = _counted(statement)
    else:
        return None
    return sizes if max(sizes.constraints, sizes.entries // 4) > EXACT_LIMIT else None


def _extrapolated(statement: TrainingStep) -> Sizes:
    """Return sizes from circuits of one small step, of twice its rows, and of two steps."""

    def sizes(rows: int, steps: int) -> Sizes:
        return sizes_of(TrainingStep(statement.head, batch=rows, steps=steps).build())

    one, wide, two = sizes(_SAMPLE_ROWS, 1), sizes(2 * _SAMPLE_ROWS, 1), sizes(_SAMPLE_ROWS, 2)
    rows = statement.batch * statement.steps

    def total(name: str) -> int:
        first, second, third = (int(getattr(s, name)) for s in (one, wide, two))
        per_row = (second - first) / _SAMPLE_ROWS
        per_step = third - second
        whole = first + per_row * (rows - _SAMPLE_ROWS) + per_step * (statement.steps - 1)
        return int(whole)

    return Sizes(
        constraints=total("constraints"),
        wires=total("wires"),
        field_wires=total("field_wires"),
        public=one.public,
        entries=total("entries"),
        key_entries=total("key_entries"),
    )


def _counted(statement: Inference) -> Sizes:
    """Return sizes from the operators: products of committed weights, bits of what is checked."""
    graph = statement.graph
    rows = float(sum(_node_rows(statement, node) for node in graph.nodes))
    entries = 3 * rows + sum(_products(statement, node) for node in graph.nodes)
    for name in (*graph.inputs, *graph.outputs, *graph.parameters):
        if statement.visibility[name] != "constant":
            tensor = graph.tensors[name]
            rows += tensor.size * tensor.width * _ROWS_PER_COMMITTED_BIT
    return Sizes(
        constraints=int(rows),
        wires=int(rows),
        field_wires=int(rows / 10),
        public=_public_signals(statement),
        entries=int(entries + 3 * rows),
        key_entries=int(entries + 2 * rows),
    )


def _public_signals(statement: Inference) -> int:
    graph, seen = statement.graph, statement.visibility
    count = 1  # the context
    for name in (*graph.inputs, *graph.outputs):
        tensor = graph.tensors[name]
        values = {"public": tensor.size, "argmax": tensor.size // tensor.shape[-1]}
        count += values.get(seen[name], 1)
    count += sum(graph.tensors[n].size for n in graph.parameters if seen[n] == "public")
    count += any(seen[name] == "committed" for name in graph.parameters)
    return count + (len(STATE_SIGNALS) if statement.head is not None else 0)


def _products(statement: Inference, node: QuantNode) -> int:
    """Return a linear operator's multiplications."""
    tensors = statement.graph.tensors
    if isinstance(node.op, MatMul):
        return tensors[node.output].size * tensors[node.inputs[1]].shape[0]
    if isinstance(node.op, Conv):
        return tensors[node.output].size * prod(tensors[node.inputs[1]].shape[1:])
    return 0


def _node_rows(statement: Inference, node: QuantNode) -> int:
    graph = statement.graph
    out = graph.tensors[node.output]
    if isinstance(node.op, Softmax | Sigmoid):
        return out.size * _ROWS_PER_SOFTMAX_ENTRY
    rows = 0
    if isinstance(node.op, MatMul | Conv):
        fixed = statement.visibility.get(node.inputs[1]) == "constant"
        rows = 0 if fixed else _products(statement, node)
    shift = getattr(node.op, "shift", 0)
    if shift > 0:
        rows += out.size * (shift + out.width)
    return rows + (out.size * (out.width + 1) if isinstance(node.op, Relu) else 0)
