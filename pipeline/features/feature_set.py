"""An opened feature set: its rows, ids and embeddings, read in blocks."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import QpertError
from pipeline.features.damage import rows_too_many
from pipeline.features.files import FEATURES, FeatureFiles
from pipeline.features.joined_rows import JoinedRows
from pipeline.features.live_rows import LiveRows
from pipeline.features.manifest import Manifest
from pipeline.features.parts import files_of, part_folders
from pipeline.features.schema import known_columns, mismatch
from pipeline.features.views import chosen_groups, padded, vector_groups
from pipeline.io.locations import Folder
from pipeline.io.parquet import check_tables

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

_FINE = pc.field("error").is_null()


@dataclass(frozen=True)
class FeatureSet:
    """The features of a folder, read in blocks, never all at once.

    Attributes:
        folder: where they are.
        manifest: how they were made.
        vectors: V, vectors per photo.
        dim: D, their length.
        dataset: the rows that count, of this set or of several; an in-memory dataset for features from elsewhere.
        variant: index of the embedding, if the photos have several.
    """

    folder: Folder
    manifest: Manifest
    vectors: int
    dim: int
    dataset: LiveRows | JoinedRows | Dataset
    variant: int = 0

    @classmethod
    def open(cls, root: str | Folder, variant: str | None = None) -> FeatureSet:
        """Open what a run has written.

        An unfinished run is opened with a warning, and shows only what is committed.

        Args:
            root: path or URI of the feature set.
            variant: name of the embedding, if the photos have several (`Manifest.variants`).

        Raises:
            QpertError: there is no manifest, no features or no such variant; files are lost or damaged, or do not match
                the manifest.
        """
        folder = Folder.open(root)
        manifest = Manifest.read(folder)
        if (variant or "") not in (manifest.variants or [""]):
            variants = "; ".join(manifest.variants) or "one embedding of each photo, without a name"
            problem = f"no variant {variant!r}" if variant else "several variants"
            raise QpertError(f"{folder.root} has {problem}; it has: {variants}")
        files = files_of(folder, manifest)
        files.check_complete()
        if manifest.state == "running":
            unfinished = f"; {manifest.parts_text()}" if manifest.parts else ""
            again = "run the same qpert index again to complete it"
            warnings.warn(f"{folder.root} is not finished{unfinished}; {again}", stacklevel=2)
        elif (more := rows_too_many(_expected_rows(files), manifest.counts.get("photos"))) is not None:
            warnings.warn(f"{folder.root}: {more}; run the same qpert index again, which corrects this", stacklevel=2)
        if not files.names and manifest.state == "complete":
            raise QpertError(f"{folder.root} holds no photos: the source had none when it was indexed")
        if not files.names or manifest.vectors is None or manifest.dim is None:
            raise QpertError(f"{folder.root} holds no features yet; run the same qpert index again to complete it")
        for part in part_folders(folder, manifest).values():
            check_tables(part.subfolder(FEATURES))
        _open_unnoted(files)
        with files.opened(files.names[0]) as file:
            schema = file.schema_arrow
        if difference := mismatch(schema, manifest):
            raise QpertError(f"{files.path(files.names[0])} does not match {folder.root}/manifest.json: {difference}")
        rows = LiveRows(files, known_columns(schema))
        index = 0 if variant is None else manifest.variants.index(variant)
        return cls(folder, manifest, manifest.vectors, manifest.dim, rows, index)

    @property
    def root(self) -> str:
        """The path or URI as the user wrote it, for messages."""
        return self.folder.root

    def __len__(self) -> int:
        """The number of photos that have an embedding."""
        return int(self.dataset.count_rows(filter=_FINE))

    @cached_property
    def ids(self) -> list[str]:
        """Ids of the photos that have an embedding, in the order of `iter_blocks`."""
        return [str(name) for block in self.iter_blocks(["image_id"]) for name in block.column("image_id").to_pylist()]

    @cached_property
    def failures(self) -> dict[str, str]:
        """Photo id -> reason, for the photos without an embedding."""
        table = self.dataset.to_table(columns=["image_id", "error"], filter=~_FINE)
        return dict(zip(table["image_id"].to_pylist(), table["error"].to_pylist(), strict=True))

    def iter_blocks(
        self, columns: Sequence[str] | None = None, rows: int = 8192, *, failed: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Blocks of `rows` photos (the last one shorter), always in the same order.

        Args:
            columns: to read; None for all.
            rows: photos per block.
            failed: include photos that failed; their embedding is null.
        """
        batches: list[pa.RecordBatch] = []
        count = 0
        wanted = None if columns is None else list(columns)
        for batch in self.dataset.to_batches(columns=wanted, filter=None if failed else _FINE, batch_size=rows):
            while count + batch.num_rows >= rows:
                batches.append(batch.slice(0, rows - count))
                yield _join(batches)
                batch, batches, count = batch.slice(rows - count), [], 0
            if batch.num_rows:
                batches.append(batch)
                count += batch.num_rows
        if batches:
            yield _join(batches)

    def embeddings(self, block: pa.RecordBatch) -> npt.NDArray[Any]:
        """The unit vectors [n, V, D] of a block of n photos, float16 or float32 as stored; not a copy.

        Of a set with further views of each photo (`Manifest.multi`), the vectors [n, W, D] of all views, W = V times
        the most views of a photo in the block; photos with fewer are filled up with their own vectors.

        Raises:
            QpertError: the lists do not have the length that the manifest says.
        """
        if self.manifest.multi:
            return self.view_embeddings(block)
        column = _embedding(block)
        values = column.flatten().to_numpy(zero_copy_only=True)
        shape = block.num_rows, max(1, len(self.manifest.variants)), self.vectors, self.dim
        if len(values) != math.prod(shape):
            raise QpertError(f"{self.root} holds embeddings of another length than {' x '.join(map(str, shape[1:]))}")
        return cast("npt.NDArray[Any]", values.reshape(shape)[:, self.variant])

    def view_embeddings(self, block: pa.RecordBatch, kinds: Sequence[str] | None = None) -> npt.NDArray[Any]:
        """The vectors [n, W, D] of some views of each photo, W = V times the most of them in the block.

        Photos with fewer are filled up with vectors of their own, which are chosen as well or, where a photo has no
        view of these kinds, its vectors as a whole.

        Args:
            block: read with the columns `embedding` and, if kinds are named, `views`.
            kinds: of `pipeline.features.views.VIEWS`; None for all views, the whole photo first.

        Raises:
            QpertError: the lists do not have the length that the manifest and the views say.
        """
        column, variants = _embedding(block), max(1, len(self.manifest.variants))
        values = column.flatten().to_numpy(zero_copy_only=True)
        try:
            firsts, counts = vector_groups(column, self.vectors * self.dim)
            further = counts - variants
            if (further < 0).any():
                raise ValueError("fewer vectors than variants")
            wholes = firsts + self.variant
            if kinds is None:
                groups = padded(wholes, firsts + variants, further)
                groups = np.concatenate([wholes[:, None], groups], axis=1)
            else:
                groups = chosen_groups(block.column("views"), kinds, wholes, firsts + variants, further)
        except ValueError as error:
            raise QpertError(f"{self.root} holds embeddings of other lengths than their views") from error
        taken = values.reshape(-1, self.vectors, self.dim)[groups]
        return cast("npt.NDArray[Any]", taken.reshape(len(groups), -1, self.dim))

    def object_embeddings(self, block: pa.RecordBatch) -> list[npt.NDArray[Any]]:
        """The unit vectors [objects, V, D] of each photo of a block read with the column `object_embeddings`."""
        column = block.column("object_embeddings")
        values = column.flatten().to_numpy(zero_copy_only=True).reshape(-1, self.vectors, self.dim)
        ends = np.cumsum(pc.list_value_length(column).to_numpy()) // (self.vectors * self.dim)
        return np.split(values, ends[:-1])


def _embedding(block: pa.RecordBatch) -> pa.Array:
    column = block.column("embedding")
    if column.null_count:
        raise ValueError("the block has photos without an embedding; iterate with failed=False")
    return column


def _join(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _expected_rows(files: FeatureFiles) -> int | None:
    """Rows that count by the ledger and the marks, without reading any; None if a file is not in the ledger."""
    rows = 0
    for name in files.names:
        note, marks = files.note(name), files.removed.by_file.get(name)
        if note is None:
            return None
        rows += note.rows - (0 if marks is None else int(marks.num_rows))
    return rows


def _open_unnoted(files: FeatureFiles) -> None:
    """Open the files that count but are not in the ledger, so that damaged and foreign ones are found at once."""

    def check(name: str) -> None:
        with files.opened(name):
            pass

    deque(files.map(check, [name for name in files.names if files.note(name) is None]), maxlen=0)
