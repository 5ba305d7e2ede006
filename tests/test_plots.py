"""The figures of the tutorials: what is drawn follows from what was measured, and all of it can be measured."""

from __future__ import annotations

import json
import re
import subprocess
import xml.etree.ElementTree as ET

import pytest

from tests.benchmarks import plots
from tests.benchmarks.processes import ROOT, Unmeasured, Workshop, python
from tests.benchmarks.soak import __main__ as soak
from tests.benchmarks.svg import Axis, Chart, Line, draw, ticks

TINY = plots.Scale(1, (1_000,), (100, 2_000), 2, 1.0, (2,), (1,), 400)
CHART = Chart(
    "a < b",
    Axis("waiting", logarithmic=True),
    Axis("a second"),
    [Line("one", [(1_000, 50), (10_000, 100)]), Line("two", [(1_000, 0), (10_000, 25)])],
)
PICTURE = """\
<svg xmlns="http://www.w3.org/2000/svg" width="460" height="320" viewBox="0 0 460 320">
<rect width="460" height="320" fill="#fff"/>
<g transform="translate(0 0)">
<text x="64.0" y="22.0" class="title">a &lt; b</text>
<line class="grid" x1="64" y1="244.0" x2="444" y2="244.0"/>
<text x="58.0" y="248.0" class="number" text-anchor="end">0</text>
<line class="grid" x1="64" y1="204.0" x2="444" y2="204.0"/>
<text x="58.0" y="208.0" class="number" text-anchor="end">20</text>
<line class="grid" x1="64" y1="164.0" x2="444" y2="164.0"/>
<text x="58.0" y="168.0" class="number" text-anchor="end">40</text>
<line class="grid" x1="64" y1="124.0" x2="444" y2="124.0"/>
<text x="58.0" y="128.0" class="number" text-anchor="end">60</text>
<line class="grid" x1="64" y1="84.0" x2="444" y2="84.0"/>
<text x="58.0" y="88.0" class="number" text-anchor="end">80</text>
<line class="grid" x1="64" y1="44.0" x2="444" y2="44.0"/>
<text x="58.0" y="48.0" class="number" text-anchor="end">100</text>
<text x="64.0" y="262.0" class="number" text-anchor="middle">1k</text>
<text x="444.0" y="262.0" class="number" text-anchor="middle">10k</text>
<text x="254.0" y="280.0" text-anchor="middle">waiting</text>
<text x="58.0" y="36.0">a second</text>
<polyline class="line" stroke="#0072b2" points="64.0,144.0 444.0,44.0"/>
<circle cx="64.0" cy="144.0" r="3" fill="#0072b2"/>
<circle cx="444.0" cy="44.0" r="3" fill="#0072b2"/>
<rect x="64" y="296" width="12" height="4" fill="#0072b2"/>
<text x="80.0" y="302.0">one</text>
<polyline class="line" stroke="#d55e00" points="64.0,244.0 444.0,194.0"/>
<circle cx="64.0" cy="244.0" r="3" fill="#d55e00"/>
<circle cx="444.0" cy="194.0" r="3" fill="#d55e00"/>
<rect x="115" y="296" width="12" height="4" fill="#d55e00"/>
<text x="131.0" y="302.0">two</text>
</g>
</svg>
"""


def test_a_picture_is_exactly_what_its_figures_say():
    style = re.compile(r"<style>.*?</style>\n", re.DOTALL)

    assert style.sub("", draw([CHART])) == PICTURE


def test_a_picture_holds_its_charts_in_rows_and_nothing_that_is_fetched_or_embedded():
    text = draw([CHART] * 3, columns=2)
    picture = ET.fromstring(text)

    places = [group.get("transform") for group in picture if group.tag.endswith("}g")]

    assert (picture.get("width"), picture.get("height")) == ("920", "640")
    assert places == ["translate(0 0)", "translate(460 0)", "translate(0 320)"]
    assert re.findall(r"font-face|href|url\(|base64", text) == []


def test_a_chart_of_nothing_has_its_axes():
    text = draw([Chart("empty", Axis("x"), Axis("y", logarithmic=True), [Line("none", [])])])

    assert ('points=""' in text, text.count('class="grid"')) == (True, 2)


@pytest.mark.parametrize(
    ("axis", "values", "expected"),
    [
        (Axis(""), [0.0], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (Axis(""), [3.0, 97.0], [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]),
        (Axis("", logarithmic=True), [20.0, 3_000.0], [10.0, 100.0, 1_000.0, 10_000.0]),
        (Axis("", logarithmic=True), [10.0], [10.0, 100.0]),
        (Axis("", logarithmic=True, ticks=(1, 4)), [1.0, 4.0], [1, 4]),
    ],
)
def test_an_axis_has_few_round_numbers_and_reaches_beyond_its_values(axis, values, expected):
    assert ticks(axis, values) == pytest.approx(expected)


def test_the_pictures_in_the_tutorials_are_those_of_the_figures_beside_them():
    measured = json.loads((plots.FIGURES / plots.MEASURED).read_text())
    drawn = plots.pictures(measured) | {
        soak.PICTURE: soak.picture(soak.read_json((plots.FIGURES / soak.NOTES).read_text()))
    }

    assert {name: (plots.FIGURES / name).read_text() for name in drawn} == drawn, (
        "run: python -m tests.benchmarks --redraw"
    )


def test_everything_that_is_drawn_can_be_measured(tmp_path):
    with Workshop(tmp_path) as shop:
        plots.save({"cores": 2} | plots.measure(shop, TINY, lambda _: None), tmp_path / "figures")
    measured = json.loads((tmp_path / "figures" / plots.MEASURED).read_text())

    assert [(one["waiting"], one["trips"]) for one in measured["backlog"]] == [(1_000, 2)]
    assert [(one["workers"], one["producers"]) for one in measured["together"]] == [(1, 2)]
    assert all(one["tasks_per_second"] > 0 for one in measured["backlog"] + measured["together"])
    assert all(0 < one["trip_median"] <= one["trip_p99"] for one in measured["backlog"])
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        "backlog.svg", "measured.json", "producers.svg",
    ]  # fmt: skip


def test_a_backlog_of_one_is_kept_up_one_by_one():
    assert [plots.piece_of(waiting) for waiting in (1, 2, 1_000, 1_000_000)] == [1, 1, 500, plots.AT_ONCE]


def test_a_backlog_beside_which_no_round_trip_was_made_cannot_be_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "with_waiting", lambda one, waiting, scale: plots.Course(5.0, [], 0))

    with (
        Workshop(tmp_path) as shop,
        pytest.raises(Unmeasured, match="no round trip was made beside 1,000 waiting tasks"),
    ):
        plots.measure(shop, TINY, lambda _: None)


def test_pictures_are_drawn_again_without_measuring(tmp_path):
    measured = {
        "backlog": [
            {"waiting": waiting, "tasks_per_second": 5, "trip_median": 0.001, "trip_p99": 0.002}
            for waiting in (10, 100)
        ],
        "together": [{"workers": 1, "producers": producers, "tasks_per_second": 7} for producers in (1, 2)],
    }
    plots.save(measured, tmp_path)
    for name in ("backlog.svg", "producers.svg"):
        (tmp_path / name).unlink()

    command = python("tests.benchmarks", "--redraw", "--into", tmp_path)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {name: (tmp_path / name).read_text() for name in ("backlog.svg", "producers.svg")} == plots.pictures(
        measured
    )
    assert json.loads((tmp_path / plots.MEASURED).read_text()) == measured
