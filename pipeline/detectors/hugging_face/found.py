"""What a model found in one photo, and the objects that are kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.method.objects import Objects


@dataclass(frozen=True)
class Found:
    """Boxes that a library's post-processing gives for one photo.

    Attributes:
        boxes: [n, 4], x0, y0, x1, y1 in pixels of the photo.
        labels: n names.
        scores: [n], confidence in 0..1.
    """

    boxes: Tensor
    labels: Sequence[str]
    scores: Tensor


def objects_of(parts: Sequence[Found], size: tuple[int, int], most: int) -> Objects:
    """The most confident objects, without boxes that have no area within the photo.

    Args:
        parts: what was found, perhaps for several lists of classes.
        size: (width, height) of the photo in pixels.
        most: objects to keep.
    """
    boxes = torch.cat([part.boxes.double().cpu() for part in parts])
    scores = torch.cat([part.scores.float().cpu() for part in parts])
    labels = [label for part in parts for label in part.labels]
    width, height = size
    inside = boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height], dtype=boxes.dtype))
    order = scores.argsort(descending=True, stable=True)
    has_area = (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])
    rows = order[has_area[order]][:most]
    return Objects.from_pixels(inside[rows], [labels[row] for row in rows.tolist()], scores[rows], size)
