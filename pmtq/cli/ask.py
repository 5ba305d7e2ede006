"""``pmtq inspect``: what the living workers know and do.

1. The answers stand in the folder's files, so they come at once, from workers too busy to answer as well.
2. ``--json`` has Celery's shape: an object with the workers' names as keys. The processes of a pool speak for their worker.

It does not know the files: ``pmtq.inspection`` reads them.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from pmtq.cli.commands import Commands
from pmtq.cli.options import existing_folder, given_app, names_in, takes_app
from pmtq.cli.text import arguments, as_json, duration, table
from pmtq.exceptions import OperationalError
from pmtq.inspection import Owed, Running, View, Worker
from pmtq.states import REVOKED

F = TypeVar("F", bound=Callable[..., Any])
_DESTINATION, _JSON = "pmtq.destination", "pmtq.json"
Reply = dict[str, Any]


def _keep(key: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value:
            context.meta[key] = value

    return keep


def takes_destination(command: F) -> F:
    """Give a command Celery's options for asking workers; they may stand behind ``inspect`` or behind what is asked."""
    for option in (_json, _timeout, _destination):
        command = option(command)
    return command


_json = click.option("-j", "--json", is_flag=True, expose_value=False, callback=_keep(_JSON), help="Answer in JSON.")
_timeout = click.option(
    "-t",
    "--timeout",
    type=float,
    metavar="SECONDS",
    expose_value=False,
    help="Accepted; the answers stand in files, so nobody waits.",
)
_destination = click.option(
    "-d",
    "--destination",
    metavar="A,B",
    expose_value=False,
    callback=_keep(_DESTINATION),
    help="Only these workers. [default: all]",
)


def wants_json() -> bool:
    """Say whether ``--json`` was given."""
    return bool(click.get_current_context().meta.get(_JSON))


def destinations(view: View) -> list[Worker]:
    """Return the living workers that ``-d`` names, by default all, with the processes of their pools.

    Raises ``OperationalError`` for a name that no living worker has.
    """
    wanted = names_in(click.get_current_context().meta.get(_DESTINATION, ""))
    names = {worker.name for worker in view.workers}
    for name in wanted:
        if name not in names:
            there = ", ".join(sorted(names)) or "none"
            raise OperationalError(f"no worker called {name!r} is running on {view.folder.path}. Running: {there}")
    return [worker for worker in view.workers if not wanted or {worker.name, worker.parent} & set(wanted)]


class Asked:
    """The folder at this moment, and the workers that were asked."""

    def __init__(self) -> None:
        """Look; raises ``OperationalError`` if no worker is there to be asked."""
        self.view = View(existing_folder(), time.time())
        self.processes = destinations(self.view)
        self.workers = [worker for worker in self.processes if not worker.parent]
        if not self.workers:
            raise OperationalError(
                f"no worker is running on {self.view.folder.path}, so there is nobody to ask. "
                "Start one: pmtq worker -A tasks"
            )

    def of(self, worker: Worker) -> list[Worker]:
        """Return the worker, and the processes of its pool."""
        return [process for process in self.processes if worker.name in {process.name, process.parent}]

    def running(self, worker: Worker, *, begun: bool) -> list[Running]:
        """Return the tasks that a worker runs, or those that it has claimed to run next."""
        names = {process.name for process in self.of(worker)}
        return [task for task in self.view.running() if task.worker in names and task.begun == begun]

    def answer(self, replies: dict[str, Any], heads: Sequence[str], rows: Iterable[Sequence[str]], none: str) -> None:
        """Print the replies as JSON, or as a table; ``none`` is what to say when it is empty."""
        if wants_json():
            click.echo(as_json(replies))
        elif rows := list(rows):
            table(heads, rows, folds=("ARGUMENTS", "QUEUES", "VALUE", "FUNCTION"))
        else:
            click.echo(none)

    def facts(self, replies: dict[str, Reply]) -> None:
        """Print what is known of each worker, one fact a line."""
        rows = [(name, key, _flat(value)) for name, reply in replies.items() for key, value in reply.items()]
        self.answer(replies, ("WORKER", "WHAT", "VALUE"), rows, "")


def _flat(value: Any) -> str:
    return value if isinstance(value, str) else as_json(value)


@click.group(cls=Commands, invoke_without_command=True)
@takes_destination
@click.option("--list", "listing", is_flag=True, help="Only list what can be asked.")
@takes_app
@click.pass_context
def inspect(context: click.Context, *, listing: bool) -> None:
    """Ask the living workers what they know and what they do."""
    if listing or context.invoked_subcommand is None:
        names = [name for name, command in inspect.commands.items() if not command.hidden]
        click.echo("\n".join(names) if listing else context.get_help())
        context.exit()


def _question(function: Callable[..., None]) -> click.Command:
    return inspect.command(function.__name__)(takes_destination(takes_app(function)))


@_question
def registered() -> None:
    """Show which functions each worker knows."""
    asked = Asked()
    replies = {worker.name: worker.functions for worker in asked.workers}
    rows = [(name, function) for name, functions in replies.items() for function in functions or ["-"]]
    asked.answer(replies, ("WORKER", "FUNCTION"), rows, "")


@_question
def active() -> None:
    """Show what each worker runs now."""
    asked = Asked()
    _answer_running(asked, begun=True, none=f"{len(asked.workers)} living, and none runs anything.")


@_question
def reserved() -> None:
    """Show what each worker has claimed and not begun: the rest of a batch of short tasks."""
    _answer_running(Asked(), begun=False, none="Nothing is claimed that has not begun.")


def _answer_running(asked: Asked, *, begun: bool, none: str) -> None:
    found = {worker.name: asked.running(worker, begun=begun) for worker in asked.workers}
    replies = {name: [_as_celery(task) for task in tasks] for name, tasks in found.items()}
    rows = [_running_row(task, asked.view.now) for tasks in found.values() for task in tasks]
    asked.answer(replies, ("WORKER", "TASK", "FUNCTION", "ARGUMENTS", "FOR", "ATTEMPT"), rows, none)


def _as_celery(task: Running) -> Reply:
    return {
        "id": task.task_id,
        "name": task.function,
        "args": task.args,
        "kwargs": task.kwargs,
        "hostname": task.worker,
        "time_start": task.since,
        "attempt": task.attempt,
    }


def _running_row(task: Running, now: float) -> tuple[str, ...]:
    return (
        task.worker,
        task.task_id,
        task.function or "(its record is gone)",
        arguments(task.args, task.kwargs),
        duration(task.seconds(now)),
        str(task.attempt),
    )


@_question
def active_queues() -> None:
    """Show which queues each worker serves, and their files."""
    asked = Asked()
    folder = asked.view.folder
    replies = {
        worker.name: [{"name": name, "file": folder.queue(name).name} for name in worker.queues]
        for worker in asked.workers
    }
    rows = [(name, queue["name"], queue["file"]) for name, queues in replies.items() for queue in queues]
    asked.answer(replies, ("WORKER", "QUEUE", "FILE"), rows, "")


@_question
def scheduled() -> None:
    """Show which tasks wait for their time (eta, countdown, the next try)."""
    asked = Asked()
    waiting = list(_waiting_for_their_time(asked.view))
    replies = {
        worker.name: [
            {
                "eta": owed.eta,
                "request": {"id": owed.task_id, "name": owed.function, "args": owed.args, "kwargs": owed.kwargs},
            }
            for owed in waiting
            if owed.queue in worker.queues and owed.function in worker.functions
        ]
        for worker in asked.workers
    }
    rows = [(owed.task_id, owed.function, arguments(owed.args, owed.kwargs), owed.queue, owed.eta) for owed in waiting]
    asked.answer(replies, ("TASK", "FUNCTION", "ARGUMENTS", "QUEUE", "ETA"), rows, "No task waits for its time.")


def _waiting_for_their_time(view: View) -> Iterator[Owed]:
    for queue in view.folder.queue_names():
        yield from view.later(queue)


@_question
def revoked() -> None:
    """Show which tasks were called off."""
    asked = Asked()
    ids = [state.task_id for state in asked.view.ended() if state.status == REVOKED]
    replies = {worker.name: ids for worker in asked.workers}
    asked.answer(replies, ("TASK",), [(task_id,) for task_id in ids], "No task was called off.")


@_question
def ping() -> None:
    """Show which workers live: their kernel locks are held."""
    asked = Asked()
    replies = {worker.name: {"ok": "pong"} for worker in asked.workers}
    asked.answer(replies, ("WORKER", "ANSWER"), [(name, "pong") for name in replies], "")


@inspect.command("query_task")
@takes_destination
@takes_app
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
def query_task(*, task_ids: tuple[str, ...]) -> None:
    """Show which worker has the tasks of these ids."""
    asked = Asked()
    found = [
        (worker.name, "active" if begun else "reserved", task)
        for worker in asked.workers
        for begun in (True, False)
        for task in asked.running(worker, begun=begun)
        if task.task_id in task_ids
    ]
    replies: dict[str, Reply] = {worker.name: {} for worker in asked.workers}
    for name, state, task in found:
        replies[name][task.task_id] = [state, _as_celery(task)]
    rows = [(name, task.task_id, state, task.function) for name, state, task in found]
    asked.answer(replies, ("WORKER", "TASK", "STATE", "FUNCTION"), rows, "No living worker has it. Ask: pmtq result ID")


@_question
def stats() -> None:
    """Show each worker's process, age and pool, and how its tasks have ended."""
    asked = Asked()
    work = _work_of(asked)
    asked.facts(
        {
            worker.name: {
                "pid": worker.pid,
                "uptime": int(worker.seconds_up(asked.view.now)),
                "pool": worker.pool,
                "concurrency": worker.concurrency,
                "processes": [process.pid for process in asked.of(worker)],
                "total": dict(sorted(work[worker.name].items())),
            }
            for worker in asked.workers
        }
    )


def _work_of(asked: Asked) -> dict[str, Counter[str]]:
    """Return by worker how many of its tasks have ended in which state since it started."""
    owner = {process.name: worker for worker in asked.workers for process in asked.of(worker)}
    work: dict[str, Counter[str]] = {worker.name: Counter() for worker in asked.workers}
    for state in asked.view.ended():
        worker = owner.get(state.worker)
        if worker and state.at >= worker.started:
            work[worker.name][state.status] += 1
    return work


@_question
def memdump() -> None:
    """Show the resident memory of each process."""
    asked = Asked()
    replies = {
        worker.name: {process.name: memory_of(process.pid) for process in asked.of(worker)} for worker in asked.workers
    }
    rows = [(name, f"{kib:,} KiB" if kib else "unknown") for sizes in replies.values() for name, kib in sizes.items()]
    asked.answer(replies, ("PROCESS", "RESIDENT"), rows, "")


def memory_of(pid: int) -> int:
    """Return the resident memory of a process in KiB; 0 where the system does not tell."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE") // 1024


@_question
def clock() -> None:
    """Show how far the folder's history goes: the order of lines in results.jsonl is the clock that all share."""
    asked = Asked()
    lines = asked.view.folder.results.stat().st_size if asked.view.folder.results.exists() else 0
    asked.facts({worker.name: {"clock": lines} for worker in asked.workers})


@_question
def conf() -> None:
    """Show what each worker was started with and, with -A, the settings of your code."""
    app = given_app()
    asked = Asked()
    own = app.conf.table() if app else {}
    asked.facts({worker.name: _started_with(worker) | own for worker in asked.workers})


@_question
def report() -> None:
    """Show what a bug report needs of each worker; the versions are those of this command."""
    from pmtq.cli.report import versions

    asked = Asked()
    asked.facts({worker.name: versions() | _started_with(worker) for worker in asked.workers})


def _started_with(worker: Worker) -> Reply:
    return {name: getattr(worker, name) for name in ("host", "pid", "started", "queues", "pool", "concurrency")}


def _absent(name: str, why: str) -> None:
    @inspect.command(name, hidden=True, context_settings={"ignore_unknown_options": True})
    @click.argument("rest", nargs=-1)
    def absent(rest: tuple[str, ...]) -> None:  # noqa: ARG001  (Celery's arguments, whatever they are)
        raise click.ClickException(f"inspect {name} is not there: {why}")

    absent.help = why


_absent("memsample", "it takes samples inside the worker. The memory as it is now: pmtq inspect memdump")
_absent("objgraph", "it draws objects inside the worker, which only reads files. In the task itself: import objgraph")
