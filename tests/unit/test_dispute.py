"""Disputes: a liar loses at whatever place it lies and whoever starts; nobody else does."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.dispute_support import (
    STEPS,
    float_program,
    honest_trace,
    integer_program,
    keys,
    lying_trace,
    played,
    terms_of,
)
from zkai.compute.dispute import Game, Verdict, path_of, tree_of
from zkai.compute.operators import Operator
from zkai.compute.player import Player, forfeit, play
from zkai.compute.program import Place, State, Trace, program_from_json
from zkai.compute.settlement import Evidence, decide, verify_verdict
from zkai.compute.signed import MOVE, RESULT, read, sign
from zkai.compute.terms import CHALLENGER, CLAIMANT, RecordedSteps, Terms
from zkai.encoding import hex32, keccak256
from zkai.errors import InvalidInput, VerificationError
from zkai.merkle.tensor import from_array
from zkai.model.head_state import HeadState
from zkai.model.heads import LoraHead, MlpHead, SoftmaxHead
from zkai.model.training import sgd_step
from zkai.receipt.envelope import Envelope

INTEGER, FLOAT = integer_program(), float_program()
PLACES = [
    Place(3, layer, operator)
    for layer, found in enumerate(INTEGER.layers(0))
    for operator in range(len(found.operators))
]
PLACES += [Place(0, 0, 0), Place(STEPS - 1, len(INTEGER.layers(0)) - 1, 0)]


# --- programs


@pytest.mark.parametrize(
    "head",
    [SoftmaxHead(5, 3, momentum=0), MlpHead(sizes=(5, 4, 4, 3), momentum=0)],
    ids=["softmax", "mlp"],
)
def test_a_heads_program_is_its_integer_step(head: SoftmaxHead | MlpHead) -> None:
    from zkai.compute.program import HeadProgram

    rng = np.random.default_rng(1)
    weights = rng.integers(-3000, 3000, head.shape)
    x, labels = rng.integers(-90, 90, (7, 5)), rng.integers(0, 3, 7)
    program = HeadProgram(head, 3, 50, 5)
    trace = Trace(program, State.of({"weights": weights, "x": x, "labels": labels}))
    state = HeadState(weights)
    for step in range(5):
        rows = (3 * step + np.arange(3)) % 7
        state = sgd_step(head, state, x[rows], labels[rows], 50)
        found = trace.state(step + 1).arrays
        assert np.array_equal(found["weights"], state.weights)
        assert found.keys() == {"weights", "x", "labels"}
    assert program_from_json(program.to_json()) == program


def test_a_networks_program_is_torchs_step() -> None:
    torch = pytest.importorskip("torch")
    trace = honest_trace(FLOAT, "float")
    start = trace.initial.arrays
    layers = [torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)]
    flat, at = torch.tensor(start["weights"]), 0
    with torch.no_grad():
        for layer, (n, m) in zip(layers, ((4, 3), (3, 2)), strict=True):
            block = flat[at : at + (n + 1) * m].reshape(n + 1, m)
            layer.weight.copy_(block[:-1].T)
            layer.bias.copy_(block[-1])
            at += (n + 1) * m
    model = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1])
    sgd = torch.optim.SGD(model.parameters(), lr=2 / 8)  # 2 rows: a sum of gradients at 1/8
    for step in range(STEPS):
        rows = (2 * step + np.arange(2)) % 7
        sgd.zero_grad()
        out = model(torch.tensor(start["x"][rows]))
        torch.nn.functional.cross_entropy(out, torch.tensor(start["labels"][rows])).backward()
        sgd.step()
    blocks = [torch.cat([layer.weight.T, layer.bias[None]]).reshape(-1) for layer in layers]
    found = trace.state(STEPS).arrays["weights"]
    assert np.allclose(found, torch.cat(blocks).detach().numpy(), atol=1e-6)
    assert program_from_json(FLOAT.to_json()) == FLOAT


@pytest.mark.parametrize(
    "head",
    [
        SoftmaxHead(5, 3, momentum=200),
        MlpHead(sizes=(5, 3), momentum=0, decay=1),
        LoraHead(sizes=(5, 3, 3), rank=2, momentum=0),
    ],
)
def test_heads_without_operators_are_refused(head: SoftmaxHead) -> None:
    value = {**INTEGER.to_json(), "head": head.describe()}
    with pytest.raises(InvalidInput, match="settle their steps by a proof"):
        program_from_json(value)


def test_descriptions_of_no_program_are_refused() -> None:
    for value in (
        None, {}, {"kind": "other"}, {**INTEGER.to_json(), "head": {"name": {}}},
        {**INTEGER.to_json(), "steps": 0}, {**INTEGER.to_json(), "rate": 1 << 40},
        {**FLOAT.to_json(), "sizes": "4"}, {**FLOAT.to_json(), "batch": None},
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            program_from_json(value)


# --- a liar loses


@pytest.mark.parametrize(
    ("liar", "place"),
    [(CLAIMANT, place) for place in PLACES] + [(CHALLENGER, place) for place in PLACES[::3]],
)
def test_a_liar_loses_wherever_it_lies_and_whoever_starts(liar: str, place: Place) -> None:
    lie, honest = lying_trace(INTEGER, place), honest_trace(INTEGER)
    game, evidence = played(*((lie, honest) if liar == CLAIMANT else (honest, lie)))
    verdict = decide(game, evidence)
    if lie.state(STEPS).root == honest.state(STEPS).root:  # it changes nothing, so it is no lie
        assert "nothing to dispute" in verdict.reason
        return
    assert verdict.losers == (liar,)
    assert verdict.place == place
    verify_verdict(game, evidence, verdict)
    with pytest.raises(VerificationError, match="another verdict"):
        verify_verdict(game, evidence, replace(verdict, losers=()))


def test_both_lie_at_one_operator_and_both_lose() -> None:
    place = Place(2, 1, 1)
    first, second = lying_trace(INTEGER, place), lying_trace(INTEGER, Place(9, 9, 9), place)
    game, evidence = played(first, second)
    verdict = decide(game, evidence)
    assert (verdict.losers, verdict.place) == ((CLAIMANT, CHALLENGER), place)


def test_of_two_liars_the_first_lie_loses() -> None:
    game, evidence = played(
        lying_trace(INTEGER, Place(4, 1, 1)), lying_trace(INTEGER, Place(1, 5, 0))
    )
    verdict = decide(game, evidence)
    assert (verdict.losers, verdict.place) == ((CHALLENGER,), (1, 5, 0))


def test_one_step_and_one_operator_levels_are_passed() -> None:
    program = integer_program(1)
    lie = lying_trace(program, Place(0, len(program.layers(0)) - 1, 0))
    game, evidence = played(lie, honest_trace(program))
    assert decide(game, evidence).losers == (CLAIMANT,)
    assert decide(game, evidence).place[2] == 0


# --- floats


def rounded_otherwise(place: Place, output: np.ndarray) -> np.ndarray:
    """Another machine: the last bit of every product differs."""
    layer = FLOAT.layers(place.step)[place.layer].operators[place.operator]
    if not layer.kind.startswith(("affine", "back", "gradient")):
        return output
    return np.nextafter(output, np.float32(np.inf))


def test_floats_rounded_otherwise_are_both_right() -> None:
    honest = honest_trace(FLOAT, "float")
    other = Trace(FLOAT, honest.initial, rounded_otherwise)
    game, evidence = played(other, honest)
    verdict = decide(game, evidence)
    assert verdict.losers == ()
    assert "both are right" in verdict.reason


@pytest.mark.parametrize("liar", [CLAIMANT, CHALLENGER])
@pytest.mark.parametrize("layer", range(len(FLOAT.layers(0)) - 1))
def test_a_float_beyond_its_bound_loses(layer: int, liar: str) -> None:
    """The honest party computes on another machine; the liar shifts one number by a millionth."""
    place = Place(3, layer, 1)

    def shift(at: Place, output: np.ndarray) -> np.ndarray:
        if at != place:
            return output
        changed = output.copy()
        where = np.unravel_index(np.argmax(np.abs(output)), output.shape)
        changed[where] *= output.dtype.type(1.0001) if output.dtype == np.float32 else 0
        changed[where] += output.dtype == np.int64
        return changed

    honest = honest_trace(FLOAT, "float")
    lie = Trace(FLOAT, honest.initial, shift)
    game, evidence = played(*((lie, honest) if liar == CLAIMANT else (honest, lie)))
    verdict = decide(game, evidence)
    assert verdict.losers == (liar,) or "nothing to dispute" in verdict.reason
    assert (verdict.place == place) == ("nothing" not in verdict.reason)


FLOAT_KINDS = {
    "affine32": ((5, 4), (5, 3)),
    "softmax32": ((5, 7),),
    "back32": ((5, 4), (6, 4)),
    "multiply32": ((5, 4), (5, 4)),
    "gradient32": ((5, 4), (5, 3)),
    "update32": ((5, 4), (5, 4)),
}


@pytest.mark.parametrize("kind", FLOAT_KINDS)
def test_float_bounds_hold_for_other_orders_and_refuse_what_is_beyond(kind: str) -> None:
    """The same sums taken backwards, and in float64, are admitted; a larger change is not."""
    rng = np.random.default_rng(8)
    numbers = {"rate": 3, "shift": 2} if kind == "update32" else {}
    inputs = [rng.normal(scale=9, size=s).astype(np.float32) for s in FLOAT_KINDS[kind]]
    if kind == "affine32":
        inputs[1] = rng.normal(scale=9, size=(5, 3)).astype(np.float32)
    if kind == "back32":
        inputs[1] = rng.normal(size=(6, 4)).astype(np.float32)
    operator = Operator(kind, ("a", "b")[: len(inputs)], "out", numbers)
    tensors = dict(zip("ab", inputs, strict=False))
    right = operator.run(tensors)
    assert operator.admits(tensors, right)
    if kind == "affine32":
        x, m = inputs
        backwards = m[-1] + np.array(
            [[np.add.reduce(r[::-1] * c[::-1]) for c in m[:-1].T] for r in x], np.float32
        )
        assert operator.admits(tensors, backwards.astype(np.float32))
    if kind not in ("multiply32", "update32"):  # their few roundings leave less room
        assert operator.admits(tensors, np.nextafter(right, np.float32(np.inf)))
    for factor in (1.0001, -1.0, np.float32(np.nan)):
        wrong = right.copy()
        wrong[np.unravel_index(np.argmax(np.abs(right)), right.shape)] *= np.float32(factor)
        assert not operator.admits(tensors, wrong)
    assert not operator.admits(tensors, right.astype(np.float64))
    assert not operator.admits(tensors, right[:1])


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        ({"a": np.zeros(3, np.int64)}, "lacks the operator's inputs"),
        ({"weights": np.zeros(3, np.int64)}, "operator block"),
    ],
)
def test_liars_who_agree_on_a_state_that_nothing_follows_from_both_lose(
    garbage: dict[str, np.ndarray], reason: str
) -> None:
    """Both invent the state after the first layer, and differ in what the next operator gives."""
    program = integer_program(1)
    start, middle = honest_trace(program).initial, State.of(garbage)
    operator = program.layers(0)[1].operators[0]

    class Inventor(Player):
        def _within(self, game: Game) -> list[State]:
            mark = int(self.key.keyid == keys()["bo"].keyid)
            own, after = State.of({"end": np.full(2, mark)}), np.full((2, 2), mark)
            first = {
                "steps": [start],
                "layers": [start, middle],
                "operators": [middle, middle.after(operator, after)],
            }[game.level.name]
            return [*first, *[own] * (game.level.count - len(first))]

        def _roots(self, game: Game) -> list[bytes]:
            return [state.root for state in self._within(game)]

    players = [Inventor(keys()[name], honest_trace(program)) for name in ("ada", "bo")]
    claimed = State.of({"end": np.full(2, 0)}).root
    game = play(replace(terms_of(program, honest_trace(program)), claimed=claimed), *players)
    assert game.settling, game.verdict
    given = Evidence({name: from_array(array, name) for name, array in garbage.items()})
    verdict = decide(game, given)
    assert (verdict.losers, verdict.place) == ((CLAIMANT, CHALLENGER), (0, 1, 0))
    assert reason in verdict.reason


# --- parties that answer inconsistently


def said(game: Game, **fields: object) -> Envelope:
    """Sign a move of whoever is due that says what it should not."""
    role = "ada" if game.due == CLAIMANT else "bo"
    place = {"number": len(game.entries), "previous": hex32(game.previous), "move": game.stage}
    return sign(MOVE, game.terms.digest, {**place, **fields}, keys()[role])


def as_said(envelope: Envelope) -> dict[str, object]:
    fields = read(envelope, "move")[2]
    return {n: v for n, v in fields.items() if n not in ("number", "previous", "move")}


def until(moves: int) -> tuple[Game, Player, Player]:
    """A dispute after some moves; the challenger lies."""
    honest, lie = honest_trace(INTEGER), lying_trace(INTEGER, Place(3, 1, 1))
    players = Player(keys()["ada"], honest), Player(keys()["bo"], lie)
    game = Game(terms_of(INTEGER, honest))
    for number in range(moves):
        game.apply(players[number % 2].move(game))
    return game, *players


WHOLE = len(played(honest_trace(INTEGER), lying_trace(INTEGER, Place(3, 1, 1)))[0].entries)


@pytest.mark.parametrize("moves", range(WHOLE))
def test_a_move_that_contradicts_its_commitments_loses(moves: int) -> None:
    start, *players = until(moves)
    game, due, stage = deepcopy(start), start.due, start.stage
    honest = as_said(players[moves % 2].move(game))
    other = hex32(keccak256(b"other"))
    bad = {
        "claim": [{"first": other}, {"last": other}, {"root": other}, {"proof": []}],
        "open": [{"value": other}, {"proof": honest.get("proof", [])[:-1]}, {"proof": None}],  # type: ignore[index]
        "reveal": [
            {"table": State.of({"a": np.zeros(3)}).table.to_json()},
            {"output": {**honest.get("output", {}), "top": other}},  # type: ignore[dict-item]
            {"output": None},
            {"table": {}},
        ],
    }[stage]
    for changed in [*bad, {"move": "prove", "proof": None}, {"more": 1}]:
        game = deepcopy(start)
        game.apply(said(game, **{**honest, **changed}))
        assert game.verdict is not None
        assert game.verdict.losers == (due,)
        assert decide(game) == game.verdict
        with pytest.raises(VerificationError, match="ended"):
            game.apply(said(game))


def test_a_liar_without_a_trace_behind_its_roots_loses() -> None:
    """Made-up roots at steps, layers or operators: nothing below them fits."""
    honest = honest_trace(INTEGER)
    fake = [keccak256(bytes([i])) for i in range(64)]

    made: dict[str, list[bytes]] = {}

    class Faker(Player):
        def _roots(self, game: Game) -> list[bytes]:
            level = game.level
            last = level.own.get(CHALLENGER, fake[0])
            return made.setdefault(level.name, [level.start, *fake[1 : level.count - 1], last])

        def _reveal(self, game: Game) -> dict[str, object]:
            return Player(self.key, honest)._reveal(game)

    game = play(
        terms_of(INTEGER, honest), Player(keys()["ada"], honest), Faker(keys()["bo"], honest)
    )
    assert game.verdict is not None
    assert game.verdict.losers == (CHALLENGER,)
    assert "does not give the state" in game.verdict.reason


@pytest.mark.parametrize("level", ["steps", "layers", "operators"])
def test_who_commits_to_another_start_loses(level: str) -> None:
    """A tree that is whole and ends in what was claimed, from a state that was not agreed on."""
    honest = honest_trace(INTEGER)
    lie = lying_trace(INTEGER, Place(3, 1, 1))
    elsewhere = keccak256(b"elsewhere")

    class Mover(Player):
        def _claim(self, game: Game) -> dict[str, object]:
            roots = self._roots(game)
            if game.level.name == level:
                roots = [elsewhere, *roots[1:]]
            nodes = tree_of(roots)
            path = path_of(nodes, len(roots), [0, len(roots) - 1])
            return {
                "root": hex32(nodes[-1].tobytes()), "first": hex32(roots[0]),
                "last": hex32(roots[-1]), "proof": path,
            }  # fmt: skip

    players = Player(keys()["ada"], honest), Mover(keys()["bo"], lie)
    game = play(terms_of(INTEGER, honest), *players)
    assert game.verdict == Verdict(
        (CHALLENGER,), f"{level}: does not start from what was agreed", game.place
    )


def test_who_shows_another_state_before_the_operator_loses() -> None:
    """Its claim follows from that state by the operator, but the state is not the agreed one."""
    honest = honest_trace(INTEGER)
    weights = honest.initial.arrays["weights"] + 7
    other = Trace(INTEGER, State.of({**honest.initial.arrays, "weights": weights}))

    class Shifter(Player):
        def _roots(self, game: Game) -> list[bytes]:
            own = [state.root for state in self._states(game)]
            return [game.level.start, *own[1:]]

        def _states(self, game: Game) -> list[State]:
            if game.level.name == "steps":
                return [other.state(step) for step in range(STEPS + 1)]
            return self._within(game)

    game = play(
        terms_of(INTEGER, honest), Player(keys()["ada"], honest), Shifter(keys()["bo"], other)
    )
    assert game.verdict is not None
    assert (game.verdict.losers, game.place[0]) == ((CHALLENGER,), 0)
    assert "another state than the agreed one" in game.verdict.reason


def test_who_disputes_what_it_claims_itself_loses() -> None:
    game, _ = played(honest_trace(INTEGER), honest_trace(INTEGER))
    assert game.verdict is not None
    assert game.verdict.losers == (CHALLENGER,)
    assert "nothing to dispute" in game.verdict.reason


def test_a_claimant_is_held_to_its_signed_result() -> None:
    honest, lie = honest_trace(INTEGER), lying_trace(INTEGER, Place(3, 1, 1))
    terms = terms_of(INTEGER, lie)
    game = play(terms, Player(keys()["ada"], honest), Player(keys()["bo"], honest))
    assert game.verdict is not None
    assert game.verdict.losers == (CLAIMANT,)
    assert "claimed before" in game.verdict.reason


# --- moves that are nobody's


@pytest.mark.parametrize("moves", [0, 1, 4, 5])
def test_forged_replayed_and_foreign_moves_are_held_against_nobody(moves: int) -> None:
    game, *players = until(moves)
    due, other = players[moves % 2], players[1 - moves % 2]
    move = due.move(game)
    stranger = sign(MOVE, game.terms.digest, read(move, "move")[2], other.key)
    forged = replace(move, signatures=((move.signatures[0][0], bytes(64)),))
    elsewhere = sign(MOVE, keccak256(b"elsewhere"), read(move, "move")[2], due.key)
    result = sign(RESULT, game.terms.digest, read(move, "move")[2], due.key)
    late = sign(MOVE, game.terms.digest, {**read(move, "move")[2], "number": moves + 2}, due.key)
    astray = sign(
        MOVE, game.terms.digest, {**read(move, "move")[2], "previous": hex32(bytes(32))}, due.key
    )  # fmt: skip
    odd = sign(
        MOVE, game.terms.digest,
        {**read(move, "move")[2], "number": bool(moves) if moves < 2 else str(moves)}, due.key,
    )  # fmt: skip
    for entry, reason in (
        (stranger, "not signed by"), (forged, "does not verify"), (elsewhere, "another dispute"),
        (result, "not a move"), (late, "another place"), (odd, "another place"),
        (astray, "another place"),
        (replace(move, signatures=move.signatures * 2), "alone"),
    ):  # fmt: skip
        with pytest.raises(VerificationError, match=reason):
            game.apply(entry)
    if game.entries:
        with pytest.raises(VerificationError, match="another place"):
            game.apply(game.entries[-1])
    with pytest.raises(InvalidInput, match="another key"):
        other.move(game)
    assert game.verdict is None
    game.apply(move)
    assert len(game.entries) == moves + 1


def test_a_replayed_move_of_an_earlier_dispute_is_refused() -> None:
    honest = honest_trace(INTEGER)
    first = Game(terms_of(INTEGER, honest))
    again = Game(terms_of(INTEGER, honest, nonce=bytes(32)))
    move = Player(keys()["ada"], honest).move(first)
    with pytest.raises(VerificationError, match="another dispute"):
        again.apply(move)


def test_two_moves_for_one_place_lose() -> None:
    game, ada, bo = until(6)
    value = as_said(bo.move(until(5)[0]))
    second = said(until(5)[0], **{**value, "value": hex32(bytes(32))})
    game.accuse(second)
    assert game.verdict is not None
    assert game.verdict.losers == (CHALLENGER,)
    for entry, reason in (
        (game.entries[5], "not another move"),
        (said(until(3)[0], **{**value, "number": 5}), "not another move"),
        (said(game), "no first one"),
        (replace(second, signatures=((keys()["ada"].keyid, bytes(64)),)), "not signed by"),
        (sign(RESULT, game.terms.digest, read(second, "m")[2], keys()["bo"]), "not a move"),
    ):
        fresh, *_ = until(6)
        with pytest.raises(VerificationError, match=reason):
            fresh.accuse(entry)
        assert fresh.verdict is None
    assert ada.key != bo.key


# --- time


@pytest.mark.parametrize("moves", [0, 3, 8])
def test_an_abandoned_dispute_is_forfeited_by_who_was_due(moves: int) -> None:
    game, *_ = until(moves)
    due = game.due
    referee = keys()["judge"]
    for entry, reason in (
        (forfeit(game, 1000, 1059, referee), "59 s of 60 s"),
        (forfeit(game, 1000, 1060, keys()["ada"]), "not signed by"),
        (forfeit(until(moves + 1)[0], 1000, 2000, referee), "another place"),
    ):
        with pytest.raises(VerificationError, match=reason):
            game.apply(entry)
    game.apply(forfeit(game, 1000, 1060, referee))
    assert decide(game).losers == (due,)
    assert "60 s" in decide(game).reason


def test_without_a_referee_nobody_forfeits() -> None:
    game = Game(terms_of(INTEGER, honest_trace(INTEGER), referee=None))
    with pytest.raises(VerificationError, match="no referee"):
        game.apply(forfeit(game, 0, 100, keys()["judge"]))


# --- evidence


def test_evidence_is_the_agreed_inputs_and_nothing_else() -> None:
    game, evidence = played(honest_trace(INTEGER), lying_trace(INTEGER, Place(3, 1, 1)))
    assert evidence is not None
    name = game.operator.inputs[0]
    with pytest.raises(InvalidInput, match=f"'{name}' is missing"):
        decide(game, Evidence())
    changed = np.array(evidence.tensors[name].read(0, evidence.tensors[name].head.total))
    changed[0] ^= 1
    array = changed.view(np.int64).reshape(evidence.tensors[name].head.shape)
    with pytest.raises(VerificationError, match="not the agreed one"):
        decide(game, Evidence({**evidence.tensors, name: from_array(array, name)}))
    early, *_ = until(3)
    with pytest.raises(VerificationError, match="not over: the challenger's move is due"):
        decide(early, evidence)


def test_values_that_may_differ_are_shown_and_are_those_committed_to() -> None:
    honest = honest_trace(FLOAT, "float")
    other = Trace(FLOAT, honest.initial, rounded_otherwise)
    game = Game(terms_of(FLOAT, other))
    players = Player(keys()["ada"], other), Player(keys()["bo"], honest)
    while game.stage != "reveal":
        game.apply(players[len(game.entries) % 2].move(game))
    fields = as_said(players[0].move(game))
    output = fields["output"]
    assert isinstance(output, dict)
    own = as_said(players[1].move(deepcopy_after(game, players[0])))["output"]
    for data in (None, "", own["data"]):  # type: ignore[index]
        again = deepcopy(game)
        again.apply(said(again, **{**fields, "output": {**output, "data": data}}))
        assert again.verdict is not None
        assert again.verdict.losers == (CLAIMANT,)
    # An integer operator's output is known by its digest alone.
    exact, *players_ = until(WHOLE - 1)
    fields = as_said(players_[(WHOLE - 1) % 2].move(exact))
    assert isinstance(fields["output"], dict)
    exact.apply(said(exact, **{**fields, "output": {**fields["output"], "data": "AAAAAAAAAAA="}}))
    assert exact.verdict is not None


def deepcopy_after(game: Game, player: Player) -> Game:
    again = deepcopy(game)
    again.apply(player.move(again))
    return again


@pytest.mark.parametrize(
    "changes", [{"sizes": (300, 300)}, {"batch": 20000}, {"sizes": (4,)}, {"rate_shift": 101}]
)
def test_networks_whose_tensors_no_move_carries_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        replace(FLOAT, **changes)  # type: ignore[arg-type]


def test_recorded_steps_are_settled_by_their_replay() -> None:
    right = [keccak256(bytes([i])) for i in range(9)]
    wrong = [*right[:5], *(keccak256(r) for r in right[5:])]
    subject = RecordedSteps(8, keccak256(b"task"))
    terms = terms_of(INTEGER, honest_trace(INTEGER), subject=subject, initial=right[0])
    terms = replace(terms, claimed=wrong[-1])
    game = play(terms, Player(keys()["ada"], states=wrong), Player(keys()["bo"], states=right))
    with pytest.raises(InvalidInput, match="a replay"):
        decide(game)
    asked = []

    def replay(step: int, before: bytes) -> bytes:
        asked.append((step, before))
        return right[step + 1]

    assert decide(game, Evidence(replay=replay)).losers == (CLAIMANT,)
    assert asked == [(4, right[4])]
    neither = Evidence(replay=lambda step, before: bytes(32))
    assert decide(game, neither) == Verdict(
        (CLAIMANT, CHALLENGER), decide(game, neither).reason, (4,)
    )
    assert Terms.from_bytes(terms.to_bytes()) == terms


# --- terms


def test_terms_survive_their_bytes_and_name_every_choice() -> None:
    terms = terms_of(INTEGER, honest_trace(INTEGER))
    assert Terms.from_bytes(terms.to_bytes()) == terms
    for changes in (
        {"limit_s": 61}, {"nonce": bytes(32)}, {"claimed": bytes(32)}, {"initial": bytes(32)},
        {"referee": None}, {"subject": integer_program(7)},
    ):  # fmt: skip
        assert replace(terms, **changes).digest != terms.digest
    for changes in (
        {"limit_s": 0}, {"limit_s": True}, {"nonce": bytes(31)},
        {"challenger": keys()["ada"].public}, {"referee": keys()["bo"].public},
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            replace(terms, **changes)


def test_paths_are_of_trees_as_documented() -> None:
    states = [keccak256(bytes([i])) for i in range(3)]
    a, b, c = (keccak256(b"zkaileaf" + s) for s in states)
    top = keccak256(b"zkainode" + keccak256(b"zkainode" + a + b) + c)
    assert tree_of(states)[-1].tobytes() == top
    assert path_of(tree_of(states), 3, [1]) == [hex32(a), hex32(c)]
