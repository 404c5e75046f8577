"""The parsers under fuzzing, each with small valid files of its own making as seeds."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from tests.fuzz.chain_targets import CHAIN_TARGETS
from tests.fuzz.ckks_targets import CKKS_TARGETS
from tests.fuzz.commit_targets import COMMIT_TARGETS
from tests.fuzz.compute_targets import COMPUTE_TARGETS
from tests.fuzz.dataset_targets import DATASET_TARGETS
from tests.fuzz.dispute_targets import DISPUTE_TARGETS
from tests.fuzz.federated_targets import FEDERATED_TARGETS
from tests.fuzz.halo2_targets import HALO2_TARGETS
from tests.fuzz.harness import Target
from tests.fuzz.he_targets import HE_TARGETS
from tests.fuzz.inputs_targets import INPUTS_TARGETS
from tests.fuzz.ledger_targets import LEDGER_TARGETS
from tests.fuzz.receipt_targets import RECEIPT_TARGETS
from tests.fuzz.rlwe_targets import RLWE_TARGETS
from tests.fuzz.vault_targets import VAULT_TARGETS
from zkai.circuit.builder import Builder
from zkai.circuit.formats import read_r1cs, read_wtns, write_r1cs, write_wtns
from zkai.circuit.r1cs import Circuit
from zkai.commands.files import read_input
from zkai.encoding import canonical_json
from zkai.model.export import load
from zkai.model.head_floats import initial_state
from zkai.model.training import LoraHead, SoftmaxHead
from zkai.opening import read_state
from zkai.proof import groth16
from zkai.proof.keys import Proof, VerifyingKey
from zkai.proof.proving_keys import Keys, ProvingKey
from zkai.proof.setup import setup

STATEMENT = "toy/1"


@lru_cache
def small_circuit() -> Circuit:
    """y = x0 x1 + x2 and a public copy of it: three constraints, one public signal."""
    builder = Builder("fuzz")
    y = builder.public_int("y")
    x = builder.private_int("x", (3,))
    product = builder.hint("product", lambda v: [v[0] * v[1]], [x], [()])[0]
    builder.constrain(x[0], x[1], product, "product")
    builder.bind_public(y, product + x[2])
    return builder.build()


@lru_cache
def seeds(folder: Path) -> dict[str, bytes]:
    """A valid file of each kind about the small circuit, by its ending."""
    circuit = small_circuit()
    witness = circuit.solve({"x": np.array([3, 5, 7])})
    keys = setup(circuit, STATEMENT, folder / "keys")
    proof = groth16.prove(circuit, keys.proving, witness, STATEMENT)
    write_r1cs(folder / "c.r1cs", circuit)
    write_wtns(folder / "w.wtns", witness)
    return {
        "r1cs": (folder / "c.r1cs").read_bytes(),
        "wtns": (folder / "w.wtns").read_bytes(),
        "zkey": keys.proving.path.read_bytes(),
        "verifying": (folder / "keys" / "verifying.json").read_bytes(),
        "proof": canonical_json(proof.to_json()),
    }


def at_path(ending: str, call: Callable[[Path], object]) -> Callable[[Path, bytes], object]:
    """A target's call for a parser that opens a file."""

    def write_and_call(folder: Path, data: bytes) -> object:
        path = folder / f"input.{ending}"
        path.write_bytes(data)
        return call(path)

    return write_and_call


def r1cs(folder: Path) -> Target:
    return Target("r1cs", (seeds(folder)["r1cs"],), at_path("r1cs", read_r1cs))


def wtns(folder: Path) -> Target:
    return Target("wtns", (seeds(folder)["wtns"],), at_path("wtns", read_wtns))


def zkey(folder: Path) -> Target:
    """Open a proving key, check it against its other half, and prove with it."""
    verifying = seeds(folder)["verifying"]
    circuit = small_circuit()
    witness = circuit.solve({"x": np.array([3, 5, 7])})

    def use(path: Path) -> None:
        (path.parent / "verifying.json").write_bytes(verifying)
        with contextlib.closing(_Mapped(path)) as mapped:
            groth16.prove(circuit, mapped.key, witness, STATEMENT)
            Keys.from_path(path.parent)

    def write_and_use(scratch: Path, data: bytes) -> None:
        (scratch / "k").mkdir(exist_ok=True)
        path = scratch / "k" / "proving.zkey"
        path.unlink(missing_ok=True)  # a mapped file must not change under an earlier map
        path.write_bytes(data)
        use(path)

    return Target("zkey", (seeds(folder)["zkey"],), write_and_use)


def foreign_zkey(folder: Path) -> Target:
    """Bring in somebody's .zkey: every point and coefficient is checked."""
    from zkai.proof.foreign import import_zkey

    def write_and_use(scratch: Path, data: bytes) -> None:
        path = scratch / "foreign.zkey"
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        import_zkey(small_circuit(), STATEMENT, path, scratch / "imported")

    return Target("foreign-zkey", (seeds(folder)["zkey"],), write_and_use)


class _Mapped:
    """A proving key that is let go of at the end of a run."""

    def __init__(self, path: Path) -> None:
        self.key = ProvingKey(path)

    def close(self) -> None:
        del self.key


def ptau(folder: Path) -> Target:
    """Check every point, power and contribution of a powers-of-tau file."""
    from zkai.proof.phase1 import read_contributions
    from zkai.proof.powers import write_development_ptau
    from zkai.proof.ptau import Ptau, check_powers, prepare

    plain, prepared = folder / "plain.ptau", folder / "prepared.ptau"
    write_development_ptau(plain, 2)
    prepare(plain, prepared)

    def use(path: Path) -> None:
        file = Ptau(path)
        read_contributions(file)
        check_powers(file)

    def write_and_use(scratch: Path, data: bytes) -> None:
        path = scratch / "input.ptau"
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        use(path)

    return Target("ptau", (plain.read_bytes(), prepared.read_bytes()), write_and_use)


def transcript(folder: Path) -> Target:
    """Parse a ceremony's transcript and follow its chain of contributions."""
    from zkai.proof import ceremony
    from zkai.proof.powers import write_development_ptau
    from zkai.proof.ptau import prepare
    from zkai.proof.transcript import Transcript, verify_chain
    from zkai.proof.zkey import CONTRIBUTIONS, Zkey

    write_development_ptau(folder / "t.ptau", 4)
    prepare(folder / "t.ptau", folder / "tp.ptau")
    keys = [folder / f"{n}.zkey" for n in range(3)]
    ceremony.init(small_circuit(), STATEMENT, folder / "tp.ptau", keys[0])
    ceremony.contribute(keys[0], keys[1], "a")
    ceremony.beacon(keys[1], keys[2], b"beacon", name="b")
    last = Zkey(keys[2])
    seed = bytes(last.file.view(CONTRIBUTIONS))
    delta = last.header.delta1

    def use(scratch: Path, data: bytes) -> None:
        verify_chain(Transcript.from_bytes(data, "transcript"), delta)

    return Target("transcript", (seed,), use)


def verifying_key(folder: Path) -> Target:
    """Read a verifying key and check a good proof with it: only the very same key may pass."""
    proof = Proof.from_json(json.loads(seeds(folder)["proof"]))
    good = VerifyingKey.from_json(json.loads(seeds(folder)["verifying"]))

    def use(path: Path) -> None:
        read = VerifyingKey.from_path(path)
        groth16.verify(proof, read)
        if read != good:
            raise AssertionError(f"a proof verifies under a changed key: {read}")

    return Target("verifying-key", (seeds(folder)["verifying"],), at_path("json", use), json=True)


def proof(folder: Path) -> Target:
    """Read a proof and check it with a good key: only the very same statement may pass."""
    key = VerifyingKey.from_path(_written(folder, "vk.json", seeds(folder)["verifying"]))
    good = Proof.from_json(json.loads(seeds(folder)["proof"]))

    def use(path: Path) -> None:
        read = Proof.from_path(path)
        groth16.verify(read, key)
        if read != good:
            raise AssertionError(f"a changed proof verifies: {read}")

    return Target("proof", (seeds(folder)["proof"],), at_path("json", use), json=True)


def onnx_model(folder: Path) -> Target:
    seeds = (_onnx_linear(), _onnx_image())
    return Target("onnx", seeds, at_path("onnx", load))


def _onnx_linear() -> bytes:
    from onnx import helper

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"], name="linear"),
        helper.make_node("Relu", ["z"], ["y"], name="relu"),
    ]
    return _onnx(nodes, {"w": np.ones((4, 3))}, [1, 4], [1, 3])


def _onnx_image() -> bytes:
    from onnx import helper

    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], name="conv", kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["c", "one", "zero", "zero", "one"], ["n"]),
        helper.make_node("AveragePool", ["n"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["g"], transB=1),
        helper.make_node("Softmax", ["g"], ["y"], axis=1),
    ]
    constants = {
        "k": np.ones((2, 1, 3, 3)), "one": np.ones(2), "zero": np.zeros(2),
        "w": np.ones((3, 8)), "b": np.zeros(3),
    }  # fmt: skip
    return _onnx(nodes, constants, [1, 1, 6, 6], [1, 3])


def _onnx(
    nodes: list[object], constants: dict[str, object], shape_in: list[int], shape_out: list[int]
) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape_out)],
        [numpy_helper.from_array(np.asarray(v, np.float32), n) for n, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def statement(folder: Path) -> Target:
    from zkai import statement_file

    seeds = (
        b'statement = "training_step"\nformat = "groth16"\nbatch = 4\nlearning_rate = 0.0625\n'
        b"momentum = 0.5\n[head]\nfeatures = 3\nclasses = 2\n",
        b'statement = "genesis"\n[head]\nfeatures = 3\nclasses = 2\n',
        b'statement = "apply_aggregate"\n[head]\nfeatures = 3\nclasses = 2\ninput_width = 6\n',
        b'statement = "genesis"\n[head]\nkind = "mlp"\nsizes = [3, 4, 2]\nhidden_width = 12\n',
        b'statement = "training_step"\nbatch = 2\nweight_decay = 0.5\n[head]\nkind = "lora"\n'
        b"sizes = [3, 4, 2]\nrank = 1\nadapted = [1, 2]\n",
        b'statement = "encrypted_update"\nupdate_bits = 8\nmax_weight = 2\n[head]\nfeatures = 3\n'
        b"classes = 2\n[encryption]\ndegree = 8\nprimes = [1048573, 1048571]\nvalue_bits = 10\n"
        b"values_per_coefficient = 2\nerror_bound = 1\n",
    )
    return Target("statement", seeds, at_path("toml", statement_file.load))


def samples(folder: Path) -> Target:
    from zkai import statement_table

    plain, packed = io.BytesIO(), io.BytesIO()
    np.savez(plain, x=np.arange(6.0).reshape(2, 3))
    np.savez_compressed(packed, x=np.zeros((4, 4), np.int8), labels=np.arange(4))
    found = (plain.getvalue(), packed.getvalue())
    return Target("samples", found, at_path("npz", statement_table.read_samples))


def values(folder: Path) -> Target:
    seed = b'{"input": [[1, 2.5, -3]], "salts": {"input": "12"}, "name": "x", "list": [1, 2]}'
    return Target("values", (seed,), at_path("json", read_input), json=True)


def layers(folder: Path) -> Target:
    """Read a frozen network and its factors, as a new fork's genesis does."""
    head = LoraHead((2, 2, 2), 1)
    seed = (
        b'{"weights": [[[[1, 0.5]], [[0], [0.25]]]], "base": [[[[1, 0], [0, 1]], [0, 0.5]],'
        b" [[[1, 0], [0, 1]], null]]}"
    )

    def read(path: Path) -> object:
        given = read_input(path)
        return initial_state(head, given.get("weights", 0), base=given.get("base"))

    return Target("layers", (seed,), at_path("json", read), json=True)


def opening(folder: Path) -> Target:
    """Read the private file that a fork's next step starts from."""
    from zkai.opening import Opening, UserState

    head = SoftmaxHead(features=2, classes=2)
    state = _small_state(head, UserState)
    path = folder / "opening.json"
    Opening("genesis/1", {"new_state": state.commitment}, {}, state).write(path)
    return Target(
        "opening", (path.read_bytes(),), at_path("json", lambda p: read_state(p, head)), json=True
    )


def _small_state(head: SoftmaxHead, make: Callable[..., object]) -> object:
    from zkai.model.training import HeadState

    weights = np.arange(6, dtype=np.int64).reshape(head.shape)
    return make(head, HeadState(weights), model=1, fork=2, step=3, secret=4, salt=5)


def _written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def sections(data: bytes) -> dict[int, tuple[int, int]]:
    """Where each section of an iden3 file lies; for tests that aim at one."""
    found, position = {}, 12
    for _ in range(struct.unpack_from("<I", data, 8)[0]):
        kind, size = struct.unpack_from("<IQ", data, position)
        found[kind] = (position + 12, size)
        position += 12 + size
    return found


TARGETS: dict[str, Callable[[Path], Target]] = {
    "r1cs": r1cs,
    "wtns": wtns,
    "zkey": zkey,
    "foreign-zkey": foreign_zkey,
    "ptau": ptau,
    "transcript": transcript,
    "verifying-key": verifying_key,
    "proof": proof,
    "onnx": onnx_model,
    "statement": statement,
    "samples": samples,
    "values": values,
    "layers": layers,
    "opening": opening,
    **CKKS_TARGETS,
    **COMMIT_TARGETS,
    **COMPUTE_TARGETS,
    **DATASET_TARGETS,
    **DISPUTE_TARGETS,
    **HALO2_TARGETS,
    **HE_TARGETS,
    **RECEIPT_TARGETS,
    **LEDGER_TARGETS,
    **CHAIN_TARGETS,
    **RLWE_TARGETS,
    **FEDERATED_TARGETS,
    **INPUTS_TARGETS,
    **VAULT_TARGETS,
}


def load_target(name: str, folder: Path) -> Target:
    """The named target, its seeds made in `folder`."""
    return TARGETS[name](folder)
