"""The schemes that a session may name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zkai.errors import InvalidInput
from zkai.federated.scheme import Scheme
from zkai.federated.session import RLWE, Session

SCHEMES = (RLWE,)


def load_scheme(session: Session) -> Scheme:
    """Return a session's scheme. Raises InvalidInput if it is unknown, or its parameters unfit."""
    raise InvalidInput("todo")


def choose_parameters(
    scheme: str, clients: int, largest: int, threshold: int, holders: int, values: int
) -> Mapping[str, Any]:
    """Return parameters under which a sum of `clients` values of at most `largest` is exact.

    Raises InvalidInput if there are none.
    """
    raise InvalidInput("todo")
