"""Detectors by name. A new one is a file with a `DetectorClass`, and an entry here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from pipeline.datasets.boxes.reading import read_boxes
from pipeline.detectors.base import Detector
from pipeline.detectors.config import DetectorConfig
from pipeline.detectors.query_classes import check_textblob, read_queries, with_query_classes
from pipeline.errors import QpertError

_YOLO = "pipeline.detectors.yolo:YoloDetector"
_HUGGING_FACE = "pipeline.detectors.hugging_face.detector:HuggingFaceDetector"
_DETECTORS = {
    "miniature": _YOLO,
    "annotated": "pipeline.detectors.annotated:AnnotatedBoxes",
    "none": "pipeline.detectors.no_detector:NoDetector",
}
"""Name -> module and class, imported when the detector is used. `hf:...` is a model of transformers, any other name an
ultralytics model or a file."""

_EXTRAS = {"ultralytics": "yolo", "onnxruntime": "onnx"}
"""Optional package -> the extra of this project that installs it."""


class DetectorClass(Protocol):
    """What the registry asks of a detector's class: two class methods."""

    def load(
        self, config: DetectorConfig, device: str = "cpu", *, photos: int | None = None, prompts: bytes | None = None
    ) -> Detector:
        """See `load_detector`."""
        ...

    def check(self, config: DetectorConfig, *, fetch: bool = True) -> None:
        """See `check_detector`."""
        ...


def list_detectors() -> list[str]:
    """Names that `DetectorConfig.model` takes besides `hf:...`, ultralytics' names and model files."""
    return list(_DETECTORS)


def load_detector(
    config: DetectorConfig | str,
    device: str = "cpu",
    *,
    photos: int | None = None,
    prompts: bytes | None = None,
    shuffles: Sequence[int] = (),
) -> Detector:
    """Opens a detector.

    Args:
        config: which one, and which of the objects it finds to keep; a name or file alone keeps the other defaults.
        device: `cpu`, `cuda:0`, ... for a detection model.
        photos: about how many this process will see; None if unknown. For few, a detector may choose what starts sooner
            and is slower.
        prompts: what `embed_prompts` returned.
        shuffles: seeds with which every photo is given boxes of other photos as well (`Objects.shuffled`), by a
            detector that knows the boxes of all photos beforehand.

    Raises:
        QpertError: options that contradict each other, a missing or unreadable model, unknown names, a missing device.
    """
    if isinstance(config, str):
        config = DetectorConfig(model=config)
    config = with_query_classes(config)
    kind = _detector_class(config)
    if shuffles:
        check_shuffles(config)
        from pipeline.detectors.annotated import AnnotatedBoxes

        return AnnotatedBoxes.load(config, device, shuffles=shuffles)
    if config.slices is None:
        return kind.load(config, device, photos=photos, prompts=prompts)
    from pipeline.detectors.slicing import PER_TILE, SlicedDetector

    in_tiles = config.model_copy(update={"max_objects": max(PER_TILE, config.max_objects)})
    detector = kind.load(in_tiles, device, photos=photos, prompts=prompts)
    return SlicedDetector(detector, config.slices, config.max_objects)


def check_detector(config: DetectorConfig, *, fetch: bool = True) -> None:
    """Finds out cheaply what `load_detector` would complain about, before any worker is started.

    Args:
        config: what would be loaded.
        fetch: download an official model that is missing here, once, instead of in every worker.

    Raises:
        QpertError: as `load_detector`.
    """
    config = with_query_classes(config)
    _detector_class(config).check(config, fetch=fetch)


def check_shuffles(config: DetectorConfig) -> None:
    """Raise QpertError for a detector that does not know the boxes of all photos beforehand."""
    if config.model != "annotated":
        raise QpertError(
            f"--perturbation.boxes shuffled takes the boxes of other photos, which --detector {config.model} does not"
            " know beforehand: index the photos once, then again with --detector annotated --detector.annotations and"
            " that feature set (or other annotations)"
        )


def check_annotations(config: DetectorConfig) -> None:
    """Reads annotations, and captions whose nouns are looked for, strictly; once, before any worker is started.

    Raises:
        QpertError: because of a single bad entry.
    """
    if config.classes_from_queries is not None:
        read_queries(Path(config.classes_from_queries), strict=True)
    if config.annotations is not None:
        read_boxes(config.annotations, strict=True)


def embed_prompts(config: DetectorConfig) -> bytes | None:
    """Embeds the classes that an open vocabulary of ultralytics looks for, once for all workers.

    Returns:
        For `load_detector`; None for a detector that needs nothing of the kind.

    Raises:
        QpertError: the model, or the encoder of its texts, cannot be loaded.
    """
    config = with_query_classes(config)
    if config.classes is None or _path(config) != _YOLO:
        return None
    _detector_class(config)
    from pipeline.detectors.yolo import YoloDetector

    return YoloDetector.embed_prompts(config)


def check_packages(config: DetectorConfig) -> None:
    """Refuses options whose packages are not installed. Quick: neither they nor torch are imported.

    Raises:
        QpertError: with the command that installs them.
    """
    check_textblob(config)
    if _path(config) != _YOLO:
        return
    needed = ["ultralytics", *(["onnxruntime"] if config.model.lower().endswith(".onnx") else [])]
    missing = [package for package in needed if find_spec(package) is None]
    if missing:
        extras = ",".join(_EXTRAS[package] for package in missing)
        raise QpertError(
            f"detector {config.model!r} needs {' and '.join(missing)}: pip install 'qpert[{extras}]', or choose"
            " --detector hf:MODEL, annotated or none"
        )


def _path(config: DetectorConfig) -> str:
    """Module and class of a detector."""
    return _HUGGING_FACE if config.model.startswith("hf:") else _DETECTORS.get(config.model, _YOLO)


def _detector_class(config: DetectorConfig) -> DetectorClass:
    path = _path(config)
    if config.annotations is not None and config.model != "annotated":
        raise QpertError(f"--detector.annotations is for --detector annotated, not for {config.model!r}")
    if config.classes is not None and path not in (_YOLO, _HUGGING_FACE):
        raise QpertError(f"--detector.classes selects among a detection model's classes; {config.model!r} has none")
    if config.slices is not None and path not in (_YOLO, _HUGGING_FACE):
        raise QpertError(f"--slices is for detection models; {config.model!r} does not look at photos")
    check_packages(config)
    module, _, name = path.partition(":")
    detector_class: DetectorClass = getattr(import_module(module), name)
    return detector_class
