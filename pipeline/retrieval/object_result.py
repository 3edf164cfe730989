"""The figures of object queries with their intervals, and two feature sets on the same queries.

Queries are drawn with replacement, as many as there are: the intervals say how much a figure varies with the choice of
classes. The photos stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.errors import QpertError
from pipeline.retrieval.comparison import Difference
from pipeline.retrieval.intervals import CONFIDENCE, SAMPLES, Interval
from pipeline.retrieval.object_queries import Float64, ObjectEvaluation
from pipeline.retrieval.sign_flips import flipped_means_p

_DRAWS = 1 << 20
"""Queries drawn at once."""


@dataclass(frozen=True)
class Figure:
    """The mean of one figure over the queries of a group.

    Attributes:
        value: in fractions; None without a query.
        interval: None with fewer than two queries.
        queries: how many have a right photo that counts.
    """

    value: float | None
    interval: Interval | None
    queries: int


@dataclass(frozen=True)
class ObjectSet:
    """The evaluation of a feature set, the name that reports give it, and its figures by group and name."""

    name: str
    evaluation: ObjectEvaluation
    figures: tuple[tuple[Figure, ...], ...]


@dataclass(frozen=True)
class ObjectResult:
    """One evaluated set, or a baseline followed by the set compared with it.

    Attributes:
        sets: the evaluations.
        samples: resamples of the intervals.
        seed: their seed.
        differences: by group and name, of two sets; `gained` and `lost` are the queries whose figure is higher, or
            lower, in the second set, and p flips the signs of queries, not of photos.
    """

    sets: tuple[ObjectSet, ...]
    samples: int
    seed: int
    differences: tuple[tuple[Difference, ...], ...] | None = None

    @classmethod
    def of(
        cls,
        new: tuple[str, ObjectEvaluation],
        baseline: tuple[str, ObjectEvaluation] | None = None,
        *,
        samples: int = SAMPLES,
        seed: int = 0,
    ) -> ObjectResult:
        """Adds intervals, and what `new` adds to `baseline`.

        Raises:
            QpertError: the two do not hold the same photos.
        """
        pairs = [new] if baseline is None else [baseline, new]
        if baseline is not None:
            _check_same_photos(baseline[1], new[1])
        means = [_resampled_means(evaluation.figures, samples, seed) for _, evaluation in pairs]
        sets = tuple(
            ObjectSet(name, evaluation, _by_figure(evaluation.figures, resampled))
            for (name, evaluation), resampled in zip(pairs, means, strict=True)
        )
        if baseline is None:
            return cls(sets, samples, seed)
        differences = _differences(baseline[1].figures, new[1].figures, means[1] - means[0], seed)
        return cls(sets, samples, seed, differences)


def _check_same_photos(first: ObjectEvaluation, second: ObjectEvaluation) -> None:
    if first.gallery == second.gallery:
        return
    only = [sorted(set(one.gallery) - set(other.gallery)) for one, other in ((first, second), (second, first))]
    parts = [
        f"{len(names)} only in the {which} (such as {names[0]})"
        for names, which in zip(only, ("first", "second"), strict=True)
        if names
    ]
    raise QpertError(
        f"the two feature sets do not hold the same annotated photos: {', '.join(parts)}; "
        "index the photos that one of them lacks"
    )


def _resampled_means(values: Float64, samples: int, seed: int) -> Float64:
    """Means [samples, G, F] over drawn queries of values [Q, G, F] with gaps; NaN where none was drawn."""
    queries = len(values)
    known = ~np.isnan(values[:, :, 0])
    flat = np.nan_to_num(values).reshape(queries, -1)
    generator = np.random.default_rng(seed)
    parts = []
    step = max(1, _DRAWS // queries)
    for start in range(0, samples, step):
        rows = min(step, samples - start)
        numbers = generator.integers(0, queries, (rows, queries)) + queries * np.arange(rows)[:, None]
        drawn = np.bincount(numbers.ravel(), minlength=rows * queries).reshape(rows, queries).astype(np.float64)
        with np.errstate(invalid="ignore"):
            parts.append((drawn @ flat).reshape(rows, *values.shape[1:]) / (drawn @ known)[:, :, None])
    return np.concatenate(parts)


def _by_figure(values: Float64, resampled: Float64) -> tuple[tuple[Figure, ...], ...]:
    rows = []
    for group in range(values.shape[1]):
        known = ~np.isnan(values[:, group, 0])
        count = int(known.sum())
        means = values[known, group].mean(axis=0) if count else None
        rows.append(
            tuple(
                Figure(None if means is None else float(means[number]), _limits(column, count), count)
                for number, column in enumerate(resampled[:, group].T)
            )
        )
    return tuple(rows)


def _differences(before: Float64, after: Float64, resampled: Float64, seed: int) -> tuple[tuple[Difference, ...], ...]:
    changes = after - before
    p = flipped_means_p(changes.reshape(len(changes), -1), seed=seed).reshape(changes.shape[1:])
    rows = []
    for group in range(changes.shape[1]):
        known = ~np.isnan(changes[:, group, 0])
        row = []
        for number in range(changes.shape[2]):
            if not known.any():
                row.append(Difference(None, None, None, None, None, None, None))
                continue
            first, second = (float(values[known, group, number].mean()) for values in (before, after))
            of_figure, column = changes[known, group, number], resampled[:, group, number]
            span = _limits(column, int(known.sum()))
            error = None if span is None else float(np.nanstd(column, ddof=1))
            up, down = int((of_figure > 0).sum()), int((of_figure < 0).sum())
            row.append(Difference(first, second, second - first, span, up, down, float(p[group, number]), error))
        rows.append(tuple(row))
    return tuple(rows)


def _limits(resampled: Float64, queries: int) -> Interval | None:
    """None with fewer than two queries, or where more than half of the resamples have none."""
    defined = resampled[~np.isnan(resampled)]
    if queries < 2 or 2 * len(defined) < len(resampled):
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(float(low), float(high))
