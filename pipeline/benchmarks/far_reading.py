"""Reading alone of `qpert benchmark far`, a program of its own: `python -m pipeline.benchmarks.far_reading SOURCE`."""

from __future__ import annotations

import json
import sys
import time

import pyarrow as pa

from pipeline.datasets.photos.found_photos import Shards
from pipeline.datasets.photos.source import find_photos
from pipeline.stages.read import ShardSource, read_photos
from pipeline.workers.reporting import Reporter

BLOCK = 32
"""Photos of a block."""


def read(source: str) -> float:
    """Reads as the graph's reading tasks do, one after the other; returns photos/s without finding them."""
    found, reporter, count = find_photos(source), Reporter(), 0
    if isinstance(found, Shards):
        tables = (table for task in ShardSource(found.shards, BLOCK, reporter).get_read_tasks(1) for table in task())
    else:
        listing = pa.Table.from_batches(list(found.batches()))
        starts = range(0, listing.num_rows, BLOCK)
        tables = (read_photos(listing.slice(start, BLOCK), reporter, found.rules) for start in starts)
    started = time.monotonic()
    for table in tables:
        assert table["error"].null_count == table.num_rows, table["error"]
        count += table.num_rows
    return count / (time.monotonic() - started)


if __name__ == "__main__":
    print(json.dumps(read(sys.argv[1])))
