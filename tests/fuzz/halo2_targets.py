"""The parsers of format halo2 under fuzzing; no target needs EZKL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.harness import Target
from zkai.encoding import hex32
from zkai.halo2 import srs
from zkai.halo2.keys import Halo2VerifyingKey
from zkai.halo2.labels import LABELS
from zkai.halo2.proof import Halo2Proof
from zkai.halo2.settings import Halo2Config, Settings, canonical
from zkai.halo2.step_state import StepOpening, StepState, read_state
from zkai.halo2.training import Halo2TrainingStep
from zkai.model.heads import SoftmaxHead
from zkai.proof.points import G2_GENERATOR
from zkai.proof.ratio import g2_multiply


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


def settings_json() -> dict[str, Any]:
    """What EZKL writes of a small circuit, as far as it is read."""
    arguments = {
        "logrows": 8, "decomp_base": 64, "decomp_legs": 3, "scale_rebase_multiplier": 1,
        "input_scale": 7, "param_scale": 7, "num_inner_cols": 2, "input_visibility": "Public",
        "output_visibility": "KZGCommit", "lookup_range": [0, 0],
        "ignore_range_check_inputs_outputs": False,
        "param_visibility": {"Hashed": {"hash_is_public": True, "outlets": []}},
    }  # fmt: skip
    return {
        "run_args": arguments,
        "num_rows": 100,
        "model_input_scales": [7],
        "model_output_scales": [7],
        "model_instance_shapes": [[1, 4]],
        "module_sizes": {"polycommit": [2], "poseidon": [10, [1]]},
        "required_lookups": [],
        "required_range_checks": [[-1, 1], [0, 63]],
    }


def settings(folder: Path) -> Target:
    """Read the settings that EZKL's process wrote, and all that is computed from them."""

    def use(scratch: Path, data: bytes) -> None:
        found = canonical(data)
        seen = found.visibility, found.hashes, found.committed_lengths, found.decomposition
        if canonical(found.text.encode()) != found or not seen:
            raise AssertionError("settings are not what they were written as")

    return Target("halo2-settings", (json.dumps(settings_json()).encode(),), use, json=True)


def key(folder: Path) -> Target:
    """Read a verifying key; what is read is written again with the same digest."""
    description = {
        "statement": "onnx_inference/1", "model": hex32(bytes(32)), "weights": "hidden",
        "inputs": [["x", [1, 4]]], "outputs": [["y", [1, 2]]],
        "visibility": ["public", "polycommit", "hashed"],
        "config": {"scale": 7, "columns": 2, "check_ranges": True},
    }  # fmt: skip
    text = canonical(json.dumps(settings_json()).encode()).text
    tau = g2_multiply(G2_GENERATOR, 7)
    seed = Halo2VerifyingKey(
        description, Settings(text), b"key", tau, "development", bytes(32)
    ).file_bytes()  # fmt: skip

    def use(scratch: Path, data: bytes) -> None:
        path = scratch / "verifying.json"
        path.write_bytes(data)
        found = Halo2VerifyingKey.from_path(path)
        if Halo2VerifyingKey.from_json(found.to_json()).digest != found.digest:
            raise AssertionError("a key is not what it was written as")

    return Target("halo2-key", (seed,), use, json=True)


def setup_string(folder: Path) -> Target:
    """Open and check a setup string."""
    seed = srs.develop(folder / "seed.srs", 2).path.read_bytes()

    def use(scratch: Path, data: bytes) -> None:
        path = scratch / "kzg.srs"
        path.write_bytes(data)
        srs.install(path, 1, scratch / "installed.srs")

    return Target("halo2-srs", (seed,), use)


HALO2_TARGETS = {
    "halo2-proof": proof,
    "halo2-step-opening": step_opening,
    "halo2-settings": settings,
    "halo2-key": key,
    "halo2-srs": setup_string,
}
