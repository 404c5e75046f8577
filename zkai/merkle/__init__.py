"""Commitments to tensors: keccak256 Merkle trees over files and arrays, sampled and checked."""
