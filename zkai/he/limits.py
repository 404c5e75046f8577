"""What a process that reads strangers' ciphertexts may use: memory, files, no core dump."""

from __future__ import annotations

import resource

MEMORY = 4 << 30
FILE_BYTES = 256 << 20
OPEN_FILES = 64


def limit_this_process(memory: int = MEMORY) -> None:
    """Limit this process for good: address space, size and number of files, no core dump.

    SEAL loads from anonymous files in memory, which the limit on files' size covers too.
    """
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (limit, limit))
