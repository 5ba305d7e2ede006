"""Note 2: the commands one types, and the ways to call a task."""

from __future__ import annotations

import importlib.metadata
import socket
import time
from collections.abc import Iterator

import pytest

from pmtq.__main__ import main as command
from pmtq.cli import main
from pmtq.exceptions import ImproperlyConfigured
from pmtq.worker import supervisor
from tests.notes.support import Load, Place, printed, runnable
from tests.support import read_lines

IMPORT = "from pmtq import Celery\n\n"
HOST = socket.gethostname()
AS_PRINTED = "pmtq -A proj worker --loglevel=INFO --concurrency=10 -n worker1@%h"
OPTIONS = """
    -n --hostname -D --detach -S --statedb -l --loglevel -O --optimization --prefetch-multiplier -c --concurrency -P --pool
    -E --task-events --time-limit --soft-time-limit --max-tasks-per-child --max-memory-per-child --purge --discard
    -Q --queues -X --exclude-queues -I --include --without-gossip --without-mingle --without-heartbeat
    --heartbeat-interval --autoscale -B --beat -s --schedule --scheduler -f --logfile --pidfile --uid --gid --umask
    --executable -A --app -b --broker
"""
"""Of a worker's options in Celery."""


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place with the package ``proj`` in it, and a worker that was started above it as printed."""
    place = Place(tmp_path_factory.mktemp("note_2"))
    place.write_proj()
    place.start_workers(AS_PRINTED)
    yield place
    place.close()


@pytest.fixture
def placeholders(place: Place) -> Place:
    """A place where the note's app stands with its placeholders left in, and the note's task below it."""
    place.write("unfilled.py", IMPORT + runnable("note_2_app.py", "note_2_task.py"))
    return place


def test_s2_01_an_app_with_its_placeholders_left_in_works_when_the_url_is_overridden(placeholders, load: Load, work):
    unfilled = load(placeholders, "unfilled")
    assert (unfilled.app.main, unfilled.app.modules()) == ("<current_module_name>", [])

    asked = unfilled.function.delay()
    work(unfilled.app)

    assert (asked.state, asked.get(timeout=0)) == ("SUCCESS", None)


def test_s2_01_without_the_override_one_line_says_what_was_left_in(placeholders, load: Load):
    unfilled = load(placeholders, "unfilled", overridden=False)

    with pytest.raises(ImproperlyConfigured) as caught:
        unfilled.function.delay()

    assert str(caught.value) == (
        "the broker URL '<message_broker_URL>' is a placeholder that nobody has filled in. Nothing was queued. Either "
        "override it for this run: PMTQ_BROKER_URL=file://queue_dir, or write the folder into the code: "
        'PMTQ("…", broker="file://queue_dir")'
    )


def test_s2_02_a_worker_imports_what_is_included_from_the_directory_it_is_started_in(yard):
    assert yard.facts(yard.processes[0])["functions"] == ["proj.tasks.add", "proj.tasks.mult"]


@pytest.mark.parametrize(("included", "named"), [("proj.taks", "Did you mean proj.tasks?"), ("nowhere", "in {cwd} ")])
def test_s2_02_an_included_module_that_is_not_there_is_named_with_the_directory(place, included, named):
    place.write_proj()
    place.write("broken.py", f"from pmtq import PMTQ\n\napp = PMTQ('broken', include=['{included}'])\n")

    said = place.run("pmtq -A broken worker --burst")

    assert said.status == 1
    assert f"there is no module {included!r}" in said.err
    assert named.format(cwd=place.path) in said.err


def test_s2_03_s2_04_apply_async_with_args_and_kwargs_and_delay_are_the_same_call(app, folder):
    @app.task
    def function(*args, **kwargs): ...

    names = {"task": function, "arg1": 1, "arg2": "two"}
    exec(printed("note_2_apply_async.py").strip(), names)
    exec(printed("note_2_delay.py").strip(), names)

    first, second = [{**line, "task_id": "", "sent": ""} for line in read_lines(folder.queue())]
    assert first == second
    assert (first["args"], first["params"]) == ([1, "two"], {"kwarg1": "x", "kwarg2": "y"})


def test_s2_09_the_help_says_what_there_is(capsys):
    assert main(["--help"]) == 0
    assert "worker" in capsys.readouterr().out

    assert main(["worker", "--help"]) == 0
    shown = capsys.readouterr().out.replace(",", " ").split()
    assert [option for option in OPTIONS.split() if option not in shown] == []


def test_s2_10_the_command_as_printed_starts_a_worker_with_ten_processes(yard, load: Load):
    facts = yard.facts(yard.processes[0])
    assert (facts["name"], facts["pool"], facts["concurrency"]) == (f"worker1@{HOST}", "prefork", 10)

    tasks = load(yard, "proj.tasks")

    assert tasks.mult.delay(6, 7).get(timeout=10) == 42


def test_s2_10_the_command_is_a_script_of_its_own_and_a_module(yard):
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="pmtq")
    assert script.load() is command
    assert yard.run("python -m pmtq --version") == yard.run("pmtq --version") == (0, yard.run("pmtq --version").out, "")


def test_s2_11_workers_on_one_machine_have_names_of_their_own(yard):
    refused = yard.run("pmtq -A proj worker -n worker1@%h")
    assert refused.status == 1
    assert f"a worker called 'worker1@{HOST}' is already running" in refused.err

    (second,) = yard.start_workers("pmtq -A proj worker")
    name = yard.facts(second)["name"]
    assert yard.stop(second) == [0]
    assert name == f"worker2@{HOST}"


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("worker1@%h", "worker1@george.example.com"),
        ("worker1@%n", "worker1@george"),
        ("worker1@%d", "worker1@example.com"),
        ("worker%%1@%n", "worker%1@george"),
    ],
)
def test_s2_12_the_letters_in_a_workers_name_stand_for_parts_of_the_host(pattern, name):
    assert supervisor.expand_name(pattern, "george.example.com") == name


def test_s2_13_a_worker_that_is_not_started_above_its_package_is_told_where_to_go(yard):
    assert yard.run("pmtq -A proj worker --burst").status == 0
    place = Place(yard.path / "elsewhere")
    said = place.run("pmtq -A proj worker --burst")

    assert said.status == 1
    assert f"there is no module 'proj' in {place.path}" in said.err
    assert "Go to the directory that your module is in" in said.err


def test_s2_14_inspect_registered_names_each_workers_tasks_without_an_app(yard):
    said = yard.run("pmtq inspect registered")

    assert (said.status, said.err) == (0, "")
    rows = [line.split() for line in said.out.splitlines()]
    assert [row for row in rows if row[0] == f"worker1@{HOST}"] == [
        [f"worker1@{HOST}", "proj.tasks.add"],
        [f"worker1@{HOST}", "proj.tasks.mult"],
    ]


def test_s2_16_an_idle_worker_takes_a_task_up_in_less_than_a_second(yard, load: Load):
    tasks = load(yard, "proj.tasks")

    def seconds() -> float:
        began = time.monotonic()
        assert tasks.add.delay(1, 2).get(timeout=10) == 3
        return time.monotonic() - began

    assert sorted(seconds() for _ in range(5))[2] < 1
