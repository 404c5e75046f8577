"""A small model cut in two, its keys and decisions, each made once for the tests of wrapping."""

from __future__ import annotations

import functools

import halo2_support
import numpy as np
import numpy.typing as npt

import zkai
from zkai import wrap
from zkai.halo2.keys import Halo2Keys
from zkai.halo2.setup import setup

AT = "relu0"
"""The activation: three numbers after the network's first layer."""


@functools.cache
def model(seed: int = 0) -> wrap.Wrapped:
    return wrap.wrap(
        halo2_support.mlp(seed), AT, halo2_support.points(), config=halo2_support.SMALL
    )


@functools.cache
def body_keys() -> Halo2Keys:
    halo2_support.require_ezkl()
    return setup(model().body, halo2_support.scratch())


@functools.cache
def head_keys() -> zkai.Keys:
    return zkai.setup(model().head)


def sample(index: int) -> npt.NDArray[np.float64]:
    return halo2_support.points()[index]


@functools.cache
def decision(index: int = 0) -> wrap.Decision:
    """The decision about one of `points`."""
    values = {"input": sample(index)}
    return wrap.prove(model(), body_keys().proving, head_keys().proving, values)
