"""A lock is held by one, ends with its holder, and is worth nothing on a file that has lost its name."""

import os
import subprocess
import sys

from pmtq.lock import Lock, is_free
from tests.support import eventually


def test_only_one_has_the_lock(tmp_path):
    first, second = Lock(tmp_path / "x.lock"), Lock(tmp_path / "x.lock")

    answers = [is_free(first.path), first.take(0), first.take(0), second.take(0), is_free(first.path)]
    first.free()
    first.free()
    answers += [is_free(first.path), second.take(), first.is_held(), second.is_held()]
    second.free()

    assert answers == [True, True, True, False, False, True, True, False, True]


def test_who_waits_for_the_lock_gets_it_when_its_holder_dies(tmp_path):
    path = tmp_path / "x.lock"
    code = f"import pathlib, time; from pmtq.lock import Lock; lock = Lock(pathlib.Path({str(path)!r})); lock.take(); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code])
    try:
        assert eventually(lambda: path.exists() and not is_free(path))
        holder.kill()
        lock = Lock(path)
        assert lock.take()
    finally:
        holder.kill()
        holder.wait()
    lock.free()


def test_a_lock_whose_file_was_removed_is_taken_anew(tmp_path):
    first, second = Lock(tmp_path / "x.lock"), Lock(tmp_path / "x.lock")
    first.take()
    first.path.unlink()

    answers = [first.is_held(), second.take(0), first.take(0)]
    second.free()
    answers += [first.take(0), first.is_held()]
    first.free()

    assert answers == [False, True, False, True, True]


def test_a_forked_child_has_no_part_in_the_lock(tmp_path):
    lock = Lock(tmp_path / "x.lock")
    lock.take()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.read(reading, 1)
        os._exit(0)
    lock.free()
    free = eventually(lambda: is_free(lock.path))  # as soon as the child has begun
    os.write(writing, b"x")
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)

    assert free


def test_the_holder_can_leave_a_note(tmp_path):
    lock = Lock(tmp_path / "x.lock")
    lock.take()
    lock.write("a long note\n")
    lock.write("short\n")
    lock.free()

    assert lock.path.read_text() == "short\n"
