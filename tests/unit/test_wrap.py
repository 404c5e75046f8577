"""Decisions in two proofs: one activation, and everything by which it could be another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import halo2_support
import numpy as np
import onnx
import pytest
import receipt_support
import wrap_support
from onnx import helper
from wrap_support import body_keys, decision, head_keys, model, sample

import zkai
from zkai import wrap, wrap_receipt
from zkai.calibrated import Inference
from zkai.circuit.gadgets.halo2_hash import halo2_hash_integers
from zkai.circuit.statements.hashed_input import HASHED
from zkai.encoding import FIELD_MODULUS
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.proof import Halo2Proof
from zkai.model.cutting import BLINDERS, blinded, cut
from zkai.model.export import load, parse_onnx
from zkai.model.onnx_file import load_onnx
from zkai.model.quantize import predict
from zkai.receipt.statement import Facts, Receipt, issue
from zkai.wrap import Decision


@pytest.fixture(autouse=True, scope="module")
def _ezkl() -> None:
    halo2_support.require_ezkl()


def keys() -> tuple[Any, Any]:
    return body_keys().verifying, head_keys().verifying


def head_of(**changes: Any) -> Inference:
    """The head with other choices."""
    parts = cut(parse_onnx("model", halo2_support.mlp()), [wrap_support.AT], "model")
    features = np.random.default_rng(3).uniform(0, 2, (16, 1, 3))
    chosen: dict[str, Any] = {"visibility": {"input": HASHED, "output": "argmax"}, "blinders": 8}
    scale = changes.pop("scale", 7)
    config = zkai.QuantConfig(scale_bits={wrap_support.AT: scale})
    graph = load(parts[1].SerializeToString())
    return Inference(graph, calibration=features, config=config, **chosen | changes)


# The decision -----------------------------------------------------------------------------------


def test_a_decision_is_the_models() -> None:
    made = decision()
    assert made.head.public["input"] == made.body.public["output"]
    floats = load_onnx(halo2_support.mlp()).run({"input": sample(0)})["output"]
    assert made.head.public["output"] == (int(floats.argmax()),)
    wrap.verify(made, *keys(), head=model().head)
    wrap.verify(made, *keys())


def test_both_proofs_stay_proofs_of_their_own() -> None:
    zkai.verify(decision().head, head_keys().verifying)
    again = Halo2Proof.from_json(decision().body.to_json())
    assert again == decision().body


def test_blinders_are_fresh_and_hide_the_activation() -> None:
    first, second = decision(), decision_again()
    assert first.head.public["output"] == second.head.public["output"]
    assert first.body.public["output"] != second.body.public["output"]
    with pytest.raises(InvalidInput, match="drawn here"):
        wrap.prove(
            model(), body_keys().proving, head_keys().proving,
            {"input": sample(0), BLINDERS: np.zeros((1, 8))},
        )  # fmt: skip


def decision_again() -> Decision:
    values = {"input": sample(0)}
    return wrap.prove(model(), body_keys().proving, head_keys().proving, values)


def test_the_hash_is_of_activation_and_blinders() -> None:
    tensor = np.arange(11)
    values = wrap.head_values(model().head, tensor)
    assert values["input_integers"].tolist() == [[0, 1, 2]]
    assert values["input_blinders"] == list(range(3, 11))
    context = {"input": values["input_integers"], "input_blinders": values["input_blinders"]}
    public = model().head.public_values({**context, "context": 0})
    assert public["input"] == halo2_hash_integers(tensor)
    with pytest.raises(InvalidInput, match="has 10 elements"):
        wrap.head_values(model().head, tensor[:10])


# Cheats -----------------------------------------------------------------------------------------


def test_the_commitment_of_another_sample_is_refused() -> None:
    other = decision(1)
    for mixed in (Decision(decision().body, other.head), Decision(other.body, decision().head)):
        with pytest.raises(VerificationError, match="of another activation"):
            wrap.verify(mixed, *keys(), head=model().head)


def test_a_commitment_that_is_written_over_breaks_its_proof() -> None:
    made, other = decision(), decision(1)
    shown = {"input": other.body.public["output"]}
    forged = replace(made.head, public={**made.head.public, **shown})
    with pytest.raises(VerificationError, match="the head: "):
        wrap.verify(Decision(other.body, forged), *keys(), head=model().head)
    body = replace(other.body, public={"output": made.head.public["input"]})
    with pytest.raises(VerificationError, match="the body: "):
        wrap.verify(Decision(body, made.head), *keys(), head=model().head)


def test_a_commitment_congruent_mod_r_is_refused() -> None:
    made = decision()
    more = (made.body.public["output"][0] + FIELD_MODULUS,)
    body = replace(made.body, public={"output": more})
    head = replace(made.head, public={**made.head.public, "input": more})
    for forged in (Decision(body, made.head), Decision(made.body, head)):
        with pytest.raises(VerificationError, match="another activation"):
            wrap.verify(forged, *keys(), head=model().head)
    with pytest.raises(VerificationError, match="not below r"):
        wrap.verify(Decision(body, head), *keys(), head=model().head)


def test_another_output_of_the_head_is_refused() -> None:
    made = decision()
    (chosen,) = made.head.public["output"]
    head = replace(made.head, public={**made.head.public, "output": (1 - chosen,)})
    with pytest.raises(VerificationError, match="the head: "):
        wrap.verify(Decision(made.body, head), *keys(), head=model().head)


def test_an_activation_out_of_the_heads_range_is_refused() -> None:
    width = model().head.graph.tensors[wrap_support.AT].width
    tensor = np.zeros(11, np.int64)
    for value in (1 << (width - 1), -(1 << (width - 1)) - 1):
        tensor[0] = value
        with pytest.raises(InvalidInput, match="does not fit its"):
            zkai.prove(model().head, head_keys().proving, wrap.head_values(model().head, tensor))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 6}, "7 fraction bits, the head reads 6"),
        ({"blinders": 7}, "11 elements, the head reads 3 and 7"),
        ({"visibility": {"input": "committed"}, "blinders": 0}, "not hashed"),
        ({"visibility": {"input": "public"}, "blinders": 0}, "not hashed"),
        ({"visibility": {"input": HASHED, "output": "public"}}, "another circuit than the head"),
    ],
)
def test_a_head_that_reads_the_hash_otherwise_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(VerificationError, match=message):
        wrap.verify(decision(), *keys(), head=head_of(**changes))


def test_a_body_that_hashes_nothing_is_refused() -> None:
    shown = halo2_support.keys(input="private").verifying
    body = halo2_support.proof(input="private")
    with pytest.raises(VerificationError, match="does not show the hash"):
        wrap.verify(Decision(body, decision().head), shown, head_keys().verifying)


def test_keys_of_others_are_refused() -> None:
    committed = {"input": "private", "output": "committed"}
    other = halo2_support.keys(**committed).verifying
    with pytest.raises(VerificationError, match=r"the body: .* another circuit"):
        wrap.verify(decision(), other, head_keys().verifying)
    with pytest.raises(VerificationError, match=r"the body: .*development key"):
        wrap.verify(decision(), *keys(), production=True, trusted_digests=[bytes(32)])


# Cutting ----------------------------------------------------------------------------------------


def test_the_two_parts_are_the_model() -> None:
    body, head = model().body, model().head
    floats = load_onnx(halo2_support.mlp())
    for index in range(3):
        hidden = np.full((1, 8), 0.5)
        (tensor,) = body.model.run({"input": sample(index), BLINDERS: hidden}).values()
        assert tensor.shape == (1, 11)
        assert (tensor[0, 3:] == 0.5).all()
        scores = predict(head.graph, tensor[:, :3])["output"]
        expected = floats.run({"input": sample(index)})["output"]
        assert np.abs(scores[0] - expected).max() < 0.05
    assert body.ezkl_visibility.input == "private"
    assert head.visibility[wrap_support.AT] == HASHED


def test_without_blinders_the_tensor_stays_as_it_is() -> None:
    made = wrap.wrap(
        halo2_support.mlp(), wrap_support.AT, halo2_support.points(),
        config=halo2_support.SMALL, blinders=0, output="public", format="groth16-commit",
    )  # fmt: skip
    assert list(made.body.model.inputs) == ["input"]
    assert made.head.blinders == 0
    assert made.head.format == "groth16-commit"


def test_cuts_that_carry_more_than_one_tensor_are_refused() -> None:
    nodes = [
        helper.make_node("Relu", ["input"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["output"]),
    ]
    data = halo2_support.onnx_bytes(nodes, [], {"input": (1, 4)}, {"output": (1, 4)})
    with pytest.raises(InvalidInput, match="more than 'b' crosses"):
        wrap.wrap(data, "b", halo2_support.points())
    with pytest.raises(InvalidInput, match="no node makes"):
        wrap.wrap(data, "c", halo2_support.points())


def test_models_that_cannot_be_blinded_are_refused() -> None:
    proto = onnx.load_model_from_string(halo2_support.mlp())
    clash = onnx.load_model_from_string(halo2_support.mlp())
    clash.graph.node[-1].output[0] = clash.graph.output[0].name = "blinders"
    with pytest.raises(InvalidInput, match="already"):
        blinded(clash, 2, "model")
    proto.graph.output.append(helper.make_tensor_value_info("relu0", 1, [1, 3]))
    with pytest.raises(InvalidInput, match="one output"):
        blinded(proto, 2, "model")


# Receipts ---------------------------------------------------------------------------------------

NOW = receipt_support.NOW


def receipt(**changes: Any) -> Receipt:
    return wrap_receipt.sign(
        decision(), *keys(), receipt_support.signers(), head=model().head, signed=NOW, **changes
    )


def check(found: Receipt, made: Decision | None = None, **changes: Any) -> Decision:
    made = made or decision()
    return wrap_receipt.verify(
        found, receipt_support.store(), made.body.file_bytes(), made.head.file_bytes(), *keys(),
        statement=model().head, at=NOW, **changes,
    )  # fmt: skip


def test_a_receipt_names_both_proofs() -> None:
    found = Receipt.from_bytes(receipt().to_bytes())
    assert check(found).head.to_json() == decision().head.to_json()
    names = [s["name"] for s in found.statement["subject"]]
    assert names == ["proof", "body"]
    assert found.predicate["extensions"]["body.scale_bits"] == 7
    assert "input" in found.predicate["proof"]["commitments"]


def test_only_matching_proofs_are_signed() -> None:
    mixed = Decision(decision(1).body, decision().head)
    with pytest.raises(VerificationError, match="another activation"):
        wrap_receipt.sign(mixed, *keys(), receipt_support.signers())
    with pytest.raises(InvalidInput, match=r"body\.x"):
        receipt(facts=Facts(extensions={"body.x": 1}))


def test_a_receipt_of_another_body_is_refused() -> None:
    found = receipt()
    with pytest.raises(VerificationError, match="a different proof"):
        check(found, decision(1))
    with pytest.raises(VerificationError, match="a different body"):
        check(found, Decision(decision(1).body, decision().head))
    plain = issue(decision().head, receipt_support.signers(), signed=NOW)
    with pytest.raises(VerificationError, match="names no body"):
        check(plain)


@pytest.mark.parametrize(
    ("name", "value"),
    [("body.scale_bits", 8), ("body.output", "1"), ("body.vk_digest", "0x" + "00" * 32),
     ("body.more", 1)],
)  # fmt: skip
def test_a_receipt_that_lies_of_its_body_is_refused(name: str, value: Any) -> None:
    good = receipt().predicate["extensions"]
    facts = Facts(extensions={**good, name: value})
    body = wrap_receipt.sha256(decision().body.file_bytes())
    found = issue(
        decision().head, receipt_support.signers(), facts=facts, artifacts={"body": body},
        signed=NOW,
    )  # fmt: skip
    with pytest.raises(VerificationError, match=name.replace(".", r"\.")):
        check(found)


def test_heads_with_committed_weights_and_a_commitment_round() -> None:
    whole = halo2_support.mlp()
    made = wrap.wrap(
        whole, wrap_support.AT, halo2_support.points(), config=halo2_support.SMALL,
        weights="committed", output="public", format="groth16-commit",
    )  # fmt: skip
    model_of = wrap.Wrapped(model().body, made.head)
    head = zkai.setup(made.head)
    found = wrap.prove(model_of, body_keys().proving, head.proving, {"input": sample(2)})
    wrap.verify(found, body_keys().verifying, head.verifying, head=made.head)
    assert found.head.FORMAT == "zkai.groth16-commit/1"
    scores = made.head.read_outputs(found.head.public)["output"]
    expected = load_onnx(whole).run({"input": sample(2)})["output"]
    assert np.abs(scores - expected).max() < 0.05
    forged = Decision(found.body, replace(found.head, c=found.head.a))
    with pytest.raises(VerificationError, match="the head: "):
        wrap.verify(forged, body_keys().verifying, head.verifying)
