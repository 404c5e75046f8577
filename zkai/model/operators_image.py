"""How the ONNX operators over images are lowered: convolutions and averages."""

from __future__ import annotations

from zkai.model import graph as real
from zkai.model.graph import Pads, Pair
from zkai.model.lowering import Lowering, SourceNode, Tensor, Unsupported, Value, check_elements
from zkai.model.operands import Args, checked_axis, computed, constant, given, optional


def _pads(node: SourceNode, size: Pair, kernel: Pair, strides: Pair, dilations: Pair) -> Pads:
    mode = node.attributes.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = tuple(node.attributes.get("pads", (0, 0, 0, 0)))
        if len(pads) != 4 or min(pads) < 0:
            raise Unsupported(f"pads {pads}; 4 numbers of at least 0 are needed")
        return (pads[0], pads[1], pads[2], pads[3])
    if mode == "VALID":
        return (0, 0, 0, 0)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise Unsupported(f"auto_pad {mode!r} is unknown")
    low, high = [], []
    for axis in (0, 1):
        extent = dilations[axis] * (kernel[axis] - 1) + 1
        total = max((-(-size[axis] // strides[axis]) - 1) * strides[axis] + extent - size[axis], 0)
        half = total // 2
        low.append(half if mode == "SAME_UPPER" else total - half)
        high.append(total - low[-1])
    return (low[0], low[1], high[0], high[1])


def _pair(node: SourceNode, name: str) -> Pair:
    value = tuple(node.attributes.get(name, (1, 1)))
    if len(value) != 2 or min(value) < 1:
        raise Unsupported(f"{name} {value}; 2 numbers of at least 1 are needed")
    return (value[0], value[1])


def _image(args: Args) -> Tensor:
    x = computed(args)
    if len(x.shape) != 4:
        raise Unsupported(f"an input of shape {x.shape}; only 2-D ones (N, C, H, W) are supported")
    return x


def _windows(x: Tensor, kernel: Pair, strides: Pair, pads: Pads, dilations: Pair) -> Pair:
    rows, columns = (
        real.out_size(
            x.shape[2 + axis],
            kernel[axis],
            strides[axis],
            pads[axis] + pads[axis + 2],
            dilations[axis],
        )
        for axis in (0, 1)
    )
    check_elements((x.shape[1], rows, columns, *kernel), "the table of its windows")
    return rows, columns


def conv(low: Lowering, node: SourceNode, args: Args) -> Value:
    """Lower Conv over (N, C, H, W)."""
    x = _image(args)
    weights = constant(optional(args, 1), "its weights W")
    groups = node.attributes.get("group", 1)
    if weights.ndim != 4 or groups < 1 or len(weights) % groups:
        raise Unsupported(
            f"weights {weights.shape} in {groups} groups; (M, C/groups, KH, KW) needed"
        )
    if weights.shape[1] * groups != x.shape[1]:
        raise Unsupported(f"weights {weights.shape} in {groups} groups do not fit input {x.shape}")
    kernel = (weights.shape[2], weights.shape[3])
    if tuple(node.attributes.get("kernel_shape", kernel)) != kernel:
        raise Unsupported(f"kernel_shape differs from the weights' {kernel}")
    strides, dilations = _pair(node, "strides"), _pair(node, "dilations")
    pads = _pads(node, (x.shape[2], x.shape[3]), kernel, strides, dilations)
    rows, columns = _windows(x, kernel, strides, pads, dilations)
    inputs: list[Value] = [x, *given(args[1:], 1)]
    if optional(args, 2) is not None:
        bias = constant(args[2], "its bias B")
        if bias.shape != (len(weights),):
            raise Unsupported(f"a bias of shape {bias.shape} for {len(weights)} channels")
        inputs += given(args[2:], 1)
    op = real.Conv(strides, pads, dilations, groups)
    return low.emit(op, inputs, (x.shape[0], len(weights), rows, columns))


def average_pool(low: Lowering, node: SourceNode, args: Args) -> Value:
    """Lower AveragePool over (N, C, H, W)."""
    x = _image(args)
    if "kernel_shape" not in node.attributes:
        raise Unsupported("kernel_shape is missing")
    kernel, strides = _pair(node, "kernel_shape"), _pair(node, "strides")
    if _pair(node, "dilations") != (1, 1):
        raise Unsupported("dilations other than 1 are not supported")
    size = (x.shape[2], x.shape[3])
    pads = _pads(node, size, kernel, strides, (1, 1))
    if any(pads[axis] >= kernel[axis % 2] for axis in range(4)):
        raise Unsupported(f"pads {pads} of a whole window {kernel} or more")
    if node.attributes.get("ceil_mode", 0) and any(
        (size[axis] + pads[axis] + pads[axis + 2] - kernel[axis]) % strides[axis] for axis in (0, 1)
    ):
        raise Unsupported("ceil_mode 1 adds windows that leave the input; use ceil_mode 0")
    rows, columns = _windows(x, kernel, strides, pads, (1, 1))
    count = bool(node.attributes.get("count_include_pad", 0))
    return low.emit(
        real.AveragePool(kernel, strides, pads, count), (x,), (*x.shape[:2], rows, columns)
    )


def global_average_pool(low: Lowering, node: SourceNode, args: Args) -> Value:
    """Lower GlobalAveragePool over (N, C, H, W)."""
    x = _image(args)
    kernel = (x.shape[2], x.shape[3])
    return low.emit(real.AveragePool(kernel, kernel), (x,), (*x.shape[:2], 1, 1))


def reduce_mean(low: Lowering, node: SourceNode, args: Args) -> Value:
    """Lower the mean over H and W, which is how torch writes a global average pool."""
    x = _image(args)
    axes = node.attributes.get("axes")
    if axes is None and optional(args, 1) is not None:
        axes = constant(args[1], "its axes").ravel().tolist()
    if axes is None or sorted(checked_axis(int(axis), 4) for axis in axes) != [2, 3]:
        raise Unsupported(f"the mean over the axes {axes}; only that over H and W is supported")
    kernel, keep = (x.shape[2], x.shape[3]), bool(node.attributes.get("keepdims", 1))
    pooled = low.emit(real.AveragePool(kernel, kernel), (x,), (*x.shape[:2], 1, 1), last=keep)
    return pooled if keep else low.reshape(pooled, x.shape[:2])
