"""Ceremonies of linked keys: the powers of tau in the key are the .ptau's, all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import link_support as support
import pytest
from commit_support import folder
from link_support import STATEMENT, ceremony_files, circuit, the_ceremony

from zkai import native_keys
from zkai.circuit.binfile import SectionWriter
from zkai.encoding import to_limbs
from zkai.errors import InvalidInput, VerificationError
from zkai.proof.commit import argument, ceremony
from zkai.proof.commit.keyfile import LINK, MAGIC, POWERS, VERSION, CommitKeyFile, commit_key_writer
from zkai.proof.commit.link import link_value
from zkai.proof.points import G2_GENERATOR
from zkai.proof.ptau import TAU_G1, TAU_G2, Ptau
from zkai.proof.ratio import g2_multiply
from zkai.proof.zkey import CONTRIBUTIONS


def rewrite(name: str, sections: dict[int, bytes] | None = None, **header: object) -> Path:
    """Write the finished key again with other sections or another header."""
    key, target = CommitKeyFile(ceremony_files()[2]), folder() / f"{name}.zkck"
    changed = replace(key.header, **header)
    record = bytes(key.file.view(CONTRIBUTIONS))
    with commit_key_writer(target, changed, record, key.mark() or {}) as writer:
        for kind in key.header.sizes.points():
            writer.view(kind)[:] = (sections or {}).get(kind, bytes(key.file.view(kind)))
    return target


def test_a_linked_ceremony_proves_for_production() -> None:
    used = ceremony.finalize(the_ceremony(), ceremony_files()[2], folder() / "link_ceremony")
    ptau = Ptau(the_ceremony().ptau)
    assert used.verifying.tau == ptau.g2(TAU_G2, 1)
    assert (used.proving.file.g1(POWERS) == ptau.powers(TAU_G1, 7)).all()
    made = support.prove(used)
    for verifier in ("native", "py-ecc"):
        argument.verify(
            made, used.verifying, verifier, production=True, trusted_digests=[used.verifying.digest]
        )


def test_powers_that_are_not_the_ptaus() -> None:
    powers = CommitKeyFile(ceremony_files()[2]).g1(POWERS)
    doubled = native_keys.points_scale("g1", powers, to_limbs([2]))
    for row in (0, 1, 6):
        mixed = powers.copy()
        mixed[row] = doubled[row]
        path = rewrite(f"power{row}", {POWERS: mixed.tobytes()})
        with pytest.raises(VerificationError, match=r"powers of tau.*not those of circuit"):
            ceremony.verify(the_ceremony(), path)
        with pytest.raises(VerificationError):
            ceremony.contribute(the_ceremony(), path, folder() / "never.zkck", "late")
    mixed = powers.copy()
    mixed[3] = 0
    with pytest.raises(InvalidInput, match="powers of tau"):
        ceremony.verify(the_ceremony(), rewrite("infinite", {POWERS: mixed.tobytes()}))


def test_a_tau_that_is_not_the_ptaus() -> None:
    path = rewrite("tau", tau_g2=g2_multiply(G2_GENERATOR, 5))
    with pytest.raises(VerificationError, match="tau are not those"):
        ceremony.verify(the_ceremony(), path)
    with pytest.raises(InvalidInput, match="tau"):
        ceremony.verify(the_ceremony(), rewrite("no_tau", tau_g2=None))


def test_the_link_is_part_of_the_keys_form() -> None:
    key = CommitKeyFile(ceremony_files()[2])
    kinds = [k for k in key.file.kinds() if k != LINK]
    path = folder() / "no_link.zkck"
    with SectionWriter(path, MAGIC, VERSION, [(k, key.file.size(k)) for k in kinds]) as writer:
        for kind in kinds:
            writer.view(kind)[:] = key.file.view(kind)
    with pytest.raises(InvalidInput, match="no section 13"):
        CommitKeyFile(path)
    sizes = key.header.sizes
    for change in ({"n_links": 9}, {"n_powers": 1}, {"n_powers": 1 << 28}):
        with pytest.raises(InvalidInput, match="polynomials"):
            key.header.with_link(
                replace(key.header, sizes=replace(sizes, **change)).link_bytes(), ""
            )


def test_a_ptau_that_is_too_small() -> None:
    """The circuit's rows decide, and so does the longest state."""
    small = replace(the_ceremony(), circuit=longer(circuit()))
    with pytest.raises(InvalidInput, match=r"2\*\*7 are needed"):
        ceremony.init(small, folder() / "never.zkck")


def longer(of: argument.Circuit) -> argument.Circuit:
    """The circuit as if its second state had 200 coefficients."""
    last = of.links[1]
    rows = last.coefficients.rows.take(support.np.zeros(200, support.np.int64))
    changed = replace(last, coefficients=replace(last.coefficients, rows=rows))
    return replace(of, links=(of.links[0], changed))


def test_the_contribution_keeps_the_links() -> None:
    first, last = (CommitKeyFile(ceremony_files()[i]) for i in (0, 2))
    for kind in (POWERS, LINK):
        assert first.file.view(kind) == last.file.view(kind)
    key = argument.CommitProvingKey(ceremony_files()[1])
    assert key.statement == STATEMENT
    assert link_value(key.commit(to_limbs([1]))) == link_value((1, 2))
