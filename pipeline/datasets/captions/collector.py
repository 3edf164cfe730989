"""Collecting images and captions, whatever format they are read from.

Rules that all formats share are applied here: how images are named, when entries are merged, and the warnings about
captions that are blank, repeated or missing.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.datasets.bad_entries import BadEntries
from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.json_file import check_text
from pipeline.datasets.warnings import CountedWarnings
from pipeline.errors import QpertError

MAX_CAPTION = 100_000
"""Characters. A caption has about fifty and a page of text a few thousand; anything longer is not a caption."""


class CaptionCollector:
    """Gathers the images and captions of one file, and warns about oddities at the end.

    Attributes:
        path: the file or folder.
        bad: entries that cannot be read.
        warnings: other oddities so far; a reader adds those of its own format.
    """

    def __init__(self, path: Path, *, strict: bool = False) -> None:
        self.path = path
        self.bad = BadEntries(path, strict=strict)
        self.warnings = CountedWarnings(path, strict=strict)
        self._captions: dict[str, list[str]] = {}
        self._first: dict[str, tuple[str, str]] = {}  # name -> the image as written, and where
        self._copies: dict[str, str] = {}  # name -> what its copies have in common
        self._distractors: set[str] = set()

    def add_image(self, image: str, where: str, *, merge: bool = False) -> str:
        """Start an image and return its id: `image` without its folder.

        Args:
            image: the file's name, or its path.
            where: place in the file, such as `images[3]`.
            merge: whether the same image may occur again, with more captions.

        Raises:
            QpertError: the name is empty, or two images have the same one.
        """
        name = PurePosixPath(check_text(image, self.path, where, MAX_CAPTION)).name
        if not name:
            raise QpertError(f"{self.path}: {where} names no image file: {image[:100]!r}")
        return self._add(name, image, where, merge=merge)

    def add_copy(self, image: str, folder: str, where: str, *, query: bool) -> str:
        """Start one of several copies of an image, which lie in different folders, and return its id.

        Args:
            image: the file's name or path within the folder.
            folder: of this copy; it belongs to the id.
            where: place in the file.
            query: whether the copy gets captions; others are meant to have none.

        Raises:
            QpertError: the name is empty, or the copy was added before.
        """
        name = str(PurePosixPath(check_text(image, self.path, where, MAX_CAPTION)))
        if not PurePosixPath(name).name:
            raise QpertError(f"{self.path}: {where} names no image file: {image[:100]!r}")
        image_id = self._add(f"{folder}/{name}", f"{folder}/{name}", where, merge=False)
        self._copies[image_id] = name
        if not query:
            self._distractors.add(image_id)
        return image_id

    def _add(self, name: str, image: str, where: str, *, merge: bool) -> str:
        other, place = self._first.setdefault(name, (image, where))
        if name in self._captions and not (merge and other == image):
            both = f"both {name}" if other == image else f"{image} and {other}: two images with one file name"
            raise QpertError(f"{self.path}: {where} and {place} are {both}")
        self._captions.setdefault(name, [])
        return name

    def add_caption(self, image_id: str, caption: str, where: str) -> None:
        """Add a caption to an image that was added before.

        Raises:
            QpertError: the caption is far too long, or not valid Unicode; or blank, in strict reading.
        """
        if not caption or caption.isspace():
            self.warnings.add("blank captions are left out", where, error="is blank")
        else:
            self._captions[image_id].append(check_text(caption, self.path, where, MAX_CAPTION).strip())

    def add_any_caption(self, image_id: str, caption: Any, where: str) -> None:
        """Add a caption of which the type is unknown: one bad item of a list does not lose the others.

        Raises:
            QpertError: it is not text or not a caption, in strict reading.
        """
        with self.bad:
            if not isinstance(caption, str):
                raise QpertError(f"{self.path}: {where} is not a caption: {str(caption)[:100]!r} is not text")
            self.add_caption(image_id, caption, where)

    def images(self) -> list[CaptionedImage]:
        """All images in the order in which they were added; issues the warnings.

        Raises:
            QpertError: no image was added, or most entries are bad.
        """
        self.bad.check()
        self.bad.check_any(any(self._captions.values()))
        if not self._captions:
            raise QpertError(f"{self.path} holds no images")
        for image_id, captions in self._captions.items():
            if not captions and image_id not in self._distractors:
                self.warnings.add("images have no captions and are only distractors", image_id)
            repeated = len(captions) - len(set(captions))
            if repeated:
                self.warnings.add("captions repeat another of their image and are kept", image_id, repeated)
        self.bad.warn()
        self.warnings.warn()
        copies = self._copies
        return [CaptionedImage(image_id, texts, copies.get(image_id, "")) for image_id, texts in self._captions.items()]
