"""How far an honest step may lie from the exact one: each tensor's bound on its rounding errors.

The step is computed in float64, every operator that torch runs is seen (forward, backward and the
optimizer's), and for each a rule of `OPERATORS` says how large the error of its result can be,
given those of its inputs and the type that the trainer rounds to. A claimed tensor must lie within
SLACK times its bound. An operator without a rule is refused, not guessed, and so is one that
decides by comparing values that rounding may have changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zkai.compute import record as names
from zkai.compute import snapshot
from zkai.compute.balls import Arithmetic, Ball, Tensor, Unit
from zkai.compute.capture import Found
from zkai.compute.rules import EXACT, OPERATORS
from zkai.compute.snapshot import (
    SDPBackend,
    Tensors,
    TorchDispatchMode,
    sdpa_kernel,
    torch,
    tree_leaves,
)
from zkai.errors import InvalidInput, VerificationError

SLACK = 2.0
"""For float64's own errors, and implementations with a rounding more than the rules count."""


SOURCES = (names.WEIGHTS_BEFORE, names.WEIGHTS_AFTER, names.GRADIENTS)
"""What changes of weights and statistics follow from."""


class Tracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps, beside the memory of every float64 tensor, bounds on its errors."""

    def __init__(self, unit: Unit) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arithmetic = Arithmetic(unit)
        self._errors: dict[int, Tensor] = {}
        self._alive: list[Tensor] = []

    def ball(self, tensor: Tensor) -> Ball:
        """Return a tensor with its bounds: none for memory that no rounded result was put in."""
        value = tensor.detach().double()
        found = self._errors.get(tensor.untyped_storage().data_ptr())
        if found is None or not tensor.is_floating_point() or not tensor.numel():
            return Ball.exact(value)
        places = (tensor.shape, tensor.stride(), tensor.storage_offset())
        return Ball(value, found.as_strided(*places).clone())

    def _put(self, tensor: Tensor, errors: Tensor) -> None:
        if not tensor.numel():
            return
        storage = tensor.untyped_storage()
        if (key := storage.data_ptr()) not in self._errors:
            size = storage.nbytes() // tensor.element_size()
            self._errors[key] = torch.zeros(size, dtype=torch.float64)
            self._alive.append(tensor.detach())
        places = (tensor.shape, tensor.stride(), tensor.storage_offset())
        self._errors[key].as_strided(*places).copy_(errors.broadcast_to(tensor.shape))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name in EXACT or func.is_view:
            return func(*args, **kwargs)
        if not any(_floats(t) for t in tree_leaves((args, kwargs))):
            return self._from_integers(func, name, args, kwargs)
        changed = name.endswith("_") and not name.endswith("__")
        rule = OPERATORS.get(name[:-1] if changed else name)
        if rule is None:
            return self._without_rule(func, name, args, kwargs)
        found = rule(self, *args, **kwargs)
        result = func(*args, **kwargs)
        outputs = [t for t in tree_leaves(result) if _floats(t)]
        for output, errors in zip(outputs, found, strict=True):
            self._put(output, errors)
        return result

    def _from_integers(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """Integers and truths are exact; a float made of them is rounded once."""
        result = func(*args, **kwargs)
        outputs = [t for t in tree_leaves(result) if _floats(t)]
        if outputs and name not in OPERATORS:
            raise _no_rule(name)
        for output in outputs:
            self._put(output, self.arithmetic.unit.u * output.double().abs())
        return result

    def _without_rule(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """Comparisons and the like may run on exact values alone."""
        inputs = [t for t in tree_leaves((args, kwargs)) if _floats(t)]
        if any(bool(self.ball(t).e.any()) for t in inputs):
            raise _no_rule(name)
        result = func(*args, **kwargs)
        if any(_floats(t) for t in tree_leaves(result)):
            raise _no_rule(name)
        return result


def _no_rule(name: str) -> InvalidInput:
    return InvalidInput(
        f"bounds: the operator {name} has no rule; replay on the record's own software"
    )


def _floats(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def unit_of(weights: Mapping[str, Tensor]) -> Unit:
    """Return the unit roundoff of a model's type. Raises InvalidInput if it has several."""
    kinds = {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()}
    if len(kinds) != 1 or (kind := next(iter(kinds))) not in (torch.float32, torch.bfloat16):
        raise InvalidInput("bounds: for models of float32 alone, or of bfloat16 alone")
    return Unit.of(kind)


def wide(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return tensors with floats as float64."""
    return {n: t.double() if t.is_floating_point() else t.clone() for n, t in tensors.items()}


def verify_within(
    tracker: Tracker, claimed: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str
) -> float:
    """Return the largest share of its bound that a claimed value used.

    Raises VerificationError naming the first tensor beyond it.
    """
    if claimed.keys() != found.keys():
        odd = sorted(claimed.keys() ^ found.keys())[0]
        raise VerificationError(f"{where}: tensor {odd}: not in both the record and the replay")
    worst = 0.0
    for name in sorted(claimed):
        given, ball = claimed[name], tracker.ball(found[name])
        if given.shape != ball.v.shape:
            raise VerificationError(f"{where}: tensor {name}: of another shape")
        distance = (given.double() - ball.v).abs().reshape(-1)
        room = (SLACK * ball.e).reshape(-1)
        if not bool(room.isfinite().all()):
            raise InvalidInput(f"{where}: tensor {name}: has no bound; replay on equal software")
        # Written so that a claimed NaN is beyond every bound.
        beyond = ~(distance <= room)
        if bool(beyond.any()):
            place = int(beyond.nonzero()[0])
            raise VerificationError(
                f"{where}: tensor {name}: {given.reshape(-1)[place].item()} at {place} is"
                f" {float(distance[place]):.3g} from the exact value, honest rounding gives at most"
                f" {float(room[place]):.3g}"
            )
        used = torch.where(distance > 0, distance / room, torch.zeros_like(room))
        worst = max(worst, float(used.max()) if used.numel() else 0.0)
    return worst


def verify_statistics(claimed: Tensors, gradients: Tensors, unit: Unit, where: str) -> None:
    """Return None if statistics are those of claimed gradients, up to the rounding of their sums.

    Raises VerificationError naming the tensor.
    """
    own = snapshot.statistics(gradients)
    if claimed.keys() != own.keys():
        raise VerificationError(f"{where}: not the statistics of the gradients' names")
    for name, gradient in gradients.items():
        flat = gradient.double().reshape(-1)
        room = unit.gamma(min(flat.numel() + 8, 1 << 20)) * float(flat.abs().max())
        exact = torch.stack((
            flat.mean(), flat.std(correction=0), flat.min(), flat.max(), flat.norm(),
        ))  # fmt: skip
        given = claimed[f"{name}.moments"]
        scale = torch.tensor([1, 4, 0, 0, flat.numel() ** 0.5], dtype=torch.float64)
        if given.shape != exact.shape or not bool(((given - exact).abs() <= room * scale).all()):
            raise VerificationError(f"{where}: tensor {name}.moments: not those of the gradient")
        top, places = claimed[f"{name}.top"], claimed[f"{name}.top_places"]
        expected = own[f"{name}.top"].abs().sort().values
        if (
            top.shape != expected.shape
            or places.shape != expected.shape
            or places.dtype != torch.int64
            or not bool(((places >= 0) & (places < flat.numel())).all())
            or not torch.equal(gradient.reshape(-1)[places], top)
            or not torch.equal(top.abs().sort().values, expected)
        ):
            raise VerificationError(f"{where}: tensor {name}.top: not those of the gradient")


def within_bounds(
    tracker: Tracker, claimed: Found, found: Found, loss: Tensor, where: str
) -> dict[str, float]:
    """Return each group's largest share of its bounds. Raises VerificationError as the above."""
    found = {**found, names.LOSSES: {"loss": loss.reshape(1)}}
    return {
        group: verify_within(tracker, claimed[group], found[group], f"{where}, {group}")
        for group in (
            names.ACTIVATIONS, names.LOSSES, names.GRADIENTS, names.WEIGHTS_AFTER,
            names.OPTIMIZER_AFTER,
        )
        if group in claimed
    }  # fmt: skip


@dataclass
class Wide:
    """A program in float64, which remembers its last loss."""

    program: Any
    last: Tensor | None = None

    def model(self) -> torch.nn.Module:
        """Return the program's model, in float64."""
        model: torch.nn.Module = self.program.model()
        return model.double()

    def optimizer(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        """Return the program's optimizer."""
        optimizer: torch.optim.Optimizer = self.program.optimizer(model)
        return optimizer

    def batch(self, step: int) -> Mapping[str, Tensor]:
        """Return the program's data."""
        found: Mapping[str, Tensor] = self.program.batch(step)
        return found

    def loss(self, model: torch.nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the program's loss of data in float64, with attention by its formula."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            with sdpa_kernel(SDPBackend.MATH):
                self.last = self.program.loss(model, wide(batch))
        finally:
            torch.set_default_dtype(before)
        return self.last

    def prepare(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Do what the program does before the optimizer's step."""
        prepare = getattr(self.program, "prepare", None)
        if prepare is not None:
            prepare(model, optimizer, step)
