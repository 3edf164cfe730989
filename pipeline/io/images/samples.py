"""Converting samples of any depth and colour mode to 8-bit RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.io.images.reasons import ImageError

_DEPTHS = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""Largest values of 8, 10, 12, 14 and 16 bits, the depths of cameras and scanners, whatever type they are stored in."""
_BRIGHTEST = 64.0
_NO_DATA = 1e30
"""Larger floats mark missing data."""
_SAMPLED = 1 << 20
"""Number of samples that a percentile is taken of."""


def to_rgb(image: Image.Image) -> Image.Image:
    """A plain RGB copy; transparency is flattened on white.

    Raises:
        ImageError: "unsupported colour mode: ...".
    """
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(to_8_bit(np.asarray(image)))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(rgba, mask=rgba.getchannel("A"))
        return canvas
    if image.mode == "LAB":
        raise ImageError("unsupported colour mode: LAB")
    return image.convert("RGB")  # also a copy in mode RGB, which drops the file object


def to_8_bit(samples: NDArray[Any], white: float | None = None) -> NDArray[np.uint8]:
    """Scale samples to 0..255 without clipping.

    Negative values, infinities and NaN become black. If a quarter or more of the values are negative, the range begins
    at the smallest instead.

    Args:
        samples: whole numbers or floats, of any shape.
        white: the value of white; None estimates it from the samples, for files that do not state it.

    Returns:
        uint8 of the same shape.
    """
    if samples.dtype.kind == "u" and samples.dtype.itemsize <= 2:
        white = white or _white(samples, whole=True)
        size = 256 if samples.dtype.itemsize == 1 else 65536
        table = np.rint(np.minimum(np.arange(size) * (255 / white), 255)).astype(np.uint8)
        return np.asarray(table[samples])
    values = samples.astype(np.float32)
    values[~(np.abs(values) < _NO_DATA)] = 0
    if (values < 0).mean() >= 0.25:
        values -= values.min()
    white = white or _white(values, whole=samples.dtype.kind in "iu")
    np.clip(values, 0, white, out=values)
    values *= 255 / white
    return np.asarray(np.rint(values, out=values).astype(np.uint8))


def _white(values: NDArray[Any], *, whole: bool) -> float:
    """The largest value of the smallest depth that holds the samples: 0..255 stored in 16 or 32 bits is not black."""
    top = float(values.max())
    if not whole or top > _DEPTHS[-1]:  # a percentile, so that a single outlier does not darken the picture
        top = float(np.percentile(values.reshape(-1)[:: max(1, values.size // _SAMPLED)], 99.9))
    if not whole and top <= _BRIGHTEST:  # 0..1, or high dynamic range, where 1 is white paper and the sun is brighter
        return max(top, 1.0)
    return next((depth for depth in _DEPTHS if top <= depth), top)
