"""Proof of compute by commitment: training steps recorded, challenged, replayed and disputed."""
