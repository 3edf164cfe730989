"""Files that hold many photos: webdataset tars, and Parquet with a column of bytes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal
from urllib.parse import unquote

import pyarrow as pa
from pyarrow import fs

from pipeline.datasets.photos.formats import TARS
from pipeline.datasets.photos.housekeeping import housekeeping_in
from pipeline.datasets.photos.parquet import find_columns, read_photos, read_row, read_texts, row_groups
from pipeline.datasets.photos.photo_columns import Columns
from pipeline.datasets.photos.rules import SourceRules
from pipeline.datasets.photos.skipped import Skipped
from pipeline.datasets.photos.tars import Photo, is_tar, key_with_several_images, member_uri, tar_member, tar_photos
from pipeline.errors import QpertError
from pipeline.io.locations import is_uri, locate, split, without_options
from pipeline.io.parquet import DamagedTable
from pipeline.io.photo_state import PHOTO_STATE, digest_of

__all__ = ["TARS", "member_uri"]

PHOTO_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("data", pa.large_binary()),
        ("error", pa.string()),
        *PHOTO_STATE,
    ]
)
"""What reading gives, whatever the source: the encoded bytes, or null and the reason."""

NamedPhoto = Callable[[str, str], tuple[str, bytes]]
"""Reads a photo that a table in some folder names by a path or URI: its place, and its encoded bytes."""
_NO_BYTES = "no bytes in this row"


@dataclass(frozen=True)
class Shard:
    """One tar, or one row group of a Parquet file.

    Attributes:
        kind: of the file.
        path: of the file.
        name: its path within the source.
        row_group: of a Parquet file.
        first_row: number of its first row in the file.
        rows: how many; None where only reading would tell. A file that cannot be read has one, with the reason.
        columns: of a Parquet file.
        size: of the file, in bytes.
        mtime: when it was changed last.
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


def tar_shards(files: Mapping[str, str], rules: SourceRules | None = None) -> tuple[Shard, ...]:
    """One shard per tar. Warns where the first has several images of one key and `rules` do not say which to take.

    Args:
        files: names within the source -> paths.
        rules: what is a photo.
    """
    shards = tuple(_with_state([Shard("tar", path, name) for name, path in files.items()]))
    several = key_with_several_images(shards[0].path) if shards and not (rules or SourceRules()).image_key else None
    if several:
        warnings.warn(
            f"{shards[0].name} has several images of one key: {several[0]} and {several[1]}; all of them are indexed as"
            f" photos. --image-key {several[0].partition('.')[2]} takes one of each",
            stacklevel=3,
        )
    return shards


def table_shards(files: Mapping[str, str], wanted: Columns) -> tuple[Columns, tuple[Shard, ...]]:
    """The columns of a Parquet source, and one shard per row group.

    A file that cannot be read becomes a shard of one row that says why, unless none of them can.

    Args:
        files: names within the source -> paths.
        wanted: columns that were asked for.

    Raises:
        QpertError: a file lacks a column, or has one of another type; no file can be read.
    """
    columns = find_columns(list(files.values()), wanted)
    shards: list[Shard] = []
    damaged: list[DamagedTable] = []
    for shard in _with_state([Shard("parquet", path, name, columns=columns) for name, path in files.items()]):
        try:
            groups = row_groups(shard.path, columns, shard.size or 0)
        except DamagedTable as error:
            damaged.append(error)
            shards.append(replace(shard, rows=1, error=str(error)))
            continue
        first = 0
        for group, rows in enumerate(groups):
            shards.append(replace(shard, row_group=group, first_row=first, rows=rows))
            first += rows
    if len(damaged) == len(files):
        raise damaged[0]
    return columns, tuple(shards)


def table_places(shards: Iterable[Shard], skipped: Skipped | None = None) -> Iterator[tuple[Shard, str, str | None]]:
    """(shard, image_id, path or URI) of the rows of a Parquet source that names photos.

    The id is the path or URI where there is no column of ids. A row without a path, or without the id that it should
    have, has None for the path and an id by its number, as a file that cannot be read has its name. Relative paths of
    files that systems keep for themselves are left out and counted in `skipped`.
    """
    for shard in shards:
        if shard.error is not None:
            yield shard, shard.name, None
            continue
        row = shard.first_row
        try:
            for ids, places in _ids_and_places(shard):
                for image_id, place in zip(ids, places, strict=True):
                    reason = place and not is_uri(place) and not place.startswith(("/", "~")) and housekeeping_in(place)
                    if reason and skipped is not None:
                        skipped.add(reason, place or "")
                    if not reason:
                        complete = image_id is not None and place is not None
                        yield shard, image_id or f"{shard.name}#{row}", _slashed(place or "") if complete else None
                    row += 1
        except DamagedTable:
            pass
        if row < shard.first_row + (shard.rows or 0):  # damaged, or cut short without a word: one row for the rest
            yield shard, f"{shard.name}#{row}", None


def shard_ids(shard: Shard) -> list[str]:
    """The ids of a Parquet shard, without reading its photos; by its number for a row that has none."""
    return [image_id or numbered for image_id, numbered in _row_ids(shard)]


def count_photos(shard: Shard, rules: SourceRules | None = None) -> int:
    """Photos in a shard; a tar is read for it."""
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
    """Tables of `PHOTO_SCHEMA` with at most `rows` photos each, at most `limit` in all.

    A shard that breaks off gives what it has, and one row more that carries the shard's own name and the reason.

    Args:
        shard: what to read.
        rows: photos per table.
        limit: photos in all.
        rules: what is a photo.
        named: reads photos that rows name instead of holding them; None leaves such rows without a photo.
        skipped: is told of members of a tar that are no photos.
    """
    rules = rules or SourceRules()
    if shard.kind == "tar":
        photos = tar_photos(shard.path, shard.name, rules, skipped)
    else:
        photos = _parquet_photos(shard, rules, named)
    waiting: list[Photo] = []
    for index, photo in enumerate(photos):
        if limit is not None and index >= limit:
            break
        waiting.append(photo)
        if len(waiting) == rows:
            yield _table(waiting, shard)
            waiting = []
    if waiting:
        yield _table(waiting, shard)


def holds_photos(path: str) -> bool:
    """Whether `path` is called like a tar or a Parquet file."""
    return is_tar(path) or without_options(path).lower().endswith(".parquet")


def read_member(path: str, member: str, max_bytes: int = SourceRules.max_bytes) -> bytes:
    """One photo out of the shard `path`, by what stands behind the ``#`` of its URI.

    Raises:
        QpertError: there is no such photo, or the shard cannot be read.
    """
    name, _, number = member.partition(";")
    name = unquote(name)
    valid = number.isascii() and number.isdecimal() and len(number) < 19
    if not valid and (number or not is_tar(path)):
        raise QpertError(f"not a photo in a tar or Parquet file: {path}#{member}")
    if is_tar(path):
        return tar_member(path, name, max(1, int(number or 1)), max_bytes)
    return read_row(path, name, int(number), max_bytes)


def _with_state(shards: list[Shard]) -> list[Shard]:
    """`shards` with size and time of change of their files, where their storage tells."""
    if not any(is_uri(shard.path) for shard in shards):
        return list(map(_stated, shards))
    with ThreadPoolExecutor(16) as pool:  # a bucket answers slowly
        return list(pool.map(_stated, shards))


def _stated(shard: Shard) -> Shard:
    filesystem, inner = locate(shard.path)
    try:
        info: fs.FileInfo = filesystem.get_file_info(inner)
    except (OSError, ValueError):
        return shard  # reading it will say why
    return replace(shard, size=info.size, mtime=info.mtime)


def _ids_and_places(shard: Shard) -> Iterator[tuple[list[str | None], list[str | None]]]:
    columns = shard.columns or Columns()
    place = columns.uri or ""
    yield from (
        (ids, places) for ids, places in read_texts(shard.path, [columns.id or place, place], [shard.row_group])
    )


def _slashed(place: str) -> str:
    """A path as Windows writes it with slashes."""
    return place if "/" in place else place.replace("\\", "/")


def _row_ids(shard: Shard) -> Iterator[tuple[str | None, str]]:
    """Of each row its id, None where it should have one and does not, and an id by its number."""
    if shard.error is not None:
        yield shard.name, shard.name
        return
    numbers = iter(range(shard.first_row, shard.first_row + (shard.rows or 0)))
    if shard.columns is not None and shard.columns.id is not None:
        try:
            for (ids,) in read_texts(shard.path, [shard.columns.id], [shard.row_group]):
                yield from ((image_id, f"{shard.name}#{row}") for image_id, row in zip(ids, numbers, strict=False))
        except DamagedTable:
            pass
        yield from ((None, f"{shard.name}#{row}") for row in numbers)
    else:
        yield from ((f"{shard.name}#{row}",) * 2 for row in numbers)


def _parquet_photos(shard: Shard, rules: SourceRules, named: NamedPhoto | None) -> Iterator[Photo]:
    columns = shard.columns or Columns()
    if shard.error is not None:
        yield Photo(shard.name, shard.path, None, shard.error)
        return
    folder, _ = split(shard.path)
    rows = (
        (image_id, numbered, member_uri(shard.path, columns.data or "", row))
        for row, (image_id, numbered) in enumerate(_row_ids(shard), shard.first_row)
    )
    try:
        photos = read_photos(shard.path, columns, shard.row_group, rules.max_bytes)
        for (photo, reason, place), (image_id, numbered, uri) in zip(photos, rows, strict=False):
            if image_id is None:
                yield Photo(numbered, uri, None, f"no id in this row ({columns.id})")
            elif photo is None and reason is None and place and named is not None:
                yield _named(image_id, uri, folder, place, named)
            else:
                yield Photo(image_id, uri, photo, None if photo is not None else reason or _NO_BYTES)
    except DamagedTable as error:
        reason = str(error)
    else:  # nothing of this remains of a file that is whole
        reason = f"not a Parquet file that can be read: {shard.path} (it has fewer rows than it states)"
    yield from (Photo(image_id or numbered, uri, None, reason) for image_id, numbered, uri in rows)


def _named(image_id: str, uri: str, folder: str, place: str, named: NamedPhoto) -> Photo:
    try:
        return Photo(image_id, *named(folder, _slashed(place)), None)
    except QpertError as error:
        return Photo(image_id, uri, None, str(error))


def _table(photos: list[Photo], shard: Shard) -> pa.Table:
    ids, uris, data, errors = zip(*photos, strict=True)
    sizes = [None if photo is None else len(photo) for photo in data]
    digests = [None if photo is None else digest_of(photo) for photo in data]
    columns = (ids, uris, data, errors, sizes, [shard.mtime] * len(photos), digests)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, PHOTO_SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=PHOTO_SCHEMA)
