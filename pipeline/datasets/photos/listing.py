"""The two shapes that the photos of a source have: named one by one, or in files of many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.datasets.photos.shards import Shard
from pipeline.datasets.photos.skipped import Skipped
from pipeline.io.photo_state import FILE_STATE

LISTING_SCHEMA = pa.schema([("image_id", pa.string()), ("uri", pa.string()), *FILE_STATE])
"""One photo that is a file of its own; its size in bytes and time of change are null where listing does not tell, and
its URI where the source has none."""
Kind = Literal["folder", "glob", "list file", "parquet of URIs", "parquet of bytes", "webdataset"]


class Item(NamedTuple):
    """A photo that is a file of its own: `size` in bytes, `mtime` in microseconds since the epoch (UTC)."""

    image_id: str
    uri: str | None
    size: int | None = None
    mtime: int | None = None


@dataclass(frozen=True)
class Listing:
    """Photos that are files of their own, in a fixed order.

    Attributes:
        items: makes them anew by every call.
        noted: a local Parquet file of `LISTING_SCHEMA` that holds them, where they were written down.
        rules: what may be read of them.
        skipped: what the last call of `items` left out.
    """

    kind: Kind
    source: str
    items: Callable[[], Iterator[Item]]
    noted: str | None = None
    rules: SourceRules = DEFAULT_RULES
    skipped: Skipped = field(default_factory=Skipped)

    def pairs(self) -> Iterator[tuple[str, str | None]]:
        """(image_id, uri), by a new call of `items`."""
        return ((item.image_id, item.uri) for item in self.items())

    def batches(self, limit: int | None = None, rows: int = 65536) -> Iterator[pa.RecordBatch]:
        """Batches of `LISTING_SCHEMA`, at most `limit` photos in all."""
        if self.noted is not None:
            yield from _first(pq.ParquetFile(self.noted).iter_batches(rows), limit)
            return
        items = islice(self.items(), limit)
        while chunk := list(islice(items, rows)):
            columns = zip(zip(*chunk, strict=True), LISTING_SCHEMA, strict=True)
            yield pa.record_batch([pa.array(values, column.type) for values, column in columns], LISTING_SCHEMA)

    def items_noted(self) -> Iterator[Item]:
        """The same as `items`, from where they were written down."""
        for batch in self.batches():
            states = (batch["size"].to_pylist(), batch["mtime"].cast(pa.int64()).to_pylist())
            yield from map(Item, batch["image_id"].to_pylist(), batch["uri"].to_pylist(), *states)

    def pairs_noted(self) -> Iterator[tuple[str, str | None]]:
        """(image_id, uri), from where they were written down."""
        return ((item.image_id, item.uri) for item in self.items_noted())

    def note(self, path: str, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """The same, written down in a local file on the way: `replace(self, noted=path)` has them then."""
        with pq.ParquetWriter(path, LISTING_SCHEMA) as writer:
            for batch in self.batches(limit, 8192):  # few enough that a slow bucket shows some progress
                writer.write_batch(batch)
                yield batch


def _first(batches: Iterator[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.slice(0, limit)
        if limit is not None:
            limit -= batch.num_rows
            if limit <= 0:
                return


@dataclass(frozen=True)
class Shards:
    """Files with many photos each.

    Attributes:
        rules: what may be read of them.
        skipped: what was left out beside them.
    """

    kind: Kind
    source: str
    shards: tuple[Shard, ...]
    rules: SourceRules = DEFAULT_RULES
    skipped: Skipped = field(default_factory=Skipped)

    @property
    def count(self) -> int | None:
        """Photos in all shards, or None when only reading them would tell."""
        rows = [shard.rows for shard in self.shards]
        return None if None in rows else sum(row for row in rows if row is not None)
