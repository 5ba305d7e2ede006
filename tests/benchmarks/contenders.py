"""pmtq and the prototype, as things to be measured: how each is filled, started and counted; the others are in ``peers``."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.files import Backlog, ResultsFollower
from tests.benchmarks.processes import Process, Workshop, python


class Contender:
    """A queue to be measured."""

    name = ""
    """What it is called in the table."""
    client = ""
    """Which of ``client.CLIENTS`` speaks to it."""
    drain_tasks = 0
    """So many empty tasks take its worker about two seconds."""
    poll = 0.005
    """Seconds between two counts of its results; counting must not cost the worker more than a percent."""

    def __init__(self, shop: Workshop) -> None:
        """Work in ``shop``."""
        self.shop = shop

    def missing(self) -> str:
        """Return what keeps it from running here and how to mend that; empty if nothing does."""
        return ""

    def new_folder(self) -> Path:
        """Return a new folder in which the queue is empty."""
        return self.shop.new_folder()

    def environment(self, folder: Path) -> Mapping[str, str]:
        """Return what tells its client and worker where the queue is."""
        return {}

    def worker_command(self, folder: Path, number: int) -> list[str]:
        """Return the command of its worker, the ``number``-th on this queue."""
        raise NotImplementedError

    @contextmanager
    def counting(self, folder: Path) -> Iterator[Callable[[], int]]:
        """Open the results, for a ``with``, and return a function that counts them."""
        raise NotImplementedError
        yield

    def fill(self, folder: Path, tasks: int) -> None:
        """Post ``tasks`` empty tasks."""
        self.ask(folder, "fill", tasks)

    @contextmanager
    def queue(self) -> Iterator[Path]:
        """Return a folder that stands for an empty queue, and remove it at the end of the ``with``."""
        folder = self.new_folder()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def workers(self, folder: Path, count: int = 1) -> Iterator[list[Process]]:
        """Start worker processes on a queue; kill them at the end of the ``with``."""
        with ExitStack() as stack:
            environment = self.environment(folder)
            commands = [self.worker_command(folder, number) for number in range(1, count + 1)]
            yield [stack.enter_context(self.shop.running(command, environment)) for command in commands]

    def ask(self, folder: Path, *what: str | float) -> Any:
        """Have a client process measure something (see ``client``)."""
        command = python("tests.benchmarks.client", self.client, folder, *map(str, what))
        return self.shop.ask(command, self.environment(folder))


class FileQueue(Contender):
    """What pmtq and the prototype have in common: the files."""

    drain_tasks = 300_000

    def __init__(self, shop: Workshop, backlog: Backlog) -> None:
        """Work in ``shop``, on copies of ``backlog``."""
        super().__init__(shop)
        self.backlog = backlog

    def fill(self, folder: Path, tasks: int) -> None:
        """Copy the records."""
        self.backlog.copy_to(folder, tasks)

    @contextmanager
    def counting(self, folder: Path) -> Iterator[Callable[[], int]]:
        """Count the SUCCESS lines."""
        with closing(ResultsFollower(folder)) as seen:
            yield seen.count


class Pmtq(FileQueue):
    """pmtq the way its users run it: ``delay`` in one process, ``pmtq worker`` in another."""

    name = client = "pmtq"

    def environment(self, folder: Path) -> Mapping[str, str]:
        """Name the folder for client and worker alike."""
        return {"PMTQ_BROKER_URL": f"file://{folder}"}

    def worker_command(self, folder: Path, number: int) -> list[str]:
        """Start one process that runs the tasks itself."""
        return worker_command(number, "-P", "solo")


class Prototype(FileQueue):
    """The yardstick: see the module ``prototype``."""

    name = client = "prototype"

    def worker_command(self, folder: Path, number: int) -> list[str]:
        """Start one process."""
        return python("tests.benchmarks.prototype", folder, f"worker{number}@bench")


def worker_command(number: int, *options: str) -> list[str]:
    """Return the command that a user types to start a worker, with a name of its own."""
    app = ("-A", "tests.benchmarks.tasks:app")
    return python("pmtq", "worker", *app, "-n", f"worker{number}@%h", "--loglevel", "warning", *options)
