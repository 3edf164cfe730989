"""A snapshot of the features files of a set: which count, which are lost or damaged, and the rows that count.

A file may be half-written, or about to be deleted, until it is committed: the ledger names it or, for a while after a
killed run and always in sets of earlier versions, Ray's checkpoint does (see `pipeline.features.checkpoint`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from pipeline.errors import QpertError, first_line
from pipeline.features.checkpoint import committed_stems, stem
from pipeline.features.damage import AGAIN, Damage, DamagedFileError, judge, lost_files, modified
from pipeline.features.ledger import FileNote, Ledger, footer_digest
from pipeline.features.marks import Marks
from pipeline.features.part_names import place
from pipeline.features.schema import missing_column
from pipeline.io.locations import Folder, is_uri
from pipeline.io.map_ahead import map_ahead
from pipeline.io.parquet import DamagedTable, open_table, read_all

FEATURES = "features"
"""The folder of the files in a feature set."""
_BUCKET_READERS, _DISK_READERS = 8, 2
_ATTEMPTS = 3
_BLOCK = 16 * 2**20
_COUNTED = ("error", "objects.list.element.score")
Result = TypeVar("Result")


@dataclass(frozen=True)
class FeatureFiles:
    """The features files on disk at one moment.

    Attributes:
        folder: the feature set.
        fingerprint: identifies how the features were made.
        ledger: which files count; None in sets of earlier versions.
        present: name -> file info of every Parquet file in the folder.
        names: the files that count and exist, oldest first.
        damages: files that count and are lost or damaged, as far as a listing tells.
        removed: rows that no longer count.
    """

    folder: Folder
    fingerprint: str
    ledger: Ledger | None
    present: dict[str, fs.FileInfo]
    names: tuple[str, ...]
    damages: tuple[Damage, ...]
    removed: Marks

    @classmethod
    def snapshot(cls, folder: Folder, fingerprint: str, *, complete: bool = False) -> FeatureFiles:
        """List the files without reading any of them.

        Args:
            folder: the feature set.
            fingerprint: whose checkpoint counts.
            complete: the set is complete, so that all files count if there is neither a ledger nor a checkpoint.

        Raises:
            QpertError: the ledger or the marks are damaged.
        """
        features = folder.subfolder(FEATURES)
        for _ in range(_ATTEMPTS):
            ledger = Ledger.find(folder)
            # Listed before the features, so that whatever it names is among them.
            committed = committed_stems(folder, fingerprint, map(stem, ledger.files) if ledger else None)
            present = {str(info.base_name): info for info in features.files(".parquet")}
            present |= _not_listed(features, present, ledger)
            names, damages = judge(ledger, present, committed, everything=complete and not committed)
            # Files may have been replaced since the ledger was read.
            if not damages or Ledger.find(folder) == ledger:
                break
        removed = Marks.read(folder, "removed")
        return cls(folder, fingerprint, ledger, present, tuple(names), tuple(damages), removed)

    def check_complete(self) -> None:
        """Raise a QpertError if a listing shows that files are lost or damaged."""
        if self.damages:
            lost = lost_files(self.folder.root, self.damages, len(self.names) + len(self.damages))
            raise QpertError(f"{lost}\n       {AGAIN}")

    def path(self, name: str) -> str:
        """The path of a features file in the file system of `folder`."""
        return self.folder.at(place(name))

    def note(self, name: str) -> FileNote | None:
        """The entry of a file in the ledger."""
        return None if self.ledger is None else self.ledger.files.get(name)

    def seen(self) -> Marks:
        """Rows of photos whose modification time has changed though their content has not."""
        return Marks.read(self.folder, "seen")

    def unnoted(self) -> list[str]:
        """Files that count but are not in the ledger, or were modified since they were entered."""
        return [
            name
            for name in self.names
            if (note := self.note(name)) is None or note.mtime != modified(self.present[name])
        ]

    @contextmanager
    def opened(self, name: str) -> Iterator[pq.ParquetFile]:
        """Open a features file; errors that its content causes become a QpertError that names it.

        Raises:
            DamagedFileError: it is damaged.
            QpertError: it has columns of types that may hold programs, or is not a features file.
            OSError: the storage does not answer.
        """
        try:
            with open_table(self.path(name), self.folder.filesystem, checksums=True) as file:
                self._check_columns(name, file.schema_arrow.names)
                yield file
        except DamagedTable as error:
            cause = error.__cause__ or error.__context__
            if isinstance(cause, FileNotFoundError):
                raise self._damaged(name, "gone") from None
            if isinstance(cause, MemoryError):
                raise cause from None
            # pyarrow raises the same errors when storage fails and when content is damaged.
            self._read_raw(name)
            raise self._damaged(name, first_line(cause or error)[:120]) from error

    def _check_columns(self, name: str, columns: Sequence[str]) -> None:
        missing = missing_column(columns)
        if missing and self.note(name) is not None:
            raise self._damaged(name, "not the file that was committed")
        if missing:
            raise QpertError(
                f"{self.path(name)} is not a features file: it has no column {missing}; move it out of that folder"
            )

    def _read_raw(self, name: str) -> None:
        with self.folder.filesystem.open_input_stream(self.path(name), compression=None) as stream:
            while stream.read(_BLOCK):
                pass

    def _damaged(self, name: str, reason: str) -> DamagedFileError:
        note = self.note(name)
        return DamagedFileError(Damage(name, None if note is None else note.rows, reason), self.folder.root)

    def read(self, name: str, columns: Sequence[str]) -> pa.Table:
        """All rows of a file, with those of `columns` that it has.

        Raises:
            DamagedFileError: it is damaged.
        """
        with self.opened(name) as file:
            stored = file.schema_arrow.names
            return read_all(file, [column for column in columns if column.partition(".")[0] in stored])

    def live(self, name: str, columns: Sequence[str]) -> pa.Table:
        """The rows of a file that count, with `image_id` and those of `columns` that it has."""
        return self.removed.without(name, self.read(name, list(dict.fromkeys(["image_id", *columns]))))

    def tables(self, columns: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        """The name of each file that counts, and `image_id` and `columns` of its rows that count.

        Raises:
            DamagedFileError: one is damaged.
        """
        yield from zip(self.names, self.map(lambda name: self.live(name, columns), self.names), strict=True)

    def ids(self) -> Iterator[list[str]]:
        """Ids of the photos that count, failed ones included, file by file."""
        for _, table in self.tables([]):
            yield [str(name) for name in table["image_id"].to_pylist()]

    def map(self, call: Callable[[str], Result], names: Sequence[str]) -> Iterator[Result]:
        """The results of `call` for each name, in order, with a few calls running at once."""
        return map_ahead(call, names, _BUCKET_READERS if is_uri(self.folder.root) else _DISK_READERS)

    def examine(self, name: str, *, whole: bool) -> FileNote:
        """Read a file for its entry in the ledger.

        Args:
            name: of the file.
            whole: read all its pages, to find damage anywhere, rather than just the columns that are counted.

        Raises:
            DamagedFileError: it is damaged, or not the file that the ledger describes.
        """
        with self.opened(name) as file:
            digest = footer_digest(self.present[name], self.folder.filesystem)
            stored = file.schema_arrow.names
            columns = None if whole else [column for column in _COUNTED if column.partition(".")[0] in stored]
            rows = failed = objects = 0
            for batch in file.iter_batches(4096, columns=columns):
                rows += batch.num_rows
                failed += batch.num_rows - batch["error"].null_count if "error" in stored else 0
                objects += _count_objects(batch) if "objects" in stored else 0
            if rows != file.metadata.num_rows:  # Arrow does not report every damage
                raise pa.ArrowInvalid(f"{rows} of {file.metadata.num_rows} rows")
        note, info = self.note(name), self.present[name]
        if note is not None and note.digest != digest:
            raise self._damaged(name, "not the file that was committed")
        size = info.size or 0
        return FileNote(rows=rows, failed=failed, objects=objects, bytes=size, mtime=modified(info), digest=digest)

    def stored_rows(self, names: Sequence[str]) -> int:
        """Rows in these files by their footers, failed photos included."""
        filesystem = self.folder.filesystem
        return sum(int(pq.read_metadata(self.path(name), filesystem=filesystem).num_rows) for name in names)

    def counts(self) -> dict[str, int]:
        """``photos``, ``failed`` and ``objects`` that count; reads only files with removed rows or without an entry.

        Raises:
            DamagedFileError: one of these is damaged.
        """
        totals = {"photos": 0, "failed": 0, "objects": 0}
        unknown = []
        for name in self.names:
            note = self.note(name)
            if note is None or name in self.removed.by_file:
                unknown.append(name)
                continue
            totals["photos"] += note.rows
            totals["failed"] += note.failed
            totals["objects"] += note.objects
        for table in self.map(lambda name: self.live(name, _COUNTED), unknown):
            totals["photos"] += table.num_rows
            totals["failed"] += table.num_rows - table["error"].null_count
            totals["objects"] += _count_objects(table)
        return totals


def _not_listed(features: Folder, present: dict[str, fs.FileInfo], ledger: Ledger | None) -> dict[str, fs.FileInfo]:
    """Files of the ledger that exist though the listing of a bucket lacks them: some list what was written later."""
    names = (
        [] if ledger is None or not is_uri(features.root) else [name for name in ledger.files if name not in present]
    )
    infos = map_ahead(lambda name: features.filesystem.get_file_info(features.at(name)), names, _BUCKET_READERS)
    return {str(info.base_name): info for info in infos if info.type == fs.FileType.File}


def _count_objects(rows: pa.RecordBatch | pa.Table) -> int:
    return pc.sum(pc.list_value_length(rows["objects"])).as_py() or 0
