"""A one-party DEVELOPMENT key with two deltas: whoever runs this could keep the secrets.

K1 = [K_i / delta1] over round 1, K2 = [K_i / delta2] over round 2, H divided by delta2, where
K_i = beta A_i + alpha B_i + C_i at tau; gamma = 1. The dummy rows of plain Groth16 stay for the
constant, y, every challenge and evaluation. Real keys come from `zkai.proof.commit.ceremony`.

Keys that link states must share tau: a proof opens the commitments that another made. The secret
tau of one project's development keys can be kept in a file (`kept_tau`).
"""

from __future__ import annotations

from pathlib import Path

from zkai import native_keys
from zkai.circuit.r1cs import Circuit
from zkai.circuit.rounds import lint_rounds
from zkai.encoding import (
    FIELD_MODULUS,
    as_path,
    from_limbs,
    read_capped,
    to_limbs,
    write_atomic,
)
from zkai.errors import InvalidInput
from zkai.proof.commit.keyfile import (
    K1,
    K2,
    POWERS,
    CommitHeader,
    Sizes,
    commit_key_writer,
    partition,
)
from zkai.proof.commit.keys import PROVING_FILE, CommitKeys, CommitProvingKey
from zkai.proof.keys import DEVELOPMENT
from zkai.proof.proving_keys import VERIFYING_FILE, key_mark
from zkai.proof.scalars import Progress, ScalarSource, no_progress, random_scalar
from zkai.proof.setup import (
    Bucket,
    Toxic,
    domain_log,
    in_g1,
    in_g2,
    make_folder,
    write_points,
)
from zkai.proof.transcript import Transcript
from zkai.proof.zkey import IC


def setup(
    circuit: Circuit,
    statement: str,
    folder: Path | str,
    progress: Progress | None = None,
    scalars: ScalarSource = random_scalar,
) -> CommitKeys:
    """Make a development key for `circuit` in `folder`: proving.zkck and verifying.json.

    `scalars` gives tau, alpha, beta, delta1 and delta2, in this order.

    Raises InvalidInput if the folder cannot be written, the circuit is too large, or its rounds
    would make the argument unsound.
    """
    report = progress or no_progress
    lint_rounds(circuit)
    make_folder(folder)
    path = Path(folder) / PROVING_FILE
    toxic = Toxic.draw(2, scalars)
    try:
        write_key(path, circuit, statement, toxic, report)
    finally:
        toxic.wipe()
    proving = CommitProvingKey(path)
    verifying = proving.verifying_key(circuit)
    verifying.write(Path(folder) / VERIFYING_FILE)
    report("setup", 1.0)
    return CommitKeys(proving, verifying)


def write_key(path: Path, circuit: Circuit, statement: str, toxic: Toxic, report: Progress) -> None:
    """Write the proving key that the secrets give."""
    first, second = partition(circuit)
    delta1, delta2 = toxic.deltas
    header = CommitHeader(
        Sizes.of(circuit),
        alpha_g1=in_g1(toxic.alpha),
        beta_g1=in_g1(toxic.beta),
        beta_g2=in_g2(toxic.beta),
        delta1_g1=in_g1(delta1),
        delta1_g2=in_g2(delta1),
        delta2_g1=in_g1(delta2),
        delta2_g2=in_g2(delta2),
        tau_g2=in_g2(toxic.tau) if circuit.links else None,
    )
    buckets: list[Bucket] = [
        (IC, slice(None, circuit.n_public + 1), to_limbs([1])),
        (K1, first, toxic.inverses[0]),
        (K2, second, toxic.inverses[1]),
    ]
    mark = key_mark(statement, circuit.digest, DEVELOPMENT)
    with commit_key_writer(path, header, Transcript(bytes(64)).to_bytes(), mark) as writer:
        if n := header.sizes.n_powers:
            scalars = native_keys.fr_powers(to_limbs([1]), toxic.tau, n)
            native_keys.points_generate("g1", scalars, writer.words(POWERS, n, 8))
            native_keys.wipe(scalars)
        write_points(writer, circuit, toxic, buckets, domain_log(circuit), report)


def kept_tau(path: Path | str) -> ScalarSource:
    """Return a source of secrets that gives first the tau kept in a file, made if there is none.

    DEVELOPMENT only: whoever reads the file can forge proofs under every key made with it.

    Raises InvalidInput if the file cannot be read or written, or holds no scalar.
    """
    path = as_path(path)
    if not path.exists():
        write_atomic(path, from_limbs(random_scalar())[0].to_bytes(32, "big"), 0o600)
    value = int.from_bytes(read_capped(path, 32), "big")
    if not 2 <= value < FIELD_MODULUS - 1:
        raise InvalidInput(f"{path}: holds no secret of development keys")
    kept = [to_limbs([value])]
    return lambda: kept.pop() if kept else random_scalar()
