"""scikit-learn's digits, without scikit-learn in the process that is measured.

Importing it takes 100 MB, more than a small proof: another process writes the arrays once, to
build/bench/digits.npz.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import numpy.typing as npt

from bench.harness import ROOT

PATH = ROOT / "build" / "bench" / "digits.npz"
FULL_SCALE = 16.0
_WRITE = """
import sys
import numpy
from sklearn.datasets import load_digits
pixels, targets = load_digits(return_X_y=True)
numpy.savez(sys.argv[1], pixels=pixels, targets=targets)
"""


def digits() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return 1,797 images (n, 64) with pixels in [0, 1], and their labels."""
    if not PATH.is_file():
        PATH.parent.mkdir(parents=True, exist_ok=True)
        made = PATH.with_suffix(f".{os.getpid()}.npz")
        subprocess.run([sys.executable, "-c", _WRITE, str(made)], check=True)
        made.replace(PATH)
    with np.load(PATH) as arrays:
        return arrays["pixels"] / FULL_SCALE, arrays["targets"].astype(np.int64)


def batch(rows: int, features: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return images and labels, each image repeated or cut to `features` pixels."""
    pixels, targets = digits()
    chosen = np.random.default_rng(1).choice(len(pixels), rows, replace=True)
    return np.resize(pixels[chosen].T, (features, rows)).T, targets[chosen]
