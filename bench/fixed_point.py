"""What fixed-point training loses in accuracy: `python -m bench.fixed_point [--json] [--quick]`.

Each model is trained from the same start on the same batches of scikit-learn's digits: in integers
by the rules of circuits/README.md, and in float32 by torch. `accuracy_gap_points` is the integers'
accuracy on held-out samples minus torch's, in percentage points, as the mean over seeds with its
standard error. Above 0 means that the integers do better. `perturbed_gap_points` is the same figure
for torch itself, started 2**-12 away: what one cannot tell from chance.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import harness
from zkai.model import training
from zkai.model.fixed_point import IntArray, to_fixed
from zkai.model.heads import Head, LoraHead, MlpHead, SoftmaxHead

SEEDS, QUICK_SEEDS = 32, 2
STEPS, BATCH, CLASSES = 400, 32, 10
HIDDEN, RANK = 32, 4
HELD_OUT = 400
FULL_SCALE = 16.0
"""The digits' pixels are integers of 0 to 16: exactly the scale of 4 bits."""

PERTURBATION = 2**-12
DECAY = 2**-6
NORM = 1.0
"""Weight decay, and the bound on an example's gradient, in the models that have one."""

Floats = npt.NDArray[np.float32]


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


@dataclass(frozen=True)
class Trial:
    """A training to do twice: an integer head, and a torch module that is its start."""

    head: Head
    module: Any
    data: Data
    rate: float
    decay: float = 0.0
    clip: float | None = None


Make = Callable[[Any, Data], Trial]


def load(seed: int) -> Data:
    """Return the digits, split by a seed."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(1000 + seed).permutation(len(pixels))
    x, y = (pixels[order] / FULL_SCALE).astype(np.float32), labels[order].astype(np.int64)
    return Data(x[HELD_OUT:], y[HELD_OUT:], x[:HELD_OUT], y[:HELD_OUT], seed)


# Training -------------------------------------------------------------------------------------


def train_torch(torch: Any, module: Any, trial: Trial) -> float:
    """Train a torch module on the batches and return its held-out accuracy in points."""
    data, momentum = trial.data, trial.head.momentum / 256
    wanted = {n: p for n, p in module.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(
        wanted.values(), lr=trial.rate, momentum=momentum, weight_decay=trial.decay
    )
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    for rows in data.batches():
        optimizer.zero_grad()
        if trial.clip is None:
            torch.nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
        else:
            _clipped(torch, module, wanted, x[rows], y[rows], trial.clip)
        optimizer.step()
    with torch.no_grad():
        found = module(torch.from_numpy(data.held_x)).argmax(dim=1).numpy()
    return 100.0 * float(np.mean(found == data.held_y))


def _clipped(torch: Any, module: Any, wanted: dict[str, Any], x: Any, y: Any, norm: float) -> None:
    """Set the gradients to the mean of the examples' own, each cut to the norm (DP-SGD)."""

    def loss(parameters: dict[str, Any], row: Any, label: Any) -> Any:
        out = torch.func.functional_call(module, parameters, (row[None],))
        return torch.nn.functional.cross_entropy(out, label[None])

    given = {name: p.detach() for name, p in wanted.items()}
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(given, x, y)
    squares = sum((g.flatten(1) ** 2).sum(dim=1) for g in each.values())
    factors = torch.clamp(norm / torch.sqrt(squares), max=1.0)
    for name, parameter in wanted.items():
        parameter.grad = torch.tensordot(factors, each[name], dims=1) / len(x)


def start_state(trial: Trial) -> training.HeadState:
    """Return the integer state that a torch module starts from."""
    head, module = trial.head, trial.module
    if isinstance(head, SoftmaxHead):
        return training.initial_state(head, array(module.weight).T, array(module.bias))
    if isinstance(head, LoraHead):
        factors = [(array(module.a).T, array(module.b).T)]
        return training.initial_state(head, factors, base=pairs(module.base))
    return training.initial_state(head, pairs(module))


def array(parameter: Any) -> npt.NDArray[Any]:
    """Return a torch parameter's values."""
    values: npt.NDArray[Any] = parameter.detach().numpy()
    return values


def pairs(network: Any) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Return the weight and bias of each linear layer of a sequential network."""
    return [(array(layer.weight), array(layer.bias)) for layer in network[::2]]


def train_integers(trial: Trial) -> float:
    """Train the head on the batches and return its held-out accuracy in points."""
    head, data, state = trial.head, trial.data, start_state(trial)
    c = training.learning_rate(head, trial.rate, BATCH)
    x = to_fixed(data.x, head.input_scale_bits)
    for rows in data.batches():
        state = training.sgd_step(head, state, x[rows], data.y[rows], c)
    held = to_fixed(data.held_x, head.input_scale_bits)
    return 100.0 * training.accuracy(head, state, held, data.held_y)


def perturbed(torch: Any, trial: Trial) -> Any:
    """Return the module a little away from its start."""
    module = copy.deepcopy(trial.module)
    generator = torch.Generator().manual_seed(trial.data.seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += torch.randn(parameter.shape, generator=generator) * PERTURBATION
    return module


# Models ---------------------------------------------------------------------------------------


def linear(torch: Any, data: Data, features: int = 64) -> Any:
    """Return a float linear layer with a small start."""
    module = torch.nn.Linear(features, CLASSES)
    start = np.random.default_rng(data.seed).normal(size=(features, CLASSES)) * 0.01
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(start.T))
        module.bias.zero_()
    return module


def network(torch: Any, seed: int) -> Any:
    """Return a float network 64-32-10 with a start that the seed decides."""
    torch.manual_seed(seed)
    layers = torch.nn.Linear(64, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES)
    return torch.nn.Sequential(*layers)


def half_trained(torch: Any, data: Data, rate: float) -> Any:
    """Return a float network that saw half of the classes."""
    module, few = network(torch, data.seed), data.y < CLASSES // 2
    seen = Data(data.x[few], data.y[few], data.held_x, data.held_y, data.seed)
    train_torch(torch, module, Trial(SoftmaxHead(64, CLASSES), module, seen, rate))
    return module


def logistic_regression(torch: Any, data: Data) -> Trial:
    """Softmax regression 64-10, lr 2**-2."""
    return Trial(SoftmaxHead(64, CLASSES, input_width=6), linear(torch, data), data, 2**-2)


def momentum_regression(torch: Any, data: Data) -> Trial:
    """Softmax regression 64-10 with momentum 230/256, lr 2**-5."""
    head = SoftmaxHead(64, CLASSES, input_width=6, momentum=230)
    return Trial(head, linear(torch, data), data, 2**-5)


def user_head(torch: Any, data: Data) -> Trial:
    """A head 32-10 on the features of a backbone that saw half of the classes."""
    backbone = half_trained(torch, data, 2**-2)
    with torch.no_grad():
        x, held = (
            np.round(backbone[:2](torch.from_numpy(part)).numpy() * 256) / 256
            for part in (data.x, data.held_x)
        )
    width = int(np.ceil(np.log2(max(x.max(), held.max()) * 256 + 1))) + 1
    head = SoftmaxHead(HIDDEN, CLASSES, input_scale_bits=8, input_width=width)
    x, held = x.astype(np.float32), held.astype(np.float32)
    features = Data(x, data.y, held, data.held_y, data.seed)
    return Trial(head, linear(torch, features, HIDDEN), features, 2**-4)


def mlp(torch: Any, data: Data) -> Trial:
    """A network 64-32-10, lr 2**-2."""
    head = MlpHead(sizes=(64, HIDDEN, CLASSES), input_width=6)
    return Trial(head, network(torch, data.seed), data, 2**-2)


def narrow_mlp(torch: Any, data: Data) -> Trial:
    """A network 64-32-10 with weights of 16 bits at scale 13, lr 2**-2."""
    head = MlpHead(
        sizes=(64, HIDDEN, CLASSES), input_width=6, weight_scale_bits=13, weight_width=16
    )
    return Trial(head, network(torch, data.seed), data, 2**-2)


def deep_mlp(torch: Any, data: Data) -> Trial:
    """A network 64-32-16-10, lr 2**-3: at 2**-2 torch itself scatters by points."""
    head = MlpHead(sizes=(64, HIDDEN, 16, CLASSES), input_width=6)
    torch.manual_seed(data.seed)
    linears = [torch.nn.Linear(n, m) for n, m in ((64, HIDDEN), (HIDDEN, 16), (16, CLASSES))]
    relu = torch.nn.ReLU
    module = torch.nn.Sequential(linears[0], relu(), linears[1], relu(), linears[2])
    return Trial(head, module, data, 2**-3)


def lora(torch: Any, data: Data) -> Trial:
    """LoRA of rank 4 on the hidden layer of a network that saw half of the classes, lr 2**-2."""
    base = half_trained(torch, data, 2**-3).requires_grad_(False)
    start = np.random.default_rng(data.seed).normal(size=(64, RANK)) / 8

    class Lora(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.base = base
            self.a = torch.nn.Parameter(torch.from_numpy(start).float())
            self.b = torch.nn.Parameter(torch.zeros(RANK, HIDDEN))

        def forward(self, x: Any) -> Any:
            return self.base[2](torch.relu(self.base[0](x) + x @ self.a @ self.b))

    head = LoraHead(sizes=(64, HIDDEN, CLASSES), rank=RANK, input_width=6)
    return Trial(head, Lora(), data, 2**-2)


def decayed(make: Make) -> Make:
    """Return a model with weight decay 2**-6."""

    def with_decay(torch: Any, data: Data) -> Trial:
        trial = make(torch, data)
        decay = training.weight_decay(trial.head, DECAY, BATCH)
        return replace(trial, head=replace(trial.head, decay=decay), decay=DECAY)

    return with_decay


def clipped(make: Make) -> Make:
    """Return a model whose examples' gradients are cut to norm 1."""

    def with_clip(torch: Any, data: Data) -> Trial:
        trial = make(torch, data)
        return replace(trial, head=trial.head.clipped(NORM), clip=NORM)

    return with_clip


MODELS: dict[str, Make] = {
    "softmax64x10": logistic_regression,
    "softmax64x10_momentum": momentum_regression,
    "softmax64x10_decay": decayed(logistic_regression),
    "softmax64x10_clip": clipped(logistic_regression),
    "user_head32x10": user_head,
    "mlp64x32x10": mlp,
    "mlp64x32x10_decay": decayed(mlp),
    "mlp64x32x10_clip": clipped(mlp),
    "mlp64x32x10_16bit": narrow_mlp,
    "mlp64x32x16x10": deep_mlp,
    "lora64x32r4": lora,
    "lora64x32r4_clip": clipped(lora),
}


def measure(torch: Any, seeds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return our figures and torch's, by model."""
    keys = ("accuracy_gap_points", "accuracy_gap_points_standard_error", "accuracy_points")
    ours: dict[str, Any] = {key: {} for key in keys}
    keys = ("perturbed_gap_points", "perturbed_gap_points_standard_error", "accuracy_points")
    theirs: dict[str, Any] = {key: {} for key in keys}
    for name, make in MODELS.items():
        harness.note(f"{name}, {seeds} seeds")
        points = np.array([_one_seed(torch, make, seed) for seed in range(seeds)])
        mean, error = _mean(points[:, 0] - points[:, 1])
        ours["accuracy_gap_points"][name] = mean
        ours["accuracy_gap_points_standard_error"][name] = error
        ours["accuracy_points"][name] = round(float(points[:, 0].mean()), 2)
        theirs["accuracy_points"][name] = round(float(points[:, 1].mean()), 2)
        mean, error = _mean(points[:, 2] - points[:, 1])
        theirs["perturbed_gap_points"][name] = mean
        theirs["perturbed_gap_points_standard_error"][name] = error
    return ours, theirs


def _one_seed(torch: Any, make: Make, seed: int) -> tuple[float, float, float]:
    trial = make(torch, load(seed))
    again = perturbed(torch, trial)
    ours = train_integers(trial)
    return ours, train_torch(torch, trial.module, trial), train_torch(torch, again, trial)


def _mean(gaps: npt.NDArray[Any]) -> tuple[float, float]:
    error = float(gaps.std(ddof=1) / np.sqrt(len(gaps)))
    return round(float(gaps.mean()), 4), round(error, 4)


def flat(figures: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return figures as rows of the table, where half a spread stands behind the +- sign."""
    if figures is None:
        return None
    rows: dict[str, Any] = {}
    for key in ("accuracy_gap_points", "perturbed_gap_points", "accuracy_points"):
        errors = figures.get(f"{key}_standard_error", {})
        for name, value in figures.get(key, {}).items():
            rows[f"{key} {name}"] = value
            if name in errors:
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
