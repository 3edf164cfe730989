"""The identity of a run: everything in its options that changes the features, as the manifest records it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from pipeline.datasets.boxes.identity import annotations_identity
from pipeline.features.fingerprint import bundled, canonical_identity, weights_identity
from pipeline.features.manifest import FORMAT_VERSION
from pipeline.io.locations import absolute
from pipeline.runs.encoder_choice import EncoderChoice
from pipeline.runs.spec import IndexSpec, Variants


def identity(spec: IndexSpec, encoder: EncoderChoice | None = None, variants: Variants | None = None) -> dict[str, Any]:
    """Everything that changes the features, and nothing else; plain JSON values.

    Args:
        spec: the options.
        encoder: takes the place of the one that `spec` names.
        variants: take the place of `spec.perturbation`.
    """
    perturbation = spec.perturbation.build()
    detector = spec.detector.model_dump(mode="json")
    detector["model"] = weights_identity(bundled(spec.detector.model, "yolo.pt"))
    for option in ("classes_from_queries", "slices"):
        if detector[option] is None:  # so that features from before these options existed can still be resumed
            del detector[option]
    if spec.detector.annotations:
        detector["annotations"] = annotations_identity(spec.detector.annotations)
    what = {
        "format": FORMAT_VERSION,
        "source": absolute(spec.source),
        "columns": [spec.uri_column, spec.bytes_column, spec.id_column],
        "encoder": (encoder or EncoderChoice.of(spec.encoder, spec.weights, spec.image_size)).identity,
        "detector": None if spec.detector.model == "none" else detector,
        "perturbation": perturbation and perturbation.as_dict(),
        "precision": spec.precision,
        "dtype": spec.dtype,
        "max_megapixels": spec.max_megapixels,
    }
    if spec.allow_truncated:  # only then, so that features from before this option existed can still be resumed
        what["allow_truncated"] = True
    if spec.image_size is not None:
        what["image_size"] = spec.image_size
    if spec.multi.kinds:
        what["multi"] = spec.multi.identity()
    what = canonical_identity(_plain(what))
    if variants is not None:
        named = {name: setting and setting.as_dict() for name, setting in variants.settings.items()}
        what |= {"perturbation": _plain(named), "with_objects": variants.with_objects}
        if variants.with_tokens:
            what["with_tokens"] = True
    return what


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As it will be read back from JSON: lists for tuples."""
    return cast("dict[str, Any]", json.loads(json.dumps(values)))
