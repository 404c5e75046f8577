// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

import {IGroth16Verifier} from "./IGroth16Verifier.sol";

/// @title The check that a verifying key goes through once, when its verifier is deployed
library Groth16Key {
    /// Reverts unless the `size` bytes at `key` are a well-formed key: its header, every point on its
    /// curve, in its subgroup and not infinity, and gamma and delta different up to sign (with
    /// gamma = delta, as a phase 2 without contributions leaves them, anyone forges proofs).
    function check(uint256 key, uint256 size) internal view {
        bool ok;
        bytes32 domain = keccak256("zkai.groth16/1");
        assembly ("memory-safe") {
            let n := mload(add(key, 96))
            ok := and(eq(mload(key), domain), lt(mload(add(key, 32)), 2))
            // below 2^16, or the size would wrap
            ok := and(ok, and(lt(n, 65536), eq(size, add(640, shl(6, n)))))
        }
        if (!ok) revert IGroth16Verifier.Groth16Verifier__InvalidKey();
        assembly ("memory-safe") {
            // A key may be allocated, or lie at the end of what is.
            let free := add(key, size)
            if lt(free, mload(0x40)) { free := mload(0x40) }
            function isSet(point, words) -> set {
                for { let i := 0 } lt(i, words) { i := add(i, 1) } { set := or(set, mload(add(point, shl(5, i)))) }
                set := iszero(iszero(set))
            }
            // Each ic is added to infinity, and each G2 point paired with alpha: only success counts.
            for { let point := add(key, 576) } lt(point, add(key, size)) { point := add(point, 64) } {
                mstore(free, mload(point))
                mstore(add(free, 32), mload(add(point, 32)))
                mstore(add(free, 64), 0)
                mstore(add(free, 96), 0)
                ok := and(ok, and(isSet(point, 2), staticcall(gas(), 6, free, 128, free, 64)))
                ok := and(ok, eq(returndatasize(), 64))
            }
            for { let i := 0 } lt(i, 3) { i := add(i, 1) } {
                let pair := add(free, mul(192, i))
                let point := add(key, add(192, shl(7, i)))
                mstore(pair, mload(add(key, 128)))
                mstore(add(pair, 32), mload(add(key, 160)))
                for { let j := 0 } lt(j, 128) { j := add(j, 32) } {
                    mstore(add(pair, add(64, j)), mload(add(point, j)))
                }
                ok := and(ok, isSet(point, 4))
            }
            ok := and(ok, and(isSet(add(key, 128), 2), staticcall(gas(), 8, free, 576, free, 32)))
            ok := and(ok, eq(returndatasize(), 32))
            // the same x
            ok := and(ok, iszero(eq(keccak256(add(key, 320), 64), keccak256(add(key, 448), 64))))
        }
        if (!ok) revert IGroth16Verifier.Groth16Verifier__InvalidKey();
    }
}
