"""How many parameters a BLIP-2 has, told without loading it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

MINIATURE = Path(__file__).parents[2] / "miniature" / "blip2"
PUBLISHED = 986_500_000, 186_100_000
"""Of the vision tower and of all that follows, in Salesforce/blip2-itm-vit-g-coco."""

PUBLISHED_TOKENS = 677, 1408
PUBLISHED_EMBEDDINGS = 32, 256


def parameter_counts(weights: str | None) -> tuple[int, int]:
    """Parameters of the vision tower and of all the rest.

    Args:
        weights: a folder with safetensors, which is looked into; None for the miniature. Of anything else (hub ids,
            `.pth` files, which tell nothing before they are read) the published model's.
    """
    files = sorted((MINIATURE if weights is None else Path(weights.partition("+")[0])).glob("model*.safetensors"))
    vision = rest = 0
    try:
        for path in files:
            with safe_open(path, "np") as file:
                for name in file.keys():  # noqa: SIM118 - it is no mapping
                    count = math.prod(file.get_slice(name).get_shape())
                    if name.startswith("vision_model."):
                        vision += count
                    else:
                        rest += count
    except (OSError, SafetensorError):
        return PUBLISHED
    return (vision, rest) if files else PUBLISHED


def image_tokens(weights: str | None) -> tuple[int, int]:
    """Number and width of a photo's image tokens, by the same rules."""
    try:
        vision = _config(weights)["vision_config"]
        return (vision["image_size"] // vision["patch_size"]) ** 2 + 1, vision["hidden_size"]
    except (OSError, KeyError, TypeError, ValueError):
        return PUBLISHED_TOKENS


def embeddings(weights: str | None) -> tuple[int, int]:
    """Number and length of a photo's embeddings, by the same rules."""
    try:
        config = _config(weights)
        return config["num_query_tokens"], config["image_text_hidden_size"]
    except (OSError, KeyError, TypeError, ValueError):
        return PUBLISHED_EMBEDDINGS


def _config(weights: str | None) -> dict[str, Any]:
    path = (MINIATURE if weights is None else Path(weights.partition("+")[0])) / "config.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
