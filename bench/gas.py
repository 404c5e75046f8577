"""Gas of whole transactions: verifying proofs directly, deploying, and each entry point.

Figures of verifiers come from the embedded EVM; those of entry points that write storage from
anvil, which warms nothing up between transactions. Proofs are simulated with known secrets, so no
prover runs: gas depends on the number of public inputs and the bytes alone. Every sample is
another proof of other full-size inputs.

With a commitment round the public inputs are folded into one value: groth16_commit_verify_N is for
N public inputs and the challenges that our circuits have, groth16_commit_verify_N_C for C.

Halo2 is verified by EZKL's contract behind our adapter, in both of its forms; one sample, as its
gas hardly depends on the proof. Without EZKL these figures are left out.

The peer is snarkjs's Solidity template with the same key and proofs, compiled with our settings.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from bench import harness
from bench._anvil import BINARY, running_anvil
from bench._halo2_gas import halo2_gas
from contracts.build import COMMIT, LINK, SETTINGS, compile_sources
from contracts.make_commit_vectors import CommitKey
from contracts.make_link_vectors import LinkKey, Secret
from contracts.make_vectors import Key, scalar
from zkai.chain.abi import selector, verify_calldata, words
from zkai.chain.account import AccountKey
from zkai.chain.artifact import load_artifact
from zkai.chain.chain import Chain
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.render import render_words
from zkai.chain.rpc import RpcChain
from zkai.circuit.builder import CHALLENGES
from zkai.circuit.statements.context import Context, address_word
from zkai.encoding import keccak256

COUNTS = (1, 4, 16, 64)
GENESIS_INPUTS, STEP_INPUTS, COMMIT_STEP_INPUTS, SKIP_INPUTS = 5, 9, 10, 8
FORK = 7
COMMIT_SHAPES = {
    **{f"{n}": (n, len(CHALLENGES)) for n in (1, 4, STEP_INPUTS, COMMIT_STEP_INPUTS, 16, 64)},
    **{f"{STEP_INPUTS}_{c}": (STEP_INPUTS, c) for c in (1, 3)},
}
"""Public inputs and challenges by what figures are called."""
LINK_STEP_INPUTS = COMMIT_STEP_INPUTS + 2
"""Of a step with linked states: the names of both are signals too."""
Sample = dict[str, float | int]


@cache
def key_of(n: int) -> Key:
    return Key(f"bench/gas/{n}", n)


@cache
def proof_of(n: int, index: int) -> tuple[list[int], list[int]]:
    """A valid proof of `n` full-size inputs; another one for every index."""
    publics = [scalar(f"bench/gas/{n}/{index}/{i}") for i in range(n)]
    return key_of(n).prove(publics, f"bench/gas/{n}/{index}"), publics


@cache
def commit_key_of(shape: str) -> CommitKey:
    return CommitKey(f"bench/gas/commit/{shape}", *COMMIT_SHAPES[shape], "development")


@cache
def commit_proof_of(shape: str, index: int) -> tuple[list[int], list[int]]:
    """`proof_of` with a commitment round."""
    n, _ = COMMIT_SHAPES[shape]
    publics = [scalar(f"bench/gas/{n}/{index}/{i}") for i in range(n)]
    return commit_key_of(shape).prove(publics, f"bench/gas/commit/{shape}/{index}"), publics


@cache
def link_key() -> LinkKey:
    return LinkKey("bench/gas/link", LINK_STEP_INPUTS, len(CHALLENGES), "development")


def link_proof(index: int) -> tuple[list[int], list[int]]:
    """`proof_of` of a step with linked states."""
    secret = Secret.of(f"bench/gas/link/{index}")
    inputs = [scalar(f"bench/gas/link/{index}/{i}") for i in range(LINK_STEP_INPUTS - 2)]
    return link_key().prove([*inputs, *secret.names], secret), [*inputs, *secret.names]


def prebuilt_code(key: Key | CommitKey | LinkKey) -> bytes:
    key_words = key.words()
    contract = "Groth16Verifier" if isinstance(key, Key) else COMMIT.name
    contract = LINK.name if isinstance(key, LinkKey) else contract
    creation = load_artifact(contract).creation_code
    return creation + words([32, len(key_words), *key_words])


T = TypeVar("T", int, str)


def deployed(chain: Chain, codes: dict[T, bytes], name: str, figures: Sample) -> dict[T, str]:
    """Deploy each verifier, note its gas and size, and return the addresses."""
    addresses = {}
    for n, code in codes.items():
        deployment = chain.deploy(code)
        addresses[n] = deployment.address
        figures[f"{name}_deploy_{n}"] = deployment.gas_used
        figures[f"{name}_code_bytes_{n}"] = len(chain.code(deployment.address))
    return addresses


def transaction(chain: Chain, address: str, data: bytes) -> int:
    outcome = chain.transact(address, data)
    if not outcome.success:
        raise SystemExit(f"a valid proof was refused: 0x{outcome.output.hex()}")
    return outcome.gas_used


def compiled(sources: dict[T, str], contract: str) -> dict[T, bytes]:
    _, units = compile_sources({f"{n}.sol": text for n, text in sources.items()}, SETTINGS, False)
    return {
        n: bytes.fromhex(units[f"{n}.sol"][contract]["evm"]["bytecode"]["object"]) for n in sources
    }


def our_run(chain: EmbeddedChain, quick: bool) -> Callable[[], Sample]:
    """Each call verifies one more proof with each of our verifiers."""
    fixed: Sample = {}
    prebuilt = deployed(
        chain, {n: prebuilt_code(key_of(n)) for n in COUNTS}, "groth16_verifier", fixed
    )
    sources = {n: render_words(key_of(n).words()) for n in COUNTS}
    has_node = harness.node_tool("solc", "package.json") is not None
    rendered = (
        deployed(chain, compiled(sources, "Groth16Verifier"), "groth16_rendered", fixed)
        if has_node
        else {}
    )
    commit, commit_rendered = deployed_commit(chain, has_node, fixed)
    codes = {LINK_STEP_INPUTS: prebuilt_code(link_key())}
    linked = deployed(chain, codes, "groth16_link_verifier", fixed)[LINK_STEP_INPUTS]
    fixed |= halo2_gas(quick)
    index = iter(range(sys.maxsize))

    def run() -> Sample:
        at = next(index)
        figures = dict(fixed)
        data = verify_calldata(*link_proof(at))
        figures[f"groth16_link_verify_{LINK_STEP_INPUTS}"] = transaction(chain, linked, data)
        for name, named in (
            ("groth16_commit_verify", commit),
            ("groth16_commit_rendered", commit_rendered),
        ):
            for shape, address in named.items():
                data = verify_calldata(*commit_proof_of(shape, at))
                figures[f"{name}_{shape}"] = transaction(chain, address, data)
        for name, addresses in (("groth16_verify", prebuilt), ("groth16_rendered", rendered)):
            for n, address in addresses.items():
                data = verify_calldata(*proof_of(n, at))
                figures[f"{name}_{n}"] = transaction(chain, address, data)
        return {**figures, **recorder_gas(at)}

    return run


def deployed_commit(
    chain: EmbeddedChain, has_node: bool, figures: Sample
) -> tuple[dict[str, str], dict[str, str]]:
    """The verifiers with a commitment round by shape: prebuilt, and rendered if they compile."""
    codes = {shape: prebuilt_code(commit_key_of(shape)) for shape in COMMIT_SHAPES}
    prebuilt = deployed(chain, codes, "groth16_commit_verifier", figures)
    if not has_node:
        return prebuilt, {}
    sources = {
        f"{n}": render_words(commit_key_of(f"{n}").words())
        for n in (STEP_INPUTS, COMMIT_STEP_INPUTS)
    }
    codes = compiled(sources, COMMIT.name)
    return prebuilt, deployed(chain, codes, "groth16_commit_rendered", figures)


def snarkjs_run(chain: EmbeddedChain) -> Callable[[], Sample] | None:
    """The same with snarkjs's template, or None without it."""
    if harness.node_tool("snarkjs", "package.json") is None:
        return None
    sources = {n: snarkjs_source(key_of(n)) for n in COUNTS}
    fixed: Sample = {}
    codes = compiled(sources, "Groth16Verifier")
    addresses = deployed(chain, codes, "groth16_verifier", fixed)
    index = iter(range(sys.maxsize))

    def run() -> Sample:
        at = next(index)
        figures = dict(fixed)
        for n, address in addresses.items():
            proof, publics = proof_of(n, at)
            name = f"verifyProof(uint256[2],uint256[2][2],uint256[2],uint256[{n}])"
            data = selector(name) + words([*proof, *publics])
            figures[f"groth16_verify_{n}"] = transaction(chain, address, data)
            if chain.call(address, data).output != words([1]):
                raise SystemExit("snarkjs's verifier refuses a valid proof")
        return figures

    return run


def snarkjs_source(key: Key) -> str:
    vk = key.to_json()
    renamed = {
        "nPublic": key.n_public,
        "IC": vk["ic"],
        "vk_alpha_1": vk["alpha"],
        **{f"vk_{name}_2": vk[name] for name in ("beta", "gamma", "delta")},
    }
    script = str(Path(__file__).parent / "snarkjs_verifier.js")
    done = subprocess.run(
        ["node", script], input=json.dumps(renamed), capture_output=True, text=True, check=True
    )
    return done.stdout


@dataclass(frozen=True)
class Recorder:
    """A ForkRecorder on a real node; proofs differ with the sample's index."""

    chain: RpcChain
    address: str
    index: int

    def send(
        self, function: str, key: Key | LinkKey, statement: str, at: int, publics: list[int]
    ) -> int:
        """The gas of sending a proof of `publics`, its context and, if linked, its names."""
        digest = keccak256(words(key.words()))
        ledger, sender = address_word(self.address), address_word(str(self.chain.account))
        context = Context(statement, self.chain.chain_id, ledger, FORK, at, sender, digest)
        label = f"bench/gas/{function}/{self.index}/{at}"
        inputs = [*publics, context.signal()]
        if isinstance(key, LinkKey):
            secret = Secret.of(label)
            inputs += secret.names
            proof = key.prove(inputs, secret)
        else:
            proof = key.prove(inputs, label)
        return transaction(self.chain, self.address, verify_calldata(proof, inputs, function))


def recorder_gas(index: int) -> Sample:
    """ForkRecorder's entry points on a real node; nothing without one."""
    if not BINARY.is_file():
        return {}
    plain = (Key("bench/gas/genesis", GENESIS_INPUTS), Key("bench/gas/step", STEP_INPUTS))
    linked = tuple(
        LinkKey(f"bench/gas/link/{n}", n, len(CHALLENGES), "development")
        for n in (GENESIS_INPUTS + 2, STEP_INPUTS + 2)
    )
    skip = Key("bench/gas/skip", SKIP_INPUTS)
    figures: Sample = {}
    with running_anvil() as node:
        chain = RpcChain(node.url, AccountKey(node.secret, "anvil"), node.chain_id)
        for name, (genesis, step) in (("", plain), ("_linked", linked)):
            figures |= {f"{k}{name}": gas for k, gas in entries(chain, genesis, step, skip, index)}
    return figures


def entries(
    chain: RpcChain, genesis: Key | LinkKey, step: Key | LinkKey, skip: Key, index: int
) -> Iterator[tuple[str, int]]:
    """Each entry point of a recorder over these keys, with its gas; the last of a name counts."""
    verifiers = [int(chain.deploy(prebuilt_code(k)).address, 16) for k in (genesis, step, skip)]
    creation = load_artifact("ForkRecorder").creation_code
    deployment = chain.deploy(creation + words([*verifiers, 1, 0]))
    yield "fork_recorder_deploy", deployment.gas_used
    recorder = Recorder(chain, deployment.address, index)
    model, user, batch, *states = [scalar(f"bench/gas/r/{i}") for i in range(7)]
    opened = [model, states[0], user, FORK]
    yield "fork_recorder_open", recorder.send("open", genesis, "genesis/1", 0, opened)
    for at in range(2):  # the second step no longer turns a zero into a value
        publics = [states[at], states[at + 1], batch, user, model, FORK, at, 1 << 16]
        gas = recorder.send("record", step, "training_step/1", at, publics)
        yield "fork_recorder_record", gas
    publics = [states[2], states[3], 5, user, model, FORK, 2]
    yield "fork_recorder_skip", recorder.send("skip", skip, "skip_step/1", 2, publics)


def main() -> None:
    options = harness.arguments("gas", str(__doc__).splitlines()[0]).parse_args()
    repeats = 1 if options.quick else 3
    chain = EmbeddedChain()
    results = harness.alternate(
        {"ours": our_run(chain, options.quick), "snarkjs": snarkjs_run(chain)}, repeats
    )
    ours, peer = results["ours"], results["snarkjs"]
    parameters = {
        "public_inputs": list(COUNTS),
        "challenges": list(CHALLENGES),
        "samples": repeats,
        "compiler": load_artifact("Groth16Verifier").compiler,
        "evm_version": SETTINGS["evmVersion"],
        "optimizer_runs": SETTINGS["optimizer"]["runs"],
    }
    ratios = {
        f"groth16_verify_{n}_snarkjs": harness.ratio(ours, peer, f"groth16_verify_{n}")
        for n in COUNTS
    }
    result = harness.report("gas", parameters, ours, {"snarkjs": peer}, ratios)
    harness.show(result, options.json)


if __name__ == "__main__":
    main()
