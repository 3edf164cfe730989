"""The encode stage: an actor around an encoder that turns photos and their objects into the rows of a feature set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from PIL import Image

from pipeline.encoders.base import Encoder
from pipeline.features import OBJECT_TYPE, features_schema
from pipeline.images import decode
from pipeline.objects import Objects
from pipeline.perturbation import Perturbation
from pipeline.stages.actor import PhotoMapper, Worker, set_threads
from pipeline.stages.columns import objects_from_row
from pipeline.stages.device import this_device
from pipeline.stages.guard import Failure, Guard, load
from pipeline.stages.tally import Reporter


class EncoderBuilder(Protocol):
    """Called in the actor, with a torch device and the name of a dtype."""

    def __call__(self, *, device: str, dtype: str) -> Encoder: ...  # noqa: D102


Row = tuple[bytes, list[dict[str, Any]] | None]
Item = tuple[torch.Tensor, Objects]
Encoded = tuple[npt.NDArray[Any], tuple[int, int]]


class EncodeStage:
    """`map_batches` calls it with tables of `PHOTO_SCHEMA`, with or without `DETECTED`; it returns `features_schema`.

    The photos' bytes end here. Rows that failed already pass through with a null embedding.
    """

    def __init__(
        self,
        build: EncoderBuilder,
        perturbation: Perturbation | None,
        precision: str,
        worker: Worker,
        reporter: Reporter,
    ) -> None:
        set_threads(worker.threads)
        self.perturbation, self.worker, self.reporter = perturbation, worker, reporter
        self.device = this_device(worker.gpu)
        dtype = self.device.dtype(worker.dtype)
        self.encoder = load("encoder", lambda: build(device=self.device.torch, dtype=dtype))
        self.schema = features_schema(precision)
        guard = Guard(self._encode, self._probe, worker.micro_batch, "encoder")
        self.map = PhotoMapper(self._prepare, guard, worker.decoders)
        reporter.device("encode", self.device.name)
        reporter.embedding(self.encoder.vectors, self.encoder.dim)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Rows of a feature set."""
        count = table.num_rows
        errors = table["error"].to_pylist()
        todo = [at for at, error in enumerate(errors) if error is None]
        data = table["data"].to_pylist()
        found = table["objects"].to_pylist() if "objects" in table.column_names else [None] * count
        before = table["seconds"].to_pylist() if "seconds" in table.column_names else [None] * count
        seconds = np.array([each or 0.0 for each in before])
        detection = seconds.sum()
        sizes: list[tuple[int | None, int | None]] = [(None, None)] * count
        vectors = np.zeros((count, self.encoder.vectors * self.encoder.dim), np.float32)
        for at, (result, spent) in zip(todo, self.map([(data[at], found[at]) for at in todo]), strict=True):
            seconds[at] += spent
            if isinstance(result, Failure):
                errors[at] = result.reason
            else:
                vectors[at], sizes[at] = result
        columns = {
            "image_id": table["image_id"],
            "uri": table["uri"],
            "width": [size[0] for size in sizes],
            "height": [size[1] for size in sizes],
            "objects": pa.array(found, pa.list_(OBJECT_TYPE)),
            "largest_area": [_largest(row) for row in found],
            "embedding": self._embeddings(vectors, errors),
            "error": errors,
            "device": [self.device.name if error is None else None for error in errors],
            "seconds": seconds,
        }
        self.reporter.batch(
            "encode",
            photos=count,
            seconds=float(seconds.sum() - detection),
            objects=sum(len(row or ()) for row in found),
            failures=Counter(error for error in errors if error is not None),
        )
        arrays = [
            column.cast(field.type) if isinstance(column, pa.ChunkedArray | pa.Array) else pa.array(column, field.type)
            for field, column in zip(self.schema, columns.values(), strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _prepare(self, row: Row) -> tuple[torch.Tensor, Objects]:
        image = decode(row[0], max_pixels=self.worker.max_pixels)
        return self.encoder.preprocess(image), objects_from_row(row[1], image.size)

    @torch.inference_mode()
    def _encode(self, items: Sequence[Item]) -> list[Encoded]:
        pixels = torch.stack([item[0] for item in items])
        objects = [item[1] for item in items]
        tokens = self.encoder.backbone(pixels)
        if self.perturbation is None:
            embedding = self.encoder.embed(tokens)
        else:
            embedding = self.encoder.embed(tokens, objects, self.perturbation)
        flat = embedding.flatten(1).cpu().numpy()
        if not np.isfinite(flat).all():
            raise ValueError(f"the embedding is not finite in {self.encoder.dtype}")
        return [(vector, each.size) for vector, each in zip(flat, objects, strict=True)]

    def _probe(self) -> None:
        image = Image.new("RGB", (96, 64), "grey")
        self._encode([(self.encoder.preprocess(image), Objects([[0.2, 0.2, 0.6, 0.7]], ["probe"], [1.0], image.size))])

    def _embeddings(self, vectors: npt.NDArray[np.float32], errors: list[str | None]) -> pa.Array:
        kind = self.schema.field("embedding").type.value_type
        failed = np.array([error is not None for error in errors], bool)
        values = pa.array(vectors[~failed].astype(kind.to_pandas_dtype()).reshape(-1))
        ends = np.concatenate([[0], np.cumsum(~failed)]) * vectors.shape[1]
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values, mask=pa.array(failed))


def _largest(row: list[dict[str, Any]] | None) -> float | None:
    return max(((each["x1"] - each["x0"]) * (each["y1"] - each["y0"]) for each in row or ()), default=None)
