"""Whom a verifier trusts: keys with windows of validity, revocations, and who must have signed.

    {"format": "zkai.trust/1", "keys": [{"jwk", "name", "not_before", "not_after": null or seconds,
     "revoked": null or {"at", "reason"}}], "required": [[keyid, ...], ...]}

Of each group of `required`, one key at least must be among the signers that the payload lists, so
a new payload cannot choose its own policy. At least one group is of ML-DSA-65 keys only. Every
signer that a payload lists must be known here, and its algorithm is the one known here: nothing
that an envelope says chooses an algorithm.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from zkai.encoding import as_path, load_json, read_capped, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.jsonform import expect_fields
from zkai.receipt.envelope import KEYID, Envelope
from zkai.receipt.signer import ML_DSA_65, PYCA, PublicKey

FORMAT = "zkai.trust/1"
MAX_BYTES = 4 << 20
MAX_KEYS = 1024
SKEW_S = 300
"""By how much clocks may differ."""
_KEY_FIELDS = ("jwk", "name", "not_before", "not_after", "revoked")


@dataclass(frozen=True)
class Revocation:
    """From `at` on (seconds since 1970), a key's signatures count no more."""

    at: int
    reason: str


@dataclass(frozen=True)
class TrustedKey:
    """A key that may sign from `not_before` to just before `not_after`."""

    public: PublicKey
    name: str
    not_before: int = 0
    not_after: int | None = None
    revoked: Revocation | None = None

    def check_at(self, moment: int, what: str) -> None:
        """Return None if the key counts at `moment`. Raises VerificationError otherwise."""
        if moment < self.not_before:
            raise VerificationError(f"key {self.name} was not yet valid {what}")
        if self.not_after is not None and moment >= self.not_after:
            raise VerificationError(f"key {self.name} had expired {what}")
        if self.revoked is not None and moment >= self.revoked.at:
            raise VerificationError(f"key {self.name} was revoked {what}: {self.revoked.reason}")


@dataclass(frozen=True)
class TrustStore:
    """The keys that a verifier knows and the groups of which each must have signed.

    Raises InvalidInput for repeated keys, for groups of unknown keys, and if no group requires
    ML-DSA-65.
    """

    keys: tuple[TrustedKey, ...]
    required: tuple[frozenset[str], ...]

    def __post_init__(self) -> None:
        known = self.by_keyid
        if len(known) != len(self.keys) or not 1 <= len(self.keys) <= MAX_KEYS:
            raise InvalidInput(f"trust store: expected 1 to {MAX_KEYS} keys, each once")
        for group in self.required:
            if unknown := sorted(group - known.keys()) or ([] if group else ["nothing"]):
                raise InvalidInput(f"trust store: required names {unknown[0]}, which is no key")
        if not any(all(known[k].public.alg == ML_DSA_65 for k in g) for g in self.required):
            raise InvalidInput(f"trust store: no group of `required` is of {ML_DSA_65} keys only")

    @cached_property
    def by_keyid(self) -> Mapping[str, TrustedKey]:
        """The keys by their thumbprints."""
        return {key.public.keyid: key for key in self.keys}

    def to_json(self) -> dict[str, Any]:
        """Return the store as JSON values."""
        return {
            "format": FORMAT,
            "keys": [
                {
                    "jwk": key.public.jwk,
                    "name": key.name,
                    "not_before": key.not_before,
                    "not_after": key.not_after,
                    "revoked": None
                    if key.revoked is None
                    else {"at": key.revoked.at, "reason": key.revoked.reason},
                }
                for key in self.keys
            ],
            "required": [sorted(group) for group in self.required],
        }

    def write(self, path: Path | str) -> None:
        """Write the store. Raises InvalidInput if that is impossible."""
        write_atomic(as_path(path), json.dumps(self.to_json(), indent=1).encode() + b"\n")

    @staticmethod
    def from_path(path: Path | str) -> TrustStore:
        """Read a store. Raises InvalidInput naming file and field."""
        return TrustStore.from_json(load_json(read_capped(path, MAX_BYTES), str(path)), str(path))

    @staticmethod
    def from_json(value: Any, where: str = "trust store") -> TrustStore:
        """Parse `to_json`'s form. Raises InvalidInput naming the field."""
        if isinstance(value, dict) and value.get("format") != FORMAT:
            raise InvalidInput(f"{where}: format {value.get('format')!r}, expected {FORMAT!r}")
        expect_fields(value, ("format", "keys", "required"), where)
        listed, groups = value["keys"], value["required"]
        if not isinstance(listed, list) or len(listed) > MAX_KEYS:
            raise InvalidInput(f"{where}.keys: expected a list of at most {MAX_KEYS}")
        if not isinstance(groups, list) or len(groups) > MAX_KEYS:
            raise InvalidInput(f"{where}.required: expected a list of lists of key ids")
        for group in groups:
            if not isinstance(group, list) or not all(
                isinstance(k, str) and KEYID.fullmatch(k) for k in group
            ):
                raise InvalidInput(f"{where}.required: expected lists of key ids")
            if len(set(group)) != len(group):
                raise InvalidInput(f"{where}.required: a group names a key twice")
        keys = tuple(_key(item, f"{where}.keys[{i}]") for i, item in enumerate(listed))
        return TrustStore(keys, tuple(frozenset(group) for group in groups))


def _key(value: Any, where: str) -> TrustedKey:
    expect_fields(value, _KEY_FIELDS, where)
    if not isinstance(value["name"], str) or not 1 <= len(value["name"]) <= 128:
        raise InvalidInput(f"{where}.name: expected text of 1 to 128 characters")
    revoked = value["revoked"]
    if revoked is not None:
        expect_fields(revoked, ("at", "reason"), f"{where}.revoked")
        if not isinstance(revoked["reason"], str) or len(revoked["reason"]) > 256:
            raise InvalidInput(f"{where}.revoked.reason: expected short text")
        revoked = Revocation(_moment(revoked["at"], f"{where}.revoked.at"), revoked["reason"])
    not_after = value["not_after"]
    if not_after is not None:
        not_after = _moment(not_after, f"{where}.not_after")
    return TrustedKey(
        PublicKey.from_jwk(value["jwk"], f"{where}.jwk"),
        value["name"],
        _moment(value["not_before"], f"{where}.not_before"),
        not_after,
        revoked,
    )


def _moment(value: Any, where: str) -> int:
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise InvalidInput(f"{where}: expected seconds since 1970")
    return value


def trust(keys: Sequence[tuple[str, PublicKey]], *, not_before: int = 0) -> TrustStore:
    """Return a store that knows named keys and requires each of them."""
    trusted = tuple(TrustedKey(public, name, not_before) for name, public in keys)
    return TrustStore(trusted, tuple(frozenset({public.keyid}) for _, public in keys))


def rotate(store: TrustStore, old: str, new: PublicKey, name: str, at: int) -> TrustStore:
    """Return the store in which `new` stands beside `old` in every group and follows it at `at`.

    What the old key signed before stays valid as long as its logging is shown, see
    `verify_signers`.

    Raises InvalidInput if the old key is unknown, of another algorithm, or the new one known.
    """
    known = _find(store, old)
    if known.public.alg != new.alg:
        raise InvalidInput(f"rotation: a key of {known.public.alg} is followed by one of the same")
    end = at + SKEW_S if known.not_after is None else min(known.not_after, at + SKEW_S)
    keys = tuple(replace(k, not_after=end) if k is known else k for k in store.keys)
    groups = tuple(group | {new.keyid} if old in group else group for group in store.required)
    return TrustStore((*keys, TrustedKey(new, name, at)), groups)


def revoke(store: TrustStore, keyid: str, at: int, reason: str) -> TrustStore:
    """Return the store in which a key counts no more from `at` on; an earlier revocation stays.

    Raises InvalidInput if the key is unknown.
    """
    known = _find(store, keyid)
    if known.revoked is not None and known.revoked.at <= at:
        return store
    changed = replace(known, revoked=Revocation(at, reason))
    return TrustStore(tuple(changed if key is known else key for key in store.keys), store.required)


def _find(store: TrustStore, keyid: str) -> TrustedKey:
    known = store.by_keyid.get(keyid)
    if known is None:
        raise InvalidInput(f"trust store: holds no key {keyid}")
    return known


def verify_signers(
    store: TrustStore,
    envelope: Envelope,
    signers: Sequence[Mapping[str, str]],
    *,
    signed: int,
    at: int,
    logged_at: int | None = None,
    implementation: str = PYCA,
) -> None:
    """Return None if an envelope has the signatures that its payload lists and `store` requires.

    `signers` is the list inside the signed payload, `signed` the time that it claims and `at` the
    time now. `logged_at` is when a witnessed or anchored checkpoint shows the envelope was logged
    already: keys then need to have been good at that time, and without it now. The signer's own
    clock proves nothing.

    Raises VerificationError: signatures missing, added, reordered, of unknown keys, of another
    algorithm than listed or forged; keys expired or revoked; a required key not among the signers.
    """
    messages = [envelope.signed_bytes] * len(envelope.signatures)
    check_signers(
        store, envelope, signers, messages, signed=signed, at=at, logged_at=logged_at,
        implementation=implementation,
    )  # fmt: skip


def check_signers(
    store: TrustStore,
    envelope: Envelope,
    signers: Sequence[Mapping[str, str]],
    messages: Sequence[bytes],
    *,
    signed: int,
    at: int,
    logged_at: int | None = None,
    implementation: str = PYCA,
) -> None:
    """Do what `verify_signers` does for signatures over `messages`, one for each."""
    if [k for k, _ in envelope.signatures] != [s["keyid"] for s in signers]:
        raise VerificationError("the signatures are not those of the signed list of signers")
    known = store.by_keyid
    for group in store.required:
        if not group & {s["keyid"] for s in signers}:
            names = " or ".join(sorted(known[keyid].name for keyid in group))
            raise VerificationError(f"the trust store requires a signature of {names}")
    reference = at if logged_at is None else logged_at
    if signed > reference + SKEW_S:
        raise VerificationError("the receipt says that it was signed later than it was seen")
    for signer, (keyid, signature), message in zip(
        signers, envelope.signatures, messages, strict=True
    ):
        key = known.get(keyid)
        if key is None:
            raise VerificationError(f"signer {keyid} is not in the trust store")
        if signer["alg"] != key.public.alg:
            raise VerificationError(f"signer {key.name} is listed under another algorithm")
        key.public.verify(signature, message, implementation)
        key.check_at(signed, "when it says that it signed")
        key.check_at(reference, "when this was logged" if logged_at is not None else "now")
