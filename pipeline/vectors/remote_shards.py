"""Shards of a feature set in a bucket, copied to this machine when they are first used."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid

from pyarrow import fs

from pipeline.errors import QpertError, first_line
from pipeline.io.locations import Folder, real_place
from pipeline.printing import size_text
from pipeline.vectors.index_manifest import ShardNote

_PIECE = 1 << 24
_SPARE = 1 << 28


def local_shard(folder: Folder, key: str, note: ShardNote) -> str:
    """The local folder of a shard.

    Args:
        folder: that of the shards.
        key: name of the shard.
        note: what the manifest says of it.

    Raises:
        QpertError: the shard is remote and cannot be copied to ``~/.cache/qpert/search``.
    """
    copy = _place_of_copy(folder, key)
    if copy is None:
        return folder.at(key)
    copies = os.path.dirname(copy)
    if os.path.isdir(copy):
        return copy
    unfinished = os.path.join(copies, f".{uuid.uuid4().hex}")
    try:
        os.makedirs(unfinished)
        if shutil.disk_usage(unfinished).free < note.bytes + _SPARE:
            raise OSError(f"no room for {size_text(note.bytes)}")
        for name, size in note.sizes.items():
            _copy(folder, key, name, size, os.path.join(unfinished, name))
        os.rename(unfinished, copy)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if os.path.isdir(copy):  # another process was faster
            return copy
        raise QpertError(f"{folder.join(key)} cannot be copied to {copies} ({first_line(error)[:200]})") from error
    return copy


def drop_copy(folder: Folder, key: str) -> bool:
    """Delete the copy of a remote shard; returns whether there was one. Programs that have it open keep it."""
    copy = _place_of_copy(folder, key)
    if copy is None or not os.path.isdir(copy):
        return False
    shutil.rmtree(copy, ignore_errors=True)
    return not os.path.isdir(copy)


def _place_of_copy(folder: Folder, key: str) -> str | None:
    """The folder of the copy of a shard, made or not; None for a shard on this machine."""
    if isinstance(folder.filesystem, fs.LocalFileSystem):
        return None
    place = hashlib.blake2b(real_place(folder.root).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return os.path.join(cache_folder(), place, key)


def cache_folder() -> str:
    """Where copies of remote shards are."""
    above = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(above, "qpert", "search")


def _copy(folder: Folder, key: str, name: str, size: int, target: str) -> None:
    with (
        folder.filesystem.open_input_stream(folder.at(key, name), compression=None) as source,
        open(target, "wb") as file,
    ):
        left = size + 1  # of a longer file one byte too many is copied, which its reader refuses
        while left > 0 and (piece := source.read(min(_PIECE, left))):
            file.write(piece)
            left -= len(piece)
