"""torch modules to graphs; the one module of the tests that imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from zkai.errors import InvalidInput
from zkai.model import torch_export as exporting
from zkai.model.error_bound import quantization_report
from zkai.model.export import load
from zkai.model.graph import forward
from zkai.model.quantize import quantize
from zkai.model.torch_export import export


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(3)


class Cnn(nn.Module):
    """A convolutional classifier with every layer that people use here."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.AvgPool2d(2)
        self.deep = nn.Conv2d(4, 4, 3, groups=2)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout()
        self.out = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.norm(self.conv(x))))
        x = self.mean(torch.relu(self.deep(x))).flatten(1)
        return torch.softmax(self.out(self.drop(x)), dim=1)


class TwoInputs(nn.Module):
    """Two inputs and two outputs."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.sigmoid(a + b), (a @ b.T) * 0.5


class Odd(nn.Module):
    """Operators that no circuit has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x) + torch.erf(x) * x


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def test_mlp(tmp_path: Path) -> None:
    module, path = mlp(), tmp_path / "model.onnx"
    graph = export(module, torch.randn(1, 6), path=path)
    assert [type(node.op).__name__ for node in graph.nodes] == ["MatMul", "Relu", "MatMul"]
    rows = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    (ours,) = (forward(graph, rows)[name] for name in graph.outputs)
    theirs = module(torch.from_numpy(rows)).detach().numpy()
    assert np.abs(ours[:, 0] - theirs).max() < 1e-5
    report = quantization_report(graph, quantize(graph, rows), rows)
    assert report.outputs[0].max_abs_error < 0.01
    again = load(path)
    assert again.shapes == graph.shapes
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_cnn() -> None:
    module = Cnn()
    module(torch.randn(32, 1, 8, 8))  # gives the batch normalisation statistics
    graph = export(module.eval(), torch.randn(1, 1, 8, 8))
    assert {type(node.op).__name__ for node in graph.nodes} == {
        "Conv",
        "Relu",
        "AveragePool",
        "Reshape",
        "MatMul",
        "Softmax",
    }


def test_several_inputs_and_outputs() -> None:
    graph = export(TwoInputs().eval(), (torch.randn(2, 3), torch.randn(2, 3)))
    assert len(graph.inputs) == len(graph.outputs) == 2


def test_unsupported_modules_are_refused_by_node(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(InvalidInput, match=r"3 nodes cannot(.|\n)*Tanh(.|\n)*Erf(.|\n)*Mul"):
        export(Odd().eval(), torch.randn(1, 3), path=path)
    assert not path.exists()


def test_unusable_arguments() -> None:
    with pytest.raises(InvalidInput, match="training mode"):
        export(mlp().train(), torch.randn(1, 6))
    with pytest.raises(InvalidInput, match=r"expected a torch\.nn\.Module, got function"):
        export(lambda x: x, torch.randn(1, 6))
    with pytest.raises(InvalidInput, match="floating-point"):
        export(mlp(), np.zeros((1, 6), dtype=np.int64))
    with pytest.raises(InvalidInput, match="NaN"):
        export(mlp(), np.full((1, 6), np.nan))
    with pytest.raises(InvalidInput, match="at least one"):
        export(mlp(), ())
    with pytest.raises(InvalidInput, match="torch cannot turn the module into ONNX"):
        export(mlp(), torch.randn(1, 5))


def test_progress_is_reported_and_can_cancel(tmp_path: Path) -> None:
    net, seen = nn.Linear(3, 2).eval(), []
    export(net, torch.zeros(1, 3), progress=lambda stage, done: seen.append((stage, done)))
    assert seen == [("export", 0.0), ("export", 0.5), ("export", 1.0)]

    def stop(stage: str, done: float) -> None:
        if done == 1.0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(net, torch.zeros(1, 3), path=tmp_path / "m.onnx", progress=stop)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidInput, match="progress: expected a callable, got int"):
        export(net, torch.zeros(1, 3), progress=3)  # type: ignore[arg-type]


def test_weights_that_are_not_numbers() -> None:
    module = mlp()
    with torch.no_grad():
        module[2].weight[0, 0] = float("nan")
    with pytest.raises(InvalidInput, match=r"the weight '2\.weight' holds NaN"):
        export(module, torch.randn(1, 6))


def test_the_check_compares_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    original: Any = exporting.forward

    def wrong(*args: Any) -> Any:
        return {name: value + 0.01 for name, value in original(*args).items()}

    monkeypatch.setattr(exporting, "forward", wrong)
    with pytest.raises(InvalidInput, match="differs from torch's"):
        export(mlp(), torch.randn(1, 6))


def test_the_check_compares_the_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    original: Any = exporting.predict

    def wrong(*args: Any) -> Any:
        return {name: value + 0.05 for name, value in original(*args).items()}

    monkeypatch.setattr(exporting, "predict", wrong)
    with pytest.raises(InvalidInput, match="outside its proven error bound"):
        export(mlp(), torch.randn(1, 6))
