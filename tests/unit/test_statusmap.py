"""The sparse map: one root for one content, proofs of values and of absence, and forgeries."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.statusmap import EMPTY, MapProof, Node, StatusMap, branch, leaf, path_of

names = st.text(st.characters(codec="utf-8"), max_size=3)
contents = st.dictionaries(names, st.binary(max_size=4), max_size=30)


def plain_root(content: dict[str, bytes]) -> bytes:
    """The definition, over bit strings and without a store."""
    from zkai.encoding import sha256

    def root(items: list[tuple[str, bytes, bytes]]) -> bytes:
        if not items:
            return EMPTY
        if len(items) == 1:
            return leaf(items[0][1], items[0][2])
        left = [(bits[1:], p, v) for bits, p, v in items if bits[0] == "0"]
        right = [(bits[1:], p, v) for bits, p, v in items if bits[0] == "1"]
        return branch(root(left), root(right))

    paths = [(path_of(name), sha256(value)) for name, value in content.items()]
    return root([("".join(f"{b:08b}" for b in p), p, v) for p, v in paths])


class Stored:
    """A map with its nodes in a dictionary."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, Node] = {}
        self.map = StatusMap(self.nodes.__getitem__)
        self.root = EMPTY

    def set(self, changes: dict[str, bytes]) -> None:
        self.root, new = self.map.update(self.root, changes)
        self.nodes.update(new)


@given(st.lists(contents, max_size=4))
def test_the_root_depends_on_the_content_alone(steps: list[dict[str, bytes]]) -> None:
    stored, content = Stored(), dict[str, bytes]()
    for changes in steps:
        old_root, old = stored.root, dict(content)
        stored.set(changes)
        content.update(changes)
        assert stored.root == plain_root(content)
        for name, value in list(old.items())[:3]:
            stored.map.prove(old_root, name).verify(old_root, name, value)


@given(contents, names)
def test_each_name_has_one_answer(content: dict[str, bytes], other: str) -> None:
    stored = Stored()
    stored.set(content)
    for name in [*content, other]:
        value = content.get(name)
        proof = stored.map.prove(stored.root, name)
        assert MapProof.from_json(proof.to_json(), "x") == proof
        proof.verify(stored.root, name, value)
        for wrong in (b"another value", None):
            if wrong != value:
                with pytest.raises(VerificationError):
                    proof.verify(stored.root, name, wrong)
        with pytest.raises(VerificationError):
            proof.verify(branch(stored.root, EMPTY), name, value)


def test_forged_proofs_are_refused() -> None:
    stored = Stored()
    stored.set({f"key/{i}": b"active" for i in range(50)})
    name = "key/7"
    proof = stored.map.prove(stored.root, name)
    forged = [
        replace(proof, end=None),
        replace(proof, end=(path_of("key/8"), proof.end[1] if proof.end else b"")),
        replace(proof, siblings=proof.siblings[:-1]),
        replace(proof, siblings=(*proof.siblings, EMPTY)),
        replace(proof, siblings=proof.siblings * 100),
        stored.map.prove(stored.root, "key/8"),
    ]
    for case in forged:
        for value in (None, b"active"):
            with pytest.raises(VerificationError):
                case.verify(stored.root, name, value)
    for i in range(len(proof.siblings)):
        changed = list(proof.siblings)
        changed[i] = bytes(31) + b"\1"
        with pytest.raises(VerificationError):
            replace(proof, siblings=tuple(changed)).verify(stored.root, name, b"active")


def test_malformed_proofs_are_refused() -> None:
    stored = Stored()
    stored.set({"a": b"1", "b": b"2"})
    good = stored.map.prove(stored.root, "a").to_json()
    for changes in (
        {"siblings": "x"}, {"siblings": ["AA=="]}, {"siblings": [good["end"][0]] * 257},
        {"end": []}, {"end": ["AA==", "AA=="]}, {"end": 1}, {"more": 1},
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            MapProof.from_json({**good, **changes}, "x")
