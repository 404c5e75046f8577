"""`zkai he decrypt|verify`: a round's sum, for anybody who has the board."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zkai.commands.console import Console
from zkai.commands.files import check_target
from zkai.commands.he_board import add_board, read_round
from zkai.commands.he_inputs import add_rule, read_rule
from zkai.commands.options import Commands
from zkai.encoding import hex32, load_json, read_capped, sha256, write_atomic
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.coordinates import coordinates_of
from zkai.federated.moving import applied
from zkai.federated.opening import open_sum, verify_aggregate
from zkai.federated.rules import InputRule
from zkai.federated.scheme import Int64
from zkai.federated.schemes import load_scheme
from zkai.federated.session import Session
from zkai.federated.update import COORDINATES, mean, read_update, unflatten

_MAX_STATEMENT = 1 << 16

_VERIFY_HELP = """
Recomputes everything from BOARD: signatures, log, decisions, dealings, the sum
of the logged ciphertexts (twice: by adding, and by a random linear check), the
opening. --session is the id that you trust; without it BOARD's own is taken.
"""


def add_actions(actions: Commands) -> None:
    """Add `decrypt` and `verify` to `he`."""
    decrypt = add_board(actions, "decrypt", run_decrypt, "open the sum from the holders' parts")
    decrypt.add_argument("-o", "--out", metavar="SUM.npz", type=Path, required=True)
    decrypt.add_argument("--mean", metavar="MEAN.npz", type=Path, help="the (weighted) mean, too")
    decrypt.add_argument(
        "--apply", metavar="IN.json", type=Path,
        help="the mean as the update of an apply_aggregate; with --inputs",
    )  # fmt: skip
    add_rule(decrypt)
    verify = add_board(actions, "verify", run_verify, "check a sum", _VERIFY_HELP)
    verify.add_argument("sum", metavar="SUM.npz", type=Path)
    verify.add_argument(
        "--checked", action="store_true", help="refuse a sum that too few holders' parts agree on"
    )
    add_rule(verify)


def run_decrypt(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Open the sum."""
    check_target(options.out)
    if options.mean is not None:
        check_target(options.mean)
    rnd = read_round(options, read_rule(options))
    if options.apply is not None and not isinstance(rnd.inputs, InputRule):
        raise InvalidInput("decrypt: --apply needs --inputs, the rule of the session")
    opened = open_sum(rnd, load_scheme(rnd.session))
    total = unflatten(rnd.session, opened.values)
    if rnd.session.keeps:
        total[COORDINATES] = coordinates_of(rnd)
    _save(options.out, total)
    if options.mean is not None:
        _save(options.mean, mean(rnd.session, total, opened.statement["clients"]))
    if isinstance(rnd.inputs, InputRule) and options.apply is not None:
        step = applied(rnd.inputs, rnd, load_scheme(rnd.session))
        write_atomic(options.apply, json.dumps({"update_integers": step.tolist()}).encode())
    statement = options.out.with_suffix(".json")
    write_atomic(statement, opened.to_bytes())
    console.say(f"{options.out}: the sum of {opened.statement['clients']} clients")
    _say_parts(rnd.session, opened.statement, console)
    console.say(f"{statement}: the statement about it; `zkai he verify` checks both")
    return {"sum": str(options.out), "statement": str(statement), **opened.statement}


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomic(path, buffer.getvalue())


def run_verify(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Check a sum and its statement by recomputation."""
    rnd = read_round(options, read_rule(options))
    arrays = read_update(options.sum)
    if rnd.session.keeps and not np.array_equal(
        arrays.pop(COORDINATES, np.empty(0)), coordinates_of(rnd)
    ):
        raise VerificationError("aggregate: the coordinates are not those of its clients")
    values = _values(rnd.session, arrays)
    statement = read_capped(options.sum.with_suffix(".json"), _MAX_STATEMENT)
    verify_aggregate(rnd, load_scheme(rnd.session), statement, values)
    said = load_json(statement, "aggregate")
    if options.checked and not said["checked"]:
        raise VerificationError(
            f"{options.sum}: not checked: the parts of {len(said['agreed'])} key holders agree,"
            f" {2 * rnd.session.threshold - 1} must"
        )
    console.say(f"{options.sum}: the sum of the logged ciphertexts, opened as the session says")
    _say_parts(rnd.session, said, console)
    return {"statement": hex32(sha256(statement)), "session": hex32(rnd.session.id),
            "checked": said["checked"]}  # fmt: skip


def _say_parts(session: Session, said: Mapping[str, Any], console: Console) -> None:
    """Say whose parts of the decryption agree, and what follows."""
    names = {keyid: holder.name for keyid, holder in session.holders_by_keyid.items()}
    agreed, least = len(said["agreed"]), 2 * session.threshold - 1
    for keyid in said["apart"]:
        console.note(f"{names[keyid]}: its part of the decryption does not fit the others'")
    if said["checked"]:
        console.say(f"checked: the parts of {agreed} key holders agree; {least} must")
    else:
        console.note(
            f"not checked: the parts of {agreed} key holders agree, {least} must: corrupt ones"
            " among them could have shifted the sum"
        )


def _values(session: Session, arrays: Mapping[str, Any]) -> Int64:
    """Return the vector that a sum's arrays are. Raises VerificationError for any other arrays."""
    wanted = unflatten(session, np.zeros(session.values, np.int64))
    if set(wanted) != set(arrays):
        raise VerificationError("aggregate: the arrays are not the session's tensors")
    for name, array in wanted.items():
        if (arrays[name].dtype, arrays[name].shape) != (array.dtype, array.shape):
            raise VerificationError(
                f"aggregate: {name!r}: {arrays[name].dtype} of the shape {arrays[name].shape},"
                f" expected int64, {array.shape}"
            )
    return np.concatenate([arrays[name].ravel() for name in wanted])
