"""Where an earlier run into the same folder stopped, and whether this one may go on from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.datasets.photos import Listing, Shards
from pipeline.datasets.shards import shard_ids
from pipeline.errors import QpertError
from pipeline.features import checkpoint_path, feature_files, feature_ids
from pipeline.manifest import Manifest, differences
from pipeline.stages.identity import fingerprint
from pipeline.storage import list_files


@dataclass(frozen=True)
class Resume:
    """How this run stands to what is on disk.

    Attributes:
        manifest: of the earlier run, or None.
        total: photos in the source; None where only reading it would tell (tars).
        done: photos of the source that are indexed already, failed ones included; for tars all that are indexed.
        removed: indexed photos that the source no longer has; they stay indexed. With a
            limit it is not known, and 0.
    """

    manifest: Manifest | None
    total: int | None
    done: int
    removed: int

    @property
    def todo(self) -> int | None:
        """Photos to index now; None where only reading the source would tell."""
        return None if self.total is None else self.total - self.done


def inspect(out: str, identity: Mapping[str, Any], photos: Listing | Shards, limit: int | None = None) -> Resume:
    """Compare `photos` with what is in `out`.

    Raises:
        QpertError: `out` holds features made in another way, the record of what is committed is gone, or two photos
            have the same id.
    """
    manifest = Manifest.find(out)
    if manifest is not None and manifest.fingerprint != fingerprint(identity) and not feature_files(out, manifest):
        manifest = None  # an attempt with other settings that came to nothing, such as one with a wrong option
    done: set[str] = set()
    if manifest is not None:
        _same(out, manifest, identity)
        done = feature_ids(out, manifest)
    if isinstance(photos, Shards) and photos.count is None:
        return Resume(manifest, None, len(done), 0)
    total, indexed = _count(photos, done, limit)
    return Resume(manifest, total, indexed, 0 if limit else len(done) - indexed)


def _same(out: str, manifest: Manifest, identity: Mapping[str, Any]) -> None:
    if manifest.fingerprint != fingerprint(identity):
        lines = "\n       ".join(differences(manifest.identity, identity)) or "the format of the fingerprint"
        raise QpertError(
            f"{out} holds features that were made in another way; what differs:\n       {lines}\n"
            "       Choose another --out, or go back to the earlier settings, or delete the folder."
        )
    if feature_files(out, manifest) and not list_files(checkpoint_path(out, manifest.fingerprint)):
        raise QpertError(
            f"{out}/checkpoint is gone, so it is not known which photos are done; choose another --out, or delete"
            f" {out}/features to start over"
        )


def _count(photos: Listing | Shards, done: set[str], limit: int | None) -> tuple[int, int]:
    """Photos in the source, and how many of them are done."""
    seen: set[str] = set()
    total = indexed = 0
    # Files of a folder cannot share a path; ids that people wrote down can.
    unique = isinstance(photos, Listing) and photos.kind in ("folder", "glob")
    for ids in _ids(photos, limit):
        total += len(ids)
        indexed += sum(name in done for name in ids)
        if not unique:
            for name in ids:
                if name in seen:
                    raise QpertError(f"two photos of {photos.source} have the id {name!r}; ids must be unique")
                seen.add(name)
    return total, indexed


def _ids(photos: Listing | Shards, limit: int | None) -> Any:
    if isinstance(photos, Listing):
        yield from (batch.column("image_id").to_pylist() for batch in photos.batches(limit))
        return
    left = limit
    for shard in photos.shards:
        ids = shard_ids(shard)[:left]
        left = None if left is None else left - len(ids)
        yield ids
