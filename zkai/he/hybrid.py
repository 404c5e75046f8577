"""Frozen layers at a server, activations encrypted, adapters and everything else at the client.

    forward   y = x W^T         backward   dx = dy W

for rows x of activations and a frozen W that only the server holds. The client scales every row to
length 1, and the server every matrix by a power of two so that no row or column of it is longer
than 1: no product can overflow, whatever the numbers. The powers are public.

What the server learns: shapes, which layer and which direction, when. What the client learns: W x
for each x that it asks about, hence W itself after as many rows as W has columns. See
docs/encrypted-training.md.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from zkai.errors import InvalidInput, VerificationError
from zkai.he.matmul import Floats, MatmulLayout, PlainMatrix
from zkai.he.messages import Message, digest, key_id, read_message, write_message
from zkai.he.seal_context import CkksParameters, SecretKey, context, rotations

PARAMETERS = CkksParameters("hybrid-4096/1", 4096, (54, 55), 30)
WEIGHT_BITS = 22
"""The matrices' scale: with the rows' 30 bits it leaves the prime's last bit and its sign."""
OPEN, READY, ASK, PRODUCT = "hybrid-open", "hybrid-ready", "hybrid-ask", "hybrid-product"
NAMES: Mapping[str, tuple[str, ...]] = {
    OPEN: ("parameters", "key", "session", "rows", "layers"),
    READY: ("session", "request", "powers"),
    ASK: ("key", "session", "step", "layer", "backward"),
    PRODUCT: ("session", "step", "request"),
}
MAX_LAYERS, MAX_COLUMNS, MAX_ROWS = 32, 1 << 14, 1 << 12
FORWARD, BACKWARD = 0, 1


@dataclass(frozen=True)
class LayerShape:
    """What is public of a frozen layer.

    Raises InvalidInput for sizes out of range.
    """

    outputs: int
    inputs: int

    def __post_init__(self) -> None:
        for name in ("outputs", "inputs"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= MAX_COLUMNS:
                raise InvalidInput(f"layer: {name}: expected an integer from 1 to {MAX_COLUMNS}")

    def columns(self, direction: int) -> tuple[int, int]:
        """Return how many numbers go in and come out."""
        both = (self.inputs, self.outputs)
        return both if direction == FORWARD else (both[1], both[0])


class Channel(Protocol):
    """Whatever carries a message to the server and its answer back."""

    def answer(self, data: bytes) -> bytes:
        """Return the server's answer."""


def _layout(rows: int, shapes: Sequence[LayerShape]) -> MatmulLayout:
    both = [(s.outputs, s.inputs) for s in shapes] + [(s.inputs, s.outputs) for s in shapes]
    return MatmulLayout.choose(rows, both, PARAMETERS.slots)


class HybridClient:
    """The holder of activations and of the secret key; `times` and `times_transposed` ask."""

    def __init__(self, channel: Channel, shapes: Sequence[LayerShape], rows: int) -> None:
        if not 1 <= len(shapes) <= MAX_LAYERS:
            raise InvalidInput(f"hybrid: expected 1 to {MAX_LAYERS} layers, got {len(shapes)}")
        if not 1 <= rows <= MAX_ROWS:
            raise InvalidInput(f"hybrid: expected 1 to {MAX_ROWS} rows, got {rows}")
        self.shapes, self.rows, self.sent, self.received = tuple(shapes), rows, 0, 0
        self._channel, self._layout = channel, _layout(rows, shapes)
        self._key, self._session = SecretKey(PARAMETERS), secrets.token_hex(16)
        self._step, self._failed = 0, False
        keys = self._key.switch_keys(rotations(PARAMETERS, self._layout.steps))
        self._key_id = key_id(PARAMETERS.name, keys)
        header = {
            "parameters": PARAMETERS.name,
            "key": self._key_id,
            "session": self._session,
            "rows": rows,
            "layers": [[shape.outputs, shape.inputs] for shape in self.shapes],
        }
        message, request = self._exchange(write_message(OPEN, header, [keys]), READY)
        message.same(session=self._session, request=request)
        message.parts([])
        self._powers = _powers(message.header["powers"], len(self.shapes))

    def __repr__(self) -> str:
        return f"HybridClient({len(self.shapes)} layers, {self.rows} rows, step {self._step})"

    def times(self, layer: int, rows: Floats) -> Floats:
        """Return rows times the layer's transposed matrix, shape (rows, outputs).

        Raises InvalidInput for rows of another shape or not finite; InvalidInput or
        VerificationError for an answer that is not one, after which the session is over.
        """
        return self._ask(layer, FORWARD, rows)

    def times_transposed(self, layer: int, rows: Floats) -> Floats:
        """Return rows times the layer's matrix, shape (rows, inputs); raises as `times` does."""
        return self._ask(layer, BACKWARD, rows)

    def _ask(self, layer: int, direction: int, rows: Floats) -> Floats:
        if self._failed:
            raise InvalidInput("hybrid: an answer was refused; open a session with a new key")
        into, out = self.shapes[layer].columns(direction)
        x = np.asarray(rows, np.float64)
        if x.ndim != 2 or not 1 <= len(x) <= self.rows or x.shape[1] != into:
            raise InvalidInput(f"rows: expected at most {self.rows} of {into}, got {x.shape}")
        if not np.isfinite(x).all():
            raise InvalidInput("rows: hold a number that is not finite")
        lengths = np.maximum(np.sqrt((x**2).sum(1, keepdims=True)), 1e-300)
        parts = [self._key.fresh(slots) for slots in self._layout.pack(x / lengths)]
        header = {
            "key": self._key_id,
            "session": self._session,
            "step": self._step,
            "layer": layer,
            "backward": direction,
        }
        try:
            product = self._product(write_message(ASK, header, parts), len(x), out)
        except (InvalidInput, VerificationError):
            self._failed = True
            raise
        self._step += 1
        return np.asarray(product * lengths * 2.0 ** self._powers[layer])

    def _product(self, asked: bytes, rows: int, columns: int) -> Floats:
        message, request = self._exchange(asked, PRODUCT)
        message.same(session=self._session, step=self._step, request=request)
        count, size = self._layout.ciphertexts(columns), PARAMETERS.computed_bytes(1)
        scale = PARAMETERS.scale * 2.0**WEIGHT_BITS
        slots = [
            self._key.decrypt(part, 1, scale, f"{PRODUCT}: part {number}")
            for number, part in enumerate(message.parts([size] * count))
        ]
        product = self._layout.unpack(slots, rows, columns)
        if np.abs(product).max() > 1.01:
            raise VerificationError(f"{PRODUCT}: longer than any product of these rows")
        return product

    def _exchange(self, asked: bytes, kind: str) -> tuple[Message, str]:
        answer = self._channel.answer(asked)
        self.sent, self.received = self.sent + len(asked), self.received + len(answer)
        return read_message(answer, {kind: NAMES[kind]}), digest(asked)


def _powers(value: Any, layers: int) -> list[int]:
    fine = isinstance(value, list) and len(value) == layers
    if not fine or not all(type(p) is int and -512 <= p <= 512 for p in value):
        raise InvalidInput(f"{READY}: powers: expected {layers} integers from -512 to 512")
    return list(value)


class HybridServer:
    """The holder of frozen matrices (outputs, inputs), without a secret key.

    Raises InvalidInput for matrices that are not finite or too large.
    """

    def __init__(self, matrices: Sequence[Floats]) -> None:
        self._context = context(PARAMETERS)
        self.shapes = [LayerShape(*map(int, np.shape(matrix))) for matrix in matrices]
        if not 1 <= len(self.shapes) <= MAX_LAYERS:
            raise InvalidInput(f"hybrid: expected 1 to {MAX_LAYERS} layers")
        if not all(np.isfinite(matrix).all() for matrix in matrices):
            raise InvalidInput("hybrid: a matrix holds a number that is not finite")
        self._matrices = [np.asarray(matrix, np.float64) for matrix in matrices]
        self._opened: Message | None = None

    def answer(self, data: bytes) -> bytes:
        """Return the answer to a client's message.

        Raises InvalidInput for a message that is malformed or out of turn, VerificationError for
        one of another key, session or model.
        """
        kind = OPEN if self._opened is None else ASK
        message = read_message(data, {kind: NAMES[kind]})
        return (
            self._open(message, digest(data)) if kind == OPEN else self._ask(message, digest(data))
        )

    def _open(self, message: Message, request: str) -> bytes:
        if message.header["parameters"] != PARAMETERS.name:
            raise InvalidInput(f"{OPEN}: parameters: expected {PARAMETERS.name!r}")
        message.same(layers=[[shape.outputs, shape.inputs] for shape in self.shapes])
        message.text("session", 32)
        layout = _layout(message.integer("rows", 1, MAX_ROWS), self.shapes)
        elements = rotations(PARAMETERS, layout.steps)
        (keys,) = message.parts([PARAMETERS.switch_key_bytes * len(elements)])
        if key_id(PARAMETERS.name, keys) != message.header["key"]:
            raise VerificationError(f"{OPEN}: key: names other rotation keys")
        self._galois = None
        if elements:
            self._galois = self._context.switch_keys(keys, elements, f"{OPEN}: rotation keys")
        self._layout, powers = layout, []
        self._layers: list[tuple[PlainMatrix, PlainMatrix]] = []
        for matrix in self._matrices:
            power = _power(matrix)
            scaled = matrix * 2.0**-power
            both = [
                PlainMatrix(self._context, layout, part, 2.0**WEIGHT_BITS, 1)
                for part in (scaled, scaled.T)
            ]
            self._layers.append((both[0], both[1]))
            powers.append(power)
        self._opened = message
        names = {"session": message.header["session"], "request": request, "powers": powers}
        return write_message(READY, names)

    def prepare(self, backward: bool = False) -> None:
        """Encode the matrices before the first rows arrive, instead of when they do."""
        for layer in self._layers:
            layer[FORWARD].prepare()
            if backward:
                layer[BACKWARD].prepare()

    def _ask(self, message: Message, request: str) -> bytes:
        opened = self._opened
        assert opened is not None
        message.same(key=opened.header["key"], session=opened.header["session"])
        step = message.integer("step", 0, 1 << 32)
        layer = message.integer("layer", 0, len(self._layers) - 1)
        direction = message.integer("backward", FORWARD, BACKWARD)
        into, _ = self.shapes[layer].columns(direction)
        parts = message.parts([PARAMETERS.fresh_bytes()] * self._layout.ciphertexts(into))
        rows = [
            self._context.ciphertext(
                part, 1, PARAMETERS.scale, f"{ASK}: part {number}", seeded=True
            )
            for number, part in enumerate(parts)
        ]
        products = self._layers[layer][direction].times(rows, self._galois)
        names = {"session": opened.header["session"], "step": step, "request": request}
        return write_message(PRODUCT, names, [self._context.computed(p) for p in products])


def _power(matrix: Floats) -> int:
    """Return the least power of two that no row and no column of the matrix is longer than."""
    longest = max(float(np.sqrt((matrix**2).sum(axis)).max()) for axis in (0, 1))
    return int(np.ceil(np.log2(longest))) if longest > 0 else 0
