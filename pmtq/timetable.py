"""``schedule.json``: what the scheduler is to do and has done, as text that a person can read and edit while it runs.

1. The file is always whole: a new version is written beside it, brought to the disk, and takes its name.
2. Programs that change it hold ``schedule.json.edit.lock`` for that moment, and read it anew before. An editor need not.
3. What a person wrote is never thrown away: unknown keys stay, as does an entry with a slip, which is told what is wrong
   with it; a file that cannot be read is left alone.

It does not know what is due: that is the scheduler's, which holds ``schedule.json.lock`` as long as it lives.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from pmtq import disk
from pmtq.exceptions import ImproperlyConfigured, OperationalError
from pmtq.lock import Lock
from pmtq.wording import typed

FILE_NAME = "schedule.json"
Missed = Literal["once", "skip", "all"]
_ALWAYS = ("task", "schedule", "missed", "paused", "made_by", "last_run", "next_run")
"""Keys that are written even when they say nothing, so that a person sees what may be set."""


_SLIP = "wrong as it stands: "
"""How the error of an entry begins that cannot be understood."""


class Entry(msgspec.Struct, kw_only=True):
    """One task that runs by the clock. Times are RFC 3339 text with an offset; one without counts as UTC."""

    task: str
    schedule: str | float
    """As ``schedules.from_text`` reads it: ``every 10 s``, ``crontab 0 7 * * mon-fri``."""
    in_words: str = ""
    """The same for people, where that says more. Written only."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    options: dict[str, Any] = {}
    """Options of ``apply_async``: ``{"queue": "low", "expires": 10}``."""
    missed: Missed = "once"
    """What is done about runs that nobody was there for: one is made up for them all, none, or each of them is."""
    paused: bool = False
    made_by: Literal["hand", "code"] = "hand"
    """Who has it: an entry of the code says what the code says, and goes when it leaves the code."""
    last_run: str | None = None
    """The planned time of the last run."""
    next_run: str | None = None
    """The planned time of the next run. Written only."""
    last_task: str = ""
    """The id of the task that was posted last."""
    since: str = ""
    """Runs planned up to this time do not count any more, though they were not made."""
    run_now: bool | str = False
    """A wish for a run now, beside the planned ones; if it is text, that is to be the task's id."""
    error: str = ""
    """Why it is not run, if that is so. Written only."""
    more: dict[str, Any] = {}
    """What else stood there."""
    slip: Any = msgspec.UNSET
    """All that stands there, if it cannot be understood: then it is written again as it is, and nothing else here counts."""

    def settled(self) -> list[datetime]:
        """Return the times up to which nothing is left to do, of which the last one counts; none for an entry that is new."""
        return [parse_time(text) for text in (self.last_run, self.since) if text]


_OWN = tuple(name for name in Entry.__struct_fields__ if name not in {"more", "slip"})
"""The keys of an entry that mean something; under any other a person may write what they like."""


class _Mark(NamedTuple):
    """Tells one version of a file from another."""

    inode: int
    modified: int
    size: int


_NO_FILE = _Mark(0, 0, 0)


class EditedMeanwhile(OperationalError):
    """The file was saved by an editor while it was being changed here: nothing was written."""


class Timetable:
    """One such file, as one thread sees it."""

    def __init__(self, path: Path) -> None:
        """Take the file's path; nothing need be there yet."""
        self.path = path
        self.leadership = Lock(path.with_name(f"{path.name}.lock"))
        """Whoever has it fires; the others stand by."""
        self._editing = Lock(path.with_name(f"{path.name}.edit.lock"))
        self._mark: _Mark | None = None

    def has_changed(self) -> bool:
        """Say whether the file is another one than was read or written here last."""
        try:
            return _mark(disk.status(self.path)) != self._mark
        except FileNotFoundError:
            return self._mark != _NO_FILE

    def read(self) -> dict[str, Entry]:
        """Return the entries by name; none if there is no file. Raises ``ImproperlyConfigured``, saying where and why."""
        return _decode(self._read(), self.path)

    @contextmanager
    def change(self) -> Iterator[dict[str, Entry]]:
        """Yield the entries to be changed, and write them afterwards if they were.

        Raises what ``read`` raises, having written nothing, and ``OperationalError`` if the file cannot be written;
        ``EditedMeanwhile`` if somebody has saved it since it was read.
        """
        self._editing.take()
        try:
            before = self._read()
            entries = _decode(before, self.path)
            yield entries
            after = _encode(entries)
            if after != before and (entries or before is not None):
                self._write(after)
        finally:
            self._editing.free()

    def close(self) -> None:
        """Let go of the locks."""
        self.leadership.free()
        self._editing.free()

    def _read(self) -> bytes | None:
        """Return what stands in the file, None if there is none."""
        try:
            descriptor = disk.open_file(self.path, write=False, create=False)
        except FileNotFoundError:
            self._mark = _NO_FILE
            return None
        try:
            status = os.fstat(descriptor)
            self._mark = _mark(status)
            return disk.read_at(descriptor, status.st_size, 0)
        finally:
            os.close(descriptor)

    def _write(self, data: bytes) -> None:
        beside = self.path.with_name(f"{self.path.name}.new")
        descriptor = disk.open_file(beside)
        try:
            disk.truncate(descriptor)  # a predecessor may have died while writing it
            disk.append(descriptor, data, beside, 0)
            disk.fsync(descriptor)
            mark = _mark(os.fstat(descriptor))
        finally:
            os.close(descriptor)
        if self.has_changed():  # an editor takes no lock
            raise EditedMeanwhile(f"{self.path} was saved by somebody else meanwhile. It was left as it is. Try again.")
        disk.rename(beside, self.path)
        self._mark = mark


def text_of(moment: datetime, zone: tzinfo = UTC) -> str:
    """Return a time as it stands in the file: what the wall clock of ``zone`` shows, and its offset from UTC."""
    exactly = "milliseconds" if moment.microsecond % 1000 == 0 else "microseconds"
    return (
        moment.astimezone(zone).isoformat(timespec=exactly if moment.microsecond else "seconds").replace("+00:00", "Z")
    )


def parse_time(text: str) -> datetime:
    """Return a time of the file; raises ``ValueError`` for text that is none."""
    moment = datetime.fromisoformat(text)
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is in no year from 1 to 9999") from None


def _mark(status: os.stat_result) -> _Mark:
    return _Mark(status.st_ino, status.st_mtime_ns, status.st_size)


def _decode(data: bytes | None, path: Path) -> dict[str, Entry]:
    if data is None:
        return {}
    if not data.strip():  # whoever empties it is about to write into it
        raise _unreadable(path, "it is empty. No entries at all are {}")
    try:
        found = json.loads(data, object_pairs_hook=_without_doubles)
    except json.JSONDecodeError as error:
        raise _unreadable(path, f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)) from None
    if not isinstance(found, dict):
        raise _unreadable(path, f"it holds a {type(found).__name__} and no object {{…}} of entries by name")
    return {name: _entry(fields) for name, fields in found.items()}


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        doubled = next(name for name, _ in pairs if [key for key, _ in pairs].count(name) > 1)
        raise ValueError(f"the name {doubled!r} stands twice in one place")
    return found


def _entry(fields: Any) -> Entry:
    try:
        own = {name: value for name, value in fields.items() if name in _OWN} if isinstance(fields, dict) else fields
        entry = msgspec.convert(own, Entry)
        entry.settled()
        if entry.next_run:
            parse_time(entry.next_run)
    except (msgspec.ValidationError, ValueError) as error:
        return Entry(task="", schedule="", error=f"{_SLIP}{error}. It is not run until that is mended", slip=fields)
    entry.more = {name: value for name, value in fields.items() if name not in _OWN}
    if entry.error.startswith(_SLIP):
        entry.error = ""
    return entry


def _encode(entries: dict[str, Entry]) -> bytes:
    shown = ",\n".join(f"  {_json(name)}: {_shown(entry)}" for name, entry in entries.items())
    return f"{{\n{shown}\n}}\n".encode() if entries else b"{}\n"


def _shown(entry: Entry) -> str:
    """Return the fields that say something, one a line."""
    if entry.slip is msgspec.UNSET:
        own = {name: getattr(entry, name) for name in _OWN}
        shown = {name: value for name, value in own.items() if value or name in _ALWAYS} | entry.more
    elif isinstance(entry.slip, dict):
        shown = entry.slip | {"error": entry.error}
    else:
        return _json(entry.slip)
    lines = ",\n".join(f"    {_json(name)}: {_json(value)}" for name, value in shown.items())
    return f"{{\n{lines}\n  }}"


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a character, which can only be written as it was typed
        return json.dumps(value, default=str)
    return text


def _unreadable(path: Path, why: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"{path} cannot be read: {why}. It was left as it is. Mend it, or start without it: mv {typed(path)} {typed(path.with_name(path.name + '.old'))}"
    )
