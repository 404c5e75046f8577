"""Scheme `ckks` in a session: SEAL's ciphertexts under a joint key that its parameters hold.

    {"format": "zkai.ckks-parameters/1", "clients", "bound", "threshold", "holders", "values",
     "scale_bits", "once", "key": base64url of SEAL's PublicKey file, "certificate"}

`certificate` is the decision with which a quorum of the session's own holders concluded the key's
ceremony: nobody can put another key in its place. Nobody deals anything in a round: check
polynomials, shares and the parts of dealing checks are empty. A holder's scheme has its
`HolderKey`; a holder that a ceremony left out has none, and says so where shares are checked.

Values are integers, one in each coefficient of SEAL's plaintext: sums are exact, or the parameters
are refused, and what is opened beside them does not depend on what anybody encrypted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import comb
from typing import Any, NoReturn

from zkai.encoding import hex32, parse_hex32, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.key_transcript import check_signatures
from zkai.federated.messages import KEY_DECISION, Message, parse_message
from zkai.federated.scheme import Fused, Int64
from zkai.federated.session import Session
from zkai.he.ckks import CHAIN, Ckks, CkksSum, CkksTotal
from zkai.he.joint_key import HolderKey, JointKey
from zkai.proof.jsonform import expect_fields
from zkai.receipt.jcs import from_base64url, to_base64url

FORMAT = "zkai.ckks-parameters/1"
_NUMBERS = ("values", "clients", "bound", "threshold", "holders", "scale_bits")
_FIELDS = ("format", *_NUMBERS, "once", "key", "certificate")
NO_PROOFS = (
    "ckks: `encrypted_update` speaks of ciphertexts of rlwe only, under keys that clients draw:"
    " SEAL encrypts under the joint key, with secrets that it shows to nobody; take scheme rlwe"
    " for proven inputs"
)
ONE_ROUND = (
    "ckks: a key that lasts lets whoever saw an update's ciphertext put it into a later sum once"
    " more, which no budget would count: noise takes a key for one round (`zkai he ceremony open"
    " --once`), or scheme rlwe"
)
_MOST_SCALE, _SPARE_BITS = 96, 2


def choose_sum(values: int, clients: int, largest: int, threshold: int, holders: int) -> CkksSum:
    """Return parameters under which sums of integers of at most `largest` come out exact.

    Raises InvalidInput if there are none.
    """
    bits = (max(clients, 1) * max(largest, 1)).bit_length()
    scale = min(_MOST_SCALE, CHAIN.data_ring.modulus.bit_length() - _SPARE_BITS - bits)
    if scale < CkksSum.smudge_bits + comb(holders, threshold - 1).bit_length() + 2:
        raise InvalidInput(
            f"ckks: sums of {clients} values of up to {largest} do not come out exact: take a"
            " smaller bound, weight or noise, or fewer clients"
        )
    numbers = (values, clients, largest, threshold, holders)
    return CkksSum(*numbers, scale_bits=scale, integers=True)


def ckks_parameters(
    parameters: CkksSum, joint: JointKey, certificate: Message
) -> Mapping[str, Any]:
    """Return a session's parameters for the joint key of a concluded ceremony."""
    return {
        "format": FORMAT,
        **{name: getattr(parameters, name) for name in _NUMBERS},
        "once": certificate.predicate["once"],
        "key": to_base64url(joint.to_seal()),
        "certificate": certificate.to_bytes().decode(),
    }


def load_ckks(session: Session, key: HolderKey | None = None) -> CkksScheme:
    """Return a session's scheme, for a holder with its key.

    Raises InvalidInput if the parameters are malformed, fit not the session, or not the key;
    VerificationError if the session's holders did not make the joint key.
    """
    where, given = "session.parameters", dict(session.parameters)
    expect_fields(given, _FIELDS, where)
    if given["format"] != FORMAT or any(type(given[name]) is not int for name in _NUMBERS):
        raise InvalidInput(f"{where}: expected integers, and the format {FORMAT}")
    parameters = CkksSum(**{name: given[name] for name in _NUMBERS}, integers=True)
    wanted = (session.values, len(session.clients), session.threshold, len(session.holders))
    found = (parameters.values, parameters.clients, parameters.threshold, parameters.holders)
    if found != wanted or session.largest > parameters.bound:
        raise InvalidInput(f"{where}: for other numbers of values, clients or holders, or a bound")
    if session.inputs is not None:
        raise InvalidInput(f"{where}: {NO_PROOFS}")
    data = from_base64url(given["key"], f"{where}.key", CHAIN.public_key_bytes)
    joint = JointKey.from_seal(CHAIN, data, f"{where}.key")
    made = _certificate(session, joint)
    if session.privacy is not None and not made["once"]:
        raise InvalidInput(f"{where}: {ONE_ROUND}")
    if key is not None and (key.key_id, key.threshold) != (joint.id, parameters.threshold):
        raise InvalidInput("holder's key: not of this session's joint key")
    if key is not None and key.committee != parse_hex32(made["committee"], "committee"):
        raise InvalidInput("holder's key: of another committee than this session's")
    return CkksScheme(Ckks(parameters, joint), session.id, key)


def ckks_committee(session: Session) -> bytes:
    """Return the committee whose shares a session of scheme `ckks` needs. Raises InvalidInput."""
    return parse_hex32(_parse_certificate(session).predicate["committee"], "committee")


def _parse_certificate(session: Session) -> Message:
    where, text = "session.parameters.certificate", session.parameters.get("certificate")
    if not isinstance(text, str) or not text.isascii():
        raise InvalidInput(f"{where}: expected the decision that concluded the key's ceremony")
    message = parse_message(text.encode(), where)
    if message.kind != KEY_DECISION:
        raise InvalidInput(f"{where}: expected the decision that concluded the key's ceremony")
    return message


def _certificate(session: Session, joint: JointKey) -> Mapping[str, Any]:
    """Return what a quorum of the session's holders signed of the joint key.

    Raises VerificationError if they signed another key, for others, or did not sign.
    """
    where, message = "session.parameters.certificate", _parse_certificate(session)
    said = message.predicate
    if said["key"] != hex32(joint.id):
        raise VerificationError(f"{where}: of another key")
    if (said["holders"], said["threshold"]) != (list(session.holder_keyids), session.threshold):
        raise VerificationError(f"{where}: of other holders than the session's")
    if said["once"] is not session.parameters["once"]:
        raise VerificationError(f"{where}: whether the key is for one round is said otherwise")
    keys = {keyid: holder.key for keyid, holder in session.holders_by_keyid.items()}
    check_signatures(message, keys, session.quorum, where)
    return said


@dataclass(frozen=True)
class _Contribution:
    key: bytes
    ciphertext: bytes = field(repr=False)
    shares: tuple[bytes, ...]

    def check(self, dealing: bytes) -> bytes:
        return b""

    def opening(self) -> NoReturn:
        raise InvalidInput(NO_PROOFS)

    def wipe(self) -> None:
        return None


@dataclass(frozen=True)
class CkksScheme:
    """`zkai.he.ckks` for one session; holders are numbered from 0 here, and from 1 there."""

    scheme: Ckks
    session: bytes
    key: HolderKey | None = field(default=None, repr=False)

    @property
    def ciphertext_bytes(self) -> int:
        """The length of a ciphertext, and of a sum."""
        return self.scheme.parameters.ciphertext_bytes

    @property
    def partial_bytes(self) -> int:
        """The length of a holder's part of a decryption."""
        return self.scheme.parameters.partial_bytes

    @property
    def check_bytes(self) -> int:
        """Nothing is dealt."""
        return 0

    @property
    def dealing_bytes(self) -> int:
        """Nothing is dealt."""
        return 0

    def share_bytes(self, holder: int) -> int:
        """Nothing is dealt."""
        return 0

    def seed(self, number: int) -> bytes:
        """Return what names session and round in every ciphertext."""
        return sha256(b"zkai/he-ckks-round/1\0" + self.session + number.to_bytes(8, "big"))

    def start(self, number: int, values: Int64) -> _Contribution:
        """Return values under the joint key. Raises InvalidInput for ones out of bounds."""
        name = os.urandom(32)
        ciphertext = self.scheme.encrypt(self.seed(number), values, name)
        return _Contribution(name, ciphertext, (b"",) * self.scheme.parameters.holders)

    def total(self, number: int) -> CkksTotal:
        """Return an empty sum."""
        return CkksTotal(self.scheme, self.seed(number))

    def check_share(self, number: int, holder: int, key: bytes, share: bytes) -> None:
        """Return None for an empty share, where a holder has a share of the key.

        Raises InvalidInput; a holder without one complains about every client, and opens nothing.
        """
        if share:
            raise InvalidInput("ckks: no shares are dealt in a round")
        if self.key is None:
            raise InvalidInput("ckks: the key's ceremony left this holder out")

    def deal(
        self, number: int, holder: int, key: bytes, dealing: bytes, check: bytes, share: bytes
    ) -> bytes:
        """Return nothing: there is no dealing to check."""
        return b""

    def check_dealing(
        self, number: int, key: bytes, dealing: bytes, check: bytes, parts: Mapping[int, bytes]
    ) -> None:
        """Return None: the key was dealt, and checked, before the session."""

    def partial(
        self,
        number: int,
        holder: int,
        inputs: Iterable[tuple[bytes, bytes, bytes]],
        minimum: int,
    ) -> bytes:
        """Return a holder's part of the decryption of a sum of (name, ciphertext, empty share).

        Raises InvalidInput without this holder's key.
        """
        if self.key is None or self.key.place != holder + 1:
            raise InvalidInput("ckks: a holder opens with its own key")
        seed = self.seed(number)
        return self.scheme.partial(seed, self.key, self._logged(seed, inputs), minimum)

    def _logged(
        self, seed: bytes, inputs: Iterable[tuple[bytes, bytes, bytes]]
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield digest and bytes of ciphertexts that the caller read by their logged digests."""
        for name, ciphertext, _ in inputs:
            if self.scheme.name_of(seed, ciphertext) != name:
                raise VerificationError("ckks: a ciphertext has another name than was logged")
            yield sha256(ciphertext), ciphertext

    def sent(self, number: int, ciphertext: bytes, check: bytes, dealing: bytes) -> NoReturn:
        """Raise InvalidInput: no statement is about these ciphertexts."""
        raise InvalidInput(NO_PROOFS)

    def fuse(
        self, number: int, total: bytes, keys: Sequence[bytes], parts: Mapping[int, bytes]
    ) -> Fused:
        """Return the sum of the values. Raises VerificationError if the parts do not open it."""
        seed = self.seed(number)
        opened = {j + 1: part for j, part in parts.items()}
        try:
            if self.scheme.clients_of(seed, total) != len(keys):
                raise VerificationError(f"ckks: a sum of other than {len(keys)} clients")
            found = self.scheme.fuse(seed, total, opened)
        except InvalidInput as error:
            raise VerificationError(str(error)) from error
        agreed, apart = (tuple(j - 1 for j in some) for some in (found.agreed, found.apart))
        return Fused(found.values, agreed, apart, found.checked)

    def check_linear(self, number: int, ciphertexts: Iterable[bytes], total: bytes) -> None:
        """Return None if a sum is that of its ciphertexts, added up again.

        Raises VerificationError otherwise.
        """
        if self.scheme.add(self.seed(number), ciphertexts) != total:
            raise VerificationError("ckks: the sum is not that of its ciphertexts")
