"""The parsers of format halo2 under fuzzing; no target needs EZKL."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.fuzz.harness import Target
from zkai.halo2.labels import LABELS
from zkai.halo2.proof import Halo2Proof
from zkai.halo2.settings import Halo2Config
from zkai.halo2.step_state import StepOpening, StepState, read_state
from zkai.halo2.training import Halo2TrainingStep
from zkai.model.heads import SoftmaxHead


def proof(folder: Path) -> Target:
    """Read a proof; what is read is written again to the same bytes."""
    public = dict.fromkeys(LABELS, (5,)) | {"new_state": (1, 2), "tag": (3, 4)}
    seed = Halo2Proof("onnx_step/1", bytes(32), bytes(32), "development", public, bytes(64))

    def use(scratch: Path, data: bytes) -> None:
        path = scratch / "proof.json"
        path.write_bytes(data)
        found = Halo2Proof.from_path(path)
        if Halo2Proof.from_json(found.to_json()) != found:
            raise AssertionError("a proof is not what it was written as")

    return Target("halo2-proof", (seed.file_bytes(),), use, json=True)


def step_opening(folder: Path) -> Target:
    """Read the private file that a fork's next step starts from."""
    config = Halo2Config(decomposition=(1024, 3))
    layout = Halo2TrainingStep(SoftmaxHead(2, 2), 2, 0.25, config=config).layout
    vector = layout.pack_state(
        {name: np.ones(shape) for name, shape in layout.tensors}, layout.salt()
    )
    state = StepState(layout, vector, model=1, fork=2, step=3, secret=4)
    path = folder / "opening.json"
    path.unlink(missing_ok=True)
    StepOpening("onnx_step/1", {"new_state": (1,)}, {"new_salt": layout.salt()}, state).write(path)
    seed = path.read_bytes()

    def use(scratch: Path, data: bytes) -> None:
        target = scratch / "opening.json"
        target.write_bytes(data)
        found = read_state(target, layout)
        again = StepState.from_json(found.to_json(), layout, "state")
        if not np.array_equal(found.vector, again.vector):
            raise AssertionError("a state is not what it was written as")

    return Target("halo2-step-opening", (seed,), use, json=True)


HALO2_TARGETS = {"halo2-proof": proof, "halo2-step-opening": step_opening}
