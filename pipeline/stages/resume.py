"""Where an earlier run into the same folder stopped, and whether this one may go on from there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.datasets.photos import Listing, Shards
from pipeline.datasets.shards import shard_ids
from pipeline.errors import QpertError
from pipeline.features import checkpoint_path, feature_files, iter_feature_ids
from pipeline.manifest import Manifest, differences
from pipeline.stages.census import Census, digest_of
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
        photos: the source, written down where that was asked for.
    """

    manifest: Manifest | None
    total: int | None
    done: int
    removed: int
    photos: Listing | Shards

    @property
    def todo(self) -> int | None:
        """Photos to index now; None where only reading the source would tell."""
        return None if self.total is None else self.total - self.done


def inspect(
    out: str,
    identity: Mapping[str, Any],
    photos: Listing | Shards,
    limit: int | None = None,
    counted: Callable[[int], object] = lambda count: None,
    note: str | None = None,
) -> Resume:
    """Compare `photos` with what is in `out`, in memory that does not grow with their number.

    Args:
        out: where the features are, or will be.
        identity: what they are made of.
        photos: the source.
        limit: only the first so many.
        counted: is told now and then how many photos of the source were seen.
        note: a local file to write the photos down in, so that the source is listed once: buckets take their time.

    Raises:
        QpertError: `out` holds features made in another way, the record of what is committed is gone, or two photos
            have the same id.
    """
    manifest = Manifest.find(out)
    if manifest is not None and manifest.fingerprint != fingerprint(identity) and not feature_files(out, manifest):
        manifest = None  # an attempt with other settings that came to nothing, such as one with a wrong option
    done = Census()
    if manifest is not None:
        _same(out, manifest, identity)
        for ids in iter_feature_ids(out, manifest):
            done.add(ids)
    if isinstance(photos, Shards) and photos.count is None:
        return Resume(manifest, None, done.count, 0, photos)
    if isinstance(photos, Listing) and note is not None:
        seen = 0
        for batch in photos.note(note, limit):
            seen += batch.num_rows
            counted(seen)
        photos = replace(photos, noted=note)
    total, indexed = _count(photos, done, limit, counted)
    return Resume(manifest, total, indexed, 0 if limit else done.count - indexed, photos)


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


def _count(
    photos: Listing | Shards, done: Census, limit: int | None, counted: Callable[[int], object]
) -> tuple[int, int]:
    """Photos in the source, and how many of them are done."""
    source, total = Census(), 0
    # Files of a folder cannot share a path; ids that people wrote down can.
    unique = isinstance(photos, Listing) and photos.kind in ("folder", "glob")
    for ids in _ids(photos, limit):
        total += len(ids)
        counted(total)
        if done.count or not unique:
            source.add(ids)
    if not unique and (repeated := source.repeated()):
        _refuse_twice(photos, limit, repeated)
    return total, source.shared(done)


def _refuse_twice(photos: Listing | Shards, limit: int | None, repeated: set[int]) -> None:
    seen: set[str] = set()
    for ids in _ids(photos, limit):
        for name in ids:
            if digest_of(name) not in repeated:
                continue
            if name in seen:
                hint = "; name a column of unique ids with --id-column" if photos.kind.startswith("parquet") else ""
                raise QpertError(f"two photos of {photos.source} have the id {name!r}; ids must be unique{hint}")
            seen.add(name)


def _ids(photos: Listing | Shards, limit: int | None) -> Any:
    if isinstance(photos, Listing):
        yield from (batch.column("image_id").to_pylist() for batch in photos.batches(limit))
        return
    left = limit
    for shard in photos.shards:
        ids = shard_ids(shard)[:left]
        left = None if left is None else left - len(ids)
        yield ids
