"""The sizes of a SigLIP by its configuration, without building it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from pipeline.encoders.siglip2.config import Preprocessing, SiglipSizes, read_preprocessing, read_sizes
from pipeline.encoders.spec import EncoderSpec
from pipeline.encoders.weight_files import UNREADABLE
from pipeline.errors import QpertError

_PUBLISHED = re.compile(r"google/(siglip2?)-(base|large|so400m|giant-opt)-patch(\d+)-(\d+|naflex)(-\w+)?")
_TOWERS = {
    "base": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    "large": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
    "so400m": {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16},
    "giant-opt": {"hidden_size": 1536, "intermediate_size": 6144, "num_hidden_layers": 40, "num_attention_heads": 16},
}
_LARGEST = "google/siglip2-giant-opt-patch16-384"
_VOCABULARY, _MULTILINGUAL = {"siglip": 32_000, "siglip2": 256_000}, 250_000


def read_spec(weights: str) -> EncoderSpec:
    """Sizes of a folder's model, or of a hub id's by its name or its config.json in the cache.

    For an id of which neither is known, those of the largest published model.
    """
    try:
        folder = _folder(weights)
        return spec_of(read_sizes(folder / "config.json"), read_preprocessing(folder))
    except (QpertError, *UNREADABLE):
        return spec_of(published(weights) or _known(_LARGEST), Preprocessing())


def read_resolution(weights: str) -> tuple[int, int] | None:
    """Sides of the input (0 for NaFlex) and of a patch in pixels, by the same; None if unknown."""
    sizes: SiglipSizes | None
    try:
        sizes = read_sizes(_folder(weights) / "config.json")
    except (QpertError, *UNREADABLE):
        sizes = published(weights)
    if sizes is None:
        return None
    return 0 if sizes.native else sizes.vision_config.image_size, sizes.vision_config.patch_size


def _folder(weights: str) -> Path:
    """The folder with the configuration, which may be in the hub's cache."""
    folder = Path(weights)
    if folder.is_dir():
        return folder
    cached = try_to_load_from_cache(weights, "config.json")
    return Path(cached).parent if isinstance(cached, str) else folder


def published(name: str) -> SiglipSizes | None:
    """The configuration of a model by Google, by its hub id; None if it is none of them."""
    return _known(name) if _PUBLISHED.fullmatch(name) else None


def _known(name: str) -> SiglipSizes:
    match = _PUBLISHED.fullmatch(name)
    assert match is not None
    family, size, patch, pixels, multilingual = match.groups()
    vision: dict[str, Any] = {**_TOWERS[size], "patch_size": int(patch)}
    if pixels != "naflex":
        vision["image_size"] = int(pixels)
    text = {
        **_TOWERS["so400m" if size == "giant-opt" else size],
        "vocab_size": _MULTILINGUAL if multilingual else _VOCABULARY[family],
    }
    text["projection_size"] = vision["hidden_size"]
    kind = "siglip2" if pixels == "naflex" else "siglip"
    return SiglipSizes.of({"model_type": kind, "vision_config": vision, "text_config": text}, name)


def spec_of(sizes: SiglipSizes, preprocessing: Preprocessing) -> EncoderSpec:
    """The sizes of a model of this configuration."""
    vision, text = sizes.vision_config, sizes.text_config
    width = vision.hidden_size
    patches = (vision.image_size // vision.patch_size) ** 2
    positions = vision.num_patches if sizes.native else patches
    dim = text.projection_size or text.hidden_size
    parameters = (
        (3 * vision.patch_size**2 + 1 + positions) * width
        + (vision.num_hidden_layers + 1) * _layer(width, vision.intermediate_size)
        + width  # the pooling head is a layer with a probe, and its second LayerNorm is the one before it
        + (text.vocab_size + text.max_position_embeddings + 2) * text.hidden_size
        + text.num_hidden_layers * _layer(text.hidden_size, text.intermediate_size)
        + (text.hidden_size + 1) * dim
        + 2  # scale and bias of the logits
    )
    tokens = preprocessing.max_num_patches if sizes.native else patches
    return EncoderSpec(parameters, tokens, width, vectors=1, dim=width, sites=1)


def _layer(width: int, inner: int) -> int:
    """Parameters of attention, MLP and two LayerNorms."""
    return 4 * (width**2 + width) + 2 * width * inner + inner + width + 4 * width
