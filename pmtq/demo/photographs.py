"""Makes pictures of the size a camera makes, so that the demo has real work to hand out.

1. They are as large as photographs (24 million points), and compress like them: soft gradients under grain.
2. No two are alike: the same hills at twelve hours of the day.

It does not know that anybody will resize them.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

SIZE = (6000, 4000)
HOURS = 12
"""After so many pictures the day begins again."""
_SKETCH = (750, 500)
"""The scene is painted this small and enlarged: nobody sees it under the grain, and it takes a tenth of the time."""
_GRAIN = 8
"""Standard deviation of the grain, in levels of 256; it makes a JPEG of about 2 MB."""
_QUALITY = 85

_Colour = tuple[int, int, int]
# The sky at the top, the sky at the horizon, and the nearest hill: at sunrise, at noon, at sunset, at night.
_LIGHT: tuple[tuple[_Colour, _Colour, _Colour], ...] = (
    ((74, 88, 140), (255, 190, 150), (44, 50, 62)),
    ((64, 130, 210), (205, 230, 245), (40, 92, 60)),
    ((70, 50, 110), (255, 140, 70), (46, 34, 50)),
    ((10, 14, 40), (40, 52, 96), (8, 12, 24)),
)


def make_photograph(path: Path, number: int) -> None:
    """Write picture ``number`` (0, 1, 2 …) as a JPEG; the same number gives the same scene under other grain."""
    hour = (number % HOURS) / HOURS
    sky, horizon, hill = _light_at(hour)
    sketch = _paint_sky(sky, horizon)
    _paint_sun(sketch, hour)
    _paint_hills(sketch, horizon, hill, number)
    picture = sketch.resize(SIZE, Image.Resampling.BILINEAR)
    # Grain has the mean 128: adding it and taking 128 away makes some points lighter and some darker.
    ImageChops.add(picture, _grain(), offset=-128).save(path, quality=_QUALITY)


def _light_at(hour: float) -> tuple[_Colour, _Colour, _Colour]:
    """Return the colours of sky, horizon and hill at ``hour``, a share of the day from sunrise on."""
    position = hour * len(_LIGHT)
    before, share = int(position), position % 1
    earlier, later = _LIGHT[before], _LIGHT[(before + 1) % len(_LIGHT)]
    sky, horizon, hill = (_mix(a, b, share) for a, b in zip(earlier, later, strict=True))
    return sky, horizon, hill


def _mix(first: _Colour, second: _Colour, share: float) -> _Colour:
    """Return the colour that lies ``share`` of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _paint_sky(sky: _Colour, horizon: _Colour) -> Image.Image:
    """Return the sketch with a sky on it, darkest at the top, and the horizon's light from the middle down."""
    falling = Image.linear_gradient("L").point(lambda level: min(255, level * 2))
    backdrop = Image.new("RGB", _SKETCH, sky)
    backdrop.paste(horizon, mask=falling.resize(_SKETCH))
    return backdrop


def _paint_sun(sketch: Image.Image, hour: float) -> None:
    """Put the sun where it stands at ``hour``; in the second half of the day it is the moon."""
    width, height = _SKETCH
    across, is_day = (hour * 2) % 1, hour < 0.5
    radius = 170 if is_day else 60
    glow = Image.radial_gradient("L").point(lambda level: max(0, 255 - level * 2)).resize((2 * radius, 2 * radius))
    left = round(width * (0.15 + 0.7 * across)) - radius
    top = round(height * (0.26 - 0.14 * math.sin(math.pi * across))) - radius
    sketch.paste((255, 244, 214) if is_day else (226, 232, 250), (left, top), glow)


def _paint_hills(sketch: Image.Image, horizon: _Colour, hill: _Colour, number: int) -> None:
    """Paint three ranges of hills, the far ones lighter, each with a ridge of its own."""
    width, height = _SKETCH
    draw = ImageDraw.Draw(sketch)
    for layer in range(3):
        base, swing = height * (0.32 + 0.09 * layer), height * 0.05
        ridge = [
            (x, base + swing * (math.sin(x / (90 + 40 * layer) + number + layer) + 0.4 * math.sin(x / 23 + 2 * layer)))
            for x in range(0, width + 5, 5)
        ]
        draw.polygon([*ridge, (width, height), (0, height)], fill=_mix(horizon, hill, 0.4 + 0.3 * layer))


@cache
def _grain() -> Image.Image:
    """Return grain for a whole picture; made once, because it takes longer than all the rest."""
    bands = [Image.effect_noise(_SKETCH, _GRAIN).resize(SIZE, Image.Resampling.BILINEAR) for _ in range(3)]
    return Image.merge("RGB", bands)
