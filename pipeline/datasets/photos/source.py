"""Finding photos: a folder, a pattern, a list file, Parquet, or webdataset tars, on any file system pyarrow opens.

The result is one of two kinds. A `Listing` names photos in files of their own by id and URI, without reading them, so
that photos which are indexed already are not read again. `Shards` are files with many photos each.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Literal

from pyarrow import fs

from pipeline.datasets.photos.access import check_place, hosts_of, refusal, scheme_of
from pipeline.datasets.photos.folder_entries import State, state_of
from pipeline.datasets.photos.folder_walk import FolderWalk, FoundFile, glob
from pipeline.datasets.photos.found_photos import Item, Kind, Listing, Shards
from pipeline.datasets.photos.list_file import NamedItem, check_utf8, is_list, place_of, read_list
from pipeline.datasets.photos.parquet_shards import table_places, table_shards
from pipeline.datasets.photos.part import Part
from pipeline.datasets.photos.patterns import is_pattern
from pipeline.datasets.photos.photo_columns import Columns
from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.datasets.photos.shard import Shard, is_shard, is_tar
from pipeline.datasets.photos.skipped import Skipped
from pipeline.datasets.photos.source_files import SourceFiles
from pipeline.datasets.photos.tars import tar_shards
from pipeline.errors import QpertError
from pipeline.io.locations import absolute, file_type, is_inside, is_uri, join, local_path, locate, real_place, split
from pipeline.io.s3 import ask_buckets

logger = logging.getLogger(__name__)
_INSPECTED = 10_000
"""Photos of a local folder that are listed at the start, to see whether it also holds tars or Parquet."""


def find_photos(
    source: str,
    *,
    uri_column: str | None = None,
    bytes_column: str | None = None,
    id_column: str | None = None,
    rules: SourceRules = DEFAULT_RULES,
    out: str | None = None,
    part: Part | None = None,
) -> Listing | Shards:
    """Determine what kind of source `source` is, and find its photos.

    Ids are paths relative to the folder (or to the part of a pattern before its first wildcard), or lines of the list.
    The URIs of photos are valid: special characters in names are percent-encoded.

    Args:
        source: a folder (read recursively; of photos, of Parquet or of tars), a pattern such as ``photos/**/*.jpg`` or
            ``shards/{000..127}.tar`` (see `glob`), one ``.parquet`` or ``.tar`` file, or a text file in UTF-8 with one
            path or URI per line (relative to the file; ``~/`` is the home folder). Empty lines and lines that begin
            with ``#`` are left out: write ``./#2.jpg`` for a photo named ``#2.jpg``. Local or on any file system that
            pyarrow opens by URI.
        uri_column: column of a Parquet source that names the photos; ``meta.uri`` reaches into a struct.
        bytes_column: column of a Parquet source that holds the encoded photos, instead.
        id_column: column of a Parquet source with unique ids; by default the URI, or the file's name and row number.
        rules: what may be read, and which files are photos. The source itself may lie anywhere.
        out: folder of the feature set that is being made, which is not part of the source.
        part: find only the photos of this part, which may be none.

    Raises:
        QpertError: the source does not exist, lies in `out`, holds no photos, several kinds of them or none that the
            rules allow to be read, or a column is missing or has the wrong type.
    """
    wanted = Columns(data=bytes_column, uri=uri_column, id=id_column)
    if rules.root is not None and not os.path.isdir(rules.root):
        raise QpertError(f"--root {rules.root} is not a folder")
    kind = file_type(source)
    if kind == fs.FileType.NotFound:
        if not is_pattern(locate(source)[1]):
            raise QpertError(f"there is no {source}")
        photos = _from_walk("glob", source, glob(absolute(source), rules, out, part), wanted, out)
    elif kind == fs.FileType.File:
        folder, name = split(absolute(source))
        if is_list(name):
            photos = _from_list(source, folder, rules)
        else:
            photos = _from_one_file(source, folder, name, wanted, _trusting(rules, source))
    elif kind == fs.FileType.Directory:
        photos = _from_walk("folder", source, FolderWalk(absolute(source), None, rules, out, part=part), wanted, out)
    else:
        raise QpertError(f"{source} is neither a file nor a folder but a named pipe, a socket or a device")
    if wanted != Columns() and not photos.kind.startswith("parquet"):
        raise QpertError(
            f"--uri-column, --bytes-column and --id-column are for Parquet, but {source} is a {photos.kind} of photos;"
            " leave them out, or name the Parquet files"
        )
    return photos if part is None or kind != fs.FileType.File else _part_of_file(photos, part)


def _part_of_file(photos: Listing | Shards, part: Part) -> Listing:
    """Some of the photos that one list or table names."""
    if isinstance(photos, Shards):
        raise QpertError(f"{photos.source} is one file, which --part does not divide; name a folder of such files")
    if part.by == "folder":
        raise QpertError(f"{photos.source} is one file: --part-by folder is for photos in folders")
    named = photos.items
    return replace(photos, items=lambda: (item for item in named() if part.has(item.image_id)))


def _trusting(rules: SourceRules, source: str) -> SourceRules:
    """The rules for photos in the source itself, whose scheme and host are allowed since the user has named them."""
    if not is_uri(source):
        return rules
    schemes = tuple(dict.fromkeys([*rules.schemes, scheme_of(source)]))
    return replace(rules, schemes=schemes, hosts=tuple(dict.fromkeys([*rules.hosts, *hosts_of(source)])))


def _from_one_file(source: str, folder: str, name: str, wanted: Columns, rules: SourceRules) -> Listing | Shards:
    """A source that is one file. It is read whatever patterns say: they choose among the photos that it holds."""
    check_place(absolute(source), rules)
    file = FoundFile(name, *_state(absolute(source)))
    all_files = replace(rules, include=(), exclude=()) if not is_tar(name) else rules
    files = SourceFiles(source, folder, lambda: [file], Skipped(), all_files)
    return _from_source_files("folder", files, wanted, rules)


def _from_walk(kind: Kind, source: str, walk: FolderWalk, wanted: Columns, out: str | None) -> Listing | Shards:
    if out is not None and real_place(walk.root) != real_place(out) and is_inside(walk.root, out):
        raise QpertError(f"{source} lies inside --out {out}, whose content is never read; choose another --out")
    rules = _trusting(walk.rules, source)
    if rules.root is not None and local_path(walk.root) is not None and not is_inside(walk.root, rules.root):
        raise QpertError(f"{source} lies outside of --root {rules.root}")
    only: Literal["table", "tar"] | None = "table" if wanted != Columns() else "tar" if rules.image_key else None
    files = SourceFiles(source, walk.root, walk.files, walk.skipped, rules, only)
    if only is not None:
        no_photos = next(files.photos(), None) is None
        if no_photos and not (files.tables if only == "table" else files.tars):
            files = SourceFiles(source, walk.root, walk.files, walk.skipped, rules)  # has no files of that kind
    return _from_source_files(kind, files, wanted, part=walk.part)


def _from_source_files(
    kind: Kind, files: SourceFiles, wanted: Columns, rules: SourceRules | None = None, part: Part | None = None
) -> Listing | Shards:
    """The photos of sorted files that belong to `part`; `rules` for those in them, if they differ from the files'."""
    source, root, rules, skipped = files.source, files.root, rules or files.rules, files.skipped

    def items() -> Iterator[Item]:
        for file in files.photos():
            if part is None or part.has(file.name):
                yield Item(file.name, join(root, file.name), file.size, file.mtime)

    def places(found: list[FoundFile]) -> dict[str, str]:
        return {file.name: join(root, file.name) for file in found if part is None or part.has(file.name)}

    photos = files.photos()
    if next(photos, None) is not None:
        if local_path(root) is not None:
            for _ in islice(photos, _INSPECTED):
                pass
        return Listing(kind, source, items, rules=rules, skipped=skipped)
    if files.tars:
        return Shards("webdataset", source, tar_shards(places(files.tars), rules), rules, skipped)
    if part is not None and not places(files.tables) and (files.tables or part.by == "folder"):
        return Shards("parquet of bytes", source, (), rules, skipped)
    if not files.tables:
        raise QpertError(f"{source} holds no photos, tars or Parquet files{_left_out(skipped)}")
    columns, shards = table_shards(places(files.tables), wanted)
    if not any(shard.rows for shard in shards):
        raise QpertError(f"{source} names no photos: its Parquet has no rows")
    if columns.data is not None:
        return Shards("parquet of bytes", source, shards, rules, skipped)
    items = _select(lambda: _table_items(shards, skipped), rules, skipped)
    return _checked(Listing("parquet of URIs", source, items, rules=rules, skipped=skipped))


def _from_list(source: str, folder: str, rules: SourceRules) -> Listing:
    check_utf8(source)
    rules, skipped = _trusting(rules, source), Skipped()
    items = _select(lambda: read_list(source, folder), rules, skipped)
    return _checked(Listing("list file", source, items, rules=rules, skipped=skipped))


def _select(
    named: Callable[[], Iterator[NamedItem]], rules: SourceRules, skipped: Skipped
) -> Callable[[], Iterator[Item]]:
    """The photos that a list or table names, without files that operating systems keep, but with hidden ones."""

    def items() -> Iterator[Item]:
        skipped.clear()
        for photo in named():
            if reason := photo.text and rules.left_out(photo.text, hidden=False):
                skipped.add(reason, photo.text or photo.image_id)
            else:
                yield Item(photo.image_id, photo.place, *_state(photo.place))

    return items


def _state(place: str | None) -> State:
    """The state of a local file; unknown for photos in shards and on other file systems."""
    path = None if place is None or is_shard(place.partition("#")[0]) else local_path(place)
    return (None, None) if path is None else state_of(path)


def _checked(listing: Listing) -> Listing:
    """Return the listing if it has photos and at least one of them may be read."""
    reason = None
    for item in listing.items():
        reason = item.uri and refusal(item.uri, listing.rules)
        if reason is None:
            _warn_of_bucket(item.uri)
            return listing
    if reason is not None:
        raise QpertError(f"{listing.source} names only photos that may not be opened: {reason}")
    raise QpertError(f"{listing.source} names no photos{_left_out(listing.skipped)}")


def _warn_of_bucket(uri: str | None) -> None:
    """Say within seconds that the bucket of a list's first photo does not answer; others may lie elsewhere."""
    try:
        ask_buckets(uri)
    except QpertError as error:
        logger.warning("%s", error)


def _left_out(skipped: Skipped) -> str:
    return "; left out:" + "".join(f"\n       {line}" for line in skipped.lines()) if skipped else ""


def _table_items(shards: Iterable[Shard], skipped: Skipped) -> Iterator[NamedItem]:
    for shard, image_id, text in table_places(shards, skipped):
        if text:
            yield NamedItem(image_id, f"{shard.name}/{text}", place_of(split(shard.path)[0], text))
        else:
            yield NamedItem(image_id, None, None)
