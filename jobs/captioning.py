"""Captions of several photos in one pass, where a photo that the models fail on loses nobody else theirs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from pipeline.detectors import Detector
from pipeline.encoders.base import Encoder
from pipeline.encoders.emphasis import Captions, emphases, write_captions
from pipeline.encoders.sites import choose_sites
from pipeline.errors import QpertError
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation
from pipeline.printing import printable
from pipeline.stages.probe_photos import PROBE_ID, probe_photos
from pipeline.workers.micro_batching import MicroBatcher

Named = tuple[str, Image.Image]
Captioned = tuple[Objects, Captions]


def captioner(
    encoder: Encoder,
    detector: Detector,
    emphasise: str | None,
    perturbation: Perturbation,
    decoding: Mapping[str, Any],
    batch_size: int,
) -> MicroBatcher[Named, Captioned]:
    """From ids and photos to their objects and captions; a `Failure` for a photo that the models fail on alone.

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
    choose_sites(encoder.sites(), perturbation.sites)

    def caption(photos: Sequence[Named]) -> list[Captioned]:
        images = [image for _, image in photos]
        objects = _detect(detector, photos)
        wanted = [emphases(each, emphasise) if emphasise else [] for each in objects]
        written = write_captions(encoder, images, objects, wanted, perturbation, decoding)
        return list(zip(objects, written, strict=True))

    def probe() -> None:
        # Without objects: whether those can be strengthened is a matter of each photo.
        image, _ = probe_photos(1)[0]
        detector.detect([PROBE_ID], [image])
        write_captions(encoder, [image], [Objects.empty(image.size)], [[]], perturbation, decoding)

    return MicroBatcher(caption, probe, batch_size, "captioning")


def _detect(detector: Detector, photos: Sequence[Named]) -> list[Objects]:
    """The objects of each photo; a photo whose annotation is damaged has none, with a message."""
    try:
        return detector.detect([name for name, _ in photos], [image for _, image in photos])
    except QpertError as error:
        if len(photos) > 1:
            return [objects for photo in photos for objects in _detect(detector, [photo])]
        ((name, image),) = photos
        print(f"{printable(name)}: captioned without objects: {printable(str(error))}", file=sys.stderr, flush=True)
        return [Objects.empty(image.size)]
