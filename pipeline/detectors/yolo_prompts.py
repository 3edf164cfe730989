"""The open vocabularies of ultralytics, YOLO-World and YOLOE: told what to look for by embedded texts.

Their text encoders (CLIP, MobileCLIP) are as large as the detectors, so the driver embeds the classes once, and workers
get the embeddings, as an .npz without pickles. Here the models are only told what to do; `pipeline.detectors.yolo`
opens them.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.detectors.class_names import open_classes
from pipeline.detectors.config import DOWNLOADS, DetectorConfig
from pipeline.errors import QpertError, first_line

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def look_for(yolo: Any, config: DetectorConfig, prompts: bytes | None) -> bool:
    """Tells an open vocabulary what to look for.

    Args:
        yolo: `ultralytics.YOLO`, with any model.
        config: the classes.
        prompts: what `embedded` returned; None embeds the classes here.

    Returns:
        Whether the model now finds exactly these classes; otherwise its classes are fixed, or contain these already.

    Raises:
        QpertError: the model needs classes and has none, or they cannot be embedded.
    """
    if _is_ready(yolo, config):
        return False
    classes = open_classes(config.classes, config.model)
    names, vectors = _unpacked(prompts or _packed(classes, _embed(yolo, classes)))
    if names != classes:
        raise QpertError(f"detector {config.model!r} was given the embeddings of other classes")
    _set(yolo, names, vectors)
    return True


def embedded(yolo: Any, config: DetectorConfig) -> bytes | None:
    """The embedded classes for `look_for`; None for a model that needs none.

    Raises:
        QpertError: they cannot be embedded.
    """
    if _is_ready(yolo, config):
        return None
    classes = open_classes(config.classes, config.model)
    return _packed(classes, _embed(yolo, classes))


def _is_ready(yolo: Any, config: DetectorConfig) -> bool:
    """Whether the model has its classes: it is none of an open vocabulary, or was saved with those that are wanted."""
    kind = type(yolo.model).__name__
    if kind not in ("WorldModel", "YOLOEModel", "YOLOESegModel") or hasattr(yolo.model.model[-1], "lrpc"):
        return True  # the last are YOLOE's models that need no prompts
    told = kind == "WorldModel" or getattr(yolo.model, "pe", None) is not None
    return told and (config.classes is None or {*config.classes} <= {*yolo.names.values()})


def _embed(yolo: Any, classes: Sequence[str]) -> npt.NDArray[np.float32]:
    """Embeddings [classes, D] by the text encoder that belongs to the model, downloaded if necessary.

    Raises:
        QpertError: it cannot be had.
    """
    try:
        with _in_downloads():  # ultralytics puts some encoders into the working folder
            vectors: npt.NDArray[np.float32] = yolo.model.get_text_pe(list(classes))[0].float().cpu().numpy()
    except Exception as error:  # import, network and file errors of several libraries
        raise QpertError(
            f"the text encoder of this detector cannot be loaded: {first_line(error)}. Open vocabularies of ultralytics"
            " need its CLIP (pip install git+https://github.com/ultralytics/CLIP.git), and download an encoder at their"
            " first use; those of transformers (--detector hf:MODEL) need neither"
        ) from error
    return vectors


def _set(yolo: Any, classes: list[str], vectors: npt.NDArray[np.float32]) -> None:
    import torch

    features = torch.from_numpy(vectors)[None]
    if type(yolo.model).__name__ == "WorldModel":  # its own `set_classes` takes no embeddings
        yolo.model.txt_feats = features
        yolo.model.model[-1].nc = len(classes)
        yolo.model.names = dict(enumerate(classes))
        yolo.predictor = None
    else:
        yolo.set_classes(classes, features)


def _packed(classes: Sequence[str], vectors: npt.NDArray[np.float32]) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.savez(file, names=np.array(classes, dtype=np.str_), embeddings=vectors)
    return file.getvalue()


def _unpacked(prompts: bytes) -> tuple[list[str], npt.NDArray[np.float32]]:
    import numpy as np

    with np.load(io.BytesIO(prompts), allow_pickle=False) as file:
        return [str(name) for name in file["names"]], file["embeddings"].astype(np.float32)


@contextmanager
def _in_downloads() -> Iterator[None]:
    """Works in the folder of downloaded models for a while."""
    folder, before = DOWNLOADS.expanduser(), os.getcwd()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
