"""Models of transformers from a folder whose configurations have been checked: safetensors alone, and every weight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from pipeline.encoders.downloads import INDEX
from pipeline.errors import QpertError
from pipeline.io.model_files import check_shards, refuse_pickles


def check_weight_files(folder: Path) -> None:
    """Refuse weights other than safetensors, and an index that names files elsewhere.

    Raises:
        QpertError: with the file.
        OSError, ValueError: the index is damaged.
    """
    if (folder / INDEX).is_file():
        check_shards(folder / INDEX)
    else:
        refuse_pickles(folder, "model.safetensors")


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
    with _without_progress_bar():
        model, info = kind.from_pretrained(
            str(folder),
            config=config,
            dtype=dtype,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    wrong = sorted(str(key) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in info[kind])
    wrong = [key for key in wrong if not key.endswith(".position_ids")]  # a constant that old versions saved
    if wrong:
        raise QpertError(
            f"{complaint}: {len(wrong)} weights are missing, unknown or of another shape, such as {wrong[0]}{advice}"
        )
    return model


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    """Hide the progress bar that transformers shows for each part it loads, in every actor."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
