"""A task that was asked for becomes one line of a queue file."""

import os

import pytest

from pmtq import disk
from pmtq.broker import Broker
from pmtq.exceptions import ImproperlyConfigured, NotSerializable, OperationalError, UnsafeFile
from pmtq.records import MAX_RECORD_BYTES, TaskRecord
from tests.support import read_lines


@pytest.fixture
def broker(folder):
    return Broker(folder)


def record(number, **more):
    return TaskRecord(task_id=f"t{number}", function="f", sent="2027-01-15T08:00:00.000Z", **more)


def test_a_published_record_is_a_line_of_the_queue_file(broker, folder):
    broker.publish(record(1, params=[1]))
    broker.publish(record(2))

    assert folder.queue().read_bytes() == (
        b'{"task_id":"t1","function":"f","params":[1],"sent":"2027-01-15T08:00:00.000Z"}\n'
        b'{"task_id":"t2","function":"f","sent":"2027-01-15T08:00:00.000Z"}\n'
    )


def test_a_record_for_a_named_queue_goes_into_its_file(broker, folder):
    broker.publish(record(1), "mails")

    assert folder.queue_names() == ["mails"]
    assert [line["task_id"] for line in read_lines(folder.queue("mails"))] == ["t1"]


def test_several_records_are_one_write(broker, folder, monkeypatch):
    writes = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: writes.append(data) or real(descriptor, data))

    broker.publish_all((record(number), "celery", False) for number in range(3))

    assert len(writes) == 1
    assert [line["task_id"] for line in read_lines(folder.queue())] == ["t0", "t1", "t2"]


def test_no_records_are_no_write(broker, folder):
    broker.publish_all([])

    assert not folder.path.exists()


def test_of_several_records_none_is_queued_when_one_is_too_long(broker, folder):
    with pytest.raises(NotSerializable):
        broker.publish_all(
            [(record(1), "celery", False), (record(2, params=["x" * MAX_RECORD_BYTES]), "celery", False)]
        )

    assert read_lines(folder.queue()) == []


def test_the_longest_record_passes_and_one_byte_more_is_refused_by_name(broker, folder):
    room = MAX_RECORD_BYTES - len(b'{"task_id":"t1","function":"f","params":[""],"sent":"2027-01-15T08:00:00.000Z"}\n')
    broker.publish(record(1, params=["x" * room]))

    message = r"the record of f has 1,048,577 bytes,? and the limit is 1,048,576\. Nothing was queued\. Put the data into a file"
    with pytest.raises(NotSerializable, match=message):
        broker.publish(record(1, params=["x" * (room + 1)]))

    assert len(read_lines(folder.queue())) == 1


def test_a_step_that_waits_for_too_many_is_told_to_wait_for_fewer(broker, folder):
    with pytest.raises(
        NotSerializable, match=r"Nothing was queued\. It waits for too many tasks: have it wait for several"
    ):
        broker.publish(record(1, after=[f"{number:022x}" for number in range(50_000)]))

    assert read_lines(folder.queue()) == []


def test_a_refused_queue_name_queues_nothing(broker, folder):
    with pytest.raises(ImproperlyConfigured):
        broker.publish(record(1), "../elsewhere")

    assert not folder.path.exists()


def test_a_short_write_is_an_error_to_the_caller_and_the_next_call_works(broker, folder, monkeypatch):
    broker.publish(record(1))
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:5]))
        with pytest.raises(OperationalError):
            broker.publish(record(2))

    broker.publish(record(3))

    assert [line["task_id"] for line in read_lines(folder.queue())] == ["t1", "t3"]


def test_a_folder_that_every_user_may_write_is_refused(broker, folder):
    """Whoever can write the folder can run the registered functions."""
    folder.path.mkdir()
    folder.path.chmod(0o777)

    with pytest.raises(UnsafeFile, match="can be written by every user"):
        broker.publish(record(1))

    assert list(folder.path.iterdir()) == []


def test_records_with_a_priority_stand_in_a_file_of_their_own(broker, folder):
    for number, (queue, priority) in enumerate([("celery", 0), ("celery", 9), ("low", 9), ("low", 1), ("celery", 9)]):
        broker.publish(record(number, priority=priority), queue)

    found = {name: [line["task_id"] for line in read_lines(folder.queue(name))] for name in folder.queue_names()}
    assert found == {"celery": ["t0"], "p9": ["t1", "t4"], "low.p9": ["t2"], "low.p1": ["t3"]}


@pytest.mark.parametrize("name", ["p9", "low.p9"])
def test_the_name_of_a_prioritys_file_is_no_queue_to_publish_to(broker, folder, name):
    with pytest.raises(ImproperlyConfigured) as caught:
        broker.publish(record(1), name)

    assert str(caught.value) == (
        f"the queue name {name!r} is the one of a priority's file. Nothing was queued. Choose another one"
    )
    assert not folder.path.exists()


def test_records_for_several_files_are_one_write_each_in_their_order(broker, folder, monkeypatch):
    writes = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: writes.append(data) or real(descriptor, data))

    broker.publish_all([
        (record(1), "celery", False),
        (record(2), "low", False),
        (record(3, priority=9), "celery", False),
        (record(4), "celery", False),
    ])  # fmt: skip

    assert [data.count(b"\n") for data in writes] == [2, 1, 1]
    assert [line["task_id"] for line in read_lines(folder.queue())] == ["t1", "t4"]


@pytest.mark.parametrize("bad", [(record(2, params=["x" * MAX_RECORD_BYTES]), "low"), (record(2), "../elsewhere")])
def test_of_records_for_several_files_none_is_queued_when_one_is_refused(broker, folder, bad):
    with pytest.raises((NotSerializable, ImproperlyConfigured)):
        broker.publish_all([(record(1), "celery", False), (*bad, False)])

    assert read_lines(folder.queue()) == []


def test_only_what_must_survive_a_power_cut_is_waited_for(broker, monkeypatch):
    synced = []
    monkeypatch.setattr(disk, "fsync", synced.append)

    broker.publish_all([(record(1), "celery", False), (record(2), "low", True)])

    assert len(synced) == 3  # the file, the folder that names it, and the one that names the folder


def test_many_records_that_must_survive_a_power_cut_cost_one_wait_for_each_file(broker, monkeypatch):
    synced = []
    monkeypatch.setattr(disk, "fsync_folder", lambda folder: None)
    monkeypatch.setattr(disk, "fsync", synced.append)

    broker.publish_all([(record(number), "low" if number % 2 else "celery", True) for number in range(100)])

    assert len(synced) == 2


def test_a_record_is_waited_for_on_the_disk_only_where_that_was_asked_for(broker, monkeypatch):
    synced = []
    monkeypatch.setattr(disk, "fsync_folder", lambda folder: None)
    monkeypatch.setattr(disk, "fsync", synced.append)

    broker.publish(record(1))
    before = len(synced)
    broker.publish(record(2), durable=True)

    assert (before, len(synced)) == (0, 1)


def test_a_queues_file_is_opened_once_for_all_of_its_records(broker, folder, monkeypatch):
    opened = []
    real = disk.open_file
    monkeypatch.setattr(disk, "open_file", lambda path, **more: opened.append(path) or real(path, **more))

    broker.publish(record(1))
    broker.publish(record(2))
    broker.publish_all([(record(3), "celery", False)])
    broker.publish_in_turn([[(record(4), "celery", False)]])

    assert opened == [folder.queue().with_name("queue.jsonl.lock"), folder.queue()]
    assert [line["task_id"] for line in read_lines(folder.queue())] == ["t1", "t2", "t3", "t4"]


def test_text_that_no_json_can_hold_is_refused_with_the_record_and_what_to_send(broker, folder):
    bad = record(1, params=["\ud800"])

    with pytest.raises(NotSerializable) as caught:
        broker.publish(bad)

    error = "'utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed"
    why = f"cannot be written as JSON: {error}. Nothing was queued. Send text or numbers"
    assert (str(caught.value), caught.value.where) == (f"the record of f {why}", "the record of f")
    assert (caught.value.value, caught.value.why) == (bad, why)
    assert not folder.path.exists()


@pytest.mark.parametrize(
    ("room", "remedy"),
    [
        (MAX_RECORD_BYTES // 2, "Put the data into a file and send its path"),
        (
            MAX_RECORD_BYTES // 2 + 1,
            "It waits for too many tasks: have it wait for several chords, each of a part of them",
        ),
    ],
)
def test_the_remedy_for_a_record_that_is_too_long_is_about_what_takes_more_than_half_of_the_room(broker, room, remedy):
    bad = record(1, after=["x" * (room - len('[""]'))], params=["x" * (MAX_RECORD_BYTES // 2)])

    with pytest.raises(NotSerializable) as caught:
        broker.publish(bad)

    assert (caught.value.where, caught.value.value) == ("the record of f", bad)
    assert caught.value.why.partition("Nothing was queued. ")[2] == remedy


# --- one batch after the other ---------------------------------------------------------------------------------------


@pytest.fixture
def writes(monkeypatch):
    """What was appended to which file, and whether that was waited for, in order."""
    found = []
    monkeypatch.setattr(
        "pmtq.journal.Journal.append",
        lambda journal, lines, *, durable=False: found.append((journal.path.name, lines.count(b"\n"), durable)),
    )
    return found


def test_no_record_is_written_before_all_of_the_batches_before_its_own(broker, writes):
    broker.publish_in_turn(
        [
            [(record(1), "low", False), (record(2), "celery", False), (record(3), "low", False)],
            [(record(4), "low", False)],
            [(record(5, priority=9), "celery", False)],
        ]
    )

    assert writes == [
        ("queue.low.jsonl", 2, False),
        ("queue.jsonl", 1, False),
        ("queue.low.jsonl", 1, False),
        ("queue.p9.jsonl", 1, False),
    ]


def test_a_batch_with_one_record_that_must_survive_a_power_cut_is_waited_for_as_a_whole(broker, writes):
    broker.publish_in_turn(
        [
            [(record(1), "low", False), (record(2), "celery", True)],
            [(record(3), "celery", False)],
        ]
    )

    assert writes == [("queue.low.jsonl", 1, True), ("queue.jsonl", 1, True), ("queue.jsonl", 1, False)]


def test_the_lines_of_a_batch_stand_in_their_order(broker, folder):
    broker.publish_in_turn(
        [[(record(1), "celery", False), (record(2), "celery", False)], [(record(3), "celery", False)]]
    )

    assert [line["task_id"] for line in read_lines(folder.queue())] == ["t1", "t2", "t3"]


@pytest.mark.parametrize("bad", [(record(2, params=["x" * MAX_RECORD_BYTES]), "low"), (record(2), "../elsewhere")])
def test_of_several_batches_none_is_queued_when_one_record_is_refused(broker, folder, bad):
    with pytest.raises((NotSerializable, ImproperlyConfigured)):
        broker.publish_in_turn([[(record(1), "celery", False)], [(*bad, False)]])

    assert read_lines(folder.queue()) == []
