"""The verifier page: what ships; signatures, JSON and documents against the library."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.page_support import page_call
from tests.unit.receipt_support import NOW, signer, store, verifying_keys
from tests.unit.test_receipt import payload
from tests.unit.test_signer import wycheproof
from tests.unit.verifier_support import good, logged
from zkai.encoding import load_json
from zkai.errors import InvalidInput
from zkai.ledger.checkpoint import InclusionProof, LogPolicy
from zkai.receipt.signer import ED25519, ML_DSA_65, PublicKey
from zkai.receipt.statement import parse_statement
from zkai.receipt.trust import TrustStore, revoke

pytestmark = pytest.mark.node


# ------------------------------------------------------------------- what ships


@pytest.fixture(scope="module")
def build(repo: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("web_build", repo / "web" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["web_build"] = module
    spec.loader.exec_module(module)
    return module


def test_the_shipped_page_is_what_its_sources_build(build: ModuleType) -> None:
    assert build.stale() == [], "run python web/build.py"


def test_the_page_allows_itself_nothing(build: ModuleType) -> None:
    page = build.PAGE.read_text()
    found = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert found is not None
    policy = dict(item.split(" ", 1) for item in found[1].split("; "))
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in (
            re.findall(r"<script>(.*?)</script>", page, re.S)
            + re.findall(r"<style>(.*?)</style>", page, re.S)
        )
    ]
    assert policy == {
        "default-src": "'none'", "script-src": hashes[0], "style-src": hashes[1],
        "base-uri": "'none'", "form-action": "'none'", "require-trusted-types-for": "'script'",
    }  # fmt: skip
    assert not re.search(r"\s(src|href|on[a-z]+)=", page[: page.index("<script>")])
    for name in ("hashes", "curves", "post-quantum"):
        assert f"@noble/{name} " in page
    assert page.count("Permission is hereby granted") == 3


# --------------------------------------------------------------------- signatures


def test_wycheproof_verdicts(repo: Path) -> None:
    """Each case has the verdict of an empty context, as in test_signer.py."""
    tried = {True: 0, False: 0}
    for group in wycheproof(repo)["verify"]:
        public = bytes.fromhex(group["pk"])
        text = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
        jwk = {"alg": ML_DSA_65, "kty": "AKP", "pub": text}
        for number, message, context, signature, result in group["tests"]:
            sent = (bytes.fromhex(signature), bytes.fromhex(message))
            found = page_call("signature", jwk, *sent)["accepted"]
            assert found == (result == "valid" and not context), number
            tried[found] += 1
    assert tried == {True: 77, False: 133}


def test_ed25519_is_strict() -> None:
    """A signature with s + L, and a key of small order, are refused as pyca does."""
    key, message = signer("classic", ED25519), b"message"
    signature = key.sign(message)
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(signature[32:], "little") + order
    for made, jwk, expected in (
        (signature, key.public.jwk, True),
        (signature[:32] + s.to_bytes(32, "little"), key.public.jwk, False),
        (bytes([1, *bytes(63)]), {**key.public.jwk, "x": "AQ" + "A" * 41}, False),
        (signature[:-1], key.public.jwk, False),
        (signature + b"\0", key.public.jwk, False),
    ):
        assert page_call("signature", jwk, made, message)["accepted"] == expected


@pytest.mark.parametrize(
    "change",
    [{"kty": "OKP"}, {"alg": "ML-DSA-44"}, {"d": "A"}, {"pub": "AA"}, {"crv": ED25519}],
)
def test_other_jwks_are_refused(change: dict[str, str]) -> None:
    key = signer()
    signature = key.sign(b"x")
    assert page_call("signature", key.public.jwk, signature, b"x")["accepted"]
    assert not page_call("signature", {**key.public.jwk, **change}, signature, b"x")["accepted"]


def test_a_key_has_one_spelling() -> None:
    """Base64url without padding, and no character of the other alphabet."""
    key = next(k for k in (signer(), signer("w1"), signer("w2")) if "-" in k.public.jwk["pub"])
    signature, text = key.sign(b"x"), key.public.jwk["pub"]
    for other in (text.replace("-", "+", 1), text + "=", text + "\n", text[:-1]):
        jwk = {**key.public.jwk, "pub": other}
        assert not page_call("signature", jwk, signature, b"x")["accepted"]
        with pytest.raises(InvalidInput):
            PublicKey.from_jwk(jwk, "key")


# --------------------------------------------------------------------------- JSON


def parses(data: bytes) -> bool:
    try:
        load_json(data, "data")
    except InvalidInput:
        return False
    return True


JSON_TEXTS = [
    "1", "-0", "01", "1.0", "1e3", "-", "+1", "NaN", "Infinity", "9007199254740991", "[1,]", "[]",
    "[1 2]", "{}", '{"a":1,"a":2}', '{"a":1,"\\u0061":2}', '{"a":1,}', "{a:1}", "'a'", '"a', '"\t"',
    '"\\x"', '"\\ud800"', '"\\"', "nul", "nulll", "true", " [ 1 , 2 ] ", "\ufeff1", "1 2", "",
    '{"__proto__":1,"__proto__":2}', '{"constructor":1}', "//", "[1]]", "\x0b1", '"\x7f"',
]  # fmt: skip


@pytest.mark.parametrize("text", JSON_TEXTS)
def test_both_read_the_same_json(text: str) -> None:
    expected = parses(text.encode()) and text != "\ufeff1"
    assert page_call("parse", text.encode())["accepted"] == expected


@given(st.text('{}[]:,"\\ud80aetrufalsn0123456789-.eE \n', max_size=12))
@example('{"a":[{}]}')
def test_both_read_the_same_json_of_any_text(text: str) -> None:
    assert page_call("parse", text.encode())["accepted"] == parses(text.encode())


def test_bytes_that_are_no_utf_8_and_deep_nesting_are_refused() -> None:
    for data in (b'"\xff"', b'"\xed\xa0\x80"', b"[" * 100_000, '"a"'.encode("utf-16")):
        assert not page_call("parse", data)["accepted"]


# ---------------------------------------------------------------------- statements

JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 2**53, "", "x", "0", "0x" + "0" * 64, "9" * 78, "1" * 2000, [], ["x"],
    ["x", "x"], [None] * 70, {}, {"x": 1}, NOW, "n" * 129, "r" * 257, "A" * 43,
    "2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z",
)  # fmt: skip


def mutants(value: Any) -> Iterator[Any]:
    """The value with each of its parts replaced by junk, removed, or given a field more."""
    if isinstance(value, dict):
        yield {**value, "more": 1}
        for name, item in value.items():
            yield {n: v for n, v in value.items() if n != name}
            for other in (*JUNK, *mutants(item)):
                yield {**value, name: other}
    elif isinstance(value, list):
        yield [*value, *value]
        for i, item in enumerate(value):
            for other in mutants(item):
                yield [*value[:i], other, *value[i + 1 :]]


READERS: dict[str, tuple[Callable[[Any], object], Callable[[], Any]]] = {
    "statement": (lambda v: parse_statement(json.dumps(v).encode(), "statement"), payload),
    "trust": (
        TrustStore.from_json,
        lambda: revoke(store(), signer().keyid, NOW, "stolen").to_json(),
    ),
    "policy": (LogPolicy.from_json, lambda: logged()[1].to_json()),
}
"""What is read, by the library's reader and an example."""


@pytest.mark.parametrize("kind", READERS)
def test_both_read_the_same_documents(kind: str) -> None:
    """Hundreds of documents that are wrong in one place, or happen to be right."""
    read, example_of = READERS[kind]
    tried = {True: 0, False: 0}
    # A prime step, so that every kind of junk stands in some of the many fields of a statement.
    step = 7 if kind == "statement" and not os.environ.get("ZKAI_TEST_SLOW") else 1
    for value in islice(mutants(example_of()), 0, None, step):
        try:
            read(value)
            ours = True
        except InvalidInput:
            ours = False
        tried[ours] += 1
        found = page_call(kind, json.dumps(value).encode())
        assert found["accepted"] == ours, (value, found["reason"])
    assert min(tried.values()) > 5, tried


def test_files_go_where_they_belong() -> None:
    case = good()
    note = InclusionProof.from_bytes(logged()[0]).note.to_bytes()
    for data, side in (
        (case.receipt, "given"), (case.proof, "given"), (case.inclusion, "given"),
        (note, "given"), (json.dumps(store().to_json()).encode(), "trusted"),
        (json.dumps(logged()[1].to_json()).encode(), "trusted"),
        (verifying_keys()["training_step/1"].file_bytes(), "trusted"),
    ):  # fmt: skip
        other = "trusted" if side == "given" else "given"
        assert page_call("recognise", data, side)["accepted"]
        assert "belongs to" in page_call("recognise", data, other)["reason"]
    assert not page_call("recognise", b'{"format":"constructor"}', "given")["accepted"]
