"""The best candidates of every query by contrast, in both directions: the input of image-text matching."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import QpertError
from pipeline.retrieval.ranks import Ints

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Candidates:
    """The k best answers of each query; fewer where there are fewer than k.

    Attributes:
        images: [T, k] numbers of the best photos of each text, unordered.
        image_scores: float32 [T, k], their scores.
        texts: [I, k] numbers of the best texts of each photo, unordered.
        text_scores: float32 [I, k], their scores.
        queries: bool [I], the photos that have texts of their own; only these are queries.
    """

    images: Int32
    image_scores: Float32
    texts: Int32
    text_scores: Float32
    queries: npt.NDArray[np.bool_]

    def texts_of_images(self) -> tuple[Ints, Int32]:
        """Every pair once, photo by photo: offsets of each photo's texts [I + 1], and the texts' numbers, ascending."""
        count, width = self.texts.shape[0], int(self.images.shape[0])
        queries = np.flatnonzero(self.queries).astype(np.int64)
        by_image = np.repeat(queries, self.texts.shape[1]) * width + self.texts[queries].ravel()
        rows = np.repeat(np.arange(width, dtype=np.int64), self.images.shape[1])
        pairs = np.unique(np.concatenate([by_image, self.images.ravel().astype(np.int64) * width + rows]))
        starts = np.searchsorted(pairs, np.arange(count + 1, dtype=np.int64) * width)
        return starts, (pairs % width).astype(np.int32)


class CandidateCollector:
    """Keeps the best k answers of each query, tile by tile, so that no full score matrix is needed."""

    def __init__(self, images: int, texts: int, k: int) -> None:
        if k < 1:
            raise QpertError(f"the number of candidates to re-rank must be at least 1, not {k}")
        self._images = _Best(texts, min(k, images))
        self._texts = _Best(images, min(k, texts))

    def count(self, tile: Float32, *, first_image: int, first_text: int) -> None:
        """Adds the scores [i, t] of the images from `first_image` and the texts from `first_text` on."""
        self._images.take(tile.T, first_text, first_image)
        self._texts.take(tile, first_image, first_text)

    def candidates(self, owners: Ints) -> Candidates:
        """The best answers among all tiles; `owners` [T] is the photo of each text."""
        queries = np.zeros(len(self._texts.ids), bool)
        queries[owners] = True
        return Candidates(self._images.ids, self._images.scores, self._texts.ids, self._texts.scores, queries)


class _Best:
    """The ids of the `k` highest scores of each row."""

    def __init__(self, rows: int, k: int) -> None:
        self.scores: Float32 = np.full((rows, k), -np.inf, np.float32)
        self.ids: Int32 = np.full((rows, k), -1, np.int32)

    def take(self, scores: Float32, first_row: int, first_id: int) -> None:
        rows, k = slice(first_row, first_row + len(scores)), self.ids.shape[1]
        new = np.broadcast_to(np.arange(first_id, first_id + scores.shape[1], dtype=np.int32), scores.shape)
        every = np.concatenate([self.scores[rows], scores], axis=1)
        ids = np.concatenate([self.ids[rows], new], axis=1)
        best = np.argpartition(-every, k - 1, axis=1)[:, :k]
        self.scores[rows] = np.take_along_axis(every, best, 1)
        self.ids[rows] = np.take_along_axis(ids, best, 1)
