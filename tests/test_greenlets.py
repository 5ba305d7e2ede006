"""A program is patched for greenlets before it imports anything else."""

import os
import subprocess
import sys

import pytest

from pmtq import greenlets
from pmtq.exceptions import ImproperlyConfigured

MONKEY = """
patched = False

def patch_all():
    global patched
    patched = True
    import sys
    print("patched before click:", "click" not in sys.modules)

def is_module_patched(name):
    return patched
"""
TASKS = """
import gevent.monkey
from pmtq import PMTQ

print("patched before the tasks:", gevent.monkey.patched)
app = PMTQ("tasks")

@app.task
def add(x, y):
    return x + y

if __name__ == "__main__":
    add.delay(2, 3)
"""


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["worker", "-P", "gevent"], "gevent"),
        (["worker", "-Peventlet", "-c", "5"], "eventlet"),
        (["-A", "tasks", "worker", "--pool", "gevent"], "gevent"),
        (["worker", "--pool=eventlet"], "eventlet"),
        (["worker", "-P", "threads"], ""),
        (["worker", "-P", "gevent", "-P", "solo"], ""),
        (["worker", "-n", "gevent"], ""),
        (["multi", "start", "-P", "gevent"], ""),
        (["worker"], ""),
    ],
)
def test_the_pool_is_found_in_the_command_line(monkeypatch, arguments, kind):
    patched = []
    monkeypatch.setattr(greenlets, "patch", patched.append)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)

    greenlets.patch_if_asked(arguments)

    assert patched == ([kind] if kind else [])


def test_a_library_that_is_not_there_is_named_with_the_ways_out(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    greenlets.patch_if_asked(["worker", "-P", "gevent"])  # leaves that to the command line
    with pytest.raises(ImproperlyConfigured) as caught:
        greenlets.patch("gevent")

    assert str(caught.value) == (
        "-P gevent needs the package gevent, which is not installed. Nothing was started. Install it: pip install gevent; "
        "or take -P threads, or -P asyncio for async def tasks"
    )


def test_a_worker_is_patched_before_all_else_and_looks_into_the_folder_by_itself(tmp_path):
    """With a stand-in for gevent that only says when it was called; its greenlets are ordinary threads."""
    (tmp_path / "gevent").mkdir()
    (tmp_path / "gevent" / "__init__.py").touch()
    (tmp_path / "gevent" / "monkey.py").write_text(MONKEY)
    (tmp_path / "tasks.py").write_text(TASKS)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = [sys.executable, "-m", "pmtq", "worker", "-A", "tasks", "-P", "gevent", "--burst"]
    subprocess.run([sys.executable, "tasks.py"], cwd=tmp_path, env=environment, check=True, capture_output=True)

    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout) == (0, "patched before click: True\npatched before the tasks: True\n"), (
        done.stderr
    )
    assert "SUCCESS" in done.stderr
