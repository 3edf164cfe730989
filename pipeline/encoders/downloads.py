"""Weights are downloaded before they are loaded: once, by the command, instead of by all of its actors at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.encoders.hub import cached_weights, fetch, is_hub_id, split_file
from pipeline.encoders.open_clip.sizes import HUB
from pipeline.encoders.open_clip.table import open_clip_models
from pipeline.encoders.registry import resolve_weights
from pipeline.io.hub_downloads import Progress, download_snapshot
from pipeline.io.model_weights import split_weights
from pipeline.io.tokenizer_files import FILES

INDEX = "model.safetensors.index.json"
BLIP2_FILES = ("config.json", "generation_config.json", "model*.safetensors", INDEX, *FILES)
INTERNVL_FILES = ("*.safetensors", "*.json", "tokenizer.model")
SIGLIP_FILES = (
    *("config.json", "preprocessor_config.json", "processor_config.json", "model*.safetensors", INDEX),
    *(*FILES, "spiece.model"),
)
OPEN_CLIP_FILES = ("open_clip_config.json", "open_clip_model.safetensors", *FILES)
OPEN_CLIP_CHECKPOINT = "open_clip_pytorch_model.bin"
"""What a repository has instead of open_clip_model.safetensors, if it is older."""

_FILES = {
    "blip2": BLIP2_FILES,
    "internvl": INTERNVL_FILES,
    "internvl-c": INTERNVL_FILES,
    "siglip2": SIGLIP_FILES,
}


@dataclass(frozen=True)
class HubFiles:
    """What an encoder reads of a repository.

    Attributes:
        repository: `org/name`.
        patterns: of the files.
        otherwise: the file with the weights if none that matches `patterns` has them.
    """

    repository: str
    patterns: Sequence[str]
    otherwise: str | None = None


def hub_files(encoder: str, weights: str) -> HubFiles | None:
    """The files on the Hugging Face hub that `weights` mean; None for files on this machine and for unknown weights."""
    if encoder in ("open_clip", "coca"):
        return _open_clip_files(weights)
    name = split_weights(weights)[0]
    patterns = _FILES.get(encoder)
    if patterns is None or not is_hub_id(name) or name.endswith(".pth") or Path(name).exists():
        return None
    return HubFiles(name, patterns)


def _open_clip_files(weights: str) -> HubFiles | None:
    if weights.startswith(HUB):
        name, file = weights.removeprefix(HUB), ""
        if not is_hub_id(name):
            return None
    else:
        model, _, tag = weights.partition(":")
        known = open_clip_models().get(model)
        if known is None or not known.weights.get(tag):
            return None
        name, file = split_file(known.weights[tag])
    return HubFiles(name, (file,)) if file else HubFiles(name, OPEN_CLIP_FILES, OPEN_CLIP_CHECKPOINT)


def weights_here(encoder: str, weights: str) -> Path | None:
    """The folder of published weights in the hub's cache; None unless all of them are there, and for other weights."""
    files = hub_files(encoder, weights)
    if files is None:
        return None
    if files.otherwise is not None:
        return cached_weights(files.repository, "open_clip_")
    return cached_weights(f"{files.repository}/{files.patterns[0]}" if len(files.patterns) == 1 else files.repository)


def fetch_weights(encoder: str, weights: str | None, progress: Progress | None = None) -> None:
    """Download the weights of an encoder to this machine, unless they are here; nothing for bundled ones and files.

    Args:
        encoder: one of `list_encoders()`.
        weights: see `load_encoder`.
        progress: reports on large files.

    Raises:
        QpertError: no such encoder, or they cannot be downloaded.
    """
    resolved = resolve_weights(encoder, weights)
    files = hub_files(encoder, resolved) if resolved == weights else None
    if files is None or weights_here(encoder, resolved) is not None:
        return
    download = partial(download_snapshot, progress=progress)
    folder = fetch(files.repository, files.patterns, encoder, download=download)
    if files.otherwise is not None and not any(folder.glob("*.safetensors")):
        fetch(files.repository, [files.otherwise], encoder, download=download)
