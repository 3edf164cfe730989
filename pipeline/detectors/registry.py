"""Detectors by name. A new one is a file with a `DetectorClass`, and an entry here."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from pipeline.detectors.base import Detector
from pipeline.detectors.config import DetectorConfig
from pipeline.errors import QpertError

_YOLO = "pipeline.detectors.yolo:YoloDetector"
_DETECTORS = {
    "miniature": _YOLO,
    "annotated": "pipeline.detectors.annotated:AnnotatedBoxes",
    "none": "pipeline.detectors.no_detector:NoDetector",
}
"""Name -> module and class, imported when the detector is used. Any other name is an ultralytics model or a file."""

_EXTRAS = {"ultralytics": "yolo", "onnxruntime": "onnx"}
"""Optional package -> the extra of this project that installs it."""


class DetectorClass(Protocol):
    """What the registry asks of a detector's class: two class methods."""

    def load(self, config: DetectorConfig, device: str = "cpu", *, photos: int | None = None) -> Detector:
        """See `load_detector`."""
        ...

    def check(self, config: DetectorConfig, *, fetch: bool = True) -> None:
        """See `check_detector`."""
        ...


def list_detectors() -> list[str]:
    """Names that `DetectorConfig.model` takes besides ultralytics' names and model files."""
    return list(_DETECTORS)


def load_detector(config: DetectorConfig | str, device: str = "cpu", *, photos: int | None = None) -> Detector:
    """Opens a detector.

    Args:
        config: which one, and which of the objects it finds to keep; a name or file alone keeps the other defaults.
        device: `cpu`, `cuda:0`, ... for a detection model.
        photos: about how many this process will see; None if unknown. For few, a detector may choose what starts sooner
            and is slower.

    Raises:
        QpertError: options that contradict each other, a missing or unreadable model, unknown names, a missing device.
    """
    if isinstance(config, str):
        config = DetectorConfig(model=config)
    return _detector_class(config).load(config, device, photos=photos)


def check_detector(config: DetectorConfig, *, fetch: bool = True) -> None:
    """Finds out cheaply what `load_detector` would complain about, before any worker is started.

    Args:
        config: what would be loaded.
        fetch: download an official model that is missing here, once, instead of in every worker.

    Raises:
        QpertError: as `load_detector`.
    """
    _detector_class(config).check(config, fetch=fetch)


def check_packages(config: DetectorConfig) -> None:
    """Refuses a detection model whose packages are not installed. Quick: neither they nor torch are imported.

    Raises:
        QpertError: with the command that installs them.
    """
    if _DETECTORS.get(config.model, _YOLO) != _YOLO:
        return
    needed = ["ultralytics", *(["onnxruntime"] if config.model.lower().endswith(".onnx") else [])]
    missing = [package for package in needed if find_spec(package) is None]
    if missing:
        extras = ",".join(_EXTRAS[package] for package in missing)
        raise QpertError(
            f"detector {config.model!r} needs {' and '.join(missing)}: pip install 'qpert[{extras}]', or choose"
            " --detector annotated or none"
        )


def _detector_class(config: DetectorConfig) -> DetectorClass:
    path = _DETECTORS.get(config.model, _YOLO)
    if config.annotations is not None and config.model != "annotated":
        raise QpertError(f"--detector.annotations is for --detector annotated, not for {config.model!r}")
    if config.classes is not None and path != _YOLO:
        raise QpertError(f"--detector.classes selects among a detection model's classes; {config.model!r} has none")
    check_packages(config)
    module, _, name = path.partition(":")
    detector_class: DetectorClass = getattr(import_module(module), name)
    return detector_class
