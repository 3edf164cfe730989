"""The sizes of a BLIP-2, without loading it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from pipeline.encoders.spec import EncoderSpec
from pipeline.encoders.weight_files import weight_shapes
from pipeline.io.model_weights import split_weights

_VISION, _REST = 986_500_000, 186_100_000
"""Parameters of the vision tower and of all that follows in Salesforce/blip2-itm-vit-g-coco."""


def read_spec(weights: str) -> EncoderSpec:
    """Sizes of a folder's model, by its config.json and the headers of its safetensors.

    For anything else (hub ids, `.pth` files, whose sizes show only in reading them), and for what a folder does not
    show, those of the published model at 364 pixels. Only the vision tower takes the dtype that is asked for.
    """
    folder = Path(split_weights(weights)[0])
    vision, rest = _parameters(folder)
    tokens, width, vectors, dim, sites = 677, 1408, 32, 256, 6
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tower = config["vision_config"]
        tokens, width = (tower["image_size"] // tower["patch_size"]) ** 2 + 1, tower["hidden_size"]
        vectors, dim = config["num_query_tokens"], config["image_text_hidden_size"]
        former = config.get("qformer_config", {})  # which leaves out what transformers has by default
        sites = math.ceil(former.get("num_hidden_layers", 12) / former.get("cross_attention_frequency", 2))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError):
        pass
    return EncoderSpec(vision + rest, tokens, width, vectors, dim, float32_parameters=rest, sites=sites)


def _parameters(folder: Path) -> tuple[int, int]:
    """Parameters of the vision tower, and of everything else."""
    files = sorted(folder.glob("model*.safetensors"))
    counts = {True: 0, False: 0}
    try:
        for path in files:
            for name, shape in weight_shapes(path).items():
                counts[name.startswith("vision_model.")] += math.prod(shape)
    except (OSError, SafetensorError):
        return _VISION, _REST
    return (counts[True], counts[False]) if files else (_VISION, _REST)
