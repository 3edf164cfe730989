"""Collecting images and captions, whatever format they are read from.

Rules that all formats share are applied here: how images are named, when entries are merged, and the warnings about
captions that are blank, repeated or missing.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.json_file import check_text
from pipeline.datasets.warnings import CountedWarnings
from pipeline.errors import QpertError

MAX_CAPTION = 100_000
"""Characters. A caption has about fifty and a page of text a few thousand; anything longer is not a caption."""


class CaptionCollector:
    """Gathers the images and captions of one file, and warns about oddities at the end.

    Attributes:
        path: the file.
        warnings: oddities so far; a reader adds those of its own format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings = CountedWarnings(path)
        self._captions: dict[str, list[str]] = {}
        self._first: dict[str, tuple[str, str]] = {}  # name -> the image as written, and where

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
        other, place = self._first.setdefault(name, (image, where))
        if name in self._captions and not (merge and other == image):
            both = f"both {name}" if other == image else f"{image} and {other}: two images with one file name"
            raise QpertError(f"{self.path}: {where} and {place} are {both}")
        self._captions.setdefault(name, [])
        return name

    def add_caption(self, image_id: str, caption: str, where: str) -> None:
        """Add a caption to an image that was added before.

        Raises:
            QpertError: the caption is far too long, or not valid Unicode.
        """
        if not caption or caption.isspace():
            self.warnings.add("blank captions are left out", where)
        else:
            self._captions[image_id].append(check_text(caption, self.path, where, MAX_CAPTION).strip())

    def images(self) -> list[CaptionedImage]:
        """All images in the order in which they were added; issues the warnings.

        Raises:
            QpertError: no image was added.
        """
        if not self._captions:
            raise QpertError(f"{self.path} holds no images")
        for image_id, captions in self._captions.items():
            if not captions:
                self.warnings.add("images have no captions and are only distractors", image_id)
            repeated = len(captions) - len(set(captions))
            if repeated:
                self.warnings.add("captions repeat another of their image and are kept", image_id, repeated)
        self.warnings.warn()
        return [CaptionedImage(image_id, captions) for image_id, captions in self._captions.items()]
