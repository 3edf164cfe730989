"""The photos that are looked for: opened within the rules, decoded with the limits of indexing, and cropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.datasets.photos.rules import SourceRules
from pipeline.errors import QpertError
from pipeline.method.cuts import cut_around
from pipeline.queries.query import Box

if TYPE_CHECKING:
    from PIL.Image import Image


def opened_photo(photo: bytes | str, box: Box | None, rules: SourceRules, name: str) -> Image:
    """The upright RGB photo, or what of it lies in a box.

    A box is cut out, as ``qpert index --multi crops`` does without a margin: that serves every encoder, and a small
    thing is seen at the encoder's full resolution.

    Args:
        photo: encoded bytes, or a path or URI.
        box: what to cut out, in whole pixels; None for all.
        rules: which paths and URIs may be opened, and how large a file may be.
        name: of the photo, for messages.

    Raises:
        QpertError: it cannot be read or decoded, or the rules forbid it; the message names it.
    """
    # Imported here, because searches by text must not wait for Pillow.
    from pipeline.datasets.photos.reading import read_photo
    from pipeline.io.images import decode

    try:
        if isinstance(photo, bytes) and len(photo) > rules.max_bytes:
            raise QpertError(f"file too large: {len(photo)} bytes, limit {rules.max_bytes}")
        image = decode(photo if isinstance(photo, bytes) else read_photo(photo, rules))
    except QpertError as error:
        raise QpertError(f"cannot search for {name}: {error}") from error
    return image if box is None else image.crop(cut_around(box, 0.0, image.size))
