"""The key that signs transactions: held in one object that never shows it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from zkai.encoding import read_capped
from zkai.errors import InvalidInput, ToolError

_SECRET = re.compile(r"(0x)?[0-9a-fA-F]{64}")
_SECP256K1_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


class AccountKey:
    """A secp256k1 private key and its address. Neither repr, pickle nor an error shows the key."""

    __slots__ = ("_account",)

    def __init__(self, secret: str, where: str) -> None:
        """Take 64 hexadecimal digits, with or without 0x.

        Raises InvalidInput, naming `where` and not the value, for anything else; ToolError if
        eth-account is not installed.
        """
        text = secret.strip()
        if text.startswith("{"):
            raise InvalidInput(
                f"{where}: an encrypted keystore is not read; give the private key itself, "
                "64 hexadecimal digits in a file that only you can read"
            )
        if not _SECRET.fullmatch(text):
            raise InvalidInput(f"{where}: expected a private key, 64 hexadecimal digits")
        value = int(text, 16)
        if not 0 < value < _SECP256K1_ORDER:
            raise InvalidInput(f"{where}: not a private key of secp256k1")
        self._account = _local_account(value.to_bytes(32, "big"))

    @classmethod
    def from_file(cls, path: Path | str) -> AccountKey:
        """Read a key from a file that its owner alone can read.

        Raises InvalidInput if the file is missing, readable by others, or not a key.
        """
        data = read_capped(path, 4096)
        if os.name == "posix" and stat.S_IMODE(os.stat(path).st_mode) & 0o077:
            raise InvalidInput(f"{path}: others may read this key; run chmod 600 on it first")
        return cls(data.decode("utf-8", "replace"), str(path))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], name: str) -> AccountKey:
        """Read a key from the variable `name` of `environment`.

        Raises InvalidInput if it is unset or not a key.
        """
        if name not in environment:
            raise InvalidInput(f"the environment variable {name} is not set")
        return cls(environment[name], f"environment variable {name}")

    @property
    def address(self) -> str:
        """The account's address, checksummed."""
        return str(self._account.address)

    def sign(self, transaction: Mapping[str, Any]) -> bytes:
        """Return the signed transaction's bytes, ready to send."""
        return bytes(self._account.sign_transaction(dict(transaction)).raw_transaction)

    def sign_text(self, text: str) -> dict[str, str]:
        """Return the point and the signature (EIP-191) that bind the account to what it says.

        `account_key` is x || y and `signature` r || s, as in `zkai.ledger.account`.
        """
        from eth_account.messages import encode_defunct
        from eth_keys.datatypes import PrivateKey as Secp256k1Key

        point = Secp256k1Key(bytes(self._account.key)).public_key.to_bytes()
        signed = bytes(self._account.sign_message(encode_defunct(text=text)).signature)
        return {"account_key": "0x" + point.hex(), "signature": "0x" + signed[:64].hex()}

    def __repr__(self) -> str:
        return f"AccountKey({self.address})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AccountKey is not pickled or copied")


def _local_account(secret: bytes) -> Any:
    try:
        from eth_account import Account
    except ImportError as error:
        raise ToolError(
            "signing transactions needs eth-account: pip install eth-account"
        ) from error
    return Account.from_key(secret)
