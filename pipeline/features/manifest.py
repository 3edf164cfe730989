"""The manifest of a feature set, ``manifest.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import QpertError
from pipeline.io.locations import Folder

_NAME = "manifest.json"
FORMAT_VERSION = 1
Precision = Literal["float16", "float32"]


class Manifest(BaseModel):
    """How a feature set was made, and whether it is complete."""

    model_config = ConfigDict(extra="ignore")

    format: int = FORMAT_VERSION
    state: Literal["running", "complete"] = "running"
    fingerprint: str = Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_ .-]{0,99}$", description="names a folder, so it is not a path"
    )
    identity: dict[str, Any] = Field(default_factory=dict, description="everything that the fingerprint depends on")
    config: dict[str, Any] = Field(default_factory=dict, description="configuration of the last run")
    encoder: dict[str, Any] = Field(default_factory=dict, description="name and weights")
    vectors: int | None = Field(None, ge=1, le=2**20, description="V; unknown until the first encoder is up")
    dim: int | None = Field(None, ge=1, le=2**20, description="D; unknown until the first encoder is up")
    precision: Precision = "float16"
    variants: list[str] = Field(
        default_factory=list,
        description="names of the embeddings, if each photo has several, in order",
    )
    multi: list[str] = Field(
        default_factory=list,
        description="kinds of further vectors of each photo (regions, crops, ...), if it has any: the column views",
    )
    versions: dict[str, str] = Field(default_factory=dict)
    devices: dict[str, float] = Field(
        default_factory=dict,
        description="device and dtype of the encoders of the last run -> 1 - cosine between their probe embeddings and"
        " those of the most exact one",
    )
    counts: dict[str, int] = Field(default_factory=dict, description="photos, failed, objects")
    scenes: bool | None = Field(
        None,
        description="whether the photos are synthetic scenes, judged by the first few; looked at only where a miniature"
        " model is used, and unknown to earlier versions",
    )

    @classmethod
    def find(cls, folder: Folder) -> Manifest | None:
        """The manifest of a feature set, or None if it has none.

        Raises:
            QpertError: the file is damaged, or was written in a newer format.
        """
        data, path = folder.read(_NAME), folder.at(_NAME)
        if data is None:
            return None
        try:
            manifest = cls.model_validate_json(data)
        except ValidationError as error:
            raise QpertError(f"{path} is damaged: {error.errors()[0]['msg']}") from error
        if manifest.format > FORMAT_VERSION:
            raise QpertError(f"{path} has format {manifest.format}; this version reads up to {FORMAT_VERSION}: upgrade")
        return manifest

    @classmethod
    def read(cls, folder: Folder) -> Manifest:
        """The same, but a QpertError if there is none."""
        manifest, root = cls.find(folder), folder.root
        if manifest is None:
            raise QpertError(f"{root} holds no features (no manifest.json); make them: qpert index PHOTOS --out {root}")
        return manifest

    def write(self, folder: Folder) -> None:
        """Replace the manifest of a feature set in one step."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        folder.write_atomically(_NAME, text.encode() + b"\n")


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The differences between two identities, as lines ``name: old -> new``; nested names are joined by dots."""
    lines: list[str] = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            lines.append(f"{prefix}{name}: {before} -> {after}")
    return lines
