"""Real proofs of encrypted updates: what key holders accept, and what they leave out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import zkai
from zkai.chain.formats import format_of
from zkai.circuit.statements.encrypted_update import MAX_NORM, EncryptedUpdate
from zkai.circuit.statements.genesis import Genesis
from zkai.circuit.statements.training_step import TrainingStep
from zkai.encoding import FIELD_MODULUS
from zkai.encrypted import (
    Sent,
    check_update_of,
    default_bits,
    encrypted_update,
    encrypted_values,
    encryption_of,
    norm_bound,
    verify_encrypted_update,
)
from zkai.errors import InvalidInput, VerificationError
from zkai.he.rlwe import (
    CiphertextSum,
    ClientKey,
    Opening,
    RlweParameters,
    Round,
    ShareSum,
    fuse,
    partial,
)
from zkai.history import History
from zkai.model.heads import SoftmaxHead
from zkai.opening import UserState
from zkai.proof import formats
from zkai.proof.formats import VerifyingKey
from zkai.reader import Reader

HEAD = SoftmaxHead(3, 3, input_width=5, rate_shift=6, rate_bits=4)
COMMIT: Any = "groth16-commit"
PARAMETERS = RlweParameters.choose(10, 2, 3)
ROUND = Round(PARAMETERS, bytes(32), 4, 12)
STATEMENT = encrypted_update(HEAD, PARAMETERS)
BOUND = norm_bound(HEAD, 2.0)


@dataclass(frozen=True)
class Client:
    """What one client keeps and what it sends."""

    history: list[Any]
    sent: Sent
    opening: Opening
    shares: tuple[bytes, ...]
    proof: Any

    @property
    def states(self) -> list[UserState]:
        """The states before and after the training."""
        return [proof.opening.state for proof in self.history]

    @property
    def update(self) -> Any:
        """What it trained."""
        old, new = self.states
        return (new.values.weights - old.values.weights).ravel()


def sent_by(update: Any, round_: Round = ROUND) -> tuple[Sent, Opening, tuple[bytes, ...]]:
    """A fresh key's ciphertext, its opening and its shares."""
    key = ClientKey(round_)
    data, shares = key.encrypt(np.ascontiguousarray(update, np.int64)), key.deal()
    dealing = hashlib.sha256(b"".join(shares)).digest()
    return Sent(round_, data, key.check(dealing), dealing), key.opening(), shares


def trained(statements: tuple[Any, Any], keys: tuple[Any, Any], labels: list[int]) -> list[Any]:
    """A history of one step."""
    start = {"weights": np.zeros((3, 3)), "bias": np.zeros(3)}
    first = zkai.prove(statements[0], keys[0].proving, start)
    rows = {"x": [[0.5, 0.25, 0.875], [0.75, -0.5, 0.0]], "labels": labels, "learning_rate": 0.25}
    state = {"state": first.opening.state}
    return [first, zkai.prove(statements[1], keys[1].proving, state | rows)]


def given(states: list[UserState], sent: Sent, opening: Opening, bound: int = BOUND) -> Any:
    """What `prove` takes."""
    values = {"old_state": states[0], "new_state": states[1], "norm_bound": bound}
    return values | {"sent": sent, "opening": opening}


@pytest.fixture(scope="module")
def keys() -> Any:
    """Keys of the three statements."""
    step = TrainingStep(HEAD, 2, format=COMMIT)
    return {s.version: zkai.setup(s) for s in (Genesis(HEAD, COMMIT), step, STATEMENT)}


@pytest.fixture(scope="module")
def clients(keys: Any) -> list[Client]:
    """Two clients with a proof each."""
    statements = (Genesis(HEAD, COMMIT), TrainingStep(HEAD, 2, format=COMMIT))
    found = []
    for labels in ([0, 1], [2, 1]):
        made = tuple(keys[s.version] for s in statements)
        history = trained(statements, (made[0], made[1]), labels)
        states = [proof.opening.state for proof in history]
        update = states[1].values.weights - states[0].values.weights
        sent, opening, shares = sent_by(update.ravel())
        key = keys[STATEMENT.version].proving
        proof = zkai.prove(STATEMENT, key, given(states, sent, opening))
        found.append(Client(history, sent, opening, shares, proof))
    return found


@pytest.fixture(scope="module")
def key(keys: Any) -> VerifyingKey:
    """The verifying key of encrypted updates."""
    found: VerifyingKey = keys[STATEMENT.version].verifying
    return found


def check(proof: Any, key: VerifyingKey, sent: Sent, **options: Any) -> None:
    verify_encrypted_update(proof, key, sent, **{"norm_bound": BOUND, **options})


@pytest.mark.parametrize("verifier", ["native", "py-ecc"])
def test_what_was_proven_is_what_is_encrypted(
    clients: list[Client], keys: Any, key: VerifyingKey, verifier: str
) -> None:
    client = clients[0]
    check(client.proof, key, client.sent, verifier=verifier)
    zkai.verify_chain(client.history, {name: k.verifying for name, k in keys.items()})
    check_update_of(client.proof, client.history)
    again = zkai.Proof.from_json(client.proof.to_json())
    check(again, VerifyingKey.from_json(key.to_json()), client.sent, verifier=verifier)


@pytest.mark.parametrize("verifier", ["native", "py-ecc"])
def test_nothing_is_verified_without_the_ciphertext(
    clients: list[Client], key: VerifyingKey, verifier: str
) -> None:
    with pytest.raises(VerificationError, match="use zkai"):
        zkai.verify(clients[0].proof, key, verifier=verifier)
    with pytest.raises(VerificationError, match="a history consists of"):
        History().add(clients[0].proof)


def test_the_sum_of_bound_ciphertexts_is_the_sum_of_the_updates(clients: list[Client]) -> None:
    """What two key holders open is exactly what both clients trained, together."""
    total = CiphertextSum(ROUND)
    for client in clients:
        total.add(client.sent.ciphertext, client.sent.residues()[0])
    partials = {}
    for holder in (1, 3):
        shares = ShareSum(ROUND, holder)
        for client in clients:
            shares.add(client.sent.residues()[0], client.shares[holder - 1])
        partials[holder] = partial(total, shares, 2)
    opened = fuse(total, partials)
    assert opened.values.tolist() == (clients[0].update + clients[1].update).tolist()


def test_another_ciphertext_is_refused(clients: list[Client], key: VerifyingKey) -> None:
    """Of another client, a fresh one of the same update, or put together from both."""
    mine, other = clients
    fresh, _, _ = sent_by(mine.update)
    for sent in (other.sent, fresh, replace(mine.sent, dealing=bytes(32))):
        with pytest.raises(VerificationError, match="about another ciphertext"):
            check(mine.proof, key, sent)
    with pytest.raises(InvalidInput, match="check polynomial: of another key"):
        replace(mine.sent, check=other.sent.check)
    flipped = bytearray(mine.sent.ciphertext)
    flipped[-9] ^= 1
    with pytest.raises(VerificationError, match="about another ciphertext"):
        check(mine.proof, key, replace(mine.sent, ciphertext=bytes(flipped)))


def test_another_round_is_refused(clients: list[Client], key: VerifyingKey) -> None:
    mine = clients[0]
    later = replace(ROUND, number=5)
    with pytest.raises(InvalidInput, match="of another round"):
        replace(mine.sent, round=later)
    sent, _, _ = sent_by(mine.update, later)
    with pytest.raises(VerificationError, match="about another"):
        check(mine.proof, key, sent)


def test_a_digest_of_another_ciphertext_than_the_evaluated(
    clients: list[Client], keys: Any
) -> None:
    """The proof names one ciphertext and is about another: no ciphertext verifies it."""
    mine, pair = clients[0], keys[STATEMENT.version]
    garbage, _, _ = sent_by(mine.update + 1)
    values = exact(mine) | garbage.signals()
    inputs = STATEMENT.assign(values)
    proof = formats.prove(STATEMENT.build(), pair.proving, inputs, STATEMENT.version)
    with pytest.raises(VerificationError, match="the pairing equation does not hold"):
        check(proof, pair.verifying, garbage)
    with pytest.raises(VerificationError, match="about another ciphertext"):
        check(proof, pair.verifying, mine.sent)
    polynomials = STATEMENT.polynomials(values["c"], values["a"])
    formats.verify(proof, pair.verifying, polynomials=polynomials)


def exact(client: Client) -> dict[str, Any]:
    """A client's values as the statement takes them."""
    old, new = client.states
    values: dict[str, Any] = {
        "old_weights": old.values.weights,
        "new_weights": new.values.weights,
        "old_salt": old.salt,
        "new_salt": new.salt,
        "model": new.model,
        "fork": new.fork,
        "secret": new.secret,
        "old_step": old.step,
        "step": new.step,
        "norm_bound": BOUND,
        "context": 7,
        "secret_key": client.opening.secret,
    }
    errors = np.concatenate([client.opening.check_error[None], client.opening.errors])
    return values | client.sent.signals() | client.sent.polynomials() | {"errors": errors}


def test_the_polynomials_are_the_ciphertexts(clients: list[Client]) -> None:
    """c + A s is Delta times the packed update and the error, modulo Q, by Python's integers."""
    client, ring = clients[0], STATEMENT.encryption
    n, q, values = ring.degree, ring.modulus, exact(client)
    found = {name: values[name].reshape(-1, n, 4) for name in ("c", "a")}
    half = q // 2
    for m in (0, 1):
        c, a = (integers_of(found[name][m]) for name in ("c", "a"))
        assert max(map(abs, [*c, *a])) <= half
        for j in (0, 1, n - 1):
            turned = [a[j - i] if i <= j else -a[n + j - i] for i in range(n)]
            total = c[j] + sum(
                x * int(s) for x, s in zip(turned, values["secret_key"], strict=True)
            )
            message = 0
            if m and 3 * j < 12:
                triple = client.update[3 * j : 3 * j + 3]
                message = sum(int(u) << (20 * d) for d, u in enumerate(triple))
            assert (total - ring.delta * message - int(values["errors"][m, j])) % q == 0


def integers_of(limbs: Any) -> list[int]:
    """Field elements as integers of least magnitude."""
    r = FIELD_MODULUS
    found = [int.from_bytes(row.tobytes(), "little") for row in np.ascontiguousarray(limbs)]
    return [v - r if v > r // 2 else v for v in found]


def test_a_norm_above_the_agreed_one_is_refused(clients: list[Client], key: VerifyingKey) -> None:
    mine = clients[0]
    with pytest.raises(VerificationError, match=f"a norm of {BOUND}, above {BOUND - 1}"):
        check(mine.proof, key, mine.sent, norm_bound=BOUND - 1)
    assert norm_bound(HEAD, 0.5) == 1 << 15
    for bad in (-1.0, float("nan"), MAX_NORM, True):
        with pytest.raises(InvalidInput, match="norm"):
            norm_bound(HEAD, bad)


def test_other_parameters_are_refused(clients: list[Client], key: VerifyingKey) -> None:
    """Of other constants: not the proof's, whatever the polynomials' values are."""
    mine = clients[0]
    with pytest.raises(VerificationError, match="about another encryption"):
        check(mine.proof, key, mine.sent, update_bits=15)
    with pytest.raises(InvalidInput, match="17 bits reach past 52428, the bound for 10 clients"):
        check(mine.proof, key, mine.sent, update_bits=17)
    with pytest.raises(VerificationError, match="about another encryption"):
        check(mine.proof, key, mine.sent, update_bits=14, max_weight=3)
    with pytest.raises(InvalidInput, match="16 bits times 2 reach past 52428"):
        check(mine.proof, key, mine.sent, update_bits=16, max_weight=2)
    with pytest.raises(InvalidInput, match="max_weight must be"):
        check(mine.proof, key, mine.sent, max_weight=0)
    assert encrypted_update(HEAD, PARAMETERS, max_weight=100).update_bits == 10
    for bits in (1, 61, 16.0):
        with pytest.raises(InvalidInput, match="update_bits must be"):
            check(mine.proof, key, mine.sent, update_bits=bits)
    many = RlweParameters.choose(1000, 2, 3)
    assert encrypted_update(HEAD, many).update_bits == default_bits(many) == 10
    with pytest.raises(InvalidInput, match="reach past 524, the bound for 1000 clients"):
        encrypted_update(HEAD, many, update_bits=11)
    assert encryption_of(PARAMETERS).delta == PARAMETERS.delta
    for other, values in ((RlweParameters.choose(10, 2, 3, values_per_coefficient=2), 12),
                          (PARAMETERS, 13)):  # fmt: skip
        sent, opening, _ = sent_by(np.zeros(values, np.int64), Round(other, bytes(32), 4, values))
        with pytest.raises(VerificationError, match="about another"):
            check(mine.proof, key, sent)
        with pytest.raises(InvalidInput, match="sent: of a round of"):
            complete_values(given(mine.states, sent, opening))


def complete_values(values: Any) -> None:
    """Read the values as `prove` does."""
    encrypted_values(STATEMENT, Reader("test", values))


def test_other_proofs_are_none_of_an_encrypted_update(clients: list[Client], keys: Any) -> None:
    step = clients[0].history[1]
    with pytest.raises(VerificationError, match="expected a proof of encrypted_update/1"):
        check(step, keys[step.statement].verifying, clients[0].sent)
    with pytest.raises(VerificationError, match="expected a proof of encrypted_update/1"):
        check_update_of(step, clients[0].history)


def test_the_update_is_that_of_the_history(clients: list[Client]) -> None:
    """Client by client: each one's proof fits its own verified history, and no other."""
    mine, other = clients
    genesis, step = mine.history
    for history, why in (
        (other.history, "old_state is not the history's base"),
        ([genesis, other.history[1]], "new_state is not the history's last state"),
        ([genesis], "nothing was trained"),
        ([step], "a history with its base"),
        ([], "a history with its base"),
    ):
        with pytest.raises(VerificationError, match=why):
            check_update_of(mine.proof, history)


def test_a_prover_is_told_what_is_wrong(clients: list[Client], keys: Any) -> None:
    mine, other = clients
    pair = keys[STATEMENT.version]
    good = given(mine.states, mine.sent, mine.opening)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"sent": other.sent}, "does not encrypt this update under this secret"),
        ({"opening": other.opening}, "does not encrypt this update under this secret"),
        ({"sent": b"bytes"}, "sent: expected Sent, got bytes"),
        ({"opening": None}, "opening: expected Opening, got NoneType"),
        ({"norm_bound": 1}, "the update is longer than norm_bound 1"),
        ({"old_state": other.states[0]}, "new_state: of another secret than old_state"),
        ({"old_state": mine.states[1], "new_state": mine.states[0]}, "step must be in"),
    ]
    for change, message in cases:
        with pytest.raises(InvalidInput, match=message):
            zkai.prove(STATEMENT, pair.proving, {**good, **change})


def test_no_contract_takes_such_a_key(key: VerifyingKey) -> None:
    with pytest.raises(InvalidInput, match="no contract verifies encrypted_update/1"):
        format_of(key)


def test_keys_say_which_polynomials_they_take(key: VerifyingKey) -> None:
    """The digest covers names and sizes in their order; a file with others is refused.

    With c and a exchanged, c = (V - a) / s for any s would pass as a ciphertext of anything.
    """
    document = key.to_json()
    assert [p["name"] for p in document["polynomials"]] == ["c", "a"]
    for change, message in (
        ([], "expected 1 to 8 polynomials"),
        ([{"name": "c", "size": 8192}], "disagree on their number"),
        ([{"name": "c", "size": 8192}] * 2, "a name appears twice"),
        ([{"name": "c", "size": 8192}, {"name": "a", "size": 0}], "a size is not in"),
        ([{"name": "c", "size": 8192}, {"name": "a", "size": 4096}], "digest"),
        ([{"name": "a", "size": 8192}, {"name": "c", "size": 8192}], "digest"),
        ([{"name": "c", "size": "8192"}, {"name": "a", "size": 8192}], "expected an integer"),
        ([{"name": "c"}], "missing field size"),
    ):
        with pytest.raises((InvalidInput, VerificationError), match=message):
            VerifyingKey.from_json({**document, "polynomials": change}).check()
    with pytest.raises((InvalidInput, VerificationError), match="disagree on their number"):
        VerifyingKey.from_json({k: v for k, v in document.items() if k != "polynomials"}).check()


def test_the_polynomials_given_must_be_the_keys(clients: list[Client], key: VerifyingKey) -> None:
    mine = clients[0]
    values = mine.sent.polynomials()
    whole = STATEMENT.polynomials(values["c"], values["a"])
    for given_, message in (
        ({"c": whole["c"]}, "the public polynomial a is missing"),
        (whole | {"b": whole["c"]}, "unknown public polynomial b"),
        (whole | {"c": whole["c"][:-1]}, "expected 8192 field elements"),
    ):
        with pytest.raises(InvalidInput, match=message):
            formats.verify(mine.proof, key, polynomials=given_)


def test_linked_states_are_bound_the_same_way(keys: Any, tmp_path: Path) -> None:
    """A KZG-linked history, and the update between its states, under one tau."""
    statements = (
        Genesis(HEAD, COMMIT, "kzg"),
        TrainingStep(HEAD, 2, format=COMMIT, weights_commitment="kzg"),
    )
    bound = EncryptedUpdate(HEAD, STATEMENT.encryption, 16, "kzg")
    made = [zkai.setup(s, tau=tmp_path / "tau") for s in (*statements, bound)]
    history = trained(statements, (made[0], made[1]), [0, 1])
    states = [proof.opening.state for proof in history]
    update = (states[1].values.weights - states[0].values.weights).ravel()
    sent, opening, _ = sent_by(update)
    proof = zkai.prove(bound, made[2].proving, given(states, sent, opening))
    for verifier in ("native", "py-ecc"):
        verify_encrypted_update(proof, made[2].verifying, sent, norm_bound=BOUND, verifier=verifier)
    check_update_of(proof, history)
    other, _, _ = sent_by(update)
    with pytest.raises(VerificationError, match="about another ciphertext"):
        verify_encrypted_update(proof, made[2].verifying, other, norm_bound=BOUND)
    with pytest.raises(InvalidInput, match="commitment is of another kind"):
        zkai.prove(STATEMENT, keys[STATEMENT.version].proving, given(states, sent, opening))
