"""Recall@K, recall by object size and mR@K, as the supplement defines them (A.1).

"Recall@K" is a hit rate. Text to image (T2I): one query per caption, a hit when its image is in the top K.
Image to text (I2T): one query per image, a hit when any of its captions is in the top K. Ten bins split the
images by the area of their largest object, [0, 0.1), ... [0.9, 1.0] with 1.0 in the last one; a T2I query belongs
to the bin of its image. mR@K is the harmonic mean of the bins' Recall@K.

A tie counts against the query: whatever scores as high as the right answer ranks before it, so that a model that
gives everything one score has no recall. NaN is refused. All recalls are fractions in 0..1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import QpertError

BINS = 10
_TILE_CELLS = 1 << 24

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]


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
    """Bins without a query, 0..9: these are left out of mR@K."""
    unbinned: int
    """Queries whose image has no object: they count in `overall` only."""
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
    matrix = _array(scores)
    if matrix.ndim != 2:
        raise QpertError(f"scores must be a matrix [images, texts], not of shape {matrix.shape}")
    if np.isnan(matrix).any():
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
    """The report from ranks that are known already.

    Args:
        text_ranks: [T], rank (from 1) of each text's image among all images.
        image_ranks: [I], rank (from 1) of each image's best caption among all texts not its own; 0 = no caption,
            so that the image is no query.
        image_of_text: [T], the number of each text's image.
        areas: [I], as in `recall_report`.
        ks: the cut-offs K, positive.
    """
    owners = check_owners(image_of_text, images=len(image_ranks), texts=len(text_ranks))
    cutoffs = _cutoffs(ks)
    bins = size_bins(areas, len(image_ranks))
    queried = image_ranks > 0
    return RecallReport(
        ks=cutoffs,
        images=len(image_ranks),
        texts=len(text_ranks),
        t2i=_direction(text_ranks, bins[owners], cutoffs),
        i2t=_direction(image_ranks[queried], bins[queried], cutoffs),
    )


def size_bins(areas: npt.ArrayLike | Sequence[float | None] | None, images: int) -> Ints:
    """Bin 0..9 of each image by its largest object's area, -1 without one. Returns [images].

    The edges are compared in the precision of `areas`, so that a float32 0.7 opens bin 7 although it is a little
    less than the double 0.7.
    """
    if areas is None:
        return np.full(images, -1, np.int64)
    values = _array([np.nan if a is None else a for a in areas] if isinstance(areas, (list, tuple)) else areas)
    if values.dtype == object:
        values = np.array([np.nan if a is None else a for a in values], np.float64)
    if values.shape != (images,):
        raise QpertError(f"areas must hold one number per image, [{images}], not {list(values.shape)}")
    values = values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float64)
    known = values >= 0
    # A box clipped to its photo may come out a rounding error above 1.
    too_large = known & (values > 1 + 1e-5)
    if too_large.any():
        index = int(np.flatnonzero(too_large)[0])
        raise QpertError(f"areas are fractions of the photo, 0..1, but image {index} has {values[index]}")
    edges = (np.arange(1, BINS) / BINS).astype(values.dtype)
    return np.where(known, np.searchsorted(edges, values, side="right"), -1).astype(np.int64)


def check_owners(image_of_text: npt.ArrayLike, *, images: int, texts: int) -> Ints:
    """`image_of_text` as int64 [texts], every value in 0..images-1, or a QpertError."""
    owners = _array(image_of_text)
    if owners.shape != (texts,):
        raise QpertError(f"image_of_text must hold one image index per text, [{texts}], not {list(owners.shape)}")
    if owners.size and not np.issubdtype(owners.dtype, np.integer):
        raise QpertError(f"image_of_text must hold integers, not {owners.dtype}")
    owners = owners.astype(np.int64)
    bad = np.flatnonzero((owners < 0) | (owners >= images))
    if bad.size:
        raise QpertError(f"text {bad[0]} belongs to image {owners[bad[0]]}, but there are {images} images")
    return owners


class Ranker:
    """Counts, tile by tile, what ranks before each right answer, so that no full score matrix is needed."""

    def __init__(self, image_of_text: Ints, images: int, *, tolerance: float = 0.0) -> None:
        """Scores within `tolerance` of the right answer's count as ties, that is, against the query."""
        self._owner = image_of_text
        self._tolerance = tolerance
        self._before_image = np.zeros(len(image_of_text), np.int64)
        self._before_text = np.zeros(images, np.int64)
        self._positive: Floats = np.zeros(0)
        self._best: Floats = np.zeros(0)

    def set_positives(self, scores: Floats) -> None:
        """Takes the score [T] of each text with its own image; comes before the first `count`."""
        lowest = scores.min(initial=0)  # stands for the images without a caption, which are no queries
        self._best = np.full(len(self._before_text), lowest, scores.dtype)
        np.maximum.at(self._best, self._owner, scores)
        self._positive = scores - self._tolerance if self._tolerance else scores
        self._best = self._best - self._tolerance if self._tolerance else self._best

    def count(self, tile: Floats, *, first_image: int, first_text: int) -> None:
        """Takes the scores [i, t] of the images from `first_image` and the texts from `first_text` on."""
        images = slice(first_image, first_image + tile.shape[0])
        texts = slice(first_text, first_text + tile.shape[1])
        rows = self._owner[texts] - first_image
        own = np.flatnonzero((rows >= 0) & (rows < tile.shape[0]))

        before = tile >= self._positive[texts]
        before[rows[own], own] = False
        self._before_image[texts] += before.sum(axis=0)

        before = tile >= self._best[images, None]
        before[rows[own], own] = False
        self._before_text[images] += before.sum(axis=1)

    def ranks(self) -> tuple[Ints, Ints]:
        """Ranks from 1: [T] of each text's image, [I] of each image's best caption (0 = image without caption)."""
        captioned = np.zeros(len(self._before_text), bool)
        captioned[self._owner] = True
        return self._before_image + 1, np.where(captioned, self._before_text + 1, 0)


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


def _cutoffs(ks: Iterable[int]) -> tuple[int, ...]:
    cutoffs = tuple(sorted(set(ks)))
    if not cutoffs or any(isinstance(k, bool) or int(k) != k or k < 1 for k in cutoffs):
        raise QpertError(f"K of Recall@K must be positive whole numbers, not {list(cutoffs)}")
    return tuple(int(k) for k in cutoffs)


def _array(values: Any) -> npt.NDArray[Any]:
    """Any array-like as NumPy, tensors included: detached, on the CPU, bfloat16 widened (exact)."""
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        return np.asarray(tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor)
    return np.asarray(values)
