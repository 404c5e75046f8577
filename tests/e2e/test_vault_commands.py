"""`zkai vault`: from a key to a fork that moved, and what is refused on the way."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from tests.e2e.conftest import Shell
from tests.e2e.receipts_desk import POLICY, make_ledger, make_shell
from zkai.commands import passphrases

OWNER = "--signer ada.json --opener ada-vault.json"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Shell:
    """Fork 11 signed by the issuer and by Ada; Ada's, Bob's and Carol's encryption keys."""
    shell = make_shell(tmp_path, monkeypatch, capsys)
    make_ledger(shell, "issuer ada")
    for name in ("ada", "bob", "carol"):
        shell(f"vault keygen -o {name}-vault.json --public {name}.pub")
    shell("vault init vault --ledger log.db")
    Path("state").write_bytes(b"weights after step 2")
    return shell


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Shell:
    """Three proofs, and no passphrase."""
    shell = make_shell(tmp_path, monkeypatch, capsys)
    monkeypatch.delenv("ZKAI_PASSPHRASE")
    return shell


def publish(desk: Shell) -> str:
    made = desk(f"vault publish vault state --kind model_state --fork 11 {OWNER}")
    assert made["fork"] == "11"
    return str(made["object"])


def test_an_object_is_granted_opened_revoked_erased(desk: Shell) -> None:
    assert stat.S_IMODE(os.stat("ada-vault.json").st_mode) == 0o600
    name = publish(desk)
    granted = desk(f"vault grant vault {name} --to bob.pub --purpose audit {OWNER}")
    assert len(granted["readers"]) == 2
    access = f"vault access vault {name} --operator operator.json"
    desk(f"{access} --to bob.pub --purpose audit -o bob.card")
    desk("vault read bob.card --opener bob-vault.json --store vault/objects -o opened")
    assert Path("opened").read_bytes() == b"weights after step 2"
    assert stat.S_IMODE(os.stat("opened").st_mode) == 0o600
    desk("vault read bob.card --opener carol-vault.json --store vault/objects -o x", 1)
    refused = desk(f"{access} --to carol.pub -o carol.card", 1)
    assert "not granted" in refused["message"]
    assert not Path("carol.card").exists()

    desk(f"vault revoke vault {name} --to bob.pub --purpose over {OWNER}")
    assert "not granted" in desk(f"{access} --to bob-vault.json -o again", 1)["message"]
    gone = desk("vault read bob.card --opener bob-vault.json --store vault/objects -o x", 2)
    assert "cannot be read" in gone["message"]
    shown = desk(f"vault show vault {name}")["trail"]
    assert [row["what"] for row in shown] == [
        "publish", "grant", "served", "refused", "revoke", "refused",
    ]  # fmt: skip
    desk("ledger checkpoint log.db --operator operator.json")
    desk(f"ledger prove log.db --object {name} -o trail.json")
    found = desk(f"ledger verify trail.json {POLICY} --trust trust.json")
    assert [row["entry"] for row in found["result"]] == [row["index"] for row in shown]
    assert name in desk.text(f"vault show vault {name}")

    desk(f"vault erase vault {name} --purpose leaving {OWNER}")
    assert "erased" in desk(f"{access} --to ada.pub -o again", 1)["message"]
    assert not Path("again").exists()


def test_others_are_refused(desk: Shell) -> None:
    desk("receipt keygen -o eve.json")
    eve = "--signer eve.json --opener ada-vault.json"
    assert "the ledger knows" in desk(f"vault publish vault state {eve}", 1)["message"]
    name = publish(desk)
    desk(f"vault grant vault {name} --to bob.pub --signer issuer.json --opener ada-vault.json", 1)
    desk(f"vault grant vault {name} --to bob.pub --signer ada.json --opener bob-vault.json", 1)
    desk(f"vault publish vault state --fork 12 {OWNER}", 1)
    for command in (
        f"vault grant vault {name} --to state {OWNER}",
        f"vault grant vault 0x12 --to bob.pub {OWNER}",
        f"vault revoke vault {name} --to nobody.pub {OWNER}",
        f"vault show vault 0x{'00' * 32}",
        f"vault show nowhere {name}",
        f"vault publish vault none {OWNER}",
        "vault init vault --ledger log.db",
        "vault init other --ledger none.db",
        "vault keygen -o ada-vault.json",
        "vault keygen -o new-vault.json --public ./new-vault.json",
        f"vault export vault --fork 11 --to bob.pub --opener ada-vault.json -o none/{name}",
    ):
        desk(command, 2)


def test_a_fork_moves_with_what_became_of_it(desk: Shell) -> None:
    first, second = publish(desk), publish(desk)
    desk(f"vault grant vault {first} --to bob.pub {OWNER}")
    desk(f"vault erase vault {second} {OWNER}")
    desk("ledger checkpoint log.db --operator operator.json")
    desk("vault export vault --fork 11 --to carol.pub --opener ada-vault.json -o fork.bundle")
    arrive = f"vault import fork.bundle {POLICY} --trust trust.json --store there/objects"
    keys = "--key vk0.json --key vk1.json"
    found = desk(f"{arrive} {keys} --opener carol-vault.json -o there")
    assert (len(found["receipts"]), found["objects"]) == (3, [first])
    assert [r["action"] for r in found["trails"][first]] == ["publish", "grant"]
    assert [r["action"] for r in found["trails"][second]] == ["publish", "erase"]
    card = f"there/cards/{first[2:]}.json"
    desk(f"vault read {card} --opener carol-vault.json --store there/objects -o moved")
    assert Path("moved").read_bytes() == b"weights after step 2"
    desk(f"ledger verify there/answer.json {POLICY} --trust trust.json")
    desk("receipt verify there/receipts/0.receipt --trust trust.json")
    desk(f"{arrive} {keys} --opener bob-vault.json -o x", 1)
    desk(f"{arrive} --opener carol-vault.json -o x", 1)
    data = bytearray(Path("fork.bundle").read_bytes())
    data[-1] ^= 1
    Path("fork.bundle").write_bytes(data)
    desk(f"{arrive} {keys} --opener carol-vault.json -o x", 1)
    assert not Path("x").exists()


def test_identities_in_the_ledger(desk: Shell) -> None:
    wallet = Account.from_key(bytes([7]) * 32)
    Path("account").touch(mode=0o600)
    Path("account").write_text("07" * 32)
    bind = "ledger bind-account log.db --chain-id 96369 --key-file account"
    bound = desk(f"{bind} --signer ada.json")
    assert bound["did"] == f"did:lux:96369:{wallet.address.lower()}"
    assert "has its key already" in desk(f"{bind} --signer issuer.json", 1)["message"]
    desk(f"{bind} --signer operator.json", 1)
    made = desk("receipt keygen -o next.json")
    desk(f"ledger rotate log.db {bound['keyid']} next.json --signer bob.pub", 2)
    desk(f"ledger rotate log.db {bound['keyid']} next.json --signer issuer.json", 1)
    desk(f"ledger rotate log.db {bound['keyid']} next.json --signer ada.json")
    found = desk(f"ledger resolve log.db {bound['did']}")["document"]
    assert found["verificationMethod"][0]["id"].endswith(made["keyid"])
    before = desk(f"ledger resolve log.db {bound['did']} --entries {bound['entries']}")
    assert before["document"]["verificationMethod"][0]["id"].endswith(bound["keyid"])
    desk(f"ledger revoke log.db {made['keyid']} --reason stolen --signer issuer.json", 1)
    desk(f"ledger revoke log.db {made['keyid']} --reason stolen --signer operator.json")
    assert desk(f"ledger resolve log.db {bound['did']}")["document"]["verificationMethod"] == []
    desk("ledger resolve log.db did:web:example.org", 2)


class MemoryKeyring:
    """What of keyring's interface is used, in memory; each failure as keyring raises it."""

    class errors:
        """keyring.errors."""

        class KeyringError(Exception):
            """keyring's."""

        class NoKeyringError(KeyringError, RuntimeError):
            """keyring's."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], str] = {}
        self.failure: Exception | None = None

    def get_password(self, service: str, name: str) -> str | None:
        if self.failure is not None:
            raise self.failure
        return self.held.get((service, name))

    def set_password(self, service: str, name: str, password: str) -> None:
        self.held[service, name] = password


def test_passphrases_come_from_the_keyring(plain: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = MemoryKeyring()
    monkeypatch.setattr(passphrases, "_load_keyring", lambda: ring)
    assert (
        "has no zkai/eve"
        in plain("receipt sign 0.json --signer ada.json --keyring eve -o x", 2)["message"]
    )
    plain("receipt keygen -o eve.json --keyring eve")
    plain("vault keygen -o eve-vault.json --keyring eve")
    assert list(ring.held) == [("zkai", "eve")]
    assert len(ring.held["zkai", "eve"]) >= 40
    sign = "receipt sign 0.json --signer eve.json --chain-id 7 --keyring eve -o x"
    assert "destination" in plain(sign, 2)["message"]  # past the key: the place is another
    ring.held["zkai", "eve"] = "another"
    assert "wrong passphrase" in plain(sign, 1)["message"]
    plain(f"{sign} --passphrase-file words", 2)
    ring.failure = ring.errors.NoKeyringError("no backend\nlong advice")
    assert plain(sign, 3)["message"] == (
        "--keyring: this system has no keyring that Python's keyring can use"
    )
    ring.failure = ring.errors.KeyringError("secret words")
    assert "secret" not in plain(sign, 3)["message"]
    plain("receipt keygen -o y.json --keyring " + "n" * 129, 2)
    assert not Path("x").exists()


def test_a_missing_keyring_says_how_to_install_it(
    plain: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "keyring", None)
    message = plain("receipt keygen -o eve.json --keyring eve", 3)["message"]
    assert message == "--keyring needs keyring: pip install 'zkai[keyring]'"


def test_keyring_s_own_backends(plain: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the real package: one that fails, and one in memory."""
    keyring = pytest.importorskip("keyring")
    from keyring.backends.fail import Keyring as Fails

    held: dict[tuple[str, str], str] = {}

    class InMemory(keyring.backend.KeyringBackend):  # type: ignore[misc, name-defined]
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            return held.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            held[service, username] = password

        def delete_password(self, service: str, username: str) -> None:
            del held[service, username]

    before = keyring.get_keyring()
    try:
        keyring.set_keyring(Fails())
        assert "no keyring" in plain("receipt keygen -o eve.json --keyring eve", 3)["message"]
        keyring.set_keyring(InMemory())
        plain("receipt keygen -o eve.json --keyring eve")
        assert list(held) == [("zkai", "eve")]
    finally:
        keyring.set_keyring(before)
    assert json.loads(Path("eve.json").read_text())["format"] == "zkai.key/1"
