"""A query with Concrete ML, client and server in processes of their own: `make test-concrete`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from zkai.errors import ToolError
from zkai.he.concrete import ConcreteClient, ConcreteServer

ENVIRONMENT = os.environ.get("ZKAI_CONCRETE", "")
pytestmark = pytest.mark.skipif(not ENVIRONMENT, reason="needs make concrete")


def test_a_query_is_answered_on_ciphertexts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 8))
    labels = (x.sum(1) > 0).astype(np.int64)
    np.savez(tmp_path / "data.npz", x=x, labels=labels)
    np.save(tmp_path / "row.npy", x[0])
    mine, theirs = tmp_path / "client", tmp_path / "server"
    passed = {name: tmp_path / name for name in ("keys", "query", "answer")}
    with ConcreteServer(Path(ENVIRONMENT)) as server, ConcreteClient(Path(ENVIRONMENT)) as client:
        assert server.make(tmp_path / "data.npz", theirs, mine) > 0.9
        client.keys(mine, passed["keys"])
        client.encrypt(mine, tmp_path / "row.npy", passed["query"])
        server.run(theirs, passed["query"], passed["keys"], passed["answer"])
        client.decrypt(mine, passed["answer"], tmp_path / "out.npy")
        found = np.load(tmp_path / "out.npy")
        assert (found.argmax(1) == labels[:1]).all()
        assert not (theirs / "client.zip").exists() or not (theirs / "secret-keys").exists()
        assert (mine.stat().st_mode & 0o777) == 0o700
        passed["query"].write_bytes(passed["query"].read_bytes()[:100])
        with pytest.raises(ToolError):
            server.run(theirs, passed["query"], passed["keys"], passed["answer"])
