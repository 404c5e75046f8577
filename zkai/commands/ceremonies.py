"""`zkai setup --ceremony`: the second phase of a setup, by several parties."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zkai import statement_file
from zkai.commands.console import Console
from zkai.commands.files import check_target
from zkai.encoding import hex32, new_folder
from zkai.errors import InvalidInput
from zkai.proof import formats
from zkai.proof.formats import Ceremony
from zkai.proof.keys import KeyDocument
from zkai.proof.proving_keys import VERIFYING_FILE
from zkai.proof.ptau import prepare
from zkai.proof.transcript import Contribution

HELP = """\
A ceremony's key is sound if one of its parties was honest:
  prepare     --ptau FILE -o PREPARED.ptau          once for each .ptau
  init        STATEMENT.toml --ptau PREPARED.ptau -o 0.zkey
  contribute  --zkey 0.zkey -o 1.zkey --name NAME   each party in its turn
  beacon      --zkey 1.zkey -o 2.zkey --beacon HEX  public randomness, last
  verify      STATEMENT.toml --ptau PREPARED.ptau --zkey 2.zkey -o KEYS/
verify checks the whole ceremony and prints the key's digest, which is what
`zkai verify --production` is told to trust. Anyone can repeat it, without -o,
on KEYS/proving.zkey. What a key file records by itself does not replace it:
one party can run every step under several names.
With a commitment round (format = "groth16-commit", files .zkck) contribute and
beacon first verify the whole key that they get, so they also need
STATEMENT.toml and --ptau. There each party contributes to two deltas."""

# What each action needs beside --out, and what it may have.
_NEEDS: dict[str, tuple[str, ...]] = {
    "prepare": ("ptau",),
    "init": ("statement", "ptau"),
    "contribute": ("zkey", "name"),
    "verify": ("statement", "ptau", "zkey"),
    "beacon": ("zkey", "beacon"),
}
_MAY: dict[str, tuple[str, ...]] = {
    "contribute": ("statement", "ptau"),
    "beacon": ("statement", "ptau", "name", "iterations"),
}
_OPTIONS = ("zkey", "name", "beacon", "iterations")
ACTIONS = tuple(_NEEDS)
DEFAULT_ITERATIONS = 10


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the ceremony's actions take."""
    group = parser.add_argument_group("ceremonies")
    group.add_argument("--ceremony", choices=ACTIONS, help="take a step of a ceremony")
    group.add_argument("--name", help="who contributes, at most 64 bytes; public")
    group.add_argument("--beacon", metavar="HEX", help="the beacon's value, 1 to 255 bytes")
    group.add_argument(
        "--iterations",
        metavar="N",
        type=int,
        help=f"hash the beacon 2**N times (default: {DEFAULT_ITERATIONS})",
    )


def refuse_options(options: argparse.Namespace) -> None:
    """Return None if no option of a ceremony was given. Raises InvalidInput naming it."""
    for name in ("name", "beacon", "iterations"):
        if getattr(options, name) is not None:
            raise InvalidInput(f"--{name} belongs to a ceremony: name its step with --ceremony")


def run(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Take one step of a ceremony."""
    action: str = options.ceremony
    needs = _NEEDS[action] if action == "verify" else (*_NEEDS[action], "out")
    for name in needs:
        if getattr(options, name) is None:
            what = "a STATEMENT.toml" if name == "statement" else f"--{name}"
            raise InvalidInput(f"--ceremony {action}: needs {what}")
    for name in ("statement", "ptau", "tau", *_OPTIONS):
        if getattr(options, name) is not None and name not in (*needs, *_MAY.get(action, ())):
            what = "a statement" if name == "statement" else f"--{name}"
            raise InvalidInput(f"--ceremony {action}: does not take {what}")
    if action != "verify":
        check_target(options.out)
    return _STEPS[action](options, console)


def _prepare(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    with console.progress() as progress:
        prepare(options.ptau, options.out, progress)
    console.say(f"{options.out}: powers of tau, prepared for phase 2")
    return {"action": "prepare", "ptau": str(options.out)}


def _init(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    with console.progress() as progress:
        start = _start(options)
        formats.init(start, options.out, progress)
    console.say(f"{options.out}: the first contributor takes this file")
    return {"action": "init", "zkey": str(options.out), "statement": start.statement}


def _start(options: argparse.Namespace) -> Ceremony:
    statement = statement_file.load(options.statement)
    return Ceremony(statement.build(), statement.version, options.ptau)


def _start_if_named(options: argparse.Namespace) -> Ceremony | None:
    """Return the start of a ceremony whose key is verified first; None if nothing names it."""
    if options.statement is None and options.ptau is None:
        return None
    if options.statement is None or options.ptau is None:
        missing = "--ptau" if options.ptau is None else "a STATEMENT.toml"
        raise InvalidInput(f"--ceremony {options.ceremony}: needs {missing} too")
    return _start(options)


def _contribute(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    with console.progress() as progress:
        start = _start_if_named(options)
        made = formats.contribute(start, options.zkey, options.out, options.name, progress)
    return _contributed(options, console, "contribute", made)


def _beacon(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    try:
        value = bytes.fromhex(options.beacon.removeprefix("0x"))
    except ValueError:
        raise InvalidInput("--beacon: expected hexadecimal digits") from None
    iterations = DEFAULT_ITERATIONS if options.iterations is None else options.iterations
    name = options.name or ""
    with console.progress() as progress:
        start = _start_if_named(options)
        made = formats.beacon(start, options.zkey, options.out, value, iterations, name, progress)
    return _contributed(options, console, "beacon", made)


def _contributed(
    options: argparse.Namespace,
    console: Console,
    action: str,
    made: tuple[Contribution, ...],
) -> Mapping[str, Any]:
    digests = [contribution.digest.hex() for contribution in made]
    for digest in digests:
        console.say(f"{options.out}: contribution {digest}")
    what = "this digest" if len(digests) == 1 else "these digests"
    console.say(f"publish {what}; the ceremony's record must show it")
    return {
        "action": action,
        "zkey": str(options.out),
        "contribution": digests[0],
        "contributions": digests,
    }


def _verify(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    with console.progress() as progress, _folder(options.out) as folder:
        keys = formats.finalize(_start(options), options.zkey, folder, progress)
    facts = _record(keys.verifying)
    digest = hex32(keys.verifying.digest)
    console.say(f"{options.out or options.zkey}: ceremony key {digest}")
    phase1, listed = facts["phase1"], facts["contributions"]
    console.say(
        f"phase 1: {phase1['contributions']} contributions, 2**{phase1['power']}, "
        f"digest {phase1['digest']}"
    )
    # Lines, not a table: a digest that is cut cannot be compared.
    for c in listed:
        console.say(f"contribution of {c['name'] or '(no name)'} to {c['delta']}: {c['digest']}")
    console.say(
        "compare phase 1 with its ceremony's publication and each digest with its contributor's; "
        f"then trust this key: zkai verify --production --vk-digest {digest}"
    )
    out: Path | None = options.out
    return {
        "action": "verify",
        "keys": None if out is None else str(out),
        "verifying_key": None if out is None else str(out / VERIFYING_FILE),
        "statement": keys.verifying.statement,
        "vk_digest": digest,
        "key_status": keys.verifying.key_status,
        **facts,
    }


def _record(key: KeyDocument) -> dict[str, Any]:
    """Return what --json says of a key's ceremony; the deltas' contributions take turns."""
    record = key.ceremony
    assert record is not None
    deltas = list(key.SLOTS)
    return {
        "phase1": {
            "power": record.phase1_power,
            "contributions": record.phase1_contributions,
            "digest": record.phase1_digest.hex(),
        },
        "contributions": [
            {"name": c.name, "delta": deltas[i % len(deltas)], "digest": c.digest.hex()}
            for i, c in enumerate(record.transcript.contributions)
        ],
    }


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    """Give the folder for the keys; without one, a folder that is gone afterwards."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="zkai-ceremony-") as folder:
            yield Path(folder)
    else:
        with new_folder(out) as partial:
            yield partial


_STEPS: dict[str, Callable[[argparse.Namespace, Console], Mapping[str, Any]]] = {
    "prepare": _prepare,
    "init": _init,
    "contribute": _contribute,
    "beacon": _beacon,
    "verify": _verify,
}
