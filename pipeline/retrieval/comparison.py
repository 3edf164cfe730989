"""Two feature sets on the same queries: is the second one better, or just lucky?

Every figure gets three answers, all from paired outcomes of the same photos, with all queries of a photo together. The
interval of the difference resamples photos, the same ones for both sets. The sign-flip test exchanges the two sets'
outcomes photo by photo (see `sign_flips`). Where a difference is not shown, the smallest detectable one says whether
the comparison could have seen it: the true difference whose interval would exclude 0 in four of five such comparisons.
Of many figures some differ by chance: at p < 0.05 up to one in twenty when nothing has changed (see `multiple`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from pipeline.errors import QpertError
from pipeline.retrieval.intervals import CONFIDENCE, SAMPLES, Interval, interval
from pipeline.retrieval.ranks import Ints, Ranks
from pipeline.retrieval.recall import check_cutoffs
from pipeline.retrieval.resampling import (
    MEAN,
    Figures,
    Float64,
    QueryCounts,
    by_figure,
    enough_images,
    figures,
    limits,
    resampled_figures,
    spread,
)
from pipeline.retrieval.sign_flips import mean_recall_p, sign_flip_p

POWER = 0.8
"""Of the smallest detectable difference."""
DETECTABLE = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(POWER)
"""Standard errors (2.80) from 0 to a true difference that a two-sided test at 5 % finds with 80 % power."""


@dataclass(frozen=True)
class Difference:
    """One figure of both sets, in fractions.

    Attributes:
        first: the figure of the first set; None without a query.
        second: of the second set.
        difference: second - first.
        interval: of the difference.
        gained: queries that only the second set gets right; None for mR@K, which is not a share of queries.
        lost: queries that only the first set gets right.
        p: two-sided, of the sign-flip test over photos, not corrected for other comparisons.
        standard_error: of the difference, from the same resampled photos as the interval; None without an interval.
    """

    first: float | None
    second: float | None
    difference: float | None
    interval: Interval | None
    gained: int | None
    lost: int | None
    p: float | None
    standard_error: float | None = None

    @property
    def shown(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval is not None and not self.interval.low <= 0 <= self.interval.high

    @property
    def detectable(self) -> float | None:
        """The smallest true difference that such a comparison shows at 5 %, two-sided, with 80 % power.

        (1.96 + 0.84) standard errors: Cohen, "Statistical Power Analysis for the Behavioral Sciences" (1988); Bloom,
        "Minimum detectable effects" (1995). None without a standard error, and where no resample differs from another,
        which says nothing about the spread.
        """
        return DETECTABLE * self.standard_error if self.standard_error else None


@dataclass(frozen=True)
class Comparison:
    """The second set against the first, figure by figure."""

    t2i: Figures[Difference]
    i2t: Figures[Difference]
    samples: int
    seed: int
    confidence: float
    other_bins: int
    """Images that the second set puts into another size bin; the first set's bins are used for both."""


def compare(
    first: Ranks,
    second: Ranks,
    ks: Iterable[int] = (1, 5, 10),
    *,
    samples: int = SAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Pairs the queries by image name and caption order, and compares every figure.

    Intervals are percentile bootstrap intervals, with the exceptions that `bootstrap` lists. Both sets are put into
    the size bins of the first.

    Raises:
        QpertError: the sets do not hold the same queries (the message counts those that differ), a bad K, too few
            samples.
    """
    cutoffs = check_cutoffs(ks)
    paired = aligned(first, second)
    counts = [QueryCounts.of(first, cutoffs), QueryCounts.of(paired, cutoffs)]
    before, after = resampled_figures(counts, samples=samples, seed=seed)
    enough = enough_images(counts[0])
    ends = limits(after - before, enough, confidence)
    errors = spread(after - before, enough)
    values = [figures(count) for count in counts]
    t2i, i2t = (
        _differences(number, values, ends, errors, counts, outcomes, cutoffs, seed)
        for number, outcomes in enumerate(_outcomes(first, paired))
    )
    return Comparison(t2i, i2t, samples, seed, confidence, other_bins(first, second))


def other_bins(first: Ranks, second: Ranks) -> int:
    """The number of images of `first` that `second` puts into another size bin; both name the same images."""
    bins = dict(zip(second.image_ids, second.bins.tolist(), strict=True))
    return sum(bins[name] != own for name, own in zip(first.image_ids, first.bins.tolist(), strict=True))


def aligned(first: Ranks, second: Ranks) -> Ranks:
    """The outcomes of `second` in the order, and in the size bins, of `first`.

    Raises:
        QpertError: images or numbers of captions differ, or the images have no names.
    """
    place = {name: number for number, name in enumerate(first.image_ids)}
    if not len(first.image_ranks) == len(place) or len(second.image_ranks) != len(set(second.image_ids)):
        raise QpertError("queries are paired by the names of their images: every image needs one of its own")
    captions = [_captions(ranks) for ranks in (first, second)]
    only = [
        [name for name in ranks.image_ids if name not in other]
        for ranks, other in ((first, captions[1]), (second, captions[0]))
    ]
    if only[0] or only[1]:
        parts = [
            f"{len(names)} images with {sum(own[name] for name in names)} captions only in the {which}"
            f" (such as {names[0]})"
            for names, own, which in zip(only, captions, ("first", "second"), strict=True)
            if names
        ]
        raise QpertError(
            f"the two feature sets do not hold the same queries: {', '.join(parts)}; "
            "index the photos that one of them lacks, or take captions of photos that both have"
        )
    uneven = [name for name in place if captions[0][name] != captions[1][name]]
    if uneven:
        raise QpertError(
            f"the two feature sets do not hold the same queries: {len(uneven)} images have other captions, such as "
            f"{uneven[0]} ({captions[0][uneven[0]]} in the first, {captions[1][uneven[0]]} in the second)"
        )
    images = np.array([place[name] for name in second.image_ids], np.int64)
    text_ranks, image_ranks = np.empty_like(second.text_ranks), np.empty_like(second.image_ranks)
    # Sorted by image, keeping the order within: the n-th caption of an image meets the n-th.
    here = np.argsort(first.image_of_text, kind="stable")
    there = np.argsort(images[second.image_of_text], kind="stable")
    text_ranks[here] = second.text_ranks[there]
    image_ranks[images] = second.image_ranks
    return Ranks(text_ranks, image_ranks, first.image_of_text, first.bins, first.image_ids, first.photos)


def _captions(ranks: Ranks) -> dict[str, int]:
    counts = np.bincount(ranks.image_of_text, minlength=len(ranks.image_ranks)).tolist()
    return dict(zip(ranks.image_ids, counts, strict=True))


def _outcomes(first: Ranks, second: Ranks) -> list[tuple[Ints, Ints, Ints]]:
    """For each direction: the ranks of every query in both sets, and its size bin."""
    queried = first.image_ranks > 0
    return [
        (first.text_ranks, second.text_ranks, first.bins[first.image_of_text]),
        (first.image_ranks[queried], second.image_ranks[queried], first.bins[queried]),
    ]


def _differences(
    direction: int,
    values: list[Float64],
    ends: Float64,
    errors: Float64,
    counts: list[QueryCounts],
    outcomes: tuple[Ints, Ints, Ints],
    ks: tuple[int, ...],
    seed: int,
) -> Figures[Difference]:
    hits = [of_set.hits[:, direction] for of_set in counts]

    def difference(group: int, number: int) -> Difference:
        before, after = (float(of_set[direction, group, number]) for of_set in values)
        if np.isnan(before):
            return Difference(None, None, None, None, None, None, None)
        span = interval(ends, direction, group, number)
        error = None if span is None else float(errors[direction, group, number])
        if group == MEAN:
            of_bins = (of_set[:, 1:, number] for of_set in hits)
            p = mean_recall_p(counts[0].queries[:, direction, 1:], *of_bins, seed=seed)
            return Difference(before, after, after - before, span, None, None, p, error)
        ranks, others, bins = outcomes
        member = bins == group - 1 if group else np.ones(len(bins), bool)
        hit, other = ranks[member] <= ks[number], others[member] <= ks[number]
        gained, lost = int((~hit & other).sum()), int((hit & ~other).sum())
        p = sign_flip_p(hits[1][:, group, number] - hits[0][:, group, number])
        return Difference(before, after, after - before, span, gained, lost, p, error)

    return by_figure(ks, difference)
