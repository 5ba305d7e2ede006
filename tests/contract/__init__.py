"""The contract: what README.md promises, sentence by sentence, each tried once the way a user would see it kept or broken.

The tests here are short on purpose, and are read beside the README; what happens at every byte, under load and after
thousands of kills stands in ``tests/crash``.
"""
