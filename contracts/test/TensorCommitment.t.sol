// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

import {TensorCommitment} from "../src/TensorCommitment.sol";

/// The part of Foundry's cheatcodes that these tests use.
interface Vm {
    function readFile(string calldata path) external view returns (string memory);
    function parseJsonUint(string calldata json, string calldata key) external pure returns (uint256);
    function parseJsonBytes(string calldata json, string calldata key) external pure returns (bytes memory);
    function parseJsonBytes32(string calldata json, string calldata key) external pure returns (bytes32);
    function parseJsonBytes32Array(string calldata json, string calldata key) external pure returns (bytes32[] memory);
    function expectRevert() external;
    function toString(uint256 value) external pure returns (string memory);
}

/// Calls the library from outside, so that reverts can be expected.
contract Climber {
    function rootOf(
        TensorCommitment.Tensor memory tensor,
        uint64 index,
        bytes memory data,
        bytes32[] memory path,
        bytes32[] memory layers
    ) external pure returns (bytes32) {
        return TensorCommitment.rootOf(tensor, index, data, path, layers);
    }
}

/// Every leaf of vectors/tensor_commitment.json, which tests/vectors/make_tensor_vectors.py wrote
/// without zkai, leads to the root; nothing else does.
contract TensorCommitmentTest {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    string private json;
    bytes32 private root;
    uint256 private cases;
    Climber private climber;

    function setUp() external {
        json = VM.readFile("vectors/tensor_commitment.json");
        root = VM.parseJsonBytes32(json, ".root");
        cases = VM.parseJsonUint(json, ".count");
        climber = new Climber();
    }

    function testEveryLeafLeadsToTheRoot() external view {
        for (uint256 i = 0; i < cases; ++i) {
            (TensorCommitment.Tensor memory tensor, uint64 index, bytes memory data) = _leaf(i);
            assert(climber.rootOf(tensor, index, data, _path(i, "path"), _path(i, "layers")) == root);
        }
    }

    function testFuzz_otherBytesDoNot(uint256 chosen, uint256 place, uint8 flip) external view {
        chosen %= cases;
        (TensorCommitment.Tensor memory tensor, uint64 index, bytes memory data) = _leaf(chosen);
        if (data.length == 0 || flip == 0) return;
        data[place % data.length] ^= bytes1(flip);
        assert(climber.rootOf(tensor, index, data, _path(chosen, "path"), _path(chosen, "layers")) != root);
    }

    function testFuzz_otherSizesDoNot(uint256 chosen, uint8 which, uint64 other) external view {
        chosen %= cases;
        (TensorCommitment.Tensor memory tensor, uint64 index, bytes memory data) = _leaf(chosen);
        uint64 before;
        if (which % 4 == 0) (before, tensor.leafBytes) = (tensor.leafBytes, other == 0 ? 1 : other);
        if (which % 4 == 1) (before, tensor.total) = (tensor.total, other);
        if (which % 4 == 2) (before, tensor.place) = (tensor.place, other % tensor.count);
        if (which % 4 == 3) (before, index) = (index, other);
        uint64 now_ =
            which % 4 == 0 ? tensor.leafBytes : which % 4 == 1 ? tensor.total : which % 4 == 2 ? tensor.place : index;
        if (now_ == before) return;
        try climber.rootOf(tensor, index, data, _path(chosen, "path"), _path(chosen, "layers")) returns (
            bytes32 found
        ) {
            assert(found != root);
        } catch {}
    }

    function testShorterAndLongerProofsAreRefused() external {
        for (uint256 i = 0; i < cases; ++i) {
            (TensorCommitment.Tensor memory tensor, uint64 index, bytes memory data) = _leaf(i);
            bytes32[] memory path = _path(i, "path");
            bytes32[] memory layers = _path(i, "layers");
            bytes32[] memory longer = new bytes32[](path.length + 1);
            VM.expectRevert();
            climber.rootOf(tensor, index, data, longer, layers);
            if (layers.length == 0) continue;
            bytes32[] memory shorter = new bytes32[](layers.length - 1);
            VM.expectRevert();
            climber.rootOf(tensor, index, data, path, shorter);
        }
    }

    function _leaf(uint256 i) private view returns (TensorCommitment.Tensor memory tensor, uint64 index, bytes memory) {
        tensor = TensorCommitment.Tensor({
            name: VM.parseJsonBytes32(json, _key(i, "name")),
            head: VM.parseJsonBytes32(json, _key(i, "head")),
            leafBytes: uint64(VM.parseJsonUint(json, ".leaf_bytes")),
            total: uint64(VM.parseJsonUint(json, _key(i, "total"))),
            place: uint64(VM.parseJsonUint(json, _key(i, "place"))),
            count: uint64(VM.parseJsonUint(json, ".tensors"))
        });
        index = uint64(VM.parseJsonUint(json, _key(i, "index")));
        return (tensor, index, VM.parseJsonBytes(json, _key(i, "data")));
    }

    function _path(uint256 i, string memory name) private view returns (bytes32[] memory) {
        return VM.parseJsonBytes32Array(json, _key(i, name));
    }

    function _key(uint256 i, string memory name) private pure returns (string memory) {
        return string.concat(".cases[", VM.toString(i), "].", name);
    }
}
