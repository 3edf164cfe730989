"""Duplicates as text, JSON, CSV, and sections of the HTML gallery."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from pipeline.duplicates.finding import Duplicates
from pipeline.printing import csv_cell, printable, printable_json, size_text
from pipeline.reports.gallery import Photo, Section

FIELDS = ("group", "similarity", "set", "image_id", "uri", "width", "height", "size", "taken", "largest", "oldest")
_SHOWN_OF_GROUP = 24
"""Most photos of a group in the table and in the gallery."""


def summary(found: Duplicates) -> str:
    """One line: how many photos, groups and photos beyond the first of theirs."""
    what = "copies of the same bytes" if found.threshold is None else f"near-duplicates ({found.threshold:g})"
    groups = len(found.groups)
    return (
        f"{len(found.catalogue):,} photos: {found.surplus:,} are {what} of another, in {groups:,}"
        f" {'group' if groups == 1 else 'groups'}; compared {found.how}"
    )


def as_text(found: Duplicates, most: int) -> Iterator[str]:
    """Lines: `summary`, and the photos of the first `most` groups."""
    yield summary(found)
    several = len(found.catalogue.sets) > 1
    for number, photos in enumerate(islice(found.rows(), most), 1):
        yield ""
        yield f"group {number}: {len(photos):,} photos"
        for photo in photos[:_SHOWN_OF_GROUP]:
            yield f"  {photo['similarity']:.3f}  {_facts(photo)}  {_path(photo, several)}{_marks(photo)}"
        if len(photos) > _SHOWN_OF_GROUP:
            yield f"  and {len(photos) - _SHOWN_OF_GROUP:,} more"
    if len(found.groups) > most:
        yield ""
        yield f"and {len(found.groups) - most:,} more groups: --format json or csv has all, --groups N shows more"


def as_json(found: Duplicates, encoding: str | None = None) -> Iterator[str]:
    """Pieces of a JSON object, whose `groups` are lists of photos with `FIELDS` but for `group`."""
    head = {
        "threshold": found.threshold,
        "compared": found.how,
        "photos": len(found.catalogue),
        "duplicates": found.surplus,
        "notes": list(found.notes),
    }
    yield "{\n" + "".join(f'  "{key}": {printable_json(value, encoding, None)},\n' for key, value in head.items())
    yield '  "groups": ['
    for number, photos in enumerate(found.rows()):
        group = [{**photo, "taken": _time(photo)} for photo in photos]
        yield ("," if number else "") + "\n    " + printable_json(group, encoding, None)
    yield ("\n  " if found.groups else "") + "]\n}\n"


def as_csv(found: Duplicates) -> Iterator[str]:
    """Lines of a table with a header, one photo each."""
    yield _csv_line(FIELDS)
    for number, photos in enumerate(found.rows(), 1):
        for photo in photos:
            values = {**photo, "group": number, "taken": _time(photo)}
            values |= {name: json.dumps(values[name]) for name in ("largest", "oldest")}
            yield _csv_line([csv_cell(values[name]) for name in FIELDS])


def gallery_sections(found: Duplicates, most: int) -> list[Section]:
    """The photos of the first `most` groups, for `pipeline.reports.write_gallery`."""
    sections = []
    several = len(found.catalogue.sets) > 1
    for number, photos in enumerate(islice(found.rows(), most), 1):
        shown = [
            Photo(
                printable(photo["image_id"]) + _marks(photo),
                photo["uri"],
                None,
                rank,
                score=photo["similarity"],
                captions=[("", _facts(photo).strip())],
                set=photo["set"] if several else "",
            )
            for rank, photo in enumerate(photos[:_SHOWN_OF_GROUP], 1)
        ]
        rest = len(photos) - len(shown)
        title = f"Group {number}: {len(photos):,} photos"
        sections.append(Section(title, shown, f"and {rest:,} more" if rest else ""))
    return sections


def _facts(photo: Mapping[str, Any]) -> str:
    size = "" if photo["width"] is None else f"{photo['width']}x{photo['height']}"
    file = "" if photo["size"] is None else size_text(photo["size"])
    return f"{size:>11}  {file:>8}  {_time(photo) or '':<16.16}"


def _path(photo: Mapping[str, Any], several: bool) -> str:
    return printable(f"{photo['set']}: {photo['image_id']}" if several else photo["image_id"])


def _marks(photo: Mapping[str, Any]) -> str:
    marks = [name for name in ("largest", "oldest") if photo[name]]
    return f"  ({', '.join(marks)})" if marks else ""


def _time(photo: Mapping[str, Any]) -> str | None:
    return None if photo["taken"] is None else str(photo["taken"].isoformat())


def _csv_line(values: Any) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()
