"""Compares photos whose modification time has changed with their rows, by content."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from pipeline.datasets.photos.found_photos import Listing, Shards
from pipeline.datasets.photos.reading import read_named, read_photo
from pipeline.datasets.photos.rules import SourceRules
from pipeline.datasets.photos.shard_reading import read_shard
from pipeline.errors import QpertError
from pipeline.features.files import FeatureFiles
from pipeline.io.photo_state import digest_of
from pipeline.runs.changes import Changes, Ints, rows_at

_READERS = 16
_CHUNK = 2**16
"""Photos that are compared at once."""


def look_again(
    files: FeatureFiles, listing: Listing, unsure: Ints, changes: Changes, counted: Callable[[int], object]
) -> None:
    """Compares the content of photos whose file has a different time, and adds the result to `changes`.

    A photo that cannot be read at the moment counts as unchanged, and is compared again next time.
    """
    unsure = unsure[np.argsort(unsure[:, 0], kind="stable")]
    seen = 0
    for start in range(0, len(unsure), _CHUNK):
        some = unsure[start : start + _CHUNK]
        rows = rows_at(files, some[:, 0], ["digest"])
        with ThreadPoolExecutor(_READERS) as pool:
            digests = []
            for digest in pool.map(partial(_digest, rules=listing.rules), _uris_at(listing, some[:, 2])):
                digests.append(digest)
                seen += 1
                counted(seen)
        _sort_out(changes, some, rows["digest"].to_pylist(), digests)


def look_into(
    files: FeatureFiles, photos: Shards, number: int, unsure: Ints, changes: Changes, *, all_rows: bool
) -> None:
    """Compares the photos of one shard, which is read once, like `look_again`.

    Args:
        files: the files of the feature set.
        photos: the source.
        number: number of the shard, whose time is different.
        unsure: its rows as int64 [n, 4], see `join_listing`.
        changes: the result is added here.
        all_rows: these are all rows of the shard, so those that it no longer has are gone.
    """
    unsure = unsure[np.argsort(unsure[:, 0], kind="stable")]
    rows = rows_at(files, unsure[:, 0], ["digest"])
    inside: dict[str, str | None] = {}
    whole = True
    rules = photos.rules
    for table in read_shard(photos.shards[number], 64, None, rules, partial(read_named, rules=rules)):
        inside.update(zip(table["image_id"].to_pylist(), table["digest"].to_pylist(), strict=True))
        whole = whole and not table["error"].is_valid().to_numpy().any()
    ids = rows["image_id"].to_pylist()
    there = np.array([name in inside for name in ids], bool)
    if all_rows and whole:
        changes.gone.append(unsure[~there & (unsure[:, 1] == 1), 0])
    elif not all_rows or not whole:
        changes.same += int((~there & (unsure[:, 1] == 1)).sum())  # cut off now: nothing is known of them
    kept = [digest for digest, yes in zip(rows["digest"].to_pylist(), there, strict=True) if yes]
    _sort_out(changes, unsure[there], kept, [inside[name] for name, yes in zip(ids, there, strict=True) if yes])


def _sort_out(changes: Changes, unsure: Ints, before: list[str | None], now: list[str | None]) -> None:
    known = np.array([digest is not None for digest in now], bool)
    equal = np.array([one is not None and one == other for one, other in zip(before, now, strict=True)], bool)
    counts = unsure[:, 1] == 1
    changes.changed.append(unsure[known & ~equal & counts, 0])
    changes.restored.append(unsure[equal & ~counts, 0])
    changes.seen.append((unsure[equal, 0], unsure[equal, 3]))
    changes.same += int((equal | (~known & counts)).sum())


def _digest(uri: str | None, rules: SourceRules) -> str | None:
    try:
        return digest_of(read_photo(uri, rules))
    except QpertError:
        return None


def _uris_at(listing: Listing, places: Ints) -> list[str | None]:
    """The URIs of the photos at these places in the listing."""
    order = np.argsort(places, kind="stable")
    wanted, first = places[order], 0
    uris: list[str | None] = [None] * len(places)
    for batch in listing.batches():
        low, high = np.searchsorted(wanted, [first, first + batch.num_rows])
        for at in range(int(low), int(high)):
            uris[int(order[at])] = batch["uri"][int(wanted[at] - first)].as_py()
        first += batch.num_rows
    return uris
