"""Signed receipts: what was computed, by which proof, for whom, and who says so."""
