"""Photos as SigLIP takes them, by transformers' own image processors."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import Siglip2ImageProcessor, SiglipImageProcessor

from pipeline.encoders.preprocessing import Transform
from pipeline.encoders.siglip2.config import Preprocessing

PLACE = 2
"""Numbers at the end of each patch: its row and column, counted from 1; 0 for padding."""


def squashed(side: int, preprocessing: Preprocessing) -> Transform:
    """For fixed resolution, from an RGB image to float32 [3, side, side]: both sides resized."""
    process = SiglipImageProcessor(size={"height": side, "width": side}, **_common(preprocessing))

    def transform(image: Image.Image) -> Tensor:
        pixels: Tensor = process(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels

    return transform


def in_patches(preprocessing: Preprocessing) -> Transform:
    """For NaFlex, from an RGB image to float32 [N, 3 p^2 + 2]: its patches row by row with their places, then zeros.

    The places carry the shape of the photo's grid and the mask of its padding in a tensor of one shape for all photos.
    """
    process = Siglip2ImageProcessor(
        patch_size=preprocessing.patch_size,
        max_num_patches=preprocessing.max_num_patches,
        **_common(preprocessing),
    )

    def transform(image: Image.Image) -> Tensor:
        made = process(images=image, return_tensors="pt")
        rows, columns = made["spatial_shapes"][0].tolist()
        places = torch.cartesian_prod(torch.arange(1, rows + 1), torch.arange(1, columns + 1))
        padding = preprocessing.max_num_patches - rows * columns
        return torch.cat([made["pixel_values"][0], F.pad(places, (0, 0, 0, padding)).float()], 1)

    return transform


def split_places(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Undo `in_patches` for a batch [B, N, 3 p^2 + 2].

    Returns:
        Pixels [B, N, 3 p^2], whether each patch is one of the photo (bool [B, N]), and rows and columns of each photo
        (int64 [B, 2]).
    """
    places = patches[..., -PLACE:].long()
    return patches[..., :-PLACE], places[..., 0] > 0, places.amax(1)


def _common(preprocessing: Preprocessing) -> dict[str, object]:
    filters = {} if preprocessing.resample is None else {"resample": preprocessing.resample}
    return {
        **filters,
        "image_mean": list(preprocessing.image_mean),
        "image_std": list(preprocessing.image_std),
        "rescale_factor": preprocessing.rescale_factor,
    }
