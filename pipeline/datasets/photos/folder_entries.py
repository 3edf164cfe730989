"""Listing one folder, local or remote: its files, its folders, and the entries that are left out with their reasons."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pyarrow import fs

from pipeline.datasets.photos.ignored_names import reason_to_ignore
from pipeline.errors import QpertError
from pipeline.io.locations import answering, is_inside
from pipeline.io.s3 import S3Bucket
from pipeline.io.s3_listing import Listed, exists, pages

NOT_UTF8 = "files and folders whose names are not UTF-8"
SPECIAL = "named pipes, sockets and devices"
OURS = "feature sets of qpert"
MANIFEST = "manifest.json"
WHOLE = 20_000
"""Entries of a folder of a bucket from which on they are not all kept."""
State = tuple[int | None, int | None]
"""Size in bytes and time of change (microseconds since the epoch, UTC) of a file; None if unknown."""


class Entries(NamedTuple):
    """The entries of a folder.

    Attributes:
        names: files and folders in order. Of a large folder in a bucket they come as they are listed, and the other
            fields tell of those that have come last.
        folders: the names that are folders.
        links: the folders that are symbolic links.
        states: states of the files, if listing the folder tells.
        left_out: reason and name of each entry that was left out.
        has_manifest: whether one of them is ``manifest.json``.
    """

    names: Iterable[str]
    folders: set[str]
    links: set[str]
    states: dict[str, State]
    left_out: list[tuple[str, str]]
    has_manifest: bool = False


def state_of(path: str) -> State:
    """The state of a local file, following links; (None, None) if it does not exist."""
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return None, None
    return info.st_size, _micros(info.st_mtime_ns)


def _micros(nanoseconds: int | None) -> int | None:
    """The time in microseconds, or None outside of the years 1 to 9999."""
    micros = None if nanoseconds is None else nanoseconds // 1000
    return micros if micros is not None and -62_135_596_800_000_000 <= micros < 253_402_300_800_000_000 else None


def local_entries(folder: str, out: str | None) -> Entries:
    """The entries of a local folder, by `os.scandir`, which keeps only names in memory: a folder may have millions.

    Args:
        folder: its path.
        out: real path of the feature set that is being made; links to files in it are left out.

    Raises:
        QpertError: the folder cannot be read.
    """
    names: list[str] = []
    folders: set[str] = set()
    links: set[str] = set()
    left_out: list[tuple[str, str]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                reason = reason_to_ignore(entry.name)
                kind = _kind(entry)
                if not entry.name.isprintable() and not _is_text(entry.name):
                    left_out.append((NOT_UTF8, os.fsencode(entry.name).decode("utf-8", "backslashreplace")))
                elif reason is not None:
                    left_out.append((reason, entry.name + "/" * (kind == "folder")))
                elif kind not in ("folder", "file"):
                    left_out.append((kind, entry.name))
                elif kind == "file" and out is not None and entry.is_symlink() and is_inside(entry.path, out):
                    left_out.append((OURS, entry.name))
                else:
                    names.append(entry.name)
                    if kind == "folder":
                        folders.add(entry.name)
                        if entry.is_symlink():
                            links.add(entry.name)
    except OSError as error:
        hint = "; leave it out with --exclude" if isinstance(error, PermissionError) else ""
        raise QpertError(f"cannot read the folder {folder}: {error}{hint}") from error
    names.sort()
    left_out.sort()
    return Entries(names, folders, links, {}, left_out, MANIFEST in names)


def _kind(entry: os.DirEntry[str]) -> str:
    """Whether an entry is a "folder" or a "file"; otherwise the reason why it is neither."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        return "links that lead nowhere" if entry.is_symlink() and not os.path.exists(entry.path) else SPECIAL
    except OSError:  # a link to itself, or into a folder without permission
        return "links that lead nowhere" if entry.is_symlink() else SPECIAL


def remote_entries(filesystem: fs.FileSystem, folder: str) -> Entries:
    """The entries of a folder on a pyarrow file system.

    Raises:
        QpertError: the folder cannot be read.
    """
    try:
        with answering(folder, "cannot read the folder"):
            infos = filesystem.get_file_info(fs.FileSelector(folder))
    except UnicodeDecodeError:
        return Entries([], set(), set(), {}, [(f"{NOT_UTF8} (their whole folder is left out)", "./")])
    states: dict[str, State] = {}
    folders: set[str] = set()
    left_out: list[tuple[str, str]] = []
    for info in infos:
        is_folder = info.type == fs.FileType.Directory
        if (reason := reason_to_ignore(info.base_name)) is not None:
            left_out.append((reason, info.base_name + "/" * is_folder))
        elif is_folder:
            folders.add(info.base_name)
        elif info.type == fs.FileType.File:
            states[info.base_name] = info.size, _micros(info.mtime_ns)
        else:
            left_out.append((SPECIAL, info.base_name))
    return Entries(sorted([*states, *folders]), folders, set(), states, sorted(left_out), MANIFEST in states)


def bucket_entries(bucket: S3Bucket, folder: str, whole: int = WHOLE) -> Entries:
    """The entries of a folder of an S3 bucket; those of a large one as they are listed, so that memory is bounded.

    Args:
        bucket: the bucket.
        folder: bucket and path, as pyarrow has them.
        whole: entries from which on a folder is large.

    Raises:
        QpertError: the folder cannot be read.
    """
    path = folder.partition("/")[2]
    listed = pages(bucket, path)
    found = Entries([], set(), set(), {}, [])
    for page in listed:
        _sort_in(page, found)
        if len(found.states) + len(found.folders) >= whole:
            key = f"{path}/{MANIFEST}".lstrip("/")
            return found._replace(names=_as_listed(found, listed), has_manifest=exists(bucket, key))
    return found._replace(names=sorted([*found.states, *found.folders]), has_manifest=MANIFEST in found.states)


def _as_listed(found: Entries, listed: Iterable[list[Listed]]) -> Iterator[str]:
    yield from sorted([*found.states, *found.folders])
    for page in listed:
        found.states.clear()
        found.folders.clear()
        _sort_in(page, found)
        yield from sorted([*found.states, *found.folders])


def _sort_in(page: Iterable[Listed], found: Entries) -> None:
    for item in page:
        if (reason := reason_to_ignore(item.name)) is not None:
            found.left_out.append((reason, item.name + "/" * item.is_folder))
        elif item.is_folder:
            found.folders.add(item.name)
        else:
            found.states[item.name] = item.size, item.mtime


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
