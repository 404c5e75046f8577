"""encrypted_update: a ciphertext of exactly the update, and what a cheat would rather send."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from circuit_forgery import (
    assert_every_committed_wire_forced,
    assert_every_hint_forced,
    assert_refused,
    challenges_of,
    forger,
)
from small_shapes import EXAMPLE, HEAD, LORA, MLP, MOMENTUM, ciphertext, linked
from test_perturbed_witnesses import rules_of, without

from zkai.circuit.builder import Builder
from zkai.circuit.polynomial import PublicPolynomial
from zkai.circuit.r1cs import Circuit, Partial
from zkai.circuit.rounds import lint_rounds
from zkai.circuit.second_round import define_quotient
from zkai.circuit.statements.ciphertext_witness import paired
from zkai.circuit.statements.ciphertext_witness import witness as ciphertext_witness
from zkai.circuit.statements.encrypted_update import MAX_NORM, EncryptedUpdate
from zkai.circuit.statements.encryption import Encryption
from zkai.circuit.statements.registry import from_description
from zkai.encoding import FIELD_MODULUS, from_limbs, to_limbs
from zkai.errors import InvalidInput, VerificationError

RING = Encryption(8, (1048573, 1048571), 2, 10, error_bound=1)
TWO_PAIRS = replace(RING, degree=4)
Values = dict[str, Any]


def case(head: Any = HEAD, ring: Encryption = RING) -> tuple[EncryptedUpdate, Circuit, Values]:
    """A statement, its circuit and an honest assignment."""
    statement, values = ciphertext(head, ring)("groth16-commit")
    assert isinstance(statement, EncryptedUpdate)
    return statement, statement.build(), values


STATEMENT, CIRCUIT, HONEST = case()
INPUTS = STATEMENT.assign(HONEST)


def element(value: int) -> int:
    return value % FIELD_MODULUS


def refused(inputs: Values, circuit: Circuit = CIRCUIT) -> str:
    """Where a cheat with these inputs is caught, with everything else recomputed."""
    return assert_refused(circuit, inputs, {})


def moved(name: str, changes: dict[int, int], inputs: Values = INPUTS) -> Values:
    """The inputs with some field elements of one of them moved by so much."""
    found = from_limbs(inputs[name])
    for place, amount in changes.items():
        found[place] = element(found[place] + amount)
    return {**inputs, name: to_limbs(found)}


@pytest.mark.parametrize("head", [HEAD, MOMENTUM, MLP, LORA])
@pytest.mark.parametrize("ring", [RING, TWO_PAIRS, replace(RING, values_per_coefficient=1)])
def test_honest_ciphertexts_are_accepted(head: Any, ring: Encryption) -> None:
    """Of every kind of head, with a last polynomial of every kind, computed by the schoolbook."""
    statement, circuit, values = case(head, ring)
    witness = circuit.solve(statement.assign(values), challenge=challenges_of)
    circuit.check(witness)
    public = statement.public_values(values)
    assert from_limbs(circuit.signal_values(witness)) == list(public.values())


def test_linked_states_hold_the_same_update() -> None:
    statement, values = linked(ciphertext(MLP, TWO_PAIRS))("groth16-commit")
    circuit = statement.build()
    circuit.check(circuit.solve(statement.assign(values), challenge=challenges_of))
    assert [link.signal for link in circuit.links] == ["old_link", "new_link"]


def test_the_public_polynomials_are_wires_that_no_row_defines() -> None:
    """They are the verifier's: the lint takes them as known, and nothing else of round 2."""
    wires = np.arange(CIRCUIT.n_wires)[CIRCUIT.polynomial_wires]
    assert len(wires) == 2
    assert not np.isin(wires, CIRCUIT.definitions[:, 0]).any()
    witness = CIRCUIT.solve(INPUTS, challenge=challenges_of)
    fold = challenges_of(CIRCUIT.round_one(CIRCUIT.begin(INPUTS)))[0]
    for wire, name in zip(wires, ("c", "a"), strict=True):
        coefficients = from_limbs(INPUTS[name])
        value = sum(x * pow(fold, i, FIELD_MODULUS) for i, x in enumerate(coefficients))
        assert from_limbs(witness[wire : wire + 1]) == [element(value)]


# Another ciphertext -----------------------------------------------------------------------------


def test_any_other_ciphertext_is_refused() -> None:
    """One coefficient, of the check polynomial or of the message, by one or by Delta."""
    size = STATEMENT.encryption.degree
    c = HONEST["c"]
    assert len(c) == 2 * size
    for place in (0, size - 1, size, 2 * size - 1):
        for amount in (1, STATEMENT.encryption.delta, STATEMENT.encryption.modulus):
            changed = list(c)
            changed[place] = element(changed[place] + amount)
            inputs = INPUTS | STATEMENT.polynomials(changed, HONEST["a"])
            assert "ciphertext: ciphertext" in refused(inputs)
            if amount != STATEMENT.encryption.modulus:
                with pytest.raises(InvalidInput, match="does not encrypt this update"):
                    STATEMENT.assign({**HONEST, "c": changed})


def test_another_residue_of_a_coefficient_takes_another_quotient() -> None:
    """c + Q is the same ciphertext: only the range of k bounds it, and verifiers centre c."""
    changed = [element(HONEST["c"][0] + STATEMENT.encryption.modulus), *HONEST["c"][1:]]
    inputs = STATEMENT.assign({**HONEST, "c": changed})
    CIRCUIT.check(CIRCUIT.solve(inputs, challenge=challenges_of))
    far = [element(HONEST["c"][0] + 99 * STATEMENT.encryption.modulus), *HONEST["c"][1:]]
    with pytest.raises(InvalidInput, match="a quotient is too large"):
        STATEMENT.assign({**HONEST, "c": far})


def test_another_randomness_is_refused() -> None:
    a = [element(HONEST["a"][0] + 1), *HONEST["a"][1:]]
    assert "ciphertext" in refused(INPUTS | STATEMENT.polynomials(HONEST["c"], a))
    swapped = [*HONEST["a"][8:], *HONEST["a"][:8]]
    assert "ciphertext" in refused(INPUTS | STATEMENT.polynomials(HONEST["c"], swapped))


def test_polynomials_of_other_sizes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="expected 16 field elements"):
        STATEMENT.polynomials(HONEST["c"][:-1], HONEST["a"])
    for broken in ({"c": INPUTS["c"][:-1]}, {"c": None}, {"c": INPUTS["c"].astype(np.int64)}):
        with pytest.raises(InvalidInput, match="public polynomial c"):
            CIRCUIT.begin(INPUTS | broken)
    with pytest.raises(InvalidInput, match="public polynomial a is missing"):
        CIRCUIT.begin({name: value for name, value in INPUTS.items() if name != "a"})


# Another secret ---------------------------------------------------------------------------------


def encrypted(update: list[int], secrets: dict[int, int]) -> Values:
    """A ciphertext whose polynomials m have these multiples of the secret, by the schoolbook."""
    ring = STATEMENT.encryption
    n, q = ring.degree, ring.modulus
    found = EXAMPLE.encrypt(ring, update)
    c = list(found["c"])
    for m, factor in secrets.items():
        a = [EXAMPLE.centred(x, FIELD_MODULUS) for x in found["a"][m * n : (m + 1) * n]]
        for j in range(n):
            product = sum(
                (a[j - i] if i <= j else -a[n + j - i]) * int(s)
                for i, s in enumerate(found["secret_key"])
            )
            was = EXAMPLE.centred(c[m * n + j], FIELD_MODULUS)
            c[m * n + j] = element(EXAMPLE.centred(was + product - factor * product, q))
    return found | {"c": c}


UPDATE = (HONEST["new_weights"] - HONEST["old_weights"]).ravel().tolist()


def test_one_secret_for_all_polynomials() -> None:
    """The check polynomial under s and the message under -s, or the other way round."""
    assert encrypted(UPDATE, {})["c"] == HONEST["c"]
    both = encrypted(UPDATE, {0: -1, 1: -1})
    for secrets in ({0: -1}, {1: -1}, {0: 0}, {1: 0}):
        made = encrypted(UPDATE, secrets)
        with pytest.raises(InvalidInput, match="does not encrypt"):
            STATEMENT.assign({**HONEST, **made})
        flipped = {**made, "secret_key": -made["secret_key"]}
        with pytest.raises(InvalidInput, match="does not encrypt"):
            STATEMENT.assign({**HONEST, **flipped})
        inputs = INPUTS | STATEMENT.polynomials(made["c"], HONEST["a"])
        assert "ciphertext: ciphertext" in refused(inputs)
    both["secret_key"] = -both["secret_key"]
    CIRCUIT.check(CIRCUIT.solve(STATEMENT.assign(HONEST | both), challenge=challenges_of))


def test_a_secret_that_is_not_ternary_is_refused() -> None:
    made = encrypted(UPDATE, {0: 2, 1: 2})
    made["secret_key"] = 2 * made["secret_key"]
    with pytest.raises(InvalidInput, match="secret_key"):
        STATEMENT.assign({**HONEST, **made})
    # The identity holds for it: only the lookup refuses.
    inputs = INPUTS | doubled(made)
    assert "lookups balance" in refused(inputs)
    table = np.array(["lookups balance" in rule for rule in rules_of(CIRCUIT)])
    weak = without(CIRCUIT, table)
    weak.check(forger(weak).solve(inputs, challenge=challenges_of))


def doubled(made: Values) -> Values:
    """The inputs for a secret of twice the size."""
    return forged_inputs(STATEMENT, UPDATE, made)


# Errors and quotients ---------------------------------------------------------------------------


def test_errors_beyond_their_bound_are_refused() -> None:
    """An error that is larger by one, in a ciphertext that is honest otherwise."""
    errors = HONEST["errors"].copy()
    c = list(HONEST["c"])
    amount = 2 - int(errors[1, 0])
    errors[1, 0] += amount
    c[8] = element(c[8] + amount)
    with pytest.raises(InvalidInput, match="'errors' has a value outside"):
        STATEMENT.assign({**HONEST, "errors": errors, "c": c})
    inputs = moved("error_digits", {8: amount}) | STATEMENT.polynomials(c, HONEST["a"])
    assert "lookups balance" in refused(inputs)
    weak = without(CIRCUIT, np.array(["balance" in rule for rule in rules_of(CIRCUIT)]))
    weak.check(forger(weak).solve(inputs, challenge=challenges_of))


def test_a_message_hidden_in_the_error_is_refused() -> None:
    """Delta in the error, and one less in the message: the ciphertext holds another update."""
    delta = STATEMENT.encryption.delta
    c = list(HONEST["c"])
    c[8] = element(c[8] + delta)
    inputs = moved("error_digits", {8: delta}) | STATEMENT.polynomials(c, HONEST["a"])
    assert "lookups balance" in refused(inputs)


def test_a_field_elements_worth_of_quotients_is_refused() -> None:
    """With k free, k = d / Q makes up for any difference d."""
    inverse = pow(STATEMENT.encryption.modulus, -1, FIELD_MODULUS)
    c = list(HONEST["c"])
    c[8] = element(c[8] + 12345)
    quotient = element(12345 * inverse) * STATEMENT.encryption.modulus
    inputs = moved("error_digits", {8: quotient}) | STATEMENT.polynomials(c, HONEST["a"])
    assert "lookups balance" in refused(inputs)


def test_one_polynomials_error_is_no_other_ones() -> None:
    """A pair's polynomials differ by 2^gap: an entry of one table stands for its own only."""
    gap = STATEMENT.encryption.gap
    inputs = moved("error_digits", {0: gap, 8: -1})
    assert "lookups balance" in refused(inputs)


def test_carries_are_what_the_upper_half_says() -> None:
    n = STATEMENT.encryption.degree
    for place in (0, n - 1):
        assert "ciphertext: ciphertext" in refused(moved("carries", {place: 1}))
        # X^N + 1 times a monomial would move c by it: the lookups see that.
        c = from_limbs(INPUTS["c"])
        c[place] = element(c[place] + 1)
        whole = {**moved("carries", {place: 1}), "c": to_limbs(c)}
        assert "ciphertext: ciphertext" in refused(whole)


# Padding, packing, norm -------------------------------------------------------------------------


def test_what_is_left_over_is_zero() -> None:
    """A value beyond the last, in the last polynomial or digit, is another ciphertext."""
    statement, circuit, values = case(MLP, TWO_PAIRS)
    update = (values["new_weights"] - values["old_weights"]).ravel().tolist()
    spare = statement.encryption.per_polynomial * (statement.encryption.polynomials(17) - 1) - 17
    assert spare > 0
    longer = EXAMPLE.encrypt(TWO_PAIRS, [*update, 1])
    with pytest.raises(InvalidInput, match="does not encrypt"):
        statement.assign({**values, **longer})
    inputs = statement.assign(values) | statement.polynomials(longer["c"], longer["a"])
    assert "ciphertext: ciphertext" in refused(inputs, circuit)


def test_digits_that_pack_alike_are_another_update() -> None:
    """(v, w) and (v + 2^bits, w - 1) pack to one coefficient: the range of a value tells them."""
    bits = STATEMENT.encryption.value_bits
    new = HONEST["new_weights"].copy()
    new.flat[0] += 1 << bits
    new.flat[1] -= 1
    with pytest.raises(InvalidInput, match="'new_weights' has a value outside"):
        STATEMENT.assign({**HONEST, "new_weights": new})
    message = refused({**INPUTS, "new_weights": new})
    assert "lookups balance" in message


def test_values_are_no_wider_than_their_place() -> None:
    with pytest.raises(InvalidInput, match=r"update_bits must be in \[2, 10\]"):
        EncryptedUpdate(HEAD, RING, 11)
    small = EncryptedUpdate(HEAD, RING, 4)
    with pytest.raises(InvalidInput, match=r"the update has a value outside \[-8, 7\]"):
        small.assign(HONEST)
    circuit = small.build()
    assert "lookups balance" in refused({**INPUTS, **inputs_for(small)}, circuit)


def inputs_for(statement: EncryptedUpdate) -> Values:
    """The inputs of an honest ciphertext, whatever the statement says of its values."""
    return {name: INPUTS[name] for name in statement.build().inputs if name in INPUTS}


def test_the_norm_is_bounded_by_its_squares() -> None:
    squared = int(sum(v * v for v in UPDATE))
    exact = int(np.sqrt(squared)) + (int(np.sqrt(squared)) ** 2 < squared)
    good = STATEMENT.assign({**HONEST, "norm_bound": exact})
    CIRCUIT.check(CIRCUIT.solve(good, challenge=challenges_of))
    with pytest.raises(InvalidInput, match="longer than norm_bound"):
        STATEMENT.assign({**HONEST, "norm_bound": exact - 1})
    assert "lookups balance" in refused({**INPUTS, "norm_bound": exact - 1})
    for value in (-1, MAX_NORM + 1, FIELD_MODULUS - exact):
        with pytest.raises(InvalidInput, match="norm_bound must be in"):
            STATEMENT.assign({**HONEST, "norm_bound": value})
    assert "lookups balance" in refused({**INPUTS, "norm_bound": MAX_NORM + 1})


def test_a_sum_of_squares_cannot_wrap() -> None:
    """S_v - B^2 S_w is one integer in two ways only if a sum leaves its range."""
    labels = [s.label for s in CIRCUIT.steps if s.label.startswith("update/norm sum")]
    assert len(labels) == 2
    for amount in (-1, 1, -(1 << 40)):
        for label in labels:
            message = assert_refused(CIRCUIT, INPUTS, {label: lambda v, a=amount: np.array(v) + a})
            assert "update: norm" in message
    # 6 squares below 2^14 make B^2 = 2^18: both sums may move together, out of their range.
    for sign in (-1, 1):
        tamper = {
            labels[0]: lambda v, a=sign << 18: np.array(v) + a,
            labels[1]: lambda v, a=sign: np.array(v) + a,
        }
        assert "lookups balance" in assert_refused(CIRCUIT, INPUTS, tamper)


# States -----------------------------------------------------------------------------------------


def test_states_are_of_one_fork_user_and_model() -> None:
    """The new state under another name is another commitment: the circuit has one name for both."""
    for name in ("model", "fork", "user"):
        place = [s.name for s in CIRCUIT.public].index(name)
        partial = CIRCUIT.begin(INPUTS)
        partial.witness[CIRCUIT.signal_wires[place]] = to_limbs([99])[0]
        witness = CIRCUIT.finish(partial, challenges_of(CIRCUIT.round_one(partial)))
        with pytest.raises(VerificationError):
            CIRCUIT.check(witness)


def test_frozen_weights_are_the_same_in_both_states() -> None:
    statement, circuit, values = case(LORA)
    digests = [slot for slot in circuit.inputs if slot == "frozen"]
    assert digests == ["frozen"]
    inputs = statement.assign(values)
    states = circuit.solve({**inputs, "frozen": 5}, challenge=challenges_of)
    public = statement.public_values(values)
    found = from_limbs(circuit.signal_values(states))
    assert found[0] != public["old_state"]
    assert found[1] != public["new_state"]


def test_the_velocity_is_no_part_of_the_update() -> None:
    statement, circuit, values = case(MOMENTUM)
    other = values | {"new_velocity": values["old_velocity"] + 1}
    witness = circuit.solve(statement.assign(other), challenge=challenges_of)
    circuit.check(witness)
    was, now = statement.public_values(values), statement.public_values(other)
    assert [name for name in was if was[name] != now[name]] == ["new_state"]


def test_steps_are_in_order() -> None:
    for steps in ({"old_step": 5}, {"old_step": 6}):
        with pytest.raises(InvalidInput, match="old_step must be in"):
            STATEMENT.assign(HONEST | steps)
        assert "lookups balance" in refused(INPUTS | steps)


# The parameters ---------------------------------------------------------------------------------


def test_parameters_are_constants_of_the_circuit() -> None:
    """Other primes, packings or bounds are other circuits, and another signal `encryption`."""
    others = [
        replace(RING, primes=(1048573, 1048559)),
        replace(RING, primes=RING.primes[::-1]),
        replace(RING, values_per_coefficient=1),
        replace(RING, value_bits=11),
        replace(RING, error_bound=2),
        TWO_PAIRS,
    ]
    statements = [STATEMENT, *(EncryptedUpdate(HEAD, ring, 8) for ring in others)]
    statements.append(EncryptedUpdate(HEAD, RING, 9))
    assert len({s.encryption_digest for s in statements}) == len(statements)
    assert len({s.build().digest for s in statements}) == len(statements)


def test_two_values_a_coefficient_are_no_three() -> None:
    """c(fold) and a(fold) do not tell the packing: the circuit's own constants do."""
    packed = replace(RING, values_per_coefficient=1)
    made = EXAMPLE.encrypt(packed, UPDATE[:8])
    with pytest.raises(InvalidInput, match="does not encrypt"):
        STATEMENT.assign({**HONEST, **made})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"degree": 6}, "degree must be a power of two"),
        ({"degree": 2}, r"degree must be an integer in \[4"),
        ({"degree": 8.0}, "degree must be an integer"),
        ({"primes": [3, 5]}, "primes must be a tuple"),
        ({"primes": ()}, "primes must be a tuple"),
        ({"primes": (6, 7)}, "primes must be odd"),
        ({"primes": (1048573, 1048573)}, "primes must be odd and different"),
        ({"primes": ((1 << 60) - 93,) * 1 + ((1 << 60) - 107,)}, "too large for this proof"),
        ({"primes": (10007,)}, "leave no room"),
        ({"value_bits": 1}, "value_bits"),
        ({"error_bound": 0}, "error_bound"),
    ],
)
def test_unusable_parameters(change: Values, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        replace(RING, **change)


def test_the_bound_that_lets_two_polynomials_share_an_element() -> None:
    """Every coefficient of what must be 0 is below 2^(gap - 2), for the scheme's own parameters."""
    ring = Encryption(4096, (18014398509293569, 18014398509309953))
    k = 1 << (ring.quotient_bits - 1)
    message = ring.delta << (ring.values_per_coefficient * ring.value_bits)
    largest = ring.modulus * (1 + ring.degree // 2 + k) + message + ring.error_bound
    assert largest < 1 << (ring.gap_bits - 2)
    assert largest * (1 + ring.gap) < FIELD_MODULUS // 2
    # A quotient of a uniform ring element is a sum of N / 3 sixths in the mean: 8 deviations.
    assert k - 1 > 8 * np.sqrt(ring.degree / 18)


def test_paired_polynomials_lie_apart() -> None:
    values = to_limbs(list(range(1, 25)))
    found = from_limbs(paired(RING, values))
    gap = RING.gap
    assert found[:8] == [1 + i + gap * (9 + i) for i in range(8)]
    assert found[8:16] == [0] * 8
    assert found[16:24] == [17 + i for i in range(8)]


# Weights ----------------------------------------------------------------------------------------


def test_a_weighted_update_holds_its_weight() -> None:
    statement, values = ciphertext(HEAD, RING, 8, 4)("groth16-commit")
    assert isinstance(statement, EncryptedUpdate)
    circuit, inputs = statement.build(), statement.assign(values)
    circuit.check(circuit.solve(inputs, challenge=challenges_of))
    assert statement.n_values == 13
    assert statement.encrypted(values).tolist() == [*(3 * u for u in UPDATE), 3]
    for weight in (0, 5, -1):
        with pytest.raises(InvalidInput, match=r"weight must be in \[1, 4\]"):
            statement.assign({**values, "weight": weight})
    with pytest.raises(InvalidInput, match="does not encrypt"):
        statement.assign({**values, "weight": 2})
    assert "ciphertext: ciphertext" in refused({**inputs, "weight": 2}, circuit)
    # A weight that the ciphertext does hold, out of range: only its range refuses it.
    for weight in (0, 5):
        made = EXAMPLE.encrypt(RING, [*(weight * u for u in UPDATE), weight])
        forged = inputs | forged_inputs(statement, [*(weight * u for u in UPDATE), weight], made)
        message = refused({**forged, "weight": weight}, circuit)
        assert "weight: range" in message or "lookups balance" in message
    honest = [3 * u for u in UPDATE]
    for held in ([*honest[:-1], honest[-1] + 1, 3], [*honest, 2], [*UPDATE, 3]):
        made = EXAMPLE.encrypt(RING, held)
        with pytest.raises(InvalidInput, match="does not encrypt"):
            statement.assign({**values, **made})


def forged_inputs(statement: EncryptedUpdate, held: list[int], made: Values) -> Values:
    """The ciphertext's inputs for any values, by the statement's own arithmetic."""
    c, a = to_limbs(made["c"]), to_limbs(made["a"])
    parts = ciphertext_witness(
        statement.encryption, np.array(held), made["secret_key"], made["errors"], c, a, "test"
    )
    names = ("error_digits", "quotient_digits", "carries")
    found = dict(zip(names, parts, strict=True)) | statement.polynomials(c, a)
    return found | {"secret_key": made["secret_key"].reshape(-1, 4)}


def test_weighted_values_fit_their_place() -> None:
    with pytest.raises(InvalidInput, match=r"max_weight must be in \[1, 4\]"):
        EncryptedUpdate(HEAD, RING, 8, max_weight=5)
    plain, weighted = EncryptedUpdate(HEAD, RING, 8), EncryptedUpdate(HEAD, RING, 8, max_weight=4)
    assert plain.encryption_digest != weighted.encryption_digest
    assert "max_weight" not in plain.describe()
    assert from_description(weighted.describe()) == weighted


# Everything else --------------------------------------------------------------------------------


def test_every_hint_and_committed_wire_is_forced() -> None:
    assert_every_hint_forced(CIRCUIT, INPUTS)
    witness = CIRCUIT.solve(INPUTS, challenge=challenges_of)
    assert_every_committed_wire_forced(CIRCUIT, witness)


def test_a_ciphertext_chosen_after_the_challenge_would_pass_anything() -> None:
    """Why its digest is hashed: with fold known, c(fold) is one equation in many unknowns."""
    partial = CIRCUIT.begin(INPUTS)
    fold, alpha = challenges_of(CIRCUIT.round_one(partial))
    c = list(HONEST["c"])
    c[8] = element(c[8] + STATEMENT.encryption.delta)  # one more in the first value
    moved_c = STATEMENT.polynomials(c, HONEST["a"])["c"]
    # The difference at fold is taken back in the unused coefficient 7 of the check polynomial.
    difference = element(STATEMENT.encryption.gap * STATEMENT.encryption.delta)
    back = element(-difference * pow(fold, -7, FIELD_MODULUS))
    found = from_limbs(moved_c)
    found[7] = element(found[7] + back)
    late = Partial(partial.witness, {**partial.polynomials, "c": to_limbs(found)})
    CIRCUIT.check(CIRCUIT.finish(late, [fold, alpha]))
    witness = CIRCUIT.finish(late, [element(fold + 1), alpha])
    with pytest.raises(VerificationError, match="ciphertext"):
        CIRCUIT.check(witness)


# Public polynomials in the format ---------------------------------------------------------------


def test_public_polynomials_need_a_commitment_round() -> None:
    with pytest.raises(InvalidInput, match="its polynomials need a commitment round"):
        Builder("plain", polynomials=(PublicPolynomial("c", 4),))


def test_the_lint_knows_public_polynomials_and_nothing_more() -> None:
    """A wire beside them without a definition is refused, and so is a value in the wrong round."""
    lint_rounds(CIRCUIT)
    wire = CIRCUIT.polynomial_wires.start
    rounds = CIRCUIT.rounds.copy()
    rounds[wire] = 1
    with pytest.raises(InvalidInput, match="a wire that IC holds is in the wrong round"):
        lint_rounds(replace(CIRCUIT, rounds=rounds))
    for kept in (CIRCUIT.polynomials[:1], ()):
        with pytest.raises(InvalidInput, match="is checked with a challenge, but it is in round 2"):
            lint_rounds(replace(CIRCUIT, polynomials=kept))


def test_a_value_of_a_public_polynomial_is_no_challenge() -> None:
    """It may be 0: a wire that only it multiplies would be free."""
    builder = Builder("free", commit=True, polynomials=(PublicPolynomial("c", 4),))
    define_quotient(builder, "free", builder.private_int("x"), builder.polynomial_value("c"))
    with pytest.raises(InvalidInput, match="a factor without a challenge"):
        builder.build()
