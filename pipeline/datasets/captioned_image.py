"""A photo and its captions: what every caption format is read into."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CaptionedImage:
    """A photo's id and its captions."""

    image_id: str
    """File name of the photo, without its folder unless copies of it lie in several."""
    captions: list[str]
    copy_of: str = ""
    """What all copies of one photo share; for each copy's captions and as a query, the others do not count."""
