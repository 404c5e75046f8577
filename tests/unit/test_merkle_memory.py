"""`zkai merkle root|sample|verify` on a file larger than its memory: 1 GiB in less than 200 MB."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BEACON = "0x" + "5a" * 32
SLOW = bool(os.environ.get("ZKAI_TEST_SLOW"))
SIZE = 1 << 30 if SLOW else 1 << 24
MOST = 200_000_000


def write_model(path: Path, size: int) -> None:
    """A .safetensors file of three tensors: bfloat16, float32 and a small one."""
    shapes = {
        "wide": ("BF16", [size // 2 // 1024 // 2, 1024]),
        "deep": ("F32", [(size - size // 2 - 4096) // 4]),
        "small": ("U8", [4096]),
    }
    header, end = {}, 0
    for name, (kind, shape) in shapes.items():
        count = {"BF16": 2, "F32": 4, "U8": 1}[kind]
        for n in shape:
            count *= n
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end := end + count]}
    text = json.dumps(header).encode()
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for start in range(0, end, len(block)):
            file.write(block[: min(len(block), end - start)])


def zkai(folder: Path, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "zkai.cli", *words, "--json"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


# The kernel's own mark of this program: what wait4 tells begins at the parent's.
MEASURED = """
import sys
from zkai.cli import main
status = main(sys.argv[1:])
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(int(line.split()[1]) * 1024, file=sys.stderr)
sys.exit(status)
"""


def peak(folder: Path, *words: str) -> int:
    """Run a command once more, alone, and return the most memory that it had."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURED, *words, "--json"],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stderr.split()[-1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak")
def test_a_large_file_is_committed_sampled_and_checked_in_little_memory(tmp_path: Path) -> None:
    write_model(tmp_path / "m.safetensors", SIZE)
    made = zkai(tmp_path, "merkle", "root", "m.safetensors", "-o", "t.json")
    assert made["bytes"] == SIZE
    asked = ["--table", "t.json", "--beacon", BEACON, "--fraction", "0.01"]
    commands = {
        "root": ["merkle", "root", "m.safetensors", "-o", "u.json"],
        "sample": ["merkle", "sample", "m.safetensors", *asked, "-o", "answer"],
        "verify": ["merkle", "verify", "answer", *asked, "--root", made["root"]],
    }
    peaks = {name: peak(tmp_path, *words) for name, words in commands.items()}
    print(f"{SIZE >> 20} MiB: " + ", ".join(f"{k} {v / 1e6:.0f} MB" for k, v in peaks.items()))
    assert (tmp_path / "u.json").read_bytes() == (tmp_path / "t.json").read_bytes()
    assert max(peaks.values()) < MOST, peaks


@pytest.mark.skipif(not SLOW, reason="1 GiB; make test-slow")
def test_a_changed_bit_far_inside_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_model(path, SIZE)
    made = zkai(tmp_path, "merkle", "root", str(path), "-o", "t.json")
    with path.open("r+b") as file:
        file.seek(3 * SIZE // 4)
        byte = file.read(1)[0]
        file.seek(3 * SIZE // 4)
        file.write(bytes([byte ^ 1]))
    assert zkai(tmp_path, "merkle", "root", str(path))["root"] != made["root"]
