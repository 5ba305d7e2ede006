"""The worker's log: who writes in it, in which form, and who may set it up instead."""

import logging
import re

import pytest

from pmtq import signals

CODE = """
import logging
from pmtq import PMTQ
from pmtq.utils.log import get_task_logger

app = PMTQ("tasks", {settings})
log = get_task_logger(__name__)

@app.task
def talk(x):
    print("printed", x, end=" ")
    print("and on")
    log.info("logged %s", x)
    logging.getLogger("library").warning("warned\\nin two lines")

@app.task
def fall():
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("caught")
"""


@pytest.fixture
def logged(project, run):
    """A function that runs a call in a worker of an app with these settings, and returns the lines of its log."""

    def work(settings="", call="talk", params="[7]"):
        (project / "tasks.py").write_text(CODE.replace("{settings}", settings))
        assert run("call", f"tasks.{call}", params, "--task-id", "t1").status == 0
        assert run("worker", "-A", "tasks", "-n", "w@h", "--burst", "-f", "w.log").status == 0
        return [re.sub(r"^[-\d]+ [\d:.]+ ", "", line) for line in (project / "w.log").read_text().splitlines()]

    return work


def test_what_a_task_logs_and_prints_stands_in_the_log_with_its_name(logged):
    assert logged()[-5:-1] == [
        "WARNING w@h tasks.talk t1: printed 7 and on",
        "INFO    w@h tasks.talk t1: logged 7",
        "WARNING w@h tasks.talk t1: warned",
        "    | in two lines",
    ]


def test_the_traceback_of_what_is_logged_as_an_exception_stands_below_it(logged):
    lines = logged(call="fall", params="[]")

    start = lines.index("ERROR   w@h tasks.fall t1: caught")
    assert lines[start + 1] == "    | Traceback (most recent call last):"
    assert "    | ZeroDivisionError: division by zero" in lines


def test_the_lines_have_the_form_that_the_settings_say(logged):
    lines = logged(
        'worker_log_format="%(levelname)s! %(message)s", worker_task_log_format="%(task_name)s=%(task_id)s %(message)s"'
    )

    assert lines[-5:-1] == [
        "tasks.talk=t1 printed 7 and on",
        "tasks.talk=t1 logged 7",
        "tasks.talk=t1 warned",
        "    | in two lines",
    ]
    assert lines[-1].startswith("INFO! tasks.talk t1 SUCCESS in ")


def test_what_tasks_print_is_logged_at_the_level_of_the_settings(logged):
    assert "ERROR   w@h tasks.talk t1: printed 7 and on" in logged('worker_redirect_stdouts_level="error"')


def test_what_tasks_print_is_left_alone_if_the_settings_say_so(logged):
    assert not [line for line in logged("worker_redirect_stdouts=False") if "printed" in line]


def test_what_is_kept_of_a_tasks_output_has_each_line_once(logged, here, project):
    logged("task_annotations={'tasks.talk': {'keep_output': True}}")

    kept = (here.logs / "t1.log").read_text()
    assert [kept.count("printed 7 and on"), kept.count("logged 7")] == [1, 1]


class Own(logging.Handler):
    """A handler of the program's own."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def test_a_root_logger_of_the_programs_own_gets_the_lines_as_it_is(logged):
    own = Own()
    logging.getLogger().addHandler(own)
    logging.getLogger().setLevel("INFO")

    lines = logged("worker_hijack_root_logger=False")

    assert own in logging.getLogger().handlers
    assert "logged 7" in own.lines
    assert any("tasks.talk t1 SUCCESS" in line for line in own.lines)
    assert any("tasks.talk t1 SUCCESS" in line for line in lines)  # the file was asked for


def test_a_receiver_may_add_a_handler_for_all_that_is_logged(logged):
    own = Own()
    told = []

    @signals.after_setup_logger.connect
    def add(logger, loglevel, **rest):
        told.append((loglevel, rest["logfile"].endswith("w.log"), rest["format"], rest["colorize"]))
        logger.addHandler(own)

    logged()

    assert told == [(logging.INFO, True, None, False)]
    assert "logged 7" in own.lines
    assert any("tasks.talk t1 SUCCESS" in line for line in own.lines)


def test_a_receiver_may_add_a_handler_for_what_tasks_log(logged):
    own = Own()
    add = signals.after_setup_task_logger.connect(lambda logger, **_: logger.addHandler(own), weak=False)

    try:
        logged()
    finally:
        signals.after_setup_task_logger.disconnect(add)
        logging.getLogger("pmtq.task").removeHandler(own)

    assert own.lines == ["logged 7"]


def test_a_receiver_may_set_the_log_up_instead(logged, project):
    told = []

    @signals.setup_logging.connect
    def mine(**named):
        told.append({key: named[key] for key in ("loglevel", "format", "colorize")})
        (project / "w.log").write_text("")

    assert logged() == []
    assert told == [{"loglevel": logging.INFO, "format": None, "colorize": False}]
