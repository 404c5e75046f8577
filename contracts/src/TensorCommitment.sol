// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

/// @title Leaves of a committed model
/// @notice docs/commitments.md in Solidity: from the bytes of one leaf to the root over all tensors.
/// Sizes come from the commitment alone, so a proof cannot pretend another shape of a tree.
library TensorCommitment {
    error TensorCommitment__NoSuchLeaf(uint256 index, uint256 leaves);
    error TensorCommitment__WrongProofLength();
    error TensorCommitment__WrongLeafLength(uint256 expected, uint256 given);

    /// What a commitment says of one tensor, and where it stands in the table.
    struct Tensor {
        /// keccak256 of the name's UTF-8 bytes
        bytes32 name;
        /// keccak256 of the head, such as float32[64,10]
        bytes32 head;
        uint64 leafBytes;
        uint64 total;
        uint64 place;
        uint64 count;
    }

    /// @notice Returns the model's root to which a leaf leads; compare it with the published one.
    /// @param data the leaf's bytes: leafBytes of them, or what is left for the last leaf
    /// @param path the siblings in the tensor's tree, from the leaf up
    /// @param layers the siblings in the tree over the tensors, from the layer up
    function rootOf(
        Tensor memory tensor,
        uint64 index,
        bytes memory data,
        bytes32[] memory path,
        bytes32[] memory layers
    ) internal pure returns (bytes32) {
        uint256 leaves = tensor.total == 0 ? 1 : (uint256(tensor.total) + tensor.leafBytes - 1) / tensor.leafBytes;
        if (index >= leaves) revert TensorCommitment__NoSuchLeaf(index, leaves);
        uint256 start = uint256(index) * tensor.leafBytes;
        uint256 size = index + 1 == leaves ? tensor.total - start : tensor.leafBytes;
        if (data.length != size) revert TensorCommitment__WrongLeafLength(size, data.length);
        bytes32 top = climb(keccak256(abi.encodePacked("zkaileaf", data)), index, leaves, path);
        bytes32 digest = keccak256(abi.encodePacked("zkaitnsr", tensor.leafBytes, tensor.total, tensor.head, top));
        bytes32 layer = keccak256(abi.encodePacked("zkailayr", tensor.name, digest));
        if (tensor.place >= tensor.count) revert TensorCommitment__NoSuchLeaf(tensor.place, tensor.count);
        return keccak256(abi.encodePacked("zkaimodl", tensor.count, climb(layer, tensor.place, tensor.count, layers)));
    }

    /// @notice Returns the root over `width` nodes to which the one at `place` leads.
    function climb(bytes32 hash, uint256 place, uint256 width, bytes32[] memory path) internal pure returns (bytes32) {
        uint256 used = 0;
        for (; width > 1; width = (width + 1) >> 1) {
            if (place ^ 1 < width) {
                if (used == path.length) revert TensorCommitment__WrongProofLength();
                hash = place & 1 == 1
                    ? keccak256(abi.encodePacked("zkainode", path[used], hash))
                    : keccak256(abi.encodePacked("zkainode", hash, path[used]));
                ++used;
            }
            place >>= 1;
        }
        if (used != path.length) revert TensorCommitment__WrongProofLength();
        return hash;
    }
}
