"""Reading the photos of a shard, tar or Parquet, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pyarrow as pa

from pipeline.datasets.photos.parquet_shards import parquet_photos
from pipeline.datasets.photos.rules import SourceRules
from pipeline.datasets.photos.shard import NamedPhoto, Photo, Shard
from pipeline.datasets.photos.skipped import Skipped
from pipeline.datasets.photos.tars import tar_photos
from pipeline.io.photo_state import PHOTO_STATE, digest_of

PHOTO_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("data", pa.large_binary()),
        ("error", pa.string()),
        *PHOTO_STATE,
    ]
)
"""The result of reading any source: the encoded bytes of each photo, or null and the reason."""


def count_photos(shard: Shard, rules: SourceRules | None = None) -> int:
    """Number of photos in a shard; a tar is read to count them."""
    if shard.rows is not None:
        return shard.rows
    return sum(1 for _ in tar_photos(shard.path, shard.name, rules or SourceRules()))


def read_shard(
    shard: Shard,
    rows: int,
    limit: int | None = None,
    rules: SourceRules | None = None,
    named: NamedPhoto | None = None,
    skipped: Skipped | None = None,
) -> Iterator[pa.Table]:
    """Yield tables of `PHOTO_SCHEMA` with at most `rows` photos each, and at most `limit` in all.

    A damaged shard yields the photos before the damage, and then rows with the reason.

    Args:
        shard: the tar or row group to read.
        rows: photos per table.
        limit: photos in all.
        rules: which members of a tar are photos, and how large a photo may be.
        named: reads photos that rows name instead of holding them; None leaves such rows without a photo.
        skipped: counts members of a tar that are not photos.
    """
    rules = rules or SourceRules()
    if shard.kind == "tar":
        photos = tar_photos(shard.path, shard.name, rules, skipped)
    else:
        photos = parquet_photos(shard, rules, named)
    photos = islice(photos, limit)
    while batch := list(islice(photos, rows)):
        yield _table(batch, shard)


def _table(photos: list[Photo], shard: Shard) -> pa.Table:
    ids, uris, data, errors = zip(*photos, strict=True)
    sizes = [None if photo is None else len(photo) for photo in data]
    digests = [None if photo is None else digest_of(photo) for photo in data]
    columns = (ids, uris, data, errors, sizes, [shard.mtime] * len(photos), digests)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, PHOTO_SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=PHOTO_SCHEMA)
