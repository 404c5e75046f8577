"""The canonical shapes of the statements, by name (circuits/<statement>/shapes.json)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from zkai.circuit.statements.apply_aggregate import ApplyAggregate
from zkai.circuit.statements.base import COMMIT, PLAIN, Format, Statement
from zkai.circuit.statements.bound_head import attach_head
from zkai.circuit.statements.dataset import DatasetShape
from zkai.circuit.statements.encrypted_update import EncryptedUpdate
from zkai.circuit.statements.encryption import Encryption
from zkai.circuit.statements.evaluation import Evaluation
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.inference import Inference
from zkai.circuit.statements.query import Query
from zkai.circuit.statements.skip_step import SkipStep
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import FIELD_MODULUS, hex32
from zkai.model import quant_graph as q
from zkai.model.fixed_point import IntArray
from zkai.model.quantize import head_graph
from zkai.model.training import HeadState, LoraHead, MlpHead, SoftmaxHead


def integers(label: str, shape: tuple[int, ...], low: int, high: int) -> IntArray:
    """Return integers in [low, high]: the first 8 bytes, little-endian, of SHA-256(label:i)."""
    size = int(np.prod(shape, dtype=np.int64))
    words = (hashlib.sha256(f"{label}:{i}".encode()).digest()[:8] for i in range(size))
    values = [low + int.from_bytes(word, "little") % (high - low + 1) for word in words]
    return np.array(values, dtype=np.int64).reshape(shape)


def element(label: str) -> int:
    """Return a field element: SHA-256 of the label modulo r."""
    return int.from_bytes(hashlib.sha256(label.encode()).digest(), "big") % FIELD_MODULUS


# Canonical shapes -----------------------------------------------------------------------------

DIGITS = SoftmaxHead(64, 10, input_width=6, rate_shift=9, rate_bits=4)
"""8 x 8 images of 0 to 16 sixteenths; learning rates in sixteenths at batch 32."""

WIDE = SoftmaxHead(64, 10)
USER = SoftmaxHead(32, 10, input_scale_bits=8, input_width=12, rate_shift=13)
SMALL = SoftmaxHead(5, 3, input_width=6, rate_shift=9, rate_bits=4)
SMALL_MOMENTUM = replace(SMALL, momentum=230)
SMALL_DECAY = replace(SMALL, decay=4096)
SMALL_CLIPPED = SMALL.clipped(0.5)
MLP = MlpHead((64, 32, 10))
LORA = LoraHead((64, 32, 10), rank=4)
SMALL_MLP = MlpHead((5, 4, 3), input_width=6, rate_shift=9, rate_bits=4)
SMALL_LORA = LoraHead((5, 4, 3), rank=2, input_width=6, rate_shift=9, rate_bits=4, momentum=230)

RING = Encryption(4096, (18014398509293569, 18014398509309953))
"""The scheme's own parameters: two primes of 54 bits, three values of 20 bits a coefficient."""

QUERY_RING = replace(RING, values_per_coefficient=1, value_bits=40)
"""One value a coefficient, so that a linear model can be multiplied with it."""

TINY_RING = Encryption(16, (18014398509481951, 18014398509481931), error_bound=3)
"""Small enough to be looked at; it hides nothing."""


def linear(name: str, x: str, out: str, shift: int, sx: int) -> q.QuantNode:
    """Return a linear layer name_w, name_b."""
    return q.QuantNode(
        name, name, q.MatMul(shift, sx, 1, 40), (x, f"{name}_w", f"{name}_b"), out, "3"
    )


def dense_backbone() -> q.QuantGraph:
    """64 inputs at scale 4, 32 rectified features at scale 8."""
    tensors = [
        q.QuantTensor("x", (1, 64), 4, 8, "input", True),
        q.QuantTensor("dense_w", (64, 32), 10, 12, "parameter", True),
        q.QuantTensor("dense_b", (32,), 10, 14, "parameter", True),
        q.QuantTensor("z", (1, 32), 8, 12, "hidden", True),
        q.QuantTensor("h", (1, 32), 8, 12, "output", False),
    ]
    values = {
        "dense_w": integers("dense w", (64, 32), -400, 400),
        "dense_b": integers("dense b", (32,), -4000, 4000),
    }
    nodes = (
        linear("dense", "x", "z", 6, 4),
        q.QuantNode("relu", "relu", q.Relu(), ("z",), "h", "5"),
    )
    by_name = {t.name: t for t in tensors}
    return q.QuantGraph("dense64x32", ("x",), ("h",), by_name, nodes, values)


def conv_backbone() -> q.QuantGraph:
    """An 8 x 8 image at scale 4, 3 x 3 convolution to 4 maps, ReLU, 2 x 2 averages: 64 features."""
    conv = q.Conv((1, 1), (1, 1, 1, 1), (1, 1), 1, 6, 4, 1, 40)
    tensors = [
        q.QuantTensor("x", (1, 1, 8, 8), 4, 8, "input", True),
        q.QuantTensor("conv_w", (4, 1, 3, 3), 10, 12, "parameter", True),
        q.QuantTensor("conv_b", (4,), 10, 14, "parameter", True),
        q.QuantTensor("z", (1, 4, 8, 8), 8, 12, "hidden", True),
        q.QuantTensor("h", (1, 4, 8, 8), 8, 12, "hidden", False),
        q.QuantTensor("pooled", (1, 4, 4, 4), 8, 12, "hidden", False),
        q.QuantTensor("features", (1, 64), 8, 12, "output", False),
    ]
    values = {
        "conv_w": integers("conv w", (4, 1, 3, 3), -400, 400),
        "conv_b": integers("conv b", (4,), -4000, 4000),
    }
    pool = q.AveragePool((2, 2), (2, 2), (0, 0, 0, 0), False)
    nodes = (
        q.QuantNode("conv", "conv", conv, ("x", "conv_w", "conv_b"), "z", "3"),
        q.QuantNode("relu", "relu", q.Relu(), ("z",), "h", "5"),
        q.QuantNode("pool", "pool", pool, ("h",), "pooled", "6"),
        q.QuantNode("flatten", "flatten", q.Reshape(), ("pooled",), "features", "16"),
    )
    by_name = {t.name: t for t in tensors}
    return q.QuantGraph("conv8x8", ("x",), ("features",), by_name, nodes, values)


def weights_of(head: SoftmaxHead, label: str = "weights") -> IntArray:
    """Return example weights of a head."""
    return integers(f"{label} {head.features}", head.shape, -60000, 60000)


def state_of(head: SoftmaxHead) -> HeadState:
    """Return an example state of a head."""
    velocity = integers(f"velocity {head.features}", head.shape, -3000, 3000)
    return HeadState(weights_of(head), velocity if head.momentum else None)


def head_inference(head: SoftmaxHead, form: Format = PLAIN, **visibility: str) -> Inference:
    """Return the inference of a head alone."""
    graph = head_graph(head, state_of(head), 1, probabilities=visibility["output"] != "argmax")
    bound = head if visibility.get("weights") == "state" else None
    return Inference(graph, visibility, bound, form)


def attached(backbone: q.QuantGraph, head: SoftmaxHead, **visibility: str) -> Inference:
    """Return the inference of a backbone and a head."""
    graph = attach_head(backbone, head, state_of(head), visibility["output"] != "argmax")
    return Inference(graph, visibility, head if "state" in visibility.values() else None)


PRIVATE_HEAD = {"head.weight": "state", "head.bias": "state", "output": "argmax"}

SHAPES: dict[str, dict[str, Callable[[], Statement]]] = {
    "training_step": {
        "5x3, batch 4": lambda: TrainingStep(SMALL, 4),
        "5x3, batch 4, momentum": lambda: TrainingStep(SMALL_MOMENTUM, 4),
        "5x3, batch 4, decay": lambda: TrainingStep(SMALL_DECAY, 4),
        "5x3, batch 4, clipped": lambda: TrainingStep(SMALL_CLIPPED, 4),
        "5x3, batch 4, 2 steps": lambda: TrainingStep(SMALL, 4, 2),
        "5x3, batch 4, dataset": lambda: TrainingStep(SMALL, 4, dataset=DatasetShape(4, 2)),
        "5x3, batch 2, 2 steps, dataset": lambda: TrainingStep(
            SMALL, 2, 2, dataset=DatasetShape(4, 1)
        ),
        "64x10, batch 32, digits": lambda: TrainingStep(DIGITS, 32),
        "64x10, batch 32": lambda: TrainingStep(WIDE, 32),
        "64x10, batch 32, momentum": lambda: TrainingStep(replace(WIDE, momentum=230), 32),
        "32x10, batch 32": lambda: TrainingStep(USER, 32),
        "5x3, batch 4, commitment round": lambda: TrainingStep(SMALL, 4, format=COMMIT),
        "5x3, batch 4, momentum, commitment round": lambda: TrainingStep(
            SMALL_MOMENTUM, 4, format=COMMIT
        ),
        "5x3, batch 4, clipped, commitment round": lambda: TrainingStep(
            SMALL_CLIPPED, 4, format=COMMIT
        ),
        "5x3, batch 4, dataset, commitment round": lambda: TrainingStep(
            SMALL, 4, format=COMMIT, dataset=DatasetShape(4, 2)
        ),
        "64x10, batch 32, digits, commitment round": lambda: TrainingStep(
            DIGITS, 32, format=COMMIT
        ),
        "64x10, batch 32, commitment round": lambda: TrainingStep(WIDE, 32, format=COMMIT),
        "64x10, batch 32, dataset of 56 x 32 rows, commitment round": lambda: TrainingStep(
            WIDE, 32, format=COMMIT, dataset=DatasetShape(6, 32)
        ),
        "64x10, batch 32, dataset of 1,797 rows, commitment round": lambda: TrainingStep(
            WIDE, 32, format=COMMIT, dataset=DatasetShape(11)
        ),
        "64x10, batch 32, momentum, commitment round": lambda: TrainingStep(
            replace(WIDE, momentum=230), 32, format=COMMIT
        ),
        "64x10, batch 32, clipped, commitment round": lambda: TrainingStep(
            WIDE.clipped(1.0), 32, format=COMMIT
        ),
        "MLP 5-4-3, batch 4": lambda: TrainingStep(SMALL_MLP, 4),
        "MLP 5-4-3, batch 4, commitment round": lambda: TrainingStep(SMALL_MLP, 4, format=COMMIT),
        "LoRA 5-4-3, batch 4, momentum": lambda: TrainingStep(SMALL_LORA, 4),
        "LoRA 5-4-3, batch 4, momentum, commitment round": lambda: TrainingStep(
            SMALL_LORA, 4, format=COMMIT
        ),
        "MLP 64-32-10, batch 32, commitment round": lambda: TrainingStep(MLP, 32, format=COMMIT),
        "LoRA 64-32-10 of rank 4, batch 32, commitment round": lambda: TrainingStep(
            LORA, 32, format=COMMIT
        ),
    },
    "skip_step": {
        "5x3": lambda: SkipStep(SMALL),
        "5x3, momentum": lambda: SkipStep(SMALL_MOMENTUM),
        "64x10": lambda: SkipStep(WIDE),
        "5x3, commitment round": lambda: SkipStep(SMALL, COMMIT),
        "64x10, commitment round": lambda: SkipStep(WIDE, COMMIT),
    },
    "evaluation": {
        "5x3, 8 samples": lambda: Evaluation(SMALL, 8, DatasetShape(4, 2)),
        "5x3, 8 samples, commitment round": lambda: Evaluation(
            SMALL, 8, DatasetShape(4, 2), COMMIT
        ),
        "5x3, 8 samples, momentum": lambda: Evaluation(SMALL_MOMENTUM, 8, DatasetShape(4, 2)),
        "64x10, 256 samples of 1,797, commitment round": lambda: Evaluation(
            WIDE, 256, DatasetShape(11), COMMIT
        ),
        "64x10, 256 samples of 56 x 32, commitment round": lambda: Evaluation(
            WIDE, 256, DatasetShape(6, 32), COMMIT
        ),
        "64x10, 256 samples of 56 x 32, digits, commitment round": lambda: Evaluation(
            DIGITS, 256, DatasetShape(6, 32), COMMIT
        ),
    },
    "encrypted_update": {
        "5x3, degree 16": lambda: EncryptedUpdate(SMALL, TINY_RING),
        "5x3, degree 16, momentum": lambda: EncryptedUpdate(SMALL_MOMENTUM, TINY_RING, 12),
        "MLP 5-4-3, degree 16": lambda: EncryptedUpdate(SMALL_MLP, TINY_RING),
        "64x10": lambda: EncryptedUpdate(WIDE, RING),
        "MLP 64-32-10": lambda: EncryptedUpdate(MLP, RING),
        "MLP 64-32-10, linked": lambda: EncryptedUpdate(MLP, RING, 15, "kzg"),
    },
    "query": {
        "5 of 8 bits": lambda: Query((5,), 8),
        "2x3 of 6 bits": lambda: Query((2, 3), 6, 4),
        "2x3 of 6 bits, commitment round": lambda: Query((2, 3), 6, 4, COMMIT),
        "1x64 of 9 bits": lambda: Query((1, 64), 9, 4),
        "1x768 of 12 bits, commitment round": lambda: Query((1, 768), 12, 8, COMMIT),
        "1x64 of 9 bits, encrypted": lambda: Query((1, 64), 9, 4, COMMIT, QUERY_RING),
    },
    "genesis": {
        "5x3": lambda: Genesis(SMALL),
        "5x3, momentum": lambda: Genesis(SMALL_MOMENTUM),
        "64x10": lambda: Genesis(WIDE),
        "32x10": lambda: Genesis(USER),
        "5x3, commitment round": lambda: Genesis(SMALL, COMMIT),
        "64x10, commitment round": lambda: Genesis(WIDE, COMMIT),
        "MLP 5-4-3": lambda: Genesis(SMALL_MLP),
        "LoRA 5-4-3, momentum": lambda: Genesis(SMALL_LORA),
    },
    "apply_aggregate": {
        "5x3": lambda: ApplyAggregate(SMALL),
        "5x3, momentum": lambda: ApplyAggregate(SMALL_MOMENTUM),
        "64x10": lambda: ApplyAggregate(WIDE),
        "32x10": lambda: ApplyAggregate(USER),
        "5x3, commitment round": lambda: ApplyAggregate(SMALL, COMMIT),
        "64x10, commitment round": lambda: ApplyAggregate(WIDE, COMMIT),
        "MLP 5-4-3": lambda: ApplyAggregate(SMALL_MLP),
        "LoRA 5-4-3, momentum": lambda: ApplyAggregate(SMALL_LORA),
    },
    "inference": {
        "head 5x3 of a state, class": lambda: head_inference(
            SMALL, weights="state", output="argmax"
        ),
        "head 5x3, committed weights": lambda: head_inference(
            SMALL, weights="committed", output="public"
        ),
        "head 64x10 of a state, class": lambda: head_inference(
            WIDE, weights="state", output="argmax"
        ),
        "head 64x10, constant weights": lambda: head_inference(
            WIDE, weights="constant", output="public"
        ),
        "dense 64x32x10, constant weights": lambda: attached(
            dense_backbone(), USER, output="public"
        ),
        "dense 64x32x10, committed weights": lambda: attached(
            dense_backbone(), USER, output="public", weights="committed"
        ),
        "dense 64x32 and a state's head 32x10": lambda: attached(
            dense_backbone(), USER, **PRIVATE_HEAD
        ),
        "convolution 8x8 and a head 64x10": lambda: attached(
            conv_backbone(),
            replace(WIDE, input_scale_bits=8, input_width=12),
            output="public",
        ),
        "head 5x3 of a state, class, commitment round": lambda: head_inference(
            SMALL, COMMIT, weights="state", output="argmax"
        ),
        "head 5x3, committed weights, commitment round": lambda: head_inference(
            SMALL, COMMIT, weights="committed", output="public"
        ),
        "head 64x10 of a state, class, commitment round": lambda: head_inference(
            WIDE, COMMIT, weights="state", output="argmax"
        ),
    },
}


def shape(name: str, statement: Statement) -> dict[str, Any]:
    """Return a canonical shape's frozen numbers."""
    circuit = statement.build()
    return {
        "name": name,
        "description": statement.describe(),
        "public_signals": circuit.n_signals,
        "constraints": circuit.n_constraints,
        "wires": circuit.n_wires,
        "digest": hex32(circuit.digest),
    }
