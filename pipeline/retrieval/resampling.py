"""The cluster bootstrap: the figures of a report under resampled images.

The captions of an image succeed or fail together, and so do its T2I and I2T queries. So whole images are drawn with
replacement, as many as there are, each with all its queries. Nothing is ranked again: the gallery and the outcome of
every query stay as they are. Source: Field and Welsh, "Bootstrapping clustered data", JRSS B 69 (2007).

A figure depends on an image only through its number of queries and how many of them hit. So a resample is a row of
counts (how often each image was drawn), and all figures of a few hundred resamples are one matrix product.

Arrays of figures have the shape [..., 2, 12, K]: direction (T2I, I2T); group (0: all queries, 1-10: the size bins, 11:
mR@K); cut-off. A figure without any query is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.errors import QpertError
from pipeline.retrieval.ranks import BINS, Ints, Ranks

GROUPS = BINS + 1
"""All queries, and the ten size bins."""
MEAN = GROUPS
"""The group of mR@K."""
_DRAWS = 1 << 21
"""Images drawn at once; their counts take some 40 MiB."""

Float64 = npt.NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True)
class Figures(Generic[T]):
    """One value for every figure of one direction, by K: an interval, a difference."""

    overall: dict[int, T]
    bins: tuple[dict[int, T], ...]
    mean_recall: dict[int, T]


def by_figure(ks: Sequence[int], get: Callable[[int, int], T]) -> Figures[T]:
    """Calls `get(group, number of the cut-off)` for every figure."""
    rows = [{k: get(group, number) for number, k in enumerate(ks)} for group in range(MEAN + 1)]
    return Figures(rows[0], tuple(rows[1:MEAN]), rows[MEAN])


@dataclass(frozen=True, eq=False)
class QueryCounts:
    """Queries [I, 2, 11] and hits [I, 2, 11, K] of each image, by direction and group.

    The copies of a photo (`Ranks.photos`) are counted together, as one image.
    """

    queries: Float64
    hits: Float64

    @classmethod
    def of(cls, ranks: Ranks, ks: Sequence[int]) -> QueryCounts:
        """Counts the outcomes of `ranks` at the cut-offs `ks`."""
        images = len(ranks.image_ranks)
        groups = np.zeros((images, GROUPS))
        groups[:, 0] = 1
        binned = np.flatnonzero(ranks.bins >= 0)
        groups[binned, 1 + ranks.bins[binned]] = 1
        captions = np.bincount(ranks.image_of_text, minlength=images)
        queries = np.stack([captions, ranks.image_ranks > 0], axis=1)
        hits = np.empty((images, 2, len(ks)))
        for number, k in enumerate(ks):
            hits[:, 0, number] = np.bincount(ranks.image_of_text, ranks.text_ranks <= k, minlength=images)
            hits[:, 1, number] = (ranks.image_ranks > 0) & (ranks.image_ranks <= k)
        # By name: features lie on disk in the order in which workers finished, and a seed must give one interval.
        order = np.argsort(np.array(ranks.image_ids)) if ranks.image_ids else slice(None)
        queries, hits, groups = queries[order], hits[order], groups[order]
        counts = queries[:, :, None] * groups[:, None, :], hits[:, :, None, :] * groups[:, None, :, None]
        if ranks.photos is not None:
            _, first, photo = np.unique(ranks.photos[order], return_index=True, return_inverse=True)
            place = np.argsort(np.argsort(first))[photo]  # in the order of the names, whatever the numbers are
            counts = _summed(counts[0], place), _summed(counts[1], place)
        return cls(*counts)

    @property
    def images(self) -> Ints:
        """Number of images that have queries in each group: [2, 11]."""
        images: Ints = (self.queries > 0).sum(axis=0, dtype=np.int64)
        return images


def _summed(values: Float64, photo: Ints) -> Float64:
    """Sums over the first axis of the rows of each photo."""
    sums = np.zeros((int(photo.max(initial=-1)) + 1, *values.shape[1:]))
    np.add.at(sums, photo, values)
    return sums


def figures(counts: QueryCounts) -> Float64:
    """The figures [2, 12, K] of all images, each counted once."""
    return _figures(counts.queries.sum(axis=0), counts.hits.sum(axis=0), counts.images[:, 1:] > 0)


def resampled_figures(sets: Sequence[QueryCounts], *, samples: int, seed: int) -> list[Float64]:
    """The figures [samples, 2, 12, K] of each set, all over the same resamples.

    mR@K is over the bins that have queries in the full set; a resample without an image of one of them has no mR@K and
    no figure of that bin (NaN).

    Raises:
        QpertError: fewer than 100 resamples, which say nothing about the tails of a distribution.
    """
    if samples < 100:
        raise QpertError(f"an interval needs at least 100 resamples, not {samples}")
    images = len(sets[0].queries)
    matrices = [
        np.concatenate(
            [part.reshape(images, math.prod(part.shape[1:])) for part in (counts.queries, counts.hits)], axis=1
        )
        for counts in sets
    ]
    filled = [counts.images[:, 1:] > 0 for counts in sets]
    parts: list[list[Float64]] = [[] for _ in sets]
    for drawn in _draws(images, samples, seed):
        for part, matrix, counts, known in zip(parts, matrices, sets, filled, strict=True):
            sums = drawn @ matrix
            split = math.prod(counts.queries.shape[1:])
            queries = sums[:, :split].reshape(-1, *counts.queries.shape[1:])
            part.append(_figures(queries, sums[:, split:].reshape(-1, *counts.hits.shape[1:]), known))
    return [np.concatenate(part) for part in parts]


def limits(values: Float64, enough: npt.NDArray[np.bool_], confidence: float) -> Float64:
    """Percentile limits of resampled figures.

    Args:
        values: [samples, 2, 12, K].
        enough: [2, 12], whether a figure rests on two images or more.
        confidence: share of the resamples inside, such as 0.95.

    Returns:
        [2, 2, 12, K], low and high ends. NaN where fewer than two images have queries, which leaves nothing to vary,
        and where more than half of the resamples have no figure, so that the rest is a biased selection.
    """
    if not 0 < confidence < 1:
        raise QpertError(f"the confidence of an interval lies between 0 and 1, such as 0.95, not {confidence}")
    ends = np.full((2, *values.shape[1:]), np.nan)
    tail = (1 - confidence) / 2
    for index, defined in _resampled(values, enough):
        column: tuple[int | slice, ...] = (slice(None), *index)
        ends[column] = np.quantile(defined, [tail, 1 - tail])
    return ends


def spread(values: Float64, enough: npt.NDArray[np.bool_]) -> Float64:
    """Standard deviations [2, 12, K] of resampled figures: their standard errors. NaN where there are no `limits`."""
    errors = np.full(values.shape[1:], np.nan)
    for index, defined in _resampled(values, enough):
        errors[index] = defined.std(ddof=1)
    return errors


def enough_images(counts: QueryCounts) -> npt.NDArray[np.bool_]:
    """Whether two images or more have queries: [2, 12], for `limits`."""
    images = counts.images
    return np.concatenate([images, images[:, 1:].sum(axis=1, keepdims=True)], axis=1) >= 2


def _resampled(values: Float64, enough: npt.NDArray[np.bool_]) -> Iterator[tuple[tuple[int, ...], Float64]]:
    """Yields the index of each figure that has limits, and its values in the resamples that have one."""
    for index in np.ndindex(values.shape[1:]):
        column = values[(slice(None), *index)]
        defined = column[~np.isnan(column)]
        if enough[index[:2]] and 2 * len(defined) >= len(column):
            yield index, defined


def _draws(images: int, samples: int, seed: int) -> Iterator[Float64]:
    """Yields float64 [s, images], how often each image was drawn: a few resamples at a time, `samples` in all."""
    generator = np.random.default_rng(seed)
    step = max(1, _DRAWS // max(1, images))
    for start in range(0, samples, step):
        rows = min(step, samples - start)
        if not images:
            yield np.zeros((rows, 0))
            continue
        numbers = generator.integers(0, images, (rows, images)) + images * np.arange(rows)[:, None]
        yield np.bincount(numbers.ravel(), minlength=rows * images).reshape(rows, images).astype(np.float64)


def _figures(queries: Float64, hits: Float64, filled: npt.NDArray[np.bool_]) -> Float64:
    """From queries [..., 2, 11] and hits [..., 2, 11, K]; `filled` [2, 10]: the bins that mR@K is over."""
    with np.errstate(divide="ignore", invalid="ignore"):
        recalls = hits / queries[..., None]  # 0 / 0 = NaN: no query
        # 1 / 0 = infinity makes the mean 0, as one bin without a hit does; a NaN stays one.
        inverse = np.where(filled[..., None], 1 / recalls[..., 1:, :], 0).sum(axis=-2)
        means = filled.sum(axis=-1)[:, None] / inverse  # no bin at all: 0 / 0
    return np.concatenate([recalls, means[..., None, :]], axis=-2)
