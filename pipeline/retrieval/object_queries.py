"""Evaluation of a feature set by the names of classes: every photo that shows the class is right.

Also by size: under "< 3 %" only those photos count as right whose largest box of the class covers less than 3 % of the
photo, and the others that show the class are not ranked, because they are not wrong either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.datasets.boxes.classes import ClassPhotos
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.retrieval.many_right import ManyRightRanker, figures_of, names_of, ranks_of
from pipeline.retrieval.ranks import Ints
from pipeline.retrieval.recall import check_cutoffs
from pipeline.retrieval.similarity import Float32, TileScorer, bounded_blocks
from pipeline.retrieval.view_scores import GATE, Combine, ViewScore, score_tiles

SIZES = (0.01, 0.03, 0.1)
"""Limits of the area of a photo's largest box of the class."""
GROUPS = ("all", *(f"< {100 * size:g} %" for size in SIZES), f">= {100 * SIZES[-1]:g} %")
"""Which right photos count. Those without a known size count under "all" only."""
_ROUNDING = 1e-6
"""Scores within this distance are ties: the last bits of a float32 matrix product depend on its tile's shape."""

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ObjectEvaluation:
    """The figures of every query, and what took no part.

    Attributes:
        ks: the cut-offs K.
        classes: [Q], the queries.
        figures: float64 [Q, G, F], in fractions, by `GROUPS` and `names`; NaN where no right photo counts.
        right: int64 [Q, G], the right photos that count.
        wrong: int64 [Q], the photos known not to show the class.
        gallery: the annotated photos by their names in the annotations, sorted.
        ignored: number of indexed photos that are not annotated.
        failed: number of photos that could not be indexed.
        trivial: classes that are no queries, because no photo is known not to show them.
    """

    ks: tuple[int, ...]
    classes: tuple[str, ...]
    figures: Float64
    right: Ints
    wrong: Ints
    gallery: tuple[str, ...]
    ignored: int
    failed: int
    trivial: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the figures."""
        return names_of(self.ks)


def evaluate_objects(
    features: FeatureSet,
    photos: ClassPhotos,
    embed_texts: Callable[[list[str]], Float32],
    *,
    template: str = "{}",
    ks: Sequence[int] = (1, 5, 10),
    views: Sequence[str] | None = None,
    combine: Combine = "max",
    gate: float = GATE,
) -> ObjectEvaluation:
    """mAP, R-precision, nDCG and Recall@K of the classes over the annotated photos.

    Large features are read twice, block by block; scores exist one tile at a time.

    Args:
        features: the indexed photos.
        photos: what they show.
        embed_texts: texts -> unit vectors [T, D], from the encoder of the features.
        template: the text of a query, with `{}` in place of the class.
        ks: the cut-offs K.
        views: the kinds of views that count, see `ViewScore`, of features with several per photo; None for all.
        combine: how their scores become the photo's.
        gate: threshold of the combination `gate`.

    Raises:
        QpertError: a bad K or template, no class with a wrong photo, NaN, a wrong dimension, or no such views.
    """
    cutoffs = check_cutoffs(ks)
    scoring = ViewScore(None if views is None else tuple(views), combine, gate)
    scoring.check(features)
    check_template(template)
    queries = [number for number in range(len(photos.classes)) if photos.others(number)]
    if not queries:
        raise QpertError(
            "every class is shown by every photo that is known to show it or not: nothing can be told apart"
        )
    classes = tuple(photos.classes[number] for number in queries)
    texts = embed_texts([template.replace("{}", name) for name in classes])
    if texts.shape[1] != features.dim:
        raise QpertError(f"the texts have dimension {texts.shape[1]}, the features {features.dim}: different encoders")
    ranker = ManyRightRanker(
        [photos.shown[number] for number in queries],
        None if photos.absent is None else [photos.absent[number] for number in queries],
        tolerance=_ROUNDING,
    )
    for see in (ranker.see_right, ranker.count):
        for first, start, tile in _tiles(features, photos, texts, scoring):
            see(tile, first_image=first, first_query=start)
    figures = np.full((len(queries), len(GROUPS), len(names_of(cutoffs))), np.nan)
    right = np.zeros(figures.shape[:2], np.int64)
    for query, (number, before) in enumerate(zip(queries, ranker.before(), strict=True)):
        for group, member in enumerate(_members(photos.areas[number])):
            right[query, group] = member.sum()
            if right[query, group]:
                figures[query, group] = figures_of(ranks_of(before[member]), cutoffs)
    return ObjectEvaluation(
        cutoffs,
        classes,
        figures,
        right,
        np.array([photos.others(number) for number in queries]),
        tuple(sorted(photos.names)),
        len(features.ids) - len(photos.gallery),
        len(features.failures),
        tuple(name for name in photos.classes if name not in set(classes)),
    )


def check_template(template: str) -> None:
    """Refuses a template without one place for the class."""
    if template.count("{}") != 1:
        problem = f"not {template!r}"
        raise QpertError(f'--template needs one {{}} in place of the class, such as "a photo of a {{}}", {problem}')


def _tiles(
    features: FeatureSet, photos: ClassPhotos, texts: Float32, scoring: ViewScore
) -> Iterator[tuple[int, int, Float32]]:
    """Yields the numbers of the first photo and text, and the scores [n, t] of the gallery's photos."""
    gallery, scorer, first = set(photos.gallery), TileScorer(), 0
    for batch in bounded_blocks(features, scoring.columns(features)):
        rows = [row for row, image_id in enumerate(batch["image_id"].to_pylist()) if image_id in gallery]
        if rows:
            parts = [part[rows] for part in scoring.vectors(features, batch)]
            for start, tile in score_tiles(parts, texts, scoring, scorer):
                yield first, start, tile
            first += len(rows)


def _members(areas: Float64) -> list[npt.NDArray[np.bool_]]:
    """Which of the right photos count, by `GROUPS`; a NaN is in no size."""
    return [np.ones(len(areas), bool), *(areas < size for size in SIZES), areas >= SIZES[-1]]
