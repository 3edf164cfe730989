"""Object embeddings (OEs): the object-aware baseline that Q-Perturbation is compared with (section B.1, Table A).

The image tokens under an object's box are ROI-pooled, and the pooled tokens pass through the encoder's own head like a
photo. A photo's score is then its plain score plus the highest similarity of the text with its OEs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.encoders.base import Encoder
from pipeline.method.objects import Grid, Objects

POOLED = 7
"""Pooled tokens per side. The paper gives no number; 7 is usual for ROI pooling."""


@torch.no_grad()
def object_embeddings(encoder: Encoder, tokens: Tensor, objects: Sequence[Objects]) -> list[Tensor]:
    """Object embeddings of each photo.

    Args:
        encoder: any encoder whose `embed` takes token sequences of any length.
        tokens: [B, N, C] from its backbone; the tokens before the patches ([CLS]) belong to no object.
        objects: one `Objects` per photo.

    Returns:
        For each photo unit vectors float32 [n, V, D] of the n objects that the encoder sees (a centre crop may remove
        some), in the order of the boxes.
    """
    from torchvision.ops import roi_align  # imports torch._dynamo, which actors without OEs do without

    grid = encoder.grid
    boxes = [_boxes_on_grid(photo, grid) for photo in objects]
    counts = [len(photo) for photo in boxes]
    if not sum(counts):
        return [torch.zeros(0, encoder.vectors, encoder.dim) for _ in objects]
    pooled = []
    for of_photo, photo, corners in zip(tokens[:, grid.prefix :].float(), objects, boxes, strict=True):
        rows, columns = grid.shape(photo.size)
        patches = of_photo[: rows * columns].mT.reshape(1, -1, rows, columns)
        # Corners are points on the patch grid; `aligned` puts the centre of patch 0 at 0.5, as on the grid.
        pooled.append(roi_align(patches, [corners.to(patches)], POOLED, sampling_ratio=2, aligned=True))
    vectors = encoder.embed(torch.cat(pooled).flatten(2).mT.to(tokens.dtype))
    return list(torch.split(vectors, counts))


def seen_objects(objects: Objects, grid: Grid) -> list[int]:
    """The numbers of the objects that the encoder sees: those that have embeddings."""
    return [int(number) for number in _has_area(_clipped(objects, grid)).nonzero()]


def _boxes_on_grid(objects: Objects, grid: Grid) -> Tensor:
    """Boxes [n, 4] in patches, clipped to what the encoder sees; empty ones are dropped."""
    edges = _clipped(objects, grid)
    return edges[_has_area(edges)]


def _has_area(edges: Tensor) -> Tensor:
    return (edges[:, 2] > edges[:, 0]) & (edges[:, 3] > edges[:, 1])


def _clipped(objects: Objects, grid: Grid) -> Tensor:
    width, height, left, top = grid.placement(objects.size)
    edges = objects.boxes.double() * torch.tensor([width, height, width, height])
    rows, columns = grid.shape(objects.size)
    edges = (edges - torch.tensor([left, top, left, top])) / grid.patch
    return edges.clamp(min=0).minimum(torch.tensor([columns, rows, columns, rows]))
