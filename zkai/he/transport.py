"""Messages over a socket on this machine: the client's end, and a server with limited workers.

A frame is as in zkai.he.worker. There is no encryption of the transport and no proof of who is at
the other end: what is private is encrypted already, and a server elsewhere is reached through a
tunnel (ssh -L) that says who it is.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable

from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.he.worker import (
    ASK,
    BROKEN,
    DONE,
    REFUSED,
    UNUSABLE,
    Worker,
    read_frame,
    refusal,
    write_frame,
)

HOST = "127.0.0.1"
TIMEOUT_S = 600.0


class Remote:
    """A server at HOST:PORT; use it as a context manager.

    Raises InvalidInput for another form of address, ToolError if nobody answers there.
    """

    def __init__(self, address: str, timeout_s: float = TIMEOUT_S) -> None:
        found = re.fullmatch(r"([A-Za-z0-9.\-]{1,253}):([0-9]{1,5})", address)
        if not found or not 0 < int(found[2]) < 1 << 16:
            raise InvalidInput(f"{address[:80]}: expected HOST:PORT")
        try:
            self._socket = socket.create_connection((found[1], int(found[2])), timeout_s)
        except OSError as error:
            raise ToolError(f"{address}: no server answers ({error})") from error
        self._stream = self._socket.makefile("rwb")

    def answer(self, data: bytes) -> bytes:
        """Return the server's answer. Raises what it says, ToolError if it went away."""
        try:
            write_frame(self._stream, ASK, data)
            found = read_frame(self._stream)
        except OSError as error:
            raise ToolError(f"the server went away ({error})") from error
        if found is None:
            raise ToolError("the server closed the connection")
        if found[0] != DONE:
            raise refusal(*found)
        return found[1]

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self._stream.close()
        self._socket.close()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(
    role: str,
    options: bytes = b"",
    port: int = 0,
    sessions: int | None = None,
    listening: Callable[[int], None] = lambda port: None,
) -> int:
    """Serve connections on this machine one after the other, each with a worker of its own.

    Ends after `sessions` of them; returns how many there were. `listening` is told the port.
    """
    served = 0
    with socket.create_server((HOST, port)) as server:
        listening(server.getsockname()[1])
        while sessions is None or served < sessions:
            connection, _ = server.accept()
            with connection, Worker(role, options) as worker:
                connection.settimeout(TIMEOUT_S)
                # A client that breaks off or sends nonsense ends its own session only.
                with contextlib.suppress(OSError, InvalidInput, ToolError):
                    _relay(connection, worker)
            served += 1
    return served


def _relay(connection: socket.socket, worker: Worker) -> None:
    with connection.makefile("rwb") as stream:
        while (frame := read_frame(stream)) is not None:
            try:
                write_frame(stream, DONE, worker.answer(frame[1]))
            except VerificationError as error:
                write_frame(stream, REFUSED, str(error).encode())
            except InvalidInput as error:
                write_frame(stream, UNUSABLE, str(error).encode())
            except ToolError as error:
                write_frame(stream, BROKEN, str(error).encode())
                raise
