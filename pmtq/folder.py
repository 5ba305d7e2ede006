"""Where everything stands in a queue folder.

1. ``queue.jsonl`` and ``results.jsonl`` tell the whole truth; every other file is a hint or on its way out.
2. Names are made here and nowhere else.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from pmtq.disk import make_folder
from pmtq.exceptions import ImproperlyConfigured

DEFAULT_QUEUE = "celery"
"""The queue that serves tasks without a queue of their own; Celery's name for it, so that ``-Q`` lists carry over."""
DEFAULT_URL = "file://queue_dir"

_QUEUE_FILE = re.compile(r"queue(?:\.(?P<name>[\w-]+))?\.jsonl")
_SEALED_QUEUE = re.compile(r"queue(?:\.(?P<name>[\w-]+))?\.(?P<generation>\d+)\.jsonl")


class Folder:
    """The paths of one queue folder. Making one touches no disk."""

    def __init__(self, path: Path) -> None:
        """Take the folder's path; it need not exist yet."""
        self.path = path
        self.results = path / "results.jsonl"
        self.rejected = path / "rejected.jsonl"
        self.workers = path / "workers"
        self.sealed = path / "sealed"
        self.next_results = self.sealed / "results.next.jsonl"

    @classmethod
    def from_url(cls, url: str) -> Folder:
        """Return the folder that ``file://queue_dir`` (relative) or ``file:///var/queue`` (absolute) names."""
        if "://" not in url:
            raise ImproperlyConfigured(
                f"the broker URL {url!r} has no scheme. Nothing was queued. For a folder write file://{url}"
            )
        if not url.startswith("file://"):
            raise ImproperlyConfigured(
                f"the broker URL {url!r} names a server, and this engine works in a folder. Nothing was queued. Either "
                f"override it for this run: PMTQ_BROKER_URL={DEFAULT_URL}, or write the folder into the code: "
                f'PMTQ("…", broker="{DEFAULT_URL}")'
            )
        path = Path(unquote(url.removeprefix("file://"))).expanduser()
        if not path.name:
            raise ImproperlyConfigured(f"the broker URL {url!r} names no folder. Write it as {DEFAULT_URL}")
        return cls(path.absolute())

    def make(self) -> None:
        """Create the folder if it is missing."""
        make_folder(self.path)

    def queue(self, name: str = DEFAULT_QUEUE) -> Path:
        """Return the file of the queue called ``name``: letters, digits, ``_`` and ``-``."""
        if name == DEFAULT_QUEUE:
            return self.path / "queue.jsonl"
        path = self.path / f"queue.{name}.jsonl"
        if not _QUEUE_FILE.fullmatch(path.name):
            raise ImproperlyConfigured(
                f"the queue name {name!r} cannot be part of a file name. Nothing was queued. "
                "Use letters, digits, '_' and '-'."
            )
        return path

    def queue_names(self) -> list[str]:
        """Return the names of the queues that have a file, the default one first."""
        try:
            matches = [_QUEUE_FILE.fullmatch(entry.name) for entry in self.path.iterdir()]
        except FileNotFoundError:
            return []
        names = {match["name"] or DEFAULT_QUEUE for match in matches if match}
        return sorted(names, key=lambda name: (name != DEFAULT_QUEUE, name))

    def sealed_queue(self, name: str, generation: int) -> Path:
        """Return where the queue file goes that was the queue's ``generation``-th."""
        return self.sealed / f"{self.queue(name).stem}.{generation}.jsonl"

    def sealed_queues(self) -> list[tuple[str, int, Path]]:
        """Return queue name, generation and path of each sealed queue file, oldest first."""
        matches = [(path, _SEALED_QUEUE.fullmatch(path.name)) for path in self._sealed()]
        found = [(match["name"] or DEFAULT_QUEUE, int(match["generation"]), path) for path, match in matches if match]
        return sorted(found)

    def sealed_results(self) -> list[Path]:
        """Return the sealed results files, newest first."""
        paths = [path for path in self._sealed() if re.fullmatch(r"results\.\d+\.jsonl", path.name)]
        return sorted(paths, key=lambda path: -int(path.name.split(".")[1]))

    def worker(self, name: str) -> Path:
        """Return the file whose kernel lock says that the worker called ``name`` is alive."""
        return self.workers / f"{name}.json"

    def notes(self, name: str) -> Path:
        """Return the file where that worker keeps outcomes it has not posted yet."""
        return self.workers / f"{name}.notes"

    def worker_names(self) -> list[str]:
        """Return the names of all workers that left a file, alive or not."""
        try:
            return sorted(path.name.removesuffix(".json") for path in self.workers.iterdir() if path.suffix == ".json")
        except FileNotFoundError:
            return []

    def _sealed(self) -> list[Path]:
        try:
            return list(self.sealed.iterdir())
        except FileNotFoundError:
            return []
