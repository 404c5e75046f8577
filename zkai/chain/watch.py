"""Follows contracts' events and holds each against a ledger: two histories do not stay hidden.

An Anchor's checkpoints must be of the ledger's own entries and map. A ForkRecorder's forks must
begin and go on as the ledger's receipts say: each state that the contract takes is the new state of
a later receipt of the same kind in that fork. The ledger may be ahead of the chain, never behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from zkai.chain.abi import from_words, parse_address
from zkai.chain.chain import Log
from zkai.chain.rpc import Event, RpcChain
from zkai.encoding import hex32, keccak256
from zkai.errors import VerificationError
from zkai.ledger.checkpoint import Checkpoint, LogPolicy
from zkai.ledger.ledger import Ledger
from zkai.ledger.note import Note
from zkai.ledger.records import CHAIN_KINDS
from zkai.receipt.statement import Receipt

_ANCHORED = keccak256(b"Anchored(uint256,bytes32,bytes32)")
_FORK_EVENTS = {
    keccak256(b"ForkOpened(uint256,uint256,uint256,uint256,address)"): "genesis",
    keccak256(b"StepRecorded(uint256,uint256,uint256,address)"): "training_step",
    keccak256(b"StepSkipped(uint256,uint256,uint256,uint256,address)"): "skipped_step",
}
_FORMS = {"genesis": (2, 4), "training_step": (3, 2), "skipped_step": (3, 3)}
"""How many topics and words of data an event has."""
BLOCKS = 2000
"""How many blocks one question to a node covers."""


@dataclass
class Watch:
    """What is watched, against which ledger; `forks` are the last entries that events matched.

    Raises InvalidInput for an address that is none.
    """

    ledger: Ledger
    anchor: str | None = None
    recorder: str | None = None
    policy: LogPolicy | None = None
    forks: dict[str, int] = field(default_factory=dict)
    checkpoints: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        if self.anchor is not None:
            self.anchor = parse_address(self.anchor, "anchor")
        if self.recorder is not None:
            self.recorder = parse_address(self.recorder, "recorder")

    @property
    def addresses(self) -> list[str]:
        """The contracts that are watched."""
        return [address for address in (self.anchor, self.recorder) if address is not None]

    def check(self, log: Log) -> None:
        """Return None if the ledger says what an event of a watched contract says.

        Raises VerificationError if it says something else, or nothing yet, or if the event has not
        the form that those of the contract have.
        """
        if log.address == self.anchor and log.topics[:1] == (_ANCHORED,):
            self._check_anchored(log)
            self.checkpoints += 1
        elif log.address == self.recorder and log.topics and log.topics[0] in _FORK_EVENTS:
            self._check_fork(log, _FORK_EVENTS[log.topics[0]])
            self.steps += 1

    def _check_anchored(self, log: Log) -> None:
        _check_form(log, 2, 2)
        size, root, map_root = int.from_bytes(log.topics[1], "big"), log.data[:32], log.data[32:64]
        if size > self.ledger.log.size:
            raise VerificationError(
                f"anchored: {size} entries, and the ledger has {self.ledger.log.size}"
            )
        if self.ledger.log.root(size) != root:
            raise VerificationError(
                f"anchored: {size} entries of root {hex32(root)}: another history than the ledger's"
            )
        kept = self.ledger.store.checkpoint(size)
        note = None if kept is None else Note.from_bytes(kept[2])
        if note is None or Checkpoint.from_text(note.text).map_root != map_root:
            raise VerificationError(f"anchored: {size} entries with another map than the ledger's")
        if self.policy is not None:
            self.policy.verify(note)

    def _check_fork(self, log: Log, kind: str) -> None:
        _check_form(log, *_FORMS[kind])
        fork = str(int.from_bytes(log.topics[1], "big"))
        values = from_words(log.data)
        state = values[2] if kind == "genesis" else values[0]
        after = self.forks.get(fork, -1)
        for index, receipt in self._chain(fork):
            public = receipt.predicate["proof"]["public"]
            if index > after and public["new_state"] == str(state):
                break
        else:
            raise VerificationError(
                f"fork {fork}: the chain has a {kind} to state {hex32(state)}, and the ledger none"
                " that follows"
            )
        said = receipt.predicate
        if said["kind"] != kind or (
            kind == "genesis" and [said["user"], said["model"]] != [str(v) for v in values[:2]]
        ):
            raise VerificationError(f"fork {fork}: entry {index} is no such {kind}")
        self.forks[fork] = index

    def _chain(self, fork: str) -> Iterator[tuple[int, Receipt]]:
        for index, record in self.ledger.history("fork", fork):
            if isinstance(record, Receipt) and record.predicate["kind"] in CHAIN_KINDS:
                yield index, record


def _check_form(log: Log, topics: int, words: int) -> None:
    if (len(log.topics), len(log.data)) != (topics, 32 * words):
        raise VerificationError(f"an event at {log.address} is not of the contract's form")


def follow(watch: Watch, chain: RpcChain, first: int, last: int) -> Iterator[int]:
    """Check the events of blocks `first` to `last`; yield each block below which all is checked.

    Raises VerificationError, naming block and transaction, for the first that does not hold.
    """
    for low in range(first, last + 1, BLOCKS):
        high = min(low + BLOCKS - 1, last)
        for event in chain.events(watch.addresses, low, high):
            _check(watch, event)
        yield high + 1


def _check(watch: Watch, event: Event) -> None:
    try:
        watch.check(event.log)
    except VerificationError as error:
        where = f"block {event.block}, transaction {event.transaction}"
        raise VerificationError(f"{where}: {error}") from error
