"""Hits, and the first photos of a feature set, as sections of the HTML gallery."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice

from pipeline.features.feature_set import FeatureSet
from pipeline.features.miniatures import warning_of
from pipeline.features.views import View
from pipeline.queries.hits import Hit, Hits
from pipeline.queries.query import Query
from pipeline.queries.searching import Collection
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


def answer_sections(collection: Collection, queries: Sequence[Query], answers: Sequence[Hits]) -> list[Section]:
    """One section per query, with its filters and the photos that were looked for.

    Args:
        collection: where the hits were found.
        queries: what was looked for.
        answers: the hits of each, with their details.
    """
    return [
        Section(
            hits.query,
            [_photo(hit, rank) for rank, hit in enumerate(hits, hits.offset + 1)],
            hits.filters,
            hits.warning,
            _examples(collection, query),
        )
        for query, hits in zip(queries, answers, strict=True)
    ]


def first_photos(features: FeatureSet, count: int) -> Section:
    """The first `count` photos, those that could not be indexed included."""
    columns = ["image_id", "uri", "objects", "error"]
    blocks = features.iter_blocks(columns, rows=min(count, _BLOCK_ROWS), failed=True)
    rows = list(islice(chain.from_iterable(block.to_pylist() for block in blocks), count))
    return Section(f"The first {len(rows)} photos", photos_of(rows), warning=warning_of(features.manifest) or "")


def _photo(hit: Hit, rank: int) -> Photo:
    folded = [other.image_id for other in hit.folded]
    return Photo(hit.image_id, hit.uri, hit.objects, rank, hit.score, view=hit.view, set=hit.set, folded=folded)


def _examples(collection: Collection, query: Query) -> list[Photo]:
    photos = []
    for term in query.terms:
        view = None if term.box is None else View("crop", term.box)
        if term.like is not None:
            snapshot, number = collection.locate(term)
            uri = str(snapshot.photos.rows([number], ["uri"])[0]["uri"])
            photos.append(Photo(term.title, uri, view=view))
        elif isinstance(term.image, bytes):
            photos.append(Photo(term.title, "", view=view, data=term.image))
        elif term.image is not None:
            photos.append(Photo(term.title, term.image, view=view))
    return photos
