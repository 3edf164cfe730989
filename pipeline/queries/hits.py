"""The answer to a query: the photos found, best first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload


@dataclass(frozen=True)
class Hit:
    """A photo found for a query.

    Attributes:
        image_id: its id in the feature set.
        uri: where the photo is.
        score: cosine, -1..1.
    """

    image_id: str
    uri: str
    score: float


@dataclass(frozen=True)
class Hits(Sequence[Hit]):
    """The hits of one query, best first; a sequence of `Hit`.

    Attributes:
        query: the text that was searched for.
        hits: the photos.
    """

    query: str
    hits: tuple[Hit, ...]

    @overload
    def __getitem__(self, index: int) -> Hit: ...

    @overload
    def __getitem__(self, index: slice) -> Hits: ...

    def __getitem__(self, index: int | slice) -> Hit | Hits:
        return Hits(self.query, self.hits[index]) if isinstance(index, slice) else self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)
