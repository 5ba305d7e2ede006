"""Draws charts of lines as SVG: text that a person can read, and that changes no more than the figures do.

1. The same figures give the same bytes: nothing is random, dated or taken from the machine, and lengths have one decimal.
2. Fonts are named, not embedded; text stays text. Each line of the file is one thing on the picture.
3. An axis begins at 0, or it is logarithmic and has a label at each power of ten.

It does not know what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 460, 320
"""Of one chart, in pixels."""
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 44, 76
"""Room around where the lines are: for the title, the labels and the legend."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, which readers who cannot tell red from green can tell apart."""
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #222 }
.title { font-size: 14px; font-weight: 600 }
.number { fill: #555 }
.grid { stroke: #ddd }
.line { fill: none; stroke-width: 2 }
</style>"""


class Line(NamedTuple):
    """One line of a chart."""

    name: str
    points: list[tuple[float, float]]


class Axis(NamedTuple):
    """One axis of a chart."""

    name: str
    logarithmic: bool = False
    ticks: tuple[float, ...] = ()
    """Where there are numbers; without any, they are found."""


class Chart(NamedTuple):
    """One chart: what it is called, its axes, its lines."""

    title: str
    across: Axis
    upward: Axis
    lines: list[Line]


def draw(charts: list[Chart], columns: int = 2) -> str:
    """Return the text of an SVG file with the charts in rows of ``columns``."""
    rows = math.ceil(len(charts) / columns)
    width, height = WIDTH * min(columns, len(charts)), HEIGHT * rows
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        STYLE,
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for number, chart in enumerate(charts):
        parts.append(f'<g transform="translate({number % columns * WIDTH} {number // columns * HEIGHT})">')
        parts += _parts(chart)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _parts(chart: Chart) -> Iterator[str]:
    xs = [x for line in chart.lines for x, _ in line.points] or [1.0]
    ys = [y for line in chart.lines for _, y in line.points] or [1.0]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    yield _text(LEFT, 22, chart.title, "title")
    across, upward = ticks(chart.across, xs), ticks(chart.upward, ys)
    place_x = _scale(chart.across, across, xs, LEFT, right)
    place_y = _scale(chart.upward, upward, ys, bottom, TOP)
    for tick in upward:
        y = place_y(tick)
        yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
        yield _text(LEFT - 6, y + 4, number(tick), "number", "end")
    for tick in across:
        yield _text(place_x(tick), bottom + 18, number(tick), "number", "middle")
    yield _text((LEFT + right) / 2, bottom + 36, chart.across.name, anchor="middle")
    yield _text(LEFT - 6, TOP - 8, chart.upward.name, anchor="start")
    at = LEFT
    for line, colour in zip(chart.lines, COLOURS, strict=False):
        places = " ".join(f"{place_x(x):.1f},{place_y(y):.1f}" for x, y in line.points)
        yield f'<polyline class="line" stroke="{colour}" points="{places}"/>'
        if len(line.points) <= 12:
            yield from (
                f'<circle cx="{place_x(x):.1f}" cy="{place_y(y):.1f}" r="3" fill="{colour}"/>' for x, y in line.points
            )
        yield f'<rect x="{at}" y="{HEIGHT - 24}" width="12" height="4" fill="{colour}"/>'
        yield _text(at + 16, HEIGHT - 18, line.name)
        at += 32 + round(6.4 * len(line.name))


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    marks = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor != "start" else "")
    return f'<text x="{x:.1f}" y="{y:.1f}"{marks}>{escape(text)}</text>'


def ticks(axis: Axis, values: list[float]) -> list[float]:
    """Return where an axis has numbers: powers of ten, or four to six round steps from 0 on."""
    if axis.ticks:
        return list(axis.ticks)
    if axis.logarithmic:
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        return [10.0**power for power in range(low, max(high, low + 1) + 1)]
    most = max([*values, 0.0]) or 1.0
    rough = most / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * times for times in (1, 2, 2.5, 5, 10) if unit * times >= rough * 0.999)
    return [step * times for times in range(math.ceil(most / step - 1e-9) + 1)]


def _scale(axis: Axis, marks: list[float], values: list[float], begin: float, end: float) -> Callable[[float], float]:
    """Return the function that says where on the picture a value of an axis stands."""
    see = math.log10 if axis.logarithmic else float
    low, high = see(min([*marks, *values])), see(max([*marks, *values]))
    return lambda value: begin + (see(value) - low) / ((high - low) or 1.0) * (end - begin)


def number(value: float) -> str:
    """Show a number on an axis: 1,000,000 is 1M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
