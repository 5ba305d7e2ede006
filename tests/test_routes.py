"""Which queue a call goes to."""

from __future__ import annotations

import re
import sys
from types import ModuleType, SimpleNamespace

import pytest

from pmtq.conf import Settings
from pmtq.exceptions import ImproperlyConfigured, QueueNotFound
from pmtq.routes import Exchange, Queue, Router

NAME = "feed.tasks.import"


def route(name=NAME, options=(), own=None, **settings):
    """Return the options of a call by an app with these settings."""
    conf = Settings({})
    conf.update(settings)
    return Router(conf).route(name, dict(options), (1,), {"x": 2}, "the task", own=own)


def by_function(name, args, kwargs, options, task=None, **_):
    """A router that answers with all it was told."""
    return {"queue": "seen", "headers": {"told": [name, args, kwargs, dict(options), task]}}


class Old:
    """A router as Celery 3 had them."""

    def route_for_task(self, name, args=None, kwargs=None):
        return {"queue": "old"} if args == (1,) else None


MODULE = ModuleType("pmtq_test_routes")
MODULE.by_function, MODULE.Old, MODULE.table = by_function, Old, {"feed.*": "table"}


def test_without_routes_a_call_keeps_its_options_and_names_no_queue():
    assert route() == {}
    assert route(options={"priority": 3}, own={"priority": 1, "expires": 5}) == {"priority": 3, "expires": 5}


@pytest.mark.parametrize(
    ("routes", "options"),
    [
        ({NAME: "exact"}, {"queue": "exact"}),
        ({NAME: {"queue": "exact", "priority": 3}}, {"queue": "exact", "priority": 3}),
        ({NAME: {"priority": 3}}, {"priority": 3}),
        ({NAME: {}}, {}),
        ({NAME: Queue("object")}, {"queue": "object"}),
        ({"feed.tasks.*": "glob"}, {"queue": "glob"}),
        ({"*": "all"}, {"queue": "all"}),
        ({"feed.*": "first", "feed.tasks.*": "second"}, {"queue": "first"}),
        ({"feed.*": "glob", NAME: "exact"}, {"queue": "exact"}),
        ({re.compile(r"feed\.(tasks|jobs)\."): "regex"}, {"queue": "regex"}),
        ({re.compile("tasks"): "from the start only"}, {}),
        ({"feed.?asks.import": "a question mark is plain text"}, {}),
        ({"tasks.add": "other"}, {}),
        ([("video.*", "video"), ("feed.*", "feeds")], {"queue": "feeds"}),
        ((("video.*", "video"), (re.compile("feed"), {"queue": "feeds"})), {"queue": "feeds"}),
        ([[("video.*", "video"), ("feed.*", "feeds")]], {"queue": "feeds"}),
        ([{"video.*": "video"}, {"feed.*": "feeds"}], {"queue": "feeds"}),
        (lambda *_, **__: "function", {"queue": "function"}),
        (lambda *_, **__: None, {}),
        ([lambda *_, **__: None, {"feed.*": "feeds"}], {"queue": "feeds"}),
        ([lambda *_, **__: {}, {"feed.*": "an empty answer is one"}], {}),
        (Old(), {"queue": "old"}),
        ("pmtq_test_routes.Old", {"queue": "old"}),
        ("pmtq_test_routes:table", {"queue": "table"}),
        (["pmtq_test_routes.table"], {"queue": "table"}),
    ],
)
def test_routes_come_in_the_forms_that_celery_takes(routes, options, monkeypatch):
    monkeypatch.setitem(sys.modules, "pmtq_test_routes", MODULE)

    assert route(task_routes=routes) == options


@pytest.mark.parametrize("routes", [by_function, (by_function,), "pmtq_test_routes.by_function"])
def test_a_function_is_told_the_whole_call(routes, monkeypatch):
    monkeypatch.setitem(sys.modules, "pmtq_test_routes", MODULE)

    assert route(task_routes=routes, options={"priority": 3}) == {
        "queue": "seen",
        "priority": 3,
        "headers": {"told": [NAME, (1,), {"x": 2}, {"priority": 3}, "the task"]},
    }


def test_a_function_is_asked_again_for_every_call():
    conf = Settings({})
    conf.task_routes = lambda name, args, kwargs, options, task=None, **_: args[0]
    router = Router(conf)

    assert [router.route(NAME, {}, (queue,)) for queue in ("a", "b")] == [{"queue": "a"}, {"queue": "b"}]


def test_the_call_wins_over_the_route_and_the_route_over_the_task():
    routes = {NAME: {"queue": "route", "priority": 2}}

    assert route(task_routes=routes, own={"queue": "own", "expires": 9}) == {
        "queue": "route",
        "priority": 2,
        "expires": 9,
    }
    assert route(task_routes=routes, options={"queue": "call"}, own={"queue": "own"}) == {
        "queue": "call",
        "priority": 2,
    }
    assert route(task_routes=routes, options={"routing_key": "call"}) == {"queue": "call", "priority": 2}
    assert route(task_routes={}, own={"queue": "own"}) == {"queue": "own"}
    assert route(task_routes={}, options={"queue": None}, own={"queue": "own"}) == {"queue": "own"}
    assert route(task_routes=routes, options={"priority": None}) == {"queue": "route", "priority": 2}


def test_a_change_of_the_settings_counts_from_the_next_call_on():
    conf = Settings({})
    router = Router(conf)

    before = router.route(NAME, {})
    conf.task_routes = {"feed.*": "feeds"}
    between = [router.route(NAME, {}), router.route(NAME, {})]
    conf.task_routes = {"feed.*": "other"}

    assert (before, between, router.route(NAME, {})) == ({}, [{"queue": "feeds"}] * 2, {"queue": "other"})


QUEUES = [
    Queue("default", Exchange("default"), routing_key="task.#"),
    Queue("feeds", Exchange("media", type="topic"), routing_key="feed.#"),
    Queue("images", "images", routing_key="image.*.resize", max_priority=10, durable=True),
]


@pytest.mark.parametrize(
    ("words", "queue"),
    [
        ({"routing_key": "feed.import"}, "feeds"),
        ({"routing_key": "feed"}, "feeds"),
        ({"routing_key": "feed.a.b"}, "feeds"),
        ({"routing_key": "image.big.resize"}, "images"),
        ({"routing_key": "image.resize"}, "image.resize"),
        ({"routing_key": "image.a.b.resize"}, "image.a.b.resize"),
        ({"routing_key": "images"}, "images"),
        ({"routing_key": "undeclared"}, "undeclared"),
        ({"exchange": "media", "exchange_type": "topic"}, "feeds"),
        ({"exchange": Exchange("images")}, "images"),
        ({"exchange": "undeclared"}, "undeclared"),
        ({"exchange": "media", "routing_key": "task.x"}, "default"),
        ({"queue": "feeds", "routing_key": "task.x", "exchange": "images"}, "feeds"),
        ({"queue": QUEUES[2]}, "images"),
        ({"queue": SimpleNamespace(name="foreign")}, "foreign"),
    ],
)
def test_a_routing_key_or_an_exchange_stands_for_the_queue_declared_with_it(words, queue):
    assert route(task_queues=QUEUES, options=words) == {"queue": queue}
    assert route(task_queues=QUEUES, task_routes={NAME: words}) == {"queue": queue}


def test_an_empty_exchange_says_nothing():
    assert route(options={"exchange": "", "routing_key": None, "priority": 1}) == {"priority": 1}


@pytest.mark.parametrize(
    ("declared", "queues"),
    [
        (None, {"celery": Queue("celery")}),
        ([], {"celery": Queue("celery")}),
        (["a", Queue("b")], {"a": Queue("a"), "b": Queue("b")}),
        (("a",), {"a": Queue("a")}),
        ({"a": {}, "b": None}, {"a": Queue("a"), "b": Queue("b")}),
        ({"a": {"exchange": "x", "binding_key": "k"}}, {"a": Queue("a", "x", "k")}),
        ({"a": {"routing_key": "k", "durable": False}}, {"a": Queue("a", None, "k", durable=False)}),
        ([SimpleNamespace(name="a", exchange="x", routing_key="k")], {"a": Queue("a", "x", "k")}),
    ],
)
def test_queues_are_declared_as_a_list_or_a_dict_and_else_there_is_the_default_one(declared, queues):
    conf = Settings({})
    conf.task_queues = declared

    assert Router(conf).queues == queues


def test_without_missing_queues_only_a_declared_one_is_taken():
    strict = {"task_create_missing_queues": False, "task_queues": ["celery", "feeds"]}

    assert route(**strict) == {}
    assert route(**strict, options={"queue": "feeds"}) == {"queue": "feeds"}
    assert route(task_create_missing_queues=False) == {}
    with pytest.raises(QueueNotFound) as caught:
        route(**strict, task_routes={NAME: "feds"})
    assert str(caught.value) == (
        "feed.tasks.import was to go to the queue 'feds', which task_queues does not list (there: celery, feeds). Nothing was "
        "queued. Did you mean 'feeds'? Declare it: app.conf.task_queues = [..., 'feds'], or let every queue come into being "
        "when it is used: app.conf.task_create_missing_queues = True"
    )
    assert (caught.value.name, caught.value.known) == ("feds", ("celery", "feeds"))


def test_without_missing_queues_the_default_one_must_be_declared_too_and_so_must_the_tasks_own():
    with pytest.raises(QueueNotFound, match="the queue 'celery', which task_queues does not list"):
        route(task_create_missing_queues=False, task_queues=["feeds"])
    with pytest.raises(QueueNotFound, match="the queue 'own', which task_queues does not list"):
        route(task_create_missing_queues=False, own={"queue": "own"})


@pytest.mark.parametrize(
    ("routes", "what"),
    [
        (5, "task_routes holds 5, which is no router"),
        ([5], "task_routes holds 5, which is no router"),
        ({NAME: 5}, f"the route of {NAME} is 5"),
        ({"other": None}, "the route of other is None"),
        ({NAME: ""}, f"the route of {NAME} is ''"),
        ({5: "a"}, "the key 5 of task_routes is neither text nor a compiled regular expression"),
        ({NAME: {"queue": 5}}, f"{NAME} was to go to the queue 5, which is no name"),
        (lambda *_, **__: 5, f"the route of {NAME} is 5"),
    ],
)
def test_a_route_that_is_none_is_refused_with_the_forms_there_are(routes, what):
    with pytest.raises(ImproperlyConfigured) as caught:
        route(task_routes=routes)

    assert str(caught.value) == (
        f"{what}. Nothing was queued. Write app.conf.task_routes = {{'feed.tasks.*': 'feeds', 'web.ping': {{'queue': 'web', "
        "'priority': 9}}, a list of such dicts, or a function: def route(name, args, kwargs, options, task=None, **kw)"
    )


@pytest.mark.parametrize("declared", ["feeds", [5], {"a": 5}, {5: {}}, [Queue()]])
def test_a_queue_that_is_none_is_refused_with_the_form_to_write(declared):
    with pytest.raises(
        ImproperlyConfigured, match=r"which is no queue\. Nothing was queued\. Write app\.conf\.task_queues = "
    ):
        route(task_queues=declared)


def test_a_function_to_be_found_by_name_that_is_not_there_is_refused():
    with pytest.raises(ImproperlyConfigured, match="there is no module 'nowhere'"):
        route(task_routes="nowhere.at_all")
