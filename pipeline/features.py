"""Features on disk: the Parquet schema, the manifest, and opening what a run has written.

A feature set is a folder (or any pyarrow URI) with

    manifest.json            what made it: configuration, fingerprint, versions, vectors, dim, counts, state
    features/*.parquet       one row per photo
    checkpoint/FINGERPRINT/  which ids are committed; lets an interrupted run resume

The Parquet files hold plain Arrow types only, so that DuckDB, pandas and Polars read them without this package.
"""

from __future__ import annotations

import json
import posixpath
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast

import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import QpertError
from pipeline.storage import join, list_files, locate, write_atomically

FORMAT_VERSION = 1
Precision = Literal["float16", "float32"]

OBJECT_TYPE = pa.struct(
    [(name, pa.float32()) for name in ("x0", "y0", "x1", "y1")] + [("label", pa.string()), ("score", pa.float32())]
)


def features_schema(precision: str = "float16") -> pa.Schema:
    """The columns of ``features/*.parquet``, for any V (vectors per photo) and D (their length): see the manifest.

    Args:
        precision: ``float16`` or ``float32``; the latter for readers without half floats, such as Spark.

    Boxes are fractions (0..1) of the photo's width and height after its EXIF orientation; `largest_area` is a fraction
    of the photo and null without objects; `embedding` is V unit vectors of length D in one list of V * D numbers, and
    null when the photo failed, with the reason in `error`; `seconds` is the time spent on detection and encoding of
    this photo. The list is of variable size by its type only: pyarrow before 26, and so any pandas above it, cannot
    read a fixed-size one that has a null (apache/arrow issue 35692).
    """
    value = {"float16": pa.float16(), "float32": pa.float32()}[precision]
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
            ("seconds", pa.float32()),
        ]
    )


class Manifest(BaseModel):
    """``manifest.json``: what made a feature set, and how far it is."""

    model_config = ConfigDict(extra="ignore")

    format: int = FORMAT_VERSION
    state: Literal["running", "complete"] = "running"
    fingerprint: str
    identity: dict[str, Any] = Field(default_factory=dict, description="everything the fingerprint is made of")
    config: dict[str, Any] = Field(default_factory=dict, description="the configuration of the last run")
    encoder: dict[str, Any] = Field(default_factory=dict, description="name and weights")
    vectors: int | None = Field(None, description="V; unknown until the first encoder is up")
    dim: int | None = Field(None, description="D; unknown until the first encoder is up")
    precision: Precision = "float16"
    versions: dict[str, str] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict, description="photos, failed, objects")

    @classmethod
    def find(cls, out: str) -> Manifest | None:
        """The manifest of `out`, or None when there is none.

        Raises:
            QpertError: the file is damaged, or was written by a newer format.
        """
        filesystem, path = locate(join(out, "manifest.json"))
        try:
            with filesystem.open_input_stream(path) as stream:
                data = stream.read()
        except FileNotFoundError:
            return None
        try:
            manifest = cls.model_validate_json(data)
        except ValidationError as error:
            raise QpertError(f"{path} is damaged: {error.errors()[0]['msg']}") from error
        if manifest.format > FORMAT_VERSION:
            raise QpertError(f"{path} has format {manifest.format}; this version reads up to {FORMAT_VERSION}: upgrade")
        return manifest

    @classmethod
    def read(cls, out: str) -> Manifest:
        """The manifest of `out`; a QpertError when there is none."""
        manifest = cls.find(out)
        if manifest is None:
            raise QpertError(f"{out} holds no features (no manifest.json); make them: qpert index PHOTOS --out {out}")
        return manifest

    def write(self, out: str) -> None:
        """Replace the manifest of `out` in one step."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        write_atomically(join(out, "manifest.json"), text.encode() + b"\n")


@dataclass(frozen=True)
class FeatureSet:
    """The features of a folder, read in blocks; never all at once."""

    out: str
    manifest: Manifest
    vectors: int
    dim: int
    dataset: ds.Dataset

    @classmethod
    def open(cls, out: str) -> FeatureSet:
        """Open the features in `out`, a folder or URI.

        An unfinished run is opened with a warning, and shows only what is committed.

        Raises:
            QpertError: there is no manifest, no features, or they do not match the manifest.
        """
        manifest = Manifest.read(out)
        files = feature_files(out, manifest)
        if manifest.state == "running":
            warnings.warn(f"{out} is not finished; run the same qpert index again to complete it", stacklevel=2)
        if not files or manifest.vectors is None or manifest.dim is None:
            raise QpertError(f"{out} holds no features yet; run the same qpert index again to complete it")
        filesystem, _ = locate(out)
        found = pq.read_schema(files[0], filesystem=filesystem)
        if problem := _mismatch(found, manifest):
            raise QpertError(f"{files[0]} does not match {out}/manifest.json: {problem}")
        schema = pa.schema([found.field(name) for name in features_schema().names])
        dataset = ds.dataset(files, schema=schema, filesystem=filesystem, format="parquet")
        return cls(out=out, manifest=manifest, vectors=manifest.vectors, dim=manifest.dim, dataset=dataset)

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
        scanner = self.dataset.scanner(
            columns=None if columns is None else list(columns), filter=None if failed else _fine(), batch_size=rows
        )
        for batch in scanner.to_batches():
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
        """The unit vectors [n, V, D] of a block of n photos, float16 or float32 as stored, without a copy."""
        column = block.column("embedding")
        if column.null_count:
            raise ValueError("the block has photos without an embedding; iterate with failed=False")
        values = column.flatten().to_numpy(zero_copy_only=True)
        if len(values) != block.num_rows * self.vectors * self.dim:
            raise QpertError(f"{self.out} holds embeddings of other lengths than {self.vectors} x {self.dim}")
        return cast("npt.NDArray[Any]", values.reshape(block.num_rows, self.vectors, self.dim))


def feature_files(out: str, manifest: Manifest) -> list[str]:
    """Paths of the Parquet files of `out` that readers may trust, sorted, as its file system names them.

    A file may be half-written, or about to be taken back, until Ray's checkpoint has committed it; so of an unfinished
    run only the committed ones count: ``checkpoint/FINGERPRINT/NAME.parquet`` commits ``features/NAME-*.parquet``.
    """
    files = [str(info.path) for info in list_files(join(out, "features"), ".parquet") if info.size]
    if manifest.state == "complete":
        return files
    committed = {posixpath.basename(info.path) for info in list_files(checkpoint_path(out, manifest.fingerprint))}
    return [path for path in files if posixpath.basename(path).rpartition("-")[0] + ".parquet" in committed]


def checkpoint_path(out: str, fingerprint: str) -> str:
    """Where the committed ids of a run are kept."""
    return join(out, "checkpoint", fingerprint)


def count_rows(out: str, manifest: Manifest) -> dict[str, int]:
    """``photos``, ``failed`` and ``objects`` in the trusted files of `out`, read from two narrow columns."""
    filesystem, _ = locate(out)
    counts = {"photos": 0, "failed": 0, "objects": 0}
    for path in feature_files(out, manifest):
        with pq.ParquetFile(path, filesystem=filesystem) as file:
            table = file.read(columns=["error", "objects.list.element.score"])
        counts["photos"] += table.num_rows
        counts["failed"] += table.num_rows - table["error"].null_count
        counts["objects"] += pc.sum(pc.list_value_length(table["objects"])).as_py() or 0
    return counts


def feature_ids(out: str, manifest: Manifest) -> set[str]:
    """Every id in the trusted files of `out`, failed photos included."""
    filesystem, _ = locate(out)
    ids: set[str] = set()
    for path in feature_files(out, manifest):
        table = pq.read_table(path, columns=["image_id"], filesystem=filesystem)
        ids.update(str(name) for name in table["image_id"].to_pylist())
    return ids


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Lines ``name: old -> new`` for what differs between two identities, nested names joined by dots."""
    lines: list[str] = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            lines.append(f"{prefix}{name}: {before} -> {after}")
    return lines


def _fine() -> ds.Expression:
    return ds.field("error").is_null()


def _join(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _mismatch(found: pa.Schema, manifest: Manifest) -> str | None:
    for field in features_schema(manifest.precision):
        index = found.get_field_index(field.name)
        if index < 0:
            return f"it has no column {field.name}"
        kind = found.field(index).type
        if pa.types.is_fixed_size_list(kind) and kind.list_size == (manifest.vectors or 0) * (manifest.dim or 0):
            kind = pa.list_(kind.value_type)  # as other writers may have it
        # Parquet names the elements of a list its own way, so compare what the types hold.
        if not kind.equals(field.type) and str(kind) != str(field.type):
            return f"column {field.name} is {kind}, expected {field.type}"
    return None
