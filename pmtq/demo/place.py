"""Chooses where the demo works: in ``queue_dir`` if that disturbs nobody, else in a folder of its own.

1. A queue folder in which a task waits or a worker works is somebody's: it is left exactly as it is.
2. The pictures have a new folder each time, so that no picture of yesterday is taken for one of today. It stays when
   the demo went well, for its owner to look at; else it goes, unless the owner named where to put it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from pmtq.exceptions import PmtqError
from pmtq.folder import DEFAULT_URL, Folder
from pmtq.inspection import View


class Place(NamedTuple):
    """The folders of one performance."""

    folder: Folder
    """The queue folder."""
    pictures: Path
    """A new folder for the photographs and their resized copies."""
    is_kept: bool
    """Whether the pictures stay whatever happens."""
    instead: str = ""
    """A sentence about why the queue folder is not the usual one; empty if it is."""

    @property
    def url(self) -> str:
        """The queue folder as a broker URL."""
        return f"file://{quote(str(self.folder.path))}"

    @property
    def is_default(self) -> bool:
        """Whether a command typed here finds this queue folder without being told."""
        return self.folder.path == Folder.from_url(os.environ.get("PMTQ_BROKER_URL") or DEFAULT_URL).path

    def clear(self) -> str:
        """Remove what is not to be kept, and return a sentence about it."""
        if self.is_kept:
            return f"Its pictures are in {self.pictures}."
        shutil.rmtree(self.pictures, ignore_errors=True)
        return "Its pictures were removed."


def choose_place(home: Path | None) -> Place:
    """Return the folders to use: in ``home`` if it is given, else ``queue_dir`` here and a temporary folder."""
    folder = Folder((home or Path()).absolute() / "queue_dir")
    if home:
        home.mkdir(parents=True, exist_ok=True)
    reason = why_not(folder)
    pictures = Path(tempfile.mkdtemp(prefix="pmtq-demo-", dir=home and home.absolute()))
    if not reason:
        return Place(folder, pictures, bool(home))
    return Place(Folder(pictures / "queue_dir"), pictures, bool(home), f"{shown(folder.path)} is left alone: {reason}.")


def why_not(folder: Folder) -> str:
    """Return the reason why the demo must not use ``folder``, as a clause; empty if there is none."""
    view = View(folder, time.time())
    try:
        folder.make()
        if view.workers:
            return f"the worker {view.workers[0].name} is at work there"
        for queue in folder.queue_names():
            if owed := view.backlog(queue, limit=0).owed:
                return f"{owed} {'task waits' if owed == 1 else 'tasks wait'} in {folder.queue(queue).name}"
    except (PmtqError, OSError) as error:
        return f"it cannot be used: {str(error).rstrip('.')}"
    return ""


def shown(path: Path) -> str:
    """Return a path as one would type it here: relative if it is below the current directory."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
