"""What any chain offers: calls, transactions and code, over an embedded EVM or JSON-RPC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

TRANSACTION_GAS_CAP = 16_777_216
"""The most gas one transaction may have (EIP-7825)."""


@dataclass(frozen=True)
class Log:
    """One event: its contract, its topics (32 bytes each) and its data."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True)
class Outcome:
    """What a call or a transaction did."""

    success: bool
    output: bytes
    """Returned data, or the revert's."""
    gas_used: int
    """Of the whole transaction, calldata and base cost included; an estimate for a call."""
    logs: tuple[Log, ...] = ()
    transaction: str | None = None
    """The transaction's hash, where there is one."""


@dataclass(frozen=True)
class Deployment:
    """A contract just deployed."""

    address: str
    gas_used: int


class Chain(Protocol):
    """A chain to call, and to send transactions to if it has an account."""

    @property
    def chain_id(self) -> int:
        """The chain's number (EIP-155)."""

    @property
    def account(self) -> str | None:
        """The address that transactions come from; None if there is no key."""

    def code(self, address: str) -> bytes:
        """Return a contract's runtime code, empty where there is none."""

    def call(self, address: str, data: bytes) -> Outcome:
        """Run a transaction without keeping its effects."""

    def transact(self, address: str, data: bytes) -> Outcome:
        """Send a transaction and wait until it is mined."""

    def deploy(self, creation_code: bytes) -> Deployment:
        """Create a contract and wait until it is mined; raise VerificationError if it reverts."""


def calldata_floor_gas(data: bytes) -> int:
    """Return the least gas that a transaction with this calldata is charged (EIP-7623)."""
    tokens = sum(4 if byte else 1 for byte in data)
    return 21_000 + 10 * tokens
