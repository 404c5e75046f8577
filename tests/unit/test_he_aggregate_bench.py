"""The benchmark of aggregation on a small round: it stops by itself if a sum is not exact."""

from __future__ import annotations

from bench.he_aggregate import hierarchy, ours


def test_a_small_round_and_its_figures() -> None:
    figures = ours(3, 500)
    assert figures["bytes_per_client"] == 80 + 55296 + 55696 + 2 * 304 + 3 * 57296
    assert figures["max_abs_error"] <= 3 / 174_762
    assert figures["decrypt_s"] > 0


def test_a_small_hierarchy_with_dropouts() -> None:
    figures = hierarchy(count=10, size=500, clusters=3, dropouts=0.2)
    assert figures["summed_clients"] == 8
    assert figures["max_abs_error"] == 0
