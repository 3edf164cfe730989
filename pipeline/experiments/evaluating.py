"""The evaluation of one feature set, or of two on the same captions: here, as a Ray task, or re-ranked by matching.

What needs Ray is imported where it is used.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import TypeVar

from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.reading import read_captions
from pipeline.errors import QpertError
from pipeline.experiments.evaluation_spec import EvaluationSpec
from pipeline.experiments.material import annotated_areas
from pipeline.features.feature_set import FeatureSet
from pipeline.io.model_weights import absolute_weights
from pipeline.retrieval.evaluation import Evaluation, evaluate
from pipeline.retrieval.evaluation_result import EvaluationResult
from pipeline.retrieval.similarity import Float32
from pipeline.retrieval.text import embed_texts, load_text_encoder

T = TypeVar("T")
_Warnings = list[tuple[type[Warning], str]]


def run_evaluation(spec: EvaluationSpec) -> EvaluationResult:
    """Evaluates in this process, or as one Ray task if there is a cluster; re-ranking always uses Ray.

    Raises:
        QpertError: features, captions, boxes or weights that are missing or do not fit together.
    """
    if spec.queries != "captions":
        raise QpertError("queries of objects have figures of their own: pipeline.evaluate_objects")
    if spec.captions is None:
        raise QpertError("--captions is missing (or take the names of classes: --queries objects)")
    if spec.rerank_k is not None and not spec.rerank:
        raise QpertError("--rerank-k needs --rerank")
    if spec.rerank:
        return _evaluate_reranked(spec)
    return evaluate_on_ray(spec) if ray_is_there(spec) else evaluate_sets(spec)


def evaluate_sets(spec: EvaluationSpec) -> EvaluationResult:
    """The whole evaluation, in this process. Plain data in and out, so that it can run as a Ray task."""
    captions, areas = _ground_truth(spec)
    new, old = set_names(spec)
    evaluation = _evaluate(spec, spec.out, spec.variant, captions, areas)
    if spec.against is None:
        return EvaluationResult.of_one(new, evaluation, samples=spec.samples, seed=spec.seed)
    baseline = _evaluate(for_baseline(spec), spec.against, spec.against_variant, captions, areas)
    return EvaluationResult.of_pair((new, evaluation), (old, baseline), samples=spec.samples, seed=spec.seed)


def evaluate_set(spec: EvaluationSpec) -> Evaluation:
    """The evaluation of the feature set `spec.out`, without intervals."""
    return _evaluate(spec, spec.out, spec.variant, *_ground_truth(spec))


def evaluate_on_ray(spec: EvaluationSpec) -> EvaluationResult:
    """`evaluate_sets` as one Ray task; its warnings and errors are raised here."""
    return run_on_ray(spec, evaluate_sets)


def run_on_ray(spec: EvaluationSpec, function: Callable[[EvaluationSpec], T]) -> T:
    """A function of an evaluation as one Ray task; its warnings and errors are raised here."""
    from pipeline.cluster.remote import run_as_task  # loads Ray, which an evaluation in this process does without

    gpus = 1 if spec.device.startswith("cuda") else 0
    arguments = _recording_warnings, function, _with_absolute_paths(spec)
    answer: tuple[T, _Warnings] = run_as_task("evaluate", *arguments, address=spec.address, gpus=gpus, retries=1)
    result, messages = answer
    for category, message in messages:
        warnings.warn(message, category, stacklevel=2)
    return result


def ray_is_there(spec: EvaluationSpec) -> bool:
    """Whether a cluster is named or already joined. Does not import Ray to find out: that takes seconds."""
    if spec.address or os.environ.get("RAY_ADDRESS"):
        return True
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def set_names(spec: EvaluationSpec) -> tuple[str, str]:
    """Names of the two feature sets in tables: the last parts of their paths if these differ, or the whole paths."""
    paths = (spec.out.rstrip("/"), (spec.against or "").rstrip("/"))
    short = (paths[0].rpartition("/")[2], paths[1].rpartition("/")[2])
    first, second = short if short[0] != short[1] else paths
    return spec.variant or first, spec.against_variant or second


def _evaluate_reranked(spec: EvaluationSpec) -> EvaluationResult:
    """What matching adds to the order by contrast; with a baseline, what the set adds to it, both re-ranked."""
    from pipeline.runs.reranking import check_reranking, rerank_sets  # loads Ray

    sets = [(spec.out, spec.variant)]
    sets += [(spec.against, spec.against_variant)] if spec.against else []
    check_reranking(sets)
    truth = _ground_truth(spec)
    specs = [spec, for_baseline(spec)][: len(sets)]
    before = [_evaluate(of_set, out, variant, *truth) for of_set, (out, variant) in zip(specs, sets, strict=True)]
    weights = [of_set.weights for of_set in specs]
    after = rerank_sets(sets, before, weights=weights, cluster=spec, rules=spec.rules())
    new, old = set_names(spec)
    matched = f"+ ITM of {spec.candidates}"
    baseline = (f"{old} {matched}", after[1]) if spec.against else (new, before[0])
    return EvaluationResult.of_pair((f"{new} {matched}", after[0]), baseline, samples=spec.samples, seed=spec.seed)


def _ground_truth(spec: EvaluationSpec) -> tuple[list[CaptionedImage], dict[str, float] | None]:
    """Captions, and the annotated areas if there are annotations."""
    captions = read_captions(
        str(spec.captions),
        None if spec.split == "all" else spec.split,
        image_column=spec.image_column,
        caption_column=spec.caption_column,
        strict=spec.strict_annotations,
    )
    if spec.annotations is None:
        return captions, None
    features = FeatureSet.open(spec.out, spec.variant)
    return captions, annotated_areas(spec.annotations, captions, features, strict=spec.strict_annotations)


def for_baseline(spec: EvaluationSpec) -> EvaluationSpec:
    """The same with the weights of the baseline."""
    return spec.model_copy(update={"weights": spec.against_weights or spec.weights})


def _evaluate(
    spec: EvaluationSpec, out: str, variant: str | None, captions: list[CaptionedImage], areas: dict[str, float] | None
) -> Evaluation:
    features = FeatureSet.open(out, variant)
    # The baseline may have no further views: then its only one counts, however those of the other set are combined.
    scoring = spec.scoring() if features.manifest.multi or out == spec.out else {}
    return evaluate(
        features,
        captions,
        text_embedder(spec, features),
        areas=areas,
        ks=spec.k,
        candidates=spec.candidates,
        **scoring,
    )


def text_embedder(spec: EvaluationSpec, features: FeatureSet) -> Callable[[list[str]], Float32]:
    """Texts -> unit vectors, by the encoder of the features."""
    encoder = load_text_encoder(features, weights=spec.weights, device=spec.device, dtype=spec.dtype)
    return lambda texts: embed_texts(encoder, texts)


def _recording_warnings(function: Callable[[EvaluationSpec], T], spec: EvaluationSpec) -> tuple[T, _Warnings]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        result = function(spec)
    return result, [(item.category, str(item.message)) for item in caught if issubclass(item.category, UserWarning)]


def _with_absolute_paths(spec: EvaluationSpec) -> EvaluationSpec:
    """Local paths in full: a worker has another working directory."""
    paths = {name: getattr(spec, name) for name in ("out", "against", "captions", "annotations")}
    full = {name: os.path.abspath(path) for name, path in paths.items() if path and os.path.exists(path)}
    weights = {name: absolute_weights(getattr(spec, name)) for name in ("weights", "against_weights")}
    return spec.model_copy(update=full | weights)
