"""Forgetting photos that failed, so that the next run tries them again."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from pipeline.features import checkpoint_path, feature_files
from pipeline.manifest import Manifest
from pipeline.storage import exclusive, join, list_files, locate


def forget_failures(out: str, manifest: Manifest) -> int:
    """Take the rows of failed photos out of a feature set, and their ids out of its checkpoint.

    The checkpoint is changed first: cut off in between, a photo has its old row and is tried again, never neither.

    Returns:
        How many photos were forgotten.
    """
    with exclusive(out):
        return drop_failed(out, manifest.fingerprint, feature_files(out, manifest))


def drop_failed(out: str, fingerprint: str, files: Sequence[str]) -> int:
    """The same for `files` of `out`/features, by whoever keeps others from writing there."""
    filesystem, _ = locate(out)
    forgotten = 0
    for path in files:
        table = pq.read_table(path, columns=["image_id", "error"], filesystem=filesystem, partitioning=None)
        failed = table.filter(pc.is_valid(table["error"]))["image_id"].combine_chunks()
        if not len(failed):
            continue
        name = posixpath.basename(path).rpartition("-")[0] + ".parquet"
        folder = checkpoint_path(out, fingerprint)
        if any(posixpath.basename(info.path) == name for info in list_files(folder)):
            _drop(filesystem, locate(join(folder, name))[1], failed)
        _drop(filesystem, path, failed)
        forgotten += len(failed)
    return forgotten


def _drop(filesystem: fs.FileSystem, path: str, ids: pa.Array) -> None:
    """Rewrite a Parquet file without the rows of these ids, in one step."""
    table = pq.read_table(path, filesystem=filesystem, partitioning=None)
    kept = table.filter(pc.invert(pc.is_in(table["image_id"], value_set=ids)))
    pq.write_table(kept, f"{path}.tmp", filesystem=filesystem)
    filesystem.move(f"{path}.tmp", path)
