"""The page about Celery's names says what the code says, and promises nothing that the code does not do."""

from __future__ import annotations

import pytest

from pmtq import call_options, defaults, signals
from tests.docs import celery_names, evidence, reference, remarks
from tests.docs.reference import NONE, OTHER, OURS, SAME, Row


def test_the_page_is_the_one_that_is_made_of_the_code():
    assert reference.PAGE.read_text() == reference.page(), "the code has changed: make reference"


def test_each_name_of_celerys_has_one_word():
    for table in reference.tables():
        said = [row.name for row in table.rows]
        assert sorted(said) == sorted(set(said)), table.title


def test_whatever_is_different_or_absent_has_its_reason():
    silent = [
        (table.title, row.name)
        for table in reference.tables()
        for row in table.rows
        if row.word in {OTHER, NONE} and not row.remark
    ]

    assert silent == []


@pytest.mark.parametrize(
    ("title", "given"),
    [
        ("Settings", celery_names.SETTINGS),
        ("The app", celery_names.APP),
        ("Tasks", celery_names.TASK),
        ("Calls", celery_names.CALL_OPTIONS),
        ("The request", celery_names.REQUEST),
        ("Results", celery_names.ASYNC_RESULT),
        ("Several results", celery_names.RESULT_SET),
        ("Results of groups", celery_names.GROUP_RESULT),
        ("Exceptions", celery_names.EXCEPTIONS),
        ("Signals", celery_names.SIGNALS),
        ("Events", celery_names.EVENTS),
    ],
)
def test_no_name_of_celerys_is_left_out(title, given):
    (rows,) = [table.rows for table in reference.tables() if table.title == title]

    assert sorted(row.name for row in rows if row.word != OURS) == sorted(given)


def test_every_command_and_option_of_celerys_is_spoken_of():
    said = {table.title: " ".join(row.name for row in table.rows) for table in reference.tables()}

    for command, options in celery_names.OPTIONS.items():
        title = f"pmtq {command}" if command else "pmtq"
        assert not command or f" {command} " in f" {said['Commands']} "
        for option in options if title in said else ():
            assert option.split("/")[-1] in said[title].split(), (command, option)


def test_a_remark_about_a_name_that_celery_has_not_is_an_error():
    of_celery = {
        *celery_names.SETTINGS, *celery_names.APP, *celery_names.TASK, *celery_names.CALL_OPTIONS, *celery_names.REQUEST,
        *celery_names.ASYNC_RESULT, *celery_names.RESULT_SET, *celery_names.GROUP_RESULT, *celery_names.EXCEPTIONS,
        *celery_names.EVENTS, *celery_names.OPTIONS,
        *(name for inner in celery_names.SUBCOMMANDS.values() for name in inner),
        *(spelling for options in celery_names.OPTIONS.values() for option in options for spelling in option.split("/")),
    }  # fmt: skip
    spoken_of = {
        name
        for table in (remarks.DIFFERENT, remarks.ABSENT, remarks.COMING)
        for reasons in table.values()
        for about in reasons.values()
        for name in about.split()
    }

    assert spoken_of - of_celery == set()


def test_a_reason_is_given_once():
    for title in {*remarks.DIFFERENT, *remarks.ABSENT, *remarks.COMING}:
        about = [
            name
            for table in (remarks.DIFFERENT, remarks.ABSENT, remarks.COMING)
            for names in table.get(title, {}).values()
            for name in names.split()
        ]
        assert sorted(about) == sorted(set(about)), title


def test_a_setting_is_in_one_list():
    lists = [defaults.HONOURED, defaults.DIFFERENT, defaults.IGNORED]

    assert sum(map(len, lists)) == len({name for one in lists for name in one})


def test_the_reasons_for_options_without_effect_are_about_options_there_are():
    assert set(call_options.WITHOUT_EFFECT) - set(call_options.CallOptions.__annotations__) == set()


def test_a_remark_that_the_code_contradicts_is_an_error(monkeypatch):
    monkeypatch.setattr(reference, "ABSENT", {"Tasks": {"no": "delay"}})
    with pytest.raises(AssertionError, match="Tasks: delay is here now; take it out of ABSENT"):
        reference._row("Tasks", "delay", found=True)

    monkeypatch.setattr(reference, "DIFFERENT", {"Tasks": {"so": "gone"}})
    with pytest.raises(AssertionError, match="Tasks: gone is not here; take it out of DIFFERENT"):
        reference._row("Tasks", "gone", found=False)

    with pytest.raises(AssertionError, match="Tasks: nowhere is not here; say why"):
        reference._row("Tasks", "nowhere", found=False)


def test_what_is_in_the_code_and_has_no_remark_is_as_in_celery(monkeypatch):
    monkeypatch.setattr(reference, "DIFFERENT", {"Tasks": {"otherwise": "delay"}})

    assert reference._row("Tasks", "apply", found=True) == Row("apply", SAME)
    assert reference._row("Tasks", "delay", found=True) == Row("delay", OTHER, "otherwise")


# What is accepted and comes to nothing


def test_no_setting_is_honoured_that_nothing_reads():
    assert evidence.unread_settings() == set()


def test_no_signal_can_be_connected_to_that_nobody_sends():
    assert evidence.unsent_signals() == set()


def test_no_option_of_a_worker_comes_to_nothing():
    assert evidence.idle_wishes() == set()


def test_each_option_of_a_worker_is_looked_at():
    assert evidence.unknown_options() == set()


def test_a_setting_counts_as_read_where_it_is_read(monkeypatch, tmp_path):
    (tmp_path / "one.py").write_text("def f(app):\n    return app.conf.task_routes, app.conf['task_queues']\n")
    monkeypatch.setattr(evidence, "CODE", [tmp_path / "one.py"])

    unread = evidence.unread_settings()

    assert "task_annotations" in unread
    assert unread.isdisjoint({"task_routes", "task_queues"})


def test_an_attribute_of_something_else_is_no_setting(monkeypatch, tmp_path):
    (tmp_path / "one.py").write_text("def f(self):\n    return self.task_routes\n")
    monkeypatch.setattr(evidence, "CODE", [tmp_path / "one.py"])

    assert "task_routes" in evidence.unread_settings()


@pytest.mark.parametrize(
    ("code", "sent"),
    [
        ("signals.task_failure.send(task)", True),
        ("task_failure.send(task)", True),
        ("self._announce(signals.task_failure, made)", True),
        ("for one in (signals.task_failure, other):\n    one.send(task)", True),
        ("signals.task_failure.receivers", False),
        ("signals.task_failure.connect(hear)", False),
    ],
)
def test_a_signal_counts_as_sent_where_it_is_sent(monkeypatch, tmp_path, code, sent):
    (tmp_path / "one.py").write_text(code)
    monkeypatch.setattr(evidence, "CODE", [tmp_path / "one.py"])

    assert ("task_failure" not in evidence.unsent_signals()) == sent


def test_a_signal_is_here_or_there_is_a_reason_why_not():
    here = {name for name, value in vars(signals).items() if isinstance(value, signals.Signal)}

    assert here.isdisjoint(signals.ABSENT)
    assert here | set(signals.ABSENT) == set(celery_names.SIGNALS)
