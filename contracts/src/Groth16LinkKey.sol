// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

import {IGroth16LinkVerifier} from "./IGroth16LinkVerifier.sol";

/// @title The check that a key with two linked polynomials goes through once, at deployment
library Groth16LinkKey {
    // The x of G2's generator (EIP-197), which stands for gamma
    uint256 private constant G2_X1 = 11559732032986387107991004021392285783925812861821192530917403151452391805634;
    uint256 private constant G2_X0 = 10857046999023057135944570762232829481370756359578518086990519993285655852781;

    /// Reverts unless the `size` bytes at `key` are a well-formed key: its header, every point on its
    /// curve, in its subgroup and not infinity, and gamma, delta1, delta2 and tau all different, up to
    /// sign (else anyone forges proofs).
    function check(uint256 key, uint256 size) internal view {
        bool ok;
        bytes32 domain = keccak256("zkai.groth16-commit-link/1");
        assembly ("memory-safe") {
            let c := mload(add(key, 128))
            ok := and(eq(mload(key), domain), lt(mload(add(key, 32)), 2))
            // no key has more; the size would wrap
            ok := and(ok, and(lt(sub(mload(add(key, 96)), 2), 65534), lt(sub(c, 1), 255)))
            ok := and(ok, eq(mload(add(key, 160)), 2))
            ok := and(ok, eq(size, add(1024, shl(6, c))))
        }
        if (!ok) revert IGroth16LinkVerifier.Groth16LinkVerifier__InvalidKey();
        assembly ("memory-safe") {
            // A key may be allocated, or lie at the end of what is.
            let free := add(key, size)
            if lt(free, mload(0x40)) { free := mload(0x40) }
            function isSet(point, words) -> set {
                for { let i := 0 } lt(i, words) { i := add(i, 1) } { set := or(set, mload(add(point, shl(5, i)))) }
                set := iszero(iszero(set))
            }
            // Each ic is added to infinity, and each G2 point paired with alpha: only success counts.
            for { let point := add(key, 768) } lt(point, add(key, size)) { point := add(point, 64) } {
                mstore(free, mload(point))
                mstore(add(free, 32), mload(add(point, 32)))
                mstore(add(free, 64), 0)
                mstore(add(free, 96), 0)
                ok := and(ok, and(isSet(point, 2), staticcall(gas(), 6, free, 128, free, 64)))
                ok := and(ok, eq(returndatasize(), 64))
            }
            for { let i := 0 } lt(i, 4) { i := add(i, 1) } {
                let pair := add(free, mul(192, i))
                let point := add(key, add(256, shl(7, i)))
                mstore(pair, mload(add(key, 192)))
                mstore(add(pair, 32), mload(add(key, 224)))
                for { let j := 0 } lt(j, 128) { j := add(j, 32) } {
                    mstore(add(pair, add(64, j)), mload(add(point, j)))
                }
                ok := and(ok, isSet(point, 4))
            }
            ok := and(ok, and(isSet(add(key, 192), 2), staticcall(gas(), 8, free, 768, free, 32)))
            ok := and(ok, eq(returndatasize(), 32))
            // delta1, delta2 and tau: none is the generator, and none another
            for { let i := 0 } lt(i, 3) { i := add(i, 1) } {
                let point := add(key, add(384, shl(7, i)))
                let x1 := mload(point)
                let x0 := mload(add(point, 32))
                ok := and(ok, iszero(and(eq(x1, G2_X1), eq(x0, G2_X0))))
                for { let j := 0 } lt(j, i) { j := add(j, 1) } {
                    let other := add(key, add(384, shl(7, j)))
                    ok := and(ok, iszero(and(eq(x1, mload(other)), eq(x0, mload(add(other, 32))))))
                }
            }
        }
        if (!ok) revert IGroth16LinkVerifier.Groth16LinkVerifier__InvalidKey();
    }
}
