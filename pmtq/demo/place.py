"""Chooses where the demo works: in ``queue_dir`` if that disturbs nobody, else in a temporary folder.

1. A folder in which a task waits or a worker works is somebody's: it is left exactly as it is.
2. The pictures have a temporary folder of their own. It stays when the demo went well, for its owner to look at.
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
    """A temporary folder with the photographs and their resized copies."""
    instead: str
    """Why the queue folder is a temporary one, as a sentence; empty if it is the one that was asked for."""

    @property
    def url(self) -> str:
        """The queue folder as a broker URL."""
        return f"file://{quote(str(self.folder.path))}"

    @property
    def is_default(self) -> bool:
        """Whether a command typed here finds this queue folder without being told."""
        return self.folder.path == Folder.from_url(os.environ.get("PMTQ_BROKER_URL") or DEFAULT_URL).path

    def remove_pictures(self) -> None:
        """Remove the temporary folder, and the queue folder with it if that is in there."""
        shutil.rmtree(self.pictures, ignore_errors=True)


def choose_place(wanted: Path | None) -> Place:
    """Return the folders to use; ``wanted`` is the queue folder, None means ``queue_dir`` here."""
    folder = Folder((wanted or Path("queue_dir")).absolute())
    reason = why_not(folder)
    pictures = Path(tempfile.mkdtemp(prefix="pmtq-demo-"))
    if not reason:
        return Place(folder, pictures, "")
    instead = f"{shown(folder.path)} is left alone, because {reason}."
    folder = Folder(pictures / "queue_dir")
    folder.make()
    return Place(folder, pictures, instead)


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
