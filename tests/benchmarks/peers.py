"""Other task queues, each on the stores it offers without a further machine, doing the same empty task.

They run as their own manuals start them, with results kept and no rate limits. Only waiting is set otherwise than by
default: what looks for news in intervals looks every 5 ms, else its round trip would be that interval and nothing else.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.benchmarks.contenders import Contender
from tests.benchmarks.processes import Workshop, python

INSTALL = "not installed: pip install -e '.[peers]'"
NO_SERVER = "no redis-server here: apt-get install redis-server"
SOLO = ("-P", "solo")
"""Options of a Celery worker that runs the tasks itself, in one process."""


class Peer(Contender):
    """Another queue."""

    module = ""
    poll = 0.05

    def missing(self) -> str:
        """Say whether its package is installed."""
        return "" if find_spec(self.module) else INSTALL


class RedisServer:
    """A redis-server of our own: on a free port of this machine only, in memory only."""

    def __init__(self, shop: Workshop) -> None:
        """Start nothing yet."""
        self._shop = shop
        self._port = 0

    def missing(self) -> str:
        """Say whether there is one to start."""
        if not find_spec("redis"):
            return INSTALL
        return "" if shutil.which("redis-server") else NO_SERVER

    def port(self) -> int:
        """Return the port it listens on; start it first if it does not."""
        if not self._port:
            self._port = _free_port()
            # dir and config: none of the machine's own; save and appendonly: nothing on disk.
            options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self._shop.path)]
            self._shop.start(["redis-server", "--port", str(self._port), *options])
            self._shop.wait_for(self._answers, "redis-server to answer")
        return self._port

    def database(self, number: int) -> Any:
        """Return a connection to one of its databases."""
        from redis import Redis

        return Redis(port=self.port(), db=number)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


class OnRedis(Peer):
    """A queue on Redis."""

    def __init__(self, shop: Workshop, redis: RedisServer) -> None:
        """Use the server ``redis``."""
        super().__init__(shop)
        self.redis = redis

    def missing(self) -> str:
        """Say whether package and server are there."""
        return super().missing() or self.redis.missing()

    def new_folder(self) -> Path:
        """Empty the databases; the folder is for nothing but the process's own files."""
        self.redis.database(0).flushall()
        return super().new_folder()


class CeleryOnRedis(OnRedis):
    """Celery with messages and results in Redis: what most people run."""

    name, client, module = "Celery on Redis", "celery", "celery"
    drain_tasks = 2_000

    def environment(self, folder: Path) -> Mapping[str, str]:
        """Keep messages in one database, results in another."""
        server = f"redis://127.0.0.1:{self.redis.port()}"
        return {"BENCH_BROKER": f"{server}/0", "BENCH_BACKEND": f"{server}/1"}

    def worker_command(self, folder: Path, number: int) -> list[str]:
        """Start one process that runs the tasks itself."""
        return celery_worker(number, *SOLO)

    @contextmanager
    def counting(self, folder: Path) -> Iterator[Callable[[], int]]:
        """Count the keys beside the messages."""
        yield self.redis.database(1).dbsize


class CeleryInFiles(Peer):
    """Celery with its file-system transport and file-system results: its own way to work without a server."""

    name, client, module = "Celery in files", "celery", "celery"
    drain_tasks = 1_000

    def new_folder(self) -> Path:
        """Make the folders it expects."""
        folder = super().new_folder()
        for part in ("messages", "control", "results"):
            (folder / part).mkdir()
        return folder

    def environment(self, folder: Path) -> Mapping[str, str]:
        """Keep everything in ``folder``; a message passes through the temporary folder when it is taken."""
        return {
            "BENCH_BROKER": "filesystem://",
            "BENCH_BACKEND": f"file://{folder}/results",
            "BENCH_FOLDER": str(folder),
            "TMPDIR": str(folder),
        }

    def worker_command(self, folder: Path, number: int) -> list[str]:
        """Start one process that runs the tasks itself."""
        return celery_worker(number, *SOLO)

    @contextmanager
    def counting(self, folder: Path) -> Iterator[Callable[[], int]]:
        """Count the files of results."""
        yield lambda: sum(1 for _ in (folder / "results").iterdir())


class HueyOn(Peer):
    """Huey on a storage in files."""

    client = module = "huey"

    def __init__(self, shop: Workshop, storage: str, drain_tasks: int) -> None:
        """Use its ``file`` or its ``sqlite`` storage."""
        super().__init__(shop)
        self.name = {"file": "Huey in files", "sqlite": "Huey on SQLite"}[storage]
        self.storage = storage
        self.drain_tasks = drain_tasks

    def new_folder(self) -> Path:
        """Make the folder of the file storage: client and worker would stumble over each other in making it."""
        folder = super().new_folder()
        (folder / "huey").mkdir()
        return folder

    def environment(self, folder: Path) -> Mapping[str, str]:
        """Keep everything in ``folder``."""
        return {"BENCH_STORAGE": self.storage, "BENCH_PLACE": str(folder)}

    def worker_command(self, folder: Path, number: int) -> list[str]:
        """Start one process with one thread that runs tasks."""
        return huey_worker()

    @contextmanager
    def counting(self, folder: Path) -> Iterator[Callable[[], int]]:
        """Ask Huey's own storage."""
        yield open_huey(self.storage, str(folder)).storage.result_store_size


class HueyOnRedis(OnRedis):
    """Huey on Redis."""

    name, client, module = "Huey on Redis", "huey", "huey"
    drain_tasks = 4_000

    def environment(self, folder: Path) -> Mapping[str, str]:
        """Name the server's port."""
        return {"BENCH_STORAGE": "redis", "BENCH_PLACE": str(self.redis.port())}

    def worker_command(self, folder: Path, number: int) -> list[str]:
        """Start one process with one thread that runs tasks."""
        return huey_worker()

    @contextmanager
    def counting(self, folder: Path) -> Iterator[Callable[[], int]]:
        """Ask Huey's own storage."""
        yield open_huey("redis", str(self.redis.port())).storage.result_store_size


def all_peers(shop: Workshop) -> list[Contender]:
    """Return every other queue, whether it is installed or not."""
    redis = RedisServer(shop)
    return [
        CeleryOnRedis(shop, redis),
        CeleryInFiles(shop),
        HueyOn(shop, "file", 1_500),
        HueyOn(shop, "sqlite", 3_000),
        HueyOnRedis(shop, redis),
    ]


def celery_worker(number: int, *options: str) -> list[str]:
    """Return the command of a worker with a name of its own, without the chatter between workers."""
    quiet = ("--loglevel", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat")
    name = ("-n", f"worker{number}@%h")
    return python("celery", "-A", "tests.benchmarks.celery_app", "worker", *options, *name, *quiet)


def huey_worker() -> list[str]:
    """Return the command; it looks for tasks every 5 ms where its storage cannot wake it."""
    waiting = ("--delay", "0.005", "--max-delay", "0.005", "--no-periodic", "--quiet")
    return python("huey.bin.huey_consumer", "tests.benchmarks.huey_app.huey", *waiting)


def open_huey(storage: str, place: str) -> Any:
    """Return a Huey on one of its storages. With ``store_none`` it keeps the result of a task that returns nothing."""
    import huey

    if storage == "redis":
        return huey.RedisHuey("bench", port=int(place), store_none=True)
    if storage == "sqlite":
        return huey.SqliteHuey("bench", filename=f"{place}/huey.db", store_none=True)
    return huey.FileHuey("bench", path=f"{place}/huey", store_none=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
