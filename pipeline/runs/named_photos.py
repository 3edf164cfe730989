"""Photos that a report names: the first ones that failed, and those that their annotations lack."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator

import pyarrow.compute as pc

from pipeline.datasets.boxes.photo_boxes import Boxes
from pipeline.datasets.boxes.reading import read_boxes
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


def annotation_remarks(files: FeatureFiles, annotations: str) -> list[str]:
    """What the photos of a set lack in their annotations; what is wrong with the file itself was said before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        boxes = read_boxes(annotations)
    return remarks_on(image_ids(files), boxes)


def image_ids(files: FeatureFiles) -> Iterator[str]:
    """Ids of the photos of a set, failed ones included."""
    return (image_id for ids in files.ids() for image_id in ids)


def unannotated_text(ids: Iterable[str], boxes: Boxes) -> str | None:
    """How many photos have no annotation, and the first ones; None if all have one."""
    return _look_up(ids, boxes)[0]


def remarks_on(ids: Iterable[str], boxes: Boxes) -> list[str]:
    """How many photos have no annotation, and how many have boxes that cannot be used, with the first ones."""
    return [text for text in _look_up(ids, boxes) if text]


def _look_up(ids: Iterable[str], boxes: Boxes) -> tuple[str | None, str | None]:
    total, skipped, missing, unusable = 0, 0, _Named(), _Named()
    for image_id in ids:
        total += 1
        try:
            photo = boxes.of(image_id)
        except QpertError:  # its annotation is damaged, which the photo's own row says
            continue
        if photo is None:
            missing.add(image_id)
        elif photo.skipped:
            skipped += photo.skipped
            unusable.add(image_id)
    source = printable(str(boxes.source))
    not_found = f"{missing.count:,} of {total:,} photos are not in the annotations {source}: {missing}"
    what = "are not finite, inverted, empty or outside their photo, and left out"
    not_used = f"{skipped:,} boxes of {unusable.count:,} photos in {source} {what}: {unusable}"
    return not_found if missing.count else None, not_used if unusable.count else None


class _Named:
    """A number of photos, of which the first are named."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, image_id: str) -> None:
        self.count += 1
        self._first += [printable(image_id)] if len(self._first) < NAMED else []

    def __str__(self) -> str:
        return ", ".join(self._first) + (", ..." if self.count > len(self._first) else "")
