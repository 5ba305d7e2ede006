"""The client's program: makes photographs, asks for each to be resized, and waits for the answers.

1. It has not got the code that resizes: it knows the function's name, its parameters, and where the queue file is.
2. It posts a record and goes on at once; whether a worker is there yet is not its concern.

Run as ``python -m pmtq.demo.client FOLDER COUNT``; the environment variable ``PMTQ_BROKER_URL`` names the queue folder.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pmtq import PMTQ, AsyncResult
from pmtq.demo.photographs import make_photograph
from pmtq.exceptions import PmtqError

ALBUM = 4
"""Photographs that arrive together: so one can see records wait in the queue file while the worker is busy."""
PATIENCE = 8.0
"""Seconds after which no further album is begun: on a slow machine the demo has fewer pictures instead of no end."""
ANSWER_WITHIN = 15.0
"""Seconds to wait for the results, counted from the last record."""

app = PMTQ("imaginosaure")


def main(folder: Path, count: int) -> int:
    """Make ``count`` photographs in ``folder`` and have them resized; return 0 if all answers came and are good."""
    promises = post_albums(folder, count)
    deadline = time.monotonic() + ANSWER_WITHIN
    try:
        for promise in promises:
            promise.get(timeout=max(0.0, deadline - time.monotonic()))
    except (PmtqError, OSError, ValueError) as error:  # what the task raised is raised here again
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201  (read by whoever started this)
        return 1
    return 0


def post_albums(folder: Path, count: int) -> list[AsyncResult[str]]:
    """Make the photographs, a few at a time, and post a record for each; return the promises of their results."""
    promises: list[AsyncResult[str]] = []
    began = time.monotonic()
    for first in range(0, count, ALBUM):
        if promises and time.monotonic() - began > PATIENCE:
            break
        album = [(number, folder / f"photo-{number + 1:02}.jpg") for number in range(first, min(first + ALBUM, count))]
        for number, path in album:
            make_photograph(path, number)
        promises += [ask_to_resize(path) for _, path in album]
    return promises


def ask_to_resize(photograph: Path) -> AsyncResult[str]:
    """Post the record of one call; this is all that a client does."""
    return app.send_task(
        "Image.resize", kwargs={"file": str(photograph), "width": 800, "height": 300, "x": 27, "y": 33}
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
