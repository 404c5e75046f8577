"""A key's file cannot give a trusted key's signals, or its statement, another name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from receipt_support import fork_proofs, verifying_keys

import zkai
from zkai.circuit.r1cs import PublicSignal
from zkai.circuit.statements.signals import ORDERS, check_signals
from zkai.errors import VerificationError
from zkai.proof import groth16


def test_a_trusted_digest_does_not_vouch_for_the_names_in_a_file() -> None:
    proof, key = fork_proofs()[1], verifying_keys()["training_step/1"]
    zkai.verify(proof, key, trusted_digests=[key.digest])
    names = {signal.name: signal.name for signal in key.public} | {
        "old_state": "new_state", "new_state": "old_state"
    }  # fmt: skip
    hostile = replace(key, public=tuple(PublicSignal(names[s.name], s.size) for s in key.public))
    public = {names[name]: values for name, values in proof.public.items()}
    backwards = replace(proof, public=public)
    assert hostile.digest == key.digest
    # Without the check a step from B to A verifies, where one from A to B was proven.
    groth16._verify_under(backwards, hostile, groth16._verify_native)
    for trusted in ([], [key.digest]):
        with pytest.raises(VerificationError, match="signals are not those of training_step/1"):
            zkai.verify(backwards, hostile, trusted_digests=trusted)


def test_a_trusted_key_of_one_statement_is_none_of_another() -> None:
    proof, key = fork_proofs()[1], verifying_keys()["training_step/1"]
    for version in (*ORDERS, "inference/1"):
        if version == "training_step/1":
            continue
        hostile, renamed = (replace(x, statement=version) for x in (key, proof))
        assert hostile.digest == key.digest
        with pytest.raises(VerificationError, match=f"signals are not those of {version}"):
            zkai.verify(renamed, hostile, trusted_digests=[key.digest])


@pytest.mark.parametrize(
    ("statement", "names", "sizes"),
    [
        ("genesis/1", "model new_state user fork context", "1 1 1 2 1"),
        ("training_step/1", " ".join(ORDERS["training_step/1"][2]), "1 1 2 3" + " 1" * 6),
        ("inference/1", "output input context", "1 1 1"),
        ("inference/1", "input output context state", "1 1 1 1"),
        ("inference/1", "input output fork context", "1 1 1 1"),
        ("inference/1", "input state output context", "1 1 1 1"),
    ],
)
def test_signals_of_no_statement(statement: str, names: str, sizes: str) -> None:
    pairs = zip(names.split(), sizes.split(), strict=True)
    with pytest.raises(VerificationError, match=f"signals are not those of {statement}"):
        check_signals(statement, [PublicSignal(name, int(size)) for name, size in pairs])
