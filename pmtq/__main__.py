"""Makes ``python -m pmtq`` the same as ``pmtq``."""

import sys

from pmtq.greenlets import patch_if_asked


def main() -> int:
    """Run the command line, in a program that is patched first if a pool of greenlets is asked for."""
    patch_if_asked(sys.argv[1:])
    from pmtq.cli import main as command  # noqa: PLC0415  (not before that)

    return command()


if __name__ == "__main__":
    sys.exit(main())
