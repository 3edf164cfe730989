"""Finding photos: a folder, a glob, a list file, Parquet, or webdataset tars, on any file system pyarrow opens.

Two shapes come out. A `Listing` names photos that are files of their own: id and URI, no bytes yet, so that photos
which are done already are not even read again. `Shards` are files that hold many photos' bytes each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Literal

from pyarrow import fs

from pipeline.datasets.photos.access import check_place, hosts_of, read_file, refusal, scheme_of
from pipeline.datasets.photos.files import Files, FoundFile, glob
from pipeline.datasets.photos.folder import Folder
from pipeline.datasets.photos.folder_entries import state_of
from pipeline.datasets.photos.listing import LISTING_SCHEMA, Item, Kind, Listing, Shards
from pipeline.datasets.photos.lists import Named, check_text, is_list, list_places, place_of
from pipeline.datasets.photos.patterns import is_pattern
from pipeline.datasets.photos.photo_columns import Columns
from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.datasets.photos.shards import Shard, holds_photos, read_member, table_places, table_shards, tar_shards
from pipeline.datasets.photos.skipped import Skipped
from pipeline.datasets.photos.tars import is_tar
from pipeline.datasets.photos.web import WEB
from pipeline.errors import QpertError, first_line
from pipeline.io.locations import absolute, file_type, is_inside, is_uri, join, local_path, locate, real_place, split

__all__ = ["LISTING_SCHEMA", "Item", "Kind", "Listing", "Shards", "find_photos", "read_named", "read_photo"]

_LOOKED_THROUGH = 10_000
"""Photos of a local folder that are gone through at the start, to see whether there is something else as well."""


def find_photos(
    source: str,
    *,
    uri_column: str | None = None,
    bytes_column: str | None = None,
    id_column: str | None = None,
    rules: SourceRules = DEFAULT_RULES,
    out: str | None = None,
) -> Listing | Shards:
    """Work out what `source` is and what photos it holds.

    Args:
        source: a folder (read recursively; of photos, of Parquet or of tars), a pattern such as ``photos/**/*.jpg`` or
            ``shards/{000..127}.tar`` (see `glob`), one ``.parquet`` or ``.tar`` file, or a text file in UTF-8 with one
            path or URI per line (relative ones are relative to the file; ``~/`` is the home folder). Empty lines and
            lines that begin with ``#`` are left out: write ``./#2.jpg`` for a photo of such a name. Local or on any
            file system that pyarrow opens by URI.
        uri_column: column of a Parquet source that names the photos; ``meta.uri`` reaches into a struct.
        bytes_column: column of a Parquet source that holds the encoded photos, instead.
        id_column: column of a Parquet source with unique ids; by default the URI, or the file's name and row number.
        rules: what may be read, and which files are meant. The source itself may lie anywhere.
        out: where the features will be, which are no part of the source.

    Ids are paths relative to the folder (or to the part of a pattern before its first wildcard), or lines of the list.
    URIs of photos are valid ones: where a name has blanks or signs that mean something, the URI has it encoded.

    Raises:
        QpertError: there is no such source, it lies in `out`, holds no photos, photos of several forms or none that the
            rules let be read, or a column is missing or holds something else.
    """
    wanted = Columns(data=bytes_column, uri=uri_column, id=id_column)
    if rules.root is not None and not os.path.isdir(rules.root):
        raise QpertError(f"--root {rules.root} is not a folder")
    kind = file_type(source)
    if kind == fs.FileType.NotFound:
        if not is_pattern(locate(source)[1]):
            raise QpertError(f"there is no {source}")
        files = glob(absolute(source), rules, out)
        photos = _from_files("glob", source, files, wanted, out)
    elif kind == fs.FileType.File:
        folder, name = split(absolute(source))
        if is_list(name):
            photos = _from_list(source, folder, rules)
        else:
            photos = _one_file(source, folder, name, wanted, _trusting(rules, source))
    elif kind == fs.FileType.Directory:
        photos = _from_files("folder", source, Files(absolute(source), None, rules, out), wanted, out)
    else:
        raise QpertError(f"{source} is neither a file nor a folder but a named pipe, a socket or a device")
    if wanted != Columns() and not photos.kind.startswith("parquet"):
        raise QpertError(
            f"--uri-column, --bytes-column and --id-column are for Parquet, but {source} is a {photos.kind} of photos;"
            " leave them out, or name the Parquet files"
        )
    return photos


def _trusting(rules: SourceRules, source: str) -> SourceRules:
    """The rules of photos that lie in the source itself: where that is, the user has said."""
    if not is_uri(source):
        return rules
    schemes = tuple(dict.fromkeys([*rules.schemes, scheme_of(source)]))
    return replace(rules, schemes=schemes, hosts=tuple(dict.fromkeys([*rules.hosts, *hosts_of(source)])))


def _one_file(source: str, folder: str, name: str, wanted: Columns, rules: SourceRules) -> Listing | Shards:
    """Of a file that is named itself, whatever patterns say: they choose among the photos that it holds or names."""
    check_place(absolute(source), rules)
    state = FoundFile(name, *_state(absolute(source)))
    all_files = replace(rules, include=(), exclude=()) if not is_tar(name) else rules
    found = Folder(source, folder, lambda: [state], Skipped(), all_files)
    return _from_folder("folder", found, wanted, rules)


def _from_files(kind: Kind, source: str, files: Files, wanted: Columns, out: str | None) -> Listing | Shards:
    if out is not None and real_place(files.root) != real_place(out) and is_inside(files.root, out):
        raise QpertError(
            f"{source} lies inside of --out {out}: what is written there is never read; choose another --out"
        )
    rules = _trusting(files.rules, source)
    if rules.root is not None and local_path(files.root) is not None and not is_inside(files.root, rules.root):
        raise QpertError(f"{source} lies outside of --root {rules.root}")
    only: Literal["table", "tar"] | None = "table" if wanted != Columns() else "tar" if rules.image_key else None
    folder = Folder(source, files.root, files.found, files.skipped, rules, only)
    if only is not None:
        no_photos = next(folder.photos(), None) is None
        if no_photos and not (folder.tables if only == "table" else folder.tars):
            folder = Folder(source, files.root, files.found, files.skipped, rules)  # there is nothing of the kind
    return _from_folder(kind, folder, wanted)


def _from_folder(kind: Kind, folder: Folder, wanted: Columns, rules: SourceRules | None = None) -> Listing | Shards:
    """Of the files of a folder; `rules` for the photos in them, where those of the files are others."""
    source, root, rules, skipped = folder.source, folder.root, rules or folder.rules, folder.skipped

    def items() -> Iterator[Item]:
        for file in folder.photos():
            yield Item(file.name, join(root, file.name), file.size, file.mtime)

    photos = folder.photos()
    if next(photos, None) is not None:
        if local_path(root) is not None:
            for _ in islice(photos, _LOOKED_THROUGH):
                pass
        return Listing(kind, source, items, rules=rules, skipped=skipped)
    if folder.tars:
        tars = {file.name: join(root, file.name) for file in folder.tars}
        return Shards("webdataset", source, tar_shards(tars, rules), rules, skipped)
    if not folder.tables:
        raise QpertError(f"{source} holds no photos, tars or Parquet files{_left_out(skipped)}")
    tables = {file.name: join(root, file.name) for file in folder.tables}
    columns, shards = table_shards(tables, wanted)
    if not any(shard.rows for shard in shards):
        raise QpertError(f"{source} names no photos: its Parquet has no rows")
    if columns.data is not None:
        return Shards("parquet of bytes", source, shards, rules, skipped)
    named = _named(lambda: _table_photos(shards, skipped), rules, skipped)
    return _found(Listing("parquet of URIs", source, named, rules=rules, skipped=skipped))


def _from_list(source: str, folder: str, rules: SourceRules) -> Listing:
    check_text(source)
    rules, skipped = _trusting(rules, source), Skipped()
    items = _named(lambda: list_places(source, folder), rules, skipped)
    return _found(Listing("list file", source, items, rules=rules, skipped=skipped))


def _named(photos: Callable[[], Iterator[Named]], rules: SourceRules, skipped: Skipped) -> Callable[[], Iterator[Item]]:
    """Photos that a list or table names; what systems keep for themselves is left out, hidden ones are not."""

    def items() -> Iterator[Item]:
        skipped.clear()
        for photo in photos():
            if reason := photo.text and rules.left_out(photo.text, hidden=False):
                skipped.add(reason, photo.text or photo.image_id)
            else:
                yield Item(photo.image_id, photo.place, *_state(photo.place))

    return items


def _state(place: str | None) -> tuple[int | None, int | None]:
    """Size and time of change of a local file that is not a part of another one."""
    path = None if place is None or holds_photos(place.partition("#")[0]) else local_path(place)
    return (None, None) if path is None else state_of(path)


def _found(listing: Listing) -> Listing:
    """With photos, of which at least one may be read."""
    reason = None
    for item in listing.items():
        reason = item.uri and refusal(item.uri, listing.rules)
        if reason is None:
            return listing
    if reason is not None:
        raise QpertError(f"{listing.source} names only photos that are not opened: {reason}")
    raise QpertError(f"{listing.source} names no photos{_left_out(listing.skipped)}")


def _left_out(skipped: Skipped) -> str:
    return "; left out are" + "".join(f"\n       {line}" for line in skipped.lines()) if skipped else ""


def _table_photos(shards: Iterable[Shard], skipped: Skipped) -> Iterator[Named]:
    for shard, image_id, text in table_places(shards, skipped):
        if text:
            yield Named(image_id, f"{shard.name}/{text}", place_of(split(shard.path)[0], text))
        else:
            yield Named(image_id, None, None)


def read_named(folder: str, text: str, rules: SourceRules) -> tuple[str, bytes]:
    """A photo that a table in `folder` names by a path or URI: its place and its encoded bytes.

    Raises:
        QpertError: it cannot be read, see `read_photo`.
    """
    place = place_of(folder, text)
    return place, read_photo(place, rules)


def read_photo(uri: str | None, rules: SourceRules = DEFAULT_RULES) -> bytes:
    """The encoded bytes of one photo by the `uri` of its row: of a file, or of a photo in a shard (see `member_uri`).

    Raises:
        QpertError: it cannot be read, or the rules forbid it; the message is one short line that begins with the kind
            of failure. Nothing else is raised, whatever is there.
    """
    if not uri:
        raise QpertError("no path or URI in this row, or no id")
    try:
        shard, mark, member = uri.partition("#")
        if mark and is_uri(uri) and scheme_of(uri) not in WEB and holds_photos(shard):
            check_place(shard, rules)
            return read_member(shard, member, rules.max_bytes)
        return read_file(uri, rules)
    except QpertError:
        raise
    except FileNotFoundError:
        raise QpertError("file not found" + ("; folders are parted by /, not \\" if "\\" in uri else "")) from None
    except PermissionError:
        raise QpertError("no permission to read the file") from None
    except Exception as error:  # file systems, archives and whoever made them: one photo never ends a run
        raise QpertError(f"cannot read the file: {type(error).__name__}: {first_line(error)[:120]}") from error
