"""Figures of many settings and the differences between any two, all over the same resampled photos.

Where `comparison` compares two feature sets figure by figure, here are named settings, averaged over draws and pooled
over sets of photos (`photo_outcomes`). A difference between two settings is paired by query. Its interval is a
percentile bootstrap interval over photos, and its p value comes from flipping the signs of photos.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.retrieval.comparison import Difference
from pipeline.retrieval.intervals import CONFIDENCE, SAMPLES, Interval, interval
from pipeline.retrieval.metrics import SMALL
from pipeline.retrieval.photo_outcomes import SIZES, PhotoOutcomes
from pipeline.retrieval.resampling import MEAN, Float64, QueryCounts, enough_images, figures, limits, resampled_figures
from pipeline.retrieval.sign_flips import mean_recall_p, sign_flip_p

_FINER = {size.name: 1 + number for number, size in enumerate(SIZES)}


@dataclass(frozen=True)
class Figure:
    """One figure of one setting, in fractions.

    Attributes:
        value: None without a query.
        interval: None where there is none, see `bootstrap`.
        queries: number of queries behind it; for mR@K, those in a bin.
    """

    value: float | None
    interval: Interval | None
    queries: int


class Contrasts:
    """The outcomes of named settings over the same photos.

    Metrics are named as in `pipeline.retrieval.metrics`. Recall@1 by size has further names: "bin 0" to "bin 9" for the
    ten bins, and "1%", "3%" and the others of `SIZES`.

    Args:
        outcomes: by name, all of the same photos in the same order.
        samples: number of resamples, at least 100.
        seed: the same seed gives the same intervals.
        confidence: of the intervals.
    """

    def __init__(
        self,
        outcomes: Mapping[str, PhotoOutcomes],
        *,
        samples: int = SAMPLES,
        seed: int = 0,
        confidence: float = CONFIDENCE,
    ) -> None:
        self.outcomes, self.confidence, self.seed = dict(outcomes), confidence, seed
        self._contrasts: dict[tuple[str, str, str], Difference] = {}
        names = list(self.outcomes)
        counts = [getattr(self.outcomes[name], kind) for name in names for kind in ("bins", "finer")]
        resampled = resampled_figures(counts, samples=samples, seed=seed) if names else []
        self._resampled = {name: (resampled[2 * row], resampled[2 * row + 1]) for row, name in enumerate(names)}
        self._values = {name: (figures(one.bins), figures(one.finer)) for name, one in self.outcomes.items()}

    def figure(self, name: str, metric: str) -> Figure:
        """One figure of a setting."""
        kind, place = self._place(metric)
        value = float(self._values[name][kind][place])
        if np.isnan(value):
            return Figure(None, None, 0)
        return Figure(value, self._ends(self._resampled[name][kind], name, kind, place), self._queries(name, metric))

    def contrast(self, first: str, second: str, metric: str) -> Difference:
        """`second` minus `first`."""
        key = first, second, metric
        if key not in self._contrasts:
            self._contrasts[key] = self._contrast(*key)
        return self._contrasts[key]

    def _contrast(self, first: str, second: str, metric: str) -> Difference:
        kind, place = self._place(metric)
        before, after = (float(self._values[name][kind][place]) for name in (first, second))
        if np.isnan(before) or np.isnan(after):
            return Difference(None, None, None, None, None, None, None)
        change = self._resampled[second][kind] - self._resampled[first][kind]
        ends = self._ends(change, first, kind, place)
        defined = change[(slice(None), *place)]
        error = None if ends is None else float(np.nanstd(defined, ddof=1))
        p = self._p(first, second, metric)
        # Of an average over draws, no query is gained or lost as a whole.
        return Difference(before, after, after - before, ends, None, None, p, error)

    def _p(self, first: str, second: str, metric: str) -> float:
        kind, (direction, group, k) = self._place(metric)
        # The test needs whole numbers: hits are multiples of 1 / draws.
        whole = math.lcm(*(self.outcomes[name].draws for name in (first, second)))
        counts = [self._counts(name, kind) for name in (first, second)]
        if group == MEAN:
            queries = whole * counts[0].queries[:, direction, 1:]
            before, after = (np.rint(whole * one.hits[:, direction, 1:, k]) for one in counts)
            return mean_recall_p(queries, before, after, seed=self.seed)
        before, after = (np.rint(whole * one.hits[:, direction, group, k]) for one in counts)
        return sign_flip_p(after - before)

    def _queries(self, name: str, metric: str) -> int:
        kind, (direction, group, _) = self._place(metric)
        counts = self._counts(name, kind).queries[:, direction]
        return int(counts[:, 1:].sum() if group == MEAN else counts[:, group].sum())

    def _counts(self, name: str, kind: int) -> QueryCounts:
        return (self.outcomes[name].bins, self.outcomes[name].finer)[kind]

    def _ends(self, values: Float64, name: str, kind: int, place: tuple[int, int, int]) -> Interval | None:
        counts = self._counts(name, kind)
        direction, group, k = (slice(number, number + 1) for number in place)
        ends = limits(values[:, direction, group, k], enough_images(counts)[direction, group], self.confidence)
        return interval(ends, 0, 0, 0)

    def _place(self, metric: str) -> tuple[int, tuple[int, int, int]]:
        """Which of the two arrays of figures holds a metric, and where: direction, group, cut-off."""
        ks = next(iter(self.outcomes.values())).ks
        direction, name = int(metric.startswith("i2t ")), metric.removeprefix("i2t ")
        if name in _FINER:
            return 1, (direction, _FINER[name], ks.index(1))
        if name == SMALL:
            return 0, (direction, 1, ks.index(1))
        if name.startswith("bin "):
            return 0, (direction, 1 + int(name.removeprefix("bin ")), ks.index(1))
        kind, _, k = name.partition("@")
        return 0, (direction, MEAN if kind == "mR" else 0, ks.index(int(k)))
