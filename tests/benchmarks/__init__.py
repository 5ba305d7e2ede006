"""How fast, how small and how quick to recover pmtq is, beside a minimal prototype and beside other queues.

Run it with ``make bench``, or ``python -m tests.benchmarks --help``. README.md in this folder defines every figure.
"""
