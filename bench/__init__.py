"""One script per claim: `python -m bench.NAME`."""
