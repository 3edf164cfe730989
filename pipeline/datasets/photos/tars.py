"""Photos in webdataset tars: all of one tar in order, or one by its name. Links are followed within the tar."""

from __future__ import annotations

import posixpath
import tarfile
import warnings
from collections.abc import Iterator, Mapping
from itertools import islice

from pipeline.datasets.photos.formats import HEAD, file_kind, is_image
from pipeline.datasets.photos.ignored_names import reason_to_ignore_path
from pipeline.datasets.photos.rules import SourceRules
from pipeline.datasets.photos.shard import Photo, Shard, with_file_states
from pipeline.datasets.photos.skipped import Skipped
from pipeline.datasets.photos.tar_members import (
    MemberRows,
    as_text,
    member_name,
    members,
    normal_name,
    open_member,
    read_member,
    split_key,
)
from pipeline.errors import QpertError
from pipeline.io.images.formats import SUFFIXES
from pipeline.io.locations import is_uri
from pipeline.io.retrying import transient

_MAX_LINKS = 200_000
"""Links of one tar that are followed: they are kept in memory until the whole tar has been read."""
_MAX_CHAIN = 40
"""Length of a chain of links to links, the limit of Linux file systems."""
_SAMPLE = 64
"""Members that are inspected to see what a tar holds."""


def tar_shards(files: Mapping[str, str], rules: SourceRules | None = None) -> tuple[Shard, ...]:
    """Make one shard per tar. Warns if the first has several images per key and `rules` do not choose among them.

    Args:
        files: names within the source -> paths.
        rules: which members are photos.
    """
    shards = tuple(with_file_states([Shard("tar", path, name) for name, path in files.items()]))
    several = key_with_several_images(shards[0].path) if shards and not (rules or SourceRules()).image_key else None
    if several:
        warnings.warn(
            f"{shards[0].name} has several images of one key: {several[0]} and {several[1]}; all of them are indexed as"
            f" photos. --image-key {several[0].partition('.')[2]} takes one of each",
            stacklevel=3,
        )
    return shards


def key_with_several_images(path: str) -> tuple[str, str] | None:
    """Two images of the same webdataset key among the first members of a tar, such as a photo and its mask, or None.

    Also None for a tar that cannot be read: its own row will give the reason.
    """
    endings: dict[str, str] = {}
    try:
        for _, member in islice(members(path), _SAMPLE):
            name = member_name(member)
            if not member.isreg() or not name.lower().endswith(SUFFIXES) or reason_to_ignore_path(name):
                continue
            key, ending = split_key(name)
            if endings.setdefault(key, ending) != ending:
                return f"{key}.{endings[key]}", f"{key}.{ending}"
    except Exception:  # see above; hostile bytes can make tarfile raise anything
        return None
    return None


def tar_photos(path: str, shard: str, rules: SourceRules, skipped: Skipped | None = None) -> Iterator[Photo]:
    """The photos of a tar. If it breaks off, a last row has the tar's own name and the reason.

    Links to files of the same tar come after its files and have their content. The tar is read a second time for them,
    so that no photo needs to be kept in memory.

    Args:
        path: path of the tar.
        shard: its name within the source.
        rules: which members are photos.
        skipped: counts members that are not photos.
    """
    rows = MemberRows(path, shard, rules, Skipped() if skipped is None else skipped)
    links: dict[str, tarfile.TarInfo] = {}
    pending: dict[str, tuple[Photo, str]] = {}
    try:
        for tar, member in members(path):
            name = member_name(member)
            if (member.issym() or member.islnk()) and len(links) < _MAX_LINKS:
                links.setdefault(normal_name(name), member)
            if member.isdir():
                continue
            file = open_member(tar, member) if member.isreg() and file_kind(name) == "unknown" else None
            row = rows.row(member, name, is_image=file is not None and is_image(file.peek(HEAD)[:HEAD]))
            if row is None:
                continue
            if row.error is None and (member.issym() or member.islnk()):
                if len(pending) < _MAX_LINKS:
                    pending[row.image_id] = row, normal_name(name)
                else:
                    yield row._replace(error=f"one of more than {_MAX_LINKS} links")
            else:
                yield row if row.error else read_member(row, tar, member, rules.max_bytes, file)
        for row in _linked_photos(path, list(pending.values()), links, rules.max_bytes):
            pending.pop(row.image_id)
            yield row
    except Exception as error:  # tarfile and decompressors can raise anything on hostile bytes
        if is_uri(path) and transient(error):
            raise  # the storage fails, not the archive: its other photos are not lost
        yield from (row._replace(error="link in a damaged archive") for row, _ in pending.values())
        yield Photo(shard, path, None, f"damaged archive: {_short(error)}")


def tar_member(path: str, name: str, number: int, max_bytes: int) -> bytes:
    """The `number`-th photo of a name in a tar, counted from 1.

    Raises:
        QpertError: the tar does not have it, or it cannot be read.
    """
    links: dict[str, tarfile.TarInfo] = {}
    try:
        data = _member_data(path, name, number, max_bytes, links)
        if data is None and normal_name(name) in links:
            target = _link_target(normal_name(name), links)
            data = _member_data(path, target, 1, max_bytes, {}, normal=True)
    except FileNotFoundError:
        raise QpertError("file not found") from None
    except QpertError:
        raise
    except Exception as error:  # tarfile and decompressors can raise anything on hostile bytes
        raise QpertError(f"damaged archive: {_short(error)}") from error
    if data is None:
        raise QpertError("link to a file that is not in the archive" if normal_name(name) in links else "not a file")
    return data


def _linked_photos(
    path: str, pending: list[tuple[Photo, str]], links: dict[str, tarfile.TarInfo], max_bytes: int
) -> Iterator[Photo]:
    """The rows of links, with the data of the files they lead to."""
    wanted: dict[str, list[Photo]] = {}
    for row, name in pending:
        try:
            wanted.setdefault(_link_target(name, links), []).append(row)
        except QpertError as error:
            yield row._replace(error=str(error))
    if not wanted:
        return
    for tar, member in members(path):
        rows = wanted.pop(normal_name(member_name(member)), []) if member.isreg() else []
        if rows:
            content = read_member(rows[0], tar, member, max_bytes)
            yield from (row._replace(data=content.data, error=content.error) for row in rows)
        if not wanted:
            return
    yield from (
        row._replace(error="link to a file that is not in the archive") for rows in wanted.values() for row in rows
    )


def _link_target(name: str, links: dict[str, tarfile.TarInfo]) -> str:
    """The name in the archive of the file that a link leads to."""
    for _ in range(_MAX_CHAIN):
        if name not in links:
            return name
        link = links[name]
        text = as_text(link.linkname)
        target = text if link.islnk() else posixpath.join(posixpath.dirname(name), text)
        if (link.issym() and text.startswith("/")) or normal_name(target).startswith("../"):
            raise QpertError("link that leads out of the archive")
        name = normal_name(target)
    raise QpertError("link that leads in a circle")


def _member_data(
    path: str, name: str, number: int, max_bytes: int, links: dict[str, tarfile.TarInfo], *, normal: bool = False
) -> bytes | None:
    """The data of the `number`-th member of a name; None, with `links` filled, if that member is not a file."""

    def matches(member: tarfile.TarInfo) -> bool:
        own_name = member_name(member)
        if member.issym() or member.islnk():
            links.setdefault(normal_name(own_name), member)
        return not member.isdir() and (normal_name(own_name) == name if normal else own_name == name)

    matching = ((tar, member) for tar, member in members(path) if matches(member) and (member.isreg() or not normal))
    tar_and_member = next(islice(matching, number - 1, None), None)
    if tar_and_member is None:
        raise QpertError(f"not in the archive: {name}")
    if not tar_and_member[1].isreg():
        for _ in matching:  # collects the links that come after it
            pass
        return None
    content = read_member(Photo(name, path, None, None), *tar_and_member, max_bytes)
    if content.error:
        raise QpertError(content.error)
    return content.data


def _short(error: Exception) -> str:
    return str(error)[:120] if isinstance(error, tarfile.TarError) and str(error) else type(error).__name__
