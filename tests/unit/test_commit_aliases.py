"""Two spellings of one commitment would be two throws of the challenges."""

from __future__ import annotations

from dataclasses import replace

import pytest
from commit_support import STATEMENT, begin, circuit, keys, values_of

from zkai.encoding import BASE_MODULUS
from zkai.errors import VerificationError
from zkai.proof import groth16
from zkai.proof.commit import argument
from zkai.proof.commit.keys import CommitProof, CommitVerifyingKey
from zkai.proof.groth16 import VERIFIERS
from zkai.proof.points import G1


def aliased(point: G1) -> G1:
    """Another spelling of a point, for whoever reduces coordinates."""
    assert point is not None
    return point[0] + BASE_MODULUS, point[1]


def proof_of_alias(monkeypatch: pytest.MonkeyPatch) -> CommitProof:
    """A proof whose challenges hash the other spelling of its own D."""
    derive = CommitVerifyingKey.public_wires
    with monkeypatch.context() as patch:
        patch.setattr(
            CommitVerifyingKey,
            "public_wires",
            lambda key, x, d, links=(): derive(key, x, aliased(d), links),
        )
        honest = argument.prove(circuit(), keys().proving, begin(), STATEMENT)
    return replace(honest, d=aliased(honest.d))


def test_a_coordinate_above_the_modulus_is_refused_before_it_is_hashed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forged, key = proof_of_alias(monkeypatch), keys().verifying
    assert forged.d is not None
    true_d = (forged.d[0] - BASE_MODULUS, forged.d[1])
    wires = [key.public_wires(values_of(forged), d) for d in (forged.d, true_d)]
    assert wires[0] != wires[1]
    with monkeypatch.context() as patch:  # a verifier that reduces what it is given
        whole = groth16.checked_row
        patch.setattr(
            argument,
            "checked_row",
            lambda point, name: whole(true_d if name == "D" else point, name),
        )
        argument.verify(forged, key)
    for verifier in VERIFIERS:
        with pytest.raises(VerificationError, match="D: a coordinate is not below"):
            argument.verify(forged, key, verifier)
