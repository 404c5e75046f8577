"""A model in slices: proven one by one, and worth no more than one that was proven whole."""

from __future__ import annotations

import functools
import itertools
import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from tests.unit.halo2_support import SMALL, onnx_bytes, require_ezkl, scratch
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2 import slice_prover
from zkai.halo2.proof import prove_opened
from zkai.halo2.settings import Halo2Config, Settings
from zkai.halo2.slice_prover import (
    SlicedKeys,
    activations,
    prove_slice,
    prove_slices,
    setup_slices,
)
from zkai.halo2.slices import (
    SlicedInference,
    SlicedProof,
    SlicedVerifyingKey,
    join,
    verify_slices,
)

CUTS = ("pooled", "hidden")


def cnn(seed: int = 0) -> bytes:
    """A convolution, a dense layer and another: (1, 1, 5, 5) to (1, 2)."""
    rng = np.random.default_rng(seed)
    weights = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32) / 2, name)
        for name, shape in (("k", (2, 1, 2, 2)), ("w1", (8, 3)), ("w2", (3, 2)))
    ]
    nodes = [
        helper.make_node("Conv", ["input", "k"], ["c"], kernel_shape=[2, 2], strides=[1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("AveragePool", ["r"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w1"], ["h"]),
        helper.make_node("Relu", ["h"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "w2"], ["output"]),
    ]
    return onnx_bytes(nodes, weights, {"input": (1, 1, 5, 5)}, {"output": (1, 2)}, opset=17)


def images(count: int = 8, seed: int = 1) -> Any:
    rng = np.random.default_rng(seed)
    return np.round(rng.uniform(-1, 1, size=(count, 1, 1, 5, 5)) * 128) / 128


@functools.cache
def statement(seed: int = 0, **visibility: str) -> SlicedInference:
    seen = {"input": "public", **visibility}
    return SlicedInference(cnn(seed), images(), CUTS, seen, SMALL)


@functools.cache
def keys() -> SlicedKeys:
    return setup_slices(statement(), scratch())


@functools.cache
def proven(sample: int = 0) -> SlicedProof:
    return prove_slices(statement(), keys(), {"input": images()[sample]}, jobs=3)


@pytest.fixture(autouse=True)
def ezkl() -> None:
    require_ezkl()


def test_three_slices_proven_by_three_workers_verify_as_one() -> None:
    proof, key = proven(), keys().verifying
    verify_slices(proof, key)
    shown = proof.decoded(key)
    x = images()[0]
    assert list(shown) == ["input", "output"]
    np.testing.assert_array_equal(shown["input"], x)
    floats = statement().model.run({"input": x})["output"]
    np.testing.assert_allclose(shown["output"], floats, atol=0.05)
    assert np.argmax(shown["output"]) == np.argmax(floats)


def test_cuts_change_nothing_of_the_integers() -> None:
    """The slices' outputs are the outputs of the model proven whole, one after the other."""
    one = replace(statement(), cuts=())
    assert len(one.slices) == 1
    alone = setup_slices(one, scratch())
    whole = prove_slices(one, alone, {"input": images()[0]})
    verify_slices(whole, alone.verifying)
    assert whole.proofs[0].public["output"] == proven().proofs[-1].public["output"]


def test_slices_are_jobs_of_their_own(tmp_path: Path) -> None:
    """Each slice is proven from its own input alone, in any order, and joined later."""
    opened = SlicedKeys.from_path(_written())
    taken = activations(statement(), opened, {"input": images()[1]})
    proofs = {n: prove_slice(statement(), opened, n, taken[n]) for n in (2, 0, 1)}
    whole = join([proofs[n] for n in range(3)], opened.verifying)
    whole.write(tmp_path / "proof.json")
    verify_slices(SlicedProof.from_path(tmp_path / "proof.json"), opened.verifying)


@functools.cache
def _written() -> Path:
    return keys().slices[0].proving.folder.parent


# --- what a cheat would try ----------------------------------------------------------------------


def test_progress_ends_the_slices_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def slow(*_: Any, progress: Any, **__: Any) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                progress("prove", 0.5)
            except BaseException:
                ended.set()
                raise
            time.sleep(0.01)

    def stop(stage: str, fraction: float) -> None:
        if stage == "prove the slices" and next(calls) > 1:
            raise KeyboardInterrupt

    calls = itertools.count()
    monkeypatch.setattr(slice_prover, "activations", lambda *_, **__: [{}, {}, {}])
    monkeypatch.setattr(slice_prover, "prove_slice", slow)
    with pytest.raises(KeyboardInterrupt):
        prove_slices(statement(), keys(), {}, jobs=2, progress=stop)
    assert ended.is_set()


def test_a_slice_of_another_input_is_refused() -> None:
    """Each slice's proof holds; the middle one is about another activation."""
    mixed = (proven(0).proofs[0], proven(2).proofs[1], proven(0).proofs[2])
    with pytest.raises(VerificationError, match=r"slices 0 and 1 show different .* 'pooled'"):
        join(mixed, keys().verifying)
    with pytest.raises(VerificationError, match="slices 0 and 1 show different"):
        verify_slices(replace(proven(), proofs=mixed), keys().verifying)


def test_an_edited_activation_is_refused_by_the_slice_that_takes_it() -> None:
    """A prover who runs the last slice on an activation of its own choice."""
    part, one = statement().slices[2], keys().slices[2]
    forged, _ = prove_opened(part, one.proving, {"hidden": np.ones((1, 3))})
    with pytest.raises(VerificationError, match=r"slices 1 and 2 show different .* 'hidden'"):
        join((*proven().proofs[:2], forged), keys().verifying)


def test_a_commitment_copied_over_an_edited_activation_is_refused() -> None:
    part, one = statement().slices[2], keys().slices[2]
    forged, _ = prove_opened(part, one.proving, {"hidden": np.ones((1, 3))})
    wanted = proven().proofs[2].public["input"]
    claimed = replace(forged, public={**forged.public, "input": wanted})
    whole = replace(proven(), proofs=(*proven().proofs[:2], claimed))
    with pytest.raises(VerificationError, match="slice 2: the proof does not hold"):
        verify_slices(whole, keys().verifying)


@pytest.mark.parametrize("places", [(0, 2, 1), (0, 1), (0, 1, 2, 2), (1, 1, 1)])
def test_slices_swapped_missing_or_repeated_are_refused(places: tuple[int, ...]) -> None:
    proofs = tuple(proven().proofs[n] for n in places)
    with pytest.raises(VerificationError):
        verify_slices(replace(proven(), proofs=proofs), keys().verifying)


@pytest.mark.parametrize("signal", ["0.input", "2.output"])
def test_edited_public_values_are_refused(signal: str) -> None:
    place, name = signal.split(".")
    one = proven().proofs[int(place)]
    values = (one.public[name][0] + 1, *one.public[name][1:])
    edited = replace(one, public={**one.public, name: values})
    proofs = [edited if n == int(place) else p for n, p in enumerate(proven().proofs)]
    with pytest.raises(VerificationError, match=f"slice {place}: the proof does not hold"):
        verify_slices(replace(proven(), proofs=tuple(proofs)), keys().verifying)


def test_slices_of_another_model_with_the_same_shapes_are_refused() -> None:
    other = setup_slices(statement(7), scratch())
    with pytest.raises(VerificationError, match="another circuit"):
        verify_slices(proven(), other.verifying)
    # And one slice of another model, smuggled into the key, changes the key's digest.
    mixed = SlicedVerifyingKey(
        (keys().verifying.keys[0], other.verifying.keys[1], keys().verifying.keys[2])
    )
    mixed.check()
    assert mixed.digest != keys().verifying.digest
    with pytest.raises(VerificationError, match="not one that you trust"):
        verify_slices(proven(), mixed, trusted_digests=[keys().verifying.digest])


def test_a_key_that_leaves_a_gap_is_none() -> None:
    first, middle, last = keys().verifying.keys
    for parts, reason in (
        ((first, last), "takes nothing"),
        ((middle, first, last), "takes nothing"),
        ((first, first, middle, last), "in different ways"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            SlicedVerifyingKey(parts).check()


def test_a_key_whose_slice_hides_what_it_takes_is_none() -> None:
    """Shown by the maker alone, a tensor links nothing: the next slice could take another."""
    first, middle, last = keys().verifying.keys
    content = json.loads(middle.settings.text)
    content["run_args"]["input_visibility"] = "Private"
    seen = ["private", *middle.description["visibility"][1:]]
    hiding = replace(
        middle,
        description={**middle.description, "visibility": seen},
        settings=Settings(json.dumps(content, sort_keys=True, separators=(",", ":"))),
    )
    with pytest.raises(InvalidInput, match="slice 1 hides pooled"):
        SlicedVerifyingKey((first, hiding, last)).check()


def test_a_key_whose_scales_differ_at_a_cut_is_none() -> None:
    first, middle, last = keys().verifying.keys
    content = json.loads(middle.settings.text)
    content["model_input_scales"] = [9]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    edited = replace(middle, settings=replace(middle.settings, text=text))
    with pytest.raises(InvalidInput, match="'pooled' in different ways"):
        SlicedVerifyingKey((first, edited, last)).check()


def test_production_refuses_development_keys() -> None:
    with pytest.raises(VerificationError, match="development key"):
        verify_slices(
            proven(), keys().verifying, production=True, trusted_digests=[keys().verifying.digest]
        )


def test_keys_and_proofs_survive_their_files(tmp_path: Path) -> None:
    keys().verifying.write(tmp_path / "v.json")
    read = SlicedVerifyingKey.from_path(tmp_path / "v.json")
    assert read == keys().verifying
    value = proven().to_json()
    assert SlicedProof.from_json(value) == proven()
    with pytest.raises(InvalidInput, match="list of 1 to 64"):
        SlicedProof.from_json({**value, "slices": []})
    key = read.to_json()
    with pytest.raises(InvalidInput, match="vk_digest: not that of these slices"):
        SlicedVerifyingKey.from_json({**key, "vk_digest": "0x" + "00" * 32})
    with pytest.raises(InvalidInput, match="takes nothing"):
        SlicedVerifyingKey.from_json({**key, "slices": key["slices"][::2]})


# --- statements ----------------------------------------------------------------------------------


def test_a_number_of_slices_is_cut_where_the_work_is_even() -> None:
    parts = replace(statement(), cuts=3).slices
    assert len(parts) == 3
    assert [part.chained for part in parts] == [True, True, False]
    assert parts[1].visibility == {"input": "committed", "output": "committed"}


def test_unusable_statements_are_refused() -> None:
    for change, reason in (
        ({"cuts": ("nowhere",)}, "'nowhere': no node makes"),
        ({"visibility": {"input": "shown"}}, "input"),
        ({"config": Halo2Config(scale=7, check_ranges=False)}, "check_ranges"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            replace(statement(), **change)


def test_an_input_that_later_slices_read_is_shown_as_the_boundary() -> None:
    weights = [numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")]
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Add", ["b", "input"], ["output"]),
    ]
    model = onnx_bytes(nodes, weights, {"input": (1, 3)}, {"output": (1, 3)})
    x = np.zeros((4, 1, 3))
    with pytest.raises(InvalidInput, match=r"'input' crosses a cut.*choose 'committed'"):
        SlicedInference(model, x, ("b",), {"input": "public"}, SMALL)
    assert len(SlicedInference(model, x, ("b",), {}, SMALL).slices) == 2


def test_values_and_keys_of_another_statement_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"slice 0: .*missing input"):
        prove_slices(statement(), keys(), {})
    with pytest.raises(InvalidInput, match="unknown extra"):
        prove_slices(statement(), keys(), {"input": images()[0], "extra": 1})
    with pytest.raises(InvalidInput, match=r"slice 0: .*another model"):
        prove_slices(statement(3), keys(), {"input": images()[0]})
    with pytest.raises(InvalidInput, match="jobs: expected 1 to 3"):
        prove_slices(statement(), keys(), {"input": images()[0]}, jobs=0)
    with pytest.raises(InvalidInput, match="expected 0 to 2"):
        prove_slice(statement(), keys(), 3, {})
