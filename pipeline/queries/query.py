"""A query: what to look for, as a sum of texts and photos with weights, which photos count, and how many are wanted."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pipeline.errors import QpertError
from pipeline.queries.filters import Filters

MOST_PHOTOS = 1_000_000
"""Photos that a query may go through, skipped ones included."""
MOST_TERMS = 64
Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) as fractions (0..1) of a photo's width and height."""


@dataclass(frozen=True)
class Term:
    """One part of what is looked for: a text, a photo, or an indexed photo. Exactly one of these is given.

    Attributes:
        text: what photos should show.
        image: a photo: its encoded bytes, or its path or URI.
        like: `image_id` of an indexed photo, whose stored vectors are used.
        set: name of the set that has it; "" for the first that does.
        box: the part of the photo that counts; None for all of it.
        weight: its share in the sum; negative: photos should not show it.
    """

    text: str | None = None
    image: bytes | str | None = field(default=None, repr=False)
    like: str | None = None
    set: str = ""
    box: Box | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuses what can have no answer."""
        if sum(part is not None for part in (self.text, self.image, self.like)) != 1:
            raise QpertError("a term is either a text, a photo, or the id of an indexed photo")
        if self.text is not None and not self.text.strip():
            raise QpertError("a text to search for is empty; write what the photo should show")
        if not math.isfinite(self.weight) or self.weight == 0 or abs(self.weight) > 1000:
            raise QpertError(f"a weight is a number other than 0, from -1000 to 1000, not {self.weight:g}")
        if self.box is not None:
            if self.text is not None:
                raise QpertError("a box is a part of a photo: a text has none")
            check_box(self.box)

    @property
    def title(self) -> str:
        """For display, without the weight: the text, or the name of the photo and the box in percent."""
        if self.text is not None:
            return self.text
        if self.like is not None:
            name = f"photos like {self.like}"
        else:
            name = "the photo" if isinstance(self.image, bytes) else f"the photo {self.image}"
        return name if self.box is None else f"{name} ({box_text(self.box)})"


@dataclass(frozen=True)
class Query:
    """What to look for.

    Attributes:
        terms: added up; at least one has a positive weight.
        filters: which photos count.
        k: hits wanted.
        offset: hits to skip, for the pages after the first.
        min_score: photos below this score are left out.
        fold: cosine from which on a photo counts as a near-duplicate and hangs on the better hit; None: never.
        exact: compare every photo, whatever index there is.
    """

    terms: tuple[Term, ...]
    filters: Filters = field(default_factory=Filters)
    k: int = 10
    offset: int = 0
    min_score: float | None = None
    fold: float | None = None
    exact: bool = False

    def __post_init__(self) -> None:
        """Refuses what can have no answer."""
        if not self.terms:
            raise QpertError("nothing to look for: give a text, a photo, or the id of an indexed photo")
        if len(self.terms) > MOST_TERMS:
            raise QpertError(f"a query has at most {MOST_TERMS} terms, not {len(self.terms):,}")
        if all(term.weight < 0 for term in self.terms):
            raise QpertError("a query says what photos should show, not only what they should not: add a text or photo")
        if self.k < 1:
            raise QpertError(f"k must be at least 1, not {self.k}")
        if self.offset < 0:
            raise QpertError(f"the number of hits to skip must be at least 0, not {self.offset}")
        if self.k + self.offset > MOST_PHOTOS:
            raise QpertError(
                f"at most {MOST_PHOTOS:,} photos of a query can be listed, not {self.k + self.offset:,};"
                " for all scores, export the vectors"
            )
        if self.min_score is not None and math.isnan(self.min_score):
            raise QpertError("the least score is not a number")
        if self.fold is not None and not 0 < self.fold <= 1:
            raise QpertError(f"near-duplicates are folded from a cosine above 0 up to 1, not {self.fold:g}")

    @classmethod
    def of(cls, text: str, k: int = 10, *, min_score: float | None = None) -> Query:
        """The query of one text."""
        return cls((Term(text=text),), k=k, min_score=min_score)

    @property
    def title(self) -> str:
        """For display: the text of a plain query as it is, else the terms with their signs and weights."""
        first, *others = self.terms
        title = first.title if first.weight == 1 else f"{first.weight:g} x {first.title}"
        for term in others:
            size = abs(term.weight)
            title += f" {'-' if term.weight < 0 else '+'} {'' if size == 1 else f'{size:g} x '}{term.title}"
        return title


def check_box(box: Box) -> None:
    """Check that a box lies within a photo and holds something.

    Raises:
        QpertError: it does not.
    """
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):  # also refuses NaN
        raise QpertError(
            f"a box is left,top,right,bottom as fractions of the photo, 0 to 1 (such as 0.1,0.2,0.5,0.6), left before"
            f" right and top before bottom, not {','.join(f'{side:g}' for side in box)}"
        )


def box_text(box: Box) -> str:
    """A box for display, in percent as a hit's view: ``12,40-31,55``."""
    x0, y0, x1, y1 = (round(100 * side) for side in box)
    return f"{x0},{y0}-{x1},{y1}"
