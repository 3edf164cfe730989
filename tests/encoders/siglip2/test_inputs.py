"""Photos pixel for pixel as transformers prepares them, whatever their shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Siglip2ImageProcessor, SiglipImageProcessor

from pipeline.encoders.siglip2.config import Preprocessing
from pipeline.encoders.siglip2.inputs import in_patches, split_places, squashed
from pipeline.method.native_grid import NativeGrid

SIZES = [(640, 427), (427, 640), (100, 100), (7, 300), (1, 1), (2000, 3)]
ODD = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.3, 0.4, 0.5], "rescale_factor": 1 / 200, "resample": 3}


def picture(size: tuple[int, int]) -> Image.Image:
    random = np.random.default_rng(sum(size))
    return Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), np.uint8))


@pytest.mark.parametrize("options", [{}, ODD], ids=["published", "other"])
def test_naflex_equals_transformers(options: dict[str, object]) -> None:
    settings = {"patch_size": 16, "max_num_patches": 64, **options}
    theirs, ours = Siglip2ImageProcessor(**settings), in_patches(Preprocessing.of(settings, "here"))
    grid = NativeGrid(16, 64)
    photos = [picture(size) for size in SIZES]
    want = theirs(images=photos, return_tensors="pt")
    got = torch.stack([ours(photo) for photo in photos])
    assert got.dtype == torch.float32
    pixels, present, shapes = split_places(got)
    assert torch.equal(pixels, want["pixel_values"])
    assert torch.equal(present, want["pixel_attention_mask"].bool())
    assert torch.equal(shapes, want["spatial_shapes"])
    assert [tuple(shape) for shape in shapes.tolist()] == [grid.shape(size) for size in SIZES]
    rows, columns = grid.shape(SIZES[0])
    places = got[0, : rows * columns, -2:].view(rows, columns, 2)
    assert places[1, 2].tolist() == [2, 3]  # as the boxes are laid on them: row by row


@pytest.mark.parametrize("options", [{}, {"resample": 2}, ODD], ids=["default", "bilinear", "other"])
def test_fixed_resolution_equals_transformers(options: dict[str, object]) -> None:
    theirs = SiglipImageProcessor(size={"height": 48, "width": 48}, **options)
    ours = squashed(48, Preprocessing.of(options, "here"))
    for size in SIZES:
        want = theirs(images=picture(size), return_tensors="pt")["pixel_values"][0]
        got = ours(picture(size))
        assert got.shape == (3, 48, 48)
        assert torch.equal(got, want)
