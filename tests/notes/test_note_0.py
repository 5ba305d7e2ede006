"""Note 0: why there are task queues, how a poor man's one would look, and Celery's smallest program."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator

import pytest

from pmtq import PMTQ
from pmtq.cli import main
from pmtq.cli.finding import find_app
from pmtq.exceptions import ImproperlyConfigured
from tests.notes.support import MESSAGE_ID, URL, Load, Place, printed, runnable
from tests.support import all_states, eventually, is_empty, post_by_hand, read_lines

PICTURE = {"file": "/tmp/ukz4e82wk.jpg", "width": 800, "height": 300, "x": 27, "y": 33}
RESIZED = "/tmp/ukz4e82wk_800x300.jpg"
WELCOME = "Welcome to ZomboCom. You can do anything at ZomboCom..."
AS_PRINTED = ("pmtq worker -A tasks --loglevel=info", "pmtq worker -A tasks:app --loglevel=info")
FIVE_COPIES = ("pmtq worker -A imaginosaure",) * 5


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place where the note's program and the picture service are at work, the service in five copies."""
    place = Place(tmp_path_factory.mktemp("note_0"))
    place.write("tasks.py", runnable("note_0_tasks.py"))
    place.tell("imaginosaure.py", "pictures_web.py")
    place.start_workers(*AS_PRINTED, *FIVE_COPIES)
    yield place
    place.close()


@pytest.fixture
def stranger(town: Place) -> Iterator[PMTQ]:
    """A client that knows where the queue is, and has no code of any task."""
    with PMTQ("stranger", broker=f"file://{town.folder.path}") as app:
        yield app


@pytest.fixture
def service(app: PMTQ) -> PMTQ:
    """An app with ``Image.resize`` on a folder of its own, for a worker in this process."""

    @app.task(name="Image.resize")
    def resize(file, width, height, x, y):
        return f"{file.removesuffix('.jpg')}_{width}x{height}.jpg"

    return app


def test_s0_01_a_client_posts_work_without_having_the_workers_code(stranger):
    assert list(stranger.tasks) == []
    assert stranger.send_task("Image.resize", kwargs=PICTURE).get(timeout=10) == RESIZED


def test_s0_02_the_queue_is_one_text_file_and_the_results_are_another(service, folder, work):
    service.send_task("Image.resize", kwargs=PICTURE)
    asked = read_lines(folder.path / "queue.jsonl")
    work(service)

    assert [line["function"] for line in asked] == ["Image.resize"]
    about_tasks = [line for line in read_lines(folder.path / "results.jsonl") if "task_id" in line]
    assert [line["status"] for line in about_tasks] == ["STARTED", "SUCCESS"]


def test_s0_03_a_record_is_id_function_and_params_in_one_line_or_as_the_note_prints_it(service, folder, work):
    service.send_task("Image.resize", kwargs=PICTURE, task_id=MESSAGE_ID)

    line = read_lines(folder.queue())[0]
    assert list(line)[:3] == ["task_id", "function", "params"]
    as_printed = json.loads(printed("note_0_message.txt").strip().strip("-"))
    assert {key: line[key] for key in list(line)[:3]} == as_printed

    post_by_hand(folder, printed("note_0_message.txt").replace(MESSAGE_ID, "as-printed"))
    work(service)
    assert service.AsyncResult("as-printed").get(timeout=0) == RESIZED


def test_s0_04_a_record_that_a_shell_appends_with_only_those_three_keys_is_run(town, stranger):
    record = json.dumps({"task_id": "from-a-shell", "function": "Image.resize", "params": PICTURE})

    said = town.run(f"sh -c 'cat >> queue_dir/queue.jsonl <<END\n{record}\nEND'")

    assert said == (0, "", "")
    assert stranger.AsyncResult("from-a-shell").get(timeout=10) == RESIZED


def test_s0_05_params_as_an_object_are_keyword_arguments_and_as_an_array_positional_ones(app, folder, work):
    post_by_hand(folder, '{"task_id":"object","function":"tasks.pair","params":{"b":1,"a":2}}\n')
    post_by_hand(folder, '{"task_id":"array","function":"tasks.pair","params":[1,2]}\n')

    @app.task(name="tasks.pair")
    def pair(a, b):
        return [a, b]

    work(app)

    assert app.AsyncResult("object").get(timeout=0) == [2, 1]
    assert app.AsyncResult("array").get(timeout=0) == [1, 2]


def test_s0_06_a_name_with_a_dot_is_no_import_path_and_a_method_has_one_by_itself(town, load: Load):
    imaginosaure = load(town, "imaginosaure")

    assert sorted(imaginosaure.app.tasks)[:2] == ["Image.resize", "imaginosaure.Image.turn"]
    assert imaginosaure.Image.resize.delay(**PICTURE).get(timeout=10) == RESIZED
    assert imaginosaure.Image.turn.delay("a.jpg").get(timeout=10) == ["a.jpg", 90]


def test_s0_07_as_long_as_something_waits_the_queue_file_keeps_its_bytes_and_order(service, folder, work):
    others = [f'{{"params": [ {number} ], "function":"Image.{name}"}}' for number, name in enumerate(("b", "a"))]
    done = json.dumps({"function": "Image.resize", "params": PICTURE})
    text = "\n".join([done, others[0], done + " ", others[1], ""])
    post_by_hand(folder, text)

    work(service)

    assert folder.queue().read_text() == text
    assert [line["result"] for line in all_states(folder) if line["status"] == "SUCCESS"] == [RESIZED, RESIZED]


def test_s0_07_a_queue_file_of_which_everything_is_done_is_empty(service, folder, work_until):
    result = service.send_task("Image.resize", kwargs=PICTURE)

    work_until(service, lambda: result.ready() and is_empty(folder.queue()))

    assert result.get(timeout=0) == RESIZED


def test_s0_08_a_result_holds_the_id_and_the_value(service, folder, work):
    post_by_hand(folder, printed("note_0_message.txt"))

    work(service)

    final = all_states(folder)[-1]
    assert (final["task_id"], final["result"]) == (MESSAGE_ID, RESIZED)


def test_s0_08_a_comma_too_many_as_in_the_notes_own_result_is_put_aside_with_line_column_and_remedy(
    service, folder, work
):
    post_by_hand(folder, printed("note_0_result.txt") + printed("note_0_message.txt"))

    work(service)

    (rejected,) = read_lines(folder.rejected)
    facts = {key: rejected[key] for key in ("file", "line", "column", "reason", "remedy")}
    assert facts == {
        "file": "queue.jsonl",
        "line": 3,
        "column": 43,
        "reason": "found a comma with nothing behind it",
        "remedy": "Take the last comma away",
    }
    assert service.AsyncResult(MESSAGE_ID).get(timeout=0) == RESIZED


def test_s0_09_whoever_knows_the_id_and_the_folder_gets_the_result(town, stranger):
    stranger.send_task("Image.resize", kwargs=PICTURE, task_id=MESSAGE_ID).get(timeout=10)

    with PMTQ("somebody else", broker=f"file://{town.folder.path}") as other:
        assert other.AsyncResult(MESSAGE_ID).get(timeout=0) == RESIZED
    said = town.run(f"pmtq result {MESSAGE_ID}")
    assert (said.status, said.err) == (0, "")
    assert f'"{RESIZED}"' in said.out


def test_s0_10_a_function_that_no_worker_has_waits_for_one_that_has_it_and_says_so(app, folder, work, capsys):
    asked = app.send_task("Image.resize", kwargs=PICTURE)

    work(app)

    assert asked.state == "PENDING"
    assert main(["queue", "--broker", f"file://{folder.path}"]) == 0
    shown = capsys.readouterr().out
    assert asked.id in shown
    assert "no worker is running" in shown

    app.task(name="Image.resize")(lambda **picture: picture["file"])
    work(app)
    assert asked.get(timeout=0) == PICTURE["file"]


@pytest.mark.parametrize(
    ("bad", "line"),
    [('--{\n"task_id": "half", "function": "Image.resize",\n', 3), ('{"function": "Image.resize", params: []}\n', 2)],
)
def test_s0_11_a_malformed_record_stops_no_worker_costs_no_neighbour_and_is_named_by_its_line(
    service, folder, work, bad, line
):
    neighbour = json.dumps({"task_id": "{}", "function": "Image.resize", "params": PICTURE}) + "\n"
    post_by_hand(folder, neighbour.replace("{}", "before") + bad + neighbour.replace("{}", "after"))

    work(service)

    assert [service.AsyncResult(name).get(timeout=0) for name in ("before", "after")] == [RESIZED, RESIZED]
    assert [rejected["line"] for rejected in read_lines(folder.rejected)] == [line]


def test_s0_12_eight_processes_that_append_at_once_never_mix_their_bytes(place):
    place.tell("many_writers.py")

    said = place.run("python many_writers.py 8 1000")

    assert said == (0, "", "")
    records = read_lines(place.folder.queue())
    posted = [(who, count, len(text)) for who, count, text in (record["params"] for record in records)]
    assert sorted(posted) == [(who, count, count % 97) for who in range(8) for count in range(1000)]
    assert len({record["task_id"] for record in records}) == 8000


def test_s0_13_one_worker_takes_the_item_at_the_top(app, folder, work):
    asked = [app.send_task("tasks.add", [number]).id for number in range(20)]

    work(app)

    assert [line["task_id"] for line in all_states(folder) if line["status"] == "STARTED"] == asked


def test_s0_13_five_copies_of_a_program_run_each_record_once_and_the_idle_one_takes_the_next(town, stranger):
    began = time.monotonic()
    asked = [stranger.send_task("imaginosaure.refresh_cache", [f"s0-13 {number}", 0.2]) for number in range(20)]

    assert [one.get(timeout=15) for one in asked] == [f"s0-13 {number}" for number in range(20)]

    assert time.monotonic() - began < 20 * 0.2 / 2  # one after the other they take 4 s, five at a time 0.8 s
    assert [town.life(one.id) for one in asked] == [["STARTED", "SUCCESS"]] * 20
    assert len({town.lines(one.id)[-1]["worker"] for one in asked}) == 5


def test_s0_14_delay_returns_before_the_work_is_done(town, load: Load):
    imaginosaure = load(town, "imaginosaure")

    def time_of_call(name: str) -> float:
        began = time.perf_counter()
        asked.append(imaginosaure.wait_for.delay(name))
        return time.perf_counter() - began

    asked: list = []
    times = [time_of_call("go_on") for _ in range(3)]

    assert eventually(lambda: town.life(asked[0].id) == ["STARTED"])
    assert [one.ready() for one in asked] == [False] * 3
    assert min(times) < 0.05
    town.write("go_on", "")
    assert [one.get(timeout=10) for one in asked] == ["go_on"] * 3


def test_s0_15_a_web_program_answers_at_once_with_a_url_that_the_client_then_polls(town, load: Load):
    client = load(town, "pictures_web").app.test_client()

    answer = client.post("/pictures", json=PICTURE)

    assert (answer.status_code, answer.get_json()) == (202, {})
    where = answer.headers["Location"]
    assert eventually(lambda: client.get(where).get_json()["state"] == "SUCCESS")
    assert client.get(where).get_json() == {"state": "SUCCESS", "url": RESIZED}


def test_s0_16_a_service_calls_a_function_of_another_one_by_name_and_gets_its_value(town, place):
    place.write(
        "shop.py",
        f"from pmtq import PMTQ\n\nprint(PMTQ('shop').send_task('Image.resize', kwargs={PICTURE!r}).get(timeout=10))\n",
    )

    said = place.run("python shop.py", PMTQ_BROKER_URL=f"file://{town.folder.path}")

    assert said == (0, f"{RESIZED}\n", "")


def test_s0_17_caches_refreshed_by_five_copies_take_a_fraction_of_the_time(town, stranger):
    names = [f"cache {number}" for number in range(5)]

    asked = [stranger.send_task("imaginosaure.refresh_cache", [name, 0.5]) for name in names]

    assert [one.get(timeout=15) for one in asked] == names
    times = [line for line in read_lines(town.path / "refreshed.jsonl") if line["name"] in names]
    assert max(line["began"] for line in times) < min(line["ended"] for line in times)  # for a while all five ran


def test_s0_19_a_program_that_names_a_server_needs_none_when_the_url_is_overridden(
    town, load: Load, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise AssertionError("somebody asked for a server")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    tasks = load(town, "tasks")

    assert tasks.app.folder.path == town.folder.path
    assert tasks.zombocom.delay().get(timeout=5) == WELCOME


def test_s0_19_without_the_override_a_call_says_both_ways_out(town, load: Load):
    tasks = load(town, "tasks", overridden=False)

    with pytest.raises(ImproperlyConfigured, match=r"'amqp://guest@localhost//' names a server") as caught:
        tasks.zombocom.delay()

    assert f"PMTQ_BROKER_URL={URL}" in str(caught.value)
    assert f'broker="{URL}"' in str(caught.value)


def test_s0_20_a_bare_decorator_makes_a_task_and_its_value_comes_back(town, load: Load):
    tasks = load(town, "tasks")

    assert list(tasks.app.tasks) == ["tasks.zombocom"]
    assert tasks.zombocom() == WELCOME
    assert tasks.zombocom.delay().get(timeout=5) == WELCOME


def test_s0_21_one_module_is_worker_and_client_depending_on_how_the_process_is_started(town, load: Load):
    tasks = load(town, "tasks")
    asked = tasks.zombocom.delay()
    asked.get(timeout=5)

    ran_by = town.lines(asked.id)[-1]["worker"]

    workers = {facts["name"]: facts["pid"] for facts in map(town.facts, town.processes[:2])}
    assert ran_by in workers
    assert os.getpid() not in workers.values()


def test_s0_22_the_commands_as_printed_start_a_worker(town):
    first, second = map(town.facts, town.processes[:2])

    assert first["functions"] == second["functions"] == ["tasks.zombocom"]
    assert first["name"] != second["name"]


def test_s0_23_a_module_is_searched_for_app_then_celery_then_any_app_then_its_module_celery(place, load: Load):
    place.write("both.py", "from pmtq import PMTQ\nother = PMTQ('other')\ncelery = PMTQ('celery')\napp = PMTQ('app')\n")
    place.write("second.py", "from pmtq import PMTQ\nother = PMTQ('other')\ncelery = PMTQ('celery')\n")
    place.write("any.py", "from pmtq import PMTQ\nother = PMTQ('other')\n")
    place.write("package/__init__.py", "")
    place.write("package/celery.py", "from pmtq import PMTQ\nanything = PMTQ('inner')\n")
    load(place, "both")

    found = {name: find_app(name).main for name in ("both", "both:other", "second", "any", "package")}

    assert found == {"both": "app", "both:other": "other", "second": "celery", "any": "other", "package": "inner"}


@pytest.mark.parametrize("spelling", ["--app tasks --loglevel=info", "-A tasks --loglevel INFO", "-A tasks -l info"])
def test_s0_23_s0_24_long_and_short_and_upper_and_lower_case_options_mean_the_same(place, spelling):
    place.write("tasks.py", runnable("note_0_tasks.py"))
    post_by_hand(place.folder, '{"task_id":"z","function":"tasks.zombocom"}\n')

    said = place.run(f"pmtq worker {spelling} --burst")

    assert said.status == 0
    logged = [line.split(" ", 3)[1:] for line in said.err.splitlines() if "tasks.zombocom z" in line]
    assert [(line[0], WELCOME in line[-1]) for line in logged] == [("INFO", True)]


def test_the_programs_stand_here_as_they_were_printed_but_for_one_word():
    before, after = printed("note_0_tasks.py").splitlines(), runnable("note_0_tasks.py").splitlines()

    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]

    assert changed == [("from celery import Celery ", "from pmtq import Celery ")]


def test_all_workers_end_well_when_they_are_asked_to(town):
    """Keep this the last test of the module: the others need the workers."""
    statuses = town.stop(*town.processes)

    assert statuses == [0] * len(town.processes)
    assert town.folder.worker_names() == []
