"""Boxes moved to where no object is: the control for what a box's place adds to its size."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_THINNEST = 1e-6
"""Free strips narrower than this are the rounding of float32 coordinates."""


def place_elsewhere(boxes: Tensor, seed: tuple[int, ...]) -> Tensor:
    """Boxes of the same sizes, each at a uniformly random place where it overlaps none of the given boxes.

    Moved boxes may overlap each other. A box for which there is no such place becomes empty, which covers nothing.

    Args:
        boxes: float32 [n, 4], (x0, y0, x1, y1) as fractions of the photo.
        seed: non-negative integers.

    Returns:
        float32 [n, 4].
    """
    given = boxes.double().numpy()
    generator = np.random.default_rng(list(seed))
    moved = np.zeros_like(given)
    for row, (x0, y0, x1, y1) in enumerate(given):
        width, height = x1 - x0, y1 - y0
        place = _free_place(given, width, height, generator.random(3))
        if place is not None:
            moved[row] = place[0], place[1], place[0] + width, place[1] + height
    return torch.from_numpy(moved).float().clamp(0, 1)


def _free_place(boxes: np.ndarray, width: float, height: float, drawn: np.ndarray) -> tuple[float, float] | None:
    """A top left corner, uniform over the free ones: the edges of the boxes cut its range into cells, free or not.

    A corner is taken if the box that hangs from it overlaps another one: if it lies within that one, extended by
    `width` to the left and by `height` to the top.
    """
    columns, taken_columns = _cells(boxes[:, 0] - width, boxes[:, 2], 1 - width)
    rows, taken_rows = _cells(boxes[:, 1] - height, boxes[:, 3], 1 - height)
    taken = _covered(taken_rows, taken_columns)
    lengths = [np.diff(borders) if borders[-1] > 0 else np.ones(1) for borders in (rows, columns)]
    areas = np.where(taken, 0, lengths[0][:, None] * lengths[1][None, :])
    if not areas.sum() > 0:
        return None
    cell = np.searchsorted(np.cumsum(areas) / areas.sum(), drawn[0], side="right")
    row, column = divmod(min(int(cell), areas.size - 1), areas.shape[1])
    return (
        float(columns[column] + drawn[1] * (columns[column + 1] - columns[column])),
        float(rows[row] + drawn[2] * (rows[row + 1] - rows[row])),
    )


def _covered(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Whether a cell is in the rows and columns of any box: bool [r, c], from runs bool [n, r] and [n, c].

    By sums of changes at the corners: a photo may have a thousand boxes, and a product takes seconds for hundreds.
    """
    (top, bottom), (left, right) = ((runs.argmax(1), runs.argmax(1) + runs.sum(1)) for runs in (rows, columns))
    change = np.zeros((rows.shape[1] + 1, columns.shape[1] + 1), np.int32)
    for row, column, sign in ((top, left, 1), (bottom, right, 1), (top, right, -1), (bottom, left, -1)):
        np.add.at(change, (row, column), sign)
    covered: np.ndarray = change.cumsum(0).cumsum(1)[:-1, :-1] > 0
    return covered


def _cells(low: np.ndarray, high: np.ndarray, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Borders [k + 1] of the cells of 0..end, and bool [n, k]: whether cell k is between `low` and `high` of box n.

    A box as wide as the photo has a single place to go, at 0: one cell without width.
    """
    if end <= _THINNEST:
        return np.zeros(2), (low[:, None] < 0) & (high[:, None] > 0)
    borders = np.unique(np.clip(np.concatenate([[0.0, end], low, high]), 0, max(end, 0)))
    borders = borders[np.concatenate([[True], np.diff(borders) > _THINNEST])]
    middle = (borders[:-1] + borders[1:]) / 2
    return borders, (low[:, None] < middle) & (middle < high[:, None])
