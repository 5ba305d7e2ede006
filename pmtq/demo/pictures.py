"""The worker's program: the function ``Image.resize``, made a task of the app.

A worker runs it with ``pmtq worker -A pmtq.demo.pictures:app``. Nothing here says where a call comes from: from the
demo's client, from a line that somebody typed into the queue file, from a program in another language.
"""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

from pmtq import PMTQ

app = PMTQ("imaginosaure")


@app.task(name="Image.resize")
def resize(file: str, width: int, height: int, x: int = 0, y: int = 0) -> str:
    """Write a ``width`` x ``height`` copy of the picture beside it, as ``<name>_<width>x<height>.jpg``; return its path.

    ``x`` and ``y`` are the left upper corner of what is kept, in pixels of the original. From there the copy shows as
    much as fits the shape ``width`` : ``height``, so nothing is stretched. Raises ``ValueError`` for a size that is no
    size, and for a corner outside the picture.
    """
    target = result_path(Path(file), width, height)
    # A task may run twice, when its worker dies in the middle: then the second run must not meet half a picture.
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    with Image.open(file) as picture:
        box = kept_part(picture.size, (width, height), (x, y))
        picture.resize((width, height), Image.Resampling.LANCZOS, box).save(draft, "JPEG")
    draft.replace(target)
    return str(target)


def result_path(file: Path, width: int, height: int) -> Path:
    """Return where the resized copy of ``file`` goes."""
    return file.with_name(f"{file.stem}_{width}x{height}.jpg")


def kept_part(
    picture: tuple[int, int], size: tuple[int, int], corner: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Return the largest box (left, upper, right, lower) of the shape ``size`` whose left upper end is ``corner``."""
    (x, y), (width, height) = corner, size
    if width < 1 or height < 1:
        raise ValueError(f"a picture of {width} x {height} pixels cannot be made")
    if not (0 <= x < picture[0] and 0 <= y < picture[1]):
        raise ValueError(f"the corner ({x}, {y}) is outside the picture, which has {picture[0]} x {picture[1]} pixels")
    scale = min((picture[0] - x) / width, (picture[1] - y) / height)
    return x, y, x + width * scale, y + height * scale
