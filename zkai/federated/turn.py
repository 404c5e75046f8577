"""The coordinates of a round, as every client of it computes them from the board."""

from __future__ import annotations

import numpy as np

from zkai.errors import InvalidInput, VerificationError
from zkai.federated.compression import EXPLORE
from zkai.federated.coordinates import coordinates_of
from zkai.federated.decisions import Round
from zkai.federated.messages import ACTIVE
from zkai.federated.opening import open_sum
from zkai.federated.record import View
from zkai.federated.scheme import Int64, Scheme
from zkai.federated.session import Session
from zkai.he.compression import shared_coordinates, spread


def round_coordinates(session: Session, scheme: Scheme, view: View, number: int) -> Int64:
    """Return the coordinates that a round sends, from the last sum that was opened before it."""
    if not session.keeps:
        return np.arange(session.plain, dtype=np.int64)
    previous, last = None, number - 1
    while previous is None and last:
        rnd = Round(session, last, view)
        try:
            if rnd.decision(ACTIVE) is not None:
                values = open_sum(rnd, scheme).values[: session.sent].astype(np.float64)
                previous = spread(values, coordinates_of(rnd), session.plain)
        except (InvalidInput, VerificationError):
            previous = None  # not opened: the aggregator or a key holder failed
        last -= 1
    return shared_coordinates(session.plain, session.sent, number - 1, previous, EXPLORE)
