"""zkai: zero-knowledge proofs of inference and training steps.

The public names, and nothing else; each is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zkai.advice import recommend
    from zkai.assignment import Destination
    from zkai.backends import estimate, prove, setup, verify, verify_chain
    from zkai.beacon import Beacon, BeaconFile, verify_order, verify_pinned
    from zkai.calibrated import Inference
    from zkai.certificate import verify_improvement
    from zkai.circuit.statements.apply_aggregate import ApplyAggregate
    from zkai.circuit.statements.dataset import Dataset, DatasetShape
    from zkai.circuit.statements.encrypted_update import EncryptedUpdate
    from zkai.circuit.statements.encryption import Encryption
    from zkai.circuit.statements.evaluation import Evaluation
    from zkai.circuit.statements.evaluation_set import EvaluationSet, Samples
    from zkai.circuit.statements.fork_terms import ForkTerms
    from zkai.circuit.statements.genesis import Genesis
    from zkai.circuit.statements.query import Query
    from zkai.circuit.statements.skip_step import SkipStep
    from zkai.encrypted import Sent, check_update_of, verify_encrypted_update
    from zkai.errors import InvalidInput, ToolError, VerificationError, ZkaiError
    from zkai.halo2.settings import Halo2Config
    from zkai.halo2.statement import Halo2Inference
    from zkai.halo2.training import Halo2TrainingStep
    from zkai.model.calibrate import QuantConfig
    from zkai.model.heads import LoraHead, MlpHead, SoftmaxHead
    from zkai.model.onnx_file import load_model as load
    from zkai.model.torch_export import export
    from zkai.opening import Opening, UserState
    from zkai.proof.estimate import Estimate, Recommendation
    from zkai.proof.formats import Keys, Proof, VerifyingKey
    from zkai.proof.proving_keys import ProvingKey
    from zkai.training_step import TrainingStep

_HOMES = {
    "ApplyAggregate": "zkai.circuit.statements.apply_aggregate",
    "Beacon": "zkai.beacon",
    "BeaconFile": "zkai.beacon",
    "Dataset": "zkai.circuit.statements.dataset",
    "DatasetShape": "zkai.circuit.statements.dataset",
    "Destination": "zkai.assignment",
    "EncryptedUpdate": "zkai.circuit.statements.encrypted_update",
    "Encryption": "zkai.circuit.statements.encryption",
    "Estimate": "zkai.proof.estimate",
    "Evaluation": "zkai.circuit.statements.evaluation",
    "EvaluationSet": "zkai.circuit.statements.evaluation_set",
    "ForkTerms": "zkai.circuit.statements.fork_terms",
    "Genesis": "zkai.circuit.statements.genesis",
    "Inference": "zkai.calibrated",
    "Halo2Config": "zkai.halo2.settings",
    "Halo2Inference": "zkai.halo2.statement",
    "Halo2TrainingStep": "zkai.halo2.training",
    "InvalidInput": "zkai.errors",
    "Keys": "zkai.proof.formats",
    "LoraHead": "zkai.model.heads",
    "MlpHead": "zkai.model.heads",
    "Opening": "zkai.opening",
    "Proof": "zkai.proof.formats",
    "ProvingKey": "zkai.proof.proving_keys",
    "QuantConfig": "zkai.model.calibrate",
    "Query": "zkai.circuit.statements.query",
    "Recommendation": "zkai.proof.estimate",
    "Samples": "zkai.circuit.statements.evaluation_set",
    "Sent": "zkai.encrypted",
    "SkipStep": "zkai.circuit.statements.skip_step",
    "SoftmaxHead": "zkai.model.training",
    "ToolError": "zkai.errors",
    "TrainingStep": "zkai.training_step",
    "UserState": "zkai.opening",
    "VerificationError": "zkai.errors",
    "VerifyingKey": "zkai.proof.formats",
    "ZkaiError": "zkai.errors",
    "check_update_of": "zkai.encrypted",
    "estimate": "zkai.backends",
    "recommend": "zkai.advice",
    "export": "zkai.model.torch_export",
    "load": "zkai.model.onnx_file",
    "prove": "zkai.backends",
    "setup": "zkai.backends",
    "verify": "zkai.backends",
    "verify_chain": "zkai.backends",
    "verify_encrypted_update": "zkai.encrypted",
    "verify_improvement": "zkai.certificate",
    "verify_order": "zkai.beacon",
    "verify_pinned": "zkai.beacon",
}

_NAMES = {"load": "load_model"}
"""What is called otherwise where it lives."""

__all__ = [
    "ApplyAggregate",
    "Beacon",
    "BeaconFile",
    "Dataset",
    "DatasetShape",
    "Destination",
    "EncryptedUpdate",
    "Encryption",
    "Estimate",
    "Evaluation",
    "EvaluationSet",
    "ForkTerms",
    "Genesis",
    "Halo2Config",
    "Halo2Inference",
    "Halo2TrainingStep",
    "Inference",
    "InvalidInput",
    "Keys",
    "LoraHead",
    "MlpHead",
    "Opening",
    "Proof",
    "ProvingKey",
    "QuantConfig",
    "Query",
    "Recommendation",
    "Samples",
    "Sent",
    "SkipStep",
    "SoftmaxHead",
    "ToolError",
    "TrainingStep",
    "UserState",
    "VerificationError",
    "VerifyingKey",
    "ZkaiError",
    "check_update_of",
    "estimate",
    "export",
    "load",
    "prove",
    "recommend",
    "setup",
    "verify",
    "verify_chain",
    "verify_encrypted_update",
    "verify_improvement",
    "verify_order",
    "verify_pinned",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'zkai' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), _NAMES.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
