"""`pipeline.evaluate` and `pipeline.evaluate_objects`: how well captions, or names of objects, find their photos."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from pipeline.api.options import check_options
from pipeline.errors import QpertError
from pipeline.experiments.evaluating import run_evaluation
from pipeline.experiments.evaluating_objects import run_object_evaluation
from pipeline.experiments.evaluation_spec import EvaluationSpec
from pipeline.features.feature_set import FeatureSet
from pipeline.retrieval.evaluation_result import EvaluationResult
from pipeline.retrieval.object_result import ObjectResult

Features = FeatureSet | str | os.PathLike[str]


def evaluate(
    features: Features | Sequence[Features],
    captions: str | os.PathLike[str],
    *,
    against: Features | None = None,
    annotations: str | os.PathLike[str] | None = None,
    ks: Sequence[int] = (1, 5, 10),
    **options: Any,
) -> EvaluationResult:
    """Recall@K in both directions, overall and by the size of the largest object, like ``qpert evaluate``.

        result = pipeline.evaluate("features/", "dataset_flickr30k.json", against="plain/")
        result.sets[-1].evaluation.report.t2i.overall[1]      # R@1 of `features`
        print(pipeline.reports.recall_report.as_text(result))           # the tables of the command

    Args:
        features: a feature set, its path or URI, or a pattern; or several of them, of different photos and the same
            encoder, which are one gallery.
        captions: file with captions: Karpathy, LAVIS or COCO JSON, or a table.
        against: features of the same photos to compare with, the baseline.
        annotations: boxes that give the size of the largest object; None for the indexed objects.
        ks: the K of Recall@K.
        options: further fields of `pipeline.experiments.evaluation_spec.EvaluationSpec`, the options of
            ``qpert evaluate``, such as `split`, `weights` or `rerank`.

    Returns:
        The evaluation of `features`, after that of `against` if there is one, with 95 % intervals, and the comparison
        of both.

    Raises:
        QpertError: features, captions, boxes or weights that are missing or do not fit together.
    """
    given = {"captions": captions, "annotations": annotations, "k": list(ks), **options}
    return run_evaluation(check_options(EvaluationSpec, **{**_sets(features, against), **given}))


def evaluate_objects(
    features: Features | Sequence[Features],
    annotations: str | os.PathLike[str],
    *,
    against: Features | None = None,
    template: str = "{}",
    ks: Sequence[int] = (1, 5, 10),
    **options: Any,
) -> ObjectResult:
    """mAP, R-precision, nDCG and Recall@K of class names, like ``qpert evaluate --queries objects``.

        result = pipeline.evaluate_objects("features/", "instances_val2014.json", template="a photo of a {}")
        result.sets[-1].figures[0][0].value                             # mAP over all right photos
        print(pipeline.reports.object_report.as_text(result))           # the tables of the command

    Args:
        features: a feature set, its path or URI, or a pattern; or several of them, of different photos and the same
            encoder, which are one gallery.
        annotations: boxes with the names of classes; every photo with a box of a class is a right one.
        against: features of the same photos to compare with, the baseline.
        template: the text of a query, with `{}` in place of the class.
        ks: the K of Recall@K and nDCG@K.
        options: as in `evaluate`, but those about captions and re-ranking.

    Returns:
        The evaluation of `features`, after that of `against` if there is one, with 95 % intervals over the classes, and
        their differences.

    Raises:
        QpertError: features, boxes or weights that are missing or do not fit together.
    """
    given = {"queries": "objects", "annotations": annotations, "template": template, "k": list(ks), **options}
    return run_object_evaluation(check_options(EvaluationSpec, **{**_sets(features, against), **given}))


def _sets(features: Features | Sequence[Features], against: Features | None) -> dict[str, Any]:
    """The options that name the feature sets and their embeddings."""
    baseline = {} if against is None else set_options("against", "against_variant", against)
    if isinstance(features, FeatureSet | str | os.PathLike):
        return set_options("out", "variant", features) | baseline
    if not features:
        raise QpertError("no feature set is named")
    chosen, *others = (set_options("out", "variant", one) for one in features)
    if any(other.get("variant") not in (None, chosen.get("variant")) for other in others):
        raise QpertError("the feature sets were opened with different variants; open all with the same")
    return chosen | {"further": [os.fspath(other["out"]) for other in others]} | baseline


def set_options(name: str, variant: str, features: Features) -> dict[str, Any]:
    """The options that name a feature set and its embedding."""
    if not isinstance(features, FeatureSet):
        return {name: features}
    names = features.manifest.variants
    return {name: features.root, variant: names[features.variant] if names else None}
