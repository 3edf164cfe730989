"""`pipeline.index`: from photos to a feature set."""

from __future__ import annotations

import os
import warnings
from typing import Any, Literal

from pipeline.api.options import check_options
from pipeline.datasets.photos.part import Part
from pipeline.detectors import DetectorConfig
from pipeline.features.feature_set import FeatureSet
from pipeline.method.settings import Perturbation
from pipeline.runs.index_run import IndexRun
from pipeline.runs.perturbation_config import PerturbationConfig
from pipeline.runs.spec import IndexSpec


def index(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    encoder: str = "coca",
    weights: str | None = None,
    detector: str | DetectorConfig = "miniature",
    perturbation: str | Perturbation | PerturbationConfig | None = "qpert",
    retry_failed: bool = False,
    keep_removed: bool = False,
    prune: bool = False,
    part: str | None = None,
    part_by: Literal["photo", "folder"] = "photo",
    **options: Any,
) -> FeatureSet:
    """Finds the objects of photos and embeds the photos object-aware, like ``qpert index``.

    A feature set that exists is continued: photos that are in it are not indexed again. Ray is started on this machine
    and stopped afterwards, unless a session or a cluster is there already (`ray.init`, RAY_ADDRESS, `address`).
    Progress goes to standard error; what should not be overlooked is a warning.

        features = pipeline.index("photos/", "features/", detector="yolo11n.pt")
        features.failures           # photo id -> why it could not be indexed

    Args:
        source: folder, glob, list file, Parquet or webdataset tars; local or ``s3://``, ``gs://``, ...
        out: folder or URI for the features; all nodes of a cluster must see it.
        encoder: one of `pipeline.encoders.list_encoders()`.
        weights: weights of the encoder: a tag, a hub id or a path; None for its miniature.
        detector: `miniature`, `hf:MODEL`, an ultralytics name, a model file, `none`, or a `DetectorConfig`.
        perturbation: how objects act on the embeddings; "qpert", "paper", "one-component", "released", or None.
        retry_failed: index photos that failed before once more.
        keep_removed: photos that the source no longer has stay in use.
        prune: delete the rows of photos that the source no longer has, or has changed.
        part: index only one part of the photos, such as "3/20", into a set that as many runs fill together.
        part_by: what is in one part as a whole.
        options: further fields of `pipeline.runs.spec.IndexSpec`, the options of ``qpert index``.

    Raises:
        QpertError: wrong options, a model that does not work, or features that were made with other settings.
    """
    chosen = {"encoder": encoder, "weights": weights, "detector": detector, "perturbation": perturbation}
    spec = check_options(IndexSpec, source=source, out=out, **chosen, **options)
    one = None if part is None else Part.parse(part, part_by)
    run = IndexRun(spec, retry_failed=retry_failed, keep_removed=keep_removed, prune=prune, part=one)
    report = run.run().report
    for line in (*report.warnings, *filter(None, [report.failures])):
        warnings.warn(line, stacklevel=2)
    return FeatureSet.open(spec.out)
