"""The only door to the file system: what it refuses, and what it leaves behind when the system refuses."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pmtq import disk
from pmtq.exceptions import OperationalError, UnsafeFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "file.jsonl"


@pytest.fixture
def opened(path):
    descriptor = disk.open_file(path)
    yield descriptor
    os.close(descriptor)


def test_a_new_folder_and_file_are_closed_to_other_users(opened, path):
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


def test_folders_that_had_to_be_made_around_it_are_closed_too_whatever_the_umask(tmp_path):
    for umask in (0, 0o777):
        path = tmp_path / oct(umask) / "folder" / "file"
        before = os.umask(umask)
        try:
            os.close(disk.open_file(path))
        finally:
            os.umask(before)
        modes = [one.stat().st_mode & 0o777 for one in (path.parent.parent, path.parent, path)]
        assert modes == [0o700, 0o700, 0o600]


def test_a_file_whose_owner_has_closed_it_to_himself_stays_so(opened, path):
    disk.append(opened, b"one\n", path, 0)
    path.chmod(0o400)

    os.close(disk.open_file(path, write=False))

    assert path.stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize("what", ["link", "dangling link", "pipe"])
def test_what_should_be_a_folder_and_leads_elsewhere_is_refused(path, what):
    path.parent.mkdir()
    planted(path, what)

    with pytest.raises(UnsafeFile, match="it is a link or a file, and should be a folder"):
        disk.require_folder(path)

    disk.require_folder(path.parent)
    disk.require_folder(path.with_name("not there"))


def test_a_whole_file_is_read_at_once(opened, path):
    disk.append(opened, b"one\n", path, 0)

    assert disk.read_file(path) == b"one\n"


def test_a_child_program_does_not_inherit_the_descriptor(opened):
    assert not os.get_inheritable(opened)


def test_a_missing_file_is_not_made_when_that_was_not_asked_for(path):
    with pytest.raises(FileNotFoundError):
        disk.open_file(path, create=False)

    assert not path.parent.exists()


def test_a_folder_that_every_user_may_write_is_refused(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)

    with pytest.raises(UnsafeFile) as caught:
        disk.make_folder(shared)

    assert str(caught.value) == (
        f"{shared} can be written by every user of this machine (mode 0777), and whoever can write it can run your "
        f"tasks. Nothing was touched. Close it: chmod o-w {shared}; or accept that, where a disk has no such modes: --allow-shared, "
        "or PMTQ_ALLOW_SHARED=1 in the environment of clients and workers"
    )


def test_a_folder_that_every_user_may_write_is_used_when_that_was_accepted(tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setenv("PMTQ_ALLOW_SHARED", "1")

    disk.make_folder(shared)

    monkeypatch.setenv("PMTQ_ALLOW_SHARED", "")
    with pytest.raises(UnsafeFile):
        disk.make_folder(shared)


def planted(path, what):
    target = path.parent / "target"
    target.write_bytes(b"precious\n")
    if what == "link":
        path.symlink_to(target)
    elif what == "dangling link":
        path.symlink_to(path.parent / "missing")
    elif what == "hard link":
        os.link(target, path)
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    return target


@pytest.mark.parametrize("what", ["link", "dangling link", "hard link", "pipe", "folder"])
def test_what_was_planted_under_our_name_is_refused_and_its_target_left_alone(path, what):
    path.parent.mkdir()
    target = planted(path, what)

    with pytest.raises(
        UnsafeFile, match=r"is refused: it is .*It was not touched, nor what it points to. Look at it: ls -la"
    ):
        disk.open_file(path)

    assert target.read_bytes() == b"precious\n"
    assert not (path.parent / "missing").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_a_file_of_another_user_is_refused(path):
    path.parent.mkdir()
    path.write_bytes(b"")
    os.chown(path, 12345, 12345)

    with pytest.raises(UnsafeFile, match="owned by user 12345 under 1 names"):
        disk.open_file(path)


def test_bytes_are_added_at_the_end(opened, path):
    disk.append(opened, b"one\n", path, 0)
    disk.append(opened, b"two\n", path, 4)

    assert path.read_bytes() == b"one\ntwo\n"
    assert disk.read_at(opened, 3, 4) == b"two"


def test_a_short_write_is_cut_back_and_raised(opened, path, monkeypatch):
    disk.append(opened, b"one\n", path, 0)
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:2]))

    with pytest.raises(OperationalError) as caught:
        disk.append(opened, b"two\n", path, 4)

    assert path.read_bytes() == b"one\n"
    assert str(caught.value) == (
        f"cannot append to {path}: No space left on device. 2 of 4 bytes fitted and were cut off again. "
        f"Free some space on its disk (df -h {path.parent}) and try again."
    )


def test_a_strangers_line_behind_a_short_write_survives(opened, path, monkeypatch):
    real = os.write

    def half(descriptor, data):
        written = real(descriptor, data[:2])
        with path.open("ab") as stranger:
            stranger.write(b"\nstranger\n")
        return written

    monkeypatch.setattr(os, "write", half)

    with pytest.raises(OperationalError):
        disk.append(opened, b"two\n", path, 0)

    assert path.read_bytes() == b"tw\nstranger\n"


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space on its disk"),
        (errno.EDQUOT, "Your disk quota is used up"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EACCES, "Look who owns it"),
        (errno.EPERM, "Look who owns it"),
        (errno.EROFS, "mounted read-only"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "Look at the folder"),
    ],
)
def test_a_refused_write_says_what_was_left_behind_and_what_to_do(opened, path, monkeypatch, number, advice):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", refuse)

    with pytest.raises(OperationalError) as caught:
        disk.append(opened, b"two\n", path, 0)

    monkeypatch.undo()
    assert f"{os.strerror(number)}. It still ends at byte 0, as before." in str(caught.value)
    assert advice in str(caught.value)
    assert caught.value.__cause__.errno == number


def broken(*_, **__):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("fsync", lambda path, descriptor: disk.fsync(descriptor)),
        ("fsync", lambda path, descriptor: disk.fsync_folder(path.parent)),
        ("replace", lambda path, descriptor: disk.rename(path, path.with_name("other"))),
        ("unlink", lambda path, descriptor: disk.remove(path)),
        ("pread", lambda path, descriptor: disk.read_at(descriptor, 1, 0)),
        ("ftruncate", lambda path, descriptor: disk.truncate(descriptor)),
        ("listdir", lambda path, descriptor: disk.names_in(path.parent)),
        ("stat", lambda path, descriptor: disk.status(path)),
        ("stat", lambda path, descriptor: disk.exists(path)),
        ("open", lambda path, descriptor: disk.open_folder(path.parent)),
        ("open", lambda path, descriptor: disk.fsync_folder(path.parent)),
    ],
    ids=[
        "fsync", "fsync_folder", "rename", "remove", "read_at",
        "truncate", "names_in", "status", "exists", "open_folder", "fsync_folder's open",
    ],
)  # fmt: skip
def test_whatever_the_disk_refuses_comes_as_the_one_error_that_callers_expect(opened, path, monkeypatch, name, call):
    with monkeypatch.context() as patch:
        patch.setattr(os, name, broken)

        with pytest.raises(OperationalError):
            call(path, opened)


@pytest.mark.parametrize("take", [disk.lock, disk.try_lock])
def test_a_lock_that_the_system_refuses_comes_as_the_same_error(opened, path, monkeypatch, take):
    monkeypatch.setattr(disk, "lock_descriptor", broken)

    with pytest.raises(OperationalError) as caught:
        take(opened)

    assert str(caught.value) == (
        f"cannot lock {path}: Input/output error. Nothing was changed. Look at the folder: ls -la {path.parent}"
    )


def test_half_a_record_that_cannot_be_cut_off_again_is_told(opened, path, monkeypatch):
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:2]))
        patch.setattr(os, "ftruncate", broken)

        with pytest.raises(OperationalError) as caught:
            disk.append(opened, b"two\n", path, 0)

    assert path.read_bytes() == b"tw"
    assert str(caught.value) == (
        f"cannot append to {path}: Input/output error. 2 of 4 bytes were written and cannot be cut off again: they will "
        f"be rejected as no record. Look at the folder: ls -la {path.parent}"
    )


def test_what_is_not_there_has_no_names_no_status_and_does_not_exist(path):
    assert disk.names_in(path.parent) == []
    assert not disk.exists(path)
    for look in (disk.status, disk.open_folder):
        with pytest.raises(FileNotFoundError):
            look(path)


def test_a_lock_excludes_other_programs(opened, path):
    def others_get_it():
        return subprocess.run(["flock", "-n", str(path), "true"], check=False).returncode == 0

    assert others_get_it()
    assert disk.try_lock(opened)
    assert not others_get_it()
    disk.unlock(opened)
    assert others_get_it()


def test_a_lock_held_elsewhere_is_not_waited_for_longer_than_said(opened, path):
    other = disk.open_file(path)
    disk.lock(other)

    assert not disk.try_lock(opened)
    assert not disk.try_lock(opened, patience=0.01)

    disk.unlock(other)
    assert disk.try_lock(opened)
    os.close(other)


def test_the_lock_of_a_killed_process_is_free_at_once(opened, path):
    code = (
        "import os, sys, signal\nfrom pathlib import Path\nfrom pmtq import disk\n"
        "descriptor = disk.open_file(Path(sys.argv[1]))\ndisk.lock(descriptor)\nprint(flush=True)\nsignal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        held = not disk.try_lock(opened)
        holder.kill()
        holder.wait()

        assert held
        assert disk.try_lock(opened)


class Clock:
    """A clock that goes on only when somebody sleeps, by more than was asked for."""

    def __init__(self, wake):
        self.time, self.naps, self._wake = 1000.0, 0, wake

    def monotonic(self):
        return self.time

    def sleep(self, seconds):
        assert seconds <= 1.5 * disk.LONGEST_NAP
        self.time += 1.0
        self.naps += 1
        self._wake(self.naps)


def test_who_waits_five_seconds_for_a_lock_says_once_who_holds_it_and_gets_it_when_it_is_free(
    opened, path, monkeypatch, caplog
):
    other = disk.open_file(path)
    disk.lock(other)
    said_at = []

    def wake(naps):
        if caplog.records and not said_at:
            said_at.append(naps - 1)
        if naps == 20:
            disk.unlock(other)

    monkeypatch.setattr(disk, "time", Clock(wake))
    monkeypatch.setattr(disk, "holder_of", lambda descriptor: "process 4242 (vim)")

    disk.lock(opened)

    assert not disk.try_lock(other)
    assert said_at == [5]
    said = (
        f"{path} has been locked for 5 s by process 4242 (vim). Nothing can be written until it is free; waiting goes on. "
        f"See who: lsof {path}"
    )
    assert [record.getMessage() for record in caplog.records] == [said]
    os.close(other)


def test_removing_what_is_not_there_is_no_error(path):
    disk.remove(path)


def test_a_nudge_changes_no_byte_and_a_missing_file_is_no_error(opened, path):
    disk.append(opened, b"one\n", path, 0)
    os.utime(path, (0, 0))

    disk.nudge(path)
    disk.nudge(path.with_name("missing"))

    assert path.read_bytes() == b"one\n"
    assert path.stat().st_mtime > 0


def test_renaming_replaces_what_had_the_name(opened, path):
    disk.append(opened, b"new\n", path, 0)
    target = path.with_name("target")
    target.write_bytes(b"old\n")

    disk.rename(path, target)

    assert target.read_bytes() == b"new\n"
    assert not path.exists()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_that_is_to_be_new_is_refused_where_anything_has_its_name(path, kind):
    path.parent.mkdir(exist_ok=True)
    path.touch(0o600) if kind == "file" else path.symlink_to("nowhere")

    with pytest.raises(FileExistsError):
        disk.open_file(path, is_new=True)
    assert (path.is_symlink(), path.exists()) == (kind == "link", kind == "file")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EIO], ids=errno.errorcode.get)
def test_what_is_to_be_typed_after_a_refusal_names_a_path_with_a_space_as_one_word(number):
    said = str(disk.cannot("open", Path("/my proj/queue_dir/queue.jsonl"), OSError(number, "no")))

    assert said.startswith("cannot open /my proj/queue_dir/queue.jsonl: no. ")
    assert "'/my proj/queue_dir'" in said


def test_what_is_to_be_typed_about_an_unsafe_file_names_a_path_with_a_space_as_one_word(tmp_path):
    folder = tmp_path / "my proj"
    folder.mkdir()
    (folder / "link").symlink_to("nowhere")
    with pytest.raises(UnsafeFile) as planted:
        disk.open_file(folder / "link")
    folder.chmod(0o777)
    with pytest.raises(UnsafeFile) as shared:
        disk.make_folder(folder)

    assert str(planted.value).endswith(f"Look at it: ls -la '{folder}'")
    assert f"Close it: chmod o-w '{folder}'; or " in str(shared.value)


def test_a_file_of_which_one_call_reads_a_part_is_read_whole(path, opened, monkeypatch):
    path.write_bytes(b"0123456789")
    read_at = disk.read_at
    monkeypatch.setattr(disk, "read_at", lambda descriptor, size, offset: read_at(descriptor, min(size, 4), offset))

    assert disk.read_file(path) == b"0123456789"


def test_a_folder_that_cannot_be_opened_to_be_brought_to_the_disk_leaves_a_doubt(path, opened, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "open", refuse)

    with pytest.raises(
        OperationalError, match=r"cannot bring to the disk .*: Input/output error\. .*might not survive"
    ):
        disk.fsync_folder(path.parent)
