"""zkai: zero-knowledge proofs of inference and training steps."""
