"""Learned positions of patches, interpolated for photos of another size than the model was trained on."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.errors import QpertError


def check_side(image_size: int, patch: int, title: str) -> None:
    """Refuse photos that cannot be cut into whole patches.

    Raises:
        QpertError: with the nearest sizes that can.
    """
    if image_size < patch or image_size % patch:
        below, above = image_size // patch * patch, max(1, -(-image_size // patch)) * patch
        nearest = f"{below} or {above}" if below > 0 else f"{above}"
        raise QpertError(
            f"{title} cuts photos into patches of {patch} pixels: {image_size} is no multiple, {nearest} is"
        )


def interpolate_positions(positions: Tensor, side: int, prefix: int, *, antialias: bool) -> Tensor:
    """Positions of a square grid of patches for a grid of another size, by bicubic interpolation.

    Args:
        positions: [prefix + P, C], P the square of the old side; any floating dtype.
        side: of the new grid, in patches.
        prefix: positions before those of the patches, which stay as they are.
        antialias: as open_clip interpolates; InternVL does without. It matters for smaller grids only.

    Returns:
        [prefix + side^2, C], in the dtype of `positions`; the very same where the side is the same.
    """
    first, patches = positions[:prefix], positions[prefix:]
    old = math.isqrt(len(patches))
    if old == side:
        return positions
    plane = patches.float().view(1, old, old, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(plane, (side, side), mode="bicubic", antialias=antialias, align_corners=False)
    return torch.cat([first, resized.permute(0, 2, 3, 1).flatten(0, 2).to(positions.dtype)])
