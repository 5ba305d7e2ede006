"""The tasks that ended badly: which, why, and the call of each, so that it can be made again.

1. A dead task stays dead: what is posted again is a new task, with an id of its own and the old one in its headers.
2. A call is taken from the queue file as long as it stands there, else from the final line, where a worker wrote it.
3. What was posted again is noted by repeating the old task's final line, so that asking for all twice posts none twice.

It does not know what went wrong, only what was said about it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from pmtq.archive import all_lines, call_of
from pmtq.backend import Backend
from pmtq.exceptions import PmtqError
from pmtq.folder import DEFAULT_QUEUE, Folder
from pmtq.ids import new_task_id
from pmtq.journal import Journal
from pmtq.records import StateRecord, TaskRecord, epoch
from pmtq.scan import DERIVED_ID, Fault, Scanner, with_task_id
from pmtq.states import EXCEPTION_STATES, FAILURE, FINAL_STATES, FORGOTTEN, REJECTED, REVOKED
from pmtq.steps import CULPRIT

DEAD_STATES = frozenset({FAILURE, REVOKED, REJECTED})
"""IGNORED is not among them: such a call was not wanted, by the task itself or because the same one was owed already."""
_KEPT = ("priority", "time_limit", "soft_time_limit", "shadow", "parent_id", "root_id")
_AGAIN = "requeued_as"
"""The key under which a repeated final line names the task that was posted in the dead one's place."""


class NotRequeuedError(PmtqError):
    """A task could not be posted again. Nothing was queued."""


class Dead(msgspec.Struct, kw_only=True):
    """One task that ended badly."""

    task_id: str
    status: str
    reason: str
    """The type of the error and its message."""
    at: str = ""
    worker: str = ""
    attempt: int = 0
    function: str = ""
    """Empty where the final line does not tell the call."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    rejected: int = 0
    """The line of ``rejected.jsonl`` that holds its text, counted from 1; 0 if it was a record."""
    requeued_as: str = ""
    """The id of the task that was posted in its place."""


class Rejected(msgspec.Struct):
    """One line of ``rejected.jsonl``."""

    task_id: str
    file: str = ""
    text: str = ""


class DeadTasks:
    """The dead tasks of one folder."""

    def __init__(self, folder: Folder, backend: Backend) -> None:
        """Look into ``folder``, of which ``backend`` reads the results."""
        self._folder = folder
        self._backend = backend

    def list(self, limit: int | None = 20, states: Collection[str] = DEAD_STATES, function: str = "") -> list[Dead]:
        """Return the last ``limit`` dead tasks (None: all), the newest first; only of ``function`` if one is named."""
        found: dict[str, Dead] = {}
        again: dict[str, str] = {}
        forgotten: set[str] = set()
        numbers = {line.task_id: number for number, line in enumerate(self._rejected(), 1)}
        for path in [self._folder.results, *self._folder.sealed_results()]:
            for state in reversed(_ends(Journal(path), again, forgotten)):
                dead = _dead(state, numbers.get(state.task_id, 0))
                if state.task_id not in forgotten and state.status in states and function in {"", dead.function}:
                    found.setdefault(state.task_id, dead)
            if limit is not None and len(found) >= limit:
                break
        for task_id in found.keys() & again.keys():
            found[task_id].requeued_as = again[task_id]
        return [*found.values()][:limit]

    def call(self, task_id: str) -> tuple[TaskRecord, str]:
        """Return the call of a dead task and the queue it was posted to, which is empty if nobody knows it any more.

        Raises ``NotRequeuedError``.
        """
        final = self._backend.state(task_id)
        standing = call_of(self._folder, task_id)
        if final.status not in EXCEPTION_STATES:
            raise NotRequeuedError(_not_dead(final, is_owed=bool(standing), folder=self._folder))
        if culprit := (final.error or {}).get(CULPRIT):
            raise NotRequeuedError(
                f"task {task_id} was a step of a workflow, and was not run because task {culprit} had not ended well, so its "
                f"arguments were never there. Nothing was queued. Post the workflow again, or that one: pmtq requeue {culprit}"
            )
        if standing and final.record and standing[0].after is not None:
            return final.record, standing[1]  # what a step was given stands in its end and nowhere else
        if standing:
            return standing
        if final.record:
            return final.record, final.queue
        raise NotRequeuedError(self._call_is_lost(task_id))

    def note(self, task_id: str, new_id: str) -> None:
        """Write down that ``new_id`` was posted in the place of a dead task, of whose end those who waited have heard."""
        final = self._backend.state(task_id)
        self._backend.store(msgspec.structs.replace(final, result={_AGAIN: new_id}, traceback="", followers=None))

    def mended(self, number: int, text: str | None = None) -> tuple[str, str]:
        """Post line ``number`` of ``rejected.jsonl`` again, with ``text`` in its place; return the id and the function.

        Raises ``NotRequeuedError`` if there is no such line, or if what it holds is still no record.
        """
        line = self.rejected_line(number)
        source = (line.text if text is None else text).strip().encode() + b"\n"
        record = Scanner().read_by_hand(source)
        if isinstance(record, Fault):
            raise NotRequeuedError(
                f"line {number} of {self._folder.rejected} is still no task record: {record.reason} at column "
                f"{record.column}. Nothing was queued. {record.remedy or 'Mend it'}, and give the whole text: "
                f"pmtq requeue --rejected {number} '{{\"function\": …}}'"
            )
        name = line.file.removeprefix("queue").removesuffix(".jsonl").removeprefix(".") or DEFAULT_QUEUE
        task_id = new_task_id() if record.task_id.startswith(DERIVED_ID) else record.task_id
        Journal(self._folder.queue(name)).append(with_task_id(source, task_id))
        return task_id, record.function

    def rejected_line(self, number: int) -> Rejected:
        """Return line ``number`` of ``rejected.jsonl``, counted from 1. Raises ``NotRequeuedError``."""
        lines = list(self._rejected())
        if 1 <= number <= len(lines):
            return lines[number - 1]
        there = f"it has {len(lines)}" if lines else "it is empty"
        raise NotRequeuedError(
            f"there is no line {number} in {self._folder.rejected}: {there}. Nothing was queued. "
            "See which was rejected: pmtq dead --state REJECTED"
        )

    def _rejected(self) -> Iterator[Rejected]:
        """Yield what the lines of ``rejected.jsonl`` say; one that a person wrote over says nothing, and counts."""
        for line in _lines(Journal(self._folder.rejected)):
            try:
                yield msgspec.json.decode(line, type=Rejected)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                yield Rejected("")

    def _call_is_lost(self, task_id: str) -> str:
        number = next((place for place, line in enumerate(self._rejected(), 1) if line.task_id == task_id), 0)
        if number:
            return (
                f"task {task_id} was no task record; its text is line {number} of {self._folder.rejected}. Nothing was "
                f"queued. Mend it: pmtq requeue --rejected {number} --edit"
            )
        return (
            f"the call of task {task_id} is not known any more: its final line does not hold it, and its queue file was "
            "cleared. Nothing was queued. Make the call anew: pmtq call NAME ARGUMENTS"
        )


def options_again(record: TaskRecord, now: float) -> dict[str, Any]:
    """Return the options with which a dead task's call is made again: its own, but for what was meant for its time."""
    options: dict[str, Any] = {name: value for name in _KEPT if (value := getattr(record, name))}
    if record.ignore_result is not None:
        options["ignore_result"] = record.ignore_result
    if record.expires and epoch(record.expires) > now:
        options["expires"] = record.expires
    return options | {"headers": {**(record.headers or {}), "requeued_from": record.task_id}}


def _lines(journal: Journal) -> Iterator[bytes]:
    offset = 0
    if journal.refresh():
        while lines := journal.read(offset):
            offset += len(lines)
            yield from lines.splitlines()
    journal.close()


def _ends(journal: Journal, again: dict[str, str], forgotten: set[str]) -> list[StateRecord]:
    """Return the bad ends that one results file tells, in its order.

    Put into ``again`` which tasks were posted once more, and into ``forgotten`` those that nobody is to be told of.
    """
    ended: set[str] = set()
    bad = []
    for state in all_lines(journal):
        if state.status == FORGOTTEN:
            forgotten.add(state.task_id)
        if state.status not in FINAL_STATES:
            continue
        if state.status in EXCEPTION_STATES:
            if isinstance(state.result, dict) and _AGAIN in state.result:
                again.setdefault(state.task_id, str(state.result[_AGAIN]))
            if state.task_id not in ended:
                bad.append(state)
        ended.add(state.task_id)
    return bad


def _dead(state: StateRecord, rejected: int) -> Dead:
    error = state.error or {}
    args, kwargs = state.record.arguments() if state.record else ((), {})
    return Dead(
        task_id=state.task_id,
        status=state.status,
        reason=": ".join(str(error[key]) for key in ("type", "message") if error.get(key)),
        at=state.at,
        worker=state.worker,
        attempt=state.attempt,
        function=state.record.function if state.record else "",
        args=list(args),
        kwargs=dict(kwargs),
        rejected=rejected,
    )


def _not_dead(final: StateRecord, *, is_owed: bool, folder: Folder) -> str:
    if final.status in FINAL_STATES:
        what = f"ended as {final.status}, and only what ended badly is posted again"
        remedy = "To have it run once more, call it anew: pmtq call NAME ARGUMENTS"
    elif is_owed or final.status != "PENDING":
        what, remedy = (
            "is not done with, so it is going to run anyway",
            f"See what it waits for: pmtq result {final.task_id}",
        )
    else:
        what, remedy = f"is not known in {folder.path}", "See which are: pmtq dead"
    return f"task {final.task_id} {what}. Nothing was queued. {remedy}"
