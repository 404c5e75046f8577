// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

import {IGroth16CommitVerifier} from "./IGroth16CommitVerifier.sol";
import {IGroth16Verifier} from "./IGroth16Verifier.sol";

/// @title Follows forks of a model: a chain of proven states for each
/// @notice An example of an application. A fork opens with a genesis proof and moves on by
/// training-step proofs, each from the state where the last one ended. Proofs count only for this
/// contract, this chain, this sender and the verifiers' keys: all are bound by the public input
/// `context`. A (fork, step) is accepted once; nothing is keyed on a proof's bytes, which anyone can
/// re-randomise. Each of the two verifiers may be of either proof format: a proof of 8 words goes to
/// Groth16Verifier's `verify`, one of 10 words to Groth16CommitVerifier's, and a verifier has no other
/// function to call, so that a proof of the wrong format is refused by there being none.
contract ForkRecorder {
    /// Where a fork stands. `state` is 0 before the fork opens.
    struct Head {
        uint256 state;
        uint256 user;
        uint256 model;
        uint256 step;
    }

    error ForkRecorder__WrongVerifier();
    error ForkRecorder__DevelopmentKey();
    error ForkRecorder__AlreadyOpen(uint256 fork);
    error ForkRecorder__NotOpen(uint256 fork);
    error ForkRecorder__WrongContext(uint256 expected, uint256 actual);
    error ForkRecorder__WrongStep(uint256 expected, uint256 actual);
    error ForkRecorder__WrongState(uint256 expected, uint256 actual);
    error ForkRecorder__WrongUser(uint256 expected, uint256 actual);
    error ForkRecorder__WrongModel(uint256 expected, uint256 actual);

    event ForkOpened(uint256 indexed fork, uint256 user, uint256 model, uint256 state, address sender);
    event StepRecorded(uint256 indexed fork, uint256 indexed step, uint256 state, address sender);

    /// The order of BN254's groups (EIP-197).
    uint256 private constant R = 21888242871839275222246405745257275088548364400416034343698204186575808495617;

    /// Either format's: the functions that tell of their keys are the same.
    IGroth16Verifier public immutable genesisVerifier;
    IGroth16Verifier public immutable stepVerifier;
    bytes32 private immutable genesisKey;
    bytes32 private immutable stepKey;
    /// How many training steps one proof covers.
    uint256 public immutable stepsPerProof;

    mapping(uint256 => Head) public heads;

    /// @param step a verifier of training steps on committed batches (9 public inputs), or on rows that a
    /// beacon draws from the fork's dataset (8 and two for each step). **Beacon values are not checked
    /// here**: whether they are the beacon's is for those who read the proofs, as with every fork whose
    /// terms they rely on.
    /// @param requireCeremony refuse verifiers whose key is a development one
    constructor(IGroth16Verifier genesis, IGroth16Verifier step, uint256 steps, bool requireCeremony) {
        uint256 inputs = step.nPublic();
        if (genesis.nPublic() != 5 || steps == 0 || (inputs != 9 && inputs != 8 + 2 * steps)) {
            revert ForkRecorder__WrongVerifier();
        }
        if (requireCeremony && !(_isCeremony(genesis) && _isCeremony(step))) revert ForkRecorder__DevelopmentKey();
        genesisVerifier = genesis;
        stepVerifier = step;
        genesisKey = genesis.vkDigest();
        stepKey = step.vkDigest();
        stepsPerProof = steps;
    }

    /// @notice Opens the fork that a genesis proof names.
    /// @param publics model, new state, user, fork, context
    function open(uint256[8] calldata proof, uint256[] calldata publics) external {
        genesisVerifier.verify(proof, publics);
        _open(publics);
    }

    /// @notice The same by a proof with a commitment round.
    function open(uint256[10] calldata proof, uint256[] calldata publics) external {
        IGroth16CommitVerifier(address(genesisVerifier)).verify(proof, publics);
        _open(publics);
    }

    /// @notice Moves a fork to the state that a training-step proof reaches from the current one.
    /// @param publics old state, new state, batch (or beacon values and rounds), user, model, fork, step,
    /// learning rate, context
    function record(uint256[8] calldata proof, uint256[] calldata publics) external {
        stepVerifier.verify(proof, publics);
        _record(publics);
    }

    /// @notice The same by a proof with a commitment round.
    function record(uint256[10] calldata proof, uint256[] calldata publics) external {
        IGroth16CommitVerifier(address(stepVerifier)).verify(proof, publics);
        _record(publics);
    }

    function _open(uint256[] calldata publics) private {
        uint256 fork = publics[3];
        if (heads[fork].state != 0) revert ForkRecorder__AlreadyOpen(fork);
        _checkContext(keccak256("genesis/1"), genesisKey, fork, 0, publics[4]);
        heads[fork] = Head({state: publics[1], user: publics[2], model: publics[0], step: 0});
        emit ForkOpened(fork, publics[2], publics[0], publics[1], msg.sender);
    }

    function _record(uint256[] calldata publics) private {
        uint256[] calldata last = publics[publics.length - 6:];
        (uint256 fork, uint256 step) = (last[2], last[3]);
        Head storage head = heads[fork];
        if (head.state == 0) revert ForkRecorder__NotOpen(fork);
        if (step != head.step) revert ForkRecorder__WrongStep(head.step, step);
        if (publics[0] != head.state) revert ForkRecorder__WrongState(head.state, publics[0]);
        if (last[0] != head.user) revert ForkRecorder__WrongUser(head.user, last[0]);
        if (last[1] != head.model) revert ForkRecorder__WrongModel(head.model, last[1]);
        _checkContext(keccak256("training_step/1"), stepKey, fork, step, last[5]);
        head.state = publics[1];
        head.step = step + stepsPerProof;
        emit StepRecorded(fork, head.step, publics[1], msg.sender);
    }

    /// @notice What the public input `context` must be for a proof that `recipient` sends here.
    function context(bytes32 statement, bytes32 vkDigest, uint256 fork, uint256 step, address recipient)
        public
        view
        returns (uint256)
    {
        bytes32 ledger = bytes32(uint256(uint160(address(this))));
        bytes32 to = bytes32(uint256(uint160(recipient)));
        bytes memory bound =
            abi.encode(keccak256("zkai/context/1"), statement, block.chainid, ledger, fork, step, to, vkDigest);
        return uint256(keccak256(bound)) % R;
    }

    function _checkContext(bytes32 statement, bytes32 vkDigest, uint256 fork, uint256 step, uint256 actual)
        private
        view
    {
        uint256 expected = context(statement, vkDigest, fork, step, msg.sender);
        if (actual != expected) revert ForkRecorder__WrongContext(expected, actual);
    }

    function _isCeremony(IGroth16Verifier verifier) private view returns (bool) {
        return keccak256(bytes(verifier.keyStatus())) == keccak256("ceremony");
    }
}
