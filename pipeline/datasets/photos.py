"""Finding photos: a folder, a glob, a list file, Parquet, or webdataset tars, on any file system pyarrow opens.

Two shapes come out. A `Listing` names photos that are files of their own: id and URI, no bytes yet, so that photos
which are done already are not even read again. `Shards` are files that hold many photos' bytes each.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from pipeline.datasets.shards import SUFFIXES, Columns, Shard, parquet_columns, parquet_shards, read_member
from pipeline.errors import QpertError
from pipeline.storage import is_uri, locate

LISTING_SCHEMA = pa.schema([("image_id", pa.string()), ("uri", pa.string())])
Kind = Literal["folder", "glob", "list file", "parquet of URIs", "parquet of bytes", "webdataset"]


@dataclass(frozen=True)
class Listing:
    """Photos that are files of their own: (image_id, uri) pairs in a fixed order, made anew by every call."""

    kind: Kind
    source: str
    pairs: Callable[[], Iterator[tuple[str, str]]]

    def batches(self, limit: int | None = None, rows: int = 65536) -> Iterator[pa.RecordBatch]:
        """Batches of `LISTING_SCHEMA`, at most `limit` photos in all."""
        pairs = islice(self.pairs(), limit)
        while chunk := list(islice(pairs, rows)):
            ids, uris = zip(*chunk, strict=True)
            yield pa.record_batch([pa.array(ids, pa.string()), pa.array(uris, pa.string())], schema=LISTING_SCHEMA)


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
        source: a folder (read recursively; of photos, of Parquet or of tars), a glob such as ``photos/**/*.jpg``, one
            ``.parquet`` or ``.tar`` file, or a text file with one path or URI per line (relative ones are relative to
            the file). Local or on any file system that pyarrow opens by URI.
        uri_column: column of a Parquet source that names the photos.
        bytes_column: column of a Parquet source that holds the encoded photos; ``image.bytes`` reaches into a struct.
        id_column: column of a Parquet source with unique ids; by default the URI, or the file's name and row number.

    Ids are paths relative to the folder (or to the part of a glob before its first wildcard), or lines of the list.

    Raises:
        QpertError: there is no such source, it holds no photos, or a column is missing.
    """
    wanted = Columns(data=bytes_column, uri=uri_column, id=id_column)
    filesystem, path = locate(source)
    base = source if is_uri(source) else path
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.NotFound:
        if not re.search(r"[*?]", source):
            raise QpertError(f"there is no {source}")
        return _from_files("glob", source, *_glob(filesystem, base, path), wanted)
    if info.type == fs.FileType.File:
        if path.lower().endswith((".txt", ".lst", ".list")):
            return _found(Listing("list file", source, lambda: _list_file(base)))
        parent = posixpath.dirname(base)
        return _from_files("folder", source, parent, lambda: iter([base]), wanted)
    return _from_files("folder", source, base, lambda: _walk(filesystem, base, path), wanted)


def _from_files(
    kind: Kind, source: str, root: str, files: Callable[[], Iterator[str]], wanted: Columns
) -> Listing | Shards:
    """Photos among `files` if there are any, else tars, else Parquet."""

    def named(*suffixes: str) -> Iterator[str]:
        return (file for file in files() if file.lower().endswith(suffixes))

    if next(named(*SUFFIXES), None) is not None:
        return Listing(kind, source, lambda: ((_relative(file, root), file) for file in named(*SUFFIXES)))
    tars = list(named(".tar", ".tar.gz", ".tgz"))
    if tars:
        shards = tuple(Shard("tar", file, _relative(file, root)) for file in tars)
        return Shards("webdataset", source, shards)
    tables = list(named(".parquet"))
    if not tables:
        raise QpertError(f"{source} holds no photos ({', '.join(SUFFIXES)}), tars or Parquet files")
    columns = parquet_columns(tables[0], wanted)
    if columns.data is None:
        return _found(Listing("parquet of URIs", source, lambda: _parquet_uris(tables, columns.uri or "", columns.id)))
    found = (shard for file in tables for shard in parquet_shards(file, _relative(file, root), columns))
    return Shards("parquet of bytes", source, tuple(found))


def _found(listing: Listing) -> Listing:
    if next(listing.pairs(), None) is None:
        raise QpertError(f"{listing.source} names no photos")
    return listing


def _relative(file: str, root: str) -> str:
    return file.removeprefix(root).lstrip("/")


def _walk(filesystem: fs.FileSystem, base: str, path: str) -> Iterator[str]:
    """Every file below `path`, depth first in the order of the names; hidden files and folders are left out."""
    found = filesystem.get_file_info(fs.FileSelector(path, recursive=False))
    for info in sorted(found, key=lambda each: str(each.path)):
        if info.base_name.startswith(".") or info.base_name == "__MACOSX":
            continue
        name = posixpath.join(base, info.base_name)
        if info.type == fs.FileType.Directory:
            yield from _walk(filesystem, name, info.path)
        elif info.type == fs.FileType.File:
            yield name


def _glob(filesystem: fs.FileSystem, base: str, path: str) -> tuple[str, Callable[[], Iterator[str]]]:
    """The folder before the first wildcard, and the files that match."""
    fixed = re.split(r"[*?]", base, maxsplit=1)[0].rpartition("/")[0]
    inner = re.split(r"[*?]", path, maxsplit=1)[0].rpartition("/")[0] or "/"
    if filesystem.get_file_info(inner).type != fs.FileType.Directory:
        raise QpertError(f"there is no folder {fixed}")
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.split(r"(\*\*/|\*\*|\*|\?)", base)
    matches = re.compile("".join(parts.get(token, re.escape(token)) for token in tokens)).fullmatch
    return fixed, lambda: (file for file in _walk(filesystem, fixed, inner) if matches(file))


def _list_file(path: str) -> Iterator[tuple[str, str]]:
    filesystem, inner = locate(path)
    folder = posixpath.dirname(path)
    with filesystem.open_input_stream(inner) as stream:
        lines = stream.read().decode("utf-8-sig").splitlines()
    for line in map(str.strip, lines):
        if line and not line.startswith("#"):
            yield line, line if is_uri(line) or line.startswith("/") else posixpath.join(folder, line)


def _parquet_uris(files: list[str], uri: str, name: str | None) -> Iterator[tuple[str, str]]:
    for file in files:
        filesystem, inner = locate(file)
        folder = posixpath.dirname(file)
        with pq.ParquetFile(inner, filesystem=filesystem) as table:
            for batch in table.iter_batches(columns=[uri] if name in (None, uri) else [name, uri]):
                places = batch.column(uri).to_pylist()
                ids = places if name is None else batch.column(name).to_pylist()
                for each, place in zip(ids, places, strict=True):
                    if each is None or place is None:
                        raise QpertError(f"{file} has a row without {uri if place is None else name}")
                    text = str(place)
                    yield str(each), text if is_uri(text) or text.startswith("/") else posixpath.join(folder, text)


def read_photo(uri: str, max_bytes: int = 1 << 30) -> bytes:
    """The encoded bytes of one photo by the `uri` of its row, be it a file, ``X.tar#member`` or ``X.parquet#row``.

    Raises:
        QpertError: it cannot be read; the message is one short line.
    """
    shard, mark, member = uri.rpartition("#")
    if mark and shard.lower().endswith((".tar", ".tar.gz", ".tgz", ".parquet")):
        return read_member(shard, member)
    filesystem, path = locate(uri)
    try:
        with filesystem.open_input_file(path) as file:
            if file.size() > max_bytes:
                raise QpertError(f"file too large: {file.size()} bytes, limit {max_bytes}")
            return bytes(file.read())
    except FileNotFoundError:
        raise QpertError("file not found") from None
    except PermissionError:
        raise QpertError("no permission to read the file") from None
    except OSError as error:
        raise QpertError(f"cannot read the file: {type(error).__name__}") from error
