"""The material of an experiment: photos, their captions, and their true boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.datasets.boxes.areas import largest_areas
from pipeline.datasets.boxes.reading import read_boxes
from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.image_files import find_images, write_list
from pipeline.datasets.captions.reading import read_captions
from pipeline.datasets.names import Names
from pipeline.datasets.scenes import write_scenes
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet

SEED = 1
"""A series of scenes that no miniature model was trained on, and on which no setting was chosen."""


@dataclass(frozen=True)
class Material:
    """Where everything is.

    Attributes:
        photos: a source for `find_photos`.
        captions: the captions of the split.
        annotations: boxes for `read_boxes` and for the detector `annotated`; "" if there are none.
        remark: which images are missing, if any.
    """

    photos: str
    captions: Sequence[CaptionedImage]
    annotations: str
    remark: str = ""

    def areas(self, features: FeatureSet) -> dict[str, float] | None:
        """Largest true box's area by image id, see `annotated_areas`; None without annotations."""
        return annotated_areas(self.annotations, self.captions, features) if self.annotations else None


def draw_scenes(folder: Path, count: int, seed: int = SEED) -> Material:
    """Synthetic scenes of a series below `folder`, drawn unless they already exist."""
    root = folder / (f"scenes-{count}" if seed == SEED else f"scenes-{count}-series-{seed}")
    captions = write_scenes(root, count, seed)
    return Material(str(root / "images"), read_captions(captions), str(root))


def find_material(folder: Path, images: str, captions: str, annotations: str | None, split: str) -> Material:
    """A user's own photos, captions and boxes; writes a list of the split's photos to `folder`.

    Raises:
        QpertError: something is missing or not readable. Single images may be missing: see `Material.remark`.
    """
    captioned = read_captions(captions, None if split == "all" else split)
    photos = find_images(captioned, images)
    if not photos.found:
        raise QpertError(
            f"{images} has none of the {len(captioned):,} captioned images, such as {captioned[0].image_id}"
        )
    if annotations and not any(map(read_boxes(annotations).of, photos.found)):
        raise QpertError(f"{annotations} annotates none of the captioned images, such as {captioned[0].image_id}")
    write_list(photos, folder / "photos.txt")
    return Material(str(folder / "photos.txt"), captioned, annotations or "", photos.summary())


def annotated_areas(path: str, captions: Sequence[CaptionedImage], features: FeatureSet) -> dict[str, float]:
    """Largest box's area (fraction of the photo) by image id, from annotations in any form that `read_boxes` knows.

    Images without a box are left out: they have no size. Where the annotations do not state the size of a photo, the
    features do.

    Raises:
        QpertError: the annotations cannot be read, or annotate none of the images.
    """
    sizes = {
        PurePosixPath(row["image_id"]).name: (row["width"], row["height"])
        for block in features.iter_blocks(["image_id", "width", "height"])
        for row in block.to_pylist()
    }
    names = Names(sizes)
    return largest_areas(read_boxes(path), captions, lambda image_id: sizes.get(names.find(image_id) or ""))
