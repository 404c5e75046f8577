"""Homomorphic encryption: threshold aggregation, encrypted training, encrypted queries."""
