"""The identity of a feature set: everything that affects the features and nothing else, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.features.manifest import Manifest
from pipeline.io.model_weights import split_weights
from pipeline.io.paths import canonical

_EDGE = 1024 * 1024


def fingerprint(identity: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that identify `identity`; the order of keys does not matter, and 8 equals 8.0."""
    text = json.dumps(_plain(identity), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def canonical_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    """`identity` in canonical form, in which the same source and choices are equal, however they were written.

    An ordinary command gives this form anyway, so that its fingerprint is that of earlier versions.
    """
    detector, perturbation = identity.get("detector"), identity.get("perturbation")
    changed: dict[str, Any] = {}
    if identity.get("source"):
        changed["source"] = canonical(identity["source"])
    if detector and detector.get("classes"):
        changed["detector"] = {**detector, "classes": sorted({*detector["classes"]})}
    if perturbation and perturbation.get("operator"):  # unlike the named ones of several variants
        lists = {name: _in_order(perturbation[name]) for name in ("stages", "sites") if perturbation.get(name)}
        changed["perturbation"] = {**perturbation, **lists}
    return {**identity, **changed}


def as_recorded(manifest: Manifest | None, identity: Mapping[str, Any]) -> dict[str, Any]:
    """`identity` in the words of the manifest, if that means the same.

    The checkpoint is named by the fingerprint of these words, so that sets of earlier versions are still resumed.
    """
    if manifest is None:
        return dict(identity)
    try:
        same = canonical_identity(manifest.identity) == canonical_identity(identity)
    except (TypeError, AttributeError, ValueError):  # the recorded identity is not one of ours
        same = False
    return manifest.identity if same else dict(identity)


def _in_order(values: Iterable[int | str]) -> list[int | str]:
    return sorted({*values}, key=lambda value: (isinstance(value, str), value))


def weights_identity(weights: str, *, whole: bool = False) -> dict[str, str]:
    """The identity of weights: the name as given and, if it leads to a local file or folder, a digest of that.

    The digest of a file covers its size and its first and last megabyte: enough to tell trained weights apart, and
    quick for many gigabytes. Annotations may differ in the middle, so they are read `whole`. `kind:path` counts as
    `path`, and `path+path` as both.
    """
    first, second = split_weights(weights)
    if second is not None:
        parts = [weights_identity(part, whole=whole) for part in (first, second)]
        digests = [part["digest"] for part in parts if "digest" in part]
        together = {"digest": hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]} if digests else {}
        return {"name": "+".join(part["name"] for part in parts), **together}
    for place in (weights, weights.partition(":")[2]):
        if place and os.path.exists(os.path.expanduser(place)):
            path = os.path.expanduser(place)
            digests = [_digest(path, whole), *(_digest(file, whole=True) for file in _beside(path))]
            joined = digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]
            return {"name": os.path.basename(os.path.abspath(path)), "digest": joined}
    return {"name": weights}


def _beside(path: str) -> list[str]:
    """Files that are read together with a checkpoint: its vocabulary and configuration."""
    if not path.endswith(".pth"):
        return []
    folder = os.path.dirname(path)
    names = [f"{path}.json", os.path.join(folder, "tokenizer.json"), os.path.join(folder, "vocab.txt")]
    return [name for name in names if os.path.isfile(name)]


def bundled(weights: str | None, name: str) -> str:
    """The path of the bundled weights `name`, for None and "miniature"; anything else as it is."""
    if weights not in (None, "miniature"):
        return str(weights)
    return str(Path(__file__).parents[1] / "miniature" / name)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _digest(path: str, whole: bool = False) -> str:
    digest = hashlib.sha256()
    if os.path.isdir(path):
        for folder, folders, files in os.walk(path):
            folders.sort()
            for name in sorted(files):
                inner = os.path.join(folder, name)
                digest.update(f"{os.path.relpath(inner, path)} {_digest(inner, whole)}\n".encode())
        return digest.hexdigest()[:16]
    size = os.path.getsize(path)
    digest.update(str(size).encode())
    with open(path, "rb") as file:
        while block := file.read(_EDGE):
            digest.update(block)
            if not whole:
                file.seek(max(0, size - _EDGE))
                digest.update(file.read(_EDGE))
                break
    return digest.hexdigest()[:16]
