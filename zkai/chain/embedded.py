"""An EVM inside the process (pyrevm): no node, no network, no compiler."""

from __future__ import annotations

import re
from typing import Any

from zkai.chain.abi import decode_revert, parse_address
from zkai.chain.artifact import NAMES, load_artifact
from zkai.chain.chain import TRANSACTION_GAS_CAP, Deployment, Log, Outcome, calldata_floor_gas
from zkai.encoding import keccak256
from zkai.errors import InvalidInput, ToolError, VerificationError

CHAIN_ID = 31337
"""The number that development chains use."""

_ACCOUNT = "0x" + keccak256(b"zkai/embedded-account")[-20:].hex()
_REVERT = re.compile(r"Revert \{ gas_used: (\d+), output: 0x([0-9a-f]*) \}")
_HALT = re.compile(r"Halt \{ reason: (.+), gas_used: (\d+) \}")


class EmbeddedChain:
    """A fresh chain with one funded account, which lives as long as the object.

    The gas of a transaction to a verifier is exact. A contract's storage that an earlier
    transaction touched counts as warm, so a later one that touches it again is reported cheaper
    than a node would.
    """

    def __init__(self, chain_id: int = CHAIN_ID) -> None:
        """Raises ToolError if pyrevm is not installed."""
        if not 0 < chain_id < 1 << 64:
            raise InvalidInput(f"chain id {chain_id}: expected 1 to 2**64 - 1")
        try:
            import pyrevm
        except ImportError as error:
            raise ToolError("the embedded EVM needs pyrevm: pip install pyrevm") from error
        env = pyrevm.Env(cfg=pyrevm.CfgEnv(chain_id=chain_id))
        self._evm: Any = pyrevm.EVM(env=env, gas_limit=TRANSACTION_GAS_CAP, spec_id="CANCUN")
        self._chain_id = chain_id
        self._account = parse_address(_ACCOUNT, "account")
        self._evm.set_balance(self._account, 10**24)

    @property
    def chain_id(self) -> int:
        """The chain's number (EIP-155)."""
        return self._chain_id

    @property
    def account(self) -> str:
        """The address that transactions come from."""
        return self._account

    def code(self, address: str) -> bytes:
        """Return a contract's runtime code, empty where there is none."""
        target = parse_address(address, "address")
        padded = bytes(self._evm.get_code(target) or b"")
        code_hash = bytes(self._evm.basic(target).code_hash)
        # The interpreter pads code with zeros and keeps the hash of the unpadded one.
        for padding in (0, *range(33, 0, -1)):
            code = padded[: len(padded) - padding]
            if keccak256(code) == code_hash:
                return code
        raise ToolError("the embedded EVM returned code that does not match its own hash")

    def call(self, address: str, data: bytes, gas: int = TRANSACTION_GAS_CAP) -> Outcome:
        """Run a transaction without keeping its effects."""
        checkpoint = self._evm.snapshot()
        outcome = self.transact(address, data, gas)
        self._evm.revert(checkpoint)
        return outcome

    def transact(self, address: str, data: bytes, gas: int = TRANSACTION_GAS_CAP) -> Outcome:
        """Run a transaction with `gas` at most and keep its effects, unless it fails."""
        target = parse_address(address, "address")
        try:
            output = self._evm.message_call(self._account, target, calldata=data, gas=gas)
        except RuntimeError as error:
            revert, used = _failure(error)
            return Outcome(False, revert, max(used, calldata_floor_gas(data)))
        result = self._evm.result
        # This EVM is older than the floor on calldata, so that is applied here.
        used = max(result.gas_used, calldata_floor_gas(data))
        return Outcome(True, bytes(output), used, tuple(_log(entry) for entry in result.logs))

    def deploy(self, creation_code: bytes) -> Deployment:
        """Create a contract.

        Raises VerificationError if its constructor reverts.
        """
        try:
            address = self._evm.deploy(self._account, creation_code, gas=TRANSACTION_GAS_CAP)
        except RuntimeError as error:
            revert, _ = _failure(error)
            abi = [entry for name in NAMES for entry in load_artifact(name).abi]
            reason = decode_revert(revert, abi)
            raise VerificationError(f"the deployment was refused: {reason}") from None
        return Deployment(parse_address(address, "deployed address"), self._evm.result.gas_used)


def _failure(error: RuntimeError) -> tuple[bytes, int]:
    """The revert's data and the gas used, from the one text in which the EVM reports them."""
    text = str(error)
    if match := _REVERT.search(text):
        return bytes.fromhex(match[2]), int(match[1])
    if match := _HALT.search(text):
        return b"", int(match[2])
    raise ToolError(f"the embedded EVM refused the transaction: {text[:200]}") from error


def _log(entry: Any) -> Log:
    topics = tuple(bytes.fromhex(topic[2:]) for topic in entry.topics)
    return Log(parse_address(entry.address, "event address"), topics, bytes(entry.data[1]))
