"""Records of disputes as files, and the commands that play and judge them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.unit.dispute_support import (
    honest_trace,
    initial,
    integer_program,
    keys,
    lying_trace,
    played,
    terms_of,
)
from zkai.cli import main
from zkai.compute.dispute import Game
from zkai.compute.dispute_file import (
    open_record,
    read_inputs,
    read_record,
    read_state,
    record_bytes,
    write_inputs,
    write_record,
)
from zkai.compute.player import Player
from zkai.compute.program import Place
from zkai.compute.settlement import decide
from zkai.errors import InvalidInput, VerificationError
from zkai.merkle.tensor import from_array, write_tensors
from zkai.receipt.keyfile import write_key

PROGRAM = integer_program()
LIE = Place(3, 1, 1)


def test_a_record_is_judged_from_its_file_and_the_inputs(tmp_path: Path) -> None:
    lie = lying_trace(PROGRAM, LIE)
    game, _ = played(lie, honest_trace(PROGRAM))
    write_record(tmp_path / "record", game)
    write_inputs(tmp_path / "inputs", Player(keys()["ada"], lie).evidence(game))
    assert (tmp_path / "inputs").stat().st_mode & 0o777 == 0o600
    again = open_record(tmp_path / "record")
    verdict = decide(again, read_inputs(tmp_path / "inputs"))
    assert (verdict.losers, verdict.place) == (("claimant",), LIE)
    assert record_bytes(again) == (tmp_path / "record").read_bytes()


def test_a_second_move_is_part_of_the_record() -> None:
    honest, lie = honest_trace(PROGRAM), lying_trace(PROGRAM, LIE)
    game, other = Game(terms_of(PROGRAM, honest)), Game(terms_of(PROGRAM, honest))
    game.apply(Player(keys()["ada"], honest).move(game))
    liar = Player(keys()["ada"], lie)
    second = liar.move(other)
    game.accuse(second)
    again = read_record(record_bytes(game))
    assert again.verdict == game.verdict
    assert decide(again).losers == ("claimant",)


def test_a_record_that_was_changed_is_refused() -> None:
    game, _ = played(lying_trace(PROGRAM, LIE), honest_trace(PROGRAM))
    data = record_bytes(game)
    value = json.loads(data)

    def refused(kind: type[Exception], match: str, **changes: object) -> None:
        changed = json.dumps({**value, **changes}, sort_keys=True, separators=(",", ":"))
        with pytest.raises(kind, match=match):
            read_record(changed.encode())

    entries = value["entries"]
    refused(VerificationError, "another place", entries=entries[1:])
    refused(VerificationError, "another place", entries=entries[:3] + entries[4:])
    refused(VerificationError, "ended before", entries=[*entries, entries[-1]])
    refused(VerificationError, "another dispute", terms={**value["terms"], "limit_s": 61})
    refused(VerificationError, "not another move", second=entries[2])
    refused(InvalidInput, "list of at most", entries=entries * 99)
    refused(InvalidInput, "format", format="zkai.dispute-record/2")
    with pytest.raises(InvalidInput, match="canonical"):
        read_record(data + b"\n")


def test_states_have_three_tensors(tmp_path: Path) -> None:
    write_tensors(tmp_path / "s", {"x": from_array(np.zeros(3))}, {})
    with pytest.raises(InvalidInput, match="expected the tensors"):
        read_state(tmp_path / "s")


# --- commands


def zkai(*words: object, code: int = 0) -> None:
    assert main([str(word) for word in words]) == code


def said(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> dict[str, object]:
    capsys.readouterr()
    zkai(*words, "--json", code=code)
    value = json.loads(capsys.readouterr().out)
    assert isinstance(value, dict)
    return value


def test_two_parties_and_a_judge_at_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claimant's weights are not those that it claims to have trained; files say who lied."""
    monkeypatch.setenv("ZKAI_PASSPHRASE", "x")
    for name, key in keys().items():
        write_key(tmp_path / name, key, "x", log2_n=14)
    program, state, record = tmp_path / "program.json", tmp_path / "state", tmp_path / "record"
    program.write_text(json.dumps(PROGRAM.to_json()))
    write_tensors(
        state, {n: from_array(a, n) for n, a in initial().arrays.items()}, {}
    )  # fmt: skip
    found = said(capsys, "compute", "dispute", "claim", program, "--state", state)
    honest, lie = honest_trace(PROGRAM), lying_trace(PROGRAM, LIE)
    assert found["claimed"] == "0x" + honest.state(PROGRAM.steps).root.hex()
    claimed = "0x" + lie.state(PROGRAM.steps).root.hex()
    opened = said(
        capsys, "compute", "dispute", "open", program, "--state", state, "--claimed", claimed,
        "--claimant", tmp_path / "ada", "--challenger", tmp_path / "bo",
        "--referee", tmp_path / "judge", "-o", record,
    )  # fmt: skip
    liar = Player(keys()["ada"], lie)
    mine = ("compute", "dispute", "move", record, "--state", state, "--key", tmp_path / "bo")
    while True:
        game = open_record(record)
        if game.settling:
            break
        game.apply(liar.move(game))
        write_record(record, game)
        verify = ("compute", "dispute", "verify", record)
        if game.settling:
            break
        assert said(capsys, *verify, code=1)["error"] == "verification_failed"
        said(capsys, *mine, "--inputs", tmp_path / "inputs")
    verdict = said(
        capsys, *verify, "--terms", opened["terms"], "--inputs", tmp_path / "inputs"
    )  # fmt: skip
    assert (verdict["losers"], verdict["place"]) == (["claimant"], list(LIE))
    assert said(capsys, *verify, code=2)["error"] == "invalid_input"
    other = "0x" + "00" * 32
    assert said(capsys, *verify, "--terms", other, code=1)["ok"] is False


def test_the_referee_ends_an_abandoned_dispute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZKAI_PASSPHRASE", "x")
    record = tmp_path / "record"
    write_key(tmp_path / "judge", keys()["judge"], "x", log2_n=14)
    write_record(record, Game(terms_of(PROGRAM, honest_trace(PROGRAM))))
    late = ("compute", "dispute", "forfeit", record, "--key", tmp_path / "judge", "--since", 100)
    assert said(capsys, *late, "--until", 159, code=1)["ok"] is False
    assert said(capsys, *late, "--until", 160)["loser"] == "claimant"
    verdict = said(capsys, "compute", "dispute", "verify", record)
    assert verdict["losers"] == ["claimant"]


def test_the_policy_table(capsys: pytest.CaptureFixture[str]) -> None:
    found = said(
        capsys, "compute", "policy", "--population", 10000, "--samples", 100, "--gain", 10
    )  # fmt: skip
    row = found["shares"]["0.01"]  # type: ignore[index]
    assert row["altered"] == 100
    assert row["detection"] == pytest.approx(0.6358, abs=1e-4)
    assert row["stake_gain"] == pytest.approx(10 / row["detection"] - 1)
    assert row["stake_lazy"] == 0
    few = said(capsys, "compute", "policy", "--population", 100, "--samples", 0)
    assert few["shares"]["0.5"]["stake_gain"] is None  # type: ignore[index]
    for wrong in (("0",), ("100", "--samples", "101"), ("100", "--gain", "nan")):
        zkai("compute", "policy", "--population", *wrong, code=2)
