"""The record of a dispute as a file, and the files that decide it.

    {"format": "zkai.dispute-record/1", "terms": {...}, "entries": [envelope, ...],
     "second": null or an envelope}

The record has one byte form, canonical JSON. Reading it plays every entry again: what is returned
has been checked against the terms in the file. Whoever judges compares those with what the parties
were known to dispute: their digest. Evidence is a .safetensors file of the disputed operator's
inputs, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zkai.compute.dispute import MAX_ENTRIES, Game
from zkai.compute.operators import Array
from zkai.compute.program import LABELS, WEIGHTS, State, X
from zkai.compute.settlement import Evidence, array_of
from zkai.compute.terms import Terms
from zkai.encoding import load_json, read_capped, write_atomic
from zkai.errors import InvalidInput
from zkai.merkle.tensor import from_array, open_tensors, write_tensors
from zkai.proof.jsonform import expect_fields
from zkai.receipt.envelope import Envelope
from zkai.receipt.jcs import decode, encode

FORMAT = "zkai.dispute-record/1"
INPUTS_FORMAT = "zkai.dispute-inputs/1"
MAX_BYTES = 1 << 26


def record_bytes(game: Game) -> bytes:
    """Return a dispute's record in its one byte form."""
    entries = [load_json(entry.to_bytes(), "entry") for entry in game.entries]
    second = None if game.second is None else load_json(game.second.to_bytes(), "second")
    terms = game.terms.to_json()
    return encode({"format": FORMAT, "terms": terms, "entries": entries, "second": second})


def read_record(data: bytes, where: str = "record") -> Game:
    """Return the dispute that a record tells, every entry checked again.

    Raises InvalidInput, naming the field, for malformed bytes; VerificationError for an entry that
    is not its party's, or stands in the wrong place.
    """
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"{where}: larger than {MAX_BYTES} bytes")
    value = decode(data, where)
    expect_fields(value, ("format", "terms", "entries", "second"), where)
    if value["format"] != FORMAT:
        raise InvalidInput(f"{where}: format {str(value['format'])[:80]!r}, expected {FORMAT!r}")
    if not isinstance(value["entries"], list) or len(value["entries"]) > MAX_ENTRIES:
        raise InvalidInput(f"{where}.entries: expected a list of at most {MAX_ENTRIES}")
    game = Game(Terms.from_json(value["terms"], f"{where}.terms"))
    for place, entry in enumerate(value["entries"]):
        game.apply(Envelope.from_bytes(encode(entry), f"{where}.entries[{place}]"))
    if value["second"] is not None:
        game.accuse(Envelope.from_bytes(encode(value["second"]), f"{where}.second"))
    return game


def write_record(path: Path | str, game: Game) -> None:
    """Write a dispute's record. Raises InvalidInput if that is impossible."""
    write_atomic(path, record_bytes(game))


def open_record(path: Path | str) -> Game:
    """Read a record's file. Raises as `read_record` does."""
    return read_record(read_capped(path, MAX_BYTES), str(path))


def read_state(path: Path | str) -> State:
    """Return the state {weights, x, labels} of a .safetensors file. Raises InvalidInput."""
    found = open_tensors(path)
    if found.keys() != {WEIGHTS, X, LABELS}:
        raise InvalidInput(f"{path}: expected the tensors {WEIGHTS}, {X} and {LABELS}")
    return State.of({name: array_of(source) for name, source in found.items()})


def write_inputs(path: Path | str, arrays: Mapping[str, Array]) -> None:
    """Write tensors that decide a dispute, for the owner's eyes alone.

    Raises InvalidInput if that is impossible.
    """
    sources = {name: from_array(array, name) for name, array in sorted(arrays.items())}
    write_tensors(path, sources, {"format": INPUTS_FORMAT}, mode=0o600)


def read_inputs(path: Path | str) -> Evidence:
    """Return the evidence in a file of tensors. Raises InvalidInput, naming the file."""
    return Evidence(open_tensors(path))
