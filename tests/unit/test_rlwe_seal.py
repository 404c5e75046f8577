"""Our rings beside Microsoft SEAL's: transforms, sums and ciphertexts are the same bits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zkai.encoding import Limbs
from zkai.he.client import masks
from zkai.he.packing import pack_values
from zkai.he.ring import Ring, first
from zkai.he.rlwe import RING, ClientKey, RlweParameters, Round
from zkai.he.seal_context import saved
from zkai.he.wire import Kind, open_polynomials

sealapi = pytest.importorskip("tenseal.sealapi")

# SEAL sets the last prime aside. 54 + 54 + 55 bits are beyond its table at 4096: the data level
# has the 108 that we use, and these tests are about arithmetic.
ROUND = Round(RlweParameters.choose(4, 3, 5), bytes(32), 1, 20_000)


class Seal:
    """A CKKS context at n = 4096 whose data level is our ring, and files in and out of it."""

    def __init__(self, folder: Path) -> None:
        parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(RING.n)
        parameters.set_coeff_modulus(sealapi.CoeffModulus.Create(RING.n, [54, 54, 55]))
        self.context = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.NONE)
        self.primes = tuple(m.value() for m in parameters.coeff_modulus())
        self.path = str(folder / "seal")
        self.encoder = sealapi.CKKSEncoder(self.context)
        self.evaluator = sealapi.Evaluator(self.context)

    def words(self, thing: Any, count: int) -> Limbs:
        """The last `count` words of what SEAL saves: residues in NTT form."""
        return np.frombuffer(saved(thing)[-8 * count :], dtype="<u8").copy()

    def put(self, target: Any, like: Any, residues: Limbs) -> Any:
        """Load `target` from the file of `like`, with other residues at its end."""
        data = residues.astype("<u8").tobytes()
        Path(self.path).write_bytes(saved(like)[: -len(data)] + data)
        target.load(self.context, self.path)
        return target

    def secret_key(self, residues: Limbs) -> Any:
        made = sealapi.KeyGenerator(self.context).secret_key()
        return self.put(sealapi.SecretKey(), made, residues)

    def plaintext(self, values: np.ndarray[Any, Any], scale: float) -> Any:
        made = sealapi.Plaintext()
        self.encoder.encode(values.tolist(), scale, made)
        return made

    def ciphertext(self, pair: Limbs) -> Any:
        """A ciphertext with the two polynomials (2, L, n), at the data level."""
        generator, key = sealapi.KeyGenerator(self.context), sealapi.PublicKey()
        generator.create_public_key(key)
        like = sealapi.Ciphertext()
        encryptor = sealapi.Encryptor(self.context, key)
        encryptor.encrypt(self.plaintext(np.zeros(4), 2.0**40), like)
        return self.put(sealapi.Ciphertext(), like, pair)


@pytest.fixture(scope="module")
def seal(tmp_path_factory: pytest.TempPathFactory) -> Seal:
    return Seal(tmp_path_factory.mktemp("seal"))


@pytest.fixture(scope="module")
def secret() -> tuple[Limbs, Limbs]:
    """A ternary key in NTT form: over our ring, and over SEAL's key level (3, n)."""
    seed = os.urandom(32)
    values = RING.ternary(seed, 0)
    level = Ring.__new__(Ring)  # beyond the security table: for SEAL's key level only
    object.__setattr__(level, "n", RING.n)
    object.__setattr__(level, "primes", (*RING.primes, 36028797018652673))
    return first(RING.ntt(RING.small(values))), first(level.ntt(level.small(values)))


def test_our_primes_are_seals(seal: Seal) -> None:
    assert seal.primes[:2] == RING.primes
    assert seal.primes[2] == 36028797018652673


@pytest.mark.parametrize("bits", [[54], [27, 27, 27], [60, 60, 60], [43, 43, 44, 44, 44]])
def test_transforms_equal_seals(bits: list[int]) -> None:
    """BFV plaintexts of any coefficients, moved to NTT form by SEAL."""
    n, t = 8192, 1 << 20
    parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.BFV)
    parameters.set_poly_modulus_degree(n)
    parameters.set_coeff_modulus(sealapi.CoeffModulus.Create(n, bits))
    parameters.set_plain_modulus(t)
    context = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC128)
    primes = tuple(m.value() for m in parameters.coeff_modulus())[: max(1, len(bits) - 1)]
    values = np.random.default_rng(1).integers(0, t, n)
    text = " + ".join(f"{int(v):X}x^{i}" for i, v in reversed(list(enumerate(values))) if i)
    plain = sealapi.Plaintext(f"{text} + {int(values[0]):X}")
    sealapi.Evaluator(context).transform_to_ntt_inplace(plain, context.first_parms_id())
    ring = Ring(n, primes)
    ours = ring.ntt(ring.small(np.where(values >= (t + 1) // 2, values - t, values)[None]))
    data = np.frombuffer(saved(plain)[-8 * ours.size :], dtype="<u8")
    assert np.array_equal(data.reshape(ours.shape[1:]), ours[0])


def test_seal_opens_our_ciphertexts_and_adds_them_as_we_do(seal: Seal) -> None:
    """c0 + A s is Delta m + e: SEAL's decryptor gives what the opening says."""
    key = ClientKey(ROUND)
    bound = ROUND.parameters.bound
    values = np.random.default_rng(2).integers(-bound, bound + 1, ROUND.values)
    data = key.encrypt(values)
    _, body = open_polynomials(data, Kind.CIPHERTEXT, ROUND, ROUND.polynomials, "c")
    opening = key.opening()
    level = np.zeros((3, RING.n), dtype=np.uint64)
    level[:2] = first(RING.ntt(RING.small(opening.secret[None])))
    key_file = seal.secret_key(level)
    c0, a = RING.ntt(body), masks(ROUND, 0, ROUND.polynomials)
    each, bits = ROUND.parameters.values_per_coefficient, ROUND.parameters.value_bits
    messages = pack_values(values, RING.n, bits, each)
    scaled = messages.astype(object) * ROUND.parameters.delta + opening.errors
    for m in range(ROUND.polynomials):
        ciphertext = seal.ciphertext(np.stack([c0[m], a[m]]))
        plain = sealapi.Plaintext()
        sealapi.Decryptor(seal.context, key_file).decrypt(ciphertext, plain)
        found = RING.coefficients(seal.words(plain, 2 * RING.n).reshape(1, 2, RING.n))
        for row, q in enumerate(RING.primes):
            assert np.array_equal(found[0, row].astype(object), scaled[m] % q)
    one, two, total = (
        seal.ciphertext(np.stack([c0[0], a[0]])),
        seal.ciphertext(np.stack([c0[1], a[1]])),
        sealapi.Ciphertext(),
    )
    seal.evaluator.add(one, two, total)
    expected = np.stack([RING.add(c0[0], c0[1]), RING.add(a[0], a[1])])
    assert np.array_equal(seal.words(total, expected.size), expected.reshape(-1))


def test_public_keys_and_encryptions_go_both_ways(seal: Seal, secret: tuple[Limbs, Limbs]) -> None:
    """We encrypt and SEAL opens; SEAL encrypts and adds ours to it, and we open."""
    ours, level = secret
    key_file = seal.secret_key(level)
    decryptor = sealapi.Decryptor(seal.context, key_file)
    seed = os.urandom(32)
    a = first(RING.uniform(seed, 1))
    error = first(RING.ntt(RING.small(RING.errors(seed, 2))))
    b = RING.subtract(error, RING.multiply(a, ours))
    values = np.random.default_rng(3).uniform(-1, 1, RING.n // 2)
    encoded = seal.plaintext(values, 2.0**60)
    message = seal.words(encoded, 2 * RING.n).reshape(1, 2, RING.n)
    pair = RING.encrypt(np.stack([b, a]), message)[0]
    ciphertext, plain = seal.ciphertext(pair), sealapi.Plaintext()
    decryptor.decrypt(ciphertext, plain)
    difference = RING.subtract(seal.words(plain, 2 * RING.n).reshape(1, 2, RING.n), message)
    assert 0 < RING.largest(RING.coefficients(difference)) < 2**20

    public = sealapi.PublicKey()
    sealapi.KeyGenerator(seal.context, key_file).create_public_key(public)
    theirs = sealapi.Ciphertext()
    sealapi.Encryptor(seal.context, public).encrypt(encoded, theirs)
    found = seal.words(theirs, 4 * RING.n).reshape(2, 2, RING.n)
    opened = RING.add(found[0], RING.multiply(found[1], ours))
    difference = RING.subtract(opened[None], message)
    assert 0 < RING.largest(RING.coefficients(difference)) < 2**20
