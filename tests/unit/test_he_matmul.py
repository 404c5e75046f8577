"""Products of encrypted rows with plaintext matrices, and LoRA adapters trained over them."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import pytest

from zkai.errors import InvalidInput, VerificationError
from zkai.he import hybrid, query
from zkai.he.adapter import InClear, LoraNetwork, softmax_loss
from zkai.he.hybrid import HybridClient, HybridServer, LayerShape
from zkai.he.matmul import Floats, MatmulLayout, PlainMatrix
from zkai.he.query import Model, ModelCard, QueryClient, QueryServer
from zkai.he.seal_context import CkksParameters, SecretKey, rotations

pytest.importorskip("tenseal")

FINE = CkksParameters("test-8192", 8192, (47, 40, 51), 40)


@lru_cache(maxsize=1)
def fine_key() -> SecretKey:
    return SecretKey(FINE)


class Recorded:
    """A channel that keeps what went through it, and may change answers."""

    def __init__(self, server: HybridServer | QueryServer) -> None:
        self.server, self.asked, self.change = server, [b""], lambda data: data

    def answer(self, data: bytes) -> bytes:
        self.asked.append(data)
        return bytes(self.change(self.server.answer(data)))


@pytest.mark.parametrize(
    ("outputs", "inputs", "rows"), [(3, 5, 1), (10, 64, 7), (70, 33, 12), (5, 200, 40), (1, 1, 1)]
)
def test_products_are_numpy_s(outputs: int, inputs: int, rows: int) -> None:
    rng = np.random.default_rng([outputs, inputs, rows])
    matrix, x = rng.normal(size=(outputs, inputs)), rng.normal(size=(rows, inputs))
    matrix[:, 0] = 0
    layout, key = MatmulLayout.choose(rows, [(outputs, inputs)], FINE.slots), fine_key()
    context, elements = key.context, rotations(FINE, layout.steps)
    galois = None
    if elements:
        galois = context.switch_keys(key.switch_keys(elements), elements, "keys")
    plain = PlainMatrix(context, layout, matrix, FINE.scale, FINE.levels)
    sent = [
        context.ciphertext(key.fresh(slots), FINE.levels, FINE.scale, "x", seeded=True)
        for slots in layout.pack(x)
    ]
    made = [context.computed(part) for part in plain.times(sent, galois)]
    slots = [key.decrypt(part, FINE.levels, FINE.scale**2, "y") for part in made]
    np.testing.assert_allclose(layout.unpack(slots, rows, outputs), x @ matrix.T, atol=1e-5)


def test_a_secret_key_is_read_back_and_weak_parameters_are_refused() -> None:
    key = fine_key()
    again = SecretKey(FINE, key.secret_bytes())
    values = np.linspace(-1, 1, FINE.slots)
    context = key.context
    ciphertext = context.ciphertext(key.fresh(values), 2, FINE.scale, "x", seeded=True)
    data = context.computed(ciphertext)
    assert np.abs(again.decrypt(data, 2, FINE.scale, "x") - values).max() < 1e-6
    stranger = SecretKey(FINE).decrypt(data, 2, FINE.scale, "x")
    assert np.abs(stranger).max() > 1e6  # noise, and no error: why keys have names
    with pytest.raises(InvalidInput, match="128-bit"):
        CkksParameters("weak", 8192, (60, 60, 60, 39), 40)
    with pytest.raises(InvalidInput, match="below its prime"):
        SecretKey(FINE, b"\xff" * len(key.secret_bytes()))


def test_a_block_of_zeros_stays_encrypted() -> None:
    """SEAL refuses a product that anybody could read."""
    layout, key = MatmulLayout(2, FINE.slots, 4, 2), fine_key()
    matrix = np.concatenate([np.eye(4), np.zeros((4, 4))])
    plain = PlainMatrix(key.context, layout, matrix, FINE.scale, FINE.levels)
    x = np.array([[0.5, -0.25, 0, 1], [0, 0.125, 1, -1]])
    (slots,) = layout.pack(x)
    sent = key.context.ciphertext(key.fresh(slots), FINE.levels, FINE.scale, "x", seeded=True)
    elements = rotations(FINE, layout.steps)
    galois = key.context.switch_keys(key.switch_keys(elements), elements, "keys")
    made = plain.times([sent], galois)
    assert not any(part.is_transparent() for part in made)
    slots = [key.decrypt(key.context.computed(p), 2, FINE.scale**2, "y") for p in made]
    np.testing.assert_allclose(layout.unpack(slots, 2, 8), x @ matrix.T, atol=1e-6)


def test_without_room_diagonals_are_encoded_when_needed() -> None:
    layout, key = MatmulLayout(2, FINE.slots, 4, 2), fine_key()
    plain = PlainMatrix(key.context, layout, np.eye(4), FINE.scale, FINE.levels)
    plain._room = 1
    plain.prepare()
    assert len(plain._plain) == 1
    plain._diagonal(0, 0, 2, 1)
    assert len(plain._plain) == 1


SHAPES = (LayerShape(16, 24), LayerShape(3, 16))


def frozen() -> list[Floats]:
    rng = np.random.default_rng(5)
    return [rng.normal(size=(s.outputs, s.inputs)) / np.sqrt(s.inputs) for s in SHAPES]


@lru_cache(maxsize=1)
def session() -> tuple[HybridClient, Recorded]:
    channel = Recorded(HybridServer(frozen()))
    return HybridClient(channel, SHAPES, 12), channel


def renewed() -> tuple[HybridClient, Recorded]:
    client, channel = session()
    client._failed, channel.change = False, lambda data: data
    return client, channel


def seeded_bytes(count: int) -> bytes:
    return hashlib.shake_256(b"adapter").digest(count)


def test_both_directions_are_numpy_s() -> None:
    client, _ = renewed()
    rng = np.random.default_rng(2)
    for layer, matrix in enumerate(frozen()):
        x = rng.normal(size=(12, matrix.shape[1])) * np.logspace(-3, 3, 12)[:, None]
        dy = rng.normal(size=(5, matrix.shape[0]))
        there, back = client.times(layer, x), client.times_transposed(layer, dy)
        sizes = np.sqrt((x**2).sum(1, keepdims=True))
        assert np.abs((there - x @ matrix.T) / sizes).max() < 1e-3
        assert np.abs(back - dy @ matrix).max() < 3e-3


def test_adapters_train_over_encrypted_layers_as_in_clear() -> None:
    client, channel = renewed()
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(12, 24)), rng.integers(0, 3, 12)
    encrypted = LoraNetwork(SHAPES, 2, random_bytes=seeded_bytes)
    clear = LoraNetwork(SHAPES, 2, random_bytes=seeded_bytes)
    losses = [encrypted.step(client, x, y, 0.5) for _ in range(8)]
    expected = [clear.step(InClear(frozen()), x, y, 0.5) for _ in range(8)]
    np.testing.assert_allclose(losses, expected, atol=1e-2)
    assert losses[-1] < 0.8 * losses[0]
    assert np.abs(encrypted.adapters[0].up).max() > 0
    secret = client._key.secret_bytes()[:64]
    assert not any(secret in message for message in channel.asked)


def test_adapter_s_gradient_is_the_slope_of_the_loss() -> None:
    rng = np.random.default_rng(4)
    x, y, layers = rng.normal(size=(6, 24)), rng.integers(0, 3, 6), InClear(frozen())
    network = LoraNetwork(SHAPES, 2, random_bytes=seeded_bytes)
    for adapter in network.adapters:
        adapter.up = rng.normal(size=adapter.up.shape)
    before = [(a.down.copy(), a.up.copy(), a.bias.copy()) for a in network.adapters]
    network.step(layers, x, y, 1.0)
    moved = [(a.down, a.up, a.bias) for a in network.adapters]
    for number, adapter in enumerate(network.adapters):
        for part, name in enumerate(("down", "up", "bias")):
            slope = before[number][part] - moved[number][part]
            place = tuple(0 for _ in slope.shape)
            for other, values in zip(network.adapters, before, strict=True):
                other.down, other.up, other.bias = (v.copy() for v in values)
            getattr(adapter, name)[place] += 1e-6
            up = softmax_loss(network.forward(layers, x)[-1], y)[0]
            getattr(adapter, name)[place] -= 2e-6
            down = softmax_loss(network.forward(layers, x)[-1], y)[0]
            assert (up - down) / 2e-6 == pytest.approx(slope[place], abs=1e-5)


def test_rows_that_do_not_fit_are_refused() -> None:
    client, _ = renewed()
    with pytest.raises(InvalidInput, match="at most 12 of 24"):
        client.times(0, np.ones((13, 24)))
    with pytest.raises(InvalidInput, match="of 24"):
        client.times(0, np.ones((2, 16)))
    with pytest.raises(InvalidInput, match="finite"):
        client.times(0, np.full((1, 24), np.inf))
    assert not client._failed


def test_products_that_no_rows_have_are_refused() -> None:
    client, channel = renewed()
    good = channel.server.answer

    def noise(data: bytes) -> bytes:
        size = hybrid.PARAMETERS.computed_bytes(1)
        return (
            data[:-size]
            + np.random.default_rng(1)
            .integers(0, 2**53, size // 7, dtype=np.uint64)
            .view(np.uint8)
            .reshape(-1, 8)[:, :7]
            .tobytes()
        )

    channel.change = noise
    with pytest.raises(VerificationError, match="longer than"):
        client.times(0, np.ones((1, 24)))
    with pytest.raises(InvalidInput, match="new key"):
        client.times(0, np.ones((1, 24)))
    client, channel = renewed()
    stale = good(channel.asked[-1])
    channel.change = lambda data: stale
    with pytest.raises(VerificationError, match="request is"):
        client.times(0, np.zeros((1, 24)))


def test_servers_refuse_other_models_keys_and_sizes() -> None:
    _, channel = renewed()
    other = HybridServer([np.eye(3)])
    opening = channel.asked[1]
    with pytest.raises(VerificationError, match="layers is"):
        other.answer(opening)
    with pytest.raises(InvalidInput, match="bytes of ciphertexts"):
        HybridServer(frozen()).answer(opening[:-1])
    broken = bytearray(opening)
    broken[-1] ^= 1
    with pytest.raises(VerificationError, match="other rotation keys"):
        HybridServer(frozen()).answer(bytes(broken))
    with pytest.raises(InvalidInput, match="expected hybrid-open"):
        HybridServer(frozen()).answer(channel.asked[-1])
    stranger = HybridServer(frozen())
    HybridClient(stranger, SHAPES, 12)
    with pytest.raises(VerificationError, match="key is"):
        stranger.answer(channel.asked[-1])


def linear() -> Model:
    rng = np.random.default_rng(8)
    return Model.of([(rng.normal(size=(10, 20)), rng.normal(size=10))], 6.0)


def quadratic() -> Model:
    rng = np.random.default_rng(9)
    layers = [(rng.normal(size=(6, 9)), rng.normal(size=6)), (rng.normal(size=(2, 6)), np.ones(2))]
    return Model.of(layers, 4.0)


@pytest.mark.parametrize("model", [linear(), quadratic()], ids=["linear", "quadratic"])
def test_answers_are_the_model_s(model: Model) -> None:
    rng = np.random.default_rng(10)
    x = rng.normal(size=(3, model.card.inputs))
    x *= 3.9 / np.sqrt((x**2).sum(1)).max()
    client = QueryClient(QueryServer(model), ModelCard.from_bytes(model.card.to_bytes(), "card"), 3)
    expected = model.in_clear(x)
    for rows in (3, 2):
        assert np.abs(client.ask(x[:rows]) - expected[:rows]).max() < 2e-2


def test_queries_out_of_range_are_refused() -> None:
    model = linear()
    client = QueryClient(QueryServer(model), model.card)
    with pytest.raises(InvalidInput, match="2\\^3 long"):
        client.ask(np.full((1, 20), 5.0))
    with pytest.raises(InvalidInput, match="at most 1 of 20"):
        client.ask(np.zeros((2, 20)))


def test_queries_name_the_model_that_they_are_for() -> None:
    channel = Recorded(QueryServer(linear()))
    QueryClient(channel, linear().card)
    rng = np.random.default_rng(11)
    other = Model.of([(rng.normal(size=(10, 20)), rng.normal(size=10))], 600.0)
    with pytest.raises(VerificationError, match="model is"):
        QueryServer(other).answer(channel.asked[1])
    with pytest.raises(InvalidInput, match="parameters"):
        QueryServer(quadratic()).answer(channel.asked[1])


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card.replace(b"/1", b"/2"),
        lambda card: card.replace(b'"inputs":20', b'"inputs":0'),
        lambda card: card.replace(b'"inputs":20', b'"inputs":20,"more":1'),
        lambda card: card[:-1],
        lambda card: card.replace(b'"output_power":6', b'"output_power":6.0'),
        lambda card: card.replace(b'"output_power":', b'"output_power":9'),
    ],
)
def test_cards_with_other_content_are_refused(change: object) -> None:
    assert callable(change)
    data = linear().card.to_bytes()
    assert change(data) != data
    with pytest.raises(InvalidInput):
        ModelCard.from_bytes(change(data), "card")


def test_models_of_other_shapes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="one or two layers"):
        Model.of([(np.eye(3), np.zeros(2))], 1.0)
    with pytest.raises(InvalidInput, match="one or two layers"):
        Model.of([(np.eye(3), np.zeros(3)), (np.eye(4), np.zeros(4))], 1.0)
    with pytest.raises(InvalidInput, match="not finite"):
        Model.of([(np.full((2, 2), np.nan), np.zeros(2))], 1.0)
    assert query.PARAMETERS[query.LINEAR].ring == 4096
