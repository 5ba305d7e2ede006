"""Ids of tasks: new ones, and those in a tree."""

import hashlib
import random
import re

import pytest

from pmtq.ids import derived_task_id, ids_in, is_tree, new_task_id


def test_an_id_is_22_hexadecimal_digits_and_new_each_time():
    ids = {new_task_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert all(re.fullmatch("[0-9a-f]{22}", one) for one in ids)


def test_a_derived_id_is_the_same_for_the_same_text_and_looks_like_any_other():
    assert (derived_task_id("nightly 1"), derived_task_id("nightly 2")) == (
        derived_task_id("nightly 1"),
        hashlib.blake2b(b"nightly 2", digest_size=11).hexdigest(),
    )
    assert re.fullmatch("[0-9a-f]{22}", derived_task_id("nightly 1"))


def test_a_program_that_seeds_its_random_numbers_does_not_repeat_ids():
    random.seed(1)
    first = new_task_id()
    random.seed(1)

    assert new_task_id() != first


@pytest.mark.parametrize(
    ("tree", "found"),
    [
        ("a", ["a"]),
        (["a", ["b", ["c"]], "d"], ["a", "b", "c", "d"]),
        ([], []),
        (None, []),
        (["a", 5, {"b": "c"}, None], ["a"]),
    ],
)
def test_the_ids_in_a_tree_are_found_in_order_and_anything_else_is_passed_over(tree, found):
    assert list(ids_in(tree)) == found


@pytest.mark.parametrize(
    ("value", "is_one"),
    [("a", True), (["a", ["b"]], True), ([], True), (None, False), (["a", 5], False), ({"a": "b"}, False)],
)
def test_a_tree_is_an_id_or_a_list_of_trees(value, is_one):
    assert is_tree(value) is is_one
