"""A server's computing in a limited process of its own: bytes in, bytes out.

    python -m zkai.he.worker ROLE        frames on standard input, answers on standard output

A frame is a status byte, a u64 length and that many bytes. The child limits itself before it reads
anything, holds no secret, gets no environment but what Python needs, and is killed when an answer
takes too long. Nothing is unpickled on either side.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from typing import Protocol

from zkai.child import Child
from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.he.limits import limit_this_process
from zkai.he.messages import MAX_MESSAGE

_FRAME = struct.Struct("<BQ")
ASK, DONE, REFUSED, UNUSABLE, BROKEN = range(5)
_ERRORS: dict[int, Callable[[str], Exception]] = {
    REFUSED: VerificationError,
    UNUSABLE: InvalidInput,
    BROKEN: ToolError,
}
MAX_COMPLAINT = 1000
_KEPT = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH")


class Server(Protocol):
    """Anything that answers messages."""

    def answer(self, data: bytes) -> bytes:
        """Return the answer to a message."""


class Readable(Protocol):
    """What frames are read from."""

    def read(self, size: int, /) -> bytes:
        """Return so many bytes, or fewer at the end."""


class Writable(Protocol):
    """What frames are written to."""

    def write(self, data: bytes, /) -> int:
        """Write all bytes."""

    def flush(self) -> None:
        """Send what was written."""


def write_frame(stream: Writable, status: int, data: bytes) -> None:
    """Write one frame."""
    stream.write(_FRAME.pack(status, len(data)))
    stream.write(data)
    stream.flush()


def read_frame(stream: Readable, most: int = MAX_MESSAGE) -> tuple[int, bytes] | None:
    """Return a frame's status and bytes, or None at the end.

    Raises InvalidInput for a frame that is too long or cut short.
    """
    head = stream.read(_FRAME.size)
    if not head:
        return None
    if len(head) < _FRAME.size:
        raise InvalidInput("frame: cut short")
    status, length = _FRAME.unpack(head)
    if length > most:
        raise InvalidInput(f"frame: {length} bytes, more than {most}")
    data = stream.read(length)
    if len(data) < length:
        raise InvalidInput("frame: cut short")
    return status, data


def refusal(status: int, text: bytes) -> Exception:
    """Return the exception that a frame other than an answer stands for."""
    said = text[:MAX_COMPLAINT].decode("utf-8", "replace")
    return _ERRORS.get(status, ToolError)("".join(c if c.isprintable() else "?" for c in said))


class Worker(Child):
    """A limited process that answers messages in a role; use it as a context manager."""

    def __init__(self, role: str, options: bytes = b"", timeout_s: float = 600) -> None:
        command = [sys.executable, "-m", "zkai.he.worker", role]
        super().__init__("the limited process", command, _KEPT, timeout_s, silent=False)
        try:
            self.answer(options)
        except BaseException:
            self.close()
            raise

    def answer(self, data: bytes) -> bytes:
        """Return the answer to a message.

        Raises what the role raises, and ToolError if the process dies or takes too long.
        """

        def exchange(asked: Writable, answers: Readable) -> tuple[int, bytes]:
            write_frame(asked, ASK, data)
            if (frame := read_frame(answers)) is None:
                raise EOFError("no answer")
            return frame

        status, answer = self.ask(exchange)
        if status != DONE:
            raise refusal(status, answer)
        return answer


def _role(name: str, options: bytes) -> Server:
    """Return the server of a role. Raises InvalidInput for an unknown one."""
    if name == "finetune":
        from zkai.he.finetune import HeadServer

        return HeadServer()
    if name == "hybrid":
        from zkai.he.hybrid import HybridServer
        from zkai.he.model_file import matrices

        return HybridServer(matrices(options))
    if name == "query":
        from zkai.he.model_file import model
        from zkai.he.query import QueryServer

        return QueryServer(model(options))
    raise InvalidInput(f"role: {name!r} is unknown")


def serve(name: str, asked: Readable, answers: Writable) -> None:
    """Answer frames until there are no more; the first one holds the role's options."""
    server: Server | None = None
    while (frame := read_frame(asked)) is not None:
        try:
            if server is None:
                server, answer = _role(name, frame[1]), b""
            else:
                answer = server.answer(frame[1])
            write_frame(answers, DONE, answer)
        except VerificationError as error:
            write_frame(answers, REFUSED, str(error).encode())
        except InvalidInput as error:
            write_frame(answers, UNUSABLE, str(error).encode())
        except (ToolError, MemoryError, RuntimeError, ValueError) as error:
            # SEAL's own complaints arrive as RuntimeError and ValueError.
            write_frame(answers, BROKEN, f"{type(error).__name__}: {error}".encode())


def main() -> int:
    """Limit this process and serve the role that the command line names."""
    limit_this_process()
    frames = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Whatever a library prints must not get among the frames.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.argv[1] if len(sys.argv) > 1 else "", sys.stdin.buffer, frames)
    return 0


if __name__ == "__main__":
    sys.exit(main())
