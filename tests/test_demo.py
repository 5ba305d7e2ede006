"""``pmtq demo``: that it shows what happens, succeeds only when it should, and leaves nothing behind."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from pmtq import PMTQ, states
from pmtq.demo import NO_PILLOW, client, photographs, pictures, place, play, processes, report, run, show, story
from pmtq.folder import Folder
from pmtq.inspection import Worker
from pmtq.presence import Presence
from pmtq.records import StateRecord, TaskRecord, encode
from pmtq.states import FAILURE, STARTED, SUCCESS
from tests.support import all_states, eventually, post_by_hand, read_lines

PMTQ_COMMAND = [sys.executable, "-m", "pmtq"]


def make_picture(path, size=(400, 300), colour="white"):
    """Write a picture of one colour but for its left upper quarter, which is red."""
    picture = Image.new("RGB", size, colour)
    picture.paste("red", (0, 0, size[0] // 2, size[1] // 2))
    picture.save(path)
    return path


def post(folder, task_id, file, **more):
    line = {"task_id": task_id, "function": "Image.resize", "params": {"file": str(file), **more}}
    post_by_hand(folder, json.dumps(line) + "\n")


def settle(folder, *states):
    with folder.results.open("ab") as results:
        results.writelines(encode(state) + b"\n" for state in states)


# The task


@pytest.mark.parametrize(
    ("picture", "size", "corner", "kept"),
    [
        ((400, 300), (400, 300), (0, 0), (0, 0, 400, 300)),
        ((400, 300), (200, 100), (0, 0), (0, 0, 400, 200)),
        ((400, 300), (100, 100), (0, 0), (0, 0, 300, 300)),
        ((400, 300), (100, 100), (200, 0), (200, 0, 400, 200)),
        ((6000, 4000), (800, 300), (27, 33), (27, 33, 6000, 33 + 300 * 5973 / 800)),
    ],
)
def test_what_is_kept_begins_at_the_corner_and_has_the_shape_that_was_asked_for(picture, size, corner, kept):
    assert pictures.kept_part(picture, size, corner) == pytest.approx(kept)


@pytest.mark.parametrize(
    ("size", "corner", "message"),
    [
        ((0, 300), (0, 0), "a picture of 0 x 300 pixels cannot be made"),
        ((800, -1), (0, 0), "a picture of 800 x -1 pixels cannot be made"),
        ((80, 30), (400, 0), "the corner (400, 0) is outside the picture, which has 400 x 300 pixels"),
        ((80, 30), (0, -1), "the corner (0, -1) is outside the picture, which has 400 x 300 pixels"),
    ],
)
def test_a_size_or_a_corner_that_makes_no_sense_is_refused(size, corner, message):
    with pytest.raises(ValueError) as caught:
        pictures.kept_part((400, 300), size, corner)
    assert str(caught.value) == message


def test_the_copy_stands_beside_the_picture_and_running_the_task_again_changes_nothing(tmp_path):
    photograph = make_picture(tmp_path / "ukz4e82wk.jpg")
    for _ in range(2):
        result = pictures.resize(str(photograph), 80, 60)
        assert result == str(tmp_path / "ukz4e82wk_80x60.jpg")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["ukz4e82wk.jpg", "ukz4e82wk_80x60.jpg"]
        with Image.open(result) as copy:
            red, green, _ = copy.getpixel((10, 10))
            assert (copy.size, red > 200, green < 50) == ((80, 60), True, True)


def test_the_founding_note_s_own_record_resizes_a_picture(folder, tmp_path, work):
    photograph = make_picture(tmp_path / "ukz4e82wk.jpg")
    app = PMTQ(broker=f"file://{folder.path}")
    app.task(name="Image.resize")(pictures.resize.run)
    post_by_hand(
        folder,
        f"""--{{
    "task_id": "45bc8d0ae7c9f8e810e8d",
    "function": "Image.resize",
    "params": {{
        "file": "{photograph}",
        "width": 800,
        "height": 300,
        "x": 27,
        "y": 33
    }}
}}--
""",
    )

    work(app)

    last = all_states(folder)[-1]
    assert (last["task_id"], last["status"]) == ("45bc8d0ae7c9f8e810e8d", "SUCCESS")
    assert last["result"] == str(tmp_path / "ukz4e82wk_800x300.jpg")
    assert report.what_is_wrong(Path(last["result"])) == ""


# The client


def test_photographs_are_as_large_as_photographs(tmp_path):
    photographs.make_photograph(tmp_path / "photo-01.jpg", 0)

    with Image.open(tmp_path / "photo-01.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (6000, 4000))
    assert 1e6 < (tmp_path / "photo-01.jpg").stat().st_size < 5e6


@pytest.fixture
def small_client(folder, monkeypatch):
    """The client's program, on the test's folder and with small pictures."""
    app = PMTQ(broker=f"file://{folder.path}")
    monkeypatch.setattr(client, "app", app)
    monkeypatch.setattr(client, "make_photograph", lambda path, _: make_picture(path))
    yield client
    app.backend.close()


def test_the_client_posts_the_record_of_the_founding_note(small_client, folder, tmp_path):
    promise = small_client.ask_to_resize(tmp_path / "ukz4e82wk.jpg")

    (line,) = read_lines(folder.queue())
    assert line.pop("sent")
    assert line == {
        "task_id": promise.id,
        "function": "Image.resize",
        "params": {"file": str(tmp_path / "ukz4e82wk.jpg"), "width": 800, "height": 300, "x": 27, "y": 33},
    }


def test_the_client_posts_one_record_for_each_photograph(small_client, folder, tmp_path):
    promises = small_client.post_albums(tmp_path, 6)

    lines = read_lines(folder.queue())
    assert [line["task_id"] for line in lines] == [promise.id for promise in promises]
    assert [line["params"]["file"] for line in lines] == [str(tmp_path / f"photo-0{n}.jpg") for n in range(1, 7)]
    assert all(Path(line["params"]["file"]).exists() for line in lines)


def test_a_slow_machine_gets_fewer_pictures_but_at_least_one_album(small_client, monkeypatch, tmp_path):
    monkeypatch.setattr(client, "PATIENCE", -1.0)

    assert len(small_client.post_albums(tmp_path, 12)) == client.ALBUM


def test_the_client_fails_with_the_reason_when_a_task_fails(small_client, folder, monkeypatch, tmp_path, capsys):
    class Failed:
        def get(self, timeout):
            raise ValueError("the corner (27, 33) is outside the picture")

    monkeypatch.setattr(client, "ask_to_resize", lambda _: Failed())

    assert small_client.main(tmp_path, 1) == 1
    assert capsys.readouterr().err == "ValueError: the corner (27, 33) is outside the picture\n"


# The place


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current directory of the test's own, and a temporary directory apart from it."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setattr(place.tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path / "here")
    return Folder(tmp_path / "here" / "queue_dir")


def test_queue_dir_is_used_when_it_is_new_or_all_its_tasks_have_ended(here):
    assert place.choose_place(None).folder.path == here.path
    post(here, "one", "a.jpg")
    settle(here, StateRecord("one", FAILURE))

    chosen = place.choose_place(None)

    assert (chosen.folder.path, chosen.instead, chosen.is_default) == (here.path, "", True)
    assert chosen.pictures.parent == Path(place.tempfile.tempdir)


def test_waiting_tasks_of_somebody_are_left_alone(here):
    post_by_hand(here, '{"function":"shop.charge"}\n{"function":"shop.ship"}\n')
    before = {path: path.read_bytes() for path in here.path.iterdir()}

    chosen = place.choose_place(None)

    assert chosen.instead == "queue_dir is left alone: 2 tasks wait in queue.jsonl."
    assert (chosen.folder.path, chosen.is_default) == (chosen.pictures / "queue_dir", False)
    assert {path: path.read_bytes() for path in here.path.iterdir()} == before


def test_a_folder_in_which_a_worker_lives_is_left_alone(here):
    worker = Presence(here, "worker1@test", {"name": "worker1@test", "pid": os.getpid()})

    assert place.choose_place(None).instead == "queue_dir is left alone: the worker worker1@test is at work there."
    worker.leave()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_folder_that_pmtq_refuses_is_left_alone(here):
    here.path.mkdir()
    here.path.chmod(0o777)

    chosen = place.choose_place(None)

    assert chosen.instead.startswith("queue_dir is left alone: it cannot be used: ")
    assert chosen.folder.path == chosen.pictures / "queue_dir"


def test_in_a_folder_that_was_named_everything_is_kept(here, tmp_path):
    chosen = place.choose_place(tmp_path / "mine")

    assert (chosen.folder.path, chosen.pictures.parent) == (tmp_path / "mine" / "queue_dir", tmp_path / "mine")
    assert chosen.clear() == f"Its pictures are in {chosen.pictures}."
    assert chosen.pictures.exists()


def test_temporary_pictures_are_removed_when_they_are_not_to_be_kept(here):
    chosen = place.choose_place(None)

    assert chosen.clear() == "Its pictures were removed."
    assert not chosen.pictures.exists()


# The story


def test_a_tail_gives_whole_new_lines_also_from_the_file_that_takes_the_name(tmp_path):
    path = tmp_path / "queue.jsonl"
    path.write_bytes(b"old\n")
    tail = story.Tail(path)
    with path.open("ab") as file:
        file.write(b"one\nha")
    assert tail.new_lines() == [b"one"]
    with path.open("ab") as file:
        file.write(b"lf\nlast\n")
    path.rename(tmp_path / "queue.0.jsonl")
    path.write_bytes(b"first\n")

    assert tail.new_lines() == [b"half", b"last", b"first"]
    assert tail.new_lines() == []
    tail.close()


@pytest.fixture
def told(folder, tmp_path):
    """A story of three pictures: one resized, one being resized, one waiting, and a line that is none of ours."""
    folder.make()
    told = story.Story(folder, tmp_path, 3)
    for number in (1, 2, 3):
        post(folder, f"id-{number}", tmp_path / f"photo-0{number}.jpg", width=800)
    post_by_hand(folder, '{"function": "tasks.add", "params": [2, 3]}\n{"broken": \x1b[2J[bold]}\n')
    settle(
        folder,
        StateRecord("id-1", STARTED, None, 1, "demo@host"),
        StateRecord("id-1", SUCCESS, str(tmp_path / "photo-01_800x300.jpg"), 1, "demo@host", runtime=0.25),
        StateRecord("id-2", STARTED, None, 1, "demo@host"),
        StateRecord("stranger", STARTED, None, 1, "demo@host"),
    )
    yield told
    told.close()


def test_a_story_tells_only_of_its_own_tasks(told, folder):
    events = told.listen()

    assert [(event.file, event.picture) for event in events] == [
        ("queue.jsonl", "photo-01.jpg"),
        ("queue.jsonl", "photo-02.jpg"),
        ("queue.jsonl", "photo-03.jpg"),
        ("results.jsonl", "photo-01.jpg"),
        ("results.jsonl", "photo-01.jpg"),
        ("results.jsonl", "photo-02.jpg"),
    ]
    assert told.listen() == []
    assert told.running() == ["photo-02.jpg"]
    assert [state.task_id for state in told.ended()] == ["id-1"]
    assert told.unfinished() == ["id-2", "id-3"]
    assert not told.is_complete()
    assert (len(told.queue_lines), len(told.results_lines)) == (5, 4)


def test_a_story_is_complete_when_every_task_has_ended(told, folder):
    settle(folder, StateRecord("id-2", SUCCESS), StateRecord("id-3", FAILURE))
    told.listen()

    assert told.is_complete()


# The screen


def screen(width=80, height=24, **options):
    options = {"force_terminal": True, "color_system": None, "file": io.StringIO(), "legacy_windows": False} | options
    return Console(width=width, height=height, **options)


def scene(told, note=""):
    told.listen()
    return show.Scene(told, client_pid=4711, worker_pid=4712, seconds=1.5, note=note)


@pytest.mark.parametrize(("width", "height"), [(60, 18), (80, 24), (120, 40)])
def test_the_picture_fits_the_screen(told, width, height, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    console = screen(width, height)
    console.print(show.frame(scene(told), width, height))

    rows = console.file.getvalue().splitlines()
    assert len(rows) == height - 1
    assert max(map(len, rows)) <= width


def test_the_picture_names_each_thing_beside_what_it_names(told, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    console = screen(80, 18)
    console.print(show.frame(scene(told, note="queue_dir is left alone: 1 task waits in queue.jsonl."), 80, 18))

    text = console.file.getvalue().replace(str(tmp_path), "/tmp/x")
    assert [row.rstrip() for row in text.splitlines()[:4]] == [
        " A client and a worker: two programs that share nothing but two text files.",
        " queue_dir is left alone: 1 task waits in queue.jsonl.",
        " client  process 4711  has posted all its records and waits for the results",
        " worker  process 4712  resizes photo-02.jpg",
    ]
    assert "─ queue file  queue_dir/queue.jsonl  one record a line: what is asked ─" in text
    assert "─ 3 records, 1 waiting ─" in text
    assert "─ results file  queue_dir/results.jsonl  what becomes of it ─" in text
    assert "─ 2 tasks started, 1 ended ─" in text
    assert " 1 of 3 resized  ━" in text


def test_a_long_path_leaves_out_the_explanation_and_keeps_the_name(told):
    folder = told.folder = Folder(Path("/tmp/pmtq-demo-l9rw0dj_/queue_dir"))
    console = screen(80, 18)
    console.print(show.frame(show.Scene(told, 1, 2, 0.0), 80, 18))

    assert f"─ queue file  {folder.queue()} ─" in console.file.getvalue()


def test_text_from_a_file_is_shown_and_never_obeyed(told, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    console = screen(120, 40, color_system="truecolor")
    console.print(show.frame(scene(told), 120, 40))

    assert r'{"broken": \x1b[2J[bold]}' in console.file.getvalue()
    assert "\x1b[2J" not in console.file.getvalue()


@pytest.mark.parametrize(
    ("options", "environment", "plain", "view"),
    [
        ({}, {}, False, show.Panes),
        ({}, {}, True, show.Lines),
        ({}, {"NO_COLOR": "1"}, False, show.Lines),
        ({}, {"TERM": "dumb"}, False, show.Lines),
        ({"force_terminal": False}, {}, False, show.Lines),
        ({"width": 50}, {}, False, show.Lines),
        ({"height": 12}, {}, False, show.Lines),
        ({"file": io.TextIOWrapper(io.BytesIO(), "ascii")}, {}, False, show.Lines),
    ],
)
def test_panes_are_drawn_only_where_they_can_be(monkeypatch, options, environment, plain, view):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert type(show.choose_view(screen(**options), plain=plain)) is view


def test_panes_leave_the_screen_in_order(told, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    console = screen()
    with contextlib.suppress(KeyboardInterrupt), show.Panes(console) as panes:
        panes.update(scene(told), [])
        raise KeyboardInterrupt

    drawn = console.file.getvalue()
    assert "1 of 3 resized" in drawn
    assert drawn.rstrip().endswith("\x1b[?25h")  # the cursor is back


def test_plain_text_has_a_line_for_each_event(told, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settled = StateRecord("id-2", FAILURE, error={"type": "ValueError", "message": "no\x1bpicture"})
    settle(told.folder, settled)
    console = screen(force_terminal=False)
    with show.Lines(console) as lines:
        events = told.listen()
        lines.update(scene(told), events)

    assert console.file.getvalue().splitlines() == [
        "pmtq demo. A client and a worker: two programs that share nothing but two text files.",
        "  1.5 s  queue file     queue_dir/queue.jsonl: what is asked, one record a line",
        "  1.5 s  results file   queue_dir/results.jsonl: what becomes of it",
        "  1.5 s  worker         process 4712 starts; it watches the queue file",
        "  1.5 s  client         process 4711 starts; it makes 3 photographs and posts a record for each",
        "  1.5 s  queue.jsonl    + id-1  record   Image.resize photo-01.jpg",
        "  1.5 s  queue.jsonl    + id-2  record   Image.resize photo-02.jpg",
        "  1.5 s  queue.jsonl    + id-3  record   Image.resize photo-03.jpg",
        "  1.5 s  results.jsonl  + id-1  STARTED  photo-01.jpg, by worker demo@host",
        "  1.5 s  results.jsonl  + id-1  SUCCESS  photo-01.jpg, 0.25 s",
        "  1.5 s  results.jsonl  + id-2  STARTED  photo-02.jpg, by worker demo@host",
        r"  1.5 s  results.jsonl  + id-2  FAILURE  photo-02.jpg, ValueError: no\x1bpicture",
    ]


# The report


def test_a_copy_counts_only_if_it_is_the_picture_that_was_asked_for(tmp_path):
    copy = tmp_path / "photo-01_800x300.jpg"
    assert "photo-01_800x300.jpg cannot be opened" in report.what_is_wrong(copy)
    copy.write_bytes(b"no picture")
    assert "photo-01_800x300.jpg cannot be opened" in report.what_is_wrong(copy)
    make_picture(copy, (300, 800))
    assert report.what_is_wrong(copy) == "photo-01_800x300.jpg has 300 x 800 pixels, not 800 x 300"
    Image.new("RGB", (800, 300), "white").save(copy)
    assert report.what_is_wrong(copy) == "photo-01_800x300.jpg is blank"
    make_picture(copy, (800, 300))
    assert report.what_is_wrong(copy) == ""


def test_every_photograph_must_have_a_good_copy_and_a_record(tmp_path):
    make_picture(tmp_path / "photo-01.jpg")
    with pytest.raises(
        play.DemoError, match=r"1 of 1 pictures were not resized: photo-01_800x300\.jpg cannot be opened"
    ):
        play.approved(report.check_pictures(tmp_path), 1)
    make_picture(tmp_path / "photo-01_800x300.jpg", (800, 300))
    assert len(play.approved(report.check_pictures(tmp_path), 1)) == 1
    with pytest.raises(play.DemoError, match="There are 1 photographs, and 2 records"):
        play.approved(report.check_pictures(tmp_path), 2)
    with pytest.raises(play.DemoError, match="There are 0 photographs, and 0 records"):
        play.approved([], 0)


def test_the_life_of_a_task_is_found_also_when_the_queue_file_was_cleared(here):
    post(here, "id-1", "photo-01.jpg")
    settle(here, StateRecord("id-1", STARTED), StateRecord("id-2", STARTED), StateRecord("id-1", SUCCESS))
    here.sealed.mkdir()
    here.queue().rename(here.sealed / "queue.0.jsonl")
    chosen = place.Place(here, here.path, is_kept=False)

    life = report.life_of("id-1", chosen)

    assert [(path.name, json.loads(line).get("status")) for path, line in life] == [
        ("queue.0.jsonl", None),
        ("results.jsonl", "STARTED"),
        ("results.jsonl", "SUCCESS"),
    ]
    lines = [text.plain for text in report._about_task(chosen, "id-1")]
    assert lines[1] == "  grep id-1 queue_dir/sealed/*.jsonl queue_dir/*.jsonl"


def test_what_to_type_next_can_be_typed(here, tmp_path, monkeypatch, work):
    monkeypatch.setattr(report, "pmtq", lambda: "pmtq")
    here.make()
    (here.path / "README.md").touch()
    photograph = make_picture(tmp_path / "it's 1.jpg")
    lines = [line.plain for line in report._about_next(place.Place(here, tmp_path, is_kept=False), photograph)]
    commands = [line[19:] for line in lines[1:-1]]

    assert commands[0] == "less queue_dir/queue.jsonl queue_dir/results.jsonl"
    assert commands[2:4] == [
        "pmtq worker -A pmtq.demo.pictures:app --burst",
        f"grep by-hand-{tmp_path.name} queue_dir/results.jsonl",
    ]
    assert lines[-1] == "  What every file and field means is told in queue_dir/README.md"
    subprocess.run(commands[1], shell=True, check=True)
    app = PMTQ(broker=f"file://{here.path}")
    app.task(name="Image.resize")(pictures.resize.run)
    work(app)
    assert all_states(here)[-1]["result"] == str(tmp_path / "it's 1_400x400.jpg")


def test_a_command_names_the_queue_folder_when_it_is_not_the_usual_one(here, monkeypatch, tmp_path):
    monkeypatch.setattr(report, "pmtq", lambda: "pmtq")
    elsewhere = Folder(tmp_path / "a b" / "queue_dir")
    lines = report._about_next(place.Place(elsewhere, tmp_path, is_kept=False), tmp_path / "photo-01.jpg")

    url = f"file://{tmp_path}/a%20b/queue_dir"
    assert lines[3].plain == f"  have it run      pmtq worker -A pmtq.demo.pictures:app --broker {url} --burst"
    assert Folder.from_url(url).path == elsewhere.path


# The README of the queue folder

QUEUE_FOLDER_README = (Path(__file__).parent.parent / "queue_dir" / "README.md").read_text()
RECORD_OF = {
    "queue.jsonl": TaskRecord,
    "results.jsonl": StateRecord,
    "rejected.jsonl": None,
    "workers/&lt;name&gt;.json": Worker,
}


def chapters():
    return dict(chapter.split("\n", 1) for chapter in QUEUE_FOLDER_README.split("\n## ")[1:])


def examples(chapter):
    """Return what the JSON blocks of a chapter hold: several lines, or one object over several."""
    for block in re.findall(r"```json\n(.*?)```", chapter, re.DOTALL):
        yield from (json.loads(line) for line in block.splitlines()) if block[1] == '"' else [json.loads(block)]


@pytest.mark.parametrize("name", RECORD_OF)
def test_the_readme_of_the_queue_folder_explains_every_field(name):
    chapter = chapters()[name]
    rows = re.findall(r"^\| (`.*?) \|", chapter, re.MULTILINE)
    explained = {field for row in rows for field in re.findall(r"`(\w+)`", row)} - vars(states).keys()
    used = {field for example in examples(chapter) for field in example}
    struct = RECORD_OF[name]

    assert explained == (set(struct.__struct_fields__) if struct else used)
    assert used <= explained


def test_the_readme_of_the_queue_folder_explains_every_state():
    rows = re.findall(r"^\| `([A-Z]+)` \|.*\| (.*?) ?\|$", chapters()["results.jsonl"], re.MULTILINE)
    words = {word for name, word in vars(states).items() if name.isupper() and isinstance(word, str)}

    assert {word for word, _ in rows} == words - {states.PENDING}
    assert {word for word, end in rows if end == "final"} == states.FINAL_STATES


# The whole


def start_demo(*options, **environment):
    """Start ``pmtq demo`` in the current directory, with its output in a pipe."""
    environment = os.environ | {"TMPDIR": place.tempfile.tempdir, "PYTHONUNBUFFERED": "1"} | environment
    return subprocess.Popen(
        [*PMTQ_COMMAND, "demo", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def pids_in(output):
    """Return the process ids that the plain text names."""
    return [int(words[4]) for line in output.splitlines() if (words := line.split())[3:4] == ["process"]]


def temporary_folders():
    return sorted(Path(place.tempfile.tempdir).iterdir())


def test_the_demo_resizes_every_picture_and_leaves_two_files_to_look_at(here):
    demo = start_demo()
    out, err = demo.communicate(timeout=60)

    assert (demo.returncode, err) == (0, "")
    ids = [words[4] for line in out.splitlines() if (words := line.split())[5:6] == ["record"]]
    became = all_states(here)
    assert len(ids) >= client.ALBUM
    assert sorted(line["task_id"] for line in became if line["status"] == "SUCCESS") == sorted(ids)
    assert all(report.what_is_wrong(Path(line["result"])) == "" for line in became if line["status"] == "SUCCESS")
    asked = [line["task_id"] for line in read_lines(here.queue())]
    assert asked == ids[-len(asked) :]  # all of them, unless this machine is so slow that the file was cleared once
    for line in [*here.queue().read_text().splitlines(), *here.results.read_text().splitlines()]:
        assert (line in out) == (ids[-1] in line)  # one life is told in full
    assert len(pids_in(out)) == 2
    assert all(map(is_gone, pids_in(out)))
    (pictures_folder,) = temporary_folders()
    assert len(list(pictures_folder.iterdir())) == 2 * len(ids)


def test_ctrl_c_ends_both_programs_and_leaves_nothing_waiting(here):
    demo = start_demo()
    assert eventually(lambda: read_lines(here.queue()), 30)
    demo.send_signal(signal.SIGINT)
    out, err = demo.communicate(timeout=30)

    assert demo.returncode == play.INTERRUPTED
    assert err == (
        "\nStopped.\nBoth programs were ended, and nothing of the demo's is left waiting. Its pictures were removed.\n"
    )
    assert all(map(is_gone, pids_in(out)))
    assert place.why_not(here) == ""
    assert temporary_folders() == []


@pytest.fixture
def two_small_pictures(monkeypatch):
    """A demo whose client posts two pictures, which are small."""
    code = (
        "import sys; from PIL import Image; from pathlib import Path; from pmtq.demo import client;"
        "client.make_photograph = lambda path, number: Image.new('RGB', (80, 60)).save(path);"
        "sys.exit(client.main(Path(sys.argv[1]), int(sys.argv[2])))"
    )
    monkeypatch.setattr(play, "PICTURES", 2)
    monkeypatch.setattr(processes, "CLIENT", ("-c", code))


def test_a_worker_that_dies_ends_the_demo_with_its_last_words(here, two_small_pictures, monkeypatch, capsys):
    monkeypatch.setattr(processes, "WORKER", ("-c", "raise SystemExit('no \x1b[31mluck')"))

    assert run() == 1
    assert capsys.readouterr().err == (
        "\nThe worker ended early, with status 1. The last it said:\n    no \\x1b[31mluck\n"
        "Both programs were ended, and nothing of the demo's is left waiting. Its pictures were removed.\n"
    )
    assert place.why_not(here) == ""
    assert temporary_folders() == []


def test_a_worker_that_says_success_without_a_picture_does_not_pass(here, two_small_pictures, monkeypatch, capsys):
    code = (
        "import os, sys; from pmtq import PMTQ; from pmtq.presence import Presence;"
        "from pmtq.worker.consumer import Consumer;"
        "app = PMTQ(); app.folder.make(); app.task(name='Image.resize')(lambda **params: 'done');"
        "Consumer(app.folder, Presence(app.folder, 'liar@test', {}), ['celery'], app.tasks).run()"
    )
    monkeypatch.setattr(processes, "WORKER", ("-c", code))

    assert run(plain=True) == 1
    assert "2 of 2 pictures were not resized: photo-01_800x300.jpg cannot be opened" in capsys.readouterr().err


def test_a_worker_that_does_nothing_is_not_waited_for_without_end(here, two_small_pictures, monkeypatch, capsys):
    monkeypatch.setattr(processes, "WORKER", ("-c", "import threading; threading.Event().wait(60)"))
    monkeypatch.setattr(play, "GIVE_UP", 1.0)

    assert run() == 1
    assert "The worker was not done after 1 s. The last it said:\n    (nothing)" in capsys.readouterr().err
    assert place.why_not(here) == ""


def test_a_program_that_does_not_end_when_asked_is_killed(here, monkeypatch):
    monkeypatch.setattr(processes, "END_WITHIN", 0.2)
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    program = processes.Program("worker", ["-c", code], place.choose_place(None))
    assert eventually(program.last_words) == ["deaf"]

    program.end()

    assert program.status == -signal.SIGKILL


def test_looking_at_what_a_program_says_does_not_move_where_it_writes(here):
    code = "import sys\nfor line in range(2000): print(f'{line:04}', flush=True)\nsys.stdin.read()"
    program = processes.Program("worker", ["-c", code], place.choose_place(None))
    try:
        assert eventually(lambda: program.last_words(1) == ["1999"])
        assert program.last_words(3000) == [f"{line:04}" for line in range(2000)]
    finally:
        program.end()


def test_signals_are_taken_only_while_the_demo_runs():
    before = signal.getsignal(signal.SIGINT)
    with processes.interruptions() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert interrupted.is_set()
    assert signal.getsignal(signal.SIGINT) is before


def test_without_pillow_the_demo_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("pmtq.demo.find_spec", lambda _: None)

    assert run() == 1
    assert capsys.readouterr().err == NO_PILLOW + "\n"
    assert "pip install 'pmtq[demo]'" in NO_PILLOW
