"""The three ways a call can fail.

Every message names what was wrong and where (file, field, tensor, operator or row), and what was
expected instead.
"""


class ZkaiError(Exception):
    """Base of every error that zkai raises on purpose."""


class InvalidInput(ZkaiError):  # noqa: N818 - the name is part of the public interface
    """The caller's file, value or combination of values cannot be used."""


class VerificationError(ZkaiError):
    """A check ran and failed: the proof, key, witness or record is not what it claims to be."""


class ToolError(ZkaiError):
    """Something outside zkai is missing or failed: an optional package, a program, a node."""
