"""pymerkle's SQLite tree in a process of its own (it is GPL-3.0): one JSON line of figures."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path


def main() -> int:
    """Append entries one by one, then prove some of them."""
    from pymerkle import SqliteTree

    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, required=True)
    parser.add_argument("--bytes", type=int, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = SqliteTree(str(Path(folder) / "tree.db"))
        data = [os.urandom(options.bytes) for _ in range(options.entries)]
        start = time.perf_counter()
        for entry in data:
            tree.append_entry(entry)
        append_s = time.perf_counter() - start
        start = time.perf_counter()
        for index in range(1, 21):
            tree.prove_inclusion(index * options.entries // 21, options.entries)
        prove_s = time.perf_counter() - start
        tree.con.close()
    figures = {"append_durable_per_s": options.entries / append_s, "inclusion_ms": prove_s * 50}
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
