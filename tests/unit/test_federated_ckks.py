"""A session's round with scheme `ckks`: the same rules, the same messages, a joint key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.ckks_support import opened as begun
from tests.unit.ckks_support import respond_all
from tests.unit.federated_support import BOUND, World
from zkai.encoding import sha256
from zkai.errors import InvalidInput, VerificationError
from zkai.federated.aggregator import OPENED
from zkai.federated.ckks_scheme import CKKS, CkksScheme, ckks_parameters, load_ckks
from zkai.federated.holder import KeyHolder
from zkai.federated.noise import Privacy
from zkai.federated.opening import open_sum
from zkai.federated.scheme import Int64
from zkai.federated.schemes import load_scheme
from zkai.he.ckks import CHAIN, CkksSum
from zkai.he.committee import start
from zkai.he.joint_key import HolderKey, JointKey
from zkai.he.key_dealing import Terms

pytest.importorskip("tenseal.sealapi")


@pytest.fixture(scope="module")
def committee() -> tuple[JointKey, dict[int, HolderKey]]:
    terms = Terms(CHAIN, 2, ("h0", "h1", "h2"), sha256(b"session"))
    ceremony, messages = begun(terms, {d: start(terms, d) for d in terms.dealers})
    assert respond_all(ceremony, messages) == []
    return ceremony.conclude(), {h: ceremony.holder_key(h, messages[h]) for h in terms.places}


@pytest.fixture
def world(tmp_path: Path, committee: tuple[JointKey, dict[int, HolderKey]]) -> World:
    joint, keys = committee

    class CkksWorld(World):
        def _open_all(self) -> None:
            if self.session.scheme != CKKS:
                numbers = CkksSum(self.session.values, 4, BOUND, 2, 3)
                parameters = ckks_parameters(numbers, joint)
                self.session = replace(self.session, scheme=CKKS, parameters=parameters)
                self.scheme = load_scheme(self.session)
            super()._open_all()

        def open_holder(self, j: int) -> KeyHolder:
            scheme = load_scheme(self.session, keys[j + 1])
            return replace(super().open_holder(j), scheme=scheme)

    return CkksWorld(tmp_path / "world")


def test_a_round_opens_the_exact_sum(world: World) -> None:
    world.commit()
    world.opens_to(range(4))


def test_a_round_without_one_client_opens_the_sum_of_the_others(world: World) -> None:
    world.commit([0, 2, 3])
    world.until(OPENED)
    found = open_sum(world.round(), world.scheme)
    assert found.values.tolist() == world.expected([0, 2, 3])


def test_holders_open_with_their_own_key_only(
    world: World, committee: tuple[JointKey, dict[int, HolderKey]]
) -> None:
    _, keys = committee
    without = load_ckks(world.session)
    with pytest.raises(InvalidInput, match="its own key"):
        without.partial(1, 0, (0, 1), [], 2)
    with pytest.raises(InvalidInput, match="its own key"):
        load_ckks(world.session, keys[2]).partial(1, 0, (0, 1), [], 2)
    with pytest.raises(InvalidInput, match="joint key"):
        load_ckks(world.session, replace(keys[1], key_id=bytes(32)))


def test_a_holder_opens_contributions_under_their_logged_names(
    world: World, committee: tuple[JointKey, dict[int, HolderKey]]
) -> None:
    scheme = load_ckks(world.session, committee[1][1])
    made = [scheme.start(1, world_values(world, i)) for i in range(2)]
    inputs = [(each.key, each.ciphertext, b"") for each in made]
    assert len(scheme.partial(1, 0, (0, 2), inputs, 2)) == scheme.partial_bytes
    exchanged = [(made[1].key, made[0].ciphertext, b""), inputs[1]]
    with pytest.raises(VerificationError, match="another name"):
        scheme.partial(1, 0, (0, 2), exchanged, 2)
    with pytest.raises(VerificationError, match="at least 3"):
        scheme.partial(1, 0, (0, 2), inputs, 3)


def test_parameters_fit_the_session(world: World) -> None:
    for changes in ({"values": 9}, {"clients": 5}, {"bound": BOUND - 1}, {"threshold": 3}):
        parameters = {**world.session.parameters, **changes}
        with pytest.raises(InvalidInput, match=r"session\.parameters|committee"):
            load_ckks(replace(world.session, parameters=parameters))
    for changed in ({"format": "x"}, {"key": "AAAA"}, {"more": 1}, {"bound": True}):
        with pytest.raises(InvalidInput):
            load_ckks(replace(world.session, parameters={**world.session.parameters, **changed}))


def test_a_session_that_wants_proofs_is_refused(world: World) -> None:
    with pytest.raises(InvalidInput, match="no proof binds"):
        load_ckks(replace(world.session, inputs=bytes(32)))
    scheme = load_ckks(world.session)
    with pytest.raises(InvalidInput, match="no proof binds"):
        scheme.sent(1, b"", b"", b"")
    with pytest.raises(InvalidInput, match="no proof binds"):
        scheme.start(1, world_values(world, 0)).opening()


def test_an_earlier_ciphertext_can_come_back_so_sessions_with_noise_are_refused(
    world: World,
) -> None:
    """Under a key that lasts, a ciphertext fits a later round with another head."""
    scheme = load_ckks(world.session)
    made = scheme.start(1, world_values(world, 0))
    later = made.ciphertext[:48] + scheme.seed(2) + bytes(32) + made.ciphertext[112:]
    with pytest.raises(InvalidInput, match="of another round"):
        scheme.total(2).add(made.ciphertext)
    scheme.total(2).add(later)
    noise = Privacy(100, 4, 2, "1", "0.00001")
    with pytest.raises(InvalidInput, match="no budget would count"):
        load_ckks(replace(world.session, value_bound=1, privacy=noise.fields))


def test_what_a_scheme_refuses(world: World) -> None:
    scheme = load_ckks(world.session)
    assert isinstance(scheme, CkksScheme)
    made = [scheme.start(1, world_values(world, i)) for i in range(2)]
    total = scheme.total(1)
    total.add(made[0].ciphertext, made[0].key)
    with pytest.raises(InvalidInput, match="already"):
        total.add(made[0].ciphertext)
    with pytest.raises(InvalidInput, match="not "):
        total.add(made[1].ciphertext, made[0].key)
    other = scheme.total(1)
    other.add(made[0].ciphertext)
    with pytest.raises(InvalidInput, match="in both"):
        total.merge(other)
    total.add(made[1].ciphertext, made[1].key)
    data = total.to_bytes()
    scheme.check_linear(1, [each.ciphertext for each in made], data)
    with pytest.raises(VerificationError, match="not that of"):
        scheme.check_linear(1, [made[0].ciphertext, made[0].ciphertext], data)
    with pytest.raises(VerificationError, match="other than 3"):
        scheme.fuse(1, data, [bytes(32)] * 3, {0: b"", 1: b""})
    with pytest.raises(VerificationError, match="bytes, not"):
        scheme.fuse(1, data, [bytes(32)] * 2, {0: b"", 1: b""})
    with pytest.raises(InvalidInput, match="another round"):
        scheme.total(2).add(made[0].ciphertext)
    with pytest.raises(InvalidInput, match="a sum stands"):
        scheme.total(1).add(data)
    with pytest.raises(InvalidInput, match="no shares"):
        scheme.check_share(1, 0, made[0].key, b"x")


def world_values(world: World, i: int) -> Int64:
    return np.array(world.expected([i]), np.int64)
