"""A call becomes a record."""

from pmtq.calls import adopt, new_record
from pmtq.claim import Claim
from pmtq.records import StateRecord, TaskRecord
from tests.support import NOW

AT = "2027-01-15T08:00:00.000Z"


def test_a_new_record_holds_the_call_and_when_it_was_made():
    record = new_record("shop.ship", (1,), {"to": "Oslo"}, NOW)

    assert record == TaskRecord(task_id=record.task_id, function="shop.ship", args=[1], params={"to": "Oslo"}, sent=AT)
    assert len(record.task_id) == 22


def test_a_task_that_is_posted_by_a_running_one_names_it_and_the_first_of_the_line():
    root = Claim(TaskRecord(task_id="r", function="f"), StateRecord("r"))
    child, grandchild = TaskRecord(task_id="c", function="f"), TaskRecord(task_id="g", function="f")

    adopt(child, root)
    adopt(grandchild, Claim(child, StateRecord("c")))

    assert (root.children, child.parent_id, child.root_id) == (["c"], "r", "r")
    assert (grandchild.parent_id, grandchild.root_id) == ("c", "r")


def test_a_parent_that_the_call_names_itself_stays():
    record = TaskRecord(task_id="c", function="f", parent_id="mine", root_id="too")

    adopt(record, Claim(TaskRecord(task_id="r", function="f"), StateRecord("r")))

    assert (record.parent_id, record.root_id) == ("mine", "too")
