"""Features on disk: the Parquet schema, the manifest, and opening what a run has written.

A feature set is a folder (or any pyarrow URI) with

    manifest.json            what made it, see pipeline/features/manifest.py
    features/*.parquet       one row per photo
    committed.json           which of these files count, see pipeline/features/ledger.py
    removed/, seen/          rows that count no more, and other small marks, see pipeline/features/marks.py
    checkpoint/FINGERPRINT/  what Ray has committed; lets an interrupted run resume

The Parquet files hold plain Arrow types only, so that DuckDB, pandas and Polars read them without this package.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from pipeline.errors import QpertError
from pipeline.features.damage import AGAIN, lost_files, rows_too_many
from pipeline.features.damage import checkpoint_path as checkpoint_path
from pipeline.features.live_rows import LiveRows
from pipeline.features.manifest import Manifest
from pipeline.features.store import FeatureStore
from pipeline.io.locations import join
from pipeline.io.parquet import check_tables
from pipeline.io.photo_state import PHOTO_STATE

OBJECT_TYPE = pa.struct(
    [(name, pa.float32()) for name in ("x0", "y0", "x1", "y1")] + [("label", pa.string()), ("score", pa.float32())]
)

_FURTHER = ("object_embeddings", "tokens")  # columns that some feature sets have beside
_LATER = ("dtype", *(field.name for field in PHOTO_STATE), "truncated")  # columns that the first feature sets have not


def features_schema(precision: str = "float16", *, with_objects: bool = False) -> pa.Schema:
    """The columns of ``features/*.parquet``, for any V (vectors per photo) and D (their length): see the manifest.

    Args:
        precision: ``float16`` or ``float32``; the latter for readers without half floats, such as Spark.
        with_objects: with the column `object_embeddings`: V vectors for each object that the encoder sees, in one list.

    Boxes are fractions (0..1) of the photo's width and height after its EXIF orientation; `largest_area` is a fraction
    of the photo and null without objects; `embedding` is V unit vectors of length D in one list of V * D numbers, and
    null when the photo failed, with the reason in `error`; `device` and `dtype` are where and in which number format it
    was made; `seconds` is the time spent on detection and encoding of this photo; `size`, `mtime` and `digest` tell
    whether it has changed since; `truncated` marks a photo of which only a part could be decoded, where that is
    allowed. The list of `embedding` is of variable size by type only: pyarrow before 26 cannot
    read a fixed-size one with a null.
    """
    value = {"float16": pa.float16(), "float32": pa.float32()}[precision]
    further = [("object_embeddings", pa.list_(value))] if with_objects else []
    return pa.schema(
        [
            ("image_id", pa.string()),
            ("uri", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("objects", pa.list_(OBJECT_TYPE)),
            ("largest_area", pa.float32()),
            ("embedding", pa.list_(value)),
            ("error", pa.string()),
            ("device", pa.string()),
            ("dtype", pa.string()),
            ("seconds", pa.float32()),
            *PHOTO_STATE,
            ("truncated", pa.bool_()),
            *further,
        ]
    )


@dataclass(frozen=True)
class FeatureSet:
    """The features of a folder, read in blocks; never all at once.

    Attributes:
        dataset: the rows that count; an in-memory dataset where they come from elsewhere.
        variant: number of the embedding, where the photos have several.
    """

    out: str
    manifest: Manifest
    vectors: int
    dim: int
    dataset: LiveRows | ds.Dataset
    variant: int = 0

    @classmethod
    def open(cls, out: str, variant: str | None = None) -> FeatureSet:
        """Open the features in `out`, a folder or URI.

        An unfinished run is opened with a warning, and shows only what is committed.

        Args:
            out: what a run wrote.
            variant: which embedding, where the photos have several (`Manifest.variants`).

        Raises:
            QpertError: there is no manifest, no features, no such variant, files are lost or damaged, or they do not
                match the manifest.
        """
        manifest = Manifest.read(out)
        if (variant or "") not in (manifest.variants or [""]):
            there = "; ".join(manifest.variants) or "one embedding of each photo, without a name"
            raise QpertError(
                f"{out} has {f'no variant {variant!r}' if variant else 'several variants'}; it has: {there}"
            )
        store = _opened(out, manifest)
        if manifest.state == "running":
            warnings.warn(f"{out} is not finished; run the same qpert index again to complete it", stacklevel=2)
        elif (more := rows_too_many(store.expected(), manifest.counts.get("photos"))) is not None:
            warnings.warn(f"{out}: {more}; run the same qpert index again, which puts it right", stacklevel=2)
        if not store.names and manifest.state == "complete":
            raise QpertError(f"{out} holds no photos: the source had none when it was indexed")
        if not store.names or manifest.vectors is None or manifest.dim is None:
            raise QpertError(f"{out} holds no features yet; run the same qpert index again to complete it")
        check_tables(join(out, "features"))
        store.check_unnoted()
        with store.opened(store.names[0]) as file:
            found = file.schema_arrow
        if problem := _mismatch(found, manifest):
            raise QpertError(f"{store.path(store.names[0])} does not match {out}/manifest.json: {problem}")
        known = [name for name in (*features_schema().names, *_FURTHER) if name in found.names]
        schema = pa.schema([found.field(name) for name in known])
        number = manifest.variants.index(variant) if variant is not None else 0
        return cls(out, manifest, manifest.vectors, manifest.dim, LiveRows(store, schema), number)

    def __len__(self) -> int:
        """Photos that have an embedding."""
        return int(self.dataset.count_rows(filter=_fine()))

    @cached_property
    def ids(self) -> list[str]:
        """Ids of the photos that have an embedding, in the order of `iter_blocks`."""
        return [str(name) for block in self.iter_blocks(["image_id"]) for name in block.column("image_id").to_pylist()]

    @cached_property
    def failures(self) -> dict[str, str]:
        """Photo id -> reason, of the photos that have no embedding."""
        table = self.dataset.to_table(columns=["image_id", "error"], filter=~_fine())
        return dict(zip(table["image_id"].to_pylist(), table["error"].to_pylist(), strict=True))

    def iter_blocks(
        self, columns: Sequence[str] | None = None, rows: int = 8192, *, failed: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Blocks of `rows` photos (the last one shorter), always in the same order.

        Args:
            columns: the columns to read; None for all.
            rows: photos per block.
            failed: include photos that failed; their embedding is null.
        """
        waiting: list[pa.RecordBatch] = []
        count = 0
        wanted = None if columns is None else list(columns)
        for batch in self.dataset.to_batches(columns=wanted, filter=None if failed else _fine(), batch_size=rows):
            while count + batch.num_rows >= rows:
                waiting.append(batch.slice(0, rows - count))
                yield _join(waiting)
                batch, waiting, count = batch.slice(rows - count), [], 0
            if batch.num_rows:
                waiting.append(batch)
                count += batch.num_rows
        if waiting:
            yield _join(waiting)

    def embeddings(self, block: pa.RecordBatch) -> npt.NDArray[Any]:
        """The unit vectors [n, V, D] of a block of n photos, float16 or float32 as stored, without a copy.

        Raises:
            QpertError: lists of other lengths than the manifest says.
        """
        column = block.column("embedding")
        if column.null_count:
            raise ValueError("the block has photos without an embedding; iterate with failed=False")
        values = column.flatten().to_numpy(zero_copy_only=True)
        shape = block.num_rows, max(1, len(self.manifest.variants)), self.vectors, self.dim
        if len(values) != math.prod(shape):
            raise QpertError(f"{self.out} holds embeddings of other lengths than {' x '.join(map(str, shape[1:]))}")
        return cast("npt.NDArray[Any]", values.reshape(shape)[:, self.variant])

    def object_embeddings(self, block: pa.RecordBatch) -> list[npt.NDArray[Any]]:
        """The unit vectors [objects, V, D] of each photo of a block read with the column `object_embeddings`."""
        column = block.column("object_embeddings")
        values = column.flatten().to_numpy(zero_copy_only=True).reshape(-1, self.vectors, self.dim)
        ends = np.cumsum(pc.list_value_length(column).to_numpy()) // (self.vectors * self.dim)
        return np.split(values, ends[:-1])


def feature_files(out: str, manifest: Manifest) -> list[str]:
    """Paths of the Parquet files of `out` that readers may trust, as its file system names them; not the lost ones."""
    store = FeatureStore.open(out, manifest.fingerprint, complete=manifest.state == "complete")
    return [store.path(name) for name in store.names]


def committed_files(out: str, fingerprint: str) -> list[str]:
    """The files in `out`/features that are committed, as its file system names them."""
    store = FeatureStore.open(out, fingerprint)
    return [store.path(name) for name in store.names]


def count_rows(out: str, manifest: Manifest) -> dict[str, int]:
    """``photos``, ``failed`` and ``objects`` that count in `out`.

    Raises:
        QpertError: files are lost or damaged.
    """
    return _opened(out, manifest).counts()


def iter_feature_ids(out: str, manifest: Manifest) -> Iterator[list[str]]:
    """The ids in `out`, failed photos included, file by file; files that are lost are left out."""
    store = FeatureStore.open(out, manifest.fingerprint, complete=manifest.state == "complete")
    for _, table in store.tables([]):
        yield list(map(str, table["image_id"].to_pylist()))


def feature_ids(out: str, manifest: Manifest) -> set[str]:
    """All of them."""
    return {name for ids in iter_feature_ids(out, manifest) for name in ids}


def _opened(out: str, manifest: Manifest) -> FeatureStore:
    store = FeatureStore.open(out, manifest.fingerprint, complete=manifest.state == "complete")
    if store.damages:
        raise QpertError(f"{lost_files(out, store.damages, len(store.names) + len(store.damages))}\n       {AGAIN}")
    return store


def _fine() -> ds.Expression:
    return ds.field("error").is_null()


def _join(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _mismatch(found: pa.Schema, manifest: Manifest) -> str | None:
    for field in features_schema(manifest.precision):
        index = found.get_field_index(field.name)
        if index < 0 and field.name in _LATER:
            continue
        if index < 0:
            return f"it has no column {field.name}"
        kind = found.field(index).type
        if pa.types.is_fixed_size_list(kind) and kind.list_size == (manifest.vectors or 0) * (manifest.dim or 0):
            kind = pa.list_(kind.value_type)  # as other writers may have it
        # Parquet names the elements of a list its own way, so compare what the types hold.
        if not kind.equals(field.type) and str(kind) != str(field.type):
            return f"column {field.name} is {kind}, expected {field.type}"
    return None
