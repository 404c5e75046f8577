"""Keys and proofs of iden3's tools: a .zkey made elsewhere, snarkjs's JSON files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zkai.circuit.r1cs import Circuit, PublicSignal
from zkai.encoding import parse_decimal
from zkai.errors import InvalidInput
from zkai.proof.ceremony import check_points, copy_zkey, same_coefs
from zkai.proof.jsonform import (
    MAX_PUBLIC,
    WORD,
    expect_list,
    g1_from_json,
    g1_to_json,
    g2_from_json,
    g2_to_json,
)
from zkai.proof.keys import DEVELOPMENT, Proof, VerifyingKey
from zkai.proof.points import G1, G1_GENERATOR, G2, G2_GENERATOR
from zkai.proof.proving_keys import PROVING_FILE, VERIFYING_FILE, PlainKeys, ProvingKey, key_mark
from zkai.proof.ratio import same_ratio
from zkai.proof.scalars import Progress, no_progress
from zkai.proof.setup import circuit_coefs, domain_log, make_folder
from zkai.proof.zkey import COEFS, HEADER, Zkey


def import_zkey(
    circuit: Circuit,
    statement: str,
    source: Path | str,
    folder: Path | str,
    progress: Progress | None = None,
) -> PlainKeys:
    """Bring a .zkey of this circuit into `folder` as a DEVELOPMENT key.

    Every point is checked for canonical form, curve, subgroup and infinity, and the coefficients
    against the circuit's. Where the key comes from stays unknown: only `ceremony.finalize`, which
    needs the .ptau, makes a ceremony's key of it.

    Raises InvalidInput naming the file, section and point.
    """
    report = progress or no_progress
    circuit.require_plain("a .zkey")
    zkey = Zkey(source)
    header = zkey.header
    sizes = (circuit.n_wires, circuit.n_public, 1 << domain_log(circuit))
    if (header.n_wires, header.n_public, header.domain_size) != sizes:
        raise InvalidInput(
            f"{zkey.file.where(HEADER)}: {header.n_wires} wires, {header.n_public} public, domain "
            f"{header.domain_size}; {circuit.name} has {sizes[0]}, {sizes[1]} and {sizes[2]}"
        )
    check_points(zkey, report)
    if not same_coefs(zkey.coefs, circuit_coefs(circuit)):
        raise InvalidInput(f"{zkey.file.where(COEFS)}: not the coefficients of {circuit.name}")
    for name, g1, g2 in (
        ("beta", header.beta1, header.beta2),
        ("delta", header.delta1, header.delta2),
    ):
        if not same_ratio((G1_GENERATOR, g1), (G2_GENERATOR, g2)):
            raise InvalidInput(f"{zkey.file.where(HEADER)}: {name} differs between G1 and G2")
    if header.delta2 == header.gamma2 or header.delta1 == G1_GENERATOR:
        raise InvalidInput(
            f"{zkey.file.where(HEADER)}: delta is the generator or gamma: no contribution yet, "
            "so anyone can forge proofs; run `zkai setup --ceremony contribute` on it first"
        )
    make_folder(folder)
    path = Path(folder) / PROVING_FILE
    copy_zkey(zkey, path, key_mark(statement, circuit.digest, DEVELOPMENT))
    proving = ProvingKey(path)
    verifying = proving.verifying_key(circuit)
    verifying.write(Path(folder) / VERIFYING_FILE)
    report("import", 1.0)
    return PlainKeys(proving, verifying)


def verifying_key_to_snarkjs(key: VerifyingKey) -> dict[str, Any]:
    """Return the key as snarkjs's verification_key.json."""
    return {
        "protocol": "groth16",
        "curve": "bn128",
        "nPublic": key.n_public,
        "vk_alpha_1": [*g1_to_json(key.alpha), "1"],
        "vk_beta_2": [*g2_to_json(key.beta), ["1", "0"]],
        "vk_gamma_2": [*g2_to_json(key.gamma), ["1", "0"]],
        "vk_delta_2": [*g2_to_json(key.delta), ["1", "0"]],
        "IC": [[*g1_to_json(point), "1"] for point in key.ic],
    }


def verifying_key_from_snarkjs(
    value: Any, statement: str, circuit_digest: bytes, public: Sequence[PublicSignal]
) -> VerifyingKey:
    """Return snarkjs's verification_key.json as a DEVELOPMENT key: it tells of no ceremony.

    Raises InvalidInput, naming the field, if it is malformed or a point is not valid.
    """
    where = "verification_key.json"
    _expect_groth16(value, where)
    ic = value.get("IC")
    if not isinstance(ic, list) or not 1 <= len(ic) <= MAX_PUBLIC + 1:
        raise InvalidInput(f"{where}.IC: expected a list of points")
    if value.get("nPublic") != len(ic) - 1:
        raise InvalidInput(f"{where}.nPublic: not the number of IC points less one")
    key = VerifyingKey(
        statement,
        circuit_digest,
        DEVELOPMENT,
        tuple(public),
        alpha=_affine_g1(value.get("vk_alpha_1"), f"{where}.vk_alpha_1"),
        beta=_affine_g2(value.get("vk_beta_2"), f"{where}.vk_beta_2"),
        gamma=_affine_g2(value.get("vk_gamma_2"), f"{where}.vk_gamma_2"),
        delta=_affine_g2(value.get("vk_delta_2"), f"{where}.vk_delta_2"),
        ic=tuple(_affine_g1(point, f"{where}.IC[{i}]") for i, point in enumerate(ic)),
    )
    key.check()
    return key


def proof_to_snarkjs(proof: Proof, key: VerifyingKey) -> tuple[dict[str, Any], list[str]]:
    """Return snarkjs's proof.json and public.json.

    Raises VerificationError if the proof's public signals are not those of the key.
    """
    document = {
        "pi_a": [*g1_to_json(proof.a), "1"],
        "pi_b": [*g2_to_json(proof.b), ["1", "0"]],
        "pi_c": [*g1_to_json(proof.c), "1"],
        "protocol": "groth16",
        "curve": "bn128",
    }
    return document, [str(value) for value in proof.public_values(key)]


def proof_from_snarkjs(document: Any, public: Any, key: VerifyingKey) -> Proof:
    """Return snarkjs's proof.json and public.json as a proof under `key`, not yet verified.

    Raises InvalidInput naming the field that is malformed.
    """
    _expect_groth16(document, "proof.json")
    listed = expect_list(public, key.n_public, "public.json")
    flat = [parse_decimal(v, f"public.json[{i}]", WORD) for i, v in enumerate(listed)]
    values, position = {}, 0
    for signal in key.public:
        values[signal.name] = tuple(flat[position : position + signal.size])
        position += signal.size
    return Proof(
        key.statement,
        key.circuit_digest,
        key.digest,
        key.key_status,
        values,
        _affine_g1(document.get("pi_a"), "proof.json.pi_a"),
        _affine_g2(document.get("pi_b"), "proof.json.pi_b"),
        _affine_g1(document.get("pi_c"), "proof.json.pi_c"),
    )


def _expect_groth16(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise InvalidInput(f"{where}: expected a JSON object")
    if (value.get("protocol"), value.get("curve")) != ("groth16", "bn128"):
        raise InvalidInput(f"{where}: expected protocol groth16 over bn128")


def _affine_g1(value: Any, where: str) -> G1:
    """Return a projective point whose last coordinate is 1; ["0", "1", "0"] is infinity."""
    x, y, z = expect_list(value, 3, where)
    if [x, y, z] == ["0", "1", "0"]:
        return None
    if z != "1":
        raise InvalidInput(f"{where}: the last coordinate must be 1")
    return g1_from_json([x, y], where)


def _affine_g2(value: Any, where: str) -> G2:
    x, y, z = expect_list(value, 3, where)
    if [x, y, z] == [["0", "0"], ["1", "0"], ["0", "0"]]:
        return None
    if z != ["1", "0"]:
        raise InvalidInput(f"{where}: the last coordinate must be 1")
    return g2_from_json([x, y], where)
