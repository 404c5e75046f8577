// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

import {Groth16LinkBase} from "./Groth16LinkBase.sol";
import {Groth16LinkKey} from "./Groth16LinkKey.sol";

/// @title The verifier for any key with two linked polynomials: the key's words follow the code
/// @dev The runtime code ends with the key and one word that holds the number of challenges. Deployed
/// by `Groth16LinkVerifierDeployment`; by itself it holds no key.
contract Groth16LinkVerifier is Groth16LinkBase {
    function _loadKey() internal pure override returns (uint256 key, uint256 c) {
        assembly ("memory-safe") {
            key := mload(0x40)
            codecopy(key, sub(codesize(), 32), 32)
            c := mload(key)
            let size := add(1024, shl(6, c))
            codecopy(key, sub(codesize(), add(size, 32)), size)
        }
    }
}

/// @title Deploys a Groth16LinkVerifier: returns its code followed by a key
contract Groth16LinkVerifierDeployment {
    /// @param key the words that `Groth16LinkBase` describes
    constructor(uint256[] memory key) {
        bytes memory code = type(Groth16LinkVerifier).runtimeCode;
        uint256 words;
        assembly ("memory-safe") {
            words := add(key, 32)
        }
        Groth16LinkKey.check(words, key.length * 32);
        bytes memory deployed = abi.encodePacked(code, key, key[4]);
        assembly {
            return(add(deployed, 32), mload(deployed))
        }
    }
}
