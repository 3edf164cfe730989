"""The rankings of several feature sets as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.queries.filters import Filters
from pipeline.queries.open_sets import OpenSet
from pipeline.queries.query import Query
from pipeline.retrieval.similarity import Float32
from pipeline.vectors.query_vectors import Found, QueryVectors


class Place(NamedTuple):
    """A photo found: the numbers of its set and of the photo there; `vector` is which of its vectors was nearest."""

    set: int
    photo: int
    vector: int
    score: float


class Pass(NamedTuple):
    """What queries must have in common to be answered in one pass over the vectors."""

    filters: Filters
    floor: float
    exact: bool
    depth: int

    @classmethod
    def of(cls, query: Query) -> Pass:
        """One photo more than is shown says whether there are further ones."""
        floor = -np.inf if query.min_score is None else query.min_score
        return cls(query.filters, floor, query.exact, query.offset + query.k + 1)


def ranked(sets: Sequence[OpenSet], wanted: Pass, vectors: Sequence[QueryVectors]) -> list[list[Place]]:
    """The best photos of each query in all sets: best first, equal scores by image_id, then in the order of the sets.

    Args:
        sets: where to look.
        wanted: which photos, and how many.
        vectors: of the queries.
    """
    found = [
        one.snapshot.search(
            vectors,
            wanted.depth,
            allowed=one.filter.allowed(wanted.filters),
            floor=wanted.floor,
            exact=wanted.exact,
        )
        for one in sets
    ]
    return [_merged(sets, of_query, wanted.depth) for of_query in zip(*found, strict=True)]


def columns_of(
    sets: Sequence[OpenSet], places: Sequence[Place], columns: Sequence[str], *, views: bool = False
) -> list[dict[str, Any]]:
    """Columns of some photos, in their order; with `views`, this column as well where a set has it."""
    rows: dict[int, dict[str, Any]] = {}
    for number, one in enumerate(sets):
        here = [at for at, place in enumerate(places) if place.set == number]
        more = ["views"] if views and one.snapshot.features.manifest.multi else []
        photos = [places[at].photo for at in here]
        found = one.snapshot.photos.rows(photos, [*columns, *more]) if here else []
        rows |= dict(zip(here, found, strict=True))
    return [rows[at] for at in range(len(places))]


def whole_vectors(sets: Sequence[OpenSet], places: Sequence[Place]) -> list[Float32]:
    """The vectors [V, D] of some photos as a whole, in their order."""
    vectors: dict[int, Float32] = {}
    for number, one in enumerate(sets):
        here = [at for at, place in enumerate(places) if place.set == number]
        found = one.snapshot.vectors_of([places[at].photo for at in here]) if here else []
        vectors |= {at: of_photo[: one.snapshot.features.vectors] for at, of_photo in zip(here, found, strict=True)}
    return [vectors[at] for at in range(len(places))]


def _merged(sets: Sequence[OpenSet], found: Sequence[Found], depth: int) -> list[Place]:
    """What was found for one query in each set, as one ranking."""
    places = [
        Place(number, *place)
        for number, one in enumerate(found)
        for place in zip(one.photos.tolist(), one.vectors.tolist(), one.scores.tolist(), strict=True)
    ]
    if len(found) == 1:
        return places
    if len(places) > depth:  # only of these are the ids needed
        limit = sorted((place.score for place in places), reverse=True)[depth - 1]
        places = [place for place in places if place.score >= limit]
    ids = [str(row["image_id"]) for row in columns_of(sets, places, ["image_id"])]
    named = sorted(zip(places, ids, strict=True), key=lambda one: (-one[0].score, one[1], one[0].set))
    return [place for place, _ in named[:depth]]
