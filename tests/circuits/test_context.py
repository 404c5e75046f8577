"""The context: Solidity's encoding of it, and that every part counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi import encode

from zkai.circuit.statements.context import Context, address_word
from zkai.encoding import FIELD_MODULUS, keccak256
from zkai.errors import InvalidInput

ADDRESS = "0x00112233445566778899aAbBcCdDeEfF00112233"
CONTEXT = Context(
    "training_step/1",
    31337,
    address_word(ADDRESS),
    5,
    7,
    address_word("0x" + "ff" * 20),
    keccak256(b"key"),
)


def test_the_encoding_is_solidity_s():
    types = ["bytes32", "bytes32", "uint256", "bytes32", "uint256", "uint256", "bytes32", "bytes32"]
    words = [
        keccak256(b"zkai/context/1"),
        keccak256(b"training_step/1"),
        31337,
        bytes.fromhex("00" * 12 + ADDRESS[2:]),
        5,
        7,
        bytes.fromhex("00" * 12 + "ff" * 20),
        keccak256(b"key"),
    ]
    assert CONTEXT.encode() == encode(types, words)
    signal = int.from_bytes(keccak256(encode(types, words)), "big") % FIELD_MODULUS
    assert CONTEXT.signal() == signal


def test_every_part_counts():
    changes = {
        "statement": "training_step/2",
        "chain_id": 1,
        "ledger": address_word("0x" + "01" * 20),
        "fork": 6,
        "step": 8,
        "recipient": bytes(32),
        "vk_digest": keccak256(b"other key"),
    }
    signals = {replace(CONTEXT, **{name: value}).signal() for name, value in changes.items()}
    assert len(signals | {CONTEXT.signal()}) == len(changes) + 1


@pytest.mark.parametrize(
    "changes",
    [
        {"statement": "training_step"},
        {"statement": "Training/1"},
        {"statement": 1},
        {"chain_id": -1},
        {"chain_id": 1 << 256},
        {"fork": 1.0},
        {"step": True},
        {"ledger": bytes(20)},
        {"recipient": ADDRESS},
        {"vk_digest": bytearray(32)},
    ],
)
def test_unusable_parts_are_named(changes):
    with pytest.raises(InvalidInput, match=next(iter(changes))):
        replace(CONTEXT, **changes)


@pytest.mark.parametrize("address", ["0x00", "00" * 20, "0x" + "g0" * 20, 5, "0x" + "00" * 32])
def test_unusable_addresses(address):
    with pytest.raises(InvalidInput, match="address"):
        address_word(address)
