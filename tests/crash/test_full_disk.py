"""A disk that is really full: the caller gets an error, the files keep their bytes, and all goes on when space returns."""

import os
import subprocess

import pytest

from pmtq import PMTQ
from pmtq.exceptions import OperationalError
from pmtq.states import SUCCESS
from tests.support import all_states, read_lines


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def app(small_disk):
    app = PMTQ("tasks", broker=f"file://{small_disk}/queue_dir")
    app.task(name="tasks.add")(lambda x: x)
    yield app
    app.backend.close()


def fill(place):
    """Use up every byte of the disk."""
    descriptor = os.open(place / "ballast", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        while os.write(descriptor, b"x" * 4096):
            pass
    except OSError:
        pass
    finally:
        os.close(descriptor)


def test_on_a_full_disk_a_call_is_refused_and_the_file_keeps_its_bytes(app, small_disk, work):
    add = app.tasks["tasks.add"]
    posted = []
    fill_up = 40_000

    def post_until_refused():
        while True:
            posted.append(add.delay("y" * fill_up))

    with pytest.raises(OperationalError, match="No space left on device"):
        post_until_refused()
    size = app.folder.queue().stat().st_size

    lines = read_lines(app.folder.queue())

    assert [line["task_id"] for line in lines] == [result.id for result in posted]
    assert size == sum(len(line) for line in app.folder.queue().read_bytes().splitlines(keepends=True))
    assert app.folder.queue().read_bytes().endswith(b"\n")


def test_outcomes_that_found_no_space_are_posted_when_there_is_some(app, small_disk, work_until):
    add = app.tasks["tasks.add"]
    ran = []

    @app.task(name="fill")
    def fill_then(number):
        ran.append(number)
        fill(small_disk)
        return "z" * 10_000

    results = [app.tasks["fill"].delay(number) for number in range(3)]
    looks = 0

    def free_after_a_while():
        nonlocal looks
        looks += 1
        if looks % 200 == 0 and ran:
            (small_disk / "ballast").unlink(missing_ok=True)
        return all(result.ready() for result in results)

    work_until(app, free_after_a_while)
    (small_disk / "ballast").unlink(missing_ok=True)

    assert sorted(ran) == [0, 1, 2]
    assert [result.state for result in results] == [SUCCESS] * 3
    finals = [line["task_id"] for line in all_states(app.folder) if line["status"] == SUCCESS]
    assert sorted(finals) == sorted(result.id for result in results)
    assert add.delay(1).id


@pytest.mark.parametrize("room", range(0, 400, 37))
def test_a_file_size_limit_at_any_byte_leaves_whole_lines(folder, room):
    """RLIMIT_FSIZE makes the write short at a byte of our choice."""
    import resource
    import signal

    app = PMTQ("tasks", broker=f"file://{folder.path}")
    app.send_task("f", [1], task_id="before")
    before = folder.queue().read_bytes()
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, resource.RLIM_INFINITY))
            try:
                app.send_task("f", ["x" * 400], task_id="big")
            except OperationalError:
                status = 0
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert folder.queue().read_bytes() == before
    app.send_task("f", [1], task_id="after")
    assert [line["task_id"] for line in read_lines(folder.queue())] == ["before", "after"]
