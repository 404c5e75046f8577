"""did:web as an alias: a website repeats what the log says of a did:lux, and is never believed.

    did:web:example.org            https://example.org/.well-known/did.json
    did:web:example.org:users:ada  https://example.org/users/ada/did.json

The document has the alias's name, the did:lux under `alsoKnownAs`, and the keys that the ledger
gives for that. What was fetched counts only if it is that document, byte order and spaces aside;
the keys come from the ledger. It shows that the website names the did:lux. Nothing shows that the
keys' owner names the website: whoever has a website can point it at any did:lux.
"""

from __future__ import annotations

import re
from typing import Any

from zkai.encoding import load_json
from zkai.errors import InvalidInput, VerificationError
from zkai.ledger.identity import Resolution, resolve
from zkai.ledger.ledger import Ledger

MAX_DOCUMENT = 1 << 16
_DOMAIN = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(%3A[0-9]{1,5})?"
_DID_WEB = re.compile(rf"did:web:({_DOMAIN})((:[A-Za-z0-9_-][A-Za-z0-9._-]*)*)")


def alias_url(alias: str) -> str:
    """Return where a did:web's document is fetched. Raises InvalidInput for no did:web."""
    found = _DID_WEB.fullmatch(alias) if len(alias) <= 512 else None
    if found is None:
        raise InvalidInput("did: expected did:web:example.org or did:web:example.org:path")
    path = alias.removeprefix(f"did:web:{found[1]}").replace(":", "/") or "/.well-known"
    return f"https://{found[1].replace('%3A', ':')}{path}/did.json"


def alias_document(found: Resolution, alias: str) -> dict[str, Any]:
    """Return the did.json for a website: what a did:lux stood for, under the alias's name.

    Raises InvalidInput if one of both names is of another method.
    """
    alias_url(alias)
    if not found.did.startswith("did:lux:"):
        raise InvalidInput("did: a did:web is an alias of a did:lux")
    named = Resolution(alias, found.keys, found.origin, found.entries).document()
    return {**named, "alsoKnownAs": [found.did]}


def verify_alias(data: bytes, alias: str, ledger: Ledger, entries: int | None = None) -> Resolution:
    """Return what the ledger says of the did:lux that a fetched did.json repeats.

    Raises InvalidInput for a document that names no did:lux, or one that the ledger does not know;
    VerificationError if it is another website's, or says anything else than the ledger does, such
    as keys that were followed by others or revoked.
    """
    if len(data) > MAX_DOCUMENT:
        raise InvalidInput(f"did.json: larger than {MAX_DOCUMENT} bytes")
    value = load_json(data, "did.json")
    names = value.get("alsoKnownAs") if isinstance(value, dict) else None
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise InvalidInput(
            "did.json: alsoKnownAs: expected the one did:lux of which it is an alias"
        )
    if not names[0].startswith("did:lux:"):
        raise InvalidInput("did.json: alsoKnownAs: expected a did:lux")
    if value.get("id") != alias:
        raise VerificationError(f"did.json: is not the document of {alias[:80]}")
    found = resolve(names[0], ledger, entries)
    if value != alias_document(found, alias):
        raise VerificationError(
            f"did.json: does not say what the ledger says of {names[0][:80]} as of"
            f" {found.entries} entries"
        )
    return found
