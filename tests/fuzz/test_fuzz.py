"""A short, repeatable share of `make fuzz`, and the fuzzer's own tests."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from tests.fuzz.guided import _Sources, mutator
from tests.fuzz.harness import Finding, Target, fuzz
from tests.fuzz.targets import TARGETS, load_target
from zkai.errors import InvalidInput
from zkai.statement_table import read_samples

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


def test_the_list_of_parsers_names_targets(repo: Path) -> None:
    table = (repo / "tests/fuzz/README.md").read_text().split("| what is read")[1]
    listed = re.findall(r"`([a-z0-9-]+)`", table)
    assert len(listed) >= 60
    assert set(listed) <= set(TARGETS)


def test_guided_inputs_are_changed_in_both_ways() -> None:
    """libFuzzer's mutations and ours take turns, and neither makes an input too long."""

    class Fuzzer:
        @staticmethod
        def Mutate(data: bytes, most: int) -> bytes:
            return b"theirs"

    change = mutator(Fuzzer, True, (b'{"a": [1, 2]}',))
    found = [change(b'{"a": [1, 2]}', 100, seed) for seed in range(60)]
    assert 15 < found.count(b"theirs") < 45
    assert any(data.startswith(b"{") and data != b'{"a": [1, 2]}' for data in found)
    assert max(map(len, found)) <= 100


def test_guided_fuzzing_finds_sources_whatever_is_installed(repo: Path) -> None:
    for name, file in (("zkai", "__init__.py"), ("zkai.ledger.note", "ledger/note.py")):
        spec = _Sources().find_spec(name, None)
        assert spec is not None
        assert spec.origin == str(repo / "zkai" / file)
    for name in ("json", "zkai._native", "zkai.none"):
        assert _Sources().find_spec(name, None) is None
