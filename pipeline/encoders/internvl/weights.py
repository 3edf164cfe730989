"""Loading InternVL-14B: from a folder in the form it is published in, or from a hub id.

The model is built without memory, and each tensor goes straight from its file to its device and dtype. Files are mapped
into memory, not read into it: on a CPU, in the dtype of the files, all processes of a machine share one copy; otherwise
all of them read from the page cache that the first has filled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from pipeline.encoders.downloads import INTERNVL_FILES
from pipeline.encoders.hub import fetch, is_hub_id
from pipeline.encoders.internvl.config import InternVLConfig
from pipeline.encoders.internvl.model import InternVL
from pipeline.encoders.internvl.sentence_pieces import SentencePieces
from pipeline.encoders.tokenizer_files import load_tokenizer
from pipeline.encoders.weight_files import UNREADABLE, check_shapes, weight_shapes
from pipeline.encoders.whole_words import WholeWords, opens_as_whole_words
from pipeline.errors import QpertError, first_line
from pipeline.io.hub_downloads import download_snapshot
from pipeline.io.model_files import check_configurations, check_shards, read_json, refuse_pickles
from pipeline.io.tokenizer_files import check_tokenizer

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
PUBLISHED_CODE = {
    "AutoConfig": "configuration_internvl.InternVLConfig",
    "AutoModel": "modeling_internvl.InternVLModel",
}
"""The `auto_map` of published config.json files. The modules here replace that code, and the key is never read."""


def load_weights(weights: str, device: torch.device, dtype: torch.dtype) -> tuple[InternVL, Any]:
    """Load an InternVL straight into `dtype` on `device`.

    Args:
        weights: a hub id (`OpenGVLab/InternVL-14B-224px`, `OpenGVLab/InternVL-14B-Flickr30K-FT-364px`), or a folder in
            that form: config.json, model.safetensors or its shards with their index, and tokenizer.model (or, of other
            vocabularies, tokenizer.json).
        device: of the weights.
        dtype: of the weights.

    Returns:
        Model and tokenizer, for `InternVLEncoder.from_model`.

    Raises:
        QpertError: with what to do, if anything is missing, unknown, or of another size.
    """
    check_weights(weights)
    folder = Path(weights) if Path(weights).is_dir() else _fetch(weights)
    config = read_config(folder)
    tokenizer = _tokenizer(folder, config)
    with torch.device("meta"):
        model = InternVL(config)
    files = weight_files(folder)
    needed = {name: value.shape for name, value in model.state_dict().items()}
    given = {name: shape for path in files for name, shape in weight_shapes(path).items()}
    check_shapes(needed, given, f"{folder} is not a whole InternVL-14B")  # before the first gigabyte is loaded
    try:
        for path, names in files.items():
            with safe_open(path, "pt") as file:
                part = {name: file.get_tensor(name).to(device).to(dtype) for name in names}
            model.load_state_dict(part, strict=False, assign=True)
    except UNREADABLE as error:
        raise QpertError(f"the weights in {folder} cannot be loaded: {first_line(error)}") from error
    return model, tokenizer


def check_weights(weights: str) -> None:
    """Refuse folders that are missing or incomplete; the hub is not asked."""
    folder = Path(weights)
    if folder.is_dir():
        read_config(folder)
        weight_files(folder)
    elif not is_hub_id(weights):
        raise QpertError(
            f"{weights!r} is not a folder or a hub id; give 'miniature', a folder, or an id such as"
            " OpenGVLab/InternVL-14B-224px"
        )


def read_config(folder: Path) -> InternVLConfig:
    """The sizes of the model in `folder`.

    Raises:
        QpertError: no config.json, or not one of an InternVL.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise QpertError(f"{folder} has no config.json: an InternVL folder holds it beside its weights")
    try:
        check_configurations(folder, known=PUBLISHED_CODE)
        content = read_json(path, known=PUBLISHED_CODE)
        if not {"vision_config", "qllama_config"} <= content.keys():
            raise QpertError(f"{path} is not of an InternVL-14B: it has no vision_config and qllama_config")
        return InternVLConfig.from_dict(content)
    except (AttributeError, OSError, TypeError, ValueError) as error:
        raise QpertError(f"{path} cannot be read: {first_line(error)}") from error


def weight_files(folder: Path) -> dict[Path, list[str]]:
    """The files with the weights in `folder`, and the names of the weights in each.

    Raises:
        QpertError: a file is missing or damaged, or contradicts the index.
    """
    try:
        if not (folder / INDEX).is_file():
            if not (folder / SINGLE).is_file():
                refuse_pickles(folder, SINGLE)
                raise QpertError(f"{folder} has neither {SINGLE} nor {INDEX}; weights in .bin files are not opened")
            return {folder / SINGLE: [*weight_shapes(folder / SINGLE)]}
        files: dict[Path, list[str]] = {}
        for name, file in check_shards(folder / INDEX).items():
            files.setdefault(folder / file, []).append(name)
        for path, names in files.items():
            if not path.is_file():
                raise QpertError(f"{path} is missing: {INDEX} lists it with {len(names)} weights")
            if different := sorted({*names} ^ weight_shapes(path).keys()):
                raise QpertError(f"{path} and {INDEX} do not agree, about {different[0]} for one")
        return files
    except UNREADABLE as error:
        raise QpertError(f"the weights in {folder} cannot be read: {first_line(error)}") from error


def _fetch(name: str) -> Path:
    return fetch(name, INTERNVL_FILES, "InternVL", download=download_snapshot)


def _tokenizer(folder: Path, config: InternVLConfig) -> Any:
    pieces = folder / "tokenizer.model"
    try:
        check_tokenizer(folder)
        tokenizer: Any
        if pieces.is_file():
            tokenizer = SentencePieces(pieces)
        else:
            tokenizer = WholeWords(folder) if opens_as_whole_words(folder) else load_tokenizer(folder)
    except QpertError:
        raise
    except Exception as error:
        raise QpertError(
            f"the tokenizer in {folder} (tokenizer.model, or tokenizer.json) cannot be loaded: {first_line(error)}"
        ) from error
    words = config.qllama_config.vocab_size
    if None in (tokenizer.bos_token_id, tokenizer.eos_token_id) or len(tokenizer) > words:
        raise QpertError(
            f"the tokenizer of {folder} has {len(tokenizer):,} words, or no begin and end, but the model has"
            f" {words:,}: put the model's own there (tokenizer.model)"
        )
    return tokenizer
