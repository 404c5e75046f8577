"""`zkai wrap`: decisions of large models, a body by EZKL and a head by Groth16."""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zkai import statement_file, wrap, wrap_receipt
from zkai.assignment import Destination
from zkai.calibrated import Inference
from zkai.commands.console import Console
from zkai.commands.files import check_target, read_input
from zkai.commands.options import Commands, HelpFormatter, add_command
from zkai.commands.passphrases import PASSPHRASE_HELP, add_passphrase
from zkai.commands.receipts import add_place, place_of, read_receipt, signers_of
from zkai.encoding import hex32, new_folder, read_capped, write_atomic
from zkai.errors import InvalidInput
from zkai.halo2.formats import read_key
from zkai.halo2.keys import Halo2Keys, Halo2VerifyingKey
from zkai.halo2.proof import MAX_FILE_BYTES
from zkai.halo2.settings import Halo2Config
from zkai.halo2.statement import Halo2Statement
from zkai.model.onnx_file import load_onnx
from zkai.proof.formats import Keys, Proof, VerifyingKey
from zkai.receipt.trust import TrustStore
from zkai.statement_table import read_samples
from zkai.wrap import Decision, Wrapped

BODY, HEAD, OPENING = "body.json", "head.json", "head.opening.json"
"""What a decision's folder holds."""

_CUT_HELP = """
Writes two statements, body.toml for EZKL and head.toml for Groth16, with their
models and calibration samples; `zkai setup` makes the keys of each. The body's
last tensor is the one named by --at, followed by fresh blinders.
"""
_PROVE_HELP = """
IN.json holds the model's inputs. OUT/ gets body.json and head.json, and where
the head has commitments of its own head.opening.json, which is to be kept.
"""
_VERIFY_HELP = """
Both proofs, and that both show the same hash. With --head, the head's statement,
also that its key is of that circuit and reads the hash at the body's scale and
size. What a chain knows that verified the head alone stands in docs/halo2.md.
"""
_SIGN_HELP = f"""
Verifies the decision as `zkai wrap verify` does, and signs a receipt of the
head's proof that names the body's.
{PASSPHRASE_HELP}"""
_CHECK_HELP = """
Checks the signatures against your trust store, that the receipt is of exactly
these two files, and all that `zkai wrap verify` checks.
"""


def add_commands(commands: Commands) -> None:
    """Add `wrap cut`, `prove`, `verify`, `sign` and `check`."""
    summary = "prove decisions of large models for a cheap check on chain"
    group = commands.add_parser(
        "wrap", help=summary, description=f"{summary.capitalize()}.", formatter_class=HelpFormatter
    )
    actions = group.add_subparsers(
        title="commands", dest="action", metavar="COMMAND", required=True, parser_class=type(group)
    )
    cut = add_command(actions, "cut", run_cut, "cut a model into body and head", _CUT_HELP)
    cut.add_argument("model", metavar="MODEL.onnx", type=Path)
    cut.add_argument("--at", metavar="TENSOR", required=True, help="the body's last tensor")
    cut.add_argument(
        "--calibration", metavar="FILE.npz", type=Path, required=True, help="the model's samples"
    )
    cut.add_argument("--scale", metavar="BITS", type=int, default=13, help="fraction bits (13)")
    cut.add_argument(
        "--blinders", metavar="N", type=int, default=wrap.N_BLINDERS,
        help=f"random numbers that hide the tensor ({wrap.N_BLINDERS})",
    )  # fmt: skip
    cut.add_argument(
        "--output", choices=("argmax", "public", "committed"), default="argmax",
        help="what the head shows (argmax)",
    )  # fmt: skip
    cut.add_argument(
        "--format", choices=statement_file.FORMATS, default=statement_file.FORMATS[0],
        help="of the head's proofs (groth16)",
    )  # fmt: skip
    cut.add_argument("-o", "--out", metavar="DIR/", type=Path, required=True)
    _add_prove(actions)
    verify = add_command(actions, "verify", run_verify, "verify a decision", _VERIFY_HELP)
    _add_decision(verify)
    sign = add_command(actions, "sign", run_sign, "sign a receipt of a decision", _SIGN_HELP)
    _add_decision(sign, production=False)
    sign.add_argument(
        "--signer", metavar="KEY.json", type=Path, action="append", required=True, dest="signers",
        help="a signing key; may be repeated",
    )  # fmt: skip
    sign.add_argument("-o", "--out", metavar="RECEIPT", type=Path, required=True)
    add_passphrase(sign)
    check = add_command(actions, "check", run_check, "check a decision's receipt", _CHECK_HELP)
    check.add_argument("receipt", metavar="RECEIPT", type=Path)
    _add_decision(check)
    check.add_argument("--trust", metavar="TRUST.json", type=Path, required=True)


def _add_prove(actions: Commands) -> None:
    prove = add_command(actions, "prove", run_prove, "prove a decision", _PROVE_HELP)
    prove.add_argument("body", metavar="BODY.toml", type=Path)
    prove.add_argument("head", metavar="HEAD.toml", type=Path)
    for part in ("body", "head"):
        prove.add_argument(
            f"--{part}-keys", metavar="KEYS/", type=Path, required=True, help=f"the {part}'s"
        )
    prove.add_argument("--input", metavar="IN.json", type=Path, required=True)
    prove.add_argument("-o", "--out", metavar="OUT/", type=Path, required=True)
    add_place(prove)


def _add_decision(parser: argparse.ArgumentParser, production: bool = True) -> None:
    parser.add_argument("decision", metavar="DIR/", type=Path, help="of `zkai wrap prove`")
    for part in ("body", "head"):
        parser.add_argument(
            f"--{part}-key", metavar="FILE", type=Path, required=True,
            help=f"your copy of the {part}'s verifying.json",
        )  # fmt: skip
    parser.add_argument("--head", metavar="HEAD.toml", type=Path, help="the head's statement")
    add_place(parser)
    if production:
        parser.add_argument(
            "--production", action="store_true", help="refuse development keys; needs --vk-digest"
        )
        parser.add_argument(
            "--vk-digest", metavar="HEX", action="append", default=[],
            help="digest of a key that you trust; of both",
        )  # fmt: skip


def run_cut(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Cut a model, and write both parts as statements."""
    samples: Any = read_samples(options.calibration)
    model = load_onnx(options.model)
    if len(samples) == 1 and len(model.inputs) == 1:
        (samples,) = samples.values()
    made = wrap.wrap(
        model, options.at, samples, output=options.output, config=Halo2Config(scale=options.scale),
        format=options.format, blinders=options.blinders,
    )  # fmt: skip
    assert made.head_model is not None
    rows = made.head.build().n_constraints
    with new_folder(options.out) as folder:
        (folder / "body.onnx").write_bytes(made.body.model.data)
        (folder / "head.onnx").write_bytes(made.head_model.data)
        _write_samples(folder / "body.npz", made.body.samples)
        calibration: Any = made.head.calibration
        _write_samples(folder / "head.npz", calibration)
        (folder / "body.toml").write_text(_BODY.format(**vars(options)))
        (folder / "head.toml").write_text(_HEAD.format(**vars(options)))
    console.say(f"{options.out}: body.toml and head.toml, the head of {rows:,} constraints")
    return {"folder": str(options.out), "head_constraints": rows}


_BODY = """\
statement = "inference"
format = "halo2"
model = "body.onnx"
calibration = "body.npz"

[visibility]
input = "private"
output = "committed"

[halo2]
scale = {scale}
"""
_HEAD = """\
statement = "inference"
format = "{format}"
model = "head.onnx"
calibration = "head.npz"
input_scale_bits = {scale}
blinders = {blinders}

[visibility]
input = "hashed"
output = "{output}"
"""


def _write_samples(path: Path, samples: Mapping[str, npt.NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **dict(samples))
    path.write_bytes(buffer.getvalue())


def run_prove(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Prove body and head."""
    body = statement_file.load_any(options.body)
    if not isinstance(body, Halo2Statement):
        raise InvalidInput(f"{options.body}: a body's statement has the format halo2")
    model = Wrapped(body, _head(options.head))
    values = read_input(options.input)
    body_keys = Halo2Keys.from_path(options.body_keys)
    head_keys = Keys.from_path(options.head_keys)
    destination = _destination(options)
    with new_folder(options.out) as folder, console.progress() as progress:
        made = wrap.prove(
            model, body_keys.proving, head_keys.proving, values, destination=destination,
            progress=progress,
        )  # fmt: skip
        if (opening := getattr(made.head, "opening", None)) is not None and opening.holds_secrets:
            opening.write(folder / OPENING)
        made.body.write(folder / BODY)
        made.head.write(folder / HEAD)
    outputs = model.head.read_outputs(made.head.public)
    shown = {name: array.tolist() for name, array in outputs.items()}
    console.say(f"{options.out}: {BODY} and {HEAD}, output {shown}")
    return {"decision": str(options.out), "outputs": shown, **_facts(made)}


def _destination(options: argparse.Namespace) -> Destination | None:
    place = place_of(options)
    return None if place is None else Destination(place.chain_id, place.ledger, place.recipient)


def _head(path: Path) -> Inference:
    head = statement_file.load(path)
    if not isinstance(head, Inference):
        raise InvalidInput(f"{path}: a head's statement is an inference")
    return head


def _facts(decision: Decision) -> dict[str, Any]:
    """Return what --json says of a decision."""
    return {
        "commitment": str(decision.head.public[wrap.INPUT][0]),
        "body_vk_digest": hex32(decision.body.vk_digest),
        "head_vk_digest": hex32(decision.head.vk_digest),
        "public": decision.head.to_json()["public"],
    }


def _decision(options: argparse.Namespace) -> Decision:
    body = read_capped(options.decision / BODY, MAX_FILE_BYTES)
    return Decision(
        wrap_receipt.read_body(body, str(options.decision / BODY)),
        Proof.from_path(options.decision / HEAD),
    )


def _keys(options: argparse.Namespace) -> tuple[Halo2VerifyingKey, VerifyingKey]:
    body, head = read_key(options.body_key), read_key(options.head_key)
    if not isinstance(body, Halo2VerifyingKey) or isinstance(head, Halo2VerifyingKey):
        raise InvalidInput("wrap: --body-key is of format halo2, --head-key of Groth16")
    return body, head


def run_verify(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Verify both proofs and that they match."""
    made, keys = _decision(options), _keys(options)
    wrap.verify(
        made,
        *keys,
        head=None if options.head is None else _head(options.head),
        production=options.production,
        trusted_digests=options.vk_digest,
        destination=_destination(options),
    )
    grade = _say_verified(options, console, keys)
    return {"verified": True, "grade": grade, **_facts(made)}


def _say_verified(
    options: argparse.Namespace,
    console: Console,
    keys: tuple[Halo2VerifyingKey, VerifyingKey],
) -> str:
    weakest = next((k.key_status for k in keys if k.key_status != "ceremony"), "ceremony")
    grade = f"proven ({weakest} key)"
    console.say(f"{options.decision}: body and head verified, of one activation, {grade}")
    if options.head is None:
        console.say("that the head reads the hash as the body means it is its key's maker's word")
    return grade


def run_sign(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Verify a decision and sign its receipt."""
    made, keys = _decision(options), _keys(options)
    check_target(options.out)
    receipt = wrap_receipt.sign(
        made,
        *keys,
        signers_of(options),
        head=None if options.head is None else _head(options.head),
        place=place_of(options),
    )
    write_atomic(options.out, receipt.to_bytes())
    console.say(f"{options.out}: receipt {hex32(receipt.id)}, names body and head")
    return {"receipt": str(options.out), "id": hex32(receipt.id), **_facts(made)}


def run_check(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Check a receipt with both proofs."""
    keys = _keys(options)
    receipt = read_receipt(options.receipt)
    made = wrap_receipt.verify(
        receipt,
        TrustStore.from_path(options.trust),
        read_capped(options.decision / BODY, MAX_FILE_BYTES),
        read_capped(options.decision / HEAD, MAX_FILE_BYTES),
        *keys,
        statement=None if options.head is None else _head(options.head),
        production=options.production,
        trusted_digests=options.vk_digest,
        place=place_of(options),
    )
    grade = _say_verified(options, console, keys)
    return {"verified": True, "grade": grade, "id": hex32(receipt.id), **_facts(made)}
