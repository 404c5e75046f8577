// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

import {IHalo2Verifier} from "./IHalo2Verifier.sol";

/// @title What stands between callers and a generated Halo2 verifier
/// @notice Generated verifiers must not be called directly. They read a proof twice, where its offset
/// says and at the place that it has in canonical calldata: with two proofs in one call, the challenges
/// are drawn over one and the equations hold for the other, so that anything can be proven. The adapter
/// makes their calldata itself.
/// @dev Its words follow the code, and one word more that holds m:
///
///     0      keccak256("zkai.halo2-adapter/1")
///     1      0 for a development string, 1 for a ceremony's
///     2      the circuit's digest
///     3      the verifying key's digest
///     4      n, the number of public inputs
///     5      the number of bytes of a proof, a multiple of 32
///     6      the address of the generated verifier
///     7      the hash of its code
///     8      m, 0 if that verifier holds its own key
///     9      the m words of the key that a reusable verifier is given
contract Halo2Adapter is IHalo2Verifier {
    uint256 private constant R = 21888242871839275222246405745257275088548364400416034343698204186575808495617;

    /// @inheritdoc IHalo2Verifier
    function verify(bytes calldata proof, uint256[] calldata publics) external view {
        uint256 n = _word(4);
        if (publics.length != n) revert Halo2Adapter__InvalidLength(n, publics.length);
        uint256 size = _word(5);
        if (proof.length != size) revert Halo2Adapter__InvalidProofLength(size, proof.length);
        for (uint256 i; i < n; ++i) {
            if (publics[i] >= R) revert Halo2Adapter__PublicInputOutOfRange(i);
        }
        uint256 m = _word(8);
        bytes4 selector = m == 0
            ? bytes4(keccak256("verifyProof(bytes,uint256[])"))
            : bytes4(keccak256("verifyProof(bytes,uint256[],bytes32[])"));
        address target = address(uint160(_word(6)));
        uint256 from = _start(m) + 288;
        bool ok;
        assembly ("memory-safe") {
            // selector, 2 or 3 offsets, the proof, the public inputs and, for a reusable verifier, its key
            let data := mload(0x40)
            mstore(data, selector)
            let head := add(data, 4)
            let offset := add(64, shl(5, iszero(iszero(m))))
            mstore(head, offset)
            mstore(add(head, offset), size)
            calldatacopy(add(add(head, offset), 32), proof.offset, size)
            offset := add(offset, add(size, 32))
            mstore(add(head, 32), offset)
            mstore(add(head, offset), n)
            calldatacopy(add(add(head, offset), 32), publics.offset, shl(5, n))
            offset := add(offset, add(shl(5, n), 32))
            let vka := add(add(head, offset), 32)
            if m {
                mstore(add(head, 64), offset)
                mstore(add(head, offset), m)
                codecopy(vka, from, shl(5, m))
                offset := add(offset, add(shl(5, m), 32))
            }
            ok := staticcall(gas(), target, data, add(offset, 4), 0, 64)
            ok := and(ok, and(gt(returndatasize(), 31), eq(mload(0), 1)))
            // A reusable verifier says which key it used.
            if m { ok := and(ok, and(gt(returndatasize(), 63), eq(mload(32), keccak256(vka, shl(5, m))))) }
        }
        if (!ok) revert Halo2Adapter__InvalidProof();
    }

    /// @inheritdoc IHalo2Verifier
    function vkDigest() external pure returns (bytes32) {
        return bytes32(_word(3));
    }

    /// @inheritdoc IHalo2Verifier
    function keyStatus() external pure returns (string memory) {
        return _word(1) == 1 ? "ceremony" : "development";
    }

    /// @inheritdoc IHalo2Verifier
    function circuitDigest() external pure returns (bytes32) {
        return bytes32(_word(2));
    }

    /// @inheritdoc IHalo2Verifier
    function nPublic() external pure returns (uint256) {
        return _word(4);
    }

    /// @inheritdoc IHalo2Verifier
    function verifier() external pure returns (address where, bytes32 codeHash) {
        return (address(uint160(_word(6))), bytes32(_word(7)));
    }

    /// @inheritdoc IHalo2Verifier
    function vkaDigest() external pure returns (bytes32 digest) {
        uint256 m = _word(8);
        if (m == 0) return 0;
        uint256 from = _start(m) + 288;
        assembly ("memory-safe") {
            let vka := mload(0x40)
            codecopy(vka, from, shl(5, m))
            digest := keccak256(vka, shl(5, m))
        }
    }

    /// Where the words of a key with m words of its own start in the code.
    function _start(uint256 m) private pure returns (uint256 start) {
        assembly ("memory-safe") {
            start := sub(codesize(), add(320, shl(5, m)))
        }
    }

    function _word(uint256 index) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            codecopy(0, sub(codesize(), 32), 32)
            codecopy(0, add(sub(codesize(), add(320, shl(5, mload(0)))), shl(5, index)), 32)
            word := mload(0)
        }
    }
}

/// @title Deploys a Halo2Adapter: returns its code followed by its words
/// @dev Checks that the generated verifier has the code that the words name, and registers a reusable
/// verifier's key there.
contract Halo2AdapterDeployment {
    /// @param words what `Halo2Adapter` describes, without the last
    constructor(uint256[] memory words) {
        bool known = words.length >= 9 && words[0] == uint256(keccak256("zkai.halo2-adapter/1"));
        // below 2^32 inputs and bytes, or sizes in `verify` could wrap
        known = known && words[1] < 2 && words[4] < 1 << 32 && words[5] < 1 << 32 && words[5] % 32 == 0;
        known = known && words[6] < 1 << 160 && words[8] == words.length - 9;
        if (!known) revert IHalo2Verifier.Halo2Adapter__InvalidKey();
        address target = address(uint160(words[6]));
        if (target.code.length == 0 || target.codehash != bytes32(words[7])) {
            revert IHalo2Verifier.Halo2Adapter__WrongVerifier(target.codehash);
        }
        if (words[8] != 0) _register(target, words);
        bytes memory deployed = abi.encodePacked(type(Halo2Adapter).runtimeCode, words, words[8]);
        assembly {
            return(add(deployed, 32), mload(deployed))
        }
    }

    /// Lets a reusable verifier take the key, whoever registered it before.
    function _register(address target, uint256[] memory words) private {
        bytes32[] memory vka = new bytes32[](words[8]);
        for (uint256 i; i < vka.length; ++i) {
            vka[i] = bytes32(words[9 + i]);
        }
        (bool ok,) = target.call(abi.encodeWithSignature("registerVka(bytes32[])", vka));
        if (!ok) revert IHalo2Verifier.Halo2Adapter__InvalidKey();
    }
}
