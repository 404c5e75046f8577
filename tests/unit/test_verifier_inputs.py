"""What an issuer, a trust store and a log may get wrong: all three verifiers refuse it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.page_support import page_call, page_verify
from tests.unit.receipt_support import (
    NOW,
    PLACE,
    fork_proofs,
    signer,
    signers,
    store,
    verifying_keys,
)
from tests.unit.test_receipt import payload
from tests.unit.verifier_support import (
    STEP,
    UNUSABLE,
    VERIFIERS,
    WITHOUT_LOG,
    agree,
    good,
    logged,
    resigned,
)
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.checkpoint import InclusionProof, LogPolicy
from zkai.ledger.note import Note, cosign_note, sign_note
from zkai.receipt import jcs, standalone
from zkai.receipt.envelope import sign_envelope
from zkai.receipt.signer import ED25519
from zkai.receipt.statement import Receipt, issue
from zkai.receipt.trust import TrustStore
from zkai.receipt.verify import verify_proof_of, verify_receipt

pytestmark = pytest.mark.node


# ---------------------------------------------------- what an issuer says of a proof

ZERO = "0x" + "00" * 32
LIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "format": lambda p: p["proof"].update(format="zkai.groth16-commit/1"),
    "statement": lambda p: p["proof"].update(statement="training_step/2"),
    "circuit": lambda p: p["proof"].update(circuit_digest=ZERO),
    "key": lambda p: p["proof"].update(vk_digest=ZERO),
    "key status": lambda p: p["proof"].update(key={"status": "ceremony", "transcript": ZERO}),
    "a public value": lambda p: p["proof"]["public"].update(new_state="5"),
    "a public value more": lambda p: p["proof"]["public"].update(more="5"),
    "a public value less": lambda p: p["proof"]["public"].pop("batch"),
    "model": lambda p: p.update(model="5"),
    "fork": lambda p: p.update(fork=None),
    "user": lambda p: p.update(user="5"),
    "step": lambda p: p.update(step=5),
    "kind": lambda p: p.update(kind="evaluation"),
    "a commitment": lambda p: p["proof"].update(commitments=["more"]),
    "another chain": lambda p: p["proof"]["destination"].update(chain_id=8),
    "another ledger": lambda p: p["proof"]["destination"].update(ledger=ZERO),
    "another recipient": lambda p: p["proof"]["destination"].update(recipient=ZERO),
}


MISNAMED = "the proof's|another destination|no public|is no evaluation"


@pytest.mark.parametrize("lie", LIES)
def test_all_refuse_an_issuer_that_misnames_its_proof(lie: str) -> None:
    """The signatures hold: what the receipt says of the proof is compared with the proof."""
    data = resigned(LIES[lie])
    key, words = verifying_keys()["training_step/1"], MISNAMED
    with pytest.raises(VerificationError, match=words):
        verify_proof_of(Receipt.from_bytes(data), good().proof, key)
    with pytest.raises(standalone.Refused, match=words):
        standalone.verify(data, store().to_json(), good().proof, now=NOW)
    assert re.search(words, str(WITHOUT_LOG["page"](data)))


def test_all_refuse_a_statement_of_another_type() -> None:
    for change in ({"_type": "https://in-toto.io/Statement/v2"}, {"more": 1},
                   {"predicateType": "urn:zkai:compute-receipt/v2"}):  # fmt: skip
        data = sign_envelope(jcs.encode(payload() | change), signers()).to_bytes()
        for name, check in WITHOUT_LOG.items():
            assert check(data) is not None, name


def test_all_refuse_a_proof_of_a_receipt_that_names_none() -> None:
    receipt = issue(None, signers(), kind="merge", artifacts={"model": bytes(32)}, signed=NOW)
    for name, check in WITHOUT_LOG.items():
        assert "names no proof" in str(check(receipt.to_bytes())), name


# --------------------------------------------------------------- whom one believes


def trusting(change: Callable[[dict[str, Any]], object]) -> list[str | None]:
    """Why each verifier refuses the receipt under a changed trust store."""
    value = store().to_json()
    change(value)
    found: list[str | None] = []
    for check in (library_trusts, standalone_trusts, page_trusts):
        found.append(check(value))
    return found


def library_trusts(value: dict[str, Any]) -> str | None:
    try:
        trusted = TrustStore.from_json(value)
        verify_receipt(Receipt.from_bytes(good().receipt), trusted, at=NOW)
    except (InvalidInput, VerificationError) as error:
        return str(error)
    return None


def standalone_trusts(value: dict[str, Any]) -> str | None:
    try:
        standalone.verify(good().receipt, value, now=NOW)
    except (standalone.Refused, *UNUSABLE) as error:
        return f"{type(error).__name__}: {error}"
    return None


def page_trusts(value: dict[str, Any]) -> str | None:
    files = {"receipt": good().receipt, "trust": json.dumps(value).encode()}
    reason: str | None = page_verify(files, NOW)["reason"]
    return reason


STORES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another format": lambda v: v.update(format="zkai.trust/2"),
    "no group": lambda v: v.update(required=[]),
    "an empty group": lambda v: v.update(required=[[]]),
    "Ed25519 is enough": lambda v: v["required"].pop(0),
    "either is enough": lambda v: v.update(required=[[*v["required"][0], *v["required"][1]]]),
    "a key's other algorithm": lambda v: v["keys"][0]["jwk"].update(alg="ML-DSA-44"),
    "a private key": lambda v: v["keys"][0]["jwk"].update(d="AAAA"),
    "Ed25519 as if ML-DSA": lambda v: v["keys"][1]["jwk"].update(kty="AKP"),
    "a key cut": lambda v: v["keys"][1]["jwk"].update(x="AAAA"),
    "a key unknown": lambda v: v["keys"].pop(1),
    "a key twice": lambda v: v["keys"].append({**v["keys"][0], "not_before": 5}),
    "another required": lambda v: (
        v["keys"].append({**v["keys"][0], "jwk": signer("other").public.jwk, "name": "other"}),
        v["required"].append([signer("other").keyid]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", STORES)
def test_all_refuse_under_a_strange_trust_store(change: str) -> None:
    assert trusting(lambda v: None) == [None] * 3
    found = trusting(STORES[change])
    assert None not in found, found


def test_all_refuse_one_of_two_required_signers() -> None:
    """Each signs alone, and lists itself alone: both are known, and both are required."""
    for keys in ([signer()], [signer("classic", ED25519)]):
        data = issue(fork_proofs()[STEP], keys, place=PLACE, signed=NOW).to_bytes()
        for name, check in WITHOUT_LOG.items():
            found = str(check(data))
            assert "requires a signature of" in found or "required signer is missing" in found, name


POLICIES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another format": lambda v: v.update(format="zkai.log-policy/2"),
    "another origin": lambda v: v.update(origin="example.org/other"),
    "another key": lambda v: v.update(key=signer("other").public.jwk),
    "another witness": lambda v: v["witnesses"][0].update(key=signer("other").public.jwk),
    "a witness's other name": lambda v: v["witnesses"][0].update(name="w3"),
    "a larger quorum": lambda v: v.update(quorum=3),
    "a negative quorum": lambda v: v.update(quorum=-1),
    "no quorum": lambda v: v.pop("quorum"),
    "a witness under two names": lambda v: v["witnesses"].append(
        {**v["witnesses"][0], "name": "w3"}
    ),
    "the log as its own witness": lambda v: v["witnesses"].append({"name": "w3", "key": v["key"]}),
    "an Ed25519 log": lambda v: v.update(key=signer("classic", ED25519).public.jwk),
}
"""Changes of a policy; the log signs with its ML-DSA key and with an Ed25519 key beside."""


@pytest.mark.parametrize("change", POLICIES)
def test_all_refuse_under_a_strange_policy(change: str) -> None:
    origin = logged()[1].origin
    classic = sign_note(log_text(), [(origin, signer("classic", ED25519))])
    note = noted(log_text())
    note = replace(note, lines=(*note.lines, *classic.lines))
    value = logged()[1].to_json()
    assert under_policy(note, value) == [True] * 3
    POLICIES[change](value)
    assert under_policy(note, value) == [False] * 3


def under_policy(note: Note, value: dict[str, Any]) -> list[bool]:
    """Whether each verifier accepts a checkpoint under a policy."""
    found = []
    for check in (
        lambda: LogPolicy.from_json(value).verify(note),
        lambda: standalone.verify_checkpoint(note.to_bytes(), value),
    ):
        try:
            check()
            found.append(True)
        except (InvalidInput, VerificationError, standalone.Refused, *UNUSABLE):
            found.append(False)
    policy = json.dumps(value).encode()
    return [*found, page_call("checkpoint", note.to_bytes(), policy)["accepted"]]


# --------------------------------------------------------------------------- logs


def log_text(**changes: str) -> str:
    """The checkpoint's text with some of its lines changed."""
    origin, size, root, roots, _ = InclusionProof.from_bytes(logged()[0]).note.text.split("\n")
    lines = {"origin": origin, "size": size, "root": root, "map": roots, "more": "", **changes}
    return "".join(f"{line}\n" for name, line in lines.items() if line or name != "more")


def noted(text: str) -> Note:
    """A text that the log signs and both witnesses cosign."""
    note = sign_note(text, [(logged()[1].origin, signer("log"))])
    for name, key in (("w1", signer("w1")), ("w2", signer("w2", ED25519))):
        note = cosign_note(note, name, key, NOW + 7)
    return note


def proven(lines: list[str], note: bytes) -> bytes:
    return "".join(f"{line}\n" for line in [*lines, ""]).encode() + note


def proof_lines() -> list[str]:
    """The inclusion proof's own lines: header, index, hashes."""
    return logged()[0].partition(b"\n\n")[0].decode().split("\n")


def stray(text: str) -> str:
    """Base64 of the same bytes whose last character has other bits that no byte holds."""
    body = text.rstrip("=")
    assert len(body) < len(text)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = body[:-1] + alphabet[alphabet.index(body[-1]) ^ 1] + text[len(body) :]
    assert base64.b64decode(other) == base64.b64decode(text)
    return other


def twice(note: bytes, number: int) -> bytes:
    """A note with one of its signature lines twice."""
    lines = note.decode().rstrip("\n").split("\n")
    first = lines.index("") + 1
    return ("\n".join([*lines, lines[first + number]]) + "\n").encode()


def without(note: bytes, number: int) -> bytes:
    """A note without one of its signature lines."""
    lines = note.decode().rstrip("\n").split("\n")
    del lines[lines.index("") + 1 + number]
    return ("\n".join(lines) + "\n").encode()


def strange_proofs() -> dict[str, bytes]:
    """Inclusion proofs that are wrong in one thing, signed by the right keys where it matters."""
    lines, note = proof_lines(), noted(log_text()).to_bytes()
    header, index, *hashes = lines
    root, roots = log_text().split("\n")[2:4]
    longer = jcs.to_base64(bytes(32))
    signature = note.decode().rstrip("\n").rsplit(" ", 1)[1]
    assert signature.endswith("=")

    def text(**changes: str) -> bytes:
        return proven(lines, noted(log_text(**changes)).to_bytes())

    return {
        "another header": proven(["c2sp.org/tlog-proof@v2", *lines[1:]], note),
        "no index": proven([header, *hashes], note),
        "index 01": proven([header, f"index 0{index[6:]}", *hashes], note),
        "index +1": proven([header, f"index +{index[6:]}", *hashes], note),
        "index -1": proven([header, "index -1", *hashes], note),
        "another index": proven([header, "index 1", *hashes], note),
        "an index outside": proven([header, "index 4", *hashes], note),
        "a hash more": proven([*lines, longer], note),
        "a hash less": proven(lines[:-1], note),
        "hashes reversed": proven([header, index, *hashes[::-1]], note),
        "a short hash": proven([*lines[:-1], jcs.to_base64(bytes(31))], note),
        "stray bits in a hash": proven([*lines[:-1], stray(lines[-1])], note),
        "stray bits in a signature": proven(
            lines, note.replace(signature.encode(), stray(signature).encode())
        ),
        "stray bits in the root": text(root=stray(root)),
        "stray bits in the map's root": text(map="zkai-map/1 " + stray(roots[11:])),
        "another root": text(root=longer),
        "another origin": text(origin="example.org/other"),
        "a larger size": text(size="40"),
        "size 04": text(size="04"),
        "size +4": text(size="+4"),
        "no size": text(size="four"),
        "no map": text(map="other/1 " + roots[11:]),
        "a short map": text(map="zkai-map/1 AAAA"),
        "a line more": text(more="more"),
        "the log's line twice": proven(lines, twice(note, 0)),
        "a witness's line twice": proven(lines, twice(note, 1)),
        "no line of the log": proven(lines, without(note, 0)),
        "no line of a witness": proven(lines, without(note, 2)),
        "another dash": proven(lines, note.replace("\u2014".encode(), b"-", 1)),
        "no line end": proven(lines, note[:-1]),
        "a line end more": proven(lines, note + b"\n"),
        "no note": proven(lines, b""),
    }


def test_all_refuse_strange_inclusion_proofs() -> None:
    agree(replace(good(), inclusion=proven(proof_lines(), noted(log_text()).to_bytes())), None)
    for name, data in strange_proofs().items():
        for verifier, check in VERIFIERS.items():
            assert check(replace(good(), inclusion=data)) is not None, (name, verifier)


def test_a_policy_that_asks_for_fewer_still_checks_every_known_witness() -> None:
    """One cosignature is enough, and a second one that is forged is not passed over."""
    policy = replace(logged()[1], quorum=1)
    note = noted(log_text())
    case = replace(good(), policy=policy)
    agree(replace(case, inclusion=proven(proof_lines(), without(note.to_bytes(), 2))), None)
    for number in (1, 2):
        line = note.lines[number]
        signature = line.signature[:-1] + bytes([line.signature[-1] ^ 1])
        lines = [
            *note.lines[:number],
            replace(line, signature=signature),
            *note.lines[number + 1 :],
        ]
        forged = replace(note, lines=tuple(lines)).to_bytes()
        agree(replace(case, inclusion=proven(proof_lines(), forged)), "does not verify")
