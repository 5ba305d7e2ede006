"""Posts tasks that note what they do: ``python -m tests.benchmarks.kill_client NAME FIRST COUNT SECONDS``.

The tasks are called ``FIRST``, ``FIRST`` + 1 and so on, and take ``SECONDS`` each. Where the queue is, the environment says.
What is printed is the number of tasks posted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

Post = Callable[[str, float], Any]


def of_pmtq() -> Post:
    """Call pmtq as it is."""
    from tests.benchmarks.tasks import mark

    return mark.delay


def of_celery() -> Post:
    """Call Celery; the task's options are with the task."""
    from tests.benchmarks.celery_app import mark

    return mark.delay


def of_huey() -> Post:
    """Call Huey as it is."""
    from tests.benchmarks.huey_app import mark

    return mark


def of_rq() -> Post:
    """Call RQ; without ``Retry`` it would never run a task again whose worker died."""
    from redis import Redis
    from rq import Queue, Retry

    from tests.benchmarks.history import mark

    queue = Queue(connection=Redis.from_url(os.environ["RQ_REDIS_URL"]))
    return lambda task, seconds: queue.enqueue(mark, task, seconds, retry=Retry(max=3))


CLIENTS = {"pmtq": of_pmtq, "celery": of_celery, "huey": of_huey, "rq": of_rq}


def main(name: str, first: str, count: str, seconds: str) -> None:
    """Do what the command line says."""
    post = CLIENTS[name]()
    for number in range(int(first), int(first) + int(count)):
        post(str(number), float(seconds))
    print(count)


if __name__ == "__main__":
    main(*sys.argv[1:])
