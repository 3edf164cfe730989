"""The evaluation of one gallery, or of two on the same captions: here, as a Ray task, or re-ranked by matching.

A gallery is a feature set, or several of different photos.

What needs Ray is imported where it is used.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from pipeline.cluster.session import has_session
from pipeline.datasets.captioned_image import CaptionedImage
from pipeline.datasets.captions.reading import read_captions
from pipeline.datasets.photos.patterns import is_pattern
from pipeline.errors import QpertError
from pipeline.experiments.evaluation_spec import EvaluationSpec
from pipeline.experiments.material import annotated_areas
from pipeline.features.feature_set import FeatureSet
from pipeline.io.locations import is_uri
from pipeline.io.model_weights import absolute_weights
from pipeline.retrieval.evaluation import Evaluation, evaluate
from pipeline.retrieval.evaluation_result import EvaluationResult
from pipeline.retrieval.several_sets import find_sets, join_sets, open_sets
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
    evaluation = _evaluate(spec, captions, areas)
    if spec.against is None:
        return EvaluationResult.of_one(new, evaluation, samples=spec.samples, seed=spec.seed)
    baseline = _evaluate(for_baseline(spec), captions, areas, baseline=True)
    return EvaluationResult.of_pair((new, evaluation), (old, baseline), samples=spec.samples, seed=spec.seed)


def evaluate_set(spec: EvaluationSpec) -> Evaluation:
    """The evaluation of the gallery `spec.out` (and `spec.further`), without intervals."""
    return _evaluate(spec, *_ground_truth(spec))


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
    return has_session(spec.address)


def set_names(spec: EvaluationSpec) -> tuple[str, str]:
    """Names of the two galleries in tables: the last parts of their paths if these differ, or the whole paths."""
    paths = (spec.out.rstrip("/"), (spec.against or "").rstrip("/"))
    short = (paths[0].rpartition("/")[2], paths[1].rpartition("/")[2])
    first, second = short if short[0] != short[1] else paths
    more = f" + {len(spec.further)} more" if spec.further else ""
    return (spec.variant or first) + more, spec.against_variant or second


def _evaluate_reranked(spec: EvaluationSpec) -> EvaluationResult:
    """What matching adds to the order by contrast; with a baseline, what the set adds to it, both re-ranked."""
    from pipeline.runs.reranking import check_reranking, rerank_sets  # loads Ray

    specs = [spec, for_baseline(spec)] if spec.against else [spec]
    sets = [(_only_set(of_set), of_set.variant) for of_set in specs]
    check_reranking(sets)
    truth = _ground_truth(spec)
    before = [_evaluate(of_set, *truth, baseline=of_set is not spec) for of_set in specs]
    weights = [of_set.weights for of_set in specs]
    after = rerank_sets(sets, before, weights=weights, cluster=spec, rules=spec.rules())
    new, old = set_names(spec)
    matched = f"+ ITM of {spec.candidates}"
    baseline = (f"{old} {matched}", after[1]) if spec.against else (new, before[0])
    return EvaluationResult.of_pair((f"{new} {matched}", after[0]), baseline, samples=spec.samples, seed=spec.seed)


def _only_set(spec: EvaluationSpec) -> str:
    """The root of the gallery's one set."""
    roots = find_sets([spec.out, *spec.further])
    if len(roots) > 1:
        raise QpertError(
            f"--rerank takes one feature set, beside which it keeps its scores, and here are {len(roots)}:"
            f" {roots[0]}, {roots[1]}{', ...' if len(roots) > 2 else ''}; re-rank them one by one, or index their"
            " photos into one set"
        )
    return roots[0]


def open_gallery(spec: EvaluationSpec) -> FeatureSet:
    """The photos of all sets of `spec.out` and `spec.further` as one feature set.

    Raises:
        QpertError: a set cannot be opened, or they do not fit together (`open_sets`, `join_sets`).
    """
    return join_sets(open_sets([spec.out, *spec.further], spec.variant))


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
    features = open_gallery(spec)
    return captions, annotated_areas(spec.annotations, captions, features, strict=spec.strict_annotations)


def for_baseline(spec: EvaluationSpec) -> EvaluationSpec:
    """The same for the baseline: the set `spec.against`, its variant and its weights."""
    weights = spec.against_weights or spec.weights
    return spec.model_copy(
        update={"out": spec.against, "further": [], "variant": spec.against_variant, "weights": weights}
    )


def scoring_of(spec: EvaluationSpec, features: FeatureSet, *, baseline: bool) -> dict[str, Any]:
    """How the views of photos are combined.

    A baseline may have no further views: then its only one counts, however those of the other set are combined.
    """
    return spec.scoring() if features.manifest.multi or not baseline else {}


def _evaluate(
    spec: EvaluationSpec, captions: list[CaptionedImage], areas: dict[str, float] | None, *, baseline: bool = False
) -> Evaluation:
    features = open_gallery(spec)
    return evaluate(
        features,
        captions,
        text_embedder(spec, features),
        areas=areas,
        ks=spec.k,
        candidates=spec.candidates,
        **scoring_of(spec, features, baseline=baseline),
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
    full: dict[str, Any] = {name: _in_full(path) for name, path in paths.items() if path}
    full["further"] = [_in_full(path) for path in spec.further]
    weights = {name: absolute_weights(getattr(spec, name)) for name in ("weights", "against_weights")}
    return spec.model_copy(update=full | weights)


def _in_full(path: str) -> str:
    here = os.path.exists(path) or (is_pattern(path) and not is_uri(path))
    return os.path.abspath(path) if here else path
