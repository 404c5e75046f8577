// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

import {IGroth16CommitVerifier} from "./IGroth16CommitVerifier.sol";
import {IGroth16LinkVerifier} from "./IGroth16LinkVerifier.sol";
import {IGroth16Verifier} from "./IGroth16Verifier.sol";

/// @title Follows forks of a model: a chain of proven states for each
/// @notice An example of an application. A fork opens with a genesis proof and moves on by proofs of
/// training steps, or of steps that it skips, each from the state where the last one ended. Proofs count
/// only for this contract, this chain, this sender and the verifiers' keys: all are bound by the public
/// input `context`. A (fork, step) is accepted once; nothing is keyed on a proof's bytes, which anyone can
/// re-randomise. Each verifier may be of any proof format: a proof of 8 words goes to Groth16Verifier's
/// `verify`, one of 10 words to Groth16CommitVerifier's, one of 18 to Groth16LinkVerifier's, and a verifier
/// has no other function to call, so that a proof of the wrong format is refused by there being none.
contract ForkRecorder {
    /// Where a fork stands. `state` is 0 before the fork opens.
    struct Head {
        uint256 state;
        uint256 user;
        uint256 model;
        uint128 step;
        /// How many of its steps it skipped.
        uint128 skips;
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

    error ForkRecorder__NoSkips();
    error ForkRecorder__TooManySkips(uint256 allowed);

    event ForkOpened(uint256 indexed fork, uint256 user, uint256 model, uint256 state, address sender);
    event StepRecorded(uint256 indexed fork, uint256 indexed step, uint256 state, address sender);
    event StepSkipped(uint256 indexed fork, uint256 indexed step, uint256 state, uint256 skips, address sender);

    /// The order of BN254's groups (EIP-197).
    uint256 private constant R = 21888242871839275222246405745257275088548364400416034343698204186575808495617;

    /// How many public inputs name linked states' polynomials, the last ones.
    uint256 private constant LINKS = 2;

    /// Any format's: the functions that tell of their keys are the same.
    IGroth16Verifier public immutable genesisVerifier;
    IGroth16Verifier public immutable stepVerifier;
    /// Zero where forks skip no steps.
    IGroth16Verifier public immutable skipVerifier;
    bytes32 private immutable genesisKey;
    bytes32 private immutable stepKey;
    bytes32 private immutable skipKey;
    /// How many training steps one proof covers.
    uint256 public immutable stepsPerProof;

    mapping(uint256 => Head) public heads;

    /// @param genesis a verifier of 5 public inputs, or 7 where states are linked
    /// @param step a verifier of training steps on committed batches (9 public inputs), or on rows that a
    /// beacon draws from the fork's dataset (8 and two for each step); two more where states are linked.
    /// **Beacon values are not checked here**: whether they are the beacon's is for those who read the
    /// proofs, as with every fork whose terms they rely on.
    /// @param skipped a verifier of skipped steps (8 public inputs), or zero: no fork skips
    /// @param requireCeremony refuse verifiers whose key is a development one
    constructor(
        IGroth16Verifier genesis,
        IGroth16Verifier step,
        IGroth16Verifier skipped,
        uint256 steps,
        bool requireCeremony
    ) {
        (uint256 opening, uint256 moving) = (genesis.nPublic(), step.nPublic());
        bool skips = address(skipped) != address(0);
        if (
            (opening != 5 && opening != 5 + LINKS) || steps == 0 || steps > type(uint32).max
                || !(_isStep(moving, steps) || (moving > LINKS && _isStep(moving - LINKS, steps)))
                || (skips && skipped.nPublic() != 8)
        ) {
            revert ForkRecorder__WrongVerifier();
        }
        if (requireCeremony && !(_isCeremony(genesis) && _isCeremony(step) && (!skips || _isCeremony(skipped)))) {
            revert ForkRecorder__DevelopmentKey();
        }
        genesisVerifier = genesis;
        stepVerifier = step;
        skipVerifier = skipped;
        genesisKey = genesis.vkDigest();
        stepKey = step.vkDigest();
        skipKey = skips ? skipped.vkDigest() : bytes32(0);
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

    /// @notice The same where model and state are linked: their names follow.
    function open(uint256[18] calldata proof, uint256[] calldata publics) external {
        IGroth16LinkVerifier(address(genesisVerifier)).verify(proof, publics);
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

    /// @notice The same where states are linked: the names of the old and the new one's polynomial
    /// follow, which the states hold.
    function record(uint256[18] calldata proof, uint256[] calldata publics) external {
        IGroth16LinkVerifier(address(stepVerifier)).verify(proof, publics);
        _record(publics[:publics.length - LINKS]);
    }

    /// @notice Moves a fork over a step that it does not take, if its terms allow one more.
    /// @param publics old state, new state, how many skips the terms allow, user, model, fork, step,
    /// context
    function skip(uint256[8] calldata proof, uint256[] calldata publics) external {
        if (address(skipVerifier) == address(0)) revert ForkRecorder__NoSkips();
        skipVerifier.verify(proof, publics);
        _skip(publics);
    }

    /// @notice The same by a proof with a commitment round.
    function skip(uint256[10] calldata proof, uint256[] calldata publics) external {
        if (address(skipVerifier) == address(0)) revert ForkRecorder__NoSkips();
        IGroth16CommitVerifier(address(skipVerifier)).verify(proof, publics);
        _skip(publics);
    }

    function _open(uint256[] calldata publics) private {
        uint256 fork = publics[3];
        if (heads[fork].state != 0) revert ForkRecorder__AlreadyOpen(fork);
        _checkContext(keccak256("genesis/1"), genesisKey, fork, 0, publics[4]);
        heads[fork] = Head({state: publics[1], user: publics[2], model: publics[0], step: 0, skips: 0});
        emit ForkOpened(fork, publics[2], publics[0], publics[1], msg.sender);
    }

    function _record(uint256[] calldata publics) private {
        uint256 n = publics.length;
        // A linked step's inputs may be as many as those of a longer proof without links, and the reverse.
        if (!_isStep(n, stepsPerProof)) revert ForkRecorder__WrongVerifier();
        uint256[] calldata place = publics[n - 6:n - 2];
        Head storage head = _headAt(publics[0], place);
        _checkContext(keccak256("training_step/1"), stepKey, place[2], place[3], publics[n - 1]);
        head.state = publics[1];
        head.step += uint128(stepsPerProof);
        emit StepRecorded(place[2], head.step, publics[1], msg.sender);
    }

    function _skip(uint256[] calldata publics) private {
        uint256[] calldata place = publics[3:7];
        Head storage head = _headAt(publics[0], place);
        _checkContext(keccak256("skip_step/1"), skipKey, place[2], place[3], publics[7]);
        // The fork's number is the digest of its terms: every skip of a fork shows the same limit.
        if (head.skips >= publics[2]) revert ForkRecorder__TooManySkips(publics[2]);
        head.state = publics[1];
        head.step += 1;
        head.skips += 1;
        emit StepSkipped(place[2], head.step, publics[1], head.skips, msg.sender);
    }

    /// The head of the fork that `place` (user, model, fork, step) names, if it stands at `state` there.
    function _headAt(uint256 state, uint256[] calldata place) private view returns (Head storage head) {
        head = heads[place[2]];
        if (head.state == 0) revert ForkRecorder__NotOpen(place[2]);
        if (place[3] != head.step) revert ForkRecorder__WrongStep(head.step, place[3]);
        if (state != head.state) revert ForkRecorder__WrongState(head.state, state);
        if (place[0] != head.user) revert ForkRecorder__WrongUser(head.user, place[0]);
        if (place[1] != head.model) revert ForkRecorder__WrongModel(head.model, place[1]);
    }

    /// Whether training steps have `inputs` public inputs, those that name polynomials left out.
    function _isStep(uint256 inputs, uint256 steps) private pure returns (bool) {
        return inputs == 9 || inputs == 8 + 2 * steps;
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
