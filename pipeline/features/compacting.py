"""Rewriting features without the rows that no longer count, and combining small files.

New files are written and read back first; then, in one step, they replace the old ones in the ledger; then the old ones
are deleted. Wherever this is interrupted, the set holds every photo once, and the next run continues.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import QpertError
from pipeline.features.file_sizes import FILE_BYTES
from pipeline.features.files import FeatureFiles
from pipeline.features.ledger import FileNote, Ledger
from pipeline.features.manifest import Manifest
from pipeline.features.mending import COMPACTED, note_committed, tidy
from pipeline.features.removing import drop_repeated
from pipeline.features.schema import DICTIONARY
from pipeline.io.locations import Folder
from pipeline.io.retrying_files import retry_on

_AT_ONCE = 2**30
"""Bytes of old files that are replaced in one step; the disk needs as much extra space for a while."""
_ROWS = 4096


@dataclass(frozen=True)
class Compacted:
    """The result of a compaction.

    Attributes:
        before: files that were replaced.
        after: files that replaced them.
        dropped: rows that were deleted.
    """

    before: int = 0
    after: int = 0
    dropped: int = 0


def compact(folder: Folder, *, merge: bool = True, counted: Callable[[int], object] = lambda files: None) -> Compacted:
    """Rewrite the files that have rows which no longer count, and with `merge` combine small ones.

    Args:
        folder: the feature set.
        merge: combine small files.
        counted: called now and then with the number of files done.

    Raises:
        QpertError: files are lost or damaged, or another run is writing there.
    """
    Manifest.read(folder)  # before the lock creates a missing folder
    with folder.exclusive():
        manifest = Manifest.read(folder)
        fingerprint = manifest.fingerprint
        files = note_committed(folder, fingerprint, whole=True, complete=manifest.state == "complete")
        tidy(folder, fingerprint)
        if drop_repeated(files):  # rows of one file cannot be told apart any more
            files = FeatureFiles.snapshot(folder, fingerprint)
        done = Compacted()
        for groups in _batches(files, merge=merge):
            old = {name: note for group in groups for name in group if (note := files.note(name)) is not None}
            new = {name: note for group in groups for name, note in _write_group(files, group).items()}
            (files.ledger or Ledger()).replacing(old, new).write(folder)  # from here on the new files count
            tidy(folder, fingerprint)
            files = FeatureFiles.snapshot(folder, fingerprint)
            rows = sum(note.rows for note in old.values()) - sum(note.rows for note in new.values())
            done = Compacted(done.before + len(old), done.after + len(new), done.dropped + rows)
            counted(done.before)
        manifest.model_copy(update={"counts": files.counts()}).write(folder)
        return done


def _batches(files: FeatureFiles, *, merge: bool) -> Iterator[list[list[str]]]:
    """Groups of files to combine, in batches that are replaced in one step."""
    batch: list[list[str]] = []
    held = 0
    for group in _groups(files, merge=merge):
        batch.append(group)
        held += sum(files.present[name].size or 0 for name in group)
        if held > _AT_ONCE:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _groups(files: FeatureFiles, *, merge: bool) -> Iterator[list[str]]:
    """Consecutive small files, and single files with marked rows."""
    marked = {*files.removed.by_file, *files.seen().by_file}
    group: list[str] = []
    held = 0
    for name in (*files.names, None):
        size = 0 if name is None else files.present[name].size or 0
        if group and (name is None or not merge or held + size > FILE_BYTES):
            if len(group) > 1 or group[0] in marked:
                yield group
            group, held = [], 0
        if name is not None:
            group.append(name)
            held += size


def _write_group(files: FeatureFiles, group: Sequence[str]) -> dict[str, FileNote]:
    """Write the rows of some files that count into one, and read it back; nothing is written if there are none."""
    schema = _schema_of(files, group)
    seen = files.seen()
    name = f"{COMPACTED}{uuid.uuid4().hex}-0.parquet"
    path = files.path(name)
    temporary = f"{path}.tmp"  # not a name that DuckDB or pandas would read

    def write() -> int:
        rows = 0
        with pq.ParquetWriter(
            temporary,
            schema,
            filesystem=files.folder.filesystem,
            write_page_checksum=True,
            use_dictionary=[column for column in DICTIONARY if column.partition(".")[0] in schema.names],
        ) as writer:
            for old in group:
                with files.opened(old) as file:
                    for batch in file.iter_batches(_ROWS):
                        table = files.removed.without(old, pa.Table.from_batches([batch]))
                        table = _with_columns(_as_seen(table, seen.by_file.get(old)), schema)
                        writer.write_table(table)
                        rows += table.num_rows
        return rows

    rows = retry_on(files.folder.filesystem, write)
    if not rows:
        files.folder.filesystem.delete_file(temporary)
        return {}
    files.folder.filesystem.move(temporary, path)
    info = files.folder.filesystem.get_file_info(path)
    note = replace(files, present={**files.present, name: info}).examine(name, whole=True)
    if note.rows != rows:
        raise QpertError(f"{path} does not hold what was written to it; check the storage")
    return {name: note}


def _schema_of(files: FeatureFiles, group: Sequence[str]) -> pa.Schema:
    schemas = []
    for name in group:
        with files.opened(name) as file:
            schemas.append(file.schema_arrow.remove_metadata())
    try:
        return pa.unify_schemas(schemas)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise QpertError(
            f"{files.folder.root}: the files have columns of different types, so they cannot be combined ({error})"
        ) from error


def _as_seen(table: pa.Table, seen: pa.Table | None) -> pa.Table:
    """`table` with the modification times that were seen last."""
    if seen is None or "mtime" not in table.column_names:
        return table
    at = pc.index_in(table["image_id"].combine_chunks(), value_set=seen["image_id"].combine_chunks())
    times = pc.coalesce(seen["mtime"].combine_chunks().take(at), table["mtime"].combine_chunks())
    return table.set_column(table.column_names.index("mtime"), "mtime", times)


def _with_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with all columns of `schema`: null where files of earlier versions lack them."""
    for column in schema:
        if column.name not in table.column_names:
            table = table.append_column(column.name, pa.nulls(table.num_rows, column.type))
    return table.select(schema.names).cast(schema)
