"""Captions of several photos per pass; a photo that the models fail on does not fail the others."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any

from PIL import Image

from pipeline.datasets.photos.found_photos import Listing, Shards
from pipeline.datasets.photos.reading import read_named, read_photo
from pipeline.datasets.photos.rules import SourceRules
from pipeline.datasets.photos.shard_reading import read_shard
from pipeline.detectors import Detector
from pipeline.encoders.base import Encoder
from pipeline.encoders.emphasis import Captions, emphases, write_captions
from pipeline.encoders.sites import choose_sites
from pipeline.errors import QpertError
from pipeline.io.images import decode
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation
from pipeline.stages.probe_photos import PROBE_ID, probe_photos
from pipeline.workers.micro_batching import Failure, MicroBatcher

_log = logging.getLogger(__name__)

_ROWS = 256
"""Photos of a list per block."""


@dataclass(frozen=True)
class OpenedPhoto:
    """A decoded photo, or the reason why there is none."""

    image_id: str
    uri: str
    image: Image.Image | None
    problem: str = ""


@dataclass(frozen=True)
class CaptionedPhoto:
    """A photo with its objects and captions, or the reason why there are none."""

    image_id: str
    uri: str
    objects: Objects
    captions: Captions | None
    problem: str = ""


class Captioner:
    """Finds the objects of photos and writes their captions.

    Args:
        encoder: one that writes captions.
        detector: finds the objects.
        emphasise: which of them are strengthened, see `emphases`; None for none.
        perturbation: how they act.
        decoding: further arguments of `Encoder.caption`.
        batch_size: photos per pass.

    Raises:
        QpertError: the encoder writes no captions, has no such sites, or fails on a photo of our own.
    """

    def __init__(
        self,
        encoder: Encoder,
        detector: Detector,
        emphasise: str | None,
        perturbation: Perturbation,
        decoding: Mapping[str, Any],
        batch_size: int,
    ) -> None:
        choose_sites(encoder.sites(), perturbation.sites)
        self.encoder, self.detector, self.emphasise = encoder, detector, emphasise
        self.perturbation, self.decoding = perturbation, decoding
        self._caption = MicroBatcher(self._write, self._probe, batch_size, "captioning")

    def __call__(self, photos: Sequence[OpenedPhoto]) -> list[CaptionedPhoto]:
        """The captions of a batch, in its order."""
        results = iter(self._caption([photo for photo in photos if photo.image is not None]))
        captioned = []
        for photo in photos:
            result = Failure(photo.problem) if photo.image is None else next(results)
            objects, captions, problem = (
                (Objects.empty((1, 1)), None, result.reason) if isinstance(result, Failure) else (*result, "")
            )
            captioned.append(CaptionedPhoto(photo.image_id, photo.uri, objects, captions, problem))
        return captioned

    def _write(self, photos: Sequence[OpenedPhoto]) -> list[tuple[Objects, Captions]]:
        images = [photo.image for photo in photos if photo.image is not None]
        objects = self._detect([photo.image_id for photo in photos], images)
        wanted = [emphases(of_photo, self.emphasise) if self.emphasise else [] for of_photo in objects]
        captions = write_captions(self.encoder, images, objects, wanted, self.perturbation, self.decoding)
        return list(zip(objects, captions, strict=True))

    def _probe(self) -> None:
        # Without objects: whether those can be strengthened depends on the photo.
        image, _ = probe_photos(1)[0]
        self.detector.detect([PROBE_ID], [image])
        write_captions(self.encoder, [image], [Objects.empty(image.size)], [[]], self.perturbation, self.decoding)

    def _detect(self, ids: Sequence[str], images: Sequence[Image.Image]) -> list[Objects]:
        """The objects of each photo; a photo whose annotation is damaged has none, with a message."""
        try:
            return self.detector.detect(ids, images)
        except QpertError as error:
            if len(ids) > 1:
                return [
                    objects
                    for image_id, image in zip(ids, images, strict=True)
                    for objects in self._detect([image_id], [image])
                ]
            _log.info(f"{ids[0]}: captioned without objects: {error}")
            return [Objects.empty(images[0].size)]


def open_photos(photos: Listing | Shards, *, limit: int | None, batch_size: int) -> Iterator[OpenedPhoto]:
    """Opens the photos of a source one by one.

    Args:
        photos: found by `find_photos`.
        limit: only the first so many photos.
        batch_size: photos read from a shard at a time.
    """
    return (_open(row, photos.rules) for row in islice(_rows(photos, limit, batch_size), limit))


def _rows(photos: Listing | Shards, limit: int | None, batch_size: int) -> Iterator[dict[str, Any]]:
    if isinstance(photos, Listing):
        yield from chain.from_iterable(batch.to_pylist() for batch in photos.batches(limit, rows=_ROWS))
        return
    for shard in photos.shards:
        tables = read_shard(shard, batch_size, None, photos.rules, partial(read_named, rules=photos.rules))
        yield from chain.from_iterable(table.to_pylist() for table in tables)


def _open(row: dict[str, Any], rules: SourceRules) -> OpenedPhoto:
    try:
        if row.get("error"):
            raise QpertError(row["error"])
        image = decode(row["data"] if "data" in row else read_photo(row["uri"], rules))
    except QpertError as error:
        return OpenedPhoto(row["image_id"], row["uri"], None, str(error))
    return OpenedPhoto(row["image_id"], row["uri"], image)
