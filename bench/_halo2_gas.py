"""Gas of Halo2 verifications: both forms of EZKL's contract, each behind our adapter.

The models are the smallest that have the public values in question: gas depends on the circuit's
columns and on those values, and hardly on its size.
"""

from __future__ import annotations

import importlib.util
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from bench import harness
from zkai.chain.embedded import EmbeddedChain
from zkai.chain.halo2 import CHOICES, EvmVerifier, deploy, make_verifier, verify_on_chain
from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.halo2.evm import generate
from zkai.halo2.keys import Halo2VerifyingKey
from zkai.halo2.proof import Halo2Proof, prove, read_proof
from zkai.halo2.settings import Halo2Config, canonical
from zkai.halo2.setup import setup
from zkai.halo2.srs import open_srs
from zkai.halo2.statement import Halo2Inference
from zkai.model.onnx_draft import OnnxDraft
from zkai.model.onnx_file import load_onnx
from zkai.proof.keys import DEVELOPMENT

SHAPES = {
    "hashed": (8, {"input": "private", "output": "committed"}),
    "public_8": (4, {"input": "public", "output": "public"}),
}
"""The width of a linear layer, and who sees it, by what figures are called."""
FORMS = CHOICES[1:]
Sample = dict[str, float | int]


def available() -> bool:
    """Whether EZKL, Node and the compiler are there."""
    found = harness.node_tool("solc", "package.json")
    return found is not None and importlib.util.find_spec("ezkl") is not None


@cache
def _made(shape: str) -> tuple[Halo2Proof, dict[str, EvmVerifier]]:
    width, seen = SHAPES[shape]
    rng = np.random.default_rng(5)
    draft = OnnxDraft({"x": (1, width)})
    output = draft.matmul("x", draft.constant(rng.normal(0, 0.5, (width, width))))
    samples = rng.uniform(-1, 1, (8, 1, width))
    config = Halo2Config(scale=7, decomposition=(64, 3))
    statement = Halo2Inference(load_onnx(draft.model({"y": output})), samples, seen, config)
    with tempfile.TemporaryDirectory(prefix="zkai-bench-") as folder:
        keys = setup(statement, Path(folder))
        proof = prove(statement, keys.proving, {"x": samples[0]})
        key = keys.verifying
    sources = generate(key)
    return proof, {
        form: make_verifier(key, choice=form, packages=harness.ROOT, sources=sources)
        for form in FORMS
    }


def halo2_gas(quick: bool) -> Sample:
    """Whole transactions and code sizes, of the first shape alone if `quick`; {} without EZKL."""
    if not available():
        return {}
    figures: Sample = {}
    for shape in list(SHAPES)[: 1 if quick else None]:
        proof, verifiers = _made(shape)
        for form, verifier in verifiers.items():
            chain = EmbeddedChain()
            made = deploy(verifier, chain)
            name = f"halo2_{form}"
            gas = verify_on_chain(chain, made.address, proof, verifier.key)
            figures |= {
                f"{name}_verify_{shape}": gas,
                f"{name}_deploy_{shape}": made.gas_used,
                f"{name}_code_bytes_{shape}": len(verifier.code.runtime_code),
                f"{name}_adapter_bytes_{shape}": len(chain.code(made.address)),
            }
    return figures


_WORDS = {"hashed": "committed", "fixed": "constant"}


def folder_gas(folder: Path) -> dict[str, int]:
    """Gas to verify the proof that EZKL left in a folder, through our adapter; {} if it cannot be.

    The folder holds EZKL's own model.onnx, settings.json, vk.key, kzg.srs and proof.json.
    """
    if not available():
        harness.note("ezkl, no gas: needs zkai[ezkl], Node and the npm lock")
        return {}
    settings = canonical((folder / "settings.json").read_bytes())
    seen = settings.visibility
    model = load_onnx(folder / "model.onnx")
    samples = {name: np.zeros((2, *shape)) for name, shape in model.inputs.items()}
    words = {"input": seen.input, "output": seen.output, "weights": seen.weights}
    shown = {name: _WORDS.get(word, word) for name, word in words.items()}
    string = open_srs(folder / "kzg.srs", DEVELOPMENT)
    key = Halo2VerifyingKey(
        Halo2Inference(model, samples, shown).describe(),
        settings,
        (folder / "vk.key").read_bytes(),
        string.tau_g2,
        DEVELOPMENT,
        string.sha256,
    )
    try:
        chain, verifier = EmbeddedChain(), make_verifier(key, packages=harness.ROOT)
        address = deploy(verifier, chain).address
        proof = read_proof(folder / "proof.json", key, {})
        return {"gas": verify_on_chain(chain, address, proof, key)}
    except (InvalidInput, ToolError, VerificationError) as error:
        harness.note(f"ezkl, no gas: {error}")
        return {}
