"""What a reproduction works on: photos, their captions, and the true boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.image_files import find_images, write_list
from pipeline.datasets.captions.reading import read_captions
from pipeline.errors import QpertError

SEED = 1
"""A series of scenes that no miniature model was trained on, and on which nothing was chosen."""


@dataclass(frozen=True)
class Material:
    """Everything by its place.

    Attributes:
        photos: a source for `find_photos`.
        captions: of the split.
        annotations: boxes, for `read_boxes` and for the detector `annotated`; "" where there are none.
        remark: images that are missing, if any.
    """

    photos: str
    captions: Sequence[CaptionedImage]
    annotations: str
    remark: str = ""


def scenes(folder: Path, count: int, seed: int = SEED) -> Material:
    """Synthetic scenes of a series below `folder`, drawn if they are not there."""
    from pipeline.datasets.scenes import write_scenes

    place = folder / (f"scenes-{count}" if seed == SEED else f"scenes-{count}-series-{seed}")
    captions = write_scenes(place, count, seed)
    return Material(str(place / "images"), read_captions(captions), str(place))


def on_disk(folder: Path, images: str, captions: str, annotations: str | None, split: str) -> Material:
    """Photos, captions and boxes that somebody has; a list of the split's photos is written to `folder`.

    Raises:
        QpertError: something is missing or not readable. Single images may be missing: see `Material.remark`.
    """
    from pipeline.datasets.boxes.reading import read_boxes

    wanted = read_captions(captions, None if split == "all" else split)
    found = find_images(wanted, images)
    if not found.found:
        raise QpertError(f"{images} has none of the {len(wanted):,} captioned images, such as {wanted[0].image_id}")
    if annotations and not any(map(read_boxes(annotations).of, found.found)):
        raise QpertError(f"{annotations} annotates none of the captioned images, such as {wanted[0].image_id}")
    write_list(found, folder / "photos.txt")
    return Material(str(folder / "photos.txt"), wanted, annotations or "", found.summary())
