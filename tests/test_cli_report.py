"""``pmtq report``, ``pmtq shell`` and ``pmtq completion``: what surrounds the work."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pmtq.cli.shell import names_at_hand
from tests.support import Said


def test_a_report_names_versions_folder_and_tasks(run, here):
    lines = run("report", "-A", "tasks").out.splitlines()

    assert [line.split()[0] for line in lines] == ["pmtq", "python", "system", "packages", "broker", "folder", "tasks"]
    assert lines[-2:] == [f"folder    {here.path}", "tasks     tasks.add, tasks.fail"]
    assert all(f"{name} " in lines[3] for name in ("filelock", "watchdog", "msgspec", "click", "rich"))


def test_the_settings_that_were_changed_are_shown_without_their_secrets(run, project):
    (project / "shop.py").write_text(
        "from pmtq import PMTQ\napp = PMTQ('s')\napp.conf.update(timezone='Europe/Oslo', SECRET_KEY='hush')"
    )

    lines = run("report", "-A", "shop").out.splitlines()

    assert lines[-2:] == ["SECRET_KEY: ********", "timezone: Europe/Oslo"]


def test_the_shell_has_the_app_and_its_tasks_at_hand(app):
    @app.task(name="shop.app")
    def shadowed(): ...

    names = names_at_hand(app, with_tasks=True)

    assert (names["app"], names["celery"], names["add"]) == (app, app, app.tasks["tasks.add"])
    assert "add" not in names_at_hand(app, with_tasks=False)


def test_the_shell_runs_what_is_typed(pmtq):
    said = pmtq("shell", "--python", "-A", "tasks", stdin="print(add(2, 3), celery is app)\n")

    assert said.status == 0
    assert "5 True" in said.out
    assert "Tasks: add, fail" in said.err


@pytest.mark.parametrize(("option", "name"), [("-I", "ipython"), ("-B", "bpython")])
def test_a_prompt_that_is_not_installed_is_said_to_be_missing(run, monkeypatch, option, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None if module != "code" else True)

    assert run("shell", option) == Said(
        1,
        "",
        f"ImproperlyConfigured: {name} is not installed. Install it: pip install {name}; or take pmtq shell --python\n",
    )


@pytest.mark.parametrize(("shell", "says"), [("bash", "complete "), ("zsh", "#compdef pmtq"), ("fish", "complete ")])
def test_each_shell_gets_its_completion(pmtq, shell, says):
    said = pmtq("completion", shell)

    assert (said.status, says in said.out, "_PMTQ_COMPLETE" in said.out) == (0, True, True)


@pytest.mark.parametrize(
    ("words", "completed"),
    [("pmtq wor", ["plain,worker"]), ("pmtq inspect active", ["plain,active", "plain,active_queues"]), ("pmtq worker --autos", ["plain,--autoscale"])],
)  # fmt: skip
def test_commands_and_options_are_completed(project, words, completed):
    environment = os.environ | {
        "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1), "_PMTQ_COMPLETE": "bash_complete"
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "from pmtq.cli import main; main()"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.split() == completed
