"""The worker's log: one line an event, on stderr or in a file.

1. A line is one write, so that the lines of several processes do not mix, and a signal handler may log too.
2. A log that cannot be written (a closed terminal, a full disk) never stops the work.
3. A file that was renamed, as logrotate does it, is begun afresh with the next line.
4. What a task logs or prints says which task it was; what a thread prints that a task has started is not seen as the task's.

It does not know what is logged.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from pmtq import signals
from pmtq.cli.nodes import expanded
from pmtq.cli.text import colours, visible
from pmtq.conf import Settings
from pmtq.output import REDIRECTED
from pmtq.request import running

LEVELS = ("debug", "info", "warning", "error", "critical", "fatal")
# Written out because rich needs 200 µs a line and these need none.
_COLOUR = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_STDERR = 2


class Style(NamedTuple):
    """How the log is to be, by the app's settings. Empty texts stand for the usual form, and for no redirection."""

    hijacks_root: bool = True
    form: str = ""
    task_form: str = ""
    redirect_level: str = ""
    """The level at which what tasks print is logged."""

    @classmethod
    def of(cls, conf: Settings) -> Style:
        """Return what the settings say."""
        level = str(conf.worker_redirect_stdouts_level).upper() if conf.worker_redirect_stdouts else ""
        forms = conf.worker_log_format or "", conf.worker_task_log_format or ""
        return cls(conf.worker_hijack_root_logger, *forms, level)


_USUAL = Style()


def set_up(level: str, file: str, worker: str, style: Style = _USUAL) -> None:
    """Send what this process logs from ``level`` on to ``file`` (empty: stderr), under the name of ``worker``.

    ``file`` may hold ``%n`` and its like (see ``nodes``). Replaces an earlier call. If ``setup_logging`` has a receiver,
    that is all that is done. A root logger that the program has set up itself, and that is not to be hijacked, gets the
    lines as it is; a ``file`` that was asked for gets them too.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    coloured = colours(sys.stderr) and not file
    told = {"loglevel": number, "logfile": file or None, "format": style.form or None, "colorize": coloured}
    if signals.setup_logging.send(None, **told):
        return
    root, ours = logging.getLogger(), logging.getLogger("pmtq")
    is_free = style.hijacks_root or all(isinstance(one, Lines) for one in root.handlers)
    for handler in [*root.handlers, *ours.handlers]:
        if isinstance(handler, Lines):  # of an earlier call
            handler.close()
    path = expanded(file, worker)
    lines = LinesInFile(worker, path, style) if file else Lines(worker, coloured=coloured, style=style)
    ours.handlers = [] if is_free or not file else [lines]
    ours.setLevel(number)
    if is_free:
        root.handlers = [lines]
        root.setLevel(number)
        # It tells of every change of the queue folder: a log in there would report itself for ever.
        logging.getLogger("watchdog").setLevel(max(number, logging.INFO))
    _redirect(style.redirect_level)
    signals.after_setup_logger.send(None, logger=root if is_free else ours, **told)
    told["format"] = style.task_form or None
    signals.after_setup_task_logger.send(None, logger=logging.getLogger("pmtq.task"), **told)


class Lines(logging.Handler):
    """Writes ``HH:MM:SS.mmm LEVEL worker message``, or what the settings have for a form instead."""

    clock = "%H:%M:%S"

    def __init__(self, worker: str, *, coloured: bool, style: Style = _USUAL) -> None:
        """Log under the name ``worker``."""
        super().__init__()
        self._worker = visible(worker)
        self._coloured = coloured
        self._form = _Form(style.form) if style.form else None
        self._task_form = _Form(style.task_form) if style.task_form else None

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a message of several lines goes on indented, so that it cannot pass for another event."""
        claim = running.get()
        of_task = claim is not None and (record.name == REDIRECTED or not record.name.startswith("pmtq."))
        name, task_id = (claim.record.function, claim.record.task_id) if claim else ("-", "-")
        vars(record).update(task_name=visible(name), task_id=visible(task_id))
        if form := self._task_form if of_task else self._form:
            return form.format(record) + "\n"
        clock = time.strftime(self.clock, time.localtime(record.created))
        level = f"{record.levelname:<7}"
        if self._coloured:
            level = f"\x1b[{_COLOUR.get(record.levelname, '0')}m{level}\x1b[0m"
        whose = f"{visible(name)} {visible(task_id)}: " if of_task else ""
        message = whose + _indented(record.getMessage())
        if record.exc_info:
            message += f"\n    | {_INDENTING.formatException(record.exc_info)}"
        return f"{clock}.{int(record.msecs):03d} {level} {self._worker} {message}\n"

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line at once."""
        with contextlib.suppress(OSError):
            os.write(self.descriptor(), self.format(record).encode("utf-8", "backslashreplace"))

    def descriptor(self) -> int:
        """Return where to write."""
        return _STDERR


class LinesInFile(Lines):
    """Writes the same lines into a file, with the date in front."""

    clock = "%Y-%m-%d %H:%M:%S"

    def __init__(self, worker: str, path: str, style: Style = _USUAL) -> None:
        """Open the file, or make it, so that one that cannot be written is an error now. Raises ``OSError``."""
        super().__init__(worker, coloured=False, style=style)
        self._path = Path(path).absolute()  # a task may change the directory
        self._descriptor = self._opened()

    def descriptor(self) -> int:
        """Return where the file of that name is open now."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self._path.stat(), os.fstat(self._descriptor)):
                return self._descriptor
        fresh = self._opened()
        os.close(self._descriptor)
        self._descriptor = fresh
        return fresh

    def close(self) -> None:
        """Close the file."""
        super().close()
        os.close(self._descriptor)

    def _opened(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


class _Form(logging.Formatter):
    """A form of the user's own, in which a message of several lines goes on indented all the same."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
        record.message = _indented(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return _indented(super().formatException(ei))


_INDENTING = _Form()


def _indented(text: str) -> str:
    return "\n    | ".join(map(visible, text.splitlines() or [""]))


class _Redirected:
    """A stream that logs what tasks print, line by line, and hands on what anybody else does."""

    def __init__(self, first: TextIO, level: str) -> None:
        self.first = first
        self._level = logging.getLevelNamesMapping()[level]
        self._mine = threading.local()

    def write(self, text: str) -> int:
        mine = vars(self._mine)
        if running.get() is None or mine.get("is_logging"):  # a handler that writes to us must not have that logged
            return self.first.write(text)
        *lines, mine["rest"] = (mine.get("rest", "") + text).split("\n")
        self._log(lines)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if rest := vars(self._mine).pop("rest", ""):
            self._log([rest])
        self.first.flush()

    def _log(self, lines: list[str]) -> None:
        self._mine.is_logging = True
        try:
            for line in filter(str.strip, lines):
                logging.getLogger(REDIRECTED).log(self._level, "%s", line)
        finally:
            self._mine.is_logging = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.first, name)


def _redirect(level: str) -> None:
    """Have what tasks print logged at ``level``; empty for leaving it alone."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        first = stream.first if isinstance(stream, _Redirected) else stream
        setattr(sys, name, _Redirected(first, level) if level else first)
