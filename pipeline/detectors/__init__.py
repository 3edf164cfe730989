"""Object detectors: `load_detector(DetectorConfig(model=...))`.

A detector that looks at pixels has `detect(images) -> list[Objects]`. Annotated boxes are looked up by the photo's id
instead: `AnnotatedBoxes.objects_for(image_id, size)`. Both check all they can when they are built.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from pipeline.detectors.config import DetectorConfig
from pipeline.errors import QpertError

if TYPE_CHECKING:
    from PIL import Image

    from pipeline.detectors.annotated import AnnotatedBoxes
    from pipeline.method.objects import Objects

__all__ = ["Detector", "DetectorConfig", "NoDetector", "list_detectors", "load_detector"]


class Detector(Protocol):
    """Finds objects in photos."""

    def detect(self, images: Sequence[Image.Image]) -> list[Objects]:
        """Objects of each RGB photo, the most confident first; empty where there are none."""
        ...


class NoDetector:
    """Finds nothing, so that every embedding is the plain one."""

    def detect(self, images: Sequence[Image.Image]) -> list[Objects]:
        """Return no objects for each photo."""
        from pipeline.method.objects import Objects

        return [Objects.empty(image.size) for image in images]


def list_detectors() -> list[str]:
    """Names that `DetectorConfig.model` takes besides ultralytics' names and model files."""
    return ["miniature", "annotated", "none"]


def check_detector(config: DetectorConfig, *, fetch: bool = True) -> None:
    """Find out cheaply what `load_detector` would complain of, before any worker is started.

    Args:
        config: what would be loaded.
        fetch: download an official model that is not here yet, once, instead of in every worker.

    Raises:
        QpertError: as `load_detector`.
    """
    if config.model in list_detectors() and config.classes is None:
        if config.model != "miniature":
            load_detector(config)
        return
    from pipeline.detectors.yolo import YoloDetector, find_weights

    find_weights(config.model, fetch=fetch)
    if config.classes is not None and fetch:
        YoloDetector(config)  # the names of the classes are in the weights


def load_detector(config: DetectorConfig, device: str = "cpu") -> Detector | AnnotatedBoxes:
    """Open a detector.

    Args:
        config: which one, and what to keep of what it finds.
        device: `cpu`, `cuda:0`, ... for a detection model.

    Raises:
        QpertError: options that do not go together, a missing or unreadable model, unknown names, a missing device.
    """
    if config.model == "annotated":
        if config.annotations is None:
            raise QpertError(
                "annotated boxes need a folder or file: detector.annotations=PATH (Flickr30K Entities or COCO)"
            )
        if config.classes is not None:
            raise QpertError("detector.classes selects among a detection model's classes; annotated boxes have none")
        from pipeline.detectors.annotated import AnnotatedBoxes

        return AnnotatedBoxes(config.annotations)
    if config.annotations is not None:
        raise QpertError(f"detector.annotations is for detector.model=annotated, not for {config.model!r}")
    if config.model == "none":
        return NoDetector()
    from pipeline.detectors.yolo import YoloDetector

    return YoloDetector(config, device)
