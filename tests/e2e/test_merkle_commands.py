"""`zkai merkle`: a file committed to, sampled and checked, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zkai import cli

BEACON = "0x" + "17" * 32


def run(capsys: pytest.CaptureFixture[str], words: str, status: int = 0) -> dict[str, Any]:
    assert cli.main([*words.split(), "--json"]) == status
    return dict(json.loads(capsys.readouterr().out))


def test_a_file_is_committed_sampled_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = np.random.default_rng(3).normal(size=(300, 70)).astype(np.float32)
    np.save("w.npy", weights)
    made = run(capsys, "merkle root w.npy --leaf-bytes 256 -o table.json")
    assert (made["tensors"], made["bytes"], made["leaves"]) == (1, 84000, 329)
    assert run(capsys, "merkle root w.npy --leaf-bytes 256")["root"] == made["root"]
    asked = f"--table table.json --beacon {BEACON} --count 40"
    taken = run(capsys, f"merkle sample w.npy {asked} -o answer")
    assert (taken["samples"], taken["leaves"]) == (40, 329)
    found = run(capsys, f"merkle verify answer {asked} --root {made['root']}")
    assert found["grade"] == "sampled"
    assert found["detection"]["0.1"] == pytest.approx(0.989, abs=2e-3)
    # Another beacon, another number of samples, another root: not this answer's.
    for words in (
        f"--table table.json --beacon 0x{'18' * 32} --count 40 --root {made['root']}",
        f"--table table.json --beacon {BEACON} --count 41 --root {made['root']}",
        f"--table table.json --beacon {BEACON} --root {made['root']}",
        f"--table table.json --beacon {BEACON} --count 40 --root {BEACON}",
    ):
        assert (
            run(capsys, f"merkle verify answer {words}", status=1)["error"] == "verification_failed"
        )
    # One changed weight: the trainer cannot answer any more.
    weights[0, 0] += 1
    np.save("w.npy", weights)
    message = run(capsys, f"merkle sample w.npy {asked} -o other", status=1)["message"]
    assert "changed since it was committed to" in message
    assert not Path("other").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("merkle root missing.npy", "missing.npy"),
        ("merkle root text", "neither a .safetensors nor a .npy"),
        ("merkle root w.npy --leaf-bytes 0", "leaves have 1 to"),
        ("merkle sample w.npy --table t.json --beacon 0x12 -o a", "--beacon"),
        (f"merkle sample w.npy --table w.npy --beacon {BEACON} -o a", "w.npy"),
        (f"merkle sample w.npy --table t.json --beacon {BEACON} --fraction 0 -o a", "--fraction"),
        ("merkle sample w.npy --table t.json --beacon 0x0 --count 2 --fraction 1 -o a", "both"),
        (f"merkle verify text --table t.json --beacon {BEACON} --root {BEACON}", "neither"),
        (f"merkle verify text --table t.json --beacon {BEACON} --root 12", "--root"),
    ],
)  # fmt: skip
def test_unusable_input_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: str, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    np.save("w.npy", np.ones(9))
    Path("text").write_text("not a tensor, but longer than a header is")
    run(capsys, "merkle root w.npy -o t.json")
    assert message in run(capsys, words, status=2)["message"]
