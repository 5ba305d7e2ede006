"""What an editor is to know about pmtq's types.

The modules here are read by mypy, as a program of a user would be, and never run. A line that mypy must complain about
ends in ``# error:`` and mypy's word for the complaint; about all others it must not.
"""
