"""Taking rows out of use without rewriting files; the checkpoint then agrees with what still counts.

The caller keeps other processes from writing to the set (`Folder.exclusive`).
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import QpertError
from pipeline.features.checkpoint import commit, stem
from pipeline.features.files import FeatureFiles
from pipeline.features.id_set import IdSet, digest_of
from pipeline.features.marks import REMOVED, Reason, add_marks, lift_marks
from pipeline.io.locations import Folder


def removed_rows(rows: list[tuple[str, str]], reason: Reason) -> pa.Table:
    """The marks (`REMOVED`) that take these rows (features file, id) out of use."""
    files, ids = zip(*rows, strict=True) if rows else ((), ())
    return pa.table([pa.array(files, pa.string()), pa.array(ids, pa.string()), [reason] * len(rows)], schema=REMOVED)


def remove_rows(folder: Folder, fingerprint: str, rows: pa.Table) -> None:
    """Take rows (`REMOVED`) out of use in one step, then update the checkpoint.

    If interrupted in between, the rows no longer count all the same, and their photos are indexed again.
    """
    add_marks(folder, "removed", rows)
    _record_changed(folder, fingerprint, rows)


def restore_rows(folder: Folder, fingerprint: str, rows: pa.Table) -> None:
    """Let removed rows (`file`, `image_id`) count again, then update the checkpoint."""
    lift_marks(folder, "removed", rows)
    _record_changed(folder, fingerprint, rows)


def drop_repeated(files: FeatureFiles) -> int:
    """Remove all rows but the latest of photos with several rows that count; returns how many rows were removed.

    The files are in the order in which they entered the ledger, so the row in the last one is the latest.

    Raises:
        QpertError: a photo has several rows in one file.
    """
    seen = IdSet()
    for ids in files.ids():
        seen.add(ids)
    repeated = seen.repeated()
    if not repeated:
        return 0
    latest: dict[str, str] = {}
    older: list[tuple[str, str]] = []
    for name, ids in zip(files.names, files.ids(), strict=True):
        for image_id in ids:
            if digest_of(image_id) not in repeated:
                continue
            if latest.get(image_id) == name:
                raise QpertError(
                    f"{files.folder.root}/features/{name} has several rows of {image_id!r}; delete that file and run"
                    " the same qpert index again, which indexes its photos again"
                )
            if image_id in latest:
                older.append((latest[image_id], image_id))
            latest[image_id] = name
    remove_rows(files.folder, files.fingerprint, removed_rows(older, "repeated"))
    return len(older)


def forget_failures(files: FeatureFiles) -> int:
    """Remove the rows of failed photos, so that the next run tries them again; returns how many.

    The rows stop counting before their ids leave the checkpoint, so an interruption in between is harmless.
    """
    failed: list[tuple[str, str]] = []
    for name, table in files.tables(["error"]):
        failed += [(name, image_id) for image_id in table.filter(pc.is_valid(table["error"]))["image_id"].to_pylist()]
    remove_rows(files.folder, files.fingerprint, removed_rows(failed, "failed"))
    return len(failed)


def record(files: FeatureFiles, names: Iterable[str]) -> None:
    """Write the ids that count in these files into the checkpoint."""
    stems = {stem(name) for name in names}
    by_stem: dict[str, list[str]] = {}
    for name in files.names:
        if stem(name) in stems:
            by_stem.setdefault(stem(name), []).append(name)

    def write(which: str) -> None:
        ids = pa.concat_tables([files.live(name, []).select(["image_id"]) for name in by_stem[which]])
        commit(files.folder, files.fingerprint, which, ids)

    for _ in files.map(write, list(by_stem)):
        pass


def _record_changed(folder: Folder, fingerprint: str, rows: pa.Table) -> None:
    if rows.num_rows:
        record(FeatureFiles.snapshot(folder, fingerprint), rows["file"].unique().to_pylist())
