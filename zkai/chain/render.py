"""Solidity source of a verifier with its key as constants, for any Solidity compiler."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zkai.chain.abi import words
from zkai.chain.artifact import verifier_source
from zkai.chain.formats import format_of_words
from zkai.chain.verifier import check_claim, key_words
from zkai.encoding import hex32, keccak256
from zkai.errors import InvalidInput
from zkai.proof.formats import VerifyingKey
from zkai.proof.keys import CEREMONY, DEVELOPMENT

_NAME = re.compile(r"[A-Z][A-Za-z0-9_]{0,63}")
_PARTS = ("I{}Verifier", "{}Key", "{}Base")


def render(vk: VerifyingKey, contract: str | None = None) -> str:
    """Return one self-contained Solidity file with the contract `contract` for `vk`.

    The contract checks its key when it is deployed, and computes `vkDigest()` from the constants
    that `verify` uses. Compile with the optimizer; any EVM version will do. Without a name it has
    the prebuilt verifier's.

    Raises InvalidInput if `contract` is not a name that Solidity and the file have free;
    VerificationError if the key claims a ceremony that its record does not bear out.
    """
    check_claim(vk)
    return render_words(key_words(vk), contract)


def render_words(key: Sequence[int], contract: str | None = None) -> str:
    """Return `render`'s file for the words that `key_words` makes of a key.

    Raises InvalidInput as `render` does.
    """
    form = format_of_words(key)
    family, count = form.family, form.count_name
    name = form.contract if contract is None else contract
    if not _NAME.fullmatch(name) or name in {part.format(family) for part in _PARTS}:
        raise InvalidInput(f"contract name {name!r}: expected a capital, letters and digits")
    digest = hex32(keccak256(words(key)))
    status = CEREMONY if key[1] else DEVELOPMENT
    rows = "\n".join(
        f"            mstore({_offset(index)}, {hex32(value)}) // {what}"
        for index, (value, what) in enumerate(zip(key, form.word_names(key), strict=True))
    )
    return f"""\
// SPDX-License-Identifier: Apache-2.0
// Rendered by zkai. The sources from which it comes are part of that project.
pragma solidity >=0.8.19 <0.9.0;

{verifier_source(f"{family}Base")}
/// @title The {family} verifier of one {status} key
/// @dev vkDigest() is {digest}.
contract {name} is {family}Base {{
    constructor() {{
        (uint256 key, uint256 {count}) = _loadKey();
        {family}Key.check(key, {32 * form.fixed_words} + 64 * {count});
    }}

    function _loadKey() internal pure override returns (uint256 key, uint256 {count}) {{
        {count} = {key[form.count_at]};
        assembly ("memory-safe") {{
            key := add(mload(0x40), {32 * form.free_words})
{rows}
        }}
    }}
}}
"""


def _offset(index: int) -> str:
    return f"add(key, {32 * index})" if index else "key"
