"""The HTML gallery: photos with the boxes of their objects in one self-contained file, or thumbnails for a notebook.

Thumbnails are embedded, the HTML loads nothing and runs no script, and all text is escaped.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from pipeline.datasets.photos.reading import read_photo
from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.errors import QpertError
from pipeline.features.views import WHOLE, View
from pipeline.io.images import decode
from pipeline.printing import printable

THUMBNAIL = 360
"""Longest side of an embedded thumbnail, in pixels; smaller photos keep their size."""
_SHOWN = 320
"""Longest side on the page, in CSS pixels; smaller photos are enlarged to make room for labels."""
_HUES = 12


@dataclass(frozen=True)
class Photo:
    """A photo to show.

    Attributes:
        image_id: its id.
        uri: where it is.
        objects: dictionaries of x0, y0, x1, y1 (0..1 of the photo), label and score; None says nothing of objects.
        rank: its rank among the hits, from 1.
        score: its cosine.
        error: why the photo could not be indexed.
        captions: (how it was written, caption).
        view: which of the photo's views matched; None if it has one. Of a photo that was looked for, what of it counts.
        set: name of its feature set, where the page shows several.
        folded: names of near-duplicates that are not shown themselves.
        data: its encoded bytes, where they are at hand; None: `uri` is opened.
    """

    image_id: str
    uri: str
    objects: Sequence[Mapping[str, Any]] | None = ()
    rank: int | None = None
    score: float | None = None
    error: str | None = None
    captions: Sequence[tuple[str, str]] = ()
    view: View | None = None
    set: str = ""
    folded: Sequence[str] = ()
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Section:
    """A heading (such as a query) and its photos.

    Attributes:
        title: the heading.
        photos: the photos.
        note: shown below the heading.
        warning: of several lines, about the models that the section comes from; the page begins with it.
        examples: photos that were looked for, shown above the others.
    """

    title: str
    photos: Sequence[Photo]
    note: str = ""
    warning: str = ""
    examples: Sequence[Photo] = ()


@dataclass(frozen=True)
class _Thumbnail:
    """An embedded picture, or the reason why there is none."""

    data_uri: str = ""
    shown_width: int = 0
    problem: str = ""


def photos_of(rows: Iterable[Mapping[str, Any]]) -> list[Photo]:
    """Photos from rows of a feature set (`image_id`, `uri`, `objects`, `error`)."""
    return [Photo(row["image_id"], row["uri"], row.get("objects") or (), error=row.get("error")) for row in rows]


def write_gallery(
    path: str | Path,
    title: str,
    sections: Sequence[Section],
    *,
    subtitle: str = "",
    rules: SourceRules = DEFAULT_RULES,
) -> None:
    """Writes the gallery to a local file. A photo that cannot be opened is shown as missing, with the reason.

    Args:
        path: the file.
        title: heading of the page.
        sections: the photos.
        subtitle: shown beside the heading.
        rules: what may be read; feature sets, possibly made by strangers, name the places of the photos.

    Raises:
        QpertError: the file cannot be written.
    """
    thumbnails: dict[str, _Thumbnail] = {}
    shown = [_section(section, thumbnails, rules) for section in sections]
    html = _template("gallery").render(
        title=printable(title), subtitle=printable(subtitle), sections=shown, banners=_banners(sections)
    )
    try:
        Path(path).write_text(html, encoding="utf-8")
    except OSError as error:
        raise QpertError(f"cannot write the report {path}: {error.strerror}") from error


def thumbnails_html(section: Section, rules: SourceRules = DEFAULT_RULES) -> str:
    """A section as a piece of HTML for a notebook: thumbnails with rank, score and name, without boxes.

    Args:
        section: the photos.
        rules: what may be read, as for `write_gallery`.
    """
    return _template("thumbnails").render(section=_section(section, {}, rules), banners=_banners([section]))


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(f"{name}.html.j2")


def _banners(sections: Sequence[Section]) -> list[list[str]]:
    """The lines of each different warning."""
    different = dict.fromkeys(section.warning for section in sections if section.warning)
    return [[printable(line) for line in warning.splitlines()] for warning in different]


def _section(section: Section, thumbnails: dict[str, _Thumbnail], rules: SourceRules) -> dict[str, Any]:
    return {
        "title": printable(section.title),
        "note": printable(section.note),
        "photos": [_view(photo, thumbnails, rules) for photo in section.photos],
        "examples": [_view(photo, thumbnails, rules) for photo in section.examples],
    }


def _view(photo: Photo, thumbnails: dict[str, _Thumbnail], rules: SourceRules) -> dict[str, Any]:
    """The values that the template shows: printable texts and plain numbers."""
    if photo.error is not None:
        thumbnail = _Thumbnail(problem=f"could not be indexed: {photo.error}")
    elif photo.data is not None:
        thumbnail = _thumbnail(photo.data, rules)
    else:
        if photo.uri not in thumbnails:
            thumbnails[photo.uri] = _thumbnail(photo.uri, rules)
        thumbnail = thumbnails[photo.uri]
    # Large boxes first, so that small ones lie on top and can be hovered over.
    found = photo.objects or ()
    objects = sorted(found, key=lambda o: -(o["x1"] - o["x0"]) * (o["y1"] - o["y0"]))
    labels = Counter(printable(o["label"] or "object") for o in found)
    names = ", ".join(label if count == 1 else f"{label} ({count})" for label, count in labels.items())
    plural = "" if len(found) == 1 else "s"
    known = f"{len(found)} object{plural}: {names}" if names else "no objects"
    return {
        "name": printable(photo.image_id),
        "uri": printable(photo.uri),
        "set": printable(photo.set),
        "folded": [printable(name) for name in photo.folded],
        "rank": photo.rank,
        "score": photo.score,
        "image": thumbnail.data_uri,
        "shown_width": thumbnail.shown_width,
        "problem": printable(thumbnail.problem),
        "matched": None if photo.view is None else printable(photo.view.text()),
        "frame": _frame(photo.view) if thumbnail.data_uri else None,
        "captions": [(printable(how), printable(text)) for how, text in photo.captions],
        "boxes": [_box(item) for item in objects] if thumbnail.data_uri else [],
        "summary": "" if photo.objects is None else known,
    }


def _frame(view: View | None) -> dict[str, float] | None:
    """Where the view that matched is in the photo, in percent; None for the whole photo."""
    if view is None or view.kind == WHOLE:
        return None
    x0, y0, x1, y1 = (100 * side for side in view.box)
    return {"left": x0, "top": y0, "width": x1 - x0, "height": y1 - y0}


def _box(item: Mapping[str, Any]) -> dict[str, Any]:
    label = printable(item["label"] or "object")
    return {
        "left": 100 * float(item["x0"]),
        "top": 100 * float(item["y0"]),
        "width": 100 * (float(item["x1"]) - float(item["x0"])),
        "height": 100 * (float(item["y1"]) - float(item["y0"])),
        "label": label,
        "score": float(item["score"]),
        "hue": zlib.crc32(label.encode()) % _HUES * 360 // _HUES,
        # The label goes where the photo has room: above its box, below it, or else inside.
        "place": "above" if item["y0"] >= 0.08 else "below" if item["y1"] <= 0.92 else "inside",
        "leftward": item["x0"] + item["x1"] > 1,
    }


def _thumbnail(photo: str | bytes, rules: SourceRules) -> _Thumbnail:
    try:
        image = decode(photo if isinstance(photo, bytes) else read_photo(photo, rules))
    except QpertError as error:
        return _Thumbnail(problem=str(error))
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    width = max(1, round(_SHOWN * image.width / max(image.size)))
    return _Thumbnail(f"data:image/jpeg;base64,{data}", width)
