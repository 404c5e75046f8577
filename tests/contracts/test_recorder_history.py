"""ForkRecorder follows a fork with terms by its proofs: steps on drawn rows, and a skip."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorder_support import refused

import zkai
from zkai.assignment import Destination
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.recorder import ForkRecorder, Head
from zkai.chain.verifier import deploy
from zkai.errors import VerificationError

HEAD = zkai.SoftmaxHead(
    3, 2, weight_width=10, weight_scale_bits=8, input_width=5, logit_scale_bits=3,
    error_scale_bits=3, rate_shift=6, rate_bits=6,
)  # fmt: skip
SHAPE = zkai.DatasetShape(2, 2)
COMMIT = "groth16-commit"


def beacon() -> zkai.BeaconFile:
    values = {i: hashlib.sha256(bytes([i])).digest() for i in range(10)}
    return zkai.BeaconFile("test beacon", "00", genesis_time=1000, period=10, rounds=values)


@dataclass
class Fork:
    """A recorder, what it follows, and the proofs of the fork's user."""

    recorder: ForkRecorder
    statements: dict[str, Any]
    keys: dict[str, zkai.Keys]
    dataset: zkai.Dataset
    terms: zkai.ForkTerms
    destination: Destination

    def prove(self, name: str, values: dict[str, Any]) -> Any:
        proving, given = self.keys[name].proving, values | {"terms": self.terms}
        return zkai.prove(self.statements[name], proving, given, destination=self.destination)

    def move(self, name: str, before: Any) -> Any:
        """Prove and send what follows the proof `before`."""
        drawn = {"dataset": self.dataset, "beacon": beacon()} if name == "record" else {}
        proof = self.prove(name, {"state": before.opening.state, **drawn})
        self.send(name, proof)
        return proof

    def send(self, function: str, proof: Any, name: str | None = None) -> None:
        getattr(self.recorder, function)(proof, self.keys[name or function].verifying)


@pytest.fixture(params=["poseidon", "kzg"])
def fork(chain: EmbeddedChain, tmp_path: Path, request: pytest.FixtureRequest) -> Fork:
    linked, schema = request.param, SHAPE.schema(HEAD)
    x = np.random.default_rng(1).integers(-15, 16, (8, 3))
    dataset = zkai.Dataset(schema, x, (x[:, 0] > 0).astype(np.int64), salt=11)
    terms = zkai.ForkTerms(dataset.root, 8, schema.digest, beacon().id, 5, max_skips=1, nonce=1)
    step = zkai.TrainingStep(HEAD, 4, format=COMMIT, dataset=SHAPE, learning_rate=2.0)
    statements = {
        "open": zkai.Genesis(HEAD, COMMIT, linked),
        "record": replace(step, weights_commitment=linked),
        "skip": zkai.SkipStep(HEAD, COMMIT if linked == "kzg" else "groth16", linked),
    }
    tau = {"tau": tmp_path / "tau"} if linked == "kzg" else {}
    keys = {
        name: zkai.setup(s, tmp_path / name, **({} if name == "skip" else tau))
        for name, s in statements.items()
    }
    verifiers = [deploy(pair.verifying, chain).address for pair in keys.values()]
    recorder = ForkRecorder.deploy(chain, *verifiers[:2], skip_verifier=verifiers[2])
    destination = Destination(chain.chain_id, recorder.address, chain.account)
    return Fork(recorder, statements, keys, dataset, terms, destination)


def test_a_fork_goes_on_over_a_step_that_it_skips(fork: Fork) -> None:
    weights = np.zeros(HEAD.shape, np.int64)
    first = fork.prove("open", {"weights_integers": weights, "secret": 1 << 200})
    fork.send("open", first)
    trained = fork.move("record", first)
    skipped = fork.move("skip", trained)
    for function, name, proof in (("record", "skip", skipped), ("skip", "record", trained)):
        with pytest.raises(VerificationError, match=r"InvalidLength|revert without data"):
            fork.send(function, proof, name)
    for function, proof in (("skip", skipped), ("record", trained)):
        with refused("WrongStep"):
            fork.send(function, proof)
    with refused(r"TooManySkips\(1\)"):
        fork.move("skip", skipped)
    last = fork.move("record", skipped)
    (state, user, model) = (last.public[name][0] for name in ("new_state", "user", "model"))
    assert fork.recorder.head(fork.terms.fork) == Head(state, user, model, 3, 1)
    proofs, keys = [first, trained, skipped, last], [k.verifying for k in fork.keys.values()]
    zkai.verify_chain(proofs, keys, destination=fork.destination, terms=fork.terms, beacon=beacon())


def test_a_skip_of_another_fork(fork: Fork) -> None:
    """Terms that allow more are another fork, which is not open."""
    values = {"weights_integers": np.zeros(HEAD.shape, np.int64), "secret": 1 << 200}
    fork.send("open", fork.prove("open", values))
    theirs = replace(fork, terms=replace(fork.terms, max_skips=9))
    elsewhere = theirs.prove("open", values)
    with refused("NotOpen"):
        theirs.move("skip", elsewhere)
    assert fork.recorder.head(fork.terms.fork).skips == 0
