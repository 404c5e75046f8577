"""Forgeries of a fork's history, in Python and before the contract that follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from zkai.chain.verifier import proof_words, send_proof
from zkai.circuit.statements.context import address_word
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.training_step import TrainingStep
from zkai.demo.forgeries import Cheat, Forgery
from zkai.encoding import BASE_MODULUS, FIELD_MODULUS
from zkai.pipeline import prove
from zkai.proof.formats import Proof


def on_histories(cheat: Cheat) -> list[Forgery]:
    """Return forgeries of a fork's history."""
    first, second = cheat.first.proofs, cheat.second.proofs

    def history(*proofs: Proof) -> None:
        cheat.stage.check_history(proofs, cheat.first.terms)

    def honest() -> None:
        history(*first)

    return [
        Forgery("skip a step", lambda: history(first[0], *first[2:]), "a gap", honest),
        Forgery(
            "pass off another user's step",
            lambda: history(*first[:2], second[2]),
            "user is not",
            honest,
        ),
        Forgery(
            "begin without the base model",
            lambda: history(*first[1:]),
            "starts with genesis",
            honest,
        ),
        Forgery(
            "change the dataset behind a fork",
            lambda: cheat.stage.check_history(first, replace(cheat.first.terms, dataset=1)),
            "not the one with",
            honest,
        ),
        Forgery(
            "train on samples of one's choice",
            lambda: history(first[0], _chosen_rows(cheat)),
            "beacon's value",
            lambda: history(first[0], _chosen_rows(cheat, honest=True)),
        ),
    ]


def _chosen_rows(cheat: Cheat, honest: bool = False) -> Proof:
    """Prove the first step again, on rows that another value of the beacon draws."""
    stage, fork = cheat.stage, cheat.first
    number = fork.terms.round_of(0)
    value = stage.beacon.value(number)
    chosen = {number: value if honest else bytes(byte ^ 1 for byte in value)}
    values = {
        "state": fork.proofs[0].opening.state,
        "dataset": fork.dataset,
        "terms": fork.terms,
        "beacon": replace(stage.beacon, rounds=chosen),
    }
    version = TrainingStep.version
    key = stage.keys[version].proving
    return prove(stage.statements[version], key, values, destination=stage.destination)


def on_chain(cheat: Cheat) -> list[Forgery]:
    """Return forgeries that a contract must refuse."""
    recorder, last = cheat.stage.followed_by, cheat.training_step(-1)
    key = cheat.keys[last.statement]
    assert last.a is not None
    assert last.b is not None
    (ax, ay), (bx, by) = last.a, last.b
    negated = (BASE_MODULUS - by[0], BASE_MODULUS - by[1])
    rerandomised = replace(last, a=(ax, BASE_MODULUS - ay), b=(bx, negated))
    return [
        Forgery(
            "replay a recorded step",
            lambda: recorder.record(last, key),
            "WrongStep",
            lambda: cheat.check(last),
        ),
        Forgery(
            "replay it under other proof bytes",
            lambda: recorder.record(rerandomised, key),
            "WrongStep",
            lambda: cheat.check(rerandomised),
        ),
        Forgery(
            "send a proof made for another recipient",
            lambda: _open(cheat, 98, for_me=False),
            "WrongContext",
            lambda: _open(cheat, 99, for_me=True),
        ),
        *_words(cheat),
    ]


def _words(cheat: Cheat) -> list[Forgery]:
    """Return calls of the verifier contract with other words than an honest proof's."""
    last = cheat.training_step(-1)
    proof, publics = proof_words(last), last.public_values(cheat.keys[last.statement])
    aliased = [*publics[:-1], publics[-1] + FIELD_MODULUS]
    borrowed = [*proof[:8], *proof_words(cheat.step)[8:]]
    verifier = cheat.stage.verifiers[last.statement]

    def send(words: Sequence[int], values: Sequence[int]) -> None:
        send_proof(cheat.stage.chain, verifier, "verify", words, values)

    def honest() -> None:
        send(proof, publics)

    return [
        Forgery(
            "send x + r to the contract",
            lambda: send(proof, aliased),
            "PublicInputOutOfRange",
            honest,
        ),
        Forgery(
            "leave out a public input", lambda: send(proof, publics[:-1]), "InvalidLength", honest
        ),
        Forgery(
            "send another proof's commitment",
            lambda: send(borrowed, publics),
            "InvalidProof",
            honest,
        ),
        Forgery(
            "send a proof without its commitment",
            lambda: send(proof[:8], publics),
            "without data",
            honest,
        ),
    ]


def _open(cheat: Cheat, fork: int, for_me: bool) -> None:
    """Open a fork with a genesis proof whose recipient is the sender, or somebody else."""
    stage, mine = cheat.stage, cheat.stage.destination
    theirs = replace(mine, recipient=address_word("0x" + "11" * 20))
    proof = prove(
        stage.statements[Genesis.version],
        stage.keys[Genesis.version].proving,
        {"weights_integers": stage.setting.base.weights, "fork": fork},
        destination=mine if for_me else theirs,
    )
    stage.followed_by.open(proof, cheat.keys[Genesis.version])
