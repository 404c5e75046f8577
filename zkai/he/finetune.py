"""A linear head trained by a server that sees neither rows nor labels nor weights.

The client encrypts its rows and the labels' part of every batch's gradient once. For each step it
encrypts the weights anew and the server answers with the encrypted gradient

    sum_rows (p(x.w) - 1/2) x  +  sum_rows (1/2 - t) x

whose second sum is all that labels have to do with it. With x' = x / norm, w' = norm w / range and
z = x'.w' in [-1, 1] the first one is kappa * norm * sum (c + z^2) z x', kappa = a3 range^3,
c = a1 / (a3 range^2): three multiplications deep, since c + z^2 and z x' are made side by side.
The client adds the slots up, decrypted, and takes the step itself: momentum, weight decay and the
learning rate never reach the server.

Both sides speak bytes only (`HeadClient.open`, `request`, `update`; `HeadServer.answer`), and each
object holds its own side's secrets alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

from zkai.errors import InvalidInput, VerificationError
from zkai.he.head_layout import HeadLayout
from zkai.he.head_task import Descent, Floats, HeadTask, Labels, batches
from zkai.he.messages import Message, digest, key_id, read_message, write_message
from zkai.he.seal_context import CkksParameters, SecretKey, context, rotations

PARAMETERS = CkksParameters("finetune-8192/1", 8192, (47, 40, 40, 40, 51), 40)
OPEN, READY = "finetune-open", "finetune-ready"
STEP, GRADIENT = "finetune-step", "finetune-gradient"
SHAPE = ("columns", "outputs", "batch", "batches")
NAMES: Mapping[str, tuple[str, ...]] = {
    OPEN: ("parameters", "key", "session", "ratio", *SHAPE),
    READY: ("session", "request"),
    STEP: ("key", "session", "step", "batch"),
    GRADIENT: ("session", "step", "request"),
}
MAX_CIPHERTEXTS = 1 << 10
RATIO_BITS = 40
"""Fraction bits of the polynomial's ratio c in the opening message."""


def _gradient_scale(primes: tuple[int, ...]) -> float:
    """Return the scale of a gradient, as SEAL's doubles come to it."""
    s = PARAMETERS.scale
    z = s * s / primes[3]
    return (z * z / primes[2]) * (s * z / primes[2]) / primes[1]


class HeadClient:
    """The owner of rows, labels, secret key and weights."""

    def __init__(
        self, task: HeadTask, features: Floats, labels: Labels, weights: Floats | None = None
    ) -> None:
        rows = task.rows(features)
        targets = task.targets(labels, len(rows))
        self.task, self.step = task, 0
        self._descent = Descent.of(task, weights)
        batch = min(task.batch, len(rows))
        self._layout = HeadLayout.choose(task.columns, task.outputs, batch, PARAMETERS)
        self._parts = [(rows[part], targets[part]) for part in batches(len(rows), batch)]
        self._sizes = [len(part[0]) for part in self._parts]
        self._key, self._session = SecretKey(PARAMETERS), secrets.token_hex(16)
        self._asked: str | None = None
        self._failed = False

    def __repr__(self) -> str:
        return f"HeadClient({self.task.columns} x {self.task.outputs}, step {self.step})"

    @property
    def steps_per_epoch(self) -> int:
        """How many batches the rows make."""
        return len(self._sizes)

    @property
    def weights(self) -> Floats:
        """The weights so far, shape (features + 1, outputs); the last row is the bias."""
        return self._descent.weights

    def open(self) -> bytes:
        """Return the first message: evaluation keys, encrypted rows, encrypted labels' part.

        Rows and labels are forgotten here: from now on the client holds its key and its weights.
        """
        task, layout, key = self.task, self._layout, self._key
        scale, cubic = _gradient_scale(key.context.primes), task.cubic
        kappa = cubic.a3 * task.range**3
        data, labels = [], []
        for rows, targets in self._parts:
            scaled = rows / task.norm
            data += [key.fresh(slots) for slots in layout.rows(scaled)]
            moments = layout.products(scaled, (0.5 - targets) / kappa)
            labels += [key.fresh(slots, scale, 1) for slots in moments]
        self._parts = []
        keys = key.switch_keys(None) + key.switch_keys(rotations(PARAMETERS, layout.steps))
        self._key_id = key_id(PARAMETERS.name, keys)
        header = {
            "parameters": PARAMETERS.name,
            "key": self._key_id,
            "session": self._session,
            "ratio": round(cubic.a1 / (cubic.a3 * task.range**2) * 2**RATIO_BITS),
            "columns": layout.columns,
            "outputs": layout.outputs,
            "batch": layout.batch,
            "batches": len(self._sizes),
        }
        message = write_message(OPEN, header, [keys, *data, *labels])
        self._asked = digest(message)
        return message

    def ready(self, answer: bytes) -> None:
        """Return None if the server took the first message. Raises VerificationError otherwise."""
        message = read_message(answer, {READY: NAMES[READY]})
        message.same(session=self._session, request=self._asked)
        message.parts([])

    def request(self) -> bytes:
        """Return the next step's message: the weights, encrypted anew."""
        if self._failed:
            raise InvalidInput("finetune: a gradient was refused; open a session with a new key")
        task, batch = self.task, self.step % len(self._sizes)
        scaled = self._descent.weights * (task.norm / task.range)
        parts = [self._key.fresh(slots) for slots in self._layout.weights(scaled)]
        names = {"key": self._key_id, "session": self._session, "step": self.step, "batch": batch}
        message = write_message(STEP, names, parts)
        self._asked = digest(message)
        return message

    def update(self, answer: bytes) -> None:
        """Decrypt a gradient and take the step.

        Raises InvalidInput or VerificationError for anything but an answer to the last request, or
        a gradient that no rows could have: the key is then not used again, since whoever sees
        which forged answers a client takes learns about its key.
        """
        if self._failed:
            raise InvalidInput("finetune: a gradient was refused; open a session with a new key")
        try:
            gradient = self._decrypt(answer)
        except (InvalidInput, VerificationError):
            self._failed = True
            raise
        self._descent.move(gradient)
        self.step += 1

    def _decrypt(self, answer: bytes) -> Floats:
        message = read_message(answer, {GRADIENT: NAMES[GRADIENT]})
        message.same(session=self._session, step=self.step, request=self._asked)
        layout, scale = self._layout, _gradient_scale(self._key.context.primes)
        size, count = PARAMETERS.computed_bytes(1), layout.class_groups * layout.blocks
        slots = [
            self._key.decrypt(part, 1, scale, f"{GRADIENT}: part {number}")
            for number, part in enumerate(message.parts([size] * count))
        ]
        task, rows = self.task, self._sizes[self.step % len(self._sizes)]
        cubic = task.cubic
        summed = layout.gradient(slots) * (cubic.a3 * task.range**3)
        most = rows * (1 + cubic.max_error) * 1.01
        if not np.isfinite(summed).all() or np.abs(summed).max() > most:
            raise VerificationError(f"{GRADIENT}: not one that {rows} rows can have")
        return summed * (task.norm / rows)


class HeadServer:
    """Whoever computes: evaluation keys and ciphertexts, no secret key."""

    def __init__(self) -> None:
        self._context = context(PARAMETERS)
        self._opened: Message | None = None

    def answer(self, data: bytes) -> bytes:
        """Return the answer to a client's message.

        Raises InvalidInput for a message that is malformed or out of turn, VerificationError for
        one of another key or session.
        """
        kinds = (OPEN,) if self._opened is None else (STEP,)
        message = read_message(data, {kind: NAMES[kind] for kind in kinds})
        if message.kind == OPEN:
            self._open(message)
            return write_message(
                READY, {"session": message.header["session"], "request": digest(data)}
            )
        return self._step(message, digest(data))

    def _open(self, message: Message) -> None:
        if message.header["parameters"] != PARAMETERS.name:
            raise InvalidInput(f"{OPEN}: parameters: expected {PARAMETERS.name!r}")
        message.text("session", 32)
        columns = message.integer("columns", 2, (1 << 14) + 1)
        outputs = message.integer("outputs", 1, 1 << 10)
        batch = message.integer("batch", 1, 1 << 17)
        count = message.integer("batches", 1, MAX_CIPHERTEXTS)
        ratio = message.integer("ratio", -(1 << 62), 1 << 62) / 2**RATIO_BITS
        layout = HeadLayout.choose(columns, outputs, batch, PARAMETERS)
        rows, sums = layout.groups * layout.blocks, layout.class_groups * layout.blocks
        if count * (rows + sums) > MAX_CIPHERTEXTS:
            raise InvalidInput(f"{OPEN}: more than {MAX_CIPHERTEXTS} ciphertexts")
        elements = rotations(PARAMETERS, layout.steps)
        one, fresh = PARAMETERS.switch_key_bytes, PARAMETERS.fresh_bytes()
        relin, galois, *parts = message.parts(
            [one, one * len(elements)]
            + [fresh] * (count * rows)
            + [PARAMETERS.fresh_bytes(1)] * (count * sums)
        )
        if key_id(PARAMETERS.name, relin + galois) != message.header["key"]:
            raise VerificationError(f"{OPEN}: key: names other evaluation keys")
        self._layout, self._ratio = layout, ratio
        self._relin = self._context.switch_keys(relin, None, f"{OPEN}: relinearisation key")
        self._galois = None
        if elements:
            self._galois = self._context.switch_keys(galois, elements, f"{OPEN}: rotation keys")
        self._load(parts, count, rows, sums)
        self._opened = message

    def _load(self, parts: list[bytes], count: int, rows: int, sums: int) -> None:
        fresh, scale = PARAMETERS.levels, PARAMETERS.scale
        last = _gradient_scale(self._context.primes)
        data = [
            self._context.ciphertext(part, fresh, scale, f"{OPEN}: rows {number}", seeded=True)
            for number, part in enumerate(parts[: count * rows])
        ]
        labels = [
            self._context.ciphertext(part, 1, last, f"{OPEN}: labels {number}", seeded=True)
            for number, part in enumerate(parts[count * rows :])
        ]
        self._rows = [data[i * rows : (i + 1) * rows] for i in range(count)]
        self._labels = [labels[i * sums : (i + 1) * sums] for i in range(count)]

    def _step(self, message: Message, request: str) -> bytes:
        opened = self._opened
        assert opened is not None
        message.same(key=opened.header["key"], session=opened.header["session"])
        step = message.integer("step", 0, 1 << 32)
        batch = message.integer("batch", 0, len(self._rows) - 1)
        layout, levels = self._layout, PARAMETERS.levels
        sent = message.parts([PARAMETERS.fresh_bytes()] * (layout.class_groups * layout.blocks))
        weights = [
            self._context.ciphertext(part, levels, PARAMETERS.scale, f"{STEP}: part {n}", True)
            for n, part in enumerate(sent)
        ]
        sums = []
        for group in range(layout.class_groups):
            mine = slice(group * layout.blocks, (group + 1) * layout.blocks)
            sums += self._gradient(self._rows[batch], weights[mine], self._labels[batch][mine])
        answers = [self._context.computed(part) for part in sums]
        names = {"session": opened.header["session"], "step": step, "request": request}
        return write_message(GRADIENT, names, answers)

    def _gradient(self, rows: list[Any], weights: list[Any], labels: list[Any]) -> list[Any]:
        """Return each block's encrypted gradient for one group of outputs."""
        ev, new, blocks = self._context.evaluator, self._context.api.Ciphertext, len(weights)
        sums: list[Any] = [None] * blocks
        for start in range(0, len(rows), blocks):
            group = rows[start : start + blocks]
            z = self._logits(group, weights)
            even = self._squared(z)
            for block, x in enumerate(group):
                odd = new()
                ev.mod_switch_to(x, z.parms_id(), odd)
                ev.multiply_inplace(odd, z)
                self._relinearised(odd)
                ev.multiply_inplace(odd, even)
                if sums[block] is None:
                    sums[block] = odd
                else:
                    ev.add_inplace(sums[block], odd)
        for total, label in zip(sums, labels, strict=True):
            self._relinearised(total)
            ev.add_inplace(total, label)
        return sums

    def _logits(self, rows: list[Any], weights: list[Any]) -> Any:
        """Return z = x'.w' of every row, in every column's place."""
        ev, new = self._context.evaluator, self._context.api.Ciphertext
        z = new()
        ev.multiply(rows[0], weights[0], z)
        for x, w in zip(rows[1:], weights[1:], strict=True):
            product = new()
            ev.multiply(x, w, product)
            ev.add_inplace(z, product)
        self._relinearised(z)
        for step in self._layout.steps:
            turned = new()
            ev.rotate_vector(z, step, self._galois, turned)
            ev.add_inplace(z, turned)
        return z

    def _squared(self, z: Any) -> Any:
        """Return c + z^2."""
        ev, even = self._context.evaluator, self._context.api.Ciphertext()
        ev.square(z, even)
        self._relinearised(even)
        primes = int(even.coeff_modulus_size())
        ev.add_plain_inplace(even, self._context.encode(self._ratio, even.scale, primes))
        return even

    def _relinearised(self, ciphertext: Any) -> None:
        self._context.evaluator.relinearize_inplace(ciphertext, self._relin)
        self._context.evaluator.rescale_to_next_inplace(ciphertext)
