"""The names of public signals in their order, by statement, for who reads a key from a stranger.

A verifying key's digest covers its points and its circuit's digest, but neither the statement's
version nor the signals' names: a file could give a trusted key's signals each other's names, and a
proof of `margin` 1 and `improved` 0 would read as the reverse. So a key of a known statement has
that statement's names, in that statement's order. An inference's tensors are its model's; here only
what surrounds them is known.
"""

from __future__ import annotations

from collections.abc import Sequence

from zkai.circuit.r1cs import PublicSignal
from zkai.errors import VerificationError

_NAMED = ("user", "model", "fork", "step")
_STATES = ("old_state", "new_state")
_LINKS = ("old_link", "new_link")
_STEP = (*_NAMED, "learning_rate", "context")

ORDERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "genesis/1": (
        ("model", "new_state", "user", "fork", "context"),
        ("model", "new_state", "user", "fork", "context", "model_link", "new_link"),
    ),
    "training_step/1": tuple(
        (*_STATES, *data, *_STEP, *links)
        for data in (("batch",), ("beacon", "beacon_round"))
        for links in ((), _LINKS)
    ),
    "apply_aggregate/1": tuple(
        (*_STATES, "update", *_NAMED, "context", *links) for links in ((), _LINKS)
    ),
    "skip_step/1": ((*_STATES, "max_skips", *_NAMED, "context"),),
    "encrypted_update/1": tuple(
        (
            *_STATES, "encryption", "ciphertext", "seed", "norm_bound", "user", "model", "fork",
            "old_step", "step", "context", *links,
        )
        for links in ((), _LINKS)
    ),
    "query/1": tuple(
        ("input", *sent, "norm_bound", "context")
        for sent in ((), ("encryption", "ciphertext", "seed"))
    ),
    "evaluation/1": tuple(
        (
            *_STATES, "evaluation_set", "beacon", "beacon_round", "improved", "margin", "user",
            "model", "fork", "old_step", "step", "context", *links,
        )
        for links in ((), _LINKS)
    ),
}  # fmt: skip
"""What each statement's signals are called, in each of its variants."""

_INFERENCE = "inference/1"
_TAILS = tuple(
    (*state, "context", *links)
    for state, links in (((), ()), (("state", *_NAMED), ()), (("state", *_NAMED), ("state_link",)))
)
_SEVERAL = ("beacon", "beacon_round")


def check_signals(statement: str, public: Sequence[PublicSignal]) -> None:
    """Return None if a key's signals are those of the statement that it names, or it is unknown.

    Raises VerificationError otherwise.
    """
    names = tuple(signal.name for signal in public)
    if statement == _INFERENCE:
        _check_inference(names)
        return
    if statement not in ORDERS:
        return
    sizes = {signal.size for signal in public if signal.name in _SEVERAL}
    single = all(signal.size == 1 for signal in public if signal.name not in _SEVERAL)
    if names not in ORDERS[statement] or not single or len(sizes) > 1:
        raise VerificationError(f"the key's signals are not those of {statement}, in its order")


def _check_inference(names: tuple[str, ...]) -> None:
    """Require tensors, inputs first, and then the names that are no tensor's, in their order."""
    kinds = [name.partition(".")[0] for name in names]
    tensors = [kind for kind in kinds if kind in ("input", "output", "weights")]
    ordered = tensors == sorted(tensors)
    if not ordered or kinds[: len(tensors)] != tensors or names[len(tensors) :] not in _TAILS:
        raise VerificationError(f"the key's signals are not those of {_INFERENCE}, in its order")
