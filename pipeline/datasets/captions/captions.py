"""Captions in any form that people have on disk: `read_captions(path)`.

A form is read by its own file (`karpathy.py`, `lavis.py`, `coco.py`, `caption_table.py`), which hands images and
captions to a `CaptionCollector`; what all forms have in common is decided there: names, merging, and what is said about
captions that are blank, written twice or missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.datasets.captions.caption_table import TABLE_SUFFIXES, collect_table
from pipeline.datasets.captions.karpathy import collect_karpathy
from pipeline.datasets.captions.lavis import collect_lavis
from pipeline.datasets.coco import collect_coco
from pipeline.datasets.json_file import check_text, read_json
from pipeline.datasets.warnings import Notes
from pipeline.errors import QpertError

MAX_CAPTION = 100_000
"""Characters. A caption has fifty, a page of text some thousands; more than this is something else."""

FORMS = (
    'Karpathy {"images": [{"filename", "split", "sentences": [{"raw"}]}]}, '
    'LAVIS [{"image", "caption"}], '
    'COCO {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}, '
    "or a table .csv, .tsv, .jsonl or .parquet with columns such as image and caption"
)


@dataclass(frozen=True)
class CaptionedImage:
    """A photo's id and what people wrote about it."""

    image_id: str
    """The file's name, without its folder."""
    captions: list[str]


def read_captions(
    path: str | Path,
    split: str | None = "test",
    *,
    image_column: str | None = None,
    caption_column: str | None = None,
) -> list[CaptionedImage]:
    """The captioned images of one split, in the order in which the file first names them.

    An image may have any number of captions. What is odd but can be used is said in one counted warning of its kind:
    blank captions (left out), captions that an image has twice (kept), images without captions (kept: they are
    distractors), captions of images that the file does not list (left out).

    Args:
        path: a JSON file in one of three forms, told apart by their content (see `FORMS`), or a table, by its suffix.
        split: which images of a file that has splits (Karpathy's form; a table with a column `split`); all of them
            when None. Any other file is itself one split, such as LAVIS' `flickr30k_test.json` or COCO's
            `captions_val2014.json`: all of it is read, whatever `split` says.
        image_column: the table's column of file names, if it has no usual name.
        caption_column: the table's column of captions, one or a list per row, if it has no usual name.

    Raises:
        QpertError: the file is missing or in none of the forms, an entry lacks something or is of the wrong type,
            two images have one name, there is no such split; the message names file and entry.
    """
    path = Path(path).expanduser()
    found = CaptionCollector(path)
    if path.suffix.lower() in TABLE_SUFFIXES:
        collect_table(found, split, image_column, caption_column)
        return found.images()
    if image_column or caption_column:
        raise QpertError(f"columns are for tables ({', '.join(TABLE_SUFFIXES)}), not for {path}")
    if path.is_file() and path.suffix.lower() != ".json" and _start(path) not in (b"{", b"["):
        raise QpertError(f"{path} is in none of the forms of captions: {FORMS}")
    data = read_json(path)
    if isinstance(data, list):
        collect_lavis(data, found)
    elif isinstance(data, dict) and "images" in data and "annotations" in data:
        collect_coco(data, found)
    elif isinstance(data, dict) and "images" in data:
        collect_karpathy(data, found, split)
    else:
        raise QpertError(f"{path} is in none of the forms of captions: {FORMS}")
    return found.images()


class CaptionCollector:
    """Images and their captions as a reader finds them, and what there is to say about them at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._captions: dict[str, list[str]] = {}
        self._first: dict[str, tuple[str, str]] = {}  # name -> the image as it is written, and where
        self._notes = Notes(path)

    def add_image(self, image: str, where: str, *, merge: bool = False) -> str:
        """Start an image and return its id: `image` without its folder.

        Args:
            image: the file's name, or its path.
            where: place in the file, such as `images[3]`.
            merge: the same image may come again, with more captions.

        Raises:
            QpertError: there is no name, or two images have the same one.
        """
        name = PurePosixPath(check_text(image, self.path, where, MAX_CAPTION)).name
        if not name:
            raise QpertError(f"{self.path}: {where} names no image file: {image[:100]!r}")
        other, place = self._first.setdefault(name, (image, where))
        if name in self._captions and not (merge and other == image):
            both = f"both {name}" if other == image else f"{image} and {other}: two images with one file name"
            raise QpertError(f"{self.path}: {where} and {place} are {both}")
        self._captions.setdefault(name, [])
        return name

    def add_caption(self, image_id: str, caption: str, where: str) -> None:
        """Add a caption to an image that was added before.

        Raises:
            QpertError: this is no caption: far too long, or not valid Unicode.
        """
        if not caption or caption.isspace():
            self.note("blank captions are left out", where)
        else:
            self._captions[image_id].append(check_text(caption, self.path, where, MAX_CAPTION).strip())

    def note(self, what: str, where: str) -> None:
        """Count something that will be said once, with the place where it was first seen."""
        self._notes.add(what, where)

    def images(self) -> list[CaptionedImage]:
        """All images; warns of what was noted.

        Raises:
            QpertError: there are none.
        """
        if not self._captions:
            raise QpertError(f"{self.path} holds no images")
        for image_id, captions in self._captions.items():
            if not captions:
                self.note("images have no captions and are only distractors", image_id)
            repeated = len(captions) - len(set(captions))
            if repeated:
                self._notes.add("captions repeat another of their image and are kept", image_id, repeated)
        self._notes.warn()
        return [CaptionedImage(image_id, captions) for image_id, captions in self._captions.items()]


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
