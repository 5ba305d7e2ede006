"""Wherever a crash comes between two effects, or into one, the next worker finds what it needs."""

import os

import pytest

from pmtq.clock import moved_clock
from pmtq.disk import append, open_file
from pmtq.exceptions import OperationalError
from tests.crash.memory import ROOT, Change, MemoryDisk, State, installed
from tests.crash.points import FOLDER, PowerCut, Story, World, explore
from tests.support import NOW

STATES = 12_000


@pytest.mark.timeout(300)
def test_after_a_crash_at_any_effect_nothing_is_lost_and_nothing_runs_again_that_had_ended(caplog):
    caplog.set_level("CRITICAL", "pmtq")

    tally = explore(20261120, STATES, share=0.02)

    assert (tally.lost, tally.missing, tally.needless, tally.unexpected) == (0, 0, 0, 0), tally.first
    assert tally.states >= STATES


def test_a_story_has_every_kind_of_effect_and_is_the_same_each_time(caplog):
    caplog.set_level("CRITICAL", "pmtq")
    world = World()
    try:
        kinds, first = set(), []
        for seed in (*range(10), 0):
            world.clock.move_to(NOW)
            log = Story(world, seed).log
            kinds |= {change.kind for change in log}
            first = first or [change.kind for change in log]
    finally:
        world.close()

    assert kinds == {"create", "mkdir", "rename", "unlink", "write", "sync", "mark"}
    assert [change.kind for change in log] == first


@pytest.fixture
def memory():
    memory = MemoryDisk()
    with moved_clock(NOW), installed(memory):
        yield memory


def test_what_is_written_in_memory_is_read_back_and_remembered(memory):
    path = FOLDER.queue()
    memory.log = []

    descriptor = open_file(path)
    append(descriptor, b"one\n", path, 0)
    os.fsync(descriptor)
    os.close(descriptor)

    inode = path.stat().st_ino
    assert (path.read_bytes(), path.stat().st_size, [one.name for one in FOLDER.path.iterdir()]) == (
        b"one\n",
        4,
        [path.name],
    )
    assert memory.log == [
        Change("mkdir", str(FOLDER.path), inode - 1),
        Change("create", str(path), inode),
        Change("write", "", inode, 0, b"one\n"),
        Change("sync", "", inode),
    ]
    state = State()
    for change in memory.log:
        state.apply(change)
    assert (state.names, state.data) == (memory.state.names, memory.state.data)


def test_a_short_write_in_memory_is_cut_back(memory, monkeypatch):
    path = FOLDER.queue()
    descriptor = open_file(path)
    append(descriptor, b"one\n", path, 0)
    monkeypatch.setattr(os, "write", lambda descriptor, data: memory.write(descriptor, data[:2]))

    with pytest.raises(OperationalError):
        append(descriptor, b"two\n", path, 4)

    assert path.read_bytes() == b"one\n"


def test_the_real_file_system_is_seen_beside_the_one_in_memory(memory, tmp_path):
    (tmp_path / "real").write_text("here")

    assert ((tmp_path / "real").read_text(), os.listdir(tmp_path)) == ("here", ["real"])
    assert not os.access(ROOT, os.F_OK)


def test_a_lock_in_memory_ends_with_the_descriptor_that_has_it(memory):
    first, second = open_file(FOLDER.queue()), open_file(FOLDER.queue())

    had = memory.try_lock(first), memory.try_lock(second)
    os.close(first)

    assert (had, memory.try_lock(second)) == ((True, False), True)


def test_a_power_cut_leaves_what_was_synced_and_any_part_of_the_rest(memory):
    import random

    path = FOLDER.queue()
    memory.log = []
    descriptor = open_file(path)
    append(descriptor, b"kept\n", path, 0)
    os.fsync(descriptor)
    append(descriptor, b"new\n", path, 5)
    cut = PowerCut()
    for change in memory.log:
        cut.apply(change)

    left = {state.read(path) for state, _ in cut.outcomes(random.Random(1), 200)}

    assert left == {b"kept\nnew\n"[:size] for size in range(5, 10)}
