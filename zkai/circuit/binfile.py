"""iden3's container of numbered sections: strict mapped reading, atomic writing.

.r1cs, .wtns, .zkey and .ptau files are such containers.
Layout, little-endian: four bytes of magic, version u32, section count u32, then each section as
type u32, size u64 and its bytes. Readers ignore sections of a type they do not know, so padding
sections place the large ones on 64-byte boundaries, where native code can use them in place.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from zkai.encoding import as_path
from zkai.errors import InvalidInput

Words = npt.NDArray[np.uint64]

MAX_SECTIONS = 256
PADDING_SECTION = 0x7A6B0000
_ALIGNMENT = 64
_FILE_HEADER = struct.Struct("<4sII")
_SECTION_HEADER = struct.Struct("<IQ")


class SectionFile:
    """A mapped, read-only section file; its table of sections agrees with its size."""

    def __init__(self, path: Path | str, magic: bytes, version: int, names: dict[int, str]) -> None:
        """Map `path` and check its section table.

        Raises InvalidInput, naming the file and section, if it is not exactly such a file.
        """
        self.path = as_path(path)
        self._names = names
        self._map = _map_file(self.path)
        self._table = self._read_table(magic, version)

    def _read_table(self, magic: bytes, version: int) -> dict[int, tuple[int, int]]:
        size = len(self._map)
        found_magic, found_version, count = _FILE_HEADER.unpack_from(self._map)
        if found_magic != magic:
            raise InvalidInput(f"{self.path}: not a .{magic.decode()} file (wrong magic bytes)")
        if found_version != version:
            raise InvalidInput(
                f"{self.path}: .{magic.decode()} version {found_version}, expected {version}"
            )
        if count > MAX_SECTIONS:
            raise InvalidInput(f"{self.path}: claims {count} sections, at most {MAX_SECTIONS}")
        table: dict[int, tuple[int, int]] = {}
        position = _FILE_HEADER.size
        for index in range(count):
            if size - position < _SECTION_HEADER.size:
                raise InvalidInput(f"{self.path}: truncated before section {index + 1} of {count}")
            kind, length = _SECTION_HEADER.unpack_from(self._map, position)
            position += _SECTION_HEADER.size
            if length > size - position:
                raise InvalidInput(
                    f"{self.path}: {self._name(kind)} claims {length} bytes, "
                    f"{size - position} are left in the file"
                )
            if kind != PADDING_SECTION:
                if kind in table:
                    raise InvalidInput(f"{self.path}: {self._name(kind)} appears twice")
                table[kind] = (position, length)
            position += length
        if position != size:
            raise InvalidInput(f"{self.path}: {size - position} bytes after the last section")
        return table

    def _name(self, kind: int) -> str:
        return f"section {kind} ({self._names[kind]})" if kind in self._names else f"section {kind}"

    def where(self, kind: int) -> str:
        """Return "FILE: section N (NAME)" for messages."""
        return f"{self.path}: {self._name(kind)}"

    def kinds(self) -> frozenset[int]:
        """Return the types of the sections that the file has, padding apart."""
        return frozenset(self._table)

    def __contains__(self, kind: int) -> bool:
        return kind in self._table

    def size(self, kind: int) -> int:
        """Return the bytes of a section. Raises InvalidInput if it is missing."""
        return self._entry(kind)[1]

    def _entry(self, kind: int) -> tuple[int, int]:
        if kind not in self._table:
            raise InvalidInput(f"{self.where(kind)} is missing")
        return self._table[kind]

    def view(self, kind: int, expected: int | None = None) -> memoryview:
        """Return a read-only view of a section's bytes.

        Raises InvalidInput if the section is missing, its size is not `expected`, or the file has
        been cut since it was mapped.
        """
        self._check_size()
        start, length = self._entry(kind)
        if expected is not None and length != expected:
            raise InvalidInput(f"{self.where(kind)} has {length} bytes, expected {expected}")
        return memoryview(self._map)[start : start + length]

    def _check_size(self) -> None:
        """Raise InvalidInput if the file is shorter than its mapping: touching the rest kills us.

        A file that is cut while native code reads it still ends the process (SIGBUS). Nothing short
        of a copy prevents that; write new files and move them into place instead.
        """
        # The file's size as of now, by fstat, not the mapping's.
        if self._map.size() < len(self._map):
            raise InvalidInput(
                f"{self.path}: became shorter while in use; do not write to a file that is open"
            )

    def after(self, kind: int, size: int) -> bytes:
        """Return the `size` bytes that follow a section in the file, fewer at its end."""
        self._check_size()
        start, length = self._entry(kind)
        return bytes(memoryview(self._map)[start + length : start + length + size])

    def words(self, kind: int, rows: int, columns: int) -> Words:
        """Return a section as a (rows, columns) array of 64-bit words, in place where aligned.

        Raises InvalidInput if its size differs.
        """
        data = self.view(kind, rows * columns * 8)
        return aligned(np.frombuffer(data, dtype="<u8").reshape(rows, columns))


def aligned(array: Words) -> Words:
    """Return `array` itself if its words lie on 8-byte boundaries, else a copy that does."""
    return array if array.flags.aligned else array.copy()


def _map_file(path: Path) -> mmap.mmap:
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < _FILE_HEADER.size:
                raise InvalidInput(f"{path}: truncated (shorter than a file header)")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidInput(f"{path}: cannot be read ({reason})") from error


class SectionWriter:
    """Writes a section file of known sizes through a mapping; it appears whole or not at all.

    Use as a context manager; `view` and `words` give writable windows on each section. Sections
    in `align` start on a 64-byte boundary. Leaving the block without an exception moves the file
    into place.
    """

    def __init__(
        self,
        path: Path | str,
        magic: bytes,
        version: int,
        sections: Iterable[tuple[int, int]],
        align: Iterable[int] = (),
        mode: int = 0o644,
    ) -> None:
        self.path = as_path(path)
        self._mode = mode
        self._temporary = ""
        layout, self._table, total = _plan(list(sections), frozenset(align))
        if len(layout) > MAX_SECTIONS:
            raise InvalidInput(f"{self.path}: more than {MAX_SECTIONS} sections")
        self._open(total)
        _FILE_HEADER.pack_into(self._map, 0, magic, version, len(layout))
        for kind, start, size in layout:
            _SECTION_HEADER.pack_into(self._map, start - _SECTION_HEADER.size, kind, size)

    def _open(self, total: int) -> None:
        try:
            handle, self._temporary = tempfile.mkstemp(
                dir=self.path.parent, prefix=f".{self.path.name}."
            )
            try:
                # Reserve the blocks now: a full disk must fail here, not as a fault while writing.
                os.posix_fallocate(handle, 0, total)
                self._map = mmap.mmap(handle, total)
            except BaseException:
                os.unlink(self._temporary)
                raise
            finally:
                os.close(handle)
        except OSError as error:
            raise InvalidInput(f"{self.path}: cannot be written ({error.strerror})") from error

    def view(self, kind: int) -> memoryview:
        """Return a writable view of a section's bytes."""
        start, size = self._table[kind]
        return memoryview(self._map)[start : start + size]

    def words(self, kind: int, rows: int, columns: int) -> Words:
        """Return an aligned section as a writable (rows, columns) array of 64-bit words."""
        array = np.frombuffer(self.view(kind), dtype="<u8").reshape(rows, columns)
        assert array.flags.aligned, "native code writes aligned sections only"
        return array

    def write(self, kind: int, data: bytes) -> None:
        """Fill a section with `data`, whose length must be the planned one."""
        self.view(kind)[:] = data

    def __enter__(self) -> SectionWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            os.unlink(self._temporary)
            return
        try:
            self._map.flush()
            os.chmod(self._temporary, self._mode)
            os.replace(self._temporary, self.path)
        except OSError as failure:
            os.unlink(self._temporary)
            raise InvalidInput(f"{self.path}: cannot be written ({failure.strerror})") from failure


def _plan(
    sections: list[tuple[int, int]], align: frozenset[int]
) -> tuple[list[tuple[int, int, int]], dict[int, tuple[int, int]], int]:
    """Return the sections in file order (type, start, size), a table by type, the file's size."""
    layout: list[tuple[int, int, int]] = []
    table: dict[int, tuple[int, int]] = {}
    position = _FILE_HEADER.size
    for kind, size in sections:
        start = position + _SECTION_HEADER.size
        if kind in align and start % _ALIGNMENT:
            padding = -(start + _SECTION_HEADER.size) % _ALIGNMENT
            layout.append((PADDING_SECTION, start, padding))
            start += padding + _SECTION_HEADER.size
        layout.append((kind, start, size))
        table[kind] = (start, size)
        position = start + size
    return layout, table, position
