"""``kill -9`` at every single write, rename and removal of a client and a worker, done by strace."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pmtq.folder import Folder
from pmtq.states import SUCCESS
from tests.crash.worker_process import make_app
from tests.support import all_states

CLIENT = """
import sys
from pathlib import Path
from tests.crash.worker_process import make_app
path = Path(sys.argv[1])
log = make_app(path).tasks["tasks.log"]
for number in range(3):
    log.apply_async([f"t{number}"], task_id=f"t{number}", durable=number == 2)
    with (path.parent / "acknowledged").open("a") as file:
        file.write(f"t{number}\\n")
"""
WORKER = """
import sys, time
from pathlib import Path
from pmtq import sealing
from pmtq.presence import Presence
from pmtq.worker.consumer import Consumer
from tests.crash.worker_process import make_app
sealing.SEAL_BYTES = sealing.IDLE_SEAL_BYTES = 0
app = make_app(Path(sys.argv[1]))
here = Presence(app.folder, "w-victim", {})
consumer = Consumer(app.folder, here, ["celery"], app.tasks)
consumer.run(burst=True)
consumer._claimer.tidy(time.time() + sealing.GRACE + 1, idle=True)
here.leave()
"""
EFFECTS = ["write", "ftruncate", "?rename", "?renameat", "?renameat2", "?unlink", "?unlinkat", "fsync", "?mkdir"]
"""strace counts each system call for itself; one that this machine does not have is passed over (``?``)."""


def strace_works() -> str:
    """Return why strace cannot be used here, empty if it can."""
    if not shutil.which("strace"):
        return "strace is not installed (apt-get install strace)"
    done = subprocess.run(
        ["strace", "-o", "/dev/null", "-e", "inject=write:signal=KILL:when=1", "sh", "-c", "echo"],
        capture_output=True,
        check=False,
    )
    return "" if b"o" not in done.stderr or done.returncode == -9 or done.returncode == 137 else done.stderr.decode()


WHY_NOT = strace_works()
needs_strace = pytest.mark.skipif(bool(WHY_NOT), reason=f"needs strace: {WHY_NOT}")


def run_and_kill(code: str, path: os.PathLike, effect: str, number: int, root) -> bool:
    """Run a program that dies at its ``number``-th call of ``effect``; return whether it came to that."""
    command = [
        "strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={effect}",
        "-e", f"inject={effect}:signal=KILL:when={number}", sys.executable, "-c", code, str(path),
    ]  # fmt: skip
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, check=False)
    assert done.returncode in {0, -9, 137}, done.stderr.decode()
    return done.returncode != 0


def moments(tmp_path) -> Iterator[tuple[str, int, Path]]:
    """Yield effect, number and a folder's path, until the caller says, by ``send(False)``, that nobody died."""
    for effect in EFFECTS:
        number, died = 0, True
        while died:
            number += 1
            path = tmp_path / f"{effect.strip('?')}-{number}" / "queue_dir"
            path.parent.mkdir()
            died = yield effect, number, path


def entries(path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def settle_all(path, work) -> None:
    app = make_app(path)
    work(app, "w-heir")
    app.backend.close()


def at_every_effect(tmp_path, root, code, prepare, check) -> int:
    """Kill ``code`` at every effect, in a folder of its own each time; return how often it died."""
    deaths = 0
    walk = moments(tmp_path)
    effect, number, path = next(walk)
    while True:
        prepare(path)
        died = run_and_kill(code, path, effect, number, root)
        check(path, f"{effect} {number}", died)
        deaths += died
        try:
            effect, number, path = walk.send(died)
        except StopIteration:
            return deaths


@needs_strace
def test_a_client_killed_at_any_effect_loses_nothing_that_was_acknowledged(tmp_path, work, pytestconfig):
    def check(path, where, died):
        settle_all(path, work)
        ran = Counter(entries(path.parent / "runs.log"))
        acknowledged = entries(path.parent / "acknowledged")
        assert set(acknowledged) <= set(ran), where
        assert len(ran) <= len(acknowledged) + 1, where
        assert set(ran.values()) <= {1}, where
        assert died or ran == Counter(["t0", "t1", "t2"]), where
        assert not Folder(path).rejected.exists(), where

    deaths = at_every_effect(tmp_path, pytestconfig.rootpath, CLIENT, lambda path: None, check)

    assert deaths >= 6


@needs_strace
def test_a_worker_killed_at_any_effect_loses_nothing_and_repeats_at_most_one_task(tmp_path, work, pytestconfig):
    def prepare(path):
        log = make_app(path).tasks["tasks.log"]
        for number in range(4):
            log.apply_async([f"t{number}"], task_id=f"t{number}")
        with Folder(path).queue().open("a") as file:
            file.write('{"function":"tasks.log","params":["by_hand"]}\n')
        log.apply_async(["later"], task_id="later", eta="2099-01-01")

    def check(path, where, died):
        settle_all(path, work)
        ran = Counter(entries(path.parent / "runs.log"))
        assert set(ran) == {"t0", "t1", "t2", "t3", "by_hand"}, where
        assert sum(ran.values()) <= 5 + died, where
        finals = [line["task_id"] for line in all_states(Folder(path)) if line["status"] == SUCCESS]
        assert len(finals) == len(set(finals)) == 5, where
        assert [place for place in path.rglob("queue*.jsonl") if re.search('"later"', place.read_text())], where
        assert not Folder(path).rejected.exists(), where

    deaths = at_every_effect(tmp_path, pytestconfig.rootpath, WORKER, prepare, check)

    assert deaths >= 15
