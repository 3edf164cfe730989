"""What a source may read, and which of its files are photos: chosen once on the command line, passed whole."""

from __future__ import annotations

from dataclasses import dataclass

SCHEMES = ("file", "gs", "hf", "s3")
"""Where photos may come from without being asked for, besides local paths."""
MAX_BYTES = 2**30
"""Largest photo that is read."""


@dataclass(frozen=True)
class SourceRules:
    """What may be read, and what is a photo.

    Attributes:
        schemes: of the URIs that lists and tables may name.
        root: local folder that the paths of lists and tables must lie in, links resolved; None for anywhere.
        include: glob patterns over paths relative to the source, one of which a photo must match; () for all.
        exclude: likewise, none of which it may match.
        image_key: of several images of one webdataset key the ending that is the photo, such as ``jpg``; None for all.
        max_bytes: larger photos are refused.
    """

    schemes: tuple[str, ...] = SCHEMES
    root: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    image_key: str | None = None
    max_bytes: int = MAX_BYTES
