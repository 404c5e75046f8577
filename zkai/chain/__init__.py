"""Verifier contracts and the chains they run on."""
