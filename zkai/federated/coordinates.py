"""Which values a round sends, where a session sends only some: a list that everybody can compute.

The largest of the last sum that this session opened, and a share of the others in turn. So it is
public, and tells of that sum only, never of one client's update. Each client commits to the list
that it used; those of a sum have used the same, and its bytes are a body on the board: indices as
little-endian 64-bit integers, ascending.
"""

from __future__ import annotations

import numpy as np

from zkai.encoding import parse_hex32
from zkai.errors import VerificationError
from zkai.federated.decisions import Round
from zkai.federated.messages import SET
from zkai.federated.scheme import Int64


def coordinates_bytes(coordinates: Int64) -> bytes:
    """Return the body of a list of coordinates."""
    return np.ascontiguousarray(coordinates, dtype="<i8").tobytes()


def coordinates_of(rnd: Round) -> Int64:
    """Return the coordinates of the clients of a round's set, which all used the same.

    Raises VerificationError if they did not, or the list is none; InvalidInput if it is missing.
    """
    entries = rnd.require(SET).entries
    return read_coordinates(rnd, {rnd.commitment(e).predicate["coordinates"] for e in entries})


def read_coordinates(rnd: Round, named: set[str | None]) -> Int64:
    """Return the list that clients named, if it is one, ascending and within the update.

    Raises VerificationError for several lists, for one of another length or with indices out of
    order or range; InvalidInput if its bytes are missing.
    """
    session = rnd.session
    if len(named) != 1 or None in named:
        raise VerificationError("set: its clients were compressed to different coordinates")
    (digest,) = named
    data = rnd.board.body(
        rnd.number, parse_hex32(digest, "coordinates"), 8 * session.sent, "coordinates"
    )
    found = np.frombuffer(data, "<i8").astype(np.int64)
    if int(found[0]) < 0 or int(found[-1]) >= session.plain or (np.diff(found) <= 0).any():
        raise VerificationError("coordinates: expected indices of the update, ascending")
    return found
