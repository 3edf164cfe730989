"""Walking through a folder and its subfolders, on any file system that pyarrow opens, with an optional pattern."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from pyarrow import fs

from pipeline.datasets.photos.folder_entries import (
    OURS,
    Entries,
    bucket_entries,
    local_entries,
    remote_entries,
    state_of,
)
from pipeline.datasets.photos.own_output import OWN_FOLDERS, is_feature_set
from pipeline.datasets.photos.part import Part
from pipeline.datasets.photos.patterns import compile_pattern, is_pattern
from pipeline.datasets.photos.rules import DEFAULT_RULES, NOT_CHOSEN, SourceRules
from pipeline.datasets.photos.skipped import Skipped
from pipeline.errors import QpertError
from pipeline.io.locations import file_type, join, local_path, locate, real_place, split
from pipeline.io.s3 import S3Bucket

_AHEAD = 16
"""Folders of a bucket that are listed concurrently."""


class FoundFile(NamedTuple):
    """A file: path relative to the folder, size in bytes, and time of change (microseconds since the epoch, UTC).

    Size and time are None if the file system does not tell.
    """

    name: str
    size: int | None = None
    mtime: int | None = None


@dataclass
class FolderWalk:
    """The files below the folder `root`, as paths relative to it, depth first in the order of the names.

    Every iteration walks anew, and raises a QpertError when a folder cannot be read. Left out, and counted in `skipped`
    as they are met, are hidden files and folders, those that operating systems keep for themselves, those that the
    rules exclude, names that are not UTF-8, links that lead nowhere, special files, and feature sets.

    Attributes:
        root: the folder.
        matches: selects relative paths; None for all.
        rules: their `exclude` applies.
        out: the feature set that is being made, whose files are left out.
        skipped: counts of the last iteration.
        part: if it is by folder, only its folders are entered.
    """

    root: str
    matches: Callable[[str], object] | None = None
    rules: SourceRules = DEFAULT_RULES
    out: str | None = None
    skipped: Skipped = field(default_factory=Skipped)
    part: Part | None = None

    def __iter__(self) -> Iterator[str]:
        """The paths of the files."""
        return (file.name for file in self.files())

    def files(self) -> Iterator[FoundFile]:
        """The files with their sizes and times of change."""
        self.skipped.clear()
        local = local_path(self.root)
        if local is not None:
            yield from self._below(local, lambda folder: local_entries(folder, self._out), lambda folders: None)
            return
        filesystem, path = locate(self.root)
        # A bucket answers slowly but concurrently: while one folder is read, the next are being listed.
        futures: dict[str, Future[Entries]] = {}
        with ThreadPoolExecutor(_AHEAD) as pool:
            bucket = S3Bucket.of(self.root) if self.root[:5].lower() == "s3://" else None

            def listed(folder: str) -> Entries:
                return remote_entries(filesystem, folder) if bucket is None else bucket_entries(bucket, folder)

            def list_ahead(folders: Iterable[str]) -> None:
                for folder in folders:
                    if folder not in futures:
                        futures[folder] = pool.submit(listed, folder)

            def entries(folder: str) -> Entries:
                list_ahead([folder])
                return futures.pop(folder).result()

            try:
                yield from self._below(path, entries, list_ahead)
            finally:
                for future in futures.values():
                    future.cancel()

    @property
    def _out(self) -> str | None:
        return None if self.out is None else real_place(self.out)

    def _below(
        self, root: str, entries: Callable[[str], Entries], list_ahead: Callable[[Iterable[str]], None]
    ) -> Iterator[FoundFile]:
        """Walk with an explicit stack: folders may be nested more deeply than Python's calls."""
        out = self._out
        stack = [_Level(root, "", real_place(self.root), self._included("", entries(root)))]
        while stack:
            level = stack[-1]
            name = next(level.names, None)
            if name is None:
                stack.pop()
                continue
            path = level.prefix + name
            if name not in level.entries.folders:
                if self.matches is None or self.matches(path):
                    state = level.entries.states.get(name)
                    yield FoundFile(path, *(state or state_of(f"{level.folder}/{name}")))
                continue
            list_ahead(posixpath.join(level.folder, subfolder) for subfolder in level.next_folders(_AHEAD))
            folder = posixpath.join(level.folder, name)
            # Derived from the parent's real path: resolving every folder on disk is slow for deep trees.
            real = os.path.realpath(folder) if name in level.entries.links else f"{level.real.rstrip('/')}/{name}"
            if any(real == above.real for above in stack):
                self._skip("links back to a folder that they lie in", path + "/", folder=True)
                continue
            if out is not None and (real == out or real.startswith(out + "/")):
                self._skip(OURS, path + "/", folder=True)
                continue
            inner = entries(folder)
            if inner.has_manifest and is_feature_set(join(self.root, path)):
                self._skip(OURS, path + "/", folder=True)
                continue
            stack.append(_Level(folder, path + "/", real, self._included(path + "/", inner)))

    def _included(self, prefix: str, entries: Entries) -> Entries:
        """The entries that are not left out; the others are counted."""
        own: tuple[str, ...] = ()
        if not prefix and (self._is_out() or (entries.has_manifest and is_feature_set(self.root))):
            own = OWN_FOLDERS
        names = self._chosen(prefix, entries, own)
        return entries._replace(names=list(names) if isinstance(entries.names, list) else names)

    def _chosen(self, prefix: str, entries: Entries, own: tuple[str, ...]) -> Iterator[str]:
        self._count_left_out(prefix, entries)
        for name in entries.names:
            self._count_left_out(prefix, entries)
            is_folder = name in entries.folders
            shown = f"{prefix}{name}/" if is_folder else prefix + name
            if is_folder and name in own:
                self._skip(OURS, shown, folder=True)
            elif self.rules.exclude and self.rules.excludes(prefix + name):
                self._skip(NOT_CHOSEN, shown, folder=is_folder)
            elif prefix or self.part is None or self.part.by != "folder" or self.part.has(name):
                yield name
        self._count_left_out(prefix, entries)

    def _count_left_out(self, prefix: str, entries: Entries) -> None:
        for reason, name in entries.left_out:
            self._skip(reason, prefix + name, folder=name.endswith("/"))
        entries.left_out.clear()

    def _is_out(self) -> bool:
        return self.out is not None and real_place(self.root) == self._out

    def _skip(self, reason: str, path: str, *, folder: bool) -> None:
        # With a pattern only matching files count, and a folder that is not entered has an unknown number of them.
        if self.matches is None or (not folder and self.matches(path)):
            self.skipped.add(reason, path)


class _Level:
    """A folder on the path of the walk."""

    def __init__(self, folder: str, prefix: str, real: str, entries: Entries) -> None:
        self.folder, self.prefix, self.real, self.entries = folder, prefix, real, entries
        self.names = iter(entries.names)
        known = entries.names if isinstance(entries.names, list) else ()
        self._subfolders = [name for name in known if name in entries.folders]
        self._next = 0

    def next_folders(self, count: int) -> list[str]:
        """The next `count` subfolders, the first of which is entered now."""
        self._next += 1
        return self._subfolders[self._next - 1 : self._next - 1 + count]


def glob(
    pattern: str, rules: SourceRules = DEFAULT_RULES, out: str | None = None, part: Part | None = None
) -> FolderWalk:
    """The files that match a pattern (see `compile_pattern`), below the folder that it starts from.

    A part of the pattern that is the name of an existing folder is taken literally.

    Raises:
        QpertError: the folder does not exist, or the pattern is not valid.
    """
    root, rest = split(pattern)
    while not _is_folder(root):
        above, name = split(root)
        if not name or not is_pattern(locate(root)[1]):
            raise QpertError(f"there is no folder {root}")
        root, rest = above, f"{name}/{rest}"
    return FolderWalk(root, compile_pattern(rest), rules, out, part=part)


def _is_folder(path: str) -> bool:
    return not re.search(r"[*?]", locate(path)[1]) and file_type(path) == fs.FileType.Directory
