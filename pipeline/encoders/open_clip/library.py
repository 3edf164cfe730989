"""CoCa by open_clip itself: its models, tokenizers and downloads. The only module that imports open_clip at its top.

That import takes 4 s of CPU, with torchvision, torch._dynamo and transformers: `weights.py` imports this module where
nothing less will do.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import open_clip
import torch
from open_clip.transform import PreprocessCfg

from pipeline.encoders.hub import could_not_load, is_hub_id
from pipeline.encoders.open_clip.config import CONFIG, ModelConfig, read_coca_config
from pipeline.encoders.open_clip.word_tokenizer import Tokenize, WordTokenizer
from pipeline.encoders.reading import Reading
from pipeline.encoders.spec import EncoderSpec
from pipeline.encoders.tokenizer_files import FILES, check_tokenizer
from pipeline.encoders.weight_files import UNREADABLE, weight_shapes
from pipeline.errors import QpertError, first_line
from pipeline.io.model_files import PICKLES, check_configurations, read_json

_CHECKPOINTS = (".bin", ".pt", ".pth", ".safetensors")
"""Checkpoint files that are opened; all but the last with `weights_only`, which refuses code."""
_REFUSED = "was refused, as opening it could run code; save its state_dict alone"


def build_from_files(config_file: Path, weights: Path, name: str) -> tuple[open_clip.CoCa, Tokenize]:
    """Build from files whose configurations have passed the checks; the tokenizer is beside the configuration."""
    try:
        config, preprocessing = read_coca_config(config_file)
        _check_size(config, weights)
        model = open_clip.CoCa(**config.arguments())
        open_clip.set_model_preprocess_cfg(
            model, {**vars(PreprocessCfg(size=model.visual.image_size)), **preprocessing}
        )
        open_clip.load_checkpoint(model, str(weights), weights_only=True)
        return model, _tokenizer_of(config_file.parent, config, model)
    except pickle.UnpicklingError as error:
        raise QpertError(f"{weights} {_REFUSED}: {first_line(error)}") from error
    except UNREADABLE as error:
        raise QpertError(f"{name} does not hold a CoCa model: {first_line(error)}") from error


def _check_size(config: ModelConfig, weights: Path) -> None:
    """Refuse a configuration much larger than its weights, before memory is allocated for it."""
    if weights.suffix != ".safetensors":
        return
    with torch.device("meta"):
        wanted = sum(value.numel() for value in open_clip.CoCa(**config.arguments()).state_dict().values())
    present = sum(map(math.prod, weight_shapes(weights).values()))
    if wanted > 2 * present:
        raise ValueError(f"its configuration is of {wanted:,} numbers, its weights are {present:,}")


def _tokenizer_of(folder: Path, config: ModelConfig, model: open_clip.CoCa) -> Tokenize:
    """A tokenizer of whole words (tokenizer.json), a tokenizer of transformers (its files in the folder), or CLIP's."""
    text = config.text_cfg
    options = text.tokenizer_kwargs.given() if text.tokenizer_kwargs else {}
    vocabulary = folder / "tokenizer.json"
    if vocabulary.is_file() and read_json(vocabulary)["model"]["type"] == "WordLevel":
        return WordTokenizer(vocabulary, model.text.context_length, model.pad_id)
    if not text.hf_tokenizer_name:
        simple: Tokenize = open_clip.SimpleTokenizer(context_length=text.context_length, **options)
        return simple
    check_tokenizer(folder)
    of_transformers: Tokenize = open_clip.tokenizer.HFTokenizer(
        str(folder),
        context_length=text.context_length,
        tokenizer_mode=text.tokenizer_mode,
        trust_remote_code=False,
        local_files_only=True,
        **options,
    )
    return of_transformers


def measure(config: ModelConfig | str) -> EncoderSpec:
    """Sizes of a model, without memory for it, by its configuration or by open_clip's for a name.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: there is no such configuration, or it is not of a CoCa.
    """
    arguments = open_clip.get_model_config(config) if isinstance(config, str) else config.arguments()
    with torch.device("meta"):
        model = open_clip.CoCa(**{name: value for name, value in arguments.items() if name != "custom_text"})
    tokens, width = model.visual.positional_embedding.shape
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return EncoderSpec(parameters, tokens, width, vectors=1, dim=int(arguments["embed_dim"]))


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
    known = [name for name in open_clip.list_models() if name.startswith("coca_")]
    name, _, source = weights.partition(":")
    tags = open_clip.list_pretrained_tags_by_model(name) if name in known else []
    if name not in known or not source:
        raise QpertError(
            f"unknown CoCa weights {weights!r}; give 'miniature', a folder, 'hf-hub:org/name', "
            f"'model:tag' or 'model:/path/to/checkpoint', with a model of: {', '.join(known)}"
        )
    if source not in tags and not Path(source).is_file():
        raise QpertError(f"{name} has no weights {source!r}: no such file, and its tags are: {', '.join(tags)}")
    if source not in tags and Path(source).suffix.lower() not in _CHECKPOINTS:
        raise QpertError(
            f"{source} is not opened: a checkpoint is one of {', '.join(_CHECKPOINTS)}; other files, such as"
            f" {', '.join(kind for kind in PICKLES if kind not in _CHECKPOINTS)}, can hold code"
        )
    return name, source


def load_from_open_clip(weights: str) -> tuple[open_clip.CoCa, Tokenize]:
    """By open_clip's own configurations, or that of a hub repository."""
    name, source = model_and_source(weights)
    try:
        if source is None:
            return _from_hub(name.removeprefix("hf-hub:"))
        model = open_clip.create_model(name, pretrained=source, require_pretrained=True, weights_only=True)
        return model, open_clip.get_tokenizer(name)
    except pickle.UnpicklingError as error:
        raise QpertError(f"{source} {_REFUSED}: {first_line(error)}") from error
    except UNREADABLE as error:
        raise could_not_load("CoCa", weights, error, "its folder or 'model:/path/to/checkpoint'") from error


def _from_hub(name: str) -> tuple[open_clip.CoCa, Tokenize]:
    """The configuration is checked before anything else is fetched."""
    fetch = open_clip.factory.download_pretrained_from_hf
    config_file = Path(fetch(name, filename=CONFIG))
    config, _ = read_coca_config(config_file)
    for file in FILES if config.text_cfg.hf_tokenizer_name else ("tokenizer.json",):
        with suppress(OSError):  # most repositories do not have all of them
            fetch(name, filename=file)
    check_configurations(config_file.parent)
    return build_from_files(config_file, Path(fetch(name)), f"hf-hub:{name}")
