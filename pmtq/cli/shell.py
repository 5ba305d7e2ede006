"""``pmtq shell``: a Python prompt with the app and its tasks at hand."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import click

from pmtq import PMTQ, AsyncResult, Task, __version__
from pmtq.cli.options import client_app, is_quiet, takes_app
from pmtq.exceptions import ImproperlyConfigured

_KINDS = {"ipython": "IPython", "bpython": "bpython", "python": "code"}
"""The prompts in the order in which one is chosen, and the module each needs."""


@click.command()
@click.option("-I", "--ipython", "kind", flag_value="ipython", help="Take IPython.")
@click.option("-B", "--bpython", "kind", flag_value="bpython", help="Take bpython.")
@click.option("--python", "kind", flag_value="python", help="Take Python's own prompt.")
@click.option("-T", "--without-tasks", is_flag=True, help="Leave the tasks out.")
@takes_app
def shell(*, kind: str | None, without_tasks: bool) -> None:
    """Open a Python prompt with the app and its tasks at hand.

    Without -I, -B or --python the first of these that is installed is taken. There are `app` (also as `celery`), the tasks
    by the names of their functions, AsyncResult, Task and PMTQ.
    """
    app = client_app()
    names = names_at_hand(app, with_tasks=not without_tasks)
    chosen = kind or next(name for name, module in _KINDS.items() if importlib.util.find_spec(module))
    if importlib.util.find_spec(_KINDS[chosen]) is None:
        raise ImproperlyConfigured(
            f"{chosen} is not installed. Install it: pip install {chosen}; or take pmtq shell --python"
        )
    tasks = ", ".join(name for name, value in names.items() if isinstance(value, Task)) or "none"
    head = (
        "" if is_quiet() else f"pmtq {__version__}, app {app.main or '-'!r}, folder {app.folder.path}. Tasks: {tasks}"
    )
    _open(chosen, names, head)


def names_at_hand(app: PMTQ, *, with_tasks: bool) -> dict[str, Any]:
    """Return what can be named at the prompt; a task whose short name is taken already keeps its long one only."""
    names: dict[str, Any] = {"PMTQ": PMTQ, "AsyncResult": AsyncResult, "Task": Task, "app": app, "celery": app}
    for task_name, task in app.tasks.items() if with_tasks else ():
        names.setdefault(task_name.rpartition(".")[2], task)
    return names


def _open(kind: str, names: dict[str, Any], head: str) -> None:
    module: Any = importlib.import_module(_KINDS[kind])
    if kind == "ipython":
        module.start_ipython(argv=[], user_ns=names)
    elif kind == "bpython":
        module.embed(names, banner=head)
    else:
        module.interact(banner=head, local=names, exitmsg="")
