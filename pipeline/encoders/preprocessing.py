"""Photos as vision towers take them: what encoders of several families share.

The transforms are those of torchvision, to the last bit, without torchvision: importing it takes 2 s of CPU in every
actor, for torch._dynamo, which nothing here uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import QpertError

Transform = Callable[[Image.Image], Tensor]


def squashing(size: int, mean: Sequence[float], std: Sequence[float]) -> Transform:
    """From an RGB image to float32 [3, size, size]: both sides resized, whatever the photo's shape.

    The bicubic filter is PIL's, which differs from that of tensors. As `Resize`, `ToImage`, `ToDtype(scale=True)` and
    `Normalize` of torchvision.transforms.v2.

    Args:
        size: of both sides, in pixels.
        mean: of the three channels, 0 to 1.
        std: standard deviations of the three channels.
    """
    means, deviations = _by_channel(mean), _by_channel(std)

    def transform(image: Image.Image) -> Tensor:
        values = _channels(_resized(image, size, size)).float().mul_(1 / 255)
        return values.sub_(means).div_(deviations)

    return transform


def centre_cropping(size: int, mean: Sequence[float], std: Sequence[float]) -> Transform:
    """From an image to float32 [3, size, size]: the shorter side resized by PIL's bicubic filter, the centre cropped.

    As `Resize`, `CenterCrop`, `ToTensor` and `Normalize` of torchvision.transforms, which open_clip uses.

    Args:
        size: of both sides, in pixels.
        mean: of the three channels, 0 to 1.
        std: standard deviations of the three channels.
    """
    means, deviations = _by_channel(mean), _by_channel(std)

    def transform(image: Image.Image) -> Tensor:
        longer = int(size * max(image.size) / min(image.size))
        width, height = (size, longer) if image.width <= image.height else (longer, size)
        image = _resized(image, width, height)
        left, top = round((width - size) / 2), round((height - size) / 2)
        cropped = image.crop((left, top, left + size, top + size)).convert("RGB")
        # Divided, where `squashing` multiplies: the two generations of torchvision's transforms differ in the last bit.
        return _channels(cropped).contiguous().float().div_(255).sub_(means).div_(deviations)

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


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)


def _channels(image: Image.Image) -> Tensor:
    """The values of an RGB image, uint8 [3, height, width]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _by_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
