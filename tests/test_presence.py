"""Alive means: the kernel lock is held. And what a dead worker leaves behind."""

import errno
import os
import subprocess
import sys

import pytest

from pmtq import disk
from pmtq.exceptions import OperationalError, WorkerNameTaken
from pmtq.inbox import Inbox, tell
from pmtq.presence import NOTES_BYTES, Notes, Presence, find_remains, living
from tests.support import die

FACTS = {"name": "w1", "pid": 7}


def test_a_worker_shows_its_facts_while_it_lives(folder):
    presence = Presence(folder, "w1", FACTS)

    seen = living(folder)
    presence.leave()

    assert seen == [FACTS]
    assert living(folder) == []
    assert list(folder.workers.iterdir()) == []


def test_a_command_that_is_given_as_soon_as_a_worker_is_seen_reaches_it(folder, monkeypatch):
    show = Presence._show_facts

    def told_at_once(presence):
        show(presence)
        tell(folder, "w1", "shutdown")

    monkeypatch.setattr(Presence, "_show_facts", told_at_once)
    tell(folder, "w1", "pool_grow")  # to a namesake that is dead
    Presence(folder, "w1", FACTS)

    assert Inbox(folder, "w1").commands() == [{"command": "shutdown"}]


def test_a_worker_that_takes_a_dead_namesakes_name_is_not_seen_by_that_ones_facts(folder, monkeypatch):
    Presence(folder, "w1", {"name": "w1", "pid": 1}).abandon()
    seen, remove = [], disk.remove
    monkeypatch.setattr("pmtq.presence._facts_in", lambda path: seen.append(path.read_bytes()) or [])
    monkeypatch.setattr(disk, "remove", lambda path: [living(folder), remove(path)])

    Presence(folder, "w1", FACTS)

    assert seen == [b""]


def test_facts_that_a_full_disk_did_not_take_are_shown_when_there_is_room(folder, monkeypatch):
    presence = Presence(folder, "w1", FACTS)
    folder.worker("w1").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(disk, "append", lambda *_: (_ for _ in ()).throw(OperationalError("no space left")))
        for _ in range(2):
            with pytest.raises(OperationalError):
                presence.renew()

    presence.renew()

    assert living(folder) == [FACTS]


@pytest.mark.parametrize("said", [b"[1]", b"5", b'{"name":["x"],"pid":7}'])
def test_a_living_worker_whose_file_tells_no_facts_is_known_by_the_name_of_the_file(folder, said):
    Presence(folder, "w1", FACTS)
    folder.worker("w1").write_bytes(said)

    found = [one["name"] for one in living(folder)]

    assert found == ["w1"]


def test_a_name_is_taken_once(folder):
    Presence(folder, "w1@host", FACTS)

    with pytest.raises(WorkerNameTaken) as caught:
        Presence(folder, "w1@host", {"pid": 8})

    assert str(caught.value) == (
        "a worker called 'w1@host' is already running here. Nothing was changed. "
        "Give this one a name of its own: pmtq worker -n w1b@%h"
    )
    assert living(folder) == [FACTS | {"name": "w1@host"}]


def test_a_refused_name_keeps_no_descriptor(folder):
    Presence(folder, "w1", FACTS)
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(WorkerNameTaken):
        Presence(folder, "w1", FACTS)

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_living_worker_leaves_no_remains(folder):
    Presence(folder, "w1", FACTS)

    assert find_remains(folder, "w1") is None


def test_a_dead_workers_notes_are_found_and_buried(folder):
    presence = Presence(folder, "w1", FACTS)
    presence.notes.add(b"one\n")
    presence.notes.add(b"two\n")
    die(presence)

    remains = find_remains(folder, "w1")
    lines = remains.lines()
    remains.close(bury=True)

    assert lines == [b"one", b"two"]
    assert list(folder.workers.iterdir()) == []


def test_remains_that_could_not_be_posted_are_found_again(folder):
    presence = Presence(folder, "w1", FACTS)
    presence.notes.add(b"one\n")
    die(presence)

    first = find_remains(folder, "w1")
    first.close(bury=False)
    second = find_remains(folder, "w1")

    assert second.lines() == [b"one"]
    second.close(bury=False)


def test_while_somebody_looks_at_the_remains_nobody_takes_the_name(folder):
    die(Presence(folder, "w1", FACTS))
    remains = find_remains(folder, "w1")

    with pytest.raises(WorkerNameTaken):
        Presence(folder, "w1", FACTS)

    remains.close(bury=True)
    assert Presence(folder, "w1", FACTS).notes.lines() == []


def test_a_worker_without_files_is_dead_and_left_nothing(folder):
    remains = find_remains(folder, "w1")

    assert remains.lines() == []
    remains.close(bury=True)


def test_a_successor_of_the_same_name_finds_the_notes(folder):
    first = Presence(folder, "w1", FACTS)
    first.notes.add(b"one\n")
    die(first)

    assert Presence(folder, "w1", FACTS).notes.lines() == [b"one"]


def test_a_name_whose_file_was_removed_is_taken_again(folder):
    presence = Presence(folder, "w1", FACTS)
    folder.worker("w1").unlink()

    presence.renew()

    assert living(folder) == [FACTS]


def test_renewing_an_untouched_name_changes_nothing(folder):
    presence = Presence(folder, "w1", FACTS)
    before = folder.worker("w1").stat()

    presence.renew()

    assert folder.worker("w1").stat() == before


def test_a_file_cut_short_while_its_worker_starts_is_passed_over(folder):
    Presence(folder, "w1", FACTS)
    os.truncate(folder.worker("w1"), 3)

    assert living(folder) == []


def test_a_killed_worker_is_dead_at_once(folder):
    code = (
        "import sys, signal\nfrom pathlib import Path\nfrom pmtq.folder import Folder\n"
        "from pmtq.presence import Presence\n"
        "here = Presence(Folder(Path(sys.argv[1])), 'w1', {})\nhere.notes.add(b'one\\n')\nprint(flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, folder.path], stdout=subprocess.PIPE) as worker:
        worker.stdout.readline()
        alive = find_remains(folder, "w1")
        worker.kill()
        worker.wait()
    remains = find_remains(folder, "w1")

    assert alive is None
    assert remains.lines() == [b"one"]
    remains.close(bury=True)


def test_a_forked_child_does_not_keep_its_dead_parent_alive(folder):
    presence = Presence(folder, "w1", FACTS)
    gate_out, gate_in = os.pipe()
    ready_out, ready_in = os.pipe()
    child = os.fork()
    if not child:
        os.write(ready_in, b".")
        os.read(gate_out, 1)
        os._exit(0)
    os.read(ready_out, 1)
    os.close(presence._descriptor)  # what the kernel does for a killed parent
    presence._descriptor = -1
    remains = find_remains(folder, "w1")
    os.write(gate_in, b".")
    os.waitpid(child, 0)
    for descriptor in (gate_out, gate_in, ready_out, ready_in):
        os.close(descriptor)

    assert remains is not None
    remains.close(bury=True)


def test_notes_that_do_not_fit_are_refused_and_the_others_kept(tmp_path):
    notes = Notes(tmp_path / "notes")
    line = b"x" * 100_000 + b"\n"

    kept = [notes.add(line) for _ in range(3)]

    assert kept == [True, True, False]
    assert notes.lines() == [line.rstrip()] * 2
    notes.clear()
    assert (notes.add(line), notes.lines()) == (True, [line.rstrip()])
    notes.close()


def test_notes_fill_their_file_to_the_last_byte(tmp_path):
    notes = Notes(tmp_path / "notes")
    line = b"x" * (NOTES_BYTES - 8 - 1) + b"\n"

    assert notes.add(line)
    assert not notes.add(b"\n")
    assert notes.lines() == [line.rstrip()]
    notes.close()


def test_notes_are_read_by_the_next_who_opens_them(tmp_path):
    first = Notes(tmp_path / "notes")
    first.add(b"one\n")
    first.close()

    second = Notes(tmp_path / "notes")
    second.add(b"two\n")

    assert second.lines() == [b"one", b"two"]
    second.close()


@pytest.mark.parametrize("head", [b"garbage!", b"9999999\n", b"\0" * 8, b"", b"-000009\n", b"12"])
def test_a_damaged_notes_file_is_no_more_than_lost_notes(folder, head):
    folder.workers.mkdir(parents=True)
    folder.workers.chmod(0o700)
    folder.notes("w1").write_bytes(head)
    folder.worker("w1").write_bytes(b"")

    remains = find_remains(folder, "w1")
    assert [line for line in remains.lines() if line.strip(b"\0")] == []
    remains.close(bury=False)
    presence = Presence(folder, "w1", FACTS)
    presence.notes.clear()
    assert presence.notes.add(b"one\n")
    assert presence.notes.lines() == [b"one"]


def test_a_full_disk_fails_at_the_start_and_not_as_a_bus_error_later(folder, monkeypatch):
    real = os.write

    def small_disk(descriptor, data):
        if len(data) > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", small_disk)
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(OperationalError, match="No space left on device"):
        Presence(folder, "w1", FACTS)

    assert len(os.listdir("/proc/self/fd")) == before, "the name is still locked by a worker that never was"


@pytest.mark.parametrize("room", [0, 1], ids=["facts", "notes"])
def test_a_worker_that_finds_no_room_at_its_start_gives_the_name_back_at_once(folder, monkeypatch, room):
    real, writes = os.write, []

    def small_disk(descriptor, data):
        writes.append(data)
        if len(writes) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", small_disk)
        with pytest.raises(OperationalError, match="No space left on device"):
            Presence(folder, "w1", FACTS)
    left = folder.worker_names()

    Presence(folder, "w1", FACTS)

    assert left == []
    assert living(folder) == [FACTS]


def test_facts_that_change_are_shown_from_then_on(folder):
    presence = Presence(folder, "w1", FACTS)

    presence.update(pid=8, queues=["low"])

    assert living(folder) == [{"name": "w1", "pid": 8, "queues": ["low"]}]
    assert FACTS == {"name": "w1", "pid": 7}


def test_a_worker_is_seen_to_live_while_its_facts_are_being_written(folder, monkeypatch):
    Presence(folder, "w1", FACTS)
    whole = folder.worker("w1").read_bytes()
    folder.worker("w1").write_bytes(b"")
    monkeypatch.setattr("time.sleep", lambda _: folder.worker("w1").write_bytes(whole))

    assert living(folder) == [FACTS]


def test_a_line_that_is_kept_stands_before_all_others_and_is_not_cleared(folder):
    presence = Presence(folder, "w1", FACTS)
    presence.notes.add(b"of a namesake\n")
    presence.notes.keep(b"first\n")
    presence.notes.keep(b"always\n")
    presence.notes.add(b"one\n")
    of_our_own = presence.notes.lines()
    presence.notes.clear()
    presence.notes.add(b"two\n")
    die(presence)

    remains = find_remains(folder, "w1")
    assert (of_our_own, remains.lines()) == ([b"one"], [b"always", b"two"])
    remains.close(bury=True)


def test_an_abandoned_name_is_free_and_what_was_noted_is_found(folder):
    presence = Presence(folder, "w1", FACTS)
    presence.notes.add(b"one\n")

    presence.abandon()

    remains = find_remains(folder, "w1")
    assert remains.lines() == [b"one"]
    remains.close(bury=True)
