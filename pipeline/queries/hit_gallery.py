"""Hits, and the first photos of a feature set, as sections of the HTML gallery."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice

from pipeline.features.feature_set import FeatureSet
from pipeline.features.miniatures import warning_of
from pipeline.queries.hits import Hits
from pipeline.reports.gallery import Photo, Section, photos_of
from pipeline.retrieval.similarity import rows_of

_BLOCK_ROWS = 1024


def hit_sections(features: FeatureSet, answers: Sequence[Hits], *, note: str = "") -> list[Section]:
    """One section per query, with the objects that the features store.

    Args:
        features: where the hits were found.
        answers: the hits of each query.
        note: shown below each heading.
    """
    rows = rows_of(features, [hit.image_id for hit in chain(*answers)], ["objects"])
    warning = warning_of(features.manifest) or ""
    return [
        Section(
            hits.query,
            [
                Photo(
                    hit.image_id,
                    hit.uri,
                    rows[hit.image_id]["objects"] or (),
                    rank,
                    hit.score,
                    view=hit.view,
                )
                for rank, hit in enumerate(hits, 1)
            ],
            note,
            warning,
        )
        for hits in answers
    ]


def first_photos(features: FeatureSet, count: int) -> Section:
    """The first `count` photos, those that could not be indexed included."""
    columns = ["image_id", "uri", "objects", "error"]
    blocks = features.iter_blocks(columns, rows=min(count, _BLOCK_ROWS), failed=True)
    rows = list(islice(chain.from_iterable(block.to_pylist() for block in blocks), count))
    return Section(f"The first {len(rows)} photos", photos_of(rows), warning=warning_of(features.manifest) or "")
