// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

/// @title A Halo2 verifier over BN254 for one verifying key
/// @notice `verify` returns nothing and reverts unless the proof holds.
interface IHalo2Verifier {
    /// The number of public inputs differs from the key's.
    error Halo2Adapter__InvalidLength(uint256 expected, uint256 actual);
    /// The proof has another number of bytes than the key's proofs.
    error Halo2Adapter__InvalidProofLength(uint256 expected, uint256 actual);
    /// Public input `index`, the first that is at fault, is not below the scalar field's modulus r.
    error Halo2Adapter__PublicInputOutOfRange(uint256 index);
    /// The proof does not hold for these public inputs under this key (or the call ran short of gas).
    error Halo2Adapter__InvalidProof();
    /// At deployment: the words are not those of an adapter.
    error Halo2Adapter__InvalidKey();
    /// At deployment: the contract that is to verify is missing or has other code than named.
    error Halo2Adapter__WrongVerifier(bytes32 codeHash);

    /// @notice Reverts unless `proof` shows knowledge of a witness for `publics`.
    /// @param proof the proof's bytes
    /// @param publics the public inputs, each below r, in the circuit's order
    function verify(bytes calldata proof, uint256[] calldata publics) external view;

    /// @notice The digest of the verifying key, as proofs name it; who deploys the adapter states it.
    function vkDigest() external view returns (bytes32);

    /// @notice "ceremony" if the setup string is a published ceremony's, else "development".
    function keyStatus() external view returns (string memory);

    /// @notice The digest of the circuit, as proofs name it; who deploys the adapter states it.
    function circuitDigest() external view returns (bytes32);

    /// @notice The number of public inputs.
    function nPublic() external view returns (uint256);

    /// @notice The contract that verifies, and the hash of its code.
    function verifier() external view returns (address where, bytes32 codeHash);

    /// @notice keccak256 of the key that a reusable verifier is given; 0 if the verifier has its own.
    function vkaDigest() external view returns (bytes32);
}
