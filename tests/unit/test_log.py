"""The log on both databases: tiles against plain trees, checkpoints, witnesses, crashes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.databases import Places
from tests.unit.receipt_support import signer
from tests.unit.test_receipt import flips
from zkai.encoding import sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.checkpoint import (
    Checkpoint,
    InclusionProof,
    LogPolicy,
    check_extends,
)
from zkai.ledger.log import TILE, Log
from zkai.ledger.merkle import (
    EMPTY_ROOT,
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
    range_hash,
    verify_consistency,
    verify_inclusion,
)
from zkai.ledger.note import Note, NoteKey, cosign_note, sign_note, verify_cosignature, verify_note
from zkai.ledger.statusmap import EMPTY
from zkai.ledger.store import Store
from zkai.ledger.witness import Witness
from zkai.receipt.signer import ED25519

ORIGIN = "example.org/training"
NOW = 1_790_000_000


def entries(low: int, high: int) -> list[bytes]:
    return [b"entry %d" % i for i in range(low, high)]


def log_key() -> tuple[LogPolicy, list]:  # type: ignore[type-arg]
    key = signer("log")
    return LogPolicy(ORIGIN, key.public), [key]


@pytest.fixture
def log(places: Places) -> Iterator[Log]:
    store = Store(places("ledger"), create=True)
    yield Log(store, ORIGIN)
    store.close()


def extend(log: Log, new: list[bytes], changes: list[dict[str, bytes]] | None = None) -> None:
    with log.store.transaction():
        log.extend(new, changes or ())


def plain(leaves: list[bytes], low: int, high: int) -> bytes:
    """A range's hash without tiles."""

    def node(height: int, index: int) -> bytes:
        level = leaves[index << height : (index + 1) << height]
        while len(level) > 1:
            level = [sha256(b"\1" + a + b) for a, b in zip(level[::2], level[1::2], strict=True)]
        return level[0]

    return range_hash(low, high, node)


def test_tiles_give_the_hashes_of_plain_trees(log: Log) -> None:
    """Batches that end before, at and after the ends of tiles, and two levels of them."""
    leaves: list[bytes] = []
    for step in (1, 1, 5, 249, 1, 255, 256, 300, 1, 65_000, 1000):
        new = entries(len(leaves), len(leaves) + step)
        extend(log, new)
        leaves += [leaf_hash(entry) for entry in new]
        size = len(leaves)
        assert log.size == size
        root = plain(leaves, 0, size)
        assert log.root(size) == root
        for index in {0, size // 3, size - 1, size // TILE * TILE - 1} & set(range(size)):
            proof = log.inclusion(index, size)
            assert proof == [plain(leaves, a, b) for a, b in inclusion_ranges(index, size)]
            verify_inclusion(index, size, leaves[index], proof, root)
        for first in {1, size // 2, size - step, size} & set(range(1, size + 1)):
            proof = log.consistency(first, size)
            assert proof == [plain(leaves, a, b) for a, b in consistency_ranges(first, size)]
            verify_consistency(first, size, plain(leaves, 0, first), root, proof)
    assert log.store.tile(1, 0) is not None


def test_entries_come_back_and_bad_ones_stay_out(log: Log) -> None:
    extend(log, [b"a", b"b"])
    assert list(log.store.entries(0, 5)) == [b"a", b"b"]
    for bad in (b"", bytes(1 << 16)):
        with pytest.raises(InvalidInput, match="1 to 65535"):
            extend(log, [b"c", bad])
    assert log.size == 2
    with pytest.raises(InvalidInput):
        log.root(3)
    with pytest.raises(InvalidInput):
        log.inclusion(0, 3)
    with pytest.raises(InvalidInput):
        log.consistency(1, 3)


def test_a_failed_transaction_leaves_nothing(log: Log) -> None:
    extend(log, entries(0, 250))
    root, map_root = log.root(250), log.map_root
    try:
        with log.store.transaction():
            log.extend(entries(250, 600), [{"x": b"1"}])
            assert log.store.tile(0, 0) is not None
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert (log.size, log.map_root) == (250, map_root)
    assert log.store.tile(0, 0) is None
    extend(log, entries(250, 300))
    assert log.root(250) == root


def test_a_checkpoint_is_signed_and_checked(log: Log) -> None:
    policy, keys = log_key()
    extend(log, entries(0, 10), [{"key/a": b"active"}])
    with log.store.transaction():
        note = log.sign_checkpoint(keys)
    checkpoint, seen = policy.verify(Note.from_bytes(note.to_bytes()))
    assert (checkpoint.size, seen) == (10, None)
    proof = log.prove_entry(3)
    again = InclusionProof.from_bytes(proof.to_bytes())
    assert again == proof
    assert again.verify(b"entry 3", policy) == (checkpoint, None)
    with pytest.raises(VerificationError, match="another root"):
        again.verify(b"entry 4", policy)
    value, shown, _ = log.prove_name("key/a")
    assert value == b"active"
    shown.verify(checkpoint.map_root, "key/a", b"active")
    extend(log, entries(10, 20), [{"key/a": b"revoked"}])
    assert log.prove_name("key/a")[0] == b"active"  # as of the checkpoint
    with log.store.transaction():
        log.sign_checkpoint(keys)
    assert log.prove_name("key/a")[0] == b"revoked"
    value, shown, old = log.prove_name("key/a", 10)
    assert (value, old) == (b"active", note)
    shown.verify(checkpoint.map_root, "key/a", b"active")
    with pytest.raises(InvalidInput, match="no such checkpoint"):
        log.prove_entry(0, 15)
    with pytest.raises(InvalidInput, match="no entry"):
        log.prove_entry(12, 10)


def test_every_byte_of_a_checkpoint_and_of_a_proof_counts(log: Log) -> None:
    """With a quorum of all witnesses, no flipped byte is accepted."""
    policy, keys = log_key()
    witnesses = [("w1.example", signer("w1")), ("w2.example", signer("w2", ED25519))]
    policy = replace(policy, witnesses=tuple((n, k.public) for n, k in witnesses), quorum=2)
    extend(log, entries(0, 11))
    with log.store.transaction():
        note = log.sign_checkpoint(keys)
    for name, key in witnesses:
        note = cosign_note(note, name, key, NOW)
    proof = replace(log.prove_entry(5), note=note).to_bytes()
    assert InclusionProof.from_bytes(proof).verify(b"entry 5", policy)[1] == NOW
    head = proof.index(b"\n\n") + 300
    for at in sorted({*range(head), *flips(proof, fields=False)}):
        changed = bytearray(proof)
        changed[at] ^= 1
        with pytest.raises((InvalidInput, VerificationError)):
            InclusionProof.from_bytes(bytes(changed)).verify(b"entry 5", policy)


def test_signed_notes_are_c2sp_s() -> None:
    """The example of the signed-note document, whose key its document of vectors names."""
    text = (
        "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\n"
        "ed è subito sera.\n"
    )
    line = (
        "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrM"
        "ouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
    )
    note = Note.from_bytes(f"{text}\n{line}".encode())
    assert note.text == text
    assert len(note.lines[0].signature) == 64
    assert note.to_bytes() == f"{text}\n{line}".encode()


def test_note_keys_separate_names_algorithms_and_roles() -> None:
    classic, quantum = signer("w", ED25519).public, signer("w").public
    ids = {
        NoteKey(name, key, cosigner).id
        for name in ("a", "b")
        for key in (classic, quantum)
        for cosigner in (False, True)
    }
    assert len(ids) == 8
    assert NoteKey("a", classic).id == sha256(b"a\n\x01" + classic.data)[:4]
    assert NoteKey("a", classic, True).id == sha256(b"a\n\x04" + classic.data)[:4]
    for name in ("", "a b", "a+b", "a\u2003b", "x" * 256, "a\u200b"):
        with pytest.raises(InvalidInput):
            NoteKey(name, classic)


def test_malformed_notes_are_refused() -> None:
    note = sign_note("a\n", [("log", signer("log"))]).to_bytes()
    for bad in (
        b"", b"a\n", note[:-1], note.replace("—".encode(), b"-"), note + b"x", b"\xff" + note,
        note.replace(b"a\n", b"a\r\n", 1), note + "— log AAAA\n".encode(), note + b"\n",
        note.replace(b" log ", b" log  "), note[:-1] + b"A\n", b"\x00" + note, bytes(1 << 19),
        b"a\n\n" + "— log AAAAAAA=\n".encode() * 33,
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            Note.from_bytes(bad)
    for text in ("", "a", "a\tb\n"):
        with pytest.raises(InvalidInput):
            sign_note(text, [("log", signer("log"))])
    key = NoteKey("log", signer("log").public)
    twice = Note.from_bytes(note)
    with pytest.raises(VerificationError, match="twice"):
        verify_note(replace(twice, lines=twice.lines * 2), key)
    with pytest.raises(VerificationError, match="not signed by"):
        verify_note(replace(twice, lines=()), key)


def test_a_cosignature_is_no_log_signature_and_the_other_way_round() -> None:
    key = signer("both")
    note = cosign_note(sign_note("a\n", [("x", key)]), "x", key, NOW)
    assert verify_cosignature(note, NoteKey("x", key.public, True)) == NOW
    log_line, witness_line = note.lines
    swapped = Note(
        note.text,
        (
            replace(log_line, signature=witness_line.signature[8:]),
            replace(witness_line, signature=witness_line.signature[:8] + log_line.signature),
        ),
    )
    with pytest.raises(VerificationError):
        verify_note(swapped, NoteKey("x", key.public))
    with pytest.raises(VerificationError):
        verify_cosignature(swapped, NoteKey("x", key.public, True))
    later = replace(
        witness_line, signature=(NOW + 1).to_bytes(8, "big") + witness_line.signature[8:]
    )
    with pytest.raises(VerificationError, match="does not verify"):
        verify_cosignature(Note(note.text, (later,)), NoteKey("x", key.public, True))
    short = replace(witness_line, signature=witness_line.signature[:8])
    with pytest.raises(VerificationError, match="malformed"):
        verify_cosignature(Note(note.text, (short,)), NoteKey("x", key.public, True))


@pytest.mark.parametrize(
    "text",
    [
        "o\n1\nAAAA\nzkai-map/1 " + "A" * 43 + "=\n",
        "o\n01\n" + "A" * 43 + "=\nzkai-map/1 " + "A" * 43 + "=\n",
        "o\n-1\n" + "A" * 43 + "=\nzkai-map/1 " + "A" * 43 + "=\n",
        "o\n1\n" + "A" * 43 + "=\n",
        "o\n1\n" + "A" * 43 + "=\nother " + "A" * 43 + "=\n",
        "o\n1\n" + "A" * 43 + "=\nzkai-map/1 " + "A" * 43 + "=\nmore\n",
        "\n1\n" + "A" * 43 + "=\nzkai-map/1 " + "A" * 43 + "=\n",
        "o\n1\n" + "A" * 42 + "B=\nzkai-map/1 " + "A" * 43 + "=\n",
    ],
)
def test_malformed_checkpoints_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Checkpoint.from_text(text)


def test_a_log_signs_one_history_only(log: Log, places: Places) -> None:
    """Rows changed behind its back: the next checkpoint is refused."""
    _, keys = log_key()
    extend(log, entries(0, 5))
    with log.store.transaction():
        first = log.sign_checkpoint(keys)
        assert log.sign_checkpoint(keys) == first
    extend(log, entries(5, 9))
    places.tamper("ledger", "UPDATE entry SET hash = zeroblob(32) WHERE idx = 2")
    with (
        pytest.raises(VerificationError, match="not those of the last checkpoint"),
        log.store.transaction(),
    ):
        log.sign_checkpoint(keys)
    places.tamper("ledger", "DELETE FROM entry WHERE idx > 1")
    with (
        pytest.raises(VerificationError, match="not those of the last checkpoint"),
        log.store.transaction(),
    ):
        log.sign_checkpoint(keys)


def test_a_witness_cosigns_only_what_extends(log: Log, places: Places, tmp_path: Path) -> None:
    policy, keys = log_key()
    watching = Witness("w.example", signer("w1"), tmp_path / "witness.json")
    notes = []
    for count in (3, 8):
        extend(log, entries(log.size, count))
        with log.store.transaction():
            notes.append(log.sign_checkpoint(keys))
    trusted = replace(policy, witnesses=(("w.example", signer("w1").public),), quorum=1)
    with pytest.raises(VerificationError, match="0 of the policy's witnesses"):
        trusted.verify(notes[0])
    seen = watching.cosign(notes[0], policy, [], NOW)
    assert trusted.verify(seen)[1] == NOW
    proof = log.consistency(3, 8)
    with pytest.raises(VerificationError):
        watching.cosign(notes[1], policy, [], NOW)
    assert trusted.verify(watching.cosign(notes[1], policy, proof, NOW + 5))[1] == NOW + 5
    with pytest.raises(VerificationError, match="shrank"):
        watching.cosign(notes[0], policy, [], NOW + 6)
    assert watching.last(ORIGIN).size == 8

    # the operator forks: other entries, the same key
    forked = Log(Store(places("fork"), create=True), ORIGIN)
    extend(forked, [b"other", *entries(1, 12)])
    with forked.store.transaction():
        note = forked.sign_checkpoint(keys)
    with pytest.raises(VerificationError, match="rewritten"):
        watching.cosign(note, policy, forked.consistency(8, 12), NOW + 7)
    forked.store.close()
    # another map for the same entries
    last = watching.last(ORIGIN)
    with pytest.raises(VerificationError, match="another map"):
        watching.cosign(replace(last, map_root=bytes(31) + b"\1").sign(keys), policy, [], NOW + 8)
    # a note that the log did not sign
    stranger = replace(last, size=9).sign([signer("stranger")])
    with pytest.raises(VerificationError, match="not signed"):
        watching.cosign(stranger, policy, log.consistency(8, 8), NOW)
    (tmp_path / "witness.json").write_text('{"format": "zkai.witness/1", "seen": [1]}')
    with pytest.raises(InvalidInput):
        watching.last(ORIGIN)


def test_clients_notice_rollback_and_forks() -> None:
    old = Checkpoint(ORIGIN, 5, bytes(32), EMPTY)
    check_extends(old, old, [])
    for new in (
        replace(old, size=4), replace(old, root=EMPTY_ROOT), replace(old, origin="other"),
        replace(old, map_root=EMPTY_ROOT),
    ):  # fmt: skip
        with pytest.raises(VerificationError):
            check_extends(old, new, [])


def test_the_quorum_counts_and_tells_when() -> None:
    policy, keys = log_key()
    names = [("w1", signer("w1")), ("w2", signer("w2", ED25519)), ("w3", signer("w3"))]
    note = Checkpoint(ORIGIN, 0, EMPTY_ROOT, EMPTY).sign(keys)
    for (name, key), at in zip(names, (NOW + 9, NOW, NOW + 5), strict=True):
        note = cosign_note(note, name, key, at)
    known = tuple((name, key.public) for name, key in names)
    for quorum, when in ((0, None), (1, NOW), (2, NOW + 5), (3, NOW + 9)):
        assert replace(policy, witnesses=known, quorum=quorum).verify(note)[1] == when
    for lines in itertools.combinations(note.lines[1:], 2):
        fewer = Note(note.text, (note.lines[0], *lines))
        with pytest.raises(VerificationError, match="2 of the policy's witnesses"):
            replace(policy, witnesses=known, quorum=3).verify(fewer)
    forged = replace(note.lines[1], signature=note.lines[1].signature[:-1] + b"\0")
    with pytest.raises(VerificationError):  # a known witness's forged line is never ignored
        replace(policy, witnesses=known, quorum=1).verify(
            Note(note.text, (note.lines[0], forged, *note.lines[2:]))
        )
    with pytest.raises(VerificationError, match="not signed"):
        replace(policy, origin="other").verify(note)


def test_policies_are_strict(tmp_path: Path) -> None:
    policy, _ = log_key()
    policy = replace(policy, witnesses=(("w1", signer("w1").public),), quorum=1)
    policy.write(tmp_path / "policy.json")
    assert LogPolicy.from_path(tmp_path / "policy.json") == policy
    good = policy.to_json()
    for changes in (
        {"format": "x"}, {"quorum": 2}, {"quorum": True}, {"quorum": -1}, {"origin": "a b"},
        {"key": signer("w", ED25519).public.jwk}, {"witnesses": good["witnesses"] * 2},
        {"witnesses": [{"name": "w", "key": policy.key.jwk}]}, {"witnesses": 1}, {"more": 1},
        {"witnesses": [{"name": ["w"], "key": policy.witnesses[0][1].jwk}]},
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            LogPolicy.from_json({**good, **changes})
