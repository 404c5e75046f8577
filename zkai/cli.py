"""The `zkai` command: parse, call, print.

Exit status: 0 done or verified; 1 a check ran and failed; 2 unusable input; 3 an external tool is
missing; 130 interrupted. A bug in zkai itself ends with 70 and a traceback.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

from zkai.commands import (
    chains,
    compute,
    datasets,
    he,
    ledgers,
    merkle,
    models,
    proofs,
    receipts,
    tour,
    vaults,
    wraps,
)
from zkai.commands.console import Console
from zkai.commands.options import HelpFormatter
from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.receipt.envelope import KEYID

DONE, REFUSED, UNUSABLE, TOOL_MISSING, BUG, INTERRUPTED = 0, 1, 2, 3, 70, 130

DESCRIPTION = """\
Prove that a small model was run, or trained, correctly on data nobody else
sees, and check such proofs offline or on an EVM chain.
"""

EPILOG = """\
exit status:
  0  done, or verified
  1  a check ran and failed
  2  unusable input: the message names the file, the field or the operator
  3  an external tool or an optional package is missing

Every command takes --json: one JSON object on standard output and nothing
else there. Logs and progress go to standard error.
"""


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line as unusable input instead of exiting by itself."""

    def error(self, message: str) -> NoReturn:
        raise InvalidInput(f"{message}\n{self.format_usage().strip()}")

    def _parse_optional(self, arg_string: str) -> Any:
        """Take a key's id for no option, though one in 64 begins with a dash."""
        if KEYID.fullmatch(arg_string):
            return None
        return super()._parse_optional(arg_string)


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    top: argparse.ArgumentParser = _Parser(
        prog="zkai", description=DESCRIPTION, epilog=EPILOG, formatter_class=HelpFormatter
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    top.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    commands = top.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    models.add_commands(commands)
    proofs.add_commands(commands)
    datasets.add_commands(commands)
    chains.add_commands(commands)
    wraps.add_commands(commands)
    receipts.add_commands(commands)
    ledgers.add_commands(commands)
    he.add_commands(commands)
    merkle.add_commands(commands)
    compute.add_commands(commands)
    vaults.add_commands(commands)
    tour.add_commands(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; nothing but a bug in zkai gives a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    console = Console(as_json="--json" in words)
    previous = _end_on_terminate()
    try:
        return _run(words, console)
    except BrokenPipeError:
        # The reader of our output went away; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def _run(words: list[str], console: Console) -> int:
    try:
        options = parser().parse_args(words)
        if options.version:
            return _print_version(console)
        if options.command is None:
            raise InvalidInput("name a command; `zkai --help` lists them")
        result = options.run(options, console)
        console.emit({"ok": True, **result})
        return DONE
    except VerificationError as error:
        return _fail(console, "verification_failed", str(error), REFUSED)
    except InvalidInput as error:
        return _fail(console, "invalid_input", str(error), UNUSABLE)
    except ToolError as error:
        return _fail(console, "tool_missing", str(error), TOOL_MISSING)
    except KeyboardInterrupt:
        return _fail(console, "interrupted", "interrupted; nothing was left behind", INTERRUPTED)
    except MemoryError:
        message = "not enough memory; `zkai estimate` says how much a statement needs"
        return _fail(console, "invalid_input", message, UNUSABLE)
    except BrokenPipeError:
        raise
    except OSError as error:
        where = error.filename or "a file"
        message = f"{where}: {error.strerror or error}"
        return _fail(console, "invalid_input", message, UNUSABLE)
    except Exception:  # noqa: BLE001 - exit status 1 means a failed check, so a bug must not use it
        traceback.print_exc()
        return _fail(console, "bug", "this is a bug in zkai; please report the lines above", BUG)


def _fail(console: Console, kind: str, message: str, status: int) -> int:
    # A URL in the wrong place comes back in a message, perhaps as a path with one slash.
    message = re.sub(r"(:/{1,2}[^\s/:@]*):[^\s@]*@", r"\1:***@", message)
    message = re.sub(r"([?&]password=)[^\s&'\"]*", r"\1***", message)
    console.note(f"zkai: {message}")
    console.emit({"ok": False, "error": kind, "message": message, "exit_status": status})
    return status


def _print_version(console: Console) -> int:
    from importlib.metadata import version

    if not console.as_json:
        console.say(f"zkai {version('zkai')}")
    console.emit({"ok": True, "version": version("zkai")})
    return DONE


def _end_on_terminate() -> Any:
    """Make SIGTERM unwind like an interrupt, so that temporary files are removed."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        return signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread
        return None


if __name__ == "__main__":
    sys.exit(main())
