"""Parquet files as sources of photos, as captions and as features of others."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.datasets.captions.reading import read_captions
from pipeline.datasets.photos.found_photos import Shards
from pipeline.datasets.photos.parquet_shards import shard_ids
from pipeline.datasets.photos.reading import read_photo
from pipeline.datasets.photos.shard_reading import read_shard
from pipeline.datasets.photos.source import find_photos
from pipeline.errors import QpertError
from pipeline.io.parquet import read_table

_JPEG = b"\xff\xd8\xff" + bytes(range(60))


def _parquet(columns: dict[str, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **options)
    return file.getvalue()


SEEDS = [
    _parquet({"jpg": [_JPEG, None, b"x"], "id": ["a", "b", None]}, compression="none"),
    _parquet({"image": [{"bytes": _JPEG, "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}], "caption": ["x", "y"]}),
    _parquet({"url": ["a.jpg", None, "s3://b/c.jpg"], "caption": [["x"], ["y", "z"], []]}, row_group_size=2),
    _parquet({"URL": pa.array(["a.jpg"] * 9).dictionary_encode(), "TEXT": ["x"] * 9}, write_page_checksum=True),
    _parquet({"image": pa.array([list(_JPEG)] * 2, pa.list_(pa.uint8()))}, use_dictionary=False, compression="zstd"),
    _parquet({"a": pa.array([{"b": {"c": [1, 2]}}] * 3), "file_name": ["a", "b", "c"]}, data_page_version="2.0"),
    _parquet({"jpg": pa.array([_JPEG] * 3, pa.binary(63)), "n": [1, 2, 3]}, compression="gzip"),
]


def run_one(data: bytes) -> None:
    """Read a Parquet file that holds `data`."""
    with TemporaryDirectory() as folder:
        path = str(Path(folder, "t.parquet"))
        Path(path).write_bytes(data)
        with suppress(QpertError):
            read_captions(path)
        with suppress(QpertError):
            read_table(path)
        with suppress(QpertError):
            photos = find_photos(path)
            if not isinstance(photos, Shards):
                for batch in photos.batches():
                    assert batch["image_id"].null_count == 0
                return
            for shard in photos.shards:
                if (shard.rows or 0) > 1000:
                    continue  # a number that a file states may be any
                ids = shard_ids(shard)
                rows = [row for table in read_shard(shard, 2) for row in table.to_pylist()]
                assert [row["image_id"] for row in rows] == ids
                assert all((row["data"] is None) != (row["error"] is None) for row in rows)
                for row in rows[:1]:
                    with suppress(QpertError):
                        read_photo(row["uri"])
