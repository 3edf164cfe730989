"""The vision tower of the bundled SigLIP-like miniature, registered with timm under a name of its own.

open_clip names towers of timm by their registered names and passes no sizes, so a size that timm does not have needs a
name. Importing this module registers it.
"""

from __future__ import annotations

from typing import Any

from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer

NAME = "vit_scenes_patch16_112"
"""What it is registered as."""
PATCH = 16
"""Side of a patch, in pixels."""
IMAGE_SIZE = 112
"""Side of the input, in pixels."""
WIDTH = 160
"""C, numbers in an image token."""


@register_model  # type: ignore[untyped-decorator]
def vit_scenes_patch16_112(pretrained: bool = False, **options: Any) -> VisionTransformer:
    """A vision transformer of 1.6 million parameters, without [CLS], for photos of 112 pixels.

    Args:
        pretrained: timm's way to ask for weights; it has none for this model.
        options: of `VisionTransformer`, such as `num_classes` and `global_pool`.
    """
    if pretrained:
        raise ValueError(f"timm has no weights of {NAME}")
    known = {name: value for name, value in options.items() if not name.startswith("pretrained_cfg")}
    known.pop("cache_dir", None)
    return VisionTransformer(
        img_size=IMAGE_SIZE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=5,
        num_heads=5,
        class_token=False,
        pre_norm=True,
        **known,
    )
