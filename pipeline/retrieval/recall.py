"""Recall@K, recall by object size and mR@K, as the supplement defines them (A.1).

"Recall@K" is a hit rate. Text to image (T2I): one query per caption, a hit when its image is in the top K.
Image to text (I2T): one query per image, a hit when any of its captions is in the top K. Ten bins split the
images by the area of their largest object, [0, 0.1), ... [0.9, 1.0] with 1.0 in the last one; a T2I query belongs
to the bin of its image. mR@K is the harmonic mean of the bins' Recall@K.

A tie counts against the query: whatever scores as high as the right answer ranks before it, so that a model with one
score for everything has no recall. NaN is refused. All recalls are fractions in 0..1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import QpertError
from pipeline.retrieval.ranks import BINS, Ints, Ranker, Ranks, as_array, check_owners, size_bins

_TILE_CELLS = 1 << 22
"""Scores compared at once, so that the masks of a comparison stay small beside the matrix."""


@dataclass(frozen=True)
class Bin:
    """Queries whose image has its largest object's area in `low <= area < high` (the last bin includes 1.0)."""

    low: float
    high: float
    queries: int
    recall: dict[int, float]
    """Recall by K; empty for a bin without a query."""


@dataclass(frozen=True)
class DirectionRecall:
    """One direction's figures. Ranks start at 1; medians and means are None where there is no query."""

    queries: int
    overall: dict[int, float]
    bins: tuple[Bin, ...]
    mean_recall: dict[int, float | None]
    """mR@K: harmonic mean over the bins that have queries, 0 if one of them is 0, None if no bin has any."""
    empty_bins: tuple[int, ...]
    """Bins without a query, 0..9; they are left out of mR@K."""
    unbinned: int
    """Queries whose image has no object; they count in `overall` only."""
    median_rank: float | None
    mean_rank: float | None


@dataclass(frozen=True)
class RecallReport:
    """Retrieval in both directions: `t2i` (queries are captions) and `i2t` (queries are images with a caption)."""

    ks: tuple[int, ...]
    images: int
    texts: int
    t2i: DirectionRecall
    i2t: DirectionRecall

    @property
    def overall(self) -> dict[str, dict[int, float]]:
        """Recall@K over all queries: `{"t2i": {k: recall}, "i2t": {k: recall}}`."""
        return {"t2i": self.t2i.overall, "i2t": self.i2t.overall}

    @property
    def bins(self) -> dict[str, tuple[Bin, ...]]:
        """The ten size bins of each direction."""
        return {"t2i": self.t2i.bins, "i2t": self.i2t.bins}

    @property
    def mean_recall(self) -> dict[str, dict[int, float | None]]:
        """mR@K of each direction."""
        return {"t2i": self.t2i.mean_recall, "i2t": self.i2t.mean_recall}

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON (which turns the K into strings)."""
        return asdict(self)


def recall_report(
    scores: npt.ArrayLike,
    image_of_text: npt.ArrayLike,
    areas: npt.ArrayLike | Sequence[float | None] | None = None,
    ks: Iterable[int] = (1, 5, 10),
) -> RecallReport:
    """Recall in both directions from a full score matrix.

    Args:
        scores: [I, T], higher is better; NumPy array, CPU tensor or nested lists. No NaN.
        image_of_text: [T], the row of each text's image.
        areas: [I], the largest object's area as a fraction of the photo, 0..1; None, NaN or a negative number
            for an image without objects (in no bin, but in the overall recall). None: no image has objects.
        ks: the cut-offs K, positive.

    Raises:
        QpertError: shapes that disagree, NaN scores, an index or area out of range, a bad K.
    """
    matrix = as_array(scores)
    if matrix.ndim != 2:
        raise QpertError(f"scores must be a matrix [images, texts], not of shape {matrix.shape}")
    if np.isnan(matrix.min(initial=0)):  # a NaN is the minimum, and needs no mask of the size of the matrix
        raise QpertError("scores contain NaN: a NaN has no rank; check the features that gave it")
    owners = check_owners(image_of_text, images=matrix.shape[0], texts=matrix.shape[1])
    ranker = Ranker(owners, images=matrix.shape[0])
    positives = matrix[owners, np.arange(len(owners))]
    ranker.set_positives(positives)
    rows = max(1, _TILE_CELLS // max(1, matrix.shape[1]))
    for start in range(0, matrix.shape[0], rows):
        ranker.count(matrix[start : start + rows], first_image=start, first_text=0)
    return report_from_ranks(*ranker.ranks(), image_of_text=owners, areas=areas, ks=ks)


def report_from_ranks(
    text_ranks: Ints,
    image_ranks: Ints,
    *,
    image_of_text: npt.ArrayLike,
    areas: npt.ArrayLike | Sequence[float | None] | None = None,
    ks: Iterable[int] = (1, 5, 10),
) -> RecallReport:
    """The report from known ranks.

    Args:
        text_ranks: [T], rank (from 1) of each text's image among all images.
        image_ranks: [I], rank (from 1) of each image's best caption among all texts not its own; 0 = no caption,
            so the image is not a query.
        image_of_text: [T], the number of each text's image.
        areas: [I], as in `recall_report`.
        ks: the cut-offs K, positive.
    """
    owners = check_owners(image_of_text, images=len(image_ranks), texts=len(text_ranks))
    return report_of(Ranks(text_ranks, image_ranks, owners, size_bins(areas, len(image_ranks))), ks)


def report_of(ranks: Ranks, ks: Iterable[int] = (1, 5, 10)) -> RecallReport:
    """The report of `ranks`, at the cut-offs `ks`."""
    cutoffs = check_cutoffs(ks)
    queried = ranks.image_ranks > 0
    return RecallReport(
        ks=cutoffs,
        images=len(ranks.image_ranks),
        texts=len(ranks.text_ranks),
        t2i=_direction(ranks.text_ranks, ranks.bins[ranks.image_of_text], cutoffs),
        i2t=_direction(ranks.image_ranks[queried], ranks.bins[queried], cutoffs),
    )


def check_cutoffs(ks: Iterable[int]) -> tuple[int, ...]:
    """`ks` in ascending order without repetitions, or a QpertError."""
    cutoffs = tuple(sorted(set(ks)))
    if not cutoffs or any(isinstance(k, bool) or int(k) != k or k < 1 for k in cutoffs):
        raise QpertError(f"K of Recall@K must be positive whole numbers, not {list(cutoffs)}")
    return tuple(int(k) for k in cutoffs)


def _direction(ranks: Ints, bins: Ints, ks: tuple[int, ...]) -> DirectionRecall:
    parts = tuple(
        Bin(number / BINS, (number + 1) / BINS, int(member.sum()), _recalls(ranks[member], ks))
        for number, member in ((number, bins == number) for number in range(BINS))
    )
    filled = [part for part in parts if part.queries]
    return DirectionRecall(
        queries=len(ranks),
        overall=_recalls(ranks, ks),
        bins=parts,
        mean_recall={k: _harmonic_mean([part.recall[k] for part in filled]) for k in ks},
        empty_bins=tuple(number for number, part in enumerate(parts) if not part.queries),
        unbinned=int((bins < 0).sum()),
        median_rank=float(np.median(ranks)) if len(ranks) else None,
        mean_rank=float(np.mean(ranks)) if len(ranks) else None,
    )


def _recalls(ranks: Ints, ks: tuple[int, ...]) -> dict[int, float]:
    return {k: float(np.mean(ranks <= k)) for k in ks} if len(ranks) else {}


def _harmonic_mean(values: list[float]) -> float | None:
    if not values:
        return None
    return 0.0 if min(values) == 0 else len(values) / sum(1 / value for value in values)
