"""All that a server consists of behind its routes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from pipeline.serving.catalogue import Catalogue
from pipeline.serving.embedding import EncoderPool
from pipeline.serving.observing import Metrics
from pipeline.serving.photo_files import PhotoFiles, PictureCache
from pipeline.serving.pictures import PictureMaker
from pipeline.serving.searching import Searcher
from pipeline.serving.settings import ServeSettings
from pipeline.serving.terms import TermReader

Result = TypeVar("Result")
_PICTURES = 2
"""Photos decoded at once."""


class Service:
    """The sets, encoders and photos of a server, and the threads that work on them.

    Args:
        settings: of the server.
        pool: encoders, if not those of this process.
    """

    def __init__(self, settings: ServeSettings, pool: EncoderPool | None = None) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.catalogue = Catalogue(settings, self.metrics, pool or EncoderPool())
        self.maker = PictureMaker(_PICTURES)
        self.photos = PhotoFiles(settings.rules, self.maker, PictureCache())
        self.reader = TermReader(self.catalogue, self.maker, settings.rules)
        self.searcher = Searcher(self.catalogue, self.reader, settings.rules, self.metrics)
        self._searches = anyio.CapacityLimiter(max(4, 2 * (os.cpu_count() or 1)))
        # Apart from each other: photos must not keep texts waiting.
        self._image_searches = anyio.CapacityLimiter(1)
        self._pictures = anyio.CapacityLimiter(2 * _PICTURES)

    def open(self) -> None:
        """Opens the sets.

        Raises:
            QpertError: one cannot be opened.
        """
        self.catalogue.open()

    def close(self) -> None:
        """Ends threads and processes."""
        self.catalogue.stop_watching()
        self.maker.close()

    async def search(self, call: Callable[[], Result], *, image: bool = False) -> Result:
        """Runs a search in a thread; one at a time where a photo must be embedded."""
        limiter = self._image_searches if image else self._searches
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=limiter)

    async def picture(self, call: Callable[[], Result]) -> Result:
        """Runs what reads a photo in a thread."""
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._pictures)
