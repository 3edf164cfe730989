"""Options of detection: the model, and which of its objects to keep."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipeline.io.paths import LocalPath, WeightsText

MINIATURE = Path(__file__).parent.parent / "miniature" / "yolo.pt"
"""The bundled detector's weights."""
DOWNLOADS = Path("~/.cache/qpert")
"""Folder for downloaded official models."""


class DetectorConfig(BaseModel):
    """Where the objects of a photo come from. `load_detector` checks the values against the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: WeightsText = Field(
        default="miniature",
        min_length=1,
        description="`miniature` (bundled, for the synthetic scenes), `hf:MODEL` (of transformers: hub id or folder), "
        "an ultralytics name (`yolo11n`), a .pt or .onnx file, `annotated` (boxes from Flickr30K Entities or "
        "COCO files, or of a feature set) or `none`",
    )
    annotations: LocalPath | None = Field(
        default=None,
        description="Flickr30K Entities folder (Annotations/ and Sentences/), COCO or LVIS instances, the JSON of "
        "COCO Entities, a DCI folder, or a feature set whose objects to use again; for `annotated` only",
    )
    confidence: float = Field(default=0.25, ge=0, le=1, description="least confidence of an object")
    classes: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="names of the classes to keep, all of the model's by default; of an open vocabulary: what to look "
        "for, each in quotes",
        json_schema_extra={"flag": "--classes"},
    )
    classes_from_queries: LocalPath | None = Field(
        default=None,
        description="look for the nouns of the queries in this file as well: one query per line, or captions as qpert "
        "evaluate reads them",
        json_schema_extra={"flag": "--classes-from-queries"},
    )
    max_objects: int = Field(default=10, ge=1, le=300, description="most objects per photo, the most confident first")
    image_size: int | None = Field(
        default=None, ge=32, le=4096, description="side of the detector's input in pixels; the model's own by default"
    )
    slices: int | None = Field(
        default=None,
        ge=64,
        le=8192,
        description="detect in overlapping square tiles of this many pixels as well as in the whole photo, for small "
        "objects in large photos",
        json_schema_extra={"flag": "--slices"},
    )
