"""Ranks of the right answers: all that recall, its intervals and paired tests need of the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import QpertError

BINS = 10

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ranks:
    """The outcome of every query and the groups it belongs to: a few bytes per caption, no scores.

    Attributes:
        text_ranks: [T], rank (from 1) of each text's image among all images.
        image_ranks: [I], rank (from 1) of each image's best text among all texts not its own; 0 = no text, so the image
            is not a query.
        image_of_text: [T], the number of each text's image; the texts of an image are in the order of its captions.
        bins: [I], size bin 0..9 of each image by its largest object's area, -1 without an object.
        image_ids: the images' names, by which two sets of ranks are paired; empty if they have none.
        photos: [I], equal for images that are copies of one photo (`Copies`), which are drawn and flipped together;
            None if all are of different photos.
    """

    text_ranks: Ints
    image_ranks: Ints
    image_of_text: Ints
    bins: Ints
    image_ids: tuple[str, ...] = ()
    photos: Ints | None = None

    def __post_init__(self) -> None:
        images = len(self.image_ranks)
        check_owners(self.image_of_text, images=images, texts=len(self.text_ranks))
        if len(self.bins) != images or (self.image_ids and len(self.image_ids) != images):
            raise QpertError(f"ranks of {images} images need as many bins ({len(self.bins)}) and names, if any")
        if self.photos is not None and len(self.photos) != images:
            raise QpertError(f"ranks of {images} images need as many numbers of photos, not {len(self.photos)}")


@dataclass(frozen=True, eq=False)
class Copies:
    """Which images are copies of one photo, such as its three levels in SORCE-1K; each has the photo's captions.

    The other copies of a text's photo do not count as answers, wherever they rank, and an image is asked only about
    texts of its own level: those of other levels are the same texts again.

    Attributes:
        photos: [I], equal for the copies of one photo.
        levels: [I], equal for the images of one level.
    """

    photos: Ints
    levels: Ints


class Ranker:
    """Counts, tile by tile, the answers ranked before each right one, so that no full score matrix is needed."""

    def __init__(
        self, image_of_text: Ints, images: int, *, tolerance: float = 0.0, copies: Copies | None = None
    ) -> None:
        """Start with no scores.

        Args:
            image_of_text: [T], the number of each text's image.
            images: their number.
            tolerance: scores within it of the right answer's are ties, which count against the query.
            copies: None if all images are of different photos.
        """
        self._owner = image_of_text
        self._copies = copies
        self._tolerance = tolerance
        self._before_image = np.zeros(len(image_of_text), np.int64)
        self._before_text = np.zeros(images, np.int64)
        self._positive: Floats = np.zeros(0)
        self._best: Floats = np.zeros(0)

    def set_positives(self, scores: Floats) -> None:
        """Sets the score [T] of each text with its own image; to be called before the first `count`."""
        lowest = scores.min(initial=0)  # for the images without a caption, which are not queries
        self._best = np.full(len(self._before_text), lowest, scores.dtype)
        np.maximum.at(self._best, self._owner, scores)
        self._positive = scores - self._tolerance if self._tolerance else scores
        self._best = self._best - self._tolerance if self._tolerance else self._best

    def count(self, tile: Floats, *, first_image: int, first_text: int) -> None:
        """Adds the scores [i, t] of the images from `first_image` and the texts from `first_text` on."""
        images = slice(first_image, first_image + tile.shape[0])
        texts = slice(first_text, first_text + tile.shape[1])
        rows = self._owner[texts] - first_image
        own = np.flatnonzero((rows >= 0) & (rows < tile.shape[0]))

        before = tile >= self._positive[texts]
        before[rows[own], own] = False
        if self._copies is not None:
            before &= self._copies.photos[images, None] != self._copies.photos[self._owner[texts]]
        self._before_image[texts] += before.sum(axis=0)

        before = tile >= self._best[images, None]
        before[rows[own], own] = False
        if self._copies is not None:
            before &= self._copies.levels[images, None] == self._copies.levels[self._owner[texts]]
        self._before_text[images] += before.sum(axis=1)

    def ranks(self) -> tuple[Ints, Ints]:
        """Ranks from 1: [T] of each text's image, [I] of each image's best caption (0 = image without caption)."""
        captioned = np.zeros(len(self._before_text), bool)
        captioned[self._owner] = True
        return self._before_image + 1, np.where(captioned, self._before_text + 1, 0)


def check_owners(image_of_text: npt.ArrayLike, *, images: int, texts: int) -> Ints:
    """`image_of_text` as int64 [texts], every value in 0..images-1, or a QpertError."""
    owners = as_array(image_of_text)
    if owners.shape != (texts,):
        raise QpertError(f"image_of_text must hold one image index per text, [{texts}], not {list(owners.shape)}")
    if owners.size and not np.issubdtype(owners.dtype, np.integer):
        raise QpertError(f"image_of_text must hold integers, not {owners.dtype}")
    owners = owners.astype(np.int64)
    bad = np.flatnonzero((owners < 0) | (owners >= images))
    if bad.size:
        raise QpertError(f"text {bad[0]} belongs to image {owners[bad[0]]}, but there are {images} images")
    return owners


def size_bins(areas: npt.ArrayLike | Sequence[float | None] | None, images: int) -> Ints:
    """Bin 0..9 of each image by its largest object's area, -1 without one. Returns [images].

    The edges are compared in the precision of `areas`, so that a float32 0.7, which is a little less than the double
    0.7, falls into bin 7.
    """
    if areas is None:
        return np.full(images, -1, np.int64)
    values = as_array([np.nan if a is None else a for a in areas] if isinstance(areas, (list, tuple)) else areas)
    if values.dtype == object:
        values = np.array([np.nan if a is None else a for a in values], np.float64)
    if values.shape != (images,):
        raise QpertError(f"areas must hold one number per image, [{images}], not {list(values.shape)}")
    values = values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float64)
    known = values >= 0
    # The area of a box clipped to its photo may exceed 1 by a rounding error.
    too_large = known & (values > 1 + 1e-5)
    if too_large.any():
        index = int(np.flatnonzero(too_large)[0])
        raise QpertError(f"areas are fractions of the photo, 0..1, but image {index} has {values[index]}")
    edges = (np.arange(1, BINS) / BINS).astype(values.dtype)
    return np.where(known, np.searchsorted(edges, values, side="right"), -1).astype(np.int64)


def as_array(values: Any) -> npt.NDArray[Any]:
    """Any array-like as NumPy, tensors included: detached, on the CPU, bfloat16 widened (exact)."""
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        return np.asarray(tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor)
    return np.asarray(values)
