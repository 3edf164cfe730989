"""A photo and its captions: what every caption format is read into."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CaptionedImage:
    """A photo's id and its captions."""

    image_id: str
    """File name of the photo, without its folder."""
    captions: list[str]
