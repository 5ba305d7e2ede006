"""Where everything stands."""

import re
from pathlib import Path

import pytest

from pmtq.exceptions import ImproperlyConfigured
from pmtq.folder import DEFAULT_QUEUE, Folder


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///var/queue", Path("/var/queue")),
        ("file:///var/queue/", Path("/var/queue")),
        ("file:///var/my%20queue", Path("/var/my queue")),
        ("file://queue_dir", Path.cwd() / "queue_dir"),
        ("file://a/b", Path.cwd() / "a/b"),
        ("file://~/queue", Path.home() / "queue"),
    ],
)
def test_a_url_names_a_folder(url, path):
    assert Folder.from_url(url).path == path


WAYS_OUT = (
    "Nothing was queued. Either override it for this run: PMTQ_BROKER_URL=file://queue_dir, or write the folder into the "
    'code: PMTQ("…", broker="file://queue_dir")'
)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://localhost", "names a server, and this engine works in a folder"),
        (
            "ampq://",
            "has a scheme that is not known (did you mean amqp://?), and this engine works in a folder",
        ),
        (
            "flie://queue_dir",
            "has a scheme that is not known (did you mean file://?), and this engine works in a folder",
        ),
        ("gopher://far", "has a scheme that is not known, and this engine works in a folder"),
        ("<message_broker_URL>", "is a placeholder that nobody has filled in"),
        ("queue_dir", "has no scheme (for a folder write file://queue_dir)"),
    ],
)
def test_a_url_that_names_no_folder_is_refused_with_two_ways_out(url, why):
    with pytest.raises(ImproperlyConfigured) as caught:
        Folder.from_url(url)

    assert str(caught.value) == f"the broker URL {url!r} {why}. {WAYS_OUT}"


@pytest.mark.parametrize("url", ["file://", "file:///"])
def test_a_url_without_a_folder_is_refused(url):
    with pytest.raises(ImproperlyConfigured, match=re.escape(f"the broker URL {url!r} names no folder")):
        Folder.from_url(url)


def test_naming_a_folder_touches_no_disk_and_asking_an_absent_one_finds_nothing(folder):
    assert folder.queue_names() == []
    assert folder.sealed_queues() == []
    assert folder.sealed_results() == []
    assert folder.worker_names() == []
    assert not folder.path.exists()


def test_the_default_queue_is_queue_jsonl_and_a_named_one_carries_its_name(folder):
    assert folder.queue() == folder.queue(DEFAULT_QUEUE) == folder.path / "queue.jsonl"
    assert folder.queue("mails_2-b") == folder.path / "queue.mails_2-b.jsonl"


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "a.b", "a\n", ".", "\x00"])
def test_a_queue_name_that_is_no_part_of_a_file_name_is_refused(folder, name):
    with pytest.raises(ImproperlyConfigured, match="Use letters, digits, '_' and '-'"):
        folder.queue(name)


def test_queues_are_listed_by_name_the_default_one_first(folder):
    folder.make()
    for name in [
        "queue.b.jsonl",
        "queue.a.jsonl",
        "queue.jsonl",
        "queue.jsonl.lock",
        "queue.a.jsonl.lock",
        "results.jsonl",
    ]:
        (folder.path / name).touch()

    assert folder.queue_names() == [DEFAULT_QUEUE, "a", "b"]


def test_sealed_files_are_listed_by_number_not_by_text(folder):
    folder.sealed.mkdir(parents=True)
    for name in [
        "queue.10.jsonl",
        "queue.2.jsonl",
        "queue.a.0.jsonl",
        "results.10.jsonl",
        "results.9.jsonl",
        "results.next.jsonl",
    ]:
        (folder.sealed / name).touch()

    assert [(name, number) for name, number, _ in folder.sealed_queues()] == [
        ("a", 0),
        (DEFAULT_QUEUE, 2),
        (DEFAULT_QUEUE, 10),
    ]
    assert [path.name for path in folder.sealed_results()] == ["results.10.jsonl", "results.9.jsonl"]


@pytest.mark.parametrize("name", [DEFAULT_QUEUE, "a", "a-1", "7"])
def test_a_sealed_queue_is_recognised_by_the_name_it_was_given(folder, name):
    path = folder.sealed_queue(name, 3)
    folder.sealed.mkdir(parents=True)
    path.touch()

    assert folder.sealed_queues() == [(name, 3, path)]


def test_a_workers_name_with_a_dot_is_kept_whole(folder):
    folder.workers.mkdir(parents=True)
    folder.worker("w1@host.example.org").touch()
    folder.notes("w1@host.example.org").touch()

    assert folder.worker_names() == ["w1@host.example.org"]
