"""The detector `none`."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from pipeline.detectors.config import DetectorConfig
from pipeline.method.objects import Objects


class NoDetector:
    """Finds nothing, so that every embedding is the plain one."""

    @classmethod
    def load(
        cls, config: DetectorConfig, device: str = "cpu", *, photos: int | None = None, prompts: bytes | None = None
    ) -> NoDetector:
        """See `pipeline.detectors.registry.DetectorClass`."""
        return cls()

    @classmethod
    def check(cls, config: DetectorConfig, *, fetch: bool = True) -> None:
        """See `pipeline.detectors.registry.DetectorClass`: nothing can be wrong."""

    def detect(self, ids: Sequence[str], images: Sequence[Image.Image]) -> list[Objects]:
        """No objects for each photo."""
        return [Objects.empty(image.size) for image in images]
