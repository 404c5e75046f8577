"""Sealed objects: keys, wraps, chunks, CIDs, stores."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
from pathlib import Path

import cryptography_vectors
import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from zkai.errors import InvalidInput, VerificationError
from zkai.vault import keys as keys_module
from zkai.vault import sealed as module
from zkai.vault.keys import (
    WRAP_BYTES,
    Recipient,
    VaultKey,
    read_recipient,
    read_vault_key,
    write_vault_key,
)
from zkai.vault.sealed import (
    CHUNK,
    HEADER,
    TAG,
    padded_length,
    seal,
    seal_bytes,
    sealed_length,
    unseal,
    unseal_bytes,
)
from zkai.vault.store import ObjectStore, make_cid, parse_cid

KEY, CONTEXT = bytes(range(32)), b"object 1"
ALICE, BOB = VaultKey(bytes([1]) * 32), VaultKey(bytes([2]) * 32)


def xwing_vector() -> dict[str, str]:
    """The IETF's vector of HPKE with X-Wing, HKDF-SHA256 and ChaCha20-Poly1305."""
    path = Path(cryptography_vectors.__file__).parent / "HPKE/hpke-pq-test-vectors.json"
    found = [
        v
        for v in json.loads(path.read_text())
        if (v["kem_id"], v["kdf_id"], v["aead_id"]) == (0x647A, 1, 3)
    ]
    assert len(found) == 1
    vector: dict[str, str] = found[0]
    return vector


def combine(key: VaultKey, enc: bytes) -> bytes:
    """X-Wing's shared secret, from its parts: an independent decapsulation."""
    both = hashlib.shake_256(key.seed).digest(96)
    first = MLKEM768PrivateKey.from_seed_bytes(both[:64]).decapsulate(enc[:1088])
    x25519 = X25519PrivateKey.from_private_bytes(both[64:])
    second = x25519.exchange(X25519PublicKey.from_public_bytes(enc[1088:]))
    label = bytes.fromhex("5c2e2f2f5e5c")
    return hashlib.sha3_256(
        first + second + enc[1088:] + x25519.public_key().public_bytes_raw() + label
    ).digest()


def test_the_key_is_the_published_vectors() -> None:
    vector = xwing_vector()
    key = VaultKey(bytes.fromhex(vector["skRm"]))
    assert key.recipient.data.hex() == vector["pkRm"]
    assert combine(key, bytes.fromhex(vector["enc"])).hex() == vector["shared_secret"]


def test_a_wrap_opens_from_its_parts() -> None:
    """RFC 9180's base mode over X-Wing's secret, done here step by step."""
    wrap = ALICE.recipient.wrap(KEY, CONTEXT)
    assert len(wrap) == WRAP_BYTES
    enc, ciphertext = wrap[:1120], wrap[1120:]
    suite = b"HPKE" + bytes.fromhex("647a00010003")
    info = keys_module._info(ALICE.recipient, CONTEXT)

    def extract(salt: bytes, label: bytes, data: bytes) -> bytes:
        return hmac.digest(salt, b"HPKE-v1" + suite + label + data, "sha256")

    def expand(secret: bytes, label: bytes, about: bytes, length: int) -> bytes:
        full = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + about
        return HKDFExpand(algorithm=SHA256(), length=length, info=full).derive(secret)

    schedule = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(combine(ALICE, enc), b"secret", b"")
    cipher = ChaCha20Poly1305(expand(secret, b"key", schedule, 32))
    assert cipher.decrypt(expand(secret, b"base_nonce", schedule, 12), ciphertext, b"") == KEY


def test_a_wrap_opens_for_its_recipient_and_object_only() -> None:
    wrap = ALICE.recipient.wrap(KEY, CONTEXT)
    assert ALICE.unwrap(wrap, CONTEXT) == KEY
    for opener, data, context in (
        (BOB, wrap, CONTEXT),
        (ALICE, wrap, b"object 2"),
        (ALICE, wrap[:-1], CONTEXT),
        (ALICE, wrap + b"\0", CONTEXT),
        (ALICE, b"", CONTEXT),
    ):
        with pytest.raises(VerificationError, match="wrap:"):
            opener.unwrap(data, context)


def test_every_part_of_a_wrap_counts() -> None:
    wrap = ALICE.recipient.wrap(KEY, CONTEXT)
    for at in (0, 500, 1087, 1088, 1119, 1120, 1151, 1152, WRAP_BYTES - 1):
        changed = bytearray(wrap)
        changed[at] ^= 1
        with pytest.raises(VerificationError, match="made for another key"):
            ALICE.unwrap(bytes(changed), CONTEXT)


def test_recipients_of_other_forms_are_refused() -> None:
    jwk = ALICE.recipient.jwk
    assert Recipient.from_jwk(jwk) == ALICE.recipient
    for changed in ({**jwk, "alg": "X25519"}, {**jwk, "pub": jwk["pub"][:-4]}, {"alg": "x"}):
        with pytest.raises(InvalidInput):
            Recipient.from_jwk(changed)
    with pytest.raises(InvalidInput):  # every coefficient is beyond ML-KEM's modulus
        Recipient(b"\xff" * 1216).wrap(KEY, CONTEXT)
    low_order = Recipient(ALICE.recipient.data[:1184] + bytes(32))
    with pytest.raises(InvalidInput):
        low_order.wrap(KEY, CONTEXT)
    with pytest.raises(InvalidInput, match="32 bytes"):
        ALICE.recipient.wrap(b"short", CONTEXT)


def test_key_files(tmp_path: Path) -> None:
    path = tmp_path / "vault.json"
    write_vault_key(path, ALICE, "secret", log2_n=14)
    assert read_vault_key(path, "secret") == ALICE
    assert read_recipient(path) == ALICE.recipient
    assert ALICE.seed.hex() not in repr(ALICE)
    with pytest.raises(VerificationError, match="wrong passphrase"):
        read_vault_key(path, "other")
    with pytest.raises(InvalidInput, match="exists"):
        write_vault_key(path, BOB, "secret", log2_n=14)
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "jwk": BOB.recipient.jwk}))
    with pytest.raises(VerificationError, match="altered"):
        read_vault_key(path, "secret")
    path.chmod(0o644)
    with pytest.raises(InvalidInput, match="others may read"):
        read_vault_key(path, "secret")


SIZES = (0, 1, 1015, 1016, 1017, CHUNK - 8, CHUNK - 7, 2 * CHUNK - 8, 200_000)


@pytest.mark.parametrize("size", SIZES)
def test_objects_open(size: int) -> None:
    data = os.urandom(size)
    sealed = seal_bytes(KEY, CONTEXT, data)
    assert unseal_bytes(KEY, CONTEXT, sealed) == data
    assert len(sealed) == sealed_length(size)


def test_padding_hides_lengths() -> None:
    assert {padded_length(n) for n in range(1017)} == {1024}
    for size in (1017, 5000, 70_000, 123_456_789, 1 << 36):
        padded = padded_length(size)
        assert size + 8 <= padded <= (size + 8) * 1.12
        bits = padded.bit_length() - 1
        assert padded % (1 << max(0, bits - bits.bit_length())) == 0


def chunks(sealed: bytes) -> tuple[bytes, list[bytes]]:
    body, step = sealed[HEADER:], CHUNK + TAG
    return sealed[:HEADER], [body[i : i + step] for i in range(0, len(body), step)]


def test_truncated_reordered_and_spliced_objects_are_refused() -> None:
    data = os.urandom(3 * CHUNK + 100)
    head, parts = chunks(seal_bytes(KEY, CONTEXT, data))
    other_head, other = chunks(seal_bytes(KEY, CONTEXT, data))
    assert len(parts) >= 4
    bad = {
        "a chunk short": [head, *parts[:-1]],
        "the first missing": [head, *parts[1:]],
        "no chunk": [head],
        "two exchanged": [head, parts[1], parts[0], *parts[2:]],
        "one twice": [head, parts[0], parts[0], *parts[1:]],
        "another object's chunk": [head, parts[0], other[1], *parts[2:]],
        "another object's header": [other_head, *parts],
        "the end repeated": [head, *parts, parts[-1]],
        "a byte more": [head, *parts, b"\0"],
        "a byte less": [head, *parts[:-1], parts[-1][:-1]],
    }
    for what, pieces in bad.items():
        with pytest.raises(VerificationError, match=r"chunk \d|sealed under another key"):
            print(what, unseal_bytes(KEY, CONTEXT, b"".join(pieces)))
    assert unseal_bytes(KEY, CONTEXT, b"".join([head, *parts])) == data


def test_every_field_of_an_object_counts() -> None:
    sealed = seal_bytes(KEY, CONTEXT, b"data")
    for at in range(0, len(sealed), 7):
        changed = bytearray(sealed)
        changed[at] ^= 0x40
        with pytest.raises((VerificationError, InvalidInput)):
            unseal_bytes(KEY, CONTEXT, bytes(changed))
    for key, context in ((bytes(32), CONTEXT), (KEY, b"object 2")):
        with pytest.raises(VerificationError, match="another key or for another purpose"):
            unseal_bytes(key, context, sealed)


def forge(padded: bytes) -> bytes:
    """An object whose maker holds the key and pads as it likes."""
    cipher, commitment = module._derive(KEY, bytes(32), CONTEXT)
    body = cipher.encrypt(module._nonce(0, True), padded, None)
    return module.MAGIC + bytes(32) + commitment + body


@pytest.mark.parametrize(
    ("padded", "reason"),
    [
        (b"", "no length"),
        (bytes(7), "no length"),
        (bytes(8), "padding is not of the length"),
        (bytes(1025), "padding is not of the length"),
        ((1017).to_bytes(8, "big") + bytes(1016), "padding is not of the length"),
        (bytes(1023) + b"\1", "not zeros"),
        ((1 << 63).to_bytes(8, "big") + bytes(1016), "more than"),
    ],
)
def test_padding_has_one_form(padded: bytes, reason: str) -> None:
    assert (
        unseal_bytes(KEY, CONTEXT, forge((3).to_bytes(8, "big") + b"abc" + bytes(1013))) == b"abc"
    )
    with pytest.raises((VerificationError, InvalidInput), match=reason):
        unseal_bytes(KEY, CONTEXT, forge(padded))


def test_sizes_are_checked_before_they_are_used() -> None:
    sealed = seal_bytes(KEY, CONTEXT, bytes(5000))
    with pytest.raises(InvalidInput, match="more than the 4999"):
        unseal_bytes(KEY, CONTEXT, sealed, 4999)
    for size in (4, 6):
        with pytest.raises(InvalidInput, match=r"shorter|longer"):
            seal(KEY, CONTEXT, io.BytesIO(b"12345"), size, io.BytesIO())
    with pytest.raises(InvalidInput, match="at most"):
        seal(KEY, CONTEXT, io.BytesIO(), 1 << 37, io.BytesIO())
    with pytest.raises(InvalidInput, match="not a sealed object"):
        unseal_bytes(KEY, CONTEXT, b"zkaiobj2" + sealed[8:])


class Slow(io.BytesIO):
    """A stream that returns fewer bytes than asked, as sockets do."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 1000) if size and size > 0 else size)


def test_streams_may_return_little_at_a_time() -> None:
    data, sealed, opened = os.urandom(100_000), io.BytesIO(), io.BytesIO()
    seal(KEY, CONTEXT, Slow(data), len(data), sealed)
    assert unseal(KEY, CONTEXT, Slow(sealed.getvalue()), opened) == len(data)
    assert opened.getvalue() == data


def test_cids() -> None:
    """The CID that every IPFS implementation gives these bytes as one raw block."""
    text = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    digest = hashlib.sha256(b"hello world").digest()
    assert make_cid(digest) == text
    assert parse_cid(text) == digest
    other = "bafybei" + text[7:]  # dag-pb
    for bad in (text.upper(), text[:-1], text + "a", text[:-1] + "f", other, "Qm" + text[2:], 5):
        with pytest.raises(InvalidInput, match="CIDv1"):
            parse_cid(bad)


@pytest.mark.parametrize("where", ["folder", "memory", "file"])
def test_stores(where: str, tmp_path: Path) -> None:
    url = {"folder": tmp_path / "o", "memory": "memory://o", "file": f"file://{tmp_path}/o"}[where]
    store = ObjectStore(url)
    cid = store.put(io.BytesIO(b"hello world"))
    assert cid == store.put(io.BytesIO(b"hello world"))
    with store.open(cid) as file:
        assert file.read() == b"hello world"
    with pytest.raises(InvalidInput, match="more than 10"), store.open(cid, 10):
        pass
    with store._fs.open(store._path(cid), "wb") as file:
        file.write(b"hello w0rld")
    with pytest.raises(VerificationError, match="something else"), store.open(cid):
        pass
    store.delete(cid)
    store.delete(cid)
    with pytest.raises(InvalidInput, match="cannot be read"), store.open(cid):
        pass
    with pytest.raises(InvalidInput, match="CIDv1"), store.open("../secret"):
        pass


def test_a_gateway_is_read_and_not_believed() -> None:
    cid = ObjectStore("memory://ipfs").put(io.BytesIO(b"block"))
    gateway = ObjectStore("memory://ipfs/{cid}")
    with gateway.open(cid) as file:
        assert file.read() == b"block"
    with pytest.raises(InvalidInput, match="reading only"):
        gateway.put(io.BytesIO(b"x"))
    ObjectStore("memory://ipfs")._fs.pipe_file(f"/ipfs/{cid}", b"other")
    with pytest.raises(VerificationError, match="something else"), gateway.open(cid):
        pass


def test_unknown_stores_are_named() -> None:
    with pytest.raises(InvalidInput, match="nowhere"):
        ObjectStore("nowhere://x")
