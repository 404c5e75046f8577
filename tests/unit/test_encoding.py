"""Canonical bytes: what `encoding` accepts, and what it refuses by name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkai.encoding import (
    FIELD_MODULUS,
    canonical_json,
    field_tag,
    from_limbs,
    hex32,
    keccak256,
    load_json,
    parse_decimal,
    parse_hex32,
    read_capped,
    to_limbs,
    word,
    write_atomic,
)
from zkai.errors import InvalidInput


def test_keccak256_is_the_evms() -> None:
    # The address-0 and empty-code digests that every EVM block explorer shows.
    assert keccak256(b"").hex() == (
        "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    )
    assert keccak256(b"transfer(address,uint256)")[:4].hex() == "a9059cbb"


@given(st.lists(st.integers(0, 2**256 - 1), max_size=9))
def test_limbs_round_trip(values: list[int]) -> None:
    limbs = to_limbs(values)
    assert limbs.shape == (len(values), 4)
    assert limbs.dtype == np.uint64
    assert from_limbs(limbs) == values


def test_tags_are_field_elements_and_differ() -> None:
    assert field_tag("a") != field_tag("b")
    assert 0 <= field_tag("zkai/state/1") < 1 << 248 < FIELD_MODULUS


@pytest.mark.parametrize("value", [-1, 1 << 256])
def test_a_word_is_32_bytes(value: int) -> None:
    with pytest.raises(InvalidInput, match="EVM word"):
        word(value)
    assert word(1) == bytes(31) + b"\x01"


@pytest.mark.parametrize(
    "text", ["", "01", "-1", "+1", " 1", "1 ", "1e3", "0x1", "1.0", "\u0661", 5, None, "9" * 99]
)
def test_decimals_are_canonical(text: object) -> None:
    with pytest.raises(InvalidInput, match="where"):
        parse_decimal(text, "where", 1 << 256)
    assert parse_decimal("0", "where", 10) == 0


def test_decimals_are_below_their_modulus() -> None:
    assert parse_decimal(str(FIELD_MODULUS - 1), "x", FIELD_MODULUS) == FIELD_MODULUS - 1
    with pytest.raises(InvalidInput, match="modulus"):
        parse_decimal(str(FIELD_MODULUS), "x", FIELD_MODULUS)


@pytest.mark.parametrize("text", ["0x", "0x" + "A" * 64, "a" * 64, "0x" + "a" * 63, 7])
def test_digests_are_lower_case_hexadecimal(text: object) -> None:
    with pytest.raises(InvalidInput, match="digest"):
        parse_hex32(text, "digest")
    assert parse_hex32(hex32(5), "digest") == word(5)


def test_canonical_json_sorts_and_refuses() -> None:
    assert canonical_json({"b": [1, "é"], "a": None}) == b'{"a":null,"b":[1,"\\u00e9"]}'
    for value in (1.0, [float("nan")], {"x": 0.5}, {1: 2}, {"x": b"bytes"}):
        with pytest.raises(InvalidInput):
            canonical_json(value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1, "a": 2}', "repeats a key"),
        (b"[1.5]", "not an integer"),
        (b"[NaN]", "not an integer"),
        (b"[1e3]", "not an integer"),
        (b"[1", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[" * 200_000, "not valid JSON"),
        (b'{"a":' * 200_000, "not valid JSON"),
        (b"[" + b"9" * 10_000 + b"]", "not valid JSON"),
    ],
)
def test_json_from_strangers(data: bytes, message: str) -> None:
    limit = sys.getrecursionlimit()
    try:
        # Some packages raise the limit this far; the interpreter must survive it.
        sys.setrecursionlimit(100_000)
        with pytest.raises(InvalidInput, match=f"file.json: .*{message}"):
            load_json(data, "file.json")
        assert sys.getrecursionlimit() == 100_000
    finally:
        sys.setrecursionlimit(limit)


def test_files_are_capped_and_named(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    assert read_capped(path, 5) == b"12345"
    with pytest.raises(InvalidInput, match="f: larger than the 4 bytes"):
        read_capped(path, 4)
    with pytest.raises(InvalidInput, match="missing: cannot be read"):
        read_capped(tmp_path / "missing", 4)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_capped(tmp_path, 4)


def test_writes_are_whole_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomic(path, b"old")
    write_atomic(path, b"secret", mode=0o600)
    assert path.read_bytes() == b"secret"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(InvalidInput, match="cannot be written"):
        write_atomic(tmp_path / "no" / "f", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInput, match="folder: cannot be written"):
        write_atomic(tmp_path / "folder", b"x")
    assert sorted(os.listdir(tmp_path)) == ["f", "folder"]
