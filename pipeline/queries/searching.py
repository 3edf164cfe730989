"""Searching one feature set or several: what the command line, the Python API and the server have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.miniatures import warning_of
from pipeline.features.views import View
from pipeline.queries.encoding import QueryEncoder
from pipeline.queries.filtering import remarks
from pipeline.queries.folding import fold
from pipeline.queries.hits import Hit, Hits
from pipeline.queries.merging import Pass, Place, columns_of, ranked, whole_vectors
from pipeline.queries.open_sets import OpenSet, open_sets
from pipeline.queries.query import Query, Term
from pipeline.queries.query_terms import query_vectors
from pipeline.retrieval.similarity import Float32
from pipeline.vectors.query_vectors import QueryVectors
from pipeline.vectors.snapshot import Snapshot

_DETAILS = ("width", "height", "taken", "objects")
_MOST_FOLDED = 100_000
"""Hits of a query that are looked through for near-duplicates."""


class _Group(NamedTuple):
    """A hit and its near-duplicates."""

    kept: Place
    folded: tuple[Place, ...] = ()


@dataclass(frozen=True, eq=False)
class Collection:
    """Feature sets of one encoder, searched as one. It never changes, and several threads may search it at once.

    Attributes:
        sets: at least one.
        notes: what users should know before they trust the hits, such as that an index is stale.
    """

    sets: tuple[OpenSet, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def open(
        cls,
        roots: Sequence[str | FeatureSet],
        *,
        variant: str | None = None,
        cache: bool = True,
        names: Sequence[str] | None = None,
    ) -> Collection:
        """Open feature sets.

        Args:
            roots: paths, URIs and patterns (see `find_sets`), or sets that are open already.
            variant: name of the embedding, of sets with several.
            cache: see `open_snapshot`.
            names: one for each set; None: the names of their folders, with those above where they are the same.

        Raises:
            QpertError: none is named, one cannot be opened, or their vectors cannot be compared.
        """
        sets, notes = open_sets(roots, variant=variant, cache=cache, names=names)
        return cls(tuple(sets), tuple(notes))

    @property
    def features(self) -> list[FeatureSet]:
        """The sets. The encoder of the first, which is that of all, embeds the queries."""
        return [one.snapshot.features for one in self.sets]

    @property
    def vectors(self) -> int:
        """V, vectors per photo as a whole."""
        return self.sets[0].snapshot.features.vectors

    @property
    def index(self) -> bool:
        """Whether an index spares the comparison of every photo."""
        return any(one.snapshot.approximate for one in self.sets)

    @property
    def photos(self) -> int:
        """How many photos are searched."""
        return sum(int(np.count_nonzero(one.snapshot.live)) for one in self.sets)

    @property
    def about(self) -> str:
        """How the sets are searched, for display."""
        if len(self.sets) == 1:
            return self.sets[0].snapshot.about
        return "; ".join(f"{one.name}: {one.snapshot.about}" for one in self.sets)

    @property
    def version(self) -> str:
        """Changes whenever a set, the rows that count, or its index change."""
        return "+".join(one.snapshot.version for one in self.sets)

    @property
    def warning(self) -> str:
        """What the miniature models that made the sets are not for; empty if there is nothing to warn of."""
        warnings = [warning_of(one.snapshot.features.manifest) for one in self.sets]
        return next((warning for warning in warnings if warning), "")

    def answer(
        self,
        queries: Sequence[Query],
        encoder: QueryEncoder,
        *,
        rules: SourceRules = DEFAULT_RULES,
        details: bool = True,
    ) -> list[Hits]:
        """The hits of each query, in their order: `embed`, then `find`."""
        return self.find(queries, self.embed(queries, encoder, rules=rules), details=details)

    def embed(
        self, queries: Sequence[Query], encoder: QueryEncoder, *, rules: SourceRules = DEFAULT_RULES
    ) -> list[QueryVectors]:
        """What is compared for each query. The encoder is asked only for what is not stored.

        Args:
            queries: of texts and photos.
            encoder: of the sets.
            rules: which photos may be opened: those of the queries, and indexed ones of which a part is looked for.

        Raises:
            QpertError: an unknown id, a photo that cannot be opened, or terms that cancel each other out.
        """
        return query_vectors(queries, self.locate, self.vectors, encoder, rules)

    def find(self, queries: Sequence[Query], vectors: Sequence[QueryVectors], *, details: bool = True) -> list[Hits]:
        """The hits of each query: best first, equal scores by image_id, then in the order of the sets.

        Args:
            queries: their texts and photos are not looked at again.
            vectors: of each, from `embed`.
            details: fill in sizes, dates and objects.
        """
        passes: dict[Pass, list[int]] = {}
        for number, query in enumerate(queries):
            passes.setdefault(Pass.of(query), []).append(number)
        answers: dict[int, Hits] = {}
        for wanted, numbers in passes.items():
            rankings = ranked(self.sets, wanted, [vectors[number] for number in numbers])
            for number, places in zip(numbers, rankings, strict=True):
                answers[number] = self._hits(queries[number], vectors[number], places, details)
        return [answers[number] for number in range(len(queries))]

    def remarks(self, queries: Sequence[Query]) -> list[str]:
        """What users should know of the filters of some queries, such as a label that no object has."""
        sets = [one.filter for one in self.sets]
        chosen = dict.fromkeys(query.filters for query in queries)
        return list(dict.fromkeys(text for filters in chosen for text in remarks(sets, filters)))

    def locate(self, term: Term) -> tuple[Snapshot, int]:
        """The indexed photo that a term names: its snapshot, and its number there.

        Raises:
            QpertError: no set has it.
        """
        named = [one for one in self.sets if term.set in ("", one.name)]
        if not named:
            raise QpertError(f"there is no set {term.set!r}; there are: {', '.join(one.name for one in self.sets)}")
        for one in named:
            number = one.snapshot.photos.number_of(str(term.like))
            if number is not None:
                return one.snapshot, number
        where = named[0].snapshot.features.root if len(named) == 1 else f"any of the {len(named)} sets"
        raise QpertError(f"no photo with the id {term.like!r} has vectors in {where}; --json shows the ids of hits")

    def _hits(self, query: Query, vectors: QueryVectors, places: list[Place], details: bool) -> Hits:
        """The page of a query from its ranking."""
        end = query.offset + query.k
        groups = [_Group(place) for place in places]
        if query.fold is not None:
            wanted = Pass.of(query)
            groups = self._folded(places, query.fold)
            # What hangs on better hits makes room for others further down. A longer ranking begins like this one.
            while len(groups) <= end and len(places) == wanted.depth < _MOST_FOLDED:
                wanted = wanted._replace(depth=min(2 * wanted.depth, _MOST_FOLDED))
                places = ranked(self.sets, wanted, [vectors])[0]
                groups = self._folded(places, query.fold)
        shown = groups[query.offset : end]
        hits = iter(self._filled([place for group in shown for place in (group.kept, *group.folded)], details))
        answer = [replace(next(hits), folded=tuple(next(hits) for _ in group.folded)) for group in shown]
        return Hits(
            query.title,
            tuple(answer),
            offset=query.offset,
            more=len(groups) > end,
            filters=query.filters.shown(),
            warning=self.warning,
        )

    def _folded(self, places: Sequence[Place], threshold: float) -> list[_Group]:
        def vectors(positions: Sequence[int]) -> list[Float32]:
            return whole_vectors(self.sets, [places[position] for position in positions])

        groups = fold(len(places), vectors, threshold)
        return [_Group(places[kept], tuple(places[position] for position in others)) for kept, others in groups]

    def _filled(self, places: Sequence[Place], details: bool) -> list[Hit]:
        columns = ["image_id", "uri", *(_DETAILS if details else ())]
        hits = []
        for place, row in zip(places, columns_of(self.sets, places, columns, views=True), strict=True):
            view = View.of(row["views"][place.vector // self.vectors]) if row.get("views") else None
            name = self.sets[place.set].name if len(self.sets) > 1 else ""
            more = {column: row[column] for column in _DETAILS} if details else {}
            if details:
                more["objects"] = tuple(row["objects"] or ())
            hits.append(Hit(row["image_id"], row["uri"], place.score, view, name, **more))
        return hits
