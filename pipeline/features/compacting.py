"""Writing features anew without the rows that count no more, and small files together.

New files are written and read back first; then, in one step, the ledger names them in the place of the old ones; then
the old ones are deleted. Cut off anywhere, the set holds every photo once, and the next run goes on from there.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import QpertError
from pipeline.features.file_sizes import FILE_BYTES
from pipeline.features.ledger import FileNote, Ledger
from pipeline.features.manifest import Manifest
from pipeline.features.marks import Marks
from pipeline.features.mending import COMPACTED, drop_repeated, note_committed, tidy
from pipeline.features.store import FeatureStore
from pipeline.io.locations import exclusive
from pipeline.io.retrying import patiently
from pipeline.stages.columns import set_column

_AT_ONCE = 2**30
"""Bytes of old files that are replaced in one step; so much more is on the disk for a while."""
_ROWS = 4096
DICTIONARY = ("error", "device", "dtype", "objects.list.element.label")
"""Columns whose values come again and again; embeddings are never the same twice."""


@dataclass(frozen=True)
class Compacted:
    """What was done.

    Attributes:
        before: files that were replaced.
        after: files in their place.
        dropped: rows that are no more.
    """

    before: int = 0
    after: int = 0
    dropped: int = 0


def compact(
    out: str, fingerprint: str, *, merge: bool = True, counted: Callable[[int], object] = lambda files: None
) -> Compacted:
    """Rewrite the files of `out` that have rows which count no more, and with `merge` put small ones together.

    Args:
        out: folder or URI of a feature set.
        fingerprint: of it.
        merge: write small files together.
        counted: is told now and then how many files are done.

    Raises:
        QpertError: files are lost or damaged, or another run is writing there.
    """
    with exclusive(out):
        manifest = Manifest.read(out)
        store = note_committed(out, fingerprint, whole=True, complete=manifest.state == "complete")
        tidy(out, fingerprint)
        if drop_repeated(store):  # within one file rows cannot be told apart any more
            store = FeatureStore.open(out, fingerprint)
        done = Compacted()
        for groups in _batches(store, merge=merge):
            old = {name: note for group in groups for name in group if (note := store.note(name)) is not None}
            new = {name: note for group in groups for name, note in _write_group(store, group).items()}
            _swap(store, old, new)
            store = FeatureStore.open(out, fingerprint)
            rows = sum(note.rows for note in old.values()) - sum(note.rows for note in new.values())
            done = Compacted(done.before + len(old), done.after + len(new), done.dropped + rows)
            counted(done.before)
        manifest.model_copy(update={"counts": store.counts()}).write(out)
        return done


def _swap(store: FeatureStore, old: Mapping[str, FileNote], new: Mapping[str, FileNote]) -> None:
    ledger = (store.ledger or Ledger()).replacing(old, new)
    ledger.write(store.out)  # from here on the new files count, and the old ones do not
    tidy(store.out, store.fingerprint)


def _batches(store: FeatureStore, *, merge: bool) -> Iterator[list[list[str]]]:
    """Groups of files that shall be one, so many at a time as are replaced in one step."""
    batch: list[list[str]] = []
    held = 0
    for group in _groups(store, merge=merge):
        batch.append(group)
        held += sum(store.present[name].size or 0 for name in group)
        if held > _AT_ONCE:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _groups(store: FeatureStore, *, merge: bool) -> Iterator[list[str]]:
    """Small files that follow each other, and single ones with marked rows."""
    marked = {*store.removed.by_file, *Marks.read(store.out, "seen").by_file}
    group: list[str] = []
    held = 0
    for name in (*store.names, None):
        size = 0 if name is None else store.present[name].size or 0
        if group and (name is None or not merge or held + size > FILE_BYTES):
            if len(group) > 1 or group[0] in marked:
                yield group
            group, held = [], 0
        if name is not None:
            group.append(name)
            held += size


def _write_group(store: FeatureStore, group: Sequence[str]) -> dict[str, FileNote]:
    """One file with the rows of some that count, read back; nothing where there are none."""
    schema = _schema_of(store, group)
    seen = Marks.read(store.out, "seen")
    name = f"{COMPACTED}{uuid.uuid4().hex}-0.parquet"
    path = store.path(name)
    temporary = f"{path}.tmp"  # not a name that DuckDB or pandas would read

    def write() -> int:
        rows = 0
        with pq.ParquetWriter(
            temporary,
            schema,
            filesystem=store.filesystem,
            write_page_checksum=True,
            use_dictionary=[column for column in DICTIONARY if column.partition(".")[0] in schema.names],
        ) as writer:
            for old in group:
                with store.opened(old) as file:
                    for batch in file.iter_batches(_ROWS):
                        table = store.removed.without(old, pa.Table.from_batches([batch]))
                        table = _with_columns(_as_seen(table, seen.by_file.get(old)), schema)
                        writer.write_table(table)
                        rows += table.num_rows
        return rows

    rows = patiently(write)
    if not rows:
        store.filesystem.delete_file(temporary)
        return {}
    store.filesystem.move(temporary, path)
    info = store.filesystem.get_file_info(path)
    note = replace(store, present={**store.present, name: info}).look(name, whole=True)
    if note.rows != rows:
        raise QpertError(f"{path} does not hold what was written to it; is the storage in order?")
    return {name: note}


def _schema_of(store: FeatureStore, group: Sequence[str]) -> pa.Schema:
    schemas = []
    for name in group:
        with store.opened(name) as file:
            schemas.append(file.schema_arrow.remove_metadata())
    try:
        return pa.unify_schemas(schemas)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise QpertError(
            f"{store.out}: the files have columns of different types, so they cannot be put together ({error})"
        ) from error


def _as_seen(table: pa.Table, seen: pa.Table | None) -> pa.Table:
    """With the times of change that were seen last."""
    if seen is None or "mtime" not in table.column_names:
        return table
    at = pc.index_in(table["image_id"].combine_chunks(), value_set=seen["image_id"].combine_chunks())
    times = pc.coalesce(seen["mtime"].combine_chunks().take(at), table["mtime"].combine_chunks())
    return set_column(table, "mtime", times)


def _with_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """With nulls in the columns that files of earlier versions lack."""
    for column in schema:
        if column.name not in table.column_names:
            table = table.append_column(column.name, pa.nulls(table.num_rows, column.type))
    return table.select(schema.names).cast(schema)
