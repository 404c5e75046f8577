"""Solidity source of a verifier with its key as constants, for any Solidity compiler."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zkai.chain.abi import words
from zkai.chain.artifact import verifier_source
from zkai.chain.verifier import check_claim, key_words
from zkai.encoding import hex32, keccak256
from zkai.errors import InvalidInput
from zkai.proof.keys import CEREMONY, DEVELOPMENT, VerifyingKey

_NAME = re.compile(r"[A-Z][A-Za-z0-9_]{0,63}")
_TEMPLATE_NAMES = frozenset({"IGroth16Verifier", "Groth16Key", "Groth16Base"})


def render(vk: VerifyingKey, contract: str = "Groth16Verifier") -> str:
    """Return one self-contained Solidity file with the contract `contract` for `vk`.

    The contract checks its key when it is deployed, and computes `vkDigest()` from the constants
    that `verify` uses. Compile with the optimizer; any EVM version will do.

    Raises InvalidInput if `contract` is not a name that Solidity and the file have free;
    VerificationError if the key claims a ceremony that its record does not bear out.
    """
    check_claim(vk)
    return render_words(key_words(vk), contract)


def render_words(key: Sequence[int], contract: str = "Groth16Verifier") -> str:
    """Return `render`'s file for the words that `key_words` makes of a key.

    Raises InvalidInput as `render` does.
    """
    if not _NAME.fullmatch(contract) or contract in _TEMPLATE_NAMES:
        raise InvalidInput(f"contract name {contract!r}: expected a capital, letters and digits")
    digest = hex32(keccak256(words(key)))
    status = CEREMONY if key[1] else DEVELOPMENT
    rows = "\n".join(
        f"            mstore({_offset(index)}, {hex32(value)}) // {name}"
        for index, (value, name) in enumerate(zip(key, _word_names(key[3]), strict=True))
    )
    return f"""\
// SPDX-License-Identifier: Apache-2.0
// Rendered by zkai. The sources from which it comes are part of that project.
pragma solidity >=0.8.19 <0.9.0;

{verifier_source()}
/// @title The Groth16 verifier of one {status} key
/// @dev vkDigest() is {digest}.
contract {contract} is Groth16Base {{
    constructor() {{
        (uint256 key, uint256 n) = _loadKey();
        Groth16Key.check(key, 640 + 64 * n);
    }}

    function _loadKey() internal pure override returns (uint256 key, uint256 n) {{
        n = {key[3]};
        assembly ("memory-safe") {{
            key := add(mload(0x40), 64)
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


_TWIST = ("x1", "x0", "y1", "y0")
