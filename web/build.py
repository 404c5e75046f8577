"""Builds the verifier page and writes what the package ships of it.

    python web/build.py            writes web/src/statements.json and zkai/receipt/page/verify.html
    python web/build.py --check    builds again and compares with what is there

esbuild, an npm package, bundles web/src with the packages that it imports (web/bundle.mjs). Nothing
is downloaded; `npm ci` must have run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from zkai.circuit.statements import signals
from zkai.receipt.statement import KINDS

FOLDER = Path(__file__).resolve().parent
STATEMENTS = FOLDER / "src" / "statements.json"
PAGE = FOLDER.parent / "zkai" / "receipt" / "page" / "verify.html"


def statements() -> str:
    """What the page must know of statements: their receipts' kinds, the order of their signals."""
    value = {
        "kinds": KINDS,
        "orders": signals.ORDERS,
        "tails": signals._TAILS,
        "several": signals._SEVERAL,
    }
    return json.dumps(value, indent=1) + "\n"


def bundle() -> str:
    """The page as one file."""
    command = ["node", "--no-warnings", str(FOLDER / "bundle.mjs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the page was not built:\n{done.stderr[-2000:]}")
    return done.stdout


def stale() -> list[Path]:
    """The shipped files that are not what the sources build."""
    wanted = ((STATEMENTS, statements()), (PAGE, bundle()))
    return [path for path, text in wanted if not path.exists() or path.read_text() != text]


def main() -> None:
    """Build, and write or compare."""
    parser = argparse.ArgumentParser(description="Build the verifier page.")
    parser.add_argument("--check", action="store_true", help="only compare")
    if parser.parse_args().check:
        if found := stale():
            names = ", ".join(str(path.relative_to(FOLDER.parent)) for path in found)
            raise SystemExit(f"{names}: not what the sources build; run python web/build.py")
        print("the verifier page is what its sources build")
        return
    STATEMENTS.write_text(statements())
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(bundle())
    print(f"{PAGE.relative_to(FOLDER.parent)}: {PAGE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
