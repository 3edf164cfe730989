"""ROI pooling against results by hand, with an encoder that only averages its tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.encoders.object_embeddings import object_embeddings
from pipeline.method.native_grid import NativeGrid
from pipeline.method.objects import Grid, Objects, TokenGrid


class Averaging:
    """Embeds any number of tokens [B, N, 2] as their mean, not normalised, to keep it readable."""

    vectors, dim = 1, 2

    def __init__(self, mode: Any = "squash") -> None:
        self.grid: Grid = TokenGrid(image_size=8, patch=1, mode=mode)
        self.seen: list[torch.Size] = []

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        self.seen.append(tokens.shape)
        return tokens.float().mean(1, keepdim=True)


def ramp(encoder: Averaging, photos: int = 1) -> torch.Tensor:
    """Tokens whose two channels are the patch's centre (x, y), after a [CLS] that would spoil any mean."""
    centres = torch.arange(8) + 0.5
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1).reshape(-1, 2)
    return torch.cat([torch.full((1, 2), 1e6), grid])[None].expand(photos, -1, -1)


def test_a_box_pools_the_tokens_under_it() -> None:
    encoder = Averaging()
    boxes = [[0.25, 0.5, 0.75, 1.0], [0.5, 0.25, 0.51, 0.26], [0.125, 0.125, 0.875, 0.875]]
    (vectors,) = object_embeddings(encoder, ramp(encoder), [Objects(boxes, [""] * 3, [1.0] * 3, (100, 50))])
    assert vectors.shape == (3, 1, 2)
    assert encoder.seen == [(3, 49, 2)]
    # Inside the photo a linear field is interpolated exactly, so the mean over a box is the box's centre.
    assert vectors[2, 0].tolist() == pytest.approx([4.0, 4.0], abs=1e-4)
    assert vectors[1, 0].tolist() == pytest.approx([4.04, 2.04], abs=1e-4)
    assert vectors[0, 0, 0].item() == pytest.approx(4.0, abs=1e-4)
    assert 5.9 < vectors[0, 0, 1].item() < 6.1  # the lowest samples lie half a patch beyond the last centre


def test_photos_keep_their_own_objects_and_lose_cropped_ones() -> None:
    encoder = Averaging("center_crop")
    wide = (200, 100)  # the crop keeps the middle half
    objects = [
        Objects([[0.0, 0.0, 0.2, 1.0]], ["gone"], [1.0], wide),
        Objects.empty(wide),
        Objects([[0.0, 0.0, 0.1, 0.1], [0.4, 0.4, 0.6, 0.6]], ["gone", "middle"], [1.0, 1.0], wide),
    ]
    vectors = object_embeddings(encoder, ramp(encoder, 3), objects)
    assert [len(photo) for photo in vectors] == [0, 0, 1]
    assert vectors[2][0, 0].tolist() == pytest.approx([4.0, 4.0], abs=1e-4)


def test_photos_of_their_own_shape_are_pooled_on_their_own_grid() -> None:
    encoder = Averaging()
    encoder.grid = NativeGrid(patch=1, max_patches=40)
    sizes = [(8, 4), (4, 8)]
    tokens = torch.full((2, 40, 2), 1e6)  # what is padding would spoil any mean
    for row, (columns, rows) in enumerate(sizes):
        assert encoder.grid.shape(sizes[row]) == (rows, columns)
        centres = torch.meshgrid(torch.arange(columns) + 0.5, torch.arange(rows) + 0.5, indexing="xy")
        tokens[row, :32] = torch.stack(centres, -1).reshape(-1, 2)
    box = [0.25, 0.25, 0.75, 0.75]
    objects = [Objects([box, [0.5, 0.25, 0.75, 0.5]], ["", ""], [1, 1], sizes[0]), Objects([box], [""], [1], sizes[1])]
    wide, tall = object_embeddings(encoder, tokens, objects)
    assert wide[:, 0].tolist() == [pytest.approx([4.0, 2.0], abs=1e-4), pytest.approx([5.0, 1.5], abs=1e-4)]
    assert tall[:, 0].tolist() == [pytest.approx([2.0, 4.0], abs=1e-4)]


def test_without_objects_there_are_no_object_embeddings() -> None:
    encoder = Averaging()
    vectors = object_embeddings(encoder, ramp(encoder, 2), [Objects.empty((5, 5))] * 2)
    assert [photo.shape for photo in vectors] == [(0, 1, 2)] * 2
    assert encoder.seen == []
