"""A vault's folder, and the files of the keys to which objects are granted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zkai.encoding import load_json, read_capped
from zkai.errors import InvalidInput
from zkai.ledger.ledger import Ledger
from zkai.proof.jsonform import expect_fields
from zkai.vault.keys import Recipient, read_recipient
from zkai.vault.store import ObjectStore
from zkai.vault.vault import Vault

FORMAT = "zkai.vault/1"


@contextmanager
def opened(folder: Path) -> Iterator[Vault]:
    """Open a vault's folder with its ledger. Raises InvalidInput for anything else."""
    where = folder / "vault.json"
    value = load_json(read_capped(where, 1 << 16), str(where))
    expect_fields(value, ("format", "ledger", "store"), str(where))
    if value["format"] != FORMAT or not all(isinstance(v, str) for v in value.values()):
        raise InvalidInput(f"{where}: expected {FORMAT}")
    ledger = Ledger.open(value["ledger"])
    try:
        yield Vault(folder / "cards", ObjectStore(value["store"]), ledger)
    finally:
        ledger.close()


def recipient_of(path: Path) -> Recipient:
    """Return the public half of a key, from its own file or a JWK. Raises InvalidInput."""
    value = load_json(read_capped(path, 1 << 16), str(path))
    if isinstance(value, dict) and "kty" in value:
        return Recipient.from_jwk(value, str(path))
    return read_recipient(path)
