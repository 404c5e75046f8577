"""The parsers of SEAL's files and of a key ceremony's messages under fuzzing."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from tests.fuzz.harness import Target
from zkai.he.ckks import CIPHERTEXT, MAGIC, PARTIAL, Ckks, CkksSum
from zkai.he.ckks_sum import HEAD
from zkai.he.committee import Ceremony, start
from zkai.he.joint_key import HolderKey, JointKey
from zkai.he.key_dealing import Dealing, Opening, Share, Terms, _share_digest, parse_response
from zkai.he.seal_file import (
    Chain,
    read_ciphertext,
    read_plaintext,
    read_public_key,
    write_ciphertext,
    write_plaintext,
    write_public_key,
)

CHAIN = Chain(4096, (68719230977, 68719403009, 137438822401))
TERMS = Terms(CHAIN, 2, ("ann", "bob", "cid"), bytes(32))
SCALE = 2.0**40
SEED = bytes(range(32))


@lru_cache
def dealing() -> Dealing:
    return start(TERMS, 1)


@lru_cache
def response() -> bytes:
    ceremony = Ceremony(TERMS)
    dealings = {1: dealing(), 2: start(TERMS, 2), 3: start(TERMS, 3)}
    for dealer, each in dealings.items():
        ceremony.commit(dealer, each.opening.commitment(TERMS))
    for dealer, each in dealings.items():
        ceremony.open(dealer, each.opening.to_bytes(TERMS))
    ceremony.close_openings()
    ceremony.close_complaints()
    return ceremony.answer(2, {d: each.messages[1] for d, each in dealings.items()})


def seal_ciphertext(folder: Path) -> Target:
    """SEAL's three kinds of files: one byte form each."""
    words = CHAIN.data_ring.uniform(bytes(32), 0, 0, 2)
    key = CHAIN.ring.uniform(bytes(32), 0, 0, 2)
    seeds = (
        write_ciphertext(CHAIN, words, SCALE),
        write_public_key(CHAIN, key),
        write_plaintext(CHAIN, words[0], SCALE),
    )

    def use(scratch: Path, data: bytes) -> None:
        if len(data) == CHAIN.public_key_bytes:
            again = write_public_key(CHAIN, read_public_key(CHAIN, data))
        elif len(data) == CHAIN.plaintext_bytes:
            again = write_plaintext(CHAIN, read_plaintext(CHAIN, data, SCALE), SCALE)
        else:
            again = write_ciphertext(CHAIN, read_ciphertext(CHAIN, data, SCALE), SCALE)
        if again != data:
            raise AssertionError("a file of SEAL's has two byte forms")

    return Target("seal-file", seeds, use, slow=True)


def opening(folder: Path) -> Target:
    """A dealer's opening."""

    def use(scratch: Path, data: bytes) -> None:
        if Opening.from_bytes(TERMS, data).to_bytes(TERMS) != data:
            raise AssertionError("an opening has two byte forms")

    return Target("key-opening", (dealing().opening.to_bytes(TERMS),), use, slow=True)


def share(folder: Path) -> Target:
    """A dealer's private message, committed to as it is: one byte form each."""
    held = dealing().opening

    def use(scratch: Path, data: bytes) -> None:
        digests = (held.shares[0], _share_digest(data), held.shares[2])
        found = Share.from_bytes(TERMS, replace(held, shares=digests), 2, data)
        if found.to_bytes(TERMS) != data:
            raise AssertionError("a share has two byte forms")

    return Target("key-share", (dealing().messages[1],), use, slow=True)


def holder_response(folder: Path) -> Target:
    """A holder's projections."""
    return Target(
        "key-response", (response(),), lambda _, data: parse_response(TERMS, (1, 2, 3), data)
    )


def holder_key(folder: Path) -> Target:
    """A holder's own file."""
    words = CHAIN.ring.uniform(bytes(32), 0)[0]
    good = HolderKey(bytes(32), SEED, 1, 2, 3, words, {(1, 2): bytes(32), (1, 3): SEED}).to_bytes()

    def use(scratch: Path, data: bytes) -> None:
        if HolderKey.from_bytes(CHAIN, data).to_bytes() != data:
            raise AssertionError("a holder's key has two byte forms")

    return Target("holder-key", (good,), use, slow=True)


def ckks_bytes(folder: Path) -> Target:
    """Ciphertexts and parts of scheme ckks: one byte form each."""
    joint = JointKey(CHAIN, CHAIN.ring.uniform(bytes(32), 0, 0, 2))
    scheme = Ckks(CkksSum(2048, 4, 2, 2, 3, CHAIN, 62, 32), joint)
    words = CHAIN.data_ring.uniform(SEED, 0, 0, 2)
    head = HEAD.pack(MAGIC, CIPHERTEXT, 1, joint.id, SEED, bytes(32))
    ciphertext = head + write_ciphertext(CHAIN, words, scheme.parameters.scale)
    part = HEAD.pack(MAGIC, PARTIAL, 2, joint.id, SEED, bytes(32)) + words[0].tobytes()

    def use(scratch: Path, data: bytes) -> None:
        if len(data) == scheme.parameters.partial_bytes:
            scheme._part(SEED, bytes(32), 2, data)
            return
        found, count = scheme._unpack(SEED, data, "ciphertext")
        name = scheme.name_of(SEED, data) if count == 1 else bytes(32)
        if scheme._pack(SEED, found, count, name) != data:
            raise AssertionError("a ciphertext has two byte forms")

    return Target("ckks-bytes", (ciphertext, part), use, slow=True)


def seal_worker(folder: Path) -> Target:
    """SEAL's own loader, in its process: whatever it is given, this process goes on."""
    from zkai.he.seal_worker import SealWorker

    class Held:
        """A worker that ends with the target."""

        def __init__(self) -> None:
            self.worker = SealWorker(CHAIN)

        def __del__(self) -> None:
            self.worker.close()

        def use(self, scratch: Path, data: bytes) -> None:
            self.worker.ciphertext(data, SCALE)

    words = CHAIN.data_ring.uniform(bytes(32), 0, 0, 2)
    good = write_ciphertext(CHAIN, words, SCALE)
    return Target("seal-worker", (good,), Held().use, slow=True)


CKKS_TARGETS = {
    "seal-file": seal_ciphertext,
    "key-opening": opening,
    "key-share": share,
    "key-response": holder_response,
    "holder-key": holder_key,
    "ckks-bytes": ckks_bytes,
    "seal-worker": seal_worker,
}
