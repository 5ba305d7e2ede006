"""Bugs that are put into the code on purpose, to see that the tests catch them: ``make mutants`` and ``make mutmut``."""
