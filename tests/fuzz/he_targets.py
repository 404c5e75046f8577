"""What servers of encrypted training and queries read: messages, cards, models."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from tests.fuzz.harness import Target
from zkai.he import hybrid, model_file, query
from zkai.he.hybrid import HybridServer
from zkai.he.messages import key_id, write_message
from zkai.he.query import Model, ModelCard, QueryServer


@lru_cache
def _model() -> Model:
    return Model.of([(np.eye(1), np.zeros(1))], 1.0)


def card(folder: Path) -> Target:
    seed = _model().card.to_bytes()
    return Target("he-card", (seed,), lambda _, data: ModelCard.from_bytes(data, "card"), json=True)


def model(folder: Path) -> Target:
    file = io.BytesIO()
    np.savez(file, weight0=np.eye(2), bias0=np.ones(2), weight1=np.eye(2), norm=1.5)
    return Target("he-model", (file.getvalue(),), lambda _, data: model_file.model(data))


def messages(folder: Path) -> Target:
    """Openings for models of one weight, which need no rotation and so no keys."""
    opening = {"session": "5" * 32, "rows": 2}
    kinds = (
        (hybrid.OPEN, hybrid.PARAMETERS.name, {"layers": [[1, 1]]}),
        (query.OPEN, _model().card.parameters.name, {"model": _model().card.digest}),
    )
    seeds = tuple(
        write_message(kind, {**opening, **more, "parameters": name, "key": key_id(name, b"")})
        for kind, name, more in kinds
    )

    def answer(_: Path, data: bytes) -> object:
        server = HybridServer([np.eye(1)]) if b'"hybrid-open"' in data else QueryServer(_model())
        return server.answer(data)

    return Target("he-messages", seeds, answer)


HE_TARGETS: dict[str, Callable[[Path], Target]] = {
    "he-card": card,
    "he-model": model,
    "he-messages": messages,
}
