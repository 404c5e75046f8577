"""Torch modules to ONNX and graphs, held against torch and onnxruntime: both imported lazily."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from zkai.encoding import as_path, write_atomic
from zkai.errors import InvalidInput, ToolError
from zkai.model.error_bound import error_bounds
from zkai.model.export import load
from zkai.model.graph import Graph, forward
from zkai.model.lowering import Array
from zkai.model.onnx_file import GROTH16, HALO2, OnnxModel, check_backend, load_onnx
from zkai.model.quantize import predict, quantize

FLOAT_TOLERANCE = 1e-4
"""How far torch's and onnxruntime's float32 may be from our float64, relative to the largest
output: float32's rounding over the sums of a small model, not a different function."""


@overload
def export(
    module: Any,
    example_input: Any,
    *,
    path: str | Path | None = ...,
    opset: int = ...,
    check: bool = ...,
    progress: Callable[[str, float], None] | None = ...,
    backend: Literal["groth16"] = ...,
) -> Graph: ...


@overload
def export(
    module: Any,
    example_input: Any,
    *,
    path: str | Path | None = ...,
    opset: int = ...,
    check: bool = ...,
    progress: Callable[[str, float], None] | None = ...,
    backend: Literal["halo2"],
) -> OnnxModel: ...


def export(
    module: Any,
    example_input: Any,
    *,
    path: str | Path | None = None,
    opset: int = 18,
    check: bool = True,
    progress: Callable[[str, float], None] | None = None,
    backend: str = GROTH16,
) -> Graph | OnnxModel:
    """Return a torch module's graph, through ONNX, checked by running it.

    `module` is exported as it is: call module.eval() first, or pass one in evaluation mode.
    `example_input` is a tensor, an array, or a tuple of them for several inputs; its shapes
    become the graph's. `path` also writes the ONNX file. With `check`, the module, the ONNX file
    in onnxruntime and our float forward must agree within FLOAT_TOLERANCE of the largest output,
    and our integer forward must stay within the bound that `error_bounds` proves for this input.
    `progress` gets the stage and the fraction done; it may raise to cancel, before any file is
    written. With backend "halo2" the ONNX file may have any operators: the module, onnxruntime and
    onnx's reference must agree on it, and nothing else is checked.

    Raises ToolError if torch, onnxscript or onnxruntime is not installed; InvalidInput if the
    module cannot be exported, has an unsupported operator, is in training mode, or a check fails.
    """
    if progress is not None and not callable(progress):
        raise InvalidInput(f"progress: expected a callable, got {type(progress).__name__}")
    report = progress or (lambda stage, fraction: None)
    target = None if path is None else as_path(path)
    check_backend(backend)
    report("export", 0.0)
    torch = _import("torch")
    _import("onnxscript")
    if not isinstance(module, torch.nn.Module):
        raise InvalidInput(f"export: expected a torch.nn.Module, got {type(module).__name__}")
    if any(part.training for part in module.modules()):
        raise InvalidInput("export: the module is in training mode; call module.eval() first")
    arrays, tensors = _example(torch, example_input)
    data = _to_onnx(torch, module, tensors, opset)
    report("export", 0.5)
    graph: Graph | OnnxModel
    if backend == HALO2:
        graph = load_onnx(data)
        if check:
            _check_onnx(torch, module, tensors, arrays, graph)
    else:
        graph = load(data)
        if check:
            _check_export(torch, module, tensors, arrays, data, graph)
    report("export", 1.0)
    if target is not None:
        write_atomic(target, data)
    return graph


def _import(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ToolError(
            f"{name} is not installed; exporting needs: pip install torch onnxruntime onnxscript"
        ) from error


def _example(torch: Any, example_input: Any) -> tuple[list[Array], tuple[Any, ...]]:
    given = example_input if isinstance(example_input, tuple | list) else (example_input,)
    tensors = []
    for place, value in enumerate(given):
        tensor = value if isinstance(value, torch.Tensor) else torch.as_tensor(np.asarray(value))
        if not tensor.is_floating_point():
            raise InvalidInput(f"export: example input {place} must hold floating-point numbers")
        if not bool(torch.isfinite(tensor).all()):
            raise InvalidInput(f"export: example input {place} holds NaN or an infinity")
        tensors.append(tensor.detach().to(torch.float32))
    if not tensors:
        raise InvalidInput("export: give at least one example input")
    return [tensor.numpy() for tensor in tensors], tuple(tensors)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's deprecation warnings and notices about absent packages to itself."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _to_onnx(torch: Any, module: Any, tensors: tuple[Any, ...], opset: int) -> bytes:
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                module, tensors, dynamo=True, opset_version=opset, verbose=False
            )
            data: bytes = program.model_proto.SerializeToString()
        except Exception as error:
            text = str(error).strip().splitlines() or [type(error).__name__]
            raise InvalidInput(
                f"export: torch cannot turn the module into ONNX: {text[0][:500]}"
            ) from error
    return data


def _check_export(
    torch: Any,
    module: Any,
    tensors: tuple[Any, ...],
    arrays: list[Array],
    data: bytes,
    graph: Graph,
) -> None:
    results = _by_torch(torch, module, tensors)
    inputs = dict(zip(graph.inputs, arrays, strict=True))
    ours = forward(graph, {name: value[None] for name, value in inputs.items()})
    by_runtime = _by_runtime(data, graph.outputs, inputs)
    bounds = error_bounds(graph, quantize(graph, _stack(inputs)), _stack(inputs))
    integers = predict(quantize(graph, _stack(inputs)), _stack(inputs))
    for place, name in enumerate(graph.outputs):
        mine = ours[name][0]
        _check_near(name, mine, {"torch": results[place], "onnxruntime": by_runtime[place]})
        if not np.all(np.abs(integers[name][0] - mine) <= bounds[name][0]):
            raise InvalidInput(
                f"export: output {name!r} of the integer model is outside its proven error bound"
            )


def _check_onnx(
    torch: Any, module: Any, tensors: tuple[Any, ...], arrays: list[Array], model: OnnxModel
) -> None:
    """Hold onnx's reference, which calibration uses, against torch and onnxruntime."""
    results = _by_torch(torch, module, tensors)
    inputs = dict(zip(model.inputs, arrays, strict=True))
    by_runtime = _by_runtime(model.data, model.outputs, inputs)
    ours = model.run(inputs)
    for place, name in enumerate(model.outputs):
        others = {"torch": results[place], "onnxruntime": by_runtime[place]}
        _check_near(name, np.asarray(ours[name]), others)


def _by_torch(torch: Any, module: Any, tensors: tuple[Any, ...]) -> list[Array]:
    with torch.no_grad():
        result = module(*tensors)
    return [part.numpy() for part in (result if isinstance(result, tuple | list) else (result,))]


def _by_runtime(data: bytes, outputs: Sequence[str], inputs: Mapping[str, Array]) -> list[Array]:
    runtime = _import("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(list(outputs), dict(inputs))
    return found


def _check_near(name: str, mine: Array, others: Mapping[str, Array]) -> None:
    """Return None if all are within FLOAT_TOLERANCE. Raises InvalidInput naming the output."""
    near = FLOAT_TOLERANCE * max(1.0, float(np.max(np.abs(mine))))
    for what, value in others.items():
        if value.shape != mine.shape or not np.all(np.abs(value - mine) <= near):
            raise InvalidInput(
                f"export: output {name!r} differs from {what}'s by more than {near:g}; the"
                " model uses an operator in a way that is not supported"
            )


def _stack(inputs: Mapping[str, Array]) -> dict[str, npt.NDArray[Any]]:
    return {name: value[None] for name, value in inputs.items()}
