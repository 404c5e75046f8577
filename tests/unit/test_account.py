"""Accounts of chains bound to keys by the log, and resolved at a height."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from tests.unit.receipt_support import NOW
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.account import account_text
from zkai.ledger.identity import resolve
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.records import ACCOUNT, KEY_STATUS, sign_record
from zkai.receipt.signer import ML_DSA_65, PrivateKey
from zkai.receipt.trust import trust

OPERATOR, KEY, OTHER = (PrivateKey(ML_DSA_65, bytes([n]) * 32) for n in (1, 2, 3))
WALLET, THIEF = Account.from_key(bytes([7]) * 32), Account.from_key(bytes([8]) * 32)
ORIGIN, CHAIN = "example.org/accounts", 96369
ADDRESS = WALLET.address.lower()
DID = f"did:lux:{CHAIN}:{ADDRESS}"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    store = trust([("key", KEY.public), ("other", OTHER.public)])
    made = Ledger.create(tmp_path / "l.db", ORIGIN, OPERATOR, store, [], at=NOW)
    yield made
    made.close()


def bind(ledger: Ledger, wallet: Any = WALLET, key: PrivateKey = KEY, **changes: Any) -> None:
    signer = changes.pop("signer", key)
    text = changes.pop("text", account_text(CHAIN, ADDRESS, key.keyid, ORIGIN))
    signed = wallet.sign_message(encode_defunct(text=text))
    body = {
        "chain_id": CHAIN, "address": ADDRESS, "jwk": key.public.jwk,
        "account_key": "0x" + wallet._key_obj.public_key.to_bytes().hex(),
        "signature": "0x" + bytes(signed.signature)[:64].hex(), **changes,
    }  # fmt: skip
    record = sign_record(ACCOUNT, body, [signer], NOW)
    ledger.append(Submission(record.envelope.to_bytes()), NOW)


def test_an_account_resolves_to_its_key_and_those_that_follow(ledger: Ledger) -> None:
    bind(ledger)
    assert resolve(DID, ledger).keys == (KEY.public,)
    assert resolve(DID, ledger).document()["id"] == DID
    following = PrivateKey(ML_DSA_65, bytes([9]) * 32)
    body = {
        "keyid": following.keyid, "status": "active", "at": NOW, "reason": "", "name": "next",
        "jwk": following.public.jwk, "follows": KEY.keyid,
    }  # fmt: skip
    record = sign_record(KEY_STATUS, body, [KEY], NOW)
    ledger.append(Submission(record.envelope.to_bytes()), NOW)
    assert resolve(DID, ledger).keys == (following.public,)
    assert resolve(DID, ledger, 2).keys == (KEY.public,)
    with pytest.raises(InvalidInput, match="binds the account"):
        resolve(DID, ledger, 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"wallet": THIEF}, "address is another key's"),
        ({"text": account_text(CHAIN, ADDRESS, OTHER.keyid, ORIGIN)}, "did not sign this"),
        ({"text": account_text(1, ADDRESS, KEY.keyid, ORIGIN)}, "did not sign this"),
        ({"text": account_text(CHAIN, ADDRESS, KEY.keyid, "other.org")}, "did not sign this"),
        ({"chain_id": 1}, "did not sign this"),
        ({"signature": "0x" + "00" * 64}, "did not sign this"),
        ({"account_key": "0x" + "11" * 64}, "address is another key's"),
        ({"signer": OTHER}, "one key that it names"),
        ({"signer": OPERATOR}, "one key that it names"),
    ],
)
def test_others_bind_nothing(ledger: Ledger, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(VerificationError, match=reason):
        bind(ledger, **changes)
    assert ledger.log.size == 1


def test_an_account_is_bound_once(ledger: Ledger) -> None:
    bind(ledger)
    with pytest.raises(VerificationError, match="has its key already"):
        bind(ledger, key=OTHER)
    with pytest.raises(InvalidInput, match="did: expected"):
        resolve(DID.upper(), ledger)


def test_a_revoked_key_is_bound_to_nothing_and_resolves_to_nothing(ledger: Ledger) -> None:
    body = {
        "keyid": KEY.keyid, "status": "revoked", "at": NOW + 5, "reason": "stolen", "name": "key",
        "jwk": None, "follows": None,
    }  # fmt: skip
    record = sign_record(KEY_STATUS, body, [KEY], NOW)
    other = account_text(CHAIN, ADDRESS, OTHER.keyid, ORIGIN)
    ledger.append(Submission(record.envelope.to_bytes()), NOW)
    with pytest.raises(VerificationError, match="revocation of key is in the log"):
        bind(ledger)
    bind(ledger, key=OTHER, text=other)
    gone = sign_record(KEY_STATUS, {**body, "keyid": OTHER.keyid, "name": "other"}, [OTHER], NOW)
    assert resolve(DID, ledger).keys == (OTHER.public,)
    ledger.append(Submission(gone.envelope.to_bytes()), NOW)
    assert resolve(DID, ledger).keys == ()
