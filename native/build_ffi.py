"""Write the C source of the CFFI module `zkai._native` from the declarations in native/*.cdef.

Usage: python native/build_ffi.py OUTPUT.c
"""

import re
import sys
from pathlib import Path

import cffi

_API = re.compile(r"ZK_API\(\s*(\w+)\s*,\s*(\([^()]*\))\s*,\s*\([^()]*\)\s*\)")


def declarations(folder: Path) -> str:
    """Return the .cdef files as C declarations: ZK_API(f, (int a), (a)) becomes int f(int a);"""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.cdef"))]
    return _API.sub(r"int \1\2;", "\n".join(texts))


def main(output: str) -> None:
    """Write the module's C source to `output`."""
    builder = cffi.FFI()
    builder.cdef(declarations(Path(__file__).resolve().parent))
    builder.set_source("zkai._native", '#include "zkai.h"', py_limited_api=True)
    builder.emit_c_code(output)


if __name__ == "__main__":
    main(sys.argv[1])
