"""Real limits: a disk, a file's size, open files, a folder that may not be written.

The caller gets an error, the files keep their bytes, what runs is finished, and all goes on when there is room again.
"""

import os
import resource
import subprocess
import tempfile
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from pmtq import PMTQ
from pmtq.exceptions import OperationalError
from pmtq.presence import Presence
from pmtq.states import SUCCESS
from pmtq.worker import consumer
from pmtq.worker.consumer import Consumer
from tests.support import all_states, in_child, queued, read_lines


@pytest.fixture
def mount(tmp_path):
    """A function that mounts a disk of the size it is told."""
    mounted = []

    def mount(size):
        place = tmp_path / "disk"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def small_disk(mount):
    """A disk of one megabyte."""
    return mount("1m")


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


def test_on_a_disk_of_64_kib_a_worker_says_that_it_has_no_room_and_starts_when_there_is_some(mount, work):
    disk = mount("64k")
    app = PMTQ("tasks", broker=f"file://{disk}/queue_dir")
    ran = []
    app.task(name="tasks.log")(lambda text: ran.append(len(text)))
    posted = []

    def post_until_refused():
        while True:
            posted.append(app.send_task("tasks.log", ["y" * 9_000]))

    with pytest.raises(OperationalError, match="No space left on device"):
        post_until_refused()
    whole = app.folder.queue().read_bytes()
    with pytest.raises(OperationalError) as caught:
        work(app)
    left = sorted(path.name for path in app.folder.workers.iterdir() if path.suffix == ".json")

    subprocess.run(["mount", "-o", "remount,size=2m", str(disk)], check=True)
    work(app)

    assert str(caught.value).endswith(f"Free some space on its disk (df -h {app.folder.workers}) and try again.")
    assert left == []
    assert len(whole.splitlines()) == len(posted) == len(ran)
    assert {result.state for result in posted} == {SUCCESS}
    app.backend.close()


def run_until_done(app, count, meanwhile=lambda: None):
    """Be a worker in this process until so many tasks have ended; call ``meanwhile`` between its looks."""
    consumer.SLOW_POLL = 0.01
    here = Presence(app.folder, "w1", {"pid": os.getpid()})
    working = Consumer(app.folder, here, ["celery"], app.tasks)
    looks = 0

    def go_on():
        nonlocal looks
        looks += 1
        meanwhile()
        try:
            return ends(app.folder).total() < count and looks < 500
        except (OSError, OperationalError):  # we cannot look either
            return looks < 500

    working.run(still_wanted=go_on)
    here.leave()


def ends(folder) -> Counter:
    return Counter(line["task_id"] for line in all_states(folder) if line["status"] == SUCCESS)


def test_a_worker_at_its_file_size_limit_keeps_its_outcomes_until_that_is_raised(app_here, tmp_path):
    app, runs = app_here
    for number in range(4):
        app.send_task("tasks.log", [f"{number}" * 300], task_id=f"t{number}")

    def body():
        def raise_it():
            if runs.exists() and len(runs.read_text().splitlines()) >= 2:
                looks.append(1)
            if len(looks) > 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

        looks = []
        here = Presence(app.folder, "w0", {})  # its notes are longer than the limit will be
        here.leave()
        limit_after_start(app, 900)
        run_until_done(app, 4, raise_it)
        return len(looks) > 5

    said = in_child(body)

    assert said == "True"
    assert ends(app.folder) == Counter({f"t{number}": 1 for number in range(4)})
    assert Counter(len(line) for line in runs.read_text().splitlines()) == Counter({300: 4})


def limit_after_start(app, size):
    """Have the results meet a limit on the size of files as soon as the worker's notes, which are longer, are there."""
    from pmtq.presence import Notes

    begin = Notes.__init__

    def and_limit(self, path):
        begin(self, path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    Notes.__init__ = and_limit


@pytest.fixture
def app_here(folder):
    """An app whose task leaves a line beside the folder, and that file."""
    app, runs = PMTQ("tasks", broker=f"file://{folder.path}"), folder.path.parent / "runs.log"

    @app.task(name="tasks.log")
    def log(text):
        with runs.open("a") as file:
            file.write(f"{text}\n")
        return text

    yield app, runs
    app.backend.close()


def limit_open_files(more):
    """Let this process open some files more; how many it has inherited depends on the tests that ran before."""
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + more, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def test_a_task_that_uses_up_all_open_files_costs_neither_its_result_nor_its_worker(app_here):
    app, _ = app_here
    kept = []

    def give_back():
        while kept:
            os.close(kept.pop())
        return "closed"

    @app.task(name="tasks.hoard")
    def hoard():
        threading.Timer(0.3, give_back).start()  # should the next task be in another batch, which cannot be claimed
        try:
            while True:
                kept.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            return error.errno

    app.task(name="tasks.share")(give_back)

    for task_id, name in [("before", "share"), ("hoard", "hoard"), ("share", "share"), ("after", "share")]:
        app.send_task(f"tasks.{name}", task_id=task_id)

    def body():
        limit_open_files(50)
        run_until_done(app, 4)

    said = in_child(body)

    assert said == "None"
    assert ends(app.folder) == Counter(["before", "hoard", "share", "after"])
    assert app.AsyncResult("hoard").get(timeout=0) == 24


def test_a_client_without_open_files_is_told_and_posts_when_it_has_some(app_here):
    app, _ = app_here
    app.send_task("tasks.log", ["before"], task_id="before")
    app.close()

    def body():
        limit_open_files(20)
        kept = []
        try:
            while True:
                kept.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        try:
            app.send_task("tasks.log", ["refused"], task_id="refused")
        except OperationalError as error:
            said = str(error)
        for descriptor in kept:
            os.close(descriptor)
        app.send_task("tasks.log", ["after"], task_id="after")
        return said

    said = in_child(body)

    assert said == (
        f"cannot open {app.folder.queue()}.lock: Too many open files. Nothing was changed. This process has too many open "
        "files: ulimit -n shows the limit."
    )
    assert [line["task_id"] for line in read_lines(app.folder.queue())] == ["before", "after"]


NOBODY = 65534


@pytest.fixture
def commons():
    """A directory that every user may enter, and its owner is one for whom modes count, as they do not for root."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        if os.geteuid() == 0:
            os.chown(place, NOBODY, NOBODY)
        yield Path(place)


def as_ordinary_user(action) -> str:
    return in_child(action, NOBODY if os.geteuid() == 0 else None)


def test_a_folder_that_may_not_be_written_is_told_and_one_that_may_again_is_used(commons):
    path = commons / "queue_dir"

    def body():
        with closing(PMTQ("tasks", broker=f"file://{path}")) as app:
            path.mkdir(mode=0o500)
            try:
                app.send_task("tasks.log", ["refused"])
            except OperationalError as error:
                said = str(error)
            path.chmod(0o700)
            app.send_task("tasks.log", ["posted"])
            return said, queued(app.folder)

    said = as_ordinary_user(body)

    lock = path / "queue.jsonl.lock"
    advice = f"Permission denied. Nothing was changed. Look who owns it: ls -l {path}"
    assert said == str((f"cannot open {lock}: {advice}", [("tasks.log", ["posted"])]))


@pytest.mark.parametrize("closed", ["folder", "queue"])
def test_a_folder_or_queue_that_is_closed_under_a_worker_holds_it_up_no_longer_than_it_is_closed(commons, closed):
    path = commons / "queue_dir"

    def body():
        app, ran, looks = PMTQ("tasks", broker=f"file://{path}"), [], []
        app.task(name="tasks.log")(ran.append)
        app.send_task("tasks.log", ["first"], task_id="first")
        what = path if closed == "folder" else app.folder.queue()

        def close_and_open():
            if ran == ["first"]:
                looks.append(1)
            if len(looks) == 1:
                what.chmod(0o000 if closed == "queue" else 0o500)
            if len(looks) == 10:
                what.chmod(0o700 if closed == "folder" else 0o600)
                app.send_task("tasks.log", ["second"], task_id="second")

        run_until_done(app, 2, close_and_open)
        return ran, sorted(ends(app.folder).items())

    said = as_ordinary_user(body)

    assert said == str((["first", "second"], [("first", 1), ("second", 1)]))
