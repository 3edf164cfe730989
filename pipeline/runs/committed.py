"""Tells Ray's checkpoints which ids of a feature set are done, from the rows that are in use.

Ray would read its own checkpoint files through a filter that rejects some paths, and they do not know which rows are
out of use. So only the commit of Ray's checkpoints is used: a file that names each features file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.cluster.ray_compat import checkpoint_config
from pipeline.features.files import FeatureFiles
from pipeline.features.store import FeatureStore

Digests = npt.NDArray[np.bytes_]
"""Sorted 128-bit digests of ids, 16 bytes each."""


def checkpoint_of(store: FeatureStore, fingerprint: str) -> Any:
    """Ray's checkpoint of a feature set, for `pipeline.cluster.ray_compat.data_settings`."""
    load = partial(_load, store, fingerprint)
    return checkpoint_config(store.checkpoint(fingerprint), store.ray_filesystem(), load, not_done)


def _load(store: FeatureStore, fingerprint: str) -> Digests:
    store.take_back(fingerprint)
    return live_digests(store.files(fingerprint))


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
