"""What messages say in the same words."""

import shlex
from pathlib import Path

import pytest

from pmtq.wording import counted, signal_name, typed


@pytest.mark.parametrize("path", ["/srv/queue_dir", "queue_dir/queue.low.jsonl", "/home_of/a-b_c@d,e:f+g=h%i"])
def test_an_ordinary_path_is_typed_as_it_is(path):
    assert typed(Path(path)) == path


@pytest.mark.parametrize("path", ["/my proj", "/it's", "/a;b", "/$HOME", "/a*", "/ü", "/w\udcff"])
def test_a_path_that_a_shell_would_take_apart_is_one_word_when_it_is_typed(path):
    assert shlex.split(typed(path)) == [path]


def test_a_signal_is_named_and_one_without_a_name_counted():
    assert [signal_name(number) for number in (9, 40)] == ["SIGKILL", "signal 40"]


def test_things_are_counted_in_the_singular_and_in_the_plural():
    assert [counted(number, "task") for number in (0, 1, 2000)] == ["0 tasks", "1 task", "2,000 tasks"]
