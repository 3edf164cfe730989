"""Text encoders that are kept warm, and that answer concurrent requests together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from pipeline.encoders.text_towers import TextEncoder
from pipeline.retrieval.similarity import Float32
from pipeline.retrieval.text import TextEncoderChoice, load_chosen

if TYPE_CHECKING:
    from pipeline.encoders.reading import Reading

_REMEMBERED = 4096
"""Texts whose vectors are kept, so that the pages of one query see the same bits: 12 MB at 768 numbers."""


class BatchingEncoder:
    """A text encoder for many threads: those that wait for it are answered together by the next that gets it.

    Vectors of recent texts are kept.

    Args:
        encoder: serves one thread at a time.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self.name, self.dim = encoder.name, encoder.dim
        self._encoder = encoder
        self._running, self._state = Lock(), Lock()
        self._waiting: dict[str, None] = {}
        self._known: OrderedDict[str, Float32] = OrderedDict()

    def embed_text(self, texts: Sequence[str]) -> Float32:
        """Unit vectors float32 [T, D]."""
        found = self._lookup(texts)
        if found is None:
            with self._running:
                found = self._lookup(texts)  # another thread may have embedded them meanwhile
                if found is None:
                    found = self._embed_all(texts)
        return found

    def read_texts(self, texts: Sequence[str]) -> Reading | None:
        """See `TextEncoder`."""
        with self._running:
            return self._encoder.read_texts(texts)

    def _lookup(self, texts: Sequence[str]) -> Float32 | None:
        """The vectors, if all are known; else the texts are put where the next thread that runs takes them along."""
        with self._state:
            rows = [self._known.get(text) for text in texts]
            missing = [text for text, row in zip(texts, rows, strict=True) if row is None]
            self._waiting.update(dict.fromkeys(missing))
            if missing:
                return None
            for text in texts:
                self._known.move_to_end(text)
            return np.stack([row for row in rows if row is not None]) if rows else np.zeros((0, self.dim), np.float32)

    def _embed_all(self, texts: Sequence[str]) -> Float32:
        """Embeds what waits, and keeps it."""
        with self._state:
            batch, self._waiting = list({**dict.fromkeys(texts), **self._waiting}), {}
        vectors = _as_array(self._encoder.embed_text(batch))
        rows = dict(zip(batch, vectors, strict=True))
        with self._state:
            self._known.update(rows)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return np.stack([rows[text] if text in rows else self._known[text] for text in texts])


def _as_array(vectors: object) -> Float32:
    if isinstance(vectors, np.ndarray):
        return vectors
    return vectors.detach().float().cpu().numpy()  # type: ignore[attr-defined, no-any-return]  # a torch tensor


class EncoderPool:
    """The text encoders of a server: each is loaded once, whichever sets ask for it."""

    def __init__(self) -> None:
        self._encoders: dict[TextEncoderChoice, TextEncoder] = {}
        self._lock = Lock()

    def load(self, choice: TextEncoderChoice) -> TextEncoder:
        """For `load_text_encoder`."""
        with self._lock:
            if choice not in self._encoders:
                self._encoders[choice] = BatchingEncoder(load_chosen(choice))
            return self._encoders[choice]
