"""open_clip itself: its models, tokenizers and downloads.

That import takes 4 s of CPU, with torchvision, torch._dynamo and transformers: `weights.py` imports this module where
nothing less will do.
"""

from __future__ import annotations

import difflib
import math
import pickle
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import open_clip
import timm
import torch
from open_clip.transform import PreprocessCfg

from pipeline.encoders.hub import could_not_load, is_hub_id
from pipeline.encoders.open_clip import miniature_trunk  # noqa: F401 - registers it with timm
from pipeline.encoders.open_clip.config import CONFIG, ModelConfig, read_config
from pipeline.encoders.open_clip.towers import cut_tower, vocabulary_size
from pipeline.encoders.open_clip.word_tokenizer import Tokenize, WordTokenizer, has_whole_words
from pipeline.encoders.preprocessing import square_side
from pipeline.encoders.reading import Reading
from pipeline.encoders.spec import EncoderSpec
from pipeline.encoders.weight_files import UNREADABLE, weight_shapes
from pipeline.errors import QpertError, first_line
from pipeline.io.model_files import PICKLES, check_configurations
from pipeline.io.tokenizer_files import FILES, check_tokenizer
from pipeline.method.objects import TokenGrid

Model: TypeAlias = Any
"""An `open_clip.CLIP`, `CustomTextCLIP` or `CoCa`; the library is not typed."""
_CHECKPOINTS = (".bin", ".pt", ".pth", ".safetensors")
"""Checkpoint files that are opened; all but the last with `weights_only`, which refuses code."""
_REFUSED = "was refused, as opening it could run code; save its state_dict alone"


def build_from_files(config_file: Path, weights: Path, name: str) -> tuple[Model, Tokenize]:
    """Build from files whose configurations have passed the checks; the tokenizer is beside the configuration."""
    try:
        config, preprocessing = read_config(config_file)
        _check_model(config, weights)
        model = build(config)
        open_clip.set_model_preprocess_cfg(
            model, {**vars(PreprocessCfg(size=model.visual.image_size)), **preprocessing}
        )
        open_clip.load_checkpoint(model, str(weights), weights_only=True)
        return model, _tokenizer_of(config_file.parent, config, model)
    except pickle.UnpicklingError as error:
        raise QpertError(f"{weights} {_REFUSED}: {first_line(error)}") from error
    except UNREADABLE as error:
        raise QpertError(f"{name} does not hold a model of open_clip: {first_line(error)}") from error


def build(config: ModelConfig) -> Model:
    """A model with fresh weights.

    Raises:
        AttributeError, RuntimeError, TypeError, ValueError: the configuration is not of a model.
    """
    tower = config.vision_cfg.timm_model_name
    if tower is not None and not timm.is_model(tower):
        raise ValueError(f"timm has no tower {tower!r}")
    text = open_clip.CustomTextCLIP if config.custom_text else open_clip.CLIP
    try:
        return (open_clip.CoCa if config.multimodal_cfg else text)(**config.arguments())
    except AssertionError as error:  # timm's way to refuse options
        raise ValueError(str(error) or "its options contradict each other") from error


@torch.no_grad()
def _check_model(config: ModelConfig, weights: Path) -> None:
    """Refuse a configuration much larger than its weights, or that embeds no photos and texts alike.

    No memory is allocated for it.
    """
    with torch.device("meta"):
        model = build(config).eval()
        if weights.suffix == ".safetensors":
            wanted = sum(value.numel() for value in model.state_dict().values())
            present = sum(map(math.prod, weight_shapes(weights).values()))
            if wanted > 2 * present:
                raise ValueError(f"its configuration is of {wanted:,} numbers, its weights are {present:,}")
        given = model.visual.image_size
        try:
            photo = model.encode_image(torch.zeros(1, 3, *(given if isinstance(given, tuple | list) else [given] * 2)))
            text = model.encode_text(torch.zeros(1, config.text_cfg.context_length, dtype=torch.int64))
        except AssertionError as error:  # timm's way to refuse photos of another size
            raise ValueError(str(error)) from error
    if not isinstance(text, torch.Tensor):
        raise ValueError("its text tower returns tokens beside the embedding (output_tokens), which only CoCa's may")
    if photo.shape != text.shape:
        raise ValueError(f"its photos have {photo.shape[-1]} numbers, its texts {text.shape[-1]}")


def _tokenizer_of(folder: Path, config: ModelConfig, model: Model) -> Tokenize:
    """A tokenizer of whole words (tokenizer.json), a tokenizer of transformers (its files in the folder), or CLIP's."""
    text = config.text_cfg
    options = text.tokenizer_kwargs.given() if text.tokenizer_kwargs else {}
    vocabulary = folder / "tokenizer.json"
    if has_whole_words(vocabulary):
        pad = config.pad_id if config.multimodal_cfg else text.pad_id
        tower: Any = getattr(model, "text", model)
        return WordTokenizer(vocabulary, tower.context_length, pad, words=text.vocab_size)
    if not text.hf_tokenizer_name:
        clips = open_clip.SimpleTokenizer(context_length=text.context_length, **options)
        if clips.vocab_size > text.vocab_size:
            raise QpertError(
                f"{folder} names no tokenizer, and CLIP's has {clips.vocab_size:,} words, but the model"
                f" {text.vocab_size:,}: put the model's own there, and name it in text_cfg.hf_tokenizer_name"
            )
        simple: Tokenize = clips
        return simple
    return _of_transformers(folder, model, text.context_length, text.tokenizer_mode, options)


def _of_transformers(
    folder: Path, model: Model, context_length: int, mode: str | None, options: Mapping[str, Any]
) -> Tokenize:
    """The tokenizer of transformers in a folder, tried on a text."""
    check_tokenizer(folder)
    tokenizer: Tokenize = open_clip.tokenizer.HFTokenizer(
        str(folder),
        context_length=context_length,
        tokenizer_mode=mode,
        trust_remote_code=False,
        local_files_only=True,
        **options,
    )
    largest, words = int(tokenizer(["a photo of a dog"]).max()), vocabulary_size(model)
    if words is not None and largest >= words:
        raise QpertError(
            f"the tokenizer in {folder} has ids up to {largest:,} or more, but the model {words:,} words: put the"
            " model's own there"
        )
    return tokenizer


def measure(config: ModelConfig) -> EncoderSpec:
    """Sizes of a model by its configuration, without memory for it.

    Raises:
        AttributeError, RuntimeError, TypeError, ValueError: the configuration is not of a model.
    """
    with torch.device("meta"):
        return measure_model(build(config))


def measure_model(model: Model) -> EncoderSpec:
    """Sizes of a model, whose weights may be on the meta device."""
    tower = cut_tower(model.visual)
    grid = TokenGrid(
        square_side(tower.image_size, "a model"), square_side(tower.patch, "a model"), "squash", tower.prefix
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    weight = next(model.visual.parameters())
    token = torch.zeros(1, grid.tokens, tower.width, device=weight.device, dtype=weight.dtype)
    dim = tower.pool(token).shape[-1]
    return EncoderSpec(parameters, grid.tokens, tower.width, vectors=1, dim=dim, sites=len(tower.sites))


def read_texts(tokenizer: Tokenize, texts: Sequence[str]) -> Reading | None:
    """See `Encoder.read_texts`, for open_clip's tokenizers; None for one of another program."""
    if isinstance(tokenizer, open_clip.SimpleTokenizer):
        lengths = [len(tokenizer.encode(text)) + 2 for text in texts]  # with begin and end
    elif isinstance(tokenizer, open_clip.tokenizer.HFTokenizer):
        cleaned = [tokenizer.clean_fn(text) for text in texts]
        framed = tokenizer.tokenizer_mode != "clips"
        encoded = tokenizer.tokenizer(cleaned, add_special_tokens=framed, verbose=False)
        lengths = [len(ids) + (0 if framed else 3) for ids in encoded["input_ids"]]
    else:
        return None
    limit = int(tokenizer.context_length)
    return Reading(limit, [length > limit for length in lengths])


def model_and_source(weights: str) -> tuple[str, str | None]:
    """Model name and source, as open_clip's factory takes them, of "model:tag", "model:file" or "hf-hub:org/name"."""
    if weights.startswith("hf-hub:"):
        if not is_hub_id(weights.removeprefix("hf-hub:")):
            raise QpertError(f"{weights!r} names no repository of the hub: give 'hf-hub:org/name'")
        return weights, None
    known = open_clip.list_models()
    name, _, source = weights.partition(":")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
        raise QpertError(
            f"unknown open_clip weights {weights!r}; give 'miniature', a folder, 'hf-hub:org/name', 'model:tag' or"
            f" 'model:/path/to/checkpoint'; models: {', '.join(near or known[:4])} and others of {len(known)}"
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    known_tags = ", ".join(tags) or "none"
    if not source:
        raise QpertError(
            f"open_clip weights {weights!r} name a model alone: give 'model:tag' or 'model:/path/to/checkpoint';"
            f" its tags are: {known_tags}"
        )
    if source not in tags and not Path(source).is_file():
        raise QpertError(
            f"{name} has no weights {source!r}: no such file, and its tags are: {', '.join(tags) or 'none'}"
        )
    if source not in tags and Path(source).suffix.lower() not in _CHECKPOINTS:
        raise QpertError(
            f"{source} is not opened: a checkpoint is one of {', '.join(_CHECKPOINTS)}; other files, such as"
            f" {', '.join(kind for kind in PICKLES if kind not in _CHECKPOINTS)}, can hold code"
        )
    return name, source


def load_from_open_clip(weights: str) -> tuple[Model, Tokenize]:
    """By open_clip's own configurations, or that of a hub repository."""
    name, source = model_and_source(weights)
    try:
        if source is None:
            return _from_hub(name.removeprefix("hf-hub:"))
        model = open_clip.create_model(name, pretrained=source, require_pretrained=True, weights_only=True)
        beside = Path(source).parent
        if (beside / "tokenizer.json").is_file() and Path(source).is_file():
            return model, _tokenizer_beside(beside, name, model)
        return model, open_clip.get_tokenizer(name)
    except pickle.UnpicklingError as error:
        raise QpertError(f"{source} {_REFUSED}: {first_line(error)}") from error
    except UNREADABLE as error:
        raise could_not_load("open_clip", weights, error, "its folder or 'model:/path/to/checkpoint'") from error


def _tokenizer_beside(folder: Path, name: str, model: Model) -> Tokenize:
    """The tokenizer of transformers in a folder, with the options that open_clip has for the model `name`."""
    text = open_clip.get_model_config(name)["text_cfg"]
    length = text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)
    return _of_transformers(folder, model, length, text.get("tokenizer_mode"), text.get("tokenizer_kwargs", {}))


def _from_hub(name: str) -> tuple[Model, Tokenize]:
    """The configuration is checked before anything else is fetched."""
    fetch = open_clip.factory.download_pretrained_from_hf
    config_file = Path(fetch(name, filename=CONFIG))
    config, _ = read_config(config_file)
    for file in FILES if config.text_cfg.hf_tokenizer_name else ("tokenizer.json",):
        with suppress(OSError):  # most repositories do not have all of them
            fetch(name, filename=file)
    check_configurations(config_file.parent)
    return build_from_files(config_file, Path(fetch(name)), f"hf-hub:{name}")
