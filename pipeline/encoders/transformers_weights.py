"""Models of transformers from a folder whose configurations have been checked: safetensors alone, and every weight."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from pipeline.encoders.downloads import INDEX
from pipeline.encoders.weight_files import weight_shapes
from pipeline.errors import QpertError
from pipeline.io.model_files import check_shards, refuse_pickles

WEIGHTS = "model.safetensors"


def check_weight_files(folder: Path) -> None:
    """Refuse weights other than safetensors, and an index that names files elsewhere.

    Raises:
        QpertError: with the file.
        OSError, ValueError: the index is damaged.
    """
    if (folder / INDEX).is_file():
        check_shards(folder / INDEX)
    else:
        refuse_pickles(folder, WEIGHTS)


def load_model(kind: Any, folder: Path, config: Any, dtype: torch.dtype, complaint: str, advice: str = "") -> Any:
    """A model on the CPU; nothing is downloaded, and no code of the folder is run.

    Args:
        kind: the model's class.
        folder: with the weights.
        config: of transformers, so that the library reads no configuration itself.
        dtype: of the weights.
        complaint: beginning of the message about weights that do not fit, such as "x is not a whole BLIP-2".
        advice: end of that message.

    Raises:
        QpertError: weights are missing, unknown or of another shape.
        OSError, RuntimeError, SafetensorError, ValueError: the files are missing or damaged.
    """
    _check_size(kind, folder, config)
    with _quiet():
        model, info = kind.from_pretrained(
            str(folder),
            config=config,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are named below; the library would refer to a report
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    named = [*info["missing_keys"], *info["unexpected_keys"], *(name for name, *_ in info["mismatched_keys"])]
    wrong = sorted(map(str, named))
    wrong = [key for key in wrong if not key.endswith(".position_ids")]  # a constant that old versions saved
    if wrong:
        raise QpertError(
            f"{complaint}: {len(wrong)} weights are missing, unknown or of another shape, such as {wrong[0]}{advice}"
        )
    return model


def _check_size(kind: Any, folder: Path, config: Any) -> None:
    """Refuse a configuration much larger than its weights, before memory is allocated for it."""
    names = {*check_shards(folder / INDEX).values()} if (folder / INDEX).is_file() else {WEIGHTS}
    present = sum(math.prod(shape) for name in names for shape in weight_shapes(folder / name).values())
    with torch.device("meta"):
        wanted = sum(value.numel() for value in kind(config).state_dict().values())
    if wanted > 2 * present:
        raise QpertError(f"the configuration of {folder} is of {wanted:,} numbers, its weights are {present:,}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bar and the reports that transformers shows for each part it loads, in every actor."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
