"""What fixed-point training loses in accuracy: `python -m bench.fixed_point [--json] [--quick]`.

Each model is trained twice from the same start on the same batches of scikit-learn's digits: in
integers by the rules of circuits/README.md, and in float32 by torch. `accuracy_gap_points` is the
integers' accuracy on held-out samples minus torch's, in percentage points, as the mean over seeds
with its standard error. Above 0 means that the integers do better.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import harness
from zkai.model import training
from zkai.model import training_hidden as hidden
from zkai.model.fixed_point import IntArray, to_fixed

SEEDS, QUICK_SEEDS = 24, 3
STEPS, BATCH, CLASSES = 400, 32, 10
HIDDEN, RANK = 32, 4
HELD_OUT = 400
FULL_SCALE = 16.0
"""The digits' pixels are integers of 0 to 16: exactly the scale of 4 bits."""

Floats = npt.NDArray[np.float32]
Gap = Callable[[Any, "Data"], tuple[float, float]]


@dataclass(frozen=True)
class Data:
    """One seed's split of the digits: real features of 0 to 1, and batches by row."""

    x: Floats
    y: IntArray
    held_x: Floats
    held_y: IntArray
    seed: int

    def batches(self) -> Iterator[IntArray]:
        """Yield the rows of each step's batch."""
        rng = np.random.default_rng(self.seed)
        for _ in range(STEPS):
            yield rng.choice(len(self.x), size=BATCH, replace=False)


def load(seed: int) -> Data:
    """Return the digits, split by a seed."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(1000 + seed).permutation(len(pixels))
    x, y = (pixels[order] / FULL_SCALE).astype(np.float32), labels[order].astype(np.int64)
    return Data(x[HELD_OUT:], y[HELD_OUT:], x[:HELD_OUT], y[:HELD_OUT], seed)


def score(classes: npt.NDArray[Any], labels: IntArray) -> float:
    """Return an accuracy in percentage points."""
    return 100.0 * float(np.mean(classes == labels))


def train_torch(torch: Any, module: Any, data: Data, rate: float, momentum: float = 0.0) -> float:
    """Train a torch module on the batches and return its held-out accuracy."""
    wanted = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(wanted, lr=rate, momentum=momentum)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    for rows in data.batches():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return score(module(torch.from_numpy(data.held_x)).argmax(dim=1).numpy(), data.held_y)


def train_head(
    torch: Any, data: Data, head: training.SoftmaxHead, rate: float
) -> tuple[float, float]:
    """Return the held-out accuracies of a softmax regression, in integers and in torch."""
    start = np.random.default_rng(data.seed).normal(size=(head.features, CLASSES)) * 0.01
    state = training.initial_state(head, start)
    c = training.learning_rate(head, rate, BATCH)
    x = to_fixed(data.x, head.input_scale_bits)
    for rows in data.batches():
        state = training.sgd_step(head, state, x[rows], data.y[rows], c)
    held = to_fixed(data.held_x, head.input_scale_bits)
    ours = score(training.predict(head, state, held), data.held_y)
    module = torch.nn.Linear(head.features, CLASSES)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(start.T))
        module.bias.zero_()
    return ours, train_torch(torch, module, data, rate, head.momentum / 256)


def logistic_regression(torch: Any, data: Data) -> tuple[float, float]:
    """Softmax regression 64-10, lr 2**-2."""
    return train_head(torch, data, training.SoftmaxHead(64, CLASSES, input_width=6), 2**-2)


def momentum_regression(torch: Any, data: Data) -> tuple[float, float]:
    """Softmax regression 64-10 with momentum 230/256, lr 2**-5."""
    head = training.SoftmaxHead(64, CLASSES, input_width=6, momentum=230)
    return train_head(torch, data, head, 2**-5)


def network(torch: Any, seed: int) -> Any:
    """Return a float network 64-32-10 with a start that the seed decides."""
    torch.manual_seed(seed)
    layers = torch.nn.Linear(64, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES)
    return torch.nn.Sequential(*layers)


def user_head(torch: Any, data: Data) -> tuple[float, float]:
    """A head 32-10 on the features of a backbone that saw half of the classes."""
    backbone = network(torch, data.seed)
    few = data.y < CLASSES // 2
    train_torch(torch, backbone, Data(data.x[few], data.y[few], data.x, data.y, data.seed), 2**-2)
    with torch.no_grad():
        x, held = (
            np.round(backbone[:2](torch.from_numpy(part)).numpy() * 256) / 256
            for part in (data.x, data.held_x)
        )
    width = int(np.ceil(np.log2(max(x.max(), held.max()) * 256 + 1))) + 1
    head = training.SoftmaxHead(HIDDEN, CLASSES, input_scale_bits=8, input_width=width)
    x, held = x.astype(np.float32), held.astype(np.float32)
    features = Data(x, data.y, held, data.held_y, data.seed)
    return train_head(torch, features, head, 2**-4)


def integers(module: Any) -> hidden.MlpWeights:
    """Quantise a float network's weights."""
    first, second = module[0], module[2]
    parts = first.weight.T, first.bias, second.weight.T, second.bias
    return hidden.MlpWeights(*(to_fixed(part.detach().numpy(), 16) for part in parts))


def mlp_score(
    profile: hidden.HiddenProfile, w: hidden.MlpWeights, z: IntArray, y: IntArray
) -> float:
    """Return the accuracy of a network's output layer on z, the hidden layer before its ReLU."""
    acc = np.maximum(z, 0) @ w.w2 + (w.b2 << np.int64(profile.activation_scale_bits))
    return score(np.argmax(acc, axis=1), y)


def mlp(torch: Any, data: Data) -> tuple[float, float]:
    """A network 64-32-10, lr 2**-2."""
    module, profile = network(torch, data.seed), hidden.HiddenProfile()
    weights, x = integers(module), to_fixed(data.x, 4)
    c = int(2**-2 / BATCH * 2**profile.rate_shift)
    for rows in data.batches():
        weights = hidden.mlp_step(profile, weights, x[rows], data.y[rows], c)
    z, _ = hidden.hidden_layer(profile, to_fixed(data.held_x, 4), weights.w1, weights.b1)
    return mlp_score(profile, weights, z, data.held_y), train_torch(torch, module, data, 2**-2)


def lora(torch: Any, data: Data) -> tuple[float, float]:
    """LoRA of rank 4 on the hidden layer of a network that saw half of the classes, lr 2**-2."""
    module, profile = network(torch, data.seed), hidden.HiddenProfile()
    few = data.y < CLASSES // 2
    train_torch(torch, module, Data(data.x[few], data.y[few], data.x, data.y, data.seed), 2**-3)
    base, rng = integers(module), np.random.default_rng(data.seed)
    start = rng.normal(size=(64, RANK)) / 8
    a, b = to_fixed(start, 16), np.zeros((RANK, HIDDEN), dtype=np.int64)
    factors, x = hidden.LoraFactors(a, b), to_fixed(data.x, 4)
    c = int(2**-2 / BATCH * 2**profile.rate_shift)
    for rows in data.batches():
        factors = hidden.lora_step(profile, base, factors, x[rows], data.y[rows], c)
    _, z, _ = hidden.lora_layer(profile, base, factors, to_fixed(data.held_x, 4))
    return mlp_score(profile, base, z, data.held_y), _torch_lora(torch, module, start, data)


def _torch_lora(torch: Any, module: Any, start: npt.NDArray[Any], data: Data) -> float:
    class Lora(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.base = module.requires_grad_(False)
            self.a = torch.nn.Parameter(torch.from_numpy(start).float())
            self.b = torch.nn.Parameter(torch.zeros(RANK, HIDDEN))

        def forward(self, x: Any) -> Any:
            return self.base[2](torch.relu(self.base[0](x) + x @ self.a @ self.b))

    return train_torch(torch, Lora(), data, 2**-2)


MODELS: dict[str, Gap] = {
    "softmax64x10": logistic_regression,
    "softmax64x10_momentum": momentum_regression,
    "user_head32x10": user_head,
    "mlp64x32x10": mlp,
    "lora64x32r4": lora,
}


def measure(torch: Any, seeds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return our figures and torch's, by model."""
    ours: dict[str, Any] = {
        key: {}
        for key in ("accuracy_gap_points", "accuracy_gap_points_standard_error", "accuracy_points")
    }
    theirs: dict[str, Any] = {"accuracy_points": {}}
    for name, train in MODELS.items():
        harness.note(f"{name}, {seeds} seeds")
        pairs = np.array([train(torch, load(seed)) for seed in range(seeds)])
        gaps = pairs[:, 0] - pairs[:, 1]
        error = float(gaps.std(ddof=1) / np.sqrt(seeds))
        ours["accuracy_gap_points"][name] = round(float(gaps.mean()), 4)
        ours["accuracy_gap_points_standard_error"][name] = round(error, 4)
        ours["accuracy_points"][name] = round(float(pairs[:, 0].mean()), 2)
        theirs["accuracy_points"][name] = round(float(pairs[:, 1].mean()), 2)
    return ours, theirs


def flat(figures: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return figures as rows of the table, where half a spread stands behind the +- sign."""
    if figures is None:
        return None
    rows: dict[str, Any] = {}
    errors = figures.get("accuracy_gap_points_standard_error", {})
    for key in ("accuracy_gap_points", "accuracy_points"):
        for name, value in figures.get(key, {}).items():
            rows[f"{key} {name}"] = value
            if key == "accuracy_gap_points":
                rows[f"{key} {name}_spread"] = 2 * errors[name]
    return rows


def main() -> int:
    """Run the benchmark; return the exit status."""
    options = harness.arguments("fixed_point", "Accuracy of fixed-point training.").parse_args()
    seeds = QUICK_SEEDS if options.quick else SEEDS
    try:
        import torch
    except ImportError:
        print("torch is not installed: nothing to compare with", file=sys.stderr)
        ours, theirs = None, None
    else:
        torch.set_num_threads(1)
        ours, theirs = measure(torch, seeds)
    parameters = {"seeds": seeds, "steps": STEPS, "batch": BATCH, "profile": "16/8/8"}
    if not options.json:
        ours, theirs = flat(ours), flat(theirs)
    peers = {"torch_float32": theirs}
    harness.show(harness.report("fixed_point", parameters, ours, peers, {}), options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
