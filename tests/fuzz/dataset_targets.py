"""The files of datasets, terms, beacons and evaluation sets under fuzzing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.fuzz.harness import Target
from zkai.beacon import BeaconFile
from zkai.circuit.statements.dataset import Dataset, DatasetShape
from zkai.circuit.statements.evaluation_set import EvaluationSet, Samples
from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.model.heads import SoftmaxHead

HEAD = SoftmaxHead(2, 2, input_width=6)


def _rows() -> Dataset:
    x = np.arange(8, dtype=np.int64).reshape(4, 2)
    return Dataset(DatasetShape(1, 2).schema(HEAD), x, np.arange(4) % 2, salt=5)


def _target(name: str, value: object, read: Callable[[Path], object]) -> Target:
    def write_and_read(folder: Path, data: bytes) -> object:
        path = folder / f"fuzzed-{name}.json"
        path.write_bytes(data)
        return read(path)

    return Target(name, (json.dumps(value).encode(),), write_and_read, json=True)


def rows(folder: Path) -> Target:
    """Read rows with their salt, and commit to what was read."""
    return _target("rows", _rows().to_json(), lambda path: Dataset.from_path(path).root)


def terms(folder: Path) -> Target:
    dataset = _rows()
    made = ForkTerms(dataset.root, dataset.size, dataset.schema.digest, 7, 8, 9, 1, nonce=3)
    return _target("terms", made.to_json(), lambda path: ForkTerms.from_path(path).fork)


def beacon(folder: Path) -> Target:
    signatures = [bytes([i]) * 8 for i in range(3)]
    made = {
        "format": "zkai.beacon/1", "name": "drand", "key": "00ff", "genesis_time": 1, "period": 3,
        "rounds": [
            {"round": i, "randomness": hashlib.sha256(s).hexdigest(), "signature": s.hex()}
            for i, s in enumerate(signatures)
        ],
    }  # fmt: skip
    return _target("beacon", made, lambda path: BeaconFile.from_path(path).id)


def evaluation_set(folder: Path) -> Target:
    made = EvaluationSet.of(_rows(), owner=11).to_json()
    return _target("evaluation-set", made, lambda path: EvaluationSet.from_path(path).commitment)


def drawn(folder: Path) -> Target:
    dataset = _rows()
    made = Samples.drawn(dataset, EvaluationSet.of(dataset, 11), 5, 6, 2).to_json()
    return _target("drawn-samples", made, Samples.from_path)


DATASET_TARGETS: dict[str, Callable[[Path], Target]] = {
    "rows": rows,
    "terms": terms,
    "beacon": beacon,
    "evaluation-set": evaluation_set,
    "drawn-samples": drawn,
}
