"""Objects in a photo, and the image tokens under them.

A box is given in fractions of the original photo. A vision encoder sees the photo resized (and perhaps cropped) and
cut into patches, one token each. `token_coverage` gives the share of each patch that a box covers. It is computed from
the edges of the box, without rasterising, so it is exact for boxes of any size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import torch
from torch import Tensor

from pipeline.errors import QpertError
from pipeline.method.native_grid import NativeGrid

_SLACK = 1e-6
"""How far a normalised coordinate may lie outside 0..1 (fp32 rounding); it is clamped."""
_SNAP = 1e-5
"""An edge this close to a patch border (in patches) lies on it, so that fp32 rounding cannot add a patch to a box."""


@dataclass(frozen=True, eq=False, init=False)
class Objects:
    """The detected or annotated objects of one photo.

    Attributes:
        boxes: float32 [n, 4], (x0, y0, x1, y1) as fractions (0..1) of the original photo's width and height.
            A box of zero width or height is allowed: it covers nothing.
        labels: n names, "" for none.
        scores: float32 [n], confidence in 0..1.
        size: (width, height) of the original photo in pixels.
        photo: the photo's id, from which the controls `random` and `elsewhere` draw their numbers; without one they
            draw them from the boxes.
        shuffled: boxes float32 [n, 4] of other photos in place of these, by seed, for the control of that name.

    Raises:
        QpertError: shapes that do not match, NaN, inverted boxes, coordinates outside 0..1.
    """

    boxes: Tensor
    labels: tuple[str, ...]
    scores: Tensor
    size: tuple[int, int]
    photo: str
    shuffled: Mapping[int, Tensor]

    def __init__(
        self,
        boxes: Tensor | Sequence[Sequence[float]],
        labels: Sequence[str],
        scores: Tensor | Sequence[float],
        size: tuple[int, int],
        photo: str = "",
        shuffled: Mapping[int, Tensor] | None = None,
    ) -> None:
        boxes, scores = _boxes(boxes), _scores(scores)
        if not len(boxes) == len(labels) == len(scores):
            counts = f"{len(boxes)} boxes, {len(labels)} labels and {len(scores)} scores"
            raise QpertError(f"objects need one label and one score per box, but there are {counts}")
        if boxes.numel() and (boxes.min() < -_SLACK or boxes.max() > 1 + _SLACK):
            raise QpertError(
                f"boxes must be fractions (0..1) of the photo, got {boxes.min():g} to {boxes.max():g}; "
                "for pixel coordinates use Objects.from_pixels(boxes, labels, scores, size)"
            )
        object.__setattr__(self, "boxes", boxes.clamp(0, 1))
        object.__setattr__(self, "labels", tuple(str(label) for label in labels))
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "size", _size(size))
        object.__setattr__(self, "photo", photo)
        object.__setattr__(self, "shuffled", {seed: _boxes(others) for seed, others in (shuffled or {}).items()})

    @classmethod
    def empty(cls, size: tuple[int, int]) -> Objects:
        """A photo of `size` (width, height) without objects."""
        return cls(torch.zeros(0, 4), (), torch.zeros(0), size)

    @classmethod
    def from_pixels(
        cls,
        boxes: Tensor | Sequence[Sequence[float]],
        labels: Sequence[str],
        scores: Tensor | Sequence[float],
        size: tuple[int, int],
    ) -> Objects:
        """Objects from boxes [n, 4] in pixels of the original photo, half-open: the whole photo is (0, 0, W, H).

        Boxes are cut off at the edges of the photo.

        Raises:
            QpertError: as for `Objects`.
        """
        edges = torch.tensor([*_size(size), *_size(size)], dtype=torch.float64)
        fractions = _boxes(boxes, torch.float64) / edges
        return cls(fractions.clamp(0, 1).float(), labels, scores, size)

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def key(self) -> int:
        """A number of 64 bits that is the photo's own, from its id, or without one from its size and boxes."""
        named = self.photo.encode() or repr((self.size, self.boxes.tolist())).encode()
        return int.from_bytes(blake2b(named, digest_size=8).digest())

    @property
    def areas(self) -> Tensor:
        """float32 [n], each box's share of the original photo, including parts that the encoder crops away."""
        return (self.boxes[:, 2] - self.boxes[:, 0]) * (self.boxes[:, 3] - self.boxes[:, 1])


@dataclass(frozen=True)
class TokenGrid:
    """How a photo becomes image tokens.

    Attributes:
        image_size: side S of the square input, in pixels.
        patch: side of a patch in pixels. Pixels left over at the right and bottom belong to no token.
        mode: `squash` resizes both sides to S; `center_crop` resizes the shorter side to S and keeps the middle.
        prefix: tokens before the patches ([CLS]); no box covers them.
    """

    image_size: int
    patch: int
    mode: Literal["squash", "center_crop"]
    prefix: int = 1

    def __post_init__(self) -> None:
        if self.mode not in ("squash", "center_crop"):
            raise QpertError(f"unknown preprocessing {self.mode!r}; a token grid is 'squash' or 'center_crop'")
        if not 0 < self.patch <= self.image_size or self.prefix < 0:
            raise QpertError(f"no token grid with patches of {self.patch} in an image of {self.image_size} pixels")

    @property
    def side(self) -> int:
        """Patches per row and per column."""
        return self.image_size // self.patch

    @property
    def tokens(self) -> int:
        """Length of the token sequence, prefix included."""
        return self.prefix + self.side**2

    def shape(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of patches, the same for photos of every `size`."""
        return self.side, self.side

    def placement(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Placement of a photo of `size` (width, height): (resized width, resized height, left, top), in input pixels.

        `left` and `top` are cut off. The rounding is that of torchvision's `Resize` and `CenterCrop`.
        """
        side, (width, height) = self.image_size, size
        if self.mode == "squash":
            return side, side, 0, 0
        long = int(side * max(size) / min(size))
        new_width, new_height = (side, long) if width <= height else (long, side)
        return new_width, new_height, round((new_width - side) / 2), round((new_height - side) / 2)


Grid = TokenGrid | NativeGrid


def token_coverage(objects: Objects, grid: Grid) -> Tensor:
    """Share of each token's patch that each box covers: float32 [n, grid.tokens] in 0..1, 0 for prefix and padding.

    The row of an object that the crop removes is all zero.
    """
    return batch_coverage([objects], grid)[0][0]


def batch_coverage(objects: Sequence[Objects], grid: Grid) -> tuple[Tensor, Tensor]:
    """Coverage for the photos of a batch, padded with zeros to the largest number of objects.

    Args:
        objects: one `Objects` for each of the B photos.
        grid: how the encoder cuts the photos into tokens.

    Returns:
        coverage float32 [B, O, grid.tokens] (see `token_coverage`) and areas float32 [B, O], both on the CPU.
    """
    count = max((len(o) for o in objects), default=0)
    boxes, areas = torch.zeros(len(objects), count, 4, dtype=torch.float64), torch.zeros(len(objects), count)
    for row, photo in enumerate(objects):
        boxes[row, : len(photo)] = photo.boxes.double()
        areas[row, : len(photo)] = photo.areas
    placed = torch.tensor([grid.placement(o.size) for o in objects], dtype=torch.float64).view(-1, 1, 4)
    edges = (boxes * placed[..., [0, 1, 0, 1]] - placed[..., [2, 3, 2, 3]]) / grid.patch
    edges = torch.where((edges - edges.round()).abs() < _SNAP, edges.round(), edges)
    shapes = torch.tensor([grid.shape(o.size) for o in objects], dtype=torch.int64).view(-1, 2)
    rows, columns = shapes.amax(0).tolist() if objects else (0, 0)
    across = _overlap(edges[..., 0], edges[..., 2], columns)
    down = _overlap(edges[..., 1], edges[..., 3], rows)
    if (shapes == shapes[:1]).all():
        patches = (down[..., :, None] * across[..., None, :]).flatten(-2).float()
    else:
        patches = _by_token(down, across, shapes, grid.tokens - grid.prefix).float()
    padding = grid.tokens - grid.prefix - patches.shape[-1]
    return torch.nn.functional.pad(patches, (grid.prefix, padding)), areas


def _by_token(down: Tensor, across: Tensor, shapes: Tensor, tokens: int) -> Tensor:
    """Coverage [B, O, tokens] from that of rows [B, O, R] and columns [B, O, C], for photos of several `shapes` [B, 2].

    The outer product of all rows and columns would be far larger than the tokens: one photo may have as many rows as
    another has columns.
    """
    token, rows, columns = torch.arange(tokens), shapes[:, :1], shapes[:, 1:]
    row, column = token // columns, token % columns
    inside = row < rows
    of_rows, of_columns = (index[:, None].expand(-1, down.shape[1], -1) for index in (row * inside, column))
    return down.gather(-1, of_rows) * across.gather(-1, of_columns) * inside[:, None]


def _overlap(start: Tensor, end: Tensor, cells: int) -> Tensor:
    """Length of the part of [start, end) inside each of the unit cells [c, c + 1): [..., cells]."""
    cell = torch.arange(cells, dtype=start.dtype)
    return (torch.minimum(end[..., None], cell + 1) - torch.maximum(start[..., None], cell)).clamp(min=0)


def _boxes(values: Tensor | Sequence[Sequence[float]], dtype: torch.dtype = torch.float32) -> Tensor:
    """Boxes as a checked CPU tensor [n, 4]: finite, not inverted."""
    boxes = torch.as_tensor(values, dtype=dtype, device="cpu").detach()
    if boxes.numel() == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise QpertError(f"boxes must have shape [n, 4] (x0, y0, x1, y1), got {list(boxes.shape)}")
    if not boxes.isfinite().all():
        raise QpertError(f"box {boxes[~boxes.isfinite().all(1)][0].tolist()} is not finite")
    inverted = (boxes[:, 2:] < boxes[:, :2]).any(1)
    if inverted.any():
        raise QpertError(f"box {boxes[inverted][0].tolist()} is inverted: it needs x0 <= x1 and y0 <= y1")
    return boxes


def _scores(values: Tensor | Sequence[float]) -> Tensor:
    """Scores as a finite CPU tensor [n]."""
    scores = torch.as_tensor(values, dtype=torch.float32, device="cpu").detach()
    if scores.ndim != 1 or not scores.isfinite().all():
        raise QpertError(f"scores must be finite and have shape [n], got {scores.tolist()}")
    return scores


def _size(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) in whole pixels, both at least 1."""
    width, height = size
    if not all(math.isfinite(side) and side >= 1 and side == int(side) for side in (width, height)):
        raise QpertError(f"a photo's size is (width, height) in whole pixels, both at least 1, got {tuple(size)}")
    return int(width), int(height)
