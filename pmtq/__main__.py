"""Makes ``python -m pmtq`` the same as ``pmtq``."""

import sys

from pmtq.cli import main

if __name__ == "__main__":
    sys.exit(main())
