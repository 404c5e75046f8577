"""Statement files: each key that is read, and each way in which one is refused by name."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import zkai
from zkai import statement_file, statement_table
from zkai.circuit.statements.encrypted_update import EncryptedUpdate
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encrypted import encryption_of
from zkai.errors import InvalidInput
from zkai.he.parameters import RlweParameters
from zkai.model.heads import SoftmaxHead

STEP = """
statement = "training_step"
format = "groth16"
batch = 4
steps = 1
learning_rate = 0.0625

[head]
features = 3
classes = 2
"""


def parse(text: str) -> object:
    return statement_file.parse(text.encode(), Path("step.toml"))


def test_a_training_step_is_read() -> None:
    statement = parse(STEP)
    assert isinstance(statement, TrainingStep)
    assert statement.head.features == 3
    assert statement.batch == 4
    assert statement.version == "training_step/1"


def test_clip_norm_is_the_heads_threshold() -> None:
    genesis = STEP.replace("training_step", "genesis").replace("batch = 4\nsteps = 1\n", "")
    for text in (STEP, genesis.replace("learning_rate = 0.0625\n", "")):
        plain, clipped = parse(text), parse("clip_norm = 0.5\n" + text)
        assert clipped.head == plain.head.clipped(0.5)  # type: ignore[attr-defined]
        assert clipped.head != plain.head  # type: ignore[attr-defined]


def test_format_defaults_to_groth16_and_momentum_is_a_fraction() -> None:
    text = STEP.replace('format = "groth16"', "momentum = 0.5")
    statement = parse(text)
    assert isinstance(statement, TrainingStep)
    assert statement.head.momentum == 128


@pytest.mark.parametrize(("rows", "expected"), [(2, "groth16"), (64, "groth16-commit")])
def test_the_automatic_format_is_the_recommended_one(rows: int, expected: str) -> None:
    text = STEP.replace('"groth16"', '"auto"').replace("batch = 4", f"batch = {rows}")
    found = parse(text.replace("features = 3", "features = 16" if rows > 2 else "features = 3"))
    assert isinstance(found, TrainingStep)
    assert found.format == expected == zkai.recommend(found).format


@pytest.mark.parametrize("kind", ["training_step", "genesis", "apply_aggregate"])
def test_the_format_reaches_the_statement(kind: str) -> None:
    rest = "batch = 4" if kind == "training_step" else ""
    text = f'statement = "{kind}"\nformat = "%s"\n{rest}\n[head]\nfeatures = 3\nclasses = 2\n'
    plain, commit = (parse(text % name) for name in ("groth16", "groth16-commit"))
    assert (plain.format, commit.format) == ("groth16", "groth16-commit")  # type: ignore[attr-defined]
    assert commit == replace(plain, format="groth16-commit")  # type: ignore[type-var]


@pytest.mark.parametrize("kind", ["genesis", "apply_aggregate"])
def test_the_other_head_statements_are_read(kind: str) -> None:
    statement = parse(f'statement = "{kind}"\n[head]\nfeatures = 3\nclasses = 2\n')
    assert statement.version == f"{kind}/1"  # type: ignore[attr-defined]


def test_an_encrypted_update_is_read() -> None:
    text = 'statement = "encrypted_update"\nupdate_bits = 12\n[head]\nfeatures = 3\nclasses = 2\n'
    found = parse(text)
    assert found == EncryptedUpdate(SoftmaxHead(3, 2), encryption_of(RlweParameters(10, 2, 3)), 12)
    auto = parse('format = "auto"\nweights_commitment = "kzg"\n' + text)
    assert isinstance(auto, EncryptedUpdate)
    assert auto == replace(found, weights_commitment="kzg")  # type: ignore[type-var]
    small = "[encryption]\ndegree = 16\nprimes = [1048573, 1048571]\nvalue_bits = 12\n"
    small += "values_per_coefficient = 2\n"
    assert parse(text + small).encryption.degree == 16  # type: ignore[attr-defined]
    for change, message in (
        ('format = "groth16"\n' + text, 'an encrypted_update has "groth16-commit" alone'),
        (text + small.replace("degree = 16\n", ""), "give degree and primes, or neither"),
        (text + small.replace("degree = 16", "degree = 15"), "degree must be a power of two"),
        (text + small.replace("value_bits", "bits"), "unknown key bits"),
        (text.replace("12", "21"), r"update_bits must be in \[2, 20\]"),
        (text + "[encryption]\nvalue_bits = 0\n", "value_bits must be an integer"),
    ):
        with pytest.raises(InvalidInput, match=message):
            parse(change)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch = 4", "batch = = 4", r"step\.toml: not valid TOML .*line 4"),
        ("batch = 4", "bach = 4", r"step\.toml: unknown key bach; did you mean batch\?"),
        ("batch = 4", "zzzz = 4", r"step\.toml: unknown key zzzz; known: statement, format"),
        ("batch = 4", "", r"step\.toml: missing batch \(an integer\)"),
        ("batch = 4", "batch = 4.0", r"step\.toml: batch: expected an integer, got 4\.0"),
        ("batch = 4", "batch = true", r"batch: expected an integer, got True"),
        ("batch = 4", 'batch = "4"', r"batch: expected an integer, got '4'"),
        ("batch = 4", "batch = 0", r"step\.toml: .*batch"),
        ("steps = 1", "steps = 0", r"step\.toml: .*steps"),
        ("0.0625", "nan", r"learning_rate: expected a finite number, got nan"),
        ("0.0625", '"0.1"', r"learning_rate: expected a finite number, got '0\.1'"),
        ("0.0625", "0.1", r"step\.toml: learning rate 0\.1 .*the nearest are"),
        (
            "steps = 1",
            "momentum = 0.3",
            r"momentum: expected a multiple of 1/256.*nearest is 0\.30",
        ),
        ("steps = 1", "momentum = 1.0", r"momentum: expected a multiple of 1/256"),
        ("steps = 1", "clip_norm = 0", r"step\.toml: clip: the norm must be"),
        ("steps = 1", "clip_norm = true", r"clip_norm: expected a finite number"),
        ("classes = 2", "classes = 2\nclip = 5", r"\[head\]: unknown key clip"),
        ("steps = 1", 'loss = "mse"', r'loss: expected "softmax", got \'mse\''),
        ("groth16", "halo2", r"unknown key steps"),
        (
            "groth16",
            "plonk",
            r'"halo2" or "auto", got \'plonk\'',
        ),
        ('"groth16"', "16", r'"halo2" or "auto", got 16'),
        (
            '"groth16"',
            '["groth16"]',
            r'"halo2" or "auto", got \[',
        ),
        ("training_step", "trainingstep", r'statement: expected "inference" or "training_step"'),
        ("[head]", "[haed]", r"unknown key haed; did you mean head\?"),
        ("classes = 2", "classes = 2\nwidth = 3", r"step\.toml: \[head\]: unknown key width"),
        ("classes = 2", "", r"step\.toml: \[head\]: missing classes"),
        ("classes = 2", "classes = 1", r"step\.toml: head: classes must be 2 to 256, got 1"),
        ("classes = 2", "classes = 2.5", r"\[head\]: classes: expected an integer, got 2\.5"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, message: str) -> None:
    assert old in STEP
    with pytest.raises(InvalidInput, match=message):
        parse(STEP.replace(old, new))


def test_a_head_that_is_no_table_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"head: expected a table, got 3"):
        parse('statement = "genesis"\nhead = 3\n')


def test_files_that_are_no_text_or_too_large_or_missing_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    with pytest.raises(InvalidInput, match=r"s\.toml: cannot be read \(No such file"):
        statement_file.load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match=r"s\.toml: not valid TOML"):
        statement_file.load(path)
    path.write_bytes(b"#" * (statement_file.MAX_FILE_BYTES + 1))
    with pytest.raises(InvalidInput, match=r"s\.toml: larger than"):
        statement_file.load(path)


def test_samples_are_read_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", input=np.ones((2, 3), np.float32))
    samples = statement_table.read_samples(tmp_path / "s.npz")
    assert samples["input"].shape == (2, 3)


def test_samples_that_need_pickle_run_nothing(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    np.savez(tmp_path / "s.npz", input=np.array([Trap()], dtype=object))
    with pytest.raises(InvalidInput, match=r"s\.npz: 'input\.npy' claims more than it holds"):
        statement_table.read_samples(tmp_path / "s.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip", b"\x93NUMPY"])
def test_samples_that_are_no_archive_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"s\.npz: not an \.npz file"):
        statement_table.read_samples(tmp_path / "s.npz")


def test_truncated_and_odd_samples_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    np.savez(path, input=np.ones(100))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InvalidInput, match=r"s\.npz: not an \.npz file"):
        statement_table.read_samples(path)
    np.savez(path)
    with pytest.raises(InvalidInput, match=r"s\.npz: holds no arrays"):
        statement_table.read_samples(path)
    np.savez(path, input=np.array(["a"]))
    with pytest.raises(InvalidInput, match=r"s\.npz: array 'input' has dtype <U1"):
        statement_table.read_samples(path)


def test_an_archive_that_unpacks_to_too_much_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement_table, "MAX_SAMPLE_BYTES", 1 << 16)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(1 << 16))
    with zipfile.ZipFile(tmp_path / "s.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("input.npy", buffer.getvalue())
    assert (tmp_path / "s.npz").stat().st_size < 1 << 16
    with pytest.raises(InvalidInput, match=r"s\.npz: unpacks to more than"):
        statement_table.read_samples(tmp_path / "s.npz")


@pytest.mark.parametrize("shape", ["(1099511627776,)", "(2, -3)", "(9,)", "'a'"])
def test_a_header_that_claims_more_than_the_file_holds_is_refused(
    shape: str, tmp_path: Path
) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    content = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode() + bytes(64)
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as archive:
        archive.writestr("input.npy", content)
    with pytest.raises(InvalidInput, match=r"s\.npz: "):
        statement_table.read_samples(tmp_path / "s.npz")
