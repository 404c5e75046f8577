"""The context: where, when and for whom a proof counts, as one public signal.

    context = keccak256(abi.encode(
        bytes32 keccak256("zkai/context/1"), bytes32 keccak256(statement version),
        uint256 chainId, bytes32 ledger, uint256 fork, uint256 step,
        bytes32 recipient, bytes32 vkDigest)) mod r

All eight words are 32 bytes, so abi.encode is their concatenation and a contract recomputes the
context with one keccak256 and one mod.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from zkai.encoding import FIELD_MODULUS, keccak256, word
from zkai.errors import InvalidInput

DOMAIN = "zkai/context/1"

_VERSION = re.compile(r"[a-z][a-z0-9_]{0,63}/[1-9][0-9]{0,5}")


@dataclass(frozen=True)
class Context:
    """What one proof is for.

    `ledger` is a contract's address, left-padded to 32 bytes (`address_word`), or a ledger's
    32-byte id; `recipient` likewise. `fork` and `step` are those of the statement's signals, 0
    where it has none. `vk_digest` names the verifying key.

    Raises InvalidInput, naming the part, for a wrong length, type or range.
    """

    statement: str
    chain_id: int
    ledger: bytes
    fork: int
    step: int
    recipient: bytes
    vk_digest: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.statement, str) or not _VERSION.fullmatch(self.statement):
            raise InvalidInput("context: statement must be a version such as 'training_step/1'")
        for name in ("chain_id", "fork", "step"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 256:
                raise InvalidInput(f"context: {name} must be an integer in [0, 2**256)")
        for name in ("ledger", "recipient", "vk_digest"):
            value = getattr(self, name)
            if not isinstance(value, bytes) or len(value) != 32:
                raise InvalidInput(f"context: {name} must be 32 bytes; pad an address on the left")

    def encode(self) -> bytes:
        """Return abi.encode of the eight words, 256 bytes."""
        return b"".join(
            [
                keccak256(DOMAIN.encode()),
                keccak256(self.statement.encode()),
                word(self.chain_id),
                self.ledger,
                word(self.fork),
                word(self.step),
                self.recipient,
                self.vk_digest,
            ]
        )

    def signal(self) -> int:
        """Return the public signal: keccak256 of the encoding, reduced modulo r."""
        return int.from_bytes(keccak256(self.encode()), "big") % FIELD_MODULUS


def address_word(address: str) -> bytes:
    """Return a 20-byte hexadecimal address as 32 bytes, padded on the left as abi.encode does.

    Raises InvalidInput for anything but 0x and 40 hexadecimal digits.
    """
    if not isinstance(address, str) or not re.fullmatch(r"0x[0-9a-fA-F]{40}", address):
        raise InvalidInput("an address must be 0x and 40 hexadecimal digits")
    return bytes(12) + bytes.fromhex(address[2:])
