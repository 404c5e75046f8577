"""Bad input of every kind, for every command: a table.

Each row spoils one thing, and says which exit status must follow and what the message
must name. Whatever happens, no file appears or changes, and no traceback is shown.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import assert_names, tree
from zkai import cli, opening, statement_table
from zkai.commands import files
from zkai.encoding import FIELD_MODULUS
from zkai.model import export as onnx_reader
from zkai.proof import keys as key_files

Spoil = Callable[[Path], object]

VERIFIED, REFUSED, UNUSABLE, TOOL_MISSING = 0, 1, 2, 3


# How things are spoilt ------------------------------------------------------------------------


def nothing(desk: Path) -> None:
    """Spoil nothing: the row's honest twin."""


def without(name: str) -> Spoil:
    return lambda desk: (desk / name).unlink()


def truncated(name: str, keep: int = 40) -> Spoil:
    return lambda desk: (desk / name).write_bytes((desk / name).read_bytes()[:keep])


def holding(name: str, content: str | bytes) -> Spoil:
    data = content.encode() if isinstance(content, str) else content
    return lambda desk: (desk / name).write_bytes(data)


def oversized(name: str) -> Spoil:
    """Make the file larger than its kind may be (`small_caps` has lowered the caps)."""
    return lambda desk: os.truncate(desk / name, (1 << 20) + 1)


def replacing(name: str, old: str, new: str) -> Spoil:
    def spoil(desk: Path) -> None:
        text = (desk / name).read_text()
        assert old in text
        (desk / name).write_text(text.replace(old, new, 1))

    return spoil


def field(name: str, path: Sequence[str], value: Any) -> Spoil:
    """Set one field of a JSON file."""

    def spoil(desk: Path) -> None:
        whole = json.loads((desk / name).read_text())
        place = whole
        for key in path[:-1]:
            place = place[key]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        (desk / name).write_text(json.dumps(whole))

    return spoil


def folder(name: str) -> Spoil:
    """Put a folder where a file is to be written: fails for root too, unlike a permission."""

    def spoil(desk: Path) -> None:
        (desk / name).unlink(missing_ok=True)
        (desk / name).mkdir()
        (desk / name / "kept").touch()

    return spoil


def own_keys(desk: Path) -> None:
    """Replace the link to the shared keys by a copy, to be spoilt."""
    link = desk / "inference-keys"
    source = link.resolve()
    link.unlink()
    link.mkdir()
    for file in source.iterdir():
        (link / file.name).write_bytes(file.read_bytes())


def both(first: Spoil, second: Spoil) -> Spoil:
    def spoil(desk: Path) -> None:
        first(desk)
        second(desk)

    return spoil


# Commands -------------------------------------------------------------------------------------

ESTIMATE = "estimate inference.toml"
SETUP = "setup inference.toml -o new"
PROVE = "prove inference.toml --keys inference-keys --input input.json -o new.json"
GENESIS = "prove genesis.toml --keys genesis-keys --input base.json -o new.json"
STEP = "prove step.toml --keys step-keys --input batch.json --state s0.json -o new.json"
VERIFY = "verify proof.json --key inference-keys/verifying.json"
PY_ECC = VERIFY + " --verifier py-ecc"
RENDER = "chain render --key inference-keys/verifying.json -o new.sol"
DEPLOY = "chain deploy --key inference-keys/verifying.json"
CHAIN = "chain verify proof.json --key inference-keys/verifying.json"
EXPORT = "export model.py:net -o new.onnx"
PREPARE = "setup --ceremony prepare --ptau p.ptau -o new.ptau"
INIT = "setup genesis.toml --ceremony init --ptau p.ptau -o new.zkey"
CONTRIBUTE = "setup --ceremony contribute --zkey inference-keys/proving.zkey -o new.zkey --name A"
BEACON = "setup --ceremony beacon --zkey inference-keys/proving.zkey -o new.zkey --beacon 00ff"
CEREMONY = "setup inference.toml --ceremony verify --ptau p.ptau --zkey k.zkey -o new"
PTAU = "setup genesis.toml --ptau p.ptau -o new"
KEY = "inference-keys/verifying.json"
ZKEY = "inference-keys/proving.zkey"
POINT = ["1", "2"]
RPC = " --rpc http://127.0.0.1:1"


@dataclass(frozen=True)
class Row:
    command: str
    spoil: Spoil
    status: int
    message: str


def with_key(spoil: Spoil) -> Spoil:
    return both(own_keys, spoil)


STATEMENT_ROWS = [
    Row(command, spoil, UNUSABLE, message)
    for command in (ESTIMATE, SETUP, PROVE)
    for spoil, message in (
        (without("inference.toml"), r"inference\.toml: cannot be read \(No such file"),
        (truncated("inference.toml", 50), r"inference\.toml: .*(TOML|missing)"),
        (oversized("inference.toml"), r"inference\.toml: larger than"),
        (holding("inference.toml", b"\xff"), r"inference\.toml: not valid TOML"),
        (replacing("inference.toml", "committed", "secret"), r"\[visibility\]: input: expected"),
        (replacing("inference.toml", "input =", "inptu ="), r"inference\.toml.*inptu"),
        (replacing("inference.toml", '"model.onnx"', "3"), r"model: expected a string, got 3"),
        (replacing("inference.toml", '"groth16"', '"plonk"'), r"format: expected"),
        (without("model.onnx"), r"model\.onnx: cannot be read"),
        (truncated("model.onnx", 100), r"model\.onnx: not an ONNX file"),
        (oversized("model.onnx"), r"model\.onnx: larger than"),
        (holding("model.onnx", "text"), r"model\.onnx: not an ONNX file"),
        (without("samples.npz"), r"samples\.npz: cannot be read"),
        (truncated("samples.npz"), r"samples\.npz: not an \.npz file"),
        (oversized("samples.npz"), r"samples\.npz: larger than"),
        (lambda d: np.savez(d / "samples.npz", x=["a"]), r"samples\.npz: array 'x' has dtype"),
        (lambda d: np.savez(d / "samples.npz", x=np.full((2, 3), np.nan)), r"samples\.npz.*NaN"),
        (lambda d: np.savez(d / "samples.npz", x=np.ones((2, 4))), r"samples\.npz.*shape"),
        (lambda d: np.savez(d / "samples.npz", x=[1.0], y=[2.0]), r"samples\.npz.*inputs"),
    )
]

COMMAND_ROWS = [
    Row(ESTIMATE, nothing, VERIFIED, ""),
    Row(VERIFY, nothing, VERIFIED, ""),
    Row(PY_ECC, nothing, VERIFIED, ""),
    Row(CHAIN, nothing, VERIFIED, ""),
    Row(DEPLOY, nothing, VERIFIED, ""),
    *STATEMENT_ROWS,
    # setup
    Row("setup inference.toml", nothing, UNUSABLE, r"name a STATEMENT\.toml and, with -o"),
    Row(SETUP, holding("new", "a file"), UNUSABLE, r"new: exists and is not a folder"),
    Row(SETUP, folder("new"), UNUSABLE, r"new: holds files already"),
    Row(SETUP + "/a/b", holding("new", ""), UNUSABLE, r"new/a/b: cannot be made \(Not a dir"),
    Row(SETUP + " --name A", nothing, UNUSABLE, r"--name belongs to a ceremony"),
    Row(PTAU, nothing, UNUSABLE, r"p\.ptau: cannot be read"),
    Row(PTAU, holding("p.ptau", b"ptau"), UNUSABLE, r"p\.ptau: truncated"),
    Row(PTAU, holding("p.ptau", b"zkey" + bytes(60)), UNUSABLE, r"p\.ptau"),
    Row(PREPARE, nothing, UNUSABLE, r"p\.ptau: cannot be read"),
    Row(PREPARE, holding("p.ptau", b"ptau" + bytes(60)), UNUSABLE, r"p\.ptau"),
    Row(PREPARE, folder("new.ptau"), UNUSABLE, r"new\.ptau: is a folder"),
    Row(INIT, holding("p.ptau", b"pt"), UNUSABLE, r"p\.ptau: truncated"),
    Row(INIT.replace("genesis.toml ", ""), nothing, UNUSABLE, r"init: needs a STATEMENT\.toml"),
    Row(CONTRIBUTE, with_key(without(ZKEY)), UNUSABLE, r"proving\.zkey: cannot be read"),
    Row(
        CONTRIBUTE,
        with_key(truncated(ZKEY, 5000)),
        UNUSABLE,
        r"proving\.zkey.*are left in the file",
    ),
    Row(CONTRIBUTE, with_key(holding(ZKEY, b"zkey")), UNUSABLE, r"proving\.zkey: truncated"),
    Row(CONTRIBUTE + "x" * 70, nothing, UNUSABLE, r"name has at most 64 bytes"),
    Row(CONTRIBUTE, folder("new.zkey"), UNUSABLE, r"new\.zkey: is a folder"),
    Row(CONTRIBUTE.replace(" --name A", ""), nothing, UNUSABLE, r"contribute: needs --name"),
    Row(CONTRIBUTE + " --beacon 00", nothing, UNUSABLE, r"contribute: does not take --beacon"),
    Row(BEACON.replace("00ff", "0x0g"), nothing, UNUSABLE, r"--beacon: expected hexadecimal"),
    Row(BEACON + " --iterations 90", nothing, UNUSABLE, r"a beacon needs"),
    Row(CEREMONY, holding("k.zkey", b"zkey"), UNUSABLE, r"p\.ptau: cannot be read"),
    # prove
    Row(PROVE, without("input.json"), UNUSABLE, r"input\.json: cannot be read"),
    Row(PROVE, truncated("input.json", 9), UNUSABLE, r"input\.json: not valid JSON"),
    Row(PROVE, oversized("input.json"), UNUSABLE, r"input\.json: larger than"),
    Row(PROVE, holding("input.json", '{"x": NaN}'), UNUSABLE, r"input\.json: holds NaN"),
    Row(PROVE, holding("input.json", '{"x": "1"}'), UNUSABLE, r"'x': expected real numbers"),
    Row(PROVE, holding("input.json", '{"x": [1, 2, 3]}'), UNUSABLE, r"x: expected shape \(1, 3\)"),
    Row(
        PROVE, holding("input.json", '{"x": [[1e6, 0, 0]]}'), UNUSABLE, r"'x': a value does not fit"
    ),
    Row(
        PROVE,
        holding("input.json", "{}"),
        UNUSABLE,
        r"missing input \(real numbers, shape",
    ),
    Row(PROVE, field("input.json", ["y"], 1), UNUSABLE, r"unknown y"),
    Row(PROVE, field("input.json", ["input_salt"], "-1"), UNUSABLE, r"input_salt: expected a"),
    Row(
        PROVE,
        field("input.json", ["input_salt"], str(FIELD_MODULUS)),
        UNUSABLE,
        r"input_salt: the value is not below its modulus",
    ),
    Row(PROVE, with_key(without(ZKEY)), UNUSABLE, r"proving\.zkey: cannot be read"),
    Row(PROVE, with_key(without(KEY)), UNUSABLE, r"verifying\.json: cannot be read"),
    Row(PROVE, with_key(truncated(ZKEY, 9000)), UNUSABLE, r"proving\.zkey.*are left in the file"),
    Row(PROVE.replace("inference-keys", "step-keys"), nothing, UNUSABLE, r"key of training_step/1"),
    Row(PROVE.replace("inference-keys", "absent"), nothing, UNUSABLE, r"absent/proving\.zkey"),
    Row(PROVE, folder("new.json"), UNUSABLE, r"new\.json: is a folder"),
    Row(PROVE + "/p.json", holding("new.json", ""), UNUSABLE, r"new\.json is not a folder"),
    Row(PROVE + " --opening no/o.json", nothing, UNUSABLE, r"no/o\.json: cannot be written"),
    Row(PROVE + " --opening new.json", nothing, UNUSABLE, r"need different files"),
    Row(PROVE, holding("new.opening.json", "salt"), UNUSABLE, r"new\.opening\.json: exists"),
    Row(PROVE + " --ledger 0x12", nothing, UNUSABLE, r"ledger: expected 32 bytes, or 0x"),
    Row(PROVE + " --chain-id -1", nothing, UNUSABLE, r"chain_id must be an integer in"),
    Row(PROVE + " --state s0.json", nothing, UNUSABLE, r"--state: inference/1 takes no state"),
    Row(
        GENESIS,
        holding("base.json", '{"weights": [[1, 2]]}'),
        UNUSABLE,
        r"expected weights \(3, 2\)",
    ),
    Row(GENESIS, field("base.json", ["bias"], [9e9, 0]), UNUSABLE, r"bias"),
    Row(GENESIS, field("base.json", ["secret"], 1.5), UNUSABLE, r"secret must be an integer"),
    Row(STEP, nothing, UNUSABLE, r"s0\.json: cannot be read"),
    Row(STEP, holding("s0.json", "{}"), UNUSABLE, r"s0\.json: format None, expected"),
    Row(STEP, holding("s0.json", "[" * 99999), UNUSABLE, r"s0\.json: not valid JSON"),
    Row(STEP, oversized("batch.json"), UNUSABLE, r"batch\.json: larger than"),
    Row(
        STEP.replace(" --state s0.json", ""),
        nothing,
        UNUSABLE,
        r"missing state \(of an earlier proof's opening\), or weights",
    ),
    # verify
    *[
        Row(command, spoil, status, message)
        for command in (VERIFY, PY_ECC, CHAIN)
        for spoil, status, message in (
            (without("proof.json"), UNUSABLE, r"proof\.json: cannot be read"),
            (truncated("proof.json"), UNUSABLE, r"proof\.json: not valid JSON"),
            (oversized("proof.json"), UNUSABLE, r"proof\.json: larger than"),
            (holding("proof.json", "[]"), UNUSABLE, r"proof\.json"),
            (holding("proof.json", '{"a": NaN}'), UNUSABLE, r"proof\.json: NaN is not"),
            (field("proof.json", ["format"], "zkai.groth16/2"), UNUSABLE, r"'zkai\.groth16/2'"),
            (field("proof.json", ["format"], None), UNUSABLE, r"proof\.json: format None"),
            (field("proof.json", ["key_status"], None), UNUSABLE, r"key_status"),
            (field("proof.json", ["key_status"], "ceremony"), REFUSED, r"another key status"),
            (field("proof.json", ["statement"], "inference/2"), REFUSED, r"another statement"),
            (field("proof.json", ["vk_digest"], "0x" + "0" * 64), REFUSED, r"another key"),
            (field("proof.json", ["vk_digest"], "0x" + "A" * 64), UNUSABLE, r"vk_digest"),
            (field("proof.json", ["public", "context"], None), REFUSED, r"public signals"),
            (field("proof.json", ["public", "context"], 5), UNUSABLE, r"public\.context"),
            (field("proof.json", ["public", "context"], "05"), UNUSABLE, r"public\.context"),
            (field("proof.json", ["public", "output"], ["1", "2", "3"]), REFUSED, r"output has 3"),
            (field("proof.json", ["proof", "a"], ["1"]), UNUSABLE, r"proof\.a"),
            (field("proof.json", ["proof", "a"], POINT), REFUSED, r"."),
            (field("proof.json", ["proof", "a"], ["1", "1"]), REFUSED, r"."),
            (with_key(without(KEY)), UNUSABLE, r"verifying\.json: cannot be read"),
            (with_key(truncated(KEY)), UNUSABLE, r"verifying\.json: not valid JSON"),
            (with_key(oversized(KEY)), UNUSABLE, r"verifying\.json: larger than"),
            (with_key(field(KEY, ["format"], "x/1")), UNUSABLE, r"verifying\.json: format 'x/1'"),
            (with_key(field(KEY, ["key_status"], "ceremony")), UNUSABLE, r"vk_digest: not the dig"),
            (with_key(field(KEY, ["delta"], None)), UNUSABLE, r"verifying\.json.*delta"),
            (with_key(field(KEY, ["alpha"], ["1", "1"])), UNUSABLE, r"alpha"),
            (with_key(field(KEY, ["alpha"], ["1", "2"])), UNUSABLE, r"vk_digest: not the digest"),
        )
    ],
    Row(VERIFY.replace("inference-keys", "step-keys"), nothing, REFUSED, r"another statement"),
    Row(VERIFY + " --production", nothing, REFUSED, r"this is a development key"),
    Row(VERIFY + " --chain-id 5", nothing, REFUSED, r"another chain, ledger or recipient"),
    Row(VERIFY + " --recipient 0xzz", nothing, UNUSABLE, r"recipient: expected 32 bytes, or"),
    # chain
    Row(RENDER, with_key(without(KEY)), UNUSABLE, r"verifying\.json: cannot be read"),
    Row(RENDER, with_key(truncated(KEY)), UNUSABLE, r"verifying\.json: not valid JSON"),
    Row(RENDER, folder("new.sol"), UNUSABLE, r"new\.sol: cannot be written"),
    Row(RENDER + "/x", holding("new.sol", ""), UNUSABLE, r"new\.sol/x: cannot be written"),
    Row(RENDER + " --name 3x", nothing, UNUSABLE, r"contract name '3x'"),
    Row(DEPLOY, with_key(holding(KEY, "{}")), UNUSABLE, r"verifying\.json: format None"),
    Row(DEPLOY + " --chain-id 0", nothing, UNUSABLE, r"chain id 0"),
    Row(DEPLOY + " --rpc ftp://x", nothing, UNUSABLE, r"private key|RPC URL"),
    Row(DEPLOY + RPC, nothing, UNUSABLE, r"--key-file, or set the variable ZKAI_CHAIN_KEY"),
    Row(DEPLOY + RPC + " --key-file no", nothing, UNUSABLE, r"no: cannot be read"),
    Row(
        DEPLOY + RPC + " --key-file k",
        both(holding("k", "12"), lambda d: (d / "k").chmod(0o600)),
        UNUSABLE,
        r"k: expected a private key",
    ),
    Row(DEPLOY + RPC + " --key-file k", holding("k", "1" * 64), UNUSABLE, r"k: others may read"),
    Row(CHAIN + RPC, nothing, UNUSABLE, r"name the verifier with --contract"),
    Row(CHAIN + " --send", nothing, UNUSABLE, r"need --rpc"),
    Row(CHAIN + RPC + " --contract 0x12", nothing, TOOL_MISSING, r"127\.0\.0\.1:1 cannot be"),
    # export, demo
    Row(EXPORT, nothing, UNUSABLE, r"model\.py: no such file"),
    Row(EXPORT, holding("model.py", "net = 3"), UNUSABLE, r"net is a int, not a torch module"),
    Row(EXPORT, holding("model.py", "1 / 0"), UNUSABLE, r"model\.py: could not be run: line 1"),
    Row(
        EXPORT, both(holding("model.py", "1 / 0"), folder("new.onnx")), UNUSABLE, r"new\.onnx: is a"
    ),
    Row("demo -o new/x", holding("new", ""), UNUSABLE, r"new"),
]


@pytest.fixture
def small_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the caps on sizes, so that a file of 1 MiB is too large for each of them."""
    for module, name in (
        (statement_table, "MAX_SAMPLE_BYTES"),
        (onnx_reader, "MAX_FILE_BYTES"),
        (files, "MAX_INPUT_BYTES"),
        (opening, "MAX_BYTES"),
        (key_files.Proof, "MAX_BYTES"),
        (key_files.KeyDocument, "MAX_BYTES"),
    ):
        assert getattr(module, name) >= 1 << 20
        monkeypatch.setattr(module, name, 1 << 20)


@pytest.mark.usefixtures("small_caps")
@pytest.mark.parametrize(
    "row", COMMAND_ROWS, ids=lambda row: f"{row.command.split(' -')[0]} {row.message}"
)
def test_commands(
    row: Row, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(desk)
    monkeypatch.delenv("ZKAI_CHAIN_KEY", raising=False)
    row.spoil(desk)
    before = tree(desk)
    status = cli.main([*row.command.split(), "--json"])
    out, err = capsys.readouterr()
    assert status == row.status, err
    answer = json.loads(out)
    assert answer["ok"] is (status == VERIFIED)
    assert "Traceback" not in err
    if status != VERIFIED:
        assert answer["exit_status"] == status
        assert answer["message"] in err
        assert_names(row.message, answer["message"])
    assert tree(desk) == before
