"""Constraint gadgets: each adds rows to a Builder and returns what they prove."""
