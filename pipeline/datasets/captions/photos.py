"""The photos that captions speak of: which of them lie below a folder, and a list of just these for `qpert index`."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.captions.captions import CaptionedImage
from pipeline.datasets.names import Names
from pipeline.datasets.photos.source import Listing, find_photos
from pipeline.errors import QpertError
from pipeline.io.locations import is_uri


@dataclass(frozen=True)
class ImageFiles:
    """Where captioned images are.

    Attributes:
        found: image id -> path or URI, in the order of the captions.
        missing: ids of the others, in the same order.
    """

    found: dict[str, str]
    missing: tuple[str, ...]

    def summary(self, shown: int = 10) -> str:
        """`5 of 1,000 captioned images are missing: a.jpg, b.jpg, ...`; "" where none is."""
        if not self.missing:
            return ""
        names = ", ".join(self.missing[:shown]) + (", ..." if len(self.missing) > shown else "")
        total = len(self.found) + len(self.missing)
        return f"{len(self.missing):,} of {total:,} captioned images are missing: {names}"


def find_images(captions: Sequence[CaptionedImage], root: str | Path) -> ImageFiles:
    """Look for captioned images below a folder, at any depth, by file name in any Unicode normal form.

    Args:
        captions: the images that are wanted. Other photos below the folder do not matter.
        root: a folder of photos, local or on any file system that pyarrow opens by URI.

    Raises:
        QpertError: there is no such folder, it has no photos in files of their own, or two folders below it have a
            wanted photo of the same name.
    """
    photos = find_photos(str(root))
    if not isinstance(photos, Listing) or photos.kind != "folder":
        raise QpertError(f"captioned images are looked for in a folder of photos, but {root} is {photos.kind}")
    wanted = Names({image.image_id for image in captions})
    same: dict[str, str] = {}
    alike: dict[str, str] = {}  # in another Unicode normal form, for want of the same
    for image_id, place in photos.pairs():
        name = posixpath.basename(image_id)
        if place is None:
            continue
        found = wanted.find(name)
        places = same if found == name else alike
        if found is not None and places.setdefault(found, place) != place:
            raise QpertError(f"{found} is there twice: {places[found]} and {place}; which one do the captions mean?")
    places = alike | same
    there = {image.image_id: places[image.image_id] for image in captions if image.image_id in places}
    return ImageFiles(there, tuple(image.image_id for image in captions if image.image_id not in places))


def write_list(images: ImageFiles, path: str | Path) -> None:
    """Write the found images as a list file for `qpert index`, one per line; the lines become the ids of the features.

    Lines are relative to the list's folder where the image is below that, and end in the file's name in any case, so
    that features and captions find each other.

    Raises:
        QpertError: nothing was found, the file cannot be written, or a name cannot stand in a list.
    """
    if not images.found:
        raise QpertError(f"no captioned images to list in {path}. {images.summary()}")
    target = Path(path).expanduser()
    lines = [_line(place, target.parent) for place in images.found.values()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise QpertError(f"cannot write {target}: {error.strerror}") from error


def _line(place: str, folder: Path) -> str:
    line = place if is_uri(place) else os.path.abspath(place).removeprefix(os.path.join(os.path.abspath(folder), ""))
    if line != line.strip() or line.startswith("#") or len(line.splitlines()) != 1:
        raise QpertError(f"{place!r} cannot stand in a list file; rename it (no spaces at the ends, # or line breaks)")
    return line
