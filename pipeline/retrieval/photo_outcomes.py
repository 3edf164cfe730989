"""Outcomes photo by photo: averaged over random draws, and pooled over sets of photos that were ranked apart.

A control that draws something at random (boxes of other photos, a random subspace) is measured with several seeds. A
query then counts by the share of the draws in which it hits, so that no single draw decides, and the photo stays the
unit of the bootstrap. Sets of photos with galleries of their own are pooled by putting their photos side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from pipeline.errors import QpertError
from pipeline.retrieval.comparison import aligned
from pipeline.retrieval.ranks import Ranks
from pipeline.retrieval.recall import check_cutoffs
from pipeline.retrieval.resampling import GROUPS, Float64, QueryCounts


class Size(NamedTuple):
    """Photos whose largest object covers `low <= area < high` of them."""

    name: str
    low: float
    high: float


SIZES: Final = (
    Size("1%", 0.0, 0.01),
    Size("3%", 0.0, 0.03),
    Size("1-3%", 0.01, 0.03),
    Size("3-10%", 0.03, 0.1),
)
"""Sizes finer than the ten bins of every report, by the names of their Recall@1."""


@dataclass(frozen=True, eq=False)
class PhotoOutcomes:
    """Numbers of queries and hits of every photo, in the order of the photos' names.

    Attributes:
        ks: the cut-offs K.
        draws: number of draws that hits are averaged over: `draws` times the hits are whole numbers.
        bins: all queries, and the ten size bins.
        finer: the same counts by `SIZES`, in the groups from 1 on; empty groups without areas.
    """

    ks: tuple[int, ...]
    draws: int
    bins: QueryCounts
    finer: QueryCounts

    @classmethod
    def of(
        cls,
        draws: Sequence[Ranks],
        ks: Iterable[int],
        *,
        like: Ranks | None = None,
        areas: Mapping[str, float] | None = None,
    ) -> PhotoOutcomes:
        """The outcomes of one setting, averaged over its draws.

        Args:
            draws: the ranks of each draw; most settings have one.
            ks: the cut-offs K.
            like: the ranks whose photos and size bins count; the first draw's by default.
            areas: largest object's area (0..1) by image name, for `SIZES`.

        Raises:
            QpertError: the draws do not hold the same queries.
        """
        if not draws:
            raise QpertError("there is no draw to average")
        cutoffs, first = check_cutoffs(ks), draws[0] if like is None else like
        counts = [QueryCounts.of(ranks if ranks is first else aligned(first, ranks), cutoffs) for ranks in draws]
        bins = QueryCounts(counts[0].queries, np.mean([each.hits for each in counts], axis=0))
        names = _names(first)
        return cls(cutoffs, len(draws), bins, _by_size(bins, names, areas or {}))

    @classmethod
    def pooled(cls, sets: Sequence[PhotoOutcomes]) -> PhotoOutcomes:
        """The photos of several sets side by side, each with the ranks from its own gallery."""
        draws = math.lcm(*(one.draws for one in sets))
        bins, finer = _stacked([one.bins for one in sets]), _stacked([one.finer for one in sets])
        return cls(sets[0].ks, draws, bins, finer)

    def __len__(self) -> int:
        return len(self.bins.queries)


def _stacked(counts: Sequence[QueryCounts]) -> QueryCounts:
    return QueryCounts(np.concatenate([one.queries for one in counts]), np.concatenate([one.hits for one in counts]))


def _names(ranks: Ranks) -> list[str]:
    """The names of the photos in the order of their counts; of the copies of a photo the first name."""
    if not ranks.image_ids:
        return [str(row) for row in range(len(ranks.image_ranks))]
    order = np.argsort(np.array(ranks.image_ids))
    names = [ranks.image_ids[row] for row in order]
    if ranks.photos is None:
        return names
    _, first = np.unique(ranks.photos[order], return_index=True)
    return [names[row] for row in np.sort(first)]


def _by_size(counts: QueryCounts, names: Sequence[str], areas: Mapping[str, float]) -> QueryCounts:
    """The counts of all queries again, with `SIZES` in place of the bins."""
    known = np.array([areas.get(name, np.nan) for name in names], np.float64)
    member: Float64 = np.zeros((len(names), GROUPS))
    member[:, 0] = 1
    for number, size in enumerate(SIZES):
        member[:, 1 + number] = (known >= size.low) & (known < size.high)
    return QueryCounts(counts.queries[:, :, :1] * member[:, None, :], counts.hits[:, :, :1] * member[:, None, :, None])
