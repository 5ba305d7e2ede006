"""Tells a process that a file in the queue folder has changed: at once where the system can, else by looking.

1. A notification is a hint. Whoever waits also looks once every ``SLOW_POLL`` seconds, so a lost one costs a moment.
2. Only changes of the named files count. Reading a file is no change: else two readers would wake each other for ever.

It does not know what is in the files.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from watchdog.events import (
    FileAttribEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, EventEmitter, ObservedWatch

logger = logging.getLogger("pmtq.watch")
# watchdog reports an error whenever a watch is ended while an event is on its way, which here is the usual case.
logging.getLogger("watchdog.observers.inotify").setLevel(logging.CRITICAL)

SLOW_POLL = 0.5
"""Seconds after which a waiting process looks for itself."""
DEAF_POLL = 0.05
"""The same where the system gives no notifications."""
DEAF_AFTER = 3
"""So many changes found by looking, which no notification had told, and the watcher counts as deaf."""
LINGER = 0.05
"""Seconds for which notifications are still listened to after the last wait."""
_MOVED_FROM = 0x40
"""The bit for such a departure: inotify(7)."""
_EVENTS: list[type[FileSystemEvent]] = [FileModifiedEvent, FileAttribEvent, FileCreatedEvent, FileMovedEvent]


class Watch(FileSystemEventHandler):
    """Waits for changes of some files of one folder. Many threads may wait at once.

    While nobody waits it stops listening: each notification passes three threads, and a client that posts ten
    thousand tasks, or a worker that is busy, must not pay for hearing of its own writes.
    """

    def __init__(self, folder: Path, names: frozenset[str]) -> None:
        """Watch the files called ``names`` in ``folder``, which exists."""
        self.names = names
        """May be changed at any time."""
        self.trouble = ""
        """Why it looks for itself instead of being told; empty if it is told."""
        self._folder = folder
        self._changed = threading.Condition()
        self._starting = threading.Lock()
        self._count = 0
        self._waiting = 0
        self._waited = 0.0
        self._watch: ObservedWatch | None = None
        self._told = False
        self._untold = 0
        self._poll = SLOW_POLL
        self._observer: BaseObserver | None = None

    def seen(self) -> int:
        """Return a number that grows with every change; take it before looking, hand it to ``wait`` after."""
        return self._count

    def wait(self, seen: int, timeout: float) -> bool:
        """Return once something changed after ``seen`` was taken, or it is time to look; say whether it changed.

        Never waits longer than ``timeout`` seconds. If nothing was listening it begins to, and returns at once:
        something may have changed before.
        """
        with self._changed:
            if self._watch or self._poll == DEAF_POLL:
                return self._wait_for(lambda: self._count != seen, min(timeout, self._poll))
        self._listen()
        return True

    def _wait_for(self, fact: Callable[[], bool], timeout: float) -> bool:
        """Wait until a fact holds that is told by ``_changed``, which the caller holds; say whether it does."""
        self._waiting += 1
        try:
            return self._changed.wait_for(fact, timeout)
        finally:
            self._waiting -= 1
            self._waited = time.monotonic()

    def wake(self) -> None:
        """Let every waiting thread look, as if a file had changed; not for signal handlers, because it takes a mutex."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def found_by_looking(self) -> None:
        """Report a change that no notification told; after a few of these notifications are not relied on."""
        self._untold += 1
        if self._untold == DEAF_AFTER and not self._told:
            self._fall_back(f"changes in {self._folder} are not notified (a network or container file system?)")

    def close(self) -> None:
        """Stop watching and end the threads."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(timeout=2)
            self._observer = self._watch = None

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Wake the waiting threads, or stop listening if there have been none for a while; in watchdog's thread."""
        with self._changed:
            if not self._waiting and time.monotonic() - self._waited > LINGER:
                watch, self._watch = self._watch, None
            elif not {_last_part(event.src_path), _last_part(event.dest_path)} & self.names:
                return
            else:
                watch = None
                self._told = True
                self._count += 1
                self._changed.notify_all()
        if watch and self._observer:
            self._observer.unschedule(watch)

    def _listen(self) -> None:
        # Never under `_changed`: watchdog calls the handler, which takes that, under a lock that this takes.
        with self._starting:
            if self._watch or self._poll == DEAF_POLL:
                return  # another thread was faster
            if _threads_are_greenlets():
                self._fall_back("the threads of this program are greenlets, and none may wait for the system")
                return
            try:
                if self._observer is None:
                    self._observer = _new_observer()
                    self._observer.daemon = True
                    self._observer.start()
                watch = self._observer.schedule(self, str(self._folder), event_filter=_EVENTS)
            except OSError as error:
                self._fall_back(f"this system cannot watch {self._folder} ({error.strerror or error})")
                return
            with self._changed:
                self._waited = time.monotonic()
                self._watch = watch

    def _fall_back(self, why: str) -> None:
        self._poll, self.trouble = DEAF_POLL, why
        logger.warning("%s; looking every %g s instead", why, DEAF_POLL)


def _new_observer() -> BaseObserver:
    """Return what calls handlers when something changes, as fast as this system can."""
    observer = Observer()
    if sys.platform == "linux":
        observer._emitter_class = _emitter_without_departures()  # noqa: SLF001  (there is no other way in)
    return observer


def _emitter_without_departures() -> type[EventEmitter]:
    """Return watchdog's emitter for Linux, asking the kernel for all but files that leave the folder.

    After each of those watchdog keeps back all that comes for half a second, to learn where the file went: and a queue file
    leaves whenever it is cleared.
    """
    from watchdog.observers.inotify import InotifyEmitter  # noqa: PLC0415  (does not exist elsewhere)

    class Emitter(InotifyEmitter):
        def get_event_mask_from_filter(self) -> Any:
            return super().get_event_mask_from_filter() & ~_MOVED_FROM

    return Emitter


def _threads_are_greenlets() -> bool:
    """Say whether gevent or eventlet have patched this program; watchdog's threads would block all others, or hang."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return bool(
        (gevent and gevent.is_module_patched("threading")) or (eventlet and eventlet.is_monkey_patched("thread"))
    )


def _last_part(path: str | bytes) -> str:
    return os.fsdecode(path).rpartition(os.sep)[2]
