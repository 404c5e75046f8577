"""SEAL's files without SEAL: read and written alike, and nothing else is read."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.unit.ckks_support import SMALL
from zkai.errors import InvalidInput, ToolError
from zkai.he.ckks import CHAIN
from zkai.he.seal_file import (
    HEADER_BYTES,
    Chain,
    level_ciphertext,
    parms_id,
    read_ciphertext,
    read_plaintext,
    read_public_key,
    split_seeded,
    split_switch_keys,
    uncompressed,
    write_ciphertext,
    write_plaintext,
    write_public_key,
    write_secret_key,
    write_switch_keys,
)
from zkai.he.seal_worker import SealWorker

seal = pytest.importorskip("tenseal.sealapi")

SCALE = 2.0**40
FLAWS = {
    "empty": lambda data: b"",
    "a header only": lambda data: data[:HEADER_BYTES],
    "cut off": lambda data: data[:-1],
    "too long": lambda data: data + b"\0",
    "twice": lambda data: data + data,
    "another magic number": lambda data: b"\x5f" + data[1:],
    "another version": lambda data: data[:3] + b"\x03" + data[4:],
    "said to be compressed": lambda data: data[:5] + b"\x02" + data[6:],
    "a size that lies": lambda data: data[:8] + b"\xff" + data[9:],
    "other parameters": lambda data: data[:16] + bytes(32) + data[48:],
    "a residue of its prime": lambda data: data[:-8] + SMALL.data_primes[-1].to_bytes(8, "little"),
    "a residue of 64 bits": lambda data: data[:-8] + b"\xff" * 8,
}


def own_seal(chain: Chain = SMALL) -> Any:
    """SEAL itself with a key pair of its own."""
    return _own_seal(chain)


@cache
def _own_seal(chain: Chain) -> Any:
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(chain.n)
    bits = [prime.bit_length() for prime in chain.primes]
    parameters.set_coeff_modulus(seal.CoeffModulus.Create(chain.n, bits))
    context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
    generator = seal.KeyGenerator(context)
    public = seal.PublicKey()
    generator.create_public_key(public)
    return SimpleNamespace(
        primes=tuple(m.value() for m in parameters.coeff_modulus()),
        context=context,
        public=public,
        secret=generator.secret_key(),
        encoder=seal.CKKSEncoder(context),
        encryptor=seal.Encryptor(context, public, generator.secret_key()),
        decryptor=seal.Decryptor(context, generator.secret_key()),
    )


def saved(thing: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        thing.save(f"{folder}/x")
        return Path(f"{folder}/x").read_bytes()


def loaded(kind: str, chain: Chain, data: bytes) -> Any:
    found = getattr(seal, kind)()
    with tempfile.TemporaryDirectory() as folder:
        Path(f"{folder}/x").write_bytes(data)
        found.load(own_seal(chain).context, f"{folder}/x")
    return found


def encoded(values: np.ndarray[Any, Any], scale: float = SCALE) -> Any:
    plaintext = seal.Plaintext()
    own_seal().encoder.encode(values.tolist(), scale, plaintext)
    return plaintext


def decrypted(ciphertext: Any, chain: Chain = SMALL) -> np.ndarray[Any, Any]:
    plaintext = seal.Plaintext()
    own_seal(chain).decryptor.decrypt(ciphertext, plaintext)
    return np.array(own_seal(chain).encoder.decode_double(plaintext))


@cache
def numbers(rows: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).uniform(-1, 1, (rows, SMALL.slots))


@cache
def some_ciphertext() -> bytes:
    with SealWorker(SMALL) as worker:
        key = worker.public_key(saved(own_seal().public))
        return write_ciphertext(SMALL, worker.encrypt(key, numbers(), SCALE)[0], SCALE)


@pytest.mark.parametrize("chain", [SMALL, CHAIN], ids=["4096", "8192"])
def test_primes_and_identifiers_are_seals_own(chain: Chain) -> None:
    own = own_seal(chain)
    assert own.primes == chain.primes
    for primes, words in (
        (chain.primes, own.context.key_parms_id()),
        (chain.data_primes, own.context.first_parms_id()),
    ):
        expected = b"".join(int(word).to_bytes(8, "little") for word in words)
        assert parms_id(chain.n, primes) == expected


def test_sizes_are_known_before_anything_is_read() -> None:
    assert len(some_ciphertext()) == SMALL.ciphertext_bytes
    with SealWorker(SMALL) as worker:
        key = worker.public_key(saved(own_seal().public))
        plain = worker.encode(numbers(), SCALE)[0]
    assert len(write_public_key(SMALL, key)) == SMALL.public_key_bytes
    assert len(write_plaintext(SMALL, plain, SCALE)) == SMALL.plaintext_bytes


def test_seal_reads_what_we_write_and_decrypts_it() -> None:
    found = decrypted(loaded("Ciphertext", SMALL, some_ciphertext()))
    assert np.abs(found - numbers()[0]).max() < 1e-6


def test_seal_decrypts_what_c_encrypts() -> None:
    """The C library's public-key encryption under SEAL's key, of what SEAL encoded."""
    with SealWorker(SMALL) as worker:
        key = worker.public_key(saved(own_seal().public))
        plain = worker.encode(numbers(), SCALE)
    data_key = np.ascontiguousarray(key[:, : len(SMALL.data_primes)])
    ciphertext = SMALL.data_ring.encrypt(data_key, plain)[0]
    found = decrypted(loaded("Ciphertext", SMALL, write_ciphertext(SMALL, ciphertext, SCALE)))
    assert np.abs(found - numbers()[0]).max() < 1e-5


def test_c_decrypts_what_seal_encrypts_to_seals_own_plaintext_bit_for_bit() -> None:
    own, ring = own_seal(), SMALL.data_ring
    ciphertext = seal.Ciphertext()
    own.encryptor.encrypt(encoded(numbers()[0]), ciphertext)
    with SealWorker(SMALL) as worker:
        c0, c1 = worker.ciphertext(saved(ciphertext), SCALE)
        plain = seal.Plaintext()
        own.decryptor.decrypt(ciphertext, plain)
        expected = worker._normalise("Plaintext", saved(plain), "plaintext")
    rows = len(SMALL.data_primes)
    secret = _secret_words(saved(own.secret))[:rows]
    opened = ring.add(ring.multiply(c1, np.ascontiguousarray(secret)), c0)
    assert write_plaintext(SMALL, opened, SCALE) == expected


def _secret_words(data: bytes) -> np.ndarray[Any, Any]:
    import zstandard

    body = data[16:]
    if data[5] == 2:
        body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
    words = np.frombuffer(body[-8 * len(SMALL.primes) * SMALL.n :], "<u8")
    return words.reshape(len(SMALL.primes), SMALL.n)


def test_seal_adds_as_we_do_bit_for_bit() -> None:
    with SealWorker(SMALL) as worker:
        key = worker.public_key(saved(own_seal().public))
        found = worker.encrypt(key, numbers(3), SCALE)
        theirs = worker.add(found, SCALE)
    ring = SMALL.data_ring
    assert np.array_equal(theirs, ring.add(ring.add(found[0], found[1]), found[2]))


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_file_with_a_flaw_is_refused(flaw: str) -> None:
    with pytest.raises(InvalidInput, match="ciphertext: "):
        read_ciphertext(SMALL, FLAWS[flaw](some_ciphertext()), SCALE)


@pytest.mark.parametrize("at", range(HEADER_BYTES + 73 + HEADER_BYTES + 8))
def test_no_bit_before_the_coefficients_can_be_turned(at: int) -> None:
    data = bytearray(some_ciphertext())
    data[at] ^= 1 << at % 8
    with pytest.raises(InvalidInput, match="ciphertext: "):
        read_ciphertext(SMALL, bytes(data), SCALE)


def test_files_are_read_as_what_they_are_only() -> None:
    data = some_ciphertext()
    assert read_ciphertext(SMALL, data, SCALE).shape == (2, 2, SMALL.n)
    with pytest.raises(InvalidInput, match="shape or scale"):
        read_ciphertext(SMALL, data, 2 * SCALE)
    with pytest.raises(InvalidInput, match="bytes"):
        read_public_key(SMALL, data)
    with pytest.raises(InvalidInput, match="bytes"):
        read_plaintext(SMALL, data, SCALE)


def test_a_message_in_clear_is_no_ciphertext() -> None:
    words = read_ciphertext(SMALL, some_ciphertext(), SCALE).copy()
    words[1] = 0
    with pytest.raises(InvalidInput, match="in clear"):
        read_ciphertext(SMALL, write_ciphertext(SMALL, words, SCALE), SCALE)
    key = np.zeros((2, 3, SMALL.n), np.uint64)
    with pytest.raises(InvalidInput, match="zeros"):
        read_public_key(SMALL, write_public_key(SMALL, key))


def test_what_is_not_canonical_is_not_written() -> None:
    words = read_ciphertext(SMALL, some_ciphertext(), SCALE).copy()
    with pytest.raises(InvalidInput, match="words of"):
        write_ciphertext(SMALL, words[:, :1], SCALE)
    words[0, 1, 5] = SMALL.data_primes[1]
    with pytest.raises(InvalidInput, match="below its prime"):
        write_ciphertext(SMALL, words, SCALE)


def test_compressed_and_seeded_files_are_for_the_worker_only() -> None:
    own = own_seal()
    seeded = own.encryptor.encrypt_symmetric(encoded(numbers()[0]))
    compressed = seal.Ciphertext()
    own.encryptor.encrypt(encoded(numbers()[0]), compressed)
    with pytest.raises(InvalidInput, match="compressed"):
        read_ciphertext(SMALL, saved(compressed), SCALE)
    with pytest.raises(InvalidInput, match="ciphertext: "):
        read_ciphertext(SMALL, saved(seeded), SCALE)
    with SealWorker(SMALL) as worker:
        for thing in (compressed, seeded):
            words = worker.ciphertext(saved(thing), SCALE)
            found = decrypted(loaded("Ciphertext", SMALL, write_ciphertext(SMALL, words, SCALE)))
            assert np.abs(found - numbers()[0]).max() < 1e-6


@pytest.mark.parametrize("data", [b"", b"abc", b"\x5e\xa1" + bytes(40), b"\xff" * 400])
def test_what_seal_refuses_is_unusable_input(data: bytes) -> None:
    with SealWorker(SMALL) as worker:
        with pytest.raises(InvalidInput, match="upload: SEAL refused it"):
            worker.ciphertext(data, SCALE, "upload")
        assert worker.encode(numbers(), SCALE).shape == (1, 2, SMALL.n)  # it is still there


def test_half_a_file_and_a_file_of_another_kind_are_refused_by_the_worker() -> None:
    with SealWorker(SMALL) as worker:
        with pytest.raises(InvalidInput, match="SEAL refused"):
            worker.ciphertext(some_ciphertext()[:-9], SCALE)
        with pytest.raises(InvalidInput, match="SEAL refused"):
            worker.ciphertext(saved(own_seal().public), SCALE)
        with pytest.raises(InvalidInput, match="SEAL refused"):
            worker.public_key(saved(encoded(numbers()[0])))


def test_a_worker_has_limits() -> None:
    with pytest.raises(ToolError, match="64 MiB"):
        SealWorker(SMALL, memory_bytes=64 << 20)
    with pytest.raises(ToolError, match=r"took longer than 0\.01 s"):
        SealWorker(SMALL, wall_seconds=0.01)
    with SealWorker(SMALL, cpu_seconds=1) as worker, pytest.raises(ToolError, match="1 processor"):
        encode_for_ever(worker)


def encode_for_ever(worker: SealWorker) -> None:
    while True:
        worker.encode(np.ones((64, SMALL.slots)), SCALE)


def test_a_large_upload_ends_the_worker_not_us() -> None:
    """SEAL allocates what a header says: the limit is met in the worker."""
    with SealWorker(SMALL, memory_bytes=600 << 20) as worker:
        for size in (1 << 25, 1 << 26):
            with pytest.raises((InvalidInput, ToolError)):
                worker.ciphertext(b"\x5e\xa1\x10\x04\x03\x02\0\0" + bytes(size - 8), SCALE)
        with pytest.raises(InvalidInput, match="larger than"):
            worker.ciphertext(bytes((1 << 26) + 1), SCALE)


def test_a_worker_that_dies_is_a_tool_that_failed() -> None:
    with SealWorker(SMALL) as worker:
        worker._process.kill()
        with pytest.raises(ToolError, match="ended"):
            worker.encode(numbers(), SCALE)


def test_numbers_that_cannot_be_encoded_are_refused() -> None:
    with SealWorker(SMALL) as worker:
        with pytest.raises(InvalidInput, match="not finite"):
            worker.encode(np.full((1, SMALL.slots), np.nan), SCALE)
        with pytest.raises(InvalidInput, match="rows of 2048"):
            worker.encode(np.ones((1, 5)), SCALE)
        with pytest.raises(InvalidInput, match="SEAL refused"):
            worker.encode(numbers() * 1e30, SCALE)  # beyond the modulus


def test_parameters_below_128_bits_are_refused() -> None:
    with pytest.raises(InvalidInput, match="128"):
        Chain(4096, CHAIN.primes[:2])


def test_what_secret_keys_make_is_written_as_seal_writes_it() -> None:
    """Seeded ciphertexts, secret keys and keys that switch: SEAL's own files, byte for byte."""
    own, count = own_seal(), len(SMALL.primes)
    generator = seal.KeyGenerator(own.context)
    seeded = uncompressed(saved(own.encryptor.encrypt_symmetric(encoded(numbers()[0]))))
    residues, seed = split_seeded(seeded, count - 1, SMALL.n)
    assert level_ciphertext(SMALL.data_primes, residues[None], SCALE, seed) == seeded
    secret = uncompressed(saved(generator.secret_key()))
    words = np.frombuffer(secret[-8 * count * SMALL.n :], "<u8").reshape(count, SMALL.n)
    assert write_secret_key(SMALL.primes, words.astype(np.uint64)) == secret
    for keys, places in (
        (generator.create_relin_keys(), 1),
        (generator.create_galois_keys([3, 9]), SMALL.n),
    ):
        file = uncompressed(saved(keys))
        found = split_switch_keys(file)
        assert write_switch_keys(SMALL.n, SMALL.primes, found, places) == file
        again = {
            place: [
                level_ciphertext(SMALL.primes, half[None], 1.0, seed)
                for half, seed in (split_seeded(part, count, SMALL.n) for part in parts)
            ]
            for place, parts in found.items()
        }
        assert again == found
    with pytest.raises(ToolError, match="writes files that zkai does not know"):
        split_seeded(seeded[:-1], count - 1, SMALL.n)
