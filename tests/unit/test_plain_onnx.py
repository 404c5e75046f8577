"""Classical models in plain operators give what onnxruntime makes of their own operators."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from tests.unit.onnx_models import model as small
from tests.unit.onnx_models import node
from zkai.errors import InvalidInput
from zkai.model.export import load
from zkai.model.graph import forward
from zkai.model.plain_onnx import DOMAIN, plain

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from skl2onnx import to_onnx

DATA = {"iris": load_iris, "cancer": load_breast_cancer, "diabetes": load_diabetes}

MODELS: dict[str, tuple[str, Any]] = {
    "logistic": ("iris", lambda: make_pipeline(StandardScaler(), LogisticRegression())),
    "logistic of two": ("cancer", lambda: make_pipeline(StandardScaler(), LogisticRegression())),
    "linear svc": ("iris", LinearSVC),
    "linear": ("diabetes", LinearRegression),
    "unit rows": ("iris", lambda: make_pipeline(Normalizer("l2"), LogisticRegression())),
    "perceptrons": (
        "iris",
        lambda: make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=20)),
    ),
    "tree": ("iris", lambda: DecisionTreeClassifier(max_depth=4)),
    "tree of two": ("cancer", lambda: DecisionTreeClassifier(max_depth=4)),
    "forest": ("iris", lambda: RandomForestClassifier(4, max_depth=3)),
    "forest of two": ("cancer", lambda: RandomForestClassifier(4, max_depth=3)),
    "boosted": ("iris", lambda: GradientBoostingClassifier(n_estimators=3, max_depth=2)),
    "boosted of two": ("cancer", lambda: GradientBoostingClassifier(n_estimators=3, max_depth=2)),
    "boosted regression": (
        "diabetes",
        lambda: GradientBoostingRegressor(n_estimators=4, max_depth=2),
    ),
    "forest regression": ("diabetes", lambda: RandomForestRegressor(4, max_depth=3)),
    "extra trees": ("diabetes", lambda: ExtraTreesRegressor(4, max_depth=3)),
}


@cache
def converted(name: str, opset: int = 17) -> tuple[ModelProto, Any]:
    """Return a fitted model's ONNX form and its samples."""
    data, make = MODELS[name]
    x, y = DATA[data](return_X_y=True)
    samples = x.astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = make().fit(samples, y)
        last = fitted[-1] if hasattr(fitted, "steps") else fitted
        options = {}
        if hasattr(fitted, "predict_proba"):
            options = {id(last): {"zipmap": False}}
        elif hasattr(fitted, "classes_"):
            options = {id(last): {"raw_scores": True}}
        versions = {"": opset, DOMAIN: 3}
        return to_onnx(fitted, samples[:1], options=options, target_opset=versions), samples


def run(model: ModelProto, output: str, samples: Any) -> Any:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run([output], {"X": samples})[0]


@pytest.mark.parametrize("name", MODELS)
def test_plain_models_answer_as_their_own_operators_do(name: str) -> None:
    model, samples = converted(name)
    written = plain(model, "m.onnx")
    onnx.checker.check_model(written, full_check=True)
    assert {node.domain for node in written.graph.node} == {""}
    (output,) = (value.name for value in written.graph.output)
    wanted = run(model, output, samples)
    got = run(written, output, samples)
    assert got.shape == wanted.shape
    assert np.ptp(wanted) > 0
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("opset", [13, 17, 18, 20])
def test_the_norm_of_rows_has_the_form_of_its_opset(opset: int) -> None:
    model, samples = converted("unit rows", opset)
    written = plain(model, "m.onnx")
    assert next(o.version for o in written.opset_import) == opset
    output = written.graph.output[0].name
    np.testing.assert_allclose(
        run(written, output, samples), run(model, output, samples), atol=1e-6
    )


def test_a_plain_model_is_left_as_it_is() -> None:
    model, _ = converted("logistic")
    written = plain(model, "m.onnx")
    assert plain(written, "m.onnx") is written


def test_linear_models_of_scikit_learn_are_graphs_for_every_backend() -> None:
    model, samples = converted("logistic")
    graph = load(model.SerializeToString(), {"X": (1, 4)})
    (output,) = graph.outputs
    got = forward(graph, {"X": samples[:, None, :].astype(np.float64)})[output][:, 0]
    np.testing.assert_allclose(got, run(model, output, samples), atol=1e-5)


def test_trees_are_refused_by_name_where_there_are_no_comparisons() -> None:
    model, _ = converted("tree")
    with pytest.raises(InvalidInput, match="LessOrEqual"):
        load(model.SerializeToString(), {"X": (1, 4)})


# --- what is refused -----------------------------------------------------------------------------


def changed(name: str, **values: Any) -> ModelProto:
    """Return a model whose ai.onnx.ml node has other attributes; None leaves one out."""
    model = ModelProto()
    model.CopyFrom(converted(name)[0])
    (node,) = (n for n in model.graph.node if n.domain == DOMAIN)
    for key, value in values.items():
        kept = [a for a in node.attribute if a.name != key]
        del node.attribute[:]
        node.attribute.extend(kept)
        if value is not None:
            node.attribute.append(helper.make_attribute(key, value))
    return model


def attribute(name: str, key: str) -> Any:
    (node,) = (n for n in converted(name)[0].graph.node if n.domain == DOMAIN)
    return next(helper.get_attribute_value(a) for a in node.attribute if a.name == key)


def test_kernels_have_no_plain_form() -> None:
    x, y = load_iris(return_X_y=True)
    fitted = SVC(kernel="rbf").fit(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = to_onnx(
            fitted,
            x[:1].astype(np.float32),
            options={id(fitted): {"zipmap": False}},
            target_opset={"": 17, DOMAIN: 3},
        )
    with pytest.raises(InvalidInput, match=r"SVMClassifier.*no form in plain operators"):
        plain(model, "m.onnx")


def test_labels_alone_are_refused() -> None:
    model = ModelProto()
    model.CopyFrom(converted("tree")[0])
    del model.graph.output[1]
    with pytest.raises(InvalidInput, match=r"m\.onnx: its outputs are labels.*zipmap"):
        plain(model, "m.onnx")


def test_a_score_made_of_a_label_is_refused() -> None:
    model = ModelProto()
    model.CopyFrom(converted("tree")[0])
    label = model.graph.output[0].name
    made = helper.make_node("Cast", [label], ["made"], name="of a label", to=TensorProto.FLOAT)
    model.graph.node.append(made)
    model.graph.output.append(helper.make_tensor_value_info("made", TensorProto.FLOAT, None))
    with pytest.raises(InvalidInput, match=r"'of a label'.*label, which is left out"):
        plain(model, "m.onnx")


def test_an_old_opset_is_refused() -> None:
    model = ModelProto()
    model.CopyFrom(converted("tree")[0])
    for opset in model.opset_import:
        opset.version = 1 if opset.domain == DOMAIN else 11
    with pytest.raises(InvalidInput, match="beside opset 13 or later"):
        plain(model, "m.onnx")


def test_malformed_linear_models_are_refused() -> None:
    name = "linear svc"
    for values, reason in (
        ({"coefficients": [1.0] * 7}, "7 coefficients are no 3 rows"),
        ({"coefficients": None}, "malformed"),
        ({"intercepts": [1.0]}, "1 rows of coefficients for 3 classes"),
        ({"post_transform": "PROBIT"}, "post_transform PROBIT"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            plain(changed(name, **values), "m.onnx")


def test_malformed_trees_are_refused() -> None:
    name = "tree"
    modes = [mode.decode() for mode in attribute(name, "nodes_modes")]
    true, false = (list(attribute(name, f"nodes_{side}nodeids")) for side in ("true", "false"))
    leaf, inner = modes.index("LEAF"), [n for n, mode in enumerate(modes) if mode != "LEAF"]
    far = [*true]
    far[inner[0]] = 10_000
    twice = [*false]
    twice[inner[0]] = true[inner[0]]
    # The second inner node's child is the node itself: nothing leads back to the root.
    loop = [*true]
    loop[inner[1]] = inner[1]
    named = list(attribute(name, "class_nodeids"))
    named[0] = inner[0]
    for values, reason in (
        ({"nodes_modes": ["BRANCH_EQ" if m != "LEAF" else m for m in modes]}, "BRANCH_EQ"),
        ({"nodes_modes": modes[:-1]}, "have no mode|malformed"),
        ({"nodes_truenodeids": far}, "malformed"),
        ({"nodes_falsenodeids": twice}, "two parents"),
        ({"nodes_truenodeids": loop}, "two parents|circle"),
        ({"class_nodeids": named}, "weights to an inner node"),
        ({"nodes_values": None}, "malformed"),
        ({"post_transform": "SOFTMAX_ZERO"}, "SOFTMAX_ZERO"),
        ({"base_values": [1.0, 2.0]}, "2 base values for 3 scores"),
        ({"nodes_modes": ["LEAF"] * len(modes)}, "constant|malformed"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            plain(changed(name, **values), "m.onnx")
    assert leaf
    for many in (1 << 40, 1 << 62):
        with pytest.raises(InvalidInput, match="scores are too many"):
            plain(changed("forest regression", n_targets=many), "m.onnx")


@pytest.mark.parametrize(
    ("mode", "swapped"), [("BRANCH_GT", True), ("BRANCH_LT", False), ("BRANCH_GTE", True)]
)
def test_every_way_to_branch(mode: str, swapped: bool) -> None:
    """A strict branch differs at the threshold alone, which no sample meets."""
    name = "tree"
    _, samples = converted(name)
    modes = [m.decode() for m in attribute(name, "nodes_modes")]
    values: dict[str, Any] = {"nodes_modes": [m if m == "LEAF" else mode for m in modes]}
    model = changed(name, **values)
    written = plain(model, "m.onnx")
    output = written.graph.output[0].name
    got = run(written, output, samples)
    np.testing.assert_allclose(got, run(model, output, samples), atol=1e-6)
    same = np.allclose(got, run(converted(name)[0], output, samples), atol=1e-6)
    assert same != swapped


def test_both_comparisons_in_one_tree() -> None:
    name = "tree"
    _, samples = converted(name)
    modes = [m.decode() for m in attribute(name, "nodes_modes")]
    inner = [n for n, m in enumerate(modes) if m != "LEAF"]
    for place in inner[::2]:
        modes[place] = "BRANCH_LT"
    model = changed(name, nodes_modes=modes)
    written = plain(model, "m.onnx")
    output = written.graph.output[0].name
    np.testing.assert_allclose(
        run(written, output, samples), run(model, output, samples), atol=1e-6
    )


def test_windows_say_what_they_leave_open() -> None:
    weights = {"k": np.ones((2, 1, 2, 2))}
    nodes = [
        node("Conv", ["X", "k"], "c"),
        node("AveragePool", ["c"], "p", kernel_shape=[2, 2]),
        node("MaxPool", ["p"], "y", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
    ]
    whole = small(nodes, {"X": (1, 1, 6, 6)}, ["y"], weights)
    written = plain(whole, "m.onnx")
    found = [
        {a.name: helper.get_attribute_value(a) for a in part.attribute}
        for part in written.graph.node
    ]
    open_window = {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0, 0, 0, 0]}
    assert found[0] == {**open_window, "dilations": [1, 1]}
    assert found[1] == open_window
    assert found[2] == {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": b"SAME_UPPER"}
    assert plain(written, "m.onnx") is written
    x = np.random.default_rng(0).normal(size=(1, 1, 6, 6)).astype(np.float32)
    np.testing.assert_array_equal(run(written, "y", x), run(whole, "y", x))
