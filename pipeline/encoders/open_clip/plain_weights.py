"""Loading the plain CoCas among the folders in open_clip's form, without open_clip."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.encoders.open_clip.config import CONFIG, ModelConfig, read_config
from pipeline.encoders.open_clip.plain_coca import DECODER, PlainCoca, is_plain, load_plain_coca
from pipeline.encoders.open_clip.word_tokenizer import WordTokenizer, has_whole_words
from pipeline.encoders.preprocessing import Transform, centre_cropping
from pipeline.encoders.spec import EncoderSpec
from pipeline.encoders.weight_files import UNREADABLE, weight_shapes
from pipeline.errors import QpertError
from pipeline.io.model_files import check_configurations

WEIGHTS = "open_clip_model.safetensors"
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""open_clip's defaults, of CLIP's photos."""
_PREPROCESSING = {"mean", "std"}
"""Preprocessing that a plain folder may choose; all else has open_clip's defaults."""


@dataclass(frozen=True)
class PlainWeights:
    """The parts that `OpenClipEncoder` is built from."""

    model: PlainCoca
    tokenizer: WordTokenizer
    transform_for: Callable[[int], Transform]
    """From the side of the input in pixels."""


def load_plain_weights(weights: str) -> PlainWeights | None:
    """The CoCa of a folder, on the CPU in float32; None where open_clip is needed, also to say what is wrong.

    Args:
        weights: see `load_weights`.
    """
    folder = Path(weights)
    found = _read_plain(folder)
    if found is None:
        return None
    config, preprocessing, _ = found
    try:
        model = load_plain_coca(config, folder / WEIGHTS)
        text = config.text_cfg
        tokenizer = WordTokenizer(folder / "tokenizer.json", text.context_length, config.pad_id, text.vocab_size)
    except (*UNREADABLE, QpertError):  # open_clip will say what is wrong
        return None
    mean, std = preprocessing.get("mean") or _MEAN, preprocessing.get("std") or _STD
    return PlainWeights(model, tokenizer, partial(centre_cropping, mean=mean, std=std))


def plain_spec(folder: Path) -> EncoderSpec | None:
    """Sizes of the plain CoCa in a folder, by its configuration and the header of its weights; None as above."""
    found = _read_plain(folder)
    if found is None:
        return None
    config, _, shapes = found
    tokens, width = shapes["visual.positional_embedding"]
    parameters = sum(math.prod(shape) for name, shape in shapes.items() if not name.startswith(DECODER))
    return EncoderSpec(parameters, tokens, width, vectors=1, dim=config.embed_dim, sites=1)


def _read_plain(folder: Path) -> tuple[ModelConfig, dict[str, Any], dict[str, tuple[int, ...]]] | None:
    """The configuration of model and preprocessing, and the shapes of the weights, if open_clip is not needed."""
    if not (folder / CONFIG).is_file():
        return None
    try:
        check_configurations(folder)
        config, preprocessing = read_config(folder / CONFIG)
        shapes = weight_shapes(folder / WEIGHTS)
        words = has_whole_words(folder / "tokenizer.json")
        plain = words and not preprocessing.keys() - _PREPROCESSING and is_plain(config, shapes)
    except (*UNREADABLE, QpertError):
        return None
    return (config, preprocessing, shapes) if plain else None
