"""The rows of an export, block by block: a photo or a vector each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import QpertError
from pipeline.exports.columns import ID, IMAGE_ID, PLACE, VECTOR, VIEW, chosen_columns, row_fields
from pipeline.exports.spec import DEFAULT_ROWS, ExportSpec
from pipeline.features.feature_set import FeatureSet
from pipeline.features.views import VIEWS_COLUMN
from pipeline.retrieval.similarity import bounded_blocks, unit

Ints = npt.NDArray[np.int64]
Vectors = npt.NDArray[Any]
_COUNTED_ROWS = 1 << 16


@dataclass(frozen=True)
class ExportRows:
    """What is exported of a feature set.

    Attributes:
        features: the set.
        columns: fields of the features beside the id; null where the set lacks them.
        per_vector: a row is a vector, not a photo.
        mean: the vectors of a photo become one, their mean.
        precision: of the vectors, ``float16`` or ``float32``.
        normalised: vectors are scaled to length 1 in single precision; otherwise they are those stored, bit for bit.
        with_vectors: the vectors are exported at all.
        limit: only the first so many photos.
    """

    features: FeatureSet
    columns: tuple[pa.Field, ...]
    per_vector: bool
    mean: bool
    precision: str
    normalised: bool
    with_vectors: bool = True
    limit: int | None = None

    @classmethod
    def of(cls, features: FeatureSet, spec: ExportSpec) -> ExportRows:
        """What `spec` says of an opened set.

        Raises:
            QpertError: an unknown column.
        """
        mean = spec.pool == "mean"
        rows = spec.rows or ("photo" if mean else DEFAULT_ROWS[spec.to])
        single = spec.precision == "float32" or spec.to == "faiss"
        return cls(
            features,
            tuple(chosen_columns(features, spec.columns)),
            per_vector=rows == "vector",
            mean=mean,
            precision="float32" if single else features.manifest.precision,
            normalised=single,
            with_vectors=spec.to != "csv" or spec.vectors,
            limit=spec.limit,
        )

    @property
    def vectors_per_row(self) -> int | None:
        """How many vectors a row has; None if rows differ, because photos have several views."""
        if self.per_vector or self.mean:
            return 1
        return None if self.features.manifest.multi else self.features.vectors

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of `batches`; the last, `vector`, is one vector of fixed length or a list of such."""
        several = bool(self.features.manifest.multi) and not self.mean
        fields = row_fields(self.columns, per_vector=self.per_vector, several_views=several)
        number = {"float16": pa.float16(), "float32": pa.float32()}[self.precision]
        vector = pa.list_(number, self.features.dim)
        last = pa.field(VECTOR, vector if self.vectors_per_row == 1 else pa.list_(vector))
        return pa.schema([*fields, last] if self.with_vectors else fields)

    @property
    def _views(self) -> list[str]:
        return [VIEWS_COLUMN.name] if self.features.manifest.multi else []

    def count(self) -> tuple[int, int]:
        """The numbers of photos and of their vectors, without reading vectors."""
        features, photos, vectors = self.features, 0, 0
        for block in self._limited(features.iter_blocks([IMAGE_ID, *self._views], _COUNTED_ROWS)):
            photos += block.num_rows
            vectors += int(vectors_per_photo(features, block).sum())
        return photos, photos if self.mean else vectors

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in blocks of about 32 MiB.

        Raises:
            QpertError: a vector is NaN, infinite or zero.
        """
        features, rows = self.features, 0
        stored = [field.name for field in self.columns if field.name in features.dataset.schema.names]
        columns = list(dict.fromkeys([IMAGE_ID, *stored, *self._views]))
        blocks = bounded_blocks(features, columns) if self.with_vectors else features.iter_blocks(columns)
        for block in self._limited(blocks):
            batch = self._batch(block, rows)
            rows += batch.num_rows
            yield batch

    def _limited(self, blocks: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        photos = 0
        for block in blocks:
            some = block if self.limit is None else block.slice(0, self.limit - photos)
            photos += some.num_rows
            yield some
            if photos == self.limit:
                return

    def _batch(self, block: pa.RecordBatch, first: int) -> pa.RecordBatch:
        made: dict[str, Any] = {}
        columns = block
        if self.with_vectors:
            made[VECTOR] = self._vector_column(block)
            columns = columns.drop_columns("embedding")
        if self.per_vector:
            lengths = vectors_per_photo(self.features, block)
            photos = np.repeat(np.arange(block.num_rows), lengths)
            places = np.arange(len(photos)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            made[PLACE] = pa.array(places.astype(np.int32))
            columns = columns.take(pa.array(photos))
        if VIEW in self.schema.names:
            made[VIEW] = self._view_of_each_vector(block)
        made[ID] = pa.array(np.arange(first, first + columns.num_rows))
        arrays = [
            made[field.name]
            if field.name in made
            else columns.column(field.name)
            if field.name in columns.schema.names
            else pa.nulls(columns.num_rows, field.type)
            for field in self.schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _view_of_each_vector(self, block: pa.RecordBatch) -> pa.Array:
        views = block.column(VIEWS_COLUMN.name).flatten()
        return views.take(pa.array(np.repeat(np.arange(len(views)), self.features.vectors)))

    def _vector_column(self, block: pa.RecordBatch) -> pa.Array:
        vectors, lengths = self._vectors(block)
        fixed = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), self.features.dim)
        if self.vectors_per_row == 1:
            return fixed
        return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)), fixed)

    def _vectors(self, block: pa.RecordBatch) -> tuple[Vectors, Ints]:
        """The vectors [m, D] of a block, photo after photo, and how many each photo has."""
        features = self.features
        stored, lengths = stored_vectors(features, block), vectors_per_photo(features, block)
        ids = block.column(IMAGE_ID)
        checked = unit(stored, f"{features.root}, photos {ids[0]} to {ids[-1]}")
        if self.mean:
            sums = np.add.reduceat(checked, np.cumsum(lengths) - lengths, axis=0)
            checked = unit(sums, f"the mean vectors of {features.root}, photos {ids[0]} to {ids[-1]}")
            return checked.astype(self.precision), np.ones(len(lengths), np.int64)
        return (checked if self.normalised else stored), lengths


def vectors_per_photo(features: FeatureSet, block: pa.RecordBatch) -> Ints:
    """How many vectors each photo of a block has; of a set with several views, the block holds the column `views`."""
    if not features.manifest.multi:
        return np.full(block.num_rows, features.vectors, np.int64)
    views: Ints = pc.list_value_length(block.column(VIEWS_COLUMN.name)).to_numpy(zero_copy_only=False).astype(np.int64)
    return views * features.vectors


def stored_vectors(features: FeatureSet, block: pa.RecordBatch) -> Vectors:
    """The vectors [m, D] of all photos of a block, bit for bit.

    Raises:
        QpertError: the lists do not have the length that the manifest and the views say.
    """
    vectors = features.embeddings(block)
    if not features.manifest.multi:
        return np.ascontiguousarray(vectors).reshape(-1, features.dim)
    each = features.vectors
    views = vectors_per_photo(features, block) // each
    numbers = pc.list_value_length(block.column("embedding")).to_numpy(zero_copy_only=False).astype(np.int64)
    if (numbers != (views - 1 + max(1, len(features.manifest.variants))) * each * features.dim).any():
        raise QpertError(f"{features.root} holds embeddings of other lengths than their views")
    # Photos with fewer views than others are filled up with vectors that they have already.
    own = np.arange(vectors.shape[1] // each) < views[:, None]
    return vectors.reshape(len(vectors), -1, each, features.dim)[own].reshape(-1, features.dim)
