"""Training the quantiser of an approximate index: centroids, then codes of what vectors differ in from them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pipeline.errors import QpertError
from pipeline.retrieval.similarity import Float32
from pipeline.vectors.quantiser import CENTROIDS, CODE, INNER, ROTATION, Quantiser, directions
from pipeline.vectors.query_vectors import Int64
from pipeline.vectors.settings import IndexSettings

_CODES = 16
"""Codes of a piece of a vector."""
_CODE_SAMPLE = 1 << 16
"""Vectors that the codes are trained on, at most."""
TWO_LEVELS = 1024
"""Lists from which on centroids are trained in two levels: ten times as fast, and as good."""


def train(sample: Float32, settings: IndexSettings, counts: Int64 | None = None) -> bytes:
    """Train the quantiser of an approximate index.

    Args:
        sample: unit vectors [n, D], float32; `sample_size` says how many are wanted.
        settings: of the index, of any kind but `exact`.
        counts: int64, vectors of each photo, for `photo-pq`, whose sample has photos as a whole; None: one.

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
        tensors[ROTATION] = np.ascontiguousarray(np.linalg.qr(numbers)[0], np.float32)
        sample = sample @ tensors[ROTATION].T
    vectors, counts = sample, np.ones(len(sample), np.int64) if counts is None else counts
    if settings.kind == "photo-pq":
        if len(counts) < _CODES:
            raise QpertError(f"{len(counts)} photos are too few to train an index photo-pq: choose --kind exact")
        sample = directions(vectors, counts)
    tensors[CENTROIDS] = _centroids(np.ascontiguousarray(sample, np.float32), settings)
    quantiser = Quantiser(settings, tensors[CENTROIDS])
    tensors[CODE] = quantiser.train_code(_some(sample, settings))
    if settings.kind == "photo-pq":
        known = dataclasses.replace(quantiser, code=tensors[CODE])
        rest = vectors - np.repeat(known.decoded(sample), counts, axis=0)
        tensors[INNER] = known.train_inner(_some(rest, settings))
    return bytes(save({name: tensor for name, tensor in tensors.items() if tensor is not None}))


def _some(vectors: Float32, settings: IndexSettings) -> Float32:
    chosen = np.random.default_rng(settings.seed).permutation(len(vectors))[:_CODE_SAMPLE]
    return np.ascontiguousarray(vectors[np.sort(chosen)], np.float32)


def _centroids(sample: Float32, settings: IndexSettings) -> Float32:
    import faiss

    count = settings.lists
    if count == 1:
        mean: Float32 = sample.mean(axis=0, dtype=np.float64)[None].astype(np.float32)
        return mean
    if count >= TWO_LEVELS:
        from faiss.contrib.clustering import two_level_clustering

        centroids, _ = two_level_clustering(
            sample, int(count**0.5), count, rebalance=True, seed=settings.seed or 1, verbose=False
        )
        return np.ascontiguousarray(centroids, np.float32)
    kmeans = faiss.Kmeans(sample.shape[1], count, niter=10, seed=settings.seed or 1, min_points_per_centroid=1)
    kmeans.train(sample)
    return np.ascontiguousarray(kmeans.centroids, np.float32)
