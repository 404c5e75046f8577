"""ONNX files in plain operators: classical models written out, labels left out, windows explicit.

scikit-learn's converters write one node for a whole model (domain ai.onnx.ml), which provers do not
know. Each becomes the matrix products and comparisons that it stands for:

linear    scores = X W^T + b
trees     d[n] = (X[feature n] <= threshold n)                  for every inner node n
          leaf[l] = relu(sum over the path of (d or 1 - d) - depth + 1), which is 1 or 0
          scores = leaf V + base

The tree form is the one of Nakandala et al., "A Tensor Compiler for Unified Machine Learning
Prediction Serving" (OSDI 2020), section 4.1, with the last comparison as a relu. Operators as in
the ONNX-ML specification, version 1 to 3 of the domain; NaN never enters a circuit, so where
missing values go is of no account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from zkai.errors import InvalidInput

DOMAIN = "ai.onnx.ml"
MIN_OPSET = 13
_AXES_AS_INPUT = 18
MAX_INDICATORS = 1 << 24
"""Cells of the matrix of inner nodes by leaves, or of leaves by scores."""

Array = npt.NDArray[Any]

_DOWN = {"BRANCH_LEQ": ("LessOrEqual", True), "BRANCH_GT": ("LessOrEqual", False)}
_STRICT = {"BRANCH_LT": ("Less", True), "BRANCH_GTE": ("Less", False)}
_BRANCHES = _DOWN | _STRICT


@dataclass
class _Plain:
    """The nodes and constants that replace a file's, in order."""

    where: str
    opset: int
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    sums_to_one: set[str] = field(default_factory=set)

    def constant(self, name: str, values: Array) -> str:
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output


def plain(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Return the model in operators of the ONNX domain alone; the same object if it is so already.

    A classifier's label is left out: it is the place of its largest score. A model whose outputs
    are labels alone keeps nothing to prove and is refused.

    Raises InvalidInput, naming the node, for what cannot be written so.
    """
    model = _explicit(model)
    if not any(node.domain == DOMAIN for node in model.graph.node):
        return model
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < MIN_OPSET:
        raise InvalidInput(
            f"{where}: {DOMAIN} is read beside opset {MIN_OPSET} or later, and this is {opset}"
        )
    out, outputs = _Plain(where, opset), _scores(model, where)
    for place, node in enumerate(_behind(model, outputs), start=1):
        if node.domain != DOMAIN:
            out.nodes.append(node)
            continue
        label = f"{where}: node {node.name or place!r} ({DOMAIN}.{node.op_type})"
        writer = _WRITERS.get(node.op_type)
        if writer is None:
            known = ", ".join(sorted(_WRITERS))
            raise InvalidInput(f"{label} has no form in plain operators; these have: {known}")
        try:
            writer(out, node, {a.name: helper.get_attribute_value(a) for a in node.attribute})
        except InvalidInput as error:
            raise InvalidInput(f"{label}: {error}") from None
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise InvalidInput(f"{label} is malformed: {error}") from error
    return _assembled(model, out, outputs)


_WINDOWS = {"Conv": True, "AveragePool": False, "MaxPool": False}
"""The operators that slide a window, and whether the window's size is that of a stored weight."""


def _explicit(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the strides, dilations and pads written out that ONNX leaves to be 1, 1
    and 0; EZKL refuses a window without strides. The same object if nothing is missing.
    """
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    copy = None
    for place, node in enumerate(model.graph.node):
        if node.op_type not in _WINDOWS or node.domain not in ("", "ai.onnx"):
            continue
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        size = given.get("kernel_shape", ())
        if not size and _WINDOWS[node.op_type] and len(node.input) > 1:
            size = shapes.get(node.input[1], ())[2:]
        wanted = {"kernel_shape": list(size), "strides": [1] * len(size)}
        if node.op_type == "Conv":
            wanted["dilations"] = [1] * len(size)
        if given.get("auto_pad", b"NOTSET") == b"NOTSET":
            wanted["pads"] = [0] * 2 * len(size)
        missing = {name: value for name, value in wanted.items() if name not in given}
        if not size or not missing:
            continue
        if copy is None:
            copy = onnx.ModelProto()
            copy.CopyFrom(model)
        copy.graph.node[place].attribute.extend(
            helper.make_attribute(name, value) for name, value in missing.items()
        )
    return copy or model


def _scores(model: onnx.ModelProto, where: str) -> list[onnx.ValueInfoProto]:
    """Return the outputs that are no labels. Raises InvalidInput if none is left."""
    kinds = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
    outputs = [v for v in model.graph.output if v.type.tensor_type.elem_type in kinds]
    if not outputs:
        raise InvalidInput(
            f"{where}: its outputs are labels or dictionaries; convert the model so that it gives"
            " its scores as a tensor (for skl2onnx: options={'zipmap': False})"
        )
    return outputs


def _behind(model: onnx.ModelProto, outputs: list[onnx.ValueInfoProto]) -> list[NodeProto]:
    """Return the nodes that the outputs need, in the file's order."""
    needed, kept = {value.name for value in outputs}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


def _assembled(
    model: onnx.ModelProto, out: _Plain, outputs: list[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    """Return the model of the new nodes. Raises InvalidInput if one reads a label."""
    held = [*model.graph.initializer, *out.constants]
    known = {value.name for value in (*held, *model.graph.input)} | {""}
    for node in out.nodes:
        if lost := sorted(set(node.input) - known):
            raise InvalidInput(
                f"{out.where}: node {node.name!r} ({node.op_type}) needs {lost}, a classifier's"
                " label, which is left out"
            )
        known.update(node.output)
    read = {name for node in out.nodes for name in node.input}
    graph = helper.make_graph(
        out.nodes,
        model.graph.name,
        model.graph.input,
        outputs,
        [tensor for tensor in held if tensor.name in read],
    )
    opset = [helper.make_opsetid("", out.opset)]
    return helper.make_model(graph, opset_imports=opset, ir_version=min(model.ir_version, 10))


# --- scores --------------------------------------------------------------------------------------


def _finish(out: _Plain, scores: str, transform: str, output: str) -> None:
    """Write a node's scores through its `post_transform`."""
    if transform == "SOFTMAX":
        out.sums_to_one.add(output)
        out.add("Softmax", [scores], output, axis=-1)
    elif transform == "LOGISTIC":
        out.add("Sigmoid", [scores], output)
    elif transform == "NONE":
        out.add("Identity", [scores], output)
    else:
        raise InvalidInput(f"post_transform {transform}; NONE, SOFTMAX and LOGISTIC are known")


def _transform(attributes: Mapping[str, Any]) -> str:
    return str(attributes.get("post_transform", b"NONE").decode())


def _labels(attributes: Mapping[str, Any]) -> int:
    """Return how many classes a classifier names."""
    return max(
        len(attributes.get(name, ()))
        for name in ("classlabels_ints", "classlabels_int64s", "classlabels_strings")
    )


def _product(out: _Plain, node: NodeProto, attributes: Mapping[str, Any], rows: int) -> str:
    """Write X W^T + b and return its name."""
    name = node.output[-1]
    weights = np.asarray(attributes["coefficients"], np.float32)
    if rows < 1 or weights.size < rows or weights.size % rows:
        raise InvalidInput(f"{weights.size} coefficients are no {rows} rows")
    weights = weights.reshape(rows, -1).T
    bias = np.asarray(attributes.get("intercepts", np.zeros(rows)), np.float32)
    if bias.shape != (rows,):
        raise InvalidInput(f"{bias.size} intercepts for {rows} rows")
    factor = out.constant(f"{name}/weights", np.ascontiguousarray(weights))
    inputs = [node.input[0], factor, out.constant(f"{name}/bias", bias)]
    return out.add("Gemm", inputs, f"{name}/scores")


def _linear_classifier(out: _Plain, node: NodeProto, attributes: Mapping[str, Any]) -> None:
    classes = _labels(attributes)
    rows = np.asarray(attributes.get("intercepts", np.zeros(classes))).size
    if rows != classes:
        raise InvalidInput(f"{rows} rows of coefficients for {classes} classes")
    scores = _product(out, node, attributes, classes)
    _finish(out, scores, _transform(attributes), node.output[1])


def _linear_regressor(out: _Plain, node: NodeProto, attributes: Mapping[str, Any]) -> None:
    scores = _product(out, node, attributes, int(attributes.get("targets", 1)))
    _finish(out, scores, _transform(attributes), node.output[0])


def _scaler(out: _Plain, node: NodeProto, attributes: Mapping[str, Any]) -> None:
    """Write (X - offset) scale as X scale - offset scale, which keeps small numbers small."""
    name = node.output[0]
    scale = np.asarray(attributes.get("scale", (1.0,)), np.float32)
    offset = np.asarray(attributes.get("offset", (0.0,)), np.float32)
    factor = out.constant(f"{name}/scale", scale)
    scaled = out.add("Mul", [node.input[0], factor], f"{name}/scaled")
    shift = out.constant(f"{name}/shift", (-offset.astype(np.float64) * scale).astype(np.float32))
    out.add("Add", [scaled, shift], name)


def _normalizer(out: _Plain, node: NodeProto, attributes: Mapping[str, Any]) -> None:
    """Divide each row by its norm; scores of a softmax have the L1 norm 1 already."""
    source, name = node.input[0], node.output[0]
    norm = str(attributes.get("norm", b"MAX").decode())
    reducers = {"L1": "ReduceL1", "L2": "ReduceL2"}
    if norm not in reducers:
        raise InvalidInput(f"norm {norm}; L1 and L2 are known")
    if norm == "L1" and source in out.sums_to_one:
        out.add("Identity", [source], name)
        return
    inputs, axes = [source], {"axes": [-1]}
    if out.opset >= _AXES_AS_INPUT:
        inputs, axes = [source, out.constant(f"{name}/axis", np.array([-1]))], {}
    size = out.add(reducers[norm], inputs, f"{name}/norm", keepdims=1, **axes)
    out.add("Div", [source, size], name)


# --- trees ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Forest:
    """All trees of an ensemble: nodes by place, with a parent (-1: none) and the side taken."""

    feature: Array
    threshold: Array
    operator: Array
    leaf: Array
    parent: Array
    holds: Array
    place: dict[tuple[int, int], int]


def _forest(attributes: Mapping[str, Any]) -> _Forest:
    trees, ids = (np.asarray(attributes[f"nodes_{k}"], np.int64) for k in ("treeids", "nodeids"))
    modes = np.asarray([mode.decode() for mode in attributes["nodes_modes"]])
    if unknown := sorted(set(modes.tolist()) - {*_BRANCHES, "LEAF"}):
        raise InvalidInput(f"branches by {unknown}; {sorted(_BRANCHES)} are known")
    place = {key: n for n, key in enumerate(zip(trees.tolist(), ids.tolist(), strict=True))}
    if len(place) < len(ids) or len(modes) != len(ids):
        raise InvalidInput("its nodes are given twice or have no mode")
    leaf = modes == "LEAF"
    inner = np.flatnonzero(~leaf)
    parent, holds = np.full(len(ids), -1), np.zeros(len(ids), bool)
    for side in (True, False):
        child = np.asarray(attributes[f"nodes_{str(side).lower()}nodeids"], np.int64)[inner]
        below = np.array(
            [place[key] for key in zip(trees[inner].tolist(), child.tolist(), strict=True)], int
        )
        if np.any(parent[below] >= 0) or len(set(below.tolist())) < len(below):
            raise InvalidInput("a node has two parents")
        parent[below] = inner
        holds[below] = [side == _BRANCHES[mode][1] for mode in modes[inner]]
    return _Forest(
        np.asarray(attributes["nodes_featureids"], np.int64),
        np.asarray(attributes["nodes_values"], np.float32),
        np.array([_BRANCHES[m][0] if m in _BRANCHES else "" for m in modes]),
        leaf,
        parent,
        holds,
        place,
    )


def _paths(forest: _Forest, order: Array) -> tuple[Array, Array]:
    """Return the signs (inner nodes in `order`, leaves) of a leaf's path, and each leaf's bias."""
    leaves = np.flatnonzero(forest.leaf)
    if len(order) * len(leaves) > MAX_INDICATORS:
        raise InvalidInput(f"{len(order)} inner nodes by {len(leaves)} leaves are too many")
    row = np.zeros(len(forest.leaf), int)
    row[order] = np.arange(len(order))
    signs = np.zeros((len(order), len(leaves)), np.float32)
    bias = np.ones(len(leaves), np.float32)
    here, left = leaves.copy(), len(order) + 1
    while np.any(climbing := forest.parent[here] >= 0):
        if (left := left - 1) < 0:
            raise InvalidInput("its nodes run in a circle")
        column, above = np.flatnonzero(climbing), forest.parent[here[climbing]]
        taken = forest.holds[here[climbing]]
        signs[row[above], column] = np.where(taken, 1.0, -1.0)
        # A branch taken when its comparison holds counts d, the other one 1 - d; each is one of
        # the path's `depth` conditions.
        bias[column] -= taken
        here[climbing] = above
    return signs, bias


def _indicators(out: _Plain, node: NodeProto, forest: _Forest) -> str:
    """Write the 0 and 1 of every leaf (by place) and return their name."""
    name, source = node.output[-1], node.input[0]
    parts, order = [], []
    for operator in ("LessOrEqual", "Less"):
        chosen = np.flatnonzero(forest.operator == operator)
        if not len(chosen):
            continue
        stem = f"{name}/{operator}"
        which = out.constant(f"{stem}/features", forest.feature[chosen])
        taken = out.add("Gather", [source, which], f"{stem}/taken", axis=1)
        limits = out.constant(f"{stem}/thresholds", forest.threshold[chosen][None, :])
        compared = out.add(operator, [taken, limits], f"{stem}/compared")
        parts.append(out.add("Cast", [compared], f"{stem}/d", to=TensorProto.FLOAT))
        order.append(chosen)
    if not parts:
        raise InvalidInput("none of its trees has a branch: its answer is a constant")
    signs, bias = _paths(forest, np.concatenate(order))
    decisions = parts[0]
    if len(parts) == 2:
        decisions = out.add("Concat", parts, f"{name}/d", axis=1)
    inputs = [decisions, out.constant(f"{name}/paths", signs), out.constant(f"{name}/depths", bias)]
    return out.add("Relu", [out.add("Gemm", inputs, f"{name}/met")], f"{name}/leaves")


def _votes(
    out: _Plain, node: NodeProto, attributes: Mapping[str, Any], kind: str, columns: int
) -> str:
    """Write the sum of the weights of the leaves that are reached, and return its name."""
    forest = _forest(attributes)
    leaves = np.cumsum(forest.leaf) - 1
    trees, ids, columns_of = (
        np.asarray(attributes[f"{kind}_{part}"], np.int64) for part in ("treeids", "nodeids", "ids")
    )
    rows = [forest.place[key] for key in zip(trees.tolist(), ids.tolist(), strict=True)]
    if not np.all(forest.leaf[rows]):
        raise InvalidInput("gives weights to an inner node")
    count = int(forest.leaf.sum())
    if count * columns > MAX_INDICATORS:
        raise InvalidInput(f"{count} leaves by {columns} scores are too many")
    weights = np.zeros((count, columns), np.float32)
    values = np.asarray(attributes[f"{kind}_weights"], np.float32)
    np.add.at(weights, (leaves[rows], columns_of), values)
    if attributes.get("aggregate_function", b"SUM") == b"AVERAGE":
        weights /= len(set(np.asarray(attributes["nodes_treeids"]).tolist()))
    elif attributes.get("aggregate_function", b"SUM") != b"SUM":
        raise InvalidInput("aggregate_function must be SUM or AVERAGE")
    indicators = _indicators(out, node, forest)
    base = np.asarray(attributes.get("base_values", ()), np.float32)
    if base.size not in (0, columns):
        raise InvalidInput(f"{base.size} base values for {columns} scores")
    name = node.output[-1]
    inputs = [
        indicators,
        out.constant(f"{name}/weights", weights),
        out.constant(f"{name}/base", base if base.size else np.zeros(columns, np.float32)),
    ]
    return out.add("Gemm", inputs, f"{name}/scores")


def _tree_regressor(out: _Plain, node: NodeProto, attributes: Mapping[str, Any]) -> None:
    scores = _votes(out, node, attributes, "target", int(attributes.get("n_targets", 1)))
    _finish(out, scores, _transform(attributes), node.output[0])


def _tree_classifier(out: _Plain, node: NodeProto, attributes: Mapping[str, Any]) -> None:
    classes, output = _labels(attributes), node.output[1]
    transform = _transform(attributes)
    given = set(np.asarray(attributes["class_ids"]).tolist())
    if classes != 2 or len(given) != 1:
        scores = _votes(out, node, attributes, "class", classes)
        _finish(out, scores, transform, output)
        return
    # Two classes with one score: as onnxruntime, p and 1 - p if no weight is negative, else s and
    # -s, each through the logistic function if that is asked for.
    one = dict(attributes) | {"class_ids": [0] * len(attributes["class_ids"])}
    score = _votes(out, node, one, "class", 1)
    positive = bool(np.all(np.asarray(attributes["class_weights"]) >= 0))
    turn = np.array([[-1.0, 1.0]], np.float32)
    shift = np.array([1.0, 0.0] if positive else [0.0, 0.0], np.float32)
    inputs = [
        score, out.constant(f"{output}/both", turn), out.constant(f"{output}/shift", shift)
    ]  # fmt: skip
    both = out.add("Gemm", inputs, f"{output}/two")
    if transform not in ("NONE", "LOGISTIC"):
        raise InvalidInput(f"post_transform {transform} on one score of two classes")
    _finish(out, both, "NONE" if positive else transform, output)


_Writer = Callable[[_Plain, NodeProto, Mapping[str, Any]], None]
_WRITERS: dict[str, _Writer] = {
    "LinearClassifier": _linear_classifier,
    "LinearRegressor": _linear_regressor,
    "Normalizer": _normalizer,
    "Scaler": _scaler,
    "TreeEnsembleClassifier": _tree_classifier,
    "TreeEnsembleRegressor": _tree_regressor,
}
