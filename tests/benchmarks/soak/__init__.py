"""A long run: does anything grow that should not, and is a result ever missing?

Run it with ``make soak``, or ``python -m tests.benchmarks.soak --help``. README.md in the folder above says what it shows.
"""
