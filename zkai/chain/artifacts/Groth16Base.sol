/// @title A Groth16 verifier over BN254 for one verifying key
/// @notice `verify` returns nothing and reverts unless the proof holds, so a caller cannot ignore its
/// answer and `eth_estimateGas` cannot settle on a limit under which it fails silently.
interface IGroth16Verifier {
    /// The number of public inputs differs from the key's.
    error Groth16Verifier__InvalidLength(uint256 expected, uint256 actual);
    /// The calldata is not the one canonical ABI encoding of its arguments.
    error Groth16Verifier__InvalidCalldata();
    /// Public input `index`, the last that is at fault, is not below the scalar field's modulus r.
    error Groth16Verifier__PublicInputOutOfRange(uint256 index);
    /// Proof word `index` is not below the base field's modulus q.
    error Groth16Verifier__CoordinateOutOfRange(uint256 index);
    /// A proof point, the one that starts at word `index`, is the point at infinity.
    error Groth16Verifier__PointAtInfinity(uint256 index);
    /// A proof point is not on its curve or not in its subgroup (or the call ran short of gas).
    error Groth16Verifier__InvalidPoint();
    /// The proof does not hold for these public inputs under this key.
    error Groth16Verifier__InvalidProof();
    /// The key offered at deployment is malformed.
    error Groth16Verifier__InvalidKey();

    /// @notice Reverts unless `proof` shows knowledge of a witness for `publics`.
    /// @param proof A.x, A.y, B.x1, B.x0, B.y1, B.y0, C.x, C.y (EIP-197's order)
    /// @param publics the public inputs, each below r, in the statement's order
    function verify(uint256[8] calldata proof, uint256[] calldata publics) external view;

    /// @notice keccak256 of the whole key, computed from the key that `verify` uses.
    function vkDigest() external view returns (bytes32);

    /// @notice "ceremony" if the key's setup had several parties, else "development".
    function keyStatus() external view returns (string memory);

    /// @notice The digest of the circuit that the key was made for.
    function circuitDigest() external view returns (bytes32);

    /// @notice The number of public inputs.
    function nPublic() external view returns (uint256);
}

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
