"""Groth16 over BN254: keys, setup, ceremony, proofs."""
