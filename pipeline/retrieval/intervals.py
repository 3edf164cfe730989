"""Bootstrap intervals of every figure of a report: how much it varies with the choice of images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from pipeline.retrieval.ranks import Ranks
from pipeline.retrieval.recall import check_cutoffs
from pipeline.retrieval.resampling import (
    Figures,
    Float64,
    QueryCounts,
    by_figure,
    enough_images,
    limits,
    resampled_figures,
)

SAMPLES = 2000
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """Both ends, in fractions, of a figure or of a difference between figures."""

    low: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """An interval for every figure of the report of the same ranks; None where there is none (see `bootstrap`)."""

    t2i: Figures[Interval | None]
    i2t: Figures[Interval | None]
    samples: int
    seed: int
    confidence: float


def bootstrap(
    ranks: Ranks,
    ks: Iterable[int] = (1, 5, 10),
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Intervals:
    """Percentile bootstrap intervals over resampled images (cluster bootstrap, see `resampling`).

    The ends are quantiles of the resampled figures, not corrected for bias or skewness: Efron and Tibshirani,
    "An Introduction to the Bootstrap" (1993), chapter 13. T2I and I2T come from the same resamples.

    mR@K is over the bins that have queries in the full set. A resample without a query in one of these bins is left out
    of the intervals of that bin and of mR@K; if that happens to more than half of the resamples, or if a figure rests
    on a single image, there is no interval. An interval cannot see beyond its sample: where all queries of all images
    hit, it has no width, although with n images the truth may lie 3/n below (the "rule of three").

    Args:
        ranks: the outcome of the queries.
        ks: the cut-offs K.
        samples: number of resamples, at least 100.
        seed: the same seed gives the same intervals.
        confidence: share of the resamples inside the interval.

    Raises:
        QpertError: a bad K, too few samples, a confidence outside 0..1.
    """
    cutoffs = check_cutoffs(ks)
    counts = QueryCounts.of(ranks, cutoffs)
    (values,) = resampled_figures([counts], samples=samples, seed=seed)
    ends = limits(values, enough_images(counts), confidence)
    t2i, i2t = (by_figure(cutoffs, partial(interval, ends, number)) for number in range(2))
    return Intervals(t2i, i2t, samples, seed, confidence)


def interval(ends: Float64, direction: int, group: int, k: int) -> Interval | None:
    """The interval of one figure from the `limits` of all figures; None where these are NaN."""
    low, high = (float(end) for end in ends[:, direction, group, k])
    return None if np.isnan(low) else Interval(low, high)
