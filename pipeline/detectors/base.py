"""What every detector offers, so that stages need not know which one they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the command line reads the names of detectors, and must not load torch for it
    from PIL import Image

    from pipeline.method.objects import Objects


class Detector(Protocol):
    """Finds the objects in photos."""

    def detect(self, ids: Sequence[str], images: Sequence[Image.Image]) -> list[Objects]:
        """The objects of each photo, the most confident first.

        Args:
            ids: of the photos; only a detector that looks annotations up needs them.
            images: RGB photos, of any sizes.

        Returns:
            One `Objects` per photo, empty if it has none. A photo's objects do not depend on the other photos.

        Raises:
            QpertError: a photo's annotation cannot be read.
        """
        ...
