"""The circuit of a training step: the vectors of step_layout.py in, the new state's vector out."""

from __future__ import annotations

from math import prod

from zkai.halo2.step_layout import BATCH, NEW_SALT, NEW_STATE, STATE, Layout, velocity_name
from zkai.model.gradient import StepRule, draw_step
from zkai.model.graph import Graph
from zkai.model.onnx_draft import OnnxDraft


def packed_step(graph: Graph, rule: StepRule, layout: Layout) -> bytes:
    """Return the ONNX file of a step over packed vectors.

    Labels become one-hot rows in the graph, whatever numbers they are. Frozen weights and the new
    salt go into the new state as they are. The tag is read by no operator: it is committed to with
    the others, and that binds it.

    Raises InvalidInput as `draw_step` does.
    """
    draft = OnnxDraft(layout.inputs)
    cells, place = dict[str, str](), 0
    for name, shape in layout.tensors:
        flat = draft.part(STATE, place, place + prod(shape))
        cells[name] = draft.reshape(flat, shape)
        place += prod(shape)
    size = prod(layout.x)
    x = draft.reshape(draft.part(BATCH, 0, size), layout.x)
    labels = draft.reshape(draft.part(BATCH, size, size + layout.rows), (layout.rows, 1))
    targets = draft.one_hot(labels, graph.shapes[graph.outputs[0]][1])
    moved = {n: cells[velocity_name(n)] for n in rule.trained} if layout.momentum else {}
    held = {name: cells[name] for name, _ in (*layout.weights, *layout.frozen)}
    drawn = draw_step(draft, graph, rule, x, targets, held, moved)
    made = {**cells, **drawn.weights}
    made |= {velocity_name(name): tensor for name, tensor in drawn.velocities.items()}
    parts = [draft.reshape(made[name], (prod(shape),)) for name, shape in layout.tensors]
    return draft.model({NEW_STATE: draft.concatenate([*parts, NEW_SALT], 0)})
