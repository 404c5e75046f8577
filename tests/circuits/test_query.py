"""query/1: the commitment is an inference's, every integer is in range, the length is bounded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import zkai
from zkai.circuit.statements import commitments
from zkai.circuit.statements.base import COMMIT, PLAIN, Format
from zkai.circuit.statements.query import Query
from zkai.circuit.statements.registry import from_description
from zkai.errors import InvalidInput, VerificationError
from zkai.receipt.signer import generate
from zkai.receipt.statement import Place, issue
from zkai.receipt.trust import trust
from zkai.receipt.verify import verify_proof_of, verify_receipt

X = np.array([[3, -4, 0, 12]])


@pytest.mark.parametrize("form", [PLAIN, COMMIT])
def test_a_proof_is_accepted_and_shows_only_the_commitment(form: Format) -> None:
    statement = Query((1, 4), 6, format=form)
    keys = zkai.setup(statement)
    opened = zkai.prove(statement, keys.proving, {"input_integers": X, "norm_bound": 13})
    zkai.verify(opened, keys.verifying)
    salt = opened.opening.salts["input_salt"]
    expected = commitments.tensor_commitment([(X, 6)], salt)
    assert list(opened.public["input"]) == [expected]
    assert opened.opening.commitments == {"input": expected}
    assert set(opened.public) == {"input", "norm_bound", "context"}
    other = zkai.prove(statement, keys.proving, {"input_integers": X, "norm_bound": 13})
    assert other.public["input"] != opened.public["input"]


def test_its_receipt_is_of_the_kind_query() -> None:
    statement = Query((1, 4), 6, format=COMMIT)
    keys, place = zkai.setup(statement), Place(7)
    destination = zkai.Destination(7)
    opened = zkai.prove(statement, keys.proving, {"input_integers": X}, destination=destination)
    signer = generate()
    receipt = issue(opened, [signer], place=place, signed=1_790_000_000)
    assert receipt.predicate["kind"] == "query"
    verify_receipt(receipt, trust([("issuer", signer.public)]), at=1_790_000_000, place=place)
    verify_proof_of(receipt, opened.file_bytes(), keys.verifying)
    with pytest.raises(InvalidInput, match="is no inference"):
        issue(opened, [signer], kind="inference", place=place, signed=1_790_000_000)


def test_the_length_is_bounded_exactly() -> None:
    statement = Query((1, 4), 6)
    values = {"input": X, "norm_bound": 13, "input_salt": 1, "context": 2}
    circuit = statement.build()
    circuit.check(circuit.solve(statement.assign(values)))
    with pytest.raises(InvalidInput, match="longer than norm_bound 12"):
        statement.assign(values | {"norm_bound": 12})
    kept = [step for step in circuit.steps if "overflow" not in step.label]
    blind = replace(circuit, steps=tuple(kept))
    witness = blind.solve(statement.assign(values) | {"norm_bound": 12})
    with pytest.raises(VerificationError, match="norm bound"):
        circuit.check(witness)


def test_the_default_bound_holds_for_every_query() -> None:
    statement = Query((2, 3), 8)
    values = {"input": np.full((2, 3), -128), "input_salt": 1, "context": 2}
    statement.assign(values | {"norm_bound": statement.largest_norm})
    assert statement.largest_norm == 314  # 128 sqrt(6), rounded up


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"input": X * 8}, "'input' has a value outside"),
        ({"input": X[0]}, "shape"),
        ({"norm_bound": 1 << 30}, "norm_bound"),
        ({"more": 1}, "more"),
        ({"input_salt": -1}, "input_salt"),
    ],
)
def test_other_values_are_refused(change: dict[str, object], what: str) -> None:
    values = {"input": X, "norm_bound": 13, "input_salt": 1, "context": 2}
    with pytest.raises(InvalidInput, match=what):
        Query((1, 4), 6).assign(values | change)


@pytest.mark.parametrize(
    ("shape", "width", "what"),
    [
        ((), 8, "shape"),
        ((0,), 8, "shape"),
        ((1, 1, 1, 1, 1), 8, "shape"),
        ((200, 200), 8, "shape"),
        ((4,), 1, "width"),
        ((4,), 25, "width"),
    ],
)
def test_other_sizes_are_refused(shape: tuple[int, ...], width: int, what: str) -> None:
    with pytest.raises(InvalidInput, match=what):
        Query(shape, width)


def test_a_description_is_read_back() -> None:
    statement = Query((2, 3), 6, 4, COMMIT)
    assert from_description(statement.describe()) == statement
    with pytest.raises(InvalidInput, match="shape"):
        from_description({**statement.describe(), "shape": "2x3"})
    with pytest.raises(InvalidInput, match="unknown head"):
        from_description({**statement.describe(), "head": {}})
