"""`zkai`, but its dealer in a key ceremony turns a bit of a share: a process for the tests."""

from __future__ import annotations

import sys

from tests.unit.key_support import flipped
from zkai import cli
from zkai.federated import key_member
from zkai.he.committee import start
from zkai.he.key_dealing import Dealing, Terms


def deal(terms: Terms, dealer: int) -> Dealing:
    return flipped(terms, start(terms, dealer))


if __name__ == "__main__":
    key_member.start = deal
    sys.exit(cli.main(sys.argv[1:]))
