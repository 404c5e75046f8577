"""Every policy tried on a cheat: the rate at which it is caught, beside the stated probability.

A row is one policy against one cheat. A trial is a whole game with a seed: the cheat picks its
places, a beacon value made of the seed draws the samples as `zkai.merkle.sample` does, and the
check itself runs: leaves against real multiproofs, gradients computed again, results tallied,
committees drawn. docs/policies.md has `rows()` as a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache, partial

import numpy as np

from zkai.compute import detection
from zkai.compute.committee import Members, draw_committee, draw_seats
from zkai.compute.redundancy import tally
from zkai.encoding import keccak256
from zkai.errors import InvalidInput, VerificationError
from zkai.merkle import sample
from zkai.merkle.commitment import Commitment, Tensor
from zkai.merkle.tensor import Head
from zkai.native_merkle import Bytes, levels, multiproof, subtrees

Trial = Callable[[np.random.Generator, bytes], bool]

SHARES = (0.0001, 0.001, 0.01, 0.1, 0.5)
LEAVES, LEAF = 10_000, 32
STEPS = 1_000
TRAINERS = 100
NOISES = ((0.3, 64), (0.5, 16), (0.5, 64), (1.0, 8))
_FEATURES, _ROWS = 4, 8


@dataclass(frozen=True)
class Row:
    """A policy against a cheat: the stated probability that it is caught, and a trial of it.

    `saved` is what the cheat saves, in units of the round's honest cost; `alarm` the chance that
    the same cheats have an honest party punished.
    """

    policy: str
    cheat: str
    chance: float
    trial: Trial = field(repr=False)
    saved: float = 1.0
    alarm: float = 0.0

    @property
    def at_risk(self) -> float:
        """g / (p - e): the least reward and stake, in units of the honest cost, that deter."""
        return detection.minimum_stake(self.chance, 0.0, self.saved, self.alarm)


@dataclass(frozen=True)
class Rate:
    """How often a row's cheat was caught."""

    row: Row
    trials: int
    caught: int

    def deviation(self) -> float:
        """Return the probability of a rate at least this far on its side, were the chance true."""
        p, n, hits = self.row.chance, self.trials, self.caught
        upper = detection.binomial_tail(n, p, hits)
        lower = detection.binomial_tail(n, 1 - p, n - hits)
        return min(upper, lower)

    def verify(self, error: float = 1e-10) -> None:
        """Return None if the rate agrees with the stated probability.

        An honest simulation fails this with a probability of at most 2 `error`.

        Raises VerificationError otherwise.
        """
        if self.deviation() < error:
            raise VerificationError(
                f"{self.row.policy}, {self.row.cheat}: caught {self.caught} times of {self.trials},"
                f" which a probability of {self.row.chance:.6g} does not explain"
            )


def simulate(row: Row, trials: int, seed: int = 0) -> Rate:
    """Return how often a row's cheat is caught in seeded trials. Raises InvalidInput for none."""
    if trials < 1:
        raise InvalidInput(f"expected at least one trial, got {trials}")
    caught = 0
    for number in range(trials):
        value = keccak256(f"zkai/simulation/1 {row.policy} {row.cheat} {seed} {number}".encode())
        rng = np.random.default_rng(list(value))
        caught += row.trial(rng, keccak256(value))
    return Rate(row, trials, caught)


def table() -> str:
    """Return every row as a table in Markdown, as docs/policies.md has it."""
    head = ("policy", "cheat", "caught", "in 10 rounds", "at risk")
    lines = [head, ("---", "---", "--:", "--:", "--:")]
    for row in rows():
        ten = detection.over_rounds(row.chance, 10)
        risk = f"{row.at_risk:.2f}" if math.isfinite(row.at_risk) else "none is enough"
        shown = (f"{row.chance:.4f}", f"{ten:.4f}", risk)
        lines.append((row.policy, row.cheat, *shown))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def rows() -> tuple[Row, ...]:
    """Return every row of the table."""
    return (
        *(_leaf_row(share, samples) for samples in (100, 500) for share in SHARES),
        *(_value_row(share, 100) for share in SHARES[:2]),
        *(_step_row(share, replayed) for replayed in (10, 50) for share in SHARES[1:]),
        *(_noise_row(noise, samples) for noise, samples in NOISES),
        *(_opinion_row(share, drawn) for drawn in (2, 3) for share in (10, 30, 45)),
        *(_majority_row(share, drawn) for drawn in (3, 7) for share in (10, 30, 45)),
        *(_committee_row(share, size) for size in (7, 31) for share in (10, 30, 45)),
        *(_seats_row(share, 31) for share in (30, 45)),
    )  # fmt: skip


# Leaves: a tensor that was changed after it was committed to -------------------------------------


@lru_cache(maxsize=4)
def _tree(leaves: int) -> tuple[Commitment, Bytes, Bytes]:
    data = np.random.default_rng(1).integers(0, 256, leaves * LEAF, np.uint8)
    nodes = levels(subtrees(data, LEAF, 0))
    tensor = Tensor("w", Head("uint8", (leaves * LEAF,)), nodes[-1].tobytes())
    return Commitment(LEAF, (tensor,)), data.reshape(leaves, LEAF), nodes


def _leaf_row(share: float, samples: int) -> Row:
    altered = round(share * LEAVES)

    def places(rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        return rng.choice(LEAVES, altered, replace=False)

    return Row(
        f"{samples} of {LEAVES:,} leaves shown",
        f"{share:.2%} of the leaves altered",
        detection.by_sampling(LEAVES, altered, samples),
        partial(_alter_leaves, places, samples),
    )


def _value_row(share: float, samples: int) -> Row:
    values = LEAVES * LEAF
    altered = round(share * values)

    def places(rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        return np.unique(rng.choice(values, altered, replace=False) // LEAF)

    return Row(
        f"{samples} of {LEAVES:,} leaves shown",
        f"{share:.2%} of the values altered, anywhere ({LEAF} a leaf)",
        detection.by_sampling_values(LEAVES, LEAF, altered, samples),
        partial(_alter_leaves, places, samples),
    )


def _alter_leaves(
    places: Callable[[np.random.Generator], np.ndarray[tuple[int], np.dtype[np.intp]]],
    samples: int,
    rng: np.random.Generator,
    beacon: bytes,
) -> bool:
    """Alter leaves, answer from what is there now with proofs of what was, and verify."""
    commitment, honest, nodes = _tree(LEAVES)
    challenge = sample.Challenge(beacon, samples)
    drawn = challenge.draw(commitment.root, LEAVES)
    now = honest.copy()
    now[places(rng)] ^= np.uint8(1)
    proof = multiproof(nodes, LEAVES, drawn)
    shown = {0: sample.Answer(now[drawn.astype(np.intp)].tobytes(), proof)}
    try:
        sample.verify(commitment, challenge, shown, commitment.root)
    except VerificationError:
        return True
    return False


# Steps: a trainer that replays old gradients -----------------------------------------------------


def _step_row(share: float, replayed: int) -> Row:
    lazy = round(share * STEPS)
    return Row(
        f"{replayed} of {STEPS:,} steps replayed",
        f"{share:.1%} of the steps hand in an old gradient, disguised",
        detection.by_sampling(STEPS, lazy, replayed),
        partial(_replay_gradients, lazy, replayed),
        share,
    )


@lru_cache(maxsize=1)
def _training_data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(STEPS, _ROWS, _FEATURES))
    return x, x @ rng.normal(size=_FEATURES) + 0.1 * rng.normal(size=(STEPS, _ROWS))


def _gradient(weights: np.ndarray, step: int) -> np.ndarray:
    x, y = _training_data()
    return np.asarray(x[step].T @ (x[step] @ weights - y[step]) / _ROWS)


def _replay_gradients(lazy: int, replayed: int, rng: np.random.Generator, beacon: bytes) -> bool:
    """Train; on some steps take the last gradient again, its last bits changed so that no root is
    met twice; then let the beacon choose which steps are computed again from committed weights.
    """
    skipped = set(rng.choice(np.arange(1, STEPS), lazy, replace=False).tolist()) if lazy else set()
    weights, states, gradients = np.zeros(_FEATURES), [], list[np.ndarray]()
    for step in range(STEPS):
        old = gradients[-1] * (1 + 2.0**-40) if step in skipped else None
        gradient = _gradient(weights, step) if old is None else old
        states.append(weights)
        gradients.append(gradient)
        weights = weights - 0.05 * gradient
    root = keccak256(b"".join(g.tobytes() for g in gradients))
    drawn = sample.Challenge(beacon, replayed).draw(root, STEPS)
    return any(
        _gradient(states[step], step).tobytes() != gradients[step].tobytes()
        for step in map(int, drawn)
    )


# Values within a tolerance: a freerider that hands in what it was given, plus noise --------------


def _noise_row(noise: float, samples: int) -> Row:
    return Row(
        f"{samples} values compared within a tolerance t",
        f"what was given, plus noise of {noise:g} t",
        detection.by_tolerance(samples, noise, 1.0),
        partial(_add_noise, noise, samples),
    )


def _add_noise(noise: float, samples: int, rng: np.random.Generator, beacon: bytes) -> bool:
    right = np.random.default_rng(3).normal(size=4096)
    given = right + noise * rng.normal(size=right.size)
    drawn = sample.Challenge(beacon, samples).draw(keccak256(given.tobytes()), right.size)
    places = drawn.astype(np.intp)
    return bool((np.abs(given[places] - right[places]) > 1.0).any())


# Several trainers of one task --------------------------------------------------------------------


def _opinion_row(colluders: int, drawn: int) -> Row:
    return Row(
        f"{drawn} of {TRAINERS} trainers do the task, any difference is settled",
        f"{colluders} % collude",
        detection.by_second_opinion(TRAINERS, colluders, drawn),
        partial(_collude, colluders, drawn, False),
    )


def _majority_row(colluders: int, drawn: int) -> Row:
    return Row(
        f"{drawn} of {TRAINERS} trainers do the task, the majority decides",
        f"{colluders} % collude",
        detection.by_majority(TRAINERS, colluders, drawn),
        partial(_collude, colluders, drawn, True),
        alarm=detection.honest_outvoted(TRAINERS, colluders, drawn),
    )


def _names(count: int) -> Sequence[str]:
    return [f"t{number:03}" for number in range(count)]


def _collude(
    colluders: int, drawn: int, majority: bool, rng: np.random.Generator, beacon: bytes
) -> bool:
    """Give a cheat's task to others too; colluders hand in the cheat's result."""
    names = _names(TRAINERS)
    wrong = set(rng.choice(names, colluders, replace=False).tolist())
    cheat = min(wrong)
    group = [cheat]
    if drawn > 1:
        others = Members.equal([name for name in names if name != cheat])
        group += draw_committee(others, drawn - 1, beacon, "the same task")
    results = {name: "wrong" if name in wrong else "right" for name in group}
    if majority:
        winners = tally(results, drawn)
        return bool(winners) and cheat not in winners
    return len(set(results.values())) > 1


# Committees --------------------------------------------------------------------------------------


def _committee_row(corrupt: int, size: int) -> Row:
    return Row(
        f"a committee of {size} out of {TRAINERS}",
        f"{corrupt} % corrupt, in vain",
        1 - detection.corrupt_majority(TRAINERS, corrupt, size),
        partial(_committee, corrupt, size),
    )


def _committee(corrupt: int, size: int, rng: np.random.Generator, beacon: bytes) -> bool:
    names = _names(TRAINERS)
    bad = set(rng.choice(names, corrupt, replace=False).tolist())
    drawn = draw_committee(Members.equal(names), size, beacon, "to decide")
    return 2 * sum(name in bad for name in drawn) <= size


def _seats_row(corrupt: int, seats: int) -> Row:
    return Row(
        f"{seats} seats by weight",
        f"{corrupt} % of the weight corrupt, in vain",
        1 - detection.corrupt_majority_by_weight(Fraction(corrupt, 100), seats),
        partial(_seats, corrupt, seats),
    )


def _seats(corrupt: int, seats: int, rng: np.random.Generator, beacon: bytes) -> bool:
    parts = rng.multinomial(corrupt - 3, [1 / 3] * 3) + 1
    weights = {f"bad{i}": int(w) for i, w in enumerate(parts)}
    drawn = draw_seats(Members({**weights, "good": 100 - corrupt}), seats, beacon, "to decide")
    return 2 * sum(name in weights for name in drawn) <= seats
