"""Loggers whose lines say which task they belong to."""

import logging

from pmtq.utils.log import get_task_logger


def test_a_line_that_a_task_logs_names_the_task(app, work, caplog):
    log = get_task_logger("shop")

    @app.task(name="f")
    def f():
        log.warning("sold out: %s", "blue")

    result = f.delay()
    work(app)

    (line,) = [record for record in caplog.records if record.name == "shop"]
    assert (line.getMessage(), line.task_id, line.task_name) == ("sold out: blue", result.id, "f")


def test_outside_of_tasks_a_line_names_none(caplog):
    get_task_logger("shop").warning("x")

    (line,) = caplog.records
    assert (line.task_id, line.task_name) == ("-", "-")


def test_asking_for_a_logger_twice_changes_nothing(caplog):
    assert get_task_logger("shop") is get_task_logger("shop") is logging.getLogger("shop")
    assert len(logging.getLogger("shop").filters) == 1
