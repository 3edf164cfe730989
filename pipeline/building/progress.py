"""How far a build is: a live line on a terminal, otherwise a log line every ten seconds."""

from __future__ import annotations

import time

from pipeline.printing import duration
from pipeline.runs.status_line import StatusLine

_LONG = 60.0


class Progress:
    """The shards and photos of a build that are done.

    Args:
        shards: to make.
        photos: in them.
    """

    def __init__(self, shards: int, photos: int) -> None:
        self.shards, self.photos = shards, photos
        self._line = StatusLine()
        self._done = self._photos_done = 0
        self._begun = time.monotonic()

    def training(self, vectors: int) -> None:
        """Says that the quantiser is being trained."""
        self._line.show(f"training on about {vectors:,} vectors ...")

    def begin(self) -> None:
        """The first shard is begun."""
        self._begun = time.monotonic()
        self.show()

    def add(self, photos: int) -> None:
        """A shard is done."""
        self._done += 1
        self._photos_done += photos
        self.show()

    def show(self, waited: float = 0.0) -> None:
        """Shows the line; `waited` is how many seconds ago the last shard was done."""
        self._line.show(self.text(time.monotonic() - self._begun, waited))

    def text(self, seconds: float, waited: float = 0.0) -> str:
        """``3 of 16 shards, 190,000 of 1,000,000 photos (19 %), 0:42 left``, after `seconds` of work."""
        share = f" ({self._photos_done / self.photos:.0%})" if self.photos else ""
        parts = [f"{self._done:,} of {self.shards:,} shards", f"{self._photos_done:,} of {self.photos:,} photos{share}"]
        if 0 < self._photos_done < self.photos and seconds > 0:
            left = (self.photos - self._photos_done) / self._photos_done * seconds
            parts.append(f"{duration(left)} left")
        if waited > _LONG:
            parts.append(f"nothing new for {duration(waited)}")
        return ", ".join(parts)

    def close(self) -> None:
        """Removes the line."""
        self._line.close()
