// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

import {IGroth16Verifier} from "./IGroth16Verifier.sol";

/// @title Groth16 verification over a key that lies in code
/// @dev A key of n public inputs is 20 + 2n words, the preimage of `vkDigest`:
///
///     0      keccak256("zkai.groth16/1")
///     1      0 for a development key, 1 for a ceremony's
///     2      the circuit's digest
///     3      n
///     4      alpha (x, y)
///     6      beta  (x1, x0, y1, y0), as gamma and delta: EIP-197's order
///     10     gamma
///     14     delta
///     18     ic[0] .. ic[n] (x, y)
///
/// Scheme: Groth, "On the size of pairing-based non-interactive arguments", EUROCRYPT 2016, section 3.2.
abstract contract Groth16Base is IGroth16Verifier {
    /// The order of BN254's groups (EIP-197).
    uint256 internal constant R = 21888242871839275222246405745257275088548364400416034343698204186575808495617;
    /// The modulus of the field over which BN254 is defined (EIP-196).
    uint256 internal constant Q = 21888242871839275222246405745257275088696311157297823662689037894645226208583;

    /// The key's words, copied to free memory with two free words before them, and its number of
    /// public inputs. The memory stays unallocated: it is used before anything else is allocated.
    function _loadKey() internal pure virtual returns (uint256 key, uint256 n);

    /// @inheritdoc IGroth16Verifier
    function verify(uint256[8] calldata proof, uint256[] calldata publics) external view {
        (uint256 key, uint256 n) = _loadKey();
        if (publics.length != n) revert Groth16Verifier__InvalidLength(n, publics.length);
        _checkProofWords(proof);
        (uint256 x, uint256 y) = _combineInputs(key, n, publics);
        _checkPairing(key, x, y, proof);
    }

    /// @inheritdoc IGroth16Verifier
    function vkDigest() external pure returns (bytes32 digest) {
        (uint256 key, uint256 n) = _loadKey();
        assembly ("memory-safe") {
            digest := keccak256(key, add(640, shl(6, n)))
        }
    }

    /// @inheritdoc IGroth16Verifier
    function keyStatus() external pure returns (string memory) {
        return _keyWord(1) == 1 ? "ceremony" : "development";
    }

    /// @inheritdoc IGroth16Verifier
    function circuitDigest() external pure returns (bytes32) {
        return bytes32(_keyWord(2));
    }

    /// @inheritdoc IGroth16Verifier
    function nPublic() external pure returns (uint256) {
        return _keyWord(3);
    }

    function _keyWord(uint256 index) private pure returns (uint256 word) {
        (uint256 key,) = _loadKey();
        assembly ("memory-safe") {
            word := mload(add(key, shl(5, index)))
        }
    }

    /// Reverts unless the arguments stand at their canonical place, every coordinate is below q and
    /// no point is infinity. The precompiles take infinity for a point; an honest prover never makes one.
    function _checkProofWords(uint256[8] calldata proof) private pure {
        bool canonical;
        bool inRange;
        uint256 infinity; // one more than the word where the point at infinity starts
        assembly ("memory-safe") {
            // selector, 8 proof words, the array's offset and length, the array, and nothing else
            let length := calldataload(add(proof, 288))
            canonical := and(eq(calldataload(add(proof, 256)), 288), eq(calldatasize(), add(324, shl(5, length))))

            // C, B, A: the first point at infinity is the one named
            let x := calldataload(add(proof, 192))
            let y := calldataload(add(proof, 224))
            inRange := and(lt(x, Q), lt(y, Q))
            if iszero(or(x, y)) { infinity := 7 }
            x := calldataload(add(proof, 64))
            y := calldataload(add(proof, 96))
            let any := or(x, y)
            inRange := and(inRange, and(lt(x, Q), lt(y, Q)))
            x := calldataload(add(proof, 128))
            y := calldataload(add(proof, 160))
            inRange := and(inRange, and(lt(x, Q), lt(y, Q)))
            if iszero(or(any, or(x, y))) { infinity := 3 }
            x := calldataload(proof)
            y := calldataload(add(proof, 32))
            inRange := and(inRange, and(lt(x, Q), lt(y, Q)))
            if iszero(or(x, y)) { infinity := 1 }
        }
        if (!canonical) revert Groth16Verifier__InvalidCalldata();
        if (!inRange) {
            uint256 index;
            while (proof[index] < Q) ++index;
            revert Groth16Verifier__CoordinateOutOfRange(index);
        }
        if (infinity != 0) revert Groth16Verifier__PointAtInfinity(infinity - 1);
    }

    /// ic[0] + sum x_i ic[i]. Overwrites ic[2] and later.
    function _combineInputs(uint256 key, uint256 n, uint256[] calldata publics)
        private
        view
        returns (uint256 x, uint256 y)
    {
        uint256 bad; // one more than the index of an input that is not below r
        bool ok = true;
        assembly ("memory-safe") {
            let ic := add(key, 576)
            let point := add(ic, shl(6, n))
            let input := add(publics.offset, shl(5, n))
            // the sum so far, then the next product; one word after the key takes the last scalar
            let sum := add(point, 96)
            let product := add(sum, 64)
            mstore(sum, mload(ic))
            mstore(add(sum, 32), mload(add(ic, 32)))
            // Downwards, because the scalar beside ic[i] overwrites the x of ic[i + 1].
            for {} gt(point, ic) { point := sub(point, 64) } {
                input := sub(input, 32)
                let scalar := calldataload(input)
                if iszero(lt(scalar, R)) {
                    bad := shr(6, sub(point, ic))
                    break
                }
                mstore(add(point, 64), scalar)
                // Arguments are evaluated from the right: first the call, then the size of its answer.
                ok := and(ok, and(eq(returndatasize(), 64), staticcall(gas(), 7, point, 96, product, 64)))
                ok := and(ok, and(eq(returndatasize(), 64), staticcall(gas(), 6, sum, 128, sum, 64)))
            }
            x := mload(sum)
            y := mload(add(sum, 32))
        }
        if (bad != 0) revert Groth16Verifier__PublicInputOutOfRange(bad - 1);
        if (!ok) revert Groth16Verifier__InvalidPoint();
    }

    /// Reverts unless e(-A, B) e(alpha, beta) e((x, y), gamma) e(C, delta) = 1.
    /// The precompile checks that each point is on its curve and each G2 point in its subgroup.
    function _checkPairing(uint256 key, uint256 x, uint256 y, uint256[8] calldata proof) private view {
        bool ok;
        uint256 one;
        assembly ("memory-safe") {
            // The pairs are laid around alpha and beta, which stay: A and B over the header and the
            // two words before it, gamma and delta moved up to let (x, y) and C in.
            mstore(add(key, 576), mload(add(key, 448)))
            mstore(add(key, 608), mload(add(key, 480)))
            mstore(add(key, 640), mload(add(key, 512)))
            mstore(add(key, 672), mload(add(key, 544)))
            mstore(add(key, 480), mload(add(key, 416)))
            mstore(add(key, 448), mload(add(key, 384)))
            mstore(add(key, 416), mload(add(key, 352)))
            mstore(add(key, 384), mload(add(key, 320)))
            mstore(add(key, 320), x)
            mstore(add(key, 352), y)
            calldatacopy(add(key, 512), add(proof, 192), 64)
            let pairs := sub(key, 64)
            calldatacopy(pairs, proof, 192)
            // y is below q and never 0: the group's order is odd
            mstore(sub(key, 32), sub(Q, calldataload(add(proof, 32))))
            ok := and(eq(returndatasize(), 32), staticcall(gas(), 8, pairs, 768, pairs, 32))
            one := mload(pairs)
        }
        if (!ok) revert Groth16Verifier__InvalidPoint();
        if (one != 1) revert Groth16Verifier__InvalidProof();
    }
}
