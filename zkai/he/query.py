"""A linear or quadratic model asked with encrypted rows: the client keeps its key and its query.

    linear      y = W x + b                          one multiplication deep
    quadratic   y = V (W x + b)^2 + c                three deep; the square is elementwise

The model stays with the server, in clear; its card (shapes and powers of two) is public. Rows are
at most 2^input_power long, so that hidden values and answers are below the card's other powers:
everything under encryption lies in [-1, 1] and nothing can overflow.

Nothing here shows the client that the server used the model it names, nor the server that the row
is one that the model was made for: see docs/encrypted-training.md for what can be proven beside it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zkai.encoding import canonical_json, load_json, sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.he import finetune, hybrid
from zkai.he.hybrid import MAX_COLUMNS, MAX_ROWS, Channel
from zkai.he.matmul import Floats, MatmulLayout, PlainMatrix
from zkai.he.messages import Message, digest, key_id, read_message, write_message
from zkai.he.seal_context import CkksParameters, SecretKey, context, rotations

LINEAR, QUADRATIC = "linear", "quadratic"
PARAMETERS: Mapping[str, CkksParameters] = {
    LINEAR: hybrid.PARAMETERS,
    QUADRATIC: finetune.PARAMETERS,
}
WEIGHT_BITS = {LINEAR: hybrid.WEIGHT_BITS, QUADRATIC: finetune.PARAMETERS.scale_bits}
FORMAT = "zkai.he-model/1"
OPEN, READY, ASK, ANSWER = "query-open", "query-ready", "query-ask", "query-answer"
NAMES: Mapping[str, tuple[str, ...]] = {
    OPEN: ("parameters", "key", "session", "rows", "model"),
    READY: ("session", "request"),
    ASK: ("key", "session", "step"),
    ANSWER: ("session", "step", "request"),
}
POWERS = ("input_power", "hidden_power", "output_power")


@dataclass(frozen=True)
class ModelCard:
    """What is public of a model: shapes, and powers of two that bound rows and answers.

    Raises InvalidInput, naming the part, for values out of range.
    """

    inputs: int
    hidden: int
    outputs: int
    input_power: int
    hidden_power: int
    output_power: int

    def __post_init__(self) -> None:
        for name in ("inputs", "hidden", "outputs"):
            value, least = getattr(self, name), 0 if name == "hidden" else 1
            if type(value) is not int or not least <= value <= MAX_COLUMNS:
                raise InvalidInput(f"model: {name}: expected {least} to {MAX_COLUMNS}")
        for name in POWERS:
            value = getattr(self, name)
            if type(value) is not int or not -64 <= value <= 64:
                raise InvalidInput(f"model: {name}: expected an integer from -64 to 64")

    @property
    def kind(self) -> str:
        """Linear without hidden values, quadratic with them."""
        return QUADRATIC if self.hidden else LINEAR

    @property
    def parameters(self) -> CkksParameters:
        """The encryption's parameters."""
        return PARAMETERS[self.kind]

    @property
    def digest(self) -> str:
        """What a session names the card by."""
        return sha256(self.to_bytes()).hex()

    def layout(self, rows: int) -> MatmulLayout:
        """Return how so many rows lie in the slots."""
        shapes = [(self.outputs, self.inputs)]
        if self.hidden:
            shapes = [(self.hidden, self.inputs), (self.outputs, self.hidden)]
        return MatmulLayout.choose(rows, shapes, self.parameters.slots)

    def answer_scale(self, primes: Sequence[int]) -> float:
        """Return the answers' scale, as SEAL's doubles come to it."""
        first, weight = self.parameters.scale, 2.0 ** WEIGHT_BITS[self.kind]
        if not self.hidden:
            return first * weight
        hidden = first * weight / primes[3]
        return hidden * hidden / primes[2] * weight / primes[1]

    def to_bytes(self) -> bytes:
        """Return the card's canonical bytes."""
        return canonical_json({"format": FORMAT, **vars(self)})

    @staticmethod
    def from_bytes(data: bytes, where: str) -> ModelCard:
        """Parse a card. Raises InvalidInput, naming `where`, for anything else."""
        value, names = load_json(data, where), [*ModelCard.__dataclass_fields__]
        if not isinstance(value, dict) or sorted(value) != sorted(["format", *names]):
            raise InvalidInput(f"{where}: expected the names format, {', '.join(names)}")
        if value.pop("format") != FORMAT:
            raise InvalidInput(f"{where}: expected the format {FORMAT}")
        return ModelCard(**value)


@dataclass(frozen=True, eq=False)
class Model:
    """A server's model: one layer (weights, bias), or two with a square between them."""

    layers: tuple[tuple[Floats, Floats], ...] = field(repr=False)
    card: ModelCard

    @staticmethod
    def of(layers: Sequence[tuple[Floats, Floats]], norm: float) -> Model:
        """Return a model for rows at most `norm` long.

        Raises InvalidInput for other than one or two layers whose shapes fit.
        """
        made = tuple((np.array(w, np.float64), np.array(b, np.float64)) for w, b in layers)
        fits = all(w.ndim == 2 and b.shape == w.shape[:1] for w, b in made)
        if len(made) not in (1, 2) or not fits or (len(made) == 2 and not _chained(made)):
            raise InvalidInput("model: expected one or two layers, weights (outputs, inputs), bias")
        if not all(np.isfinite(w).all() and np.isfinite(b).all() for w, b in made):
            raise InvalidInput("model: holds a number that is not finite")
        if not 0 < norm < 2**60:
            raise InvalidInput("model: the rows' norm must be above 0")
        first, powers = made[0], [_power(norm)]
        powers.append(_power(_longest(*first, 2.0 ** powers[0])) if len(made) == 2 else 0)
        # A vector of n squares below 1 is at most sqrt(n) long.
        last, reach = made[-1], 2.0 ** powers[0]
        if len(made) == 2:
            reach = 4.0 ** powers[1] * float(np.sqrt(last[0].shape[1]))
        powers.append(_power(_longest(*last, reach)))
        hidden = first[0].shape[0] if len(made) == 2 else 0
        card = ModelCard(first[0].shape[1], hidden, last[0].shape[0], *powers)
        return Model(made, card)

    def in_clear(self, rows: Floats) -> Floats:
        """Return the answers in clear: what the encrypted ones are compared with."""
        values = np.asarray(rows, np.float64)
        for number, (weights, bias) in enumerate(self.layers):
            values = (values**2 if number else values) @ weights.T + bias
        return values


def _chained(layers: Sequence[tuple[Floats, Floats]]) -> bool:
    return bool(layers[0][0].shape[0] == layers[1][0].shape[1])


def _longest(weights: Floats, bias: Floats, reach: float) -> float:
    """Return a bound of |W x + b| for |x| <= reach."""
    return float((np.sqrt((weights**2).sum(1)) * reach + np.abs(bias)).max())


def _power(value: float) -> int:
    return int(np.ceil(np.log2(value))) if value > 0 else 0


class QueryClient:
    """The holder of the secret key and of the query."""

    def __init__(self, channel: Channel, card: ModelCard, rows: int = 1) -> None:
        if not 1 <= rows <= MAX_ROWS:
            raise InvalidInput(f"query: expected 1 to {MAX_ROWS} rows, got {rows}")
        self.card, self.rows, self.sent, self.received = card, rows, 0, 0
        self._channel, self._layout = channel, card.layout(rows)
        self._key, self._session = SecretKey(card.parameters), secrets.token_hex(16)
        self._step, self._failed = 0, False
        keys = self._key.switch_keys(rotations(card.parameters, self._layout.steps))
        if card.hidden:
            keys = self._key.switch_keys(None) + keys
        self._key_id = key_id(card.parameters.name, keys)
        header = {
            "parameters": card.parameters.name,
            "key": self._key_id,
            "session": self._session,
            "rows": rows,
            "model": card.digest,
        }
        message, request = self._exchange(write_message(OPEN, header, [keys]), READY)
        message.same(session=self._session, request=request)
        message.parts([])

    def __repr__(self) -> str:
        return f"QueryClient({self.card.kind}, step {self._step})"

    def ask(self, rows: Floats) -> Floats:
        """Return the model's answers, shape (rows, outputs).

        Raises InvalidInput for rows of another shape or longer than the card allows; InvalidInput
        or VerificationError for an answer that is not one, after which the session is over.
        """
        if self._failed:
            raise InvalidInput("query: an answer was refused; open a session with a new key")
        card, x = self.card, np.asarray(rows, np.float64)
        if x.ndim != 2 or not 1 <= len(x) <= self.rows or x.shape[1] != card.inputs:
            raise InvalidInput(f"rows: expected at most {self.rows} of {card.inputs}")
        scaled = x * 2.0**-card.input_power
        if not np.isfinite(x).all() or np.sqrt((scaled**2).sum(1)).max() > 1:
            raise InvalidInput(f"rows: expected each at most 2^{card.input_power} long")
        names = {"key": self._key_id, "session": self._session, "step": self._step}
        parts = [self._key.fresh(slots) for slots in self._layout.pack(scaled)]
        try:
            answers = self._answers(write_message(ASK, names, parts), len(x))
        except (InvalidInput, VerificationError):
            self._failed = True
            raise
        self._step += 1
        return np.asarray(answers * 2.0**card.output_power)

    def _answers(self, asked: bytes, rows: int) -> Floats:
        message, request = self._exchange(asked, ANSWER)
        message.same(session=self._session, step=self._step, request=request)
        card, layout = self.card, self._layout
        count, size = layout.ciphertexts(card.outputs), card.parameters.computed_bytes(1)
        scale = card.answer_scale(self._key.context.primes)
        slots = [
            self._key.decrypt(part, 1, scale, f"{ANSWER}: part {number}")
            for number, part in enumerate(message.parts([size] * count))
        ]
        answers = layout.unpack(slots, rows, card.outputs)
        if np.abs(answers).max() > 1.01:
            raise VerificationError(f"{ANSWER}: out of the range that the model's card gives")
        return answers

    def _exchange(self, asked: bytes, kind: str) -> tuple[Message, str]:
        answer = self._channel.answer(asked)
        self.sent, self.received = self.sent + len(asked), self.received + len(answer)
        return read_message(answer, {kind: NAMES[kind]}), digest(asked)


class QueryServer:
    """The holder of a model: evaluation keys and ciphertexts, no secret key."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._context = context(model.card.parameters)
        self._opened: Message | None = None

    def answer(self, data: bytes) -> bytes:
        """Return the answer to a client's message.

        Raises InvalidInput for a message that is malformed or out of turn, VerificationError for
        one of another key, session or model.
        """
        kind = OPEN if self._opened is None else ASK
        message = read_message(data, {kind: NAMES[kind]})
        made = self._open(message) if kind == OPEN else self._ask(message)
        names = {"session": message.header["session"], "request": digest(data)}
        if kind == OPEN:
            return write_message(READY, names)
        return write_message(ANSWER, {**names, "step": message.header["step"]}, made)

    def _open(self, message: Message) -> list[bytes]:
        card = self.model.card
        parameters = card.parameters
        if message.header["parameters"] != parameters.name:
            raise InvalidInput(f"{OPEN}: parameters: expected {parameters.name!r}")
        message.same(model=card.digest)
        message.text("session", 32)
        layout = card.layout(message.integer("rows", 1, MAX_ROWS))
        elements, one = rotations(parameters, layout.steps), parameters.switch_key_bytes
        relin, galois = message.parts([one if card.hidden else 0, one * len(elements)])
        if key_id(parameters.name, relin + galois) != message.header["key"]:
            raise VerificationError(f"{OPEN}: key: names other evaluation keys")
        self._relin, self._galois, where = None, None, f"{OPEN}: keys"
        if card.hidden:
            self._relin = self._context.switch_keys(relin, None, where)
        if elements:
            self._galois = self._context.switch_keys(galois, elements, where)
        self._layout, self._opened = layout, message
        self._matrices = self._scaled()
        return []

    def _scaled(self) -> list[tuple[PlainMatrix, Floats]]:
        """Return each layer scaled into [-1, 1]: its matrix, and its bias."""
        card = self.model.card
        into = [2.0**card.input_power, 4.0**card.hidden_power]
        out = [2.0**card.output_power]
        if card.hidden:
            out.insert(0, 2.0**card.hidden_power)
        primes, scale = [card.parameters.levels, 2], 2.0 ** WEIGHT_BITS[card.kind]
        result = []
        for number, (weights, bias) in enumerate(self.model.layers):
            scaled = weights * (into[number] / out[number])
            matrix = PlainMatrix(self._context, self._layout, scaled, scale, primes[number])
            result.append((matrix, bias / out[number]))
        return result

    def _ask(self, message: Message) -> list[bytes]:
        opened, parameters = self._opened, self.model.card.parameters
        assert opened is not None
        message.same(key=opened.header["key"], session=opened.header["session"])
        message.integer("step", 0, 1 << 32)
        count = self._layout.ciphertexts(self.model.card.inputs)
        values = [
            self._context.ciphertext(
                part, parameters.levels, parameters.scale, f"{ASK}: part {number}", seeded=True
            )
            for number, part in enumerate(message.parts([parameters.fresh_bytes()] * count))
        ]
        for number, (matrix, bias) in enumerate(self._matrices):
            if number:
                values = [self._squared(value) for value in values]
            values = matrix.times(values, self._galois)
            self._add(values, bias)
            if self.model.card.hidden:
                for value in values:
                    self._context.evaluator.rescale_to_next_inplace(value)
        return [self._context.computed(value) for value in values]

    def _squared(self, value: Any) -> Any:
        ev = self._context.evaluator
        ev.square_inplace(value)
        ev.relinearize_inplace(value, self._relin)
        ev.rescale_to_next_inplace(value)
        return value

    def _add(self, values: list[Any], bias: Floats) -> None:
        """Add the bias to every row."""
        full = self._layout.groups * self._layout.run
        for value, slots in zip(values, self._layout.pack(np.tile(bias, (full, 1))), strict=True):
            primes = int(value.coeff_modulus_size())
            plain = self._context.encode(slots, value.scale, primes)
            self._context.evaluator.add_plain_inplace(value, plain)
