"""Simulated embeddings to search in: clustered, correlated within a photo, and texts at a realistic distance.

A vector is the unit vector of a sum of Gaussian parts whose variances `_SHARES` gives: what all vectors have in common,
what vector j of every photo has in common, the photo's topic, one of the photo's one to six objects, the photo itself,
and noise. Topics and objects are few and of very unequal frequency. Variances fall along the principal directions as
those of real embeddings do, so that nearest neighbours are neither trivial nor a matter of luck: two vectors of a photo
have a cosine of 0.6, vectors of different photos one of 0.1, give or take 0.08.

A text lies at a cosine of `QUERY_COSINE` from one vector of a photo, as texts and photos of contrastive models do. The
rest of it is half of the kind that photos are made of, and half of other directions, one of which all texts share. The
best photo then scores 0.40, the tenth 0.34, the fiftieth 0.32: many compete, and most texts lie far from all centroids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.retrieval.similarity import Float32, unit

Float16 = npt.NDArray[np.float16]
Int64 = npt.NDArray[np.int64]

BLOCK = 200
"""Photos that are drawn at once; a block does not depend on how many there are."""
QUERY_COSINE = 0.4
_SHARES = {"common": 0.10, "place": 0.10, "topic": 0.20, "object": 0.20, "photo": 0.20, "noise": 0.20}
_TOPICS, _OBJECTS, _MOST_OBJECTS = 2000, 5000, 6
_TOPIC_POWER, _OBJECT_POWER = 0.7, 0.9
"""Frequencies fall with rank to this power."""
_DECAY = 0.5
"""Variances of the principal directions fall with their rank to this power."""
_FOREIGN = 0.5
_TEXT_SHARED = 0.7
"""Share of a text's rest that lies in any direction, and how long its part common to all texts is, against 1."""


@dataclass(frozen=True)
class SearchSizes:
    """A simulated set: `photos` photos of `vectors` vectors of length `dim`, drawn from `seed`."""

    photos: int
    vectors: int = 32
    dim: int = 256
    seed: int = 0

    @property
    def bytes(self) -> int:
        """Of all vectors in half precision."""
        return 2 * self.photos * self.vectors * self.dim


class SimulatedPhotos:
    """The embeddings of a simulated set, and texts to search it with. Equal sizes give equal numbers.

    Args:
        sizes: of the set.
    """

    def __init__(self, sizes: SearchSizes) -> None:
        self.sizes = sizes
        draws = np.random.default_rng(sizes.seed)
        spectrum = np.arange(1, sizes.dim + 1) ** -_DECAY
        self._deviations = np.sqrt(spectrum / spectrum.sum()).astype(np.float32)
        # Product quantisers cut vectors into pieces, which must not coincide with the principal directions.
        self._rotation = np.linalg.qr(draws.standard_normal((sizes.dim, sizes.dim)))[0].astype(np.float32)
        self._fixed = self._gaussian(draws, "common", 1) + self._gaussian(draws, "place", sizes.vectors)
        self._topics = self._gaussian(draws, "topic", _TOPICS)
        self._objects = self._gaussian(draws, "object", _OBJECTS)
        self._topic_steps = _cumulative(_TOPICS, _TOPIC_POWER)
        self._object_steps = _cumulative(_OBJECTS, _OBJECT_POWER)

    def __iter__(self) -> Iterator[Float16]:
        """Yields the photos, block by block: [b, V, D], unit vectors but for rounding."""
        for start in range(0, self.sizes.photos, BLOCK):
            yield self.block(start // BLOCK)[: self.sizes.photos - start]

    def block(self, number: int) -> Float16:
        """The vectors [BLOCK, V, D] of a block of photos."""
        vectors, dim = self.sizes.vectors, self.sizes.dim
        draws = np.random.default_rng([self.sizes.seed, number])
        topics = np.searchsorted(self._topic_steps, draws.random(BLOCK))
        shown = np.searchsorted(self._object_steps, draws.random((BLOCK, _MOST_OBJECTS)))
        count = draws.integers(1, _MOST_OBJECTS + 1, BLOCK)
        seen = np.take_along_axis(shown, (draws.random((BLOCK, vectors)) * count[:, None]).astype(np.int64), axis=1)
        sums = self._gaussian(draws, "noise", BLOCK * vectors).reshape(BLOCK, vectors, dim)
        sums += self._fixed
        sums += (self._topics[topics] + self._gaussian(draws, "photo", BLOCK))[:, None]
        sums += self._objects[seen]
        turned: Float32 = sums.reshape(-1, dim) @ self._rotation
        turned /= np.linalg.norm(turned, axis=1, keepdims=True)
        return turned.reshape(BLOCK, vectors, dim).astype(np.float16)

    def texts(self, count: int) -> Float32:
        """Unit vectors [count, D] of texts, each about a photo of its own choice."""
        sizes = self.sizes
        draws = np.random.default_rng([sizes.seed, 0x7E47])
        shared = _TEXT_SHARED * draws.standard_normal(sizes.dim)
        photos = np.sort(draws.integers(0, sizes.photos, count))
        texts = np.empty((count, sizes.dim), np.float32)
        held, block = -1, np.empty(0, np.float16)
        for number, photo in enumerate(photos.tolist()):
            if photo // BLOCK != held:
                held, block = photo // BLOCK, self.block(photo // BLOCK)
            about = unit(block[photo % BLOCK, draws.integers(sizes.vectors)][None], "the simulation")[0]
            kindred = (draws.standard_normal(sizes.dim) * self._deviations) @ self._rotation
            foreign = (draws.standard_normal(sizes.dim) + shared) / np.sqrt(sizes.dim * (1 + _TEXT_SHARED**2))
            rest = np.sqrt(1 - _FOREIGN) * kindred + np.sqrt(_FOREIGN) * foreign
            rest -= (rest @ about) * about
            rest /= np.linalg.norm(rest)
            texts[number] = QUERY_COSINE * about + np.sqrt(1 - QUERY_COSINE**2) * rest
        return draws.permutation(unit(texts, "the simulation"))

    def _gaussian(self, draws: np.random.Generator, part: str, count: int) -> Float32:
        scale = np.float32(np.sqrt(_SHARES[part])) * self._deviations
        values: Float32 = draws.standard_normal((count, self.sizes.dim), np.float32)
        values *= scale
        return values


def _cumulative(count: int, power: float) -> npt.NDArray[np.float64]:
    """Upper ends of the shares of the frequencies, all but the last, which is 1."""
    frequencies = np.arange(1, count + 1) ** -power
    return np.cumsum(frequencies / frequencies.sum())[:-1]
