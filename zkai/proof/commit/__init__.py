"""Groth16 with one commitment round over two deltas: the proof format `groth16-commit`."""
