"""The trained part of an approximate index: centroids and codes.

It is kept as plain arrays (safetensors), and FAISS' objects are put together from them when an index is opened: a
feature set may be somebody else's, and reading an index file of FAISS' own trusts the sizes and types that it states.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.errors import QpertError, first_line
from pipeline.retrieval.similarity import Float32
from pipeline.vectors.settings import IndexSettings

_CENTROIDS, _CODE, _ROTATION = "centroids", "code", "rotation"
_CODE_SAMPLE = 1 << 16
"""Vectors that the codes are trained on, at most."""
TWO_LEVELS = 1024
"""Lists from which on centroids are trained in two levels: ten times as fast, and as good."""
GRAPH_FROM = 4096
"""Lists from which on vectors are assigned by a graph of the centroids: other lists than the nearest are rare."""
_GRAPH_DEGREE, _GRAPH_SEARCH = 32, 32
_QUERY_BITS = 8
PACKED = 32
"""Vectors whose 4-bit codes are stored together."""


def train(sample: Float32, settings: IndexSettings) -> bytes:
    """Train the quantiser of an approximate index.

    Args:
        sample: unit vectors [n, D], float32; `sample_size` says how many are wanted.
        settings: of the index, of any kind but `exact`.

    Returns:
        A safetensors file, the same for the same sample, settings and machine.

    Raises:
        QpertError: fewer vectors than lists.
    """
    from safetensors.numpy import save

    if len(sample) < settings.lists:
        raise QpertError(f"{len(sample):,} vectors are too few to train an index of {settings.lists:,} lists")
    dim = sample.shape[1]
    tensors: dict[str, Any] = {}
    if settings.kind == "ivf-rabitq":  # its bits are the signs of the numbers, so these must be alike
        numbers = np.random.default_rng(settings.seed).standard_normal((dim, dim))
        tensors[_ROTATION] = np.ascontiguousarray(np.linalg.qr(numbers)[0], np.float32)
        sample = sample @ tensors[_ROTATION].T
    tensors[_CENTROIDS] = _centroids(np.ascontiguousarray(sample, np.float32), settings)
    quantiser = Quantiser(settings, tensors[_CENTROIDS], None, None)
    chosen = np.random.default_rng(settings.seed).permutation(len(sample))[:_CODE_SAMPLE]
    tensors[_CODE] = quantiser.train_code(np.ascontiguousarray(sample[np.sort(chosen)], np.float32))
    return bytes(save({name: tensor for name, tensor in tensors.items() if tensor is not None}))


def _centroids(sample: Float32, settings: IndexSettings) -> Float32:
    import faiss

    count = settings.lists
    if count >= TWO_LEVELS:
        from faiss.contrib.clustering import two_level_clustering

        centroids, _ = two_level_clustering(
            sample, int(count**0.5), count, rebalance=True, seed=settings.seed or 1, verbose=False
        )
        return np.ascontiguousarray(centroids, np.float32)
    kmeans = faiss.Kmeans(sample.shape[1], count, niter=10, seed=settings.seed or 1, min_points_per_centroid=1)
    kmeans.train(sample)
    return np.ascontiguousarray(kmeans.centroids, np.float32)


def quantiser_digest(data: bytes) -> str:
    """What the manifest records of a quantiser: its BLAKE2b, 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def most_bytes(settings: IndexSettings, dim: int) -> int:
    """The size of a quantiser, at most."""
    return 4 * dim * (settings.lists + dim + 16) + (1 << 16)


@dataclass(frozen=True, eq=False)
class Quantiser:
    """Centroids and codes.

    Attributes:
        settings: of the index.
        centroids: float32 [lists, D].
        code: what the codes are made with: codebooks of `ivf-pq` [pieces, 16, D / pieces], ranges of `ivf-sq8` [2, D].
        rotation: float32 [D, D], by which vectors are multiplied first; None for none.
    """

    settings: IndexSettings
    centroids: Float32
    code: Float32 | None
    rotation: Float32 | None

    @classmethod
    def load(cls, data: bytes, settings: IndexSettings, dim: int) -> Quantiser:
        """Read what `train` has returned.

        Raises:
            QpertError: it is damaged, or of other settings.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        expected: dict[str, tuple[int, ...]] = {_CENTROIDS: (settings.lists, dim)}
        if settings.kind == "ivf-pq":
            expected[_CODE] = (settings.pieces, 16, dim // settings.pieces)
        elif settings.kind == "ivf-sq8":
            expected[_CODE] = (2, dim)
        else:
            expected[_ROTATION] = (dim, dim)
        try:
            tensors = load(data)
        except (SafetensorError, ValueError, KeyError) as error:
            raise QpertError(f"the quantiser of the index is damaged: {first_line(error)[:200]}") from error
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        if shapes != expected or any(tensor.dtype != np.float32 for tensor in tensors.values()):
            raise QpertError(f"the quantiser of the index is damaged: it has {shapes}, expected {expected}")
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
            raise QpertError("the quantiser of the index is damaged: NaN or infinity")
        return cls(settings, tensors[_CENTROIDS], tensors.get(_CODE), tensors.get(_ROTATION))

    def rotated(self, vectors: Float32) -> Float32:
        """Vectors [n, D] as the index has them."""
        return vectors if self.rotation is None else np.ascontiguousarray(vectors @ self.rotation.T)

    @cached_property
    def coarse(self) -> Any:
        """A FAISS index of the centroids that compares all of them."""
        import faiss

        coarse = faiss.IndexFlatIP(self.centroids.shape[1])
        coarse.add(self.centroids)
        return coarse

    def empty_index(self, *, assigning: bool = False) -> Any:
        """A trained FAISS index without vectors, that inverted lists can be put into.

        Args:
            assigning: vectors will be added, so that their lists have to be found fast.
        """
        index = self._untrained(self._graph() if assigning and self.settings.lists >= GRAPH_FROM else self.coarse)
        self._put_code(index)
        index.is_trained = True
        return index

    def train_code(self, sample: Float32) -> Float32 | None:
        """Train the codes on vectors [n, D]; returns `code`."""
        import faiss

        dim = self.centroids.shape[1]
        index = self._untrained(self.coarse)
        index.train(sample)
        if self.settings.kind == "ivf-pq":
            code = faiss.vector_to_array(index.pq.centroids)
            return np.ascontiguousarray(code.reshape(self.settings.pieces, 16, dim // self.settings.pieces))
        if self.settings.kind == "ivf-sq8":
            return np.ascontiguousarray(faiss.vector_to_array(index.sq.trained).reshape(2, dim))
        return None

    def _untrained(self, coarse: Any) -> Any:
        import faiss

        lists, dim = self.centroids.shape
        metric = faiss.METRIC_INNER_PRODUCT
        if self.settings.kind == "ivf-pq":
            index = faiss.IndexIVFPQFastScan(coarse, dim, lists, self.settings.pieces, 4, metric, PACKED)
            index.by_residual = True
        elif self.settings.kind == "ivf-sq8":
            index = faiss.IndexIVFScalarQuantizer(coarse, dim, lists, faiss.ScalarQuantizer.QT_8bit, metric, True)
        else:
            index = faiss.IndexIVFRaBitQ(coarse, dim, lists, metric)
            index.qb = _QUERY_BITS
        index.own_fields = False
        return index

    def _put_code(self, index: Any) -> None:
        import faiss

        if self.code is None:
            return
        target = index.pq.centroids if self.settings.kind == "ivf-pq" else index.sq.trained
        faiss.copy_array_to_vector(np.ascontiguousarray(self.code.reshape(-1)), target)

    def _graph(self) -> Any:
        import faiss

        graph = faiss.IndexHNSWFlat(self.centroids.shape[1], _GRAPH_DEGREE, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efSearch = _GRAPH_SEARCH
        graph.add(self.centroids)
        return graph
