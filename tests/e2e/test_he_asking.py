"""`zkai he ask|answer|read`: a query that is proven to be what its ciphertext holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from zkai.he.rlwe_query import QueryKey

STATEMENT = """\
statement = "query"
format = "groth16-commit"
shape = [1, 6]
width = 8
scale_bits = 4

[encryption]
value_bits = 40
values_per_coefficient = 1
"""
X = [0.25, -0.5, 0, 1.75, -6.25, 6]
BOUND = 150


def write(name: str, **values: Any) -> None:
    Path(name).write_text(json.dumps(values))


def test_a_query_is_asked_proven_answered_and_read(run: Any) -> None:
    Path("query.toml").write_text(STATEMENT)
    write("in.json", input=[X])
    source = np.random.default_rng(5)
    weights, bias = source.integers(-99, 100, (3, 6)), source.integers(-999, 999, 3)
    np.savez("model.npz", weights=weights, bias=bias)
    run("setup query.toml -o keys")
    asked = run("he ask in.json --statement query.toml -o mine")
    assert asked["bytes"] == sum(map(len, query_bytes()))
    assert Path("mine/secrets.json").stat().st_mode & 0o077 == 0
    write("values.json", input=[X], norm_bound=BOUND)
    prove = "prove query.toml --keys keys --input values.json --sent {} -o {}.json"
    run(prove.format("mine", "proof"))
    answer = "he answer model.npz --sent {}/sent.json -o {}.json"
    proven = " --proof proof.json --key keys/verifying.json --statement query.toml --norm-bound {}"
    assert run(answer.format("mine", "answer") + proven.format(BOUND))["proven"] is True
    integers = (np.array(X) * 16).astype(np.int64)
    assert run("he read mine answer.json")["answers"] == (weights @ integers + bias).tolist()
    refused(run, answer, proven, prove)
    run(answer.format("mine", "again") + " --unproven")
    assert run("he read mine again.json")["answers"] == run("he read mine answer.json")["answers"]


def query_bytes() -> tuple[bytes, bytes]:
    sent = QueryKey(np.zeros(6, np.int64)).sent
    return sent.ciphertext, sent.check


def refused(run: Any, answer: str, proven: str, prove: str) -> None:
    """Whatever is not the proven query, or its answer, is refused with the reason."""
    run("he ask in.json --statement query.toml -o other")
    message = run(answer.format("other", "no") + proven.format(BOUND), status=1)["message"]
    assert "another ciphertext" in message
    message = run(answer.format("mine", "no") + proven.format(BOUND - 1), status=1)["message"]
    assert f"norm of {BOUND}" in message
    strict = answer.format("mine", "no") + proven.format(BOUND) + " --production --vk-digest 0x00"
    assert "development" in run(strict, status=1)["message"]
    message = run(answer.format("mine", "no"), status=2)["message"]
    assert "may be no query at all" in message
    message = run(answer.format("mine", "no") + " --unproven --norm-bound 3", status=2)["message"]
    assert "not both" in message
    assert not Path("no.json").exists()
    assert "to another query" in run("he read other answer.json", status=1)["message"]
    write("values.json", input=[[*X[:5], 6.25]], norm_bound=BOUND)
    assert "does not encrypt" in run(prove.format("mine", "no"), status=2)["message"]
    Path("plain.toml").write_text(STATEMENT.split("[encryption]")[0])
    message = run("he ask in.json --statement plain.toml -o no", status=2)["message"]
    assert "value_bits = 40" in message
    write("large.json", input=[[8.0] * 6])
    message = run("he ask large.json --statement query.toml -o no", status=2)["message"]
    assert "beyond 8 signed bits" in message
    value = json.loads(Path("answer.json").read_text())
    run(answer.format("other", "others") + " --unproven")
    others = json.loads(Path("others.json").read_text())["answer"]
    for change, status, reason in (
        ({"answer": value["answer"][:-4]}, 2, "answer"),
        ({"outputs": 0}, 2, "1 to"),
        ({"answer": others}, 1, "noise is too large"),
    ):
        write("damaged.json", **(value | change))
        assert reason in run("he read mine damaged.json", status=status)["message"]
    sent = json.loads(Path("mine/sent.json").read_text())
    write("forsum.json", **(sent | {"dealing": "0x" + "11" * 32}))
    message = run("he answer model.npz --sent forsum.json -o no.json --unproven", status=2)
    assert "no query, but a ciphertext for a sum" in message["message"]
