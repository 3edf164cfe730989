"""What each row costs per photo: vectors, passes of the tower, milliseconds over plain, bytes of the index."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from pipeline.benchmarks.encoder_cost import device_name
from pipeline.benchmarks.timing import interleaved
from pipeline.encoders.base import Encoder
from pipeline.features.views import View
from pipeline.method.objects import Objects
from pipeline.reproduction.proof.rows import HI_RES, Rival, Row
from pipeline.stages.multi_config import MultiConfig
from pipeline.stages.other_views import OtherViews

PASSES = ("crops", "tiles")
"""Rivals whose every vector is a pass of the tower."""


@dataclass(frozen=True)
class RowCost:
    """Per photo, on average over the photos that were timed.

    Attributes:
        vectors: vectors of the index.
        passes: passes of the tower.
        extra: milliseconds over plain; None if not measured.
        bytes: of the vectors.
    """

    vectors: float
    passes: float
    extra: float | None
    bytes: float


@dataclass(frozen=True)
class Costs:
    """The cost of every row, and where it was measured.

    Attributes:
        plain: milliseconds per photo of plain embeddings.
        rows: by the row's name.
        device: torch device.
        photos: photos in the batch that was timed.
        objects: mean number of objects of these.
    """

    plain: float
    rows: Mapping[str, RowCost]
    device: str
    photos: int
    objects: float


@torch.no_grad()
def measure_costs(
    encoder: Encoder,
    objects: Sequence[Objects],
    rows: Sequence[Row],
    *,
    number_bytes: int,
    finer: Encoder | None = None,
    repetitions: int = 9,
) -> Costs:
    """Times all rows side by side on one batch of photos of noise; medians of the differences to plain.

    Rows that draw their boxes are not timed: they cost what the chosen setting does, and nobody would index with them.
    Decoding and preprocessing, of photos and of what is cut from them, are not part of the times.

    Args:
        encoder: on the device to measure.
        objects: one `Objects` per photo of the batch.
        rows: plain first.
        number_bytes: bytes of a stored number.
        finer: the encoder at the resolution of the row `HI_RES`, if there is that row.
        repetitions: interleaved.
    """
    photos = len(objects)
    images = [Image.effect_noise(one.size, 80).convert("RGB") for one in objects]

    def prepared(by: Encoder) -> Tensor:
        return torch.stack([by.preprocess(image) for image in images]).to(by.device)

    pixels = prepared(encoder)

    counts: dict[Rival, float] = {}

    def work_of(row: Row) -> Callable[[], object]:
        if row.rival is None:
            return lambda: encoder.embed(encoder.backbone(pixels), objects, row.settings[0])
        if row.rival == HI_RES:
            assert finer is not None
            more, by = prepared(finer), finer
            return lambda: by.embed(by.backbone(more))
        maker = OtherViews(encoder, MultiConfig(kinds=(row.rival,)))
        cuts = [maker.cut(image, one) for image, one in zip(images, objects, strict=True)]

        def embed_all() -> list[tuple[list[View], Tensor]]:
            tokens = encoder.backbone(pixels)
            encoder.embed(tokens)
            return maker.embed(tokens, objects, cuts)

        counts[row.rival] = sum(len(views) for views, _ in embed_all()) / photos
        return embed_all

    # Two rows of one rival differ in how its vectors are scored, not in the vectors.
    timed = {
        (row.settings[0], row.rival): row for row in rows if row.settings[0] is None or row.settings[0].boxes == "own"
    }
    seconds = interleaved([work_of(row) for row in timed.values()], repetitions, encoder.device)
    per_photo = [[1000 * second / photos for second in times] for times in seconds]
    plain = per_photo[0]
    extra = {
        kind: statistics.median(after - before for before, after in zip(plain, times, strict=True))
        for kind, times in zip(timed, per_photo, strict=True)
    }
    costs = {}
    for row in rows:
        further = counts.get(row.rival, 0.0) if row.rival else 0.0
        vectors = encoder.vectors * (1 + further)
        passes = 1 + (further if row.rival in PASSES else 0)
        costs[row.name] = RowCost(
            vectors, passes, extra.get((row.settings[0], row.rival)), vectors * encoder.dim * number_bytes
        )
    mean = sum(map(len, objects)) / photos
    return Costs(statistics.median(plain), costs, device_name(encoder.device), photos, mean)
