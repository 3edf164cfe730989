"""The text towers of the bundled encoders as ONNX files: by onnxruntime, a search needs no torch and no model library.

The files are in `pipeline/miniature/text_towers/`, written by `python -m pipeline.miniature.text_tower_export`. They
are not beside the weights, because the digest of these, which every feature set records, covers all files of a folder.
Each names the digest of the weights that it was exported from, and is used for no others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.encoders.blip2 import text_inputs as blip2_texts
from pipeline.encoders.internvl import text_inputs as internvl_texts
from pipeline.encoders.open_clip.word_tokenizer import WordTokenizer
from pipeline.encoders.reading import Reading
from pipeline.encoders.registry import ENCODERS, resolve_weights
from pipeline.encoders.whole_words import WholeWords
from pipeline.io.model_files import read_json

if TYPE_CHECKING:
    import onnxruntime
    from torch import Tensor

    from pipeline.encoders.base import Encoder

FOLDER = Path(__file__).parents[1] / "miniature" / "text_towers"
DIGEST = "weights_digest"
"""Key of the metadata of a file: the digest of the weights that it was exported from."""
Ids = npt.NDArray[np.int64]
_log = logging.getLogger(__name__)


class TextEncoder(Protocol):
    """What a search asks of an encoder: any `Encoder`, or a `TextTower`."""

    name: str
    dim: int

    def embed_text(self, texts: Sequence[str]) -> Tensor | npt.NDArray[np.float32]:
        """Unit vectors float32 [T, D]."""
        ...

    def read_texts(self, texts: Sequence[str]) -> Reading | None:
        """See `Encoder.read_texts`."""
        ...


@dataclass(frozen=True)
class TextInputs:
    """How a family turns texts into the ids of its tower.

    Attributes:
        ids: from T texts to int64 [T, L]; L is the same for all texts.
        read: see `Encoder.read_texts`.
        embed: the torch tower, from an encoder and ids int64 [T, L] to vectors [T, D]; for the export.
    """

    ids: Callable[[Sequence[str]], Ids]
    read: Callable[[Sequence[str]], Reading]
    embed: Callable[[Encoder, Tensor], Tensor]


class TextTower:
    """A text tower that onnxruntime runs on the CPU in float32. It serves one thread at a time, as an `Encoder`.

    Args:
        name: of the encoder.
        inputs: of its family.
        session: takes ids int64 [T, L] and gives unit vectors float32 [T, D].
    """

    def __init__(self, name: str, inputs: TextInputs, session: onnxruntime.InferenceSession) -> None:
        self.name, self._inputs, self._session = name, inputs, session
        self.dim = int(session.get_outputs()[0].shape[1])

    def embed_text(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors float32 [T, D], within 1e-5 of the torch tower's."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        vectors: npt.NDArray[np.float32] = self._session.run(None, {"ids": self._inputs.ids(texts)})[0]
        return vectors

    def read_texts(self, texts: Sequence[str]) -> Reading | None:
        """See `Encoder.read_texts`."""
        return self._inputs.read(texts)


def load_text_tower(name: str, digest: str | None) -> TextTower | None:
    """The text tower of an encoder's bundled weights; None where there is none for them, or no onnxruntime.

    Args:
        name: of the encoder.
        digest: of the bundled weights as they are now, by `weights_identity`.
    """
    miniature = ENCODERS[name].miniature
    path = FOLDER / f"{miniature}.onnx"
    if miniature not in _FAMILIES or not path.is_file():
        return None
    try:
        import onnxruntime
    except ImportError:
        _log.debug("texts are embedded by torch, which takes longer to start: onnxruntime is not installed")
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a text is too little work to share
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    if session.get_modelmeta().custom_metadata_map.get(DIGEST) != digest:
        _log.debug("texts are embedded by torch: %s was exported from other weights", path)
        return None
    return TextTower(name, text_inputs(miniature), session)


def text_inputs(miniature: str) -> TextInputs:
    """How texts become ids, for one of the miniatures' folders."""
    return _FAMILIES[miniature](Path(resolve_weights(miniature, None)))


def _open_clip(folder: Path) -> TextInputs:
    length = read_json(folder / "open_clip_config.json")["model_cfg"]["text_cfg"]["context_length"]
    tokenizer = WordTokenizer(folder / "tokenizer.json", length)
    return TextInputs(
        lambda texts: np.array(tokenizer.ids(texts), np.int64),
        tokenizer.read,
        lambda encoder, ids: encoder.model.encode_text(ids, normalize=True),  # type: ignore[attr-defined]
    )


def _blip2(folder: Path) -> TextInputs:
    tokenizer = WholeWords(folder)
    length = blip2_texts.max_text_length(tokenizer)

    def ids(texts: Sequence[str]) -> Ids:
        return _padded(tokenizer.encode(list(map(blip2_texts.clean, texts)), special=True, length=length), length)

    return TextInputs(
        ids,
        lambda texts: blip2_texts.read_texts(tokenizer, texts),
        lambda encoder, ids: encoder.embed_text(input_ids=ids),
    )


def _internvl(folder: Path) -> TextInputs:
    tokenizer = WholeWords(folder)
    return TextInputs(
        lambda texts: _padded(internvl_texts.framed_ids(tokenizer, texts), internvl_texts.MAX_LENGTH),
        lambda texts: internvl_texts.read_texts(tokenizer, texts),
        lambda encoder, ids: encoder.model.embed_text(ids, ids > 0),  # type: ignore[attr-defined]
    )


def _padded(rows: Sequence[Sequence[int]], length: int) -> Ids:
    """Rows of at most `length` ids as an array [T, length], filled up with 0."""
    padded = np.zeros((len(rows), length), np.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded


_FAMILIES: dict[str, Callable[[Path], TextInputs]] = {
    "blip2": _blip2,
    "coca": _open_clip,
    "internvl": _internvl,
    "open_clip": _open_clip,
}
"""By the folder of the bundled weights."""
