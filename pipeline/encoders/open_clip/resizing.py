"""Vision towers of open_clip's models at another resolution than they were trained on."""

from __future__ import annotations

from typing import Any

from torch import nn

from pipeline.encoders.open_clip.plain_coca import VisionTower
from pipeline.encoders.positions import interpolate_positions
from pipeline.encoders.preprocessing import square_side
from pipeline.errors import QpertError


def resize_tower(visual: Any, image_size: int) -> None:
    """Interpolate the positions of a tower's patches, as its library does when it loads weights for another size.

    Args:
        visual: of a model of open_clip, or of a `PlainCoca`.
        image_size: the new side of the input in pixels, a multiple of its patches.

    Raises:
        QpertError: the tower has no positions that can be interpolated.
    """
    if isinstance(visual, VisionTower):
        _resize_positions(visual, image_size)
        visual.image_size = image_size
        return
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, VisionTransformer):
        side = _resize_positions(visual, image_size)
        visual.image_size, visual.grid_size = (image_size, image_size), (side, side)
        return
    if not isinstance(visual, TimmModel) or not hasattr(visual.trunk, "set_input_size"):
        tower = getattr(visual, "trunk", visual)
        raise QpertError(
            f"the tower of this model ({type(tower).__name__}) has no positions of patches that can be interpolated:"
            " leave out --image-size"
        )
    try:
        visual.set_input_size((image_size, image_size))
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise QpertError(f"the tower of this model cannot take photos of {image_size} pixels: {error}") from error


def _resize_positions(visual: Any, image_size: int) -> int:
    """Returns the new side of the grid, in patches."""
    side = image_size // square_side(visual.patch_size, "this tower")
    positions = interpolate_positions(visual.positional_embedding.data, side, 1, antialias=True)
    visual.positional_embedding = nn.Parameter(positions, requires_grad=False)
    return side
