"""Photos that a report names: the first ones that failed, and those that their annotations lack."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow.compute as pc

from pipeline.datasets.boxes.photo_boxes import Boxes
from pipeline.errors import QpertError
from pipeline.features.files import FeatureFiles
from pipeline.printing import printable

NAMED = 3
"""Photos that are named; the others are only counted."""


def failure_lines(files: FeatureFiles, failed: int, out: str) -> list[str]:
    """The first photos that could not be indexed, one per line with its reason, and where the others stand.

    Args:
        files: of the feature set; only those are read that have failed photos, until enough are found.
        failed: photos of the set that failed.
        out: path or URI of the set.
    """
    lines: list[str] = []
    for name in files.names if failed else ():
        note = files.note(name)
        if note is not None and not note.failed:
            continue
        rows = files.live(name, ["error"])
        rows = rows.filter(pc.is_valid(rows["error"])).slice(0, NAMED - len(lines))
        lines += [f"{row['image_id']}: {row['error']}" for row in rows.select(["image_id", "error"]).to_pylist()]
        if len(lines) == NAMED:
            break
    if failed > len(lines):
        lines.append(f"and {failed - len(lines):,} more: the column error of {out}")
    return [f"{'failed' if number == 0 else '':<7} {printable(line)}" for number, line in enumerate(lines)]


def unannotated(files: FeatureFiles, boxes: Boxes) -> str | None:
    """How many photos of a set have no annotation, and the first ones; None if all have one."""
    return unannotated_text((image_id for ids in files.ids() for image_id in ids), boxes)


def unannotated_text(ids: Iterable[str], boxes: Boxes) -> str | None:
    """The same of photos by their ids."""
    count, total, first = 0, 0, list[str]()
    for image_id in ids:
        total += 1
        if not _is_annotated(image_id, boxes):
            count += 1
            first += [image_id] if len(first) < NAMED else []
    if not count:
        return None
    named = ", ".join(map(printable, first)) + (", ..." if count > len(first) else "")
    return f"{count:,} of {total:,} photos are not in the annotations {printable(str(boxes.source))}: {named}"


def _is_annotated(image_id: str, boxes: Boxes) -> bool:
    try:
        return boxes.of(image_id) is not None
    except QpertError:  # its annotation is damaged, which the photo's own row says
        return True
