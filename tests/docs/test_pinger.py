"""The pinger of the tutorial sends one message for each outage, whatever is restarted meanwhile."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from pmtq.beat import Service
from pmtq.clock import Clock, moved_clock
from pmtq.presence import Presence
from pmtq.timetable import text_of
from pmtq.worker.consumer import Consumer
from tests.support import eventually

FOLDER = Path(__file__).parents[2] / "tutorials" / "pinger"
START = "2027-01-01T07:00:00Z"


class Api:
    """Something that answers on loopback when it is switched on."""

    def __init__(self) -> None:
        self.asked = 0
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                api.asked += 1
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._handler = Handler
        self._server: HTTPServer | None = None
        self._address = ("127.0.0.1", 0)
        self.switch_on()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._address[1]}/"

    def switch_on(self) -> None:
        self._server = HTTPServer(self._address, self._handler)
        self._address = self._server.server_address
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def switch_off(self) -> None:
        if self._server:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None


@pytest.fixture
def api() -> Iterator[Api]:
    found = Api()
    yield found
    found.switch_off()


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: Api) -> Path:
    """A copy of the tutorial's folder, which is the current one, for the API of this test."""
    shutil.copy(FOLDER / "pinger.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pinger", raising=False)
    monkeypatch.setenv("PINGER_URL", api.url)
    return tmp_path


class Pinger:
    """Scheduler and worker of the tutorial, in this process, on a clock that the test moves."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.app = importlib.import_module("pinger").app
        self.said: list[str] = []
        self.start()

    def start(self) -> None:
        self.service = Service(self.app)
        self._thread = threading.Thread(target=self.service.start)
        self._thread.start()
        assert eventually(lambda: self.service.scheduler and self.service.scheduler.entries)

    def stop(self) -> None:
        self.service.stop()
        self._thread.join()

    def ping(self, times: int) -> list[str]:
        """Let ten seconds pass so many times; return what the pings said."""
        said = []
        for _ in range(times):
            self.clock.advance(10)
            planned = text_of(datetime.fromtimestamp(self.clock.now(), UTC))
            assert eventually(lambda planned=planned: self.service.scheduler.entries["ping"].last_run == planned)
            task_id = self.service.scheduler.entries["ping"].last_task
            self._work()
            said.append(self.app.AsyncResult(task_id).get(timeout=5))
        return said

    def _work(self) -> None:
        here = Presence(self.app.folder, "worker1@test", {"pid": os.getpid()})
        Consumer(self.app.folder, here, ["celery"], self.app.tasks).run(burst=True)
        here.leave()

    def close(self) -> None:
        self.stop()
        self.app.close()


@pytest.fixture
def pinger(there: Path) -> Iterator[Pinger]:
    with moved_clock(START) as clock:
        found = Pinger(clock)
        yield found
        found.close()


def outbox(there: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(there.glob("outbox/*"))}


def test_one_message_after_the_fifth_miss_in_a_row_and_none_again_until_it_was_up(
    api: Api, there: Path, pinger: Pinger
) -> None:
    seen = [pinger.ping(2)]
    api.switch_off()
    seen.append(pinger.ping(4))
    assert outbox(there) == {}
    api.switch_on()
    seen.append(pinger.ping(1))  # four misses are not five
    api.switch_off()
    seen.append(pinger.ping(5))
    first = outbox(there)
    pinger.ping(20)
    assert outbox(there) == first
    api.switch_on()
    pinger.ping(1)
    api.switch_off()
    pinger.ping(7)

    assert seen == [
        ["up", "up"],
        [f"missed {times} in a row" for times in (1, 2, 3, 4)],
        ["up"],
        [f"missed {times} in a row" for times in (1, 2, 3, 4, 5)],
    ]
    assert first == {
        "down-since-2027-01-01T07.01.20+00.00.txt": (
            f"{api.url} has not answered 5 times in a row. The first miss was at 2027-01-01T07:01:20+00:00.\n"
        )
    }
    assert list(outbox(there)) == [*first, "down-since-2027-01-01T07.05.40+00.00.txt"]
    assert api.asked == 4


def test_a_restart_in_the_middle_of_an_outage_neither_forgets_it_nor_tells_it_twice(
    api: Api, there: Path, pinger: Pinger
) -> None:
    api.switch_off()
    pinger.ping(3)
    pinger.stop()
    pinger.clock.advance(3600)  # pings that nobody was there for are not made up
    pinger.start()
    said = pinger.ping(2)
    told = outbox(there)
    pinger.stop()
    pinger.start()
    said += pinger.ping(1)

    assert said == [f"missed {times} in a row" for times in (4, 5, 6)]
    assert (list(told), outbox(there)) == (["down-since-2027-01-01T07.00.10+00.00.txt"], told)
    assert json.loads((there / "pinger.json").read_text()) == {"misses": 6, "since": "2027-01-01T07:00:10+00:00"}


def test_a_reader_who_follows_the_tutorial_sees_what_it_says(api: Api, there: Path) -> None:
    blocks = re.findall(r"^```console terminal=(\w+)\n\$ (.*)\n```$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    commands = {terminal: command.split() for terminal, command in blocks}
    assert list(commands) == ["api", "worker", "person"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PINGER_EVERY": "0.2", "NO_COLOR": "1"}
    port = int(re.search(r":(\d+)/", api.url)[1])
    api.switch_off()
    commands["api"][commands["api"].index("8000")] = str(port)

    web = subprocess.Popen(commands["api"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    worker = subprocess.Popen(commands["worker"], env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert eventually(lambda: _misses(there) == 0, 20)
        shown = subprocess.run(commands["person"], env=environment, capture_output=True, text=True, check=True).stdout
        web.kill()
        assert eventually(lambda: outbox(there), 20)
        assert eventually(lambda: _misses(there) > 7, 20)
    finally:
        web.kill()
        worker.terminate()
        web.wait()
        _, log = worker.communicate(timeout=20)

    assert re.search(r"^ping +pinger\.ping \[\"http.*\"\] +every 0\.2 s ", shown, re.MULTILINE)
    assert re.search(r"ping: posted pinger\.ping as \w{22}", log)
    assert len(outbox(there)) == 1


def _misses(there: Path) -> int:
    state = there / "pinger.json"
    return json.loads(state.read_text())["misses"] if state.exists() else -1
