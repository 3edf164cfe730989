"""Where CoCa's weights come from: a folder in open_clip's form, or what open_clip's factory takes."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import open_clip
import torch
from open_clip.transform import PreprocessCfg
from torch import Tensor

from pipeline.encoders.word_tokenizer import WordTokenizer
from pipeline.errors import QpertError, first_line

Tokenize = Callable[[Sequence[str]], Tensor]
"""From texts to ids int64 [T, context length], as open_clip's tokenizers."""
MINIATURE = Path(__file__).parents[1] / "miniature" / "coca"


def from_folder(folder: Path) -> tuple[open_clip.CoCa, Tokenize]:
    """open_clip_config.json + open_clip_model.safetensors (+ tokenizer.json of whole words, else CLIP's tokenizer)."""
    check_folder(folder)
    try:
        config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
        model_cfg = {k: v for k, v in config["model_cfg"].items() if k != "custom_text"}
        model = open_clip.CoCa(**model_cfg)
        open_clip.set_model_preprocess_cfg(
            model, {**vars(PreprocessCfg(size=model.visual.image_size)), **config.get("preprocess_cfg", {})}
        )
        open_clip.load_checkpoint(model, str(folder / "open_clip_model.safetensors"), weights_only=True)
    except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise QpertError(f"{folder} does not hold a CoCa model: {first_line(error)}") from error
    vocabulary = folder / "tokenizer.json"
    if vocabulary.is_file() and json.loads(vocabulary.read_text(encoding="utf-8"))["model"]["type"] == "WordLevel":
        return model, WordTokenizer(vocabulary, model.text.context_length, model.pad_id)
    return model, open_clip.get_tokenizer(f"local-dir:{folder}")


def check_folder(folder: Path) -> None:
    """Refuse a folder without one of its files."""
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        if not (folder / name).is_file():
            raise QpertError(f"{folder} has no {name}: a CoCa folder holds it beside its configuration and weights")


def model_and_source(weights: str) -> tuple[str, str | None]:
    """What open_clip's factory takes for "model:tag", "model:file" or "hf-hub:org/name"."""
    if weights.startswith("hf-hub:"):
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
    return name, source


def from_open_clip(weights: str) -> tuple[open_clip.CoCa, Tokenize]:
    """By open_clip's factory; no code from checkpoints is run."""
    name, source = model_and_source(weights)
    try:
        model = open_clip.create_model(name, pretrained=source, require_pretrained=True, weights_only=True)
        return model, open_clip.get_tokenizer(name)
    except pickle.UnpicklingError as error:
        raise QpertError(
            f"{source} was refused, as opening it could run code; save its state_dict alone: {first_line(error)}"
        ) from error
    except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        raise QpertError(
            f"CoCa weights {weights!r} could not be had: {first_line(error)}. Without a network, download them "
            "elsewhere and give the folder or 'model:/path/to/checkpoint'"
        ) from error


def sizes(weights: str | None) -> tuple[int, tuple[int, int], int]:
    """Parameters of the model, number and width of its image tokens, length of an embedding, without loading it."""
    folder = MINIATURE if weights is None else Path(weights)
    try:
        if folder.is_dir():
            config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
        else:
            config = open_clip.get_model_config(str(weights).partition(":")[0])
        with torch.device("meta"):
            model = open_clip.CoCa(**{name: value for name, value in config.items() if name != "custom_text"})
        shape = model.visual.positional_embedding.shape
        parameters = sum(int(each.numel()) for each in model.parameters())
        return parameters, (int(shape[0]), int(shape[1])), int(config["embed_dim"])
    except (AttributeError, KeyError, TypeError, ValueError, OSError):
        return 638_450_177, (257, 1024), 768  # coca_ViT-L-14
