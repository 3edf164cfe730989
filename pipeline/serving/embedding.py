"""Encoders that are kept warm, and that answer concurrent requests together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from pipeline.encoders.text_towers import TextEncoder
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.provenance import MadeWith
from pipeline.queries.encoding import ChosenEncoder
from pipeline.retrieval.similarity import Float32, unit
from pipeline.retrieval.text import TextEncoderChoice, load_text_encoder, reading_warnings

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipeline.encoders.reading import Reading

_REMEMBERED = 4096
"""Texts whose vectors are kept, so that the pages of one query see the same bits: 12 MB at 768 numbers."""
_BATCH = 64


class BatchingEncoder:
    """A text encoder for many threads: those that wait for it are answered together, by the next that gets it.

    The vectors of recent texts are kept.

    Args:
        encoder: one thread at a time asks it.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self.name, self.dim = encoder.name, encoder.dim
        self.encoder = encoder
        self._running, self._state = Lock(), Lock()
        self._waiting: dict[str, None] = {}
        self._known: OrderedDict[str, Float32] = OrderedDict()
        self._remarks: OrderedDict[str, list[str]] = OrderedDict()

    def embed_text(self, texts: Sequence[str]) -> Float32:
        """Unit vectors float32 [T, D]."""
        found = self._kept(texts)
        if found is not None:
            return found
        with self._running:
            found = self._kept(texts)  # another thread may have embedded them meanwhile
            return self._embed_with_others(texts) if found is None else found

    def read_texts(self, texts: Sequence[str]) -> Reading | None:
        """See `TextEncoder`."""
        return self.encoder.read_texts(texts)

    def remarks(self, text: str) -> list[str]:
        """What users should know of how the encoder reads a text, see `reading_warnings`."""
        with self._state:
            if text in self._remarks:
                return self._remarks[text]
        found = reading_warnings(self.encoder, [text])
        with self._state:
            self._remarks[text] = found
            while len(self._remarks) > _REMEMBERED:
                self._remarks.popitem(last=False)
        return found

    def _kept(self, texts: Sequence[str]) -> Float32 | None:
        """The vectors, if all are known; else the others are noted down for the next thread that embeds."""
        with self._state:
            missing = [text for text in texts if text not in self._known]
            self._waiting.update(dict.fromkeys(missing))
            if missing or not texts:
                return None if texts else np.zeros((0, self.dim), np.float32)
            for text in texts:
                self._known.move_to_end(text)
            return np.stack([self._known[text] for text in texts])

    def _embed_with_others(self, texts: Sequence[str]) -> Float32:
        with self._state:
            known = {text: self._known[text] for text in texts if text in self._known}
            mine = [text for text in dict.fromkeys(texts) if text not in known]
            waiting = [text for text in self._waiting if text not in mine and text not in self._known]
            others = waiting[: max(0, _BATCH - len(mine))]
            for text in (*mine, *others):
                self._waiting.pop(text, None)
        try:
            rows = self._embed(mine + others)
        except Exception:
            if not others:
                raise
            rows = self._embed(mine)  # a text of others may be at fault; they will see
        with self._state:
            self._known.update(rows)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return np.stack([(rows | known)[text] for text in texts])

    def _embed(self, texts: list[str]) -> dict[str, Float32]:
        vectors = self.encoder.embed_text(texts)
        array = vectors if isinstance(vectors, np.ndarray) else vectors.detach().float().cpu().numpy()
        return dict(zip(texts, unit(array, "the text embeddings"), strict=True))


class EncoderPool:
    """The encoders of a server: each is loaded once, whichever sets ask for it.

    Args:
        load: loads one.
    """

    def __init__(self, load: Callable[[TextEncoderChoice], TextEncoder] = ChosenEncoder) -> None:
        self._load = load
        self._encoders: dict[TextEncoderChoice, BatchingEncoder] = {}
        self._lock = Lock()

    def get(self, choice: TextEncoderChoice) -> BatchingEncoder:
        """An encoder, loaded when it is first asked for."""
        with self._lock:
            if choice not in self._encoders:
                self._encoders[choice] = BatchingEncoder(self._load(choice))
            return self._encoders[choice]


class PhotoEncoder(Protocol):
    """An encoder of a pool that takes photos as well as texts."""

    def embed_photos(self, photos: Sequence[Image], image_size: int | None) -> Float32:
        """See `ChosenEncoder`."""
        ...


class ServedEncoder:
    """The encoder of a set, as a `pipeline.queries.encoding.QueryEncoder` that is loaded already.

    Args:
        features: the set.
        pool: has the encoders.
        weights: see `load_text_encoder`, also for what it refuses.
        device: a torch device.
        dtype: the encoder's number format.
    """

    def __init__(
        self,
        features: FeatureSet,
        pool: EncoderPool,
        weights: str | None = None,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        encoder = load_text_encoder(features, weights=weights, device=device, dtype=dtype, load=pool.get)
        self._encoder = cast("BatchingEncoder", encoder)  # what the pool has
        self._image_size = MadeWith.of(features.manifest, features.root).image_size

    def texts(self, texts: Sequence[str]) -> Float32:
        """Unit vectors [T, D]."""
        return self._encoder.embed_text(texts)

    def photos(self, photos: Sequence[Image]) -> Float32:
        """Unit vectors [n, V, D] of upright RGB photos; the first photo loads the whole encoder."""
        encoder = self._encoder.encoder
        if not hasattr(encoder, "embed_photos"):
            raise QpertError("this server embeds texts alone, no photos")
        return cast("PhotoEncoder", encoder).embed_photos(photos, self._image_size)

    def remarks(self, texts: Sequence[str]) -> list[str]:
        """What users should know of texts that the encoder cannot read as a whole."""
        return [remark for text in texts for remark in self._encoder.remarks(text)]
