"""Gives tests an app in a folder of their own, a worker in a thread, and a clock they can move.

Name it in the ``conftest.py`` at the top of your tests:

    pytest_plugins = ("pmtq.contrib.pytest",)

**An app for the test.** ``pmtq_app`` is new for every test, and so is its queue folder. ``pmtq_worker`` runs its tasks::

    def test_adding(pmtq_app, pmtq_worker):
        @pmtq_app.task
        def add(x, y):
            return x + y

        assert add.delay(2, 3).get(timeout=5) == 5

**Your own app.** ``pmtq_isolate`` moves an app to the test's folder and back again, so say in ``conftest.py`` which::

    @pytest.fixture
    def pmtq_app(pmtq_isolate):
        from shop.tasks import app

        return pmtq_isolate(app)

**Time.** ``pmtq_clock`` stands still until the test moves it. Nobody has to wait for an hour::

    def test_a_reminder_comes_after_an_hour(pmtq_worker, pmtq_clock):
        result = remind.apply_async(countdown=3600)
        pmtq_clock.advance(3600)

        assert result.get(timeout=5) == "reminded"

**Settings.** Redefine ``pmtq_config`` (settings, as a dict), ``pmtq_parameters`` (arguments of ``PMTQ``), ``pmtq_includes``
(modules to import) or ``pmtq_worker_parameters`` (arguments of ``start_worker``), or mark one test:
``@pytest.mark.pmtq(task_always_eager=True)``. ``pmtq_session_app`` and ``pmtq_session_worker`` live as long as the tests.

1. No test touches the queue folder of the program it tests, nor a server: addresses among the settings are passed over.
2. The worker takes in tasks that are registered after it has begun.
3. Each fixture goes by Celery's name too (``celery_app``, ``celery_config`` …), under which it may be redefined as well.

It is no plugin that pytest finds by itself: that would import pmtq in all tests of every project beside which it is
installed, and claim Celery's names there. ``ABSENT`` lists the fixtures of Celery that are not here.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pmtq.app import PMTQ
from pmtq.clock import Clock, moved_clock, wake_sleepers
from pmtq.folder import DEFAULT_QUEUE, Folder
from pmtq.presence import Presence
from pmtq.worker.consumer import Consumer

_numbers = itertools.count(1)
_CACHED = ("folder", "broker", "backend")
_ADDRESSES = ("broker_url", "broker", "backend")
_NOWHERE = "disabled://"
_WITHOUT_EFFECT = {"pool", "loglevel", "logfile", "perform_ping_check", "without_heartbeat"}
"""Parameters of Celery's test worker: here it is always a thread, which logs as its process does and needs no trial."""

ABSENT = {
    "celery_enable_logging": "a worker's log goes to Python's logging, where pytest catches it",
    "celery_worker_pool": "the worker is a thread, so that it sees the test's own functions and objects",
    "celery_class_tasks": "register them where the app is made",
    "use_celery_app_trap": "nothing falls back on a current app",
    "depends_on_current_app": "the same",
}
"""Fixtures of Celery's that are not here, and why."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the two markers known."""
    for name in ("pmtq", "celery"):
        config.addinivalue_line("markers", f"{name}(**settings): give the test's app these settings")


@contextmanager
def isolated(app: PMTQ, path: Path) -> Iterator[PMTQ]:
    """Have ``app`` work in the folder ``path`` until the block ends, and the processes that are started meanwhile too."""
    before = {name: vars(app).pop(name) for name in _CACHED if name in vars(app)}
    app.folder = Folder(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PMTQ_BROKER_URL", path.as_uri())
        try:
            yield app
        finally:
            app.backend.close()
            for name in _CACHED:
                vars(app).pop(name, None)
            vars(app).update(before)


@contextmanager
def start_worker(
    app: PMTQ,
    *,
    queues: str | Iterable[str] = DEFAULT_QUEUE,
    hostname: str = "",
    concurrency: int = 1,
    shutdown_timeout: float = 10.0,
    **others: object,
) -> Iterator[ThreadWorker]:
    """Run the tasks of ``app`` in ``concurrency`` threads of this process until the block ends.

    ``queues`` are those it serves, as a list or separated by commas. At the end it waits up to ``shutdown_timeout`` seconds
    for the tasks that are running, and raises ``RuntimeError`` if they have not ended by then.
    """
    if not others.keys() <= _WITHOUT_EFFECT:
        raise TypeError(
            f"start_worker() has no parameter {min(others.keys() - _WITHOUT_EFFECT)!r}. Nothing was started."
        )
    names = queues.split(",") if isinstance(queues, str) else list(queues)
    worker = ThreadWorker(app, hostname or f"tests{next(_numbers)}@localhost", names, concurrency)
    try:
        yield worker
    finally:
        worker.stop(shutdown_timeout)


class ThreadWorker:
    """A worker in threads of this process; each of them claims for itself."""

    def __init__(self, app: PMTQ, hostname: str, queues: list[str], concurrency: int = 1) -> None:
        """Begin to work under the name ``hostname``; raises ``WorkerNameTaken``."""
        self.app = app
        self.hostname = hostname
        members = [hostname, *(f"{hostname}#{number}" for number in range(2, concurrency + 1))]
        self._members = [_Member(app, name, queues) for name in members]

    def reload(self, *_modules: object, **_options: object) -> None:
        """Do nothing: it takes in new tasks by itself. Celery's worker has to be told."""

    def stop(self, timeout: float = 10.0) -> None:
        """End after the running tasks; raise what its threads died of, or ``RuntimeError`` after ``timeout`` seconds."""
        for member in self._members:
            member.ask_to_stop()
        wake_sleepers()
        for member in self._members:
            member.join(timeout)


class _Member:
    """One thread of a worker."""

    def __init__(self, app: PMTQ, name: str, queues: list[str]) -> None:
        self._app = app
        self._queues = queues
        self._presence = Presence(app.folder, name, {"name": name, "pid": os.getpid(), "queues": queues})
        self._stopping = False
        self._died_of: BaseException | None = None
        self._consumer = self._new_consumer()
        self._thread = threading.Thread(target=self._work, name=f"pmtq-{name}", daemon=True)
        self._thread.start()

    def _new_consumer(self) -> Consumer:
        self._tasks = dict(self._app.tasks)
        return Consumer(self._app.folder, self._presence, self._queues, self._tasks)

    def _work(self) -> None:
        try:
            while not self._stopping:
                self._consumer.run(still_wanted=self._is_up_to_date)
                self._consumer = self._new_consumer()
        except BaseException as error:  # noqa: BLE001  (the test is to raise it, not this thread)
            self._died_of = error
        finally:
            self._presence.leave()

    def _is_up_to_date(self) -> bool:
        return not self._stopping and self._tasks == self._app.tasks

    def ask_to_stop(self) -> None:
        """End after the task that is running."""
        self._stopping = True
        self._consumer.stop()

    def join(self, timeout: float) -> None:
        """Wait for the end, and raise what was wrong."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise RuntimeError(
                f"the worker {self._presence.name} has not ended: a task of the test has been running for {timeout:g} s since "
                "it was to stop. The thread goes on until the task returns. Give it more time with "
                'pmtq_worker_parameters: {"shutdown_timeout": 60}'
            )
        if self._died_of is not None:
            raise self._died_of


def _make_app(config: Mapping[str, Any], parameters: Mapping[str, Any], node: Any) -> PMTQ:
    """Return an app with the settings that the fixtures and the test's marks give."""
    marks = [mark.kwargs for name in ("celery", "pmtq") for mark in node.iter_markers(name)]
    given: dict[str, Any] = {"main": "tests"}
    for settings in (config, *reversed(marks), parameters):
        given |= settings
    return PMTQ(**{key: given[key] for key in given if given[key] == _NOWHERE or not key.lower().endswith(_ADDRESSES)})


@pytest.fixture(scope="session")
def celery_config() -> Mapping[str, Any]:
    """Redefine this to give the app settings."""
    return {}


@pytest.fixture(scope="session")
def pmtq_config(celery_config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Redefine this to give the app settings; the same as ``celery_config``."""
    return celery_config


@pytest.fixture(scope="session")
def celery_parameters() -> Mapping[str, Any]:
    """Redefine this to give ``PMTQ`` other arguments, such as ``main`` or ``durable``."""
    return {}


@pytest.fixture(scope="session")
def pmtq_parameters(celery_parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Redefine this to give ``PMTQ`` other arguments; the same as ``celery_parameters``."""
    return celery_parameters


@pytest.fixture(scope="session")
def celery_includes() -> Iterable[str]:
    """Redefine this to name modules that the worker imports before it begins."""
    return ()


@pytest.fixture(scope="session")
def pmtq_includes(celery_includes: Iterable[str]) -> Iterable[str]:
    """Redefine this to name modules that the worker imports; the same as ``celery_includes``."""
    return celery_includes


@pytest.fixture(scope="session")
def celery_worker_parameters() -> Mapping[str, Any]:
    """Redefine this to give ``start_worker`` other arguments, such as ``queues``."""
    return {}


@pytest.fixture(scope="session")
def pmtq_worker_parameters(celery_worker_parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Redefine this to give ``start_worker`` other arguments; the same as ``celery_worker_parameters``."""
    return celery_worker_parameters


@pytest.fixture
def pmtq_isolate(tmp_path: Path) -> Iterator[Callable[[PMTQ], PMTQ]]:
    """Use this function to move an app of your own to the test's folder until the test ends; it returns the app."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(isolated(app, tmp_path / "queue_dir"))


@pytest.fixture
def pmtq_app(
    request: pytest.FixtureRequest,
    pmtq_config: Mapping[str, Any],
    pmtq_parameters: Mapping[str, Any],
    pmtq_isolate: Callable[[PMTQ], PMTQ],
) -> PMTQ:
    """Use an app of the test's own, in a folder of its own."""
    return pmtq_isolate(_make_app(pmtq_config, pmtq_parameters, request.node))


@pytest.fixture
def celery_app(pmtq_app: PMTQ) -> PMTQ:
    """Use the same app under Celery's name."""
    return pmtq_app


@pytest.fixture
def pmtq_worker(
    pmtq_app: PMTQ, pmtq_includes: Iterable[str], pmtq_worker_parameters: Mapping[str, Any]
) -> Iterator[ThreadWorker]:
    """Have a worker run the tasks of ``pmtq_app`` until the test ends."""
    yield from _worker(pmtq_app, pmtq_includes, pmtq_worker_parameters)


@pytest.fixture
def celery_worker(
    celery_app: PMTQ, pmtq_includes: Iterable[str], pmtq_worker_parameters: Mapping[str, Any]
) -> Iterator[ThreadWorker]:
    """Have a worker run the tasks of ``celery_app`` until the test ends."""
    yield from _worker(celery_app, pmtq_includes, pmtq_worker_parameters)


@pytest.fixture(scope="session")
def pmtq_session_app(
    request: pytest.FixtureRequest,
    pmtq_config: Mapping[str, Any],
    pmtq_parameters: Mapping[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[PMTQ]:
    """Use one app for all tests, in a folder of its own."""
    app = _make_app(pmtq_config, pmtq_parameters, request.node)
    with isolated(app, tmp_path_factory.mktemp("pmtq") / "queue_dir"):
        yield app


@pytest.fixture(scope="session")
def celery_session_app(pmtq_session_app: PMTQ) -> PMTQ:
    """Use the same app under Celery's name."""
    return pmtq_session_app


@pytest.fixture(scope="session")
def pmtq_session_worker(
    pmtq_session_app: PMTQ, pmtq_includes: Iterable[str], pmtq_worker_parameters: Mapping[str, Any]
) -> Iterator[ThreadWorker]:
    """Have one worker run the tasks of ``pmtq_session_app`` until all tests have ended."""
    yield from _worker(pmtq_session_app, pmtq_includes, pmtq_worker_parameters)


@pytest.fixture(scope="session")
def celery_session_worker(
    celery_session_app: PMTQ, pmtq_includes: Iterable[str], pmtq_worker_parameters: Mapping[str, Any]
) -> Iterator[ThreadWorker]:
    """Have one worker run the tasks of ``celery_session_app`` until all tests have ended."""
    yield from _worker(celery_session_app, pmtq_includes, pmtq_worker_parameters)


@pytest.fixture
def pmtq_clock() -> Iterator[Clock]:
    """Move the time with this: it stands still, and ``pmtq_clock.advance(60)`` makes it a minute later."""
    with moved_clock() as clock:
        yield clock


def _worker(app: PMTQ, includes: Iterable[str], parameters: Mapping[str, Any]) -> Iterator[ThreadWorker]:
    for module in includes:
        import_module(module)
    with start_worker(app, **parameters) as worker:
        yield worker
