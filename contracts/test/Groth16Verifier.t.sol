// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

import {Groth16Verifier, Groth16VerifierDeployment} from "../src/Groth16Verifier.sol";
import {IGroth16Verifier} from "../src/IGroth16Verifier.sol";

/// The part of Foundry's cheatcodes that these tests use.
interface Vm {
    function readFile(string calldata path) external view returns (string memory);
    function parseJsonUint(string calldata json, string calldata key) external pure returns (uint256);
    function parseJsonUintArray(string calldata json, string calldata key) external pure returns (uint256[] memory);
    function expectRevert(bytes4 selector) external;
    function expectRevert(bytes calldata data) external;
    function expectRevert() external;
    function assume(bool condition) external pure;
    function toString(uint256 value) external pure returns (string memory);
}

/// Fuzzes the prebuilt verifier with the key of vectors/groth16_2.json, whose secrets are known:
/// see contracts/make_vectors.py. With them every (a, x) has a valid proof, made here by the curve
/// precompiles, and everything else must be refused.
contract Groth16VerifierTest {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 private constant R = 21888242871839275222246405745257275088548364400416034343698204186575808495617;
    uint256 private constant Q = 21888242871839275222246405745257275088696311157297823662689037894645226208583;
    uint256 private constant N = 2;

    IGroth16Verifier private verifier;
    uint256[8] private vector;
    uint256 private b;

    function setUp() external {
        string memory json = VM.readFile("vectors/groth16_2.json");
        verifier = IGroth16Verifier(address(new Groth16VerifierDeployment(_key(json))));
        uint256[] memory proof = VM.parseJsonUintArray(json, ".cases[0].proof");
        for (uint256 i = 0; i < 8; ++i) {
            vector[i] = proof[i];
        }
        b = _secret("b");
    }

    function testFuzz_acceptsEveryValidProof(uint256 a, uint256 x0, uint256 x1) external view {
        (uint256[8] memory proof, uint256[] memory publics) = _prove(a, x0, x1);
        verifier.verify(proof, publics);
    }

    function testFuzz_refusesAnyOtherInput(uint256 a, uint256 x0, uint256 x1, uint256 other, bool second) external {
        (uint256[8] memory proof, uint256[] memory publics) = _prove(a, x0, x1);
        uint256 start = second ? 1 : 0;
        VM.assume(other % R != publics[start]);
        publics[start] = other % R;
        VM.expectRevert(IGroth16Verifier.Groth16Verifier__InvalidProof.selector);
        verifier.verify(proof, publics);
    }

    function testFuzz_refusesAliasesOfInputs(uint256 a, uint256 x0, uint256 x1, uint256 times, bool second) external {
        (uint256[8] memory proof, uint256[] memory publics) = _prove(a, x0, x1);
        uint256 start = second ? 1 : 0;
        publics[start] += R * (1 + times % 4);
        VM.expectRevert(abi.encodeWithSelector(IGroth16Verifier.Groth16Verifier__PublicInputOutOfRange.selector, start));
        verifier.verify(proof, publics);
    }

    function testFuzz_refusesAnyOtherWord(uint256 a, uint256 x0, uint256 x1, uint256 word, uint256 index) external {
        (uint256[8] memory proof, uint256[] memory publics) = _prove(a, x0, x1);
        VM.assume(proof[index % 8] != word);
        proof[index % 8] = word;
        VM.expectRevert();
        verifier.verify(proof, publics);
    }

    function testFuzz_refusesAliasesOfCoordinates(uint256 a, uint256 x0, uint256 x1, uint256 index) external {
        (uint256[8] memory proof, uint256[] memory publics) = _prove(a, x0, x1);
        proof[index % 8] += Q;
        VM.expectRevert(
            abi.encodeWithSelector(IGroth16Verifier.Groth16Verifier__CoordinateOutOfRange.selector, index % 8)
        );
        verifier.verify(proof, publics);
    }

    function testFuzz_refusesOtherPointsOfTheCurve(uint256 a, uint256 x0, uint256 x1, uint256 k, bool third) external {
        (uint256[8] memory proof, uint256[] memory publics) = _prove(a, x0, x1);
        uint256 start = third ? 6 : 0;
        uint256 before = proof[start + 1];
        (proof[start], proof[start + 1]) = _multiple(1 + k % (R - 1));
        VM.assume(proof[start + 1] != before);
        VM.expectRevert(IGroth16Verifier.Groth16Verifier__InvalidProof.selector);
        verifier.verify(proof, publics);
    }

    function testFuzz_refusesOtherCounts(uint256 a, uint256 x0, uint256 x1, uint8 count) external {
        VM.assume(count != N);
        (uint256[8] memory proof, uint256[] memory publics) = _prove(a, x0, x1);
        uint256[] memory others = new uint256[](count);
        for (uint256 i = 0; i < count && i < N; ++i) {
            others[i] = publics[i];
        }
        VM.expectRevert(
            abi.encodeWithSelector(IGroth16Verifier.Groth16Verifier__InvalidLength.selector, N, uint256(count))
        );
        verifier.verify(proof, others);
    }

    function testFuzz_refusesAnyOtherCalldata(uint256 a, uint256 x0, uint256 x1, bytes calldata tail, uint16 cut)
        external
        view
    {
        (uint256[8] memory proof, uint256[] memory publics) = _prove(a, x0, x1);
        bytes memory good = abi.encodeCall(IGroth16Verifier.verify, (proof, publics));
        require(_accepts(good), "the valid proof is refused");
        if (tail.length != 0) require(!_accepts(abi.encodePacked(good, tail)), "a tail is accepted");
        uint256 length = cut % good.length;
        assembly ("memory-safe") {
            mstore(good, length)
        }
        require(!_accepts(good), "cut calldata is accepted");
    }

    function testFuzz_refusesNoise(bytes calldata noise) external view {
        require(!_accepts(abi.encodePacked(IGroth16Verifier.verify.selector, noise)), "noise is accepted");
    }

    function testFuzz_refusesKeysWithAnAlteredWord(uint256 word, uint256 index) external {
        uint256[] memory key = _key(VM.readFile("vectors/groth16_2.json"));
        index %= key.length;
        // Word 2, the circuit's digest, may be anything, and word 1 is 0 or 1.
        VM.assume(index != 2 && (index != 1 || word > 1) && word != key[index]);
        key[index] = word;
        VM.expectRevert(IGroth16Verifier.Groth16Verifier__InvalidKey.selector);
        new Groth16VerifierDeployment(key);
    }

    function test_answersForItsKey() external view {
        bytes32 digest = keccak256(abi.encodePacked(_key(VM.readFile("vectors/groth16_2.json"))));
        require(verifier.vkDigest() == digest, "vkDigest");
        require(keccak256(bytes(verifier.keyStatus())) == keccak256("ceremony"), "keyStatus");
        require(verifier.nPublic() == N, "nPublic");
    }

    /// The vectors' B with any A = a G1: c = (a b - alpha beta - gamma (ic0 + x0 ic1 + x1 ic2)) / delta.
    function _prove(uint256 a, uint256 x0, uint256 x1)
        private
        view
        returns (uint256[8] memory proof, uint256[] memory publics)
    {
        proof = vector;
        publics = new uint256[](N);
        publics[0] = x0 % R;
        publics[1] = x1 % R;
        a = 1 + a % (R - 1);
        uint256 sum = addmod(_secret("ic/0"), mulmod(publics[0], _secret("ic/1"), R), R);
        sum = addmod(sum, mulmod(publics[1], _secret("ic/2"), R), R);
        uint256 taken = addmod(mulmod(_secret("alpha"), _secret("beta"), R), mulmod(_secret("gamma"), sum, R), R);
        uint256 c = mulmod(addmod(mulmod(a, b, R), R - taken, R), _inverse(_secret("delta")), R);
        VM.assume(c != 0);
        (proof[0], proof[1]) = _multiple(a);
        (proof[6], proof[7]) = _multiple(c);
    }

    /// The scalar of contracts/make_vectors.py: keccak256 twice over, modulo r - 1, plus 1.
    function _secret(string memory part) private pure returns (uint256) {
        uint256 h = uint256(keccak256(abi.encodePacked("zkai/vectors/groth16/2/", part)));
        uint256 shifted = mulmod(h, (type(uint256).max % (R - 1)) + 1, R - 1);
        return addmod(shifted, h, R - 1) + 1;
    }

    function _multiple(uint256 k) private view returns (uint256 x, uint256 y) {
        (bool ok, bytes memory point) = address(7).staticcall(abi.encode(1, 2, k));
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
        key = new uint256[](20 + 2 * N);
        key[0] = uint256(keccak256("zkai.groth16/1"));
        key[1] = 1;
        key[2] = VM.parseJsonUint(json, ".key.circuit_digest");
        key[3] = N;
        _copy(key, 4, json, ".key.alpha");
        _copyTwist(key, 6, json, ".key.beta");
        _copyTwist(key, 10, json, ".key.gamma");
        _copyTwist(key, 14, json, ".key.delta");
        for (uint256 i = 0; i <= N; ++i) {
            _copy(key, 18 + 2 * i, json, string.concat(".key.ic[", VM.toString(i), "]"));
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
