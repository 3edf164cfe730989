"""The vectors of queries: each text and photo embedded once, those of indexed photos taken as they are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.datasets.photos.rules import SourceRules
from pipeline.queries.composing import composed
from pipeline.queries.encoding import QueryEncoder
from pipeline.queries.query import Box, Query, Term
from pipeline.queries.query_photos import opened_photo
from pipeline.retrieval.similarity import Float32
from pipeline.vectors.query_vectors import QueryVectors
from pipeline.vectors.snapshot import Snapshot

if TYPE_CHECKING:
    from PIL.Image import Image

_PIXELS_AT_ONCE = 50_000_000
_SAME_BOX = 1e-3
"""Difference of the sides, as fractions of the photo, up to which a box is that of a stored view."""
Locate = Callable[[Term], tuple[Snapshot, int]]
"""From a term that names an indexed photo to its snapshot and its number there."""


def query_vectors(
    queries: Sequence[Query], locate: Locate, count: int, encoder: QueryEncoder, rules: SourceRules
) -> list[QueryVectors]:
    """What is compared for each query.

    Args:
        queries: of texts and photos.
        locate: finds indexed photos.
        count: V, vectors per photo as a whole.
        encoder: asked once for all texts, and once for all photos that are not large; not at all where there are none.
        rules: which photos may be opened.

    Raises:
        QpertError: an unknown id, a photo that cannot be opened, or terms that cancel each other out.
    """
    terms = list(dict.fromkeys(term for query in queries for term in query.terms))
    vectors: dict[Term, Float32] = {}
    places: dict[Term, bytes | str] = {}
    for term in terms:
        if term.image is not None:
            places[term] = term.image
        elif term.like is not None:
            snapshot, number = locate(term)
            stored = _stored(snapshot, number, term.box, count)
            if stored is None:
                places[term] = str(snapshot.photos.rows([number], ["uri"])[0]["uri"])
            else:
                vectors[term] = stored
    for photos in _opened(places, rules):
        vectors |= dict(zip(photos, encoder.photos(list(photos.values())), strict=True))
    texts = [term for term in terms if term.text is not None]
    if texts:
        embedded = encoder.texts([str(term.text) for term in texts])
        vectors |= {term: vector[None] for term, vector in zip(texts, embedded, strict=True)}
    return [composed([(vectors[term], term.weight) for term in query.terms], count) for query in queries]


def _opened(places: Mapping[Term, bytes | str], rules: SourceRules) -> Iterator[dict[Term, Image]]:
    """The photos of terms, a few at a time: decoded, they are large."""
    photos: dict[Term, Image] = {}
    pixels = 0
    for term, place in places.items():
        photo = opened_photo(place, term.box, rules, term.title)
        photos[term] = photo
        pixels += photo.width * photo.height
        if pixels >= _PIXELS_AT_ONCE:
            yield photos
            photos, pixels = {}, 0
    if photos:
        yield photos


def _stored(snapshot: Snapshot, number: int, box: Box | None, count: int) -> Float32 | None:
    """The vectors [V, D] of an indexed photo as a whole, or of its view with this box; None if it has no such view."""
    first = 0
    if box is not None:
        if not snapshot.features.manifest.multi:
            return None
        (row,) = snapshot.photos.rows([number], ["views"])
        same = [place for place, view in enumerate(row["views"]) if _is_box(view, box)]
        if not same:
            return None
        first = same[0] * count
    vectors: Float32 = snapshot.vectors_of([number])[0][first : first + count]
    return vectors


def _is_box(view: dict[str, float], box: Box) -> bool:
    sides = np.array([view[side] for side in ("x0", "y0", "x1", "y1")], np.float64)
    return bool((np.abs(sides - np.array(box)) <= _SAME_BOX).all())
