"""`zkai setup`, `zkai prove` and `zkai verify`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zkai import pipeline, statement_file
from zkai.assignment import ZERO, Destination
from zkai.beacon import BeaconFile, verify_order, verify_pinned
from zkai.calibrated import Inference
from zkai.certificate import verify_improvement
from zkai.circuit.statements.base import Statement
from zkai.circuit.statements.dataset import Dataset
from zkai.circuit.statements.encrypted_update import EncryptedUpdate
from zkai.circuit.statements.evaluation import Evaluation
from zkai.circuit.statements.evaluation_set import EvaluationSet, Samples
from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.circuit.statements.training_step import TrainingStep
from zkai.commands import ceremonies, halo2, halo2_slices, sent
from zkai.commands.console import Console
from zkai.commands.files import check_target, read_input
from zkai.commands.options import Commands, add_command
from zkai.encoding import FIELD_MODULUS, hex32
from zkai.errors import InvalidInput, VerificationError
from zkai.halo2.formats import read_key, read_proof
from zkai.halo2.keys import Halo2VerifyingKey
from zkai.halo2.proof import Halo2Proof
from zkai.halo2.slices import SlicedInference, is_sliced
from zkai.halo2.statement import Halo2Statement
from zkai.opening import read_state
from zkai.proof.formats import Keys, Proof
from zkai.proof.groth16 import VERIFIERS
from zkai.sent_files import SentFiles

_SETUP_HELP = f"""
Without --ceremony this makes DEVELOPMENT keys: whoever runs it could forge
proofs under them. With --ptau the powers of tau come from that file; with
--zkey the whole key does, after each of its points was checked (not with a
commitment round, where points show too little). Both stay development keys.

Keys of statements with linked states (weights_commitment = "kzg") go together
only if they have one tau: that of one --ptau, or the secret that --tau keeps.

A statement of format halo2 needs powers of tau and no second phase. Its keys
count as a ceremony's if --ptau is a .ptau that records contributions, or if
--ptau-digest is the SHA-256 of the file, a .ptau or EZKL's kzgN.srs, as those
publish it who hold it. --tau keeps a development secret for keys to share.

{ceremonies.HELP}
"""

_PROVE_HELP = """
IN.json is an object of named values. Tensors are nested lists of real numbers,
or of exact integers under NAME_integers; salts and secrets are decimal strings.
  inference        each input of the model, or "input" if there is one;
                   --state if a head is attached
  genesis          weights (features x classes) and bias; of an "mlp" head a
                   list of [weight, bias] for each layer, of a "lora" head a
                   list of [A, B], and base, the frozen network's list
  training_step    x, labels; learning_rate if not the statement's;
                   weights and bias, or --state
  apply_aggregate  update; --state
  skip_step        --state, --terms
  evaluation       margin, round; --old-state, --state (the new one), --set,
                   --samples, --beacon
  encrypted_update norm_bound; --old-state, --state (the new one), --sent DIR/,
                   the folder that `zkai he encrypt --keep` made; weight
  query            input; with an [encryption] --sent, of `zkai he ask`
A training_step with a [dataset] takes --dataset, --terms and --beacon in place
of x and labels; a genesis with --terms opens their fork.
Salts that IN.json does not give are drawn from the operating system. They,
the user's secret and the new state go to the opening file, which only you can
read and must not lose. A secret that you give must be random: the user's public
name is its hash, and tells a guessable one. Below 2^128 it is refused.
"""

_VERIFY_HELP = """
The public values are printed: a valid proof of something else is still valid,
so compare them with what you expect. With --ledger, --chain-id or --recipient
the proof must be for that destination.

A step on a dataset says which beacon round ordered its rows, an evaluation
which round drew its samples. With --terms or --set, and --beacon, both are
checked against the beacon. --logged-at is when the log, the chain or a
timestamp showed a fork's genesis (with --terms) or the measured state (with
--set), in seconds since 1970: the round must not have been public by then, and
an evaluation's is the first one after. Its states must be reached by --history.

A proof of encrypted_update, or of a query with an [encryption], is about one
ciphertext: give --sent, --statement and --norm-bound.

--production refuses development keys and needs --vk-digest. A key file's own
record proves that its delta has the recorded contributions; it cannot prove
who they were, or that nobody knows the key's other secrets. So name the digest
of the key that you trust: rerun `zkai setup STATEMENT --ceremony verify --ptau
FILE --zkey FILE`, which checks everything and prints it, or get the digest
from somebody who did.
"""


FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "dataset": (Dataset.from_path, "rows with their salt, of `zkai dataset commit`"),
    "terms": (ForkTerms.from_path, "the fork's terms, of `zkai dataset terms`"),
    "beacon": (BeaconFile.from_path, "a beacon's rounds"),
    "set": (EvaluationSet.from_path, "the evaluation set, of `zkai dataset set`"),
    "samples": (Samples.from_path, "drawn rows, of `zkai dataset samples`"),
}
"""The files that stand for values, by option, and what reads them."""


_VERIFY_FILES = {
    "terms": "the fork's terms: check a step's order against --beacon",
    "beacon": "a beacon's rounds",
    "set": "the evaluation set: check a certificate, with --beacon and --logged-at",
}


def add_commands(commands: Commands) -> None:
    """Add `setup`, `prove` and `verify`."""
    setup = add_command(
        commands, "setup", run_setup, "make proving and verifying keys", _SETUP_HELP
    )
    setup.add_argument("statement", metavar="STATEMENT.toml", type=Path, nargs="?")
    setup.add_argument("-o", "--out", metavar="KEYS/", type=Path, help="what to write")
    setup.add_argument("--ptau", metavar="FILE", type=Path, help="powers of tau")
    setup.add_argument(
        "--tau", metavar="FILE", type=Path, help="a development tau to share, made if missing"
    )
    setup.add_argument(
        "--ptau-digest", metavar="HEX", help="the published SHA-256 of --ptau (format halo2)"
    )
    setup.add_argument("--zkey", metavar="FILE", type=Path, help="a key to import or go on from")
    ceremonies.add_options(setup)
    prove = add_command(
        commands, "prove", run_prove, "prove a statement on private data", _PROVE_HELP
    )
    prove.add_argument("statement", metavar="STATEMENT.toml", type=Path)
    prove.add_argument("--keys", metavar="KEYS/", type=Path, required=True, help="setup's folder")
    prove.add_argument(
        "--input", metavar="IN.json", type=Path, required=True, help="private values"
    )
    prove.add_argument("--state", metavar="FILE", type=Path, help="the last proof's opening file")
    prove.add_argument(
        "--old-state", metavar="FILE", type=Path, help="the opening to measure the new state by"
    )
    prove.add_argument("--sent", metavar="DIR/", type=Path, help="a ciphertext and its secrets")
    for name, (_, text) in FILES.items():
        prove.add_argument(f"--{name}", metavar="FILE", type=Path, help=text)
    prove.add_argument("-o", "--out", metavar="FILE", type=Path, required=True, help="the proof")
    prove.add_argument("--jobs", metavar="N", type=int, help="slices to prove at a time (1)")
    prove.add_argument(
        "--opening",
        metavar="FILE",
        type=Path,
        help="where salts and the new state go (default: beside the proof, .opening.json)",
    )
    _add_destination(prove)
    verify = add_command(commands, "verify", run_verify, "verify a proof", _VERIFY_HELP)
    verify.add_argument("proof", metavar="PROOF.json", type=Path)
    verify.add_argument(
        "--key", metavar="FILE", type=Path, required=True, help="the keys' verifying.json"
    )
    verify.add_argument(
        "--verifier", choices=VERIFIERS, default="native", help="which implementation (native)"
    )
    verify.add_argument(
        "--production",
        action="store_true",
        help="refuse development keys; needs --vk-digest",
    )
    verify.add_argument(
        "--vk-digest",
        metavar="HEX",
        action="append",
        default=[],
        help="digest of a key that you trust; may be repeated",
    )
    for name in ("terms", "beacon", "set"):
        verify.add_argument(f"--{name}", metavar="FILE", type=Path, help=_VERIFY_FILES[name])
    verify.add_argument(
        "--history", metavar="PROOF.json", type=Path, action="append", default=[],
        help="a proof of the fork that you have verified; repeated, for --set",
    )  # fmt: skip
    verify.add_argument(
        "--logged-at", metavar="TIME", type=int, help="when the state was logged, since 1970"
    )
    sent.add_verify_options(verify)
    _add_destination(verify)


def _add_destination(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--chain-id", metavar="N", type=int, help="chain that the proof is for (0)")
    parser.add_argument("--ledger", metavar="HEX", help="contract address or ledger id (zero)")
    parser.add_argument("--recipient", metavar="HEX", help="address that the proof is for (zero)")


def _destination(options: argparse.Namespace) -> Destination | None:
    if (options.chain_id, options.ledger, options.recipient) == (None, None, None):
        return None
    return Destination(options.chain_id or 0, options.ledger or ZERO, options.recipient or ZERO)


def run_setup(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Make development keys, or take one step of a ceremony."""
    if options.ceremony is not None:
        return ceremonies.run(options, console)
    ceremonies.refuse_options(options)
    if options.ptau is not None and options.zkey is not None:
        raise InvalidInput("setup: give --ptau or --zkey, not both")
    if options.tau is not None and (options.ptau or options.zkey) is not None:
        raise InvalidInput("setup: --tau is for new keys without --ptau or --zkey")
    if options.statement is None or options.out is None:
        raise InvalidInput("setup: name a STATEMENT.toml and, with -o, a folder for the keys")
    statement = statement_file.load_any(options.statement)
    if isinstance(statement, SlicedInference):
        return halo2_slices.setup(statement, options, console)
    if isinstance(statement, Halo2Statement):
        return halo2.setup(statement, options, console)
    if options.ptau_digest is not None:
        raise InvalidInput("setup: --ptau-digest is for statements of format halo2")
    with console.progress() as progress:
        if options.zkey is not None:
            keys = pipeline.import_key(statement, options.zkey, options.out, progress=progress)
        else:
            keys = pipeline.setup(
                statement, options.out, ptau=options.ptau, tau=options.tau, progress=progress
            )
    console.say(
        f"{options.out}: {keys.verifying.key_status} key {hex32(keys.verifying.digest)}\n"
        "whoever made a development key can forge proofs under it; --ceremony makes real ones"
    )
    return key_facts(options.out, keys)


def key_facts(folder: Path, keys: Keys) -> dict[str, Any]:
    """Return what --json says of new keys."""
    return {
        "keys": str(folder),
        "proving_key": str(keys.proving.path),
        "proving_key_bytes": Path(keys.proving.path).stat().st_size,
        "verifying_key": str(folder / "verifying.json"),
        "statement": keys.verifying.statement,
        "format": keys.verifying.PROOFS,
        "circuit_digest": hex32(keys.verifying.circuit_digest),
        "vk_digest": hex32(keys.verifying.digest),
        "key_status": keys.verifying.key_status,
    }


def run_prove(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Prove, and write the opening before the proof, so that no salt is ever lost."""
    opening_path = options.opening or options.out.with_suffix(".opening.json")
    if opening_path.resolve() == options.out.resolve():
        raise InvalidInput(f"{opening_path}: the opening and the proof need different files")
    statement = statement_file.load_any(options.statement)
    if isinstance(statement, SlicedInference):
        return halo2_slices.prove(statement, options, console)
    if isinstance(statement, Halo2Statement):
        return halo2.prove(statement, options, console, _destination(options))
    if options.jobs is not None:
        raise InvalidInput("--jobs: for models in slices, of format halo2")
    values = read_input(options.input)
    _add_states(values, statement, options)
    for name, (read, _) in FILES.items():
        if (path := getattr(options, name)) is not None:
            key = "evaluation_set" if name == "set" else name
            if key in values:
                raise InvalidInput(f"--{name}: IN.json has {key} too")
            values[key] = read(path)
    if options.sent is not None:
        kept = SentFiles.read(options.sent)
        values |= {"sent": kept.sent, "opening": kept.opening}
    keys = Keys.from_path(options.keys)
    check_target(options.out)
    if options.opening is not None or getattr(statement, "salts", True):
        check_target(opening_path, new=True)
    with console.progress() as progress:
        proof = pipeline.prove(
            statement, keys.proving, values, destination=_destination(options), progress=progress
        )
    opening: Path | None = None
    if options.opening is not None or proof.opening.holds_secrets:
        proof.opening.write(opening_path)
        opening = opening_path
    try:
        proof.write(options.out)
    except BaseException:
        if opening is not None:
            opening.unlink(missing_ok=True)
        raise
    console.say(f"{options.out}: proof of {proof.statement}, {proof.key_status} key")
    if opening is not None:
        console.say(f"{opening}: its salts and private state; keep it secret, and keep it")
    outputs = {}
    if isinstance(statement, Inference):
        outputs = {n: v.tolist() for n, v in statement.read_outputs(proof.public).items()}
    for name, value in outputs.items():
        console.say(f"{name}: {value}")
    return {
        "proof": str(options.out),
        "opening": None if opening is None else str(opening),
        "outputs": outputs,
        **proof_facts(proof),
    }


def _add_states(values: dict[str, Any], statement: Statement, options: argparse.Namespace) -> None:
    """Read the states that options name. Raises InvalidInput where the statement takes none."""
    names = ("state", "old_state")
    if isinstance(statement, Evaluation | EncryptedUpdate):
        names = ("new_state", "old_state")
    elif options.old_state is not None:
        raise InvalidInput(f"--old-state: {statement.version} takes one state only")
    for name, path in zip(names, (options.state, options.old_state), strict=True):
        if path is None:
            continue
        head = getattr(statement, "head", None)
        if head is None or name in values:
            option = "--old-state" if name == "old_state" else "--state"
            raise InvalidInput(f"{option}: {statement.version} takes no state, or IN.json has one")
        values[name] = read_state(path, head)


def proof_facts(proof: Proof) -> dict[str, Any]:
    """Return what --json says of a proof."""
    whole = proof.to_json()
    return {
        name: whole[name] for name in ("format", "statement", "vk_digest", "key_status", "public")
    }


def run_verify(options: argparse.Namespace, console: Console) -> Mapping[str, Any]:
    """Verify, and show what was proven."""
    if is_sliced(options.key) or is_sliced(options.proof):
        return halo2_slices.verify(options, console)
    key, proof = read_key(options.key), read_proof(options.proof)
    if isinstance(key, Halo2VerifyingKey) or isinstance(proof, Halo2Proof):
        return halo2.verify(proof, key, options, console, _destination(options))
    if not sent.verify_sent(proof, key, options):
        pipeline.verify(
            proof,
            key,
            verifier=options.verifier,
            production=options.production,
            trusted_digests=options.vk_digest,
        )
    if (destination := _destination(options)) is not None:
        pipeline.check_destination(proof, destination)
    checked = _check_draws(proof, options)
    facts = proof_facts(proof)
    grade = "proven (ceremony key)" if key.key_status == "ceremony" else "proven (development key)"
    console.say(f"{options.proof}: {proof.statement} verified, {grade}")
    if key.key_status == "ceremony" and not options.vk_digest:
        console.say(
            "the ceremony is what the key file records, and one party could have made all of it: "
            "--vk-digest names the key that you trust"
        )
    if "beacon" in proof.public and not checked:
        console.say(
            "its rows were drawn by a beacon that nothing here was given to check: see --terms, "
            "--set and --beacon"
        )
    for name, values in proof.public.items():
        console.say(f"  {name:<14} {_shown(values)}")
    return {"verified": True, "verifier": options.verifier, "grade": grade, **facts}


def _check_draws(proof: Proof, options: argparse.Namespace) -> bool:
    """Check what a beacon drew against the files given, and return whether there were any."""
    if (options.terms, options.set) == (None, None):
        if (options.beacon, options.logged_at) != (None, None):
            raise InvalidInput("verify: --beacon and --logged-at go with --terms or --set")
        return False
    if options.beacon is None:
        raise InvalidInput("verify: --terms and --set need --beacon")
    beacon = BeaconFile.from_path(options.beacon)
    if options.terms is not None:
        terms = ForkTerms.from_path(options.terms)
        if proof.statement == TrainingStep.version:
            verify_order(proof, terms, beacon)
        elif proof.public.get("fork") != (terms.fork,):
            raise VerificationError("the proof's fork is not the one with these terms")
        if options.logged_at is not None:
            verify_pinned(terms, beacon, options.logged_at)
    if options.set is not None:
        if options.logged_at is None or not options.history:
            raise InvalidInput(
                "verify: --set needs --logged-at, when the new state was logged, and --history, the"
                " proofs that reach the states"
            )
        chosen = EvaluationSet.from_path(options.set)
        history = [Proof.from_path(path) for path in options.history]
        verify_improvement(proof, chosen, beacon, history=history, logged_at=options.logged_at)
    return True


def _shown(values: tuple[int, ...]) -> str:
    """Return public values for people: small negative integers as such, long lists cut."""
    near = 1 << 62
    signed = [v - FIELD_MODULUS if v > FIELD_MODULUS - near else v for v in values[:_SHOWN_VALUES]]
    more = f", ... ({len(values)} values)" if len(values) > _SHOWN_VALUES else ""
    return ", ".join(map(str, signed)) + more


_SHOWN_VALUES = 16
