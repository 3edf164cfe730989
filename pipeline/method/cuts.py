"""Pictures cut from a photo, around its objects and on a grid: whole pixels, so that a cut can be made again."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.errors import QpertError

Cut = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels of the photo, half-open."""
Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) as fractions (0..1) of the photo."""


_HALF_OPEN = 1e-2
"""Pixels by which an edge may lie beyond a border of pixels, by the rounding of float32 fractions."""


def cut_around(box: Sequence[float], margin: float, size: tuple[int, int]) -> Cut:
    """The part of a photo that holds a box and a margin around it, as far as the photo reaches.

    Args:
        box: (x0, y0, x1, y1) as fractions of the photo.
        margin: added on each side, as a fraction of the box's own width and height.
        size: (width, height) of the photo in pixels.

    Returns:
        All pixels that the box with its margin touches; at least one.
    """
    sides = []
    for low, high, pixels in ((box[0], box[2], size[0]), (box[1], box[3], size[1])):
        more = margin * (high - low)
        first = min(max(0, math.floor((low - more) * pixels + _HALF_OPEN)), pixels - 1)
        last = min(pixels, max(first + 1, math.ceil((high + more) * pixels - _HALF_OPEN)))
        sides.append((first, last))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom


def tiles(across: int, overlap: float, size: tuple[int, int]) -> list[Cut]:
    """A grid of tiles that cover a photo, row by row.

    Args:
        across: tiles per row and per column.
        overlap: share of a tile's side that it has in common with the next one, below 1.
        size: (width, height) of the photo in pixels.

    Returns:
        `across` squared tiles, of equal sides but for rounding to pixels; each has at least one pixel.

    Raises:
        QpertError: no tiles, or an overlap that leaves no step from one to the next.
    """
    if across < 1 or not 0 <= overlap < 1:
        raise QpertError(f"tiles are at least 1 across and overlap by 0 to less than 1, not {across} and {overlap:g}")
    side = 1 / (across - (across - 1) * overlap)
    spans = [[_span(number * side * (1 - overlap), side, pixels) for number in range(across)] for pixels in size]
    return [(left, top, right, bottom) for top, bottom in spans[1] for left, right in spans[0]]


def as_box(cut: Cut, size: tuple[int, int]) -> Box:
    """A cut as fractions of the photo."""
    width, height = size
    return cut[0] / width, cut[1] / height, cut[2] / width, cut[3] / height


def _span(start: float, side: float, pixels: int) -> tuple[int, int]:
    low = min(_whole(start * pixels), pixels - 1)
    return low, min(pixels, max(low + 1, _whole((start + side) * pixels)))


def _whole(pixels: float) -> int:
    """Rounded, halves always up: to even numbers, or as float64 happens to hold them, sides would differ by two."""
    return math.floor(round(pixels, 6) + 0.5)
