"""Groth16 keys, proofs and forgeries that the Python, C and Solidity verifiers must agree on.

    python contracts/make_vectors.py            writes contracts/vectors/*.json
    python contracts/make_vectors.py --check    compares them with what stands there

Whoever knows a setup's secrets proves anything: with the scalars alpha, beta, gamma, delta and
ic[i] known, any a and b give the valid proof (a G1, b G2, c G1) with
c = (a b - alpha beta - gamma (ic[0] + sum x_i ic[i])) / delta (Groth16, the simulator of
section 3). So these need no circuit and no prover. All arithmetic is py_ecc's.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from Crypto.Hash import keccak

RECURSION_LIMIT = sys.getrecursionlimit()
from py_ecc.optimized_bn128 import (  # noqa: E402
    FQ2,
    G1,
    G2,
    b2,
    curve_order,
    field_modulus,
    multiply,
    normalize,
)

# py_ecc raises the limit so far that deeply nested JSON would crash the interpreter.
sys.setrecursionlimit(RECURSION_LIMIT)

R, Q = curve_order, field_modulus
FOLDER = Path(__file__).parent / "vectors"
COUNTS = (0, 1, 2, 9, 64)
WORD_MAX = (1 << 256) - 1

Words = list[int]


def keccak256(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()


def scalar(label: str) -> int:
    """A full-size scalar that depends on nothing but its label."""
    return int.from_bytes(keccak256(f"zkai/vectors/{label}".encode()) * 2, "big") % (R - 1) + 1


def g1(k: int) -> Words:
    x, y = normalize(multiply(G1, k))
    return [int(x), int(y)]


def g2(k: int) -> Words:
    """In the EVM's order: x1, x0, y1, y0."""
    return _g2_words(normalize(multiply(G2, k)))


def _g2_words(point: Any) -> Words:
    x, y = point
    return [int(x.coeffs[1]), int(x.coeffs[0]), int(y.coeffs[1]), int(y.coeffs[0])]


def square_root(a: FQ2) -> FQ2 | None:
    """A root of `a` in Fq2 = Fq[u]/(u^2 + 1), by the norm, q = 3 mod 4; None if there is none."""
    a0, a1 = (int(c) for c in a.coeffs)
    norm = pow(a0 * a0 + a1 * a1, (Q + 1) // 4, Q)
    for sign in (1, -1):
        half = (a0 + sign * norm) * pow(2, -1, Q) % Q
        x = pow(half, (Q + 1) // 4, Q)
        if x and x * x % Q == half:
            root = FQ2([x, a1 * pow(2 * x, -1, Q) % Q])
            if root * root == a:
                return root
    return None


def outside_subgroup() -> Words:
    """A point of the twist whose order is not r: the first by its x coordinate."""
    for x0 in range(1, 100):
        x = FQ2([x0, 1])
        y = square_root(x * x * x + b2)
        if y is not None and multiply((x, y, FQ2.one()), R)[2] != FQ2.zero():
            return _g2_words((x, y))
    raise AssertionError("no point found")


class Key:
    """A verifying key with its secrets."""

    def __init__(self, name: str, n_public: int, status: str = "development") -> None:
        self.n_public = n_public
        self.status = status
        self.circuit_digest = keccak256(f"circuit of {name}".encode())
        self.alpha, self.beta, self.gamma, self.delta = (
            scalar(f"{name}/{part}") for part in ("alpha", "beta", "gamma", "delta")
        )
        self.ic = [scalar(f"{name}/ic/{i}") for i in range(n_public + 1)]

    def words(self) -> Words:
        """The preimage of the key's digest: 20 + 2n words."""
        header = [
            int.from_bytes(keccak256(b"zkai.groth16/1"), "big"),
            int(self.status == "ceremony"),
            int.from_bytes(self.circuit_digest, "big"),
            self.n_public,
        ]
        points = [*g1(self.alpha), *g2(self.beta), *g2(self.gamma), *g2(self.delta)]
        for k in self.ic:
            points += g1(k)
        return header + points

    def scalars(self, publics: Words, label: str) -> tuple[int, int, int]:
        a, b = scalar(f"{label}/a"), scalar(f"{label}/b")
        combined = self.ic[0] + sum(x * k for x, k in zip(publics, self.ic[1:], strict=True))
        rest = a * b - self.alpha * self.beta - self.gamma * combined
        return a, b, rest * pow(self.delta, -1, R) % R

    def prove(self, publics: Words, label: str) -> Words:
        a, b, c = self.scalars(publics, label)
        return [*g1(a), *g2(b), *g1(c)]

    def to_json(self) -> dict[str, Any]:
        words = self.words()

        def pair(i: int) -> list[str]:
            return [str(words[i]), str(words[i + 1])]

        def twist(i: int) -> list[list[str]]:
            x1, x0, y1, y0 = (str(w) for w in words[i : i + 4])
            return [[x0, x1], [y0, y1]]

        return {
            "format": "zkai.groth16-vk/1",
            "statement": "vector/1",
            "circuit_digest": "0x" + self.circuit_digest.hex(),
            "vk_digest": "0x" + keccak256(b"".join(w.to_bytes(32, "big") for w in words)).hex(),
            "key_status": self.status,
            "public": [{"name": f"x{i}", "size": 1} for i in range(self.n_public)],
            "alpha": pair(4),
            "beta": twist(6),
            "gamma": twist(10),
            "delta": twist(14),
            "ic": [pair(18 + 2 * i) for i in range(self.n_public + 1)],
            "ceremony": None,
        }


class Cases:
    """Collects cases; each differs from the valid one in what its name says."""

    def __init__(self, proof: Words, publics: Words) -> None:
        self.proof, self.publics, self.rows = proof, publics, list[dict[str, Any]]()

    def add(
        self,
        name: str,
        error: str | None,
        proof: dict[int, int] | Words | None = None,
        publics: dict[int, int] | Words | None = None,
    ) -> None:
        row = {
            "name": name,
            "success": error is None,
            "error": None if error is None else f"Groth16Verifier__{error}",
            "proof": [hex(w) for w in changed(self.proof, proof)],
            "publics": [hex(w) for w in changed(self.publics, publics)],
        }
        self.rows.append(row)


def changed(base: Words, change: dict[int, int] | Words | None) -> Words:
    if change is None:
        return base
    if isinstance(change, dict):
        return [change.get(i, w) for i, w in enumerate(base)]
    return change


def at(start: int, words: Words) -> dict[int, int]:
    return {start + i: w for i, w in enumerate(words)}


def add_point_forgeries(cases: Cases, key: Key, label: str) -> None:
    proof = cases.proof
    a, b, c = key.scalars(cases.publics, label)
    for i, word in enumerate(proof):
        cases.add(f"proof word {i} plus 1", "InvalidPoint()", {i: (word + 1) % Q})
        cases.add(f"proof word {i} plus q", f"CoordinateOutOfRange({i})", {i: word + Q})
    cases.add("proof word 5 is q", "CoordinateOutOfRange(5)", {5: Q})
    cases.add("proof word 7 is the largest", "CoordinateOutOfRange(7)", {7: WORD_MAX})
    for name, start, size in (("A", 0, 2), ("B", 2, 4), ("C", 6, 2)):
        infinity = {start + i: 0 for i in range(size)}
        cases.add(f"{name} is infinity", f"PointAtInfinity({start})", infinity)
        off = {start + i: 1 for i in range(size)}
        cases.add(f"{name} is off its curve", "InvalidPoint()", off)
    cases.add("every point is infinity", "PointAtInfinity(0)", [0] * 8)
    cases.add("A doubled", "InvalidProof()", at(0, g1(2 * a)))
    cases.add("B doubled", "InvalidProof()", at(2, g2(2 * b)))
    cases.add("C doubled", "InvalidProof()", at(6, g1(2 * c)))
    cases.add("A negated", "InvalidProof()", {1: Q - proof[1]})
    cases.add("B negated", "InvalidProof()", {4: Q - proof[4], 5: Q - proof[5]})
    cases.add("C negated", "InvalidProof()", {7: Q - proof[7]})
    cases.add("A and C exchanged", "InvalidProof()", [*proof[6:], *proof[2:6], *proof[:2]])
    imaginary_last = [proof[3], proof[2], proof[5], proof[4]]
    cases.add("B's coefficients exchanged", "InvalidPoint()", at(2, imaginary_last))
    cases.add("B outside the subgroup", "InvalidPoint()", at(2, outside_subgroup()))
    cases.add("A is alpha and B is beta", "InvalidProof()", [*key.words()[4:10], *proof[6:]])


def add_input_forgeries(cases: Cases, n: int) -> None:
    x = cases.publics
    for i in sorted({0, n // 2, n - 1} if n else set()):
        cases.add(f"input {i} plus 1", "InvalidProof()", publics={i: (x[i] + 1) % R})
        cases.add(f"input {i} plus r", f"PublicInputOutOfRange({i})", publics={i: x[i] + R})
        cases.add(f"input {i} is r", f"PublicInputOutOfRange({i})", publics={i: R})
        cases.add(f"input {i} is the largest", f"PublicInputOutOfRange({i})", publics={i: WORD_MAX})
    if n > 1:
        cases.add(
            "every input plus r", f"PublicInputOutOfRange({n - 1})", publics=[v + R for v in x]
        )
        cases.add("inputs 0 and 1 exchanged", "InvalidProof()", publics={0: x[1], 1: x[0]})
    if n:
        cases.add("last input missing", f"InvalidLength({n}, {n - 1})", publics=x[:-1])
        cases.add("no inputs", f"InvalidLength({n}, 0)", publics=[])
    cases.add("one input too many", f"InvalidLength({n}, {n + 1})", publics=[*x, 0])


def vectors(n: int) -> dict[str, Any]:
    """The key of `n` public inputs, its valid proofs and their forgeries."""
    label = f"groth16/{n}"
    key = Key(label, n, status="ceremony" if n == 2 else "development")
    publics = [scalar(f"{label}/x/{i}") if i % 3 else i + 1 for i in range(n)]
    cases = Cases(key.prove(publics, label), publics)
    cases.add("valid", None)
    # The same statement, other bytes: A / z and z B. A proof's bytes are no identity.
    a, b, _ = key.scalars(publics, label)
    z = scalar(f"{label}/z")
    again = [*g1(a * pow(z, -1, R) % R), *g2(b * z % R), *cases.proof[6:]]
    cases.add("valid, re-randomised", None, again)
    edge = [(R - 1) * (i % 2) for i in range(n)]
    if n:
        cases.add("valid for inputs 0 and r - 1", None, key.prove(edge, f"{label}/edge"), edge)
    if n <= 2:
        add_point_forgeries(cases, key, label)
    add_input_forgeries(cases, n)
    other = Key(f"{label}/other", n)
    cases.add("proof under another key", "InvalidProof()", other.prove(publics, f"{label}/other"))
    other_inputs = [scalar(f"{label}/y/{i}") for i in range(n)]
    if n:
        cases.add("proof of other inputs", "InvalidProof()", key.prove(other_inputs, label))
    return {"key": key.to_json(), "cases": cases.rows}


def malformed_keys() -> list[dict[str, Any]]:
    """Keys that every verifier refuses, first a good one, each with a proof of its inputs.

    Where the secrets are known the proof's equation holds, so only the key's own check refuses it.
    """
    label = "groth16/malformed"
    publics = [scalar(f"{label}/x/{i}") for i in range(2)]
    rows = []

    def add(name: str, key: Key, words: Words | None = None, good: bool = False) -> None:
        row = {
            "name": name,
            "success": good,
            "key": [hex(w) for w in words or key.words()],
            "proof": [hex(w) for w in key.prove(publics, label)],
            "publics": [hex(w) for w in publics],
        }
        rows.append(row)

    good = Key(label, 2)
    words = good.words()
    add("well formed", good, good=True)
    same = Key(label, 2)
    same.delta = same.gamma
    add("gamma is delta", same)
    opposite = Key(label, 2)
    opposite.delta = R - opposite.gamma
    add("gamma is minus delta", opposite)
    infinite = Key(label, 2)
    infinite.ic[1] = 0
    at_infinity = [*good.words()[:20], 0, 0, *good.words()[22:]]
    add("ic[1] at infinity", infinite, at_infinity)
    for name, start in (("alpha", 4), ("beta", 6), ("gamma", 10), ("delta", 14), ("ic[2]", 22)):
        off = list(words)
        off[start + 1] ^= 1
        add(f"{name} off its curve", good, off)
    for name, start in (("beta", 6), ("gamma", 10), ("delta", 14)):
        outside = [*words[:start], *outside_subgroup(), *words[start + 4 :]]
        add(f"{name} outside the subgroup", good, outside)
        add(f"{name} at infinity", good, [*words[:start], 0, 0, 0, 0, *words[start + 4 :]])
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    stale = []
    made: dict[str, Any] = {f"groth16_{n}.json": vectors(n) for n in COUNTS}
    made["malformed_keys.json"] = malformed_keys()
    for name, value in made.items():
        path = FOLDER / name
        text = json.dumps(value, indent=1) + "\n"
        if check and (not path.exists() or path.read_text() != text):
            stale.append(str(path))
        elif not check:
            path.write_text(text)
    for name in stale:
        print(f"{name} differs from what contracts/make_vectors.py makes", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
