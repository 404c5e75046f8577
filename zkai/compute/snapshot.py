"""A training step's tensors as torch has them: what is copied, put back, and depends on what.

Names are the model's. An optimizer's state is `state.PARAMETER.KEY` (`exp_avg`, `step`, ...), its
settings `group.PLACE.KEY` (`lr`, `momentum`, ...): numbers as scalars, text and lists of names as
the bytes of their JSON. Settings that are None have no tensor.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from zkai.compute.task import Environment
from zkai.encoding import sha256
from zkai.errors import InvalidInput, ToolError
from zkai.merkle.tensor import Source, from_array

try:
    import torch as torch
    from torch.nn.attention import SDPBackend as SDPBackend
    from torch.nn.attention import sdpa_kernel as sdpa_kernel
    from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode
    from torch.utils._pytree import tree_leaves as tree_leaves
except ImportError as error:  # pragma: no cover - the development environment has it
    raise ToolError("recording needs torch: pip install 'zkai[torch]'") from error

Tensors = dict[str, torch.Tensor]
TOP = 8
"""How many of the largest values of a gradient its statistics list."""


def sources(tensors: Mapping[str, torch.Tensor], where: str) -> dict[str, Source]:
    """Return tensors as the bytes that commitments are to."""
    return {name: from_array(tensor, f"{where}/{name}") for name, tensor in tensors.items()}


def tensor_of(source: Source) -> torch.Tensor:
    """Return a source's tensor, in memory of its own."""
    dtype = getattr(torch, source.head.dtype)
    data = bytearray(source.read(0, source.head.total))
    if not data:
        return torch.empty(source.head.shape, dtype=dtype)
    # frombuffer aligns to 16 bytes at best: a clone lies where torch's own tensors do.
    return torch.frombuffer(data, dtype=dtype).clone().reshape(source.head.shape)


def tensors_of(found: Mapping[str, Source]) -> Tensors:
    """Return the tensors of sources."""
    return {name: tensor_of(source) for name, source in found.items()}


def copies(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Return tensors with memory of their own."""
    return {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def weights(model: torch.nn.Module) -> Tensors:
    """Return a model's parameters and buffers, not copied."""
    found: Tensors = dict(model.named_parameters())
    found.update(model.named_buffers())
    return found


def gradients(model: torch.nn.Module) -> Tensors:
    """Return the gradients that parameters have, not copied."""
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    if not found:
        raise InvalidInput("the model has no gradients: call backward before the optimizer's step")
    return found


def statistics(found: Mapping[str, torch.Tensor]) -> Tensors:
    """Return each gradient's statistics.

    `NAME.moments`: mean, standard deviation (divided by n), least, most and L2 norm, float64[5];
    `NAME.top` and `NAME.top_places`: the values of largest magnitude and their places, by place.
    """
    result: Tensors = {}
    for name, gradient in found.items():
        flat = gradient.detach().reshape(-1)
        if not flat.numel() or not flat.is_floating_point():
            raise InvalidInput(f"gradient {name!r}: statistics are of real values, at least one")
        deviation, mean = torch.std_mean(flat, correction=0)
        norm = torch.linalg.vector_norm(flat, dtype=_wide(flat.dtype))
        numbers = (mean, deviation, flat.min(), flat.max(), norm)
        moments = [float(number) for number in numbers]
        places = flat.abs().topk(min(TOP, flat.numel())).indices.sort().values
        result[f"{name}.moments"] = torch.tensor(moments, dtype=torch.float64)
        result[f"{name}.top"] = flat[places].clone()
        result[f"{name}.top_places"] = places
    return result


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype in (torch.float32, torch.float64) else torch.float32


def optimizer_state(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Tensors:
    """Return an optimizer's state and settings, copied.

    Raises InvalidInput, naming the key, for state that is no tensor, or of parameters that are not
    the model's.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: Tensors = {}
    for place, group in enumerate(optimizer.param_groups):
        for key, value in group.items():
            if key == "param_names" or value is None:
                continue
            if key == "params":
                value = [_name_of(names, parameter) for parameter in value]
            found[f"group.{place}.{key}"] = _setting(f"group.{place}.{key}", value)
    for parameter, state in optimizer.state.items():
        name = _name_of(names, parameter)
        for key, value in state.items():
            if value is None:
                continue
            if not isinstance(value, torch.Tensor):
                kind = type(value).__name__
                raise InvalidInput(f"optimizer: state {key!r} of {name} is a {kind}, not a tensor")
            found[f"state.{name}.{key}"] = value.detach().clone()
    return found


def _name_of(names: Mapping[int, str], parameter: Any) -> str:
    if (name := names.get(id(parameter))) is None:
        raise InvalidInput("optimizer: has a parameter that is not the model's")
    return name


def _setting(where: str, value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, bool):
        return torch.tensor(value)
    if isinstance(value, int):
        return torch.tensor(value, dtype=torch.int64)
    if isinstance(value, float):
        return torch.tensor(value, dtype=torch.float64)
    if isinstance(value, list | tuple) and all(type(v) in (int, float) for v in value):
        return torch.tensor(value, dtype=torch.float64)
    if isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(v, str) for v in value)
    ):
        text = json.dumps(value, separators=(",", ":")).encode()
        return torch.from_numpy(np.frombuffer(text, np.uint8).copy())
    raise InvalidInput(f"optimizer: setting {where} is a {type(value).__name__}")


def put_weights(model: torch.nn.Module, found: Mapping[str, torch.Tensor], where: str) -> None:
    """Give a model these weights. Raises InvalidInput, naming one, if it has others."""
    own = weights(model)
    if own.keys() != found.keys():
        odd = sorted(own.keys() ^ found.keys())[0]
        raise InvalidInput(f"{where}: {odd!r}: not a tensor of both the record and the model")
    with torch.no_grad():
        for name, tensor in own.items():
            _check_alike(f"{where}/{name}", tensor, found[name])
            tensor.copy_(found[name])


def put_optimizer(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    found: Mapping[str, torch.Tensor],
    where: str,
) -> None:
    """Give an optimizer this state; its settings stay its own.

    Raises InvalidInput for state of parameters that the model does not have, or of another shape.
    """
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    for full, value in found.items():
        if not full.startswith("state."):
            continue
        name, _, key = full.removeprefix("state.").rpartition(".")
        if name not in parameters:
            raise InvalidInput(f"{where}/{full}: no parameter {name!r} in the model")
        if value.ndim and value.shape != parameters[name].shape:
            raise InvalidInput(f"{where}/{full}: of another shape than {name}")
        optimizer.state[parameters[name]][key] = value.clone()


def _check_alike(where: str, mine: torch.Tensor, given: torch.Tensor) -> None:
    if mine.shape != given.shape or mine.dtype != given.dtype:
        raise InvalidInput(
            f"{where}: {given.dtype} {list(given.shape)}, the model's is {mine.dtype}"
            f" {list(mine.shape)}"
        )


def environment() -> Environment:
    """Return what this process computes with."""
    backend = torch.backends
    return Environment(
        torch=str(torch.__version__),
        build="0x" + sha256(torch.__config__.show().encode()).hex(),
        machine=platform.machine(),
        cpu=backend.cpu.get_cpu_capability(),
        threads=torch.get_num_threads(),
        deterministic=torch.are_deterministic_algorithms_enabled()
        and not torch.is_deterministic_algorithms_warn_only_enabled(),
        mkldnn=bool(backend.mkldnn.enabled),
        flush_denormal=_flushes_denormals(),
        matmul_precision=torch.get_float32_matmul_precision(),
        default_dtype=str(torch.get_default_dtype()).removeprefix("torch."),
        cbwr=os.environ.get("MKL_CBWR", ""),
    )


def _flushes_denormals() -> bool:
    return float(torch.tensor(1e-310, dtype=torch.float64) * 1.0) == 0.0


@contextmanager
def settings_of(recorded: Environment) -> Iterator[None]:
    """Compute, for the block, with the settings of an environment that can be chosen."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    strict, dtype = torch.are_deterministic_algorithms_enabled(), torch.get_default_dtype()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    backend: Any = torch.backends.mkldnn
    flushing, mkldnn = _flushes_denormals(), backend.enabled
    state = torch.get_rng_state()
    chosen = getattr(torch, recorded.default_dtype, None)
    if chosen not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise InvalidInput(f"environment: default_dtype {recorded.default_dtype!r} is no float")
    if recorded.matmul_precision not in ("highest", "high", "medium"):
        raise InvalidInput(f"environment: matmul_precision {recorded.matmul_precision!r}")
    try:
        torch.set_num_threads(min(recorded.threads, os.cpu_count() or 1))
        torch.set_float32_matmul_precision(recorded.matmul_precision)
        torch.use_deterministic_algorithms(recorded.deterministic)
        torch.set_default_dtype(chosen)
        torch.set_flush_denormal(recorded.flush_denormal)
        backend.enabled = recorded.mkldnn
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)
        torch.set_default_dtype(dtype)
        torch.set_flush_denormal(flushing)
        backend.enabled = mkldnn
        torch.set_rng_state(state)
