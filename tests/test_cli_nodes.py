"""What %n, %h and their like stand for in the names of log and pid files."""

from __future__ import annotations

import pytest

from pmtq.cli.nodes import expanded
from pmtq.exceptions import ImproperlyConfigured


@pytest.mark.parametrize(
    ("pattern", "node", "text"),
    [
        ("%n.pid", "w1@web.example.com", "w1.pid"),
        ("%p|%n|%h|%d|%i|%I|%%", "w1@web.example.com", "w1@web.example.com|w1|web.example.com|example.com|0||%"),
        ("%p|%n|%i|%I", "w1@web#3", "w1@web|w1|3|-3"),
        ("plain.log", "w1@web", "plain.log"),
    ],
)
def test_each_letter_stands_for_a_part_of_the_workers_name(pattern, node, text):
    assert expanded(pattern, node) == text


def test_a_letter_that_somebody_else_knows_is_left_alone():
    assert expanded("%n%I.log", "w1@web", keep="iI") == "w1%I.log"


@pytest.mark.parametrize(("pattern", "letter"), [("%x.log", "%x"), ("100%", "%")])
def test_a_letter_that_means_nothing_is_refused_and_the_others_are_named(pattern, letter):
    with pytest.raises(ImproperlyConfigured) as caught:
        expanded(pattern, "w1@web")

    assert str(caught.value) == (
        f"{letter} in {pattern!r} means nothing. Nothing was started. There are %p (the worker's name), %n and %h (its parts), "
        "%d (the domain), %i and %I (the process of a pool), and %% for a percent sign"
    )
