"""Parties' folders: a signing key under a passphrase, and for holders one-time round keys.

key.json      the signing key, sealed
public.json   {"format": "zkai.he-party/1", "role", "name", "cluster", "key", "recipients",
              "signature"}, the last a holder's, of its recipients
round-keys/   a holder's one-time keys; the rest of a folder is what the party remembers
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zkai.encoding import load_json, read_capped, write_atomic
from zkai.errors import InvalidInput
from zkai.federated.sealing import RoundKeys
from zkai.federated.session import MAX_ROUNDS, Client, Holder, recipients_message
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import from_base64url, to_base64url
from zkai.receipt.keyfile import read_key, write_key
from zkai.receipt.signer import SIGNATURE_BYTES, PrivateKey, PublicKey, generate
from zkai.vault.keys import Recipient

FORMAT = "zkai.he-party/1"
CLIENT, HOLDER, AGGREGATOR = "client", "holder", "aggregator"
ROLES = (CLIENT, HOLDER, AGGREGATOR)
MAX_BYTES = 4 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
_FIELDS = ("format", "role", "name", "cluster", "key", "recipients", "signature")


@dataclass(frozen=True)
class Party:
    """What everyone may know of a party."""

    role: str
    name: str
    key: PublicKey
    cluster: str | None = None
    recipients: tuple[Recipient, ...] = field(default=(), repr=False)
    signature: bytes | None = field(default=None, repr=False)

    def to_bytes(self) -> bytes:
        """Return the bytes of public.json."""
        value = {
            "format": FORMAT,
            "role": self.role,
            "name": self.name,
            "cluster": self.cluster,
            "key": self.key.jwk,
            "recipients": [recipient.jwk for recipient in self.recipients],
            "signature": None if self.signature is None else to_base64url(self.signature),
        }
        return json.dumps(value, indent=1).encode() + b"\n"

    @staticmethod
    def from_path(path: Path) -> Party:
        """Read a public.json. Raises InvalidInput naming file and field."""
        where = str(path)
        value: Any = load_json(read_capped(path, MAX_BYTES), where)
        expect_fields(value, _FIELDS, where)
        if value["format"] != FORMAT or value["role"] not in ROLES:
            raise InvalidInput(f"{where}: expected {FORMAT} of a {', '.join(ROLES)}")
        listed, cluster = value["recipients"], value["cluster"]
        for name in (value["name"], *([] if cluster is None else [cluster])):
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise InvalidInput(f"{where}: name and cluster: expected short names")
        if not isinstance(listed, list) or len(listed) > MAX_ROUNDS:
            raise InvalidInput(f"{where}: recipients: expected at most {MAX_ROUNDS} keys")
        keys = [Recipient.from_jwk(v, f"{where}: recipients[{i}]") for i, v in enumerate(listed)]
        public = PublicKey.from_jwk(value["key"], f"{where}: key")
        signed, size = value["signature"], SIGNATURE_BYTES[public.alg]
        signature = None if signed is None else from_base64url(signed, f"{where}: signature", size)
        return Party(value["role"], value["name"], public, cluster, tuple(keys), signature)


def make_party(
    folder: Path,
    role: str,
    name: str,
    passphrase: str,
    *,
    cluster: str | None = None,
    rounds: int = 16,
    log2_n: int | None = None,
) -> Party:
    """Make a party's keys in a new folder. Raises InvalidInput if there is one."""
    if role not in ROLES or not _NAME.fullmatch(name):
        raise InvalidInput(f"keygen: expected a role ({', '.join(ROLES)}) and a short name")
    if not 1 <= rounds <= MAX_ROUNDS:
        raise InvalidInput(f"keygen: rounds: expected 1 to {MAX_ROUNDS}")
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{folder}: cannot be made ({error.strerror})") from error
    key = generate()
    write_key(folder / "key.json", key, passphrase, log2_n=log2_n)
    recipients, signature = tuple[Recipient, ...](), None
    if role == HOLDER:
        recipients = RoundKeys(folder / "round-keys", key).generate(rounds)
        signature = key.sign(recipients_message(recipients))
    party = Party(role, name, key.public, cluster, recipients, signature)
    write_atomic(folder / "public.json", party.to_bytes())
    return party


def read_party_key(folder: Path, passphrase: str) -> PrivateKey:
    """Return a party's signing key. Raises as `zkai.receipt.keyfile.read_key` does."""
    return read_key(folder / "key.json", passphrase)


def members(
    parties: Sequence[Party],
) -> tuple[PublicKey, tuple[Client, ...], tuple[Holder, ...]]:
    """Return aggregator, clients and holders by name. Raises InvalidInput without one of them."""
    ordered = sorted(parties, key=lambda party: party.name)
    aggregators = [party.key for party in ordered if party.role == AGGREGATOR]
    clients = [Client(p.name, p.key, p.cluster) for p in ordered if p.role == CLIENT]
    holders = tuple(
        Holder(p.name, p.key, p.recipients, p.signature or b"") for p in ordered if p.role == HOLDER
    )
    if len(aggregators) != 1 or not clients or not holders:
        raise InvalidInput("session: expected one aggregator, clients and key holders")
    return aggregators[0], tuple(clients), holders
