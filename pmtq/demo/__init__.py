"""``pmtq demo``: a client and a worker, two programs on real pictures, and the two text files between them.

Read on in this order:

    client       makes photographs and posts a record for each
    pictures     the worker's program: the function that the records name
    place        chooses a queue folder in which nobody's work is disturbed
    processes    starts the two programs and ends them
    story        reads the two files as they grow
    show         puts that on the screen
    report       checks every picture, and says what to type next
    play         all of it, one after the other
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

NO_PILLOW = (
    "The demo resizes real pictures, and for that it needs Pillow, which is not installed here. Nothing was started. "
    "Install it and try again: pip install 'pmtq[demo]'"
)


def run(folder: Path | None = None, plain: bool = False) -> int:
    """Play the demo, within 30 seconds; return the exit status: 0 only if every picture was really resized.

    ``folder`` is where everything goes and stays; None means that the queue folder is ``queue_dir`` in the current
    directory and the pictures are in a temporary folder. A queue folder where tasks wait or a worker works is left
    alone, and another one used. With ``plain``, or where there is no screen to draw on, each event is a line of text.
    """
    if find_spec("PIL") is None:
        print(NO_PILLOW, file=sys.stderr)  # noqa: T201  (this is the command's answer)
        return 1
    from pmtq.demo.play import play  # noqa: PLC0415  (it needs Pillow, which is known to be there only now)

    return play(folder, plain=plain)
