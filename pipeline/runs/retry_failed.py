"""Forgetting photos that failed, so that the next run tries them again."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

import pyarrow.compute as pc

from pipeline.features.feature_set import feature_files
from pipeline.features.manifest import Manifest
from pipeline.features.mending import remove_rows, removed_rows
from pipeline.features.store import FeatureStore
from pipeline.io.locations import exclusive


def forget_failures(out: str, manifest: Manifest) -> int:
    """Let the rows of failed photos count no more, so that these are indexed again.

    Returns:
        How many photos were forgotten.
    """
    with exclusive(out):
        return drop_failed(out, manifest.fingerprint, feature_files(out, manifest))


def drop_failed(out: str, fingerprint: str, files: Sequence[str]) -> int:
    """The same for `files` of `out`/features, by whoever keeps others from writing there.

    Their rows count no more first, and then their ids leave the checkpoint: cut off in between, they are tried again.
    """
    store = FeatureStore.open(out, fingerprint, complete=True)
    failed: list[tuple[str, str]] = []
    for name in map(posixpath.basename, files):
        table = store.live(name, ["error"])
        failed += [(name, image_id) for image_id in table.filter(pc.is_valid(table["error"]))["image_id"].to_pylist()]
    remove_rows(out, fingerprint, removed_rows(failed, "failed"))
    return len(failed)
