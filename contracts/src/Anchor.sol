// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

/// @title Anchors one log's checkpoints
/// @notice A checkpoint is stored only with a proof (RFC 9162, SHA-256) that its entries start with
/// those of the last one, so that the operator cannot show this chain two histories. It says nothing
/// about what the entries are, nor about the map's root beside the log's.
contract Anchor {
    /// What was anchored, and when; `time` is 0 where nothing was.
    struct Checkpoint {
        bytes32 root;
        bytes32 mapRoot;
        uint256 time;
    }

    error Anchor__NotOperator();
    error Anchor__NotLonger(uint256 last, uint256 given);
    error Anchor__Inconsistent();
    error Anchor__NotAnchored(uint256 size);
    error Anchor__NotIncluded();

    event Anchored(uint256 indexed size, bytes32 root, bytes32 mapRoot);

    /// Who deployed this, and alone may anchor.
    address public immutable operator;
    /// SHA-256 of the log's origin line.
    bytes32 public immutable origin;
    /// Number of entries of the last checkpoint.
    uint256 public size;

    mapping(uint256 => Checkpoint) public checkpoints;

    constructor(bytes32 origin_) {
        operator = msg.sender;
        origin = origin_;
    }

    /// @notice Stores a checkpoint of more entries than the last.
    /// @param proof PROOF(size, D[newSize]); empty for the first checkpoint
    function anchor(uint64 newSize, bytes32 root, bytes32 mapRoot, bytes32[] calldata proof) external {
        if (msg.sender != operator) revert Anchor__NotOperator();
        uint256 last = size;
        if (newSize <= last) revert Anchor__NotLonger(last, newSize);
        if (last == 0) {
            if (proof.length != 0) revert Anchor__Inconsistent();
        } else if (!_consistent(last, newSize, checkpoints[last].root, root, proof)) {
            revert Anchor__Inconsistent();
        }
        size = newSize;
        checkpoints[newSize] = Checkpoint({root: root, mapRoot: mapRoot, time: block.timestamp});
        emit Anchored(newSize, root, mapRoot);
    }

    /// @notice Returns when a checkpoint was anchored that contains a leaf; reverts if none does.
    /// @param leaf SHA-256(0x00 || entry)
    function included(bytes32 leaf, uint64 index, uint64 atSize, bytes32[] calldata proof)
        external
        view
        returns (uint256)
    {
        Checkpoint memory found = checkpoints[atSize];
        if (found.time == 0) revert Anchor__NotAnchored(atSize);
        if (index >= atSize || _climb(leaf, index, atSize - 1, proof) != found.root) {
            revert Anchor__NotIncluded();
        }
        return found.time;
    }

    /// RFC 9162, section 2.1.3.2; `last` is the tree's last index.
    function _climb(bytes32 hash, uint256 place, uint256 last, bytes32[] calldata proof)
        private
        pure
        returns (bytes32)
    {
        for (uint256 i = 0; i < proof.length; ++i) {
            if (last == 0) revert Anchor__NotIncluded();
            if (place & 1 == 1 || place == last) {
                hash = _node(proof[i], hash);
                while (place & 1 == 0 && place != 0) {
                    place >>= 1;
                    last >>= 1;
                }
            } else {
                hash = _node(hash, proof[i]);
            }
            place >>= 1;
            last >>= 1;
        }
        if (last != 0) revert Anchor__NotIncluded();
        return hash;
    }

    /// RFC 9162, section 2.1.4.2, for 0 < first < second.
    function _consistent(uint256 first, uint256 second, bytes32 oldRoot, bytes32 newRoot, bytes32[] calldata proof)
        private
        pure
        returns (bool)
    {
        uint256 i = 0;
        bytes32 older = oldRoot;
        if (first & (first - 1) != 0) {
            if (proof.length == 0) return false;
            older = proof[0];
            i = 1;
        }
        bytes32 newer = older;
        uint256 place = first - 1;
        uint256 last = second - 1;
        while (place & 1 == 1) {
            place >>= 1;
            last >>= 1;
        }
        for (; i < proof.length; ++i) {
            if (last == 0) return false;
            if (place & 1 == 1 || place == last) {
                older = _node(proof[i], older);
                newer = _node(proof[i], newer);
                while (place & 1 == 0 && place != 0) {
                    place >>= 1;
                    last >>= 1;
                }
            } else {
                newer = _node(newer, proof[i]);
            }
            place >>= 1;
            last >>= 1;
        }
        return last == 0 && older == oldRoot && newer == newRoot;
    }

    function _node(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x01), left, right));
    }
}
