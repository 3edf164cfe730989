"""The members of a tar, streamed once from front to back: their names, which of them are photos, and their data."""

from __future__ import annotations

import io
import posixpath
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import cast

from pipeline.datasets.photos.formats import file_kind, not_a_photo
from pipeline.datasets.photos.ignored_names import reason_to_ignore_path
from pipeline.datasets.photos.photo_columns import too_large
from pipeline.datasets.photos.rules import NOT_CHOSEN, SourceRules
from pipeline.datasets.photos.shard import Photo, member_uri
from pipeline.datasets.photos.skipped import Skipped
from pipeline.datasets.photos.tar_stream import Header, TarStream
from pipeline.io.locations import is_uri, locate
from pipeline.io.reading_ahead import ReadAhead

_MAX_NAME = 4096
_HOLES = 100
"""A sparse file this many times larger than its data is not a photo: encoded photos have no holes."""


def members(path: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield each member with the open tar; a tar in a bucket is read once from front to back."""
    filesystem, inner = locate(path)
    with filesystem.open_input_stream(inner, compression=None) as raw, ExitStack() as reading:
        # Every small read of a bucket would be a request of its own.
        stream = reading.enter_context(ReadAhead(raw)) if is_uri(path) else raw
        tar = tarfile.TarFile(fileobj=TarStream(stream), tarinfo=Header, ignore_zeros=True)  # type: ignore[arg-type]
        with closing(tar):
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined] # otherwise it keeps every header
                yield tar, member


def open_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> io.BufferedReader:
    """The data of a regular member as a file."""
    return cast("io.BufferedReader", tar.extractfile(member))


def read_member(
    row: Photo, tar: tarfile.TarFile, member: tarfile.TarInfo, max_bytes: int, file: io.BufferedReader | None = None
) -> Photo:
    """Add the data of a regular member to `row`, or the reason why it is not read; `file` if it is open already.

    Raises:
        tarfile.ReadError: the archive ends within the member.
    """
    if member.size > max_bytes:
        return row._replace(error=too_large(member.size, max_bytes))
    holes: list[tuple[int, int]] | None = member.sparse  # type: ignore[assignment]
    if holes is not None and sum(size for _, size in holes) * _HOLES < member.size:
        return row._replace(error="a sparse file that is mostly holes")
    data = (file or open_member(tar, member)).read()
    if len(data) < member.size:
        raise tarfile.ReadError("unexpected end of data")
    return row._replace(data=data)


def member_name(member: tarfile.TarInfo) -> str:
    """The member's name as text; tars may hold names that are not UTF-8."""
    return as_text(member.name)


def as_text(name: str) -> str:
    """A name from a header with replacement characters for bytes that are not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def normal_name(name: str) -> str:
    """A member's name as a normalised path without leading slashes."""
    return posixpath.normpath(name.lstrip("/"))


def split_key(name: str) -> tuple[str, str]:
    """The key of a webdataset and the ending in lower case: ``n/0001.mask.png`` -> ``n/0001``, ``mask.png``."""
    folder, base = posixpath.split(name)
    key, _, ending = base.partition(".")
    return posixpath.join(folder, key), ending.lower()


class MemberRows:
    """Decides which members of a tar are photos, and makes their rows."""

    def __init__(self, path: str, shard: str, rules: SourceRules, skipped: Skipped) -> None:
        self._path, self._shard, self._rules, self._skipped = path, shard, rules, skipped
        self._seen: Counter[str] = Counter()
        self._endings = {ending.strip(".").lower() for ending in re.split(r"[;,\s]+", rules.image_key or "") if ending}

    def row(self, member: tarfile.TarInfo, name: str, *, is_image: bool) -> Photo | None:
        """The row of a photo, without its data; None for any other member, which is counted.

        Args:
            member: its header.
            name: its name as text.
            is_image: whether its content begins like a photo, in case the name does not tell.
        """
        full = f"{self._shard}/{name}"
        reason = self._reason_to_skip(name, full, is_image)
        if reason:
            self._skipped.add(reason, full[:_MAX_NAME])
            return None
        if len(name) > _MAX_NAME:
            image_id = f"{self._shard}/{name[:_MAX_NAME]}#{member.offset}"
            return Photo(image_id, self._path, None, f"name too long: {len(name)} characters, limit {_MAX_NAME}")
        self._seen[name] += 1
        count = self._seen[name] if self._seen[name] > 1 else None
        error = None if member.isreg() or member.issym() or member.islnk() else "a device or pipe, not a file"
        image_id = full + (f"#{count}" if count else "")
        return Photo(image_id, member_uri(self._path, name, count), None, error)

    def _reason_to_skip(self, name: str, full: str, is_image: bool) -> str | None:
        if reason := reason_to_ignore_path(name):
            return reason
        kind = file_kind(name)
        if kind != "photo" and not is_image:
            return not_a_photo(name, kind)
        if not self._rules.includes(full) or self._rules.excludes(full):
            return NOT_CHOSEN
        if self._endings and split_key(name)[1] not in self._endings:
            return "other images of a key (--image-key)"
        return None
