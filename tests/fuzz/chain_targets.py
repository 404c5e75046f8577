"""What nodes answer, and keys of accounts, under fuzzing: a node may say anything."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.harness import Target
from zkai.chain.abi import decode_revert, parse_address
from zkai.chain.account import AccountKey
from zkai.chain.anchor import Anchor
from zkai.chain.artifact import load_artifact
from zkai.chain.rpc import RpcChain
from zkai.encoding import sha256
from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.ledger.checkpoint import Checkpoint

ADDRESS = "0x" + "11" * 20
KEY = AccountKey("07" * 32, "fuzz")
CHECKPOINT = Checkpoint("o", 5, bytes(31) + b"\1", bytes(31) + b"\2")


class _Answers:
    """Stands where urllib's opener stands: each method has its answer."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self.answers = answers

    def open(self, request: Any, timeout: float) -> io.BytesIO:
        method = json.loads(request.data)["method"]
        return io.BytesIO(self.answers.get(method, b""))


def _chain(answers: dict[str, bytes]) -> RpcChain:
    chain = RpcChain.__new__(RpcChain)
    chain._where = chain._url = "http://node"
    chain._headers, chain._key, chain._chain_id = {}, KEY, 1
    chain._timeout_s, chain._receipt_timeout_s = 1.0, 0.001
    chain._opener = _Answers(answers)  # type: ignore[assignment]
    return chain


def _answer(value: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "result": value}


def node(folder: Path) -> Target:
    """Every answer of a node while a checkpoint is anchored and looked up."""
    receipt = {
        "status": "0x1", "gasUsed": "0x5208", "transactionHash": "0x" + "22" * 32,
        "contractAddress": ADDRESS,
        "logs": [{"address": ADDRESS, "topics": ["0x" + "33" * 32], "data": "0x00"}],
    }  # fmt: skip
    words = sha256(b"o") + b"".join(v.to_bytes(32, "big") for v in (1, 2, 3))
    seed = {
        "eth_chainId": _answer("0x1"), "eth_getCode": _answer("0x00"),
        "eth_call": _answer("0x" + words[:32].hex()), "eth_estimateGas": _answer("0x5208"),
        "eth_getTransactionCount": _answer("0x0"), "eth_gasPrice": _answer("0x1"),
        "eth_maxPriorityFeePerGas": _answer("0x1"),
        "eth_getBlockByNumber": _answer({"baseFeePerGas": "0x1"}),
        "eth_sendRawTransaction": _answer("0x" + "22" * 32),
        "eth_getTransactionReceipt": _answer(receipt),
    }  # fmt: skip
    refused = {**seed, "eth_call": {"error": {"code": 3, "message": "reverted", "data": "0x00"}}}

    def use(scratch: Path, data: bytes) -> None:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            answers = {method: json.dumps(item).encode() for method, item in value.items()}
        else:
            answers = dict.fromkeys(seed, data)
        chain = _chain(answers)
        asked: list[Callable[[], object]] = [
            lambda: chain.code(ADDRESS),
            lambda: chain.call(ADDRESS, b""),
            lambda: chain._quantity("eth_chainId", []),
            lambda: chain.deploy(b"\0"),
            lambda: Anchor(chain, ADDRESS).anchor(CHECKPOINT, []),
            lambda: Anchor(chain, ADDRESS).size,
        ]
        failed = None
        for ask in asked:
            try:
                ask()
            except (ToolError, InvalidInput, VerificationError) as error:
                failed = error
        if failed is not None and data not in seeds:
            raise InvalidInput(str(failed))

    seeds = (json.dumps(seed).encode(), json.dumps(refused).encode())
    return Target("node-answers", seeds, use, json=True, slow=True)


def revert(folder: Path) -> Target:
    """The data of a revert, which a contract chooses."""
    abi = load_artifact("Anchor").abi

    def use(scratch: Path, data: bytes) -> None:
        if not isinstance(decode_revert(data, abi), str):
            raise AssertionError("a revert has no words")
        if len(data) % 32:
            raise InvalidInput("not whole words")

    seed = bytes.fromhex("08c379a0") + (32).to_bytes(32, "big") + (2).to_bytes(32, "big") + b"no"
    return Target("revert", (seed.ljust(128, b"\0"),), use)


def account(folder: Path) -> Target:
    """A file with an account's key."""

    def use(scratch: Path, data: bytes) -> None:
        path = scratch / "account"
        path.write_bytes(data)
        path.chmod(0o600)
        AccountKey.from_file(path)

    return Target("account-key", (b"0x" + b"07" * 32 + b"\n",), use, slow=True)


def address(folder: Path) -> Target:
    def use(scratch: Path, data: bytes) -> None:
        parse_address(data.decode("utf-8", "replace"), "input")

    return Target("address", (ADDRESS.encode(), KEY.address.encode()), use)


CHAIN_TARGETS: dict[str, Callable[[Path], Target]] = {
    "node-answers": node,
    "revert": revert,
    "account-key": account,
    "address": address,
}
