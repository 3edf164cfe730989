"""Object detectors: `load_detector(DetectorConfig(model=...))` returns one with `detect(ids, images)`."""

from pipeline.detectors.base import Detector
from pipeline.detectors.config import DetectorConfig
from pipeline.detectors.registry import check_detector, check_packages, list_detectors, load_detector

__all__ = ["Detector", "DetectorConfig", "check_detector", "check_packages", "list_detectors", "load_detector"]
