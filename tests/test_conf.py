"""The settings of an app: their names and values, where they come from, and what is said about those without effect."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, timedelta, timezone
from types import ModuleType, SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from pmtq.censor import HIDDEN
from pmtq.conf import Settings
from pmtq.defaults import DIFFERENT, HONOURED, IGNORED, KNOWN, SETTINGS, setting_name
from pmtq.exceptions import ImproperlyConfigured
from pmtq.importing import NotFound
from pmtq.zones import LOCAL

FLASK = {
    "ENV": "production", "DEBUG": False, "TESTING": False, "SECRET_KEY": "top-secret!", "SERVER_NAME": None,
    "PERMANENT_SESSION_LIFETIME": timedelta(days=31), "DATABASE_URL": "postgres://me:hush@db/shop", "REDIS_HOST": "cache",
    "CELERY_BROKER_URL": "redis://localhost:6379/0", "CELERY_RESULT_BACKEND": "redis://localhost:6379/0",
}  # fmt: skip
"""As much of a Flask app's configuration as matters."""
NO_PICKLE = "is not possible: the queue is a text file that anyone can read, and pickle in it could run anything. It was not set."


@pytest.fixture
def conf():
    """Settings that nobody has changed, with an environment that says nothing."""
    return Settings({})


@pytest.fixture
def celeryconfig(tmp_path, monkeypatch):
    """What writes ``celeryconfig.py`` into the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return (tmp_path / "celeryconfig.py").write_text


def test_every_setting_has_its_default_as_attribute_and_as_item(conf):
    assert {name: getattr(conf, name) for name in SETTINGS} == {name: one.default for name, one in SETTINGS.items()}
    assert {name: conf[name] for name in SETTINGS} == {name: one.default for name, one in SETTINGS.items()}
    assert (conf.task_default_queue, conf.result_expires, conf.enable_utc) == ("celery", timedelta(days=1), True)
    assert dict(conf) == {name: one.default for name, one in SETTINGS.items()}
    assert len(conf) == len(SETTINGS)


@pytest.mark.parametrize("name", sorted(SETTINGS.keys() - IGNORED.keys()))
def test_a_default_is_a_value_that_may_be_set(conf, name):
    conf[name] = SETTINGS[name].default

    assert conf.table() == {}
    assert conf.remarks == ()


def test_each_name_of_celerys_is_in_one_of_the_three_tables():
    assert len(KNOWN) == len(HONOURED) + len(DIFFERENT) + len(IGNORED) == 207
    assert all([*HONOURED.values(), *DIFFERENT.values(), *IGNORED.values()])


def test_one_app_s_default_lists_are_not_anothers(conf):
    conf.beat_schedule["nightly"] = {"task": "tasks.add"}

    assert conf.table() == {"beat_schedule": {"nightly": {"task": "tasks.add"}}}
    assert Settings({}).beat_schedule == {}


def test_a_setting_can_be_set_in_every_way_that_a_dict_or_an_object_can(conf):
    conf.task_default_queue = "a"
    conf["timezone"] = "Europe/Oslo"
    conf.update({"task_time_limit": 3}, enable_utc=False)
    conf.update([("task_routes", {"a": "b"})])

    assert conf.table() == {
        "enable_utc": False,
        "task_default_queue": "a",
        "task_routes": {"a": "b"},
        "task_time_limit": 3,
        "timezone": "Europe/Oslo",
    }
    assert (conf.task_routes, conf.get("task_time_limit"), "timezone" in conf) == ({"a": "b"}, 3, True)


def test_update_with_three_dots_as_the_notes_print_it_changes_nothing(conf):
    conf.update(...)
    conf.update(..., task_default_queue="a")

    assert conf.table() == {"task_default_queue": "a"}


def test_what_is_deleted_is_as_if_it_had_never_been_set(conf):
    conf.from_object({"task_default_queue": "from the object"})
    conf.task_default_queue = "from the code"
    conf.mine = 1

    del conf.task_default_queue, conf["mine"]

    assert conf.table() == {"task_default_queue": "from the object"}
    with pytest.raises(AttributeError, match="the setting 'mine' was not set by code"):
        del conf.mine
    with pytest.raises(AttributeError, match="there is no setting 'mine'"):
        conf.mine  # noqa: B018


def test_an_unknown_name_is_stored_and_never_an_error(conf):
    conf.update(FLASK)
    conf.my_own = [1]

    assert (conf.SECRET_KEY, conf["DEBUG"], conf.get("REDIS_HOST"), conf.my_own) == ("top-secret!", False, "cache", [1])
    assert ("SECRET_KEY" in conf, "nothing" in conf, 5 in conf) == (True, False, False)
    assert (conf.get("nothing"), conf.get("nothing", 5), conf.setdefault("nothing", 6), conf.nothing) == (None, 5, 6, 6)
    assert conf.setdefault("task_default_queue", "other") == "celery"


def test_an_unknown_name_that_a_method_has_is_an_item_and_hides_nothing(conf):
    conf.update(items=3, version="1.0")
    conf.table = 4

    assert (conf["items"], conf["version"], conf["table"]) == (3, "1.0", 4)
    assert conf.table() == {"items": 3, "table": 4, "version": "1.0"}
    assert isinstance(conf.version, int)


def test_a_whole_flask_configuration_can_be_handed_over(conf):
    conf.update(FLASK)

    assert (conf.broker_url, conf.result_backend) == ("redis://localhost:6379/0", "redis://localhost:6379/0")
    assert (conf.database_url, conf.redis_host) == (None, None)
    assert conf.remarks == (
        f"CELERY_RESULT_BACKEND='redis://localhost:6379/0' is not quite as in Celery: {DIFFERENT['result_backend']}",
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("BROKER_URL", "broker_url"),
        ("BROKER_POOL_LIMIT", "broker_pool_limit"),
        ("CELERY_RESULT_BACKEND", "result_backend"),
        ("CELERY_ALWAYS_EAGER", "task_always_eager"),
        ("CELERY_EAGER_PROPAGATES_EXCEPTIONS", "task_eager_propagates"),
        ("CELERY_TASK_SERIALIZER", "task_serializer"),
        ("CELERY_TASK_RESULT_EXPIRES", "result_expires"),
        ("CELERY_ROUTES", "task_routes"),
        ("CELERY_QUEUES", "task_queues"),
        ("CELERY_IMPORTS", "imports"),
        ("CELERY_TIMEZONE", "timezone"),
        ("CELERY_ENABLE_UTC", "enable_utc"),
        ("ENABLE_UTC", "enable_utc"),
        ("CELERY_DISABLE_RATE_LIMITS", "worker_disable_rate_limits"),
        ("CELERY_SEND_EVENTS", "worker_send_task_events"),
        ("CELERYD_CONCURRENCY", "worker_concurrency"),
        ("CELERYD_TASK_TIME_LIMIT", "task_time_limit"),
        ("CELERYD_WORKER_LOST_WAIT", "worker_lost_wait"),
        ("CELERYBEAT_SCHEDULE", "beat_schedule"),
        ("CELERY_BROKER_URL", "broker_url"),
        ("CELERY_TASK_ROUTES", "task_routes"),
        ("CELERY_BEAT_SCHEDULE", "beat_schedule"),
        ("CELERY_WORKER_CONCURRENCY", "worker_concurrency"),
        ("PMTQ_TASK_ROUTES", "task_routes"),
        ("PMTQ_BROKER_URL", "broker_url"),
        ("TIME_ZONE", "timezone"),
        ("CELERY_NOTHING", "CELERY_NOTHING"),
        ("TASK_ROUTES", "TASK_ROUTES"),
        ("INCLUDE", "INCLUDE"),
        ("S3_BUCKET", "S3_BUCKET"),
    ],
)
def test_a_name_in_capital_letters_means_the_setting_that_celery_meant_by_it(old, new):
    assert setting_name(old) == new


def test_a_setting_can_be_read_and_set_under_its_old_name(conf):
    conf.CELERY_ALWAYS_EAGER = True
    conf["CELERYBEAT_SCHEDULE"] = {"a": {}}
    conf.task_default_queue = "q"

    assert (conf.task_always_eager, conf.beat_schedule) == (True, {"a": {}})
    assert (conf.CELERY_DEFAULT_QUEUE, conf["CELERY_DEFAULT_QUEUE"], "CELERY_DEFAULT_QUEUE" in conf) == ("q", "q", True)
    assert conf.get("CELERY_TASK_ALWAYS_EAGER") is True


def test_the_new_name_counts_if_both_are_given(conf):
    conf.update({"task_default_queue": "new", "CELERY_DEFAULT_QUEUE": "old"})
    conf.from_object({"timezone": "Europe/Oslo", "TIME_ZONE": "Asia/Tokyo", "CELERY_TIMEZONE": "UTC"})

    assert (conf.task_default_queue, conf.timezone) == ("new", "Europe/Oslo")


def test_a_value_has_to_be_one_that_the_setting_can_have(conf):
    conf.update(task_time_limit=2.5, result_expires=3600, task_default_priority=9, worker_concurrency=4)
    conf.update(CELERY_TASK_ALWAYS_EAGER="yes", enable_utc=0, imports="a, b", include=["", "proj.tasks"])

    assert (conf.task_always_eager, conf.enable_utc, conf.imports, conf.include) == (
        True,
        False,
        ["a", "b"],
        ["proj.tasks"],
    )
    assert (conf.seconds("task_time_limit"), conf.seconds("result_expires")) == (2.5, 3600)
    conf.result_expires = timedelta(hours=2)
    assert (conf.result_expires, conf.seconds("result_expires")) == (timedelta(hours=2), 7200.0)
    conf.result_expires = None
    assert conf.seconds("result_expires") is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("task_time_limit", "soon", "is no time span. It was not set. Give seconds, or a timedelta"),
        ("task_time_limit", -1, "is no time span. It was not set. Give seconds, or a timedelta"),
        ("task_soft_time_limit", True, "is no time span. It was not set. Give seconds, or a timedelta"),
        ("CELERYD_TASK_TIME_LIMIT", float("inf"), "is no time span. It was not set. Give seconds, or a timedelta"),
        ("task_always_eager", "perhaps", "is neither true nor false. It was not set. Write True or False"),
        ("worker_concurrency", "many", "is no number of things. It was not set. Give a whole number, 0 or more"),
        (
            "task_default_priority",
            10,
            "is no priority. It was not set. Give a whole number from 0 to 9; the highest runs first",
        ),
        (
            "task_default_queue",
            7,
            "is a int and should be text. It was not set. Write task_default_queue='…'",
        ),
        ("beat_schedule", [1], "is a list and should be a dict. It was not set. Write beat_schedule={…}"),
        ("include", 5, "is no list of names. It was not set. Write include=['proj.tasks']"),
        ("timezone", 5, "is no time zone. It was not set. Write timezone='Europe/Oslo', or None for UTC"),
        ("accept_content", [], "would refuse every task: a queue file holds JSON. It was not set. Write accept_content=['json']"),
        ("accept_content", ["pickle"], "would refuse every task: a queue file holds JSON. It was not set. Write accept_content=['json']"),
        (
            "task_serializer",
            "pickle",
            f"{NO_PICKLE} Write task_serializer='json', and send text, numbers, lists and dicts: an id instead of an object",
        ),
        (
            "CELERY_RESULT_SERIALIZER",
            "yaml",
            f"{NO_PICKLE} Write CELERY_RESULT_SERIALIZER='json', and send text, numbers, lists and dicts: an id instead of an object",
        ),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_meant_is_refused_when_it_is_set(conf, name, value, message):
    before = dict(conf)

    with pytest.raises(ImproperlyConfigured) as caught:
        conf[name] = value

    assert str(caught.value) == f"{name}={value!r} {message}"
    assert dict(conf) == before


def test_a_rate_limit_is_checked_when_it_is_set(conf):
    conf.task_default_rate_limit = "10/m"

    with pytest.raises(ImproperlyConfigured, match="rate limit '10/x' is none"):
        conf.task_default_rate_limit = "10/x"
    assert conf.task_default_rate_limit == "10/m"


def test_if_one_of_several_values_is_refused_none_was_set(conf):
    conf.from_object({"task_default_queue": "before"})
    before = dict(conf)

    with pytest.raises(ImproperlyConfigured):
        conf.update(task_default_queue="after", task_time_limit="soon")
    with pytest.raises(ImproperlyConfigured):
        conf.from_object({"task_default_queue": "after", "task_time_limit": "soon"})

    assert dict(conf) == before == {name: getattr(conf, name) for name in conf}


def test_the_zone_is_that_of_timezone_and_else_utc_or_local_time(conf):
    assert conf.zone is UTC
    conf.enable_utc = False
    assert conf.zone is LOCAL
    conf.timezone = "Europe/Oslo"
    assert conf.zone == ZoneInfo("Europe/Oslo")
    conf.timezone = timezone(timedelta(hours=2))
    assert conf.zone == timezone(timedelta(hours=2))


def test_an_unknown_zone_is_refused_with_the_nearest_there_is(conf):
    with pytest.raises(
        ImproperlyConfigured,
        match="there is no time zone 'Europe/Olso'",
    ):
        conf.timezone = "Europe/Olso"
    assert conf.zone is UTC


def test_a_setting_without_effect_is_said_once_with_the_reason(conf, caplog):
    caplog.set_level(logging.INFO, "pmtq.conf")

    for _ in range(2):
        conf.update(broker_pool_limit=10, task_track_started=False, task_publish_retry=True, task_routes={}, OTHER=1)
    conf.accept_content = ("json",)
    conf.accept_content = ("json", "yaml")

    lines = (
        "broker_pool_limit=10 has no effect: a folder is no connection that is made, kept or lost",
        "task_publish_retry=True has no effect: a call is in the file when delay returns, or it is an error",
        "task_track_started=False is not quite as in Celery: STARTED is always written: it is how a task is claimed",
        "accept_content=['json', 'yaml'] is not quite as in Celery: json must be among them; nothing else is ever read",
    )
    assert sorted(conf.remarks) == sorted(lines)
    assert sorted(caplog.record_tuples) == sorted(("pmtq.conf", logging.INFO, line) for line in lines)
    assert (conf.broker_pool_limit, conf.broker_heartbeat, conf.get("broker_heartbeat")) == (10, None, None)


def test_a_line_about_a_setting_shows_no_secret(conf):
    conf.redis_password = "hush"
    conf.result_backend = "redis://:hush@localhost"

    assert [line.split(" ")[0] for line in conf.remarks] == [
        f"redis_password='{HIDDEN}'",
        f"result_backend='redis://:{HIDDEN}@localhost'",
    ]


def test_a_name_that_looks_misspelt_is_stored_with_a_hint(conf, caplog):
    conf.update(task_rout={"a": "b"}, CELERY_ALWAYS_EAGR=True, colour="red", ALWAYS_EAGR=True)

    lines = [
        "task_rout is no setting, and does nothing by itself. Did you mean 'task_routes'?",
        "CELERY_ALWAYS_EAGR is no setting, and does nothing by itself. Did you mean 'task_always_eager'?",
    ]
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, line) for line in lines
    ]
    assert (conf.task_rout, conf.colour) == ({"a": "b"}, "red")


def test_reading_a_setting_that_nobody_has_set_is_an_error_with_a_hint(conf):
    with pytest.raises(AttributeError) as caught:
        conf.task_rout  # noqa: B018

    assert str(caught.value) == "there is no setting 'task_rout', and nobody has set one. Did you mean 'task_routes'?"
    with pytest.raises(KeyError, match="task_rout"):
        conf["task_rout"]


def test_settings_are_taken_from_a_module_in_the_current_directory(conf, celeryconfig):
    celeryconfig(
        "import os\n"
        "from datetime import timedelta\n"
        "broker_url = 'pyamqp://'\n"
        "result_backend = 'rpc://'\n"
        "task_serializer = 'json'\n"
        "result_serializer = 'json'\n"
        "accept_content = ['json']\n"
        "timezone = 'Europe/Oslo'\n"
        "enable_utc = True\n"
        "task_annotations = {'tasks.add': {'rate_limit': '10/m'}}\n"
        "result_expires = timedelta(hours=1)\n"
        "def route(name, args, kwargs, options, task=None, **kw):\n"
        "    return 'low-priority'\n"
        "task_routes = (route,)\n"
        "on_error = route\n"
        "_private = 1\n"
    )

    assert conf.from_object("celeryconfig") is True

    assert sorted(conf.table()) == [
        "broker_url", "on_error", "result_backend", "result_expires", "task_annotations", "task_routes", "timezone",
    ]  # fmt: skip
    assert conf.zone == ZoneInfo("Europe/Oslo")
    assert conf.task_routes[0]("tasks.add", (), {}, {}) == "low-priority"


class Base:
    """A class with settings."""

    task_default_queue = "base"
    timezone = "UTC"


class Config(Base):
    """One that inherits some of them."""

    timezone = "Europe/Oslo"


@pytest.mark.parametrize(
    "source",
    [
        Config,
        Config(),
        SimpleNamespace(task_default_queue="base", timezone="Europe/Oslo"),
        {"task_default_queue": "base", "timezone": "Europe/Oslo"},
        "pmtq_test_conf:Config",
        "pmtq_test_conf.Config",
        "pmtq_test_conf:MAPPING",
    ],
)
def test_settings_are_taken_from_whatever_has_names_and_values(conf, source, monkeypatch):
    module = ModuleType("pmtq_test_conf")
    module.Config, module.MAPPING = Config, {"task_default_queue": "base", "timezone": "Europe/Oslo"}
    monkeypatch.setitem(sys.modules, "pmtq_test_conf", module)

    conf.from_object(source)

    assert conf.table() == {"task_default_queue": "base", "timezone": "Europe/Oslo"}


def test_with_a_namespace_only_the_rest_of_a_name_counts(conf):
    django = {
        "MYAPP_TASK_ROUTES": {"a": "b"}, "MYAPP_BROKER_URL": "file://there", "BROKER_URL": "file://elsewhere",
        "MYAPP_COLOUR": "red", "SECRET_KEY": "s", "TIME_ZONE": "Asia/Tokyo", "task_default_queue": "plain",
    }  # fmt: skip

    conf.from_object(django, namespace="MYAPP")

    assert (conf.task_routes, conf.broker_url, conf.timezone) == ({"a": "b"}, "file://there", "Asia/Tokyo")
    assert (conf.MYAPP_COLOUR, conf.SECRET_KEY, conf.task_default_queue) == ("red", "s", "plain")
    conf.from_object({"myapp_timezone": "UTC", "timezone": "Europe/Oslo"}, namespace="myapp_")
    assert conf.timezone == "UTC"


def test_a_second_object_takes_the_place_of_the_first(conf):
    conf.from_object({"task_default_queue": "first", "timezone": "UTC", "mine": 1})
    conf.from_object({"task_default_queue": "second"})

    assert conf.table() == {"task_default_queue": "second"}
    assert (conf.timezone, hasattr(conf, "mine")) == (None, False)


def test_a_module_that_is_not_there_is_refused_or_passed_over_in_silence(conf, celeryconfig):
    celeryconfig("task_default_queue = 'a'\n")

    with pytest.raises(NotFound, match=r"there is no module 'celeryconf' in .* Did you mean 'celeryconfig'\?"):
        conf.from_object("celeryconf")
    assert conf.from_object("celeryconf", silent=True) is False
    assert conf.from_object("celeryconfig:nothing", silent=True) is False
    assert conf.table() == {}


def test_the_environment_may_name_the_module(conf, celeryconfig, monkeypatch):
    celeryconfig("task_default_queue = 'a'\n")
    monkeypatch.setenv("SHOP_SETTINGS", "celeryconfig")

    assert conf.from_envvar("SHOP_SETTINGS") is True
    assert conf.task_default_queue == "a"
    assert conf.from_envvar("NO_SETTINGS", silent=True) is False
    with pytest.raises(ImproperlyConfigured) as caught:
        conf.from_envvar("NO_SETTINGS")
    assert str(caught.value) == (
        "the environment variable NO_SETTINGS is not set, so there are no settings to take. Nothing was changed. "
        "Set it to the name of a module: NO_SETTINGS=celeryconfig"
    )


def test_the_environment_overrides_the_code_and_the_code_the_object_in_whatever_order_they_come():
    conf = Settings({"PMTQ_TASK_DEFAULT_QUEUE": "environment"})

    conf.update(task_default_queue="code", timezone="Europe/Oslo")
    conf.from_object({"task_default_queue": "object", "timezone": "UTC", "task_time_limit": 5})

    assert (conf.task_default_queue, conf.timezone, conf.task_time_limit) == ("environment", "Europe/Oslo", 5)
    assert conf.humanize() == (
        "task_default_queue: 'environment' (from PMTQ_TASK_DEFAULT_QUEUE)\ntask_time_limit: 5\ntimezone: 'Europe/Oslo'"
    )


def test_the_environment_is_read_as_json_or_as_plain_text():
    conf = Settings(
        {
            "PMTQ_TASK_ALWAYS_EAGER": "1",
            "PMTQ_TASK_IGNORE_RESULT": "yes",
            "PMTQ_TASK_TIME_LIMIT": "2.5",
            "PMTQ_TASK_ROUTES": '{"a": "b"}',
            "PMTQ_INCLUDE": "proj.tasks,proj.more",
            "PMTQ_TASK_DEFAULT_QUEUE": "17",
            "PMTQ_TASK_DEFAULT_RATE_LIMIT": "10/m",
            "PMTQ_BROKER_URL": "",
            "PMTQ_DEBUG": "1",
            "TASK_TIME_LIMIT": "9",
        }
    )

    assert conf.table() == {
        "include": ["proj.tasks", "proj.more"],
        "task_always_eager": True,
        "task_default_queue": "17",
        "task_default_rate_limit": "10/m",
        "task_ignore_result": True,
        "task_routes": {"a": "b"},
        "task_time_limit": 2.5,
    }
    assert [line.split("=")[0] for line in conf.remarks] == ["PMTQ_TASK_DEFAULT_RATE_LIMIT"]


def test_what_the_environment_overrides_may_be_anything():
    conf = Settings({"PMTQ_TASK_SERIALIZER": "json"})

    conf.task_serializer = "pickle"

    assert conf.task_serializer == "json"


def test_a_variable_with_a_bad_value_or_a_misspelt_name_is_named():
    with pytest.raises(ImproperlyConfigured, match="PMTQ_TASK_TIME_LIMIT='soon' is no time span"):
        Settings({"PMTQ_TASK_TIME_LIMIT": "soon"})

    assert Settings({"PMTQ_TASK_ALWAYS_EAGR": "1"}).remarks == (
        "PMTQ_TASK_ALWAYS_EAGR is no setting, and does nothing by itself. Did you mean 'task_always_eager'?",
    )


def test_a_report_shows_what_was_set_without_secrets(conf):
    conf.update(FLASK)
    conf.task_time_limit = 5

    assert conf.table()["SECRET_KEY"] == HIDDEN
    assert conf.table(censored=False)["SECRET_KEY"] == "top-secret!"
    assert f"DATABASE_URL: 'postgres://me:{HIDDEN}@db/shop'\nDEBUG: False\n" in conf.humanize()
    assert "task_time_limit: 5\n" in conf.humanize(with_defaults=True)
    assert "top-secret" not in repr(conf)
    assert conf.table(with_defaults=True).keys() == SETTINGS.keys() | conf.table().keys()


def test_whoever_keeps_something_made_of_a_setting_can_see_that_it_changed(conf):
    before = conf.version

    conf.get("task_routes")
    assert conf.version == before
    conf.task_routes = {}
    assert conf.version > before


def test_variables_that_speak_to_a_process_are_no_settings():
    conf = Settings({"PMTQ_DEBUG": "1", "PMTQ_ALLOW_SHARED": "1", "PMTQ_TASK_DEFAULT_QEUE": "x"})

    assert [remark.partition(" ")[0] for remark in conf.remarks] == ["PMTQ_TASK_DEFAULT_QEUE"]
