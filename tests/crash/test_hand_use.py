"""People and other programs at the queue file while clients post and a worker runs."""

import os
import shutil
import subprocess
import threading
from collections import Counter

import pytest

from pmtq import sealing
from pmtq.worker import consumer
from tests.support import all_states, is_empty, post_by_hand, read_lines

SHELL_PRODUCER = r"""
set -e
cd "$1"
i=0
while [ $i -lt 10 ]; do
    {
        flock 9
        j=0
        while [ $j -lt 100 ]; do
            printf '{"task_id":"sh-%d-%d","function":"tasks.add","params":[1,2]}\n' $i $j
            j=$((j+1))
        done >> queue.jsonl
    } 9>> queue.jsonl.lock
    i=$((i+1))
done
"""


def successes(folder) -> Counter:
    return Counter(line["task_id"] for line in all_states(folder) if line["status"] == "SUCCESS")


def test_a_shell_script_under_flock_and_python_clients_post_together_and_none_is_lost(
    app, add, folder, work_until, tmp_path
):
    folder.make()
    script = tmp_path / "post.sh"
    script.write_text(SHELL_PRODUCER)
    shell = subprocess.Popen(["sh", str(script), str(folder.path)])
    clients = [
        threading.Thread(target=lambda c=c: [add.apply_async([1, 2], task_id=f"py-{c}-{n}") for n in range(500)])
        for c in range(2)
    ]
    for client in clients:
        client.start()
    expected = Counter(
        [f"sh-{i}-{j}" for i in range(10) for j in range(100)] + [f"py-{c}-{n}" for c in range(2) for n in range(500)]
    )

    work_until(app, lambda: len(successes(folder)) >= 2000)
    for client in clients:
        client.join()

    assert shell.wait() == 0
    assert successes(folder) == expected


def test_lines_appended_without_any_lock_are_not_lost(app, add, folder, work_until):
    """A single ``echo >>`` of a short line is one write, which the system keeps apart from ours."""
    folder.make()
    code = 'i=0; while [ $i -lt 300 ]; do printf \'{"task_id":"sh-%d","function":"tasks.add","params":[1]}\\n\' $i >> "$1"; i=$((i+1)); done'
    shell = subprocess.Popen(["sh", "-c", code, "sh", str(folder.queue())])
    for number in range(300):
        add.apply_async([1], task_id=f"py-{number}")

    work_until(app, lambda: len(successes(folder)) >= 600)

    assert shell.wait() == 0
    assert successes(folder) == Counter([f"sh-{n}" for n in range(300)] + [f"py-{n}" for n in range(300)])


def edit_like_vim(path, text):
    draft = path.with_name("4913.tmp")
    draft.write_text(text)
    os.replace(draft, path)


def edit_with_backup(path, text):
    path.rename(path.with_name("queue.jsonl~"))
    path.write_text(text)


def edit_in_place(path, text):
    path.write_text(text)


def truncate_then_append(path, text):
    os.truncate(path, 0)
    with path.open("a") as file:
        file.write(text)


def remove_then_write(path, text):
    path.unlink()
    path.write_text(text)


def copy_over(path, text):
    other = path.with_name("other.txt")
    other.write_text(text)
    shutil.copyfile(other, path)


def by_program(name, command):
    """Return an edit that is made by a program, which finds the new text in the file ``$1`` and the queue in ``$2``."""

    def edit(path, text):
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed")
        new = path.parent.parent / "new.txt"
        new.write_text(text)
        done = subprocess.run(["sh", "-ec", command, "sh", str(new), str(path)], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    edit.__name__ = name
    return edit


LAST = "$(tail -n 1 $1)"
EDITS = [
    edit_like_vim, edit_with_backup, edit_in_place, truncate_then_append, remove_then_write, copy_over,
    by_program("sed", f'sed -i "\\$a {LAST}" $2'),
    by_program("perl", "perl -i -pe 'BEGIN { open F, shift; @l = <F>; } $_ .= $l[-1] if eof' $1 $2"),
    by_program("ex", f'printf "%s\\n" "\\$a" "{LAST}" . wq | ex -s $2'),
    by_program("cat", "cat $1 > $2"),
    by_program("cp", "cp $1 $2"),
    by_program("mv", "mv $2 $2.old; mv $1 $2"),
    by_program("rm", "rm $2; cat $1 >> $2"),
]  # fmt: skip


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_a_file_edited_under_a_running_worker_is_read_again_and_nothing_runs_twice(app, add, folder, work_until, edit):
    first = [add.apply_async([number], task_id=f"t{number}") for number in range(5)]
    waiting = add.apply_async([9], task_id="waiting", eta="2099-01-01")
    edited = []

    def edit_once_all_ran():
        if not edited and all(result.ready() for result in first):
            text = folder.queue().read_text()
            edit(folder.queue(), text + '{"task_id":"new","function":"tasks.add","params":[7]}\n')
            edited.append(text)
        return edited and app.AsyncResult("new").ready()

    work_until(app, edit_once_all_ran)

    assert app.AsyncResult("new").get(timeout=0) == 7
    assert waiting.state == "PENDING"
    assert successes(folder) == Counter(["new", *(f"t{number}" for number in range(5))])
    assert "waiting" in folder.queue().read_text()


def test_a_queue_deleted_under_a_running_worker_is_made_anew_by_the_next_client(app, add, folder, work_until):
    first = add.apply_async([1], task_id="first")
    second = []

    def delete_then_post():
        if not second and first.ready():
            folder.queue().unlink(missing_ok=True)
            second.append(add.apply_async([2], task_id="second"))
        return second and second[0].ready()

    work_until(app, delete_then_post)

    assert successes(folder) == Counter(["first", "second"])


def test_a_file_put_aside_and_put_back_runs_nothing_twice(app, add, folder, work_until):
    first = add.apply_async([1], task_id="first")
    steps = []

    def put_aside_then_back():
        aside = folder.path / "aside"
        if not steps and first.ready():
            folder.queue().rename(aside)
            steps.append(add.apply_async([2], task_id="second"))
        elif len(steps) == 1 and steps[0].ready():
            os.replace(aside, folder.queue())
            steps.append(add.apply_async([3], task_id="third"))
        return len(steps) == 2 and steps[1].ready()

    work_until(app, put_aside_then_back)

    assert successes(folder) == Counter(["first", "second", "third"])


GOOD = '{"task_id":"%s","function":"tasks.add","params":[1,2]}\n'
BAD = {
    "curly quotes": ('{"function":“tasks.add”}\n', 1),
    "single quotes": ("{'function':'tasks.add'}\n", 1),
    "trailing comma": ('{"function":"tasks.add","params":[1,],}\n', 1),
    "two records on a line": ('{"function":"tasks.add"}{"function":"tasks.add"}\n', 1),
    "NaN": ('{"function":"tasks.add","params":[NaN]}\n', 1),
    "duplicate keys": ('{"function":"tasks.add","function":"tasks.add"}\n', 1),
    "deep nesting": ('{"function":"tasks.add","params":' + "[" * 500 + "]" * 500 + "}\n", 1),
    "very deep nesting": ('{"function":"tasks.add","params":' + "[" * 100_000 + "]" * 100_000 + "}\n", 1),
    "over 1 MiB": ('{"function":"tasks.add","params":["' + "x" * 1_100_000 + '"]}\n', 1),
    "over 4 MiB": ('{"function":"tasks.add","params":["' + "x" * 5_000_000 + '"]}\n', 1),
    "missing end of a block": ('--{\n"function":"tasks.add",\n"params":[1]\n', 1),
    "no object": ("hello world\n", 1),
    "no function": ('{"task_id":"x"}\n', 1),
    "a number as function": ('{"function":5}\n', 1),
    "text as params": ('{"function":"tasks.add","params":"2,3"}\n', 1),
    "a huge integer": ('{"function":"tasks.add","params":[' + "9" * 6000 + "]}\n", 1),
    "a number too large": ('{"function":"tasks.add","params":[1e999]}\n', 1),
    "half a surrogate pair": ('{"task_id":"\\udc00","function":"tasks.add"}\n', 1),
    "a time that is none": ('{"function":"tasks.add","eta":"tomorrow"}\n', 1),
    "a mended line with a time that is none": ('{"task_id":"m","function":"tasks.add","sent":"x","eta":"soon"}\n', 1),
    "not UTF-8": (b'{"function":"tasks.add","params":["\xff"]}\n', 1),
    "UTF-16": ('{"function":"tasks.add"}\n'.encode("utf-16") + b"\n", 2),
    "zeros": (b"\0" * 5000 + b"\n", 1),
    "control characters": ('\x1b[31m{"function":"tasks.add"}\n', 1),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_reported_with_place_reason_and_remedy_and_its_neighbours_run(app, folder, work, name):
    text, faults = BAD[name]
    post_by_hand(folder, GOOD % "before")
    post_by_hand(folder, text)
    post_by_hand(folder, GOOD % "after")

    work(app)
    work(app, "worker2@test")

    assert successes(folder) == Counter(["before", "after"])
    rejected = read_lines(folder.rejected)
    assert len(rejected) == faults
    for entry in rejected:
        assert set(entry) == {"task_id", "file", "line", "column", "reason", "remedy", "text", "at"}
        assert (entry["file"], entry["column"] >= 1) == ("queue.jsonl", True)
        assert 2 <= entry["line"] <= 4
        assert entry["reason"]
        assert entry["remedy"]
        assert app.AsyncResult(entry["task_id"]).state == "REJECTED"


ODD_BUT_FINE = {
    "CRLF": GOOD.replace("\n", "\r\n") % "odd",
    "BOM": "\ufeff" + GOOD % "odd",
    "tabs and spaces": "\t  " + (GOOD % "odd").replace(",", " ,\t"),
    "empty lines around": "\n\n  \n" + GOOD % "odd" + "\r\n\n",
    "a block": '--{\n    "task_id": "odd",\n    "function": "tasks.add",\n    "params": [1, 2]\n}--\n',
    "a block with CRLF": '--{\r\n"task_id":"odd",\r\n"function":"tasks.add","params":{"x":1,"y":2}\r\n}--\r\n',
    "unknown keys": '{"task_id":"odd","function":"tasks.add","params":[1,2],"colour":"red"}\n',
    "keyword arguments": '{"task_id":"odd","function":"tasks.add","params":{"x":1,"y":2}}\n',
    "both kinds of arguments": '{"task_id":"odd","function":"tasks.add","args":[1],"params":{"y":2}}\n',
    "escapes": '{"task_id":"odd","function":"tasks\\u002eadd","params":[1,2]}\n',
}


@pytest.mark.parametrize("name", ODD_BUT_FINE)
def test_an_unusual_way_to_write_a_record_is_fine(app, folder, work, name):
    post_by_hand(folder, GOOD % "before" + ODD_BUT_FINE[name] + GOOD % "after")

    work(app)

    assert [app.AsyncResult(one).result for one in ("before", "odd", "after")] == [3, 3, 3]
    assert not folder.rejected.exists()


def test_a_wrong_parameter_is_the_tasks_failure(app, folder, work):
    post_by_hand(folder, '{"task_id":"odd","function":"tasks.add","params":{"z":1}}\n' + GOOD % "after")

    work(app)

    assert type(app.AsyncResult("odd").result) is TypeError
    assert app.AsyncResult("after").get(timeout=0) == 3


def test_an_unknown_function_waits_and_runs_in_a_worker_that_knows_it(app, folder, work):
    post_by_hand(folder, '{"task_id":"odd","function":"tasks.later"}\n' + GOOD % "after")
    work(app)
    before = app.AsyncResult("odd").state

    app.task(name="tasks.later")(lambda: "known now")
    work(app)

    assert before == "PENDING"
    assert app.AsyncResult("odd").get(timeout=0) == "known now"


def test_the_same_id_typed_twice_runs_once(app, folder, work):
    post_by_hand(folder, GOOD % "same" * 2 + GOOD % "after")

    work(app)
    work(app)

    assert successes(folder) == Counter(["same", "after"])


def test_the_same_line_without_id_typed_twice_runs_twice_and_never_again(app, folder, work):
    post_by_hand(folder, '{"function":"tasks.add","params":[1,2]}\n' * 2)

    for number in range(3):
        work(app, f"worker{number}@test")

    assert sorted(successes(folder).values()) == [1, 1]


@pytest.mark.parametrize("cut", range(1, len(GOOD % "torn") - 1, 7))
def test_a_line_torn_at_any_place_spoils_no_neighbour(app, add, folder, work, cut):
    post_by_hand(folder, GOOD % "before")
    post_by_hand(folder, (GOOD % "torn")[:cut])

    result = add.delay(1, 2)
    work(app)

    assert (result.get(timeout=0), app.AsyncResult("before").get(timeout=0)) == (3, 3)
    (entry,) = read_lines(folder.rejected)
    assert (entry["line"], entry["text"]) == (2, (GOOD % "torn")[:cut])


def test_something_else_under_the_queues_name_stops_the_worker_no_longer_than_it_stands_there(
    app, add, folder, work_until, caplog
):
    """Root may read everything, so the name is taken away by a folder instead of by a mode."""
    first = add.apply_async([1], task_id="first")
    steps = []

    def block_then_free():
        if not steps and first.ready():
            folder.queue().unlink()
            folder.queue().mkdir()
            steps.append("blocked")
        elif steps == ["blocked"] and "is refused" in caplog.text:
            folder.queue().rmdir()
            steps.append(add.apply_async([2], task_id="second"))
        return len(steps) == 2 and steps[1].ready()

    work_until(app, block_then_free)

    assert successes(folder) == Counter(["first", "second"])


def test_lines_that_a_cat_writes_that_was_open_when_the_queue_was_cleared_are_run_too(
    app, add, folder, work_until, monkeypatch
):
    """Its file has gone to ``sealed/`` meanwhile; whoever has it open is waited for, and read again."""
    monkeypatch.setattr(sealing, "GRACE", 0.0)
    monkeypatch.setattr(consumer, "TIDY_SECONDS", 0.05)
    folder.make()
    with subprocess.Popen(["sh", "-c", 'exec cat >> "$1"', "sh", folder.queue()], stdin=subprocess.PIPE) as cat:
        steps = []

        def write(task_id):
            cat.stdin.write((GOOD % task_id).encode())
            cat.stdin.flush()
            steps.append(task_id)

        def go_on():
            if not steps:
                write("first")
            elif steps == ["first"] and successes(folder)["first"] and folder.sealed_queues():
                write("second")
            elif steps == ["first", "second"] and successes(folder)["second"]:
                write("third")
                cat.stdin.close()
                cat.wait()
            return successes(folder)["third"] and not folder.sealed_queues() and is_empty(folder.queue())

        work_until(app, go_on)

    assert successes(folder) == Counter(["first", "second", "third"])


def take_away(path, aside):
    shutil.rmtree(path)


def put_aside(path, aside):
    path.rename(aside)


def replace_by_an_empty_one(path, aside):
    path.rename(aside)
    path.mkdir(mode=0o700)


def replace_by_a_copy(path, aside):
    path.rename(aside)
    shutil.copytree(aside, path)
    path.chmod(0o700)


@pytest.mark.parametrize("change", [take_away, put_aside, replace_by_an_empty_one, replace_by_a_copy])
def test_a_folder_that_vanishes_under_client_and_worker_is_made_anew_and_no_task_that_is_new_is_lost(
    app, add, folder, work_until, tmp_path, change
):
    first = [add.apply_async([number], task_id=f"t{number}") for number in range(3)]
    later = []

    def change_then_post():
        if not later and all(result.ready() for result in first):
            change(folder.path, tmp_path / "aside")
            later.extend(add.apply_async([number], task_id=f"new{number}") for number in range(3))
        return later and all(result.ready() for result in later)

    work_until(app, change_then_post)

    ran = successes(folder)
    assert {name: ran[name] for name in ran if name.startswith("new")} == {f"new{number}": 1 for number in range(3)}
    assert set(ran.values()) == {1}
    assert not folder.rejected.exists()


def test_a_folder_that_is_put_back_goes_on_where_it_was(app, add, folder, work_until, tmp_path):
    waiting = add.apply_async([1], task_id="waiting", eta="2099-01-01")
    first = add.apply_async([1], task_id="first")
    aside, steps = tmp_path / "aside", []

    def put_aside_then_back():
        if not steps and first.ready():
            folder.path.rename(aside)
            steps.append(add.apply_async([2], task_id="second"))
        elif len(steps) == 1 and steps[0].ready():
            shutil.rmtree(folder.path)
            aside.rename(folder.path)
            steps.append(add.apply_async([3], task_id="third"))
        return len(steps) == 2 and steps[1].ready()

    work_until(app, put_aside_then_back)

    assert successes(folder) == Counter(["first", "third"])
    assert waiting.state == "PENDING"
    assert '"waiting"' in folder.queue().read_text()
