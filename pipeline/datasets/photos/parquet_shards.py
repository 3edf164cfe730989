"""Row groups of Parquet files as shards: their ids, the photos that they hold, and the places that they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from pipeline.datasets.photos.ignored_names import reason_to_ignore_path
from pipeline.datasets.photos.parquet import find_columns, read_photos, read_texts, row_groups
from pipeline.datasets.photos.photo_columns import Columns
from pipeline.datasets.photos.rules import SourceRules
from pipeline.datasets.photos.shard import NamedPhoto, Photo, Shard, member_uri, with_file_states
from pipeline.datasets.photos.skipped import Skipped
from pipeline.errors import QpertError
from pipeline.io.locations import is_uri, split
from pipeline.io.parquet import DamagedTable

_NO_BYTES = "no bytes in this row"


def table_shards(files: Mapping[str, str], wanted: Columns) -> tuple[Columns, tuple[Shard, ...]]:
    """Find the columns of a Parquet source, and make one shard per row group.

    A file that cannot be read becomes a shard of one row with the reason, unless no file can be read.

    Args:
        files: names within the source -> paths.
        wanted: columns that the user asked for.

    Raises:
        QpertError: a file lacks a column or has one of another type, or no file can be read.
    """
    columns = find_columns(list(files.values()), wanted)
    shards: list[Shard] = []
    damaged: list[DamagedTable] = []
    for shard in with_file_states([Shard("parquet", path, name, columns=columns) for name, path in files.items()]):
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
    """Yield (shard, image_id, path or URI) for the rows of a Parquet source that names photos.

    The id is the path or URI unless there is a column of ids. A row that lacks its path or its id has None for the path
    and an id made of its number; a file that cannot be read has its name as id. Relative paths of files that operating
    systems keep for themselves are left out and counted in `skipped`.
    """
    for shard in shards:
        if shard.error is not None:
            yield shard, shard.name, None
            continue
        row = shard.first_row
        columns = shard.columns or Columns()
        place_column = columns.uri or ""
        try:
            for ids, places in read_texts(shard.path, [columns.id or place_column, place_column], [shard.row_group]):
                for image_id, place in zip(ids, places, strict=True):
                    is_relative = place and not is_uri(place) and not place.startswith(("/", "~"))
                    reason = reason_to_ignore_path(place) if place and is_relative else None
                    if reason and skipped is not None:
                        skipped.add(reason, place or "")
                    if not reason:
                        complete = image_id is not None and place is not None
                        yield shard, image_id or f"{shard.name}#{row}", _with_slashes(place or "") if complete else None
                    row += 1
        except DamagedTable:
            pass
        if row < shard.first_row + (shard.rows or 0):  # damaged, or silently cut short: one row for the rest
            yield shard, f"{shard.name}#{row}", None


def shard_ids(shard: Shard) -> list[str]:
    """The ids of a Parquet shard, read without its photos; a row without an id gets one made of its number."""
    return [image_id or numbered for image_id, numbered in _row_ids(shard)]


def parquet_photos(shard: Shard, rules: SourceRules, read_named: NamedPhoto | None) -> Iterator[Photo]:
    """The photos of a Parquet shard. If the file breaks off, the remaining rows carry the reason.

    Args:
        shard: the row group.
        rules: limits on the size of photos.
        read_named: reads photos that rows name instead of holding them; None leaves such rows without a photo.
    """
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
            elif photo is None and reason is None and place and read_named is not None:
                yield _named_photo(image_id, uri, folder, place, read_named)
            else:
                yield Photo(image_id, uri, photo, None if photo is not None else reason or _NO_BYTES)
    except DamagedTable as error:
        reason = str(error)
    else:  # an intact file has no rows left
        reason = f"not a Parquet file that can be read: {shard.path} (it has fewer rows than it states)"
    yield from (Photo(image_id or numbered, uri, None, reason) for image_id, numbered, uri in rows)


def _with_slashes(place: str) -> str:
    """A path as Windows writes it, with slashes."""
    return place if "/" in place else place.replace("\\", "/")


def _row_ids(shard: Shard) -> Iterator[tuple[str | None, str]]:
    """For each row its id (None if it should have one but does not), and an id made of its number."""
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


def _named_photo(image_id: str, uri: str, folder: str, place: str, read_named: NamedPhoto) -> Photo:
    try:
        return Photo(image_id, *read_named(folder, _with_slashes(place)), None)
    except QpertError as error:
        return Photo(image_id, uri, None, str(error))
