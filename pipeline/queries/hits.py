"""The answer to a query: the photos found, best first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, overload

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
        score: cosine, -1..1; of a query of several terms, see `pipeline.queries.composing`.
        view: what matched, of a photo with several views; None if it has one.
        set: name of its feature set, where several are searched; else "".
        folded: near-duplicates of it among the hits, best first, where they are folded.
        width, height: of the photo in pixels, where they were asked for.
        taken: when the photo was taken, by its EXIF data; None if that is not known.
        objects: dictionaries of x0, y0, x1, y1 (0..1 of the photo), label and score, where they were asked for.
    """

    image_id: str
    uri: str
    score: float
    view: View | None = None
    set: str = ""
    folded: tuple[Hit, ...] = ()
    width: int | None = field(default=None, repr=False, compare=False)
    height: int | None = field(default=None, repr=False, compare=False)
    taken: datetime | None = field(default=None, repr=False, compare=False)
    objects: tuple[Mapping[str, Any], ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class Hits(Sequence[Hit]):
    """The hits of one query, best first; a sequence of `Hit`. Notebooks show them as thumbnails.

    Attributes:
        query: the text that was searched for, or what else was, for display.
        hits: the photos.
        offset: hits left out before the first.
        more: whether there are further hits after the last.
        filters: in words, which photos count; "" for all.
        rules: which photos may be opened for thumbnails.
        warning: what to know before trusting the hits, see `miniature_warning`; shown above the thumbnails.
    """

    query: str
    hits: tuple[Hit, ...]
    offset: int = field(default=0, kw_only=True, compare=False)
    more: bool = field(default=False, kw_only=True, compare=False)
    filters: str = field(default="", kw_only=True, compare=False, repr=False)
    rules: SourceRules = field(default=DEFAULT_RULES, repr=False, compare=False)
    warning: str = field(default="", repr=False, compare=False)

    @overload
    def __getitem__(self, index: int) -> Hit: ...

    @overload
    def __getitem__(self, index: slice) -> Hits: ...

    def __getitem__(self, index: int | slice) -> Hit | Hits:
        if not isinstance(index, slice):
            return self.hits[index]
        start, stop, _ = index.indices(len(self.hits))
        more = self.more or stop < len(self.hits)
        return replace(self, hits=self.hits[index], offset=self.offset + start, more=more)

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def _repr_html_(self) -> str:
        """The query and thumbnails of its first photos."""
        # Imported here, because `qpert search --help` must not wait for Pillow and Jinja2.
        from pipeline.reports.gallery import Photo, Section, thumbnails_html

        first = enumerate(self.hits[:_SHOWN], self.offset + 1)
        photos = [Photo(hit.image_id, hit.uri, rank=rank, score=hit.score) for rank, hit in first]
        rest = len(self) - len(photos)
        section = Section(self.query, photos, f"and {rest:,} more" if rest else "", self.warning)
        return thumbnails_html(section, self.rules)
