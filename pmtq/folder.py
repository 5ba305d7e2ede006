"""Where everything stands in a queue folder.

1. ``queue.jsonl`` and ``results.jsonl`` tell the whole truth; every other file is a hint or on its way out.
2. Names are made here and nowhere else.
3. Whatever text a name is made of, its file stands in the folder: what could lead elsewhere is refused.
"""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import unquote

from pmtq.disk import make_folder, names_in, require_folder
from pmtq.exceptions import ImproperlyConfigured

DEFAULT_QUEUE = "celery"
"""The queue that serves tasks without a queue of their own; Celery's name for it, so that ``-Q`` lists carry over."""
DEFAULT_URL = "file://queue_dir"

_SERVERS = ("amqp", "amqps", "pyamqp", "redis", "rediss", "sqs", "mongodb")
"""The schemes of brokers that programs written for Celery name."""
_WAYS_OUT = (
    f"Either override it for this run: PMTQ_BROKER_URL={DEFAULT_URL}, or write the folder into the code: "
    f'PMTQ("…", broker="{DEFAULT_URL}")'
)
_PRIORITY = re.compile(r"(?:(?P<queue>[\w-]+)\.)?p(?P<priority>[1-9])")
_NAME = r"(?P<name>(?:[\w-]+\.)?p[1-9]|[\w-]+)"
_QUEUE_FILE = re.compile(rf"queue(?:\.{_NAME})?\.jsonl")
_SEALED_QUEUE = re.compile(rf"queue(?:\.{_NAME})?\.(?P<generation>[0-9]{{1,15}})\.jsonl")
_LEADS_ELSEWHERE = re.compile(r"[/\\:\0\ud800-\udbff]")
"""What no name of a file may hold on one system or another."""
_MOST_BYTES_OF_A_NAME = 255


def with_priority(queue: str, priority: int) -> str:
    """Return the name under which the records of ``queue`` with that priority have a file of their own: ``low.p9``."""
    if not priority:
        return queue
    return f"p{priority}" if queue == DEFAULT_QUEUE else f"{queue}.p{priority}"


def priority_of(name: str) -> tuple[str, int]:
    """Return the queue and the priority that the name of a queue file stands for."""
    match = _PRIORITY.fullmatch(name)
    return (match["queue"] or DEFAULT_QUEUE, int(match["priority"])) if match else (name, 0)


def may_name_worker(name: str) -> bool:
    """Say whether files can be called after a worker of that name; where it stands in a line, it may be any text."""
    return not _LEADS_ELSEWHERE.search(name) and len(os.fsencode(f"{name}.notes")) <= _MOST_BYTES_OF_A_NAME


def _why_no_folder(url: str) -> str:
    """Say what ``url`` is instead of a folder, and what it may have been meant to be."""
    scheme, colon, _ = url.partition("://")
    if url.startswith("<"):
        return "is a placeholder that nobody has filled in"
    if not colon:
        return f"has no scheme (for a folder write file://{url})"
    if scheme in _SERVERS:
        return "names a server, and this engine works in a folder"
    near = get_close_matches(scheme, ["file", *_SERVERS], n=1)
    hint = f" (did you mean {near[0]}://?)" if near else ""
    return f"has a scheme that is not known{hint}, and this engine works in a folder"


class Folder:
    """The paths of one queue folder. Making one touches no disk."""

    def __init__(self, path: Path) -> None:
        """Take the folder's path; it need not exist yet."""
        self.path = path
        self.results = path / "results.jsonl"
        self.rejected = path / "rejected.jsonl"
        self.workers = path / "workers"
        self.logs = path / "logs"
        self.sealed = path / "sealed"
        self.edits = path / "edits"
        self.next_results = self.sealed / "results.next.jsonl"

    @classmethod
    def from_url(cls, url: str) -> Folder:
        """Return the folder that ``file://queue_dir`` (relative) or ``file:///var/queue`` (absolute) names."""
        if not url.startswith("file://"):
            raise ImproperlyConfigured(f"the broker URL {url!r} {_why_no_folder(url)}. Nothing was queued. {_WAYS_OUT}")
        path = Path(unquote(url.removeprefix("file://"))).expanduser()
        if not path.name:
            raise ImproperlyConfigured(f"the broker URL {url!r} names no folder. Write it as {DEFAULT_URL}")
        return cls(path.absolute())

    def make(self) -> None:
        """Create the folder if it is missing. Raises ``UnsafeFile`` if others can get into it, or something in it leads out."""
        make_folder(self.path)
        for inner in (self.workers, self.logs, self.sealed, self.edits):
            require_folder(inner)

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
        matches = map(_QUEUE_FILE.fullmatch, names_in(self.path))
        names = {match["name"] or DEFAULT_QUEUE for match in matches if match}
        return sorted(names, key=lambda name: (name != DEFAULT_QUEUE, name))

    def sealed_queue(self, name: str, generation: int) -> Path:
        """Return where the queue file goes that was the queue's ``generation``-th."""
        return self.sealed / f"{self.queue(name).stem}.{generation}.jsonl"

    def sealed_queues(self) -> list[tuple[str, int, Path]]:
        """Return queue name, generation and path of each sealed queue file, oldest first."""
        found = [(*self.in_sealed_name(path.name), path) for path in self._sealed()]
        return sorted(one for one in found if one[1] >= 0)

    def in_sealed_name(self, name: str) -> tuple[str, int]:
        """Return the queue and the generation in the name of a sealed queue file; -1 for any other text."""
        match = _SEALED_QUEUE.fullmatch(name)
        return (match["name"] or DEFAULT_QUEUE, int(match["generation"])) if match else ("", -1)

    def sealed_results(self) -> list[Path]:
        """Return the sealed results files, newest first."""
        paths = [path for path in self._sealed() if re.fullmatch(r"results\.\d+\.jsonl", path.name)]
        return sorted(paths, key=lambda path: -int(path.name.split(".")[1]))

    def copies(self) -> list[Path]:
        """Return the copies of queue files that are being edited, or were not put in place."""
        return sorted(self.edits.glob("queue*.jsonl"))

    def worker(self, name: str) -> Path:
        """Return the file whose kernel lock says that the worker called ``name`` is alive."""
        return self._of_worker(name, "json")

    def notes(self, name: str) -> Path:
        """Return the file where that worker keeps outcomes it has not posted yet."""
        return self._of_worker(name, "notes")

    def inbox(self, name: str) -> Path:
        """Return the file where that worker is told to change something."""
        return self._of_worker(name, "inbox")

    def worker_names(self) -> list[str]:
        """Return the names of all workers that left a file, alive or not."""
        return sorted(name.removesuffix(".json") for name in names_in(self.workers) if name.endswith(".json"))

    def _of_worker(self, name: str, suffix: str) -> Path:
        if not may_name_worker(name):
            raise ImproperlyConfigured(
                f"{name[:80]!r} cannot be a worker's name, because it names files too. Nothing was touched. "
                "Use letters, digits, '.', '_', '+' and '-', and a shorter one if it is long"
            )
        return self.workers / f"{name}.{suffix}"

    def _sealed(self) -> list[Path]:
        return [self.sealed / name for name in names_in(self.sealed)]
