"""What a task prints and logs is kept, and goes where it went before."""

import asyncio
import logging
import os
import sys
import threading

import pytest

from pmtq import disk
from pmtq.output import kept_output, output_path


def test_what_is_printed_is_kept_and_printed(tmp_path, capsys):
    with kept_output("a", tmp_path / "logs"):
        print("to out")
        print("to err", file=sys.stderr)
        sys.stdout.writelines(["one\n", "two\n"])

    assert (tmp_path / "logs" / "a.log").read_text() == "to out\nto err\none\ntwo\n"
    assert capsys.readouterr() == ("to out\none\ntwo\n", "to err\n")


def test_what_is_logged_is_kept(tmp_path):
    with kept_output("a", tmp_path):
        logging.getLogger("shop").warning("sold out: %s", "blue")

    assert (tmp_path / "a.log").read_text().endswith(" WARNING shop: sold out: blue\n")


def test_a_bad_log_call_is_as_harmless_as_without_kept_output(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # that of the tests does raise
    with kept_output("a", tmp_path):
        logging.getLogger("lib").warning("%d", "three")
        print("went on")

    assert (tmp_path / "a.log").read_text().endswith("went on\n")
    assert "Message: '%d'\nArguments: ('three',)\n" in capsys.readouterr().err


def test_what_is_printed_after_the_end_of_the_task_goes_where_it_went_before(tmp_path, capsys):
    """A coroutine that a task has left behind has the task's context, while another task is kept."""

    async def behind(go):
        await go.wait()
        print("late")
        logging.getLogger("shop").warning("late")

    async def ended(go):
        with kept_output("ended", tmp_path):
            return asyncio.create_task(behind(go))

    async def both():
        go = asyncio.Event()
        with kept_output("other", tmp_path):
            left = await asyncio.create_task(ended(go))
            go.set()
            await left

    asyncio.run(both())

    assert [(tmp_path / f"{name}.log").read_text() for name in ("ended", "other")] == ["", ""]
    assert capsys.readouterr().out == "late\n"


def test_a_wrapper_that_a_program_puts_around_a_stream_does_not_double_what_is_kept(tmp_path, capsys, monkeypatch):
    class Wrapper:
        def __init__(self, stream):
            self.stream = stream

        def write(self, text):
            return self.stream.write(text)

        def flush(self):
            self.stream.flush()

    monkeypatch.setattr(sys, "stdout", sys.stdout)
    for name in ("a", "b", "c"):
        with kept_output(name, tmp_path):
            sys.stdout = Wrapper(sys.stdout)
            print(name)

    assert [(tmp_path / f"{name}.log").read_text() for name in ("a", "b", "c")] == ["a\n", "b\n", "c\n"]
    assert capsys.readouterr().out == "a\nb\nc\n"


def test_every_try_adds_to_the_same_file(tmp_path):
    for number in range(2):
        with kept_output("a", tmp_path):
            print("try", number)

    assert (tmp_path / "a.log").read_text() == "try 0\ntry 1\n"


def test_afterwards_everything_is_as_before(tmp_path):
    before = (sys.stdout, sys.stderr, list(logging.getLogger().handlers))

    with pytest.raises(ValueError, match="stop"), kept_output("a", tmp_path):
        raise ValueError("stop")

    assert (sys.stdout, sys.stderr, list(logging.getLogger().handlers)) == before


def test_a_stream_that_the_task_put_in_place_stays(tmp_path, monkeypatch):
    stream = sys.__stderr__
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    with kept_output("a", tmp_path):
        sys.stdout = stream

    assert sys.stdout is stream


def test_tasks_in_several_threads_each_keep_their_own(tmp_path, capsys):
    """They end in another order than they began, which must not leave one of them with the file of the other."""
    turns = [threading.Event() for _ in range(4)]

    def first():
        with kept_output("first", tmp_path):
            print("first 1")
            turns[0].set()
            turns[1].wait(10)
            print("first 2")
        turns[2].set()

    def second():
        turns[0].wait(10)
        with kept_output("second", tmp_path):
            print("second 1")
            turns[1].set()
            turns[2].wait(10)
            print("second 2")

    threads = [threading.Thread(target=body) for body in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("nobody")

    assert (tmp_path / "first.log").read_text() == "first 1\nfirst 2\n"
    assert (tmp_path / "second.log").read_text() == "second 1\nsecond 2\n"
    assert capsys.readouterr().out == "first 1\nsecond 1\nfirst 2\nsecond 2\nnobody\n"


def test_tasks_in_one_event_loop_each_keep_their_own(tmp_path):
    async def body(name):
        with kept_output(name, tmp_path):
            for number in range(2):
                print(name, number)
                await asyncio.sleep(0)

    async def both():
        await asyncio.gather(body("a"), body("b"))

    asyncio.run(both())

    assert (tmp_path / "a.log").read_text() == "a 0\na 1\n"
    assert (tmp_path / "b.log").read_text() == "b 0\nb 1\n"


def test_text_that_is_no_unicode_is_kept_in_escapes(tmp_path, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # the report of a test must be text

    with kept_output("a", tmp_path):
        logging.getLogger("shop").warning("\ud800")

    assert "\\ud800" in (tmp_path / "a.log").read_text()


@pytest.mark.parametrize("task_id", ["45bc8d0ae7c9f8e810e8d", "mine", "a.b-c_d"])
def test_a_plain_id_is_the_files_name(tmp_path, task_id):
    assert output_path(tmp_path, task_id) == tmp_path / f"{task_id}.log"


@pytest.mark.parametrize(
    "task_id", ["../../etc/passwd", "a/b", "", ".", "..", ".hidden", "é", "x" * 300, "a\nb", "\ud800", "id-1"]
)
def test_any_other_id_has_a_file_of_its_own_in_the_folder(tmp_path, task_id):
    path = output_path(tmp_path, task_id)

    assert path.parent == tmp_path
    assert path.name.startswith("id-")
    assert path != output_path(tmp_path, task_id + "x")
    with kept_output(task_id, tmp_path):
        print("here")
    assert path.read_text() == "here\n"


def test_a_full_disk_costs_what_a_task_prints_and_not_the_task(folder, app, work, monkeypatch, caplog):
    @app.task(name="tasks.say", keep_output=True)
    def say():
        print("one")
        logging.getLogger("mine").error("two")
        print("no end", end="")
        return "done"

    result, path = app.send_task("tasks.say", task_id="t"), output_path(folder.logs, "t")
    real = disk.open_file
    full = lambda file, **options: os.open("/dev/full", os.O_WRONLY) if file == path else real(file, **options)  # noqa: E731
    monkeypatch.setattr(disk, "open_file", full)

    work(app)

    assert result.get(timeout=0) == "done"
    (said,) = [record.getMessage() for record in caplog.records if record.name == "pmtq.output"]
    assert said == (
        f"Not all that task t printed is kept: cannot append to {path}: No space left on device. The rest is lost. Free "
        f"some space on its disk (df -h {folder.logs}) and try again."
    )


def test_a_file_that_is_refused_costs_what_a_task_prints_and_not_the_task(folder, app, work, caplog):
    app.task(name="tasks.say", keep_output=True)(lambda: print("one"))
    result, path = app.send_task("tasks.say", task_id="t"), output_path(folder.logs, "t")
    path.mkdir(parents=True)

    work(app)

    assert result.state == "SUCCESS"
    (said,) = [record.getMessage() for record in caplog.records if record.name == "pmtq.output"]
    assert said.startswith(f"What task t prints is not kept: {path} is refused: it is ")


def test_a_process_without_streams_can_keep_output_too(tmp_path, monkeypatch):
    """So is one without a console on Windows, in which print does nothing."""
    monkeypatch.setattr(sys, "stdout", None)

    with kept_output("a", tmp_path):
        print("nowhere")
        print("kept", file=sys.stderr)

    assert (tmp_path / "a.log").read_text() == "kept\n"
    assert sys.stdout is None
