"""A process that answers on its pipes, and is killed when an answer takes too long."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeVar

from zkai.errors import InvalidInput, ToolError

Answer = TypeVar("Answer")


class Child:
    """A running command, called `name` in errors; use it as a context manager.

    It gets the variables of `environment` and, where they are set here, those named in `kept`;
    it starts in `folder`.

    Raises ToolError if it does not start.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        kept: Sequence[str],
        seconds: float,
        *,
        environment: Mapping[str, str] | None = None,
        silent: bool = True,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self._seconds = seconds
        variables = {key: os.environ[key] for key in kept if key in os.environ}
        try:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if silent else None,
                env=variables | dict(environment or {}),
                cwd=folder,
            )
        except OSError as error:
            raise ToolError(f"{name} does not start ({error})") from error

    def ask(self, exchange: Callable[[IO[bytes], IO[bytes]], Answer]) -> Answer:
        """Return what `exchange` reads from the process after it wrote to it.

        `exchange(to, from)` raises OSError, ValueError, EOFError or InvalidInput for an answer that
        breaks off or is none.

        Raises ToolError, and ends the process, if it breaks off or takes too long.
        """
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        timer = threading.Timer(self._seconds, stop)
        timer.start()
        try:
            return exchange(stdin, stdout)
        except (OSError, ValueError, EOFError, InvalidInput) as error:
            self.close()
            how = f"took longer than {self._seconds} s" if late.is_set() else "ended"
            raise ToolError(f"{self.name} {how} (status {self._process.returncode})") from error
        finally:
            timer.cancel()
            timer.join()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # a dead process leaves what it did not read
                    stream.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
