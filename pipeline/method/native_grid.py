"""Token grids of the photo's own aspect ratio (NaFlex), for encoders that pad short grids and mask the padding."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.errors import QpertError

_PRECISION = 1e-5
_SMALLEST, _LARGEST = _PRECISION / 10, 100.0
"""Bounds and precision of the search for a photo's scale; another precision would give other grids."""


@dataclass(frozen=True)
class NativeGrid:
    """How a photo becomes up to `max_patches` image tokens in as many rows and columns as fit its shape.

    The photo is scaled until no further patch fits, each side is rounded up to whole patches, and the tokens follow
    row by row. The sequence is padded to `max_patches`; no box covers padding.

    Attributes:
        patch: side of a patch in pixels.
        max_patches: most patches of a photo.
        prefix: tokens before the patches; no box covers them.
    """

    patch: int
    max_patches: int
    prefix: int = 0

    def __post_init__(self) -> None:
        if self.patch < 1 or self.max_patches < 1 or self.prefix < 0:
            raise QpertError(f"no token grid with {self.max_patches} patches of {self.patch} pixels")

    @property
    def tokens(self) -> int:
        """Length of the token sequence, prefix and padding included."""
        return self.prefix + self.max_patches

    def shape(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of a photo of `size` (width, height).

        As `get_image_size_for_max_num_patches` of transformers' Siglip2ImageProcessor: the largest scale, by bisection.
        """
        low, high = _SMALLEST, _LARGEST
        while high - low >= _PRECISION:
            scale = (low + high) / 2
            if self._side(size[1], scale) * self._side(size[0], scale) <= self.max_patches:
                low = scale
            else:
                high = scale
        return self._side(size[1], low), self._side(size[0], low)

    def placement(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """(resized width, resized height, 0, 0) in pixels, see `TokenGrid.placement`; nothing is cut off."""
        rows, columns = self.shape(size)
        return columns * self.patch, rows * self.patch, 0, 0

    def _side(self, pixels: int, scale: float) -> int:
        return max(1, math.ceil(pixels * scale / self.patch))
