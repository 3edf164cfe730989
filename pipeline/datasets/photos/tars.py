"""Photos in tars: one after the other as they lie there, links among them, damage and malice as rows with a reason."""

from __future__ import annotations

import io
import posixpath
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import NamedTuple, cast
from urllib.parse import quote

from pipeline.datasets.photos.archive_stream import ArchiveStream, Header
from pipeline.datasets.photos.formats import HEAD, TARS, file_kind, is_image, not_a_photo
from pipeline.datasets.photos.housekeeping import housekeeping_in
from pipeline.datasets.photos.photo_columns import too_large
from pipeline.datasets.photos.rules import NOT_CHOSEN, SourceRules
from pipeline.datasets.photos.skipped import Skipped
from pipeline.errors import QpertError
from pipeline.io.images.formats import SUFFIXES
from pipeline.io.locations import as_uri, is_uri, locate, without_options
from pipeline.io.retrying import transient

_MAX_NAME = 4096
_MAX_LINKS = 200_000
"""Links of one tar that are followed: they are kept in memory until the whole tar was seen."""
_CHAIN = 40
"""Links to links, as the file systems of Linux follow them."""
_LOOK = 64
"""Members that are looked at to see what a tar is like."""
_HOLES = 100
"""A sparse file of so many times its data is no photo: the bytes of photos have no holes."""


class Photo(NamedTuple):
    """One photo that was read, or the reason why there is none."""

    image_id: str
    uri: str
    data: bytes | None
    error: str | None


def is_tar(path: str) -> bool:
    """Whether `path` is called like a tar."""
    return without_options(path).lower().endswith(TARS)


def member_uri(path: str, name: str, number: int | None = None) -> str:
    """Where one photo of a shard is: the shard's URI, ``#``, and a tar's member or ``column;row`` of a Parquet file.

    Of several members of one name in a tar the second has ``;2`` behind its name, and so on.
    """
    return f"{as_uri(path)}#{quote(name)}" + ("" if number is None else f";{number}")


def tar_photos(path: str, shard: str, rules: SourceRules, skipped: Skipped | None = None) -> Iterator[Photo]:
    """The photos of a tar, and a last row that carries the tar's own name and the reason where it breaks off.

    Links to files of the same tar come after its files, with what these hold: the tar is read a second time for them,
    so that no photo must be kept.

    Args:
        path: of the tar.
        shard: its name within the source.
        rules: what is a photo.
        skipped: is told of members that are none.
    """
    names = _Names(path, shard, rules, Skipped() if skipped is None else skipped)
    links: dict[str, tarfile.TarInfo] = {}
    waiting: dict[str, tuple[Photo, str]] = {}
    try:
        for tar, member in _members(path):
            name = member_name(member)
            if (member.issym() or member.islnk()) and len(links) < _MAX_LINKS:
                links.setdefault(_normal(name), member)
            if member.isdir():
                continue
            file = _file(tar, member) if member.isreg() and file_kind(name) == "unknown" else None
            row = names.row(member, name, is_image=file is not None and is_image(file.peek(HEAD)[:HEAD]))
            if row is None:
                continue
            if row.error is None and (member.issym() or member.islnk()):
                if len(waiting) < _MAX_LINKS:
                    waiting[row.image_id] = row, _normal(name)
                else:
                    yield row._replace(error=f"one of more than {_MAX_LINKS} links")
            else:
                yield row if row.error else _read(row, tar, member, rules.max_bytes, file)
        for row in _linked(path, list(waiting.values()), links, rules.max_bytes):
            waiting.pop(row.image_id)
            yield row
    except Exception as error:  # tarfile and decompressors raise whatever hostile bytes bring about
        if is_uri(path) and transient(error):
            raise  # the storage is ill, not the archive: its other photos are not lost
        yield from (row._replace(error="link in a damaged archive") for row, _ in waiting.values())
        yield Photo(shard, path, None, f"damaged archive: {_short(error)}")


def tar_member(path: str, name: str, number: int, max_bytes: int) -> bytes:
    """The photo that is the `number`-th of its name in a tar.

    Raises:
        QpertError: there is none, or it cannot be read.
    """
    links: dict[str, tarfile.TarInfo] = {}
    try:
        found = _member_data(path, name, number, max_bytes, links)
        if found is None and _normal(name) in links:
            target = _target(_normal(name), links)
            found = _member_data(path, target, 1, max_bytes, {}, normal=True)
    except FileNotFoundError:
        raise QpertError("file not found") from None
    except QpertError:
        raise
    except Exception as error:  # as above
        raise QpertError(f"damaged archive: {_short(error)}") from error
    if found is None:
        raise QpertError("link to what is not in the archive" if _normal(name) in links else "not a file")
    return found


def key_with_several_images(path: str) -> tuple[str, str] | None:
    """Two photos of one webdataset key among the first members of a tar, such as a photo and its mask; None if not.

    A tar that cannot be read has none: its own row will say why.
    """
    endings: dict[str, str] = {}
    try:
        for _, member in islice(_members(path), _LOOK):
            name = member_name(member)
            if not member.isreg() or not name.lower().endswith(SUFFIXES) or housekeeping_in(name):
                continue
            key, ending = _key(name)
            if endings.setdefault(key, ending) != ending:
                return f"{key}.{endings[key]}", f"{key}.{ending}"
    except Exception:  # as above
        return None
    return None


def member_name(member: tarfile.TarInfo) -> str:
    """The member's name; tars may hold some that are not UTF-8."""
    return member.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class _Names:
    """Which members are photos, and what their rows are called."""

    def __init__(self, path: str, shard: str, rules: SourceRules, skipped: Skipped) -> None:
        self.path, self.shard, self.rules, self.skipped = path, shard, rules, skipped
        self.seen: Counter[str] = Counter()
        self.endings = {ending.strip(".").lower() for ending in re.split(r"[;,\s]+", rules.image_key or "") if ending}

    def row(self, member: tarfile.TarInfo, name: str, *, is_image: bool) -> Photo | None:
        """The row of a photo, without its data; None for what is none, which is counted.

        Args:
            member: its header.
            name: its name.
            is_image: whether it begins like a photo, where the name does not tell.
        """
        full = f"{self.shard}/{name}"
        reason = self._left_out(name, full, is_image)
        if reason:
            self.skipped.add(reason, full[:_MAX_NAME])
            return None
        if len(name) > _MAX_NAME:
            image_id = f"{self.shard}/{name[:_MAX_NAME]}#{member.offset}"
            return Photo(image_id, self.path, None, f"name too long: {len(name)} characters, limit {_MAX_NAME}")
        self.seen[name] += 1
        count = self.seen[name] if self.seen[name] > 1 else None
        error = None if member.isreg() or member.issym() or member.islnk() else "a device or pipe, not a file"
        image_id = full + (f"#{count}" if count else "")
        return Photo(image_id, member_uri(self.path, name, count), None, error)

    def _left_out(self, name: str, full: str, is_image: bool) -> str | None:
        if reason := housekeeping_in(name):
            return reason
        kind = file_kind(name)
        if kind != "photo" and not is_image:
            return not_a_photo(name, kind)
        if not self.rules.includes(full) or self.rules.excludes(full):
            return NOT_CHOSEN
        if self.endings and _key(name)[1] not in self.endings:
            return "other images of a key (--image-key)"
        return None


@contextmanager
def _opened(path: str) -> Iterator[tarfile.TarFile]:
    filesystem, inner = locate(path)
    with filesystem.open_input_stream(inner, compression=None) as raw:
        # Streamed, so that a tar in a bucket is read once from front to back.
        tar = tarfile.TarFile(fileobj=ArchiveStream(raw), tarinfo=Header, ignore_zeros=True)  # type: ignore[arg-type]
        with closing(tar):
            yield tar


def _members(path: str) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    with _opened(path) as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined] # it would keep every header
            yield tar, member


def _file(tar: tarfile.TarFile, member: tarfile.TarInfo) -> io.BufferedReader:
    return cast("io.BufferedReader", tar.extractfile(member))


def _read(
    row: Photo, tar: tarfile.TarFile, member: tarfile.TarInfo, max_bytes: int, file: io.BufferedReader | None = None
) -> Photo:
    """`row` with the data of a regular member, or the reason why that is no photo; `file` if it is open already."""
    if member.size > max_bytes:
        return row._replace(error=too_large(member.size, max_bytes))
    holes: list[tuple[int, int]] | None = member.sparse  # type: ignore[assignment]
    if holes is not None and sum(size for _, size in holes) * _HOLES < member.size:
        return row._replace(error="a sparse file that is mostly holes")
    data = (file or _file(tar, member)).read()
    if len(data) < member.size:
        raise tarfile.ReadError("unexpected end of data")
    return row._replace(data=data)


def _linked(
    path: str, waiting: list[tuple[Photo, str]], links: dict[str, tarfile.TarInfo], max_bytes: int
) -> Iterator[Photo]:
    """The rows of links, with the data of what they lead to."""
    wanted: dict[str, list[Photo]] = {}
    for row, name in waiting:
        try:
            wanted.setdefault(_target(name, links), []).append(row)
        except QpertError as error:
            yield row._replace(error=str(error))
    if not wanted:
        return
    for tar, member in _members(path):
        rows = wanted.pop(_normal(member_name(member)), []) if member.isreg() else []
        if rows:
            content = _read(rows[0], tar, member, max_bytes)
            yield from (row._replace(data=content.data, error=content.error) for row in rows)
        if not wanted:
            return
    yield from (row._replace(error="link to what is not in the archive") for rows in wanted.values() for row in rows)


def _target(name: str, links: dict[str, tarfile.TarInfo]) -> str:
    """The file that a link leads to, by its name in the archive."""
    for _ in range(_CHAIN):
        if name not in links:
            return name
        link = links[name]
        text = link.linkname.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        target = text if link.islnk() else posixpath.join(posixpath.dirname(name), text)
        if (link.issym() and text.startswith("/")) or _normal(target).startswith("../"):
            raise QpertError("link that leads out of the archive")
        name = _normal(target)
    raise QpertError("link that leads in a circle")


def _key(name: str) -> tuple[str, str]:
    """The key of a webdataset, and the ending in small letters: ``n/0001.mask.png`` -> ``n/0001``, ``mask.png``."""
    folder, base = posixpath.split(name)
    key, _, ending = base.partition(".")
    return posixpath.join(folder, key), ending.lower()


def _normal(name: str) -> str:
    return posixpath.normpath(name.lstrip("/"))


def _member_data(
    path: str, name: str, number: int, max_bytes: int, links: dict[str, tarfile.TarInfo], *, normal: bool = False
) -> bytes | None:
    """The data of the `number`-th member of a name; None, and `links` filled, where that is no file."""

    def called(member: tarfile.TarInfo) -> bool:
        found = member_name(member)
        if member.issym() or member.islnk():
            links.setdefault(_normal(found), member)
        return not member.isdir() and (_normal(found) == name if normal else found == name)

    matching = ((tar, member) for tar, member in _members(path) if called(member) and (member.isreg() or not normal))
    tar_member = next(islice(matching, number - 1, None), None)
    if tar_member is None:
        raise QpertError(f"not in the archive: {name}")
    if not tar_member[1].isreg():
        for _ in matching:  # the links that come after it
            pass
        return None
    content = _read(Photo(name, path, None, None), *tar_member, max_bytes)
    if content.error:
        raise QpertError(content.error)
    return content.data


def _short(error: Exception) -> str:
    return str(error)[:120] if isinstance(error, tarfile.TarError) and str(error) else type(error).__name__
