// SPDX-License-Identifier: Apache-2.0
pragma solidity >=0.8.19 <0.9.0;

import {Groth16Base} from "./Groth16Base.sol";
import {Groth16Key} from "./Groth16Key.sol";

/// @title The verifier for any key: the key's words follow the code
/// @dev The runtime code ends with the key and one word that holds n. Deployed by
/// `Groth16VerifierDeployment`; by itself it holds no key.
contract Groth16Verifier is Groth16Base {
    function _loadKey() internal pure override returns (uint256 key, uint256 n) {
        assembly ("memory-safe") {
            key := add(mload(0x40), 64)
            codecopy(key, sub(codesize(), 32), 32)
            n := mload(key)
            let size := add(640, shl(6, n))
            codecopy(key, sub(codesize(), add(size, 32)), size)
        }
    }
}

/// @title Deploys a Groth16Verifier: returns its code followed by a key
contract Groth16VerifierDeployment {
    /// @param key the words that `Groth16Base` describes
    constructor(uint256[] memory key) {
        bytes memory code = type(Groth16Verifier).runtimeCode;
        uint256 words;
        assembly ("memory-safe") {
            words := add(key, 32)
        }
        Groth16Key.check(words, key.length * 32);
        bytes memory deployed = abi.encodePacked(code, key, key[3]);
        assembly {
            return(add(deployed, 32), mload(deployed))
        }
    }
}
