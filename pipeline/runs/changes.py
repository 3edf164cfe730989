"""Finds which photos of the source are new, changed, gone, or back again since they were indexed.

Listing a source gives the size and modification time of most files. A different size means a different photo. A
different time with the same size may be the same photo, copied or touched: then its content is compared by digest, and
the new time is stored beside the features. Unknown values (lists of URLs, sets of earlier versions) are not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets.photos.shard import Shard
from pipeline.errors import QpertError
from pipeline.features.files import FeatureFiles
from pipeline.features.id_set import IdSet, Records
from pipeline.features.marks import REMOVED, SEEN
from pipeline.features.store import FeatureStore

Ints = npt.NDArray[np.int64]
UNKNOWN = np.iinfo(np.int64).min
"""Stands for an unknown size or time."""
_ROWS = np.int64(2**32)
"""A row's place is the number of its file times this, plus the number of the row in it."""


@dataclass(frozen=True)
class Edits:
    """Marks to write beside the features so that they agree with the source.

    Attributes:
        removed: rows to take out of use (`REMOVED`).
        restored: rows to put back into use: `file` and `image_id`.
        seen: rows whose file has a different time now (`SEEN`).
    """

    removed: pa.Table = field(default_factory=REMOVED.empty_table)
    restored: pa.Table = field(default_factory=lambda: REMOVED.empty_table().select(["file", "image_id"]))
    seen: pa.Table = field(default_factory=SEEN.empty_table)

    def __bool__(self) -> bool:
        return any(table.num_rows for table in (self.removed, self.restored, self.seen))

    def write(self, store: FeatureStore, fingerprint: str) -> None:
        """Writes the marks; the caller holds the lock. If it is interrupted, the next run finds the rest again."""
        store.remove_rows(fingerprint, self.removed)
        store.restore_rows(fingerprint, self.restored)
        store.note_seen(self.seen)


@dataclass
class Changes:
    """What became of the rows: places, collected step by step.

    Attributes:
        same: number of photos whose row is still valid.
        changed: rows of photos that have changed.
        gone: rows of photos that the source no longer has.
        hidden: rows out of use whose photo was gone, and still is.
        restored: rows out of use whose photo is back unchanged.
        seen: rows and the current modification time of their file.
    """

    same: int = 0
    changed: list[Ints] = field(default_factory=list)
    gone: list[Ints] = field(default_factory=list)
    hidden: list[Ints] = field(default_factory=list)
    restored: list[Ints] = field(default_factory=list)
    seen: list[tuple[Ints, Ints]] = field(default_factory=list)

    def edits(self, files: FeatureFiles, *, keep_gone: bool) -> Edits:
        """Turns the changes into marks.

        Args:
            files: the files of the feature set.
            keep_gone: photos that are gone stay in use, including those of earlier runs.
        """
        removed = [(_joined(self.changed), "changed")] + ([] if keep_gone else [(_joined(self.gone), "gone")])
        tables = []
        for places, reason in removed:
            rows = rows_at(files, places, [])
            tables.append(rows.append_column("reason", pa.array([reason] * rows.num_rows, pa.string())))
        restored = rows_at(files, _joined([*self.restored, *(self.hidden if keep_gone else [])]), [])
        places = _joined([row for row, _ in self.seen])
        order = np.argsort(places, kind="stable")
        times = _joined([time for _, time in self.seen])[order]
        seen = rows_at(files, places[order], []).append_column("mtime", pa.array(times, pa.timestamp("us", "UTC")))
        return Edits(pa.concat_tables(tables), restored, seen)


def indexed_rows(
    files: FeatureFiles, columns: tuple[str, ...] = (), unreadable: Callable[[QpertError], object] | None = None
) -> Iterator[tuple[pa.Table, Ints, npt.NDArray[np.bool_]]]:
    """Reads file by file the rows that are in use, or would be if their photo were not gone.

    Args:
        files: the files of the feature set.
        columns: further columns to read.
        unreadable: called with the error of a file that cannot be read, which is then skipped; None raises it.

    Yields:
        `image_id`, `size`, `mtime` (as last seen) and `columns`; the places of the rows; whether each is in use.
    """
    seen = files.seen()
    for number, name in enumerate(files.names):
        try:
            table = files.read(name, ["image_id", "size", "mtime", *columns])
        except QpertError as error:
            if unreadable is None:
                raise
            unreadable(error)
            continue
        places = number * _ROWS + np.arange(table.num_rows, dtype=np.int64)
        counts = np.ones(table.num_rows, bool)
        kept = counts.copy()
        if (marks := files.removed.by_file.get(name)) is not None:
            reason = _beside(table["image_id"], marks, "reason")
            counts = pc.is_null(reason).to_numpy(zero_copy_only=False)
            kept = counts | pc.fill_null(pc.equal(reason, "gone"), False).to_numpy(zero_copy_only=False)
        if (marks := seen.by_file.get(name)) is not None and "mtime" in table.column_names:
            times = pc.coalesce(_beside(table["image_id"], marks, "mtime"), table["mtime"].combine_chunks())
            table = table.set_column(table.column_names.index("mtime"), "mtime", times)
        yield table.filter(pa.array(kept)), places[kept], counts[kept]


def numbers(table: pa.Table, name: str) -> Ints:
    """A column of whole numbers or times, `UNKNOWN` for null and for all rows of a table without it."""
    if name not in table.column_names:
        return np.full(table.num_rows, UNKNOWN)
    column = table[name].combine_chunks()
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    values: Ints = pc.fill_null(column.cast(pa.int64()), UNKNOWN).to_numpy(zero_copy_only=False)
    return values


def changed_at(shard: Shard) -> int:
    """Modification time of the file of a shard, in microseconds since 1970."""
    if shard.mtime is None:
        return int(UNKNOWN)
    return int(pa.scalar(shard.mtime, pa.timestamp("us", "UTC")).cast(pa.int64()).as_py())


def join_listing(indexed: IdSet, listed: IdSet) -> tuple[Changes, Ints]:
    """Compares rows with photos by size and time.

    Args:
        indexed: the rows: `size`, `mtime`, `place`, `counts`.
        listed: the photos of the source: `size`, `mtime`, `place`.

    Returns:
        The changes, and the rows whose content must be compared as int64 [n, 4]: the place of the row, whether it is
        in use, and the place and time of its photo.
    """
    changes, unsure = Changes(), []
    for rows, photos in indexed.beside(listed):
        # Of several rows of a photo the one in use, and of these the latest.
        rows = rows[np.lexsort((-rows["place"], -rows["counts"], rows["id"]))]
        first = np.ones(len(rows), bool)
        first[1:] = rows["id"][1:] != rows["id"][:-1]
        rows = rows[first | (rows["counts"] == 1)]
        away = ~np.isin(rows["id"], photos["id"])
        changes.gone.append(rows["place"][away & (rows["counts"] == 1)])
        changes.hidden.append(rows["place"][away & (rows["counts"] == 0)])
        at = np.searchsorted(rows["id"], photos["id"])
        there = at < len(rows)
        there[there] = rows["id"][at[there]] == photos["id"][there]
        row, photo = rows[at[there]], photos[there]
        other_size, other_time = _differ(row, photo, "size"), _differ(row, photo, "mtime")
        counts = row["counts"] == 1
        look = other_time & ~other_size
        same = ~other_size & ~look
        changes.changed.append(row["place"][other_size & counts])
        changes.restored.append(row["place"][same & ~counts])
        changes.same += int(same.sum())
        unsure.append(np.stack([row["place"], row["counts"], photo["place"], photo["mtime"]], 1)[look])
    return changes, np.concatenate(unsure)


def rows_at(files: FeatureFiles, places: Ints, columns: list[str]) -> pa.Table:
    """`file`, `image_id` and `columns` of the rows at these places, in ascending order of place."""
    places = np.sort(places)
    numbers_of, rows_of = places // _ROWS, places % _ROWS
    tables = []
    for number in np.unique(numbers_of):
        name = files.names[int(number)]
        table = files.read(name, ["image_id", *columns]).take(pa.array(rows_of[numbers_of == number]))
        for column in columns:
            if column not in table.column_names:
                table = table.append_column(column, pa.nulls(table.num_rows, pa.string()))
        file = pa.array([name] * table.num_rows, pa.string())
        tables.append(
            pa.table({"file": file, **{column: table[column].cast(pa.string()) for column in ("image_id", *columns)}})
        )
    empty = pa.schema([(name, pa.string()) for name in ("file", "image_id", *columns)]).empty_table()
    return pa.concat_tables([empty, *tables])


def _beside(ids: pa.ChunkedArray, marks: pa.Table, column: str) -> pa.Array:
    """The mark of each id, or null."""
    at = pc.index_in(ids.combine_chunks(), value_set=marks["image_id"].combine_chunks())
    return marks[column].combine_chunks().take(at)


def _differ(row: Records, photo: Records, name: str) -> npt.NDArray[np.bool_]:
    known = (row[name] != UNKNOWN) & (photo[name] != UNKNOWN)
    differ: npt.NDArray[np.bool_] = known & (row[name] != photo[name])
    return differ


def _joined(places: list[Ints]) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *places])
