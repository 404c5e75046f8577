"""Clients and key holders that cheat with shares and ciphertexts: who is named, what is summed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from federated_support import World, fast_folder

import zkai.federated.client as client_module
from zkai.encoding import hex32, sha256
from zkai.errors import VerificationError
from zkai.federated.messages import (
    COMMITMENT,
    DEALING,
    DECISION,
    PARTIAL,
    SET,
    parse_message,
    sign_message,
)
from zkai.federated.opening import open_sum
from zkai.federated.sealing import seal_share

Make = Callable[[str], World]


@pytest.fixture(scope="module")
def base() -> Iterator[World]:
    """4 clients, of whom 0 has committed; 2-of-4 holders: q is 3."""
    root = fast_folder()
    world = World(root / "world", 4, 4, 2)
    world.commit([0])
    yield world
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def world(base: World) -> Iterator[World]:
    folder = fast_folder()
    yield base.copy(folder / "world")
    shutil.rmtree(folder, ignore_errors=True)


def excluded(world: World) -> dict[str, str]:
    """Return who the recorded set leaves out, and why."""
    names = {c.keyid: c.name for c in world.session.clients}
    found = world.round().require(SET).body["excluded"]
    return {names[e["client"]]: e["reason"] for e in found}


def finish(world: World, cheat: int = 1) -> None:
    world.commit([i for i in range(4) if i not in (0, cheat)])
    world.advance()
    world.serve()
    world.advance()
    world.reveal()


def bent(place: int, bend: Callable[[bytes], bytes]) -> Callable[..., bytes]:
    """Return a `seal_share` that alters the share of one holder."""

    def seal(session: Any, number: int, keyid: str, j: int, share: bytes) -> bytes:
        return seal_share(session, number, keyid, j, bend(share) if j == place else share)

    return seal


def flip(data: bytes) -> bytes:
    """Flip the low bit of the body's first byte: a residue stays canonical."""
    return data[:80] + bytes([data[80] ^ 1]) + data[81:]


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_flipped_bit_of_a_share_excludes_its_dealer_by_name(
    world: World, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    monkeypatch.setattr(client_module, "seal_share", bent(place, flip))
    world.commit([1])
    monkeypatch.undo()
    finish(world)
    world.opens_to([0, 2, 3])
    assert list(excluded(world)) == ["c1"]
    assert "c1 dealt badly" in excluded(world)["c1"]


@pytest.mark.parametrize(
    ("what", "seal"),
    [
        ("another round", lambda s, n, k, j, share: seal_share(s, n + 1, k, j, share)),
        ("another holder", lambda s, n, k, j, share: seal_share(s, n, k, (j + 1) % 4, share)),
        ("another client", lambda s, n, k, j, share: seal_share(s, n, "x" * 43, j, share)),
        ("nothing", lambda s, n, k, j, share: bytes(len(seal_share(s, n, k, j, share)))),
        ("a short share", lambda s, n, k, j, share: seal_share(s, n, k, j, share[:-1])),
    ],
)
def test_a_share_that_cannot_be_read_excludes_its_dealer_by_name(
    world: World, monkeypatch: pytest.MonkeyPatch, what: str, seal: Any
) -> None:
    monkeypatch.setattr(client_module, "seal_share", seal)
    world.commit([1])
    monkeypatch.undo()
    finish(world)
    world.opens_to([0, 2, 3])
    assert list(excluded(world)) == ["c1"]
    reason = excluded(world)["c1"]
    assert "dealt no share that h0" in reason or "handed in no bodies" in reason, reason


def test_shares_of_another_key_than_the_check_polynomials(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sound shares of one key, the check polynomial of another: the dealing check notices."""
    plain = world.scheme
    other: dict[str, Any] = {}

    class Two:
        def __init__(self, made: Any, second: Any) -> None:
            self.key, self.ciphertext = made.key, made.ciphertext
            self.shares = tuple(
                a[:48] + made.key + b[80:] for a, b in zip(made.shares, second.shares, strict=True)
            )
            self.check, self.wipe = made.check, made.wipe

    def start(self: Any, number: int, values: Any) -> Any:
        made = original(self, number, values)
        return Two(made, original(self, number, values)) if other else made

    original = type(plain).start
    monkeypatch.setattr(type(plain), "start", start)
    other["on"] = True
    world.commit([1])
    monkeypatch.undo()
    finish(world)
    world.opens_to([0, 2, 3])
    assert "c1 dealt badly" in excluded(world)["c1"]


def recommit(world: World, change: Callable[[dict[str, Any], Path], None]) -> None:
    """Client 1 commits, and then to something else, of which it shows the bodies too."""
    world.commit([1])
    client, keyid = world.clients[1], world.keyid(1)
    folder = client._round(world.session, 1)
    said = dict(parse_message((folder / COMMITMENT).read_bytes()).predicate)
    change(said, folder)
    data = sign_message(COMMITMENT, said, world.keys[1]).to_bytes()
    (folder / COMMITMENT).write_bytes(data)
    world.board.put(1, f"commitments/{keyid}", data)


def swap_body(name: str, bend: Callable[[bytes], bytes]) -> Any:
    def change(said: dict[str, Any], folder: Path) -> None:
        data = bend((folder / said[name][2:]).read_bytes())
        said[name] = hex32(sha256(data))
        (folder / said[name][2:]).write_bytes(data)

    return change


@pytest.mark.parametrize(
    ("name", "bend"),
    [
        ("ciphertext", lambda data: data[:-1]),
        ("ciphertext", lambda data: data + b"\0"),
        ("ciphertext", lambda data: data[:80] + b"\xff" * (len(data) - 80)),
        ("ciphertext", lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:]),
        ("ciphertext", lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:]),
        ("check", lambda data: data[:-1]),
        ("check", lambda data: data[:80] + b"\xff" * (len(data) - 80)),
        ("check", flip),
    ],
)
def test_unusable_bodies_exclude_their_client_by_name(world: World, name: str, bend: Any) -> None:
    recommit(world, swap_body(name, bend))
    finish(world)
    world.opens_to([0, 2, 3])
    assert list(excluded(world)) == ["c1"]


def test_a_copied_ciphertext_excludes_who_copied(world: World) -> None:
    """Client 1 commits to client 0's ciphertext, with shares of its own."""
    victim = parse_message(world.board.read(1, f"commitments/{world.keyid(0)}")).predicate
    world.advance()

    def change(said: dict[str, Any], folder: Path) -> None:
        said["ciphertext"], said["key"] = victim["ciphertext"], victim["key"]
        source = world.clients[0]._round(world.session, 1) / victim["ciphertext"][2:]
        shutil.copy(source, folder)

    recommit(world, change)
    finish(world)
    world.opens_to([0, 2, 3])
    assert list(excluded(world)) == ["c1"]


def test_a_ciphertext_of_another_round_is_refused(world: World) -> None:
    """A replay: the header names the round that the ciphertext was made in."""
    world.clients[1].encrypt(world.session, world.scheme, world.board, 2, world.update(1, 2))
    folder = world.clients[1]._round(world.session, 2)
    old = parse_message((folder / COMMITMENT).read_bytes()).predicate

    def change(said: dict[str, Any], target: Path) -> None:
        for name in ("key", "ciphertext", "check", "shares"):
            said[name] = old[name]
        for path in folder.iterdir():
            if path.name != COMMITMENT:
                shutil.copy(path, target)

    recommit(world, change)
    finish(world)
    world.opens_to([0, 2, 3])
    assert list(excluded(world)) == ["c1"]


def test_a_ciphertext_under_another_key_than_dealt_opens_nothing(world: World) -> None:
    """Without a proof nobody can be named, but no wrong sum comes out either."""
    world.clients[1].encrypt(world.session, world.scheme, world.board, 1, world.update(1))
    made = world.scheme.start(1, world.scheme.start(1, _values(world)).key and _values(world))

    def change(said: dict[str, Any], folder: Path) -> None:
        key = bytes.fromhex(said["key"][2:])
        data = made.ciphertext[:48] + key + made.ciphertext[80:]
        said["ciphertext"] = hex32(sha256(data))
        (folder / said["ciphertext"][2:]).write_bytes(data)

    recommit(world, change)
    finish(world)
    with pytest.raises(VerificationError, match="noise is too large"):
        world.open()


def _values(world: World) -> Any:
    import numpy as np

    return np.zeros(world.session.values, np.int64)


# key holders


def test_a_lying_holder_is_left_out_and_no_client_suffers(world: World) -> None:
    world.commit([1, 2, 3])
    world.until(DEALING)
    said = world.holders[1].deal(world.board, 1)
    size = world.scheme.dealing_bytes
    data = world.board.body(1, said.digest("body"), 4 * size, "dealing")
    lie = b"".join(data[at : at + 80] + bytes(size - 80) for at in range(0, 4 * size, size))
    changed = {**said.predicate, "body": hex32(world.board.put_body(1, lie))}
    forged = sign_message(DEALING, changed, world.holder_keys[1])
    world.board.put(1, f"dealings/{world.holder_keys[1].keyid}", forged.to_bytes())
    world.until(SET)
    assert "its dealing check fails for 4 clients" in world.aggregator.refused["h1"]
    world.opens_to(range(4))
    assert not excluded(world)
    with pytest.raises(VerificationError, match="others are to open"):
        world.holders[1].partial(world.board, 1)


def test_a_holder_that_complains_about_everyone_is_left_out(world: World) -> None:
    world.commit([1, 2, 3])
    world.until(DEALING)
    said = world.holders[0].deal(world.board, 1)
    clients = sorted(world.keyid(i) for i in range(4))
    changed = {
        **said.predicate,
        "complaints": clients,
        "body": hex32(world.board.put_body(1, b"")),
    }
    forged = sign_message(DEALING, changed, world.holder_keys[0])
    world.board.put(1, f"dealings/{world.holder_keys[0].keyid}", forged.to_bytes())
    world.opens_to(range(4))
    assert not excluded(world)


@pytest.mark.parametrize("bend", ["truncated", "noise", "of another decision", "by a client"])
def test_a_wrong_part_opens_nothing_and_keeps_nothing_shut(world: World, bend: str) -> None:
    """2 of 4: of two parts one is wrong; then the others are there too."""
    world.commit([1, 2, 3])
    world.until(PARTIAL)
    active = world.round().require("active").body["holders"]
    order = world.session.holder_keyids
    first, second, *others = (order.index(keyid) for keyid in active)
    world.holders[second].partial(world.board, 1)
    said = world.holders[first].partial(world.board, 1)
    data = world.board.body(1, said.digest("body"), world.scheme.partial_bytes, "part")
    key, changed = world.holder_keys[first], {**said.predicate}
    if bend == "truncated":
        changed["body"] = hex32(world.board.put_body(1, data[:-1]))
    elif bend == "noise":
        changed["body"] = hex32(world.board.put_body(1, data[:-4000] + bytes(4000)))
    elif bend == "of another decision":
        changed["active"] = hex32(5)
    else:
        key = world.keys[0]
    forged = sign_message(PARTIAL, changed, key).to_bytes()
    world.board.put(1, f"partials/{active[0]}", forged)
    if bend == "noise":
        assert world.advance().phase == "opened"
        reason = "noise is too large"
    else:
        assert world.advance().phase == PARTIAL
        assert f"h{first}" in world.aggregator.refused
        reason = "1 parts of the decryption are logged, 2 are needed"
    with pytest.raises(VerificationError, match=reason):
        open_sum(world.round(), world.scheme)
    world.serve(others)
    assert world.advance().phase == "opened"
    opened = open_sum(world.round(), world.scheme)
    assert opened.values.tolist() == world.expected(range(4))
    assert opened.statement["apart"] == ([active[0]] if bend == "noise" else [])
    assert sorted(opened.statement["agreed"]) == sorted(active[1:])
    assert opened.statement["checked"]


def test_a_decision_signed_by_a_client_counts_nothing(world: World) -> None:
    world.commit([1, 2, 3])
    world.until(SET)
    decision = world.round().proposal(SET)
    for i in range(4):
        forged = sign_message(DECISION, decision.predicate, world.keys[i])
        world.board.put(1, f"set-signed/{world.keyid(i)}", forged.to_bytes())
        at = f"set-signed/{world.holder_keys[i].keyid}"
        world.board.put(1, at, forged.to_bytes())
    assert world.advance().phase.startswith(SET)
    assert set(world.aggregator.refused) >= {"h0", "h1", "h2", "h3"}
