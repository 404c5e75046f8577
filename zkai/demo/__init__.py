"""The whole way on real data: private heads fine-tuned, every step proven, forgeries refused."""

from zkai.demo.story import run

__all__ = ["run"]
