"""The encode stage: an actor around an encoder that turns photos and their objects into the rows of a feature set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from pipeline.encoders.base import Encoder
from pipeline.encoders.object_embeddings import object_embeddings
from pipeline.encoders.sites import choose_sites
from pipeline.features.schema import OBJECT_TYPE, features_schema
from pipeline.features.tokens import TOKENS, TokenFiles
from pipeline.io.images import is_truncated
from pipeline.io.photo_state import PHOTO_STATE
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation
from pipeline.runs.run_stats import Reporter
from pipeline.stages.columns import objects_from_row
from pipeline.stages.probe_photos import probe_photos
from pipeline.workers.micro_batching import Failure, load
from pipeline.workers.worker import PhotoMapper, Worker, set_threads


class EncoderBuilder(Protocol):
    """Called in the actor, with a torch device and the name of a dtype."""

    def __call__(self, *, device: str, dtype: str) -> Encoder: ...  # noqa: D102


Row = tuple[str, bytes, list[dict[str, Any]] | None]
Item = tuple[torch.Tensor, Objects, bool]
"""Pixels, objects, and whether a part of the photo is lacking."""
Encoded = tuple[npt.NDArray[Any], npt.NDArray[Any] | None, tuple[int, int], tuple[int, int], bool]
"""Embedding, object embeddings, size of the photo, its call and row among the kept tokens, whether it is cut short."""


class EncodeStage:
    """`map_batches` calls it with tables of `PHOTO_SCHEMA`, with or without `DETECTED`; it returns `features_schema`.

    The photos' bytes end here. Rows that failed already pass through with a null embedding.

    Args:
        build: makes the encoder.
        settings: the perturbations (None: plain) to embed with, one after the other. The backbone runs once for all,
            and the embeddings of a photo lie behind each other in its row.
        with_objects: store object embeddings as well (see `pipeline.encoders.object_embeddings`).
        precision: of what is stored.
        worker: how the actor works.
        reporter: where it reports.
        tokens_in: keep the image tokens here; None: they are dropped.
        to_come: what these will be perturbed with; the encoder must have the sites.
    """

    def __init__(
        self,
        build: EncoderBuilder,
        settings: Sequence[Perturbation | None],
        with_objects: bool,
        precision: str,
        worker: Worker,
        reporter: Reporter,
        tokens_in: TokenFiles | None = None,
        to_come: Sequence[Perturbation] = (),
    ) -> None:
        reporter.loading()
        set_threads(worker.threads)
        self.settings, self.with_objects = tuple(settings), with_objects
        self.tokens_in, self.calls = tokens_in, list[torch.Tensor]()
        self.worker, self.reporter = worker, reporter
        self.device = worker.find_device(worker.gpu)
        self.dtype = self.device.dtype(worker.dtype)
        self.encoder = load("encoder", lambda: build(device=self.device.torch, dtype=self.dtype))
        for setting in to_come:
            choose_sites(self.encoder.sites(), setting.sites)
        self.schema = features_schema(precision, with_objects=with_objects)
        if tokens_in is not None:
            self.schema = self.schema.append(TOKENS)
        self.probes = [(self.encoder.preprocess(image), objects, False) for image, objects in probe_photos(2)]
        guard = worker.guard("encode", self.device, self._encode, self._probe, "encoder", reporter)
        self.map = PhotoMapper("encode", self._prepare, guard, worker, reporter)
        reporter.device("encode", self.device.name)
        reporter.probe(self.device.name, self.dtype, self._probed())
        reporter.embedding(self.encoder.vectors, self.encoder.dim)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Rows of a feature set."""
        count = table.num_rows
        errors = table["error"].to_pylist()
        todo = [at for at, error in enumerate(errors) if error is None]
        ids, data = table["image_id"].to_pylist(), table["data"].to_pylist()
        found = table["objects"].to_pylist() if "objects" in table.column_names else [None] * count
        before = table["seconds"].to_pylist() if "seconds" in table.column_names else [None] * count
        seconds = np.array([each or 0.0 for each in before])
        detection = seconds.sum()
        sizes: list[tuple[int | None, int | None]] = [(None, None)] * count
        vectors: list[npt.NDArray[Any] | None] = [None] * count
        of_objects: list[npt.NDArray[Any] | None] = [None] * count
        places: list[tuple[int, int] | None] = [None] * count
        truncated: list[bool | None] = [None] * count
        self.calls = []
        for at, (result, spent) in zip(todo, self.map([(ids[at], data[at], found[at]) for at in todo]), strict=True):
            seconds[at] += spent
            if isinstance(result, Failure):
                errors[at] = result.reason
            else:
                vectors[at], of_objects[at], sizes[at], places[at], truncated[at] = result
        columns = {
            "image_id": table["image_id"],
            "uri": table["uri"],
            "width": [size[0] for size in sizes],
            "height": [size[1] for size in sizes],
            "objects": pa.array(found, pa.list_(OBJECT_TYPE)),
            "largest_area": [_largest(row) for row in found],
            "embedding": self._vectors(vectors),
            "error": errors,
            "device": [self.device.name if error is None else None for error in errors],
            "dtype": [self.dtype if error is None else None for error in errors],
            "seconds": seconds,
            **{field.name: table[field.name] for field in PHOTO_STATE},
            "truncated": truncated,
        }
        if self.with_objects:
            columns["object_embeddings"] = self._vectors(of_objects)
        if self.tokens_in is not None:
            columns["tokens"] = self._keep(self.tokens_in, ids, places)
        self.reporter.batch(
            "encode",
            self.device.name,
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

    def _prepare(self, row: Row) -> Item:
        image = self.worker.decode(row[1])
        return self.encoder.preprocess(image), objects_from_row(row[2], image.size), is_truncated(image)

    @torch.inference_mode()
    def _encode(self, items: Sequence[Item]) -> list[Encoded]:
        pixels = torch.stack([item[0] for item in items])
        objects = [item[1] for item in items]
        tokens = self.encoder.backbone(pixels)
        vectors = self.encoder.embed_each(tokens, objects, self.settings)
        flat = torch.cat([each.flatten(1) for each in vectors], 1).cpu().numpy()
        of_objects: list[npt.NDArray[Any] | None] = [None] * len(items)
        if self.with_objects:
            of_objects = [each.flatten().cpu().numpy() for each in object_embeddings(self.encoder, tokens, objects)]
        if not all(np.isfinite(each).all() for each in (flat, *of_objects) if each is not None):
            raise ValueError(f"the embedding is not finite in {self.encoder.dtype}")
        if self.tokens_in is not None:
            self.calls.append(tokens)
        places = [(len(self.calls) - 1, row) for row in range(len(items))]
        sizes = [each.size for each in objects]
        return list(zip(flat, of_objects, sizes, places, [item[2] for item in items], strict=True))

    def _probe(self, count: int) -> None:
        self._encode([self.probes[0]] * count)

    def _probed(self) -> npt.NDArray[np.float32]:
        """Unit vectors [P, V, D] of the probe photos, one by one: what a batch holds besides must not matter."""
        vectors, dim = self.encoder.vectors, self.encoder.dim
        each = [self._encode([probe])[0][0][: vectors * dim] for probe in self.probes]
        return np.stack(each).reshape(len(each), vectors, dim)

    def _keep(self, files: TokenFiles, ids: list[str], places: Sequence[tuple[int, int] | None]) -> pa.Array:
        """The column `tokens`, its file written."""
        name = files.write(ids, self.calls) if self.calls else None
        self.calls = []
        return pa.array([at and {"file": name, "call": at[0], "row": at[1]} for at in places], TOKENS.type)

    def _vectors(self, vectors: Sequence[npt.NDArray[Any] | None]) -> pa.Array:
        """A column of lists, null where there is no vector."""
        kind = self.schema.field("embedding").type.value_type
        there = [each for each in vectors if each is not None]
        values = np.concatenate(there or [np.zeros(0)]).astype(kind.to_pandas_dtype())
        ends = np.cumsum([0, *(0 if each is None else len(each) for each in vectors)])
        missing = pa.array([each is None for each in vectors], pa.bool_())
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values), mask=missing)


def _largest(row: list[dict[str, Any]] | None) -> float | None:
    return max(((each["x1"] - each["x0"]) * (each["y1"] - each["y0"]) for each in row or ()), default=None)
