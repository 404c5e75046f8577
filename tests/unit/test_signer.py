"""Keys and signatures: known answers, two implementations, key files that keep their secret."""

from __future__ import annotations

import json
import lzma
import os
import stat
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from jwcrypto import jwk

from zkai.errors import InvalidInput, VerificationError
from zkai.receipt import jcs
from zkai.receipt.keyfile import read_key, read_public, write_key
from zkai.receipt.signer import (
    ED25519,
    IMPLEMENTATIONS,
    MAX_MESSAGE,
    ML_DSA_65,
    PQCRYPTO,
    PYCA,
    PrivateKey,
    PublicKey,
    generate,
    load_pqcrypto,
)

CHEAP = 14
OMEGA, K = 55, 6
"""ML-DSA-65: at most OMEGA hints over K polynomials (FIPS 204, table 1)."""


def known_answers() -> list[dict[str, bytes]]:
    """The ML-DSA-65 answers of cryptography's own tests."""
    path = Path(cryptography_vectors.__file__).parent / "asymmetric/MLDSA/kat_MLDSA_65_det_pure.rsp"
    cases: list[dict[str, bytes]] = []
    for line in path.read_text().splitlines():
        name, _, value = line.partition(" = ")
        if name == "count":
            cases.append({})
        elif name in ("xi", "pk", "msg", "sm", "ctx"):
            cases[-1][name] = bytes.fromhex(value)
    return cases


def test_known_answers_of_ml_dsa_65() -> None:
    """Seed to public key; and a signature made for a context is none of ours, who never have one.

    The answers' contexts are part of what is signed, so that the same signature must verify with
    its context and fail without.
    """
    cases = known_answers()
    assert len(cases) == 100
    for case in cases:
        key = PrivateKey(ML_DSA_65, case["xi"])
        assert key.public.data == case["pk"]
        message, signature = case["msg"], case["sm"][: len(case["sm"]) - len(case["msg"])]
        MLDSA65PublicKey.from_public_bytes(case["pk"]).verify(signature, message, case["ctx"])
        for implementation in IMPLEMENTATIONS:
            if case["ctx"]:
                with pytest.raises(VerificationError):
                    key.public.verify(signature, message, implementation)
            else:
                key.public.verify(signature, message, implementation)
            key.public.verify(key.sign(message), message, implementation)


def wycheproof(repo: Path) -> dict[str, Any]:
    """Project Wycheproof's ML-DSA-65 vectors; SOURCES.md says where they are from."""
    data = lzma.decompress((repo / "tests/vectors/wycheproof_mldsa65.json.xz").read_bytes())
    vectors: dict[str, Any] = json.loads(data)
    return vectors


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_wycheproof_verdicts(implementation: str, repo: Path) -> None:
    """Each case has the verdict of an empty context, which is the only one that zkai has."""
    tried = {True: 0, False: 0}
    for group in wycheproof(repo)["verify"]:
        for number, message, context, signature, result in group["tests"]:
            expected = result == "valid" and not context
            try:
                public = PublicKey(ML_DSA_65, bytes.fromhex(group["pk"]))
                public.verify(bytes.fromhex(signature), bytes.fromhex(message), implementation)
                found = True
            except (InvalidInput, VerificationError):
                found = False
            assert found == expected, number
            tried[found] += 1
    assert tried[True] == 77
    assert tried[False] == 133


def test_wycheproof_seeds(repo: Path) -> None:
    for group in wycheproof(repo)["seeds"]:
        seed = bytes.fromhex(group["seed"])
        if len(seed) != 32:
            with pytest.raises(InvalidInput):
                PrivateKey(ML_DSA_65, seed)
            continue
        assert PrivateKey(ML_DSA_65, seed).public.data.hex() == group["pk"]


@pytest.mark.parametrize("maker", IMPLEMENTATIONS)
@pytest.mark.parametrize("checker", IMPLEMENTATIONS)
def test_each_implementation_verifies_the_other_s(maker: str, checker: str) -> None:
    key = generate(ML_DSA_65, maker)
    for message in (b"", b"message", bytes(70_000)):
        signature = key.sign(message)
        key.public.verify(signature, message, checker)
        for forged, said in (
            (signature, message + b"x"),
            (bytes([signature[0] ^ 1]) + signature[1:], message),
            (signature[:-1], message),
            (signature + b"\0", message),
            (bytes(3309), message),
        ):
            with pytest.raises(VerificationError):
                key.public.verify(forged, said, checker)
        with pytest.raises(VerificationError):
            generate(ML_DSA_65, maker).public.verify(signature, message, checker)


@pytest.mark.parametrize("checker", IMPLEMENTATIONS)
def test_a_hint_that_names_an_index_twice_is_refused(checker: str) -> None:
    """The signature says the same hints in another encoding: a lax decoder would accept it."""
    key, message = generate(), b"one signature, one encoding"
    while True:
        signature = key.sign(message)
        hints = bytearray(signature[-(OMEGA + K) :])
        if 0 < hints[-1] < OMEGA:
            break
    row = next(i for i in range(K) if hints[OMEGA + i] > (hints[OMEGA + i - 1] if i else 0))
    end = hints[OMEGA + row]
    indices = [*hints[:end], hints[end - 1], *hints[end : OMEGA - 1]]
    counts = [hints[OMEGA + i] + (i >= row) for i in range(K)]
    forged = signature[: -(OMEGA + K)] + bytes(indices) + bytes(counts)
    assert len(forged) == len(signature)
    key.public.verify(signature, message, checker)
    with pytest.raises(VerificationError, match="does not verify"):
        key.public.verify(forged, message, checker)


def test_ed25519_stands_beside() -> None:
    key = generate(ED25519)
    signature = key.sign(b"m")
    key.public.verify(signature, b"m")
    with pytest.raises(VerificationError):
        key.public.verify(signature, b"n")
    with pytest.raises(VerificationError, match="length"):
        key.public.verify(signature[:-1], b"m")
    with pytest.raises(InvalidInput, match="has no Ed25519"):
        generate(ED25519, PQCRYPTO)


@pytest.mark.parametrize("alg", [ML_DSA_65, ED25519])
def test_key_ids_are_jwcrypto_s_thumbprints(alg: str) -> None:
    public = generate(alg).public
    assert jwk.JWK(**public.jwk).thumbprint() == public.keyid
    assert PublicKey.from_jwk(public.jwk, "x") == public


def test_ed25519_thumbprint_of_rfc_8037() -> None:
    data = jcs.from_base64url("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "x", 32)
    assert PublicKey(ED25519, data).keyid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_wrong_lengths_names_and_sizes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="unknown"):
        PublicKey("ML-DSA-44", bytes(1312))
    with pytest.raises(InvalidInput, match="1952 bytes"):
        PublicKey(ML_DSA_65, bytes(1951))
    with pytest.raises(InvalidInput, match="length"):
        PrivateKey(ML_DSA_65, bytes(31))
    with pytest.raises(InvalidInput, match="public half"):
        PrivateKey(ML_DSA_65, bytes(4032), PQCRYPTO)
    with pytest.raises(InvalidInput, match="implementation"):
        generate(ML_DSA_65, "openssl")
    with pytest.raises(InvalidInput, match="unknown"):
        generate("RSA")
    key = generate()
    with pytest.raises(InvalidInput, match="at most"):
        key.sign(bytes(MAX_MESSAGE + 1))
    with pytest.raises(InvalidInput, match="at most"):
        key.public.verify(bytes(3309), bytes(MAX_MESSAGE + 1))
    with pytest.raises(VerificationError, match=r"not valid|does not verify"):
        PublicKey(ED25519, b"\xff" * 32).verify(bytes(64), b"")


def test_secrets_stay_out_of_sight() -> None:
    for implementation in IMPLEMENTATIONS:
        key = generate(ML_DSA_65, implementation)
        assert key.secret.hex() not in repr(key)
        assert repr(key.secret) not in repr(key)


@pytest.mark.parametrize(
    ("alg", "implementation"), [(ML_DSA_65, PYCA), (ML_DSA_65, PQCRYPTO), (ED25519, PYCA)]
)
def test_key_files_come_back(tmp_path: Path, alg: str, implementation: str) -> None:
    path, key = tmp_path / "k.json", generate(alg, implementation)
    write_key(path, key, "correct horse", log2_n=CHEAP)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = read_key(path, "correct horse")
    assert (again.secret, again.public) == (key.secret, key.public)
    assert read_public(path) == key.public
    text = path.read_text()
    secret = key.secret[33:63] if implementation == PQCRYPTO else key.secret[:30]  # first: public
    for form in (secret.hex(), jcs.to_base64(secret), jcs.to_base64url(secret)):
        assert form not in text
    with pytest.raises(VerificationError, match="wrong passphrase"):
        read_key(path, "battery staple")
    with pytest.raises(InvalidInput, match="empty"):
        read_key(path, "")
    with pytest.raises(InvalidInput, match="exists"):
        write_key(path, key, "x", log2_n=CHEAP)


def test_each_field_of_a_key_file_is_authenticated(tmp_path: Path) -> None:
    path, key = tmp_path / "k.json", generate()
    write_key(path, key, "p", log2_n=CHEAP)
    good = json.loads(path.read_text())
    other = generate().public.jwk

    def refused(**changes: object) -> None:
        path.write_text(json.dumps({**good, **changes}))
        with pytest.raises((InvalidInput, VerificationError)):
            read_key(path, "p")

    refused(format="zkai.key/2")
    refused(alg=ED25519)
    refused(implementation=PQCRYPTO)
    refused(jwk=other)
    refused(kdf={**good["kdf"], "log2_n": 15})
    refused(kdf={**good["kdf"], "log2_n": 40})
    refused(kdf={**good["kdf"], "log2_n": 2})
    refused(kdf={**good["kdf"], "name": "none"})
    refused(kdf={**good["kdf"], "salt": jcs.to_base64(bytes(16))})
    refused(nonce=jcs.to_base64(bytes(12)))
    refused(nonce="")
    refused(ciphertext=good["ciphertext"][:-4] + "AAA=")
    refused(extra=1)
    path.write_text(json.dumps(good))
    assert read_key(path, "p").public == key.public


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    write_key(path, generate(), "p", log2_n=CHEAP)
    os.chmod(path, 0o640)
    with pytest.raises(InvalidInput, match="others may read"):
        read_key(path, "p")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_key(tmp_path / "none", "p")


def test_the_seed_is_fips_204_s() -> None:
    key = generate()
    assert MLDSA65PrivateKey.from_seed_bytes(key.secret).private_bytes_raw() == key.secret
    assert len(key.public.data) == load_pqcrypto().PUBLIC_KEY_SIZE
