"""The rows of a feature set that count, read as pyarrow reads a dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset as ds

from pipeline.features.store import FeatureStore

_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


@dataclass(frozen=True)
class LiveRows:
    """A dataset whose removed rows are left out.

    Its methods are those of `pyarrow.dataset.Dataset`; no filter of pyarrow's can tell rows apart by their file.
    Whoever makes one has let the files pass the gate (`pipeline.io.parquet`).

    Attributes:
        store: the files.
        schema: the columns that are read, null in files that lack them.
    """

    store: FeatureStore
    schema: pa.Schema

    def to_batches(
        self, columns: Sequence[str] | None = None, filter: ds.Expression | None = None, batch_size: int = 8192
    ) -> Iterator[pa.RecordBatch]:
        """The rows in batches, file after file.

        Raises:
            QpertError: a file is damaged.
        """
        for names, removed in self._runs():
            files = [self.store.path(name) for name in names]
            dataset = ds.dataset(files, schema=self.schema, filesystem=self.store.filesystem, format=_FORMAT)
            kept = filter
            if removed is not None:
                live = ~ds.field("image_id").isin(removed)
                kept = live if filter is None else filter & live
            wanted = None if columns is None else list(columns)
            try:
                yield from dataset.scanner(columns=wanted, filter=kept, batch_size=batch_size).to_batches()
            except (OSError, ValueError, pa.ArrowException):
                for name in names:  # pyarrow does not say which of them it was
                    self.store.look(name, whole=True)
                raise

    def to_table(self, columns: Sequence[str] | None = None, filter: ds.Expression | None = None) -> pa.Table:
        """All of them at once."""
        names = self.schema.names if columns is None else columns
        schema = pa.schema([self.schema.field(name) for name in names])
        return pa.Table.from_batches(list(self.to_batches(columns, filter)), schema)

    def count_rows(self, filter: ds.Expression | None = None) -> int:
        """How many there are."""
        return sum(batch.num_rows for batch in self.to_batches(["image_id"], filter))

    def _runs(self) -> Iterator[tuple[list[str], pa.Array | None]]:
        """Files one after the other, those without removed rows many at once: (names, ids of removed rows)."""
        run: list[str] = []
        for name in self.store.names:
            ids = self.store.removed.ids(name)
            if ids is None:
                run.append(name)
                continue
            if run:
                yield run, None
                run = []
            yield [name], ids
        if run:
            yield run, None
