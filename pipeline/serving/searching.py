"""Answers searches: from a request to the photos of one page, and their ranks in another set."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

from pydantic import ValidationError

from pipeline.datasets.photos.rules import SourceRules
from pipeline.errors import QpertError
from pipeline.queries.answers import ranked, result_of
from pipeline.queries.filters import Filters
from pipeline.queries.hits import Hits
from pipeline.queries.query import Query
from pipeline.serving.catalogue import Catalogue
from pipeline.serving.errors import RequestError, problems_text
from pipeline.serving.models import MAX_DEPTH, Result, SearchAnswer, SearchRequest
from pipeline.serving.observing import Metrics
from pipeline.serving.served_set import OpenedSet, ServedSet
from pipeline.serving.terms import TermReader

COMPARED = 1000
"""How far down the compared set is looked for a photo."""
_MAX_BYTES = 2**30


class Searcher:
    """Answers searches.

    Args:
        catalogue: the sets.
        reader: of terms.
        rules: which photos may be opened.
        metrics: where stages are timed.
    """

    def __init__(self, catalogue: Catalogue, reader: TermReader, rules: SourceRules, metrics: Metrics) -> None:
        self._catalogue, self._reader, self._metrics = catalogue, reader, metrics
        self._rules = replace(rules, max_bytes=_MAX_BYTES)  # pixels take more room than the file that was allowed

    def answer(self, request: SearchRequest, upload: bytes | None = None) -> SearchAnswer:
        """The photos of one page.

        Args:
            request: checked.
            upload: a photo that came with it.

        Raises:
            RequestError: 404 for unknown sets, 409 for a cursor of another state of the set, 422 for a query that can
                have no answer, 503 for a set that cannot be searched now.
        """
        started = time.perf_counter()
        served = self._catalogue.get(request.set)
        opened = served.current()
        mark = query_mark(request, upload)
        offset = offset_of(request.cursor, mark, opened)
        query = self._query(request, upload, opened, offset)
        hits = self._find(query, served, opened)
        notes = [
            *opened.collection.notes,
            *opened.collection.remarks([query]),
            *opened.encoder.remarks([term.text for term in query.terms if term.text]),
        ]
        ranks: Mapping[str, int] | None = None
        if request.compare is not None:
            ranks, problem = self._ranks(request, upload, query)
            notes += [problem] if problem else []
        end = offset + len(hits)
        return SearchAnswer(
            set=opened.name,
            index=opened.info.index,
            results=results_of(hits, opened, ranks),
            cursor=f"{end}.{opened.version}.{mark}" if hits.more and len(hits) and end < MAX_DEPTH else None,
            took_ms=round(1000 * (time.perf_counter() - started), 3),
            notes=notes,
        )

    def hits(self, request: SearchRequest, opened: OpenedSet, *, k: int, fold: float | None) -> Hits:
        """The k best photos of an opened set, without their objects.

        Raises:
            RequestError: see `answer`.
        """
        query = replace(self._query(request, None, opened, 0), k=k, fold=fold)
        return self._find(query, self._catalogue.get(opened.name), opened, details=False)

    def _query(self, request: SearchRequest, upload: bytes | None, opened: OpenedSet, offset: int) -> Query:
        with self._metrics.stages.labels("read").time():
            try:
                terms = tuple(self._reader.terms(request, upload, opened))
                return Query(
                    terms,
                    Filters.model_validate({} if request.filters is None else request.filters.model_dump()),
                    k=min(request.k, MAX_DEPTH - offset),
                    offset=offset,
                    min_score=request.min_score,
                    fold=request.fold,
                    exact=request.exact,
                )
            except RequestError:
                raise
            except ValidationError as error:
                raise RequestError(422, problems_text(error.errors(include_url=False))) from None
            except QpertError as error:
                raise RequestError(422, str(error)) from None

    def _find(self, query: Query, served: ServedSet, opened: OpenedSet, *, details: bool = True) -> Hits:
        try:
            with self._metrics.stages.labels("embed").time():
                vectors = opened.collection.embed([query], opened.encoder, rules=self._rules)
            with self._metrics.stages.labels("find").time():
                return opened.collection.find([query], vectors, details=details)[0]
        except (QpertError, OSError) as error:
            # The query may be at fault, or the set has just been lost.
            if not served.check():
                served.current()
            if isinstance(error, QpertError) and opened is served.current():
                raise RequestError(422, str(error)) from None
            raise RequestError(503, "the set has just changed; ask again", retry_after=1) from None

    def _ranks(
        self, request: SearchRequest, upload: bytes | None, query: Query
    ) -> tuple[Mapping[str, int] | None, str | None]:
        """The ranks of photos in the compared set by their ids; or why there are none."""
        served = self._catalogue.get(request.compare)
        opened = served.current()
        try:
            other = replace(self._query(request, upload, opened, 0), k=COMPARED, fold=None, min_score=None)
            hits = self._find(other, served, opened, details=False)
        except RequestError as error:
            if error.status != 422:
                raise
            return None, f"not compared with {opened.name}: {error}"
        return {hit.image_id: rank for rank, hit in ranked(hits)}, None


def results_of(hits: Hits, opened: OpenedSet, ranks: Mapping[str, int] | None) -> list[Result]:
    """Hits as clients get them."""
    results = []
    for rank, hit in ranked(hits):
        photo, thumbnail = addresses(opened.name, hit.image_id, hit.set)
        compared = None if ranks is None else ranks.get(hit.image_id)
        results.append(
            Result.model_validate(
                {
                    **result_of(hit, rank),
                    "set": opened.name,
                    "photo": photo,
                    "thumbnail": thumbnail,
                    "compared_rank": compared,
                    "moved": None if compared is None else compared - rank,
                }
            )
        )
    return results


def addresses(name: str, image_id: str, part: str = "") -> tuple[str, str]:
    """Where a photo and its thumbnail are. Slashes of ids are escaped: browsers would resolve the dots of `a/../b`."""
    place = f"{quote(name, safe='')}/{quote(image_id, safe='')}" + (f"?part={quote(part, safe='')}" if part else "")
    return f"/photos/{place}", f"/thumbnails/{place}"


def offset_of(cursor: str | None, mark: str, opened: OpenedSet) -> int:
    """Where an answer begins. A cursor is where the last one ended, the state of the set, and the mark of the query.

    Raises:
        RequestError: 409 where the set has changed since, 422 where the cursor belongs to another query.
    """
    if cursor is None:
        return 0
    offset, version, other = cursor.split(".")
    if other != mark:
        raise RequestError(422, "the cursor belongs to another query: leave it out for the first photos")
    if version != opened.version:
        raise RequestError(409, "the set has changed since the first photos were shown: search again without a cursor")
    return int(offset)


def query_mark(request: SearchRequest, upload: bytes | None) -> str:
    """A digest of all that a ranking depends on; k and what is compared may change from page to page."""
    digest = hashlib.sha256(request.model_dump_json(exclude={"cursor", "k", "compare"}).encode())
    digest.update(upload or b"")
    return digest.hexdigest()[:12]
