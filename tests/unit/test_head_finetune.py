"""A head trained under encryption is the head trained in clear; strange bytes are refused."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from zkai.errors import InvalidInput, VerificationError
from zkai.he import finetune, messages
from zkai.he.finetune import PARAMETERS, HeadClient, HeadServer
from zkai.he.head_layout import HeadLayout
from zkai.he.head_task import (
    Cubic,
    Floats,
    HeadTask,
    Labels,
    polynomial_gap,
    predict,
    train_in_clear,
)
from zkai.he.worker import Worker

pytest.importorskip("tenseal")


def samples(features: int, outputs: int, rows: int) -> tuple[Floats, Labels]:
    """Rows whose labels a linear head explains, some of them wrongly."""
    rng = np.random.default_rng([features, outputs, rows])
    x = rng.normal(size=(rows, features)) / np.sqrt(features)
    logits = x @ rng.normal(size=(features, outputs)) + 0.1 * rng.normal(size=(rows, outputs))
    return x, (logits[:, 0] > 0).astype(np.int64) if outputs == 1 else logits.argmax(1)


def task_for(x: Floats, outputs: int, batch: int, **more: float) -> HeadTask:
    norm = float(np.sqrt((x**2).sum(1).max() + 1))
    return HeadTask(x.shape[1], outputs, batch, learning_rate=1.5, norm=norm, **more)


@lru_cache(maxsize=1)
def small_opening() -> tuple[HeadClient, bytes]:
    x, y = samples(5, 3, 40)
    client = HeadClient(task_for(x, 3, 16), x, y)
    return client, client.open()


def opened() -> tuple[HeadClient, HeadServer]:
    """A client and a server of its own that has taken its first message."""
    client, opening = small_opening()
    server = HeadServer()
    client._failed, client._asked = False, messages.digest(opening)
    client.ready(server.answer(opening))
    return client, server


@pytest.mark.parametrize(
    ("features", "outputs", "rows", "batch"),
    [(5, 3, 40, 16), (64, 1, 100, 100), (33, 10, 50, 32)],
)
def test_weights_are_those_of_training_in_clear(
    features: int, outputs: int, rows: int, batch: int
) -> None:
    x, y = samples(features, outputs, rows)
    task = task_for(x, outputs, batch, momentum=0.9, weight_decay=1e-2)
    rng = np.random.default_rng(7)
    first = 0.3 * rng.normal(size=(features + 1, outputs))
    client, server = HeadClient(task, x, y, first), HeadServer()
    client.ready(server.answer(client.open()))
    epochs = 1 if outputs == 10 else 2
    for _ in range(epochs * client.steps_per_epoch):
        client.update(server.answer(client.request()))
    clear = train_in_clear(task, x, y, epochs, weights=first)
    assert np.abs(client.weights - clear).max() < 1e-5
    assert np.abs(client.weights - task.start(first)).max() > 1e-2
    same = (predict(task, client.weights, x) == predict(task, clear, x)).mean()
    assert same >= 0.995  # half a point


@pytest.mark.parametrize(
    ("columns", "outputs", "batch"),
    [(1, 1, 1), (3, 2, 5), (65, 1, 256), (100, 7, 33), (5000, 1, 3), (9, 40, 3000)],
)
def test_layouts_hold_every_product(columns: int, outputs: int, batch: int) -> None:
    layout = HeadLayout.choose(columns, outputs, batch, PARAMETERS)
    rng = np.random.default_rng(1)
    rows, errors = rng.normal(size=(batch, columns)), rng.normal(size=(batch, outputs))
    weights = rng.normal(size=(columns, outputs))
    gradient = layout.gradient(layout.products(rows, errors))
    np.testing.assert_allclose(gradient, rows.T @ errors, atol=1e-9)
    x, w, blocks = layout.rows(rows), layout.weights(weights), layout.blocks
    total = np.zeros(layout.shape)
    for block in range(blocks):
        total += x[block] * w[block]
    turned = total.ravel()
    for step in layout.steps:
        turned = turned + np.roll(turned, -step)
    here = min(layout.run, batch), min(layout.classes, outputs)
    logits = turned.reshape(layout.shape)[0].T[: here[0], : here[1]]
    np.testing.assert_allclose(logits, (rows @ weights)[: here[0], : here[1]], atol=1e-9)


def test_layouts_refuse_batches_that_would_overflow() -> None:
    with pytest.raises(InvalidInput, match="too large"):
        HeadLayout.choose(8, 1, 33 * 4096, PARAMETERS)


def test_logits_never_leave_the_polynomial_s_range() -> None:
    x, y = samples(6, 3, 60)
    task = replace(task_for(x, 3, 20), learning_rate=1e3, range=4.0)
    trained = train_in_clear(task, x, y, 5)
    logits = np.abs(task.rows(x) @ trained)
    assert logits.max() <= 4.0 + 1e-9
    # Without the bound the cubic runs away: the last line of a step is what keeps it.
    assert np.abs(task.rows(x) @ train_in_clear(task, x, y, 5, "sigmoid")).max() > 4.0


def test_cubic_is_the_least_squares_fit() -> None:
    cubic = Cubic.fit(8.0)
    assert (cubic.a1, cubic.a3) == pytest.approx((0.15012, -0.001593), abs=2e-5)
    z = np.linspace(-8, 8, 1001)
    error = np.abs(cubic(z) - 1 / (1 + np.exp(-z))).max()
    assert error == pytest.approx(cubic.max_error, rel=1e-2)


def test_gap_names_all_three_functions() -> None:
    x, y = samples(8, 3, 120)
    gap = polynomial_gap(task_for(x, 3, 30), x, y, 10, (x, y))
    assert min(gap.polynomial, gap.sigmoid, gap.softmax) > 0.6
    assert gap.max_error < 0.12
    assert gap.range == 8.0


def test_features_and_labels_out_of_range_are_refused() -> None:
    x, y = samples(5, 3, 10)
    task = task_for(x, 3, 5)
    large = x.copy()
    large[7] *= 1e3
    with pytest.raises(InvalidInput, match="row 7"):
        HeadClient(task, large, y)
    with pytest.raises(InvalidInput, match="not finite"):
        HeadClient(task, np.where(x == x[0, 0], np.nan, x), y)
    with pytest.raises(InvalidInput, match="labels"):
        HeadClient(task, x, y + 3)
    with pytest.raises(InvalidInput, match="rows of 5"):
        HeadClient(task, x[:, :4], y)


def test_the_opening_shows_no_secret_and_the_client_forgets_its_rows() -> None:
    client, opening = small_opening()
    assert client._parts == []
    secret = client._key.secret_bytes()
    assert secret[:4096] not in opening
    assert not {name for name in vars(HeadServer()) if "secret" in name or "decrypt" in name}
    assert "secret" not in repr(client)


def test_two_requests_for_the_same_weights_share_nothing() -> None:
    client, _ = opened()
    first, second = client.request(), client.request()
    half = PARAMETERS.fresh_bytes()
    assert first[-half:][:4096] != second[-half:][:4096]
    assert first[-64:] != second[-64:]


def test_answers_must_be_to_the_last_request() -> None:
    client, server = opened()
    old = server.answer(client.request())
    client.request()
    with pytest.raises(VerificationError, match="request"):
        client.update(old)
    with pytest.raises(InvalidInput, match="new key"):
        client.request()


def test_an_answer_under_another_key_is_refused() -> None:
    """Without the keys' names it would decrypt to noise, without an error."""
    client, server = opened()
    request = client.request()
    answer = server.answer(request)
    header = 12 + struct.unpack_from("<I", answer, 8)[0]
    noise = finetune.context(PARAMETERS).primes[0]
    residues = np.random.default_rng(3).integers(0, noise, (2, 8192), dtype=np.uint64)
    forged = b"".join(r.view(np.uint8).reshape(-1, 8)[:, :6].tobytes() for r in residues)
    with pytest.raises(VerificationError, match="not one that 16 rows can have"):
        client.update(answer[:header] + forged)


def changed(message: bytes, **names: object) -> bytes:
    """The message with other values in its header."""
    (length,) = struct.unpack_from("<I", message, 8)
    header = json.loads(message[12 : 12 + length]) | names
    kind = header.pop("kind")
    return messages.write_message(kind, header, [message[12 + length :]])


def test_requests_of_another_key_or_session_are_refused() -> None:
    client, server = opened()
    request = client.request()
    with pytest.raises(VerificationError, match="key is"):
        server.answer(changed(request, key="00" * 32))
    with pytest.raises(VerificationError, match="session is"):
        server.answer(changed(request, session="00" * 16))
    with pytest.raises(InvalidInput, match="batch"):
        server.answer(changed(request, batch=3))
    with pytest.raises(InvalidInput, match="expected finetune-step"):
        server.answer(small_opening()[1])
    client.update(server.answer(request))


def test_openings_of_other_parameters_or_shapes_are_refused() -> None:
    _, opening = small_opening()
    server = HeadServer()
    with pytest.raises(InvalidInput, match="parameters"):
        server.answer(changed(opening, parameters="finetune-4096/1"))
    with pytest.raises(InvalidInput, match="bytes of ciphertexts"):
        server.answer(changed(opening, columns=1000))
    with pytest.raises(InvalidInput, match="outputs"):
        server.answer(changed(opening, outputs=0))
    with pytest.raises(InvalidInput, match="more than 1024 ciphertexts"):
        server.answer(changed(opening, batches=1024))
    with pytest.raises(VerificationError, match="other evaluation keys"):
        server.answer(changed(opening, key="11" * 32))
    with pytest.raises(InvalidInput, match="names"):
        server.answer(changed(opening, more=1))


def test_a_missing_rotation_key_is_refused() -> None:
    _, opening = small_opening()
    (length,) = struct.unpack_from("<I", opening, 8)
    start, one = 12 + length, PARAMETERS.switch_key_bytes
    with pytest.raises(InvalidInput, match="bytes of ciphertexts and keys"):
        HeadServer().answer(opening[: start + one] + opening[start + 2 * one :])


@pytest.mark.parametrize("cut", [0, 5, 11, 60, -1])
def test_truncated_bytes_are_refused(cut: int) -> None:
    _, opening = small_opening()
    with pytest.raises(InvalidInput):
        HeadServer().answer(opening[:cut])
    with pytest.raises(InvalidInput):
        HeadServer().answer(opening + b"\0")


def test_residues_must_be_below_their_primes() -> None:
    client, server = opened()
    request = bytearray(client.request())
    at = len(request) - PARAMETERS.fresh_bytes()
    request[at : at + 6] = b"\xff" * 6
    with pytest.raises(InvalidInput, match="below its prime"):
        server.answer(bytes(request))


def test_a_limited_process_answers_the_same() -> None:
    client, opening = small_opening()
    client._failed, client._asked = False, messages.digest(opening)
    with Worker("finetune") as worker:
        client.ready(worker.answer(opening))
        before, step = client.weights.copy(), client.step
        request = client.request()
        answer = worker.answer(request)
        with pytest.raises(InvalidInput, match="not one of zkai's"):
            worker.answer(b"nonsense")
        client.update(answer)
    assert client.step == step + 1
    assert np.abs(client.weights - before).max() > 0


def test_the_worker_says_when_a_role_is_unknown() -> None:
    with pytest.raises(InvalidInput, match="role"):
        Worker("key-holder")
