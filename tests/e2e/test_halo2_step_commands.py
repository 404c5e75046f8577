"""Training steps of format halo2 through the verbs, statement files, commands and receipts."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zkai
from tests.unit.halo2_step_support import BIAS, LABELS, SMALL, WEIGHTS, X
from tests.unit.halo2_support import require_ezkl
from tests.unit.onnx_models import model, node
from zkai import cli
from zkai.circuit.statements.training_step import TrainingStep as PlainStep
from zkai.halo2.keys import Halo2VerifyingKey
from zkai.halo2.labels import state_id
from zkai.halo2.proof import Halo2Proof
from zkai.halo2.step_state import read_state
from zkai.ledger.answer import LedgerSource
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.queries import check_chain
from zkai.receipt.signer import ED25519, generate
from zkai.receipt.statement import Facts, Place, Receipt, issue
from zkai.receipt.trust import trust
from zkai.receipt.verify import verify_proof_of
from zkai.statement_file import load_any

LEDGER, ELSEWHERE = "0x" + "ab" * 20, "0x" + "ac" * 20
HERE, THERE = zkai.Destination(31337, LEDGER), zkai.Destination(31337, ELSEWHERE)

_STATEMENT = """
statement = "training_step"
format = "halo2"
batch = 2
learning_rate = 0.25
commitments = "polycommit"
calibration = "samples.npz"
[head]
kind = "softmax"
features = 2
classes = 2
[halo2]
decomposition = [1024, 3]
lookup_margin = 1
"""


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with keys, and two steps of a fork, the second from the first's opening."""
    require_ezkl()
    folder = tmp_path_factory.mktemp("halo2-steps")
    rows = np.random.default_rng(0).uniform(-1, 1, (8, 2))
    np.savez(folder / "samples.npz", x=rows)
    (folder / "s.toml").write_text(_STATEMENT)
    batch = {"x": X.tolist(), "labels": LABELS}
    first = batch | {"weights": WEIGHTS.tolist(), "bias": BIAS.tolist(), "fork": 3}
    (folder / "first.json").write_text(json.dumps(first))
    (folder / "second.json").write_text(json.dumps(batch))
    assert run("setup", folder / "s.toml", "-o", folder / "keys", "--json") == 0
    place = ("--chain-id", 31337, "--ledger", LEDGER)
    for number, name in enumerate(("first", "second")):
        words = ["prove", folder / "s.toml", "--keys", folder / "keys", *place, "--json"]
        words += ["--input", folder / f"{name}.json", "-o", folder / f"proof{number}.json"]
        words += ["--state", folder / "proof0.opening.json"] if number else []
        assert run(*words) == 0
    return folder


def proofs(world: Path) -> list[Halo2Proof]:
    return [Halo2Proof.from_path(world / f"proof{number}.json") for number in (0, 1)]


def key_of(world: Path) -> Any:
    return Halo2VerifyingKey.from_path(world / "keys" / "verifying.json")


def test_two_commands_prove_two_steps_that_chain(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = world / "keys" / "verifying.json"
    words = ("--key", key, "--chain-id", 31337, "--ledger", LEDGER, "--json")
    for number in (0, 1):
        assert run("verify", world / f"proof{number}.json", *words) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["statement"] == "onnx_step/1"
        assert said["public"]["step"] == str(number)
        assert said["public"]["fork"] == "3"
    zkai.verify_chain(proofs(world), [key_of(world)], destination=HERE)
    opening = world / "proof0.opening.json"
    assert opening.stat().st_mode & 0o777 == 0o600


def test_the_chain_refuses_what_does_not_follow(world: Path) -> None:
    first, second = proofs(world)
    key = key_of(world)
    with pytest.raises(zkai.VerificationError, match="a history starts with step 0"):
        zkai.verify_chain([second], {"onnx_step/1": key})
    with pytest.raises(zkai.VerificationError, match="another chain, ledger or recipient"):
        zkai.verify_chain([first, second], [key], destination=THERE)
    edited = replace(second, public={**second.public, "user": (5,)})
    with pytest.raises(zkai.VerificationError, match=r"proof 1 .*other labels"):
        zkai.verify_chain([first, edited], [key])
    with pytest.raises(zkai.InvalidInput, match="no terms, beacon or updates"):
        zkai.verify_chain([first], [key], updates=[1])
    with pytest.raises(zkai.VerificationError, match="no key of format halo2"):
        zkai.verify_chain([first], [])
    with pytest.raises(zkai.InvalidInput, match="proof 1: expected a Halo2Proof"):
        zkai.verify_chain([first, "proof"], [key])  # type: ignore[list-item]


def test_a_proof_is_for_one_destination(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--key", world / "keys" / "verifying.json", "--chain-id", 31337)
    assert run("verify", world / "proof0.json", *words, "--ledger", ELSEWHERE) == 1
    assert "another chain, ledger or recipient" in capsys.readouterr().err
    with pytest.raises(zkai.VerificationError, match="another chain"):
        zkai.verify(proofs(world)[0], key_of(world), destination=THERE)


def test_an_edited_file_ends_with_status_1(world: Path, tmp_path: Path) -> None:
    key = world / "keys" / "verifying.json"
    whole = json.loads((world / "proof0.json").read_text())
    for name, value in (("step", "1"), ("batch", whole["public"]["old_state"])):
        edited = {**whole, "public": {**whole["public"], name: value}}
        (tmp_path / "edited.json").write_text(json.dumps(edited))
        assert run("verify", tmp_path / "edited.json", "--key", key) == 1


def test_an_opening_is_never_written_over(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prove", world / "s.toml", "--keys", world / "keys"]
    words += ["--input", world / "second.json", "-o", tmp_path / "new.json"]
    words += ["--opening", world / "proof0.opening.json"]
    assert run(*words) == 2
    assert "exists" in capsys.readouterr().err
    assert run(*words[:-2]) == 2
    assert "missing weights, or a state" in capsys.readouterr().err


def test_one_name_makes_steps_of_both_backends() -> None:
    head = zkai.SoftmaxHead(2, 2)
    plain = zkai.TrainingStep(head, batch=2, learning_rate=2**-4)
    assert type(plain) is PlainStep
    assert plain == PlainStep(head, batch=2, learning_rate=2**-4)
    halo2 = zkai.TrainingStep(head, 2, 0.25, backend="halo2", config=SMALL)
    assert type(halo2) is zkai.Halo2TrainingStep
    assert isinstance(plain, zkai.TrainingStep)
    assert isinstance(halo2, zkai.TrainingStep)
    assert not isinstance(head, zkai.TrainingStep)
    with pytest.raises(zkai.InvalidInput, match="backend"):
        zkai.TrainingStep(head, 2, backend="plonk")
    with pytest.raises(zkai.InvalidInput, match="steps"):
        zkai.TrainingStep(head, 2, 0.25, backend="halo2", steps=2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("learning_rate = 0.25", "learning_rate = 0.3", "no power of two"),
        ('"polycommit"', '"public"', "commitments: expected"),
        ("batch = 2", "batch = 2\nsteps = 3", "unknown key steps"),
        ("lookup_margin = 1", "scale = 8", "scale is 13 to 16"),
        ("lookup_margin = 1", "check_ranges = false", "unknown key check_ranges"),
        ("batch = 2", 'batch = 2\nmodel = "none.onnx"', "unknown key head"),
        ("batch = 2", "batch = 2\nmomentum = 0.3", "multiple of 1/256"),
    ],
)
def test_a_statement_file_names_what_is_wrong(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    np.savez(tmp_path / "samples.npz", x=np.zeros((4, 2, 2)))
    (tmp_path / "s.toml").write_text(_STATEMENT.replace(old, new))
    with pytest.raises(zkai.InvalidInput, match=message):
        load_any(tmp_path / "s.toml")


def test_a_graph_in_a_file_is_a_step_too(tmp_path: Path) -> None:
    """An ONNX model's weights are trained, or those that the file names."""
    weights = {"w": np.ones((2, 2), np.float32), "b": np.zeros(2, np.float32)}
    nodes = [node("MatMul", ["x", "w"], "h"), node("Add", ["h", "b"], "z")]
    made = model(nodes, {"x": [2, 2]}, {"z": [2, 2]}, weights)
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    text = _STATEMENT.replace(
        _STATEMENT[_STATEMENT.index("[head]") : _STATEMENT.index("[halo2]")], ""
    )
    text = text.replace('calibration = "samples.npz"', 'model = "m.onnx"\nmomentum = 0.5')
    (tmp_path / "s.toml").write_text(text)
    statement = load_any(tmp_path / "s.toml")
    assert isinstance(statement, zkai.Halo2TrainingStep)
    assert statement.rule.momentum == 0.5
    names = statement.rule.trained
    assert len(names) == 2
    text = text.replace("batch = 2", f'batch = 2\ntrained = ["{names[0]}"]')
    (tmp_path / "s.toml").write_text(text)
    assert load_any(tmp_path / "s.toml").rule.trained == names[:1]


# Receipts ---------------------------------------------------------------------------------------


def test_a_steps_receipt_has_the_fields_of_our_own_steps(world: Path) -> None:
    key, (first, second) = key_of(world), proofs(world)
    signer = generate(ED25519)
    place = Place(31337, bytes(12) + bytes.fromhex(LEDGER[2:]))
    receipts = []
    for proof in (first, second):
        parent = receipts[-1].id if receipts else None
        facts = Facts(parent=parent)
        receipts.append(issue(proof, [signer], verifying_key=key, place=place, facts=facts))
    said = [receipt.predicate for receipt in receipts]
    assert [part["kind"] for part in said] == ["training_step"] * 2
    assert [part["step"] for part in said] == [0, 1]
    assert said[0]["fork"] == "3"
    for name in ("model", "fork", "user"):
        assert said[0][name] == said[1][name] == str(first.public[name][0])
    listed = said[0]["proof"]["commitments"]
    assert {"model", "user", "old_state", "new_state", "batch"} <= set(listed)
    shown = [part["proof"]["public"] for part in said]
    assert shown[0]["new_state"] == shown[1]["old_state"]
    assert receipts[0].grade == "proven (development key)"
    for number, receipt in enumerate(receipts):
        data = (world / f"proof{number}.json").read_bytes()
        assert verify_proof_of(receipt, data, key) == proofs(world)[number]


def test_a_receipt_is_of_one_step_and_one_place(world: Path) -> None:
    key, (first, _) = key_of(world), proofs(world)
    signer = generate(ED25519)
    with pytest.raises(zkai.InvalidInput, match="another destination"):
        issue(first, [signer], verifying_key=key, place=Place(1))
    place = Place(31337, bytes(12) + bytes.fromhex(LEDGER[2:]))
    receipt = issue(first, [signer], verifying_key=key, place=place)
    with pytest.raises(zkai.VerificationError, match="different proof"):
        verify_proof_of(receipt, (world / "proof1.json").read_bytes(), key)
    renamed = replace(first, public={**first.public, "user": (5,)})
    lying = issue(renamed, [signer], verifying_key=key, place=place)
    with pytest.raises(zkai.VerificationError, match="other labels"):
        verify_proof_of(lying, renamed.file_bytes(), key)


def step_five(world: Path) -> Halo2Proof:
    """Return a proof of the second step that calls it the sixth: the circuit does not mind."""
    statement = load_any(world / "s.toml")
    assert isinstance(statement, zkai.Halo2TrainingStep)
    state = read_state(world / "proof0.opening.json", statement.layout)
    values = {"x": X, "labels": LABELS, "state": replace(state, step=5)}
    path = world / "keys" / "proving.ezkl"
    made = zkai.prove(statement, path, values, destination=HERE)
    return Halo2Proof.from_json(made.to_json())


def test_a_ledger_takes_a_forks_steps_in_order(world: Path, tmp_path: Path) -> None:
    """A step 0 begins its fork, there being no genesis; the next ones follow, once and in order."""
    key, (first, second) = key_of(world), proofs(world)
    signer = generate()
    now = int(time.time())
    place = Place(31337, bytes(12) + bytes.fromhex(LEDGER[2:]))
    name, store = "example.org/log", trust([("signer", signer.public)])
    ledger = Ledger.create(tmp_path / "ledger.db", name, signer, store, [key], at=now)

    def submission(proof: Halo2Proof, parent: bytes | None) -> Submission:
        facts = Facts(parent=parent)
        receipt = issue(proof, [signer], verifying_key=key, place=place, facts=facts)
        return Submission(receipt.to_bytes(), proof.file_bytes())

    with pytest.raises(zkai.VerificationError, match="has not begun"):
        ledger.append(submission(second, None), now)
    begun = submission(first, None)
    ledger.append(begun, now)
    head = Receipt.from_bytes(begun.entry).id
    for proof, parent, reason in (
        (first, head, "already"),
        (second, None, "parent is not the fork's head"),
        (replace(second, public={**second.public, "user": (5,)}), head, "other labels"),
    ):
        with pytest.raises(zkai.VerificationError, match=reason):
            ledger.append(submission(proof, parent), now)
    ledger.append(submission(second, head), now)
    ledger.checkpoint([signer])
    source = LedgerSource(ledger)
    found = check_chain(source, "3", source.listed("fork", "3"))
    assert found is not None
    assert (found["count"], found["step"]) == (2, 1)
    assert found["state"] == str(state_id(second.public["new_state"]))
    with pytest.raises(zkai.VerificationError, match="missing, or one too many"):
        check_chain(source, "3", source.listed("fork", "3")[:1])
    ledger.close()
