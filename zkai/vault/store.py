"""Content-addressed objects in any store that fsspec knows.

An object's name is its CID, version 1, in the profile `raw-sha2-256`: the raw codec and SHA-256
over the object's bytes as one block, in lower-case base32.

    "b" || base32(0x01 0x55 0x12 0x20 || SHA-256(bytes))

A store is a folder, a URL of fsspec's (memory://x, or s3://bucket/prefix, through obstore), or, to
read only, a URL with {cid} in it, as IPFS gateways have: https://gateway/ipfs/{cid}?format=raw.
Whatever a store returns is hashed before anybody uses it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias, cast

import fsspec

from zkai.errors import InvalidInput, ToolError, VerificationError

PROFILE = "raw-sha2-256"
MAX_OBJECT = (1 << 36) + (1 << 33)
_PREFIX = bytes([0x01, 0x55, 0x12, 0x20])
_CID = re.compile(r"b[a-z2-7]{58}")
_BLOCK = 1 << 20
_SPOOL = 8 << 20


def make_cid(digest: bytes) -> str:
    """Return the CID of an object with this SHA-256."""
    return "b" + base64.b32encode(_PREFIX + digest).decode("ascii").rstrip("=").lower()


def parse_cid(text: object, where: str = "cid") -> bytes:
    """Return the SHA-256 that a CID names. Raises InvalidInput for any other form or profile."""
    if not isinstance(text, str) or not _CID.fullmatch(text):
        raise InvalidInput(f"{where}: expected a CIDv1 of profile {PROFILE}")
    data = base64.b32decode(text[1:].upper() + "=" * (-(len(text) - 1) % 8))
    if not data.startswith(_PREFIX) or make_cid(data[len(_PREFIX) :]) != text:
        raise InvalidInput(f"{where}: expected a CIDv1 of profile {PROFILE}")
    return data[len(_PREFIX) :]


_FileSystem: TypeAlias = "tuple[Any, str, tuple[type[Exception], ...]]"
"""A file system, a root there, and what it raises when something fails."""


def _file_system(text: str, options: dict[str, Any]) -> _FileSystem:
    """Return the file system of a folder or URL. Raises as `ObjectStore` does."""
    if text.startswith("s3://") and (found := _object_store(text, options)) is not None:
        return found
    try:
        fs, root = fsspec.core.url_to_fs(text, **options)
    except ImportError as error:
        raise ToolError(f"{text}: pip install 'zkai[stores]' ({error})") from error
    except ValueError as error:
        raise InvalidInput(f"{text}: {error}") from error
    return fs, root, (OSError,)


def _object_store(text: str, options: dict[str, Any]) -> _FileSystem | None:
    """Return obstore's S3, or None to let fsspec look for s3fs."""
    try:
        from obstore.exceptions import BaseError
        from obstore.fsspec import FsspecStore
    except ImportError:
        return None
    root = text.removeprefix("s3://").rstrip("/")
    return FsspecStore("s3", **options), root, (OSError, BaseError)


class ObjectStore:
    """Objects by CID in a folder or at a URL; `options` are those of fsspec's file system."""

    def __init__(self, url: Path | str, **options: Any) -> None:
        """Name a store; nothing is read yet.

        Raises ToolError if the URL's file system needs a package that is missing, InvalidInput if
        there is no such file system.
        """
        text = os.fspath(url)
        self.gateway = "{cid}" in text
        self._fs, self._root, self._errors = _file_system(text, options)
        self._local = Path(self._root) if "://" not in text else None

    def _path(self, cid: str) -> str:
        parse_cid(cid)
        return self._root.replace("{cid}", cid) if self.gateway else f"{self._root}/{cid}"

    def put(self, source: BinaryIO) -> str:
        """Return the CID under which a source's bytes are kept when this returns.

        Raises InvalidInput for a gateway, for more than 72 GiB, and if writing fails.
        """
        if self.gateway:
            raise InvalidInput("store: a gateway is for reading only")
        digest, size = hashlib.sha256(), 0
        with tempfile.SpooledTemporaryFile(_SPOOL) as spool:
            while block := source.read(_BLOCK):
                size += len(block)
                if size > MAX_OBJECT:
                    raise InvalidInput(f"store: an object has at most {MAX_OBJECT} bytes")
                digest.update(block)
                spool.write(block)
            spool.seek(0)
            cid = make_cid(digest.digest())
            try:
                self._write(cid, spool)
            except self._errors as error:
                raise InvalidInput(f"store: cannot be written ({_first_line(error)})") from error
        return cid

    def _write(self, cid: str, source: IO[bytes]) -> None:
        if self._local is None:
            self._fs.makedirs(self._root, exist_ok=True)
            with self._fs.open(self._path(cid), "wb") as file:
                while block := source.read(_BLOCK):
                    file.write(block)
            return
        self._local.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._local, prefix=f".{cid}.")
        try:
            with os.fdopen(handle, "wb") as file:
                while block := source.read(_BLOCK):
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._local / cid)
        except BaseException:
            os.unlink(name)
            raise

    @contextmanager
    def open(self, cid: str, most: int = MAX_OBJECT) -> Iterator[BinaryIO]:
        """Yield an object's bytes, which were compared with the CID before.

        Raises InvalidInput if the store has no such object or it is larger than `most` bytes,
        VerificationError if what the store holds under this CID is something else.
        """
        digest, size, expected = hashlib.sha256(), 0, parse_cid(cid)
        with tempfile.SpooledTemporaryFile(_SPOOL) as spool:
            try:
                if self._local is None and not self._fs.exists(self._path(cid)):
                    raise FileNotFoundError("there is no such object")
                with self._fs.open(self._path(cid), "rb") as file:
                    while block := file.read(_BLOCK):
                        size += len(block)
                        if size > most:
                            raise InvalidInput(f"store: {cid} has more than {most} bytes")
                        digest.update(block)
                        spool.write(block)
            except self._errors as error:
                raise InvalidInput(f"store: {cid} cannot be read ({_first_line(error)})") from error
            if digest.digest() != expected:
                raise VerificationError(f"store: what is kept as {cid} is something else")
            spool.seek(0)
            yield cast(BinaryIO, spool)

    def delete(self, cid: str) -> None:
        """Remove an object if it is there; copies elsewhere stay. Raises InvalidInput."""
        try:
            if self._fs.exists(self._path(cid)):
                self._fs.rm_file(self._path(cid))
        except self._errors as error:
            raise InvalidInput(f"store: {cid} cannot be removed ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
