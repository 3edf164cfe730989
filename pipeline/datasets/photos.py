"""Finding photos: a folder, a glob, a list file, Parquet, or webdataset tars, on any file system pyarrow opens.

Two shapes come out. A `Listing` names photos that are files of their own: id and URI, no bytes yet, so that photos
which are done already are not even read again. `Shards` are files that hold many photos' bytes each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from pipeline.datasets.files import Files, glob, is_pattern
from pipeline.datasets.photo_columns import Columns
from pipeline.datasets.shards import Shard, holds_photos, read_member, table_places, table_shards, tar_shards
from pipeline.datasets.tars import SUFFIXES, TARS
from pipeline.errors import QpertError, first_line
from pipeline.patience import patiently
from pipeline.photo_state import FILE_STATE
from pipeline.storage import absolute, file_type, is_uri, join, locate, split

LISTING_SCHEMA = pa.schema([("image_id", pa.string()), ("uri", pa.string()), *FILE_STATE])
"""One photo that is a file of its own; its size in bytes and time of change are null where listing does not tell."""
Kind = Literal["folder", "glob", "list file", "parquet of URIs", "parquet of bytes", "webdataset"]


@dataclass(frozen=True)
class Listing:
    """Photos that are files of their own: (image_id, uri) pairs in a fixed order; no URI where a row names none.

    Attributes:
        pairs: makes them anew by every call.
        noted: a local Parquet file of `LISTING_SCHEMA` that holds them, where they were written down.
    """

    kind: Kind
    source: str
    pairs: Callable[[], Iterator[tuple[str, str | None]]]
    noted: str | None = None

    def batches(self, limit: int | None = None, rows: int = 65536) -> Iterator[pa.RecordBatch]:
        """Batches of `LISTING_SCHEMA`, at most `limit` photos in all."""
        if self.noted is not None:
            yield from _first(pq.ParquetFile(self.noted).iter_batches(rows), limit)
            return
        pairs = islice(self.pairs(), limit)
        while chunk := list(islice(pairs, rows)):
            ids, uris = zip(*chunk, strict=True)
            state = [pa.nulls(len(chunk), field.type) for field in FILE_STATE]
            yield pa.record_batch([pa.array(ids, pa.string()), pa.array(uris, pa.string()), *state], LISTING_SCHEMA)

    def pairs_noted(self) -> Iterator[tuple[str, str | None]]:
        """(image_id, uri), from where they were written down."""
        for batch in self.batches():
            yield from zip(batch["image_id"].to_pylist(), batch["uri"].to_pylist(), strict=True)

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
    """Files with many photos each."""

    kind: Kind
    source: str
    shards: tuple[Shard, ...]

    @property
    def count(self) -> int | None:
        """Photos in all shards, or None when only reading them would tell."""
        rows = [shard.rows for shard in self.shards]
        return None if None in rows else sum(row for row in rows if row is not None)


def find_photos(
    source: str, *, uri_column: str | None = None, bytes_column: str | None = None, id_column: str | None = None
) -> Listing | Shards:
    """Work out what `source` is and what photos it holds.

    Args:
        source: a folder (read recursively; of photos, of Parquet or of tars), a pattern such as ``photos/**/*.jpg`` or
            ``shards/{000..127}.tar`` (see `glob`), one ``.parquet`` or ``.tar`` file, or a text file in UTF-8 with one
            path or URI per line (relative ones are relative to the file; ``~`` is the home folder). Empty lines and
            lines that begin with ``#`` are left out: write ``./#2.jpg`` for a photo of such a name. Local or on any
            file system that pyarrow opens by URI.
        uri_column: column of a Parquet source that names the photos; ``meta.uri`` reaches into a struct.
        bytes_column: column of a Parquet source that holds the encoded photos, instead.
        id_column: column of a Parquet source with unique ids; by default the URI, or the file's name and row number.

    Ids are paths relative to the folder (or to the part of a pattern before its first wildcard), or lines of the list.
    URIs of photos are valid ones: where a name has blanks or signs that mean something, the URI has it encoded.

    Raises:
        QpertError: there is no such source, it holds no photos, or a column is missing or holds something else.
    """
    wanted = Columns(data=bytes_column, uri=uri_column, id=id_column)
    kind = file_type(source)
    if kind == fs.FileType.NotFound:
        if not is_pattern(locate(source)[1]):
            raise QpertError(f"there is no {source}")
        files = glob(absolute(source))
        photos = _from_files("glob", source, files.root, files, wanted)
    elif kind == fs.FileType.File:
        folder, name = split(absolute(source))
        if name.lower().endswith((".txt", ".lst", ".list")):
            photos = _found(Listing("list file", source, lambda: _list_file(source, folder)))
        else:
            photos = _from_files("folder", source, folder, [name], wanted)
    else:
        photos = _from_files("folder", source, absolute(source), Files(absolute(source)), wanted)
    if wanted != Columns() and not photos.kind.startswith("parquet"):
        raise QpertError(
            f"--uri-column, --bytes-column and --id-column are for Parquet, but {source} is a {photos.kind} of photos;"
            " leave them out, or name the Parquet files"
        )
    return photos


def _from_files(kind: Kind, source: str, root: str, files: Iterable[str], wanted: Columns) -> Listing | Shards:
    """Photos among `files`, which are relative to `root`, if there are any, else tars, else Parquet."""

    def photos() -> Iterator[tuple[str, str]]:
        return ((name, join(root, name)) for name in files if name.lower().endswith(SUFFIXES))

    if next(photos(), None) is not None:
        return Listing(kind, source, photos)
    others = {name: join(root, name) for name in files}
    tars = {name: file for name, file in others.items() if name.lower().endswith(TARS)}
    if tars:
        return Shards("webdataset", source, tar_shards(tars))
    tables = {name: file for name, file in others.items() if name.lower().endswith(".parquet")}
    if not tables:
        raise QpertError(f"{source} holds no photos ({', '.join(SUFFIXES)}), tars or Parquet files")
    columns, shards = table_shards(tables, wanted)
    if not any(shard.rows for shard in shards):
        raise QpertError(f"{source} names no photos: its Parquet has no rows")
    if columns.data is not None:
        return Shards("parquet of bytes", source, shards)
    return Listing("parquet of URIs", source, lambda: _table_photos(shards))


def _found(listing: Listing) -> Listing:
    if next(listing.pairs(), None) is None:
        raise QpertError(f"{listing.source} names no photos")
    return listing


def _list_file(path: str, folder: str) -> Iterator[tuple[str, str]]:
    filesystem, inner = locate(path)
    with filesystem.open_input_stream(inner) as stream:
        data = stream.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise QpertError(f"{path} is not UTF-8 text: line {line}; save the list as UTF-8") from None
    for line in text.split("\n"):
        name = line.removesuffix("\r")
        if name.strip() and not name.lstrip().startswith("#"):
            yield name, _place(folder, name)


def _table_photos(shards: Iterable[Shard]) -> Iterator[tuple[str, str | None]]:
    for folder, image_id, place in table_places(shards):
        yield image_id, None if place is None else _place(folder, place)


def _place(folder: str, text: str) -> str:
    """Where a photo is whose path or URI is written down in `folder`."""
    place = text if is_uri(text) else os.path.expanduser(text)
    return place if is_uri(place) or place.startswith("/") else join(folder, place)


def read_named(folder: str, text: str, max_bytes: int = 1 << 30) -> tuple[str, bytes]:
    """A photo that a table in `folder` names by a path or URI: its place and its encoded bytes.

    Raises:
        QpertError: it cannot be read, see `read_photo`.
    """
    place = _place(folder, text)
    return place, read_photo(place, max_bytes)


def read_photo(uri: str, max_bytes: int = 1 << 30) -> bytes:
    """The encoded bytes of one photo by the `uri` of its row: of a file, or of a photo in a shard (see `member_uri`).

    Raises:
        QpertError: it cannot be read; the message is one short line that begins with the kind of failure.
    """
    shard, mark, member = uri.partition("#")
    if mark and is_uri(uri) and holds_photos(shard):
        return read_member(shard, member, max_bytes)
    filesystem, path = locate(uri)

    def read() -> bytes:
        with filesystem.open_input_file(path) as file:
            if file.size() > max_bytes:
                raise QpertError(f"file too large: {file.size()} bytes, limit {max_bytes}")
            return bytes(file.read())

    try:
        return patiently(read, tries=4)
    except FileNotFoundError:
        raise QpertError("file not found") from None
    except PermissionError:
        raise QpertError("no permission to read the file") from None
    except (OSError, ValueError) as error:
        raise QpertError(f"cannot read the file: {type(error).__name__}: {first_line(error)[:120]}") from error
