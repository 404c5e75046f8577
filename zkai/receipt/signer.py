"""Signatures: ML-DSA-65 (FIPS 204, pure, empty context) and Ed25519 (RFC 8032).

ML-DSA-65 has two implementations: "pyca" (pyca/cryptography over OpenSSL, the default) and
"pqcrypto". A private key of pyca is the 32-byte seed; pqcrypto knows only expanded keys of 4,032
bytes. Whoever verifies may use either.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from zkai.encoding import sha256
from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.receipt.jcs import from_base64url, to_base64url

ML_DSA_65, ED25519 = "ML-DSA-65", "Ed25519"
PYCA, PQCRYPTO = "pyca", "pqcrypto"
IMPLEMENTATIONS = (PYCA, PQCRYPTO)
PUBLIC_BYTES = {ML_DSA_65: 1952, ED25519: 32}
SIGNATURE_BYTES = {ML_DSA_65: 3309, ED25519: 64}
SEED_BYTES, EXPANDED_BYTES = 32, 4032
MAX_MESSAGE = 1 << 20
"""pqcrypto signs and verifies no more; nothing that zkai signs is nearly as long."""


@dataclass(frozen=True)
class PublicKey:
    """A public key with its algorithm; `data` is FIPS 204's or RFC 8032's encoding.

    Raises InvalidInput for an unknown algorithm or a wrong length.
    """

    alg: str
    data: bytes

    def __post_init__(self) -> None:
        if self.alg not in PUBLIC_BYTES:
            raise InvalidInput(f"public key: algorithm {self.alg!r} is unknown")
        if len(self.data) != PUBLIC_BYTES[self.alg]:
            raise InvalidInput(
                f"public key: {self.alg} has {PUBLIC_BYTES[self.alg]} bytes, got {len(self.data)}"
            )

    def __repr__(self) -> str:
        return f"PublicKey({self.alg}, {self.keyid})"

    @property
    def jwk(self) -> dict[str, str]:
        """The key as a JSON Web Key (RFC 8037; RFC 9964 for ML-DSA)."""
        text = to_base64url(self.data)
        if self.alg == ML_DSA_65:
            return {"alg": ML_DSA_65, "kty": "AKP", "pub": text}
        return {"crv": ED25519, "kty": "OKP", "x": text}

    @cached_property
    def keyid(self) -> str:
        """The RFC 7638 thumbprint: base64url of SHA-256 over the sorted required members."""
        text = json.dumps(self.jwk, sort_keys=True, separators=(",", ":"))
        return to_base64url(sha256(text.encode("ascii")))

    @staticmethod
    def from_jwk(value: Any, where: str) -> PublicKey:
        """Return the key of a JWK. Raises InvalidInput for private and unknown keys."""
        if isinstance(value, dict) and set(value) == {"alg", "kty", "pub"}:
            if (value["kty"], value["alg"]) == ("AKP", ML_DSA_65):
                data = from_base64url(value["pub"], f"{where}.pub", PUBLIC_BYTES[ML_DSA_65])
                return PublicKey(ML_DSA_65, data)
        elif (
            isinstance(value, dict)
            and set(value) == {"crv", "kty", "x"}
            and (value["kty"], value["crv"]) == ("OKP", ED25519)
        ):
            return PublicKey(ED25519, from_base64url(value["x"], f"{where}.x", 32))
        raise InvalidInput(f"{where}: expected a public JWK of {ML_DSA_65} or {ED25519}")

    def verify(self, signature: bytes, message: bytes, implementation: str = PYCA) -> None:
        """Return None if `signature` is this key's over `message`.

        Raises VerificationError if it is not, InvalidInput for an unknown implementation.
        """
        check_implementation(implementation)
        if len(signature) != SIGNATURE_BYTES[self.alg]:
            raise VerificationError(f"a {self.alg} signature has another length")
        if len(message) > MAX_MESSAGE:
            raise InvalidInput(f"signatures cover at most {MAX_MESSAGE} bytes")
        if self.alg == ML_DSA_65 and implementation == PQCRYPTO:
            module = load_pqcrypto()
            try:
                module.verify(self.data, message, signature)
            except ValueError as error:  # of forged and malformed alike; lengths are right here
                raise VerificationError("the ML-DSA-65 signature does not verify") from error
            return
        try:
            self._loaded.verify(signature, message)
        except InvalidSignature as error:
            raise VerificationError(f"the {self.alg} signature does not verify") from error
        except ValueError as error:
            raise VerificationError(f"the {self.alg} key is not valid: {error}") from error

    @cached_property
    def _loaded(self) -> Any:
        kind: Any = MLDSA65PublicKey if self.alg == ML_DSA_65 else Ed25519PublicKey
        return kind.from_public_bytes(self.data)


@dataclass(frozen=True)
class PrivateKey:
    """A signing key: a seed of 32 bytes, or for pqcrypto the expanded key and its public half.

    Raises InvalidInput for an unknown algorithm or lengths that fit none.
    """

    alg: str
    secret: bytes = field(repr=False)
    implementation: str = PYCA
    known_public: PublicKey | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_implementation(self.implementation)
        expanded = self.implementation == PQCRYPTO
        if self.alg not in PUBLIC_BYTES or (expanded and self.alg != ML_DSA_65):
            raise InvalidInput(f"signing key: {self.implementation} has no {self.alg}")
        if len(self.secret) != (EXPANDED_BYTES if expanded else SEED_BYTES):
            raise InvalidInput("signing key: its length is not that of the algorithm")
        if expanded and (self.known_public is None or self.known_public.alg != self.alg):
            raise InvalidInput("signing key: an expanded key needs its public half")

    @cached_property
    def public(self) -> PublicKey:
        """The public half."""
        if self.known_public is not None and self.implementation == PQCRYPTO:
            return self.known_public
        return PublicKey(self.alg, self._loaded.public_key().public_bytes_raw())

    @property
    def keyid(self) -> str:
        """The public half's thumbprint."""
        return self.public.keyid

    @cached_property
    def _loaded(self) -> Any:
        if self.alg == ML_DSA_65:
            return MLDSA65PrivateKey.from_seed_bytes(self.secret)
        return Ed25519PrivateKey.from_private_bytes(self.secret)

    def sign(self, message: bytes) -> bytes:
        """Return a signature over `message`; ML-DSA's is randomised (hedged).

        Raises InvalidInput if `message` is longer than 1 MiB.
        """
        if len(message) > MAX_MESSAGE:
            raise InvalidInput(f"signatures cover at most {MAX_MESSAGE} bytes")
        if self.implementation == PQCRYPTO:
            return bytes(load_pqcrypto().sign(self.secret, message))
        return bytes(self._loaded.sign(message))


def generate(alg: str = ML_DSA_65, implementation: str = PYCA) -> PrivateKey:
    """Return a new signing key from the operating system's randomness.

    Raises InvalidInput for an algorithm that the implementation does not have.
    """
    check_implementation(implementation)
    if implementation == PQCRYPTO:
        if alg != ML_DSA_65:
            raise InvalidInput(f"signing key: {implementation} has no {alg}")
        public, secret = load_pqcrypto().keygen()
        return PrivateKey(alg, bytes(secret), PQCRYPTO, PublicKey(alg, bytes(public)))
    if alg == ML_DSA_65:
        return PrivateKey(alg, MLDSA65PrivateKey.generate().private_bytes_raw())
    if alg == ED25519:
        return PrivateKey(alg, Ed25519PrivateKey.generate().private_bytes_raw())
    raise InvalidInput(f"signing key: algorithm {alg!r} is unknown")


def check_implementation(name: str) -> None:
    """Return None for a known implementation. Raises InvalidInput otherwise."""
    if name not in IMPLEMENTATIONS:
        raise InvalidInput(f"implementation {name!r}: expected {' or '.join(IMPLEMENTATIONS)}")


def load_pqcrypto() -> Any:
    """Return pqcrypto's ML-DSA-65. Raises ToolError if the package is not installed."""
    try:
        from pqcrypto.sign import ml_dsa_65
    except ImportError as error:
        raise ToolError("pqcrypto is not installed; pip install 'zkai[pqcrypto]'") from error
    return ml_dsa_65
