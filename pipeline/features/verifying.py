"""Reading a whole feature set to check that nothing in it is lost, damaged or repeated."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.features.checkpoint import committed_stems, stem
from pipeline.features.damage import Damage, DamagedFileError, rows_too_many
from pipeline.features.files import FeatureFiles
from pipeline.features.id_set import IdSet
from pipeline.features.ledger import FileNote, Ledger
from pipeline.features.manifest import Manifest
from pipeline.features.marks import SCHEMAS, Marks
from pipeline.features.part_names import PARTS
from pipeline.features.parts import part_folders
from pipeline.io.locations import Folder


@dataclass(frozen=True)
class Verified:
    """What a feature set holds, and what is wrong with it.

    Attributes:
        files: intact files that count.
        photos: photos that count.
        removed: rows that no longer count.
        problems: what is wrong, a line each.
        remarks: what is worth knowing, a line each.
    """

    files: int
    photos: int
    removed: int
    problems: tuple[str, ...]
    remarks: tuple[str, ...]


def verify(folder: Folder, counted: Callable[[int], object] = lambda files: None) -> Verified:
    """Read all features of a set, part by part if it has several; see `verify_part`."""
    manifest = Manifest.read(folder)
    if manifest.parts is None:
        return verify_part(folder, counted)
    files = photos = removed = 0
    problems, remarks, ids = list[str](), list[str](), IdSet()
    for name, part in part_folders(folder, manifest).items():
        before = files
        found = verify_part(part, lambda count, before=before: counted(before + count), ids)  # type: ignore[misc]
        files, photos, removed = files + found.files, photos + found.photos, removed + found.removed
        problems += [f"{PARTS}/{name}: {line}" for line in found.problems]
        remarks += [f"{PARTS}/{name}: {line}" for line in found.remarks]
    if manifest.state == "running":
        remarks.append(manifest.parts_text())
    if not problems and (repeated := len(ids.repeated())):
        problems.append(f"{repeated:,} photos are in several parts: ids must be unique in all files of the source")
    return Verified(files, photos, removed, tuple(problems), tuple(remarks))


def verify_part(
    folder: Folder, counted: Callable[[int], object] = lambda files: None, all_ids: IdSet | None = None
) -> Verified:
    """Read all features of an ordinary set, or of a part.

    Damaged files are recorded in the ledger, so that the next run indexes their photos again; a set of an earlier
    version gets a ledger. If the set is read-only, nothing is recorded.

    Args:
        folder: the feature set.
        counted: called now and then with the number of files read.
        all_ids: the ids that count are added here as well.

    Raises:
        QpertError: there is no feature set, its ledger or marks are damaged, or a run is writing to it.
    """
    manifest = Manifest.read(folder)
    with ExitStack() as stack:
        try:
            stack.enter_context(folder.exclusive())
            writable = True
        except OSError:
            writable = False
        files = FeatureFiles.snapshot(folder, manifest.fingerprint, complete=manifest.state == "complete")
        problems, remarks = [f"{damage}" for damage in files.damages], []
        ids, notes, damaged, removed = IdSet(), dict[str, FileNote](), set[str](), 0
        known = [name for name in files.names if files.note(name) is not None]

        def examine(name: str) -> tuple[FileNote, list[str], list[str]] | Damage:
            try:
                wrong, live = _check_rows(files, name, manifest)
                return files.examine(name, whole=False), wrong, live
            except DamagedFileError as error:
                return error.damage

        for number, (name, result) in enumerate(zip(files.names, files.map(examine, files.names), strict=True), 1):
            counted(number)
            if isinstance(result, Damage):
                problems.append(str(result))
                damaged.add(name)
                continue
            notes[name], wrong, live = result
            problems += [f"features/{name}: {line}" for line in wrong]
            removed += notes[name].rows - len(live)
            for live_ids in (ids,) if all_ids is None else (ids, all_ids):
                live_ids.add(live)
        if repeated := len(ids.repeated()):
            problems.append(f"{repeated:,} photos have several rows; the next run keeps the latest of them")
        total = manifest.counts.get("photos")
        if manifest.state == "complete" and (more := rows_too_many(ids.count, total)):
            problems.append(more)
        elif manifest.state == "complete" and not problems and total not in (None, ids.count):
            remarks.append(f"manifest.json says {total:,} photos; rows have been taken out of use since")
        if manifest.state == "running":
            remarks.append("the last run was interrupted; the same qpert index continues it")
        remarks += _loose_ends(files)
        if writable and (damaged or files.ledger is None or len(known) < len(notes)):
            ledger = (files.ledger or Ledger()).replacing((), notes)
            replace(ledger, damaged=ledger.damaged | (damaged & set(ledger.files))).write(folder)
    return Verified(len(notes), ids.count, removed, tuple(problems), tuple(remarks))


def _check_rows(files: FeatureFiles, name: str, manifest: Manifest) -> tuple[list[str], list[str]]:
    """Read all pages of a file: what is wrong with its rows, and the ids of those that count."""
    wrong: dict[str, int] = {}
    live: list[str] = []
    with files.opened(name) as file:
        for batch in file.iter_batches(4096):
            table = files.removed.without(name, pa.Table.from_batches([batch]))
            live += map(str, table["image_id"].to_pylist())
            for line, count in _wrong_rows(table, manifest):
                if count:
                    wrong[line] = wrong.get(line, 0) + count
    return [f"{count:,} {line}" for line, count in wrong.items()], live


def _wrong_rows(table: pa.Table, manifest: Manifest) -> list[tuple[str, int]]:
    lost = table["image_id"].null_count
    if not {"embedding", "error"} <= set(table.column_names):
        return [("rows without an id", lost), ("rows without embedding or error", table.num_rows)]
    embedding, error = table["embedding"].combine_chunks(), table["error"].combine_chunks()
    lengths = pc.list_value_length(embedding)
    expected = _expected_lengths(table, manifest)
    numbers = embedding.flatten().to_numpy(zero_copy_only=False)
    return [
        ("rows without an id", lost),
        (
            "rows with both or neither of embedding and error",
            _count(pc.equal(pc.is_null(embedding), pc.is_null(error))),
        ),
        (
            f"embeddings of other lengths than {'their views' if manifest.multi else expected}",
            _count(pc.not_equal(lengths, expected)),
        ),
        ("numbers in embeddings are not finite", int((~np.isfinite(numbers)).sum())),
    ]


def _expected_lengths(table: pa.Table, manifest: Manifest) -> pa.Array | int:
    """Numbers in the embedding of each photo: by its views, if the set has them; -1 for a photo without views."""
    variants, group = max(1, len(manifest.variants)), (manifest.vectors or 0) * (manifest.dim or 0)
    if not manifest.multi:
        return variants * group
    if "views" not in table.column_names:
        return -1
    # The first view is the whole photo, which has an embedding for each variant.
    views = pc.list_value_length(table["views"].combine_chunks())
    return pc.fill_null(pc.multiply(pc.add(views, variants - 1), group), -1)


def _count(values: pa.Array) -> int:
    return int(pc.sum(values).as_py() or 0)


def _loose_ends(files: FeatureFiles) -> list[str]:
    """Files that do not count, and records that contradict each other."""
    lines = []
    known = set(files.names) | {damage.name for damage in files.damages}
    if loose := sorted(set(files.present) - known):
        lines.append(f"{len(loose):,} files in features/ are not committed and do not count, such as {loose[0]}")
    committed = committed_stems(files.folder, files.fingerprint)
    if missing := [name for name in files.names if stem(name) not in committed]:
        lines.append(f"the checkpoint does not name {len(missing):,} files; the next qpert index adds them")
    for kind in SCHEMAS:
        marks = Marks.read(files.folder, kind)
        if idle := sorted(set(marks.by_file) - known):
            lines.append(f"{kind}/ has rows of {len(idle):,} files that no longer exist, such as {idle[0]}")
    return lines
