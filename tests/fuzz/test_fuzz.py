"""A short, repeatable share of `make fuzz`, and the fuzzer's own tests."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.fuzz.harness import Finding, Target, fuzz
from tests.fuzz.targets import TARGETS, load_target
from zkai.errors import InvalidInput
from zkai.statement_file import read_samples

RUNS = 1500


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_input_is_accepted_or_refused(name: str, tmp_path: Path) -> None:
    target = load_target(name, tmp_path)
    runs = RUNS // 10 if target.slow else RUNS
    tally = fuzz(target, tmp_path, seed=1, runs=runs)
    assert tally.refused > runs // 10  # mutations that never break anything test nothing


def test_other_exceptions_are_found(tmp_path: Path) -> None:
    def fragile(folder: Path, data: bytes) -> int:
        if not data.startswith(b"magic"):
            raise InvalidInput("wrong magic")
        return data[6]  # IndexError on a file cut short

    with pytest.raises(Finding, match="fragile: IndexError") as caught:
        fuzz(Target("fragile", (b"magic12345",), fragile), tmp_path, seed=1, runs=2000)
    assert caught.value.data.startswith(b"magic")
    assert len(caught.value.data) <= 6


def test_an_archive_of_other_files_is_refused(tmp_path: Path) -> None:
    """Found by the fuzzer: numpy hands out a member without .npy's magic as bytes."""
    path = tmp_path / "samples.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"not an array")
    with pytest.raises(InvalidInput, match=r"samples\.npz: 'x(\.npy)?' is not a saved array"):
        read_samples(path)


def test_a_seed_must_be_valid(tmp_path: Path) -> None:
    def never(folder: Path, data: bytes) -> None:
        raise InvalidInput("no")

    with pytest.raises(InvalidInput):
        fuzz(Target("never", (b"x",), never), tmp_path, seed=1, runs=1)
