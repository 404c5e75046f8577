"""The .r1cs and .wtns files: round trips, what readers refuse, and snarkjs as a second reader."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from zkai.circuit.builder import Builder
from zkai.circuit.formats import read_r1cs, read_wtns, write_r1cs, write_wtns
from zkai.circuit.gadgets.poseidon import hash_elements, hash_elements_gadget
from zkai.circuit.r1cs import Circuit, Witness
from zkai.encoding import FIELD_MODULUS
from zkai.errors import InvalidInput

PRIME = FIELD_MODULUS.to_bytes(32, "little")


def product_circuit() -> tuple[Circuit, Witness]:
    """One public product, a linear row with negative coefficients, an empty side: four rows."""
    builder = Builder("product")
    product = builder.public_int("product", (2,))
    x = builder.private_int("x", (2,))
    y = builder.private_int("y", (2,))
    builder.constrain(x, y, product, "product")
    builder.constrain_zero(x - y * 3 + 7, "line")
    circuit = builder.build()
    x_values, y_values = np.array([5, -4]), np.array([4, 1])
    inputs = {"product": x_values * y_values, "x": x_values, "y": y_values}
    witness = circuit.solve(inputs)
    circuit.check(witness)
    return circuit, witness


@dataclass
class Sections:
    """A section file taken apart, for spoiling one part of it."""

    magic: bytes
    version: int
    sections: list[tuple[int, bytes]]

    @staticmethod
    def of(data: bytes) -> Sections:
        magic, version, count = struct.unpack_from("<4sII", data)
        sections, position = [], 12
        for _ in range(count):
            kind, size = struct.unpack_from("<IQ", data, position)
            sections.append((kind, data[position + 12 : position + 12 + size]))
            position += 12 + size
        return Sections(magic, version, sections)

    def get(self, kind: int) -> bytes:
        return next(body for k, body in self.sections if k == kind)

    def put(self, kind: int, body: bytes) -> Sections:
        self.sections = [(k, body if k == kind else b) for k, b in self.sections]
        return self

    def splice(self, kind: int, at: int, body: bytes) -> Sections:
        old = self.get(kind)
        return self.put(kind, old[:at] + body + old[at + len(body) :])

    def bytes(self) -> bytes:
        parts = [struct.pack("<4sII", self.magic, self.version, len(self.sections))]
        for kind, body in self.sections:
            parts += [struct.pack("<IQ", kind, len(body)), body]
        return b"".join(parts)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


@pytest.fixture(scope="module")
def r1cs_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("r1cs") / "c.r1cs"
    write_r1cs(path, product_circuit()[0])
    return path.read_bytes()


@pytest.fixture(scope="module")
def wtns_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("wtns") / "w.wtns"
    write_wtns(path, product_circuit()[1])
    return path.read_bytes()


def hash_circuit(n: int) -> tuple[Circuit, Witness]:
    builder = Builder("hash")
    digest = builder.public_field("digest")
    xs = builder.private_field("xs", n)
    builder.bind_public(digest, hash_elements_gadget(builder, "zkai/test/1", xs))
    circuit = builder.build()
    witness = circuit.solve({"xs": list(range(n))})
    assert witness[1].tolist() == [
        hash_elements("zkai/test/1", list(range(n))) >> (64 * i) & (1 << 64) - 1 for i in range(4)
    ]
    return circuit, witness


@pytest.mark.parametrize("make", [product_circuit, lambda: hash_circuit(40)])
def test_r1cs_round_trip(tmp_path: Path, make: Callable[[], tuple[Circuit, Witness]]) -> None:
    circuit, _ = make()
    write_r1cs(tmp_path / "c.r1cs", circuit)
    back = read_r1cs(tmp_path / "c.r1cs")
    assert (back.n_wires, back.n_constraints) == (circuit.n_wires, circuit.n_constraints)
    assert (back.n_outputs, back.n_inputs) == (0, circuit.n_public)
    for ours, theirs in ((circuit.a, back.a), (circuit.b, back.b), (circuit.c, back.c)):
        assert ours.indptr.tolist() == theirs.indptr.tolist()
        assert ours.wires.tolist() == theirs.wires.tolist()
        assert (circuit.coefs[ours.coefs] == back.coefs[theirs.coefs]).all()
    assert back.labels.tolist() == list(range(circuit.n_wires))


def test_chunks_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    circuit, _ = hash_circuit(5)
    write_r1cs(tmp_path / "whole.r1cs", circuit)
    whole = read_r1cs(tmp_path / "whole.r1cs")
    monkeypatch.setattr("zkai.circuit.formats._CHUNK", 7)
    write_r1cs(tmp_path / "chunks.r1cs", circuit)
    assert (tmp_path / "chunks.r1cs").read_bytes() == (tmp_path / "whole.r1cs").read_bytes()
    chunks = read_r1cs(tmp_path / "chunks.r1cs")
    for left, right in ((whole.a, chunks.a), (whole.b, chunks.b), (whole.c, chunks.c)):
        assert left.wires.tolist() == right.wires.tolist()
        assert (whole.coefs[left.coefs] == chunks.coefs[right.coefs]).all()


def test_wtns_round_trip_is_private_and_exact(tmp_path: Path) -> None:
    _, witness = product_circuit()
    path = tmp_path / "w.wtns"
    write_wtns(path, witness)
    assert (read_wtns(path) == witness).all()
    assert path.stat().st_mode & 0o777 == 0o600


def test_layout_is_iden3s(r1cs_bytes: bytes, wtns_bytes: bytes) -> None:
    r1cs, wtns = Sections.of(r1cs_bytes), Sections.of(wtns_bytes)
    assert (r1cs.magic, r1cs.version, [k for k, _ in r1cs.sections]) == (b"r1cs", 1, [1, 2, 3])
    header = struct.pack("<I32sIIIIQI", 32, PRIME, 7, 0, 2, 4, 7, 4)
    assert r1cs.get(1) == header
    one = (1).to_bytes(32, "little")
    term = lambda wire, value: u32(wire) + (value % FIELD_MODULUS).to_bytes(32, "little")  # noqa: E731
    assert r1cs.get(2)[:120] == u32(1) + u32(3) + one + u32(1) + u32(5) + one + u32(1) + term(1, 1)
    line = u32(3) + term(0, 7) + term(3, 1) + term(5, -3) + u32(1) + term(0, 1) + u32(0)
    assert line in r1cs.get(2)
    assert (wtns.magic, wtns.version, [k for k, _ in wtns.sections]) == (b"wtns", 2, [1, 2])
    assert wtns.get(1) == u32(32) + PRIME + u32(7)
    assert wtns.get(2)[32:64] == (20).to_bytes(32, "little")


BAD_R1CS: dict[str, tuple[Callable[[Sections], Sections], str]] = {
    "magic": (lambda s: Sections(b"r1cz", 1, s.sections), "magic"),
    "version": (lambda s: Sections(b"r1cs", 2, s.sections), "version 2"),
    "no header": (lambda s: Sections(b"r1cs", 1, s.sections[1:]), "section 1 (header)"),
    "no constraints": (lambda s: Sections(b"r1cs", 1, s.sections[::2]), "section 2 (constraints)"),
    "no labels": (lambda s: Sections(b"r1cs", 1, s.sections[:2]), "section 3 (labels)"),
    "twice": (lambda s: Sections(b"r1cs", 1, [*s.sections, s.sections[0]]), "twice"),
    "custom gates": (lambda s: Sections(b"r1cs", 1, [*s.sections, (4, b"")]), "custom gates"),
    "short header": (lambda s: s.put(1, s.get(1)[:-1]), "section 1 (header)"),
    "other prime": (lambda s: s.splice(1, 4, b"\x03"), "scalar field"),
    "other width": (lambda s: s.splice(1, 0, u32(48)), "scalar field"),
    "no wires": (lambda s: s.splice(1, 36, u32(0)), "0 wires"),
    "too many wires": (lambda s: s.splice(1, 36, u32(0xFFFFFFFF)), "wires"),
    "more wires than labels": (lambda s: s.splice(1, 36, u32(9)), "section 3 (labels)"),
    "more publics than wires": (lambda s: s.splice(1, 44, u32(100)), "more inputs"),
    "more constraints": (lambda s: s.splice(1, 60, u32(5)), "section 2 (constraints)"),
    "a vast number of constraints": (lambda s: s.splice(1, 60, u32(0xFFFFFFFF)), "too few"),
    "fewer constraints": (lambda s: s.splice(1, 60, u32(3)), "after the last of 3"),
    "unknown wire": (lambda s: s.splice(2, 4, u32(7)), "side A of row 0 names a wire"),
    "vast count": (lambda s: s.splice(2, 0, u32(0xFFFFFFFF)), "side A of row 0 is cut off"),
    "zero coefficient": (lambda s: s.splice(2, 48, bytes(32)), "side B of row 0 has a coefficient"),
    "coefficient of r": (lambda s: s.splice(2, 48, PRIME), "side B of row 0 has a coefficient"),
    "odd number of bytes": (lambda s: s.put(2, s.get(2) + b"\0"), "too odd"),
    "words left over": (lambda s: s.put(2, s.get(2) + bytes(4)), "after the last"),
    "constraints cut off": (lambda s: s.put(2, s.get(2)[:-4]), "row 3 is cut off"),
    "unknown label": (lambda s: s.splice(3, 8, u32(7)), "label"),
}


@pytest.mark.parametrize("name", BAD_R1CS)
def test_bad_r1cs_is_refused(tmp_path: Path, r1cs_bytes: bytes, name: str) -> None:
    spoil, message = BAD_R1CS[name]
    path = tmp_path / "c.r1cs"
    path.write_bytes(Sections.of(r1cs_bytes).bytes())
    read_r1cs(path)  # the untouched twin
    path.write_bytes(spoil(Sections.of(r1cs_bytes)).bytes())
    with pytest.raises(InvalidInput) as caught:
        read_r1cs(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("order", [(3, 0, 5), (0, 3, 3), (5, 3, 0)])
def test_wires_out_of_order_or_repeated_are_refused(
    tmp_path: Path, r1cs_bytes: bytes, order: tuple[int, int, int]
) -> None:
    sections = Sections.of(r1cs_bytes)
    start = sections.get(2).index(u32(3) + u32(0))  # the first row with three terms
    for i, wire in enumerate(order):
        sections.splice(2, start + 4 + 36 * i, u32(wire))
    path = tmp_path / "c.r1cs"
    path.write_bytes(sections.bytes())
    with pytest.raises(InvalidInput, match="ascending"):
        read_r1cs(path)


@pytest.mark.parametrize("kind", ["r1cs", "wtns"])
def test_every_truncation_and_a_trailing_byte_are_refused(
    tmp_path: Path, r1cs_bytes: bytes, wtns_bytes: bytes, kind: str
) -> None:
    data, read = (r1cs_bytes, read_r1cs) if kind == "r1cs" else (wtns_bytes, read_wtns)
    path = tmp_path / f"f.{kind}"
    for spoiled in (*(data[:n] for n in range(0, len(data), 3)), data + b"\0"):
        path.write_bytes(spoiled)
        with pytest.raises(InvalidInput, match=rf"f\.{kind}"):
            read(path)


BAD_WTNS: dict[str, tuple[Callable[[Sections], Sections], str]] = {
    "magic": (lambda s: Sections(b"r1cs", 2, s.sections), "magic"),
    "version": (lambda s: Sections(b"wtns", 1, s.sections), "version 1"),
    "no values": (lambda s: Sections(b"wtns", 2, s.sections[:1]), "section 2 (values)"),
    "other prime": (lambda s: s.splice(1, 4, b"\x03"), "scalar field"),
    "empty": (lambda s: s.splice(1, 36, u32(0)), "0 values"),
    "vast": (lambda s: s.splice(1, 36, u32(0xFFFFFFFF)), "values"),
    "one more": (lambda s: s.splice(1, 36, u32(8)), "section 2 (values)"),
    "not one": (lambda s: s.splice(2, 0, b"\x02"), "constant 1"),
    "r": (lambda s: s.splice(2, 96, PRIME), "value 3 is not below r"),
    "2^256 - 1": (lambda s: s.splice(2, 96, b"\xff" * 32), "value 3 is not below r"),
}


@pytest.mark.parametrize("name", BAD_WTNS)
def test_bad_wtns_is_refused(tmp_path: Path, wtns_bytes: bytes, name: str) -> None:
    spoil, message = BAD_WTNS[name]
    path = tmp_path / "w.wtns"
    path.write_bytes(Sections.of(wtns_bytes).bytes())
    read_wtns(path)  # the untouched twin
    path.write_bytes(spoil(Sections.of(wtns_bytes)).bytes())
    with pytest.raises(InvalidInput) as caught:
        read_wtns(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_missing_and_unwritable_files_are_named(tmp_path: Path) -> None:
    circuit, witness = product_circuit()
    for read in (read_r1cs, read_wtns):
        with pytest.raises(InvalidInput, match=r"absent.*cannot be read"):
            read(tmp_path / "absent")
    with pytest.raises(InvalidInput, match=r"cannot be written"):
        write_r1cs(tmp_path / "no" / "c.r1cs", circuit)
    with pytest.raises(InvalidInput, match=r"cannot be written"):
        write_wtns(tmp_path / "no" / "w.wtns", witness)
    with pytest.raises(InvalidInput, match="constant 1"):
        write_wtns(tmp_path / "w.wtns", witness[1:])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.node
def test_snarkjs_reads_our_files(tmp_path: Path, node_modules: Path) -> None:
    circuit, witness = hash_circuit(3)
    r1cs, wtns, forged = (str(tmp_path / n) for n in ("c.r1cs", "w.wtns", "forged.wtns"))
    write_r1cs(r1cs, circuit)
    write_wtns(wtns, witness)
    witness[-1, 0] ^= np.uint64(1)
    write_wtns(forged, witness)

    def snarkjs(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(node_modules / ".bin" / "snarkjs"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    info = snarkjs("r1cs", "info", r1cs)
    assert info.returncode == 0
    assert f"# of Constraints: {circuit.n_constraints}" in info.stdout
    assert f"# of Wires: {circuit.n_wires}" in info.stdout
    assert "# of Public Inputs: 1" in info.stdout
    assert "WITNESS IS CORRECT" in snarkjs("wtns", "check", r1cs, wtns).stdout
    refused = snarkjs("wtns", "check", r1cs, forged)
    assert "WITNESS IS NOT CORRECT" in refused.stdout
    assert refused.returncode != 0
