"""The preprocessing of encoders that squash: both sides to the same size, whatever the photo's shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2


def squashing(size: int, mean: Sequence[float], std: Sequence[float]) -> Callable[[Image.Image], Tensor]:
    """From an RGB image to float32 [3, size, size]. The bicubic filter is PIL's, not a tensor's: they differ.

    Args:
        size: of both sides, in pixels.
        mean: of the three channels, 0 to 1.
        std: their deviation.
    """
    steps: Callable[[Image.Image], Tensor] = v2.Compose(
        [
            v2.Resize([size, size], v2.InterpolationMode.BICUBIC),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )
    return steps
