"""The bugs, each with the promise that it breaks and the tests that are to catch it.

A test that has never been seen to fail shows nothing. Each of these is a mistake that could be made in good faith, most of
them by leaving something out that looks as if nobody needed it.
"""

from __future__ import annotations

from typing import NamedTuple


class Bug(NamedTuple):
    """One change of the code."""

    name: str
    promise: str
    """What does not hold any more."""
    file: str
    """Within ``pmtq``."""
    before: str
    """The text to be replaced, which stands there once."""
    after: str
    caught_by: tuple[str, ...]
    """Test files, and tests in them, each of which must fail."""


BUGS = (
    Bug(
        "no newline rule",
        "a torn last line swallows no neighbour",
        "journal.py",
        """lines = b"\\n" + lines""",
        "pass",
        ("tests/test_journal.py", "tests/crash/test_points.py"),
    ),
    Bug(
        "no inode check",
        "a file that is replaced under a running worker is noticed",
        "journal.py",
        "if status.st_ino != self._inode or self._descriptor < 0:",
        "if self._descriptor < 0:",
        ("tests/test_journal.py", "tests/crash/test_hand_use.py"),
    ),
    Bug(
        "no look at a lock file that was removed",
        "two programs never hold the same lock",
        "journal.py",
        "os.fstat(self._lock_descriptor).st_nlink == 0",
        "os.fstat(self._lock_descriptor).st_nlink < 0",
        ("tests/test_journal.py",),
    ),
    Bug(
        "no short-write check",
        "on a full disk a file keeps its bytes",
        "disk.py",
        "if (written := os.write(descriptor, data)) == len(data):",
        "if (written := os.write(descriptor, data)) >= 0:",
        ("tests/test_disk.py", "tests/crash/test_full_disk.py"),
    ),
    Bug(
        "a half write is left",
        "on a full disk a file keeps its bytes",
        "disk.py",
        "os.ftruncate(descriptor, before)",
        "pass",
        ("tests/test_disk.py", "tests/crash/test_full_disk.py"),
    ),
    Bug(
        "links are followed",
        "nothing outside of the folder is touched",
        "disk.py",
        """getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)""",
        """getattr(os, "O_CLOEXEC", 0)""",
        ("tests/test_disk.py",),
    ),
    Bug(
        "whoever has a name is alive",
        "what a dead worker held is given to another one",
        "presence.py",
        """    if not disk.try_lock(descriptor):
        os.close(descriptor)
        return None
    return Remains(folder, name, descriptor)""",
        """    os.close(descriptor)
    return None""",
        ("tests/test_presence.py", "tests/crash/test_exactly_once.py"),
    ),
    Bug(
        "nobody is alive",
        "no task runs twice without a crash",
        "presence.py",
        """    if not disk.try_lock(descriptor):
        os.close(descriptor)
        return None
""",
        "",
        ("tests/test_presence.py", "tests/crash/test_exactly_once.py"),
    ),
    Bug(
        "the dead are buried before their tasks are given back",
        "a second crash while a worker inherits loses nothing",
        "claimer.py",
        "remain.close(bury=written)",
        "remain.close(bury=True)",
        ("tests/test_claimer.py",),
    ),
    Bug(
        "the notes of the dead are not read",
        "a kill repeats only the task that was running",
        "inheritance.py",
        "lines = [line for line in noted if held.pop((line.task_id, line.attempt + (line.status == RELEASED)), None)]",
        "lines: list[StateRecord] = []",
        ("tests/test_claimer.py", "tests/crash/test_points.py"),
    ),
    Bug(
        "deaths are not counted",
        "a task that kills its workers fails after three starts",
        "inheritance.py",
        "line.deaths += status == LOST",
        "line.deaths += 0",
        ("tests/test_claimer.py",),
    ),
    Bug(
        "all that was taken counts as begun",
        "a start that did not happen is not counted",
        "inheritance.py",
        "return (held if said[-1] else 0) if said else 1",
        "return held",
        ("tests/test_claimer.py",),
    ),
    Bug(
        "the last final state wins",
        "a final state never changes",
        "ledger.py",
        "if task_id in final:",
        "if task_id in final and status not in FINAL_STATES:",
        ("tests/test_ledger.py",),
    ),
    Bug(
        "a claim is not written",
        "two workers never run the same task",
        "claimer.py",
        "            lines.append(started)\n",
        "",
        ("tests/test_claimer.py", "tests/crash/test_exactly_once.py"),
    ),
    Bug(
        "the results are not read before a claim",
        "two workers never run the same task",
        "claimer.py",
        """                self._presence.renew()
                self._catch_up()
""",
        """                self._presence.renew()
""",
        ("tests/test_claimer.py", "tests/crash/test_exactly_once.py"),
    ),
    Bug(
        "what could not be written counts as written",
        "on a full disk nothing is lost",
        "claimer.py",
        """            self._forget()  # the ledger was ahead of the file
            self.ended = []
""",
        "",
        ("tests/test_claimer.py", "tests/crash/test_full_disk.py"),
    ),
    Bug(
        "a place is trusted after an edit",
        "an edit under a running worker touches no wrong task",
        "reader.py",
        "return self.journal.read_bytes(self._offset - len(self._before), len(self._before)) == self._before",
        "return True",
        ("tests/test_reader.py", "tests/crash/test_model.py"),
    ),
    Bug(
        "half a line is read as a whole one",
        "a line that is still being written waits for its end",
        "journal.py",
        "return data[:end]",
        "return data",
        ("tests/test_journal.py",),
    ),
    Bug(
        "results go before they are on the disk",
        "a power cut loses no result whose record is gone",
        "sealing.py",
        """    results.sync()
    _sync_rejected(folder)
""",
        """    _sync_rejected(folder)
""",
        ("tests/test_sealing.py",),
    ),
    Bug(
        "a sealing says what it carried over before that is on the disk",
        "a power cut loses no waiting task whose file was just cleared",
        "sealing.py",
        "if target.size():",
        "if target.size() < 0:",
        ("tests/test_sealing.py", "tests/crash/test_points.py"),
    ),
    Bug(
        "a late line is carried over whatever has become of it",
        "a second crash, during recovery, doubles nothing",
        "sealing.py",
        "known = find_known()",
        "known = find_known() if carried is None else frozenset()",
        ("tests/test_sealing.py",),
    ),
    Bug(
        "what came late into a sealed file goes with it",
        "a line that races with the clearing of its file is run",
        "sealing.py",
        "if carried is None or carried < status.st_size:",
        "if carried is None:",
        ("tests/test_sealing.py",),
    ),
    Bug(
        "a durable call does not wait for the disk",
        "a durable record survives a power cut once the call has returned",
        "journal.py",
        "            wait()",
        "            pass",
        ("tests/test_journal.py",),
    ),
    Bug(
        "a child keeps what its parent had open",
        "a program may fork while its threads post",
        "fork.py",
        "    for instance in [*_instances, *_last]:\n        instance.after_fork()",
        "    return",
        ("tests/test_journal.py", "tests/test_presence.py"),
    ),
    Bug(
        "a change of any file wakes",
        "an idle worker uses next to nothing",
        "watch.py",
        "            elif not {_last_part(event.src_path), _last_part(event.dest_path)} & self.names:\n                return\n",
        "",
        ("tests/test_watch.py",),
    ),
    Bug(
        "the followers of a step that is not run hear nothing",
        "no step of a workflow waits for ever",
        "claimer.py",
        """        if record and record.followers:
            final.followers = record.followers
""",
        "",
        ("tests/test_workflow.py",),
    ),
    Bug(
        "a workflow is written from its beginning",
        "a crash in the middle of posting lets no step run too early",
        "workflow.py",
        "return [list(some)[::-1] for _, some in groupby(reversed(calls), _file)]",
        "return [list(some) for _, some in groupby(calls, _file)]",
        ("tests/test_workflow.py",),
    ),
    Bug(
        "a retry comes at once after a restart",
        "a task is tried again when its time has come, not before",
        "admission.py",
        "start_at = due(last.eta if last and last.status == RETRY else record.eta)",
        "start_at = due(record.eta)",
        ("tests/test_bound.py",),
    ),
)
