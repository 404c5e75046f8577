"""The page's Groth16 against the library's and snarkjs's: proofs and keys of every format."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit import commit_support, link_support, proof_support
from tests.unit.page_support import page_call
from tests.unit.receipt_support import verifying_keys
from tests.unit.test_receipt import flips
from tests.unit.verifier_support import good
from zkai import native
from zkai.encoding import BASE_MODULUS, FIELD_MODULUS, load_json
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.formats import parse_proof
from zkai.proof import formats, groth16
from zkai.proof.foreign import proof_to_snarkjs, verifying_key_to_snarkjs
from zkai.proof.keys import KeyDocument, Proof
from zkai.proof.points import G2_GENERATOR, g2_on_curve, g2_words

pytestmark = pytest.mark.node


def verdicts(proof: bytes, key: bytes) -> set[bool]:
    """Whether library and page accept a proof under a key."""
    try:
        formats.verify(parse_proof(proof), KeyDocument.from_json(load_json(key, "key")))
        ours = True
    except (InvalidInput, VerificationError):
        ours = False
    return {ours, page_call("groth16", proof, key)["accepted"]}


def documents() -> dict[str, tuple[Proof, KeyDocument]]:
    """A proof and its key of each format."""
    return {
        "plain": (proof_support.proof(), proof_support.keys().verifying),
        "commit": (commit_support.proof(), commit_support.keys().verifying),
        "link": (link_support.proof(), link_support.known_keys().verifying),
    }


FORMATS = ("plain", "commit", "link")


@pytest.mark.parametrize("name", FORMATS)
def test_proofs_of_every_format(name: str) -> None:
    proof, key = documents()[name]
    assert verdicts(proof.file_bytes(), key.file_bytes()) == {True}


def test_ceremony_keys() -> None:
    keys = proof_support.ceremony_keys()
    proof = groth16.prove(
        proof_support.circuit(), keys.proving, proof_support.witness(), proof_support.STATEMENT
    )
    assert verdicts(proof.file_bytes(), keys.verifying.file_bytes()) == {True}


@pytest.mark.parametrize("name", FORMATS)
def test_a_flipped_byte_of_a_proof_is_refused_by_the_proof_itself(name: str) -> None:
    """No receipt names these bytes: what refuses is Groth16, or the form of the file."""
    proof, key = documents()[name]
    data, written = proof.file_bytes(), key.file_bytes()
    for at in flips(data, fields=False):
        assert verdicts(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], written) == {False}, at


def forged(name: str, change: Callable[[dict[str, Any]], object]) -> bytes:
    value = documents()[name][0].to_json()
    change(value)
    return json.dumps(value).encode()


def swap_public(value: dict[str, Any]) -> None:
    name = next(n for n, v in value["public"].items() if isinstance(v, list))
    value["public"][name].reverse()


def alias(value: dict[str, Any]) -> None:
    name, listed = next(iter(value["public"].items()))
    first = listed if isinstance(listed, str) else listed[0]
    other = str(int(first) + FIELD_MODULUS)
    value["public"][name] = other if isinstance(listed, str) else [other, *listed[1:]]


def coordinate(value: dict[str, Any]) -> None:
    value["proof"]["a"][0] = str(int(value["proof"]["a"][0]) + BASE_MODULUS)


def negative(point: str) -> Callable[[dict[str, Any]], None]:
    def change(value: dict[str, Any]) -> None:
        x, y = value["proof"][point]
        value["proof"][point] = [x, str(-int(y) % BASE_MODULUS)]

    return change


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "x + r": alias,
    "x + q": coordinate,
    "-A": negative("a"),
    "-C": negative("c"),
    "infinity": lambda v: v["proof"].update(c=["0", "0"]),
    "off the curve": lambda v: v["proof"].update(a=["1", "3"]),
    "the generator": lambda v: v["proof"].update(a=["1", "2"]),
    "B at infinity": lambda v: v["proof"].update(b=[["0", "0"], ["0", "0"]]),
    "B's halves swapped": lambda v: v["proof"]["b"].reverse(),
    "a name more": lambda v: v["public"].update(more="1"),
    "another statement": lambda v: v.update(statement="other/1"),
    "another circuit": lambda v: v.update(circuit_digest="0x" + "00" * 32),
    "another key": lambda v: v.update(vk_digest="0x" + "00" * 32),
    "a ceremony claimed": lambda v: v.update(key_status="ceremony"),
    "another format": lambda v: v.update(format="zkai.groth16/2"),
    "a leading zero": lambda v: v["proof"]["a"].insert(0, "0" + v["proof"]["a"].pop(0)),
    "a field more": lambda v: v.update(more=1),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", FORMATS)
def test_forged_proofs_are_refused(name: str, change: str) -> None:
    key = documents()[name][1].file_bytes()
    assert verdicts(forged(name, CHANGES[change]), key) == {False}


def test_a_point_outside_the_subgroup_is_refused() -> None:
    """On the twist, which has other orders than r: x = 1 or the next that gives a point."""
    point = next(p for p in twist_points() if native.g2_check(g2_words(p)) >= 0)
    assert g2_on_curve(point)
    (x0, x1), (y0, y1) = point
    rows = [[str(x0), str(x1)], [str(y0), str(y1)]]
    for name in FORMATS:
        made = forged(name, lambda v: v["proof"].update(b=rows))
        assert verdicts(made, documents()[name][1].file_bytes()) == {False}
    answer = page_call("groth16", made, documents()["link"][1].file_bytes())
    assert answer["reason"] == "proof point B is not a point of its group"


def twist_points() -> Iterator[Any]:
    """Points (x, y) over Fq2 with y^2 = x^3 + 3 / (9 + u), x = 1, 2, ... in the base field."""
    q = BASE_MODULUS
    inverse = pow(82, -1, q)  # (9 + u) (9 - u) = 82
    b = (27 * inverse % q, -3 * inverse % q)
    for x in range(1, 100):
        c, d = (x**3 + b[0]) % q, b[1]
        norm = pow((c * c + d * d) % q, (q + 1) // 4, q)
        for sign in (1, -1):
            half = (c + sign * norm) * pow(2, -1, q) % q
            y0 = pow(half, (q + 1) // 4, q)
            if y0 and y0 * y0 % q == half:
                y1 = d * pow(2 * y0, -1, q) % q
                if ((y0 * y0 - y1 * y1 - c) % q, (2 * y0 * y1 - d) % q) == (0, 0):
                    yield (x, 0), (y0, y1)


KEY_CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "names swapped": lambda v: v["public"].reverse(),
    "a size": lambda v: v["public"][0].update(size=v["public"][0]["size"] + 1),
    "gamma is delta": lambda v: v.update(gamma=v.get("delta"), delta1=v.get("delta2")),
    "a digest": lambda v: v.update(vk_digest="0x" + "11" * 32),
    "a ceremony claimed": lambda v: v.update(key_status="ceremony"),
    "ic cut": lambda v: v["ic"].pop(),
    "beta at infinity": lambda v: v.update(beta=[["0", "0"], ["0", "0"]]),
    "another format": lambda v: v.update(format="zkai.groth16-vk/2"),
    "another status": lambda v: v.update(key_status="trusted"),
    "a field more": lambda v: v.update(more=1),
}


@pytest.mark.parametrize("change", KEY_CHANGES)
@pytest.mark.parametrize("name", FORMATS)
def test_forged_keys_are_refused(name: str, change: str) -> None:
    proof, key = documents()[name]
    value = key.to_json()
    KEY_CHANGES[change](value)
    same = (name, change) == ("commit", "names swapped")  # it has one signal
    assert verdicts(proof.file_bytes(), json.dumps(value).encode()) == {same}


def minus(point: Any) -> Any:
    """The inverse of a point of G2."""
    x, (y0, y1) = point
    return x, (-y0 % BASE_MODULUS, -y1 % BASE_MODULUS)


def renamed(key: Any, names: list[str]) -> Any:
    return replace(
        key, public=tuple(replace(s, name=n) for s, n in zip(key.public, names, strict=True))
    )


REMADE: dict[tuple[str, str], tuple[Callable[[Any], Any], str]] = {
    ("plain", "gamma is delta"): (lambda k: replace(k, gamma=k.delta), "anyone can forge"),
    ("plain", "gamma is -delta"): (lambda k: replace(k, gamma=minus(k.delta)), "anyone can forge"),
    ("plain", "a size"): (lambda k: replace(k, public=k.public[:1]), "number of signals"),
    ("plain", "a name twice"): (lambda k: renamed(k, ["spare", "spare"]), "appears twice"),
    ("plain", "a claimed ceremony"): (lambda k: replace(k, key_status="ceremony"), "disagree"),
    ("commit", "equal deltas"): (lambda k: replace(k, delta1=k.delta2), "everyone knows"),
    ("commit", "opposite deltas"): (lambda k: replace(k, delta1=minus(k.delta2)), "everyone knows"),
    ("commit", "a trivial delta"): (lambda k: replace(k, delta1=G2_GENERATOR), "everyone knows"),
    ("commit", "no fold"): (lambda k: replace(k, challenges=("x", "y")), "`fold` the first"),
    ("commit", "a challenge twice"): (
        lambda k: replace(k, challenges=("fold", "fold")), "appears twice",
    ),
    ("commit", "a challenge less"): (lambda k: replace(k, challenges=("fold",)), "their number"),
    ("link", "tau is a delta"): (lambda k: replace(k, tau=k.delta1), "everyone knows"),
    ("link", "another link"): (lambda k: replace(k, links=k.links[::-1]), "the last signals"),
}  # fmt: skip
"""Keys that are wrong in one thing and have the digest that follows, with the page's words."""


@pytest.mark.parametrize("change", REMADE)
def test_keys_made_anew_are_refused(change: tuple[str, str]) -> None:
    proof, key = documents()[change[0]]
    remake, words = REMADE[change]
    made = remake(key)
    sent = (replace(proof, vk_digest=made.digest, key_status=made.key_status).file_bytes(),
            made.file_bytes())  # fmt: skip
    assert verdicts(*sent) == {False}
    assert words in page_call("groth16", *sent)["reason"]


LINKS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "y + r": (
        lambda v: v["link"]["evaluations"].__setitem__(
            0, str(int(v["link"]["evaluations"][0]) + FIELD_MODULUS)
        ),
        "an evaluation is not below",
    ),
    "another y": (lambda v: v["link"]["evaluations"].__setitem__(0, "5"), "equation"),
    "y exchanged": (lambda v: v["link"]["evaluations"].reverse(), "equation"),
    "another commitment": (
        lambda v: v["link"]["commitments"].__setitem__(0, ["1", "2"]),
        "last public signals name",
    ),
    "commitments exchanged": (
        lambda v: v["link"]["commitments"].reverse(),
        "last public signals name",
    ),
    "one commitment": (lambda v: v["link"]["commitments"].pop(), "links 1 states, not 2"),
    "another opening": (lambda v: v["link"].update(opening=["1", "2"]), "equation"),
    "no link": (lambda v: v.pop("link"), "the key does not, or the other way round"),
}


@pytest.mark.parametrize("change", LINKS)
def test_forged_openings_are_refused(change: str) -> None:
    make, words = LINKS[change]
    sent = (forged("link", make), documents()["link"][1].file_bytes())
    assert verdicts(*sent) == {False}
    assert words in page_call("groth16", *sent)["reason"]


def test_proofs_and_keys_of_different_formats_are_refused() -> None:
    for one in FORMATS:
        for other in FORMATS:
            sent = (documents()[one][0].file_bytes(), documents()[other][1].file_bytes())
            assert verdicts(*sent) == {one == other}
    added = {"link": documents()["link"][0].to_json()["link"]}
    made = forged("commit", lambda v: v.update(added))
    assert verdicts(made, documents()["commit"][1].file_bytes()) == {False}


def test_a_key_with_public_polynomials_is_for_zkai() -> None:
    """Their values come from a ciphertext, which the page does not read."""
    proof, key = documents()["commit"]
    value = key.to_json() | {"polynomials": [{"name": "p", "size": 4}]}
    answer = page_call("groth16", proof.file_bytes(), json.dumps(value).encode())
    assert "verify these with zkai" in answer["reason"]


def test_a_known_statement_s_signals_keep_their_names() -> None:
    """The digest covers no names: two of a training step's that change places are refused."""
    value = verifying_keys()["training_step/1"].to_json()
    names = [signal["name"] for signal in value["public"]]
    swapped = {
        **value,
        "public": [{"name": n, "size": 1} for n in [names[1], names[0], *names[2:]]],
    }
    proof = json.loads(good().proof)
    exchange = {
        "old_state": proof["public"]["new_state"],
        "new_state": proof["public"]["old_state"],
    }
    proof["public"] |= exchange
    sent = (json.dumps(proof).encode(), json.dumps(swapped).encode())
    assert verdicts(*sent) == {False}
    assert "signals are not those of training_step/1" in page_call("groth16", *sent)["reason"]


def test_snarkjs_has_the_same_verdicts(node_modules: Path, tmp_path: Path) -> None:
    proof, key = documents()["plain"]
    document, public = proof_to_snarkjs(proof, key)
    (tmp_path / "vk.json").write_text(json.dumps(verifying_key_to_snarkjs(key)))
    (tmp_path / "proof.json").write_text(json.dumps(document))
    for last in (public[-1], "6"):
        (tmp_path / "public.json").write_text(json.dumps([*public[:-1], last]))
        command = ["node", str(node_modules / "snarkjs/build/cli.cjs"), "groth16", "verify",
                   "vk.json", "public.json", "proof.json"]  # fmt: skip
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        made = forged("plain", lambda v, x=last: v["public"]["spare"].__setitem__(-1, x))
        assert verdicts(made, key.file_bytes()) == {done.returncode == 0} == {last == public[-1]}
