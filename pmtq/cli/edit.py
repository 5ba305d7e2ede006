"""``pmtq edit``: a queue file in the person's editor.

1. The person edits a copy in ``edits/``. It stays there, and is named, whenever it was changed and not put in place.
2. A slip is shown with its place before anything is put in place, and the copy may be opened again.

It does not know how the copy becomes the queue: that is ``pmtq.editing``, which also says why it is a copy.
"""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import click

from pmtq import disk
from pmtq.cli.options import existing_folder, takes_app
from pmtq.cli.text import visible, visible_lines
from pmtq.editing import Draft, NotEditedError, Outcome, Slip
from pmtq.exceptions import LockHeld, PmtqError, QueueNotFound
from pmtq.folder import DEFAULT_QUEUE, Folder, priority_of, with_priority
from pmtq.wording import counted, signal_name

_EDITORS = ("notepad",) if os.name == "nt" else ("vi", "vim", "nano", "editor")
_SHOWN = 5
"""So many slips are shown at a time."""


class EditorFailedError(PmtqError):
    """The editor could not be started, or ended in a way that says that nothing is to be changed."""


@click.command()
@takes_app
@click.argument("queue", default=DEFAULT_QUEUE, metavar="[QUEUE]")
def edit(*, queue: str) -> None:
    """Open a queue in your editor; what is posted meanwhile is kept.

    \b
        pmtq edit            the default queue, queue.jsonl
        pmtq edit low        queue.low.jsonl
        pmtq edit low.p9     the calls of priority 9 in queue low

    You see what has not ended. Change, add, sort or take out lines, and save: workers and clients go on meanwhile, and what
    they did is merged in. A line that is taken out is called off. The editor is $VISUAL, or $EDITOR, or vi; if it ends with
    an error, nothing is changed.
    """  # noqa: D301  (the backspace tells click to leave these lines as they are)
    folder = existing_folder()
    draft = Draft(folder, _file_name(folder, queue))
    try:
        copy = _new_copy(folder, draft)
        with ExitStack() as merging:
            with _keeping(copy, draft):
                _say_what_is_shown(draft, copy, folder)
                outcome = _edited(draft, copy, merging)
            disk.remove(copy)
    finally:
        draft.close()
    click.echo("nothing was changed" if outcome is None else _told(outcome, draft, folder))


def _file_name(folder: Folder, queue: str) -> str:
    """Return the name of a queue's file: of ``celery.p9``, ``p9``.

    Raises ``ImproperlyConfigured`` for a name that no queue can have, ``QueueNotFound`` for one that none has, so that a slip
    makes no queue that no worker serves.
    """
    name = queue.removeprefix("queue.").removesuffix("jsonl").removesuffix(".") if queue.endswith(".jsonl") else queue
    name = with_priority(*priority_of(name or DEFAULT_QUEUE))
    folder.queue(name)
    known = dict.fromkeys([*folder.queue_names(), *(one for one, _, _ in folder.sealed_queues())])
    if name not in known and name != DEFAULT_QUEUE:
        there_are = f"there are: {', '.join(known)}" if known else "no other has one either"
        raise QueueNotFound(f"queue {name} has no file yet; {there_are}", name, tuple(known))
    return name


def _new_copy(folder: Folder, draft: Draft) -> Path:
    """Write the copy, under a name that nothing has, so that what an edit before has left stays."""
    copy, descriptor = _new_file(folder, folder.queue(draft.queue).stem)
    try:
        if draft.text:
            disk.append(descriptor, draft.text, copy, 0)
    except BaseException:
        disk.remove(copy)
        raise
    finally:
        os.close(descriptor)
    return copy


def _new_file(folder: Folder, stem: str) -> tuple[Path, int]:
    """Make the file with the lowest number that nobody has, also if another edit looks for one at this moment; open it."""
    folder.make()
    disk.make_folder(folder.edits)
    for number in itertools.count(1):
        path = folder.edits / f"{stem}.{number}.jsonl"
        with suppress(FileExistsError):
            return path, disk.open_file(path, is_new=True)
    raise AssertionError  # the numbers do not end


@contextmanager
def _keeping(copy: Path, draft: Draft) -> Iterator[None]:
    """Say what has become of the copy when nothing comes of the edit: it is kept if it was changed."""
    try:
        yield
    except (PmtqError, KeyboardInterrupt, click.Abort) as error:
        what = str(error) if isinstance(error, PmtqError) else "interrupted. Nothing was changed."
        end = " " if what.endswith(".") else "\n"  # behind something to type no full stop, and nothing else
        if _read(copy) in {draft.text, None}:
            disk.remove(copy)
            raise EditorFailedError(what) from error
        raise EditorFailedError(
            f"{what}{end}What you have written is kept in {copy}. Open the queue again and take over from there what you need: "
            f"pmtq edit{'' if draft.queue == DEFAULT_QUEUE else f' {draft.queue}'}"
        ) from error


def _say_what_is_shown(draft: Draft, copy: Path, folder: Folder) -> None:
    others = ", ".join(visible(path.name) for path in folder.copies() if path != copy)
    if others:
        where = visible(str(folder.edits))
        click.echo(f"{others} in {where}: open in another terminal, or left by an edit before this one", err=True)
    if draft.left_out:
        which = "a task that has" if draft.left_out == 1 else "tasks that have"
        click.echo(f"not shown: {counted(draft.left_out, 'record')} of {which} ended", err=True)


def _edited(draft: Draft, copy: Path, merging: ExitStack) -> Outcome | None:
    """Have the person edit until it can be put in place; return what came of it, None if nothing was changed.

    Ctrl-C ends the wait for a lock. From the moment when the locks are ours until ``merging`` is left it does nothing.
    """
    while True:
        _open_in_editor(copy)
        text = _read(copy)
        if text is None or text == draft.text:
            return None
        if slips := draft.check(text):
            problem = _shown(slips, copy)
        else:
            try:
                return draft.put(text, time.time(), lambda: merging.enter_context(_uninterrupted()))
            except (NotEditedError, LockHeld) as error:
                merging.close()
                problem = str(error)
        if not sys.stdin.isatty():
            raise EditorFailedError(problem)
        click.echo(visible_lines(problem), err=True)
        if not click.confirm("Open it again?", default=True, err=True):
            raise EditorFailedError("the copy was left as it is. Nothing was changed.")


def _shown(slips: list[Slip], copy: Path) -> str:
    lines = [f"line {one.line}, column {one.column}: {one.reason}. {one.remedy}".rstrip() for one in slips]
    more = [f"… and {len(slips) - _SHOWN:,} more"] if len(slips) > _SHOWN else []
    return "\n".join([f"in your copy, {copy}:", *lines[:_SHOWN], *more, "Nothing was changed."])


def _open_in_editor(copy: Path) -> None:
    """Wait until the person has closed the editor. Raises ``EditorFailedError`` if it did not end well."""
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or next(filter(shutil.which, _EDITORS), "")
    if not command:
        raise EditorFailedError("there is no editor. Nothing was changed. Name yours: EDITOR=nano pmtq edit")
    try:
        with _uninterrupted():
            words = [*shlex.split(command, posix=os.name != "nt"), str(copy)]
            status = subprocess.run(words, check=False).returncode  # noqa: S603  (the person's own editor)
    except (OSError, ValueError) as error:
        raise EditorFailedError(
            f"the editor {command!r} cannot be started: {error}. Nothing was changed. Name another: EDITOR=vi pmtq edit"
        ) from error
    if status:
        how = f"was ended by {signal_name(-status)}" if status < 0 else f"ended with status {status}"
        raise EditorFailedError(f"the editor {command!r} {how}. Nothing was changed.")


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Leave Ctrl-C to the editor, which it is meant for, and let nothing break off what is being put in place.

    A handler and not ``SIG_IGN``, because that the editor would inherit.
    """
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _read(copy: Path) -> bytes | None:
    """Return what stands in the copy; None if it is gone."""
    try:
        return disk.read_file(copy)
    except FileNotFoundError:
        return None


def _told(outcome: Outcome, draft: Draft, folder: Folder) -> str:
    """Return what was done, and what follows from it."""
    queue, _ = priority_of(draft.queue)
    counts = [(outcome.added, "added"), (len(outcome.changed), "changed"), (len(outcome.called_off), "called off")]
    done = (
        ", ".join(f"{number:,} {what}" for number, what in counts if number)
        or "the same records, in the order you gave them"
    )
    lines = [f"{folder.queue(draft.queue).name}: {done}"]
    if outcome.behind:
        lines.append(f"{counted(outcome.behind, 'record')} posted meanwhile: behind the edited ones")
    for task_id, worker in outcome.running.items():
        lines.append(f"{worker} runs task {task_id} as it was; what you changed counts if it is started again")
    if ids := [one for one in outcome.called_off if one not in outcome.running]:
        lines.append(f"To have one run after all: pmtq requeue {ids[0]}")
    lines.append(f"See what waits: pmtq queue -Q {queue}")
    return visible_lines("\n".join(lines))
