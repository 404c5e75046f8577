"""Solidity source of a verifier with its key as constants, for any Solidity compiler."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zkai.chain.abi import words
from zkai.chain.artifact import verifier_source
from zkai.chain.commit import (
    COMMIT_CONTRACT,
    COMMIT_DOMAIN,
    N_CHALLENGES,
    N_PUBLIC,
    CommitKey,
)
from zkai.chain.verifier import CONTRACT, check_claim, key_words
from zkai.encoding import hex32, keccak256
from zkai.errors import InvalidInput
from zkai.proof.keys import CEREMONY, DEVELOPMENT, VerifyingKey

_NAME = re.compile(r"[A-Z][A-Za-z0-9_]{0,63}")
_PARTS = ("I{}Verifier", "{}Key", "{}Base")


def render(vk: VerifyingKey | CommitKey, contract: str | None = None) -> str:
    """Return one self-contained Solidity file with the contract `contract` for `vk`.

    The contract checks its key when it is deployed, and computes `vkDigest()` from the constants
    that `verify` uses. Compile with the optimizer; any EVM version will do. Without a name it is
    called as the prebuilt verifier is.

    Raises InvalidInput if `contract` is not a name that Solidity and the file have free;
    VerificationError if the key claims a ceremony that its record does not bear out.
    """
    check_claim(vk)
    return render_words(key_words(vk), contract)


def render_words(key: Sequence[int], contract: str | None = None) -> str:
    """Return `render`'s file for the words that `key_words` makes of a key.

    Raises InvalidInput as `render` does.
    """
    commit = key[0] == int.from_bytes(COMMIT_DOMAIN, "big")
    family = "Groth16Commit" if commit else "Groth16"
    name = contract if contract is not None else COMMIT_CONTRACT if commit else CONTRACT
    if not _NAME.fullmatch(name) or name in {part.format(family) for part in _PARTS}:
        raise InvalidInput(f"contract name {name!r}: expected a capital, letters and digits")
    digest = hex32(keccak256(words(key)))
    status = CEREMONY if key[1] else DEVELOPMENT
    names = _commit_word_names(key[N_CHALLENGES]) if commit else _word_names(key[N_PUBLIC])
    rows = "\n".join(
        f"            mstore({_offset(index)}, {hex32(value)}) // {word_name}"
        for index, (value, word_name) in enumerate(zip(key, names, strict=True))
    )
    scheme = "verifier, with a commitment round," if commit else "verifier"
    # What sizes the key, and the free words that its user needs before it.
    count, value, lead = ("c", key[N_CHALLENGES], 32) if commit else ("n", key[N_PUBLIC], 64)
    size = f"736 + 64 * {count}" if commit else f"640 + 64 * {count}"
    return f"""\
// SPDX-License-Identifier: Apache-2.0
// Rendered by zkai. The sources from which it comes are part of that project.
pragma solidity >=0.8.19 <0.9.0;

{verifier_source(f"{family}Base")}
/// @title The Groth16 {scheme} of one {status} key
/// @dev vkDigest() is {digest}.
contract {name} is {family}Base {{
    constructor() {{
        (uint256 key, uint256 {count}) = _loadKey();
        {family}Key.check(key, {size});
    }}

    function _loadKey() internal pure override returns (uint256 key, uint256 {count}) {{
        {count} = {value};
        assembly ("memory-safe") {{
            key := add(mload(0x40), {lead})
{rows}
        }}
    }}
}}
"""


def _offset(index: int) -> str:
    return f"add(key, {32 * index})" if index else "key"


def _word_names(n_public: int) -> list[str]:
    names = ["domain", "status: 1 for a ceremony's key", "circuit digest", "public inputs"]
    names += ["alpha.x", "alpha.y"]
    names += [f"{point}.{part}" for point in ("beta", "gamma", "delta") for part in _TWIST]
    return names + [f"ic[{i}].{part}" for i in range(n_public + 1) for part in ("x", "y")]


def _commit_word_names(n_challenges: int) -> list[str]:
    names = ["domain", "status: 1 for a ceremony's key", "circuit digest", "public inputs"]
    names += ["challenges", "alpha.x", "alpha.y"]
    names += [f"{point}.{part}" for point in ("beta", "delta1", "delta2") for part in _TWIST]
    return names + [f"ic[{i}].{part}" for i in range(n_challenges + 2) for part in ("x", "y")]


_TWIST = ("x1", "x0", "y1", "y0")
