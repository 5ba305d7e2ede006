"""How ``pmtq multi`` is told which workers there are and what each of them gets."""

from __future__ import annotations

import click
import pytest

from pmtq.cli.cluster import understood
from pmtq.cli.work import worker


@pytest.fixture(autouse=True)
def _on_web(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "web")


def names(line: str) -> list[str]:
    return [node.name for node in understood(line.split(), worker).nodes("%n.pid", "%n%I.log")]


def lines(line: str) -> list[str]:
    found = understood(line.split(), worker).nodes("%n.pid", "%n%I.log")
    return [" ".join(node.arguments()) for node in found]


def problem(line: str) -> str:
    with click.Context(worker), pytest.raises(click.UsageError) as caught:
        names(line)
    return caught.value.format_message()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("3", ["celery1@web", "celery2@web", "celery3@web"]),
        ("2 --range-prefix=w", ["w1@web", "w2@web"]),
        ("2 --range-prefix w -n example.com", ["w1@example.com", "w2@example.com"]),
        ("2 --hostname=x@example.com", ["celery1@example.com", "celery2@example.com"]),
        ("image video@other low@%h", ["image@web", "video@other", "low@web"]),
        ("-E image -c 3 video", ["image@web", "video@web"]),
    ],
)
def test_workers_are_named_or_counted(line, expected):
    assert names(line) == expected


def test_each_worker_gets_what_is_for_all_and_what_is_for_it():
    assert lines("4 -c 3 -l info -c:1 10 -Q:2-3 a,b -Q:celery4 low -E") == [
        "worker --detach -n celery1@web -c 10 -l info -E --pidfile=celery1.pid --logfile=celery1%I.log",
        "worker --detach -n celery2@web -c 3 -l info -E --pidfile=celery2.pid --logfile=celery2%I.log -Q a,b",
        "worker --detach -n celery3@web -c 3 -l info -E --pidfile=celery3.pid --logfile=celery3%I.log -Q a,b",
        "worker --detach -n celery4@web -c 3 -l info -E --pidfile=celery4.pid --logfile=celery4%I.log -Q low",
    ]


def test_two_spellings_of_an_option_are_one_option():
    assert lines("1 --concurrency=3 -c:1 4 -lwarning") == [
        "worker --detach -n celery1@web -c 4 -l warning --pidfile=celery1.pid --logfile=celery1%I.log"
    ]


def test_files_and_what_stands_behind_the_dashes_are_handed_on():
    assert lines("a --pidfile=/run/%n.pid --logfile /log/%h-%n%I.log -- -x y") == [
        "worker --detach -n a@web --pidfile=/run/a.pid --logfile=/log/web-a%I.log -- -x y"
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 --concurency=3", "there is no option --concurency. Did you mean --concurrency?"),
        ("2 -y", "there is no option -y. The options are those of a worker: pmtq worker --help."),
        ("2 -c", "-c needs a value."),
        ("2 -c:3 1", "-c:3 speaks of '3', and there are celery1@web, celery2@web. Write numbers from 1 or names."),
        ("1 -c:0-1 1", "-c:0-1 speaks of '0-1', and there is only celery1@web. Write numbers from 1 or names."),
        ("a -Q:b q", "-Q:b speaks of 'b', and there is only a@web. Write numbers from 1 or names."),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_could(line, message):
    assert problem(line) == message
