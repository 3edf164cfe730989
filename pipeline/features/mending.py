"""Bringing a feature set in order before and after a run: what is committed is noted, what is broken is taken out.

Whoever calls these keeps others from writing to the set. Each may be cut off anywhere and called again: files go out of
the ledger before they go from the disk, so that no row is ever there twice, or taken for done when it is not.
"""

from __future__ import annotations

import posixpath
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from pipeline.errors import QpertError
from pipeline.features.damage import AGAIN, Damage, DamagedFileError, checkpoint_path, lost_files, stem
from pipeline.features.id_set import Census, digest_of
from pipeline.features.ledger import LEDGER, DamagedLedgerError, FileNote, Ledger
from pipeline.features.marks import REMOVED, SCHEMAS, add_marks, drop_marks, mark_files, read_marks
from pipeline.features.store import FeatureStore
from pipeline.io.locations import join, list_files, locate, write_atomically

COMPACTED = "compact-"
"""How names of files begin that stand for others; one that the ledger does not name was never put in their place."""
_PENDING = ".pending"


def mend(
    out: str, fingerprint: str, counted: Callable[[int], object] = lambda files: None, *, adopt: bool = True
) -> tuple[Damage, ...]:
    """Take what is lost or damaged out of the record of what is done, so that a run makes its photos anew.

    Files that the ledger does not know yet, or that were written to since, are read whole. Where the ledger or the
    checkpoint is lost or damaged, it is made anew from the files.

    Args:
        out: folder or URI of the feature set.
        fingerprint: of it.
        counted: is told now and then how many files were read.
        adopt: features of which there is no record at all are of this fingerprint, so they are taken in.

    Returns:
        The files that were lost or damaged.
    """
    _drop_damaged_records(out)
    store = FeatureStore.open(out, fingerprint, complete=adopt and not _files(join(out, "checkpoint")))
    damages, notes = list(store.damages), dict[str, FileNote]()

    def look(name: str) -> FileNote | Damage:
        try:
            return store.look(name, whole=True)
        except DamagedFileError as error:
            return error.damage

    unnoted = store.unnoted()
    for number, (name, seen) in enumerate(zip(unnoted, store.each(look, unnoted), strict=True), 1):
        counted(number)
        if isinstance(seen, Damage):
            damages.append(seen)
        else:
            notes[name] = seen
    before = store.ledger or Ledger()
    ledger = before.replacing([damage.name for damage in damages], notes)
    if ledger != before:
        ledger.write(out)
    tidy(out, fingerprint)
    return tuple(damages)


def tidy(out: str, fingerprint: str) -> None:
    """Finish what a run or a compaction that was cut off has begun, as far as the ledger says that it counts."""
    store = FeatureStore.open(out, fingerprint)
    if store.ledger is None:
        return
    for name in store.present:
        # Readers without this package would read these rows twice.
        if name.startswith(COMPACTED) and name not in store.ledger.files and name not in store.ledger.retired:
            _delete(store.filesystem, store.path(name))
    keep_checkpoint(store)
    clear_retired(out, fingerprint, store.ledger)


def keep_checkpoint(store: FeatureStore) -> None:
    """See that the checkpoint names all files that the ledger does: each of the two can be made anew from the other."""
    committed = {posixpath.basename(info.path) for info in list_files(_checkpoint(store), ".parquet")}
    record(store, [name for name in store.names if f"{stem(name)}.parquet" not in committed])


def record(store: FeatureStore, names: Iterable[str]) -> None:
    """Write the ids that count in these files down in the checkpoint.

    Here only the names of its files matter; earlier versions go by the ids.
    """
    wanted = {stem(name) for name in names}
    together: dict[str, list[str]] = {}
    for name in store.names:
        if stem(name) in wanted:
            together.setdefault(stem(name), []).append(name)

    def write(which: str) -> None:
        ids = pa.concat_tables([store.live(name, []).select(["image_id"]) for name in together[which]])
        sink = pa.BufferOutputStream()
        pq.write_table(ids, sink)
        write_atomically(join(_checkpoint(store), f"{which}.parquet"), sink.getvalue().to_pybytes())

    for _ in store.each(write, list(together)):
        pass


def remove_rows(out: str, fingerprint: str, rows: pa.Table) -> None:
    """Let these rows (`REMOVED`) count no more, in one step; after that the checkpoint agrees with it.

    Cut off in between, they count no more all the same, and their photos are indexed again.
    """
    add_marks(out, "removed", rows)
    if rows.num_rows:
        record(FeatureStore.open(out, fingerprint), rows["file"].unique().to_pylist())


def note_committed(out: str, fingerprint: str, *, whole: bool = False, complete: bool = False) -> FeatureStore:
    """Write what is committed down in the ledger; the set as it is then.

    Args:
        out: folder or URI of the feature set.
        fingerprint: of it.
        whole: read files that are not noted yet whole; this run has not written them itself.
        complete: the set is (see `FeatureStore.open`).

    Raises:
        QpertError: a file is lost or damaged.
    """
    store = FeatureStore.open(out, fingerprint, complete=complete)
    if store.damages:
        raise QpertError(f"{lost_files(out, store.damages, len(store.names) + len(store.damages))}\n       {AGAIN}")
    new = store.unnoted()
    notes = dict(zip(new, store.each(lambda name: store.look(name, whole=whole), new), strict=True))
    if notes:
        (store.ledger or Ledger()).replacing((), notes).write(out)
        store = FeatureStore.open(out, fingerprint)
    return store


def drop_repeated(store: FeatureStore) -> int:
    """Where a photo has several rows that count, leave only the latest; how many were dropped.

    The files are in the order in which they were noted, so the row in the last one is the latest.

    Raises:
        QpertError: a photo has several rows in one file.
    """
    ids = Census()
    for _, table in store.tables([]):
        ids.add(table["image_id"].to_pylist())
    repeated = ids.repeated()
    if not repeated:
        return 0
    latest: dict[str, str] = {}
    older: list[tuple[str, str]] = []
    for name, table in store.tables([]):
        for image_id in table["image_id"].to_pylist():
            if digest_of(image_id) not in repeated:
                continue
            if latest.get(image_id) == name:
                raise QpertError(
                    f"{store.out}/features/{name} has several rows of {image_id!r}; delete that file and run the same"
                    " qpert index again, which makes its photos anew"
                )
            if image_id in latest:
                older.append((latest[image_id], image_id))
            latest[image_id] = name
    remove_rows(store.out, store.fingerprint, removed_rows(older, "repeated"))
    return len(older)


def removed_rows(rows: list[tuple[str, str]], reason: str) -> pa.Table:
    """Marks that say that these rows (features file, id) count no more."""
    files, ids = zip(*rows, strict=True) if rows else ((), ())
    return pa.table([pa.array(files, pa.string()), pa.array(ids, pa.string()), [reason] * len(rows)], schema=REMOVED)


def take_back(out: str, fingerprint: str) -> None:
    """Delete what was written and not committed when an earlier run was cut off."""
    filesystem, _ = locate(out)
    pending = [info.path for info in list_files(checkpoint_path(out, fingerprint), f"{_PENDING}.parquet")]
    stems = {posixpath.basename(path).removesuffix(f"{_PENDING}.parquet") for path in pending}
    for info in list_files(join(out, "features")) if stems else ():
        if stem(posixpath.basename(info.path)) in stems:
            filesystem.delete_file(info.path)
    for path in pending:
        filesystem.delete_file(path)


def clear_retired(out: str, fingerprint: str, ledger: Ledger) -> None:
    """Delete what is left of files that count no more, and then forget them."""
    if not ledger.retired:
        return
    filesystem, features = locate(join(out, "features"))
    _, checkpoint = locate(checkpoint_path(out, fingerprint))
    used = {stem(name) for name in ledger.files}
    for name in sorted(ledger.retired):
        _delete(filesystem, posixpath.join(features, name))
        if stem(name) not in used:
            _delete(filesystem, posixpath.join(checkpoint, f"{stem(name)}.parquet"))
    drop_marks(out, ledger.retired)
    replace(ledger, retired=frozenset()).write(out)


def _drop_damaged_records(out: str) -> None:
    filesystem, ledger = locate(join(out, LEDGER))
    for kind in SCHEMAS:
        for path in mark_files(out, kind):
            try:
                read_marks(out, path, kind)
            except QpertError as error:
                warnings.warn(f"{error.args[0].partition(';')[0]}; what it said is found out anew", stacklevel=2)
                filesystem.delete_file(path)
    try:
        Ledger.find(out)
    except DamagedLedgerError as error:
        warnings.warn(f"{error.args[0].partition(';')[0]}; it is made anew from the files", stacklevel=2)
        filesystem.delete_file(ledger)


def _checkpoint(store: FeatureStore) -> str:
    return checkpoint_path(store.out, store.fingerprint)


def _files(folder: str) -> bool:
    filesystem, inner = locate(folder)
    selector = fs.FileSelector(inner, recursive=True, allow_not_found=True)
    return any(info.type == fs.FileType.File for info in filesystem.get_file_info(selector))


def _delete(filesystem: fs.FileSystem, path: str) -> None:
    with suppress(FileNotFoundError):
        filesystem.delete_file(path)
