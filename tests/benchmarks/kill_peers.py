"""The queues of the kill test, each with the safest settings that its own manual offers.

1. Each worker runs one task at a time, and is started the way the manual starts it.
2. ``kept`` says which tasks a queue still has: one that is not there any more cannot come back. Their number would not do,
   because a store may still hold what has run to its end, when its worker died before it could say so.
3. Each has a store of its own, also of Redis, because they wait for their tasks side by side.

It does not know when anybody is killed.
"""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pmtq.folder import Folder
from pmtq.states import FINAL_STATES
from tests.benchmarks.contenders import Contender, worker_command
from tests.benchmarks.history import DIARY
from tests.benchmarks.peers import (
    CeleryInFiles,
    CeleryOnRedis,
    HueyOn,
    OnRedis,
    RedisServer,
    celery_worker,
    open_huey,
)
from tests.benchmarks.processes import Workshop, python

VISIBILITY = 3
"""Seconds: the short visibility timeout, which a task of the test outlasts."""
SAFE = "acks_late, reject_on_worker_lost, prefetch 1"


class Target(Contender):
    """A queue whose workers are killed."""

    settings = ""
    """How it differs from what is installed, and what its store does when a worker dies."""

    def environment(self, folder: Path) -> Mapping[str, str]:
        """Say where the queue is, and where its tasks are to note what they do."""
        return {**super().environment(folder), DIARY: str(folder / "diary")}

    def kept(self, folder: Path) -> set[str]:
        """Return the names of the tasks that the queue still means to run."""
        raise NotImplementedError


class KilledPmtq(Target):
    """pmtq as it is installed."""

    name = client = "pmtq"
    settings = "as installed"

    def environment(self, folder: Path) -> Mapping[str, str]:
        """Name the folder, too."""
        return {**super().environment(folder), "PMTQ_BROKER_URL": f"file://{folder}"}

    def worker_command(self, folder: Path, number: int) -> list[str]:
        """Start one process."""
        return worker_command(number)

    def kept(self, folder: Path) -> set[str]:
        """Look for what stands in the queue file and has no final state."""
        place = Folder(folder)
        asked, states = (
            [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
            for path in (place.queue(), place.results)
        )
        ended = {state["task_id"] for state in states if state.get("status") in FINAL_STATES}
        return {record["params"][0] for record in asked if record["task_id"] not in ended}


class KilledCelery(Target):
    """What Celery's transports have in common."""

    def worker_command(self, folder: Path, number: int) -> list[str]:
        """Start a worker with a pool of one process, which takes no task before it has acknowledged the last."""
        return celery_worker(number, "-c", "1", "--prefetch-multiplier", "1")


class KilledCeleryInFiles(KilledCelery, CeleryInFiles):
    """Celery's folder transport."""

    settings = f"{SAFE}; a message's file is removed when it is taken: what a dead worker had taken is gone"

    def kept(self, folder: Path) -> set[str]:
        """Look at the messages' files."""
        return {named_in(json.loads(path.read_text())) for path in (folder / "messages").glob("*.celery.msg")}


class KilledCeleryOnRedis(KilledCelery, CeleryOnRedis):
    """Celery on Redis, with its visibility timeout as installed or with a short one."""

    def __init__(self, shop: Workshop, visibility: int = 0) -> None:
        """Let messages be visible again after ``visibility`` seconds; 0 stands for what is installed, an hour."""
        super().__init__(shop, RedisServer(shop))
        self.visibility = visibility
        self.settings = (
            f"{SAFE}; what a dead worker had taken waits for the visibility timeout, as installed an hour; a message that "
            "it had from Redis and had not yet noted there as taken is gone"
        )
        if visibility:
            self.name = f"… visibility timeout {visibility} s"
            self.settings = (
                f"{SAFE}; looked at every second; a task that takes longer is given to another worker, too; a worker that "
                "dies while it looks keeps all from looking for 5 min"
            )

    def environment(self, folder: Path) -> Mapping[str, str]:
        """Say how long a message may be away."""
        short = {"BENCH_VISIBILITY": str(self.visibility)} if self.visibility else {}
        return {**super().environment(folder), **short}

    def kept(self, folder: Path) -> set[str]:
        """Look at what waits, and at what was taken and not acknowledged."""
        store = self.redis.database(0)
        waiting = [json.loads(message) for message in store.lrange("celery", 0, -1)]
        taken = [json.loads(entry)[0] for entry in store.hvals("unacked")]
        return {named_in(message) for message in (*waiting, *taken)}


class KilledHuey(Target, HueyOn):
    """Huey on a storage in files."""

    settings = "as installed; a task is removed when it is taken: what a dead worker had taken is gone"

    def __init__(self, shop: Workshop, storage: str) -> None:
        """Use its ``file`` or its ``sqlite`` storage."""
        super().__init__(shop, storage, 0)

    def kept(self, folder: Path) -> set[str]:
        """Ask its storage."""
        huey = open_huey(self.storage, str(folder))
        return {pickle.loads(data).args[0] for data in huey.storage.enqueued_items()}


class KilledRq(Target, OnRedis):
    """RQ, whose worker forks a process for each task."""

    name, client, module = "RQ on Redis", "rq", "rq"
    settings = (
        "Retry(max=3); its worker forks for each task; what a dead one had taken runs again when a worker that starts, "
        "or the upkeep every 10 min, finds no heartbeat for 90 s; without Retry it has failed then"
    )

    def __init__(self, shop: Workshop) -> None:
        """Use a server of its own."""
        super().__init__(shop, RedisServer(shop))

    def environment(self, folder: Path) -> Mapping[str, str]:
        """Name the server."""
        return {**super().environment(folder), "RQ_REDIS_URL": f"redis://127.0.0.1:{self.redis.port()}"}

    def worker_command(self, folder: Path, number: int) -> list[str]:
        """Start a worker; it finds the server in the environment."""
        return python("rq.cli", "worker", "--quiet", "--name", f"worker{number}")

    def kept(self, folder: Path) -> set[str]:
        """Look at what waits, what is on its way to a worker, and what a worker is said to run."""
        from rq import Queue
        from rq.registry import StartedJobRegistry

        queue = Queue(connection=self.redis.database(0))
        taken = StartedJobRegistry(queue=queue).get_job_ids(cleanup=False)
        ids = {*queue.get_job_ids(), *queue.intermediate_queue.get_job_ids(), *taken}
        return {job.args[0] for job in map(queue.fetch_job, ids) if job}


def named_in(message: dict[str, Any]) -> str:
    """Return the name of the task that a message of Celery's is about: its first argument."""
    arguments, _, _ = json.loads(base64.b64decode(message["body"]))
    return arguments[0]


def all_targets(shop: Workshop, *, with_peers: bool = True) -> list[Target]:
    """Return every queue of the test, whether it is installed or not."""
    peers = [
        KilledCeleryInFiles(shop),
        KilledCeleryOnRedis(shop),
        KilledCeleryOnRedis(shop, VISIBILITY),
        KilledRq(shop),
        KilledHuey(shop, "file"),
        KilledHuey(shop, "sqlite"),
    ]
    return [KilledPmtq(shop), *(peers if with_peers else [])]
