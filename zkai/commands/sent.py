"""`zkai prove --sent` and `zkai verify --sent`: proofs about one ciphertext."""

from __future__ import annotations

import argparse
from pathlib import Path

from zkai import statement_file
from zkai.circuit.statements.encrypted_update import EncryptedUpdate
from zkai.circuit.statements.query import Query
from zkai.encrypted import verify_encrypted_query, verify_encrypted_update
from zkai.errors import InvalidInput
from zkai.proof.formats import Proof, VerifyingKey
from zkai.sent_files import read_sent


def add_verify_options(parser: argparse.ArgumentParser) -> None:
    """Add what a proof about a ciphertext is held against."""
    parser.add_argument("--sent", metavar="SENT.json", type=Path, help="the ciphertext it is about")
    parser.add_argument(
        "--statement",
        metavar="STATEMENT.toml",
        type=Path,
        help="what was to be shown; with --sent",
    )
    parser.add_argument(
        "--norm-bound", metavar="N", type=int, help="the largest that is allowed; with --sent"
    )


def verify_sent(proof: Proof, key: VerifyingKey, options: argparse.Namespace) -> bool:
    """Verify a proof about the ciphertext of --sent, and return whether there is one.

    Raises VerificationError with the reason; InvalidInput for options that do not go together.
    """
    if options.sent is None:
        if (options.statement, options.norm_bound) != (None, None):
            raise InvalidInput("verify: --statement and --norm-bound go with --sent")
        return False
    if options.statement is None or options.norm_bound is None:
        raise InvalidInput("verify: --sent needs --statement and --norm-bound")
    statement, sent = statement_file.load(options.statement), read_sent(options.sent)
    settings = {
        "verifier": options.verifier,
        "production": options.production,
        "trusted_digests": options.vk_digest,
    }
    if isinstance(statement, Query):
        if statement.encryption is None:
            raise InvalidInput(f"{options.statement}: a query without an encryption")
        bound = options.norm_bound
        verify_encrypted_query(proof, key, sent, statement, norm_bound=bound, **settings)
    elif isinstance(statement, EncryptedUpdate):
        verify_encrypted_update(
            proof, key, sent, norm_bound=options.norm_bound, update_bits=statement.update_bits,
            max_weight=statement.max_weight, **settings,
        )  # fmt: skip
    else:
        raise InvalidInput(f"{options.statement}: {statement.version} is about no ciphertext")
    return True
