"""Files below a folder, all or those that match a pattern, on any file system that pyarrow opens."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from pyarrow import fs

from pipeline.datasets.photos.folder_entries import OURS, Entries, local_entries, remote_entries, state_of
from pipeline.datasets.photos.own_output import OWN_FOLDERS, is_feature_set
from pipeline.datasets.photos.patterns import compile_pattern, is_pattern
from pipeline.datasets.photos.rules import DEFAULT_RULES, NOT_CHOSEN, SourceRules
from pipeline.datasets.photos.skipped import Skipped
from pipeline.errors import QpertError
from pipeline.io.locations import file_type, join, local_path, locate, real_place, split

_AHEAD = 16
"""Folders of a bucket that are listed at once."""


class FoundFile(NamedTuple):
    """A file: its path relative to the folder, its bytes, and when it was changed (microseconds since the epoch, UTC).

    The last two are None where the file system does not tell.
    """

    name: str
    size: int | None = None
    mtime: int | None = None


@dataclass
class Files:
    """The files below the folder `root` as paths relative to it, depth first in the order of the names.

    Every iteration looks anew, and raises a QpertError when a folder cannot be read. Left out, and counted in `skipped`
    as soon as they are come by, are hidden files and folders, those that systems keep for themselves, what the rules
    exclude, names that are not UTF-8, links that lead nowhere, special files, and what qpert itself has written.

    Attributes:
        root: a folder.
        matches: which relative paths to give; None for all.
        rules: whose `exclude` applies.
        out: the features that are being made: nothing in there is given.
        skipped: what the last iteration left out.
    """

    root: str
    matches: Callable[[str], object] | None = None
    rules: SourceRules = DEFAULT_RULES
    out: str | None = None
    skipped: Skipped = field(default_factory=Skipped)

    def __iter__(self) -> Iterator[str]:
        """Their paths."""
        return (file.name for file in self.found())

    def found(self) -> Iterator[FoundFile]:
        """Walks through the folder."""
        self.skipped.clear()
        local = local_path(self.root)
        if local is not None:
            yield from self._below(local, lambda folder: local_entries(folder, self._out), lambda folders: None)
            return
        filesystem, path = locate(self.root)
        # A bucket answers slowly and serves many at once: while one folder is read, the next are listed already.
        ahead: dict[str, Future[Entries]] = {}
        with ThreadPoolExecutor(_AHEAD) as pool:

            def look(folders: Iterable[str]) -> None:
                for folder in folders:
                    if folder not in ahead:
                        ahead[folder] = pool.submit(remote_entries, filesystem, folder)

            def entries(folder: str) -> Entries:
                look([folder])
                return ahead.pop(folder).result()

            try:
                yield from self._below(path, entries, look)
            finally:
                for future in ahead.values():
                    future.cancel()

    @property
    def _out(self) -> str | None:
        return None if self.out is None else real_place(self.out)

    def _below(
        self, root: str, entries: Callable[[str], Entries], look: Callable[[Iterable[str]], None]
    ) -> Iterator[FoundFile]:
        """With a stack of its own: folders may lie in each other more deeply than Python's calls."""
        out = self._out
        stack = [_Level(root, "", real_place(self.root), self._sorted_out("", entries(root)))]
        while stack:
            level = stack[-1]
            name = next(level.left, None)
            if name is None:
                stack.pop()
                continue
            path = level.prefix + name
            if name not in level.entries.folders:
                if self.matches is None or self.matches(path):
                    state = level.entries.states.get(name)
                    yield FoundFile(path, *(state or state_of(f"{level.folder}/{name}")))
                continue
            look(posixpath.join(level.folder, ahead) for ahead in level.next_folders(_AHEAD))
            folder = posixpath.join(level.folder, name)
            # By what lies above it: to ask the disk for every folder takes long where they lie deep.
            real = os.path.realpath(folder) if name in level.entries.links else f"{level.real.rstrip('/')}/{name}"
            if any(real == above.real for above in stack):
                self._skip("links back to a folder that they lie in", path + "/", folder=True)
                continue
            if out is not None and (real == out or real.startswith(out + "/")):
                self._skip(OURS, path + "/", folder=True)
                continue
            found = entries(folder)
            if "manifest.json" in found.names and is_feature_set(join(self.root, path)):
                self._skip(OURS, path + "/", folder=True)
                continue
            stack.append(_Level(folder, path + "/", real, self._sorted_out(path + "/", found)))

    def _sorted_out(self, prefix: str, entries: Entries) -> Entries:
        """Without what is left out, which is counted."""
        for reason, name in entries.left_out:
            self._skip(reason, prefix + name, folder=name.endswith("/"))
        own: tuple[str, ...] = ()
        if not prefix and (self._is_out() or ("manifest.json" in entries.names and is_feature_set(self.root))):
            own = OWN_FOLDERS
        names = []
        for name in entries.names:
            is_folder = name in entries.folders
            shown = f"{prefix}{name}/" if is_folder else prefix + name
            if is_folder and name in own:
                self._skip(OURS, shown, folder=True)
            elif self.rules.exclude and self.rules.excludes(prefix + name):
                self._skip(NOT_CHOSEN, shown, folder=is_folder)
            else:
                names.append(name)
        return entries._replace(names=names)

    def _is_out(self) -> bool:
        return self.out is not None and real_place(self.root) == self._out

    def _skip(self, reason: str, path: str, *, folder: bool) -> None:
        # A pattern speaks of its files alone; which ones a folder has that is not looked into, nobody knows.
        if self.matches is None or (not folder and self.matches(path)):
            self.skipped.add(reason, path)


class _Level:
    """A folder that is being walked through."""

    def __init__(self, folder: str, prefix: str, real: str, entries: Entries) -> None:
        self.folder, self.prefix, self.real, self.entries = folder, prefix, real, entries
        self.left = iter(entries.names)
        self._inner = [name for name in entries.names if name in entries.folders]
        self._at = 0

    def next_folders(self, count: int) -> list[str]:
        """The folder that it is the turn of, and those after it."""
        self._at += 1
        return self._inner[self._at - 1 : self._at - 1 + count]


def glob(pattern: str, rules: SourceRules = DEFAULT_RULES, out: str | None = None) -> Files:
    """The files that match a pattern (see `compile_pattern`), below the folder that it starts from.

    Folders that exist by the very name are no patterns.

    Raises:
        QpertError: there is no such folder, or the pattern makes no sense.
    """
    root, rest = split(pattern)
    while not _is_folder(root):
        above, name = split(root)
        if not name or not is_pattern(locate(root)[1]):
            raise QpertError(f"there is no folder {root}")
        root, rest = above, f"{name}/{rest}"
    return Files(root, compile_pattern(rest), rules, out)


def _is_folder(path: str) -> bool:
    return not re.search(r"[*?]", locate(path)[1]) and file_type(path) == fs.FileType.Directory
