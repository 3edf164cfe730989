"""Reading a whole feature set to see that nothing of it is lost, damaged or twice."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.features.damage import Damage, DamagedFileError, checkpoint_path, rows_too_many, stem
from pipeline.features.id_set import Census
from pipeline.features.ledger import FileNote, Ledger
from pipeline.features.manifest import Manifest
from pipeline.features.marks import SCHEMAS, Marks
from pipeline.features.store import FeatureStore
from pipeline.io.locations import exclusive, list_files


@dataclass(frozen=True)
class Verified:
    """What there is, and what is wrong with it.

    Attributes:
        files: that count and are in order.
        photos: that count.
        removed: rows that count no more.
        problems: what is wrong, a line each.
        remarks: what is worth knowing.
    """

    files: int
    photos: int
    removed: int
    problems: tuple[str, ...]
    remarks: tuple[str, ...]


def verify(out: str, counted: Callable[[int], object] = lambda files: None) -> Verified:
    """Read all features of `out`.

    What is found damaged is noted in the ledger, so that the next run makes it anew; a set of an earlier version gets a
    ledger. Where nothing can be written, nothing is noted.

    Args:
        out: folder or URI of a feature set.
        counted: is told now and then how many files were read.

    Raises:
        QpertError: there is no feature set, its ledger or marks are damaged, or a run is writing to it.
    """
    manifest = Manifest.read(out)
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(out))
            writable = True
        except OSError:
            writable = False
        store = FeatureStore.open(out, manifest.fingerprint, complete=manifest.state == "complete")
        problems, remarks = [f"{damage}" for damage in store.damages], []
        ids, notes, damaged, removed = Census(), dict[str, FileNote](), set[str](), 0
        known = [name for name in store.names if store.note(name) is not None]

        def look(name: str) -> tuple[FileNote, list[str], list[str]] | Damage:
            try:
                wrong, names = _look_at_rows(store, name, manifest)
                return store.look(name, whole=False), wrong, names
            except DamagedFileError as error:
                return error.damage

        for number, (name, seen) in enumerate(zip(store.names, store.each(look, store.names), strict=True), 1):
            counted(number)
            if isinstance(seen, Damage):
                problems.append(str(seen))
                damaged.add(name)
                continue
            notes[name], wrong, live = seen
            problems += [f"features/{name}: {line}" for line in wrong]
            removed += notes[name].rows - len(live)
            ids.add(live)
        if repeated := len(ids.repeated()):
            problems.append(f"{repeated:,} photos have several rows; the next run leaves the latest of them")
        total = manifest.counts.get("photos")
        if manifest.state == "complete" and (more := rows_too_many(ids.count, total)):
            problems.append(more)
        elif manifest.state == "complete" and not problems and total not in (None, ids.count):
            remarks.append(f"manifest.json says {total:,} photos; rows have been taken out of use since")
        if manifest.state == "running":
            remarks.append("the last run was cut off; the same qpert index goes on from there")
        remarks += _loose_ends(store)
        if writable and (damaged or store.ledger is None or len(known) < len(notes)):
            ledger = store.ledger or Ledger()
            kept = {name: note for name, note in notes.items() if name not in damaged}
            ledger = ledger.replacing((), kept)
            replace(ledger, damaged=ledger.damaged | (damaged & set(ledger.files))).write(out)
    return Verified(len(notes), ids.count, removed, tuple(problems), tuple(remarks))


def _look_at_rows(store: FeatureStore, name: str, manifest: Manifest) -> tuple[list[str], list[str]]:
    """What is wrong with the rows of a file, all pages of which are read, and the ids of those that count."""
    wrong: dict[str, int] = {}
    live: list[str] = []
    length = max(1, len(manifest.variants)) * (manifest.vectors or 0) * (manifest.dim or 0)
    with store.opened(name) as file:
        for batch in file.iter_batches(4096):
            table = store.removed.without(name, pa.Table.from_batches([batch]))
            live += map(str, table["image_id"].to_pylist())
            for line, count in _wrong_rows(table, length):
                if count:
                    wrong[line] = wrong.get(line, 0) + count
    return [f"{count:,} {line}" for line, count in wrong.items()], live


def _wrong_rows(table: pa.Table, length: int) -> list[tuple[str, int]]:
    lost = table["image_id"].null_count
    if not {"embedding", "error"} <= set(table.column_names):
        return [("rows without an id", lost), ("rows without embedding or error", table.num_rows)]
    embedding, error = table["embedding"].combine_chunks(), table["error"].combine_chunks()
    lengths = pc.list_value_length(embedding)
    numbers = embedding.flatten().to_numpy(zero_copy_only=False)
    return [
        ("rows without an id", lost),
        (
            "rows with both or neither of embedding and error",
            _count(pc.equal(pc.is_null(embedding), pc.is_null(error))),
        ),
        (f"embeddings of other lengths than {length}", _count(pc.not_equal(lengths, length))),
        ("numbers in embeddings are not finite", int((~np.isfinite(numbers)).sum())),
    ]


def _count(values: pa.Array) -> int:
    return int(pc.sum(values).as_py() or 0)


def _loose_ends(store: FeatureStore) -> list[str]:
    """Files that count for nothing, and records that do not agree with each other."""
    lines = []
    files = set(store.names) | {damage.name for damage in store.damages}
    if loose := sorted(set(store.present) - files):
        lines.append(f"{len(loose):,} files in features/ are not committed and do not count, such as {loose[0]}")
    committed = {posixpath.basename(info.path) for info in list_files(checkpoint_path(store.out, store.fingerprint))}
    if missing := [name for name in store.names if f"{stem(name)}.parquet" not in committed]:
        lines.append(f"the checkpoint does not name {len(missing):,} files; the next qpert index adds them")
    for kind in SCHEMAS:
        marks = Marks.read(store.out, kind)
        if idle := sorted(set(marks.by_file) - files):
            lines.append(f"{kind}/ has rows of {len(idle):,} files that are no more, such as {idle[0]}")
    return lines
