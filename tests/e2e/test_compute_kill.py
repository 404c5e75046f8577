"""A trainer killed at any moment goes on where its records end, to the bit; life without torch."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.unit.compute_support import record_run, trainer
from zkai.compute.kept import Run, verify_groups
from zkai.compute.record import verify_chain
from zkai.receipt.signer import PrivateKey

TRAINER = """
import sys
from pathlib import Path
from tests.unit import compute_support
from zkai.receipt.signer import PrivateKey

class Telling(compute_support.Toy):
    def batch(self, step):
        print(step, flush=True)
        return super().batch(step)

secret = bytes.fromhex(sys.argv[2])
compute_support.trainer = lambda: PrivateKey("ML-DSA-65", secret)
compute_support.record_run(Path(sys.argv[1]), program=Telling())
"""


def train_until(repo: Path, folder: Path, key: PrivateKey, last: int | None) -> None:
    """Train in a process of its own, killed when it begins step `last`."""
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINER, str(folder), key.secret.hex()],
        cwd=repo, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            if last is not None and int(line) == last:
                process.send_signal(signal.SIGKILL)
                break
    assert process.wait() == (0 if last is None else -signal.SIGKILL)


def test_a_killed_run_goes_on_to_the_bit(repo: Path, tmp_path: Path) -> None:
    record_run(tmp_path / "whole")
    for last in (4, None):
        train_until(repo, tmp_path / "cut", trainer(), last)
    whole, cut = Run(tmp_path / "whole"), Run(tmp_path / "cut")
    verify_chain(cut.records(), cut.task)
    assert [r.groups for r in cut.records()] == [r.groups for r in whole.records()]
    for step in cut.steps():
        verify_groups(cut.signed(step).record, cut.groups(step), cut.task.leaf_bytes)


def test_checking_needs_no_torch(repo: Path, tmp_path: Path) -> None:
    """Challenges, answers and checks are made without torch; a replay says what is missing."""
    record_run(tmp_path / "run")
    record = f"{tmp_path}/run/records/0000000000000003.json"
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from zkai.cli import main\n"
        f"assert main(['compute', 'challenge', {record!r}, '--group', 'deltas', '--value',"
        f" '0x' + 'ab' * 32, '-o', {str(tmp_path / 'c')!r}]) == 0\n"
        f"assert main(['compute', 'answer', {str(tmp_path / 'run')!r}, {str(tmp_path / 'c')!r},"
        f" '-o', {str(tmp_path / 'a')!r}]) == 0\n"
        "try:\n"
        "    import zkai.compute.replay\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=repo, capture_output=True, text=True, check=True
    )
    assert "ToolError recording needs torch: pip install 'zkai[torch]'" in done.stdout
