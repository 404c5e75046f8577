"""`zkai he ask|answer|read`: a linear model of integers, asked under RLWE with a proven query."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zkai import statement_file
from zkai.circuit.statements.query import Query
from zkai.commands.console import Console
from zkai.commands.files import check_target, read_input
from zkai.commands.options import Commands, add_command
from zkai.encoding import canonical_json, hex32, load_json, read_capped, sha256, write_atomic
from zkai.encrypted import Sent, encryption_of, verify_encrypted_query
from zkai.errors import InvalidInput, VerificationError
from zkai.he.rlwe_query import (
    DEALING,
    MAX_OUTPUTS,
    PARAMETERS,
    EncryptedQuery,
    QueryKey,
    answer,
    answer_bytes,
    open_answer,
)
from zkai.native import Int64s
from zkai.proof.formats import Proof, VerifyingKey
from zkai.proof.jsonform import expect_fields
from zkai.reader import Reader
from zkai.receipt.jcs import from_base64url, to_base64url
from zkai.sent_files import SentFiles, read_sent, sent_bytes
from zkai.statement_table import read_samples

FORMAT = "zkai.he-answer/1"
_MAX_ANSWER = 1 << 30

_ASK_HELP = """
IN.json holds input, as the query of STATEMENT.toml has it: real numbers, or
integers under input_integers. Its [encryption] must have value_bits = 40 and
values_per_coefficient = 1. DIR/ gets sent.json for the server and secrets.json,
which opens the answer and is for you alone. One key, one query.

`zkai prove STATEMENT.toml --sent DIR/` proves what the server asks for: that
the ciphertext holds the committed query, in its range and below a norm.
"""

_ANSWER_HELP = """
The server's role: MODEL.npz holds weights (outputs x inputs) and bias, both
integers. The client learns the answers and nothing else of the model, if its
ciphertext is well-formed: --proof, with --key, --statement and --norm-bound, is
checked first. --unproven answers whatever was sent; a client of its own making
may then read weights.
"""


def add_actions(actions: Commands) -> None:
    """Add `ask`, `answer` and `read` to `he`."""
    ask = add_command(actions, "ask", run_ask, "encrypt a query that can be proven", _ASK_HELP)
    ask.add_argument("input", metavar="IN.json", type=Path)
    ask.add_argument("--statement", metavar="STATEMENT.toml", type=Path, required=True)
    ask.add_argument("-o", "--out", metavar="DIR/", type=Path, required=True, help="a new folder")
    told = add_command(actions, "answer", run_answer, "answer a query unseen", _ANSWER_HELP)
    told.add_argument("model", metavar="MODEL.npz", type=Path)
    told.add_argument("--sent", metavar="SENT.json", type=Path, required=True, help="the query")
    told.add_argument("--proof", metavar="PROOF.json", type=Path, help="about the query")
    told.add_argument("--key", metavar="FILE", type=Path, help="its verifying.json")
    told.add_argument("--statement", metavar="STATEMENT.toml", type=Path, help="what it proves")
    told.add_argument("--norm-bound", metavar="N", type=int, help="the longest query, in integers")
    told.add_argument("--production", action="store_true", help="refuse development keys")
    told.add_argument(
        "--vk-digest", metavar="HEX", action="append", default=[], help="of a key that you trust"
    )
    told.add_argument("--unproven", action="store_true", help="answer without a proof")
    told.add_argument("-o", "--out", metavar="ANSWER.json", type=Path, required=True)
    read = add_command(actions, "read", run_read, "open the answer to a query")
    read.add_argument("query", metavar="DIR/", type=Path, help="the folder of `zkai he ask`")
    read.add_argument("answer", metavar="ANSWER.json", type=Path)


def _query(path: Path) -> Query:
    statement = statement_file.load(path)
    if not isinstance(statement, Query) or statement.encryption != encryption_of(PARAMETERS):
        raise InvalidInput(
            f"{path}: expected a query whose [encryption] has value_bits = {PARAMETERS.value_bits}"
            f" and values_per_coefficient = {PARAMETERS.values_per_coefficient}"
        )
    return statement


def run_ask(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Encrypt a query."""
    if os.path.lexists(options.out):
        raise InvalidInput(f"{options.out}: exists; name a new folder")
    statement = _query(options.statement)
    reader = Reader(str(options.input), read_input(options.input))
    rows = reader.tensor("input", statement.scale_bits, statement.shape)
    reader.finish()
    if int(np.abs(rows).max()) >> (statement.width - 1):
        raise InvalidInput(f"{options.input}: input: beyond {statement.width} signed bits")
    key = QueryKey(rows.ravel())
    sent = Sent(key.sent.round, key.sent.ciphertext, key.sent.check, DEALING)
    SentFiles(options.out, key.opening, sent).write()
    size = len(sent.ciphertext) + len(sent.check)
    console.say(f"{options.out}/sent.json: {size:,} bytes of query; secrets.json is yours alone")
    return {"query": str(options.out), "digest": hex32(sha256(sent_bytes(sent))), "bytes": size}


def run_answer(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Answer a query, once its proof holds."""
    check_target(options.out)
    sent = read_sent(options.sent)
    if sent.round.parameters != PARAMETERS or sent.dealing != DEALING:
        raise InvalidInput(f"{options.sent}: no query, but a ciphertext for a sum")
    _check_proof(options, sent)
    arrays = read_samples(options.model)
    if set(arrays) != {"weights", "bias"} or any(a.dtype.kind not in "iu" for a in arrays.values()):
        raise InvalidInput(f"{options.model}: expected weights and bias, both integers")
    weights, bias = (arrays[name].astype(np.int64) for name in ("weights", "bias"))
    data = answer(EncryptedQuery(sent.round, sent.ciphertext, sent.check), weights, bias)
    value = {
        "format": FORMAT,
        "query": hex32(sha256(sent_bytes(sent))),
        "outputs": len(bias),
        "answer": to_base64url(data),
    }
    write_atomic(options.out, canonical_json(value))
    console.say(f"{options.out}: {len(bias)} answers, in {len(data):,} bytes")
    return {"answer": str(options.out), "bytes": len(data), "proven": not options.unproven}


def _check_proof(options: argparse.Namespace, sent: Sent) -> None:
    """Return None if the query's proof holds, or none is asked for."""
    given = (options.proof, options.key, options.statement, options.norm_bound)
    if options.unproven:
        if given != (None,) * 4:
            raise InvalidInput("answer: give a proof, or --unproven, not both")
        return
    if None in given:
        raise InvalidInput(
            "answer: give --proof, --key, --statement and --norm-bound: what the client sent may"
            " be no query at all; --unproven answers it all the same"
        )
    proof, key = Proof.from_path(options.proof), VerifyingKey.from_path(options.key)
    statement, bound = _query(options.statement), options.norm_bound
    verify_encrypted_query(
        proof, key, sent, statement, norm_bound=bound, production=options.production,
        trusted_digests=options.vk_digest,
    )  # fmt: skip


def run_read(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Open an answer."""
    kept = SentFiles.read(options.query)
    data = read_capped(options.answer, _MAX_ANSWER)
    found = read_answer(data, kept, str(options.answer))
    console.say(" ".join(str(number) for number in found.tolist()))
    return {"answers": found.tolist()}


def read_answer(data: bytes, kept: SentFiles, where: str) -> Int64s:
    """Return the answers that a file has to a query.

    Raises InvalidInput naming the field, VerificationError for the answer to another query.
    """
    value: Any = load_json(data, where)
    expect_fields(value, ("format", "query", "outputs", "answer"), where)
    outputs = value["outputs"]
    if value["format"] != FORMAT or type(outputs) is not int or not 1 <= outputs <= MAX_OUTPUTS:
        raise InvalidInput(f"{where}: expected {FORMAT} of 1 to {MAX_OUTPUTS} outputs")
    if value["query"] != hex32(sha256(sent_bytes(kept.sent))):
        raise VerificationError(f"{where}: the answer to another query")
    inputs = kept.sent.round.values
    answers = from_base64url(value["answer"], f"{where}: answer", answer_bytes(inputs, outputs))
    return open_answer(inputs, kept.opening.secret, answers, outputs)
