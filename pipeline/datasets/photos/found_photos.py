"""The photos that were found in a source: a `Listing` of single files, or `Shards` with many photos each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.datasets.photos.shard import Shard
from pipeline.datasets.photos.skipped import Skipped
from pipeline.io.photo_state import FILE_STATE

LISTING_SCHEMA = pa.schema([("image_id", pa.string()), ("uri", pa.string()), *FILE_STATE])
"""One photo in a file of its own. Size (bytes) and time of change are null if listing the source does not tell, and the
URI if the source has none."""
Kind = Literal["folder", "glob", "list file", "parquet of URIs", "parquet of bytes", "webdataset"]


class Item(NamedTuple):
    """A photo in a file of its own: `size` in bytes, `mtime` in microseconds since the epoch (UTC)."""

    image_id: str
    uri: str | None
    size: int | None = None
    mtime: int | None = None


@dataclass(frozen=True)
class Listing:
    """Photos in files of their own, in a fixed order.

    Attributes:
        kind: kind of source.
        source: the source as the user names it.
        items: iterates over the photos, walking through the source anew at every call.
        saved: a local Parquet file of `LISTING_SCHEMA` with the photos, if `save` has written one.
        rules: which photos may be read.
        skipped: what the last call of `items` left out.
    """

    kind: Kind
    source: str
    items: Callable[[], Iterator[Item]]
    saved: str | None = None
    rules: SourceRules = DEFAULT_RULES
    skipped: Skipped = field(default_factory=Skipped)

    def pairs(self) -> Iterator[tuple[str, str | None]]:
        """(image_id, uri) of each photo, by a new call of `items`."""
        return ((item.image_id, item.uri) for item in self.items())

    def batches(self, limit: int | None = None, rows: int = 65536) -> Iterator[pa.RecordBatch]:
        """Batches of `LISTING_SCHEMA`, with at most `limit` photos in all; from the saved file if there is one."""
        if self.saved is not None:
            yield from _first(pq.ParquetFile(self.saved).iter_batches(rows), limit)
            return
        items = islice(self.items(), limit)
        while chunk := list(islice(items, rows)):
            columns = zip(zip(*chunk, strict=True), LISTING_SCHEMA, strict=True)
            yield pa.record_batch([pa.array(values, column.type) for values, column in columns], LISTING_SCHEMA)

    def saved_items(self) -> Iterator[Item]:
        """The same as `items`, read from the saved file if there is one."""
        for batch in self.batches():
            states = (batch["size"].to_pylist(), batch["mtime"].cast(pa.int64()).to_pylist())
            yield from map(Item, batch["image_id"].to_pylist(), batch["uri"].to_pylist(), *states)

    def save(self, path: str, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the batches while saving them to a local file, to be used by `replace(self, saved=path)`."""
        with pq.ParquetWriter(path, LISTING_SCHEMA) as writer:
            for batch in self.batches(limit, 8192):  # small enough that a slow bucket shows progress
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
        kind: kind of source.
        source: the source as the user names it.
        shards: the tars or row groups.
        rules: which photos may be read.
        skipped: what was left out of the source.
    """

    kind: Kind
    source: str
    shards: tuple[Shard, ...]
    rules: SourceRules = DEFAULT_RULES
    skipped: Skipped = field(default_factory=Skipped)

    @property
    def count(self) -> int | None:
        """Number of photos in all shards, or None if only reading them would tell."""
        rows = [shard.rows for shard in self.shards]
        return None if None in rows else sum(row for row in rows if row is not None)
