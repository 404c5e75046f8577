"""The JSON-RPC client: against a real node, and against servers that are broken or lie."""

from __future__ import annotations

import copy
import json
import pickle
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from chain_support import ABI, make_vectors, refusal_of, vectors

from zkai.chain.abi import decode_revert, parse_address, selector, verify_calldata, words
from zkai.chain.account import AccountKey
from zkai.chain.artifact import load_artifact
from zkai.chain.chain import calldata_floor_gas
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.rpc import RpcChain
from zkai.chain.verifier import check_deployment, creation_code, deploy, read_vk_digest, send_proof
from zkai.errors import InvalidInput, ToolError, VerificationError

SECRET = "0x" + "5a" * 32


@pytest.fixture
def node(anvil: Any) -> RpcChain:
    return RpcChain(anvil.url, AccountKey(anvil.secret, "anvil"), chain_id=anvil.chain_id)


@pytest.mark.node
class TestNode:
    """A real node (anvil), with EIP-7825's cap on a transaction's gas."""

    def test_deploys_and_agrees_with_the_embedded_evm(self, node: RpcChain) -> None:
        embedded = EmbeddedChain()
        for n in (1, 9):
            v = vectors(n)
            here, there = deploy(v.vk, embedded), deploy(v.vk, node)
            assert here.gas_used == there.gas_used
            data = verify_calldata(v.valid.proof, v.valid.publics)
            gas = node.transact(there.address, data).gas_used
            assert gas == embedded.transact(here.address, data).gas_used
            assert node.call(there.address, data).gas_used >= gas
            with pytest.raises(VerificationError, match="not the shipped verifier"):
                check_deployment(node, there.address, vectors(10 - n).vk)

    def test_every_forgery_is_refused_by_name(self, node: RpcChain) -> None:
        v = vectors(2)
        address = node.deploy(creation_code(v.vk)).address
        answers = {case.name: refusal_of(node, address, case) for case in v.cases}
        assert answers == {case.name: case.error for case in v.cases}

    def test_a_forgery_is_not_sent(self, node: RpcChain, anvil: Any) -> None:
        v = vectors(1)
        address = deploy(v.vk, node).address
        forged = [v.valid.publics[0] + 1]
        before = _block_number(anvil)
        with pytest.raises(VerificationError, match=r"Groth16Verifier__InvalidProof\(\)"):
            send_proof(node, address, "verify", v.valid.proof, forged)
        assert _block_number(anvil) == before
        send_proof(node, address, "verify", v.valid.proof, v.valid.publics)
        assert _block_number(anvil) == before + 1

    def test_a_state_change_and_its_event(self, node: RpcChain) -> None:
        """Status 1 alone says little: what counts is the event and the state."""
        key = make_vectors.Key("rpc/genesis", 5)
        step = make_vectors.Key("rpc/step", 9)
        code = load_artifact("Groth16Verifier").creation_code
        verifiers = [
            int(node.deploy(code + words([32, len(k), *k])).address, 16)
            for k in (key.words(), step.words())
        ]
        recorder = node.deploy(
            load_artifact("ForkRecorder").creation_code + words([*verifiers, 0, 1, 0])
        ).address
        assert node.account
        request = selector("context(bytes32,bytes32,uint256,uint256,address)")
        request += make_vectors.keccak256(b"genesis/1") + read_vk_digest(node, hex(verifiers[0]))
        request += words([7, 0, int(node.account, 16)])
        context = int.from_bytes(node.call(recorder, request).output, "big")
        publics = [11, 1001, 22, 7, context]
        proof = key.prove(publics, "rpc/proof")
        outcome = send_proof(node, recorder, "open", proof, publics, "ForkRecorder")
        opened = make_vectors.keccak256(b"ForkOpened(uint256,uint256,uint256,uint256,address)")
        assert outcome.transaction
        assert [(log.address, log.topics) for log in outcome.logs] == [
            (recorder, (opened, words([7])))
        ]
        head = node.call(recorder, selector("heads(uint256)") + words([7])).output
        assert head == words([1001, 22, 11, 0, 0])
        with pytest.raises(VerificationError, match=r"ForkRecorder__AlreadyOpen\(7\)"):
            send_proof(node, recorder, "open", proof, publics, "ForkRecorder")

    def test_without_a_key_it_reads_and_verifies_by_call(self, anvil: Any, node: RpcChain) -> None:
        v = vectors(1)
        address = deploy(v.vk, node).address
        reader = RpcChain(anvil.url)
        assert reader.account is None
        check_deployment(reader, address, v.vk)
        before = _block_number(anvil)
        assert send_proof(reader, address, "verify", v.valid.proof, v.valid.publics).gas_used
        with pytest.raises(VerificationError, match="InvalidProof"):
            send_proof(reader, address, "verify", v.valid.proof, [7])
        assert _block_number(anvil) == before
        for attempt in (lambda: reader.transact(address, b""), lambda: reader.deploy(b"\0")):
            with pytest.raises(InvalidInput, match="needs a key"):
                attempt()

    def test_another_chain_is_refused(self, anvil: Any) -> None:
        with pytest.raises(InvalidInput, match=f"is chain {anvil.chain_id}, expected chain 1"):
            RpcChain(anvil.url, chain_id=1)

    def test_an_account_without_funds_is_told(self, anvil: Any) -> None:
        poor = RpcChain(anvil.url, AccountKey(SECRET, "test"))
        with pytest.raises(ToolError, match=r"(?i)insufficient funds"):
            poor.deploy(creation_code(vectors(0).vk))

    def test_a_refused_key_is_named(self, node: RpcChain) -> None:
        code = load_artifact("Groth16Verifier").creation_code
        with pytest.raises(VerificationError, match="InvalidKey"):
            node.deploy(code + words([32, 0]))

    def test_a_wrong_address_is_no_verifier(self, node: RpcChain) -> None:
        with pytest.raises(VerificationError, match="no zkai verifier"):
            read_vk_digest(node, "0x" + "12" * 20)


def _block_number(anvil: Any) -> int:
    return RpcChain(anvil.url)._quantity("eth_blockNumber", [])


@contextmanager
def server(answer: Callable[[str], bytes | int]) -> Iterator[str]:
    """A server that answers each JSON-RPC method with given bytes, or an HTTP status."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = answer(request["method"])
            self.send_response(body if isinstance(body, int) else 200)
            self.end_headers()
            if isinstance(body, bytes):
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler) as port:
        yield f"http://user:hunter2@127.0.0.1:{port}/v3/api-key-9f"


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """A local HTTP server's port."""
    with HTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield http.server_port
        finally:
            http.shutdown()
            thread.join()


def result(value: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": value}).encode()


def fault(**fields: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "error": fields}).encode()


BROKEN = {
    "not JSON": (b"<html>welcome</html>", "was not answered in JSON-RPC"),
    "another JSON": (b"[1]", "was not answered in JSON-RPC"),
    "neither result nor error": (b"{}", "was not answered in JSON-RPC"),
    "no error and no result": (b'{"error": null}', "was not answered in JSON-RPC"),
    "deep JSON": (b"[" * 100_000, "was not answered in JSON-RPC"),
    "empty": (b"", "was not answered in JSON-RPC"),
    "a number that is none": (result("12"), "is not a number"),
    "null": (result(None), "is not a number"),
    "a huge number": (result("0x" + "f" * 65), "is not a number"),
    "an error": (fault(code=-32000, message="go away"), "was refused: go away"),
    "an error with control characters": (fault(message="a\x1b[2Jb"), r"refused: a \[2Jb"),
    "an error that is text": (b'{"error": "no"}', "was refused: no"),
    "HTTP 401": (401, "HTTP 401"),
    "HTTP 500": (500, "HTTP 500"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_server_is_named_and_its_url_kept_secret(name: str) -> None:
    answer, message = BROKEN[name]
    with server(lambda _: answer) as url, pytest.raises(ToolError, match=message) as caught:
        RpcChain(url)
    assert "127.0.0.1" in str(caught.value)
    for secret in ("hunter2", "api-key"):
        assert secret not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    """urllib would take the URL's password along to wherever a redirect leads."""
    seen: list[str | None] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Elsewhere) as other:

        class Here(Elsewhere):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Location", f"http://127.0.0.1:{other}/")
                self.end_headers()

        with serving(Here) as port, pytest.raises(ToolError) as caught:
            RpcChain(f"http://user:hunter2@127.0.0.1:{port}/")
    assert f"eth_chainId was answered with a redirect (HTTP {status})" in str(caught.value)
    assert seen == []


def test_deep_answers_do_not_crash_under_a_high_recursion_limit() -> None:
    """py_ecc, for one, raises the limit when it is imported."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        with server(lambda _: b"[" * 100_000) as url, pytest.raises(ToolError, match="JSON-RPC"):
            RpcChain(url)
        assert sys.getrecursionlimit() == 100_000
    finally:
        sys.setrecursionlimit(limit)


def test_answers_are_capped() -> None:
    from zkai.chain import rpc

    with (
        server(lambda _: b" " * (rpc._MAX_ANSWER_BYTES + 1)) as url,
        pytest.raises(ToolError, match="more than"),
    ):
        RpcChain(url)


def test_a_node_that_lies_about_code_or_receipts() -> None:
    answers: dict[str, Any] = {
        "eth_chainId": "0x1",
        "eth_getCode": "0x1",
        "eth_call": "0x",
        "eth_estimateGas": "0x5208",
        "eth_getTransactionCount": "0x0",
        "eth_getBlockByNumber": {"baseFeePerGas": "0x1"},
        "eth_maxPriorityFeePerGas": "0x1",
        "eth_sendRawTransaction": "0x" + "11" * 32,
    }
    to = "0x" + "12" * 20
    with server(lambda method: result(answers[method])) as url:
        chain = RpcChain(url, AccountKey(SECRET, "test"), receipt_timeout_s=0.05)
        assert "hunter2" not in repr(chain)
        with pytest.raises(ToolError, match="did not return bytes"):
            chain.code(to)
        malformed = ({}, "0x", {"status": "0x1"}, {"logs": [{}], "status": "0x1", "gasUsed": "0x1"})
        for receipt in malformed:
            answers["eth_getTransactionReceipt"] = receipt
            with pytest.raises(ToolError, match="receipt"):
                chain.transact(to, b"")
        answers["eth_getTransactionReceipt"] = None
        with pytest.raises(ToolError, match="not mined within"):
            chain.transact(to, b"")
        answers["eth_estimateGas"] = hex(16_777_217)
        with pytest.raises(InvalidInput, match="EIP-7825"):
            chain.transact(to, b"")


def test_a_chain_without_the_fee_market_pays_a_gas_price() -> None:
    answers = {"eth_chainId": "0x1", "eth_getBlockByNumber": {}, "eth_gasPrice": "0x7"}
    with server(lambda method: result(answers[method])) as url:
        assert RpcChain(url)._fees() == {"gasPrice": 7}


def test_an_unreachable_node_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ToolError, match=f"http://127.0.0.1:{port} cannot be reached"):
        RpcChain(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    "url", ["", "file:///etc/passwd", "ftp://host", "127.0.0.1:8545", "http://"]
)
def test_only_http_urls_are_taken(url: str) -> None:
    with pytest.raises(InvalidInput, match="RPC URL"):
        RpcChain(url)


class TestAccountKey:
    """A private key is read from one place and shown nowhere."""

    def test_reads_a_file_and_a_variable(self, tmp_path: Path) -> None:
        file = tmp_path / "key"
        file.write_text(f"{SECRET[2:]}\n")
        file.chmod(0o600)
        address = AccountKey.from_file(file).address
        assert AccountKey.from_environment({"KEY": SECRET}, "KEY").address == address
        assert parse_address(address, "test") == address

    def test_shows_the_key_nowhere(self) -> None:
        key = AccountKey(SECRET, "test")
        assert "5a5a" not in f"{key} {key!r}"
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="not pickled or copied"):
                attempt(key)

    @pytest.mark.parametrize(
        "text", ["", "0x12", SECRET + "00", "5z" * 32, '{"crypto": {}}', "00" * 32, "ff" * 32]
    )
    def test_refuses_what_is_no_key(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "key"
        file.write_text(text)
        file.chmod(0o600)
        with pytest.raises(InvalidInput) as caught:
            AccountKey.from_file(file)
        assert str(file) in str(caught.value)
        assert not text or text not in str(caught.value)
        with pytest.raises(InvalidInput, match="variable KEY"):
            AccountKey.from_environment({"KEY": text}, "KEY")

    def test_refuses_a_file_that_others_read(self, tmp_path: Path) -> None:
        file = tmp_path / "key"
        file.write_text(SECRET)
        file.chmod(0o644)
        with pytest.raises(InvalidInput, match="chmod 600"):
            AccountKey.from_file(file)
        with pytest.raises(InvalidInput, match="cannot be read"):
            AccountKey.from_file(tmp_path / "missing")
        with pytest.raises(InvalidInput, match="KEY is not set"):
            AccountKey.from_environment({}, "KEY")


def test_addresses_are_checked() -> None:
    good = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # EIP-55's own example
    for text in (good, good.lower(), "0x" + good[2:].upper()):
        assert parse_address(text, "test") == good
    for text in (
        "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        good[2:],
        good + "0",
        5,
        "0x" + "g" * 40,
    ):
        with pytest.raises(InvalidInput, match="test: "):
            parse_address(text, "test")


def test_reverts_are_decoded() -> None:
    named = selector("Groth16Verifier__PublicInputOutOfRange(uint256)")
    text = selector("Error(string)") + words([32, 5]) + b"sorry".ljust(32, b"\0")
    long = selector("Error(string)") + words([32, 1 << 200]) + b"x" * 500
    assert decode_revert(named + words([3]), ABI) == "Groth16Verifier__PublicInputOutOfRange(3)"
    assert "unknown error" in decode_revert(named, ABI)
    assert "without data" in decode_revert(b"", ABI)
    assert decode_revert(text, ABI) == "Error('sorry')"
    assert len(decode_revert(long, ABI)) < 220
    assert decode_revert(selector("Panic(uint256)") + words([0x11]), ABI) == "Panic(0x11)"
    assert decode_revert(b"\x12" * 900, ABI) == "an unknown error 0x" + "12" * 68


def test_encoding_refuses_what_does_not_fit() -> None:
    for proof, publics in (([0] * 7, []), ([0] * 8, [-1]), ([1 << 256, *[0] * 7], [])):
        with pytest.raises(InvalidInput):
            verify_calldata(proof, publics)


def test_the_calldata_floor() -> None:
    assert calldata_floor_gas(b"") == 21_000
    assert calldata_floor_gas(b"\0\1") == 21_050
