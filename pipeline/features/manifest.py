"""The manifest of a feature set, ``manifest.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import QpertError
from pipeline.features.part_names import PARTS, in_words, part_name
from pipeline.io.locations import Folder
from pipeline.io.map_ahead import map_ahead

_NAME = "manifest.json"
FORMAT_VERSION = 1
PARTED_FORMAT = 2
"""Of sets of several parts, which earlier versions do not know."""
_READERS = 8
Precision = Literal["float16", "float32"]
PartState = Literal["complete", "running", "missing", "other"]
_IN_WORDS: Mapping[PartState, str] = {
    "complete": "complete",
    "running": "not finished",
    "missing": "not begun",
    "other": "made with other settings",
}


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
    parts: int | None = Field(
        None, ge=2, le=10_000, description="into how many parts the photos are divided, if they are"
    )
    part_by: Literal["photo", "folder"] = Field("photo", description="what is in one part as a whole")
    part_states: list[PartState] = Field(
        default_factory=list, exclude=True, description="of the parts, in order; found out when the set is opened"
    )

    @classmethod
    def find(cls, folder: Folder) -> Manifest | None:
        """The manifest of a feature set, or None if it has none; of a set of several parts, with what they hold.

        Raises:
            QpertError: the file is damaged, or was written in a newer format.
        """
        manifest = cls._stored(folder)
        if manifest is None or manifest.parts is None:
            return manifest
        names = [part_name(number, manifest.parts) for number in range(1, manifest.parts + 1)]
        stored = map_ahead(lambda name: cls._stored(folder.subfolder(PARTS, name)), names, _READERS)
        return manifest._merged([*stored])

    @classmethod
    def _stored(cls, folder: Folder) -> Manifest | None:
        data, path = folder.read(_NAME), folder.at(_NAME)
        if data is None:
            return None
        try:
            manifest = cls.model_validate_json(data)
        except ValidationError as error:
            raise QpertError(f"{path} is damaged: {error.errors()[0]['msg']}") from error
        if manifest.format > PARTED_FORMAT:
            raise QpertError(f"{path} has format {manifest.format}; this version reads up to {PARTED_FORMAT}: upgrade")
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
        unused = {"parts", "part_by"} if self.parts is None else None
        text = json.dumps(self.model_dump(mode="json", exclude=unused), indent=2, ensure_ascii=False)
        folder.write_atomically(_NAME, text.encode() + b"\n")

    def part_numbers(self, *states: PartState) -> list[int]:
        """Numbers of the parts in one of these states."""
        return [number for number, state in enumerate(self.part_states, 1) if state in states]

    def parts_text(self) -> str:
        """How far the parts are: "of 4 parts, parts 1, 2 and 4 are complete; part 3 is not begun"."""
        texts = [
            f"{in_words(numbers)} {'is' if len(numbers) == 1 else 'are'} {text}"
            for state, text in _IN_WORDS.items()
            if (numbers := self.part_numbers(state))
        ]
        return f"of {self.parts} parts, {'; '.join(texts)}"

    def _merged(self, parts: Sequence[Manifest | None]) -> Manifest:
        """This manifest, of a whole set, with the shape, devices and counts that its parts have found."""
        states: list[PartState] = [
            "missing" if part is None else part.state if part.fingerprint == self.fingerprint else "other"
            for part in parts
        ]
        known = [part for part in parts if part is not None and part.fingerprint == self.fingerprint]
        shaped = next((part for part in known if part.vectors is not None), self)
        scenes = {part.scenes for part in known if part.counts.get("photos")}
        devices: dict[str, float] = {}
        for part in known:
            devices |= {kind: max(distance, devices.get(kind, 0.0)) for kind, distance in part.devices.items()}
        found = {
            "state": "complete" if set(states) == {"complete"} else "running",
            "vectors": shaped.vectors,
            "dim": shaped.dim,
            "devices": devices,
            "counts": {
                name: sum(part.counts.get(name, 0) for part in known) for name in ("photos", "failed", "objects")
            },
            "scenes": False if False in scenes else None if None in scenes or not scenes else True,
            "part_states": states,
        }
        return self.model_copy(update=found)


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
