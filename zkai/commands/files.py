"""The files that commands read and write besides proofs and keys: inputs and openings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from zkai.encoding import parse_json, read_capped
from zkai.errors import InvalidInput

MAX_INPUT_BYTES = 1 << 28
MAX_DEPTH = 8


def read_input(path: Path) -> dict[str, Any]:
    """Return the values of an input file: one JSON object.

    Nested lists of numbers become arrays; strings, numbers, true, false and objects stay as they
    are. The weights of a network stay a list, of a pair of arrays for each layer.

    Raises InvalidInput, naming the file and the key, for anything else: duplicate keys, NaN,
    infinities and ragged lists included.
    """
    data = read_capped(path, MAX_INPUT_BYTES)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise InvalidInput(f"{path}: a JSON object repeats a key")
        return result

    def refuse(text: str) -> Any:
        raise InvalidInput(f"{path}: holds {text}; give finite numbers")

    try:
        content = parse_json(data, object_pairs_hook=unique, parse_constant=refuse)
        if not isinstance(content, dict):
            raise InvalidInput(f"{path}: expected a JSON object of named values")
        return {key: _named(key, item, f"{path}: {key}") for key, item in content.items()}
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path}: not valid JSON ({error})") from error


def _named(key: str, item: Any, where: str) -> Any:
    if key not in _LAYERED or not isinstance(item, list) or not all(map(_is_pair, item)):
        return _value(item, where)
    return [
        tuple(_value(part, f"{where}[{layer}][{place}]") for place, part in enumerate(pair))
        for layer, pair in enumerate(item)
    ]


_LAYERED = ("weights", "base")


def _is_pair(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and isinstance(item[0], list)


def _value(item: Any, where: str) -> Any:
    if isinstance(item, dict):
        return {key: _value(value, f"{where}.{key}") for key, value in item.items()}
    if not isinstance(item, list) or (item and all(isinstance(i, str) for i in item)):
        return item
    try:
        array = np.array(item)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{where}: expected lists of numbers of equal lengths") from error
    if array.size and array.dtype.kind not in "fiu":
        raise InvalidInput(f"{where}: expected nested lists of numbers only")
    if array.ndim > MAX_DEPTH:
        raise InvalidInput(f"{where}: more than {MAX_DEPTH} dimensions")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInput(f"{where}: a number is out of the range of a float")
    return array


def check_target(path: Path, new: bool = False) -> None:
    """Return None if a file can probably be written at `path`: asked before long work starts.

    Raises InvalidInput if its folder is missing or not writable, if `path` is a folder, or, with
    `new`, if it exists at all.
    """
    if path.is_dir():
        raise InvalidInput(f"{path}: is a folder; name a file")
    if not path.parent.is_dir():
        raise InvalidInput(f"{path}: cannot be written ({path.parent} is not a folder)")
    if not os.access(path.parent, os.W_OK):
        raise InvalidInput(f"{path}: cannot be written ({path.parent} is read-only)")
    if new and os.path.lexists(path):
        raise InvalidInput(
            f"{path}: exists, and may hold the only copy of a salt or a state; move it, or name"
            " another file"
        )
