"""Whoever can write the folder can run the registered functions, and nothing more; nobody else can do anything.

Other users are kept out, what they or anybody plant under our names is refused, and no text of a file is more than text.
"""

import json
import os
import stat
import tempfile
import unicodedata
from pathlib import Path

import pytest

from pmtq import PMTQ, sealing
from pmtq.cli.commands import COMMANDS
from pmtq.exceptions import ImproperlyConfigured, TaskError, UnsafeFile
from pmtq.folder import Folder
from pmtq.inbox import tell
from pmtq.output import output_path
from pmtq.presence import Presence, noted
from pmtq.states import FAILURE, SUCCESS
from tests.crash.every_name import exercise, opened_in
from tests.support import NOW, Hand, all_states, in_child, life, post_by_hand, read_lines

NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


# Modes


@pytest.mark.parametrize("umask", [0, 0o002, 0o022, 0o077, 0o277, 0o777], ids=oct)
def test_under_any_umask_folders_are_0700_and_files_0600(tmp_path, umask):
    path = tmp_path / "a" / "b" / "queue_dir"
    before = os.umask(umask)
    try:
        refused = exercise(path)
    finally:
        os.umask(before)

    assert refused == []
    found = [path.parent.parent, path.parent, path, *path.rglob("*")]
    assert len(found) > 20
    wrong = {
        str(one.relative_to(tmp_path)): oct(stat.S_IMODE(one.lstat().st_mode))
        for one in found
        if stat.S_IMODE(one.lstat().st_mode) != (0o700 if one.is_dir() else 0o600)
    }
    assert wrong == {}


def test_a_folder_that_every_user_may_write_is_refused_at_every_door(tmp_path, project, run):
    path = project / "queue_dir"
    path.mkdir()
    path.chmod(0o777)
    app = PMTQ("tasks", broker=f"file://{path}")
    said = (
        f"{path} can be written by every user of this machine (mode 0777), and whoever can write it can run your tasks. "
        f"Nothing was touched. Close it: chmod o-w {path}; or accept that, where a disk has no such modes: --allow-shared, or "
        "PMTQ_ALLOW_SHARED=1 in the environment of clients and workers"
    )

    for door in (
        lambda: app.send_task("tasks.add", [1]),
        lambda: app.backend.forget("x"),
        lambda: Presence(Folder(path), "w", {}),
    ):
        with pytest.raises(UnsafeFile) as caught:
            door()
        assert str(caught.value) == said
    for command in (["call", "tasks.add", "[1, 2]"], ["worker", "-A", "tasks", "--burst", "-q"], ["revoke", "x"]):
        answer = run(*command)
        assert (answer.status, answer.err) == (1, f"UnsafeFile: {said}\n"), command
    assert list(path.iterdir()) == []
    app.backend.close()


def test_a_folder_that_every_user_may_write_is_used_by_a_command_that_is_told_to(project, pmtq):
    path = project / "queue_dir"
    path.mkdir()
    path.chmod(0o777)

    refused, posted = pmtq("call", "tasks.add", "[2, 3]"), pmtq("--allow-shared", "call", "tasks.add", "[2, 3]")
    done = pmtq("worker", "-A", "tasks:app", "--burst", "--allow-shared")

    assert (refused.status, posted.status, done.status) == (1, 0, 0)
    assert [state["result"] for state in all_states(Folder(path)) if state["status"] == "SUCCESS"] == [5]


# Names


def names() -> list[str]:
    """Return every name in a queue folder under which the code opens a file, as the code itself shows them."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "queue_dir"
        with opened_in(path) as openings:
            assert exercise(path) == []
        return sorted({opening.name for opening in openings if opening.name != "sealed"})


NAMES = names()


def test_every_file_is_opened_without_following_links_waiting_for_pipes_or_handing_it_to_children(tmp_path):
    path = tmp_path / "queue_dir"
    with opened_in(path) as openings:
        exercise(path)

    careless = {
        opening.name: oct(opening.flags)
        for opening in openings
        if opening.name != "sealed" and ~opening.flags & (os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    }

    assert careless == {}
    assert all(opening.flags & os.O_DIRECTORY for opening in openings if opening.name == "sealed")


def test_the_names_are_all_there_are():
    """If this fails there is a new file: have ``exercise`` use it."""
    assert NAMES == [
        "logs/one.log", "queue.jsonl", "queue.jsonl.lock", "queue.low.jsonl", "queue.low.jsonl.lock", "queue.low.p9.jsonl",
        "queue.low.p9.jsonl.lock", "rejected.jsonl", "rejected.jsonl.lock", "results.jsonl", "results.jsonl.lock",
        "schedule.json", "schedule.json.edit.lock", "schedule.json.lock", "schedule.json.new", "sealed/erasing.draft",
        "sealed/queue.0.jsonl", "sealed/queue.1.jsonl", "sealed/queue.low.p9.0.jsonl", "sealed/results.0.jsonl",
        "sealed/results.1.jsonl", "sealed/results.2.jsonl", "sealed/results.next.draft", "workers/w1.inbox", "workers/w1.json", "workers/w1.notes",
    ]  # fmt: skip


KINDS = ["link", "dangling link", "hard link", "pipe", "folder"]


def plant(path: Path, kind: str, target: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if kind == "link":
        path.symlink_to(target)
    elif kind == "dangling link":
        path.symlink_to(target.with_name("missing"))
    elif kind == "hard link":
        os.link(target, path)
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    else:
        path.mkdir()


GIVES_WAY = {
    "sealed/erasing.draft", "sealed/results.next.draft", "workers/w1.inbox",  # taken away before they are made anew
    "sealed/queue.0.jsonl", "sealed/queue.1.jsonl", "sealed/queue.low.p9.0.jsonl",  # the next number is taken
}  # fmt: skip


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_planted_under_a_name_of_ours_is_refused_and_neither_its_target_touched_nor_waited_for(
    tmp_path, name, kind
):
    path = tmp_path / "queue_dir"
    target = tmp_path / "target"
    target.write_bytes(b'{"task_id":"precious","function":"tasks.add"}\n')
    before = target.stat()
    path.mkdir(mode=0o700)
    plant(path / name, kind, target)

    refused = exercise(path)

    after = target.stat()
    assert target.read_bytes() == b'{"task_id":"precious","function":"tasks.add"}\n'
    assert (after.st_mtime_ns, after.st_mode, after.st_uid) == (before.st_mtime_ns, before.st_mode, before.st_uid)
    assert not (tmp_path / "missing").exists()
    told = [one for one in refused if one.startswith(f"{path / name} is refused: it is ")]
    leads_nowhere = kind == "dangling link" and name.startswith("sealed/results.")  # there is nothing to be read
    assert told or name in GIVES_WAY or leads_nowhere, refused


@pytest.mark.parametrize("name", ["workers", "sealed", "logs", "edits"])
def test_a_link_in_the_place_of_a_folder_of_ours_is_refused_and_nothing_is_put_where_it_leads(tmp_path, name):
    path, elsewhere = tmp_path / "queue_dir", tmp_path / "elsewhere"
    path.mkdir(mode=0o700)
    elsewhere.mkdir()
    (path / name).symlink_to(elsewhere)

    refused = exercise(path)

    assert list(elsewhere.iterdir()) == []
    assert any(one.startswith(f"{path / name} is refused: it is ") for one in refused), refused


def test_an_edit_writes_no_copy_where_a_link_leads(tmp_path, project, run, monkeypatch):
    path, elsewhere = project / "queue_dir", tmp_path / "elsewhere"
    assert run("call", "tasks.add", "[1, 2]").status == 0
    elsewhere.mkdir()
    (path / "edits").symlink_to(elsewhere)
    made = []
    monkeypatch.setattr("pmtq.cli.edit._open_in_editor", made.append)

    said = run("edit")

    assert (said.status, said.err.partition(", and should")[0]) == (
        1, f"UnsafeFile: {path / 'edits'} is refused: it is a link or a file",
    )  # fmt: skip
    assert (made, list(elsewhere.iterdir())) == ([], [])


# Other users


@pytest.fixture
def commons():
    """A directory that every user may enter and look at, as /srv is."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        yield Path(place)


@root_only
def test_another_user_can_neither_look_at_the_folder_nor_write_to_any_file_of_it(commons):
    path = commons / "queue_dir"
    assert exercise(path) == []
    queue = Folder(path).queue()

    attempts = {
        "list": lambda: os.listdir(path),
        "read": queue.read_text,
        "append": lambda: os.open(queue, os.O_WRONLY | os.O_APPEND),
        "create": lambda: os.open(path / "new", os.O_WRONLY | os.O_CREAT),
        "look": lambda: queue.stat().st_size,
    }
    said = {name: in_child(attempt, NOBODY) for name, attempt in attempts.items()}

    denied = "PermissionError: [Errno 13] Permission denied: '{}'"
    assert said == {
        "list": denied.format(path),
        "read": denied.format(queue),
        "append": denied.format(queue),
        "create": denied.format(path / "new"),
        "look": denied.format(queue),
    }


@root_only
def test_a_client_of_another_user_is_told_who_owns_the_folder(commons):
    path = commons / "queue_dir"
    assert exercise(path) == []
    before = Folder(path).queue().read_bytes()

    said = in_child(lambda: PMTQ("tasks", broker=f"file://{path}").send_task("tasks.add", [1]), NOBODY)

    assert said == (
        f"UnsafeFile: {path} belongs to user 0, and you are user {NOBODY}. Nothing was touched. Work as that user, or take "
        "another folder: --broker file:///…"
    )
    assert Folder(path).queue().read_bytes() == before


@root_only
@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_another_user_has_put_there_is_refused_and_not_written_to(tmp_path, name):
    path = tmp_path / "queue_dir"
    (path / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    (path / name).write_bytes(b"{}\n")
    os.chown(path / name, NOBODY, NOBODY)

    refused = exercise(path)

    told = [one for one in refused if one.startswith(f"{path / name} is refused: it is owned by user {NOBODY}")]
    assert told or name in GIVES_WAY, refused
    if (path / name).exists() and (path / name).stat().st_uid == NOBODY:
        assert (path / name).read_bytes() == b"{}\n"


# Texts


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


HOSTILE_RESULTS = {
    "deep nesting": '{"task_id":"t","status":"SUCCESS","result":' + nested(100_000) + "}",
    "NaN": '{"task_id":"t","status":"SUCCESS","result":NaN}',
    "no object": "[1,2,3]",
    "a number as id": '{"task_id":5,"status":"SUCCESS"}',
    "a status that is a list": '{"task_id":"t","status":["SUCCESS"]}',
    "an error that is text": '{"task_id":"t","status":"FAILURE","error":"boom"}',
    "not UTF-8": b'{"task_id":"t","status":"SUCCESS","result":"\xff"}',
    "half a surrogate pair": '{"task_id":"t","status":"SUCCESS","result":"\\udc00"}',
    "zeros": b"\0" * 5000,
    "2 MiB of garbage": "x" * (2 * 1024 * 1024),
}


@pytest.mark.parametrize("name", HOSTILE_RESULTS)
def test_a_line_of_the_results_that_is_no_state_counts_for_nothing_and_stops_nobody(app, add, folder, work, name):
    line = HOSTILE_RESULTS[name]
    folder.make()
    with folder.results.open("ab") as file:
        file.write((line if isinstance(line, bytes) else line.encode()) + b"\n")
    result = add.apply_async([1, 2], task_id="t")
    before = result.state

    work(app)

    assert before == "PENDING"
    assert result.get(timeout=0) == 3


NO_WORKERS = {
    "up and away": "../../victim/conf",
    "absolute": "{victim}/conf",
    "a zero": "x\0y",
    "300 characters": "x" * 300,
    "too many bytes": "é" * 125,
    "another system's separators": "..\\..\\victim\\conf",
}


def victims(folder: Folder) -> dict[Path, str]:
    """Return the files outside the folder that a worker's name could lead to, made if they are not there yet."""
    place = folder.path.parent / "victim"
    place.mkdir(exist_ok=True)
    paths = [place / f"conf.{suffix}" for suffix in ("json", "notes", "inbox")]
    if not any(path.exists() for path in paths):
        for path in paths:
            path.write_text("precious\n")
    return {path: path.read_text() for path in place.iterdir()}


def start_by_hand(folder: Folder, task_id: str, name: str) -> str:
    """Type a line by which that worker, of a name that none can have, has started the task; return the name."""
    folder.make()
    worker = NO_WORKERS[name].format(victim=folder.path.parent / "victim")
    with folder.results.open("a") as file:
        file.write(json.dumps({"task_id": task_id, "status": "STARTED", "worker": worker, "attempt": 1}) + "\n")
    return worker


@pytest.mark.parametrize("name", NO_WORKERS)
def test_a_worker_that_no_file_can_be_called_after_is_a_dead_one_without_files(app, add, folder, work, name):
    before = victims(folder)
    result = add.apply_async([1, 2], task_id="t")
    worker = start_by_hand(folder, "t", name)

    work(app)

    assert result.get(timeout=0) == 3
    assert life(folder, "t") == [("STARTED", 1), ("LOST", 1), ("STARTED", 2), ("SUCCESS", 2)]
    assert victims(folder) == before
    assert tell(folder, worker, "shutdown") is False
    assert noted(folder, worker) == []


@pytest.mark.parametrize("name", NO_WORKERS)
def test_the_doctor_names_a_worker_that_no_file_can_be_called_after_and_gives_back_what_it_holds(here, run, name):
    before = victims(here)
    post_by_hand(here, '{"task_id":"t","function":"tasks.add"}\n')
    worker = start_by_hand(here, "t", name)

    said, mended = run("doctor"), run("doctor", "--mend")

    what = f"results.jsonl speaks of a worker {worker[:80]!r}, which is no name that one can have with 1 task in its hands: t"
    assert what in said.out.replace("\n", " ")
    assert (said.err, mended.err) == ("", "")
    assert life(here, "t") == [("STARTED", 1), ("LOST", 1)]
    assert victims(here) == before


@pytest.mark.parametrize("name", NO_WORKERS)
@pytest.mark.parametrize(
    "command", [["revoke", "t"], ["purge", "-f"], ["move", "t", "--front"], ["result", "t"], ["status"]]
)
def test_commands_take_a_worker_that_no_file_can_be_called_after_for_a_dead_one(here, run, command, name):
    before = victims(here)
    post_by_hand(here, '{"task_id":"t","function":"tasks.add"}\n')
    start_by_hand(here, "t", name)

    said = run(*command)

    assert (said.status, said.err) == (2 if command[0] == "result" else 0, "")
    assert victims(here) == before


@pytest.mark.parametrize("name", NO_WORKERS)
def test_nothing_makes_a_path_of_a_name_that_leads_elsewhere(folder, name):
    worker = NO_WORKERS[name].format(victim="/victim")

    for place in (folder.worker, folder.notes, folder.inbox):
        with pytest.raises(ImproperlyConfigured) as caught:
            place(worker)
        assert str(caught.value) == (
            f"{worker[:80]!r} cannot be a worker's name, because it names files too. Nothing was touched. "
            "Use letters, digits, '.', '_', '+' and '-', and a shorter one if it is long"
        )


@pytest.mark.parametrize("pid", [-1, 0, -7, 2**40])
def test_no_command_signals_a_worker_whose_file_names_no_single_process(here, run, monkeypatch, pid):
    post_by_hand(here, '{"task_id":"t","function":"tasks.add"}\n')
    facts = {"pid": pid, "pool": "prefork", "parent": "w0@h"}
    presences = [Presence(here, "w0@h", {"pid": pid}), Presence(here, "w0@h#1", facts)]
    here.results.write_text('{"task_id":"t","status":"STARTED","attempt":1,"worker":"w0@h#1"}\n')
    here.results.chmod(0o600)
    signalled = []
    monkeypatch.setattr(os, "kill", lambda *arguments: signalled.append(arguments))

    told, ended = run("-A", "tasks", "control", "shutdown"), run("-A", "tasks", "control", "terminate", "SIGKILL", "t")

    assert signalled == []
    assert "told: shutdown" in told.out
    assert "its worker w0@h#1 does not say which process it is" in ended.out + ended.err
    for presence in presences:
        presence.abandon()


HUGE = "9" * 4300
"""As long as a number may be to be read; one more could not be written."""
HOSTILE_MOVES = {
    "a huge attempt": f'{{"task_id":"t","status":"STARTED","worker":"w","attempt":{HUGE}}}',
    "huge deaths": f'{{"task_id":"t","status":"STARTED","worker":"w","deaths":{HUGE}}}',
    "huge retries": f'{{"task_id":"t","status":"LOST","worker":"w","retries":{HUGE}}}',
    "changes of a wrong type": '{"task_id":"t","status":"RETRY","changes":{"function":5}}',
    "a change to no time": '{"task_id":"t","status":"RETRY","changes":{"expires":"junk"}}',
    "a change to wait for nothing": '{"task_id":"t","status":"LOST","changes":{"after":[[{}]]}}',
    "a start too long ago": f'{{"control":"paced tasks.add","result":{HUGE}}}\n{{"control":"rate_limit tasks.add","result":"1000/s"}}',
    "limits beyond any timer": '{"control":"time_limit tasks.add","result":[1e300,1e300]}',
    "limits below nothing": '{"control":"time_limit tasks.add","result":[-1,-1]}',
    "a sealed file elsewhere": '{"sealed":"../../victim/conf.json","size":5}',
    "a sealed file with a zero": '{"sealed":"x\\u0000y","size":5}',
    "a number of a sealed file that is too long": f'{{"sealed":"queue.{HUGE}9.jsonl","size":5}}',
    "a number of a sealed file that is no number": '{"sealed":"queue.\u00b2.jsonl","size":5}',
}


@pytest.mark.parametrize("name", HOSTILE_MOVES)
def test_an_absurd_text_or_number_in_a_line_of_the_results_stops_nobody(app, add, folder, work, name, monkeypatch, run):
    monkeypatch.setattr(sealing, "IDLE_SEAL_BYTES", 0)
    before = victims(folder)
    result = add.apply_async([1, 2], task_id="t")
    folder.make()
    folder.results.write_text(HOSTILE_MOVES[name] + "\n")
    folder.results.chmod(0o600)
    looks = [
        run("-b", f"file://{folder.path}", *command) for command in (["status"], ["queue"], ["result", "t"], ["doctor"])
    ]

    work(app)
    hand = Hand(folder, "w1", {"tasks.add": True}, ["celery"])
    hand.claimer.result_expires = None
    hand.claim()
    for _ in range(2):
        hand.claimer.tidy(NOW, idle=True)

    assert result.get(timeout=0) == 3
    assert [look.err for look in looks if "has a bug" in look.err] == []
    assert victims(folder) == before


@pytest.mark.parametrize("limit", ['"1e-290/h"', "1e-300"])
def test_a_rate_at_which_the_next_start_is_in_no_year_is_shown_as_a_time_all_the_same(here, run, limit):
    lines = [
        '{"control":"paced tasks.add","result":1}',
        f'{{"control":"rate_limit tasks.add","result":{limit}}}',
    ]
    post_by_hand(here, '{"task_id":"t","function":"tasks.add"}\n')
    here.results.write_text("\n".join(lines) + "\n")
    here.results.chmod(0o600)

    said = run("result", "t")

    assert "lets the next tasks.add start at 9999-12-31T23:59:59.000Z" in said.out + said.err


ODD_RESULTS = {
    "a huge integer": ("9" * 4000, lambda value: value is not None),
    "duplicate keys": ('{"a":1,"a":2}', lambda value: value == {"a": 2}),
    "2 MiB": ('"' + "x" * (2 * 1024 * 1024) + '"', lambda value: value == "x" * (2 * 1024 * 1024)),
}


@pytest.mark.parametrize("name", ODD_RESULTS)
def test_an_odd_value_in_the_results_is_read_as_json_has_it_or_not_at_all(app, folder, work, name):
    text, fits = ODD_RESULTS[name]
    folder.make()
    with folder.results.open("a") as file:
        file.write('{"task_id":"t","status":"SUCCESS","result":' + text + "}\n")
    neighbour = app.send_task("tasks.add", [1, 2])

    result = app.AsyncResult("t")
    work(app)

    assert result.state == "PENDING" or fits(result.get(timeout=0))
    assert neighbour.get(timeout=0) == 3


@pytest.mark.parametrize(
    "kind",
    ["os.system", "subprocess.Popen", "builtins.eval", "antigravity.Boom", "tests.never.Boom", "pmtq.PMTQ", "SystemExit",
     "KeyboardInterrupt", "__main__.x", "../../etc/passwd", "", "a.b.c\u202e"],
)  # fmt: skip
def test_a_class_that_a_result_names_is_neither_imported_nor_called(app, folder, kind):
    import sys

    error = {"type": kind, "message": "touch it", "args": ["touch /tmp/it"]}
    folder.make()
    with folder.results.open("a") as file:
        file.write(json.dumps({"task_id": "t", "status": FAILURE, "error": error}) + "\n")
    modules = set(sys.modules)

    raised = app.AsyncResult("t").result

    assert type(raised) is TaskError
    assert (str(raised), raised.type_name) == (f"{kind}: touch it" if kind else "touch it", kind)
    assert set(sys.modules) == modules


def test_a_function_that_a_record_names_is_not_looked_up_anywhere(app, folder, work):
    for number, name in enumerate(["os.system", "builtins.eval", "tasks.add.run", "tasks.__class__", "add", ""]):
        post_by_hand(folder, json.dumps({"task_id": f"t{number}", "function": name, "params": ["touch it"]}) + "\n")
    after = app.send_task("tasks.add", [1, 2])

    work(app)

    assert after.get(timeout=0) == 3
    assert {line["status"] for line in read_lines(folder.results) if line.get("task_id") != after.id} <= {"REJECTED"}


# Terminals

EVIL = "e\x1b[2J\x9b31m\x07\u202e\u2066\u200f\x85x"
"""Clears a screen, sets a colour, rings, and turns the direction of what follows, in so far as nobody stops it."""
SHOWN = [
    ["status"], ["list"], ["report"], ["pause"], ["dead"], ["dead", "dead"], ["schedule"], ["schedule", "list"],
    ["queue"], ["result", EVIL], ["result", "dead"], ["result", "ok"], ["result", "pend"], ["result", "prog"],
    ["logs", "ok"], ["logs", EVIL], ["requeue", EVIL], ["requeue", "--all"], ["requeue", "--rejected", "1"], ["revoke", EVIL],
    ["revoke", "pend"], ["move", EVIL, "--first"], ["control", "revoke", EVIL], ["control", "rate_limit", EVIL, "1/s"],
    ["pause", "task", EVIL], ["resume", "task", EVIL], ["call", EVIL], ["purge", "-f"], ["help", EVIL],
    ["-A", EVIL, "status"], ["-b", EVIL, "status"], ["unknown" + EVIL], ["inspect", EVIL], ["inspect", "-d", EVIL, "ping"],
    ["multi", "show", EVIL], ["worker", "-A", "tasks", "--burst", "-n", "w"], ["events"], ["events", "--json"],
    *(["inspect", what] for what in (
        "active", "reserved", "scheduled", "registered", "stats", "active_queues", "conf", "revoked", "ping", "report")),
    ["inspect", "query_task", EVIL], ["doctor"], ["doctor", "--mend"], ["edit"], ["edit", EVIL],
]  # fmt: skip
SHOW_NOTHING_OF_OTHERS = {"beat", "demo", "shell", "completion"}


def test_every_command_that_prints_is_shown_hostile_texts():
    names = {name for rows in COMMANDS.values() for name in rows}

    assert names - {argument for command in SHOWN for argument in command} == SHOW_NOTHING_OF_OTHERS


@pytest.fixture
def hostile(here, monkeypatch):
    """A folder in which every text that somebody may write would steer a terminal; while it is watched, more comes."""
    from pmtq.cli import events

    here.make()
    name = f"w{EVIL}@h"
    facts = {"name": name, "pid": 7, "host": EVIL, "queues": ["celery", EVIL], "functions": [EVIL], "pool": EVIL}
    presence = Presence(here, name, facts | {"started": EVIL})
    write_hostile_files(here, name)
    looks = []

    def wait(*_):
        if looks:
            raise KeyboardInterrupt
        looks.append(1)
        write_hostile_files(here, name)

    monkeypatch.setattr(events.Watch, "wait", wait)
    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.delenv("VISUAL", raising=False)
    yield here
    presence.abandon()


def write_hostile_files(folder: Folder, worker: str) -> None:
    as_lines = json.JSONEncoder(ensure_ascii=False).encode
    call = {"function": EVIL, "params": {EVIL: EVIL}, "args": [EVIL], "shadow": EVIL, "headers": {EVIL: EVIL}}
    records = [
        call | {"task_id": EVIL, "eta": "2099-01-01"},
        call | {"task_id": "pend", "parent_id": EVIL, "root_id": EVIL, "unique_key": EVIL, "after": EVIL},
        call | {"task_id": "active"},
    ]
    post_by_hand(folder, "".join(map("{}\n".format, map(as_lines, records))) + '{"broken": ' + EVIL + "}\n")
    said = {"worker": EVIL, "at": EVIL}
    error = {"type": EVIL, "message": f"{EVIL}\n{EVIL}", "args": [EVIL]}
    states = [
        said | {"task_id": EVIL + "r", "status": "RETRY", "eta": EVIL, "error": error},
        said | {"task_id": "active", "status": "STARTED", "worker": worker, "attempt": 1},
        said | {"task_id": "prog", "status": EVIL, "result": {EVIL: EVIL}},
        said | {"task_id": "dead", "status": FAILURE, "error": error, "traceback": f"{EVIL}\n{EVIL}", "record": call,
                "queue": "celery", "children": [EVIL]},
        said | {"task_id": EVIL + "f", "status": FAILURE, "error": error, "traceback": EVIL, "record": call, "queue": EVIL},
        said | {"task_id": "ok", "status": SUCCESS, "result": EVIL},
        said | {"control": f"pause queue {EVIL}"},
        said | {"control": f"pause task {EVIL}", "result": EVIL},
        said | {"control": f"rate_limit {EVIL}", "result": EVIL},
        said | {"control": f"revoke {EVIL}", "result": EVIL},
    ]  # fmt: skip
    with folder.results.open("a") as file:
        file.write("".join(map("{}\n".format, map(as_lines, states))))
    keys = ("task_id", "file", "reason", "remedy", "text", "at")
    folder.rejected.write_text(as_lines(dict.fromkeys(keys, EVIL) | {"line": 1, "column": 1}) + "\n")
    folder.logs.mkdir(exist_ok=True)
    for task_id in ("ok", EVIL):
        output_path(folder.logs, task_id).write_text(EVIL + "\n")
    entry = {"task": EVIL, "schedule": "every 10 s", "args": [EVIL], "in_words": EVIL, "error": EVIL, "last_task": EVIL}
    (folder.path / "schedule.json").write_text(as_lines({EVIL: entry}))


@pytest.mark.parametrize("command", SHOWN, ids=lambda command: ascii(" ".join(command)))
def test_no_text_of_a_file_or_an_argument_reaches_the_terminal_as_anything_but_text(hostile, run, command):
    said = run(*command)

    both = said.out + said.err
    steering = {character for character in both if unicodedata.category(character)[0] == "C" and character != "\n"}
    assert steering == set(), both
    assert "has a bug" not in both
    assert said.status in {0, 1, 2}
