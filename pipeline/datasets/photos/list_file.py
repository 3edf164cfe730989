"""List files: one path or URI of a photo per line."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.datasets.photos.access import is_chained
from pipeline.errors import QpertError
from pipeline.io.locations import answering, is_uri, join, locate

LIST_SUFFIXES = (".txt", ".lst", ".list")
MAX_LINE = 65536
"""Bytes in a line."""
_BOM = b"\xef\xbb\xbf"


class NamedItem(NamedTuple):
    """A photo that a list or table names.

    Attributes:
        image_id: its id.
        text: the path that `--include` and `--exclude` are matched with: as written in a list; in a table preceded by
            the table's own name, as in tars. None if the row names no photo.
        place: its path or URI, or None.
    """

    image_id: str
    text: str | None
    place: str | None


def is_list(name: str) -> bool:
    """Whether a file of this name is a list."""
    return name.lower().endswith(LIST_SUFFIXES)


def check_utf8(path: str) -> None:
    """Check that a list is UTF-8, by reading all of it once in pieces.

    Raises:
        QpertError: the list is not UTF-8 (with the first such line), or cannot be read.
    """
    filesystem, inner = locate(path)
    decoder, line = codecs.getincrementaldecoder("utf-8")(), 1
    with answering(path, "cannot read the list"), filesystem.open_input_stream(inner, compression=None) as stream:
        chunk = b"\n"
        while chunk:
            chunk = stream.read(1024**2)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                raise QpertError(f"{path} is not UTF-8 text: line {line}; save the list as UTF-8") from None
            line += chunk.count(b"\n")


def read_list(path: str, folder: str) -> Iterator[NamedItem]:
    """Yield the photos of the list `path`, whose lines are their ids; relative paths are relative to `folder`.

    Empty lines and lines that begin with ``#`` are left out. Only one line is kept in memory.

    Raises:
        QpertError: the list cannot be read, or has a line longer than `MAX_LINE`.
    """
    filesystem, inner = locate(path)
    with answering(path, "cannot read the list"), filesystem.open_input_stream(inner, compression=None) as stream:
        lines = io.BufferedReader(stream)
        number = 0
        while line := lines.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise QpertError(f"{path} is not a list of photos: line {number} is longer than {MAX_LINE:,} bytes")
            # `check_utf8` has accepted the list; if it was changed since, replacement characters show where.
            text = (line.removeprefix(_BOM) if number == 1 else line).decode("utf-8", "replace")
            name = text.removesuffix("\n").removesuffix("\r")
            if name.strip() and not name.lstrip().startswith("#"):
                yield NamedItem(name, name, place_of(folder, name))


def place_of(folder: str, text: str) -> str:
    """The absolute path or URI of a photo that a file in `folder` names as `text`.

    ``~/`` is the current user's home folder; ``~name/`` is taken literally. Text that may not be opened is returned
    unchanged, and refused by its spelling when it is read.
    """
    if is_uri(text) or is_chained(text) or text[:6].lower() == "file:/":
        return text
    place = os.path.expanduser(text) if text.startswith("~/") else text
    return place if place.startswith("/") else join(folder, place)
