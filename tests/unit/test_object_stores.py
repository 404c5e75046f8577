"""Sealed objects in an S3-compatible store and behind an IPFS gateway, by URL."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from tests.unit.object_servers import served
from zkai.errors import InvalidInput, ToolError, VerificationError
from zkai.vault.keys import VaultKey
from zkai.vault.sealed import seal_bytes
from zkai.vault.store import ObjectStore, make_cid
from zkai.vault.vault import Card, wrap_context

READER, KEY, NAME = VaultKey(bytes([7]) * 32), bytes(range(32)), bytes(31) + b"\x05"
DATA = seal_bytes(KEY, NAME, b"a state" * 20_000)


@pytest.fixture
def s3_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials as S3 tools take them, and nothing of this machine's own."""
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("s3_environment")
def test_objects_in_an_s3_store(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(signed=True) as (url, server):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        store = ObjectStore("s3://bucket/objects")
        cid = store.put(io.BytesIO(DATA))
        path = f"/bucket/objects/{cid}"
        assert server.held == {path: DATA}
        card = Card(NAME, cid, "other", None, (
            (READER.recipient, READER.recipient.wrap(KEY, wrap_context(NAME, cid))),
        ))  # fmt: skip
        assert card.read(READER, store) == b"a state" * 20_000
        server.held[path] = DATA[:-1] + bytes([DATA[-1] ^ 1])
        with pytest.raises(VerificationError, match="is something else"), store.open(cid):
            pass
        with pytest.raises(InvalidInput, match="more than 10 bytes"), store.open(cid, 10):
            pass
        store.delete(cid)
        assert server.held == {}
        store.delete(cid)
        with pytest.raises(InvalidInput, match="no such object"), store.open(cid):
            pass
        assert any(line.startswith("POST /bucket?delete") for line in server.asked)


@pytest.mark.usefixtures("s3_environment")
def test_a_store_that_refuses_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(signed=True) as (url, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        store = ObjectStore("s3://bucket/objects", skip_signature=True)
        with pytest.raises(InvalidInput, match="cannot be written") as caught:
            store.put(io.BytesIO(DATA))
    assert "\n" not in str(caught.value)


def test_objects_behind_a_gateway(tmp_path: Path) -> None:
    with served(signed=False) as (url, server):
        cid = ObjectStore(tmp_path).put(io.BytesIO(DATA))
        server.held[f"/ipfs/{cid}"] = DATA
        gateway = ObjectStore(f"{url}/ipfs/{{cid}}?format=raw")
        with gateway.open(cid) as file:
            assert file.read() == DATA
        assert any(line.endswith("?format=raw") for line in server.asked)
        server.held[f"/ipfs/{cid}"] = DATA[:-1] + b"x"
        with pytest.raises(VerificationError, match="is something else"), gateway.open(cid):
            pass
        other = make_cid(bytes(32))
        with pytest.raises(InvalidInput, match="no such object"), gateway.open(other):
            pass
        with pytest.raises(InvalidInput, match="for reading only"):
            gateway.put(io.BytesIO(DATA))


def test_a_missing_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("obstore.fsspec", "obstore.exceptions", "s3fs"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ToolError, match=r"pip install 'zkai\[stores\]'"):
        ObjectStore("s3://bucket/objects")
