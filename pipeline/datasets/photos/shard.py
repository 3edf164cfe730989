"""Files that hold many photos each, webdataset tars and Parquet: their names, and the URIs of the photos in them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, NamedTuple
from urllib.parse import quote

from pyarrow import fs

from pipeline.datasets.photos.formats import TARS
from pipeline.datasets.photos.photo_columns import Columns
from pipeline.io.locations import as_uri, is_uri, locate, without_options

NamedPhoto = Callable[[str, str], tuple[str, bytes]]
"""Reads a photo that a table in some folder names by a path or URI: returns its URI and its encoded bytes."""


class Photo(NamedTuple):
    """One photo that was read, or the reason why it was not."""

    image_id: str
    uri: str
    data: bytes | None
    error: str | None


@dataclass(frozen=True)
class Shard:
    """One tar, or one row group of a Parquet file.

    Attributes:
        kind: kind of file.
        path: path or URI of the file.
        name: path of the file within the source.
        row_group: number of the row group in a Parquet file.
        first_row: number of the shard's first row in the file.
        rows: number of rows; None if only reading would tell. A file that cannot be read has one, with the reason.
        columns: columns to use of a Parquet file.
        size: size of the file, in bytes.
        mtime: when the file was last changed.
        error: why the file cannot be read.
    """

    kind: Literal["tar", "parquet"]
    path: str
    name: str
    row_group: int = 0
    first_row: int = 0
    rows: int | None = None
    columns: Columns | None = None
    size: int | None = None
    mtime: datetime | None = None
    error: str | None = None


def is_tar(path: str) -> bool:
    """Whether `path` has the name of a tar."""
    return without_options(path).lower().endswith(TARS)


def is_shard(path: str) -> bool:
    """Whether `path` has the name of a tar or a Parquet file."""
    return is_tar(path) or without_options(path).lower().endswith(".parquet")


def member_uri(path: str, name: str, number: int | None = None) -> str:
    """The URI of one photo in a shard: the shard's URI, ``#``, and a tar's member or ``column;row`` of a Parquet file.

    If a tar has several members of one name, the second has ``;2`` after its name, and so on.
    """
    return f"{as_uri(path)}#{quote(name)}" + ("" if number is None else f";{number}")


def with_file_states(shards: list[Shard]) -> list[Shard]:
    """`shards` with the size and time of change of their files, as far as the storage tells."""
    if not any(is_uri(shard.path) for shard in shards):
        return list(map(_with_file_state, shards))
    with ThreadPoolExecutor(16) as pool:  # buckets answer slowly
        return list(pool.map(_with_file_state, shards))


def _with_file_state(shard: Shard) -> Shard:
    filesystem, inner = locate(shard.path)
    try:
        info: fs.FileInfo = filesystem.get_file_info(inner)
    except (OSError, ValueError):
        return shard  # reading it will give the reason
    return replace(shard, size=info.size, mtime=info.mtime)
