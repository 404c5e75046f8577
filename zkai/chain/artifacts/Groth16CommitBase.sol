/// @title A verifier of Groth16 with a commitment round, over BN254, for one verifying key
/// @notice `verify` returns nothing and reverts unless the proof holds, so a caller cannot ignore its
/// answer and `eth_estimateGas` cannot settle on a limit under which it fails silently.
interface IGroth16CommitVerifier {
    /// The number of public inputs differs from the key's.
    error Groth16CommitVerifier__InvalidLength(uint256 expected, uint256 actual);
    /// The calldata is not the one canonical ABI encoding of its arguments.
    error Groth16CommitVerifier__InvalidCalldata();
    /// Public input `index`, the last that is at fault, is not below the scalar field's modulus r.
    error Groth16CommitVerifier__PublicInputOutOfRange(uint256 index);
    /// Proof word `index` is not below the base field's modulus q.
    error Groth16CommitVerifier__CoordinateOutOfRange(uint256 index);
    /// A proof point, the one that starts at word `index`, is the point at infinity.
    error Groth16CommitVerifier__PointAtInfinity(uint256 index);
    /// A proof point is not on its curve or not in its subgroup (or the call ran short of gas).
    error Groth16CommitVerifier__InvalidPoint();
    /// The proof does not hold for these public inputs under this key.
    error Groth16CommitVerifier__InvalidProof();
    /// The key offered at deployment is malformed.
    error Groth16CommitVerifier__InvalidKey();

    /// @notice Reverts unless `proof` shows knowledge of a witness for `publics`.
    /// @param proof A.x, A.y, B.x1, B.x0, B.y1, B.y0, C.x, C.y, D.x, D.y (EIP-197's order)
    /// @param publics the public inputs, each below r, in the statement's order
    function verify(uint256[10] calldata proof, uint256[] calldata publics) external view;

    /// @notice keccak256 of the whole key, computed from the key that `verify` uses.
    function vkDigest() external view returns (bytes32);

    /// @notice "ceremony" if the key's setup had several parties, else "development".
    function keyStatus() external view returns (string memory);

    /// @notice The digest of the circuit that the key was made for.
    function circuitDigest() external view returns (bytes32);

    /// @notice The number of public inputs.
    function nPublic() external view returns (uint256);

    /// @notice The number of challenges, of which the first folds the public inputs.
    function nChallenges() external view returns (uint256);
}

/// @title The check that a key with a commitment round goes through once, at deployment
library Groth16CommitKey {
    // The x of G2's generator (EIP-197), which stands for gamma
    uint256 private constant G2_X1 = 11559732032986387107991004021392285783925812861821192530917403151452391805634;
    uint256 private constant G2_X0 = 10857046999023057135944570762232829481370756359578518086990519993285655852781;

    /// Reverts unless the `size` bytes at `key` are a well-formed key: its header, every point on its
    /// curve, in its subgroup and not infinity, and gamma, delta1 and delta2 all different, up to
    /// sign (else anyone forges proofs; a phase 2 without contributions leaves all three the same).
    function check(uint256 key, uint256 size) internal view {
        bool ok;
        bytes32 domain = keccak256("zkai.groth16-commit/1");
        assembly ("memory-safe") {
            let c := mload(add(key, 128))
            ok := and(eq(mload(key), domain), lt(mload(add(key, 32)), 2))
            // no key has more; the size would wrap
            ok := and(ok, and(lt(mload(add(key, 96)), 65536), lt(sub(c, 1), 255)))
            ok := and(ok, eq(size, add(736, shl(6, c))))
        }
        if (!ok) revert IGroth16CommitVerifier.Groth16CommitVerifier__InvalidKey();
        assembly ("memory-safe") {
            // A key may be allocated, or lie at the end of what is.
            let free := add(key, size)
            if lt(free, mload(0x40)) { free := mload(0x40) }
            function isSet(point, words) -> set {
                for { let i := 0 } lt(i, words) { i := add(i, 1) } { set := or(set, mload(add(point, shl(5, i)))) }
                set := iszero(iszero(set))
            }
            // Each ic is added to infinity, and each G2 point paired with alpha: only success counts.
            for { let point := add(key, 608) } lt(point, add(key, size)) { point := add(point, 64) } {
                mstore(free, mload(point))
                mstore(add(free, 32), mload(add(point, 32)))
                mstore(add(free, 64), 0)
                mstore(add(free, 96), 0)
                ok := and(ok, and(isSet(point, 2), staticcall(gas(), 6, free, 128, free, 64)))
                ok := and(ok, eq(returndatasize(), 64))
            }
            for { let i := 0 } lt(i, 3) { i := add(i, 1) } {
                let pair := add(free, mul(192, i))
                let point := add(key, add(224, shl(7, i)))
                mstore(pair, mload(add(key, 160)))
                mstore(add(pair, 32), mload(add(key, 192)))
                for { let j := 0 } lt(j, 128) { j := add(j, 32) } {
                    mstore(add(pair, add(64, j)), mload(add(point, j)))
                }
                ok := and(ok, isSet(point, 4))
            }
            ok := and(ok, and(isSet(add(key, 160), 2), staticcall(gas(), 8, free, 576, free, 32)))
            ok := and(ok, eq(returndatasize(), 32))
            let x1 := mload(add(key, 352))
            let x0 := mload(add(key, 384))
            let other1 := mload(add(key, 480))
            let other0 := mload(add(key, 512))
            ok := and(ok, iszero(and(eq(x1, other1), eq(x0, other0))))
            ok := and(ok, iszero(and(eq(x1, G2_X1), eq(x0, G2_X0))))
            ok := and(ok, iszero(and(eq(other1, G2_X1), eq(other0, G2_X0))))
        }
        if (!ok) revert IGroth16CommitVerifier.Groth16CommitVerifier__InvalidKey();
    }
}

/// @title Verification of Groth16 with a commitment round over a key that lies in code
/// @dev A key of n public inputs and c challenges is 23 + 2c words, the preimage of `vkDigest`:
///
///     0      keccak256("zkai.groth16-commit/1")
///     1      0 for a development key, 1 for a ceremony's
///     2      the circuit's digest
///     3      n
///     4      c, at least 1
///     5      alpha  (x, y)
///     7      beta   (x1, x0, y1, y0), as delta1 and delta2: EIP-197's order
///     11     delta1
///     15     delta2
///     19     ic[0] .. ic[c + 1] (x, y): of the constant one, the folded value, the challenges
///
/// gamma is G2's generator. D commits to the first round's wires, the public inputs among them. With
///
///     seed        = keccak256(word 0, vkDigest, n, x_1 .. x_n, D.x, D.y)
///     challenge_j = keccak256(seed, j) mod r,  j = 1 .. c
///     y           = sum x_i challenge_1^i,     i = 1 .. n
///
/// a proof holds if
///
///     e(A, B) = e(alpha, beta) e(ic[0] + y ic[1] + sum challenge_j ic[j + 1], gamma)
///               e(D, delta1) e(C, delta2).
///
/// Schemes: Groth, "On the size of pairing-based non-interactive arguments", EUROCRYPT 2016, section
/// 3.2; Kosba et al., "MIRAGE: Succinct arguments for randomized algorithms", USENIX Security 2020.
abstract contract Groth16CommitBase is IGroth16CommitVerifier {
    /// The order of BN254's groups (EIP-197).
    uint256 internal constant R = 21888242871839275222246405745257275088548364400416034343698204186575808495617;
    /// The modulus of the field over which BN254 is defined (EIP-196).
    uint256 internal constant Q = 21888242871839275222246405745257275088696311157297823662689037894645226208583;
    /// Where the public inputs start in canonical calldata, which ends with them.
    uint256 private constant INPUTS = 388;
    // G2's generator (EIP-197)
    uint256 private constant G2_X1 = 11559732032986387107991004021392285783925812861821192530917403151452391805634;
    uint256 private constant G2_X0 = 10857046999023057135944570762232829481370756359578518086990519993285655852781;
    uint256 private constant G2_Y1 = 4082367875863433681332203403145435568316851327593401208105741076214120093531;
    uint256 private constant G2_Y0 = 8495653923123431417604973247489272438418190587263600148770280649306958101930;

    /// The key's words, copied to free memory with a free word before them, and its number of
    /// challenges. The memory stays unallocated: it is used before anything else is allocated.
    function _loadKey() internal pure virtual returns (uint256 key, uint256 c);

    /// @inheritdoc IGroth16CommitVerifier
    function verify(uint256[10] calldata proof, uint256[] calldata publics) external view {
        (uint256 key, uint256 c) = _loadKey();
        uint256 n;
        assembly ("memory-safe") {
            n := mload(add(key, 96))
        }
        if (publics.length != n) revert Groth16CommitVerifier__InvalidLength(n, publics.length);
        _checkProofWords(proof);
        uint256 seed = _hashSeed(key, c, proof);
        // No seed of values that are not canonical is of use: this reverts, so each statement has one.
        (uint256 x, uint256 y) = _combineInputs(key, c, seed, publics);
        _checkPairing(key, x, y, proof);
    }

    /// @inheritdoc IGroth16CommitVerifier
    function vkDigest() external pure returns (bytes32 digest) {
        (uint256 key, uint256 c) = _loadKey();
        assembly ("memory-safe") {
            digest := keccak256(key, add(736, shl(6, c)))
        }
    }

    /// @inheritdoc IGroth16CommitVerifier
    function keyStatus() external pure returns (string memory) {
        return _keyWord(1) == 1 ? "ceremony" : "development";
    }

    /// @inheritdoc IGroth16CommitVerifier
    function circuitDigest() external pure returns (bytes32) {
        return bytes32(_keyWord(2));
    }

    /// @inheritdoc IGroth16CommitVerifier
    function nPublic() external pure returns (uint256) {
        return _keyWord(3);
    }

    /// @inheritdoc IGroth16CommitVerifier
    function nChallenges() external pure returns (uint256) {
        return _keyWord(4);
    }

    function _keyWord(uint256 index) private pure returns (uint256 word) {
        (uint256 key,) = _loadKey();
        assembly ("memory-safe") {
            word := mload(add(key, shl(5, index)))
        }
    }

    /// Reverts unless the arguments stand at their canonical place, every coordinate is below q and
    /// no point is infinity. The precompiles take infinity for a point; an honest prover never makes one.
    function _checkProofWords(uint256[10] calldata proof) private pure {
        bool canonical;
        bool inRange;
        uint256 infinity; // one more than the word where the point at infinity starts
        assembly ("memory-safe") {
            // selector, 10 proof words, the array's offset and length, the array, and nothing else
            let length := calldataload(add(proof, 352))
            canonical := and(eq(calldataload(add(proof, 320)), 352), eq(calldatasize(), add(388, shl(5, length))))

            // D, C, B, A: the first point at infinity is the one named
            let x := calldataload(add(proof, 256))
            let y := calldataload(add(proof, 288))
            inRange := and(lt(x, Q), lt(y, Q))
            if iszero(or(x, y)) { infinity := 9 }
            x := calldataload(add(proof, 192))
            y := calldataload(add(proof, 224))
            inRange := and(inRange, and(lt(x, Q), lt(y, Q)))
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
        if (!canonical) revert Groth16CommitVerifier__InvalidCalldata();
        if (!inRange) {
            uint256 index;
            while (proof[index] < Q) ++index;
            revert Groth16CommitVerifier__CoordinateOutOfRange(index);
        }
        if (infinity != 0) revert Groth16CommitVerifier__PointAtInfinity(infinity - 1);
    }

    /// keccak256(domain, vkDigest, n, x_1 .. x_n, D.x, D.y). Writes behind the key.
    function _hashSeed(uint256 key, uint256 c, uint256[10] calldata proof) private pure returns (uint256 seed) {
        assembly ("memory-safe") {
            let size := add(736, shl(6, c))
            let data := add(key, size)
            // the array's length and the array
            let inputs := sub(calldatasize(), sub(INPUTS, 32))
            mstore(data, mload(key))
            mstore(add(data, 32), keccak256(key, size))
            calldatacopy(add(data, 64), sub(INPUTS, 32), inputs)
            calldatacopy(add(add(data, 64), inputs), add(proof, 256), 64)
            seed := keccak256(data, add(128, inputs))
        }
    }

    /// ic[0] + y ic[1] + sum challenge_j ic[j + 1], if every public input is below r, or else reverts.
    /// Overwrites ic[1] and later, and what lies behind.
    function _combineInputs(uint256 key, uint256 c, uint256 seed, uint256[] calldata publics)
        private
        view
        returns (uint256 x, uint256 y)
    {
        bool ok = true;
        bool inRange = true;
        assembly ("memory-safe") {
            let ic := add(key, 608)
            let point := add(ic, shl(6, add(c, 1)))
            // the sum so far, then the next product; one word after the key takes the last scalar
            let sum := add(point, 96)
            let product := add(sum, 64)
            let hashed := add(product, 64)
            mstore(sum, mload(ic))
            mstore(add(sum, 32), mload(add(ic, 32)))
            mstore(hashed, seed)
            // Downwards, because the scalar beside ic[i] overwrites the x of ic[i + 1]. After the last
            // turn, which is the first challenge's, that challenge folds the inputs.
            let scalar
            for { let j := c } j { j := sub(j, 1) } {
                mstore(add(hashed, 32), j)
                scalar := mod(keccak256(hashed, 64), R)
                mstore(add(point, 64), scalar)
                // Arguments are evaluated from the right: first the call, then the size of its answer.
                ok := and(ok, and(eq(returndatasize(), 64), staticcall(gas(), 7, point, 96, product, 64)))
                ok := and(ok, and(eq(returndatasize(), 64), staticcall(gas(), 6, sum, 128, sum, 64)))
                point := sub(point, 64)
            }
            let folded
            for { let input := calldatasize() } gt(input, INPUTS) {} {
                input := sub(input, 32)
                let value := calldataload(input)
                inRange := and(inRange, lt(value, R))
                folded := mulmod(add(folded, value), scalar, R)
            }
            mstore(add(point, 64), folded)
            ok := and(ok, and(eq(returndatasize(), 64), staticcall(gas(), 7, point, 96, product, 64)))
            ok := and(ok, and(eq(returndatasize(), 64), staticcall(gas(), 6, sum, 128, sum, 64)))
            x := mload(sum)
            y := mload(add(sum, 32))
        }
        if (!inRange) {
            uint256 index = publics.length - 1;
            while (publics[index] < R) --index;
            revert Groth16CommitVerifier__PublicInputOutOfRange(index);
        }
        if (!ok) revert Groth16CommitVerifier__InvalidPoint();
    }

    /// Reverts unless e(-A, B) e(alpha, beta) e(D, delta1) e(C, delta2) e((x, y), gamma) = 1.
    /// The precompile checks that each point is on its curve and each G2 point in its subgroup.
    function _checkPairing(uint256 key, uint256 x, uint256 y, uint256[10] calldata proof) private view {
        bool ok;
        uint256 one;
        assembly ("memory-safe") {
            // The pairs are laid around alpha and beta, which stay: A and B over the header and the
            // word before it, delta1 and delta2 moved up to let D and C in, and gamma behind.
            mstore(add(key, 736), x)
            mstore(add(key, 768), y)
            mstore(add(key, 800), G2_X1)
            mstore(add(key, 832), G2_X0)
            mstore(add(key, 864), G2_Y1)
            mstore(add(key, 896), G2_Y0)
            mstore(add(key, 704), mload(add(key, 576)))
            mstore(add(key, 672), mload(add(key, 544)))
            mstore(add(key, 640), mload(add(key, 512)))
            mstore(add(key, 608), mload(add(key, 480)))
            calldatacopy(add(key, 544), add(proof, 192), 64)
            mstore(add(key, 512), mload(add(key, 448)))
            mstore(add(key, 480), mload(add(key, 416)))
            mstore(add(key, 448), mload(add(key, 384)))
            mstore(add(key, 416), mload(add(key, 352)))
            calldatacopy(add(key, 352), add(proof, 256), 64)
            let pairs := sub(key, 32)
            calldatacopy(pairs, proof, 192)
            // y is below q and never 0: the group's order is odd
            mstore(key, sub(Q, calldataload(add(proof, 32))))
            ok := and(eq(returndatasize(), 32), staticcall(gas(), 8, pairs, 960, pairs, 32))
            one := mload(pairs)
        }
        if (!ok) revert Groth16CommitVerifier__InvalidPoint();
        if (one != 1) revert Groth16CommitVerifier__InvalidProof();
    }
}
