"""Which encoders and detectors can be loaded, and which published weights are here already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.detectors import DetectorConfig, check_packages
from pipeline.detectors.config import DOWNLOADS, MINIATURE
from pipeline.diagnosis.finding import Finding, State
from pipeline.encoders import list_encoders, miniature_encoders, resolve_weights
from pipeline.encoders.blip2_lavis import environment as lavis_environment
from pipeline.errors import QpertError, first_line

TOPIC = "models"
_ASKED = "Salesforce/blip2-itm-vit-g-coco"
"""A published model that the hub is asked for, to see whether it answers."""


def check_models() -> list[Finding]:
    """The bundled miniatures, the packages of detectors, LAVIS' environment and downloaded weights; loads no model."""
    return [*_encoders(), *_detectors(), _lavis(), _hub_cache(), _detector_cache()]


def check_hub() -> Finding:
    """Whether the Hugging Face hub answers, which takes the network; nothing is downloaded."""
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(_ASKED, timeout=10)
    except Exception as error:  # of network and hub, each of several libraries
        remedy = "download weights elsewhere and give their folder by --weights; bundled miniatures need no network"
        return Finding(TOPIC, "hub", "warning", f"does not answer: {first_line(error)}", remedy)
    return Finding(TOPIC, "hub", "ok", "answers")


def _encoders() -> Iterator[Finding]:
    for name in miniature_encoders():
        try:
            resolve_weights(name, None)
        except QpertError as error:
            yield Finding(TOPIC, name, "problem", str(error), "pip install --force-reinstall --no-deps qpert")
    others = sorted({*list_encoders()} - {*miniature_encoders()})
    yield Finding(TOPIC, "encoders", "ok", f"{', '.join(miniature_encoders())} with miniatures; {', '.join(others)}")


def _detectors() -> Iterator[Finding]:
    if not MINIATURE.is_file():
        yield Finding(TOPIC, "miniature", "problem", f"{MINIATURE} is missing", "qpert train-miniature yolo")
    kinds = (
        ("miniature", "detectors"),
        ("hf:MODEL", "detectors of transformers"),
        ("model.onnx", "detectors in .onnx files"),
    )
    for model, name in kinds:
        try:
            check_packages(DetectorConfig(model=model))
        except QpertError as error:
            missing, _, advice = str(error).rpartition(": ")
            state: State = "warning" if model == "miniature" else "ok"
            yield Finding(TOPIC, name, state, f"cannot be used: {missing}", advice.partition(", or")[0])
        else:
            yield Finding(TOPIC, name, "ok", "can be used")


def _lavis() -> Finding:
    built = str(lavis_environment.folder()) if lavis_environment.is_built() else None
    said = built or "not built; its first use builds it, on Python 3.10 or 3.11"
    return Finding(TOPIC, "environment of blip2-lavis", "ok", said)


def _hub_cache() -> Finding:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    names = sorted(path.name.removeprefix("models--").replace("--", "/") for path in folder.glob("models--*"))
    said = f"in {folder}: {', '.join(names)}" if names else f"none in {folder} yet; --weights downloads them once"
    return Finding(TOPIC, "downloaded weights of encoders", "ok", said)


def _detector_cache() -> Finding:
    folder = DOWNLOADS.expanduser()
    names = sorted(path.name for path in folder.glob("*") if path.suffix in (".pt", ".onnx"))
    said = f"in {folder}: {', '.join(names)}" if names else f"none in {folder} yet; --detector downloads them once"
    return Finding(TOPIC, "downloaded detectors", "ok", said)
