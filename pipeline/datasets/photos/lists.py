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
LONGEST = 65536
"""Bytes of a line."""
_BOM = b"\xef\xbb\xbf"


class Named(NamedTuple):
    """A photo that is named in a list or table: its id, the path that patterns choose by, and where it is.

    That path is what is written in the list; in tables it begins with the table's own name, as in tars.
    """

    image_id: str
    text: str | None
    place: str | None


def is_list(name: str) -> bool:
    """Whether a file of such a name is a list."""
    return name.lower().endswith(LIST_SUFFIXES)


def check_text(path: str) -> None:
    """Refuse a list that is not UTF-8, by reading all of it once, piece by piece.

    Raises:
        QpertError: with the first line that is not, or why the list cannot be read.
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


def list_places(path: str, folder: str) -> Iterator[Named]:
    """The photos of the list `path`, whose lines are their ids; relative places are relative to `folder`.

    Empty lines and those that begin with ``#`` are left out. No more than a line is kept in memory.

    Raises:
        QpertError: it cannot be read, or has a line longer than `LONGEST`.
    """
    filesystem, inner = locate(path)
    with answering(path, "cannot read the list"), filesystem.open_input_stream(inner, compression=None) as stream:
        lines = io.BufferedReader(stream)
        number = 0
        while line := lines.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST:
                raise QpertError(f"{path} is not a list of photos: line {number} is longer than {LONGEST:,} bytes")
            # `check_text` has read it; whoever has changed it since sees the signs that are wrong.
            text = (line.removeprefix(_BOM) if number == 1 else line).decode("utf-8", "replace")
            name = text.removesuffix("\n").removesuffix("\r")
            if name.strip() and not name.lstrip().startswith("#"):
                yield Named(name, name, place_of(folder, name))


def place_of(folder: str, text: str) -> str:
    """Where a photo is whose path or URI is written down in `folder`.

    ``~/`` is the home folder of whoever runs this; other people's, ``~name/``, are names like any others. What is not a
    place that may be opened stays as it is, and is refused by its spelling when it is read.
    """
    if is_uri(text) or is_chained(text) or text[:6].lower() == "file:/":
        return text
    place = os.path.expanduser(text) if text.startswith("~/") else text
    return place if place.startswith("/") else join(folder, place)
