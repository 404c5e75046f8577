"""What a training step's proof is for, bound to it by the commitment to its tag.

    digest = keccak256(abi.encode(
        bytes32 keccak256("zkai/halo2-labels/1"), uint256 user, uint256 model, uint256 fork,
        uint256 step, uint256 context))
    tag    = the digest's 16 limbs of 16 bits, most significant first

EZKL has one visibility for all inputs of a circuit, so no input can be shown while others are
committed to. Instead the tag is committed to like them, without a salt, and whoever verifies
computes the digest from the labels that the proof states and the commitment from the digest. A
proof whose labels were changed has another tag, and EZKL's verifier refuses it.

What this shows is that the prover made the proof for these labels, and no more: the circuit does
not know that `user` has a secret, nor that `fork` and `step` number the state. Each of those is as
good as the chain of proofs that it stands in (chain.py) and the signature on its receipt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from zkai.circuit.gadgets.halo2_hash import halo2_hash
from zkai.encoding import FIELD_MODULUS, Limbs, keccak256, to_limbs, word
from zkai.errors import VerificationError
from zkai.halo2.step_layout import LIMB_BITS, TAG_LIMBS
from zkai.model.fixed_point import IntArray
from zkai.native_keys import points_load, points_msm, points_store
from zkai.proof.points import G1, g1_words
from zkai.proof.ratio import g1_from_words

DOMAIN = "zkai/halo2-labels/1"
LABELS = ("user", "model", "fork", "step", "context")

STEP_KIND = "onnx_step"

Public = Mapping[str, tuple[int, ...]]


def tag_limbs(public: Public) -> IntArray:
    """Return the tag of a proof's labels.

    Raises VerificationError, naming the label, for one that is missing or outside [0, r).
    """
    words = [keccak256(DOMAIN.encode())]
    for name in LABELS:
        values = public.get(name, ())
        if len(values) != 1 or not 0 <= values[0] < FIELD_MODULUS:
            raise VerificationError(f"the proof's {name} is no single value below r")
        words.append(word(values[0]))
    digest = keccak256(b"".join(words))
    size = LIMB_BITS // 8
    limbs = [int.from_bytes(digest[i : i + size], "big") for i in range(0, size * TAG_LIMBS, size)]
    return np.array(limbs, np.int64)


def check_tag(public: Public, points: Sequence[G1]) -> None:
    """Return None if the commitment `tag` among a proof's public values is that of its labels.

    `points` are those of a verifying key, for a tag that is a point.

    Raises VerificationError otherwise.
    """
    limbs, tag = tag_limbs(public), public.get("tag", ())
    if len(tag) == 1:
        wanted = hash_commitment(limbs)
    elif len(points) > len(limbs):
        rows = np.concatenate([g1_words(point) for point in points])
        wanted = point_commitment(limbs, points_load("g1", rows))
    else:
        raise VerificationError("the key has no points to compute the tag with")
    if tag != wanted:
        raise VerificationError(
            f"the proof was made for other labels: its tag is not that of {', '.join(LABELS)}"
        )


def hash_commitment(vector: IntArray) -> tuple[int, ...]:
    """Return EZKL's hash of a vector: what `hashed` makes public."""
    return (halo2_hash([int(value) % FIELD_MODULUS for value in vector]),)


def point_commitment(vector: IntArray, points: Limbs) -> tuple[int, ...]:
    """Return the coordinates of what `polycommit` makes public of a vector.

    `points` are those of `srs.commitment_points` for at least as many numbers.
    """
    scalars = to_limbs([1, *(int(value) % FIELD_MODULUS for value in vector)])
    row = points_msm("g1", points[: len(vector) + 1], scalars.reshape(-1, 4))
    return g1_from_words(points_store("g1", row)) or (0, 0)


def state_id(values: tuple[int, ...]) -> int:
    """Return a commitment as one field element: a hash as it is, a point by its keccak256."""
    if len(values) == 1:
        return values[0]
    return int.from_bytes(keccak256(b"".join(map(word, values))), "big") % FIELD_MODULUS


def begins_fork(statement: str, public: Public) -> bool:
    """Return whether a proof is a fork's first step: step 0, from the state that `model` names.

    Training steps of this format begin a fork themselves; our own circuits' have a genesis.
    """
    kind, state = statement.partition("/")[0], public.get("old_state", ())
    return (
        kind == STEP_KIND
        and public.get("step") == (0,)
        and public.get("model") == (state_id(state),)
    )
