/// @title A verifier of Groth16 with a commitment round and two linked polynomials, for one key
/// @notice `verify` returns nothing and reverts unless the proof holds, so a caller cannot ignore its
/// answer and `eth_estimateGas` cannot settle on a limit under which it fails silently.
interface IGroth16LinkVerifier {
    /// The number of public inputs differs from the key's.
    error Groth16LinkVerifier__InvalidLength(uint256 expected, uint256 actual);
    /// The calldata is not the one canonical ABI encoding of its arguments.
    error Groth16LinkVerifier__InvalidCalldata();
    /// Public input `index`, the last that is at fault, is not below the scalar field's modulus r.
    error Groth16LinkVerifier__PublicInputOutOfRange(uint256 index);
    /// Evaluation `index` is not below r.
    error Groth16LinkVerifier__EvaluationOutOfRange(uint256 index);
    /// Proof word `index` is not below the base field's modulus q.
    error Groth16LinkVerifier__CoordinateOutOfRange(uint256 index);
    /// A proof point, the one that starts at word `index`, is the point at infinity.
    error Groth16LinkVerifier__PointAtInfinity(uint256 index);
    /// Commitment `index` is not the one that the public inputs name.
    error Groth16LinkVerifier__InvalidLink(uint256 index);
    /// A proof point is not on its curve or not in its subgroup (or the call ran short of gas).
    error Groth16LinkVerifier__InvalidPoint();
    /// The proof does not hold for these public inputs under this key.
    error Groth16LinkVerifier__InvalidProof();
    /// The key offered at deployment is malformed.
    error Groth16LinkVerifier__InvalidKey();

    /// @notice Reverts unless `proof` shows knowledge of a witness for `publics` whose two linked
    /// polynomials are those of the commitments.
    /// @param proof A.x, A.y, B.x1, B.x0, B.y1, B.y0, C.x, C.y, D.x, D.y (EIP-197's order), the
    /// opening (x, y), the commitments (x, y), the evaluations
    /// @param publics the public inputs, each below r, in the statement's order; the last two are
    /// keccak256(x, y) >> 8 of the commitments
    function verify(uint256[18] calldata proof, uint256[] calldata publics) external view;

    /// @notice keccak256 of the whole key, computed from the key that `verify` uses.
    function vkDigest() external view returns (bytes32);

    /// @notice "ceremony" if the key's setup had several parties, else "development".
    function keyStatus() external view returns (string memory);

    /// @notice The digest of the circuit that the key was made for.
    function circuitDigest() external view returns (bytes32);

    /// @notice The number of public inputs.
    function nPublic() external view returns (uint256);

    /// @notice The number of challenges, of which the first folds the public inputs and is the point
    /// at which the polynomials are opened.
    function nChallenges() external view returns (uint256);
}

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

/// @title Verification of Groth16 with a commitment round and two linked polynomials
/// @dev A key of n public inputs and c challenges is 32 + 2c words, the preimage of `vkDigest`:
///
///     0      keccak256("zkai.groth16-commit-link/1")
///     1      0 for a development key, 1 for a ceremony's
///     2      the circuit's digest
///     3      n, at least 2
///     4      c, at least 1
///     5      2, the number of polynomials
///     6      alpha  (x, y)
///     8      beta   (x1, x0, y1, y0), as delta1, delta2 and tau: EIP-197's order
///     12     delta1
///     16     delta2
///     20     tau
///     24     ic[0] .. ic[c + 3] (x, y): of the constant one, the folded value, the challenges, the
///            evaluations
///
/// gamma is G2's generator. With commitments m_1, m_2, evaluations y_1, y_2 and the opening p,
///
///     seed        = keccak256(word 0, vkDigest, n, x_1 .. x_n, m_1.x, m_1.y, m_2.x, m_2.y, D.x, D.y)
///     challenge_j = keccak256(seed, j) mod r,  j = 1 .. c
///     y           = sum x_i challenge_1^i,     i = 1 .. n
///     h           = keccak256(seed, 0, y_1, y_2),      v = h mod r
///     u           = keccak256(h, A, B, C, p) mod r
///     P           = m_1 + v m_2 - (y_1 + v y_2) [1] + challenge_1 p
///
/// a proof holds if x_{n-1} and x_n are keccak256(m.x, m.y) >> 8 of the commitments and
///
///     e(A, B) = e(alpha, beta) e(ic[0] + y ic[1] + sum challenge_j ic[j + 1] + sum y_i ic[c + 1 + i]
///               + u P, gamma) e(D, delta1) e(C, delta2) e(-u p, tau).
///
/// Schemes: as Groth16CommitBase; Kate, Zaverucha, Goldberg, "Constant-size commitments to polynomials
/// and their applications", ASIACRYPT 2010.
abstract contract Groth16LinkBase is IGroth16LinkVerifier {
    /// The order of BN254's groups (EIP-197).
    uint256 internal constant R = 21888242871839275222246405745257275088548364400416034343698204186575808495617;
    /// The modulus of the field over which BN254 is defined (EIP-196).
    uint256 internal constant Q = 21888242871839275222246405745257275088696311157297823662689037894645226208583;
    /// Where the public inputs start in canonical calldata, which ends with them.
    uint256 private constant INPUTS = 644;
    // G2's generator (EIP-197)
    uint256 private constant G2_X1 = 11559732032986387107991004021392285783925812861821192530917403151452391805634;
    uint256 private constant G2_X0 = 10857046999023057135944570762232829481370756359578518086990519993285655852781;
    uint256 private constant G2_Y1 = 4082367875863433681332203403145435568316851327593401208105741076214120093531;
    uint256 private constant G2_Y0 = 8495653923123431417604973247489272438418190587263600148770280649306958101930;

    /// The key's words, copied to free memory, and its number of challenges. The memory stays
    /// unallocated: it is used before anything else is allocated.
    function _loadKey() internal pure virtual returns (uint256 key, uint256 c);

    /// @inheritdoc IGroth16LinkVerifier
    function verify(uint256[18] calldata proof, uint256[] calldata publics) external view {
        (uint256 key, uint256 c) = _loadKey();
        uint256 n;
        assembly ("memory-safe") {
            n := mload(add(key, 96))
        }
        if (publics.length != n) revert Groth16LinkVerifier__InvalidLength(n, publics.length);
        _checkProofWords(proof);
        _checkLinks(proof, publics);
        // Behind the key: a sum, a product, a point with its scalar, u, v, and what is hashed.
        uint256 work = key + 1024 + 64 * c;
        _hash(key, work, proof);
        _combineInputs(key, c, work, publics);
        _addOpening(work, proof);
        _checkPairing(key, work, proof);
    }

    /// @inheritdoc IGroth16LinkVerifier
    function vkDigest() external pure returns (bytes32 digest) {
        (uint256 key, uint256 c) = _loadKey();
        assembly ("memory-safe") {
            digest := keccak256(key, add(1024, shl(6, c)))
        }
    }

    /// @inheritdoc IGroth16LinkVerifier
    function keyStatus() external pure returns (string memory) {
        return _keyWord(1) == 1 ? "ceremony" : "development";
    }

    /// @inheritdoc IGroth16LinkVerifier
    function circuitDigest() external pure returns (bytes32) {
        return bytes32(_keyWord(2));
    }

    /// @inheritdoc IGroth16LinkVerifier
    function nPublic() external pure returns (uint256) {
        return _keyWord(3);
    }

    /// @inheritdoc IGroth16LinkVerifier
    function nChallenges() external pure returns (uint256) {
        return _keyWord(4);
    }

    function _keyWord(uint256 index) private pure returns (uint256 word) {
        (uint256 key,) = _loadKey();
        assembly ("memory-safe") {
            word := mload(add(key, shl(5, index)))
        }
    }

    /// Reverts unless the arguments stand at their canonical place, every coordinate is below q, every
    /// evaluation below r, and no point is infinity, which the precompiles would take for a point.
    function _checkProofWords(uint256[18] calldata proof) private pure {
        bool canonical;
        bool inRange = true;
        uint256 infinity; // one more than the word where the point at infinity starts
        assembly ("memory-safe") {
            // selector, 18 proof words, the array's offset and length, the array, and nothing else
            let length := calldataload(add(proof, 608))
            canonical := and(eq(calldataload(add(proof, 576)), 608), eq(calldatasize(), add(INPUTS, shl(5, length))))

            // from the last point to the first: the first at infinity is the one named; B is two halves
            for { let word := 16 } word {} {
                word := sub(word, 2)
                let at := add(proof, shl(5, word))
                let x := calldataload(at)
                let y := calldataload(add(at, 32))
                inRange := and(inRange, and(lt(x, Q), lt(y, Q)))
                let any := or(x, y)
                if eq(word, 4) { any := or(any, or(calldataload(sub(at, 64)), calldataload(sub(at, 32)))) }
                if eq(word, 2) { any := or(any, or(calldataload(add(at, 64)), calldataload(add(at, 96)))) }
                if iszero(any) { infinity := add(word, 1) }
            }
        }
        if (!canonical) revert Groth16LinkVerifier__InvalidCalldata();
        if (!inRange) {
            uint256 index;
            while (proof[index] < Q) ++index;
            revert Groth16LinkVerifier__CoordinateOutOfRange(index);
        }
        if (infinity != 0) revert Groth16LinkVerifier__PointAtInfinity(infinity - 1);
        for (uint256 i = 0; i < 2; ++i) {
            if (proof[16 + i] >= R) revert Groth16LinkVerifier__EvaluationOutOfRange(i);
        }
    }

    /// Reverts unless the last two public inputs name the commitments.
    function _checkLinks(uint256[18] calldata proof, uint256[] calldata publics) private pure {
        for (uint256 i = 0; i < 2; ++i) {
            uint256 link;
            assembly ("memory-safe") {
                calldatacopy(0, add(proof, add(384, shl(6, i))), 64)
                link := shr(8, keccak256(0, 64))
            }
            if (publics[publics.length - 2 + i] != link) revert Groth16LinkVerifier__InvalidLink(i);
        }
    }

    /// Leaves u, v and the seed at words 7, 8 and 9 of `work`.
    function _hash(uint256 key, uint256 work, uint256[18] calldata proof) private pure {
        assembly ("memory-safe") {
            let data := add(work, 320)
            // the array's length and the array
            let inputs := sub(calldatasize(), sub(INPUTS, 32))
            mstore(data, mload(key))
            mstore(add(data, 32), keccak256(key, sub(work, key)))
            calldatacopy(add(data, 64), sub(INPUTS, 32), inputs)
            calldatacopy(add(add(data, 64), inputs), add(proof, 384), 128)
            calldatacopy(add(add(data, 192), inputs), add(proof, 256), 64)
            mstore(add(work, 288), keccak256(data, add(256, inputs)))

            mstore(data, mload(add(work, 288)))
            mstore(add(data, 32), 0)
            calldatacopy(add(data, 64), add(proof, 512), 64)
            let h := keccak256(data, 128)
            mstore(add(work, 256), mod(h, R))
            mstore(data, h)
            calldatacopy(add(data, 32), proof, 256)
            calldatacopy(add(data, 288), add(proof, 320), 64)
            mstore(add(work, 224), mod(keccak256(data, 352), R))
        }
    }

    /// Leaves ic[0] + y ic[1] + sum challenge_j ic[j + 1] at words 0 and 1 of `work`, and the first
    /// challenge at word 9, if every public input is below r, or else reverts.
    function _combineInputs(uint256 key, uint256 c, uint256 work, uint256[] calldata publics) private view {
        bool ok = true;
        bool inRange = true;
        assembly ("memory-safe") {
            let point := add(work, 128)
            let ic := add(key, 768)
            mstore(work, mload(ic))
            mstore(add(work, 32), mload(add(ic, 32)))
            // Downwards: the last is the first challenge, which folds the inputs.
            let scalar
            for { let j := c } j { j := sub(j, 1) } {
                mstore(add(work, 320), j)
                scalar := mod(keccak256(add(work, 288), 64), R)
                let at := add(ic, shl(6, add(j, 1)))
                mstore(point, mload(at))
                mstore(add(point, 32), mload(add(at, 32)))
                mstore(add(point, 64), scalar)
                // Arguments are evaluated from the right: first the call, then the size of its answer.
                ok := and(ok, and(eq(returndatasize(), 64), staticcall(gas(), 7, point, 96, add(work, 64), 64)))
                ok := and(ok, and(eq(returndatasize(), 64), staticcall(gas(), 6, work, 128, work, 64)))
            }
            mstore(add(work, 288), scalar)
            let folded
            for { let input := calldatasize() } gt(input, INPUTS) {} {
                input := sub(input, 32)
                let value := calldataload(input)
                inRange := and(inRange, lt(value, R))
                folded := mulmod(add(folded, value), scalar, R)
            }
            // The evaluations stand before the array's offset and length.
            ic := add(ic, 64)
            for { let i := 0 } lt(i, 3) { i := add(i, 1) } {
                mstore(point, mload(ic))
                mstore(add(point, 32), mload(add(ic, 32)))
                mstore(add(point, 64), folded)
                ok := and(ok, and(eq(returndatasize(), 64), staticcall(gas(), 7, point, 96, add(work, 64), 64)))
                ok := and(ok, and(eq(returndatasize(), 64), staticcall(gas(), 6, work, 128, work, 64)))
                folded := calldataload(add(sub(INPUTS, 128), shl(5, i)))
                ic := add(add(key, 896), shl(6, add(c, i)))
            }
        }
        if (!inRange) {
            uint256 index = publics.length - 1;
            while (publics[index] < R) --index;
            revert Groth16LinkVerifier__PublicInputOutOfRange(index);
        }
        if (!ok) revert Groth16LinkVerifier__InvalidPoint();
    }

    /// Adds u P at words 0 and 1 of `work` and leaves u p at words 2 and 3.
    function _addOpening(uint256 work, uint256[18] calldata proof) private view {
        bool ok = true;
        assembly ("memory-safe") {
            let point := add(work, 128)
            let u := mload(add(work, 224))
            let v := mload(add(work, 256))
            // Multiplied by u: m_1 by 1, m_2 by v, p by the first challenge, [1] by -(y_1 + v y_2), all
            // added; then p by 1, not added.
            for { let i := 0 } lt(i, 5) { i := add(i, 1) } {
                let scalar
                switch i
                case 0 {
                    calldatacopy(point, add(proof, 384), 64)
                    scalar := u
                }
                case 1 {
                    calldatacopy(point, add(proof, 448), 64)
                    scalar := mulmod(u, v, R)
                }
                case 2 {
                    mstore(point, 1)
                    mstore(add(point, 32), 2)
                    let sum := addmod(calldataload(add(proof, 512)), mulmod(v, calldataload(add(proof, 544)), R), R)
                    scalar := sub(R, mulmod(u, sum, R))
                }
                case 3 {
                    calldatacopy(point, add(proof, 320), 64)
                    scalar := mulmod(u, mload(add(work, 288)), R)
                }
                default { scalar := u }
                mstore(add(point, 64), scalar)
                ok := and(ok, and(eq(returndatasize(), 64), staticcall(gas(), 7, point, 96, add(work, 64), 64)))
                if lt(i, 4) {
                    ok := and(ok, and(eq(returndatasize(), 64), staticcall(gas(), 6, work, 128, work, 64)))
                }
            }
        }
        if (!ok) revert Groth16LinkVerifier__InvalidPoint();
    }

    /// Reverts unless e(-A, B) e(alpha, beta) e(D, delta1) e(C, delta2) e(-u p, tau) e(sum, gamma) = 1.
    /// The precompile checks that each point is on its curve and each G2 point in its subgroup.
    function _checkPairing(uint256 key, uint256 work, uint256[18] calldata proof) private view {
        bool ok;
        uint256 one;
        assembly ("memory-safe") {
            let pairs := add(work, 128)
            calldatacopy(pairs, proof, 192)
            // y is below q and never 0: the group's order is odd
            mstore(add(pairs, 32), sub(Q, calldataload(add(proof, 32))))
            let from := add(key, 192)
            let to := add(pairs, 192)
            for { let i := 0 } lt(i, 192) { i := add(i, 32) } { mstore(add(to, i), mload(add(from, i))) }
            // delta1, delta2 and tau follow each other; D and C and -u p come before them
            calldatacopy(add(pairs, 384), add(proof, 256), 64)
            calldatacopy(add(pairs, 576), add(proof, 192), 64)
            mstore(add(pairs, 768), mload(add(work, 64)))
            mstore(add(pairs, 800), sub(Q, mload(add(work, 96))))
            for { let i := 0 } lt(i, 3) { i := add(i, 1) } {
                from := add(key, add(384, shl(7, i)))
                to := add(pairs, add(448, mul(192, i)))
                mstore(to, mload(from))
                mstore(add(to, 32), mload(add(from, 32)))
                mstore(add(to, 64), mload(add(from, 64)))
                mstore(add(to, 96), mload(add(from, 96)))
            }
            mstore(add(pairs, 960), mload(work))
            mstore(add(pairs, 992), mload(add(work, 32)))
            mstore(add(pairs, 1024), G2_X1)
            mstore(add(pairs, 1056), G2_X0)
            mstore(add(pairs, 1088), G2_Y1)
            mstore(add(pairs, 1120), G2_Y0)
            ok := and(eq(returndatasize(), 32), staticcall(gas(), 8, pairs, 1152, work, 32))
            one := mload(work)
        }
        if (!ok) revert Groth16LinkVerifier__InvalidPoint();
        if (one != 1) revert Groth16LinkVerifier__InvalidProof();
    }
}
