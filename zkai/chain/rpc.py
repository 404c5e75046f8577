"""A chain behind a JSON-RPC URL: calls need nothing extra, transactions a key.

Source: the Ethereum execution APIs (JSON-RPC), EIP-155, EIP-1559.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zkai.chain.abi import decode_revert, parse_address
from zkai.chain.account import AccountKey
from zkai.chain.artifact import NAMES, load_artifact
from zkai.chain.chain import TRANSACTION_GAS_CAP, Deployment, Log, Outcome
from zkai.encoding import parse_json
from zkai.errors import InvalidInput, ToolError, VerificationError

_MAX_ANSWER_BYTES = 16 << 20
_URL_FORM = "the RPC URL must be http://host[:port] or https://host[:port]/path"
_HEX = re.compile(r"0x([0-9a-fA-F]{2})*")
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")


class _RefuseRedirect(urllib.request.HTTPRedirectHandler):
    """Answers a redirect as the error that it is: urllib would send our headers after it."""

    def redirect_request(self, *_: Any) -> None:
        return None


class RpcError(ToolError):
    """The node answered with an error; `data` is the revert's where it is one."""

    def __init__(self, message: str, data: bytes | None) -> None:
        super().__init__(message)
        self.data = data


@dataclass(frozen=True)
class _Receipt:
    success: bool
    gas_used: int
    logs: tuple[Log, ...]
    transaction: str
    contract: str | None


@dataclass(frozen=True)
class Event:
    """One event of a mined transaction, with its place in the chain."""

    block: int
    index: int
    transaction: str
    log: Log


class RpcChain:
    """A chain reached by HTTP. Without a key it can call but not send."""

    def __init__(
        self,
        url: str,
        key: AccountKey | None = None,
        chain_id: int | None = None,
        timeout_s: float = 30.0,
        receipt_timeout_s: float = 180.0,
    ) -> None:
        """Connect, and check the chain's number if `chain_id` is given.

        Raises InvalidInput for a URL that is not http(s) or another chain; ToolError if the node
        cannot be reached or does not speak JSON-RPC.
        """
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError:
            raise InvalidInput(_URL_FORM) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput(_URL_FORM)
        # User names, paths and queries of URLs carry providers' keys: messages name the host alone.
        host = parts.hostname if ":" not in parts.hostname else f"[{parts.hostname}]"
        authority = f"{host}:{port}" if port else host
        self._where = f"{parts.scheme}://{authority}"
        self._url = urllib.parse.urlunsplit((parts.scheme, authority, parts.path, parts.query, ""))
        self._headers = {"Content-Type": "application/json", "User-Agent": "zkai"}
        if parts.username is not None:
            login = f"{parts.username}:{parts.password or ''}"
            token = base64.b64encode(urllib.parse.unquote(login).encode()).decode()
            self._headers["Authorization"] = f"Basic {token}"
        self._opener = urllib.request.build_opener(_RefuseRedirect)
        self._key = key
        self._timeout_s = timeout_s
        self._receipt_timeout_s = receipt_timeout_s
        self._chain_id = self._quantity("eth_chainId", [])
        if chain_id is not None and self._chain_id != chain_id:
            raise InvalidInput(
                f"{self._where} is chain {self._chain_id}, expected chain {chain_id}; check the URL"
            )

    def __repr__(self) -> str:
        return f"RpcChain({self._where}, chain {self._chain_id})"

    @property
    def chain_id(self) -> int:
        """The chain's number (EIP-155)."""
        return self._chain_id

    @property
    def account(self) -> str | None:
        """The address that transactions come from; None if there is no key."""
        return self._key.address if self._key else None

    def code(self, address: str) -> bytes:
        """Return a contract's runtime code, empty where there is none."""
        return self._bytes("eth_getCode", [parse_address(address, "address"), "latest"])

    @property
    def block(self) -> int:
        """The number of the latest block."""
        return self._quantity("eth_blockNumber", [])

    def block_hash(self, number: int) -> str | None:
        """Return a block's hash, None if the chain has no such block."""
        block = self._post("eth_getBlockByNumber", [hex(number), False])
        if block is None:
            return None
        found = block.get("hash") if isinstance(block, dict) else None
        if not isinstance(found, str) or not _HEX.fullmatch(found) or len(found) != 66:
            raise ToolError(f"{self._where}: eth_getBlockByNumber returned no block")
        return found.lower()

    def events(self, addresses: Sequence[str], first: int, last: int) -> list[Event]:
        """Return the contracts' events in a range of blocks, in their order."""
        listed = [parse_address(address, "address") for address in addresses]
        asked = {"address": listed, "fromBlock": hex(first), "toBlock": hex(last)}
        answer = self._post("eth_getLogs", [asked])
        if not isinstance(answer, list):
            raise ToolError(f"{self._where}: eth_getLogs returned no list")
        found = [self._event(entry) for entry in answer]
        if any(not first <= event.block <= last for event in found):
            raise ToolError(f"{self._where}: eth_getLogs returned events of other blocks")
        return sorted(found, key=lambda event: (event.block, event.index))

    def _event(self, entry: Any) -> Event:
        try:
            if entry.get("removed"):
                raise ValueError("it was removed")
            place = (int(entry["blockNumber"], 16), int(entry["logIndex"], 16))
            return Event(*place, str(entry["transactionHash"]), _log(entry, self._where))
        except (AttributeError, KeyError, TypeError, ValueError, InvalidInput) as error:
            raise ToolError(f"{self._where}: an event has another form ({error})") from None

    def call(self, address: str, data: bytes) -> Outcome:
        """Run a transaction without sending it; its gas is the node's estimate."""
        request = self._request(parse_address(address, "address"), data)
        try:
            output = self._bytes("eth_call", [request, "latest"])
            gas = self._quantity("eth_estimateGas", [request])
        except RpcError as error:
            if error.data is None:
                raise
            return Outcome(False, error.data, 0)
        return Outcome(True, output, gas)

    def transact(self, address: str, data: bytes) -> Outcome:
        """Sign a transaction, send it and wait for its receipt.

        A call that would revert is not sent: its outcome carries the revert's data and no hash.
        Raises InvalidInput without a key; ToolError if the node refuses it (say, for lack of
        funds) or does not mine it in time.
        """
        self._require_key()
        simulated = self.call(address, data)
        if not simulated.success:
            return simulated
        receipt = self._send(parse_address(address, "address"), data, simulated.gas_used)
        return Outcome(
            receipt.success, simulated.output, receipt.gas_used, receipt.logs, receipt.transaction
        )

    def deploy(self, creation_code: bytes) -> Deployment:
        """Create a contract and wait for its receipt.

        Raises VerificationError if its constructor reverts; InvalidInput without a key; ToolError
        as `transact` does.
        """
        self._require_key()
        try:
            gas = self._quantity("eth_estimateGas", [self._request(None, creation_code)])
        except RpcError as error:
            if error.data is None:
                raise
            abi = [entry for name in NAMES for entry in load_artifact(name).abi]
            reason = decode_revert(error.data, abi)
            raise VerificationError(f"the deployment was refused: {reason}") from None
        receipt = self._send(None, creation_code, gas)
        if not receipt.success or receipt.contract is None:
            raise VerificationError(f"the deployment reverted in {receipt.transaction}")
        return Deployment(receipt.contract, receipt.gas_used)

    def _require_key(self) -> AccountKey:
        if self._key is None:
            raise InvalidInput("sending a transaction needs a key: give a key file or variable")
        return self._key

    def _request(self, to: str | None, data: bytes) -> dict[str, str]:
        request = {"data": "0x" + data.hex()}
        if to is not None:
            request["to"] = to
        if self._key is not None:
            request["from"] = self._key.address
        return request

    def _send(self, to: str | None, data: bytes, gas_estimate: int) -> _Receipt:
        key = self._require_key()
        if gas_estimate > TRANSACTION_GAS_CAP:
            raise InvalidInput(
                f"the transaction needs {gas_estimate} gas; no transaction may have more than "
                f"{TRANSACTION_GAS_CAP} (EIP-7825)"
            )
        transaction: dict[str, Any] = {
            "chainId": self._chain_id,
            "nonce": self._quantity("eth_getTransactionCount", [key.address, "pending"]),
            # The state may move between the estimate and the block.
            "gas": min(gas_estimate + gas_estimate // 8, TRANSACTION_GAS_CAP),
            "value": 0,
            "data": "0x" + data.hex(),
            **self._fees(),
        }
        if to is not None:
            transaction["to"] = to
        raw = "0x" + key.sign(transaction).hex()
        sent = self._post("eth_sendRawTransaction", [raw])
        return self._receipt(str(sent))

    def _fees(self) -> dict[str, int]:
        block = self._post("eth_getBlockByNumber", ["latest", False])
        if not isinstance(block, dict):
            raise ToolError(f"{self._where}: eth_getBlockByNumber returned no block")
        base = block.get("baseFeePerGas")
        if base is None:  # a chain without EIP-1559
            return {"gasPrice": self._quantity("eth_gasPrice", [])}
        try:
            tip = self._quantity("eth_maxPriorityFeePerGas", [])
        except RpcError:
            tip = 10**9
        base_fee = self._number(base, "baseFeePerGas")
        return {"maxPriorityFeePerGas": tip, "maxFeePerGas": 2 * base_fee + tip}

    def _receipt(self, transaction: str) -> _Receipt:
        deadline = time.monotonic() + self._receipt_timeout_s
        pause_s = 0.02
        while time.monotonic() < deadline:
            receipt = self._post("eth_getTransactionReceipt", [transaction])
            if receipt is not None:
                return _parse_receipt(receipt, self._where)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 2.0)
        raise ToolError(
            f"{self._where}: transaction {transaction} was sent but not mined within "
            f"{self._receipt_timeout_s:g} s; look it up before sending it again"
        )

    def _quantity(self, method: str, parameters: list[Any]) -> int:
        return self._number(self._post(method, parameters), method)

    def _number(self, value: Any, what: str) -> int:
        if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
            raise ToolError(f"{self._where}: {what} is not a number")
        return int(value, 16)

    def _bytes(self, method: str, parameters: list[Any]) -> bytes:
        value = self._post(method, parameters)
        if not isinstance(value, str) or not _HEX.fullmatch(value):
            raise ToolError(f"{self._where}: {method} did not return bytes")
        return bytes.fromhex(value[2:])

    def _post(self, method: str, parameters: list[Any]) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked to be http(s)
            self._url,
            data=json.dumps(body).encode(),
            headers=self._headers,
        )
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                data = answer.read(_MAX_ANSWER_BYTES + 1)
        except urllib.error.HTTPError as error:
            error.close()
            if 300 <= error.code < 400:
                raise ToolError(
                    f"{self._where}: {method} was answered with a redirect (HTTP {error.code}),"
                    " which is not followed; give the URL that it leads to"
                ) from None
            raise ToolError(
                f"{self._where}: {method} was answered with HTTP {error.code}"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            raise ToolError(f"{self._where} cannot be reached ({reason})") from None
        return self._result(method, data)

    def _result(self, method: str, data: bytes) -> Any:
        if len(data) > _MAX_ANSWER_BYTES:
            raise ToolError(f"{self._where}: {method} returned more than {_MAX_ANSWER_BYTES} bytes")
        answer = _parse(data)
        error = answer.get("error") if isinstance(answer, dict) else None
        if not isinstance(answer, dict) or (error is None and "result" not in answer):
            raise ToolError(f"{self._where}: {method} was not answered in JSON-RPC; check the URL")
        if error is not None:
            message = error.get("message") if isinstance(error, dict) else error
            # A node's text goes to a terminal: no control characters.
            shown = "".join(c if c.isprintable() else " " for c in str(message)[:300])
            text = f"{self._where}: {method} was refused: {shown}"
            raise RpcError(text, _revert_data(error))
        return answer["result"]


def _parse(data: bytes) -> Any:
    """Parse JSON; None for what is none."""
    try:
        return parse_json(data)
    except ValueError:
        return None


def _revert_data(error: Any) -> bytes | None:
    """The data of a revert in a node's error, b"" where it has none; None for other errors."""
    if not isinstance(error, dict):
        return None
    data = error.get("data")
    if isinstance(data, dict):  # some nodes nest it
        data = data.get("data") or data.get("result")
    if isinstance(data, str) and _HEX.fullmatch(data):
        return bytes.fromhex(data[2:])
    if error.get("code") == 3 or "revert" in str(error.get("message", "")).lower():
        return b""
    return None


def _parse_receipt(receipt: Any, where: str) -> _Receipt:
    try:
        contract = receipt.get("contractAddress")
        return _Receipt(
            success=int(receipt["status"], 16) == 1,
            gas_used=int(receipt["gasUsed"], 16),
            logs=tuple(_log(entry, where) for entry in receipt["logs"]),
            transaction=str(receipt["transactionHash"]),
            contract=None if contract is None else parse_address(contract, where),
        )
    except (AttributeError, KeyError, TypeError, ValueError, InvalidInput) as error:
        raise ToolError(f"{where}: a receipt does not have the form it should ({error})") from None


def _log(entry: Any, where: str) -> Log:
    topics = tuple(bytes.fromhex(topic[2:]) for topic in entry["topics"])
    return Log(parse_address(entry["address"], where), topics, bytes.fromhex(entry["data"][2:]))
