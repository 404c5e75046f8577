"""Runs one target on mutated inputs and reports whatever is not a clean refusal."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutate import mutate_bytes, mutate_json
from zkai.errors import InvalidInput, VerificationError

MAX_CORPUS = 400


@dataclass(frozen=True)
class Target:
    """A parser: `call` gets a folder to write in and the bytes that it must survive."""

    name: str
    seeds: tuple[bytes, ...]
    call: Callable[[Path, bytes], object]
    json: bool = False
    slow: bool = False
    """Some ten milliseconds an input: the tests try fewer."""


@dataclass
class Tally:
    """How a run went."""

    runs: int = 0
    accepted: int = 0
    refused: int = 0
    reasons: int = 0


class Finding(Exception):
    """A parser did something else than accept or refuse; `data` is the input."""

    def __init__(self, target: str, data: bytes, error: BaseException) -> None:
        super().__init__(f"{target}: {type(error).__name__}: {error}")
        self.data = data


def fuzz(
    target: Target,
    folder: Path,
    *,
    seed: int,
    runs: int | None = None,
    seconds: float | None = None,
    before: Callable[[bytes], None] = lambda data: None,
) -> Tally:
    """Feed `target` mutated inputs until `runs` or `seconds` are used up.

    An input that is refused for a reason not seen before joins the corpus: parsers that name
    what is wrong so guide the search. Raises Finding on the first unexpected exception.
    """
    rng = random.Random(seed)
    corpus = list(target.seeds)
    reasons: set[str] = set()
    tally = Tally()
    mutate = mutate_json if target.json else mutate_bytes
    end = None if seconds is None else time.monotonic() + seconds
    for data in target.seeds:
        target.call(folder, data)  # a seed that is refused is a broken target
    while (runs is None or tally.runs < runs) and (end is None or time.monotonic() < end):
        data = mutate(rng, rng.choice(corpus), corpus)
        before(data)
        tally.runs += 1
        try:
            target.call(folder, data)
        except (InvalidInput, VerificationError) as refusal:
            tally.refused += 1
            reason = re.sub(r"[0-9a-fA-F]*\d[0-9a-fA-F]*|'[^']*'|\"[^\"]*\"", "#", str(refusal))
            if reason not in reasons:
                reasons.add(reason)
                corpus.append(data)
        except Exception as error:
            raise Finding(target.name, data, error) from error
        else:
            tally.accepted += 1
        if len(corpus) > MAX_CORPUS:
            del corpus[rng.randrange(len(target.seeds), len(corpus))]
    tally.reasons = len(reasons)
    return tally
