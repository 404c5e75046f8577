"""The demo's receipts and ledger: every proof signed, logged, cosigned, and checked again."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from zkai.chain.anchor import Anchor
from zkai.circuit.statements.training_step import TrainingStep
from zkai.demo.keeping import answer_questions, keep_state, plant
from zkai.demo.stage import History, Stage
from zkai.encoding import hex32, read_capped, write_atomic
from zkai.halo2.formats import parse_proof
from zkai.ledger.checkpoint import Checkpoint, LogPolicy
from zkai.ledger.export import export, verify_export
from zkai.ledger.ledger import Ledger, Submission
from zkai.ledger.note import Note
from zkai.ledger.records import CHAIN_KINDS
from zkai.ledger.witness import Witness
from zkai.proof.keys import MAX_PROOF_BYTES
from zkai.receipt import standalone
from zkai.receipt.signer import ED25519, PrivateKey, generate
from zkai.receipt.statement import Facts, Place, Receipt, issue
from zkai.receipt.trust import TrustedKey, TrustStore, trust
from zkai.receipt.verify import verify_proof_of, verify_receipt
from zkai.vault import keys as vault_keys
from zkai.vault.vault import Owner

ORIGIN, WITNESS = "zkai.example/demo", "witness.example/demo"


def write_logbook(stage: Stage, histories: Sequence[History]) -> dict[str, Any]:
    """Sign and log every proof; return the summary's `receipts`, `ledger`, `vault`, `answers`.

    Writes receipts/, the ledger, its export, and what a reader needs to check them: trust.json
    and policy.json. Everything is then verified from these files.

    Raises VerificationError if anything does not hold.
    """
    started = time.perf_counter()
    stage.report("sign and log receipts", 0.0)
    issuer, classic, operator = generate(), generate(ED25519), generate()
    owners = {h.user.name: Owner(generate(), vault_keys.generate()) for h in histories}
    store = _trust([issuer, classic], owners)
    issued = _receipts(stage, [issuer, classic], owners)
    stage.report("sign and log receipts", 0.3)
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm", "witness.json"):
        (stage.out / name).unlink(missing_ok=True)
    policy, ledger, kept = _log(stage, store, operator, issued, histories, owners)
    stage.report("sign and log receipts", 0.7)
    found = _check(stage, store, policy, ledger, issued)
    answers = answer_questions(stage, ledger, policy, store, histories)
    found |= {"vault": kept, "answers": answers}
    ledger.close()
    stage.seconds["receipts"] = time.perf_counter() - started
    stage.report("sign and log receipts", 1.0)
    return found


def _trust(required: Sequence[PrivateKey], owners: Mapping[str, Owner]) -> TrustStore:
    """Return a store that requires the issuer's keys and knows the users'."""
    issuer, classic = required
    store = trust([("issuer", issuer.public), ("issuer-classic", classic.public)])
    users = tuple(TrustedKey(owner.signer.public, name) for name, owner in owners.items())
    return TrustStore((*store.keys, *users), store.required)


def _receipts(
    stage: Stage, keys: Sequence[PrivateKey], owners: Mapping[str, Owner]
) -> list[tuple[str, Receipt, bytes]]:
    """Return a receipt of each proof, with its name and the proof's bytes; steps have parents.

    Each is signed by the issuer and by the user whose proof it is.
    """
    made = []
    parents: dict[str, bytes] = {}
    destination = stage.destination
    assert isinstance(destination.ledger, bytes)
    assert isinstance(destination.recipient, bytes)
    place = Place(destination.chain_id, destination.ledger, destination.recipient)
    for row in stage.proofs:
        data = read_capped(stage.out / row["file"], MAX_PROOF_BYTES)
        proof = parse_proof(data, row["file"])
        metering = {"prove_us": round(row["prove_s"] * 1e6), "proof_bytes": row["proof_bytes"]}
        if row["gas"]:
            metering["gas"] = row["gas"]
        facts = Facts(
            parent=parents.get(row["user"]),
            hyperparameters=_hyperparameters(stage) if row["statement"] == "training_step" else {},
            environment=_environment(),
            metering=metering,
            sources=[_SOURCE],
        )
        key = stage.verifying(proof.statement)
        signers = [*keys, owners[row["user"]].signer]
        receipt = issue(proof, signers, verifying_key=key, place=place, facts=facts)
        if receipt.predicate["kind"] in CHAIN_KINDS:
            parents[row["user"]] = receipt.id
        made.append((Path(row["file"]).stem, receipt, data))
    return made


_SOURCE = {
    "source": "scikit-learn: sklearn.datasets.load_digits",
    "title": "Optical recognition of handwritten digits",
    "licence": "CC-BY-4.0",
    "confidence": "1",
}


def _hyperparameters(stage: Stage) -> dict[str, Any]:
    step = stage.statements[TrainingStep.version]
    assert isinstance(step, TrainingStep)
    return {"batch": step.batch, "steps": step.steps, "learning_rate": str(step.learning_rate)}


def _environment() -> dict[str, str]:
    return {
        "zkai": importlib.metadata.version("zkai"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": "cpu",
    }


def _log(
    stage: Stage,
    store: TrustStore,
    operator: PrivateKey,
    issued: Sequence[tuple[str, Receipt, bytes]],
    histories: Sequence[History],
    owners: Mapping[str, Owner],
) -> tuple[LogPolicy, Ledger, dict[str, Any]]:
    """Log everything, seal a block, sign a checkpoint, have it cosigned.

    The receipts go in one transaction; the forks' places in the tree and what becomes of a private
    state follow.
    """
    now, recorder = int(time.time()), stage.destination
    assert isinstance(recorder.ledger, bytes)
    ledger = Ledger.create(
        stage.out / "ledger.db",
        ORIGIN,
        operator,
        store,
        [keys.verifying for keys in stage.keys.values()],
        place=(recorder.chain_id, recorder.ledger),
        at=now,
    )
    ledger.checkpoint([operator])
    ledger.append_all([Submission(r.to_bytes(), proof) for _, r, proof in issued], now)
    chains = {
        name: [r for _, r, _ in issued if r.predicate["kind"] in CHAIN_KINDS and _signed(r, owner)]
        for name, owner in owners.items()
    }
    plant(stage, ledger, histories, chains, operator)
    kept = keep_state(stage, ledger, histories[0], owners[histories[0].user.name], operator)
    ledger.seal_block(operator, now)
    note, witness_key = ledger.checkpoint([operator]), generate()
    witness = Witness(WITNESS, witness_key, stage.out / "witness.json")
    policy = LogPolicy(ORIGIN, operator.public, ((WITNESS, witness_key.public),), 1)
    ledger.add_cosignatures(witness.cosign(note, policy, [], now), policy)
    store.write(stage.out / "trust.json")
    policy.write(stage.out / "policy.json")
    return policy, ledger, kept


def _signed(receipt: Receipt, owner: Owner) -> bool:
    return owner.signer.keyid in [signer["keyid"] for signer in receipt.predicate["signers"]]


def _anchor(stage: Stage, ledger: Ledger) -> dict[str, Any]:
    """Anchor the empty log and then everything: the contract checks that one extends the other."""
    anchor = Anchor.deploy(stage.chain, ORIGIN)
    gas = 0
    for size in (1, ledger.log.size):
        kept = ledger.store.checkpoint(size)
        assert kept is not None
        checkpoint = Checkpoint.from_text(Note.from_bytes(kept[2]).text)
        gas = anchor.anchor(checkpoint, ledger.log.consistency(anchor.size, size)).gas_used
        anchor.verify_anchored(checkpoint)
    return {"anchored": True, "anchor": anchor.address, "anchor_gas": gas}


def _check(
    stage: Stage,
    store: TrustStore,
    policy: LogPolicy,
    ledger: Ledger,
    issued: Sequence[tuple[str, Receipt, bytes]],
) -> dict[str, Any]:
    """Verify each receipt with zkai and with the one-file verifier, then replay the export."""
    (stage.out / "receipts").mkdir(exist_ok=True)
    rows = []
    for name, receipt, proof in issued:
        index = ledger.store.index_of(receipt.id)
        assert index is not None
        inclusion = ledger.log.prove_entry(index).to_bytes()
        data = receipt.to_bytes()
        write_atomic(stage.out / f"receipts/{name}.receipt", data)
        write_atomic(stage.out / f"receipts/{name}.tlog-proof", inclusion)
        verify_receipt(receipt, store)
        key = ledger.admission.keys[bytes.fromhex(receipt.predicate["proof"]["vk_digest"][2:])]
        verify_proof_of(receipt, proof, key)
        standalone.verify(data, store.to_json(), proof, inclusion, policy.to_json())
        rows.append(_row(name, receipt, index))
    target = stage.out / "ledger"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    export(ledger, target)
    checkpoint = verify_export(target, policy)
    shutil.copy(Path(standalone.__file__), stage.out / "verify_receipt.py")
    page = files("zkai.receipt").joinpath("page/verify.html")
    write_atomic(stage.out / "verify.html", page.read_bytes())
    return {
        "receipts": {"signed": len(issued), "verified": len(rows), "list": rows},
        "ledger": {
            "entries": checkpoint.size,
            "root": hex32(checkpoint.root),
            "map_root": hex32(checkpoint.map_root),
            "witnesses": 1,
            **_anchor(stage, ledger),
        },
    }


def _row(name: str, receipt: Receipt, index: int) -> dict[str, Any]:
    predicate = receipt.predicate
    return {
        "name": name,
        "entry": index,
        "id": hex32(receipt.id),
        "parent": predicate["parent"],
        "kind": predicate["kind"],
        "step": predicate["step"],
        "fork": predicate["fork"],
        "grade": receipt.grade,
    }
