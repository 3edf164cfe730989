"""Shards on disk: each is a folder that is complete from the moment it is there, in a bucket from its last file on.

shards/KEY/shard.json    what is in the shard; written last, so a folder without it does not count
shards/KEY/...           what `pipeline.vectors` writes
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

from pyarrow import fs
from pydantic import ValidationError

from pipeline.io.locations import Folder, is_uri
from pipeline.io.retrying_files import retry_on
from pipeline.vectors.index_manifest import ShardNote

NOTE = "shard.json"
_PIECE = 16 * 2**20
_STAGED = ".making-"
_ABANDONED = timedelta(days=1)
"""Age of a shard in a bucket, where nothing is locked, that no manifest names and no build can still be about to."""


class ShardFolder:
    """The folder `shards` of an index.

    Args:
        folder: it need not exist.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._local = not is_uri(folder.root)

    @contextmanager
    def staging(self) -> Iterator[str]:
        """An empty local folder to make a shard in, deleted at the end unless `place` has moved it.

        Of a local set it is on the same disk, so that the shard only has to be renamed.
        """
        if not self._local:
            with tempfile.TemporaryDirectory(prefix="qpert-shard-") as path:
                yield path
            return
        os.makedirs(self.folder.path, exist_ok=True)
        path = self.folder.at(f"{_STAGED}{uuid.uuid4().hex}")
        os.mkdir(path)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def place(self, made: str, key: str, note: ShardNote) -> None:
        """Make a shard count that was made in the folder `made`, with `note` as its `NOTE`.

        If another attempt has placed the same shard meanwhile, that one stays.
        """
        data = note.model_dump_json().encode()
        if self._local:
            Path(made, NOTE).write_bytes(data)
            for name in sorted(os.listdir(made)):
                _sync(os.path.join(made, name))
            _sync(made)
            if self._note(key) is not None:
                return
            shutil.rmtree(self.folder.at(key), ignore_errors=True)  # what a killed deletion has left
            try:
                os.rename(made, self.folder.at(key))
            except OSError:
                if self._note(key) is None:
                    raise
            _sync(self.folder.path)
            return
        target = self.folder.subfolder(key)
        for name in sorted(os.listdir(made)):
            retry_on(target.filesystem, partial(_upload, os.path.join(made, name), target, name))
        target.write_atomically(NOTE, data)

    def find_whole(self, key: str, known: ShardNote | None = None, *, check: bool = False) -> ShardNote | None:
        """The note of a shard that is there with all its files; None if there is none.

        Args:
            key: of the shard.
            known: its note, if a manifest names it; else it is read from the shard.
            check: read its files too, and compare their digests.
        """
        note = known or self._note(key)
        if note is None or not self.is_whole(key, note.sizes) or (check and not self._is_intact(key, note)):
            return None
        return note

    def is_whole(self, key: str, sizes: Mapping[str, int]) -> bool:
        """Whether a shard has files of these names and sizes."""
        found = {str(info.base_name): info.size for info in self.folder.subfolder(key).files()}
        return bool(sizes) and all(found.get(name) == size for name, size in sizes.items())

    def _note(self, key: str) -> ShardNote | None:
        data = self.folder.subfolder(key).read(NOTE)
        try:
            return None if data is None else ShardNote.model_validate_json(data)
        except ValidationError:
            return None

    def _is_intact(self, key: str, note: ShardNote) -> bool:
        return all(self._digest(key, name) == digest for name, digest in note.digests.items())

    def _digest(self, key: str, name: str) -> str:
        digest = hashlib.blake2b(digest_size=16)
        with self.folder.filesystem.open_input_stream(self.folder.at(key, name), compression=None) as stream:
            while piece := stream.read(_PIECE):
                digest.update(piece)
        return digest.hexdigest()

    def names(self) -> list[str]:
        """The folders that are here, complete or not."""
        selector = fs.FileSelector(self.folder.path, recursive=False, allow_not_found=True)
        infos = self.folder.filesystem.get_file_info(selector)
        return sorted(str(info.base_name) for info in infos if info.type == fs.FileType.Directory)

    def delete(self, key: str) -> None:
        """Delete a shard, if it exists; its note goes first, so that an interruption leaves nothing that counts."""
        shard = self.folder.subfolder(key)
        shard.delete(NOTE)
        with suppress(FileNotFoundError):
            self.folder.filesystem.delete_dir(shard.path)

    def abandoned(self, key: str) -> bool:
        """Whether a folder that no manifest names belongs to no build that is still at work.

        Locally the caller holds the lock of the index, so there is no other build. Buckets have no locks: there, only
        what has not changed for a day is abandoned.
        """
        if self._local:
            return True
        files = self.folder.subfolder(key).files()
        newest = max((info.mtime for info in files if info.mtime is not None), default=None)
        return newest is not None and datetime.now(timezone.utc) - newest > _ABANDONED


def _upload(source: str, target: Folder, name: str) -> None:
    target.filesystem.create_dir(target.path, recursive=True)
    with open(source, "rb") as data, target.filesystem.open_output_stream(target.at(name)) as stream:
        while piece := data.read(_PIECE):
            stream.write(piece)


def _sync(path: str) -> None:
    """Have the disk write a file or folder before its new name."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
