"""The answer to a query: the photos found, best first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.features.views import View

_SHOWN = 24
"""Most thumbnails in a notebook: each is in the page, with some 20 kB."""


@dataclass(frozen=True)
class Hit:
    """A photo found for a query.

    Attributes:
        image_id: its id in the feature set.
        uri: where the photo is.
        score: cosine, -1..1.
        view: what matched, of a photo with several views; None if it has one.
    """

    image_id: str
    uri: str
    score: float
    view: View | None = None


@dataclass(frozen=True)
class Hits(Sequence[Hit]):
    """The hits of one query, best first; a sequence of `Hit`. Notebooks show them as thumbnails.

    Attributes:
        query: the text that was searched for.
        hits: the photos.
        rules: which photos may be opened for thumbnails.
        warning: what to know before trusting the hits, see `miniature_warning`; shown above the thumbnails.
    """

    query: str
    hits: tuple[Hit, ...]
    rules: SourceRules = field(default=DEFAULT_RULES, repr=False, compare=False)
    warning: str = field(default="", repr=False, compare=False)

    @overload
    def __getitem__(self, index: int) -> Hit: ...

    @overload
    def __getitem__(self, index: slice) -> Hits: ...

    def __getitem__(self, index: int | slice) -> Hit | Hits:
        return replace(self, hits=self.hits[index]) if isinstance(index, slice) else self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def _repr_html_(self) -> str:
        """The query and thumbnails of its first photos."""
        # Imported here, because `qpert search --help` must not wait for Pillow and Jinja2.
        from pipeline.reports.gallery import Photo, Section, thumbnails_html

        first = enumerate(self.hits[:_SHOWN], 1)
        photos = [Photo(hit.image_id, hit.uri, rank=rank, score=hit.score) for rank, hit in first]
        rest = len(self) - len(photos)
        section = Section(self.query, photos, f"and {rest:,} more" if rest else "", self.warning)
        return thumbnails_html(section, self.rules)
