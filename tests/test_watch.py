"""Tells that a file has changed: at once where the system can, else by looking."""

import logging
import os
import sys
import threading
from types import SimpleNamespace

import pytest
from watchdog.observers import Observer
from watchdog.utils.delayed_queue import DelayedQueue

from pmtq import watch as module
from pmtq.watch import DEAF_AFTER, DEAF_POLL, Watch
from tests.support import eventually


@pytest.fixture
def watch(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SLOW_POLL", 30.0)
    watch = Watch(tmp_path, frozenset({"queue.jsonl"}))
    yield watch
    watch.close()


def listen(watch):
    """Have the watcher listen, as the first wait does."""
    assert watch.wait(watch.seen(), 0)
    assert watch._watch is not None


def heard(watch, change, timeout=10):
    """Make a change while a thread waits; return whether that was told."""
    told = []
    seen = watch.seen()
    waiter = threading.Thread(target=lambda: told.append(watch.wait(seen, timeout)))
    waiter.start()
    assert eventually(lambda: watch._waiting)
    change()
    waiter.join()
    return told[0]


def test_the_first_wait_returns_at_once_because_something_may_have_changed_before(watch):
    listen(watch)


def append(path):
    with path.open("ab") as file:
        file.write(b"x\n")


def replace(path):
    new = path.with_name("new")
    new.write_bytes(b"y\n")
    new.rename(path)


@pytest.mark.parametrize("change", [append, replace, os.utime], ids=["append", "replace", "nudge"])
def test_a_change_of_a_watched_file_is_told(watch, tmp_path, change):
    path = tmp_path / "queue.jsonl"
    path.touch()
    listen(watch)

    assert heard(watch, lambda: change(path))


def test_a_file_that_appears_is_told(watch, tmp_path):
    listen(watch)

    assert heard(watch, (tmp_path / "queue.jsonl").touch)


def test_a_file_that_is_moved_away_holds_up_no_news(watch, tmp_path, monkeypatch):
    """A queue file that is cleared is; watchdog would wait for where it appears again, which here is nowhere."""
    begin = DelayedQueue.__init__
    monkeypatch.setattr(DelayedQueue, "__init__", lambda queue, _delay: begin(queue, 60.0))
    path, sealed = tmp_path / "queue.jsonl", tmp_path / "sealed"
    sealed.mkdir()
    path.touch()
    listen(watch)

    def clear_and_append():
        path.rename(sealed / "queue.0.jsonl")
        append(path)

    assert heard(watch, clear_and_append)


def test_neither_reading_a_watched_file_nor_changing_another_one_is_told(watch, tmp_path):
    """Else two idle workers would wake each other for ever."""
    path = tmp_path / "queue.jsonl"
    append(path)
    listen(watch)

    def read_and_change_another():
        for _ in range(20):
            path.read_bytes()
            append(tmp_path / "results.jsonl")
            (tmp_path / "queue.jsonl.lock").touch()

    assert not heard(watch, read_and_change_another, timeout=0.3)


def test_a_change_between_looking_and_waiting_is_not_missed(watch, tmp_path):
    listen(watch)
    seen = watch.seen()
    append(tmp_path / "queue.jsonl")
    assert eventually(lambda: watch.seen() != seen)

    assert watch.wait(seen, 10)


def test_without_a_change_waiting_ends_after_the_timeout(watch):
    listen(watch)

    assert not watch.wait(watch.seen(), 0.02)


def test_without_a_notification_waiting_ends_after_the_slow_poll(watch):
    watch._poll = 0.01
    listen(watch)

    assert not watch.wait(watch.seen(), 3600)


def test_many_threads_are_woken_by_one_change(watch, tmp_path):
    listen(watch)
    told = []
    seen = watch.seen()
    waiters = [threading.Thread(target=lambda: told.append(watch.wait(seen, 10))) for _ in range(5)]
    for waiter in waiters:
        waiter.start()
    assert eventually(lambda: watch._waiting == 5)

    append(tmp_path / "queue.jsonl")
    for waiter in waiters:
        waiter.join()

    assert told == [True] * 5


def test_while_nobody_waits_it_stops_listening_and_begins_again_when_somebody_does(watch, tmp_path):
    listen(watch)

    def deaf():
        append(tmp_path / "queue.jsonl")
        return watch._watch is None

    assert eventually(deaf)
    seen = watch.seen()
    assert watch.wait(seen, 10)
    assert watch._watch is not None
    assert heard(watch, lambda: append(tmp_path / "queue.jsonl"))


def test_where_the_system_has_no_watches_left_it_looks_instead_and_says_so_once(watch, tmp_path, monkeypatch, caplog):
    def refuse(*_, **__):
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(Observer, "schedule", refuse)

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            watch.wait(watch.seen(), 10)

    assert watch._poll == DEAF_POLL
    assert [record.getMessage() for record in caplog.records] == [
        f"this system cannot watch {tmp_path} (inotify watch limit reached); looking every 0.05 s instead"
    ]


def test_a_folder_whose_changes_are_not_notified_is_looked_at_more_often(watch, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        for _ in range(DEAF_AFTER + 2):
            watch.found_by_looking()

    assert watch._poll == DEAF_POLL
    assert [record.getMessage() for record in caplog.records] == [
        f"changes in {tmp_path} are not notified (a network or container file system?); looking every 0.05 s instead"
    ]


def test_a_watcher_that_has_heard_something_is_relied_on(watch, tmp_path):
    listen(watch)
    heard(watch, lambda: append(tmp_path / "queue.jsonl"))

    for _ in range(DEAF_AFTER + 2):
        watch.found_by_looking()

    assert watch._poll > DEAF_POLL


def test_closing_ends_the_threads_and_closing_twice_is_no_error(watch):
    before = threading.active_count()
    listen(watch)

    watch.close()
    watch.close()

    assert eventually(lambda: threading.active_count() == before)


def test_in_a_program_whose_threads_are_greenlets_it_looks_for_itself(watch, monkeypatch, caplog):
    monkeypatch.setitem(
        sys.modules, "gevent.monkey", SimpleNamespace(is_module_patched=lambda name: name == "threading")
    )
    with caplog.at_level(logging.WARNING):
        watch.wait(watch.seen(), 0)

    assert watch._observer is None
    assert not watch.wait(watch.seen(), 0.001)
    assert [record.getMessage() for record in caplog.records] == [
        "the threads of this program are greenlets, and none may wait for the system; looking every 0.05 s instead"
    ]


def test_the_names_it_listens_for_may_be_changed(watch, tmp_path):
    listen(watch)
    watch.names = frozenset({"queue.low.jsonl"})

    assert heard(watch, (tmp_path / "queue.low.jsonl").touch)
