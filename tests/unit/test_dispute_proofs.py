"""A disputed step settled by a zero-knowledge proof: only a proof of that very step helps."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import zkai
from zkai.compute.dispute import PROVE, Game
from zkai.compute.dispute_file import read_record, record_bytes
from zkai.compute.player import Player, play
from zkai.compute.program import MAX_SHOWN
from zkai.compute.settlement import Evidence, ProofRules, decide
from zkai.compute.signed import MOVE, sign
from zkai.compute.terms import CHALLENGER, CLAIMANT, ProvenSteps, Terms
from zkai.encoding import hex32, keccak256
from zkai.errors import InvalidInput, VerificationError
from zkai.receipt.jcs import to_base64
from zkai.receipt.signer import ED25519, generate

HEAD = zkai.SoftmaxHead(
    2, 2, weight_width=10, weight_scale_bits=8, input_width=5, logit_scale_bits=3,
    error_scale_bits=3, rate_shift=6, rate_bits=6,
)  # fmt: skip
SHAPE = zkai.DatasetShape(1, 2)
FORM = "groth16-commit"
STEPS = 2


def word(value: int) -> bytes:
    return value.to_bytes(32, "big")


@dataclass
class Story:
    """A fork's proven steps, and two parties that dispute one of them."""

    files: list[bytes]
    states: list[bytes]
    again: bytes
    again_state: bytes
    rules: ProofRules
    terms: Terms
    keys: dict[str, Any]

    def game(self, wrong_from: int, liar: str = CLAIMANT, proof: bytes | None = None) -> Game:
        """A dispute in which `liar` claims made-up states from one on, and names `proof`."""
        lie = [s if i < wrong_from else keccak256(s)[:31] for i, s in enumerate(self.states)]
        lie = [s.rjust(32, b"\0") for s in lie]
        terms = replace(self.terms, claimed=(lie if liar == CLAIMANT else self.states)[-1])
        honest = {"states": self.states, "prove": lambda step: self.files[step]}
        lying = {"states": lie, "prove": lambda step: proof}
        roles = [lying, honest] if liar == CLAIMANT else [honest, lying]
        return play(terms, *(Player(self.keys[n], **r) for n, r in zip(("a", "b"), roles)))  # type: ignore[arg-type]  # noqa: B905

    @property
    def evidence(self) -> Evidence:
        return Evidence(rules=self.rules)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    values = {i: hashlib.sha256(bytes([i])).digest() for i in range(20)}
    beacon = zkai.BeaconFile("test beacon", "00", genesis_time=1000, period=10, rounds=values)
    schema = SHAPE.schema(HEAD)
    x = np.random.default_rng(1).integers(-15, 16, (4, 2))
    dataset = zkai.Dataset(schema, x, (x[:, 0] > 0).astype(np.int64), salt=11)
    fork = zkai.ForkTerms(dataset.root, dataset.size, schema.digest, beacon.id, 5, nonce=1)
    genesis = zkai.Genesis(HEAD, FORM)
    step = zkai.TrainingStep(HEAD, 2, format=FORM, dataset=SHAPE, learning_rate=1.0)
    folder = tmp_path_factory.mktemp("keys")
    opening = zkai.setup(genesis, folder / "genesis")
    keys = zkai.setup(step, folder / "step")
    weights = {
        "weights_integers": np.zeros(HEAD.shape, np.int64),
        "terms": fork,
        "secret": (1 << 200) + 2,
    }
    proofs = [zkai.prove(genesis, opening.proving, weights)]
    for _ in range(STEPS):
        given = {"state": proofs[-1].opening.state, "terms": fork}
        given |= {"dataset": dataset, "beacon": beacon}
        proofs.append(zkai.prove(step, keys.proving, given))
    again = zkai.prove(step, keys.proving, {**given, "state": proofs[1].opening.state})
    assert isinstance(again, zkai.Proof)
    states = [word(proof.public["new_state"][0]) for proof in proofs]
    parties = {name: generate(ED25519) for name in ("a", "b")}
    subject = ProvenSteps(STEPS, 0, keys.verifying.digest, word(fork.fork))
    terms = Terms(
        subject, states[0], states[-1], parties["a"].public, parties["b"].public, bytes(32)
    )
    files = [proof.file_bytes() for proof in proofs[1:]]
    rules = ProofRules(keys.verifying, fork, beacon)
    again_state = word(again.public["new_state"][0])
    return Story(files, states, again.file_bytes(), again_state, rules, terms, parties)


@pytest.mark.parametrize("liar", [CLAIMANT, CHALLENGER])
@pytest.mark.parametrize("wrong", [1, 2])
def test_a_liar_has_no_proof_and_loses(story: Story, liar: str, wrong: int) -> None:
    game = story.game(wrong, liar)
    verdict = decide(game, story.evidence)
    assert (verdict.losers, verdict.place) == ((liar,), (wrong - 1,))
    assert "has no proof" in verdict.reason
    assert Terms.from_bytes(game.terms.to_bytes()) == game.terms


def altered(data: bytes, **signals: str) -> bytes:
    value = json.loads(data)
    value["public"] |= signals
    return json.dumps(value).encode()


def test_other_proofs_do_not_help_a_liar(story: Story) -> None:
    first, second = story.files
    claimed = str(int.from_bytes(keccak256(story.states[2])[:31], "big"))
    for proof, reason in (
        (second, "new_state is not"),
        (first, "old_state is not"),
        (altered(second, new_state=claimed), "pairing|argument|does not"),
        (altered(second, new_state=claimed, step="0"), "step is not"),
        (altered(second, new_state=claimed, fork="7"), "fork is not"),
        (b"{}", "format"),
        (b"\xff", "not valid JSON"),
    ):
        game = story.game(2, CLAIMANT, proof)
        verdict = decide(game, story.evidence)
        assert verdict.losers == (CLAIMANT,)
        assert re.search(reason, verdict.reason), verdict.reason


def test_rows_that_the_beacon_did_not_draw_prove_nothing(story: Story) -> None:
    game = story.game(2)
    rounds = dict(story.rules.beacon.rounds) | {6: bytes(32)}  # type: ignore[attr-defined]
    beacon = replace(story.rules.beacon, rounds=rounds)  # type: ignore[type-var]
    other = replace(story.evidence, rules=replace(story.rules, beacon=beacon))
    verdict = decide(game, other)
    assert verdict.losers == (CLAIMANT, CHALLENGER)
    assert "value of round 6 is another" in verdict.reason


def test_two_proofs_of_one_step_leave_no_loser(story: Story) -> None:
    """Both states are right: a fresh salt makes another commitment of the same weights."""
    files, states = [story.files[0], story.again], [*story.states[:2], story.again_state]
    first = Player(story.keys["a"], states=story.states, prove=lambda step: story.files[step])
    second = Player(story.keys["b"], states=states, prove=lambda step: files[step])
    game = play(story.terms, first, second)
    verdict = decide(game, story.evidence)
    assert (verdict.losers, verdict.place) == ((), (1,))


def test_a_proof_is_shown_and_not_only_promised(story: Story) -> None:
    """The record holds the proofs: nobody waits for a file that a liar keeps to itself."""
    game = story.game(2)
    again = read_record(record_bytes(game))
    assert decide(again, story.evidence) == decide(game, story.evidence)
    liar = Player(story.keys["a"], states=[*story.states[:2], bytes(32)])
    start = Game(replace(story.terms, claimed=bytes(32)))
    honest = Player(story.keys["b"], states=story.states, prove=lambda step: story.files[step])
    while start.stage != PROVE:
        start.apply((liar if start.due == CLAIMANT else honest).move(start))
    for promised in (hex32(bytes(32)), to_base64(bytes(MAX_SHOWN + 1)), 7):
        other = read_record(record_bytes(start))
        said = {"number": len(other.entries), "previous": hex32(other.previous)}
        said |= {"move": PROVE, "proof": promised}
        other.apply(sign(MOVE, other.terms.digest, said, story.keys["a"]))
        assert decide(other).losers == (CLAIMANT,)


def test_evidence_is_what_record_and_terms_name(story: Story) -> None:
    game = story.game(2)
    whole = story.evidence
    with pytest.raises(InvalidInput, match="verifying key"):
        decide(game)
    fork = replace(story.rules.fork, nonce=2)
    with pytest.raises(VerificationError, match="not the fork"):
        decide(game, replace(whole, rules=replace(story.rules, fork=fork)))
    key = replace(story.rules.key, circuit_digest=bytes(32))
    with pytest.raises(VerificationError, match="not the verifying key"):
        decide(game, replace(whole, rules=replace(story.rules, key=key)))
