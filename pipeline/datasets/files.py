"""Files below a folder, all or those that match a pattern, on any file system that pyarrow opens."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from pyarrow import fs

from pipeline.datasets.notes import Notes
from pipeline.errors import QpertError
from pipeline.storage import file_type, locate, split

Entries = tuple[list[str], set[str], str | None]
"""What is in a folder: names in order, which of them are folders, and the folder's real path on a local disk."""
_AHEAD = 16
"""Folders of a bucket that are listed at once."""
_NO_TEXT = "files and folders whose names are not UTF-8 are left out; rename them"
_WILDCARD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[[!^]?[^/][^/\]]*\]")
_BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")


@dataclass
class Files:
    """The files below the folder `root` as paths relative to it, depth first in the order of the names.

    Every iteration looks anew, and raises a QpertError when a folder cannot be read. Hidden files and folders are left
    out. So are names that are not UTF-8 and links that lead nowhere, with one warning after the first whole iteration.
    """

    root: str
    matches: Callable[[str], object] | None = None
    """Which relative paths to give; None for all."""
    _said: bool = field(default=False, init=False)

    def __iter__(self) -> Iterator[str]:
        """Walks through the folder."""
        filesystem, path = locate(self.root)
        notes = Notes(self.root)
        for name in _walk(filesystem, path, notes):
            if self.matches is None or self.matches(name):
                yield name
        if not self._said:
            notes.warn()
        self._said = True


def _walk(filesystem: fs.FileSystem, folder: str, notes: Notes) -> Iterator[str]:
    if isinstance(filesystem, fs.LocalFileSystem):
        yield from _below(folder, "", (), partial(_local_entries, notes), lambda names: None)
        return
    # A bucket answers slowly and serves many at once: while one folder is read, the next are listed already.
    ahead: dict[str, Future[Entries]] = {}
    with ThreadPoolExecutor(_AHEAD) as pool:

        def look(folders: Iterable[str]) -> None:
            for each in folders:
                if each not in ahead:
                    ahead[each] = pool.submit(_remote_entries, filesystem, each, notes)

        def entries(folder: str, prefix: str) -> Entries:
            look([folder])
            return ahead.pop(folder).result()

        try:
            yield from _below(folder, "", (), entries, look)
        finally:
            for future in ahead.values():
                future.cancel()


def _below(
    folder: str,
    prefix: str,
    above: tuple[str, ...],
    entries: Callable[[str, str], Entries],
    look: Callable[[Iterable[str]], None],
) -> Iterator[str]:
    names, folders, real = entries(folder, prefix)
    if real is not None and real in above:  # a link back to where we come from
        return
    inner = [name for name in names if name in folders]
    at = 0
    for name in names:
        if name not in folders:
            yield prefix + name
            continue
        look(posixpath.join(folder, each) for each in inner[at : at + _AHEAD])
        at += 1
        further = above if real is None else (*above, real)
        yield from _below(posixpath.join(folder, name), f"{prefix}{name}/", further, entries, look)


def _local_entries(notes: Notes, folder: str, prefix: str) -> Entries:
    """By `os.scandir`, which keeps no more than the names: a folder may have millions."""
    names: list[str] = []
    folders: set[str] = set()
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if _is_hidden(entry.name):
                    continue
                if not entry.name.isprintable() and not _is_text(entry.name):
                    notes.add(_NO_TEXT, f"in {folder}")
                elif entry.is_dir():
                    folders.add(entry.name)
                    names.append(entry.name)
                elif entry.is_file():
                    names.append(entry.name)
                elif entry.is_symlink() and not os.path.exists(entry.path):
                    notes.add("links that lead nowhere are left out", prefix + entry.name)
    except OSError as error:
        raise QpertError(f"cannot read the folder {folder}: {error}") from error
    names.sort()
    return names, folders, os.path.realpath(folder)


def _remote_entries(filesystem: fs.FileSystem, folder: str, notes: Notes) -> Entries:
    try:
        found = {info.base_name: info.type for info in filesystem.get_file_info(fs.FileSelector(folder))}
    except OSError as error:
        raise QpertError(f"cannot read the folder {folder}: {error}") from error
    except UnicodeDecodeError:
        notes.add("folders with names that are not UTF-8 are left out; rename them", folder)
        return [], set(), None
    kinds = (fs.FileType.File, fs.FileType.Directory)
    names = sorted(name for name, kind in found.items() if kind in kinds and not _is_hidden(name))
    return names, {name for name in names if found[name] == fs.FileType.Directory}, None


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_pattern(path: str) -> bool:
    """Whether `path` has wildcards or braces."""
    return re.search(r"[*?[{]", path) is not None


def glob(pattern: str) -> Files:
    """The files that match a pattern, below the folder that it starts from.

    ``*`` and ``?`` stand for characters of a name, ``**`` for any folders, ``[0-9]`` and ``[!a-z]`` for one character,
    ``{a,b}`` for either and ``{000..127}`` for a number. Folders that exist by the very name are no patterns.

    Raises:
        QpertError: there is no such folder, or the pattern makes no sense.
    """
    root, rest = split(pattern)
    while not _is_folder(root):
        above, name = split(root)
        if not name or not is_pattern(locate(root)[1]):
            raise QpertError(f"there is no folder {root}")
        root, rest = above, f"{name}/{rest}"
    try:
        matches = re.compile("|".join(map(_regex, _expand(rest))), re.DOTALL).fullmatch
    except re.error as error:
        raise QpertError(f"the pattern {pattern} makes no sense: {error}") from error
    return Files(root, matches)


def _is_folder(path: str) -> bool:
    return not re.search(r"[*?]", locate(path)[1]) and file_type(path) == fs.FileType.Directory


def _expand(pattern: str) -> Iterator[str]:
    """The patterns that one with braces stands for, as a shell has it."""
    found = _BRACES.search(pattern)
    if found is None:
        yield pattern
        return
    first, last, choices = found.groups()
    if choices is None:
        low, high = sorted((int(first), int(last)))
        padded = any(len(each) > 1 and each.startswith("0") for each in (first, last))
        width = max(len(first), len(last)) if padded else 0
        options = [f"{number:0{width}}" for number in range(low, high + 1)]
    else:
        options = choices.split(",")
    for option in options:
        yield from _expand(pattern[: found.start()] + option + pattern[found.end() :])


def _regex(pattern: str) -> str:
    texts, tokens = _TOKEN.split(pattern), _TOKEN.findall(pattern)
    return re.escape(texts[0]) + "".join(
        _wild(token) + re.escape(text) for token, text in zip(tokens, texts[1:], strict=True)
    )


def _wild(token: str) -> str:
    if token in _WILDCARD:
        return _WILDCARD[token]
    negated = token[1] in "!^" and len(token) > 3
    members = re.sub(r"([\\\[\]^&~|])", r"\\\1", token[2 if negated else 1 : -1])
    return f"(?!/)[{'^' if negated else ''}{members}]"
