"""A file that many processes append to."""

import errno
import gc
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from pmtq import disk
from pmtq.exceptions import LockHeld, OperationalError, UnsafeFile
from pmtq.glance import Glance
from pmtq.journal import Journal
from tests.support import eventually


@pytest.fixture
def path(tmp_path):
    return tmp_path / "queue_dir" / "queue.jsonl"


@pytest.fixture
def journal(path):
    return Journal(path)


def test_naming_a_journal_touches_no_disk(journal, path):
    assert not path.parent.exists()
    assert (journal.refresh(), journal.size(), journal.read_bytes(0, 10)) == (0, 0, b"")


def test_appended_lines_stand_one_below_the_other(journal, path):
    journal.append(b"one\n")
    journal.append(b"two\nthree\n")

    assert path.read_bytes() == b"one\ntwo\nthree\n"


def test_a_last_line_without_newline_is_ended_first(journal, path):
    journal.append(b"one\n")
    with path.open("ab") as stranger:
        stranger.write(b"by hand")

    journal.append(b"two\n")

    assert path.read_bytes() == b"one\nby hand\ntwo\n"


def test_a_single_character_that_somebody_left_is_ended_first_too(journal, path):
    path.parent.mkdir()
    path.write_bytes(b"x")

    journal.append(b"two\n")

    assert path.read_bytes() == b"x\ntwo\n"


def test_a_strangers_half_line_of_the_same_moment_is_ended_even_after_our_own_write(journal, path):
    other = Journal(path)
    journal.append(b"one\n")
    other.append(b"two\n")
    with path.open("ab") as stranger:
        stranger.write(b"half")

    journal.append(b"three\n")

    assert path.read_bytes() == b"one\ntwo\nhalf\nthree\n"


def test_behind_a_line_of_another_writer_no_empty_one_is_put_while_no_name_has_changed(journal, path, monkeypatch):
    other = Journal(path)
    journal.append(b"one\n")
    monkeypatch.setattr(Glance, "shows_no_change", lambda _: True)

    other.append(b"two\n")
    journal.append(b"three\n")
    other.append(b"four\n")

    assert path.read_bytes() == b"one\ntwo\nthree\nfour\n"


def test_readers_stop_at_the_last_newline(journal, path):
    journal.append(b"one\ntwo\n")
    with path.open("ab") as stranger:
        stranger.write(b"half a li")

    assert journal.read(0) == b"one\ntwo\n"
    assert journal.read(4) == b"two\n"
    assert journal.read(8) == b""
    assert journal.read_bytes(8, 4) == b"half"


def test_a_line_longer_than_a_piece_is_read_whole_unless_it_is_too_long(journal):
    journal.append(b"0123456789\n")

    assert journal.read(0, 5) == b"0123456789\n"
    assert journal.read(0, 5, longest=5) == b""


def test_a_line_of_the_greatest_length_is_read_and_one_of_a_byte_more_is_not(journal):
    journal.append(b"x" * 19 + b"\n" + b"x" * 20 + b"\n")

    assert journal.read(0, 5, longest=20) == b"x" * 19 + b"\n"
    assert journal.read(20, 5, longest=20) == b""


def test_a_refused_append_leaves_the_file_as_it_was(journal, path, monkeypatch):
    journal.append(b"one\n")

    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        with pytest.raises(OperationalError):
            journal.append(b"two\n")
    journal.append(b"three\n")

    assert path.read_bytes() == b"one\nthree\n"


@pytest.mark.parametrize("fitting", range(5))
def test_a_short_write_of_any_length_leaves_the_file_as_it_was(journal, path, monkeypatch, fitting):
    journal.append(b"one\n")
    with path.open("ab") as stranger:
        stranger.write(b"x")
    real = os.write

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:fitting]))
        with pytest.raises(OperationalError):
            journal.append(b"two\n")
    assert path.read_bytes() == b"one\nx"

    journal.append(b"three\n")
    assert path.read_bytes() == b"one\nx\nthree\n"


def test_a_refused_append_frees_the_lock(journal, path, monkeypatch):
    journal.append(b"one\n")
    with monkeypatch.context() as patch:
        patch.setattr(disk, "append", lambda *_: (_ for _ in ()).throw(OperationalError("full")))
        with pytest.raises(OperationalError):
            journal.append(b"two\n")

    assert subprocess.run(["flock", "-n", f"{path}.lock", "true"], check=False).returncode == 0


def test_a_file_that_is_not_ours_is_refused_and_the_lock_is_free_again(journal, path):
    path.parent.mkdir()
    path.symlink_to(path.parent / "elsewhere")

    with pytest.raises(UnsafeFile):
        journal.append(b"one\n")

    assert subprocess.run(["flock", "-n", f"{path}.lock", "true"], check=False).returncode == 0
    assert not (path.parent / "elsewhere").exists()


def test_a_durable_append_syncs_the_file_and_once_the_folders_that_name_it(journal, path, monkeypatch):
    synced = []
    monkeypatch.setattr(disk, "fsync", lambda descriptor: synced.append(path.read_bytes()))
    monkeypatch.setattr(disk, "fsync_folder", synced.append)

    journal.append(b"one\n", durable=True)
    journal.append(b"two\n")
    journal.append(b"three\n", durable=True)

    assert synced == [b"one\n", path.parent, path.parent.parent, b"one\ntwo\nthree\n"]


def test_a_file_that_took_the_name_of_another_is_named_on_the_disk_before_a_durable_append_returns(
    journal, path, monkeypatch
):
    synced = []
    journal.append(b"one\n", durable=True)
    path.rename(path.with_name("elsewhere"))
    monkeypatch.setattr(disk, "fsync_folder", synced.append)

    journal.append(b"two\n", durable=True)

    assert synced == [path.parent, path.parent.parent]


class SlowDisk:
    """A disk on which each sync of a file waits to be let go, and is counted."""

    def __init__(self, monkeypatch, error=None):
        self.begun, self.go, self.count, self.error = threading.Semaphore(0), threading.Semaphore(0), 0, error
        monkeypatch.setattr(disk, "fsync", self.fsync)
        monkeypatch.setattr(disk, "fsync_folder", lambda folder: None)

    def fsync(self, descriptor):
        self.begun.release()
        assert self.go.acquire(timeout=10)
        self.count += 1
        if self.error:
            raise OperationalError(f"{self.error} {self.count}")


@pytest.fixture
def post(journal):
    """A function that appends durably in a thread, and says in the end how that went."""
    threads, ends = [], []

    def begin(line):
        def body():
            try:
                journal.append(line, durable=True)
                ends.append("on the disk")
            except OperationalError as error:
                ends.append(str(error))

        threads.append(threading.Thread(target=body))
        threads[-1].start()

    def end():
        for thread in threads:
            thread.join(10)
        return ends

    begin.end = end
    return begin


def test_who_waits_for_the_disk_holds_nobody_up(journal, path, post, monkeypatch):
    slow = SlowDisk(monkeypatch)
    post(b"one\n")
    assert slow.begun.acquire(timeout=10)

    Journal(path).append(b"two\n")
    journal.append(b"three\n")

    assert path.read_bytes() == b"one\ntwo\nthree\n"
    slow.go.release()
    assert post.end() == ["on the disk"]


def test_those_who_write_while_others_wait_for_the_disk_share_the_next_wait(journal, path, post, monkeypatch):
    slow = SlowDisk(monkeypatch)
    post(b"0\n")
    assert slow.begun.acquire(timeout=10)
    for number in range(1, 8):
        post(b"%d\n" % number)
    assert eventually(lambda: path.read_bytes().count(b"\n") == 8)

    slow.go.release(2)

    assert (post.end(), slow.count) == (["on the disk"] * 8, 2)


def test_a_disk_that_refuses_is_an_error_to_all_who_waited_for_it(journal, path, post, monkeypatch):
    slow = SlowDisk(monkeypatch, "refused")
    post(b"0\n")
    assert slow.begun.acquire(timeout=10)
    for number in range(1, 4):
        post(b"%d\n" % number)
    assert eventually(lambda: path.read_bytes().count(b"\n") == 4)

    slow.go.release(2)

    assert sorted(post.end()) == ["refused 1", "refused 2", "refused 2", "refused 2"]


def test_who_wrote_before_the_disk_refused_is_not_told_that_it_is_on_the_disk(journal, path, post, monkeypatch):
    """The kernel reports an error once: the sync for those who wrote while the first one failed goes well."""
    slow = SlowDisk(monkeypatch, "refused")
    post(b"0\n")
    assert slow.begun.acquire(timeout=10)
    post(b"1\n")
    assert eventually(lambda: path.read_bytes().count(b"\n") == 2)
    slow.go.release()
    assert slow.begun.acquire(timeout=10)
    slow.error = None
    slow.go.release()

    assert post.end() == ["refused 1", "refused 1"]


def test_who_was_writing_while_the_disk_refused_is_not_told_that_it_is_on_the_disk(journal, monkeypatch):
    """The refusal comes between its write and its wait."""
    slow, write = SlowDisk(monkeypatch, "refused"), journal.write
    slow.go.release(3)
    with pytest.raises(OperationalError, match="refused 1"):
        journal.append(b"0\n", durable=True)
    other = journal._commit

    def write_and_be_overtaken(lines):
        write(lines)
        with pytest.raises(OperationalError, match="refused 2"):
            other.join(other.error)()
        slow.error = None

    monkeypatch.setattr(journal, "write", write_and_be_overtaken)

    with pytest.raises(OperationalError, match="refused 2"):
        journal.append(b"1\n", durable=True)


def test_what_is_written_after_the_disk_refused_is_believed_and_begins_a_line_of_its_own(journal, path, monkeypatch):
    """What stood before it may be lost, with the newline at its end."""
    slow = SlowDisk(monkeypatch, "refused")
    slow.go.release(2)
    with pytest.raises(OperationalError, match="refused 1"):
        journal.append(b"one\n", durable=True)
    slow.error = None

    journal.append(b"two\n", durable=True)

    assert path.read_bytes() == b"one\n\ntwo\n"


def test_a_refusal_that_another_sync_of_the_file_was_told_of_is_an_error_to_those_who_wait(journal, monkeypatch):
    slow, write = SlowDisk(monkeypatch), journal.write
    slow.go.release(3)
    journal.append(b"one\n", durable=True)

    def write_and_be_overtaken(lines):
        write(lines)
        slow.error = "refused"
        with pytest.raises(OperationalError, match="refused 2"):
            journal.sync()
        slow.error = None

    monkeypatch.setattr(journal, "write", write_and_be_overtaken)

    with pytest.raises(OperationalError, match="refused 2"):
        journal.append(b"two\n", durable=True)


def test_a_folder_that_the_disk_refuses_is_tried_again(journal, path, monkeypatch):
    ends, tried = [OperationalError("refused"), None, None], []
    monkeypatch.setattr(disk, "fsync", lambda descriptor: None)

    def fsync_folder(folder):
        tried.append(folder)
        if error := ends.pop(0):
            raise error

    monkeypatch.setattr(disk, "fsync_folder", fsync_folder)
    with pytest.raises(OperationalError, match="refused"):
        journal.append(b"one\n", durable=True)
    journal.append(b"two\n", durable=True)

    assert tried == [path.parent, path.parent, path.parent.parent]


def test_who_shares_a_sync_that_was_broken_off_is_told_and_waits_no_longer(journal, path, monkeypatch):
    """Whether the kernel had an error to report is not known any more."""
    slow, ends = SlowDisk(monkeypatch), []

    def body(line):
        try:
            journal.append(line, durable=True)
            ends.append("on the disk")
        except (OperationalError, KeyboardInterrupt) as error:
            ends.append(repr(error))

    def fsync(descriptor):
        slow.fsync(descriptor)
        if slow.count == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(disk, "fsync", fsync)
    threads = [threading.Thread(target=body, args=(b"%d\n" % number,)) for number in range(3)]
    threads[0].start()
    assert slow.begun.acquire(timeout=10)
    for thread in threads[1:]:
        thread.start()
    assert eventually(lambda: path.read_bytes().count(b"\n") == 3)
    slow.go.release(2)
    for thread in threads:
        thread.join(10)

    look = f"Look at the folder: ls -la {path.parent}"
    assert (sorted(ends), slow.count) == (
        [
            "KeyboardInterrupt()",
            f"OperationalError('cannot bring to the disk {path}: broken off. {disk.UNSAFE} {look}')",
            "on the disk",
        ],
        2,
    )


def test_what_was_waited_for_is_the_file_that_was_written_also_if_another_has_its_name_by_then(
    journal, path, post, monkeypatch
):
    slow = SlowDisk(monkeypatch)
    synced = []
    monkeypatch.setattr(disk, "fsync", lambda descriptor: (slow.fsync(descriptor), synced.append(os.fstat(descriptor))))
    post(b"one\n")
    assert slow.begun.acquire(timeout=10)
    path.rename(path.with_name("elsewhere"))
    journal.append(b"two\n")

    slow.go.release()

    assert post.end() == ["on the disk"]
    assert [status.st_ino for status in synced] == [path.with_name("elsewhere").stat().st_ino]


def test_a_durable_journal_that_was_closed_keeps_no_file_open(journal, path):
    before = set(os.listdir("/proc/self/fd"))
    journal.append(b"one\n", durable=True)

    journal.close()

    assert set(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_cannot_be_opened_to_be_synced_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(
        OperationalError, match=r"cannot bring to the disk .*: No such file or directory\. .* power cut\. .*ls -la"
    ):
        disk.fsync_folder(tmp_path / "missing")


def test_flock_in_a_shell_is_excluded_while_the_lock_is_held(journal, path):
    with journal.hold():
        refused = subprocess.run(["flock", "-n", f"{path}.lock", "true"], check=False).returncode

    assert refused == 1


def test_filelock_in_a_script_excludes_an_append(journal, path):
    journal.append(b"one\n")
    done = threading.Event()

    def append():
        journal.append(b"two\n")
        done.set()

    with FileLock(journal.lock_path):
        thread = threading.Thread(target=append)
        thread.start()
        early = done.wait(0.05)
        seen = path.read_bytes()
    thread.join()

    assert (early, seen) == (False, b"one\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_who_has_patience_gets_the_lock_when_it_becomes_free(journal, path, monkeypatch):
    other = FileLock(journal.lock_path)
    path.parent.mkdir()
    other.acquire()

    with monkeypatch.context() as patch:
        patch.setattr(disk.time, "sleep", lambda _: other.release())  # it becomes free during the first nap
        with journal.hold(patience=60):
            journal.write(b"one\n")

    assert path.read_bytes() == b"one\n"


def test_who_has_none_is_told_who_holds_the_lock_and_that_nothing_was_changed(journal, path):
    journal.append(b"one\n")

    with FileLock(journal.lock_path), pytest.raises(LockHeld) as caught, journal.hold(patience=0):
        journal.write(b"two\n")

    holder = f"process {os.getpid()} ({Path('/proc/self/comm').read_text().strip()})"
    assert str(caught.value) == (
        f"{journal.lock_path} is held by {holder}. Nothing was changed. See who: lsof {journal.lock_path}"
    )
    assert path.read_bytes() == b"one\n"


def test_threads_that_share_a_journal_do_not_cut_into_each_others_lines(journal, path):
    def append(name):
        for number in range(200):
            journal.append(f"{name} {number}\n".encode())

    threads = [threading.Thread(target=append, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    lines = path.read_text().splitlines()
    assert sorted(lines) == sorted(f"{name} {number}" for name in "abcd" for number in range(200))


def test_an_append_goes_into_the_file_that_has_the_name_now(journal, path):
    journal.append(b"one\n")
    path.rename(path.with_name("old"))

    journal.append(b"two\n")

    assert path.read_bytes() == b"two\n"
    assert path.with_name("old").read_bytes() == b"one\n"


def test_an_append_after_the_whole_folder_was_removed_makes_it_anew(journal, path):
    journal.append(b"one\n")
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()

    journal.append(b"two\n")

    assert path.read_bytes() == b"two\n"


def test_holding_survives_that_somebody_emptied_the_folder(journal, path):
    journal.append(b"one\n")
    journal.lock_path.unlink()

    with journal.hold():
        refused = subprocess.run(["flock", "-n", f"{path}.lock", "true"], check=False).returncode

    assert refused == 1


def test_what_cannot_be_opened_is_told_each_time(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "a.jsonl")
    journal.path.mkdir()

    for _ in range(2):
        with pytest.raises(UnsafeFile):
            journal.append(b"one\n")
        monkeypatch.setattr(Glance, "shows_no_change", lambda _: True)  # nothing has changed for a while


def test_a_journal_whose_file_cannot_be_opened_any_more_holds_no_other_programs_output(journal, path):
    before = set(os.listdir("/proc/self/fd"))
    journal.append(b"one\n")
    path.unlink()
    path.mkdir()

    with pytest.raises(UnsafeFile):
        journal.refresh()

    assert (journal.size(), journal.read(0)) == (0, b"")
    journal.close()
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_reader_does_not_make_a_file_that_vanishes_while_it_is_looked_up(journal, path, monkeypatch):
    path.parent.mkdir()
    path.write_bytes(b"one\n")
    real = disk.status

    def look_and_remove(name):
        found = real(name)
        if name == path:
            path.unlink()
        return found

    monkeypatch.setattr(disk, "status", look_and_remove)

    assert (journal.refresh(), journal.read(0), path.exists()) == (0, b"", False)


def test_another_file_under_the_name_has_another_number(journal, path):
    journal.append(b"one\n")
    first = journal.refresh()
    replacement = path.with_name("new")
    replacement.write_bytes(b"other\n")
    replacement.rename(path)

    second = journal.refresh()
    path.unlink()

    assert first != second
    assert journal.refresh() == 0


def test_setting_aside_leaves_a_new_empty_file(journal, path):
    journal.append(b"one\n")
    target = path.with_name("aside")

    with journal.hold():
        journal.set_aside(target).write(b"two\n")

    assert (target.read_bytes(), path.read_bytes()) == (b"one\n", b"two\n")
    assert journal.read(0) == b"one\n"


def test_a_missing_file_is_replaced_by_its_successor(path):
    path.parent.mkdir()
    successor = path.with_name("next")
    successor.write_bytes(b"snapshot\n")
    journal = Journal(path, successor)

    with journal.hold():
        journal.write(b"more\n")

    assert path.read_bytes() == b"snapshot\nmore\n"
    assert not successor.exists()


def test_a_successor_waits_while_the_file_is_there(path):
    path.parent.mkdir()
    successor = path.with_name("next")
    successor.write_bytes(b"snapshot\n")
    path.write_bytes(b"one\n")

    Journal(path, successor).append(b"two\n")

    assert (path.read_bytes(), successor.read_bytes()) == (b"one\ntwo\n", b"snapshot\n")


def in_child(action):
    """Run ``action`` in a forked child that ends with status 0 if it went well; return the status."""
    child = os.fork()
    if not child:
        signal.alarm(10)
        try:
            action()
        finally:
            os._exit(1 if __import__("sys").exc_info()[0] else 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_forked_child_can_append_too(journal, path):
    journal.append(b"parent\n")

    status = in_child(lambda: journal.append(b"child\n"))
    journal.append(b"parent again\n")

    assert status == 0
    assert path.read_bytes() == b"parent\nchild\nparent again\n"


def test_a_child_forked_while_another_thread_appends_can_append(journal, path):
    journal.append(b"parent\n")

    with journal._threads:  # as another thread would hold it at the moment of the fork
        status = in_child(lambda: journal.append(b"child\n"))

    assert status == 0
    assert path.read_bytes() == b"parent\nchild\n"


def test_a_lock_is_free_when_its_holder_is_killed_even_if_a_forked_child_lives_on(journal, path):
    journal.append(b"one\n")
    read_end, write_end = os.pipe()
    holder = os.fork()
    if not holder:
        with journal.hold():
            grandchild = os.fork()
            if grandchild:
                os.write(write_end, b"%d\n" % grandchild)
            signal.pause()
        os._exit(0)
    grandchild = int(os.read(read_end, 20))
    held = subprocess.run(["flock", "-n", f"{path}.lock", "true"], check=False).returncode == 1
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    # the grandchild closes its copies as soon as it runs; a second is ages for that
    free = subprocess.run(["flock", "-w", "5", f"{path}.lock", "true"], check=False).returncode == 0
    os.kill(grandchild, signal.SIGKILL)
    os.close(read_end)
    os.close(write_end)

    assert (held, free) == (True, True)


def test_closing_gives_the_descriptors_back_and_the_next_use_opens_them_again(journal, path):
    before = len(os.listdir("/proc/self/fd"))
    journal.append(b"one\n")
    journal.close()
    after = len(os.listdir("/proc/self/fd"))

    journal.append(b"two\n")

    assert before == after
    assert path.read_bytes() == b"one\ntwo\n"


@pytest.fixture
def close_stdin():
    """A function that closes the standard input, so that the next file that is opened is number 0."""
    stdin = os.dup(0)
    yield lambda: os.close(0)
    os.dup2(stdin, 0)
    os.close(stdin)


def test_a_lock_whose_descriptor_is_zero_is_kept_and_given_back_like_any_other(close_stdin, journal, path):
    close_stdin()
    journal.append(b"one\n")
    number = journal._lock_descriptor
    with journal.hold():
        journal.write(b"two\n")
    free = subprocess.run(["flock", "-n", f"{path}.lock", "true"], check=False).returncode == 0
    journal.close()

    assert (number, free, os.path.exists("/proc/self/fd/0")) == (0, True, False)
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_file_whose_descriptor_is_zero_is_read_replaced_and_given_back_like_any_other(
    close_stdin, journal, path, monkeypatch
):
    journal.append(b"one\n")
    close_stdin()
    path.unlink()
    journal.append(b"two\n")
    number = journal._descriptor

    with monkeypatch.context() as patch:
        patch.setattr(disk, "open_file", None)  # what is open already is not opened again,
        inode = journal.refresh()
        patch.setattr(Glance, "shows_no_change", lambda _: True)
        patch.setattr(disk, "status", None)  # nor looked up when nothing has changed for a while
        seen = (journal.refresh(), journal.size(), journal.read_bytes(0, 10))
    path.unlink()
    journal.append(b"three\n")
    journal.close()

    assert (number, os.path.exists("/proc/self/fd/0")) == (0, False)
    assert seen == (inode, 4, b"two\n")
    assert path.read_bytes() == b"three\n"


def test_after_a_fork_the_copies_are_closed_and_nobody_elses_thread_is_waited_for(journal, path):
    before = set(os.listdir("/proc/self/fd"))
    journal.append(b"one\n")

    with journal._threads:  # as another thread would hold it at the moment of the fork
        journal.after_fork()
        left = set(os.listdir("/proc/self/fd"))
        journal.append(b"two\n")

    assert left == before
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_journal_that_nobody_needs_any_more_keeps_no_descriptor(path):
    gc.collect()  # what other tests have left
    before = len(os.listdir("/proc/self/fd"))

    for _ in range(3):
        Journal(path).append(b"one\n")

    assert len(os.listdir("/proc/self/fd")) == before
    assert path.read_bytes() == b"one\n" * 3
