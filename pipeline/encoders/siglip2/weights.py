"""Loading SigLIP and SigLIP 2 from a hub id or a folder in transformers' form; weights are safetensors only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Siglip2Model, SiglipModel

from pipeline.encoders.hub import could_not_load, fetch, is_hub_id
from pipeline.encoders.siglip2.config import Preprocessing, SiglipSizes, read_preprocessing, read_sizes
from pipeline.encoders.siglip2.text_inputs import TOKENIZER_FILES, check_tokenizer_files, read_tokenizer
from pipeline.encoders.weight_files import UNREADABLE, without_progress_bar
from pipeline.errors import QpertError
from pipeline.io.model_files import check_configurations, check_shards, refuse_pickles

TITLE = "SigLIP"
INDEX = "model.safetensors.index.json"
PATTERNS = ("config.json", "preprocessor_config.json", "processor_config.json", "model*.safetensors", INDEX)


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
        read_preprocessing(folder)
        check_tokenizer_files(folder)
        if (folder / INDEX).is_file():
            check_shards(folder / INDEX)
        else:
            refuse_pickles(folder, "model.safetensors")
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
    folder = Path(weights) if Path(weights).is_dir() else fetch(weights, [*PATTERNS, *TOKENIZER_FILES], TITLE)
    sizes = check_folder(folder)
    try:
        with without_progress_bar():
            model, info = (Siglip2Model if sizes.native else SiglipModel).from_pretrained(
                str(folder),
                config=sizes.for_transformers(),
                dtype=dtype,
                output_loading_info=True,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
            )
        tokenizer = read_tokenizer(folder, native=sizes.native)
        preprocessing = read_preprocessing(folder)
    except UNREADABLE as error:
        raise could_not_load(TITLE, weights, error) from error
    wrong = sorted(str(key) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in info[kind])
    wrong = [key for key in wrong if not key.endswith(".position_ids")]  # a constant that old versions saved
    if wrong:
        raise QpertError(
            f"{weights} is not a whole {TITLE}: {len(wrong)} weights are missing, unknown or of another shape, such as"
            f" {wrong[0]}"
        )
    words = sizes.text_config.vocab_size
    if len(tokenizer) > words or tokenizer.pad_token_id is None:
        raise QpertError(
            f"the tokenizer of {weights} has {len(tokenizer):,} words, but the model {words:,}: put the model's own"
            " there"
        )
    return SiglipWeights(model, tokenizer, preprocessing)
