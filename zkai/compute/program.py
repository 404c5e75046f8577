"""Programs whose every operator can be disputed: training steps as layers of operators.

A state is a set of named tensors; its root is the commitment to them (docs/commitments.md). An
operator adds its output and drops what is not needed any more, so that every state between two
operators has a root. A step starts from and ends in {weights, x, labels}.

    head      zkai.model.training's integer step of a softmax or mlp head, bit by bit, without
              momentum, weight decay and clipping
    network   a float32 network of linear layers with ReLU and softmax cross-entropy, plain SGD

Step t takes rows t batch, t batch + 1, ... of x and labels, round and round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from zkai.circuit.statements.registry import from_description
from zkai.circuit.statements.training_step import TrainingStep
from zkai.compute.operators import Array, Operator
from zkai.encoding import keccak256
from zkai.errors import InvalidInput
from zkai.merkle.commitment import Commitment, Tensor, commit
from zkai.merkle.tensor import Head as TensorHead
from zkai.merkle.tensor import from_array
from zkai.model.fixed_point import LOG2_E_NUMERATOR
from zkai.model.heads import Head, LoraHead
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import encode

LEAF_BYTES = 256
MAX_STEPS = (1 << 40) - 1
MAX_BATCH = 1 << 20
MAX_LAYERS = 64
MAX_SHOWN = 1 << 18
"""The most bytes of a float32 output: a move of a dispute carries it."""
WEIGHTS, X, LABELS = "weights", "x", "labels"


class Layer(NamedTuple):
    """Consecutive operators under a name."""

    name: str
    operators: tuple[Operator, ...]


class Place(NamedTuple):
    """An operator of a run: its step, its layer in the step, and its number in the layer."""

    step: int
    layer: int
    operator: int


@dataclass(frozen=True)
class State:
    """Tensors by name, each with its part of the commitment."""

    tensors: Mapping[str, tuple[Array, Tensor]] = field(repr=False)

    @staticmethod
    def of(arrays: Mapping[str, Array]) -> State:
        """Return a state of these tensors."""
        return State({name: (array, tensor_of(name, array)) for name, array in arrays.items()})

    @property
    def arrays(self) -> dict[str, Array]:
        """The tensors' values."""
        return {name: array for name, (array, _) in self.tensors.items()}

    @property
    def table(self) -> Commitment:
        """The commitment."""
        return table_of(tensor for _, tensor in self.tensors.values())

    @cached_property
    def root(self) -> bytes:
        """The commitment's root."""
        return self.table.root

    def after(self, operator: Operator, output: Array) -> State:
        """Return the state once an operator has given `output`."""
        made = {**self.tensors, operator.output: (output, tensor_of(operator.output, output))}
        return State({name: made[name] for name in made if name not in operator.drops})


def tensor_of(name: str, array: Array) -> Tensor:
    """Return a tensor's part of a commitment."""
    return commit({name: from_array(array, name)}, LEAF_BYTES).tensors[0]


def array_from(head: TensorHead, data: bytes) -> Array:
    """Return a tensor's values from its bytes.

    Raises InvalidInput for another number of bytes, or a type that numpy lacks.
    """
    try:
        kind = np.dtype(head.dtype).newbyteorder("<")
    except TypeError as error:
        raise InvalidInput(f"{head.dtype} is no type of a disputed tensor") from error
    if len(data) != head.total:
        raise InvalidInput(f"{len(data)} bytes for {head.text}")
    return np.frombuffer(data, kind).astype(kind.newbyteorder("=")).reshape(head.shape)


def table_of(tensors: Any) -> Commitment:
    """Return the commitment to tensors, given in any order."""
    listed = sorted(tensors, key=lambda tensor: tensor.name.encode())
    return Commitment(LEAF_BYTES, tuple(listed))


def table_after(table: Commitment, operator: Operator, output: Tensor) -> Commitment:
    """Return the commitment once an operator has given `output`."""
    made = {tensor.name: tensor for tensor in table.tensors} | {operator.output: output}
    return table_of(tensor for name, tensor in made.items() if name not in operator.drops)


class Program:
    """A training of a number of steps."""

    steps: int

    def layers(self, step: int) -> tuple[Layer, ...]:
        """Return a step's layers."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return the program's description."""
        raise NotImplementedError

    @property
    def digest(self) -> bytes:
        """keccak256 of the description's canonical JSON."""
        return keccak256(encode(self.to_json()))


@dataclass(frozen=True)
class HeadProgram(Program):
    """Integer SGD steps of a head with rate c of 2^-rate_shift a row. Raises InvalidInput."""

    head: Head
    batch: int
    rate: int
    steps: int

    def __post_init__(self) -> None:
        _check_sizes(self.batch, self.rate, self.steps)
        if isinstance(self.head, LoraHead) or self.head.smooths or self.head.clip:
            raise InvalidInput(
                "program: heads with factors, momentum, weight decay or clipping have no operators;"
                " settle their steps by a proof"
            )
        if self.rate >= 1 << self.head.rate_bits:
            raise InvalidInput(f"program: rate is below 2^{self.head.rate_bits}")
        self.head.widths(self.batch)

    def to_json(self) -> dict[str, Any]:
        """Return the program's description."""
        return {
            "kind": "head",
            "head": self.head.describe(),
            "batch": self.batch,
            "rate": self.rate,
            "steps": self.steps,
        }

    def layers(self, step: int) -> tuple[Layer, ...]:
        """Return a step's layers, in zkai.model.training's order."""
        head, last = self.head, len(self.head.layers)
        found = [_batch(step, self.batch)]
        for layer in head.layers:
            n, block = layer.number, layer.weight
            cut = {"start": block.start, "rows": block.rows, "columns": block.outputs}
            operators = [
                Operator("block", (WEIGHTS,), f"w{n}", cut),
                Operator("affine", (f"x{n}", f"w{n}"), "acc", {"scale": layer.scale}),
            ]
            if n < last:
                shift = layer.common_scale + head.weight_scale_bits - layer.output_scale
                width = int(getattr(head, "hidden_width", 0))
                operators += [
                    Operator("rescale", ("acc",), "z", _shift(shift, width, 1), ("acc",)),
                    Operator("mask", ("z",), f"m{n}"),
                    Operator("multiply", ("z", f"m{n}"), f"x{n + 1}", {}, ("z",)),
                ]
            else:
                logit = _shift(head.logit_shift, 0, 0, LOG2_E_NUMERATOR)
                operators.append(Operator("rescale", ("acc",), "logits", logit, ("acc",)))
            found.append(Layer(f"forward {n}", tuple(operators)))
        scales = {
            "logit_scale_bits": head.logit_scale_bits,
            "error_scale_bits": head.error_scale_bits,
        }
        one = {"one": 1 << head.error_scale_bits}
        softmax = Operator("softmax", ("logits",), "p", scales, ("logits",))
        error = Operator("error", ("p", "y"), f"e{last}", one, ("p", "y"))
        found.append(Layer("loss", (softmax, error)))
        found += [self._backward(n) for n in range(last, 0, -1)]
        return (*found, _joined(last, head.shape))

    def _backward(self, n: int) -> Layer:
        """The weights' gradient, the error of the layer below, and the new weights."""
        head, layer = self.head, self.head.layers[n - 1]
        scale = {"scale": layer.weight.scale}
        operators = [Operator("gradient", (f"x{n}", f"e{n}"), f"g{n}", scale, (f"x{n}",))]
        if n > 1:
            width = int(getattr(head, "error_width", 0))
            operators += [
                Operator("back", (f"e{n}", f"w{n}"), "raw"),
                Operator("multiply", ("raw", f"m{n - 1}"), "back", {}, ("raw", f"m{n - 1}")),
                Operator(
                    "rescale", ("back",), f"e{n - 1}", _shift(head.weight_scale_bits, width, 0),
                    ("back",),
                ),
            ]  # fmt: skip
        numbers = {
            "rate": self.rate,
            "shift": head.update_shift(layer.weight),
            "width": head.weight_width,
        }
        gone = (f"w{n}", f"g{n}", f"e{n}")
        operators.append(Operator("update", (f"w{n}", f"g{n}"), f"n{n}", numbers, gone))
        return Layer(f"backward {n}", tuple(operators))


@dataclass(frozen=True)
class NetworkProgram(Program):
    """Float32 SGD steps of linear layers of these sizes, at the rate c 2^-rate_shift a row.

    Raises InvalidInput for numbers out of range.
    """

    sizes: tuple[int, ...]
    batch: int
    rate: int
    rate_shift: int
    steps: int

    def __post_init__(self) -> None:
        _check_sizes(self.batch, self.rate, self.steps)
        if not isinstance(self.sizes, tuple) or not 2 <= len(self.sizes) <= MAX_LAYERS + 1:
            raise InvalidInput(f"program: sizes name 2 to {MAX_LAYERS + 1} numbers")
        for value in (*self.sizes, self.rate_shift + 1):
            if type(value) is not int or not 1 <= value <= 1 << 16:
                raise InvalidInput("program: sizes are 1 to 2^16")
        if self.rate_shift > 100:
            raise InvalidInput("program: rate_shift is 0 to 100")
        largest = max(max(n + 1, self.batch) * m for n, m in pairwise(self.sizes))
        if 4 * max(largest, self.batch * self.sizes[0]) > MAX_SHOWN:
            raise InvalidInput(f"program: a tensor within a step has more than {MAX_SHOWN} bytes")

    def to_json(self) -> dict[str, Any]:
        """Return the program's description."""
        return {
            "kind": "network",
            "sizes": list(self.sizes),
            "batch": self.batch,
            "rate": self.rate,
            "rate_shift": self.rate_shift,
            "steps": self.steps,
        }

    def layers(self, step: int) -> tuple[Layer, ...]:
        """Return a step's layers."""
        last, start = len(self.sizes) - 1, 0
        found = [_batch(step, self.batch)]
        for n, (inputs, outputs) in enumerate(pairwise(self.sizes), 1):
            cut = {"start": start, "rows": inputs + 1, "columns": outputs}
            start += (inputs + 1) * outputs
            operators = [
                Operator("block", (WEIGHTS,), f"w{n}", cut),
                Operator("affine32", (f"x{n}", f"w{n}"), f"z{n}"),
            ]
            if n < last:
                operators += [
                    Operator("relu32", (f"z{n}",), f"x{n + 1}"),
                    Operator("mask32", (f"z{n}",), f"m{n}", {}, (f"z{n}",)),
                ]
            found.append(Layer(f"forward {n}", tuple(operators)))
        softmax = Operator("softmax32", (f"z{last}",), "p", {}, (f"z{last}",))
        error = Operator("error32", ("p", "y"), f"e{last}", {"one": 1}, ("p", "y"))
        found.append(Layer("loss", (softmax, error)))
        found += [self._backward(n) for n in range(last, 0, -1)]
        return (*found, _joined(last, (start,)))

    def _backward(self, n: int) -> Layer:
        operators = [Operator("gradient32", (f"x{n}", f"e{n}"), f"g{n}", {}, (f"x{n}",))]
        if n > 1:
            below = ("back", f"m{n - 1}")
            operators += [
                Operator("back32", (f"e{n}", f"w{n}"), "back"),
                Operator("multiply32", below, f"e{n - 1}", {}, below),
            ]
        numbers = {"rate": self.rate, "shift": self.rate_shift}
        gone = (f"w{n}", f"g{n}", f"e{n}")
        operators.append(Operator("update32", (f"w{n}", f"g{n}"), f"n{n}", numbers, gone))
        return Layer(f"backward {n}", tuple(operators))


def program_from_json(value: Any, where: str = "program") -> Program:
    """Return the program of a description. Raises InvalidInput, naming the field."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind == "head":
        expect_fields(value, ("kind", "head", "batch", "rate", "steps"), where)
        described = {"statement": TrainingStep.version, "steps": 1, "loss": "softmax"}
        step = from_description({**described, "head": value["head"], "batch": value["batch"]})
        assert isinstance(step, TrainingStep)
        return HeadProgram(step.head, step.batch, value["rate"], value["steps"])
    if kind == "network":
        expect_fields(value, ("kind", "sizes", "batch", "rate", "rate_shift", "steps"), where)
        if not isinstance(value["sizes"], list):
            raise InvalidInput(f"{where}.sizes: expected a list")
        numbers = {name: value[name] for name in ("batch", "rate", "rate_shift", "steps")}
        if any(type(number) is not int for number in numbers.values()):
            raise InvalidInput(f"{where}: expected integers")
        return NetworkProgram(tuple(value["sizes"]), **numbers)
    raise InvalidInput(f"{where}.kind: expected 'head' or 'network'")


def _check_sizes(batch: int, rate: int, steps: int) -> None:
    for name, value, most in (
        ("batch", batch, MAX_BATCH), ("rate", rate, 1 << 32), ("steps", steps, MAX_STEPS),
    ):  # fmt: skip
        if type(value) is not int or not 1 <= value <= most:
            raise InvalidInput(f"program: {name} is 1 to {most}")


def _batch(step: int, batch: int) -> Layer:
    taken = {"start": step * batch, "count": batch}
    rows = Operator("rows", (X,), "x1", taken), Operator("rows", (LABELS,), "y", taken)
    return Layer("batch", rows)


def _joined(last: int, shape: tuple[int, ...]) -> Layer:
    names = tuple(f"n{n}" for n in range(1, last + 1))
    rows, columns = shape if len(shape) == 2 else (0, 0)
    joined = Operator("join", names, WEIGHTS, {"rows": rows, "columns": columns}, names)
    return Layer("weights", (joined,))


def _shift(shift: int, width: int, less: int, multiplier: int = 1) -> dict[str, int]:
    return {"multiplier": multiplier, "shift": shift, "width": width, "less": less}


Tamper = Callable[[Place, Array], Array]


@dataclass
class Trace:
    """A program's run from a state: every step's state is kept, and what lies within made again.

    `tamper` replaces outputs, for tests and demonstrations of what a liar meets.

    Raises InvalidInput if an operator refuses its inputs.
    """

    program: Program
    initial: State
    tamper: Tamper | None = None
    states: list[State] = field(default_factory=list, repr=False)
    _within: tuple[int, list[State]] = field(default=(-1, []), repr=False)

    def state(self, step: int) -> State:
        """Return the state before a step, or after all of them."""
        if not self.states:
            self.states.append(self.initial)
        while len(self.states) <= step:
            self.states.append(self.within(len(self.states) - 1)[-1])
        return self.states[step]

    def within(self, step: int) -> list[State]:
        """Return the states between a step's layers, the first and the last included."""
        if self._within[0] != step:
            states = [self.state(step)]
            for number in range(len(self.program.layers(step))):
                states.append(self._layer(states[-1], step, number)[-1])
            self._within = step, states
        return self._within[1]

    def between(self, step: int, layer: int) -> list[State]:
        """Return the states between a layer's operators, the first and the last included."""
        return self._layer(self.within(step)[layer], step, layer)

    def _layer(self, state: State, step: int, layer: int) -> list[State]:
        return run_layer(self.program, state, step, layer, self.tamper)


def run_step(program: Program, state: State, step: int) -> State:
    """Return the state after one step from the state before it. Raises as operators do."""
    for layer in range(len(program.layers(step))):
        state = run_layer(program, state, step, layer)[-1]
    return state


def run_layer(
    program: Program, state: State, step: int, layer: int, tamper: Tamper | None = None
) -> list[State]:
    """Return the states between a layer's operators, the first and the last included."""
    states = [state]
    for number, operator in enumerate(program.layers(step)[layer].operators):
        output = np.ascontiguousarray(operator.run(states[-1].arrays))
        if tamper is not None:
            output = tamper(Place(step, layer, number), output)
        states.append(states[-1].after(operator, output))
    return states
