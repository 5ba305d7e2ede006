"""A running worker is told to change something, by a line in a file of its own."""

import pytest

from pmtq.inbox import Inbox, tell
from pmtq.presence import Presence, find_remains
from tests.support import die


@pytest.fixture
def here(folder):
    return Presence(folder, "w1@h", {"name": "w1@h"})


def test_commands_come_once_and_in_the_order_they_were_written(folder, here):
    inbox = Inbox(folder, "w1@h")

    said = [tell(folder, "w1@h", "pool_grow", n=2), tell(folder, "w1@h", "add_consumer", queue="low")]
    first = inbox.commands()
    tell(folder, "w1@h", "shutdown")

    assert said == [True, True]
    assert first == [{"command": "pool_grow", "n": 2}, {"command": "add_consumer", "queue": "low"}]
    assert (inbox.commands(), inbox.commands()) == ([{"command": "shutdown"}], [])


def test_a_command_to_a_worker_that_is_not_there_is_not_written(folder, here):
    assert not tell(folder, "w2@h", "shutdown")
    die(here)
    assert not tell(folder, "w1@h", "shutdown")
    assert not folder.inbox("w1@h").exists()


def test_what_was_said_to_a_dead_namesake_is_not_heard(folder, here):
    tell(folder, "w1@h", "shutdown")
    die(here)
    Presence(folder, "w1@h", {"name": "w1@h"})

    assert Inbox(folder, "w1@h").commands() == []


def test_a_command_is_heard_that_came_before_the_worker_looked_for_any(folder, here):
    tell(folder, "w1@h", "shutdown")

    assert Inbox(folder, "w1@h").commands() == [{"command": "shutdown"}]


def test_a_line_from_the_shell_is_a_command_and_half_a_line_is_none_yet(folder, here):
    inbox = Inbox(folder, "w1@h")
    with folder.inbox("w1@h").open("ab", buffering=0) as file:
        file.write(b'{"command":"pool_')
        before = inbox.commands()
        file.write(b'shrink"}\n\n')

    assert (before, inbox.commands()) == ([], [{"command": "pool_shrink"}])


@pytest.mark.parametrize("line", ["pool_grow 2", "[1]", '{"command":'])
def test_what_is_no_command_is_handed_on_as_what_it_is(folder, here, line):
    inbox = Inbox(folder, "w1@h")
    folder.inbox("w1@h").write_text(line + "\n")

    assert inbox.commands() == [{"unreadable": line}]


def test_an_inbox_that_was_removed_and_made_again_is_read_from_its_top(folder, here):
    inbox = Inbox(folder, "w1@h")
    tell(folder, "w1@h", "pool_grow", n=1)
    inbox.commands()
    folder.inbox("w1@h").unlink()
    tell(folder, "w1@h", "shutdown")

    assert inbox.commands() == [{"command": "shutdown"}]


def test_the_inbox_goes_with_the_worker_also_if_it_died(folder, here):
    inbox = Inbox(folder, "w1@h")
    tell(folder, "w1@h", "shutdown")
    inbox.close()
    gone = not folder.inbox("w1@h").exists()
    tell(folder, "w1@h", "shutdown")
    die(here)
    remains = find_remains(folder, "w1@h")
    remains.close(bury=True)

    assert gone
    assert list(folder.workers.iterdir()) == []
