"""The encode stage: an actor around an encoder that adds the object-aware embeddings of photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from PIL import Image

from pipeline.encoders.base import Encoder
from pipeline.encoders.object_embeddings import object_embeddings
from pipeline.encoders.sites import choose_sites
from pipeline.features.schema import features_schema
from pipeline.features.tokens import TOKENS, TokenFiles
from pipeline.features.views import WHOLE, View, views_to_arrow
from pipeline.io.images import is_truncated, taken_at
from pipeline.method.objects import Objects
from pipeline.method.settings import Perturbation
from pipeline.stages.columns import column_values, largest_area, objects_from_row, vectors_to_arrow
from pipeline.stages.multi_config import NO_MULTI, MultiConfig
from pipeline.stages.other_views import Cuts, OtherViews
from pipeline.stages.photo_stage import READ_PHOTOS, Outcomes, PhotoColumns, PhotoStage
from pipeline.workers.photo_mapper import Row
from pipeline.workers.reporting import DeviceProbe, Reporter
from pipeline.workers.transfer import stack_on
from pipeline.workers.worker import Worker, load_model


class EncoderBuilder(Protocol):
    """Called in the actor, with a torch device and the name of a dtype."""

    def __call__(self, *, device: str, dtype: str) -> Encoder: ...  # noqa: D102


@dataclass(frozen=True)
class Prepared:
    """One photo as the encoder takes it (`Encoder.preprocess`), objects, what its file says of it, and its cuts.

    `truncated` and `taken` are those of `Encoded`.
    """

    pixels: torch.Tensor
    objects: Objects
    truncated: bool
    taken: datetime | None
    cuts: Cuts


@dataclass(frozen=True)
class Encoded:
    """What the encoder made of one photo; its pixels are not kept.

    Attributes:
        embedding: float32 [(S + n) * V * D], its vectors under each of S settings, and those of n further views.
        object_embeddings: float32 [n * V * D], those of its n objects; None if they are not wanted.
        size: (width, height) of the photo.
        truncated: whether its file ends early.
        taken: when it was taken, by the clock of its camera; None if unknown.
        call, row: its place among the model's calls for one table.
        views: the whole photo, and the n further views.
    """

    embedding: npt.NDArray[np.float32]
    object_embeddings: npt.NDArray[np.float32] | None
    size: tuple[int, int]
    truncated: bool
    taken: datetime | None
    call: int
    row: int
    views: tuple[View, ...]


class EncodeStage(PhotoStage[Prepared, Encoded]):
    """Turns tables of photos, with or without the columns of detection, into rows of a feature set.

    Args:
        build: makes the encoder.
        settings: the S perturbations (None: plain) to embed with, one after the other. The backbone runs once for all,
            and the embeddings of a photo follow each other in its row.
        with_objects: store object embeddings as well (see `pipeline.encoders.object_embeddings`).
        precision: of the stored embeddings, float16 or float32.
        worker: how the actor works.
        reporter: where it reports.
        tokens_in: where to keep the image tokens; None drops them.
        to_come: perturbations that the tokens will be embedded with later; the encoder must have their sites.
        photos: where tables have their photos.
        keep_columns: return all columns of the table, photos included, with those of a feature set added, for a
            pipeline of one's own. Otherwise exactly the columns of a feature set are returned.
        multi: further vectors of each photo, plain whatever the settings.
    """

    stage, model, reads, last = "encode", "encoder", ("objects", "shuffled"), True

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
        photos: PhotoColumns = READ_PHOTOS,
        keep_columns: bool = False,
        multi: MultiConfig = NO_MULTI,
    ) -> None:
        self.settings, self.with_objects = tuple(settings), with_objects
        self.shuffles = tuple({one.seed for one in self.settings if one is not None and one.boxes == "shuffled"})
        self.tokens_in, self.to_come, self.calls = tokens_in, to_come, list[torch.Tensor]()
        self.multi, self.worker = multi, worker
        self.types = features_schema(precision, with_objects=with_objects, with_views=bool(multi.kinds))
        if tokens_in is not None:
            self.types = self.types.append(TOKENS)
        self.schema = None if keep_columns else self.types
        super().__init__(build, worker, reporter, photos)
        reporter.send(DeviceProbe(self.device.name, self.dtype, self._probe_vectors()))

    def load(self) -> None:
        """See `PhotoStage`."""
        self.encoder: Encoder = load_model("encoder", lambda: self.build(device=self.device.torch, dtype=self.dtype))
        for setting in self.to_come:
            choose_sites(self.encoder.sites(), setting.sites)
        self.others = OtherViews(self.encoder, self.multi, self.worker.micro_batch)
        if self.multi.cuts:  # the pictures of a micro-batch, cuts included, are in memory together
            self.worker = replace(self.worker, micro_batch=self.others.photos_at_once)

    def prepare(self, image: Image.Image, row: Row) -> Prepared:
        """See `PhotoStage`."""
        objects = objects_from_row(row["objects"], image.size, row["image_id"], row.get("shuffled"))
        pixels, cuts = self.encoder.preprocess(image), self.others.cut(image, objects)
        return Prepared(pixels, objects, is_truncated(image), taken_at(image), cuts)

    @torch.inference_mode()
    def run(self, items: Sequence[Prepared]) -> list[Encoded]:
        """See `PhotoStage`."""
        objects = [photo.objects for photo in items]
        tokens = self.encoder.backbone(stack_on([photo.pixels for photo in items], self.encoder.device))
        vectors = self.encoder.embed_each(tokens, objects, self.settings)
        embeddings = list(torch.cat([of_setting.flatten(1) for of_setting in vectors], 1).cpu().numpy())
        views: list[tuple[View, ...]] = [(View(WHOLE),)] * len(items)
        if self.multi.kinds:
            others = self.others.embed(tokens, objects, [photo.cuts for photo in items])
            views = [(View(WHOLE), *of_photo) for of_photo, _ in others]
            embeddings = [
                np.concatenate([whole, further.flatten().numpy()])
                for whole, (_, further) in zip(embeddings, others, strict=True)
            ]
        of_objects: list[npt.NDArray[np.float32] | None] = [None] * len(items)
        if self.with_objects:
            of_objects = [rows.flatten().cpu().numpy() for rows in object_embeddings(self.encoder, tokens, objects)]
        if not all(np.isfinite(numbers).all() for numbers in (*embeddings, *of_objects) if numbers is not None):
            raise ValueError(f"the embedding is not finite in {self.encoder.dtype}")
        if self.tokens_in is not None:
            self.calls.append(tokens)
        call = len(self.calls) - 1
        return [
            Encoded(embedding, rows, photo.objects.size, photo.truncated, photo.taken, call, row, of_photo)
            for row, (embedding, rows, photo, of_photo) in enumerate(
                zip(embeddings, of_objects, items, views, strict=True)
            )
        ]

    def __call__(self, table: pa.Table) -> pa.Table:
        """See `PhotoStage`."""
        self.calls = []  # those of the probe, or of a batch that failed
        return super().__call__(table)

    def columns(self, table: pa.Table, outcomes: Outcomes[Encoded]) -> Mapping[str, pa.Array]:
        """See `PhotoStage`."""
        objects, photos = column_values(table, "objects"), outcomes.results
        detection = column_values(table, "seconds")
        sizes = [(None, None) if photo is None else photo.size for photo in photos]
        values: dict[str, Sequence[Any]] = {
            "width": [width for width, _ in sizes],
            "height": [height for _, height in sizes],
            "objects": objects,
            "largest_area": [largest_area(row) for row in objects],
            "device": [self.device.name if error is None else None for error in outcomes.errors],
            "dtype": [self.dtype if error is None else None for error in outcomes.errors],
            "seconds": [
                (before or 0.0) + (spent or 0.0) for before, spent in zip(detection, outcomes.seconds, strict=True)
            ],
            "truncated": [None if photo is None else photo.truncated for photo in photos],
            "taken": [None if photo is None else photo.taken for photo in photos],
        }
        if self.tokens_in is not None:
            name = self.tokens_in.write(table["image_id"].to_pylist(), self.calls) if self.calls else None
            values["tokens"] = [photo and {"file": name, "call": photo.call, "row": photo.row} for photo in photos]
        columns = {name: pa.array(column, self.types.field(name).type) for name, column in values.items()}
        number = self.types.field("embedding").type.value_type
        vectors = [None if photo is None else photo.embedding for photo in photos]
        columns["embedding"] = vectors_to_arrow(vectors, number)
        if self.with_objects:
            vectors = [None if photo is None else photo.object_embeddings for photo in photos]
            columns["object_embeddings"] = vectors_to_arrow(vectors, number)
        if self.multi.kinds:
            columns["views"] = views_to_arrow([None if photo is None else photo.views for photo in photos])
        return columns

    def _probe_vectors(self) -> npt.NDArray[np.float32]:
        """Unit vectors [P, V, D] of the probe photos, one by one, so that they do not depend on the batch."""
        vectors, dim = self.encoder.vectors, self.encoder.dim
        embeddings = [self.run([probe])[0].embedding[: vectors * dim] for probe in self.probes]
        return np.stack(embeddings).reshape(len(embeddings), vectors, dim)
