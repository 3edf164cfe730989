"""Loading SigLIP and SigLIP 2 from a hub id or a folder in transformers' form; weights are safetensors only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Siglip2Model, SiglipModel

from pipeline.encoders.downloads import SIGLIP_FILES
from pipeline.encoders.hub import could_not_load, fetch, is_hub_id
from pipeline.encoders.siglip2.config import Preprocessing, SiglipSizes, read_preprocessing, read_sizes
from pipeline.encoders.siglip2.text_inputs import check_tokenizer_files, read_tokenizer
from pipeline.encoders.transformers_weights import check_weight_files, load_model
from pipeline.encoders.weight_files import UNREADABLE
from pipeline.errors import QpertError
from pipeline.io.model_files import check_configurations

TITLE = "SigLIP"


@dataclass(frozen=True)
class SiglipWeights:
    """The parts that `SiglipEncoder` is built from."""

    model: SiglipModel | Siglip2Model
    tokenizer: Any
    preprocessing: Preprocessing


def check_weights(weights: str) -> None:
    """Refuse folders that are missing or incomplete; the hub is not asked.

    Raises:
        QpertError: with what to do.
    """
    if Path(weights).is_dir():
        check_folder(Path(weights))
    elif not is_hub_id(weights):
        raise QpertError(
            f"{weights!r} is not a folder or a hub id; give a folder in transformers' form, or an id such as"
            " google/siglip2-base-patch16-naflex"
        )


def check_folder(folder: Path) -> SiglipSizes:
    """The configuration of a folder; refuses one that is incomplete, or one of whose files leads to code.

    Raises:
        QpertError: with the file and what is wrong with it.
    """
    if not (folder / "config.json").is_file():
        raise QpertError(f"{folder} has no config.json: a {TITLE} folder holds it beside its weights")
    try:
        check_configurations(folder)
        sizes = read_sizes(folder / "config.json")
        read_preprocessing(folder).check_fits(sizes.vision_config, native=sizes.native)
        check_tokenizer_files(folder)
        check_weight_files(folder)
    except UNREADABLE as error:
        raise could_not_load(TITLE, str(folder), error) from error
    return sizes


def load_weights(weights: str, dtype: torch.dtype) -> SiglipWeights:
    """Load a model on the CPU.

    Args:
        weights: a hub id, such as `google/siglip2-base-patch16-naflex`, or a folder in that form.
        dtype: of the whole model.

    Raises:
        QpertError: with what to do, if anything is missing, unknown, or of another size.
    """
    check_weights(weights)
    folder = Path(weights) if Path(weights).is_dir() else fetch(weights, SIGLIP_FILES, TITLE)
    sizes = check_folder(folder)
    try:
        kind, config = (Siglip2Model if sizes.native else SiglipModel), sizes.for_transformers()
        model = load_model(kind, folder, config, dtype, f"{weights} is not a whole {TITLE}")
        tokenizer = read_tokenizer(folder, native=sizes.native)
        preprocessing = read_preprocessing(folder)
    except UNREADABLE as error:
        raise could_not_load(TITLE, weights, error) from error
    words = sizes.text_config.vocab_size
    if len(tokenizer) > words or tokenizer.pad_token_id is None:
        raise QpertError(
            f"the tokenizer of {weights} has {len(tokenizer):,} words, but the model {words:,}: put the model's own"
            " there"
        )
    return SiglipWeights(model, tokenizer, preprocessing)
