// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

import {Groth16CommitBase} from "./Groth16CommitBase.sol";
import {Groth16CommitKey} from "./Groth16CommitKey.sol";

/// @title The verifier for any key with a commitment round: the key's words follow the code
/// @dev The runtime code ends with the key and one word that holds the number of challenges. Deployed
/// by `Groth16CommitVerifierDeployment`; by itself it holds no key.
contract Groth16CommitVerifier is Groth16CommitBase {
    function _loadKey() internal pure override returns (uint256 key, uint256 c) {
        assembly ("memory-safe") {
            key := add(mload(0x40), 32)
            codecopy(key, sub(codesize(), 32), 32)
            c := mload(key)
            let size := add(736, shl(6, c))
            codecopy(key, sub(codesize(), add(size, 32)), size)
        }
    }
}

/// @title Deploys a Groth16CommitVerifier: returns its code followed by a key
contract Groth16CommitVerifierDeployment {
    /// @param key the words that `Groth16CommitBase` describes
    constructor(uint256[] memory key) {
        bytes memory code = type(Groth16CommitVerifier).runtimeCode;
        uint256 words;
        assembly ("memory-safe") {
            words := add(key, 32)
        }
        Groth16CommitKey.check(words, key.length * 32);
        bytes memory deployed = abi.encodePacked(code, key, key[4]);
        assembly {
            return(add(deployed, 32), mload(deployed))
        }
    }
}
