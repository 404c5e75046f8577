"""`zkai receipt`: from a key to a verified receipt, and the ways in which it is refused."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from bench._anvil import running_anvil
from tests.databases import Places
from tests.unit.receipt_support import PLACE, fork_proofs, verifying_keys
from zkai import cli
from zkai.encoding import hex32
from zkai.ledger.identity import did_lux
from zkai.receipt import keyfile
from zkai.receipt.exports import open_cose
from zkai.receipt.keyfile import read_public
from zkai.receipt.statement import Receipt
from zkai.receipt.trust import TrustStore

WHERE = f"--chain-id {PLACE.chain_id} --ledger {hex32(PLACE.ledger)}"
PLACE_OPTIONS = f"{WHERE} --recipient {hex32(PLACE.recipient)}"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command in a folder with two proofs; return what --json prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZKAI_PASSPHRASE", "secret")
    monkeypatch.setattr(keyfile, "LOG2_N", 14)
    for number, proof in enumerate(fork_proofs()[:2]):
        proof.write(f"{number}.json")
        verifying_keys()[proof.statement].write(f"vk{number}.json")

    def run(command: str, status: int = 0) -> dict[str, Any]:
        found = cli.main([*command.split(), "--json"])
        out, err = capsys.readouterr()
        assert found == status, err
        assert "Traceback" not in err
        answer: dict[str, Any] = json.loads(out)
        return answer

    return run


def test_from_a_key_to_a_verified_receipt(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    key = run("receipt keygen -o issuer.json")
    assert stat.S_IMODE(os.stat("issuer.json").st_mode) == 0o600
    run("receipt keygen -o classic.json --alg Ed25519")
    run("receipt trust issuer.json classic.json -o trust.json")
    Path("facts.json").write_text('{"metering": {"prove_ms": 5}, "environment": {"device": "cpu"}}')
    sign = f"--signer issuer.json --signer classic.json {PLACE_OPTIONS}"
    first = run(f"receipt sign 0.json {sign} -o 0.receipt")
    second = run(f"receipt sign 1.json {sign} --parent 0.receipt --facts facts.json -o 1.receipt")
    assert second["statement"]["predicate"]["parent"] == first["id"]
    assert second["statement"]["predicate"]["metering"] == {"prove_ms": 5}
    assert run(f"receipt verify 1.receipt --trust trust.json {PLACE_OPTIONS}")["grade"] == (
        "signed only"
    )
    proof = "--proof 1.json --key vk1.json"
    found = run(f"receipt verify 1.receipt --trust trust.json {proof}")
    assert found["grade"] == "proven (development key)"
    run(f"receipt verify 1.receipt --trust trust.json {proof} --implementation pqcrypto")
    assert run("receipt show 1.receipt")["verified"] is False
    assert cli.main(["receipt", "show", "1.receipt"]) == 0
    assert "NOT verified" in capsys.readouterr().out

    # each refusal has its status
    run(f"receipt verify 1.receipt --trust trust.json {proof} --production", 1)
    digest = hex32(verifying_keys()["training_step/1"].digest)
    production = f"--production --vk-digest {digest}"
    assert (
        "development key"
        in run(f"receipt verify 1.receipt --trust trust.json {proof} {production}", 1)["message"]
    )
    assert (
        "another chain"
        in run("receipt verify 1.receipt --trust trust.json --chain-id 8", 1)["message"]
    )
    assert (
        "different proof"
        in run("receipt verify 1.receipt --trust trust.json --proof 0.json --key vk0.json", 1)[
            "message"
        ]
    )
    run("receipt verify 1.receipt --trust trust.json --proof 1.json", 2)
    run(f"receipt revoke trust.json {key['keyid']} --reason stolen")
    assert "stolen" in run("receipt verify 1.receipt --trust trust.json", 1)["message"]


def test_exports(run: Any) -> None:
    run("receipt keygen -o a.json")
    run("receipt keygen -o b.json --alg Ed25519")
    run(f"receipt sign 0.json --signer a.json {PLACE_OPTIONS} -o one.receipt")
    run(f"receipt sign 0.json --signer a.json --signer b.json {PLACE_OPTIONS} -o two.receipt")
    run("receipt export two.receipt --format jws --signer a.json --signer b.json -o two.jws")
    run("receipt export one.receipt --format cose --signer a.json -o one.cose")
    names = "--issuer https://example.org --subject fork"
    run(f"receipt export one.receipt --format cose --signer a.json {names} -o one.scitt")
    run("receipt trust a.json -o trust.json")
    store = TrustStore.from_path("trust.json")
    for name in ("one.cose", "one.scitt"):
        assert open_cose(Path(name).read_bytes(), store)["predicate"]["kind"] == "genesis"
    run("receipt export two.receipt --format jws --signer a.json -o x", 2)
    run(f"receipt export one.receipt --format jws --signer a.json {names} -o x", 2)
    run("receipt export two.receipt --format cose --signer a.json --signer b.json -o x", 2)
    assert not Path("x").exists()


def test_rotation(run: Any) -> None:
    old = run("receipt keygen -o old.json --implementation pqcrypto")
    run("receipt keygen -o new.json")
    run("receipt trust old.json -o trust.json")
    run(f"receipt sign 0.json --signer new.json {PLACE_OPTIONS} -o 0.receipt")
    run("receipt verify 0.receipt --trust trust.json", 1)
    run(f"receipt rotate trust.json {old['keyid']} new.json --at 1700000000")
    run("receipt verify 0.receipt --trust trust.json")
    run(f"receipt rotate trust.json {'A' * 43} new.json", 2)


def test_unusable_input(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run("receipt keygen -o key.json")
    run("receipt keygen -o key.json", 2)
    run(f"receipt sign 0.json --signer key.json --chain-id 9 -o x {PLACE_OPTIONS[12:]}", 2)
    run("receipt sign 0.json --signer key.json -o x", 2)
    for text in (
        '{"parent": 1}',
        "[]",
        '{"sources": [1]}',
        '{"tee": []}',
        '{"metering": {"a": "b"}}',
    ):
        Path("facts.json").write_text(text)
        run(f"receipt sign 0.json --signer key.json {PLACE_OPTIONS} --facts facts.json -o x", 2)
    Path("2.json").write_text(Path("0.json").read_text() + " ")
    assert (
        "exact bytes"
        in run(f"receipt sign 2.json --signer key.json {PLACE_OPTIONS} -o x", 2)["message"]
    )
    assert not Path("x").exists()
    monkeypatch.setenv("ZKAI_PASSPHRASE", "wrong")
    assert (
        "wrong passphrase"
        in run(f"receipt sign 0.json --signer key.json {PLACE_OPTIONS} -o x", 1)["message"]
    )
    Path("words").write_text("secret\nmore\n")
    run(f"receipt sign 0.json --signer key.json {PLACE_OPTIONS} -o x --passphrase-file words")
    Path("words").write_text("\n")
    run("receipt keygen -o other.json --passphrase-file words", 2)
    monkeypatch.delenv("ZKAI_PASSPHRASE")
    run("receipt keygen -o other.json", 2)
    assert Receipt.from_bytes(Path("x").read_bytes()).predicate["kind"] == "genesis"


def test_a_damaged_receipt_is_unusable_or_refused(run: Any) -> None:
    run("receipt keygen -o key.json")
    run("receipt trust key.json -o trust.json")
    run(f"receipt sign 0.json --signer key.json {PLACE_OPTIONS} -o 0.receipt")
    data = bytearray(Path("0.receipt").read_bytes())
    data[len(data) // 2] ^= 1
    Path("0.receipt").write_bytes(data)
    assert cli.main(["receipt", "verify", "0.receipt", "--trust", "trust.json"]) in (1, 2)


def test_a_ledger_from_init_to_export(run: Any, places: Places) -> None:
    log, none = (str(places(name)).replace("zkai@", "zkai:hunter2@") for name in ("log", "none"))
    for name in ("issuer", "operator", "witness"):
        run(f"receipt keygen -o {name}.json")
    run("receipt trust issuer.json -o trust.json")
    sign = f"--signer issuer.json {PLACE_OPTIONS}"
    run(f"receipt sign 0.json {sign} -o 0.receipt")
    run(f"receipt sign 1.json {sign} --parent 0.receipt -o 1.receipt")
    begun = run(
        f"ledger init {log} --origin example.org/log --operator operator.json --trust trust.json"
        f" --key vk0.json --key vk1.json --witness w=witness.json {WHERE}"
    )
    assert "hunter2" not in str(begun)
    run(f"ledger append {log} 1.receipt --proof 1.json", 1)
    run(f"ledger append {log} 0.receipt", 1)
    both = f"ledger append {log} 0.receipt 1.receipt --proof 0.json --proof 1.json"
    assert run(f"{both} --operator operator.json")["indices"] == [1, 2]
    assert run(both)["indices"] == [1, 2]
    policy = f"--policy {begun['policy']}"
    run(f"ledger prove {log} 1.receipt -o 1.tlog-proof")
    check = f"ledger verify 1.receipt --inclusion 1.tlog-proof {policy} --trust trust.json"
    assert "witnesses cosigned" in run(check, 1)["message"]
    run(f"ledger cosign {log} {policy} --name w --signer witness.json --memory seen.json")
    run(f"ledger prove {log} 1.receipt -o 1.tlog-proof")
    answer = run(check)
    assert (answer["index"], answer["entries"]) == (2, 3)
    run(check.replace("1.receipt", "0.receipt"), 1)
    key = run("receipt show 1.receipt")["statement"]["predicate"]["signers"][0]["keyid"]
    run(f"receipt revoke trust.json {key} --reason stolen --at {answer['seen'] + 5}")
    run(check)  # it was logged, and seen, before
    run(f"receipt revoke trust.json {key} --reason stolen --at {answer['seen']}")
    assert "was revoked when" in run(check, 1)["message"]

    run(f"ledger prove {log} --name fork/11 -o fork.json")
    found = run(f"ledger verify fork.json {policy}")
    assert found["value"]["index"] == 2
    run(f"ledger prove {log} --name fork/12 -o none.json")
    assert run(f"ledger verify none.json {policy}")["value"] is None
    text = Path("fork.json").read_text().replace('"fork/11"', '"fork/13"')
    Path("forged.json").write_text(text)
    run(f"ledger verify forged.json {policy}", 1)
    run(f"ledger verify 1.receipt {policy}", 2)
    run(f"ledger prove {log} -o x", 2)

    run(f"ledger export {log} -o out")
    assert run(f"ledger verify out {policy}")["entries"] == 3
    Path("out/checkpoint").write_text("x")
    run(f"ledger verify out {policy}", 2)
    assert [row["index"] for row in run(f"ledger show {log} fork 11")["history"]] == [1, 2]
    did = did_lux(read_public(Path("issuer.json")))
    served = run(f"ledger resolve {log} {did} --alias did:web:example.org")["document"]
    Path("did.json").write_text(json.dumps(served))
    fetched = f"ledger resolve {log} did:web:example.org --fetched did.json"
    assert run(fetched)["document"]["id"] == did
    Path("did.json").write_text(json.dumps({**served, "verificationMethod": []}))
    run(fetched, 1)
    anchored = run(f"chain anchor {log}")
    assert (anchored["entries"], anchored["embedded"]) == (3, True)
    run(f"chain anchor {log} --contract 0x" + "11" * 20, 2)
    run(f"ledger checkpoint {log} --operator operator.json")
    run(f"ledger checkpoint {log} --operator issuer.json", 2)
    assert "hunter2" not in run(f"ledger show {none} fork 11", 2)["message"]
    run(f"ledger init {log} --origin x --operator operator.json --trust trust.json", 2)


@pytest.mark.node
@pytest.mark.usefixtures("node_modules")
def test_anchors_on_a_chain_follow_the_log(run: Any) -> None:
    """Over JSON-RPC: deploy, extend, repeat; another ledger's checkpoint is refused."""
    for name in ("issuer", "operator"):
        run(f"receipt keygen -o {name}.json")
    run("receipt trust issuer.json -o trust.json")
    begin = "--operator operator.json --trust trust.json --key vk0.json --key vk1.json"
    run(f"ledger init log.db --origin example.org/log {begin}")
    run(f"ledger init other.db --origin example.org/log {begin}")
    run(f"receipt sign 0.json --signer issuer.json {PLACE_OPTIONS} -o 0.receipt")
    with running_anvil() as node:
        Path("account").touch(mode=0o600)
        Path("account").write_text(node.secret)
        rpc = f"--rpc {node.url} --key-file account"
        first = run(f"chain anchor log.db {rpc}")
        contract = f"--contract {first['address']}"
        again = run(f"chain anchor log.db {rpc} {contract}")
        assert (again["gas"], again["entries"]) == (0, 1)
        run("ledger append log.db 0.receipt --proof 0.json --operator operator.json")
        assert run(f"chain anchor log.db {rpc} {contract}")["entries"] == 2
        run("ledger append other.db 0.receipt --proof 0.json --operator operator.json")
        assert "is not anchored" in run(f"chain anchor other.db {rpc} {contract}", 1)["message"]


def test_a_url_in_the_wrong_place_shows_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    for url in ("postgresql://u:hunter2@h/db", "postgresql:///db?host=h&password=hunter2"):
        for command in (
            [url], ["ledger", url], ["ledger", "show", url, "kin", "1"], ["ledger", "show", url],
            ["ledger", "verify", url, "--policy", url], ["receipt", "show", url],
            ["ledger", "show", "x.db", "fork", "1", url],
        ):  # fmt: skip
            assert cli.main([*command, "--json"]) != 0
            out, err = capsys.readouterr()
            assert "hunter2" not in out + err


def test_every_field_can_be_signed(run: Any) -> None:
    run("receipt keygen -o key.json")
    run("receipt trust key.json -o trust.json")
    facts = {
        "hyperparameters": {"batch": 2, "learning_rate": "0.0625"},
        "environment": {"python": "3.11", "device": "cpu"},
        "metering": {"prove_ms": 12, "peak_rss_bytes": 5, "proof_bytes": 256},
        "privacy": {"mechanism": "gaussian", "epsilon": "1.5", "delta": "0.00001",
                    "spent_epsilon": "3.25"},
        "sources": [{"source": "https://example.org", "title": "T", "licence": "CC0-1.0",
                     "confidence": "0.9"}],
        "tee": {"kind": "sgx-dcap", "quote": "AAAA"},
        "started": 1_790_000_000, "finished": 1_790_000_005,
        "extensions": {"note": "free"}, "critical": [],
    }  # fmt: skip
    Path("facts.json").write_text(json.dumps(facts))
    Path("model.onnx").write_bytes(b"a model")
    sign = f"receipt sign 1.json --signer key.json {PLACE_OPTIONS} --facts facts.json"
    made = run(f"{sign} --artifact model=model.onnx --commitment x_bound -o x", 2)
    assert "x_bound is no public signal" in made["message"]
    made = run(f"{sign} --artifact model=model.onnx --commitment context -o full.receipt")
    said = made["statement"]["predicate"]
    for name in set(facts) - {"started", "finished"}:
        assert said[name] == facts[name], name
    assert said["times"]["started"] < said["times"]["finished"]
    assert "context" in said["proof"]["commitments"]
    digest = hashlib.sha256(b"a model").hexdigest()
    assert made["statement"]["subject"][1] == {"name": "model", "digest": {"sha256": digest}}
    run("receipt verify full.receipt --trust trust.json --proof 1.json --key vk1.json")


def test_receipts_without_a_proof(run: Any) -> None:
    run("receipt keygen -o key.json")
    run("receipt trust key.json -o trust.json")
    Path("merged").write_bytes(b"a merged model")
    Path("late.json").write_text('{"started": 99999999999999}')
    sign = "receipt sign --signer key.json"
    made = run(f"{sign} --kind merge --artifact model=merged -o merge.receipt")
    assert made["statement"]["predicate"]["kind"] == "merge"
    assert run("receipt verify merge.receipt --trust trust.json")["grade"] == "signed only"
    for options in (
        "", "--kind merge", "--artifact model=merged", "--kind genesis --artifact a=merged",
        "--kind merge --artifact merged", "--kind merge --artifact a=none", "1.json --kind merge",
        "--kind merge --artifact a=merged --artifact a=key.json",
        "--kind merge --artifact a=merged --facts late.json",
    ):  # fmt: skip
        run(f"{sign} {options} -o x", 2)
    assert not Path("x").exists()
