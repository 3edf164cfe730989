"""Finding the photo files of captioned images below a folder, and listing them for `qpert index`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.names import Names, path_ends
from pipeline.datasets.photos.found_photos import Listing
from pipeline.datasets.photos.source import find_photos
from pipeline.errors import QpertError
from pipeline.io.locations import is_uri


@dataclass(frozen=True)
class ImageFiles:
    """The files of captioned images.

    Attributes:
        found: image id -> path or URI, in the order of the captions.
        missing: ids of images without a file, in the same order.
    """

    found: dict[str, str]
    missing: tuple[str, ...]

    def summary(self, shown: int = 10) -> str:
        """`5 of 1,000 captioned images are missing: a.jpg, b.jpg, ...`; "" if none is missing."""
        if not self.missing:
            return ""
        names = ", ".join(self.missing[:shown]) + (", ..." if len(self.missing) > shown else "")
        total = len(self.found) + len(self.missing)
        return f"{len(self.missing):,} of {total:,} captioned images are missing: {names}"


def find_images(captions: Sequence[CaptionedImage], root: str | Path) -> ImageFiles:
    """Look for captioned images at any depth below a folder, by file name, however it is written (`plain_name`).

    Args:
        captions: the wanted images. Other photos below the folder are ignored.
        root: a folder of photos, local or on any file system that pyarrow opens by URI.

    Raises:
        QpertError: the folder does not exist or does not hold photos as separate files, or two wanted photos below it
            have the same name.
    """
    photos = find_photos(str(root))
    if not isinstance(photos, Listing) or photos.kind != "folder":
        raise QpertError(f"captioned images must be in a folder of photos, but {root} is {photos.kind}")
    wanted = Names({image.image_id for image in captions})
    folders = max((image.image_id.count("/") for image in captions), default=0)
    exact: dict[str, str] = {}
    similar: dict[str, str] = {}  # written in another way; used only where there is no exact match
    for image_id, place in photos.pairs():
        if place is None:
            continue
        ends = ((end, wanted.find(end)) for end in path_ends(image_id, folders))
        end, match = next(((end, name) for end, name in ends if name is not None), ("", None))
        places = exact if match == end else similar
        if match is not None and places.setdefault(match, place) != place:
            raise QpertError(f"{match} exists twice: {places[match]} and {place}; which one do the captions mean?")
    places = similar | exact
    found = {image.image_id: places[image.image_id] for image in captions if image.image_id in places}
    return ImageFiles(found, tuple(image.image_id for image in captions if image.image_id not in places))


def write_list(images: ImageFiles, path: str | Path) -> None:
    """Write the found images as a list file for `qpert index`, one per line; the lines become the ids of the features.

    Lines are relative to the list's folder if the image is below it. They always end in the file's name, by which
    features and captions are joined.

    Raises:
        QpertError: no image was found, the file cannot be written, or a name cannot be written in a list.
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
        raise QpertError(
            f"{place!r} cannot be written in a list file; rename it (no # or spaces at the ends, no line breaks)"
        )
    return line
