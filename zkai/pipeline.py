"""The stories, top to bottom: what a caller does with a statement, in the order of doing it.

graph = load("model.onnx")                          a model
statement = Inference(graph, ...)                   what is to be proven
print(estimate(statement))                          what it would cost
keys = setup(statement, "keys")                     a development key
proof = prove(statement, keys.proving, {...})       checked before it is returned
verify(proof, keys.verifying)                       None, or VerificationError
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from zkai import advice
from zkai.assignment import Destination, complete
from zkai.beacon import Beacon
from zkai.calibrated import Inference
from zkai.circuit.r1cs import Circuit
from zkai.circuit.statements.base import COMMIT, PLAIN, Statement
from zkai.circuit.statements.fork_terms import ForkTerms
from zkai.encoding import as_path, new_folder
from zkai.errors import InvalidInput, VerificationError
from zkai.history import History
from zkai.model.error_bound import quantization_report
from zkai.opening import Opening
from zkai.proof import formats
from zkai.proof.commit.keys import CommitProof
from zkai.proof.estimate import Estimate
from zkai.proof.estimate import estimate as estimate_sizes
from zkai.proof.foreign import import_zkey
from zkai.proof.formats import Ceremony, Keys, Proof, ProvingKey, VerifyingKey
from zkai.proof.proving_keys import VERIFYING_FILE
from zkai.proof.ptau import Ptau, prepare
from zkai.proof.scalars import Progress, no_progress
from zkai.sizing import estimated_sizes, rough_sizes, tensor_facts

ProgressCallback = Progress


def estimate(
    statement: Statement, *, compare: bool = False, progress: ProgressCallback | None = None
) -> Estimate:
    """Return what a statement costs: size, time and memory on this machine, gas, precision.

    Builds the circuit, unless it is too large for that, and makes no key. For an inference with
    calibration samples the integers' error against float is measured on them. With `compare`, the
    other proof format's estimate stands beside it, and which of them to take.

    Raises InvalidInput if the statement's circuit cannot be built or is too large to be proven.
    """
    check_statement(statement)
    report = reporter(progress)
    report("build the circuit", 0.0)
    start = time.perf_counter()
    sizes = estimated_sizes(statement)
    build_s = time.perf_counter() - start
    report("build the circuit", 1.0)
    quantization = None
    if isinstance(statement, Inference) and statement.source is not None:
        assert statement.calibration is not None
        report("quantisation error", 0.0)
        measured = quantization_report(statement.source, statement.graph, statement.calibration)
        quantization = measured.describe()
        report("quantisation error", 1.0)
    found = estimate_sizes(
        sizes,
        statement.version,
        build_s=build_s,
        tensors=tensor_facts(statement),
        quantization=quantization,
    )
    return _compared(statement, found) if compare else found


def _compared(statement: Statement, found: Estimate) -> Estimate:
    """Return an estimate with that of the other format, and the recommendation."""
    other = advice.in_format(statement, COMMIT if found.format == PLAIN else PLAIN)
    if advice.statement_format(other) == found.format:
        return replace(found, recommended=advice.recommend(statement))
    beside = estimate_sizes(estimated_sizes(other), statement.version)
    return replace(found, other_format=beside, recommended=advice.recommend(statement))


def reporter(progress: object) -> Progress:
    """Return what reports progress, to nobody if `progress` is None.

    Raises InvalidInput, naming the type, for what cannot be called.
    """
    if progress is None:
        return no_progress
    if not callable(progress):
        raise InvalidInput(f"progress: expected a callable, got {type(progress).__name__}")
    return progress


def check_statement(statement: object) -> None:
    """Return None for a statement. Raises InvalidInput naming the type of anything else."""
    if isinstance(statement, type) or not isinstance(statement, Statement):
        raise InvalidInput(f"expected a statement, got {type(statement).__name__}")


def _build(statement: Statement, report: Progress) -> Circuit:
    """Return the statement's circuit.

    Raises InvalidInput, before any work, if it is far too large to be proven.
    """
    check_statement(statement)
    report("build the circuit", 0.0)
    if (sizes := rough_sizes(statement)) is not None:
        estimate_sizes(sizes, statement.version)
    circuit = statement.build()
    report("build the circuit", 1.0)
    return circuit


@dataclass(frozen=True)
class OpenedProof(Proof):
    """A proof fresh from `prove`, with what its maker needs to open its commitments.

    The opening never enters the proof's JSON, its repr or comparisons. `opening.state` is the
    private state after a training statement: `{"state": opening.state}` of the next step.
    """

    opening: Opening = field(repr=False, compare=False)


@dataclass(frozen=True)
class OpenedCommitProof(CommitProof, OpenedProof):
    """The same for a proof with a commitment round."""


def setup(
    statement: Statement,
    folder: Path | str | None = None,
    *,
    ptau: Path | str | None = None,
    tau: Path | str | None = None,
    progress: ProgressCallback | None = None,
) -> Keys:
    """Return new DEVELOPMENT keys of a statement, in `folder`: proving.zkey and verifying.json.

    A statement with a commitment round gets proving.zkck instead. Without a folder the keys last
    as long as the process. With `ptau` the powers of tau come from that
    file; the second phase still has one party. The folder appears complete or not at all.

    Keys of statements with linked states go together only if they have one tau: that of a .ptau, or
    the secret that the file `tau` keeps, made if there is none. Whoever reads it can forge proofs.

    Raises InvalidInput for both a .ptau and a tau, or if the folder holds anything, cannot be
    written, or the circuit is too large for the powers.
    """
    check_statement(statement)
    reporter(progress)
    if ptau is not None and tau is not None:
        raise InvalidInput("setup: a .ptau has its own tau; give ptau or tau, not both")
    kept = None if tau is None else as_path(tau, "tau")
    if folder is None:
        temporary = tempfile.mkdtemp(prefix="zkai-keys-")
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
        return _make_keys(statement, Path(temporary), ptau, kept, progress)
    target = as_path(folder, "folder")
    with new_folder(target) as partial:
        _make_keys(statement, partial, ptau, kept, progress)
    return Keys.from_path(target)


def _make_keys(
    statement: Statement,
    folder: Path,
    ptau: Path | str | None,
    tau: Path | None,
    progress: Progress | None,
) -> Keys:
    circuit = _build(statement, reporter(progress))
    if ptau is None:
        return formats.setup(circuit, statement.version, folder, progress, tau)
    prepared = as_path(ptau, "ptau")
    if not Ptau(prepared).prepared:
        prepared = folder / "prepared.ptau"
        prepare(ptau, prepared, progress)
    start = Ceremony(circuit, statement.version, prepared)
    initial, path = folder / "initial", folder / formats.proving_file(circuit)
    formats.init(start, initial, progress)
    again = start if formats.has_round(circuit) else None
    formats.contribute(again, initial, path, "one party", progress)
    for temporary in (initial, folder / "prepared.ptau"):
        temporary.unlink(missing_ok=True)
    proving = formats.open_proving_key(path)
    verifying = proving.verifying_key(circuit)
    verifying.write(folder / VERIFYING_FILE)
    return Keys.from_path(folder)


def import_key(
    statement: Statement,
    zkey: Path | str,
    folder: Path | str,
    *,
    progress: ProgressCallback | None = None,
) -> Keys:
    """Return the DEVELOPMENT keys that an existing .zkey of the statement's circuit makes.

    Every point is checked, and the coefficients against the circuit. A key with a commitment round
    cannot be imported: its points show nothing of the rounds of their wires, so only a ceremony's
    verification, against the .ptau, shows that it is sound.

    Raises InvalidInput for a malformed key, a key of another circuit, a statement with a commitment
    round, or a folder as in `setup`.
    """
    check_statement(statement)
    if getattr(statement, "format", PLAIN) != PLAIN:
        raise InvalidInput(
            f"{zkey}: a key with a commitment round cannot be imported: its points do not show"
            " which wires D commits to; `zkai setup --ceremony verify` takes one with its .ptau"
        )
    with new_folder(as_path(folder, "folder")) as partial:
        circuit = _build(statement, reporter(progress))
        import_zkey(circuit, statement.version, zkey, partial, progress)
    return Keys.from_path(folder)


def prove(
    statement: Statement,
    proving_key: ProvingKey | Path | str,
    values: Mapping[str, Any],
    *,
    destination: Destination | None = None,
    progress: ProgressCallback | None = None,
) -> OpenedProof:
    """Return a proof of `statement` on private `values`, checked before it is returned.

    Tensors are real numbers, or exact integers under `<name>_integers`; missing salts are drawn
    from the operating system and returned in `opening`, which must not be lost. `zkai.assignment`
    lists the values of each statement.

    Raises InvalidInput, naming the value, tensor or file, for values that the statement cannot
    take or a key of another circuit; VerificationError, naming the node, if a constraint fails.
    """
    check_statement(statement)
    report = reporter(progress)
    if destination is not None:
        _check_type("destination", destination, Destination)
    key = proving_key
    if not isinstance(key, ProvingKey):
        key = formats.open_proving_key(as_path(key, "proving key"))
    circuit = _build(statement, report)
    if (key.statement, key.circuit_digest) != (statement.version, circuit.digest):
        raise InvalidInput(
            f"{key.path}: a key of {key.statement} for another circuit; run `setup` again for this"
            f" {statement.version}"
        )
    vk_digest = key.verifying_key(circuit).digest
    where = destination or Destination()
    assignment = complete(statement, values, where, vk_digest, formats.linker(key))
    inputs = statement.assign(assignment.values)
    proof = formats.prove(circuit, key, inputs, statement.version, progress)
    _check_public(proof, assignment.public)
    return _opened(proof, assignment.opening)


def _opened(proof: Proof, opening: Opening) -> OpenedProof:
    known = {f.name: getattr(proof, f.name) for f in fields(proof)}
    if isinstance(proof, CommitProof):
        return OpenedCommitProof(**known, opening=opening)
    return OpenedProof(**known, opening=opening)


def _check_public(proof: Proof, expected: Mapping[str, int | list[int]]) -> None:
    """Hold the circuit's public signals against the reference's, computed without the circuit."""
    for name, value in expected.items():
        wanted = tuple(value) if isinstance(value, list) else (value,)
        if proof.public.get(name) != wanted:
            raise VerificationError(
                f"the circuit and the reference disagree on the public signal {name}; this is a bug"
            )


def verify(
    proof: Proof,
    verifying_key: VerifyingKey | Path | str,
    *,
    verifier: str = "native",
    production: bool = False,
    trusted_digests: Collection[bytes | str] = (),
    destination: Destination | None = None,
    progress: ProgressCallback | None = None,
) -> None:
    """Return None if `proof` holds under `verifying_key`.

    `verifier` is "native" or "py-ecc", an independent implementation. `production` refuses
    development keys and needs `trusted_digests`: the digests, from `zkai setup --ceremony verify`,
    of the keys that may be used. With `destination`, the proof must be for it: chain, ledger and
    recipient.

    Raises VerificationError with the reason; InvalidInput for a malformed key.
    """
    report = reporter(progress)
    key = verifying_key
    if not isinstance(key, VerifyingKey):
        key = VerifyingKey.from_path(as_path(key, "verifying key"))
    if not isinstance(proof, Proof):
        raise InvalidInput(
            f"expected a Proof, got {type(proof).__name__}; Proof.from_path reads one"
        )
    _check_type("verifier", verifier, str)
    _check_type("production", production, bool)
    report("verify", 0.0)
    formats.verify(proof, key, verifier, production, trusted_digests)
    if destination is not None:
        check_destination(proof, destination)
    report("verify", 1.0)


def _check_type(what: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise InvalidInput(f"{what}: expected a {kind.__name__}, got {type(value).__name__}")


def check_destination(proof: Proof, destination: Destination) -> None:
    """Return None if the proof's context is that of `destination`.

    Raises VerificationError otherwise: the proof was made for somewhere or somebody else.
    """
    _check_type("destination", destination, Destination)
    fork, step = (proof.public.get(name, (0,))[0] for name in ("fork", "step"))
    wanted = destination.context(proof.statement, fork, step, proof.vk_digest)
    if proof.public.get("context") != (wanted,):
        raise VerificationError(
            "the proof's context is for another chain, ledger or recipient than expected"
        )


def verify_chain(
    proofs: Iterable[Proof],
    keys: Mapping[str, VerifyingKey] | Collection[VerifyingKey],
    *,
    production: bool = False,
    trusted_digests: Collection[bytes | str] = (),
    destination: Destination | None = None,
    terms: ForkTerms | None = None,
    beacon: Beacon | None = None,
    updates: Collection[int] = (),
    progress: ProgressCallback | None = None,
) -> None:
    """Return None if the proofs are one fork's history from its genesis on, without a gap.

    `keys` maps a statement's version to its key. For a history in two formats it is a list of keys:
    a proof's is the one that it names among those of its statement and format. Each proof must
    verify; the first is a genesis; each old state is the last new state; user, model and fork never
    change. Step numbers are part of the states, so the states' links leave no room for a gap. A
    fork with terms may skip as many steps as they say; give its `terms` and `beacon` to check that
    every training proof took the rows that the beacon draws. With terms, every aggregate must be of
    `updates`, the digests (signal `update`) that the reader knows of: others would skip uncounted.

    Raises VerificationError naming the proof's place and what is wrong; InvalidInput for what is
    no proof.
    """
    report = reporter(progress)
    _check_type("proofs", proofs, Iterable)
    _check_keys(keys)
    if terms is not None:
        _check_type("terms", terms, ForkTerms)
    if beacon is not None:
        _check_type("beacon", beacon, Beacon)
    _check_type("updates", updates, Collection)
    history = list(proofs)
    chain = History(terms, beacon, updates)
    for place, proof in enumerate(history):
        _check_type(f"proof {place}", proof, Proof)
        report("verify the history", place / len(history))
        try:
            verify(
                proof,
                _key_for(proof, keys),
                production=production,
                trusted_digests=trusted_digests,
                destination=destination,
            )
            chain.add(proof)
        except VerificationError as error:
            raise VerificationError(f"proof {place} ({proof.statement}): {error}") from error
    if chain.last is None:
        raise VerificationError("the history is empty; it starts with a genesis proof")
    report("verify the history", 1.0)


def _check_keys(keys: object) -> None:
    if isinstance(keys, Mapping):
        return
    if not isinstance(keys, list | tuple | set | frozenset):
        raise InvalidInput(
            f"keys: expected a mapping of versions to keys, or a list, got {type(keys).__name__}"
        )
    for place, key in enumerate(keys):
        if not isinstance(key, VerifyingKey):
            raise InvalidInput(f"key {place}: expected a VerifyingKey, got {type(key).__name__}")


def _key_for(
    proof: Proof, keys: Mapping[str, VerifyingKey] | Collection[VerifyingKey]
) -> VerifyingKey:
    """Return the key to verify a proof of a history with. Raises VerificationError if none was."""
    if isinstance(keys, Mapping):
        if proof.statement in keys:
            return keys[proof.statement]
        raise VerificationError(f"no key was given for {proof.statement}")
    wanted = (proof.statement, proof.FORMAT)
    given = [key for key in keys if (key.statement, key.PROOFS) == wanted]
    if not given:
        raise VerificationError(f"no key was given for {proof.statement} ({proof.FORMAT})")
    return next((key for key in given if key.digest == proof.vk_digest), given[0])
