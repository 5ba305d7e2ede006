"""Which calls count as one."""

import pytest

from pmtq.exceptions import ImproperlyConfigured, NotSerializable
from pmtq.unique import key_of


def test_calls_with_the_same_arguments_have_the_same_key():
    keys = {
        key_of("f", {"x": 1, "y": [1, {"a": 1, "b": 2}]}, chosen=True),
        key_of("f", {"y": (1, {"b": 2, "a": 1}), "x": 1}, chosen=True),
    }

    (key,) = keys
    assert key.startswith("f ")
    assert key != key_of("g", {"x": 1, "y": [1, {"a": 1, "b": 2}]}, chosen=True)
    assert key != key_of("f", {"x": 2, "y": [1, {"a": 1, "b": 2}]}, chosen=True)


@pytest.mark.parametrize("chosen", ["x", ["x"], ("x",)])
def test_a_key_may_go_by_some_arguments(chosen):
    keys = {key_of("f", {"x": 1, "y": y}, chosen=chosen) for y in range(5)}

    assert len(keys) == 1
    assert keys != {key_of("f", {"x": 2, "y": 0}, chosen=chosen)}


def test_a_key_may_be_what_a_function_makes_of_the_arguments():
    assert key_of("f", {"x": "A", "y": 1}, chosen=lambda x, **_: x.lower()) == "f a"


def test_a_key_by_an_argument_that_there_is_not_is_refused():
    with pytest.raises(ImproperlyConfigured) as caught:
        key_of("f", {"x": 1, "y": 2}, chosen=["who"])

    assert str(caught.value) == "unique=['who']: f has no argument 'who'. Nothing was queued. Name some of: x, y"


def test_a_key_of_what_json_cannot_hold_is_refused_by_name():
    with pytest.raises(NotSerializable, match=r"argument 'x' of f is a set"):
        key_of("f", {"x": {1}}, chosen=True)
