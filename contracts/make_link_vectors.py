"""Keys, proofs and forgeries with two linked polynomials that every verifier must agree on.

    python contracts/make_link_vectors.py            writes contracts/vectors/link_N_C.json
    python contracts/make_link_vectors.py --check    compares them with what stands there

N public inputs, the last two the links, and C challenges. As in make_commit_vectors.py whoever
knows the secrets needs no witness: any a, b, d, commitments m_1, m_2 and evaluations y_1, y_2 give
the valid proof with pi = (m_1 - y_1 + v (m_2 - y_2)) / (tau - fold) and
c = (a b - alpha beta - (ic[0] + y ic[1] + sum r_j ic[j + 1] + sum y_i ic[c + 1 + i]) - d delta1) /
delta2. All arithmetic is py_ecc's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from contracts.make_commit_vectors import NAMES, fold, hash_words
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

SHAPES = ((2, 1), (3, 2), (12, 2))
DOMAIN = keccak256(b"zkai.groth16-commit-link/1")
A, B, C, D, OPENING, FIRST, SECOND, Y = 0, 2, 6, 8, 10, 12, 14, 16
"""Where the parts of a proof's 18 words start."""


def name_of(point: Words) -> int:
    """The public input that names a commitment."""
    return hash_words(point) >> 8


@dataclass(frozen=True)
class Secret:
    """The discrete logarithms of a proof's points but C and the opening, and the evaluations."""

    a: int
    b: int
    d: int
    m: tuple[int, int]
    y: tuple[int, int]

    @staticmethod
    def of(label: str) -> Secret:
        a, b, d, m1, m2, y1, y2 = (scalar(f"{label}/{x}") for x in ("a", "b", "d", *"mnyz"))
        return Secret(a, b, d, (m1, m2), (y1, y2))

    @property
    def names(self) -> Words:
        return [name_of(g1(m)) for m in self.m]


@dataclass(frozen=True)
class Rules:
    """How a prover derives its scalars; the default is right, and each forgery changes one."""

    seed: Callable[[LinkKey, Words, Words, Words], Words]
    first: int = 1
    v: Callable[[int, Words], int] | None = None


class LinkKey:
    """A verifying key with its secrets; gamma is 1."""

    def __init__(self, name: str, n_public: int, n_challenges: int, status: str) -> None:
        self.n_public, self.n_challenges, self.status = n_public, n_challenges, status
        self.circuit_digest = keccak256(f"circuit of {name}".encode())
        parts = ("alpha", "beta", "delta1", "delta2", "tau")
        self.alpha, self.beta, self.delta1, self.delta2, self.tau = (
            scalar(f"{name}/{part}") for part in parts
        )
        self.ic = [scalar(f"{name}/ic/{i}") for i in range(n_challenges + 4)]
        self._words: Words = []

    def words(self) -> Words:
        """The preimage of the key's digest: 32 + 2c words."""
        if not self._words:
            domain, digest = (int.from_bytes(h, "big") for h in (DOMAIN, self.circuit_digest))
            header = [domain, int(self.status == "ceremony"), digest]
            points = [*g1(self.alpha)]
            for secret in (self.beta, self.delta1, self.delta2, self.tau):
                points += g2(secret)
            for k in self.ic:
                points += g1(k)
            self._words = [*header, self.n_public, self.n_challenges, 2, *points]
        return self._words

    @property
    def digest(self) -> int:
        return hash_words(self.words())

    def seed_preimage(self, publics: Words, m: Words, d: Words) -> Words:
        head = [int.from_bytes(DOMAIN, "big"), self.digest, len(publics)]
        return [*head, *publics, *m, *d]

    def challenges(self, seed: int, first: int = 1) -> Words:
        return [hash_words([seed, first + j]) % R for j in range(self.n_challenges)]

    def scalars(self, publics: Words, proof: Words) -> Words:
        """The challenges, v and u that a verifier derives."""
        seed = hash_words(self.seed_preimage(publics, proof[FIRST:Y], proof[D:OPENING]))
        h = hash_words([seed, 0, *proof[Y:]])
        u = hash_words([h, *proof[:D], *proof[OPENING:FIRST]])
        return [*self.challenges(seed), h % R, u % R]

    def ic_of(self, folded: int, challenges: Words, y: tuple[int, int]) -> int:
        wires = zip([1, folded, *challenges, *y], self.ic, strict=True)
        return sum(w * k for w, k in wires) % R

    def finish(self, secret: Secret, folded: int, challenges: Words) -> int:
        """C's scalar, which makes Groth16's part hold for these public wires."""
        rest = secret.a * secret.b - self.alpha * self.beta - secret.d * self.delta1
        return (rest - self.ic_of(folded, challenges, secret.y)) * pow(self.delta2, -1, R) % R

    def opening(self, secret: Secret, point: int, v: int, tau: int | None = None) -> int:
        """The opening's scalar."""
        (m1, m2), (y1, y2) = secret.m, secret.y
        divisor = (self.tau if tau is None else tau) - point
        return (m1 - y1 + v * (m2 - y2)) * pow(divisor, -1, R) % R

    def prove(self, publics: Words, secret: Secret, rules: Rules | None = None) -> Words:
        """A proof; a valid one unless the rules are others or the inputs do not name m."""
        rules = rules or RIGHT
        m = [word for x in secret.m for word in g1(x)]
        seed = hash_words(rules.seed(self, publics, m, g1(secret.d)))
        r = self.challenges(seed, rules.first)
        h = hash_words([seed, 0, *secret.y])
        v = h % R if rules.v is None else rules.v(seed, list(secret.y))
        pi = self.opening(secret, r[0], v)
        c = self.finish(secret, fold(publics, r[0]), r)
        return assemble(secret, c, pi)

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
            "links": [f"x{i}" for i in (self.n_public - 2, self.n_public - 1)],
            "tau": twist(20),
            "alpha": pair(6),
            "beta": twist(8),
            "delta1": twist(12),
            "delta2": twist(16),
            "ic": [pair(24 + 2 * i) for i in range(self.n_challenges + 4)],
            "ceremony": None,
        }


RIGHT = Rules(LinkKey.seed_preimage)


def assemble(secret: Secret, c: int, pi: int) -> Words:
    points = [*g1(secret.a), *g2(secret.b), *g1(c), *g1(secret.d), *g1(pi)]
    return [*points, *g1(secret.m[0]), *g1(secret.m[1]), *secret.y]


class Cases:
    """Collects cases; each differs from the valid one in what its name says."""

    def __init__(self, key: LinkKey, label: str, secret: Secret, publics: Words) -> None:
        self.key, self.label, self.secret, self.publics = key, label, secret, publics
        self.proof = key.prove(publics, secret)
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
            "error": None if error is None else f"Groth16LinkVerifier__{error}",
            "proof": [hex(w) for w in words],
            "publics": [hex(w) for w in inputs],
        }
        if error is None:
            row["scalars"] = [hex(x) for x in self.key.scalars(inputs, words)]
        self.rows.append(row)

    def named(self, secret: Secret) -> Words:
        """The public inputs with the links of other commitments."""
        return [*self.publics[:-2], *secret.names]


def add_valid(cases: Cases) -> None:
    key, secret, label = cases.key, cases.secret, cases.label
    cases.add("valid", None)
    z = scalar(f"{label}/z")
    moved = replace(secret, a=secret.a * pow(z, -1, R) % R, b=secret.b * z % R)
    cases.add("valid, re-randomised", None, key.prove(cases.publics, moved))
    again = replace(Secret.of(f"{label}/again"), m=secret.m)
    cases.add("valid for the same states", None, key.prove(cases.publics, again))
    edge = replace(secret, y=(0, R - 1))
    cases.add("valid with evaluations 0 and r - 1", None, key.prove(cases.publics, edge))
    same = replace(secret, m=(secret.m[0], secret.m[0]))
    names = cases.named(same)
    cases.add("valid with one state twice", None, key.prove(names, same), names)
    # A public constant's opening: pi would be infinity where both are.
    half = replace(secret, m=(secret.m[0], secret.y[1]))
    names = cases.named(half)
    cases.add("valid with a constant polynomial", None, key.prove(names, half), names)


def add_point_forgeries(cases: Cases) -> None:
    proof = cases.proof
    for i in range(Y):
        link = (i - FIRST) // 2
        error = f"InvalidLink({link})" if i >= FIRST else "InvalidPoint()"
        cases.add(f"proof word {i} plus 1", error, {i: (proof[i] + 1) % Q})
        cases.add(f"proof word {i} plus q", f"CoordinateOutOfRange({i})", {i: proof[i] + Q})
    for i in range(2):
        word = Y + i
        cases.add(f"evaluation {i} plus 1", "InvalidProof()", {word: (proof[word] + 1) % R})
        for name, value in (("plus r", proof[word] + R), ("is r", R), ("is the largest", WORD_MAX)):
            cases.add(f"evaluation {i} {name}", f"EvaluationOutOfRange({i})", {word: value})
        y = cases.secret.y
        alias = replace(cases.secret, y=(y[0] + R * (i == 0), y[1] + R * (i == 1)))
        made = cases.key.prove(cases.publics, alias)
        name = f"evaluation {i} plus r in a proof made so"
        cases.add(name, f"EvaluationOutOfRange({i})", made)
    points = {"A": A, "C": C, "D": D, "opening": OPENING}
    for name, start in (*points.items(), ("first", FIRST), ("second", SECOND), ("B", B)):
        infinity = {start + i: 0 for i in range(4 if name == "B" else 2)}
        cases.add(f"{name} is infinity", f"PointAtInfinity({start})", infinity)
    for name, start in points.items():
        cases.add(f"{name} is off its curve", "InvalidPoint()", {start: 1, start + 1: 1})
        negated = {start + 1: Q - proof[start + 1]}
        cases.add(f"{name} negated", "InvalidProof()", negated)
        cases.add(f"{name} is another point", "InvalidProof()", at(start, g1(77)))
    cases.add("B outside the subgroup", "InvalidPoint()", at(B, outside_subgroup()))
    off = [*cases.publics[:-2], name_of([1, 1]), cases.publics[-1]]
    cases.add("a named commitment off its curve", "InvalidPoint()", {FIRST: 1, FIRST + 1: 1}, off)
    far = [*cases.publics[:-1], name_of([proof[SECOND] + Q, proof[SECOND + 1]])]
    beyond = {SECOND: proof[SECOND] + Q}
    cases.add("a named commitment plus q", f"CoordinateOutOfRange({SECOND})", beyond, far)
    none = [*cases.publics[:-1], name_of([0, 0])]
    empty = {SECOND: 0, SECOND + 1: 0}
    cases.add("a named commitment at infinity", f"PointAtInfinity({SECOND})", empty, none)
    cases.add("every point is infinity", "PointAtInfinity(0)", [0] * 18)


def add_link_forgeries(cases: Cases) -> None:
    key, x, proof, secret = cases.key, cases.publics, cases.proof, cases.secret
    n = len(x)
    for i in range(2):
        place = n - 2 + i
        cases.add(f"link {i} plus 1", f"InvalidLink({i})", publics={place: x[place] + 1})
        cases.add(f"link {i} plus r", f"InvalidLink({i})", publics={place: x[place] + R})
        whole = hash_words(proof[FIRST + 2 * i : FIRST + 2 * i + 2]) % R
        cases.add(f"link {i} is the whole hash", f"InvalidLink({i})", publics={place: whole})
        m = tuple(k + (j == i) for j, k in enumerate(secret.m))
        other = replace(secret, m=(m[0], m[1]))
        point = at(FIRST + 2 * i, g1(other.m[i]))
        cases.add(f"commitment {i} of another state", f"InvalidLink({i})", point)
        cases.add(f"commitment {i}, named", "InvalidProof()", point, cases.named(other))
    cases.add("links exchanged", "InvalidLink(0)", publics=[*x[:-2], x[-1], x[-2]])
    swapped = [*proof[:FIRST], *proof[SECOND:Y], *proof[FIRST:SECOND], *proof[Y:]]
    cases.add("commitments exchanged", "InvalidLink(0)", swapped)
    exchanged = replace(secret, m=secret.m[::-1])
    cases.add("commitments and links exchanged", "InvalidProof()", swapped, cases.named(exchanged))
    whole = [*swapped[:Y], proof[Y + 1], proof[Y]]
    cases.add("old and new exchanged", "InvalidProof()", whole, cases.named(exchanged))
    cases.add("evaluations exchanged", "InvalidProof()", at(Y, [proof[Y + 1], proof[Y]]))
    unnamed = [*x[:-2], 1, 2]
    made = key.prove(unnamed, secret)
    cases.add("links that name nothing, in a proof made so", "InvalidLink(0)", made, unnamed)
    r = key.scalars(x, proof)
    fold_, v = r[0], r[-2]
    for name, tau in (("another tau", key.tau + 1), ("tau 0", 0), ("tau 1", 1)):
        pi = key.opening(secret, fold_, v, tau)
        cases.add(f"the opening for {name}", "InvalidProof()", at(OPENING, g1(pi)))
    shifted = key.opening(secret, fold_, v) * key.tau % R
    cases.add("the opening of a shifted polynomial", "InvalidProof()", at(OPENING, g1(shifted)))
    at_other = key.opening(secret, r[1] if len(r) > 3 else 5, v)
    cases.add("the opening at another point", "InvalidProof()", at(OPENING, g1(at_other)))


SEEDS: dict[str, Callable[[LinkKey, Words, Words, Words], Words]] = {
    "the commitments": lambda k, x, m, d: k.seed_preimage(x, [], d),
    "the second commitment": lambda k, x, m, d: k.seed_preimage(x, m[:2], d),
    "D": lambda k, x, m, d: k.seed_preimage(x, m, []),
    "the inputs": lambda k, x, m, d: [*k.seed_preimage(x, m, d)[:3], *m, *d],
    "the key": lambda k, x, m, d: [w for i, w in enumerate(k.seed_preimage(x, m, d)) if i != 1],
    "the order of D and the commitments": lambda k, x, m, d: k.seed_preimage(x, d, m),
    "the domain of linked proofs": lambda k, x, m, d: [
        int.from_bytes(keccak256(b"zkai.groth16-commit/1"), "big"),
        *k.seed_preimage(x, m, d)[1:],
    ],
}


def add_hash_forgeries(cases: Cases) -> None:
    key, x, secret = cases.key, cases.publics, cases.secret
    for name, seed in SEEDS.items():
        made = key.prove(x, secret, Rules(seed))
        cases.add(f"challenges hashed without {name}", "InvalidProof()", made)
    made = key.prove(x, secret, Rules(LinkKey.seed_preimage, first=0))
    cases.add("challenges counted from 0", "InvalidProof()", made)
    scalars: dict[str, Callable[[int, Words], int]] = {
        "that the prover chose": lambda seed, y: 7,
        "0": lambda seed, y: 0,
        "hashed without the evaluations": lambda seed, y: hash_words([seed, 0]) % R,
        "hashed without the first evaluation": lambda seed, y: hash_words([seed, 0, y[1]]) % R,
        "that is a challenge": lambda seed, y: hash_words([seed, 1]) % R,
    }
    for name, v in scalars.items():
        made = key.prove(x, secret, Rules(LinkKey.seed_preimage, v=v))
        cases.add(f"a batching scalar {name}", "InvalidProof()", made)


def add_joining_forgeries(cases: Cases) -> None:
    """The opening lacks K, and what u leaves out makes up for u K."""
    key, x, secret, proof = cases.key, cases.publics, cases.secret, cases.proof
    lack = scalar(f"{cases.label}/lack")
    *r, v, _ = key.scalars(x, proof)
    folded = fold(x, r[0])
    # What K lacks:
    pi = (key.opening(secret, r[0], v) + lack) % R  # K = -(tau - fold) lack
    k = -(key.tau - r[0]) * lack % R
    c = key.finish(secret, folded, r)
    seed = hash_words(key.seed_preimage(x, proof[FIRST:Y], proof[D:OPENING]))
    h = hash_words([seed, 0, *secret.y])
    a, b, p = g1(secret.a), g2(secret.b), g1(pi)
    inverse = pow(key.delta2, -1, R)

    def add(name: str, made: Secret, last: int, opened: int, u: int) -> None:
        g = key.alpha * key.beta - made.a * made.b + made.d * key.delta1 + last * key.delta2
        left = (key.opening(made, r[0], v) - opened) * (key.tau - r[0])
        assert (g + key.ic_of(folded, r, made.y) + u * left) % R == 0, "not what it says"
        cases.add(f"a joining scalar {name}", "InvalidProof()", assemble(made, last, opened))

    for name, hashed in {
        "C": [h, *a, *b, *p],
        "everything but the evaluations": [h],
        "anything": [],
    }.items():
        u = hash_words(hashed) % R if hashed else 1
        add(f"hashed without {name}", secret, (c - u * k * inverse) % R, pi, u)
    # Without A: a b = rest + u K, with C as it is.
    u = hash_words([h, *b, *g1(c), *p]) % R
    late = replace(secret, a=(secret.a * secret.b + u * k) * pow(secret.b, -1, R) % R)
    add("hashed without A", late, c, pi, u)
    u = hash_words([h, *a, *g1(c), *p]) % R
    late = replace(secret, b=(secret.a * secret.b + u * k) * pow(secret.a, -1, R) % R)
    add("hashed without B", late, c, pi, u)
    # Without the opening: C lacks e / delta2, and the opening makes up for it.
    u = hash_words([h, *a, *b, *g1((c + lack) % R)]) % R
    needed = lack * key.delta2 * pow(u, -1, R) * pow(key.tau - r[0], -1, R)
    late_pi = (key.opening(secret, r[0], v) + needed) % R
    add("hashed without the opening", secret, (c + lack) % R, late_pi, u)
    add("taken for 0", secret, c, pi, 0)


def add_input_forgeries(cases: Cases) -> None:
    x, n = cases.publics, len(cases.publics)
    for i in range(n - 2):
        cases.add(f"input {i} plus 1", "InvalidProof()", publics={i: (x[i] + 1) % R})
        cases.add(f"input {i} plus r", f"PublicInputOutOfRange({i})", publics={i: x[i] + R})
        alias = changed(x, {i: x[i] + R})
        made = cases.key.prove(alias, cases.secret)
        name = f"input {i} plus r in a proof made so"
        cases.add(name, f"PublicInputOutOfRange({i})", made, alias)
    cases.add("last input missing", f"InvalidLength({n}, {n - 1})", publics=x[:-1])
    cases.add("no inputs", f"InvalidLength({n}, 0)", publics=[])
    cases.add("one input too many", f"InvalidLength({n}, {n + 1})", publics=[*x, 0])


def key_of(n: int, c: int) -> LinkKey:
    """The key of the vectors with `n` public inputs and `c` challenges."""
    return LinkKey(f"link/{n}/{c}", n, c, "ceremony" if n == 3 else "development")


def vectors(n: int, c: int) -> dict[str, Any]:
    """The key of `n` public inputs and `c` challenges, its valid proofs and their forgeries."""
    label, key = f"link/{n}/{c}", key_of(n, c)
    secret = Secret.of(label)
    publics = [scalar(f"{label}/x/{i}") if i % 3 else i + 1 for i in range(n - 2)] + secret.names
    cases = Cases(key, label, secret, publics)
    add_valid(cases)
    if n <= 3:
        add_point_forgeries(cases)
    add_link_forgeries(cases)
    add_hash_forgeries(cases)
    add_joining_forgeries(cases)
    add_input_forgeries(cases)
    other = LinkKey(f"{label}/other", n, c, key.status)
    cases.add("proof under another key", "InvalidProof()", other.prove(publics, secret))
    twin = LinkKey(label, n, c, key.status)
    twin.circuit_digest = keccak256(b"another circuit")
    cases.add("proof for another circuit", "InvalidProof()", twin.prove(publics, secret))
    return {"key": key.to_json(), "cases": cases.rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    stale = []
    for n, c in SHAPES:
        path = FOLDER / f"link_{n}_{c}.json"
        text = json.dumps(vectors(n, c), indent=1) + "\n"
        if check and (not path.exists() or path.read_text() != text):
            stale.append(str(path))
        elif not check:
            path.write_text(text)
    for name in stale:
        print(f"{name} differs from what contracts/make_link_vectors.py makes", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
