"""The rows of a feature set that count, read like a pyarrow dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.features.files import FeatureFiles

if TYPE_CHECKING:
    from pyarrow.dataset import Expression


@dataclass(frozen=True)
class LiveRows:
    """A dataset without the removed rows.

    It has methods of `pyarrow.dataset.Dataset`, whose own filters cannot tell rows apart by their file. The caller has
    checked the files (`pipeline.io.parquet.check_tables`).

    Attributes:
        files: the features files.
        schema: the columns to read, null in files that lack them.
    """

    files: FeatureFiles
    schema: pa.Schema

    def to_batches(
        self, columns: Sequence[str] | None = None, filter: Expression | None = None, batch_size: int = 8192
    ) -> Iterator[pa.RecordBatch]:
        """The rows in batches, file after file.

        Raises:
            QpertError: a file is damaged.
        """
        import pyarrow.dataset as ds  # imports pandas as well, where that is installed

        options = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
        parquet = ds.ParquetFileFormat(default_fragment_scan_options=options)
        for names, removed in self._batches():
            paths = [self.files.path(name) for name in names]
            dataset = ds.dataset(paths, schema=self.schema, filesystem=self.files.folder.filesystem, format=parquet)
            kept = filter
            if removed is not None:
                live = ~pc.field("image_id").isin(removed)
                kept = live if filter is None else filter & live
            wanted = None if columns is None else list(columns)
            try:
                yield from dataset.scanner(columns=wanted, filter=kept, batch_size=batch_size).to_batches()
            except (OSError, ValueError, pa.ArrowException):
                for name in names:  # pyarrow does not say which of them failed
                    self.files.examine(name, whole=True)
                raise

    def to_table(self, columns: Sequence[str] | None = None, filter: Expression | None = None) -> pa.Table:
        """All rows at once."""
        names = self.schema.names if columns is None else columns
        schema = pa.schema([self.schema.field(name) for name in names])
        return pa.Table.from_batches(list(self.to_batches(columns, filter)), schema)

    def count_rows(self, filter: Expression | None = None) -> int:
        """The number of rows."""
        return sum(batch.num_rows for batch in self.to_batches(["image_id"], filter))

    def _batches(self) -> Iterator[tuple[list[str], pa.Array | None]]:
        """Files to read together, as (names, ids of removed rows): those with removed rows are read alone."""
        batch: list[str] = []
        for name in self.files.names:
            ids = self.files.removed.ids(name)
            if ids is None:
                batch.append(name)
                continue
            if batch:
                yield batch, None
                batch = []
            yield [name], ids
        if batch:
            yield batch, None
