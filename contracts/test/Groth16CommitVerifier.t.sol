// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

import {Groth16CommitVerifierDeployment} from "../src/Groth16CommitVerifier.sol";
import {IGroth16CommitVerifier} from "../src/IGroth16CommitVerifier.sol";
import {Vm} from "./Groth16Verifier.t.sol";

/// Fuzzes the prebuilt verifier with the key of vectors/commit_2_3.json, whose secrets are known: see
/// contracts/make_commit_vectors.py. With them every (a, d, x) has a valid proof, made here by the
/// curve precompiles and with challenges hashed in plain Solidity; everything else must be refused.
contract Groth16CommitVerifierTest {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 private constant R = 21888242871839275222246405745257275088548364400416034343698204186575808495617;
    uint256 private constant Q = 21888242871839275222246405745257275088696311157297823662689037894645226208583;
    uint256 private constant N = 2;
    uint256 private constant CHALLENGES = 3;

    IGroth16CommitVerifier private verifier;
    uint256[10] private vector;
    uint256 private b;
    bytes32 private keyDigest;

    function setUp() external {
        string memory json = VM.readFile("vectors/commit_2_3.json");
        uint256[] memory key = _key(json);
        verifier = IGroth16CommitVerifier(address(new Groth16CommitVerifierDeployment(key)));
        keyDigest = keccak256(abi.encodePacked(key));
        uint256[] memory proof = VM.parseJsonUintArray(json, ".cases[0].proof");
        for (uint256 i = 0; i < 10; ++i) {
            vector[i] = proof[i];
        }
        b = _secret("b");
    }

    function testFuzz_acceptsEveryValidProof(uint256 a, uint256 d, uint256 x0, uint256 x1) external view {
        (uint256[10] memory proof, uint256[] memory publics) = _prove(a, d, x0, x1);
        verifier.verify(proof, publics);
    }

    function testFuzz_refusesAnyOtherInput(uint256 a, uint256 d, uint256 x0, uint256 other, bool second) external {
        (uint256[10] memory proof, uint256[] memory publics) = _prove(a, d, x0, 7);
        uint256 start = second ? 1 : 0;
        VM.assume(other % R != publics[start]);
        publics[start] = other % R;
        VM.expectRevert(IGroth16CommitVerifier.Groth16CommitVerifier__InvalidProof.selector);
        verifier.verify(proof, publics);
    }

    function testFuzz_refusesAliasesOfInputs(uint256 a, uint256 d, uint256 x0, uint256 times, bool second) external {
        (uint256[10] memory proof, uint256[] memory publics) = _prove(a, d, x0, 7);
        uint256 start = second ? 1 : 0;
        publics[start] += R * (1 + times % 4);
        VM.expectRevert(
            abi.encodeWithSelector(IGroth16CommitVerifier.Groth16CommitVerifier__PublicInputOutOfRange.selector, start)
        );
        verifier.verify(proof, publics);
    }

    function testFuzz_refusesAnyOtherWord(uint256 a, uint256 d, uint256 word, uint256 index) external {
        (uint256[10] memory proof, uint256[] memory publics) = _prove(a, d, 5, 7);
        VM.assume(proof[index % 10] != word);
        proof[index % 10] = word;
        VM.expectRevert();
        verifier.verify(proof, publics);
    }

    function testFuzz_refusesAliasesOfCoordinates(uint256 a, uint256 d, uint256 index) external {
        (uint256[10] memory proof, uint256[] memory publics) = _prove(a, d, 5, 7);
        proof[index % 10] += Q;
        VM.expectRevert(
            abi.encodeWithSelector(
                IGroth16CommitVerifier.Groth16CommitVerifier__CoordinateOutOfRange.selector, index % 10
            )
        );
        verifier.verify(proof, publics);
    }

    function testFuzz_refusesOtherPointsOfTheCurve(uint256 a, uint256 d, uint256 k, uint256 which) external {
        (uint256[10] memory proof, uint256[] memory publics) = _prove(a, d, 5, 7);
        uint256 start = which % 3 == 0 ? 0 : which % 3 == 1 ? 6 : 8;
        uint256 before = proof[start + 1];
        (proof[start], proof[start + 1]) = _multiple(1 + k % (R - 1));
        VM.assume(proof[start + 1] != before);
        VM.expectRevert(IGroth16CommitVerifier.Groth16CommitVerifier__InvalidProof.selector);
        verifier.verify(proof, publics);
    }

    /// D + t delta2 and C - t delta1: the equation holds for the challenges of D, which is not sent.
    function testFuzz_refusesCommitmentsMovedAfterHashing(uint256 a, uint256 d, uint256 t) external {
        (uint256[10] memory proof, uint256[] memory publics) = _prove(a, d, 5, 7);
        t = 1 + t % (R - 1);
        (proof[6], proof[7]) = _sum(proof[6], proof[7], R - mulmod(t, _secret("delta1"), R));
        (proof[8], proof[9]) = _sum(proof[8], proof[9], mulmod(t, _secret("delta2"), R));
        VM.assume(proof[6] != 0 && proof[8] != 0);
        VM.expectRevert(IGroth16CommitVerifier.Groth16CommitVerifier__InvalidProof.selector);
        verifier.verify(proof, publics);
    }

    function testFuzz_refusesOtherCounts(uint256 a, uint256 d, uint8 count) external {
        VM.assume(count != N);
        (uint256[10] memory proof, uint256[] memory publics) = _prove(a, d, 5, 7);
        uint256[] memory others = new uint256[](count);
        for (uint256 i = 0; i < count && i < N; ++i) {
            others[i] = publics[i];
        }
        VM.expectRevert(
            abi.encodeWithSelector(
                IGroth16CommitVerifier.Groth16CommitVerifier__InvalidLength.selector, N, uint256(count)
            )
        );
        verifier.verify(proof, others);
    }

    function testFuzz_refusesAnyOtherCalldata(uint256 a, uint256 d, bytes calldata tail, uint16 cut) external view {
        (uint256[10] memory proof, uint256[] memory publics) = _prove(a, d, 5, 7);
        bytes memory good = abi.encodeCall(IGroth16CommitVerifier.verify, (proof, publics));
        require(_accepts(good), "the valid proof is refused");
        if (tail.length != 0) require(!_accepts(abi.encodePacked(good, tail)), "a tail is accepted");
        uint256 length = cut % good.length;
        assembly ("memory-safe") {
            mstore(good, length)
        }
        require(!_accepts(good), "cut calldata is accepted");
    }

    function testFuzz_refusesNoise(bytes calldata noise) external view {
        require(!_accepts(abi.encodePacked(IGroth16CommitVerifier.verify.selector, noise)), "noise is accepted");
    }

    function testFuzz_refusesKeysWithAnAlteredWord(uint256 word, uint256 index) external {
        uint256[] memory key = _key(VM.readFile("vectors/commit_2_3.json"));
        index %= key.length;
        // Word 2, the circuit's digest, may be anything, word 1 is 0 or 1 and word 3 below 2^16.
        VM.assume(index != 2 && (index != 1 || word > 1) && (index != 3 || word >= 65536));
        VM.assume(word != key[index]);
        key[index] = word;
        VM.expectRevert(IGroth16CommitVerifier.Groth16CommitVerifier__InvalidKey.selector);
        new Groth16CommitVerifierDeployment(key);
    }

    function test_answersForItsKey() external view {
        require(verifier.vkDigest() == keyDigest, "vkDigest");
        require(keccak256(bytes(verifier.keyStatus())) == keccak256("ceremony"), "keyStatus");
        require(verifier.nPublic() == N, "nPublic");
        require(verifier.nChallenges() == CHALLENGES, "nChallenges");
    }

    /// The vectors' B with any A = a G1 and D = d G1.
    function _prove(uint256 a, uint256 d, uint256 x0, uint256 x1)
        private
        view
        returns (uint256[10] memory proof, uint256[] memory publics)
    {
        proof = vector;
        publics = new uint256[](N);
        publics[0] = x0 % R;
        publics[1] = x1 % R;
        a = 1 + a % (R - 1);
        d = 1 + d % (R - 1);
        (proof[0], proof[1]) = _multiple(a);
        (proof[8], proof[9]) = _multiple(d);
        uint256 taken = addmod(_wires(publics, proof[8], proof[9]), mulmod(d, _secret("delta1"), R), R);
        taken = addmod(taken, mulmod(_secret("alpha"), _secret("beta"), R), R);
        uint256 c = mulmod(addmod(mulmod(a, b, R), R - taken, R), _inverse(_secret("delta2")), R);
        VM.assume(c != 0);
        (proof[6], proof[7]) = _multiple(c);
    }

    /// ic[0] + y ic[1] + sum challenge_j ic[j + 1].
    function _wires(uint256[] memory publics, uint256 dx, uint256 dy) private view returns (uint256 sum) {
        bytes32 domain = keccak256("zkai.groth16-commit/1");
        bytes32 seed = keccak256(abi.encodePacked(domain, keyDigest, N, publics, dx, dy));
        sum = _secret("ic/0");
        uint256 fold;
        for (uint256 j = 1; j <= CHALLENGES; ++j) {
            uint256 challenge = uint256(keccak256(abi.encode(seed, j))) % R;
            if (j == 1) fold = challenge;
            uint256 ic = _secret(string.concat("ic/", VM.toString(j + 1)));
            sum = addmod(sum, mulmod(challenge, ic, R), R);
        }
        uint256 y = addmod(mulmod(publics[0], fold, R), mulmod(publics[1], mulmod(fold, fold, R), R), R);
        sum = addmod(sum, mulmod(y, _secret("ic/1"), R), R);
    }

    /// The scalar of contracts/make_vectors.py: keccak256 twice over, modulo r - 1, plus 1.
    function _secret(string memory part) private pure returns (uint256) {
        uint256 h = uint256(keccak256(abi.encodePacked("zkai/vectors/commit/2/3/", part)));
        uint256 shifted = mulmod(h, (type(uint256).max % (R - 1)) + 1, R - 1);
        return addmod(shifted, h, R - 1) + 1;
    }

    function _multiple(uint256 k) private view returns (uint256 x, uint256 y) {
        (bool ok, bytes memory point) = address(7).staticcall(abi.encode(1, 2, k));
        require(ok, "the precompile failed");
        return abi.decode(point, (uint256, uint256));
    }

    /// (x, y) + k G1
    function _sum(uint256 x, uint256 y, uint256 k) private view returns (uint256, uint256) {
        (uint256 u, uint256 v) = _multiple(k);
        (bool ok, bytes memory point) = address(6).staticcall(abi.encode(x, y, u, v));
        require(ok, "the precompile failed");
        return abi.decode(point, (uint256, uint256));
    }

    function _inverse(uint256 k) private view returns (uint256) {
        (bool ok, bytes memory power) = address(5).staticcall(abi.encode(32, 32, 32, k, R - 2, R));
        require(ok, "the precompile failed");
        return abi.decode(power, (uint256));
    }

    function _accepts(bytes memory data) private view returns (bool ok) {
        (ok,) = address(verifier).staticcall(data);
    }

    function _key(string memory json) private pure returns (uint256[] memory key) {
        key = new uint256[](23 + 2 * CHALLENGES);
        key[0] = uint256(keccak256("zkai.groth16-commit/1"));
        key[1] = 1;
        key[2] = VM.parseJsonUint(json, ".key.circuit_digest");
        key[3] = N;
        key[4] = CHALLENGES;
        _copy(key, 5, json, ".key.alpha");
        _copyTwist(key, 7, json, ".key.beta");
        _copyTwist(key, 11, json, ".key.delta1");
        _copyTwist(key, 15, json, ".key.delta2");
        for (uint256 i = 0; i <= CHALLENGES + 1; ++i) {
            _copy(key, 19 + 2 * i, json, string.concat(".key.ic[", VM.toString(i), "]"));
        }
    }

    function _copy(uint256[] memory key, uint256 start, string memory json, string memory path) private pure {
        uint256[] memory point = VM.parseJsonUintArray(json, path);
        (key[start], key[start + 1]) = (point[0], point[1]);
    }

    function _copyTwist(uint256[] memory key, uint256 start, string memory json, string memory path) private pure {
        uint256[] memory x = VM.parseJsonUintArray(json, string.concat(path, "[0]"));
        uint256[] memory y = VM.parseJsonUintArray(json, string.concat(path, "[1]"));
        (key[start], key[start + 1], key[start + 2], key[start + 3]) = (x[1], x[0], y[1], y[0]);
    }
}
