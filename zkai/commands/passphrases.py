"""The passphrase of a user's key files: from a file, the keyring, a variable, or typed."""

from __future__ import annotations

import argparse
import getpass
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from zkai.encoding import read_capped
from zkai.errors import InvalidInput, ToolError

PASSPHRASE_VARIABLE = "ZKAI_PASSPHRASE"  # noqa: S105 - a name, not a secret
KEYRING_SERVICE = "zkai"
_RANDOM_BYTES = 32

PASSPHRASE_HELP = f"""
Keys are encrypted under a passphrase: the first line of --passphrase-file, or
the entry --keyring of the operating system's keyring (service {KEYRING_SERVICE}; a new
key makes one at random), or the environment variable {PASSPHRASE_VARIABLE}, or what
you type.
"""


def add_passphrase(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the keys' passphrase is."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--passphrase-file", metavar="FILE", type=Path)
    where.add_argument(
        "--keyring", metavar="NAME", help="take the passphrase from the system's keyring"
    )


def passphrase(options: argparse.Namespace, *, new: bool = False) -> str:
    """Return the passphrase of the user's keys.

    Raises InvalidInput if there is none, ToolError without a keyring that works.
    """
    if options.passphrase_file is not None:
        lines = read_capped(options.passphrase_file, 4096).decode("utf-8", "replace").splitlines()
        if not lines or not lines[0]:
            raise InvalidInput(f"{options.passphrase_file}: its first line is empty")
        return lines[0]
    if options.keyring is not None:
        return _from_keyring(options.keyring, new)
    if text := os.environ.get(PASSPHRASE_VARIABLE, ""):
        return text
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"no passphrase: set {PASSPHRASE_VARIABLE}, or use --passphrase-file or --keyring"
        )
    text = getpass.getpass("passphrase: ")
    if new and getpass.getpass("again: ") != text:
        raise InvalidInput("the two passphrases differ")
    return text


def _from_keyring(name: str, new: bool) -> str:
    """Return the keyring's passphrase of a name; for a new key make it where there is none."""
    if not 1 <= len(name) <= 128 or not name.isprintable():
        raise InvalidInput("--keyring: a name has 1 to 128 printable characters")
    keyring = _load_keyring()
    try:
        found = keyring.get_password(KEYRING_SERVICE, name)
        if not found and new:
            keyring.set_password(KEYRING_SERVICE, name, secrets.token_urlsafe(_RANDOM_BYTES))
            found = keyring.get_password(KEYRING_SERVICE, name)
    except keyring.errors.NoKeyringError as error:
        raise ToolError(
            "--keyring: this system has no keyring that Python's keyring can use"
        ) from error
    except keyring.errors.KeyringError as error:
        # A backend's own words may be anything: its class alone is shown.
        kind = type(error).__name__
        raise ToolError(f"--keyring: the keyring did not answer ({kind})") from error
    if not found:
        raise InvalidInput(f"--keyring: the keyring has no {KEYRING_SERVICE}/{name}")
    return str(found)


def _load_keyring() -> Any:
    try:
        import keyring
        import keyring.errors
    except ImportError as error:
        raise ToolError("--keyring needs keyring: pip install 'zkai[keyring]'") from error
    return keyring
