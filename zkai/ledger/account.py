"""Accounts of chains as identities: did:lux:<chain id>:<address>, bound to a key by the log.

An account record, `urn:zkai:account/v1`, is signed by the ML-DSA-65 key that it names and, as a
personal message (EIP-191), by the account, whose address is the end of keccak256 of its public key:

    zkai: did:lux:<chain id>:<address> signs with <keyid> in <log>

The map's account/<chain id>:<address> is set once. From then on the key's own rotations and
revocations count; the account's ECDSA, which a quantum computer forges, never speaks again.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from zkai.encoding import keccak256
from zkai.errors import VerificationError
from zkai.ledger.records import Record
from zkai.ledger.store import Store
from zkai.receipt.jcs import encode
from zkai.receipt.trust import TrustStore, verify_signers


def account_text(chain_id: int, address: str, keyid: str, origin: str) -> str:
    """Return what an account signs (EIP-191's personal message) to be bound to a key."""
    return f"zkai: did:lux:{chain_id}:{address} signs with {keyid} in {origin}"


def admit_account(
    store: Store, trust: TrustStore, origin: str, record: Record, index: int, at: int
) -> dict[str, bytes]:
    """Return what an account's record changes. Raises VerificationError if it may not enter."""
    said = record.predicate
    signers = said["signers"]
    keyid = signers[0]["keyid"]
    key = trust.by_keyid.get(keyid)
    if len(signers) != 1 or key is None or key.public.jwk != said["jwk"]:
        raise VerificationError("ledger: an account record is signed by the one key that it names")
    if key.revoked is not None:
        raise VerificationError(f"ledger: the revocation of {key.name} is in the log")
    one = TrustStore((key,), (frozenset({keyid}),))
    verify_signers(one, record.envelope, signers, signed=record.signed_at, at=at)
    name = f"account/{said['chain_id']}:{said['address']}"
    if store.map_value(name, index) is not None:
        raise VerificationError("ledger: the account has its key already")
    text = account_text(said["chain_id"], said["address"], keyid, origin)
    verify_account(said["address"], said["account_key"], said["signature"], text)
    return {name: encode({"index": index, "keyid": keyid})}


def verify_account(address: str, account_key: str, signature: str, text: str) -> None:
    """Return None if the account of `address` signed `text` (EIP-191, secp256k1).

    `account_key` is the point x || y and `signature` r || s, each 64 bytes in hexadecimal.

    Raises VerificationError otherwise.
    """
    point, pair = bytes.fromhex(account_key[2:]), bytes.fromhex(signature[2:])
    if "0x" + keccak256(point)[12:].hex() != address:
        raise VerificationError("account: the address is another key's")
    message = text.encode("ascii")
    digest = keccak256(b"\x19Ethereum Signed Message:\n%d" % len(message) + message)
    r, s = (int.from_bytes(part, "big") for part in (pair[:32], pair[32:]))
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), b"\x04" + point)
        key.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(SHA256())))
    except (InvalidSignature, ValueError) as error:
        raise VerificationError("account: the account did not sign this") from error
