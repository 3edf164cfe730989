"""The folder of a detector of transformers: found or downloaded, and checked before anything is built from it.

Only transformers' own classes are built. Its list of detection models is the allowlist of model types, weights are
safetensors, and configurations that lead to code, or to a backbone on the hub, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from pipeline.errors import QpertError, first_line
from pipeline.io.hub_downloads import download_snapshot
from pipeline.io.model_files import check_configurations, check_shards, read_json, refuse_pickles
from pipeline.io.tokenizer_files import FILES, check_tokenizer

PREFIX = "hf:"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PREPROCESSING = ("preprocessor_config.json", "processor_config.json")
_PATTERNS = ("config.json", *_PREPROCESSING, "model*.safetensors", _INDEX, "vocab.json", "merges.txt", *FILES)
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_TIMM_NAME = re.compile(r"[A-Za-z0-9_.]+")
_NAMED_BACKBONES = ("conditional_detr", "dab-detr", "deformable_detr", "detr", "omdet-turbo", "table-transformer")
"""Model types whose configuration may name a backbone of timm; of other types transformers would look on the hub."""
_LARGEST, _DEEPEST, _LONGEST_SIDE = 2**20, 1024, 8192
"""Limits of all numbers in a configuration, of numbers of layers, and of sides of the input in pixels."""
_SIDES = re.compile(r"(.*_)?(height|width|edge|size)")
"""Keys of preprocessing that are sides, and of config.json those below."""
_MODEL_SIDES = ("image_size", "eval_size", "anchor_image_size", "pretrain_image_size")


@dataclass(frozen=True)
class DetectionModel:
    """What the folder of a detector says.

    Attributes:
        folder: where its files are.
        model_type: transformers' name of the architecture.
        open_vocabulary: whether it is told what to look for; otherwise its classes are fixed.
        names: names of the fixed classes by number; empty if config.json does not list them.
    """

    folder: Path
    model_type: str
    open_vocabulary: bool
    names: dict[int, str]


def find_model(model: str, *, fetch: bool = True) -> DetectionModel | None:
    """The checked folder of a model, downloaded if necessary.

    Args:
        model: `hf:` and a folder, or an id of the hub such as `org/name`.
        fetch: whether to download; otherwise None is returned for a model that is not here.

    Raises:
        QpertError: no such folder or model, a file is missing or leads to code, or it is not a detector.
    """
    name = model.removeprefix(PREFIX)
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return read_folder(folder)
    if name and folder.exists():
        raise QpertError(f"detector {model!r} is a file: give the folder with config.json and {_WEIGHTS}")
    if not _ID.fullmatch(name):
        raise QpertError(
            f"detector {model!r} does not exist: after {PREFIX} comes a folder, or an id of the Hugging Face hub such"
            f" as {PREFIX}Roboflow/rf-detr-base"
        )
    downloaded = _download(name, fetch)
    return None if downloaded is None else read_folder(downloaded)


def read_folder(folder: Path) -> DetectionModel:
    """Checks a folder without building anything.

    Raises:
        QpertError: see `find_model`.
    """
    for names in (("config.json",), _PREPROCESSING):
        if not any((folder / name).is_file() for name in names):
            raise QpertError(
                f"{folder} has no {' or '.join(names)}: the folder of a detector holds config.json,"
                f" {_PREPROCESSING[0]} and {_WEIGHTS}"
            )
    try:
        check_configurations(folder)
        config = read_json(folder / "config.json")
        for name in ("config.json", *_PREPROCESSING):
            if (folder / name).is_file():
                _check_numbers(read_json(folder / name), folder / name)
        _check_weights(folder)
        model_type = str(config.get("model_type"))
        open_vocabulary = _is_open(model_type, folder)
        _check_backbone(config, model_type, folder)
        if open_vocabulary:
            check_tokenizer(folder)
            return DetectionModel(folder, model_type, True, {})
        return DetectionModel(folder, model_type, False, _names(config))
    except (OSError, TypeError, ValueError) as error:
        raise QpertError(f"detector {str(folder)!r} cannot be read: {first_line(error)}") from error


def _download(name: str, fetch: bool) -> Path | None:
    try:
        if fetch:
            return Path(download_snapshot(name, allow_patterns=_PATTERNS))
        return Path(snapshot_download(name, allow_patterns=list(_PATTERNS), local_files_only=True))
    except QpertError:
        raise
    except Exception as error:  # of network, disk and hub, each of several libraries
        if not fetch:
            return None
        raise QpertError(
            f"detector {name!r} could not be downloaded: {first_line(error).rstrip('.')}. Without a network, download"
            f" the repository elsewhere and give its folder: --detector {PREFIX}FOLDER"
        ) from error


def _is_open(model_type: str, folder: Path) -> bool:
    # Imports torch, which refusals above do without.
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES,
        MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES,
    )

    if model_type in MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES:
        return True
    if model_type not in MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES:
        known = [*MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES, *MODEL_FOR_ZERO_SHOT_OBJECT_DETECTION_MAPPING_NAMES]
        raise QpertError(
            f"{folder} is of model type {model_type!r}, which detects no objects; known: {', '.join(sorted(known))}"
        )
    return False


def _check_weights(folder: Path) -> None:
    if (folder / _INDEX).is_file():
        missing = sorted({*check_shards(folder / _INDEX).values()} - {path.name for path in folder.iterdir()})
        if missing:
            raise QpertError(f"{folder / missing[0]} is missing: {_INDEX} lists it")
        return
    refuse_pickles(folder, _WEIGHTS)
    if not (folder / _WEIGHTS).is_file():
        raise QpertError(f"{folder} has no {_WEIGHTS}")


def _check_backbone(config: dict[str, Any], model_type: str, folder: Path) -> None:
    """Refuses backbones by name, except timm's own: they would be looked for on the hub."""
    for key, value in _walk(config):
        if key != "backbone" or value is None:
            continue
        if not isinstance(value, str) or not _TIMM_NAME.fullmatch(value):
            raise QpertError(f"{folder} names a backbone elsewhere, {value!r}; only its own files and timm's are used")
    alone = config.get("backbone") is not None and not isinstance(config.get("backbone_config"), dict)
    if alone and (model_type not in _NAMED_BACKBONES or not config.get("use_timm_backbone", True)):
        raise QpertError(
            f"{folder} names its backbone, {config['backbone']!r}, without describing it: save it with a transformers"
            " of version 5, which writes a backbone_config"
        )


def _check_numbers(config: dict[str, Any], path: Path) -> None:
    for key, value in _walk(config):
        side = key in _MODEL_SIDES if path.name == "config.json" else _SIDES.fullmatch(key)
        if isinstance(value, bool) or not isinstance(value, int | float if side else int):
            continue
        limit = _LONGEST_SIDE if side else _DEEPEST if re.search(r"layers|depth|blocks", key) else _LARGEST
        if abs(value) > limit:
            raise QpertError(f"{path}: {key} = {value} is out of range (at most {limit})")


def _walk(values: object, key: str = "") -> Iterator[tuple[str, object]]:
    """All keys and values, at any depth; the values in a list have the key of the list."""
    stack = [(key, values)]
    while stack:
        key, value = stack.pop()
        if isinstance(value, dict):
            stack += [(str(inner), content) for inner, content in value.items()]
        elif isinstance(value, list):
            stack += [(key, content) for content in value]
        else:
            yield key, value


def _names(config: dict[str, Any]) -> dict[int, str]:
    names = config.get("id2label") or {}
    if not isinstance(names, dict) or not all(str(number).isdecimal() for number in names):
        raise ValueError("id2label of config.json does not map numbers to names")
    return {int(number): str(name) for number, name in names.items()}
