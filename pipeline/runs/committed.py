"""Tells Ray's checkpoints which ids of a feature set are done, from the rows that are in use.

Ray would read its own checkpoint files through a filter that rejects some paths, and they do not know which rows are
out of use. So only the commit of Ray's checkpoints is used: a file that names each features file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
from pyarrow import fs
from ray.data.checkpoint import CheckpointConfig
from ray.data.checkpoint.checkpoint_filter import CheckpointFilter, CheckpointManager

from pipeline.features.files import FeatureFiles
from pipeline.features.store import FeatureStore

Digests = npt.NDArray[np.bytes_]
"""Sorted 128-bit digests of ids, 16 bytes each."""


class Committed(CheckpointConfig):  # type: ignore[misc]
    """Ray's checkpoints of a feature set.

    Args:
        store: the feature set.
        fingerprint: its fingerprint.
    """

    def __init__(self, store: FeatureStore, fingerprint: str) -> None:
        super().__init__(
            id_column="image_id",
            checkpoint_path=store.checkpoint(fingerprint),
            override_filesystem=store.ray_filesystem(),
            delete_checkpoint_on_success=False,
            checkpoint_manager_cls=LiveIds,
            checkpoint_filter_cls=NotDone,
        )
        self.store, self.fingerprint = store, fingerprint
        # Room for the ids in the actor that filters them; Ray adds what they need on top of this floor.
        self.checkpoint_actor_memory_bytes = 64 * 1024**2
        self.checkpoint_actor_pool_max_size = 1


class LiveIds(CheckpointManager):  # type: ignore[misc]
    """Called by Ray in the driver, before it reads the source."""

    def __init__(self, checkpoint_config: Committed, data_context: Any) -> None:
        super().__init__(checkpoint_config, data_context)
        self.store, self.fingerprint = checkpoint_config.store, checkpoint_config.fingerprint

    def load_checkpoint(
        self, data_file_dir: str | None = None, data_file_filesystem: fs.FileSystem | None = None
    ) -> tuple[Any, int]:
        """The digests of the ids that are done, as an object of Ray's, and their size in bytes; (None, 0) for none."""
        self.store.take_back(self.fingerprint)
        digests = live_digests(self.store.files(self.fingerprint))
        return (ray.put(digests), digests.nbytes) if len(digests) else (None, 0)


class NotDone(CheckpointFilter):  # type: ignore[misc]
    """Called by Ray in an actor, with blocks of the source."""

    def __init__(self, checkpoint_config: Any, checkpoint_ref: Any) -> None:
        super().__init__(checkpoint_config, checkpoint_ref)
        self.done: Digests = ray.get(checkpoint_ref)

    def filter_rows_for_block(self, block: pa.Table) -> pa.Table:
        """The rows of `block` that are not done."""
        return not_done(block, self.done)


def live_digests(files: FeatureFiles) -> Digests:
    """The sorted digests of the ids of all rows in use."""
    parts = [_digests(ids) for ids in files.ids()]
    digests = np.concatenate(parts) if parts else _digests([])
    digests.sort()
    return digests


def not_done(block: pa.Table, done: Digests) -> pa.Table:
    """The rows of `block` whose `image_id` is not among the `done`."""
    digests = _digests(block["image_id"].to_pylist())
    at = np.searchsorted(done, digests)
    there = at < len(done)
    there[there] = done[at[there]] == digests[there]
    return block.filter(pa.array(~there))


def _digests(ids: Iterable[str]) -> Digests:
    data = b"".join(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest() for name in ids)
    return np.frombuffer(bytearray(data), "S16")
