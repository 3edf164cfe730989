"""Runs that each index one part of the photos into the same feature set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.datasets.photos.part import Part
from pipeline.errors import QpertError
from pipeline.features.fingerprint import fingerprint
from pipeline.features.manifest import PARTED_FORMAT, Manifest
from pipeline.features.store import FeatureStore
from pipeline.runs.resume import check_same


def check_division(whole: FeatureStore, part: Part | None) -> None:
    """Refuses a part of a set that is not divided, or is divided in another way.

    Raises:
        QpertError: how the set is divided.
    """
    manifest = whole.find_manifest()
    if manifest is None or _divided(manifest, part) or not whole.files_of(manifest).names:
        return
    if manifest.parts is None:
        raise QpertError(f"{whole.root} was not indexed in parts: leave --part out, or choose another --out")
    by = "" if manifest.part_by == "photo" else f" --part-by {manifest.part_by}"
    raise QpertError(
        f"{whole.root} is indexed in {manifest.parts} parts: give --part NUMBER/{manifest.parts}{by}, or choose another"
        " --out"
    )


def check_settings(whole: FeatureStore, identity: Mapping[str, Any]) -> None:
    """Refuses settings that differ from those of the parts that are indexed already.

    Raises:
        QpertError: what differs.
    """
    manifest = whole.find_manifest()
    if manifest is not None and manifest.fingerprint != fingerprint(identity) and whole.files_of(manifest).names:
        check_same(whole.root, manifest, identity)


def begin_part(whole: FeatureStore, part: Part, manifest: Manifest) -> None:
    """Writes the manifest of the whole set, unless another part has done so.

    Args:
        whole: the set.
        part: that begins.
        manifest: of the part.

    Raises:
        QpertError: another part with other settings has just begun.
    """
    found = whole.find_manifest()
    if found is None or found.fingerprint != manifest.fingerprint or not _divided(found, part):
        update = {"format": PARTED_FORMAT, "parts": part.count, "part_by": part.by}
        whole.write_manifest(manifest.model_copy(update=update))
        found = whole.manifest()
    check_same(whole.root, found, manifest.identity)


def _divided(manifest: Manifest, part: Part | None) -> bool:
    """Whether the set is divided as `part` is."""
    if part is None or manifest.parts is None:
        return part is None and manifest.parts is None
    return (manifest.parts, manifest.part_by) == (part.count, part.by)
