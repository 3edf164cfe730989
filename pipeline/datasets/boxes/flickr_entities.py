"""Flickr30K Entities: boxes from `Annotations/*.xml`, the phrases that name them from `Sentences/*.txt`.

An XML `object` has one or more entity ids (`name`) and boxes, or a mark that it has none (`nobndbox`, `scene`).
Coordinates in the files are 1-based and inclusive; here they are 0-based and half-open, so that the box of a whole
photo of W x H pixels is (0, 0, W, H). (Subtracting 1 from all four would lose a row and a column of pixels.)
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from pipeline.datasets.boxes.photo_boxes import Box, PhotoBoxes
from pipeline.datasets.names import file_in_any_form
from pipeline.errors import QpertError
from pipeline.printing import printable

MAX_FILE_BYTES = 4_000_000
"""The annotations of one photo take a few kilobytes; a larger file is not one of them."""

_log = logging.getLogger(__name__)
_PHRASE = re.compile(r"\[/EN#(?P<entity>\d+)(?P<kinds>(?:/[^\s/\[\]]+)*)(?P<text>\s[^\[\]]*)\]")
"""Neighbouring parts match disjoint characters, so that no line, however long, causes backtracking."""


@dataclass(frozen=True)
class Phrase:
    """A part of a caption that names an entity, such as `A man`, of kinds such as `people`."""

    entity: str
    kinds: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class EntityPhoto:
    """The annotation of one photo.

    Attributes:
        size: (width, height) in pixels as stated in the XML, or None.
        boxes: (label, box) with the phrase that first names the entity ("" for none) and a box clipped to the photo;
            equal boxes are kept once.
        captions: the plain captions.
        skipped: number of boxes left out: not finite, inverted, or outside the photo.
    """

    size: tuple[int, int] | None
    boxes: tuple[tuple[str, Box], ...]
    captions: tuple[str, ...]
    skipped: int


def read_entities(folder: str | Path) -> dict[str, EntityPhoto]:
    """Read a whole folder: photo name without suffix -> annotation. One warning counts the boxes that were skipped.

    Raises:
        QpertError: the folder has no annotations, or one cannot be read; the message names the file.
    """
    root = check_entities_folder(folder)
    photos = {path.stem: _read(root, path) for path in sorted((root / "Annotations").glob("*.xml"))}
    skipped = sum(photo.skipped for photo in photos.values())
    if skipped:
        _log.warning(
            "%s: left out %d boxes that are inverted, not numbers or outside their photo",
            printable(str(root)),
            skipped,
        )
    return photos


def read_entity_photo(folder: Path, stem: str) -> EntityPhoto | None:
    """Read the annotation of one photo; None if it has none.

    Raises:
        QpertError: the annotation cannot be read; the message names the file.
    """
    path = file_in_any_form(folder / "Annotations" / f"{stem}.xml")
    if not os.path.isfile(path):  # also False for a name that is too long for a file system
        return None
    return _read(folder, path)


class EntitiesFolder:
    """A Flickr30K Entities folder as `Boxes`; each annotation is read on demand."""

    def __init__(self, folder: Path) -> None:
        self.source = check_entities_folder(folder)

    def check(self) -> None:
        """Read all annotations and raise a QpertError if one, or a box of one, cannot be used."""
        for stem in self._stems():
            photo = self.of(stem + ".xml")
            if photo is not None and photo.skipped:
                what = f"{photo.skipped} boxes that are not finite, inverted, empty or outside their photo"
                raise QpertError(f"{self.source}: the photo {stem} has {what}")

    def of(self, image_id: str) -> PhotoBoxes | None:
        """See `Boxes.of`."""
        photo = read_entity_photo(self.source, PurePosixPath(image_id).stem)
        return None if photo is None else PhotoBoxes(photo.size, photo.boxes, photo.skipped)

    def name_of(self, image_id: str) -> str | None:
        """See `Boxes.name_of`."""
        path = file_in_any_form(self.source / "Annotations" / f"{PurePosixPath(image_id).stem}.xml")
        return path.stem if path.is_file() else None

    def all(self) -> Iterator[tuple[str, PhotoBoxes]]:
        """See `Boxes.all`."""
        for stem in self._stems():
            try:
                photo = read_entity_photo(self.source, stem)
            except QpertError:  # whoever asks for this photo is told
                continue
            if photo is not None:
                yield stem, PhotoBoxes(photo.size, photo.boxes, photo.skipped)

    def _stems(self) -> list[str]:
        return sorted(path.stem for path in (self.source / "Annotations").glob("*.xml"))


def check_entities_folder(folder: str | Path) -> Path:
    """Return the folder as a path.

    Raises:
        QpertError: the folder has no `Annotations/*.xml`.
    """
    root = Path(folder).expanduser()
    if next((root / "Annotations").glob("*.xml"), None) is None:
        raise QpertError(f"no annotations in {root}: expected Annotations/*.xml and Sentences/*.txt inside")
    return root


def parse_sentence(line: str) -> tuple[str, list[Phrase]]:
    """Split `[/EN#1/people A man] sits .` into the plain caption `A man sits .` and its phrases, in order."""
    phrases = [
        Phrase(match["entity"], tuple(match["kinds"].split("/")[1:]), match["text"].strip())
        for match in _PHRASE.finditer(line)
    ]
    return _PHRASE.sub(lambda match: match["text"].strip(), line).strip(), phrases


def _read(root: Path, path: Path) -> EntityPhoto:
    captions, labels = _read_sentences(file_in_any_form(root / "Sentences" / f"{path.stem}.txt"))
    try:
        document = fromstring(_read_file(path), forbid_dtd=True)
    except (ParseError, ValueError, LookupError) as error:  # DefusedXmlException is a ValueError
        harmful = isinstance(error, DefusedXmlException)
        why = "it declares entities or a DTD, which annotations do not need" if harmful else f"not XML: {error}"
        raise QpertError(f"cannot read annotation {path}: {why}") from error
    size = _size(document)
    boxes: dict[Box, str] = {}
    skipped = 0
    for thing in document.iter("object"):
        # Direct children only: descending into nested objects would take quadratic time.
        names = [(name.text or "").strip() for name in thing.findall("name")]
        label = next((labels[name] for name in names if name in labels), "")
        for node in thing.findall("bndbox"):
            box = _box(node, size)
            if box is None:
                skipped += 1
            elif not boxes.get(box):
                boxes[box] = label
    return EntityPhoto(size, tuple((label, box) for box, label in boxes.items()), captions, skipped)


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise QpertError(f"cannot read annotation {path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise QpertError(f"cannot read annotation {path}: larger than {MAX_FILE_BYTES} bytes")
    return data


def _read_sentences(path: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """Plain captions, and the first phrase that names each entity id."""
    if not path.is_file():
        return (), {}
    captions: list[str] = []
    labels: dict[str, str] = {}
    for line in _read_file(path).decode("utf-8", "replace").splitlines():
        caption, phrases = parse_sentence(line)
        if caption:
            captions.append(caption)
        for phrase in phrases:
            labels.setdefault(phrase.entity, phrase.text)
    return tuple(captions), labels


def _size(document: Element) -> tuple[int, int] | None:
    width, height = (_number(document, f"size/{name}") for name in ("width", "height"))
    return (int(width), int(height)) if width >= 1 and height >= 1 else None


def _box(node: Element, size: tuple[int, int] | None) -> Box | None:
    x0, y0, x1, y1 = (_number(node, name) for name in ("xmin", "ymin", "xmax", "ymax"))
    width, height = size or (math.inf, math.inf)
    box = (max(x0 - 1, 0.0), max(y0 - 1, 0.0), min(x1, float(width)), min(y1, float(height)))
    return box if all(map(math.isfinite, (x0, y0, x1, y1))) and box[0] < box[2] and box[1] < box[3] else None


def _number(node: Element, path: str) -> float:
    """The number at `path`, or NaN if it is missing or not finite; comparisons with NaN are false."""
    try:
        value = float(node.findtext(path) or "nan")
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
