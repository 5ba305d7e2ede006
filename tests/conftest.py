"""What the tests of the core share: a queue folder of their own, workers in this process, and workers that may be killed.

Nothing here sleeps for time: whoever waits, waits for a fact, with a deadline (``eventually``).
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from pmtq import PMTQ, fork
from pmtq.backend import Backend
from pmtq.cli import main
from pmtq.folder import DEFAULT_QUEUE, Folder
from pmtq.journal import Journal
from pmtq.presence import Presence
from pmtq.records import StateRecord, encode, timestamp
from pmtq.worker.consumer import Consumer
from tests.support import TASKS, Hand, Processes, Run, Said, all_lines, die, eventually

_slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("large", max_examples=3000, deadline=None, suppress_health_check=_slow)
settings.register_profile("ordinary", settings.get_profile("large"), max_examples=60, derandomize=True)
settings.load_profile("ordinary")  # the same examples everywhere; --hypothesis-profile=large tries others


def pytest_configure() -> None:
    """Heed the signals that end a program, and let the processes that tests start heed them, also under ``nohup`` or ``&``."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, None), (signal.SIGHUP, None)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler or signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the fast tests first, those that start and kill processes last."""
    items.sort(key=lambda item: "crash" in item.path.parts)


@pytest.fixture(autouse=True)
def _leave_nothing_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give every test a clean environment, and take its descriptors and threads back afterwards."""
    for name in [name for name in os.environ if name.startswith("PMTQ_")]:
        monkeypatch.delenv(name)
    before = set(threading.enumerate())
    root = logging.getLogger()
    handlers, levels = list(root.handlers), {one: one.level for one in _own_loggers()}
    yield
    assert eventually(lambda: not [t for t in threading.enumerate() if t not in before]), threading.enumerate()
    root.handlers = handlers  # a worker's log takes the root logger over
    for one in _own_loggers():
        one.setLevel(levels.get(one, logging.NOTSET))
    for one in list(fork._instances):
        if isinstance(one, Presence):
            die(one)
        elif isinstance(one, Journal):
            one.close()


def _own_loggers() -> list[logging.Logger]:
    """Return the root logger, and those of ours that somebody has asked for."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "pmtq"]
    return [logging.root, *map(logging.getLogger, names)]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A queue folder that does not exist yet."""
    return Folder(tmp_path / "queue_dir")


@pytest.fixture
def app(folder: Folder) -> Iterator[PMTQ]:
    """An app with the task ``tasks.add``, on a folder of its own."""
    app = PMTQ("tasks", broker=f"file://{folder.path}")

    @app.task(name="tasks.add")
    def add(x, y=0):
        return x + y

    yield app
    app.backend.close()


@pytest.fixture
def add(app: PMTQ):
    """The task ``tasks.add``."""
    return app.tasks["tasks.add"]


@pytest.fixture
def backend(folder: Folder) -> Iterator[Backend]:
    """What reads the results of the folder."""
    backend = Backend(folder)
    yield backend
    backend.close()


@pytest.fixture
def say(folder: Folder) -> Callable[..., None]:
    """A function that appends state lines as a worker does."""
    journal = Journal(folder.results)

    def append(*states: StateRecord) -> None:
        journal.append(b"".join(encode(state) + b"\n" for state in states))

    return append


@pytest.fixture
def work() -> Callable[..., None]:
    """A function that runs a worker in this process until nothing is left to run now."""

    def run(app: PMTQ, name: str = "worker1@test", queues: tuple[str, ...] = (DEFAULT_QUEUE,)) -> None:
        here = Presence(app.folder, name, {"pid": os.getpid()})
        Consumer(app.folder, here, list(queues), app.tasks).run(burst=True)
        here.leave()

    return run


@pytest.fixture
def work_until() -> Callable[..., None]:
    """A function that runs a worker in a thread of this process until a fact holds, and says whether it came to that."""

    def run(
        app: PMTQ, fact: Callable[[], Any], name: str = "worker1@test", queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    ) -> None:
        here = Presence(app.folder, name, {"pid": os.getpid()})
        consumer = Consumer(app.folder, here, list(queues), app.tasks)
        escaped: list[BaseException] = []

        def body() -> None:
            try:
                consumer.run()
            except BaseException as error:
                escaped.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        came = eventually(lambda: escaped or fact(), 20)
        consumer.stop()
        thread.join()
        here.leave()
        assert not escaped, f"the worker died of {escaped[0]!r}"
        assert came, f"waited in vain; the folder holds {all_lines(app.folder)}"

    return run


@pytest.fixture
def hand(folder: Folder) -> Callable[..., Hand]:
    """A function that makes a claimer the test moves itself."""

    def make(name: str = "worker1@test", known: dict[str, bool] | None = None, queues: list[str] | None = None) -> Hand:
        return Hand(folder, name, {"tasks.add": True} if known is None else known, queues or [DEFAULT_QUEUE])

    return make


@pytest.fixture
def processes(folder: Folder) -> Iterator[Processes]:
    """Real worker processes, on the test's folder; whatever still runs afterwards is killed by its pid."""
    found = Processes(folder)
    yield found
    for name in list(found.running):
        found.kill(name)


# The command line


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with ``tasks.py`` in it, which is the current one."""
    (tmp_path / "tasks.py").write_text(TASKS)
    monkeypatch.chdir(tmp_path)
    before, paths = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = paths
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def here(project: Path) -> Folder:
    """The folder that the commands use when none is named."""
    return Folder(project / "queue_dir")


@pytest.fixture
def run(project: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs a command in this process."""

    def command(*arguments: str) -> Said:
        status = main(list(arguments))
        return Said(status, *capsys.readouterr())

    return command


@pytest.fixture
def pmtq(project: Path) -> Run:
    """A function that runs a command in a process of its own, without a terminal."""

    def command(*arguments: str, stdin: str = "") -> Said:
        done = subprocess.run(
            [sys.executable, "-m", "pmtq", *arguments],
            capture_output=True,
            text=True,
            input=stdin,
            timeout=30,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return command


@pytest.fixture
def lives(here: Folder) -> Iterator[Presence]:
    """A living worker that knows ``tasks.add``."""
    facts = {"name": "w@h", "pid": 7, "queues": ["celery"], "functions": ["tasks.add"], "pool": "solo"}
    presence = Presence(here, "w@h", facts | {"started": timestamp(time.time() - 125)})
    yield presence
    presence.leave()
