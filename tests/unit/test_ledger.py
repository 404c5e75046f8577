"""What may enter a ledger, what it proves, and that a stranger can replay it from files."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.databases import Places
from tests.unit.ledger_support import ORIGIN, new_ledger, submissions
from tests.unit.receipt_support import (
    HEAD,
    NOW,
    PLACE,
    fork_proofs,
    fork_receipts,
    signer,
    signers,
    store,
    verifying_keys,
)
from zkai.encoding import hex32, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.export import export, read_entries, tile_name, verify_export
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.log import TILE
from zkai.ledger.note import cosign_note
from zkai.ledger.records import (
    BLOCK,
    KEY_STATUS,
    LEDGER,
    NODE,
    TYPES,
    Record,
    parse_entry,
    sign_record,
)
from zkai.proof.keys import Proof
from zkai.receipt import schema
from zkai.receipt.envelope import sign_envelope
from zkai.receipt.jcs import encode
from zkai.receipt.signer import ED25519
from zkai.receipt.statement import Facts, Place, Receipt, issue


@pytest.fixture
def ledger(places: Places) -> Iterator[Ledger]:
    made = new_ledger(places("ledger"))
    yield made
    made.close()


def submit(receipt: Receipt, proof: Proof | None = None) -> Submission:
    return Submission(receipt.to_bytes(), None if proof is None else proof.file_bytes())


def receipt(number: int, parent: bytes | None, **options: Any) -> Receipt:
    """A receipt of the fork's proof, under another parent than it should have."""
    facts = Facts(parent=parent)
    options = {"place": PLACE, "facts": facts, "signed": NOW, **options}
    return issue(fork_proofs()[number], signers(), **options)


def refused(ledger: Ledger, submission: Submission, reason: str, at: int = NOW) -> None:
    """The entry stays out, and nothing of it is left."""
    before = (ledger.log.size, ledger.log.map_root)
    with pytest.raises((VerificationError, InvalidInput), match=reason):
        ledger.append(submission, at)
    assert (ledger.log.size, ledger.log.map_root) == before


def filled(ledger: Ledger) -> Ledger:
    """The ledger with the whole fork."""
    assert ledger.append_all(submissions(), NOW) == [1, 2, 3]
    return ledger


def test_a_fork_is_logged_and_proven(ledger: Ledger) -> None:
    filled(ledger)
    note = ledger.checkpoint([signer("log"), signer("classic", ED25519)])
    checkpoint, _ = ledger.policy.verify(note)
    assert checkpoint.size == 4
    for index, submission in enumerate(submissions(), 1):
        ledger.log.prove_entry(index).verify(submission.entry, ledger.policy)
    value, proof, _ = ledger.log.prove_name("fork/11")
    proof.verify(checkpoint.map_root, "fork/11", value)
    head = json.loads(value or b"")
    assert head["head"] == hex32(fork_receipts()[-1].id)
    assert (head["count"], head["index"], head["step"]) == (3, 3, 1)
    absent, proof, _ = ledger.log.prove_name("fork/12")
    assert absent is None
    proof.verify(checkpoint.map_root, "fork/12", None)
    value, proof, _ = ledger.log.prove_name(f"key/{signer().keyid}")
    assert json.loads(value or b"")["status"] == "active"
    assert [index for index, _ in ledger.history("fork", "11")] == [1, 2, 3]
    user = fork_receipts()[0].predicate["user"]
    assert [index for index, _ in ledger.history("user", user)] == [1, 2, 3]


def test_appending_again_changes_nothing(ledger: Ledger) -> None:
    filled(ledger)
    root = ledger.log.root(4)
    assert ledger.append_all(submissions(), NOW + 5) == [1, 2, 3]
    # the same statement, signed anew: the same payload, other signatures
    again = sign_envelope(fork_receipts()[1].envelope.payload, signers())
    assert ledger.append(Submission(again.to_bytes(), None), NOW) == 2
    assert (ledger.log.size, ledger.log.root(4)) == (4, root)


def test_all_or_none_of_a_batch_enters(ledger: Ledger) -> None:
    good = submissions()
    with pytest.raises(VerificationError, match="parent"):
        ledger.append_all([good[0], good[2]], NOW)
    assert ledger.log.size == 1
    assert ledger.store.head("11") is None
    filled(ledger)


def test_a_receipt_that_does_not_follow_is_refused(ledger: Ledger) -> None:
    genesis, step, last = submissions()
    refused(ledger, step, "parent is not in the log")
    ledger.append(genesis, NOW)
    refused(ledger, last, "parent is not in the log")
    refused(ledger, submit(receipt(1, None), fork_proofs()[1]), "not the fork's head")
    refused(ledger, submit(receipt(2, fork_receipts()[0].id), fork_proofs()[2]), "old_state")
    refused(ledger, submit(receipt(0, fork_receipts()[0].id), fork_proofs()[0]), "already")
    ledger.append(step, NOW)
    refused(ledger, submit(receipt(1, fork_receipts()[0].id), fork_proofs()[1]), "already")
    refused(ledger, submit(receipt(2, fork_receipts()[0].id), fork_proofs()[2]), "fork's head")
    ledger.append(last, NOW)


def test_the_same_statement_under_other_bytes_is_refused(ledger: Ledger) -> None:
    """A proof can be randomised anew; a receipt can say other things; the statement stays."""
    filled(ledger)
    shifted = replace(fork_proofs()[1], a=(fork_proofs()[1].a[0], 5))  # type: ignore[index]
    assert shifted.file_bytes() != fork_proofs()[1].file_bytes()
    refused(
        ledger, submit(receipt(1, fork_receipts()[2].id), fork_proofs()[1]), "is entry 2 already"
    )


def test_bad_signatures_proofs_and_places_are_refused(ledger: Ledger) -> None:
    genesis = submissions()[0]
    proof = fork_proofs()[0]
    refused(ledger, Submission(genesis.entry), "proof is missing")
    refused(ledger, Submission(genesis.entry, submissions()[1].proof), "different proof")
    refused(ledger, Submission(genesis.entry[:-1], genesis.proof), "JSON")
    refused(ledger, genesis, "later than it was seen", at=NOW - 1000)
    stranger = issue(proof, [signer("stranger")], place=PLACE, signed=NOW)
    refused(ledger, submit(stranger, proof), "requires a signature")
    broken = replace(proof, c=proof.a)
    lying = issue(broken, signers(), place=PLACE, signed=NOW)
    refused(ledger, submit(lying, broken), "does not|not hold|verify")
    other = Place(PLACE.chain_id, PLACE.ledger, bytes(32))
    with pytest.raises(InvalidInput, match="another destination"):
        issue(proof, signers(), place=other, signed=NOW)


def test_a_proof_for_another_ledger_or_key_is_refused(places: Places) -> None:
    fork_proofs()
    keys = list(verifying_keys().values())
    options = {"operator": signer("log"), "trust": store(), "at": NOW}
    elsewhere = Ledger.create(
        places("a"), ORIGIN, verifying_keys=keys, place=(8, PLACE.ledger), **options
    )
    refused(elsewhere, submissions()[0], "another chain or ledger")
    elsewhere.close()
    keyless = Ledger.create(places("b"), ORIGIN, verifying_keys=keys[1:], **options)
    refused(keyless, submissions()[0], "not one of this ledger's")
    keyless.close()


def test_chains_need_proofs_and_others_need_a_parent_that_exists(ledger: Ledger) -> None:
    filled(ledger)
    for kind in ("genesis", "training_step", "aggregation", "skipped_step"):
        bare = issue(None, signers(), kind=kind, artifacts={"x": bytes(32)}, signed=NOW)
        refused(ledger, submit(bare), "names its proof")
    merge = issue(
        None, signers(), kind="merge", artifacts={"model": bytes(32)}, signed=NOW,
        facts=Facts(parent=fork_receipts()[2].id),
    )  # fmt: skip
    assert ledger.append(submit(merge), NOW) == 4
    orphan = issue(
        None, signers(), kind="merge", artifacts={"model": bytes(32)}, signed=NOW,
        facts=Facts(parent=bytes(32)),
    )  # fmt: skip
    refused(ledger, submit(orphan), "parent is not in the log")
    refused(ledger, Submission(merge.to_bytes() + b" "), "JSON")


# --------------------------------------------------------------------------- keys


def key_status(status: str, keyid: str, keys: list[Any], **changes: Any) -> Submission:
    body = {
        "keyid": keyid, "status": status, "at": NOW + 10, "reason": "test", "name": "next",
        "jwk": None, "follows": None, **changes,
    }  # fmt: skip
    return Submission(sign_record(KEY_STATUS, body, keys, NOW + 10).envelope.to_bytes())


@pytest.mark.parametrize("by", ["log", "issuer"])
def test_a_logged_revocation_ends_a_key(ledger: Ledger, by: str) -> None:
    """Nothing of the key enters after it, whatever time a receipt claims."""
    genesis, step, _ = submissions()
    ledger.append(genesis, NOW)
    ledger.append(key_status("revoked", signer().keyid, [signer(by)]), NOW + 10)
    refused(ledger, step, "the revocation of issuer is in the log", at=NOW + 10)
    refused(ledger, step, "the revocation of issuer is in the log", at=NOW)
    ledger.checkpoint([signer("log")])
    value, proof, note = ledger.log.prove_name(f"key/{signer().keyid}")
    assert json.loads(value or b"")["status"] == "revoked"
    proof.verify(ledger.policy.verify(note)[0].map_root, f"key/{signer().keyid}", value)


def test_a_revoked_key_names_no_successor(ledger: Ledger) -> None:
    """Not even before the moment from which its revocation counts."""
    new = signer("successor")
    revoked = key_status("revoked", signer().keyid, [signer("log")], at=NOW + 10_000)
    ledger.append(revoked, NOW + 10)
    follow = {"jwk": new.public.jwk, "follows": signer().keyid}
    refused(ledger, key_status("active", new.keyid, [signer()], **follow),
            "the revocation of issuer is in the log", at=NOW + 10)  # fmt: skip
    ledger.append(key_status("active", new.keyid, [signer("log")], **follow), NOW + 10)


def test_a_revoked_operator_says_nothing_more(places: Places) -> None:
    """Where the operator's key is one of those that the trust store knows."""
    place = (PLACE.chain_id, PLACE.ledger)
    keys = list(verifying_keys().values())
    ledger = Ledger.create(places("own"), ORIGIN, signer(), store(), keys, place=place, at=NOW)
    ledger.append(key_status("revoked", signer().keyid, [signer()]), NOW + 10)
    classic = key_status("revoked", signer("classic", ED25519).keyid, [signer()])
    refused(ledger, classic, "the revocation of issuer is in the log", at=NOW + 10)
    with pytest.raises(VerificationError, match="the revocation of issuer is in the log"):
        ledger.seal_block(signer(), NOW)
    ledger.close()


def test_strangers_say_nothing_about_keys(ledger: Ledger) -> None:
    for keys in ([signer("stranger")], [signer("classic", ED25519)]):
        refused(
            ledger, key_status("revoked", signer().keyid, keys),
            "requires a signature of the operator", at=NOW + 10,
        )  # fmt: skip
    refused(ledger, key_status("revoked", "A" * 43, [signer("log")]), "holds no key", at=NOW + 10)


def test_a_key_is_followed_by_another(ledger: Ledger) -> None:
    genesis, _, _ = submissions()
    ledger.append(genesis, NOW)
    new = signer("successor")
    public = {"jwk": new.public.jwk, "follows": signer().keyid}
    refused(ledger, key_status("active", new.keyid, [signer("stranger")], **public), "operator",
            at=NOW + 10)  # fmt: skip
    refused(ledger, key_status("active", new.keyid, [signer("log")]), "follows another",
            at=NOW + 10)  # fmt: skip
    refused(ledger, key_status("active", "A" * 43, [signer("log")], **public), "not that of",
            at=NOW + 10)  # fmt: skip
    ledger.append(key_status("active", new.keyid, [signer()], **public), NOW + 10)
    with_new = issue(
        fork_proofs()[1], [new, signer("classic", ED25519)], place=PLACE, signed=NOW + 20,
        facts=Facts(parent=fork_receipts()[0].id),
    )  # fmt: skip
    ledger.append(submit(with_new, fork_proofs()[1]), NOW + 20)
    refused(ledger, submissions()[2], "not in the log|expired", at=NOW + 10_000)


# ------------------------------------------------------------------ blocks, nodes


def test_blocks_chain_over_everything(ledger: Ledger) -> None:
    genesis, step, last = submissions()
    ledger.append_all([genesis, step], NOW)
    first = ledger.seal_block(signer("log"), NOW, bytes(32))
    ledger.append(last, NOW)
    second = ledger.seal_block(signer("log"), NOW)
    records = [parse_entry(ledger.store.entry(i) or b"") for i in (first, second)]
    said = [record.predicate for record in records if isinstance(record, Record)]
    assert [(b["number"], b["first"], b["end"], b["users"]) for b in said] == [
        (0, 0, 3, 1), (1, 4, 5, 1),
    ]  # fmt: skip
    assert said[0]["previous"] is None
    assert said[1]["previous"] == hex32(records[0].id)
    assert said[0]["operations_root"] == hex32(ledger.log.root(3))
    with pytest.raises(VerificationError, match="nothing was logged"):
        ledger.seal_block(signer("log"), NOW)
    ledger.append(key_status("revoked", signer().keyid, [signer("log")]), NOW + 10)
    with pytest.raises(VerificationError, match="requires a signature of the operator"):
        ledger.seal_block(signer("stranger"), NOW)
    for name, value in (
        ("operations_root", "0x" + "00" * 32), ("users_root", "0x" + "00" * 32), ("users", 2),
        ("number", 7), ("first", 0), ("end", 4), ("previous", None),
    ):  # fmt: skip
        honest = ledger.admission.block_body(ledger.log.size, None)
        forged = sign_record(BLOCK, {**honest, name: value}, [signer("log")], NOW)
        refused(ledger, Submission(forged.envelope.to_bytes()), f"the block's {name}")


def node(keys: list[Any], **changes: Any) -> Submission:
    body = {
        "receipt": hex32(fork_receipts()[2].id), "parents": [hex32(fork_receipts()[0].id)],
        "height": 3, "generation": 1,
        "fitness": [{"metric": "accuracy", "value": "0.9", "receipt": None}],
        "priors": [{"name": "p", "digest": "0x" + "00" * 32}],
        "constraints": [{"name": "safety", "text": "no more than 10 steps"}], **changes,
    }  # fmt: skip
    return Submission(sign_record(NODE, body, keys, NOW).envelope.to_bytes())


def test_nodes_are_bound_to_logged_receipts(ledger: Ledger) -> None:
    refused(ledger, node([signer("log")]), "bound to receipts")
    filled(ledger)
    refused(ledger, node([signer()]), "operator")
    refused(ledger, node([signer("log")], parents=["0x" + "00" * 32]), "bound to receipts")
    own = hex32(fork_receipts()[2].id)
    refused(ledger, node([signer("log")], parents=[own]), "own parent")
    index = ledger.append(node([signer("log")]), NOW)
    assert [i for i, _ in ledger.history("node", own)] == [index]


def test_records_that_are_no_receipts_are_nobody_s_parents(ledger: Ledger) -> None:
    """Else lineages and trees through them could never be shown again."""
    filled(ledger)
    rules = hex32(parse_entry(ledger.store.entry(0) or b"").id)
    fitness = [{"metric": "accuracy", "value": "0.9", "receipt": rules}]
    for changes in ({"receipt": rules}, {"parents": [rules]}, {"fitness": fitness}):
        refused(ledger, node([signer("log")], **changes), "bound to receipts")
    child = issue(
        None, signers(), kind="merge", artifacts={"model": bytes(32)}, signed=NOW,
        facts=Facts(parent=bytes.fromhex(rules[2:])),
    )  # fmt: skip
    refused(ledger, submit(child), "parent is not in the log")


def test_only_entry_0_states_the_rules(ledger: Ledger) -> None:
    first = parse_entry(ledger.store.entry(0) or b"")
    assert isinstance(first, Record)
    body = {k: v for k, v in first.predicate.items() if k not in ("signed", "signers")}
    again = sign_record(LEDGER, body, [signer("log")], NOW + 1)
    refused(ledger, Submission(again.envelope.to_bytes()), "entry 0, and no other")
    refused(ledger, Submission(again.envelope.to_bytes(), b"{}"), "only receipts")


def test_records_are_strict(ledger: Ledger) -> None:
    good = json.loads(ledger.store.entry(0) or b"")
    import base64

    payload = json.loads(base64.b64decode(good["payload"]))

    def unusable(**changes: Any) -> None:
        data = sign_envelope(encode({**payload, **changes}), [signer("log")]).to_bytes()
        with pytest.raises(InvalidInput):
            parse_entry(data)

    unusable(predicateType="urn:zkai:ledger/v2")
    unusable(predicateType=["urn:zkai:ledger/v1"])
    unusable(predicate={**payload["predicate"], "more": 1})
    unusable(predicate={**payload["predicate"], "origin": "other"})  # another body's digest
    unusable(subject=[])
    unusable(_type="x")
    with pytest.raises(InvalidInput):
        parse_entry(b"{}")


def test_an_independent_validator_agrees_on_records(ledger: Ledger) -> None:
    filled(ledger)
    ledger.seal_block(signer("log"), NOW)
    document = schema.load("records.schema.json")
    jsonschema.Draft202012Validator.check_schema(document)
    validator = jsonschema.Draft202012Validator(document)
    samples = [
        ledger.store.entry(0), ledger.store.entry(4), node([signer("log")]).entry,
        key_status("revoked", signer().keyid, [signer()]).entry,
    ]  # fmt: skip
    for data in samples:
        record = parse_entry(data or b"")
        value = json.loads(record.envelope.payload)
        assert validator.is_valid(value)
        for name in [*value["predicate"], "more"]:
            for junk in (None, -1, "x", [], {}):
                mutant = copy.deepcopy(value)
                mutant["predicate"][name] = junk
                try:
                    kind = TYPES[value["predicateType"]]
                    schema.check(mutant, document, "x", definition=f"{kind}_statement")
                    ours = True
                except InvalidInput:
                    ours = False
                assert validator.is_valid(mutant) == ours


# ------------------------------------------------------------------------ exports


def test_witnesses_at_the_same_time_lose_no_cosignature(ledger: Ledger) -> None:
    """Each cosigns the note as it was before the other; forged lines do not come along."""
    filled(ledger)
    note = ledger.checkpoint([signer("log")])
    policies = [replace(ledger.policy, witnesses=((n, signer(n).public),), quorum=1)
                for n in ("w1", "w2")]  # fmt: skip
    other = cosign_note(note, "w2", signer("w2"), NOW)
    forged = replace(other.lines[-1], signature=bytes(len(other.lines[-1].signature)))
    first = cosign_note(note, "w1", signer("w1"), NOW)
    ledger.add_cosignatures(replace(first, lines=(*first.lines, forged)), policies[0])
    ledger.add_cosignatures(other, policies[1])
    both = replace(policies[0], witnesses=tuple(p.witnesses[0] for p in policies), quorum=2)
    kept = ledger.checkpoint([signer("log")])
    assert both.verify(kept)[1] == NOW
    assert len(kept.lines) == 3


def test_a_stranger_replays_an_export(ledger: Ledger, tmp_path: Path) -> None:
    filled(ledger)
    ledger.seal_block(signer("log"), NOW)
    ledger.append(key_status("revoked", signer().keyid, [signer()]), NOW + 10)
    folder = tmp_path / "export"
    folder.mkdir()
    with pytest.raises(InvalidInput, match="no checkpoint"):
        export(ledger, folder)
    note = ledger.checkpoint([signer("log")])
    seen = cosign_note(note, "w", signer("w1"), NOW)
    policy = replace(ledger.policy, witnesses=(("w", signer("w1").public),), quorum=1)
    with pytest.raises(VerificationError, match="must"):
        ledger.add_cosignatures(note, policy)
    ledger.add_cosignatures(seen, policy)
    assert ledger.checkpoint([signer("log")]) == seen
    assert export(ledger, folder).size == 6
    assert verify_export(folder, policy).size == 6
    assert len(list(read_entries(folder, 6))) == 6
    tile = (folder / "tile/0/000.p/6").read_bytes()
    assert len(tile) == 6 * 32
    assert len(list((folder / "proof").iterdir())) == 3

    with pytest.raises(VerificationError, match="not signed by"):
        verify_export(folder, replace(policy, key=signer("stranger").public))
    # each file altered on its own
    for path in [p for p in folder.rglob("*") if p.is_file() and p.parent.parent.name != "0"]:
        data = path.read_bytes()
        for at in (0, len(data) // 2, len(data) - 2):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            if "tile/0" not in str(path):
                with pytest.raises((VerificationError, InvalidInput)):
                    verify_export(folder, policy)
        path.write_bytes(data)
    verify_export(folder, policy)
    bundle = folder / "tile/entries/000.p/6"
    bundle.write_bytes(bundle.read_bytes()[:-10])
    with pytest.raises(InvalidInput, match="lengths"):
        verify_export(folder, policy)


def test_an_operator_s_forged_history_does_not_replay(ledger: Ledger, tmp_path: Path) -> None:
    """The operator writes rows by hand and signs them: the tree is right, the entries are not."""
    genesis, step, last = submissions()
    ledger.append_all([genesis, step], NOW)
    with ledger.store.transaction():  # without its proof's chain: a gap
        ledger.log.extend([last.entry], [{"fork/11": b"{}"}])
        ledger.store.put_blob(sha256(last.proof or b""), last.proof or b"")
    ledger.checkpoint([signer("log")])
    folder = tmp_path / "export"
    folder.mkdir()
    export(ledger, folder)
    with pytest.raises(VerificationError, match="roots"):
        verify_export(folder, ledger.policy)


@pytest.mark.parametrize(("block", "accepted"), [(999, True), (1299, True), (1300, False)])
def test_a_back_dated_record_does_not_replay(
    places: Places, tmp_path: Path, block: int, accepted: bool
) -> None:
    """The issuer's key ends at NOW + 1000. The operator sets its clock back to let it sign more.

    What stands before the record says how late it must have been, less the clocks' tolerance.
    """
    fork_proofs()
    keys = store().keys
    ending = replace(store(), keys=(replace(keys[0], not_after=NOW + 1000), *keys[1:]))
    ledger = Ledger.create(
        places("backdated"), ORIGIN, signer("log"), ending, list(verifying_keys().values()), at=NOW
    )
    genesis, step, _ = submissions()
    ledger.append(genesis, NOW)
    ledger.seal_block(signer("log"), NOW + block)
    refused(ledger, step, "expired now", at=NOW + 1000)
    ledger.append(step, NOW)
    ledger.checkpoint([signer("log")])
    (tmp_path / "export").mkdir()
    export(ledger, tmp_path / "export")
    ledger.close()
    if accepted:
        assert verify_export(tmp_path / "export", ledger.policy).size == 4
        return
    with pytest.raises(VerificationError, match="entry 3: key issuer had expired now"):
        verify_export(tmp_path / "export", ledger.policy)


@pytest.mark.parametrize(("seen", "accepted"), [(NOW - 300, True), (NOW - 301, False)])
def test_a_record_from_after_the_quorum_does_not_replay(
    ledger: Ledger, tmp_path: Path, seen: int, accepted: bool
) -> None:
    """A witness saw the checkpoint before an entry in it says that it was signed."""
    filled(ledger)
    policy = replace(ledger.policy, witnesses=(("w", signer("w1").public),), quorum=1)
    note = cosign_note(ledger.checkpoint([signer("log")]), "w", signer("w1"), seen)
    ledger.add_cosignatures(note, policy)
    (tmp_path / "export").mkdir()
    export(ledger, tmp_path / "export")
    if accepted:
        verify_export(tmp_path / "export", policy)
        return
    with pytest.raises(VerificationError, match="entry 1: it says that it was signed later"):
        verify_export(tmp_path / "export", policy)


def test_a_gap_in_an_export_is_named(places: Places, tmp_path: Path) -> None:
    ledger = new_ledger(places("gap"))
    genesis, _, last = submissions()
    ledger.append(genesis, NOW)
    with ledger.store.transaction():
        ledger.log.extend([last.entry], [{}])
        ledger.store.put_blob(sha256(last.proof or b""), last.proof or b"")
    ledger.checkpoint([signer("log")])
    (tmp_path / "export").mkdir()
    export(ledger, tmp_path / "export")
    with pytest.raises(VerificationError, match="entry 2: ledger: the receipt's parent"):
        verify_export(tmp_path / "export", ledger.policy)
    ledger.close()


def test_tile_names_are_c2sp_s() -> None:
    assert tile_name(0) == "000"
    assert tile_name(255) == "255"
    assert tile_name(1_234_067) == "x001/x234/067"
    assert TILE == 256


def test_a_ledger_opens_again(ledger: Ledger, places: Places) -> None:
    filled(ledger)
    ledger.checkpoint([signer("log")])
    ledger.close()
    again = Ledger.open(places("ledger"))
    assert again.policy == ledger.policy
    assert again.log.size == 4
    assert again.append_all(submissions(), NOW) == [1, 2, 3]
    again.close()
    places.tamper("ledger", "DELETE FROM meta WHERE name = 'rules'")
    with pytest.raises(InvalidInput, match="never begun"):
        Ledger.open(places("ledger"))
    assert HEAD.features == 2
