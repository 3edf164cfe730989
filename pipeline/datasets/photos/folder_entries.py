"""What lies in one folder, on local disks and elsewhere: files, folders, and what is left out with the reason."""

from __future__ import annotations

import os
from typing import NamedTuple

from pyarrow import fs

from pipeline.datasets.photos.housekeeping import is_housekeeping
from pipeline.errors import QpertError
from pipeline.io.locations import answering, is_inside

NO_TEXT = "files and folders whose names are not UTF-8"
SPECIAL = "named pipes, sockets and devices"
OURS = "feature sets of qpert"
State = tuple[int | None, int | None]


class Entries(NamedTuple):
    """What is in a folder.

    Attributes:
        names: in order.
        folders: those of them that are folders.
        links: those of the folders that lie elsewhere.
        states: size and time of change of the files, where listing the folder tells.
        left_out: reason and name of what was left out.
    """

    names: list[str]
    folders: set[str]
    links: set[str]
    states: dict[str, State]
    left_out: list[tuple[str, str]]


def state_of(path: str) -> State:
    """Size and time of change of a local file, links followed; nothing of one that is not there."""
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return None, None
    return info.st_size, _micros(info.st_mtime_ns)


def _micros(nanoseconds: int | None) -> int | None:
    """Of a time that a calendar has."""
    micros = None if nanoseconds is None else nanoseconds // 1000
    return micros if micros is not None and -62_135_596_800_000_000 <= micros < 253_402_300_800_000_000 else None


def local_entries(folder: str, out: str | None) -> Entries:
    """Of a local folder, by `os.scandir`, which keeps no more than the names: a folder may have millions.

    Args:
        folder: its path.
        out: real path of the features that are being made; links to files in there are left out.

    Raises:
        QpertError: it cannot be read.
    """
    names: list[str] = []
    folders: set[str] = set()
    links: set[str] = set()
    left_out: list[tuple[str, str]] = []
    try:
        with os.scandir(folder) as found:
            for entry in found:
                reason = is_housekeeping(entry.name)
                kind = _kind(entry)
                if not entry.name.isprintable() and not _is_text(entry.name):
                    left_out.append((NO_TEXT, os.fsencode(entry.name).decode("utf-8", "backslashreplace")))
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
    return Entries(names, folders, links, {}, left_out)


def _kind(entry: os.DirEntry[str]) -> str:
    """folder, file, or why it is neither."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        return "links that lead nowhere" if entry.is_symlink() and not os.path.exists(entry.path) else SPECIAL
    except OSError:  # a link to itself, or into a folder that may not be looked into
        return "links that lead nowhere" if entry.is_symlink() else SPECIAL


def remote_entries(filesystem: fs.FileSystem, folder: str) -> Entries:
    """Of a folder on a file system of pyarrow's.

    Raises:
        QpertError: it cannot be read.
    """
    try:
        with answering(folder, "cannot read the folder"):
            found = filesystem.get_file_info(fs.FileSelector(folder))
    except UnicodeDecodeError:
        return Entries([], set(), set(), {}, [(f"{NO_TEXT} (their whole folder is left out)", "./")])
    states: dict[str, State] = {}
    folders: set[str] = set()
    left_out: list[tuple[str, str]] = []
    for info in found:
        is_folder = info.type == fs.FileType.Directory
        if (reason := is_housekeeping(info.base_name)) is not None:
            left_out.append((reason, info.base_name + "/" * is_folder))
        elif is_folder:
            folders.add(info.base_name)
        elif info.type == fs.FileType.File:
            states[info.base_name] = info.size, _micros(info.mtime_ns)
        else:
            left_out.append((SPECIAL, info.base_name))
    return Entries(sorted([*states, *folders]), folders, set(), states, sorted(left_out))


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
