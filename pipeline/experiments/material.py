"""The material of an experiment: photos, their captions, and their true boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.boxes.areas import any_annotated, largest_areas
from pipeline.datasets.boxes.reading import read_boxes
from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.image_files import find_images, write_list
from pipeline.datasets.captions.reading import read_captions
from pipeline.datasets.names import join_names
from pipeline.datasets.scenes import Profile, write_scenes
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
        strict: a bad entry in the annotations is an error.
    """

    photos: str
    captions: Sequence[CaptionedImage]
    annotations: str
    remark: str = ""
    strict: bool = False

    def areas(self, features: FeatureSet) -> dict[str, float] | None:
        """Largest true box's area by image id, see `annotated_areas`; None without annotations."""
        if not self.annotations:
            return None
        return annotated_areas(self.annotations, self.captions, features, strict=self.strict)


def draw_scenes(folder: Path, count: int, seed: int = SEED, profile: Profile = "balanced") -> Material:
    """Synthetic scenes of a series below `folder`, drawn unless they already exist."""
    kind = "scenes" if profile == "balanced" else f"{profile}-scenes"
    root = folder / (f"{kind}-{count}" if seed == SEED else f"{kind}-{count}-series-{seed}")
    captions = write_scenes(root, count, seed, profile)
    return Material(str(root / "images"), read_captions(captions), str(root))


def find_material(
    folder: Path, images: str, captions: str, annotations: str | None, split: str, *, strict: bool = False
) -> Material:
    """A user's own photos, captions and boxes; writes a list of the split's photos to `folder`.

    Raises:
        QpertError: something is missing or not readable. Single images may be missing: see `Material.remark`; and
            single entries of captions and annotations may be bad, unless `strict`.
    """
    captioned = read_captions(captions, None if split == "all" else split, strict=strict)
    photos = find_images(captioned, images)
    if not photos.found:
        raise QpertError(
            f"{images} has none of the {len(captioned):,} captioned images, such as {captioned[0].image_id}"
        )
    if annotations and not any_annotated(read_boxes(annotations, strict=strict), photos.found):
        raise QpertError(f"{annotations} annotates none of the captioned images, such as {captioned[0].image_id}")
    write_list(photos, folder / "photos.txt")
    return Material(str(folder / "photos.txt"), captioned, annotations or "", photos.summary(), strict)


def annotated_areas(
    path: str, captions: Sequence[CaptionedImage], features: FeatureSet, *, strict: bool = False
) -> dict[str, float]:
    """Largest box's area (fraction of the photo) by image id, from annotations in any form that `read_boxes` knows.

    Images without a box are left out: they have no size. Where the annotations do not state the size of a photo, the
    features do.

    Raises:
        QpertError: the annotations cannot be read, or annotate none of the images; or one is bad, if `strict`.
    """
    sizes = {
        row["image_id"]: (row["width"], row["height"])
        for block in features.iter_blocks(["image_id", "width", "height"])
        for row in block.to_pylist()
    }
    names, _ = join_names(sizes, {image.image_id for image in captions})
    by_name = {name: sizes[image_id] for image_id, name in names.items()}
    return largest_areas(read_boxes(path, strict=strict), captions, by_name.get, strict=strict)
