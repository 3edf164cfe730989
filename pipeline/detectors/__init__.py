"""Object detectors: `load_detector(DetectorConfig(model=...))` returns one with `detect(ids, images)`."""

from pipeline.detectors.base import Detector
from pipeline.detectors.config import DetectorConfig
from pipeline.detectors.query_classes import with_query_classes
from pipeline.detectors.registry import (
    check_annotations,
    check_detector,
    check_packages,
    check_shuffles,
    embed_prompts,
    list_detectors,
    load_detector,
)

__all__ = [
    "Detector",
    "DetectorConfig",
    "check_annotations",
    "check_detector",
    "check_packages",
    "check_shuffles",
    "embed_prompts",
    "list_detectors",
    "load_detector",
    "with_query_classes",
]
