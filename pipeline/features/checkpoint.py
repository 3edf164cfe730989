"""Ray's checkpoint of a feature set: which files a run has committed.

``checkpoint/FINGERPRINT/STEM.parquet`` commits ``features/STEM-*.parquet``, and ``STEM.pending.parquet`` announces
files that may be half-written. Only these names count here: the ids that are done are read from the features
themselves. Earlier versions read them from the checkpoint, so it holds them too.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from pipeline.io.locations import Folder, is_uri
from pipeline.io.map_ahead import map_ahead

CHECKPOINT = "checkpoint"
_SUFFIX, _PENDING = ".parquet", ".pending"
_LOOKED_UP_AT_ONCE = 16
_HERE = ".here"
"""An empty file by which the folder exists in a bucket as well."""


def stem(name: str) -> str:
    """What a features file is called in the checkpoint that commits it."""
    return name.rpartition("-")[0]


def has_checkpoint(folder: Folder) -> bool:
    """Whether the feature set has a checkpoint, of whatever fingerprint."""
    selector = fs.FileSelector(folder.at(CHECKPOINT), recursive=True, allow_not_found=True)
    return any(info.path.endswith(_SUFFIX) for info in folder.filesystem.get_file_info(selector))


def make_checkpoint(folder: Folder, fingerprint: str) -> None:
    """Create the folder for what commits the files of a run."""
    folder.subfolder(CHECKPOINT, fingerprint).write_atomically(_HERE, b"")


def committed_stems(folder: Folder, fingerprint: str, noted: Iterable[str] | None = None) -> set[str]:
    """The stems of the files that the checkpoint commits.

    In a bucket, others than those that are `noted` are looked up: it may still list those of files that compaction has
    replaced. None of them are where there is no ledger to note them, and so no compaction.
    """
    listed = {name for name in _names(folder, fingerprint) if not name.endswith(_PENDING)}
    if noted is None or not is_uri(folder.root):
        return listed
    new = sorted(listed.difference(noted))
    there = map_ahead(partial(_exists, folder.subfolder(CHECKPOINT, fingerprint)), new, _LOOKED_UP_AT_ONCE)
    return listed - {name for name, exists in zip(new, there, strict=True) if not exists}


def pending_stems(folder: Folder, fingerprint: str) -> set[str]:
    """The stems of files that a run had begun to write when it was interrupted.

    Each is looked up: a bucket may still list what announced a file after that was committed, which then counts.
    """
    listed = [name.removesuffix(_PENDING) for name in _names(folder, fingerprint) if name.endswith(_PENDING)]
    exists = partial(_exists, folder.subfolder(CHECKPOINT, fingerprint))
    return {name for name in listed if exists(f"{name}{_PENDING}") and not exists(name)}


def commit(folder: Folder, fingerprint: str, name: str, ids: pa.Table) -> None:
    """Commit the files with the stem `name`, which hold the photos `ids` (a column `image_id`)."""
    sink = pa.BufferOutputStream()
    pq.write_table(ids, sink)
    checkpoint = folder.subfolder(CHECKPOINT, fingerprint)
    checkpoint.write_atomically(f"{name}{_SUFFIX}", sink.getvalue().to_pybytes())


def forget(folder: Folder, fingerprint: str, name: str, *, pending: bool = False) -> None:
    """Delete the entry of the stem `name`, or what announces it."""
    folder.subfolder(CHECKPOINT, fingerprint).delete(f"{name}{_PENDING if pending else ''}{_SUFFIX}")


def _names(folder: Folder, fingerprint: str) -> set[str]:
    files = folder.subfolder(CHECKPOINT, fingerprint).files(_SUFFIX)
    return {str(info.base_name).removesuffix(_SUFFIX) for info in files}


def _exists(checkpoint: Folder, name: str) -> bool:
    return bool(checkpoint.filesystem.get_file_info(checkpoint.at(f"{name}{_SUFFIX}")).type == fs.FileType.File)
