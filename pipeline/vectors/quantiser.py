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
from pipeline.vectors.query_vectors import Int64
from pipeline.vectors.settings import IndexSettings

CENTROIDS, CODE, ROTATION, INNER = "centroids", "code", "rotation", "inner_code"
GRAPH_FROM = 4096
"""Lists from which on vectors are assigned by a graph of the centroids: other lists than the nearest are rare."""
_GRAPH_DEGREE, _GRAPH_SEARCH = 32, 32
_QUERY_BITS = 8
PACKED = 32
"""Vectors whose 4-bit codes are stored together."""


def directions(vectors: Float32, counts: Int64) -> Float32:
    """The unit vectors [photos, D] in the directions of the means of the photos' vectors.

    Args:
        vectors: unit vectors [n, D], those of a photo one after another.
        counts: int64 [photos], how many each has.
    """
    sums: Float32 = np.add.reduceat(vectors, np.cumsum(counts) - counts, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    sums /= np.maximum(lengths, np.finfo(np.float32).tiny)  # vectors that cancel out have no direction
    return sums


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
        code: what the codes are made with: codebooks of `ivf-pq` [pieces, 16, D / pieces], ranges of `ivf-sq8` [2, D];
            codebooks [D, 16, 1] of the photos' directions (`directions`) of `photo-pq`.
        rotation: float32 [D, D], by which vectors are multiplied first; None for none.
        inner: codebooks [pieces, 16, D / pieces] of what vectors differ in from the decoded direction of their photo.
    """

    settings: IndexSettings
    centroids: Float32
    code: Float32 | None = None
    rotation: Float32 | None = None
    inner: Float32 | None = None

    @classmethod
    def load(cls, data: bytes, settings: IndexSettings, dim: int) -> Quantiser:
        """Read what `train` has returned.

        Raises:
            QpertError: it is damaged, or of other settings.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        expected: dict[str, tuple[int, ...]] = {CENTROIDS: (settings.lists, dim)}
        if settings.kind == "ivf-pq":
            expected[CODE] = (settings.pieces, 16, dim // settings.pieces)
        elif settings.kind == "ivf-sq8":
            expected[CODE] = (2, dim)
        elif settings.kind == "photo-pq":
            expected |= {CODE: (dim, 16, 1), INNER: (settings.pieces, 16, dim // settings.pieces)}
        else:
            expected[ROTATION] = (dim, dim)
        try:
            tensors = load(data)
        except (SafetensorError, ValueError, KeyError) as error:
            raise QpertError(f"the quantiser of the index is damaged: {first_line(error)[:200]}") from error
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        if shapes != expected or any(tensor.dtype != np.float32 for tensor in tensors.values()):
            raise QpertError(f"the quantiser of the index is damaged: it has {shapes}, expected {expected}")
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
            raise QpertError("the quantiser of the index is damaged: NaN or infinity")
        return cls(settings, tensors[CENTROIDS], tensors.get(CODE), tensors.get(ROTATION), tensors.get(INNER))

    def rotated(self, vectors: Float32) -> Float32:
        """Vectors [n, D] as the index has them."""
        return vectors if self.rotation is None else np.ascontiguousarray(vectors @ self.rotation.T)

    def nearest_lists(self, vectors: Float32, count: int) -> tuple[Float32, Int64]:
        """The lists to look into for queries [n, D]: products with their centroids and numbers, [n, count] both.

        The angle decides, not the product: that would favour long centroids, of lists whose vectors lie close together.
        For texts, which lie far from all photos, half of the lists then find as much.
        """
        cosines, lists = self._by_angle.search(vectors, count)
        return np.ascontiguousarray(cosines * self._lengths[lists]), lists

    @cached_property
    def _lengths(self) -> Float32:
        lengths: Float32 = np.maximum(np.linalg.norm(self.centroids, axis=1), np.finfo(np.float32).tiny)
        return lengths

    @cached_property
    def _by_angle(self) -> Any:
        import faiss

        index = faiss.IndexFlatIP(self.centroids.shape[1])
        index.add(self.centroids / self._lengths[:, None])
        return index

    @cached_property
    def _nearest(self) -> Any:
        """A FAISS index that assigns vectors to lists: to the nearest centroid, so that the least is left to code."""
        import faiss

        nearest = faiss.IndexFlatL2(self.centroids.shape[1])
        nearest.add(self.centroids)
        return nearest

    def empty_index(self, *, assigning: bool = False) -> Any:
        """A trained FAISS index without vectors, that inverted lists can be put into.

        Args:
            assigning: vectors will be added, so that their lists have to be found fast.
        """
        index = self._untrained(self._graph() if assigning and self.settings.lists >= GRAPH_FROM else self._nearest)
        self._put_code(index)
        index.is_trained = True
        return index

    def train_code(self, sample: Float32) -> Float32 | None:
        """Train the codes on vectors [n, D]; returns `code`."""
        import faiss

        dim = self.centroids.shape[1]
        index = self._untrained(self._nearest)
        index.train(sample)
        if self.settings.kind in ("ivf-pq", "photo-pq"):
            return _codebooks(index.pq)
        if self.settings.kind == "ivf-sq8":
            return np.ascontiguousarray(faiss.vector_to_array(index.sq.trained).reshape(2, dim))
        return None

    def decoded(self, photos: Float32) -> Float32:
        """The directions [n, D] of photos as their codes of `photo-pq` have them."""
        index = self.empty_index()  # to which its product quantiser belongs
        decoded: Float32 = index.pq.decode(index.pq.compute_codes(photos - self.centroids))
        return decoded + self.centroids

    def train_inner(self, rest: Float32) -> Float32:
        """Train `inner` on what vectors [n, D] differ in from the decoded directions of their photos."""
        import faiss

        pq = faiss.ProductQuantizer(rest.shape[1], self.settings.pieces, 4)
        pq.train(rest)
        return _codebooks(pq)

    def inner_index(self, photos: int) -> Any:
        """An empty FAISS index with a list for each photo, whose centroid is the decoded direction of the photo."""
        import faiss

        dim = self.centroids.shape[1]
        index = faiss.IndexIVFPQFastScan(
            self._nearest, dim, photos, self.settings.pieces, 4, faiss.METRIC_INNER_PRODUCT, PACKED
        )
        index.by_residual, index.own_fields, index.is_trained = True, False, True
        faiss.copy_array_to_vector(self._inner(), index.pq.centroids)
        return index

    def inner_packer(self) -> Any:
        """An empty FAISS index that stores such codes packed, without lists."""
        import faiss

        dim = self.centroids.shape[1]
        index = faiss.IndexPQFastScan(dim, self.settings.pieces, 4, faiss.METRIC_INNER_PRODUCT, PACKED)
        faiss.copy_array_to_vector(self._inner(), index.pq.centroids)
        index.is_trained = True
        return index

    def _inner(self) -> Float32:
        if self.inner is None:
            raise QpertError("the quantiser of the index has no codes of vectors within photos")
        return np.ascontiguousarray(self.inner.reshape(-1))

    def _untrained(self, coarse: Any) -> Any:
        import faiss

        lists, dim = self.centroids.shape
        metric = faiss.METRIC_INNER_PRODUCT
        if self.settings.kind in ("ivf-pq", "photo-pq"):
            pieces = self.settings.pieces if self.settings.kind == "ivf-pq" else dim
            index = faiss.IndexIVFPQFastScan(coarse, dim, lists, pieces, 4, metric, PACKED)
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
        target = index.sq.trained if self.settings.kind == "ivf-sq8" else index.pq.centroids
        faiss.copy_array_to_vector(np.ascontiguousarray(self.code.reshape(-1)), target)

    def _graph(self) -> Any:
        import faiss

        graph = faiss.IndexHNSWFlat(self.centroids.shape[1], _GRAPH_DEGREE, faiss.METRIC_L2)
        graph.hnsw.efSearch = _GRAPH_SEARCH
        graph.add(self.centroids)
        return graph


def _codebooks(pq: Any) -> Float32:
    """The codebooks [pieces, 16, D / pieces] of a FAISS product quantiser."""
    import faiss

    return np.ascontiguousarray(faiss.vector_to_array(pq.centroids).reshape(pq.M, pq.ksub, pq.dsub))
