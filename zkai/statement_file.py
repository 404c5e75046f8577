"""Statement files: TOML that says what is to be proven, read into the statement objects.

docs/reference/statement-file.md lists every key. A path in the file is relative to the file.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from zkai.advice import recommend
from zkai.calibrated import Inference, attached_head
from zkai.circuit.statements.apply_aggregate import ApplyAggregate
from zkai.circuit.statements.base import COMMIT, PLAIN, Format, Statement
from zkai.circuit.statements.dataset import DatasetShape
from zkai.circuit.statements.encrypted_update import EncryptedUpdate
from zkai.circuit.statements.encryption import Encryption
from zkai.circuit.statements.evaluation import Evaluation
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.linked import KZG, POSEIDON, WeightsCommitment
from zkai.circuit.statements.query import Query
from zkai.circuit.statements.skip_step import SkipStep
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import as_path, read_capped
from zkai.errors import InvalidInput
from zkai.halo2.slices import SlicedInference
from zkai.halo2.statement import FORMAT as HALO2
from zkai.halo2.statement import Halo2Statement
from zkai.he.parameters import RING
from zkai.he.ring import ERROR_BOUND
from zkai.model.calibrate import QuantConfig
from zkai.model.export import load as load_model
from zkai.model.heads import Head
from zkai.statement_halo2 import AnyStatement, read_halo2
from zkai.statement_head import read_head
from zkai.statement_table import Table, read_samples

MAX_FILE_BYTES = 1 << 20

FORMATS: tuple[Format, ...] = (PLAIN, COMMIT)
AUTO = "auto"
"""The format that `zkai.advice` recommends for the statement."""
KINDS = (
    "inference", "training_step", "skip_step", "genesis", "apply_aggregate", "encrypted_update",
    "evaluation", "query",
)  # fmt: skip


def load(path: Path | str) -> Statement:
    """Return the statement of our own circuits that a TOML file describes; see `load_any`.

    Raises InvalidInput, naming the file and the key, for a missing, oversized or malformed file,
    an unknown key, a wrong type, and whatever the statement itself refuses; and for format halo2.
    """
    return parse(read_capped(path, MAX_FILE_BYTES), as_path(path))


def load_any(path: Path | str) -> AnyStatement:
    """Return the statement, of any format, that a TOML file describes. Raises as `load` does."""
    return parse_any(read_capped(path, MAX_FILE_BYTES), as_path(path))


def parse(data: bytes, path: Path) -> Statement:
    """Return the statement in `data`; `path` names it in messages and anchors relative paths.

    Raises InvalidInput as `load` does.
    """
    found = parse_any(data, path)
    if isinstance(found, Halo2Statement | SlicedInference):
        raise InvalidInput(
            f'{path}: format "{HALO2}" is for estimate, setup and prove; here use "{PLAIN}" or'
            f' "{COMMIT}"'
        )
    return found


def parse_any(data: bytes, path: Path) -> AnyStatement:
    """Return the statement, of any format, in `data`. Raises InvalidInput as `load` does."""
    try:
        content = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidInput(f"{path}: not valid TOML ({error})") from error
    top = Table(content, str(path))
    kind = top.choice("statement", KINDS)
    format = top.choice("format", (*FORMATS, HALO2, AUTO), PLAIN)
    automatic = format == AUTO
    try:
        if format == HALO2:
            return read_halo2(kind, top, path.parent)
        if automatic:
            found = _READERS[kind](Table(content | {"format": COMMIT}, str(path)), path.parent)
            top = Table(content | {"format": recommend(found).format}, str(path))
        return _READERS[kind](top, path.parent)
    except InvalidInput as error:
        if str(error).startswith((str(path), str(path.parent))):
            raise
        raise InvalidInput(f"{path}: {error}") from error


def _format(top: Table) -> Format:
    """Return the proof format, plain Groth16 if the file names none."""
    chosen: Any = top.choice("format", FORMATS, PLAIN)
    return chosen  # type: ignore[no-any-return]


def _inference(top: Table, folder: Path) -> Statement:
    known = ("statement", "format", "model", "calibration", "visibility", *_HASHING)
    top.only(*known, "head", *_HEAD_OPTIONS, _LINKING, *_PRECISION)
    sizes = {name: top.integer(name) for name in _PRECISION if name in top.content}
    scale = top.integer("input_scale_bits") if "input_scale_bits" in top.content else None
    visibility = top.visibility() if "visibility" in top.content else {}
    model, samples = folder / top.text("model"), folder / top.text("calibration")
    graph = load_model(model)
    scales = {} if scale is None else dict.fromkeys(graph.inputs, scale)
    config = QuantConfig(**sizes, scale_bits=scales)
    calibration: Any = read_samples(samples)
    if len(calibration) == 1 and len(graph.inputs) == 1:
        (calibration,) = calibration.values()
    try:
        if "head" in top.content:
            head = _attached(top)
            kind = _weights_commitment(top)
            return attached_head(graph, head, calibration, visibility, config, _format(top), kind)
        top.only(*known, *_PRECISION)
        return Inference(
            graph,
            calibration=calibration,
            visibility=visibility,
            config=config,
            format=_format(top),
            blinders=top.integer("blinders", 0),
        )
    except InvalidInput as error:
        raise InvalidInput(f"{top.where} (calibration {samples}): {error}") from error


def _attached(top: Table) -> Head:
    """Return the head that follows the model. Raises InvalidInput unless `attach` is true."""
    table = top.table("head")
    if table.content.get("attach") is not True:
        raise InvalidInput(
            f"{table.where}: expected attach = true: the model is a backbone, and the head, with"
            " the weights of a training state, follows it"
        )
    return read_head(top, "attach")


_HEAD_OPTIONS = ("momentum", "clip_norm")
_HEAD_KEYS = ("statement", "format", "head", *_HEAD_OPTIONS)
_LINKING = "weights_commitment"


def _weights_commitment(top: Table) -> WeightsCommitment:
    """Return how states are committed to, by a hash if the file does not say."""
    chosen: Any = top.choice(_LINKING, (POSEIDON, KZG), POSEIDON)
    return chosen  # type: ignore[no-any-return]


_HASHING = ("input_scale_bits", "blinders")
_PRECISION = ("margin_bits", "activation_bits", "weight_bits")


def _training_step(top: Table, folder: Path) -> Statement:
    known = ("batch", "steps", "loss", "learning_rate", "weight_decay", "dataset", _LINKING)
    top.only(*_HEAD_KEYS, *known)
    top.choice("loss", ("softmax",), "softmax")
    return TrainingStep(
        read_head(top),
        batch=top.integer("batch"),
        steps=top.integer("steps", 1),
        learning_rate=top.number("learning_rate") if "learning_rate" in top.content else None,
        format=_format(top),
        dataset=_dataset(top) if "dataset" in top.content else None,
        weights_commitment=_weights_commitment(top),
    )


def _dataset(top: Table) -> DatasetShape:
    """Return the shape in a file's [dataset] table: its depth, or the rows that it is to hold."""
    table = top.table("dataset")
    table.only("rows", "depth", "rows_per_leaf")
    per_leaf = table.integer("rows_per_leaf", 1)
    if ("rows" in table.content) == ("depth" in table.content):
        raise InvalidInput(f"{table.where}: give rows or depth, one of the two")
    if "depth" in table.content:
        return DatasetShape(table.integer("depth"), per_leaf)
    return DatasetShape.for_rows(table.integer("rows"), per_leaf)


def _skip_step(top: Table, folder: Path) -> Statement:
    top.only(*_HEAD_KEYS, _LINKING)
    return SkipStep(read_head(top), _format(top), _weights_commitment(top))


def _evaluation(top: Table, folder: Path) -> Statement:
    top.only(*_HEAD_KEYS, "samples", "dataset", _LINKING)
    kind = _weights_commitment(top)
    return Evaluation(read_head(top), top.integer("samples"), _dataset(top), _format(top), kind)


def _genesis(top: Table, folder: Path) -> Statement:
    top.only(*_HEAD_KEYS, _LINKING)
    return Genesis(read_head(top), _format(top), _weights_commitment(top))


def _apply_aggregate(top: Table, folder: Path) -> Statement:
    top.only(*_HEAD_KEYS, _LINKING)
    return ApplyAggregate(read_head(top), _format(top), _weights_commitment(top))


def _query(top: Table, folder: Path) -> Statement:
    top.only("statement", "format", "shape", "width", "scale_bits", "encryption")
    scale = top.integer("scale_bits") if "scale_bits" in top.content else 0
    encryption = _encryption(top) if "encryption" in top.content else None
    shape, width = tuple(top.integers("shape")), top.integer("width")
    return Query(shape, width, scale, _format(top), encryption)


def _encrypted_update(top: Table, folder: Path) -> Statement:
    top.only(*_HEAD_KEYS, "update_bits", "max_weight", "encryption", _LINKING)
    if top.choice("format", FORMATS, COMMIT) != COMMIT:
        raise InvalidInput(f'{top.where}: format: an encrypted_update has "{COMMIT}" alone')
    kind = _weights_commitment(top)
    return EncryptedUpdate(
        read_head(top),
        _encryption(top),
        top.integer("update_bits", 16),
        kind,
        top.integer("max_weight", 1),
    )


def _encryption(top: Table) -> Encryption:
    """Return the parameters of a file's [encryption] table; the ring is the schemes' own."""
    table = top.table("encryption") if "encryption" in top.content else Table({}, top.where)
    table.only("degree", "primes", "values_per_coefficient", "value_bits", "error_bound")
    if ("degree" in table.content) != ("primes" in table.content):
        raise InvalidInput(f"{table.where}: give degree and primes, or neither")
    ring: dict[str, Any] = {"degree": RING.n, "primes": RING.primes, "error_bound": ERROR_BOUND}
    names = [name for name in table.content if name != "primes"]
    given: dict[str, Any] = {name: table.integer(name) for name in names}
    given |= {"primes": table.integers("primes")} if "primes" in table.content else {}
    return Encryption(**(ring | given))


_READERS = {
    "inference": _inference,
    "training_step": _training_step,
    "skip_step": _skip_step,
    "genesis": _genesis,
    "apply_aggregate": _apply_aggregate,
    "encrypted_update": _encrypted_update,
    "evaluation": _evaluation,
    "query": _query,
}
