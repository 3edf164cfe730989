"""The read stage: from (image_id, uri) to the photo's bytes, or to the reason why it cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import Any

import pyarrow as pa
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from pipeline.datasets.photos.reading import read_named, read_photo
from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.datasets.photos.shard import Shard
from pipeline.datasets.photos.shard_reading import PHOTO_SCHEMA, count_photos, read_shard
from pipeline.datasets.photos.skipped import Skipped
from pipeline.errors import QpertError
from pipeline.io.locations import is_uri
from pipeline.io.photo_state import FILE_STATE, digest_of
from pipeline.io.storage_waits import listen
from pipeline.workers.reporting import Fetched, FilesSkipped, Reporter


def read_photos(listing: pa.Table, reporter: Reporter, rules: SourceRules = DEFAULT_RULES) -> pa.Table:
    """Rows of `PHOTO_SCHEMA` for rows of `LISTING_SCHEMA`."""
    listen(reporter.send)
    started = perf_counter()
    uris = listing["uri"].to_pylist()
    read_one = partial(_read, rules=rules)
    if any(uri is not None and is_uri(uri) for uri in uris):
        # A bucket answers slowly, but serves many requests at once.
        with ThreadPoolExecutor(min(16, len(uris))) as pool:
            read = list(pool.map(read_one, uris))
    else:
        read = list(map(read_one, uris))
    data = pa.array([photo if isinstance(photo, bytes) else None for photo in read], pa.large_binary())
    errors = pa.array([reason if isinstance(reason, str) else None for reason in read], pa.string())
    state = [
        listing[field.name].cast(field.type) if field.name in listing.column_names else pa.nulls(len(read), field.type)
        for field in FILE_STATE  # which the listing of re-ranking does not have
    ]
    digests = pa.array([digest_of(photo) if isinstance(photo, bytes) else None for photo in read], pa.string())
    columns = [listing["image_id"].cast(pa.string()), listing["uri"].cast(pa.string()), data, errors, *state, digests]
    reporter.send(Fetched(len(uris), perf_counter() - started, data.nbytes))
    return pa.Table.from_arrays(columns, schema=PHOTO_SCHEMA)


def _read(uri: str | None, rules: SourceRules) -> bytes | str:
    try:
        return read_photo(uri, rules)
    except QpertError as error:
        return str(error)


def _read_shard(
    shard: Shard, rows: int, limit: int | None, rules: SourceRules, reporter: Reporter
) -> Iterator[pa.Table]:
    listen(reporter.send)
    started, skipped = perf_counter(), Skipped()
    for table in read_shard(shard, rows, limit, rules, partial(read_named, rules=rules), skipped):
        reporter.send(Fetched(table.num_rows, perf_counter() - started, table["data"].nbytes))
        yield table
        started = perf_counter()
    if skipped:
        reporter.send(FilesSkipped(skipped))


class ShardSource(Datasource):  # type: ignore[misc]
    """Tars and Parquet files with bytes as a source for `ray.data.read_datasource`: one read task per shard.

    The rows carry `image_id` from the start, as Ray's checkpoint filter requires.
    """

    def __init__(
        self,
        shards: Iterable[Shard],
        rows: int,
        reporter: Reporter,
        limit: int | None = None,
        rules: SourceRules = DEFAULT_RULES,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shards, self.rows, self.reporter, self.limit = tuple(shards), rows, reporter, limit
        self.rules = rules

    def get_name(self) -> str:
        """The name of the operator in Ray's own logs."""
        return "Photos"

    def estimate_inmemory_data_size(self) -> int | None:
        """Unknown."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        """One task per shard, whatever the parallelism."""
        tasks = []
        left = self.limit
        for shard in self.shards:
            if left == 0:
                break
            rows = shard.rows if left is None else count_photos(shard, self.rules)
            size = rows if left is None or rows is None else min(rows, left)
            metadata = BlockMetadata(num_rows=size, size_bytes=None, input_files=(shard.path,), exec_stats=None)
            read = partial(_read_shard, shard, self.rows, size, self.rules, self.reporter)
            tasks.append(ReadTask(read, metadata, schema=PHOTO_SCHEMA))
            left = None if left is None or size is None else left - size
        return tasks
