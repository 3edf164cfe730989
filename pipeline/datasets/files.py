"""Files below a folder, all or those that match a pattern, on any file system that pyarrow opens."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import filterfalse

from pyarrow import fs

from pipeline.datasets.notes import Notes
from pipeline.errors import QpertError
from pipeline.storage import file_type, locate, split

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
        for name in _walk(filesystem, path, "", (), notes):
            if self.matches is None or self.matches(name):
                yield name
        if not self._said:
            notes.warn()
        self._said = True


def _walk(filesystem: fs.FileSystem, folder: str, prefix: str, above: tuple[str, ...], notes: Notes) -> Iterator[str]:
    local = isinstance(filesystem, fs.LocalFileSystem)
    if local:
        real = os.path.realpath(folder)
        if real in above:  # a link back to where we come from
            return
        above = (*above, real)
    try:
        found = dict(_named(filesystem.get_file_info(fs.FileSelector(folder)), folder, notes))
        lost = set(os.listdir(folder)).difference(found) if local else set()
    except OSError as error:
        raise QpertError(f"cannot read the folder {folder}: {error}") from error
    for name in sorted(filterfalse(_is_hidden, lost)):
        if not os.path.exists(os.path.join(folder, name)):  # pyarrow does not mention these links
            notes.add("links that lead nowhere are left out", prefix + name)
    for name in sorted(filterfalse(_is_hidden, found)):
        if found[name].type == fs.FileType.Directory:
            yield from _walk(filesystem, found[name].path, f"{prefix}{name}/", above, notes)
        elif found[name].type == fs.FileType.File:
            yield prefix + name


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _named(found: Iterable[fs.FileInfo], folder: str, notes: Notes) -> Iterator[tuple[str, fs.FileInfo]]:
    for info in found:
        try:
            yield info.base_name, info
        except UnicodeDecodeError:
            notes.add("files and folders whose names are not UTF-8 are left out; rename them", f"in {folder}")


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
