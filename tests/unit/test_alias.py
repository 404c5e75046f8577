"""did:web: an alias that repeats the ledger, and nothing that a website says by itself."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.unit.receipt_support import signer
from tests.unit.test_identity import follow, ledger, status
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.alias import alias_document, alias_url, verify_alias
from zkai.ledger.identity import did_key, did_lux, resolve
from zkai.ledger.ledger import Ledger

__all__ = ["ledger"]
ALIAS = "did:web:example.org:users:ada"


def fetched(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode()


def document(ledger: Ledger, alias: str = ALIAS, name: str = "issuer") -> dict[str, Any]:
    return alias_document(resolve(did_lux(signer(name).public), ledger), alias)


def test_a_document_is_served_and_checked(ledger: Ledger) -> None:
    made = document(ledger)
    assert made["id"] == ALIAS
    assert made["alsoKnownAs"] == [did_lux(signer().public)]
    assert made["verificationMethod"][0]["controller"] == ALIAS
    found = verify_alias(fetched(made), ALIAS, ledger)
    assert found.did == did_lux(signer().public)
    assert found.keys == (signer().public,)
    with pytest.raises(InvalidInput, match="alias"):
        resolve(ALIAS, ledger)  # by itself it stands for nothing


def test_the_ledger_s_answer_counts(ledger: Ledger) -> None:
    """A document from before a rotation or a revocation is refused, and says how to be believed."""
    before, did = document(ledger), did_lux(signer().public)
    follow(ledger, signer().public, signer("successor").public, "issuer")
    with pytest.raises(VerificationError, match="as of 2 entries"):
        verify_alias(fetched(before), ALIAS, ledger)
    assert verify_alias(fetched(before), ALIAS, ledger, 1).keys == (signer().public,)
    after = alias_document(resolve(did, ledger), ALIAS)
    assert verify_alias(fetched(after), ALIAS, ledger).keys == (signer("successor").public,)
    status(ledger, "revoked", signer("successor").public, "log")
    with pytest.raises(VerificationError):
        verify_alias(fetched(after), ALIAS, ledger)
    empty = alias_document(resolve(did, ledger), ALIAS)
    assert verify_alias(fetched(empty), ALIAS, ledger).keys == ()


def test_a_website_says_nothing_of_its_own(ledger: Ledger) -> None:
    """Somebody else's keys, more keys, other powers, another name, another website."""
    honest, thief = document(ledger), signer("stranger").public
    method = {
        "id": f"{ALIAS}#{thief.keyid}", "type": "JsonWebKey", "controller": ALIAS,
        "publicKeyJwk": thief.jwk,
    }  # fmt: skip
    for change in (
        lambda d: d["verificationMethod"].append(method),
        lambda d: d.update(verificationMethod=[method]),
        lambda d: d["verificationMethod"][0].update(publicKeyJwk=thief.jwk),
        lambda d: d["verificationMethod"][0].update(controller="did:web:evil.org"),
        lambda d: d.update(verificationMethod=[]),
        lambda d: d["assertionMethod"].append(method["id"]),
        lambda d: d["authentication"].clear(),
        lambda d: d.update(capabilityInvocation=[method["id"]]),
        lambda d: d.update(controller="did:web:evil.org"),
        lambda d: d.update(id="did:web:evil.org"),
    ):
        forged = copy.deepcopy(honest)
        change(forged)
        with pytest.raises(VerificationError):
            verify_alias(fetched(forged), ALIAS, ledger)
    with pytest.raises(VerificationError, match="not the document of"):
        verify_alias(fetched(honest), "did:web:evil.org", ledger)
    for names in (
        [], [did_lux(thief)], [did_key(signer().public)], honest["alsoKnownAs"] * 2, "x", [1],
        ["did:web:example.org"], None,
    ):  # fmt: skip
        with pytest.raises(InvalidInput):
            verify_alias(fetched({**honest, "alsoKnownAs": names}), ALIAS, ledger)
    for data in (b"", b"[]", b"{}", b'{"id": 1, "id": 2}', b" " * 70_000):
        with pytest.raises(InvalidInput):
            verify_alias(data, ALIAS, ledger)


def test_names_of_websites() -> None:
    assert alias_url("did:web:example.org") == "https://example.org/.well-known/did.json"
    assert alias_url(ALIAS) == "https://example.org/users/ada/did.json"
    assert alias_url("did:web:localhost%3A8443:a") == "https://localhost:8443/a/did.json"
    for bad in (
        "did:web:", "did:web:Example.org", "did:web:a..b", "did:web:a:..", "did:web:a:b/c",
        "did:web:a@b", "did:web:a:", "did:web:-a", "did:web:a?x", "did:lux:key:z1",
        "did:web:a:b\n", "did:web:" + "a" * 600,
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match="did:web"):
            alias_url(bad)
    with pytest.raises(InvalidInput, match="alias of a did:lux"):
        alias_document(resolve(did_key(signer().public)), ALIAS)
