"""Against snarkjs, an independent implementation: each side accepts what the other makes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from proof_support import STATEMENT, ceremony_files, circuit, keys, proof, ptau, witness

from zkai.circuit.formats import write_r1cs, write_wtns
from zkai.errors import InvalidInput, VerificationError
from zkai.proof import ceremony, groth16
from zkai.proof.foreign import (
    import_zkey,
    proof_from_snarkjs,
    proof_to_snarkjs,
    verifying_key_from_snarkjs,
    verifying_key_to_snarkjs,
)
from zkai.proof.phase1 import independent, verify_phase1
from zkai.proof.powers import write_development_ptau
from zkai.proof.ptau import Ptau, check_powers, prepare
from zkai.proof.zkey import Zkey

pytestmark = pytest.mark.node
BEACON = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"


@pytest.fixture(scope="module")
def snarkjs(node_modules: Path) -> Path:
    return node_modules / "snarkjs" / "build" / "cli.cjs"


def run(snarkjs: Path, where: Path, *arguments: str | Path, ok: bool = True) -> str:
    """Run snarkjs and return what it prints; it must end with the expected status."""
    command = ["node", str(snarkjs), *map(str, arguments)]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert (done.returncode == 0) == ok, output
    return output


def inputs(where: Path) -> tuple[Path, Path]:
    write_r1cs(where / "c.r1cs", circuit())
    write_wtns(where / "w.wtns", witness())
    return where / "c.r1cs", where / "w.wtns"


def read(path: Path) -> object:
    return json.loads(path.read_text())


def test_snarkjs_verifies_our_proof(snarkjs: Path, tmp_path: Path) -> None:
    document, public = proof_to_snarkjs(proof(), keys().verifying)
    (tmp_path / "proof.json").write_text(json.dumps(document))
    (tmp_path / "public.json").write_text(json.dumps(public))
    key = verifying_key_to_snarkjs(keys().verifying)
    (tmp_path / "vk.json").write_text(json.dumps(key))
    verify = ("groth16", "verify", "vk.json", "public.json", "proof.json")
    assert "OK!" in run(snarkjs, tmp_path, *verify)
    (tmp_path / "public.json").write_text(json.dumps([*public[:-1], "6"]))
    assert "Invalid proof" in run(snarkjs, tmp_path, *verify, ok=False)


def test_snarkjs_proves_with_our_key_and_we_verify(snarkjs: Path, tmp_path: Path) -> None:
    _, wtns = inputs(tmp_path)
    run(
        snarkjs, tmp_path, "groth16", "prove", keys().proving.path, wtns, "p.json", "x.json"
    )  # fmt: skip
    made = proof_from_snarkjs(
        read(tmp_path / "p.json"), read(tmp_path / "x.json"), keys().verifying
    )
    for verifier in groth16.VERIFIERS:
        groth16.verify(made, keys().verifying, verifier)
    assert made.public == proof().public
    forged = read(tmp_path / "x.json")
    assert isinstance(forged, list)
    forged[1] = "8"
    with pytest.raises(VerificationError, match="equation"):
        groth16.verify(
            proof_from_snarkjs(read(tmp_path / "p.json"), forged, keys().verifying),
            keys().verifying,
        )


def test_snarkjs_reads_our_key_as_we_do(snarkjs: Path, tmp_path: Path) -> None:
    run(snarkjs, tmp_path, "zkey", "export", "verificationkey", keys().proving.path, "vk.json")
    theirs = read(tmp_path / "vk.json")
    ours = keys().verifying
    assert verifying_key_from_snarkjs(theirs, STATEMENT, circuit().digest, circuit().public) == ours
    assert isinstance(theirs, dict)
    with pytest.raises(InvalidInput, match=r"ic\[0\]"):
        verifying_key_from_snarkjs(
            {**theirs, "IC": [["0", "1", "0"], *theirs["IC"][1:]]},
            STATEMENT,
            circuit().digest,
            circuit().public,
        )
    with pytest.raises(InvalidInput, match="protocol"):
        verifying_key_from_snarkjs({**theirs, "protocol": "plonk"}, STATEMENT, bytes(32), ())


def test_both_make_the_same_initial_key(snarkjs: Path, tmp_path: Path) -> None:
    r1cs, _ = inputs(tmp_path)
    run(snarkjs, tmp_path, "groth16", "setup", r1cs, ptau(), "theirs.zkey")
    theirs, ours = Zkey(tmp_path / "theirs.zkey"), Zkey(ceremony_files()[0])
    for section in range(1, 11):
        assert theirs.file.view(section) == ours.file.view(section), section


def test_snarkjs_joins_and_verifies_our_ceremony(snarkjs: Path, tmp_path: Path) -> None:
    r1cs, _ = inputs(tmp_path)
    run(
        snarkjs, tmp_path, "zkey", "contribute", ceremony_files()[2], "3.zkey", "--name=t", "-e=x"
    )  # fmt: skip
    ceremony.beacon(tmp_path / "3.zkey", tmp_path / "4.zkey", bytes.fromhex(BEACON), 10, "end")
    verify = ("zkey", "verify", r1cs, ptau())
    assert "ZKey Ok!" in run(snarkjs, tmp_path, *verify, tmp_path / "4.zkey")
    record = ceremony.verify(circuit(), ptau(), tmp_path / "4.zkey")
    assert [c.name for c in record.transcript.contributions] == ["first", "second", "t", "end"]


def test_we_verify_and_use_a_ceremony_of_snarkjs(snarkjs: Path, tmp_path: Path) -> None:
    r1cs, wtns = inputs(tmp_path)
    run(snarkjs, tmp_path, "powersoftau", "new", "bn128", "4", "0.ptau")
    run(snarkjs, tmp_path, "powersoftau", "contribute", "0.ptau", "1.ptau", "--name=a", "-e=x")
    run(snarkjs, tmp_path, "powersoftau", "beacon", "1.ptau", "2.ptau", BEACON, "10", "-n=b")
    run(snarkjs, tmp_path, "powersoftau", "prepare", "phase2", "2.ptau", "theirs.ptau")
    prepare(tmp_path / "2.ptau", tmp_path / "ours.ptau")
    assert (tmp_path / "ours.ptau").read_bytes() == (tmp_path / "theirs.ptau").read_bytes()
    check_powers(Ptau(tmp_path / "theirs.ptau"))
    assert [c.name for c in verify_phase1(Ptau(tmp_path / "theirs.ptau"))] == ["a", "b"]

    run(snarkjs, tmp_path, "groth16", "setup", r1cs, "ours.ptau", "0.zkey")
    run(snarkjs, tmp_path, "zkey", "contribute", "0.zkey", "1.zkey", "--name=c", "-e=y")
    run(snarkjs, tmp_path, "zkey", "beacon", "1.zkey", "2.zkey", BEACON, "10", "-n=d")
    made = ceremony.finalize(
        circuit(), STATEMENT, tmp_path / "ours.ptau", tmp_path / "2.zkey", tmp_path / "keys"
    )
    ours = groth16.prove(circuit(), made.proving, witness(), STATEMENT)
    trusted = {made.verifying.digest}
    groth16.verify(ours, made.verifying, production=True, trusted_digests=trusted)
    run(snarkjs, tmp_path, "groth16", "prove", "2.zkey", wtns, "p.json", "x.json")
    theirs = proof_from_snarkjs(
        read(tmp_path / "p.json"), read(tmp_path / "x.json"), made.verifying
    )
    groth16.verify(theirs, made.verifying, production=True, trusted_digests=trusted)

    with pytest.raises(InvalidInput, match="no contribution yet"):
        import_zkey(circuit(), STATEMENT, tmp_path / "0.zkey", tmp_path / "initial")
    imported = import_zkey(circuit(), STATEMENT, tmp_path / "1.zkey", tmp_path / "imported")
    with pytest.raises(VerificationError, match="development key"):
        imported.verifying.check_production()


def test_snarkjs_accepts_our_powers(snarkjs: Path, tmp_path: Path) -> None:
    write_development_ptau(tmp_path / "0.ptau", 3, "one party")
    prepare(tmp_path / "0.ptau", tmp_path / "1.ptau")
    assert "Powers of Tau Ok!" in run(snarkjs, tmp_path, "powersoftau", "verify", "1.ptau")


def test_development_powers_count_once_somebody_else_contributed(
    snarkjs: Path, tmp_path: Path
) -> None:
    write_development_ptau(tmp_path / "0.ptau", 3, "one party")
    run(snarkjs, tmp_path, "powersoftau", "contribute", "0.ptau", "1.ptau", "--name=b", "-e=x")
    file = Ptau(tmp_path / "1.ptau")
    check_powers(file)
    both = verify_phase1(file)
    assert [c.name for c in both] == ["one party", "b"]
    assert independent(file, both) == both[1:]
