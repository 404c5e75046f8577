"""Models of what keys and proofs cost: seconds, memory, bytes and gas for given sizes.

Seconds are this machine's measured speed (`zkai.proof.speed`) times the operations that the
prover's parts take; memory is what stays resident. The constants are fitted to proofs and setups of
2**12 to 2**20 rows in both formats; `python -m bench.estimate` prints what comes true of them.
"""

from __future__ import annotations

from zkai import native
from zkai.proof.sizes import Sizes
from zkai.proof.speed import Scalars, Speed, butterflies
from zkai.proof.zkey import COEF

PROOF_BYTES, COMMIT_PROOF_BYTES = 256, 320
"""A, B, C, and D with a commitment round, as the EVM takes them."""

GAS_BASE, GAS_PER_INPUT = 209_800, 7_200
"""A whole verifying transaction costs at most the first, and the second for each public input."""

COMMIT_GAS_BASE, COMMIT_GAS_PER_SIGNAL, GAS_PER_CHALLENGE = 250_400, 630, 6_620
"""The same with a commitment round, where the signals are folded into one value."""

# In butterflies for each entry of the matrices and each wire of round 2; in additions for setups.
_PER_ENTRY, _PER_SECOND_WIRE = 3.5, 40
_SETUP_PER_ADDITION, _SETUP_PER_ENTRY, _SCALAR_BITS = 1.4, 15, 254
_FIXED_PROVE_S, _FIXED_SETUP_S = 0.02, 0.01

PROVE_THREADS, SETUP_THREADS = 0.8, 0.4
"""What each thread after the first adds; a setup also encodes and writes its points, in one."""
_VERIFY_ADDITIONS, _VERIFY_PER_INPUT = 30_000, 150

_BASE_BYTES, _BYTES_PER_DOMAIN, _BYTES_PER_WIRE, _BYTES_PER_ENTRY = 76 << 20, 160, 100, 24

LINK_GAS, GAS_PER_LINK = 48_000, 22_000
"""What the opening of linked polynomials adds, and each of them."""

LINKED_BYTES, BYTES_PER_LINK = 64, 96
"""An opening; and for each linked polynomial its commitment and its value."""

_ZKEY_BYTES, _ZKCK_BYTES = 1400, 1700
_VK_BYTES, _VK_BYTES_PER_INPUT = 2600, 220


def prove_cpu_s(sizes: Sizes, speed: Speed) -> float:
    """Return the CPU seconds of a witness and a proof."""
    products = (sizes.a, sizes.b, sizes.first, sizes.rest, Scalars(full=sizes.domain))
    group = speed.g1_s * sum(product.additions() for product in products)
    group += speed.g2_s * sizes.b.additions() + speed.g1_s * _link_additions(sizes)
    second = sizes.rest.full if sizes.challenges else 0
    field = butterflies(sizes.domain) + _PER_ENTRY * sizes.entries + _PER_SECOND_WIRE * second
    return _FIXED_PROVE_S + group + speed.butterfly_s * field


def _link_additions(sizes: Sizes) -> float:
    """Return the additions of each polynomial's commitment and of their opening."""
    if not sizes.links:
        return 0.0
    commitments = (Scalars(small=n) for n in sizes.links)
    return sum(c.additions() for c in commitments) + Scalars(full=max(sizes.links)).additions()


def setup_cpu_s(sizes: Sizes, speed: Speed) -> float:
    """Return the CPU seconds of making a development key."""
    points = (_points(sizes.a), _points(sizes.b), sizes.wires, sizes.domain, _powers(sizes))
    group = speed.g1_s * sum(_multiples(n) for n in points)
    group += speed.g2_s * _multiples(_points(sizes.b))
    return _FIXED_SETUP_S + group + speed.butterfly_s * _SETUP_PER_ENTRY * sizes.entries


def _powers(sizes: Sizes) -> int:
    return max(sizes.links, default=0)


def _points(product: Scalars) -> int:
    return product.full + product.small


def _multiples(n: int) -> float:
    """Return the additions of n multiples of a generator (native/msm.c, fixed_base_width)."""
    return min(
        _SETUP_PER_ADDITION * (_SCALAR_BITS + w) // w * (n + 3.0 * (1 << (w - 1)))
        for w in range(4, 14)
    )


def verify_cpu_s(sizes: Sizes, speed: Speed) -> float:
    """Return the CPU seconds of one verification."""
    return speed.g1_s * (_VERIFY_ADDITIONS + _VERIFY_PER_INPUT * sizes.key_inputs)


def wall_s(cpu_s: float, efficiency: float) -> float:
    """Return the seconds that pass where nothing else runs, for what a further thread adds."""
    alone = min(cpu_s, _FIXED_PROVE_S)  # what no thread shares
    return alone + (cpu_s - alone) / (1 + efficiency * (native.threads() - 1))


def prove_memory_bytes(sizes: Sizes) -> int:
    """Return what is resident at most, the circuit and the mapped key included."""
    return int(
        _BASE_BYTES
        + _point_bytes(sizes)
        + _BYTES_PER_DOMAIN * sizes.domain
        + _BYTES_PER_WIRE * sizes.wires
        + _BYTES_PER_ENTRY * sizes.entries
    )


def proof_bytes(sizes: Sizes) -> int:
    """Return the bytes of a proof, without its public signals."""
    if not sizes.challenges:
        return PROOF_BYTES
    linked = LINKED_BYTES + BYTES_PER_LINK * len(sizes.links) if sizes.links else 0
    return COMMIT_PROOF_BYTES + linked


def proving_key_bytes(sizes: Sizes) -> int:
    """Return a key file's size: points of 64 bytes in G1, 128 in G2, a .zkey's coefficients."""
    if sizes.challenges:
        return _ZKCK_BYTES + _point_bytes(sizes)
    return (
        _ZKEY_BYTES + _point_bytes(sizes) + COEF.itemsize * (sizes.key_entries + sizes.public + 1)
    )


def _point_bytes(sizes: Sizes) -> int:
    return (3 * 64 + 128) * sizes.wires + 64 * (sizes.domain + _powers(sizes))


def verifying_key_bytes(sizes: Sizes) -> int:
    """Return about the size of a verifying key's file."""
    return _VK_BYTES + _VK_BYTES_PER_INPUT * sizes.key_inputs


def gas(sizes: Sizes) -> int:
    """Return what a transaction that verifies a proof costs at most; 0 where no contract can."""
    if sizes.polynomials:
        return 0
    if not sizes.challenges:
        return GAS_BASE + GAS_PER_INPUT * sizes.public
    signals = COMMIT_GAS_PER_SIGNAL * sizes.public
    linked = LINK_GAS + GAS_PER_LINK * len(sizes.links) if sizes.links else 0
    return COMMIT_GAS_BASE + signals + GAS_PER_CHALLENGE * sizes.challenges + linked
