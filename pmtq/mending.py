"""Mends what was found in a queue folder, as far as that can be done without a person.

1. It does what the next worker would do, with the worker's own code: a worker that knows no function goes round once.
2. No record is thrown away. What is no record is copied to ``rejected.jsonl``, as always.
3. While somebody keeps a lock, nothing is mended that needs it.

It does not know how things are found: that is ``examining``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection
from functools import partial

from pmtq import disk
from pmtq.claimer import Claimer
from pmtq.clock import now
from pmtq.exceptions import LockHeld, PmtqError
from pmtq.folder import Folder
from pmtq.follower import Follower
from pmtq.inspection import View
from pmtq.journal import Journal
from pmtq.lock import Lock
from pmtq.presence import Presence
from pmtq.records import timestamp
from pmtq.surroundings import PATIENCE, Finding, make_accessible
from pmtq.timetable import FILE_NAME

_BY_A_ROUND = frozenset({"tail", "lines", "worker", "sealed"})
"""What a worker sets right that goes round."""

Step = tuple[str, Callable[[], None]]
"""The files that a step mends, and the step."""


def mend(folder: Folder, found: Collection[Finding]) -> list[PmtqError]:
    """Mend what can be mended of ``found``; return why some of it could not be, as errors."""
    wanted = [one for one in found if one.mends]
    steps: list[Step] = [(one.file, partial(make_accessible, folder, one)) for one in wanted if one.check == "mode"]
    held = ", ".join(one.file for one in found if one.check == "lock")
    if not held:
        steps += [(one.file, partial(_end_line, folder, one)) for one in wanted if one.check == "tail"]
        steps += [(one.file, partial(_remove_draft, folder, one)) for one in wanted if one.check == "draft"]
        files = dict.fromkeys(one.file for one in wanted if one.check in _BY_A_ROUND)
        steps += [(", ".join(files), partial(_go_round, folder))] if files else []
    troubles: list[PmtqError] = []
    for files_of_it, step in steps:
        try:
            with disk.patience(PATIENCE):  # somebody may have taken a lock since it was looked for
                step()
        except LockHeld as error:
            troubles.append(LockHeld(f"{files_of_it} could not be mended: {error}"))
        except PmtqError as error:
            troubles.append(error)
        except OSError as error:
            troubles.append(disk.cannot("mend", folder.path, error))
    if held:
        troubles.append(LockHeld(f"the rest was not mended while others keep {held}. Try again then"))
    return troubles


def _end_line(folder: Folder, finding: Finding) -> None:
    """End the last line of a file, as whoever appends to it does."""
    journal = Journal(folder.path / finding.file, folder.next_results if finding.file == folder.results.name else None)
    journal.append(b"")
    journal.close()


def _remove_draft(folder: Folder, finding: Finding) -> None:
    """Remove what nobody can be writing now, because that needs the lock that we have."""
    path = folder.path / finding.file
    if path.parent == folder.path:
        lock = Lock(folder.path / f"{FILE_NAME}.edit.lock")
        lock.take()
        disk.remove(path)
        lock.free()
    else:
        follower = Follower(folder)
        with follower.hold():
            disk.remove(path)
        follower.close()


def _go_round(folder: Folder) -> None:
    """Be a worker that knows no function, for one round: nothing is run, everything else that a worker does is done.

    Results are kept however old they are: only an app knows for how long it wants them.
    """
    at, host = now(), socket.gethostname()
    facts = {
        "pid": os.getpid(),
        "host": host,
        "started": timestamp(at),
        "queues": [],
        "functions": [],
        "pool": "doctor",
    }
    name = f"doctor-{os.getpid()}@{host}"
    presence = Presence(folder, name, {"name": name, **facts})
    try:
        claimer = Claimer(folder, presence, View(folder, at).queues(), {})
        claimer.result_expires = None
        claimer.exchange([], at, lambda _: True)
        for _ in range(2):  # what the first one has carried over the second one removes
            claimer.tidy(now(), idle=True)
    finally:
        presence.leave()
