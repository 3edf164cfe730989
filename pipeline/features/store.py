"""The files of a feature set, seen once: which count, which are lost or damaged, and their rows without the removed.

A file may be half-written, or about to be taken back, until it is committed: the ledger names it, or, for a while after
a killed run and always in sets of earlier versions, Ray's checkpoint does: ``checkpoint/FINGERPRINT/NAME.parquet``
commits ``features/NAME-*.parquet``. Only names count there: what ids are done is read from the features themselves.
"""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from pipeline.errors import QpertError, first_line
from pipeline.features.damage import Damage, DamagedFileError, checkpoint_path, judge, modified, name_of, stem_of
from pipeline.features.ledger import FileNote, Ledger, footer_digest
from pipeline.features.marks import Marks
from pipeline.io.locations import is_uri, join, list_files, locate
from pipeline.io.parquet import DamagedTable, open_table, read_all

_AT_ONCE = 8
"""Files of a bucket that are read at once; on a disk two are."""
_LOOKS = 3
_BLOCK = 16 * 2**20
Result = TypeVar("Result")


@dataclass(frozen=True)
class FeatureStore:
    """What is on disk.

    Attributes:
        out: folder or URI of the feature set.
        fingerprint: of what its features are made of.
        filesystem: that holds them.
        folder: of the features, as the file system names it.
        ledger: which files count; None in sets of earlier versions.
        present: name -> what listing says of each Parquet file in the folder.
        names: of the files that count and are there, the oldest first.
        damages: files that count and are lost or damaged, as far as listing tells.
        removed: rows that count no more.
    """

    out: str
    fingerprint: str
    filesystem: fs.FileSystem
    folder: str
    ledger: Ledger | None
    present: dict[str, fs.FileInfo]
    names: tuple[str, ...]
    damages: tuple[Damage, ...]
    removed: Marks

    @classmethod
    def open(cls, out: str, fingerprint: str, *, complete: bool = False) -> FeatureStore:
        """List the files of `out`; none of the features is read.

        Args:
            out: folder or URI of the feature set.
            fingerprint: whose checkpoint counts.
            complete: the set is; then all files count where there is neither a ledger nor a checkpoint.

        Raises:
            QpertError: the ledger or the marks are damaged.
        """
        filesystem, folder = locate(join(out, "features"))
        for _ in range(_LOOKS):
            ledger = Ledger.find(out)
            # What is committed when it is listed is there when the features are listed after that.
            committed = {stem_of(info) for info in list_files(checkpoint_path(out, fingerprint), ".parquet")}
            present = {name_of(info): info for info in list_files(join(out, "features"), ".parquet")}
            names, damages = judge(ledger, present, committed, everything=complete and not committed)
            # Files may have been put in the place of others since the ledger was read.
            if not damages or Ledger.find(out) == ledger:
                break
        marks = Marks.read(out, "removed")
        return cls(out, fingerprint, filesystem, folder, ledger, present, tuple(names), tuple(damages), marks)

    def path(self, name: str) -> str:
        """Where a features file is, as the file system names it."""
        return posixpath.join(self.folder, name)

    def note(self, name: str) -> FileNote | None:
        """What the ledger says of a file."""
        return None if self.ledger is None else self.ledger.files.get(name)

    def unnoted(self) -> list[str]:
        """Files that count and are not in the ledger, or have another time of change than when they were noted."""
        return [
            name
            for name in self.names
            if (note := self.note(name)) is None or note.mtime != modified(self.present[name])
        ]

    def check_unnoted(self) -> None:
        """Open the files that count and are not in the ledger, of which nothing is known yet.

        Raises:
            QpertError: one is damaged, or no file of features.
        """

        def look(name: str) -> None:
            with self.opened(name):
                pass

        for _ in self.each(look, [name for name in self.names if self.note(name) is None]):
            pass

    @contextmanager
    def opened(self, name: str) -> Iterator[pq.ParquetFile]:
        """A features file; what its content makes reading raise becomes a QpertError that names it.

        Raises:
            DamagedFileError: it is damaged.
            QpertError: it has columns of types that may hold programs, or is no file of features.
            OSError: the storage does not answer.
        """
        try:
            with open_table(self.path(name), self.filesystem, checksums=True) as file:
                self._check_columns(name, file.schema_arrow.names)
                yield file
        except DamagedTable as error:
            cause = error.__cause__ or error.__context__
            if isinstance(cause, FileNotFoundError):
                raise DamagedFileError(self.damage(name, "gone"), self.out) from None
            if isinstance(cause, MemoryError):
                raise cause from None
            # pyarrow raises the same for storage that fails and for content that makes no sense.
            self._read_raw(name)
            raise DamagedFileError(self.damage(name, first_line(cause or error)[:120]), self.out) from error

    def _check_columns(self, name: str, columns: Sequence[str]) -> None:
        lacking = [column for column in _NEEDED if column not in columns]
        if not any(column in columns for column in _MADE):
            lacking.append(_MADE[0])
        if lacking and self.note(name) is not None:
            raise DamagedFileError(self.damage(name, "not the file that was committed"), self.out)
        if lacking:
            raise QpertError(
                f"{self.path(name)} is no file of features: it has no column {lacking[0]}; move it out of that folder"
            )

    def _read_raw(self, name: str) -> None:
        with self.filesystem.open_input_stream(self.path(name), compression=None) as stream:
            while stream.read(_BLOCK):
                pass

    def damage(self, name: str, reason: str) -> Damage:
        """What to say of a file that turned out damaged."""
        note = self.note(name)
        return Damage(name, None if note is None else note.rows, reason)

    def read(self, name: str, columns: Sequence[str]) -> pa.Table:
        """Those of the `columns` that a file has, of all its rows.

        Raises:
            DamagedFileError: it is damaged.
        """
        with self.opened(name) as file:
            there = file.schema_arrow.names
            return read_all(file, [column for column in columns if column.partition(".")[0] in there])

    def live(self, name: str, columns: Sequence[str]) -> pa.Table:
        """The same, and `image_id`, of the rows that count."""
        return self.removed.without(name, self.read(name, list(dict.fromkeys(["image_id", *columns]))))

    def tables(self, columns: Sequence[str], *, removed: bool = False) -> Iterator[tuple[str, pa.Table]]:
        """Each file that counts, and `image_id` and `columns` of its rows that do; with `removed` of all its rows.

        Raises:
            DamagedFileError: one is damaged.
        """
        read = self.read if removed else self.live
        wanted = list(dict.fromkeys(["image_id", *columns]))
        yield from zip(self.names, self.each(lambda name: read(name, wanted), self.names), strict=True)

    def each(self, call: Callable[[str], Result], names: Sequence[str]) -> Iterator[Result]:
        """What `call` gives for each name, in order, with a few under way at once."""
        ahead: deque[Future[Result]] = deque()
        with ThreadPoolExecutor(_AT_ONCE if is_uri(self.out) else 2) as pool:
            try:
                for name in names:
                    ahead.append(pool.submit(call, name))
                    if len(ahead) > (_AT_ONCE if is_uri(self.out) else 2):
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def look(self, name: str, *, whole: bool) -> FileNote:
        """What the ledger shall say of a file, read now.

        Args:
            name: of the file.
            whole: read all its pages, so that damage in any of them is found, and not only what is counted.

        Raises:
            DamagedFileError: it is damaged, or another one than the ledger knows.
        """
        with self.opened(name) as file:
            digest = footer_digest(self.present[name], self.filesystem)
            there = file.schema_arrow.names
            columns = None if whole else [each for each in _COUNTED if each.partition(".")[0] in there]
            rows = failed = objects = 0
            for batch in file.iter_batches(4096, columns=columns):
                rows += batch.num_rows
                failed += batch.num_rows - batch["error"].null_count if "error" in there else 0
                objects += (pc.sum(pc.list_value_length(batch["objects"])).as_py() or 0) if "objects" in there else 0
            if rows != file.metadata.num_rows:  # Arrow says nothing of some damage
                raise pa.ArrowInvalid(f"{rows} of {file.metadata.num_rows} rows")
        note, info = self.note(name), self.present[name]
        if note is not None and note.digest != digest:
            raise DamagedFileError(self.damage(name, "not the file that was committed"), self.out)
        return FileNote(
            rows=rows, failed=failed, objects=objects, bytes=info.size or 0, mtime=modified(info), digest=digest
        )

    def expected(self) -> int | None:
        """How many rows count by the ledger and the marks, nothing being read; None where a file is not noted."""
        rows = 0
        for name in self.names:
            note, marks = self.note(name), self.removed.by_file.get(name)
            if note is None:
                return None
            rows += note.rows - (0 if marks is None else int(marks.num_rows))
        return rows

    def counts(self) -> dict[str, int]:
        """``photos``, ``failed`` and ``objects`` that count; only files with removed rows or without a note are read.

        Raises:
            DamagedFileError: one of these is damaged.
        """
        totals = {"photos": 0, "failed": 0, "objects": 0}
        noted = [name for name in self.names if self.note(name) is not None and name not in self.removed.by_file]
        for name in noted:
            note = self.note(name)
            assert note is not None
            totals = {
                "photos": totals["photos"] + note.rows,
                "failed": totals["failed"] + note.failed,
                "objects": totals["objects"] + note.objects,
            }
        others = sorted(set(self.names) - set(noted))
        for table in self.each(lambda name: self.live(name, _COUNTED), others):
            totals["photos"] += table.num_rows
            totals["failed"] += table.num_rows - table["error"].null_count
            totals["objects"] += pc.sum(pc.list_value_length(table["objects"])).as_py() or 0
        return totals


_NEEDED = ("image_id", "error")
_MADE = ("embedding", "scores")
"""What was made of a photo, one of them: by indexing, and by matching, whose scores are kept in the same way."""
_COUNTED = ("error", "objects.list.element.score")
