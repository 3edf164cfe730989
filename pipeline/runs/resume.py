"""Finds what an earlier run left on disk, and whether this one may go on from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.datasets.photos.found_photos import Listing, Shards
from pipeline.datasets.photos.parquet_shards import shard_ids
from pipeline.datasets.photos.rules import SourceRules
from pipeline.errors import QpertError
from pipeline.features.damage import Damage, DamagedFileError
from pipeline.features.files import FeatureFiles
from pipeline.features.fingerprint import fingerprint
from pipeline.features.id_set import IdSet, digest_of
from pipeline.features.manifest import Manifest, differences
from pipeline.features.store import FeatureStore
from pipeline.runs.changes import UNKNOWN, Edits, Ints, changed_at, indexed_rows, join_listing, numbers, rows_at
from pipeline.runs.contents import look_again, look_into
from pipeline.runs.perturbation_config import preset_of
from pipeline.runs.tar_changes import compare_tars


@dataclass(frozen=True)
class Resume:
    """What an earlier run left on disk, compared with the source.

    Attributes:
        manifest: the manifest of the earlier run, or None.
        total: photos in the source; None if only reading it would tell (tars).
        done: photos of the source that are indexed and unchanged, including failed ones; for tars, all that are
            indexed.
        removed: indexed photos that the source no longer has; 0 with a limit, as it is unknown then.
        photos: the source, with a saved list if one was asked for.
        changed: indexed photos that have changed and need to be indexed again.
        restored: photos that were gone and are back unchanged.
        lost: files that are lost or damaged, whose photos need to be indexed again.
        repeated: whether a photo has several rows in use.
        edits: marks to write beside the features.
    """

    manifest: Manifest | None
    total: int | None
    done: int
    removed: int
    photos: Listing | Shards
    changed: int = 0
    restored: int = 0
    lost: tuple[Damage, ...] = ()
    repeated: bool = False
    edits: Edits = field(default_factory=Edits)

    @property
    def todo(self) -> int | None:
        """Photos to index; None if only reading the source would tell."""
        return None if self.total is None else self.total - self.done

    def write(self, store: FeatureStore) -> None:
        """Takes out of use the rows of photos that have changed or are gone, and the older rows of repeated photos."""
        if self.manifest is None or not (self.edits or self.repeated):
            return
        with store.lock():
            if self.repeated:  # first: an older row of a changed photo would stay in use otherwise
                store.drop_repeated(self.manifest.fingerprint)
            self.edits.write(store, self.manifest.fingerprint)


def mend_earlier(
    store: FeatureStore, identity: Mapping[str, Any], counted: Callable[[int], object] = lambda files: None
) -> tuple[Damage, ...]:
    """Repairs what an earlier run with the same settings left in `store`; returns its lost or damaged files.

    Raises:
        QpertError: another run is writing to it.
    """
    manifest = store.find_manifest()
    if manifest is None or manifest.fingerprint != fingerprint(identity):
        return ()
    with store.lock():
        return store.mend(manifest.fingerprint, counted)


def inspect(
    store: FeatureStore,
    identity: Mapping[str, Any],
    photos: Listing | Shards,
    limit: int | None = None,
    counted: Callable[[int], object] = lambda count: None,
    note: str | None = None,
    *,
    whole: bool = True,
    keep_removed: bool = False,
    compared: Callable[[int], object] = lambda count: None,
) -> Resume:
    """Compares `photos` with the features in `store`, in bounded memory and without writing to it.

    Args:
        store: where the features are, or will be.
        identity: what the features are made of.
        photos: the source.
        limit: only this many photos, the first ones.
        counted: called now and then with the number of photos listed so far.
        note: a local file for the list of photos, so that the source is listed only once: buckets are slow.
        whole: photos are chosen as in the last run; otherwise those that are missing do not count as gone.
        keep_removed: photos that the source no longer has stay in use.
        compared: called now and then with the number of photos that were read to see whether they have changed.

    Raises:
        QpertError: `store` holds features made in another way, or two photos have the same id.
    """
    manifest = store.find_manifest()
    if manifest is not None and manifest.fingerprint != fingerprint(identity) and not store.files_of(manifest).names:
        manifest = None  # a run with other settings that wrote nothing, such as one with a wrong option
    if isinstance(photos, Listing) and note is not None:
        seen = 0
        for batch in photos.save(note, limit):
            seen += batch.num_rows
            counted(seen)
        photos = replace(photos, saved=note)
    if manifest is None:
        return Resume(None, _total(photos, limit, counted), 0, 0, photos)
    check_same(store.root, manifest, identity)
    files = store.files_of(manifest)
    lost = list(files.damages)

    def unreadable(error: QpertError) -> None:
        if not isinstance(error, DamagedFileError):
            raise error
        lost.append(error.damage)

    whole = whole and limit is None
    if isinstance(photos, Shards) and photos.count is None:
        total: int | None = None
        indexed, changes = compare_tars(files, photos, unreadable)
    else:
        indexed = IdSet("size", "mtime", "place", "counts")
        for table, places, counts in indexed_rows(files, unreadable=unreadable):
            indexed.add(
                table["image_id"].to_pylist(),
                size=numbers(table, "size"),
                mtime=numbers(table, "mtime"),
                place=places,
                counts=counts,
            )
        listed = _listed(photos, limit, counted)
        total = listed.count
        changes, unsure = join_listing(indexed, listed)
        if isinstance(photos, Listing):
            look_again(files, photos, unsure, changes, compared)
        else:
            for number in np.unique(unsure[:, 2]):
                some = unsure[unsure[:, 2] == number]
                look_into(files, photos, int(number), some, changes, all_rows=False)
    changes.gone = [_gone(files, changes.gone, photos.rules)] if whole else []
    return Resume(
        manifest,
        total,
        changes.same,
        sum(map(len, changes.gone)) + (sum(map(len, changes.hidden)) if whole and keep_removed else 0),
        photos,
        changed=sum(map(len, changes.changed)),
        restored=sum(map(len, changes.restored)),
        lost=tuple(lost),
        repeated=_repeated(indexed),
        edits=changes.edits(files, keep_gone=keep_removed),
    )


def _gone(files: FeatureFiles, gone: list[Ints], rules: SourceRules) -> Ints:
    """The rows of photos that are gone, and not just excluded by `rules` this time."""
    places = np.sort(np.concatenate([np.zeros(0, np.int64), *gone]))
    if not len(places) or not (rules.include or rules.exclude):
        return places
    names = rows_at(files, places, [])["image_id"].to_pylist()
    return places[[rules.includes(name) and not rules.excludes(name) for name in names]]


def _total(photos: Listing | Shards, limit: int | None, counted: Callable[[int], object]) -> int | None:
    """Photos in a source of which nothing is indexed; None if only reading it would tell."""
    if isinstance(photos, Shards) and photos.count is None:
        return None
    if not isinstance(photos, Listing) or not _unique(photos):
        return _listed(photos, limit, counted).count
    total = 0
    for batch in photos.batches(limit):
        total += batch.num_rows
        counted(total)
    return total


def _unique(photos: Listing | Shards) -> bool:
    """Whether ids are unique by nature: files of a folder cannot share a path, but listed ids can be the same."""
    return isinstance(photos, Listing) and photos.kind in ("folder", "glob")


def _repeated(indexed: IdSet) -> bool:
    """Whether a photo may have several rows in use."""
    for rows in indexed.parts():
        ids = rows["id"][rows["counts"] == 1]
        if len(np.unique(ids)) < len(ids):
            return True
    return False


def check_same(root: str, manifest: Manifest, identity: Mapping[str, Any]) -> None:
    """Refuses to go on in a set that was made with other settings; the QpertError says what differs."""
    if manifest.fingerprint != fingerprint(identity):
        lines = "\n       ".join(differences(manifest.identity, identity)) or "the format of the fingerprint"
        preset = preset_of(manifest.identity.get("perturbation"))
        named = f" (--perturbation {preset})" if preset and "perturbation" in lines else ""
        raise QpertError(
            f"{root} holds features that were made in another way; what differs:\n       {lines}\n"
            f"       Choose another --out, go back to the earlier settings{named}, or delete the folder."
        )


def _listed(photos: Listing | Shards, limit: int | None, counted: Callable[[int], object]) -> IdSet:
    """Lists the photos of the source with `size`, `mtime` and, as `place`, the number of the photo or of its shard.

    Raises:
        QpertError: two photos have the same id.
    """
    listed = IdSet("size", "mtime", "place")
    if isinstance(photos, Listing):
        for batch in photos.batches(limit):
            table = pa.Table.from_batches([batch])
            places = listed.count + np.arange(table.num_rows)
            ids = table["image_id"].to_pylist()
            listed.add(ids, size=numbers(table, "size"), mtime=numbers(table, "mtime"), place=places)
            counted(listed.count)
    else:
        for number, ids in enumerate(_ids(photos, limit)):
            listed.add(ids, size=UNKNOWN, mtime=changed_at(photos.shards[number]), place=number)
            counted(listed.count)
    if not _unique(photos) and (repeated := listed.repeated()):
        _refuse_twice(photos, limit, repeated)
    return listed


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


def _ids(photos: Listing | Shards, limit: int | None) -> Iterator[list[str]]:
    if isinstance(photos, Listing):
        yield from (batch.column("image_id").to_pylist() for batch in photos.batches(limit))
        return
    left = limit
    for shard in photos.shards:
        ids = shard_ids(shard)[:left]
        left = None if left is None else left - len(ids)
        yield ids
