"""The evaluation of one gallery, or of two, by the names of annotated classes: here or as a Ray task."""

from __future__ import annotations

from pipeline.datasets.boxes.classes import photos_by_class
from pipeline.datasets.boxes.reading import read_boxes
from pipeline.errors import QpertError
from pipeline.experiments.evaluating import (
    for_baseline,
    open_gallery,
    ray_is_there,
    run_on_ray,
    scoring_of,
    set_names,
    text_embedder,
)
from pipeline.experiments.evaluation_spec import EvaluationSpec
from pipeline.retrieval.object_queries import ObjectEvaluation, check_template, evaluate_objects
from pipeline.retrieval.object_result import ObjectResult


def run_object_evaluation(spec: EvaluationSpec) -> ObjectResult:
    """Evaluates in this process, or as one Ray task if there is a cluster.

    Raises:
        QpertError: features, boxes or weights that are missing or do not fit together, or options for captions.
    """
    if spec.annotations is None:
        raise QpertError("--queries objects needs --annotations: boxes with the names of classes")
    for option, given in (("captions", spec.captions), ("rerank", spec.rerank), ("rerank-k", spec.rerank_k)):
        if given:
            raise QpertError(f"--queries objects takes its queries from the annotations, so it cannot use --{option}")
    check_template(spec.template)
    return run_on_ray(spec, evaluate_object_sets) if ray_is_there(spec) else evaluate_object_sets(spec)


def evaluate_object_sets(spec: EvaluationSpec) -> ObjectResult:
    """The whole evaluation, in this process. Plain data in and out, so that it can run as a Ray task."""
    boxes = read_boxes(str(spec.annotations), strict=spec.strict_annotations)
    new, old = set_names(spec)

    def evaluation(of_set: EvaluationSpec, *, baseline: bool = False) -> ObjectEvaluation:
        features = open_gallery(of_set)
        sizes = {
            row["image_id"]: (row["width"], row["height"])
            for block in features.iter_blocks(["image_id", "width", "height"])
            for row in block.to_pylist()
        }
        photos = photos_by_class(boxes, features.ids, sizes.get)
        embed = text_embedder(of_set, features)
        scoring = scoring_of(of_set, features, baseline=baseline)
        return evaluate_objects(features, photos, embed, template=spec.template, ks=spec.k, **scoring)

    first = new, evaluation(spec)
    if spec.against is None:
        return ObjectResult.of(first, samples=spec.samples, seed=spec.seed)
    baseline = old, evaluation(for_baseline(spec), baseline=True)
    return ObjectResult.of(first, baseline, samples=spec.samples, seed=spec.seed)
