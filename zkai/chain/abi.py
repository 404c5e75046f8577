"""The part of the contract ABI that the contracts here use: words, selectors, custom errors.

Source: Solidity's Contract ABI Specification.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from zkai.encoding import keccak256, word
from zkai.errors import InvalidInput

Abi = Sequence[Mapping[str, Any]]

PROOF_WORDS = (8, 10, 18)
"""How many words a proof has: Groth16's, with a commitment round, with two links too."""

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_ERROR_STRING = keccak256(b"Error(string)")[:4]
_PANIC = keccak256(b"Panic(uint256)")[:4]


def selector(signature: str) -> bytes:
    """Return the four bytes that select a function or a custom error."""
    return keccak256(signature.encode("ascii"))[:4]


def words(values: Iterable[int]) -> bytes:
    """Return integers as 32-byte big-endian words.

    Raises InvalidInput unless each is at least 0 and below 2**256.
    """
    return b"".join(word(value) for value in values)


def from_words(data: bytes) -> list[int]:
    """Return the whole words of `data` as integers."""
    return [int.from_bytes(data[i : i + 32], "big") for i in range(0, len(data) - 31, 32)]


def verify_calldata(
    proof: Sequence[int], publics: Sequence[int], function: str = "verify"
) -> bytes:
    """Return the calldata of `function(uint256[k] proof, uint256[] publics)`, k of `PROOF_WORDS`.

    proof: A.x, A.y, B.x1, B.x0, B.y1, B.y0, C.x, C.y, and with a commitment round D.x, D.y. Values
    are encoded as they are, in range or not: refusing them is the contract's part.

    Raises InvalidInput unless the proof has 8, 10 or 18 words and every value fits a word.
    """
    if len(proof) not in PROOF_WORDS:
        raise InvalidInput(f"a proof has 8, 10 or 18 words in the EVM's encoding, got {len(proof)}")
    head = selector(f"{function}(uint256[{len(proof)}],uint256[])") + words(proof)
    return head + words([32 * (len(proof) + 1), len(publics), *publics])


def parse_address(text: object, where: str) -> str:
    """Return an address in its checksummed form (EIP-55).

    Raises InvalidInput, naming `where`, for anything that is not 0x and 40 hexadecimal digits, or
    whose mixed case is a wrong checksum.
    """
    if not isinstance(text, str) or not _ADDRESS.fullmatch(text):
        raise InvalidInput(f"{where}: expected an address, 0x and 40 hexadecimal digits")
    digits = text[2:].lower()
    mask = keccak256(digits.encode("ascii")).hex()
    upper = (c.upper() if int(m, 16) >= 8 else c for c, m in zip(digits, mask, strict=False))
    checksummed = "0x" + "".join(upper)
    if text[2:] not in (digits, digits.upper(), checksummed[2:]):
        raise InvalidInput(f"{where}: the address's checksum is wrong; is a digit mistyped?")
    return checksummed


def signature(entry: Mapping[str, Any]) -> str:
    """Return an ABI entry's signature, such as verify(uint256[8],uint256[])."""
    return f"{entry['name']}({','.join(i['type'] for i in entry['inputs'])})"


def decode_revert(data: bytes, abi: Abi) -> str:
    """Return what a revert says, such as Groth16Verifier__PublicInputOutOfRange(3).

    Custom errors are looked up in `abi`; their arguments here are integers. Data that nothing
    explains is shown as hexadecimal, cut at 68 bytes.
    """
    if not data:
        return "a revert without data (out of gas, or arguments that do not decode)"
    if data[:4] == _ERROR_STRING and len(data) >= 68:
        length = min(int.from_bytes(data[36:68], "big"), 200)
        return f"Error({data[68 : 68 + length].decode('utf-8', 'replace')!r})"
    if data[:4] == _PANIC and len(data) == 36:
        return f"Panic(0x{data[-1]:02x})"
    for entry in abi:
        if entry["type"] == "error" and selector(signature(entry)) == data[:4]:
            values = from_words(data[4:])
            if len(data) == 4 + 32 * len(entry["inputs"]):
                return f"{entry['name']}({', '.join(str(v) for v in values)})"
    return f"an unknown error 0x{data[:68].hex()}"
