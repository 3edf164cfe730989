"""What each row costs per photo: vectors, passes of the tower, milliseconds over plain, bytes of the index."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from pipeline.benchmarks.encoder_cost import device_name
from pipeline.benchmarks.timing import interleaved
from pipeline.encoders.base import Encoder
from pipeline.encoders.object_embeddings import object_embeddings
from pipeline.method.objects import Objects
from pipeline.reproduction.proof.rows import Row


@dataclass(frozen=True)
class RowCost:
    """Per photo, on average.

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
    encoder: Encoder, objects: Sequence[Objects], rows: Sequence[Row], *, number_bytes: int, repetitions: int = 15
) -> Costs:
    """Times all rows side by side on one batch of photos of noise; medians of the differences to plain.

    Rows that draw their boxes are not timed: they cost what the chosen setting does, and nobody would index with them.

    Args:
        encoder: on the device to measure.
        objects: one `Objects` per photo of the batch.
        rows: plain first.
        number_bytes: bytes of a stored number.
        repetitions: interleaved.
    """
    photos = len(objects)
    pixels = torch.stack([encoder.preprocess(Image.effect_noise(one.size, 80).convert("RGB")) for one in objects])
    pixels = pixels.to(encoder.device)

    def work_of(row: Row) -> Callable[[], object]:
        if row.objects:
            return lambda: object_embeddings(encoder, encoder.backbone(pixels), objects)
        return lambda: encoder.embed(encoder.backbone(pixels), objects, row.settings[0])

    timed = [row for row in rows if row.settings[0] is None or row.settings[0].boxes == "own"]
    seconds = interleaved([work_of(row) for row in timed], repetitions, encoder.device)
    per_photo = [[1000 * second / photos for second in times] for times in seconds]
    plain = per_photo[0]
    extra = {
        row.name: statistics.median(after - before for before, after in zip(plain, times, strict=True))
        for row, times in zip(timed, per_photo, strict=True)
    }
    mean = sum(map(len, objects)) / photos
    costs = {}
    for row in rows:
        vectors = encoder.vectors * (1 + (mean if row.objects else 0))
        costs[row.name] = RowCost(vectors, 1.0, extra.get(row.name), vectors * encoder.dim * number_bytes)
    return Costs(statistics.median(plain), costs, device_name(encoder.device), photos, mean)
