"""`zkai export` and `zkai estimate`: from a model to what a proof of it would cost."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zkai import backends, statement_file
from zkai.commands.console import Console
from zkai.commands.files import check_target
from zkai.commands.options import Commands, add_command
from zkai.errors import InvalidInput
from zkai.halo2.estimate import Halo2Estimate
from zkai.halo2.slice_prover import SlicedEstimate
from zkai.model.onnx_file import GROTH16, HALO2
from zkai.model.torch_export import export
from zkai.proof.estimate import Estimate

_EXPORT_HELP = """
FILE.py is your own code and is run. NAME in it is one of:
  a torch module, with an attribute `example_input`, or with a variable
    `example_input` beside it in the file;
  a class or function without arguments that returns such a module;
  a function without arguments that returns (module, example_input).

With --backend halo2 the module may have operators that only EZKL can prove.
"""

_ESTIMATE_HELP = """
Says before any work what a statement costs: constraints, memory, time on
this machine, bytes of the keys, gas, and the quantisation error on the
calibration samples. Names each operator that is not supported.
"""


def add_commands(commands: Commands) -> None:
    """Add `export` and `estimate`."""
    exporter = add_command(
        commands, "export", run_export, "export a torch module to ONNX and check it", _EXPORT_HELP
    )
    exporter.add_argument("source", metavar="FILE.py:NAME", help="the module to export")
    exporter.add_argument(
        "-o", "--out", metavar="FILE", type=Path, required=True, help="the ONNX file to write"
    )
    exporter.add_argument(
        "--backend", choices=(GROTH16, HALO2), default=GROTH16,
        help="what must be able to prove it (groth16)",
    )  # fmt: skip
    estimate = add_command(
        commands, "estimate", run_estimate, "say what a statement costs", _ESTIMATE_HELP
    )
    estimate.add_argument("statement", metavar="STATEMENT.toml", type=Path)
    estimate.add_argument(
        "--compare", action="store_true", help="both proof formats, and which of them to take"
    )


def run_export(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Export the user's module, and write the ONNX file once torch and ours agree on it."""
    check_target(options.out)
    module, example = _user_module(options.source)
    with console.progress() as progress:
        given: dict[str, Any] = {"path": options.out, "progress": progress}
        if options.backend == HALO2:
            count = len(export(module.eval(), example, backend="halo2", **given).operators)
        else:
            count = len(export(module.eval(), example, **given).nodes)
    third = "onnx's reference" if options.backend == HALO2 else "zkai"
    console.say(f"{options.out}: {count} operators; torch, onnxruntime and {third} agree")
    return {"model": str(options.out), "operators": count}


def _user_module(source: str) -> tuple[Any, Any]:
    """Return the module and example input that FILE.py:NAME means."""
    file, colon, name = source.rpartition(":")
    if not colon or not file or not name.isidentifier():
        raise InvalidInput(f"{source}: expected FILE.py:NAME")
    if not Path(file).is_file():
        raise InvalidInput(f"{file}: no such file")
    namespace = _run_file(Path(file))
    if not hasattr(namespace, name):
        raise InvalidInput(f"{file}: has no variable, class or function called {name}")
    found = getattr(namespace, name)
    example = getattr(namespace, "example_input", None)
    if not _is_module(found) and callable(found):
        try:
            found = found()
        except Exception as error:
            raise InvalidInput(f"{file}: {name}() failed: {_told(error)}") from error
    if isinstance(found, tuple) and len(found) == 2:
        found, example = found
    example = getattr(found, "example_input", example)
    if not _is_module(found):
        raise InvalidInput(f"{file}: {name} is a {type(found).__name__}, not a torch module")
    if example is None:
        raise InvalidInput(
            f"{file}: give {name} an attribute example_input, a tensor to trace with"
        )
    return found, example


def _run_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("_zkai_user_model", path)
    if spec is None or spec.loader is None:
        raise InvalidInput(f"{path}: expected a Python file, ending in .py")
    namespace = importlib.util.module_from_spec(spec)
    # Pickling and dataclasses in the user's file look their module up by name.
    sys.modules[spec.name] = namespace
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(namespace)
    except (Exception, SystemExit) as error:
        raise InvalidInput(f"{path}: could not be run: {_told(error)}") from error
    finally:
        sys.path.pop(0)
    return namespace


def _told(error: BaseException) -> str:
    trace, line = error.__traceback__, 0
    while trace is not None:
        line, trace = trace.tb_lineno, trace.tb_next
    return f"line {line}: {type(error).__name__}: {error}"


def _is_module(found: Any) -> bool:
    return hasattr(found, "state_dict") and callable(found) and not isinstance(found, type)


def run_estimate(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Print what the statement costs."""
    with console.progress() as progress:
        statement = statement_file.load_any(options.statement)
        estimate: Estimate | Halo2Estimate | SlicedEstimate
        estimate = backends.estimate(statement, compare=options.compare, progress=progress)
    if not console.as_json:
        console.say(str(estimate))
    return estimate.to_json()
