"""Contracts' events against a ledger: on the embedded EVM, and over JSON-RPC."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench._anvil import running_anvil
from tests.unit.queries_support import Forest, take_their_word
from tests.unit.receipt_support import signer
from zkai import cli
from zkai.chain.abi import words
from zkai.chain.account import AccountKey
from zkai.chain.anchor import Anchor
from zkai.chain.chain import Chain, Log
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.rpc import RpcChain
from zkai.chain.watch import Watch
from zkai.encoding import keccak256
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.checkpoint import Checkpoint
from zkai.ledger.note import Note

RECORDER = "0x" + "22" * 20


@pytest.fixture
def wood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forest]:
    """Fork 1 of user 7: a genesis, a step, a skip, a step; with checkpoints of 2 and 5 entries."""
    take_their_word(monkeypatch)
    made = Forest(tmp_path / "l.db")
    made.add("genesis", 1, 7)
    made.ledger.checkpoint([signer("log")])
    for kind in ("training_step", "skip_step", "training_step"):
        made.add(kind, 1, 7)
    made.ledger.checkpoint([signer("log")])
    yield made
    made.ledger.close()


def kept(wood: Forest, size: int) -> Checkpoint:
    found = wood.ledger.store.checkpoint(size)
    assert found is not None
    return Checkpoint.from_text(Note.from_bytes(found[2]).text)


def anchored(wood: Forest, chain: Chain, sizes: tuple[int, ...] = (2, 5)) -> tuple[Anchor, Any]:
    anchor = Anchor.deploy(chain, wood.ledger.policy.origin)
    logs: list[Log] = []
    for size in sizes:
        proof = wood.ledger.log.consistency(anchor.size, size)
        logs += anchor.anchor(kept(wood, size), proof).logs
    return anchor, logs


def test_anchored_checkpoints_are_the_ledger_s(wood: Forest) -> None:
    anchor, logs = anchored(wood, EmbeddedChain())
    watch = Watch(wood.ledger, anchor.address)
    for log in logs:
        watch.check(log)
    assert watch.checkpoints == 2
    elsewhere = replace(logs[0], address=RECORDER, data=bytes(64))
    watch.check(elsewhere)  # nobody watches that contract
    for changed, reason in (
        (replace(logs[0], data=bytes(32) + logs[0].data[32:]), "another history"),
        (replace(logs[0], data=logs[0].data[:32] + bytes(32)), "another map"),
        (replace(logs[0], topics=(logs[0].topics[0], words([9]))), "9 entries, and the ledger has"),
        (replace(logs[0], topics=(logs[0].topics[0], words([3]))), "another history"),
    ):
        with pytest.raises(VerificationError, match=reason):
            watch.check(changed)
    strict = Watch(wood.ledger, anchor.address, policy=replace(
        wood.ledger.policy, witnesses=(("w", signer("w").public),), quorum=1))  # fmt: skip
    with pytest.raises(VerificationError, match="witnesses cosigned"):
        strict.check(logs[0])


def test_addresses_count_in_any_spelling(wood: Forest) -> None:
    """Else an event that is wrong would pass as one of a contract that nobody watches."""
    anchor, logs = anchored(wood, EmbeddedChain())
    watch = Watch(wood.ledger, anchor.address.lower(), RECORDER.lower())
    watch.check(logs[0])
    assert watch.checkpoints == 1
    with pytest.raises(VerificationError, match="another history"):
        watch.check(replace(logs[1], data=bytes(64)))
    with pytest.raises(InvalidInput, match="recorder"):
        Watch(wood.ledger, recorder="0x22")


def test_events_of_another_form_are_refused(wood: Forest) -> None:
    anchor, logs = anchored(wood, EmbeddedChain())
    watch = Watch(wood.ledger, anchor.address, RECORDER)
    for log in (logs[0], *steps(wood)):
        for changed in (replace(log, topics=log.topics[:1]), replace(log, data=log.data[:-32])):
            with pytest.raises(VerificationError, match="not of the contract's form"):
                watch.check(changed)


def state(wood: Forest, index: int) -> int:
    from zkai.ledger.records import parse_entry

    receipt = parse_entry(wood.ledger.store.entry(index) or b"")
    return int(receipt.predicate["proof"]["public"]["new_state"])


def opened(wood: Forest, **changes: int) -> Log:
    said = {"fork": 1, "user": 7, "model": 1, "state": state(wood, 1)} | changes
    topic = keccak256(b"ForkOpened(uint256,uint256,uint256,uint256,address)")
    data = words([said["user"], said["model"], said["state"], 5])
    return Log(RECORDER, (topic, words([said["fork"]])), data)


def moved(kind: str, new: int, step: int, fork: int = 1) -> Log:
    name = {"training_step": "StepRecorded(uint256,uint256,uint256,address)",
            "skip_step": "StepSkipped(uint256,uint256,uint256,uint256,address)"}[kind]  # fmt: skip
    data = words([new, 5] if kind == "training_step" else [new, 1, 5])
    return Log(RECORDER, (keccak256(name.encode()), words([fork]), words([step])), data)


def steps(wood: Forest) -> list[Log]:
    return [
        opened(wood),
        moved("training_step", state(wood, 2), 1),
        moved("skip_step", state(wood, 3), 2),
        moved("training_step", state(wood, 4), 3),
    ]


def test_the_chain_s_steps_are_the_ledger_s(wood: Forest) -> None:
    watch = Watch(wood.ledger, recorder=RECORDER)
    for log in steps(wood):
        watch.check(log)
    assert (watch.steps, watch.forks) == (4, {"1": 4})


def test_other_steps_are_found(wood: Forest) -> None:
    """Each after the honest events before it."""
    honest = steps(wood)
    for before, log, reason in (
        (0, opened(wood, state=5), "a genesis to state"),
        (0, opened(wood, user=8), "no such genesis"),
        (0, opened(wood, model=2), "no such genesis"),
        (0, opened(wood, fork=2), "fork 2: the chain has a genesis"),
        (1, moved("training_step", 77, 1), "a training_step to state"),
        (1, moved("skip_step", state(wood, 2), 1), "no such skipped_step"),
        (2, moved("training_step", state(wood, 2), 2), "none that follows"),
        (4, moved("training_step", state(wood, 3), 4), "none that follows"),
        (1, moved("training_step", state(wood, 2), 1, fork=9), "fork 9"),
    ):
        watch = Watch(wood.ledger, recorder=RECORDER)
        for one in honest[:before]:
            watch.check(one)
        with pytest.raises(VerificationError, match=reason):
            watch.check(log)


@pytest.mark.node
@pytest.mark.usefixtures("node_modules")
def test_over_json_rpc(wood: Forest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once, again from where it ended, and until a checkpoint of another history is anchored."""

    def watch(options: str, status: int = 0) -> dict[str, Any]:
        assert cli.main([*f"chain watch {tmp_path}/l.db {options}".split(), "--json"]) == status
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer

    with running_anvil() as node:
        chain = RpcChain(node.url, AccountKey(node.secret, "anvil"))
        anchor, _ = anchored(wood, chain, (2,))
        memory = tmp_path / "memory.json"
        options = f"--rpc {node.url} --anchor {anchor.address} --memory {memory} --once"
        first = watch(options)
        assert (first["checkpoints"], first["first"]) == (1, 0)
        again = watch(options)
        assert (again["checkpoints"], again["first"]) == (0, first["next"])
        anchor.anchor(kept(wood, 5), wood.ledger.log.consistency(2, 5))
        assert watch(options)["checkpoints"] == 1
        assert watch(f"{options} --from-block 0 --confirmations 1")["checkpoints"] == 1

        log = wood.ledger.log
        wood.add("training_step", 1, 7)
        wrong = replace(kept(wood, 5), size=6, root=log.root(6), map_root=bytes(32))
        anchor.anchor(wrong, log.consistency(5, 6))
        for _ in range(2):
            found = watch(options, 1)["message"]
            assert "another map than the ledger's" in found
            assert "transaction 0x" in found
        value = json.loads(memory.read_text())
        memory.write_text(json.dumps(value | {"hash": "0x" + "00" * 32}))
        assert "was reorganised" in watch(options, 1)["message"]
        memory.write_text(json.dumps(value | {"chain_id": 5}))
        watch(options, 2)
        watch(f"--rpc {node.url} --once", 2)
        nobody = f"--rpc {node.url} --recorder {RECORDER} --once"
        assert "no contract" in watch(nobody, 1)["message"]
    watch(options, 3)
