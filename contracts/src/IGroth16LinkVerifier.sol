// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

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
