"""Finds how tars have changed since their photos were indexed.

Only reading a tar shows what it holds, so one whose modification time differs from that of its rows is read again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets.photos.found_photos import Shards
from pipeline.errors import QpertError
from pipeline.features.files import FeatureFiles
from pipeline.features.id_set import IdSet
from pipeline.io.locations import as_uri
from pipeline.runs.changes import UNKNOWN, Changes, Ints, changed_at, indexed_rows, numbers
from pipeline.runs.contents import look_into


def compare_tars(
    files: FeatureFiles, photos: Shards, unreadable: Callable[[QpertError], object] | None = None
) -> tuple[IdSet, Changes]:
    """Compares the rows of a feature set with the tars that they came from.

    Args:
        files: the files of the feature set.
        photos: the tars.
        unreadable: called with the error of a features file that cannot be read; None raises it.

    Returns:
        The ids of the rows with `counts` (whether each is in use), and the changes.
    """
    numbers_of = {name: at for at, shard in enumerate(photos.shards) for name in (as_uri(shard.path), shard.path)}
    times = np.array([*map(changed_at, photos.shards), UNKNOWN], np.int64)
    indexed, changes = IdSet("counts"), Changes()
    same, stale = np.zeros(len(times), np.int64), np.zeros(len(times), bool)
    back: list[tuple[Ints, Ints]] = []
    for table, places, counts in indexed_rows(files, ("uri",), unreadable):
        indexed.add(table["image_id"].to_pylist(), counts=counts)
        shard = _shard_numbers(table["uri"], numbers_of)
        time = numbers(table, "mtime")
        other = (time != UNKNOWN) & (times[shard] != UNKNOWN) & (time != times[shard])
        stale[np.unique(shard[other & counts])] = True
        np.add.at(same, shard[counts], 1)
        away = shard < 0
        changes.gone.append(places[away & counts])
        changes.hidden.append(places[~counts])
        again = ~away & ~other & ~counts
        back.append((places[again], shard[again]))
    changes.same = int(same[:-1][~stale[:-1]].sum())  # the last entry stands for tars that are gone
    changes.restored += [places[~stale[shard]] for places, shard in back]
    restored = np.concatenate([np.zeros(0, np.int64), *changes.restored])
    changes.same += len(restored)
    changes.hidden = [places[~np.isin(places, restored)] for places in changes.hidden]
    if stale.any():
        rows: dict[int, list[Ints]] = {int(at): [] for at in np.flatnonzero(stale)}
        for table, places, counts in indexed_rows(files, ("uri",), unreadable):
            shard = _shard_numbers(table["uri"], numbers_of)
            for at in set(np.unique(shard).tolist()) & set(rows):
                mine = shard == at
                columns = [places[mine], counts[mine], np.full(mine.sum(), at), np.full(mine.sum(), times[at])]
                rows[at].append(np.stack([column.astype(np.int64) for column in columns], 1))
        for at, parts in rows.items():
            look_into(files, photos, at, np.concatenate(parts), changes, all_rows=True)
    return indexed, changes


def _shard_numbers(uris: pa.ChunkedArray, numbers_of: dict[str, int]) -> npt.NDArray[np.int64]:
    """The number of the tar that each photo comes from; -1 for other sources."""
    heads = pc.list_element(pc.split_pattern(uris.combine_chunks(), "#", max_splits=1), 0)
    # A tar that is cut off has a row of its own, whose URI is the path itself.
    heads = pc.if_else(
        pc.is_in(uris.combine_chunks(), value_set=pa.array(list(numbers_of))), uris.combine_chunks(), heads
    )
    coded = heads.dictionary_encode()
    known = np.array([numbers_of.get(name, -1) for name in coded.dictionary.to_pylist()] or [-1], np.int64)
    shards: npt.NDArray[np.int64] = known[pc.fill_null(coded.indices, 0).to_numpy(zero_copy_only=False)]
    return shards
