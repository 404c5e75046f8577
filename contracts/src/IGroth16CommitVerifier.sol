// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

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
