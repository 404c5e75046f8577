"""What EZKL is told of a circuit: scale, decomposition, visibility, as text that digests cover."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from zkai.encoding import FIELD_MODULUS, parse_json
from zkai.errors import InvalidInput

MAX_SETTINGS_BYTES = 16 << 20

PUBLIC, HASHED, POLYCOMMIT, PRIVATE, FIXED = "public", "hashed", "polycommit", "private", "fixed"


@dataclass(frozen=True)
class Halo2Config:
    """How a model becomes a Halo2 circuit: `scale` bits of every number are its fraction.

    `decomposition` is (base, legs), searched for if None; `max_k` limits the circuit to 2**max_k
    rows. Without `check_ranges` the inputs' and outputs' ranges are not constrained: smaller, and
    unsound unless both are public. `tolerance` is how far outputs may be from the model's own on
    most held-out samples, as a part of the largest output or of 1: EZKL computes a few operators
    otherwise than ONNX says, and this is where it shows.
    """

    scale: int = 13
    decomposition: tuple[int, int] | None = None
    max_k: int = 20
    columns: int = 2
    lookup_margin: int = 2
    check_ranges: bool = True
    tolerance: float = 0.05

    def __post_init__(self) -> None:
        for name, low, high in (
            ("scale", 1, 30), ("max_k", 6, 26), ("columns", 1, 16), ("lookup_margin", 1, 100),
        ):  # fmt: skip
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise InvalidInput(f"halo2 config: {name}: expected an integer in {low}..{high}")
        if not isinstance(self.tolerance, float) or not self.tolerance > 0:
            raise InvalidInput("halo2 config: tolerance: expected a number above 0")
        if self.decomposition is not None:
            base, legs = self.decomposition
            if not 2 <= base <= 1 << 20 or not 1 <= legs <= 64 or base**legs > 1 << 120:
                raise InvalidInput("halo2 config: decomposition: expected (base, legs)")

    def describe(self) -> dict[str, Any]:
        """Return the choices as JSON values."""
        return {
            "scale": self.scale,
            "decomposition": None if self.decomposition is None else list(self.decomposition),
            "max_k": self.max_k,
            "columns": self.columns,
            "lookup_margin": self.lookup_margin,
            "check_ranges": self.check_ranges,
        }


@dataclass(frozen=True)
class Visibility:
    """Who sees a circuit's inputs, outputs and weights, in EZKL's words."""

    input: str
    output: str
    weights: str = FIXED


@dataclass(frozen=True)
class Settings:
    """EZKL's settings of one circuit, as the text that goes into every digest."""

    text: str

    @cached_property
    def content(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return parse_settings(self.text, "settings")

    @property
    def k(self) -> int:
        """The circuit has 2**k rows."""
        return int(self.content["run_args"]["logrows"])

    @property
    def rows(self) -> int:
        """How many of them are used."""
        return int(self.content["num_rows"])

    @property
    def decomposition(self) -> tuple[int, int]:
        """The base and the number of digits of decomposed numbers."""
        arguments = self.content["run_args"]
        return int(arguments["decomp_base"]), int(arguments["decomp_legs"])

    @property
    def input_scales(self) -> tuple[int, ...]:
        """The fraction bits of each input."""
        return tuple(self.content["model_input_scales"])

    @property
    def output_scales(self) -> tuple[int, ...]:
        """The fraction bits of each output."""
        return tuple(self.content["model_output_scales"])

    @property
    def committed_lengths(self) -> tuple[int, ...]:
        """The lengths of the tensors that polynomials commit to: inputs, weights, outputs."""
        return tuple(self.content["module_sizes"]["polycommit"])

    @property
    def check_ranges(self) -> bool:
        """Whether inputs and outputs have a range."""
        return self.content["run_args"]["ignore_range_check_inputs_outputs"] is False

    @property
    def hashes(self) -> int:
        """How many hashes of tensors are public: of inputs, weights, outputs."""
        return int(sum(self.content["module_sizes"]["poseidon"][1]))

    @property
    def visibility(self) -> Visibility:
        """Who sees what, in EZKL's words."""
        arguments = self.content["run_args"]
        return Visibility(
            *(
                _word(arguments[f"{name}_visibility"])
                for name in ("input", "output", "param")
            )
        )  # fmt: skip


def _word(value: Any) -> str:
    """Return EZKL's stored form of a visibility as the word that makes it."""
    if isinstance(value, str):
        return {"KZGCommit": POLYCOMMIT}.get(value, value.lower())
    hashed = value["Hashed"]
    if hashed["hash_is_public"]:
        return HASHED
    return f"hashed/private/{','.join(map(str, hashed['outlets']))}"


def parse_settings(text: str, where: str) -> dict[str, Any]:
    """Return settings after a look at what is used of them.

    Raises InvalidInput, naming `where`, for what is no settings file, or sizes beyond the limits.
    """
    try:
        value = parse_json(text.encode("utf-8"))
        arguments = value["run_args"]
        numbers = [arguments[name] for name in _NUMBERS] + [value["num_rows"]]
        scales = [*value["model_input_scales"], *value["model_output_scales"]]
        numbers += value["module_sizes"]["polycommit"] + value["module_sizes"]["poseidon"][1]
        shapes = value["model_instance_shapes"]
        numbers += [size for shape in shapes for size in shape]
        ranks = [len(shape) for shape in shapes]
        _ = arguments["ignore_range_check_inputs_outputs"]
        visible = [_word(arguments[f"{n}_visibility"]) for n in ("input", "output", "param")]
        tables = value["required_lookups"] + value["required_range_checks"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InvalidInput(f"{where}: not settings of EZKL ({error!r})") from error
    bad = any(type(n) is not int or not 0 <= n < 1 << 40 for n in numbers)
    bad |= any(type(n) is not int or not -64 <= n <= 64 for n in scales)
    if bad or not isinstance(tables, list):
        raise InvalidInput(f"{where}: not settings of EZKL: a number is out of range")
    if max(ranks, default=0) > 16:
        raise InvalidInput(f"{where}: not settings of EZKL: a shape has too many sizes")
    if not 1 <= arguments["logrows"] <= 26 or not all(visible):
        raise InvalidInput(f"{where}: not settings of EZKL: logrows {arguments['logrows']}")
    if arguments["scale_rebase_multiplier"] != 1:
        raise InvalidInput(
            f"{where}: scale_rebase_multiplier is {arguments['scale_rebase_multiplier']}: outputs"
            " leave at another scale than inputs enter; only 1 is taken"
        )
    content: dict[str, Any] = value
    return content


_NUMBERS = (
    "logrows", "decomp_base", "decomp_legs", "scale_rebase_multiplier", "input_scale",
    "param_scale", "num_inner_cols",
)  # fmt: skip


def canonical(data: bytes) -> Settings:
    """Return settings that EZKL wrote as one text: sorted, without the time.

    EZKL lists lookups and ranges in the order of a hash table, and lays columns out in that order:
    unsorted, one model would have several keys.

    Raises InvalidInput for what is no settings file.
    """
    value = parse_settings(data.decode("utf-8", "replace"), "settings")
    value["timestamp"] = 0
    for name in ("required_lookups", "required_range_checks"):
        value[name] = sorted(value[name], key=lambda item: json.dumps(item, sort_keys=True))
    return Settings(json.dumps(value, sort_keys=True, separators=(",", ":")))


def felt(text: str) -> int:
    """Return a field element of EZKL's files: 32 bytes, little-endian, in hexadecimal.

    Raises InvalidInput for another form, or a value at or above r.
    """
    try:
        data = bytes.fromhex(text)
    except (ValueError, TypeError) as error:
        raise InvalidInput("EZKL: expected a field element") from error
    value = int.from_bytes(data, "little")
    if len(data) != 32 or value >= FIELD_MODULUS:
        raise InvalidInput("EZKL: a field element is not canonical")
    return value


def signed(value: int) -> int:
    """Return the integer that a field element stands for: those above r / 2 are negative."""
    return value - FIELD_MODULUS if value > FIELD_MODULUS // 2 else value
