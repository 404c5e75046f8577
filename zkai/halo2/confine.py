"""What the process in which EZKL runs may use: memory, processor time, no core dump, no network."""

from __future__ import annotations

import ctypes
import errno
import platform
import resource
import struct
import sys

# seccomp's filters: linux/filter.h, linux/seccomp.h, linux/audit.h, and the tables of calls.
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_CALL, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16
_MACHINES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Each machine's name for audits and its number of socket(2)."""
_IO_URING_SETUP, _X32 = 425, 0x40000000
_AF_UNIX = 1
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2


def limit_this_process(memory: int, cpu_seconds: int) -> None:
    """Limit this process for good: address space, a file's size, processor time, no core dump."""
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, memory),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (limit, limit))


def refuse_network() -> bool:
    """Refuse this process, for good, every socket but those between processes of one machine.

    Returns whether that was possible: on Linux (x86-64, arm64), by a seccomp filter.
    """
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return False
    program = _filter(*_MACHINES[platform.machine()])
    code = ctypes.create_string_buffer(program, len(program))
    length, pointer = len(program) // 8, ctypes.addressof(code)
    header = struct.pack("@HP", length, pointer)
    argument = ctypes.create_string_buffer(header, len(header))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    found = libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_void_p(ctypes.addressof(argument)), 0, 0
    )
    return bool(found == 0)


def _filter(machine: int, socket: int) -> bytes:
    """Return the program: refuse socket(2) outside AF_UNIX and io_uring, allow all else."""
    refuse = _REFUSE | errno.EACCES
    steps = (
        (_LOAD, 0, 0, _MACHINE),
        (_EQUAL, 1, 0, machine),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _CALL),
        (_AT_LEAST, 5, 0, _X32),
        (_EQUAL, 4, 0, _IO_URING_SETUP),
        (_EQUAL, 0, 2, socket),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_EQUAL, 0, 1, _AF_UNIX),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, refuse),
    )
    return b"".join(struct.pack("<HBBI", *step) for step in steps)
