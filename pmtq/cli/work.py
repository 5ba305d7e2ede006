"""``pmtq worker``: the options of a worker, and its start.

1. What is asked for on the command line counts more than the app's settings, and these more than the defaults.
2. An option of Celery's that has nothing to do here is accepted, and its help says why.

It does not know how a worker works: that is ``pmtq.worker``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from pmtq.app import PMTQ
from pmtq.beat import beside_a_worker
from pmtq.cli import background
from pmtq.cli.banner import say_in_colour, show_banner
from pmtq.cli.finding import Tasks, import_module, main_module
from pmtq.cli.logs import Style, set_up
from pmtq.cli.nodes import expanded
from pmtq.cli.options import (
    CODE_OF_TASKS,
    Grouped,
    app_name,
    as_a_service,
    chosen_queues,
    in_group,
    is_quiet,
    loglevel,
    names_in,
    required_app,
    setting,
    takes_app,
)
from pmtq.cli.text import visible
from pmtq.exceptions import ImproperlyConfigured
from pmtq.folder import DEFAULT_QUEUE, Folder, priority_of
from pmtq.wording import counted
from pmtq.worker import supervisor
from pmtq.worker.pace import Slow

F = TypeVar("F", bound=Callable[..., Any])
POOLS = ("solo", "prefork", "processes", "threads", "asyncio", "gevent", "eventlet")
_CONCURRENCY = {"threads": 10, "asyncio": 1000, "gevent": 1000, "eventlet": 1000}
"""How many tasks run at a time where ``-c`` does not say; a process more is never free, so there it is 1."""


@dataclass(frozen=True)
class Wishes:
    """What the command line asks of a worker; None and empty texts stand for "as the app says, or as usual"."""

    hostname: str
    loglevel: str
    concurrency: int | None
    pool: str | None
    autoscale: tuple[int, int] | None
    max_tasks_per_child: int | None
    max_memory_per_child: int | None
    time_limit: float | None
    soft_time_limit: float | None
    queues: str
    exclude_queues: str
    include: str
    purge: bool
    beat: bool
    schedule: str
    logfile: str
    pidfile: str
    burst: bool
    once: bool
    step: bool
    slow: float | None


def _scale(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Return the most and the fewest processes that ``10,3`` names; ``10`` alone allows none at all, as in Celery."""
    if value is None:
        return None
    numbers = [int(number) if number.strip().isdigit() else -1 for number in value.split(",")]
    if len(numbers) > 2 or min(numbers) < 0 or max(numbers) < 1:
        raise click.BadParameter(
            f"{value!r} is not the most and the fewest processes, such as 10,3", context, parameter
        )
    return max(numbers), min(numbers) if len(numbers) > 1 else 0


def _accepted(*names: str, meaning: str, **settings: Any) -> Callable[[F], F]:
    option = in_group("Accepted, so that Celery's command lines work")
    return option(*names, help=meaning, expose_value=False, **settings)


_worker, _pool, _queues = in_group("The worker"), in_group("How it runs tasks"), in_group("Which tasks")
_learning, _beat = in_group("For learning and trying"), in_group("Periodic tasks")
_seconds, _number = click.FloatRange(min=0, min_open=True), click.IntRange(min=1)


@click.command(cls=Grouped)
@_worker(
    "-n",
    "--hostname",
    metavar="NAME",
    default="",
    help="Its name; %h is the host, %n its first part, %d its domain. [default: worker1@%h, or the next free one]",
)
@loglevel(_worker)
@_worker("-f", "--logfile", metavar="FILE", default="", help="Log there, not on stderr; %n %h %d %p %i %I work.")
@_pool("-c", "--concurrency", type=_number, metavar="N", help="So many tasks at a time. [default: 1]")
@_pool(
    "-P",
    "--pool",
    type=click.Choice(POOLS),
    metavar="POOL",
    help=f"{', '.join(POOLS)}. [default: solo for -c 1, else prefork]",
)
@_pool("--autoscale", callback=_scale, metavar="MAX,MIN", help="Let the pool grow and shrink with the work.")
@_pool("--max-tasks-per-child", type=_number, metavar="N", help="Replace a pool process after so many tasks.")
@_pool("--max-memory-per-child", type=_number, metavar="KIB", help="Replace it when it has grown so large.")
@_pool("--time-limit", type=_seconds, metavar="SECONDS", help="End a task, and its process, after so long.")
@_pool("--soft-time-limit", type=_seconds, metavar="SECONDS", help="Raise SoftTimeLimitExceeded in it after so long.")
@_queues("-Q", "--queues", metavar="A,B", default="", help=f"Serve these queues. [default: {DEFAULT_QUEUE}]")
@_queues(
    "-X", "--exclude-queues", metavar="A,B", default="", help="Serve all others: those of your code, those with a file."
)
@_queues("-I", "--include", metavar="A,B", default="", help="Import these modules, too.")
@_queues("--purge", "--discard", is_flag=True, help="First call off every task that waits in these queues.")
@_beat("-B", "--beat", is_flag=True, help="Post the periodic tasks, too.")
@_beat("-s", "--schedule", "--schedule-filename", metavar="FILE", default="", help="Where their last runs are kept.")
@as_a_service("the worker", background.PID)
@_learning("--burst", is_flag=True, help="Run what is there, then end.")
@_learning("--once", is_flag=True, help="Run one task, then end; with --burst do not wait for it.")
@_learning("--step", is_flag=True, help="Stop at every stage of a task until Enter is pressed.")
@_learning("--slow", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop so long at every stage of a task.")
@_learning("--reload", is_flag=True, help="Start again, gently, whenever a source file changes.")
@_accepted(
    "-E",
    "--task-events",
    "--events",
    is_flag=True,
    meaning="Every event is a line in results.jsonl anyway: pmtq events",
)
@_accepted("-O", "--optimization", metavar="PROFILE", meaning="Tasks go to whoever is free, which Celery calls fair.")
@_accepted(
    "--prefetch-multiplier", type=int, metavar="N", meaning="A worker takes a few milliseconds of work at a time."
)
@_accepted("--disable-prefetch", is_flag=True, meaning="A worker gives back what it cannot begin soon.")
@_accepted("-S", "--statedb", metavar="FILE", meaning="What was revoked stands in results.jsonl, over restarts, too.")
@_accepted("--without-gossip", is_flag=True, meaning="Workers do not talk to each other; they read the folder.")
@_accepted("--without-mingle", is_flag=True, meaning="A worker that starts reads the folder and asks nobody.")
@_accepted(
    "--without-heartbeat", is_flag=True, meaning="There is no heartbeat to leave out: a kernel lock says who lives."
)
@_accepted(
    "--heartbeat-interval",
    type=float,
    metavar="SECONDS",
    meaning="There is no heartbeat: a kernel lock says who lives.",
)
@_accepted("--scheduler", metavar="CLASS", meaning="There is one scheduler; pmtq schedule changes it while it runs.")
@_accepted("--executable", metavar="FILE", meaning="-D goes on in this Python; pmtq multi starts the one named here.")
@takes_app
def worker(*, reload: bool, detach: bool, uid: str, gid: str, umask: str, **wishes: Any) -> int | None:
    """Run the tasks of your app as they arrive."""
    if detach:
        wishes["logfile"] = wishes["logfile"] or background.LOG
        wishes["pidfile"] = wishes["pidfile"] or background.PID
    asked = Wishes(**wishes)
    _refuse_what_is_at_odds(asked, reload=reload, detach=detach)
    if reload:
        from pmtq.cli.reload import run_again_and_again

        return run_again_and_again(Path.cwd())
    up = background.detach() if detach else None
    background.drop_privileges(uid, gid, umask)
    _run(asked, up)
    return None


def _refuse_what_is_at_odds(asked: Wishes, *, reload: bool, detach: bool) -> None:
    """Raise ``UsageError`` for two options that cannot both be meant."""
    alone = "--step" if asked.step else "--once" if asked.once else ""
    several = (asked.concurrency or 1) > 1 or asked.autoscale
    if asked.pool == "solo" and several:
        raise click.UsageError(
            "-P solo is one process, and -c asks for several. Leave one of them out.", click.get_current_context()
        )
    if alone and (asked.pool not in {None, "solo"} or (several and alone == "--once")):
        raise click.UsageError(
            f"{alone} follows one task at a time, in this process. Leave -P and -c out.", click.get_current_context()
        )
    if detach and (reload or asked.step):
        raise click.UsageError(
            f"{'--reload' if reload else '--step'} is for a terminal, and -D leaves it. Leave one of them out.",
            click.get_current_context(),
        )


def _run(asked: Wishes, up: Callable[[str], None] | None) -> None:
    """Start the worker and return when it has ended; ``up`` is called when it goes to work in the background."""
    app = required_app(CODE_OF_TASKS)
    for name in names_in(asked.include):
        import_module(name)
    app.finalize()
    plan = _plan(app, asked)
    app.folder.make()
    if asked.purge:
        _purge(app.folder, plan.queues)
    with supervisor.holding_signals():
        presence = supervisor.take_name(plan, asked.hostname)
        with contextlib.ExitStack() as stack:
            try:
                log = expanded(asked.logfile, presence.name)
                plan.prepare(presence.name)
                stack.enter_context(background.pid_file(expanded(asked.pidfile, presence.name)))
            except BaseException:
                presence.leave()
                raise
            if up:
                click.echo(f"{presence.name} runs in the background as process {os.getpid()}; its log: {visible(log)}")
                up(log)
            if not is_quiet():
                show_banner(app, presence.name, plan, log, names_in(asked.exclude_queues))
            look_after = None
            if plan.beat:
                in_child = plan.pool == supervisor.PREFORK
                look_after = stack.enter_context(beside_a_worker(app, plan.schedule, in_child=in_child))
            supervisor.work(plan, presence, look_after=look_after)


def _purge(folder: Folder, queues: list[str]) -> None:
    from pmtq.revoking import Revoking

    click.echo(
        f"{counted(Revoking(folder).purge(chosen_queues(folder, ','.join(queues))), 'waiting task')} called off (REVOKED)",
        err=True,
    )


def _plan(app: PMTQ, asked: Wishes) -> supervisor.Plan:
    """Return what the worker is to do, from the command line, else from the settings, else as usual."""

    def wanted(option: str, name: str) -> Any:
        given = getattr(asked, option)
        return setting(app, name) if given is None else given

    limits = {
        "time_limit": wanted("time_limit", "task_time_limit"),
        "max_tasks_per_child": wanted("max_tasks_per_child", "worker_max_tasks_per_child"),
        "max_memory_per_child": wanted("max_memory_per_child", "worker_max_memory_per_child"),
    }
    pool, concurrency = _pool_and_size(
        wanted("pool", "worker_pool"),
        wanted("concurrency", "worker_concurrency"),
        one=asked.step or asked.once,
        needs_children=bool(asked.autoscale or any(limits.values())),
    )
    style = Style.of(app.conf)
    if asked.step or asked.slow is not None:  # whoever follows a task wants to see what it prints as it is
        style = style._replace(redirect_level="")
    return supervisor.Plan(
        folder=app.folder,
        queues=_served(app, asked),
        load=Tasks(app_name() or main_module(), app),
        pool=pool,
        concurrency=concurrency,
        burst=asked.burst,
        once=asked.once,
        make_pace=_pace(asked),
        prepare=partial(set_up, asked.loglevel, asked.logfile and str(Path(asked.logfile).absolute()), style=style),
        soft_time_limit=wanted("soft_time_limit", "task_soft_time_limit"),
        **limits,
        autoscale=asked.autoscale,
        beat=asked.beat,
        schedule=asked.schedule,
    )


def _pool_and_size(pool: str | None, concurrency: int | None, *, one: bool, needs_children: bool) -> tuple[str, int]:
    """Return which pool it is to be, and how many tasks run in it at a time.

    If nobody says, it is this process alone, unless there are to be several, or what was asked for only children can do.
    """
    if one:
        return supervisor.SOLO, 1
    concurrency = concurrency or _CONCURRENCY.get(pool or "", 1)
    if pool in {"gevent", "eventlet"} and importlib.util.find_spec(pool) is None:
        raise ImproperlyConfigured(
            f"-P {pool} needs the package {pool}, which is not installed. Nothing was started. Install it: pip install "
            f"{pool}; or take -P threads, or -P asyncio for async def tasks"
        )
    if pool in {None, "processes"}:
        alone = pool is None and concurrency == 1 and not needs_children
        pool = supervisor.SOLO if alone else supervisor.PREFORK
    return pool or supervisor.SOLO, concurrency


def _pace(asked: Wishes) -> Callable[[], Slow] | None:
    if asked.step or asked.slow is not None:
        return partial(Slow, None if asked.step else asked.slow, say_in_colour)
    return None


def _served(app: PMTQ, asked: Wishes) -> list[str]:
    """Return the queues of ``-Q`` without those of ``-X``; raises ``ImproperlyConfigured`` if that leaves none."""
    usual = _declared(app) or [setting(app, "task_default_queue") or DEFAULT_QUEUE]
    if asked.exclude_queues:
        usual = [
            *usual,
            *(task.queue for task in app.tasks.values() if task.queue),
            *(priority_of(name)[0] for name in app.folder.queue_names()),
        ]
    wanted = names_in(asked.queues or ",".join(usual))
    without = names_in(asked.exclude_queues)
    for name in [*wanted, *without]:
        app.folder.queue(name)  # refuses a name that no queue can have
    if queues := [name for name in wanted if name not in without]:
        return queues
    raise ImproperlyConfigured(
        f"-X {asked.exclude_queues} leaves none of the queues {', '.join(wanted)}. Nothing was started. Name one: -Q {wanted[0]}"
    )


def _declared(app: PMTQ) -> list[str]:
    """Return the names in the setting ``task_queues``, which holds names or objects that have one."""
    return [getattr(queue, "name", queue) for queue in setting(app, "task_queues") or ()]
