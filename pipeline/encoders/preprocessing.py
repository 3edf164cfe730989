"""Photos as vision towers take them: what encoders of several families share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from pipeline.errors import QpertError


def squashing(size: int, mean: Sequence[float], std: Sequence[float]) -> Callable[[Image.Image], Tensor]:
    """From an RGB image to float32 [3, size, size]: both sides resized, whatever the photo's shape.

    The bicubic filter is PIL's, which differs from that of tensors.

    Args:
        size: of both sides, in pixels.
        mean: of the three channels, 0 to 1.
        std: standard deviations of the three channels.
    """
    transform: Callable[[Image.Image], Tensor] = v2.Compose(
        [
            v2.Resize([size, size], v2.InterpolationMode.BICUBIC),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )
    return transform


def square_side(size: int | Sequence[int], model: str) -> int:
    """The side of a square image or patch, given as one number or as one per side.

    Raises:
        QpertError: it is not square.
    """
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise QpertError(f"{model} is supported for square images and patches only, got {size}")
    return int(sides.pop())
