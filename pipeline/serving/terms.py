"""From the terms of a request to those of a query; what photos there are, other processes have decoded."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from pipeline.datasets.photos.reading import read_photo
from pipeline.datasets.photos.rules import SourceRules
from pipeline.errors import QpertError
from pipeline.io.images import ImageError
from pipeline.queries.query import Term
from pipeline.serving.catalogue import Catalogue
from pipeline.serving.errors import RequestError
from pipeline.serving.models import ImageTerm, LikeTerm, SearchRequest, TextTerm
from pipeline.serving.pictures import PictureMaker
from pipeline.serving.served_set import OpenedSet

MAX_IMAGES = 4
"""Photos of one request: their pixels are in memory together."""


class TermReader:
    """Reads the terms of requests.

    Args:
        catalogue: has the photos that terms name.
        maker: decodes photos.
        rules: which photos of the sets may be opened.
    """

    def __init__(self, catalogue: Catalogue, maker: PictureMaker, rules: SourceRules) -> None:
        self._catalogue, self._maker, self._rules = catalogue, maker, rules

    def terms(self, request: SearchRequest, upload: bytes | None, opened: OpenedSet) -> Iterator[Term]:
        """The terms of a request.

        Args:
            request: its JSON.
            upload: a photo that came with it.
            opened: the set that is searched.

        Raises:
            RequestError: a photo that is unknown or cannot be decoded, or too many of them.
            QpertError: a term that can have no answer.
        """
        images = 0 if upload is None else 1
        if request.text is not None:
            yield Term(text=request.text)
        if upload is not None:
            yield Term(image=self._decoded(upload))
        for term in request.terms:
            if isinstance(term, TextTerm):
                yield Term(text=term.text, weight=term.weight)
                continue
            stored = isinstance(term, LikeTerm) and self._is_stored(term, opened)
            images += 0 if stored else 1
            if images > MAX_IMAGES:
                raise RequestError(422, f"a query has at most {MAX_IMAGES} photos that must be embedded")
            if stored:
                assert isinstance(term, LikeTerm)
                yield Term(like=term.image_id, box=term.box, weight=term.weight)
            else:
                yield Term(image=self._decoded(self._bytes(term, opened)), box=term.box, weight=term.weight)

    def may_embed_photos(self, request: SearchRequest, upload: bytes | None) -> bool:
        """Whether a photo may have to be embedded; of a photo of a set, its stored vectors usually do.

        Raises:
            RequestError: 404 where there is no such set.
        """
        own = (None, self._catalogue.get(request.set).name)
        return upload is not None or any(
            isinstance(term, ImageTerm)
            or (isinstance(term, LikeTerm) and (term.box is not None or term.set not in own))
            for term in request.terms
        )

    def _is_stored(self, term: LikeTerm, opened: OpenedSet) -> bool:
        """Whether the searched set has vectors of what a term names."""
        if term.box is not None and not opened.collection.features[0].manifest.multi:
            return False
        if term.set is None or term.set == opened.name:
            return True
        # Another set may give the same id to another photo.
        other = self._catalogue.get(term.set).current()
        try:
            return other.uri_of(term.image_id) == opened.uri_of(term.image_id)
        except RequestError:
            return False

    def _bytes(self, term: ImageTerm | LikeTerm, opened: OpenedSet) -> bytes:
        if isinstance(term, ImageTerm):
            try:
                return base64.b64decode(term.image, validate=True)
            except (binascii.Error, ValueError):
                raise RequestError(422, "an image is not valid base64") from None
        owner = opened if term.set is None else self._catalogue.get(term.set).current()
        try:
            return read_photo(owner.uri_of(term.image_id), self._rules)
        except RequestError:
            raise
        except QpertError as error:
            raise RequestError(422, f"the photo {term.image_id} cannot be read: {error}") from None

    def _decoded(self, data: bytes) -> bytes:
        try:
            return self._maker.pixels(data)
        except ImageError as error:
            raise RequestError(422, f"an image cannot be searched for: {error}") from None
