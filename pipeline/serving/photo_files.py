"""The photos of a set as pictures that a browser may have: always new JPEG files, never the bytes that are stored.

What a file is called says nothing about what it holds. A new JPEG holds pixels alone: no script, no second file inside,
and neither the place where the photo was taken nor other metadata.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from pipeline.datasets.photos.reading import read_photo
from pipeline.datasets.photos.rules import SourceRules
from pipeline.errors import QpertError
from pipeline.io.images import ImageError
from pipeline.io.locations import local_path
from pipeline.serving.errors import RequestError
from pipeline.serving.pictures import PictureMaker

CACHE = 64 * 2**20
"""Bytes of pictures that are kept."""


@dataclass(frozen=True)
class Picture:
    """A JPEG, and the mark by which browsers know whether theirs is the same."""

    data: bytes
    etag: str


class PictureCache:
    """The pictures that were asked for last."""

    def __init__(self, limit: int = CACHE) -> None:
        self.limit, self.size = limit, 0
        self._pictures: OrderedDict[tuple[object, ...], Picture] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[object, ...]) -> Picture | None:
        """A picture, if it is kept."""
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
            return self._pictures.get(key)

    def put(self, key: tuple[object, ...], picture: Picture) -> None:
        """Keeps a picture, in the place of the oldest; not one that would take a quarter of all."""
        if len(picture.data) > self.limit // 4:
            return
        with self._lock:
            known = self._pictures.pop(key, None)
            self.size += len(picture.data) - (0 if known is None else len(known.data))
            self._pictures[key] = picture
            while self.size > self.limit:
                self.size -= len(self._pictures.popitem(last=False)[1].data)


class PhotoFiles:
    """Opens the photos of sets, by the rules of their source.

    Args:
        rules: what may be read; a set may be somebody else's, and names the places of its photos.
        maker: decodes them.
        cache: keeps them.
    """

    def __init__(self, rules: SourceRules, maker: PictureMaker, cache: PictureCache) -> None:
        self._rules, self._maker, self._cache = rules, maker, cache

    def picture(self, uri: str | None, side: int, version: str) -> Picture:
        """A photo, at most `side` pixels a side.

        Args:
            uri: of the photo, as its set names it.
            side: in pixels.
            version: of the set; where a file's own state is not known, its pictures are kept for this version.

        Raises:
            RequestError: 404 where the photo is gone or may not be read, 422 where it cannot be decoded.
        """
        key = (uri, side, _state(uri) or version)
        picture = self._cache.get(key)
        if picture is not None:
            return picture
        try:
            data = read_photo(uri, self._rules)
        except QpertError as error:
            raise RequestError(404, f"the photo cannot be read: {error}") from None
        try:
            made = self._maker.jpeg(data, side)
        except ImageError as error:
            raise RequestError(422, f"the photo cannot be shown: {error}") from None
        picture = Picture(made, f'"{hashlib.sha256(made).hexdigest()[:32]}"')
        self._cache.put(key, picture)
        return picture


def _state(uri: str | None) -> tuple[int, int] | None:
    """Size and time of a local file."""
    path = None if uri is None or "#" in uri or "\0" in uri else local_path(uri)
    if path is None:
        return None
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_size, info.st_mtime_ns
