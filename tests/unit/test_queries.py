"""Answers that strangers check: whole, nothing slipped in, as of a checkpoint that they accept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ledger_support import new_ledger, submissions
from tests.unit.queries_support import Forest, forest, take_their_word
from tests.unit.receipt_support import NOW, fork_receipts, signer, store
from zkai.encoding import hex32
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.answer import Answer, LedgerSource, Shown
from zkai.ledger.checkpoint import LogPolicy
from zkai.ledger.ledger import Submission
from zkai.ledger.lists import list_name
from zkai.ledger.note import cosign_note
from zkai.ledger.queries import KINDS, ask, verify_answer
from zkai.ledger.records import KEY_STATUS, sign_record
from zkai.receipt.envelope import sign_envelope
from zkai.receipt.jcs import encode
from zkai.receipt.statement import issue
from zkai.receipt.trust import rotate

NAMES = {
    "user": "7", "model": "1", "fork": "1", "lineage": "fork/3", "contributors": "fork/3",
    "tree": "1",
}  # fmt: skip


@pytest.fixture
def wood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forest]:
    take_their_word(monkeypatch)
    made = forest(tmp_path / "l.db")
    yield made
    made.ledger.close()


def check(wood: Forest, answer: Answer, **options: Any) -> Any:
    """The result, from the answer's own bytes."""
    read = Answer.from_json(answer.to_json())
    options = {"at": NOW, "trusted": wood.trust} | options
    return verify_answer(read, wood.ledger.policy, **options).result


def test_a_user_s_history_is_whole(wood: Forest) -> None:
    found = check(wood, ask(wood.ledger, "user", "7"))
    assert [(r["kind"], r["fork"]) for r in found["receipts"]] == [
        ("genesis", "1"), ("genesis", "2"), ("training_step", "1"), ("training_step", "1"),
    ]  # fmt: skip
    assert {fork: end["count"] for fork, end in found["forks"].items()} == {"1": 3, "2": 1}
    assert check(wood, ask(wood.ledger, "user", "5")) == {"forks": {}, "receipts": []}
    assert len(check(wood, ask(wood.ledger, "model", "2"))["receipts"]) == 1
    assert check(wood, ask(wood.ledger, "fork", "12"))["forks"] == {"12": None}
    with pytest.raises(InvalidInput, match="decimal"):
        ask(wood.ledger, "user", "0x7")
    with pytest.raises(InvalidInput, match="expected one of"):
        ask(wood.ledger, "people", "7")


def test_lineage_goes_through_forks_and_merges(wood: Forest) -> None:
    merged = wood.ledger.log.size - 2
    record = wood.ledger.store.entry(merged)
    assert record is not None
    answer = ask(wood.ledger, "tree", "all")
    (merge,) = check(wood, answer)["merges"]
    lineage = check(wood, ask(wood.ledger, "lineage", merge["id"]))
    kinds = [row["kind"] for row in lineage]
    assert kinds == ["merge", "training_step", "training_step", "genesis", "training_step",
                     "genesis"]  # fmt: skip
    assert lineage[0]["parents"] == [hex32(wood.heads[f][0].id) for f in (1, 3)]
    assert lineage[3]["fork"] == "3"
    assert lineage[3]["parents"] == [lineage[4]["id"]]
    people = check(wood, ask(wood.ledger, "contributors", merge["id"]))
    assert people["users"] == {"7": 3, "8": 2}
    assert people["signers"] == {signer().keyid: 6}
    assert check(wood, ask(wood.ledger, "contributors", "fork/2"))["users"] == {"7": 1}
    for name in ("fork/99", hex32(bytes(32))):
        with pytest.raises(InvalidInput, match=r"no fork 99|no receipt of this"):
            ask(wood.ledger, "lineage", name)


def test_the_tree_shows_forks_and_merges(wood: Forest) -> None:
    found = check(wood, ask(wood.ledger, "tree", "all"))
    assert [fork["fork"] for fork in found["forks"]] == ["1", "2", "4", "3"]
    (node,) = found["forks"][3]["nodes"]
    assert [p["fork"] for p in node["parents"]] == ["1"]
    assert (node["height"], node["constraints"][0]["text"]) == (2, "no faces")
    assert [p["fork"] for n in found["merges"][0]["nodes"] for p in n["parents"]] == ["1", "3"]
    one = check(wood, ask(wood.ledger, "tree", "1"))
    assert ([fork["fork"] for fork in one["forks"]], one["merges"]) == (["1", "2", "3"], [])
    assert one["forks"][2]["nodes"] == [node]


def drop_entry(at: int) -> Callable[[Forest, Answer], Answer]:
    return lambda _, a: replace(a, entries=tuple(e for e in a.entries if e != a.entries[at]))


def drop_name(start: str) -> Callable[[Forest, Answer], Answer]:
    def change(_: Forest, a: Answer) -> Answer:
        gone = min(n for n in a.names if n.startswith(start))
        return replace(a, names={n: v for n, v in a.names.items() if n != gone})

    return change


def slip(wood: Forest, answer: Answer) -> Answer:
    """An entry that is in the log, with its proof, but not of the answer."""
    there = {shown.index for shown in answer.entries}
    extra = next(i for i in range(1, wood.ledger.log.size) if i not in there)
    size = wood.ledger.log.size
    proof = tuple(wood.ledger.log.inclusion(extra, size))
    entry = wood.ledger.store.entry(extra) or b""
    return replace(answer, entries=(*answer.entries, Shown(extra, entry, proof)))


def swap(wood: Forest, answer: Answer) -> Answer:
    """The last entry exchanged for one of fork 4."""
    return replace(
        slip(wood, answer),
        entries=slip(wood, answer).entries[:-2] + slip(wood, answer).entries[-1:],
    )


def another_name(wood: Forest, answer: Answer) -> Answer:
    value, proof, _ = wood.ledger.log.prove_name("fork/4")
    return replace(answer, names={**answer.names, "fork/4": (value, proof)})


def recount(_: Forest, answer: Answer) -> Answer:
    name = next((n for n in answer.names if n.startswith("list/") and answer.names[n][0]), "")
    proof = answer.names[name][1]
    return replace(answer, names={**answer.names, name: (encode({"count": 1, "index": 1}), proof)})


def other_result(_: Forest, answer: Answer) -> Answer:
    return replace(answer, result={"users": {"7": 1}, "signers": {}})


def moved(_: Forest, answer: Answer) -> Answer:
    first = replace(answer.entries[0], index=answer.entries[0].index + 1)
    return replace(answer, entries=(first, *answer.entries[1:]))


def forged(_: Forest, answer: Answer) -> Answer:
    first = answer.entries[0]
    entry = bytearray(first.entry)
    entry[100] ^= 1
    return replace(answer, entries=(replace(first, entry=bytes(entry)), *answer.entries[1:]))


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (drop_entry(0), "missing|the map counts"),
        (drop_entry(-1), "missing|the map counts"),
        (drop_name("list/"), "what the map says of list/.* is missing"),
        (slip, "does not belong here|the map counts"),
        (swap, "missing|the map counts|does not belong"),
        (another_name, "does not belong|not what its evidence|is missing"),
        (recount, "does not show this value"),
        (other_result, "not what its evidence shows"),
        (moved, "there twice|leads to another root|no entry"),
        (forged, "leads to another root"),
    ],
)
def test_another_answer_is_refused(
    wood: Forest, kind: str, change: Callable[[Forest, Answer], Answer], reason: str
) -> None:
    answer = ask(wood.ledger, kind, NAMES[kind])
    check(wood, answer)
    with pytest.raises((VerificationError, InvalidInput), match=reason):
        check(wood, change(wood, answer))


def test_a_contributor_cannot_be_left_out(wood: Forest) -> None:
    """Neither by another result, nor by leaving out the node through which they contributed."""
    (merge,) = ask(wood.ledger, "tree", "all").result["merges"]
    whole = ask(wood.ledger, "contributors", merge["id"])
    less = dict(whole.result) | {"users": {"7": 3}}
    with pytest.raises(VerificationError, match="not what its evidence shows"):
        check(wood, replace(whole, result=less))
    alone = ask(wood.ledger, "contributors", "fork/1")
    merged = [s for s in whole.entries if s.index == wood.ledger.log.size - 2]
    names = {n: v for n, v in whole.names.items() if n in alone.names or merge["id"] in n}
    cut = replace(whole, entries=(*alone.entries, *merged), names=names, result=alone.result)
    with pytest.raises(VerificationError, match=f"0 entries of node {merge['id']}, but the map"):
        check(wood, cut)


def test_an_answer_is_as_of_its_checkpoint(wood: Forest) -> None:
    old, size = ask(wood.ledger, "user", "7"), wood.ledger.log.size
    wood.add("training_step", 1, 7)
    wood.ledger.checkpoint([signer("log")])
    now = ask(wood.ledger, "user", "7")
    assert len(check(wood, now)["receipts"]) == len(check(wood, old, least=size)["receipts"]) + 1
    assert ask(wood.ledger, "user", "7", size) == old
    with pytest.raises(VerificationError, match="stale"):
        check(wood, old, least=size + 1)
    for mixed in (replace(now, note=old.note), replace(old, note=now.note)):
        with pytest.raises(VerificationError):
            check(wood, mixed)
    with pytest.raises(VerificationError, match=r"missing|the map counts"):
        check(wood, replace(now, entries=now.entries[:-1], result=old.result))
    with pytest.raises(VerificationError, match="stale, or not cosigned"):
        check(wood, now, max_age=60)


def test_ages_are_the_witnesses_word(wood: Forest) -> None:
    answer = ask(wood.ledger, "user", "7")
    key = signer("witness")
    seen = replace(answer, note=cosign_note(answer.note, "w", key, NOW))
    policy = LogPolicy(wood.ledger.policy.origin, wood.ledger.policy.key, (("w", key.public),), 1)
    found = verify_answer(seen, policy, wood.trust, at=NOW + 50, max_age=60)
    assert (found.seen, found.checkpoint.size) == (NOW, wood.ledger.log.size)
    with pytest.raises(VerificationError, match="stale"):
        verify_answer(seen, policy, wood.trust, at=NOW + 70, max_age=60)
    with pytest.raises(VerificationError, match="0 of the policy's witnesses"):
        verify_answer(answer, policy, wood.trust, at=NOW)


def test_other_logs_and_signers_are_refused(wood: Forest) -> None:
    answer = ask(wood.ledger, "tree", "all")
    with pytest.raises(VerificationError, match="not signed by"):
        verify_answer(answer, LogPolicy(wood.ledger.policy.origin, signer("x").public), at=NOW)
    with pytest.raises(VerificationError, match="requires a signature"):
        verify_answer(answer, wood.ledger.policy, store(), at=NOW)
    assert verify_answer(answer, wood.ledger.policy, at=NOW).result == answer.result


def test_what_was_signed_before_a_rotation_stays(wood: Forest) -> None:
    """An earlier checkpoint shows that the old key's receipts were there before it ended."""
    new, key, late = signer("next"), signer("witness"), NOW + 10_000
    policy = LogPolicy(wood.ledger.policy.origin, wood.ledger.policy.key, (("w", key.public),), 1)

    def cosigned(at: int) -> None:
        note = wood.ledger.checkpoint([signer("log")])
        wood.ledger.add_cosignatures(cosign_note(note, "w", key, at), policy)

    cosigned(NOW)
    body = {
        "keyid": new.public.keyid, "status": "active", "at": NOW, "reason": "", "name": "next",
        "jwk": new.public.jwk, "follows": signer().public.keyid,
    }  # fmt: skip
    record = sign_record(KEY_STATUS, body, [signer()], NOW)
    wood.ledger.append(Submission(record.envelope.to_bytes()), NOW)
    cosigned(late)
    trusted = rotate(wood.trust, signer().public.keyid, new.public, "next", NOW)
    answer = Answer.from_json(ask(wood.ledger, "user", "7").to_json())
    assert len(answer.earlier) == 1
    verify_answer(answer, policy, trusted, at=late)
    with pytest.raises(VerificationError, match="expired when this was logged"):
        verify_answer(replace(answer, earlier=()), policy, trusted, at=late)
    note, _ = answer.earlier[0]
    with pytest.raises(VerificationError, match="consistency"):
        verify_answer(replace(answer, earlier=((note, ()),)), policy, trusted, at=late)
    unseen = replace(note, lines=note.lines[:1])
    path = answer.earlier[0][1]
    with pytest.raises(VerificationError, match="witnesses cosigned"):
        verify_answer(replace(answer, earlier=((unseen, path),)), policy, trusted, at=late)


def test_a_map_that_says_something_else_is_refused(wood: Forest) -> None:
    """An operator's wrong map: each of these is what the map now shows, with a good proof."""
    log = wood.ledger.log
    for name, value, kind, asked, reason in (
        (list_name("user", "7"), {"count": 3, "index": 7}, "user", "7", "but the map counts 3"),
        (list_name("user", "7"), {"count": 4, "index": 9}, "user", "7", "last entry .* another"),
        (list_name("user", "7"), {}, "user", "7", "but the map counts None"),
        ("fork/2", {"count": 2, "head": "x", "state": "1"}, "fork", "2", "missing, or one too"),
        ("fork/2", {"count": 1, "head": "x", "state": "1"}, "fork", "2", "not end at the fork"),
        ("fork/2", {}, "lineage", "fork/2", "head"),
    ):
        with wood.ledger.store.transaction():
            at = log.extend([f"{name}{value}".encode()], [{name: encode(value)}])
        wood.ledger.checkpoint([signer("log")])
        assert at == log.size - 1
        lying = everything(wood, kind, asked)
        with pytest.raises((VerificationError, InvalidInput), match=reason):
            check(wood, lying)


def everything(wood: Forest, kind: str, name: str) -> Answer:
    """Everything that a query could want, whatever the ledger itself thinks of it."""
    source = LedgerSource(wood.ledger)
    if kind == "lineage":
        source.value(name)
    else:
        for _, record in source.listed(kind, name):
            source.value(f"fork/{record.predicate['fork']}")
    return source.answer(kind, name, None)


def test_real_receipts(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "l.db")
    ledger.append_all(submissions(), NOW)
    with pytest.raises(InvalidInput, match="no such checkpoint"):
        ask(ledger, "fork", "11")
    ledger.checkpoint([signer("log")])
    user = fork_receipts()[0].predicate["user"]
    for kind, name in (("fork", "11"), ("user", user), ("lineage", hex32(fork_receipts()[-1].id))):
        path = tmp_path / f"{kind}.json"
        ask(ledger, kind, name).write(path)
        found = verify_answer(Answer.from_path(path), ledger.policy, store(), at=NOW)
        assert found.checkpoint.size == 4
    assert set(KINDS) > set(NAMES)
    ledger.close()


def test_answers_of_other_forms_are_refused(wood: Forest) -> None:
    good = ask(wood.ledger, "fork", "1").to_json()
    entry, name = good["entries"][0], good["names"][0]
    for changes in (
        {"format": "zkai.ledger-answer/2"}, {"more": 1}, {"query": {"kind": 1, "name": "1"}},
        {"query": {}}, {"checkpoint": 3}, {"checkpoint": "x"}, {"entries": {}}, {"names": {}},
        {"entries": [entry, entry]}, {"names": [name, name]}, {"earlier": [1]},
        {"entries": [{**entry, "index": -1}]}, {"entries": [{**entry, "index": True}]},
        {"entries": [{**entry, "entry": "e"}]}, {"entries": [{**entry, "proof": ["AA=="]}]},
        {"names": [{**name, "name": 1}]}, {"names": [{**name, "value": "x"}]},
    ):  # fmt: skip
        with pytest.raises((InvalidInput, VerificationError)):
            check_json(wood, {**good, **changes})
    check_json(wood, good)


def check_json(wood: Forest, value: Any) -> None:
    verify_answer(Answer.from_json(value), wood.ledger.policy, wood.trust, at=NOW)


def test_a_sum_that_names_a_model_or_user_is_in_its_history(wood: Forest) -> None:
    """A receipt of an opened sum moves no fork, so no fork's chain has to hold it."""
    statement = issue(
        None, [signer()], kind="aggregation", artifacts={"aggregate": bytes(32)}, signed=NOW
    ).statement
    named = json.loads(encode(statement))
    named["predicate"] |= {"model": "1", "user": "7"}
    added = sign_envelope(encode(named), [signer()]).to_bytes()
    index = wood.ledger.append(Submission(added), NOW)
    wood.ledger.checkpoint([signer("log")])
    for kind, name in (("model", "1"), ("user", "7")):
        found = check(wood, ask(wood.ledger, kind, name))
        assert None not in found["forks"]
        assert index in {row["entry"] for row in found["receipts"]}
