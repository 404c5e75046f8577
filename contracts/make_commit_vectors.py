"""Keys, proofs and forgeries with a commitment round that every verifier must agree on.

    python contracts/make_commit_vectors.py            writes contracts/vectors/commit_N_C.json
    python contracts/make_commit_vectors.py --check    compares them with what stands there

N public inputs, C challenges. Whoever knows a setup's secrets proves anything: any a, b and d give
the valid proof (a G1, b G2, c G1, d G1) with
c = (a b - alpha beta - (ic[0] + y ic[1] + sum r_j ic[j + 1]) - d delta1) / delta2. So these need no
circuit and no prover. All arithmetic is py_ecc's. A valid case lists its challenges.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from contracts.make_vectors import (
    FOLDER,
    WORD_MAX,
    Q,
    R,
    Words,
    at,
    changed,
    g1,
    g2,
    keccak256,
    outside_subgroup,
    scalar,
)

SHAPES = ((0, 1), (1, 2), (2, 3), (9, 2), (10, 2), (64, 2))
NAMES = ("fold", "alpha", "third")
DOMAIN = keccak256(b"zkai.groth16-commit/1")


def packed(words: Words) -> bytes:
    return b"".join(w.to_bytes(32, "big") for w in words)


def hash_words(words: Words) -> int:
    return int.from_bytes(keccak256(packed(words)), "big")


class CommitKey:
    """A verifying key with its secrets; gamma is 1."""

    def __init__(self, name: str, n_public: int, n_challenges: int, status: str) -> None:
        self.n_public, self.n_challenges, self.status = n_public, n_challenges, status
        self.circuit_digest = keccak256(f"circuit of {name}".encode())
        self.alpha, self.beta, self.delta1, self.delta2 = (
            scalar(f"{name}/{part}") for part in ("alpha", "beta", "delta1", "delta2")
        )
        self.ic = [scalar(f"{name}/ic/{i}") for i in range(n_challenges + 2)]
        self._words: Words = []

    def words(self) -> Words:
        """The preimage of the key's digest: 23 + 2c words."""
        if not self._words:
            domain, digest = (int.from_bytes(h, "big") for h in (DOMAIN, self.circuit_digest))
            header = [domain, int(self.status == "ceremony"), digest]
            points = [*g1(self.alpha), *g2(self.beta), *g2(self.delta1), *g2(self.delta2)]
            for k in self.ic:
                points += g1(k)
            self._words = [*header, self.n_public, self.n_challenges, *points]
        return self._words

    @property
    def digest(self) -> int:
        return hash_words(self.words())

    def seed_preimage(self, publics: Words, d: Words) -> Words:
        return [int.from_bytes(DOMAIN, "big"), self.digest, len(publics), *publics, *d]

    def challenges(self, publics: Words, d: Words) -> Words:
        seed = hash_words(self.seed_preimage(publics, d))
        return [hash_words([seed, j]) % R for j in range(1, self.n_challenges + 1)]

    def finish(self, a: int, b: int, d: int, folded: int, challenges: Words) -> int:
        """C's scalar, which makes the equation hold for these public wires."""
        wires = zip([1, folded, *challenges], self.ic, strict=True)
        rest = a * b - self.alpha * self.beta - sum(w * k for w, k in wires) - d * self.delta1
        return rest * pow(self.delta2, -1, R) % R

    def prove(
        self,
        publics: Words,
        label: str,
        challenges: Callable[[CommitKey, Words, Words], Words] | None = None,
        folded: Callable[[Words, int], int] | None = None,
    ) -> Words:
        """A proof; a valid one unless its challenges or its folded value are replaced."""
        a, b, d = (scalar(f"{label}/{part}") for part in "abd")
        commitment = g1(d)
        r = (challenges or CommitKey.challenges)(self, publics, commitment)
        c = self.finish(a, b, d, (folded or fold)(publics, r[0]), r)
        return [*g1(a), *g2(b), *g1(c), *commitment]

    def to_json(self) -> dict[str, Any]:
        words = self.words()

        def pair(i: int) -> list[str]:
            return [str(words[i]), str(words[i + 1])]

        def twist(i: int) -> list[list[str]]:
            x1, x0, y1, y0 = (str(w) for w in words[i : i + 4])
            return [[x0, x1], [y0, y1]]

        return {
            "format": "zkai.groth16-commit-vk/1",
            "statement": "vector/1",
            "circuit_digest": "0x" + self.circuit_digest.hex(),
            "vk_digest": f"0x{self.digest:064x}",
            "key_status": self.status,
            "public": [{"name": f"x{i}", "size": 1} for i in range(self.n_public)],
            "challenges": list(NAMES[: self.n_challenges]),
            "alpha": pair(5),
            "beta": twist(7),
            "delta1": twist(11),
            "delta2": twist(15),
            "ic": [pair(19 + 2 * i) for i in range(self.n_challenges + 2)],
            "ceremony": None,
        }


def fold(publics: Words, r: int) -> int:
    """sum x_i r^i, i = 1 .. n."""
    return sum(x * pow(r, i + 1, R) for i, x in enumerate(publics)) % R


class Cases:
    """Collects cases; each differs from the valid one in what its name says."""

    def __init__(self, key: CommitKey, proof: Words, publics: Words) -> None:
        self.key, self.proof, self.publics = key, proof, publics
        self.rows: list[dict[str, Any]] = []

    def add(
        self,
        name: str,
        error: str | None,
        proof: dict[int, int] | Words | None = None,
        publics: dict[int, int] | Words | None = None,
    ) -> None:
        words, inputs = changed(self.proof, proof), changed(self.publics, publics)
        row = {
            "name": name,
            "success": error is None,
            "error": None if error is None else f"Groth16CommitVerifier__{error}",
            "proof": [hex(w) for w in words],
            "publics": [hex(w) for w in inputs],
        }
        if error is None:
            row["challenges"] = [hex(r) for r in self.key.challenges(inputs, words[8:])]
        self.rows.append(row)


def add_valid(cases: Cases, label: str) -> None:
    key, x, n = cases.key, cases.publics, cases.key.n_public
    cases.add("valid", None)
    # The same statement, other bytes: A / z and z B. A proof's bytes are no identity.
    a, b, z = (scalar(f"{label}/{part}") for part in "abz")
    again = [*g1(a * pow(z, -1, R) % R), *g2(b * z % R), *cases.proof[6:]]
    cases.add("valid, re-randomised", None, again)
    cases.add("valid, with another commitment", None, key.prove(x, f"{label}/again"))
    edge = [(R - 1) * (i % 2) for i in range(n)]
    if n:
        cases.add("valid for inputs 0 and r - 1", None, key.prove(edge, f"{label}/edge"), edge)


def add_point_forgeries(cases: Cases, label: str) -> None:
    proof = cases.proof
    for i, word in enumerate(proof):
        cases.add(f"proof word {i} plus 1", "InvalidPoint()", {i: (word + 1) % Q})
        cases.add(f"proof word {i} plus q", f"CoordinateOutOfRange({i})", {i: word + Q})
    cases.add("proof word 9 is q", "CoordinateOutOfRange(9)", {9: Q})
    cases.add("proof word 8 is the largest", "CoordinateOutOfRange(8)", {8: WORD_MAX})
    for name, start, size in (("A", 0, 2), ("B", 2, 4), ("C", 6, 2), ("D", 8, 2)):
        infinity = {start + i: 0 for i in range(size)}
        cases.add(f"{name} is infinity", f"PointAtInfinity({start})", infinity)
        off = {start + i: 1 for i in range(size)}
        cases.add(f"{name} is off its curve", "InvalidPoint()", off)
    cases.add("every point is infinity", "PointAtInfinity(0)", [0] * 10)
    a, b, d = (scalar(f"{label}/{part}") for part in "abd")
    cases.add("A doubled", "InvalidProof()", at(0, g1(2 * a)))
    cases.add("B doubled", "InvalidProof()", at(2, g2(2 * b)))
    cases.add("D doubled", "InvalidProof()", at(8, g1(2 * d)))
    for name, index in (("A", 1), ("C", 7), ("D", 9)):
        cases.add(f"{name} negated", "InvalidProof()", {index: Q - proof[index]})
    cases.add("B negated", "InvalidProof()", {4: Q - proof[4], 5: Q - proof[5]})
    cases.add("C and D exchanged", "InvalidProof()", [*proof[:6], *proof[8:], *proof[6:8]])
    cases.add(
        "A and C exchanged", "InvalidProof()", [*proof[6:8], *proof[2:6], *proof[:2], *proof[8:]]
    )
    imaginary_last = [proof[3], proof[2], proof[5], proof[4]]
    cases.add("B's coefficients exchanged", "InvalidPoint()", at(2, imaginary_last))
    cases.add("B outside the subgroup", "InvalidPoint()", at(2, outside_subgroup()))
    cases.add("A is alpha and B is beta", "InvalidProof()", at(0, cases.key.words()[5:11]))


def add_infinity_forgeries(cases: Cases, label: str) -> None:
    """Proofs that satisfy the equation with a point at infinity."""
    key, x = cases.key, cases.publics
    a, b, d = (scalar(f"{label}/{part}") for part in "abd")
    zero = [0, 0]
    r = key.challenges(x, zero)
    c = key.finish(a, b, 0, fold(x, r[0]), r)
    bare = [*g1(a), *g2(b), *g1(c), *zero]
    cases.add("D is infinity in a proof made so", "PointAtInfinity(8)", bare)
    r = key.challenges(x, g1(d))
    c = key.finish(0, b, d, fold(x, r[0]), r)
    empty = [*zero, *g2(b), *g1(c), *g1(d)]
    cases.add("A is infinity in a proof made so", "PointAtInfinity(0)", empty)


def add_commitment_forgeries(cases: Cases, label: str) -> None:
    key, x = cases.key, cases.publics
    a, b, d, t = (scalar(f"{label}/{part}") for part in "abdt")
    other = key.prove(x, f"{label}/again")
    cases.add("D of another proof", "InvalidProof()", at(8, other[8:]))
    cases.add("all but D of another proof", "InvalidProof()", [*other[:8], *cases.proof[8:]])
    # D + t delta2 and C - t delta1 satisfy the equation, but D was hashed.
    r = key.challenges(x, cases.proof[8:])
    c = key.finish(a, b, d, fold(x, r[0]), r)
    moved = [*g1((c - t * key.delta1) % R), *g1((d + t * key.delta2) % R)]
    cases.add("D blinded again and C made up for it", "InvalidProof()", at(6, moved))


def seeded(preimage: Callable[[CommitKey, Words, Words], Words], first: int = 1) -> Any:
    """Challenges hashed from another preimage, or counted from another number."""

    def challenges(key: CommitKey, publics: Words, d: Words) -> Words:
        seed = hash_words(preimage(key, publics, d))
        return [hash_words([seed, j]) % R for j in range(first, first + key.n_challenges)]

    return challenges


CHALLENGE_FORGERIES: dict[str, Callable[[CommitKey, Words, Words], Words]] = {
    "challenges that the prover chose": lambda k, x, d: list(range(5, 5 + k.n_challenges)),
    "challenges that are 0": lambda k, x, d: [0] * k.n_challenges,
    "challenges hashed without the public inputs": seeded(
        lambda k, x, d: [*k.seed_preimage(x, d)[:3], *d]
    ),
    "challenges hashed without their number": seeded(
        lambda k, x, d: [*k.seed_preimage(x, d)[:2], *x, *d]
    ),
    "challenges hashed without D": seeded(lambda k, x, d: k.seed_preimage(x, d)[:-2]),
    "challenges hashed without D.y": seeded(lambda k, x, d: k.seed_preimage(x, d)[:-1]),
    "challenges hashed without the key": seeded(
        lambda k, x, d: [v for i, v in enumerate(k.seed_preimage(x, d)) if i != 1]
    ),
    "challenges hashed without the domain": seeded(lambda k, x, d: k.seed_preimage(x, d)[1:]),
    "challenges hashed from another D": seeded(lambda k, x, d: k.seed_preimage(x, g1(7))),
    "challenges counted from 0": seeded(CommitKey.seed_preimage, 0),
    "the first challenge repeated": lambda k, x, d: [k.challenges(x, d)[0]] * k.n_challenges,
    "powers of the first challenge": lambda k, x, d: [
        pow(k.challenges(x, d)[0], j + 1, R) for j in range(k.n_challenges)
    ],
}


def add_challenge_forgeries(cases: Cases, label: str) -> None:
    key, x, n = cases.key, cases.publics, cases.key.n_public
    for name, challenges in CHALLENGE_FORGERIES.items():
        if n or "public inputs" not in name:
            proof = key.prove(x, f"{label}/{name}", challenges)
            if proof != key.prove(x, f"{label}/{name}"):  # with one challenge some are the same
                cases.add(name, "InvalidProof()", proof)
    if n:
        folds: dict[str, Callable[[Words, int], int]] = {
            "inputs folded from power 0": lambda x, r: fold(x, r) * pow(r, -1, R) % R,
            "a folded value that the prover chose": lambda x, r: 5,
        }
        if n > 1:
            folds["inputs folded backwards"] = lambda x, r: fold(x[::-1], r)
        for name, folded in folds.items():
            cases.add(name, "InvalidProof()", key.prove(x, f"{label}/{name}", folded=folded))


def add_input_forgeries(cases: Cases, label: str) -> None:
    key, x, n = cases.key, cases.publics, cases.key.n_public
    for i in sorted({0, n // 2, n - 1} if n else set()):
        cases.add(f"input {i} plus 1", "InvalidProof()", publics={i: (x[i] + 1) % R})
        cases.add(f"input {i} plus r", f"PublicInputOutOfRange({i})", publics={i: x[i] + R})
        cases.add(f"input {i} is r", f"PublicInputOutOfRange({i})", publics={i: R})
        cases.add(f"input {i} is the largest", f"PublicInputOutOfRange({i})", publics={i: WORD_MAX})
        # As if a verifier took x + r for x: hashed as it is sent, folded as what it stands for.
        alias = changed(x, {i: x[i] + R})
        proof = key.prove(alias, f"{label}/alias/{i}")
        name = f"input {i} plus r in a proof made so"
        cases.add(name, f"PublicInputOutOfRange({i})", proof, alias)
    if n > 1:
        first = f"PublicInputOutOfRange({n - 1})"
        cases.add("every input plus r", first, publics=[v + R for v in x])
        cases.add("inputs 0 and 1 exchanged", "InvalidProof()", publics={0: x[1], 1: x[0]})
        # Other inputs with the same folded value under the challenge of these.
        r = key.challenges(x, cases.proof[8:])[0]
        same = {0: (x[0] + r) % R, 1: (x[1] - 1) % R}
        assert fold(changed(x, same), r) == fold(x, r)
        cases.add("other inputs of the same folded value", "InvalidProof()", publics=same)
    if n:
        cases.add("last input missing", f"InvalidLength({n}, {n - 1})", publics=x[:-1])
        cases.add("no inputs", f"InvalidLength({n}, 0)", publics=[])
    cases.add("one input too many", f"InvalidLength({n}, {n + 1})", publics=[*x, 0])


def key_of(n: int, c: int) -> CommitKey:
    """The key of the vectors with `n` public inputs and `c` challenges."""
    return CommitKey(f"commit/{n}/{c}", n, c, "ceremony" if n == 2 else "development")


def vectors(n: int, c: int) -> dict[str, Any]:
    """The key of `n` public inputs and `c` challenges, its valid proofs and their forgeries."""
    label = f"commit/{n}/{c}"
    key = key_of(n, c)
    publics = [scalar(f"{label}/x/{i}") if i % 3 else i + 1 for i in range(n)]
    cases = Cases(key, key.prove(publics, label), publics)
    add_valid(cases, label)
    if n <= 2:
        add_point_forgeries(cases, label)
        add_infinity_forgeries(cases, label)
    add_commitment_forgeries(cases, label)
    add_challenge_forgeries(cases, label)
    add_input_forgeries(cases, label)
    other = CommitKey(f"{label}/other", n, c, key.status)
    foreign = other.prove(publics, f"{label}/other")
    cases.add("proof under another key", "InvalidProof()", foreign)
    cases.add("D under another key", "InvalidProof()", at(8, foreign[8:]))
    # With the same secrets, but for another circuit: only the hash of the key tells them apart.
    twin = CommitKey(label, n, c, key.status)
    twin.circuit_digest = keccak256(b"another circuit")
    cases.add("proof for another circuit", "InvalidProof()", twin.prove(publics, label))
    if n:
        inputs = [scalar(f"{label}/y/{i}") for i in range(n)]
        cases.add("proof of other inputs", "InvalidProof()", key.prove(inputs, label))
    return {"key": key.to_json(), "cases": cases.rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    stale = []
    for n, c in SHAPES:
        path = FOLDER / f"commit_{n}_{c}.json"
        text = json.dumps(vectors(n, c), indent=1) + "\n"
        if check and (not path.exists() or path.read_text() != text):
            stale.append(str(path))
        elif not check:
            path.write_text(text)
    for name in stale:
        print(f"{name} differs from what contracts/make_commit_vectors.py makes", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
