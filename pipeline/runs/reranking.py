"""Features re-ranked by image-text matching: which photos, which texts, which encoder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipeline.cluster.waiting import NamedGpus
from pipeline.datasets.photos.rules import DEFAULT_RULES, SourceRules
from pipeline.encoders import can_match
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.manifest import Manifest
from pipeline.features.provenance import MadeWith, perturbation_from
from pipeline.features.store import FeatureStore
from pipeline.io.model_weights import absolute_weights
from pipeline.method.settings import Perturbation
from pipeline.retrieval import Evaluation
from pipeline.retrieval.reranking import rerank
from pipeline.retrieval.similarity import rows_of
from pipeline.runs.encoder_choice import EncoderChoice
from pipeline.runs.graph import PATIENCE
from pipeline.runs.match_run import PAIRS_SCHEMA, MatchRun, MatchSpec
from pipeline.runs.options import ClusterOptions
from pipeline.workers.worker import Worker

logger = logging.getLogger(__name__)
_PHOTOS = 8
"""Photos per pass of the vision tower; their matching goes photo by photo."""


def check_reranking(sets: Sequence[tuple[str, str | None]]) -> None:
    """Checks, before any work, that the encoder of every feature set (folder, variant) can match as it was indexed.

    Raises:
        QpertError: one cannot, or there are no features.
    """
    for out, variant in sets:
        manifest = FeatureStore(out).manifest()
        name = MadeWith.of(manifest, out).encoder
        if not can_match(name):
            raise QpertError(
                f"--rerank needs image-text matching, which the encoder {name} of {out} lacks; BLIP-2 has it"
            )
        _check_boxes(_recorded(manifest, variant, out), out)


def rerank_sets(
    sets: Sequence[tuple[str, str | None]],
    evaluations: Sequence[Evaluation],
    *,
    weights: Sequence[str | None],
    cluster: ClusterOptions,
    rules: SourceRules,
) -> list[Evaluation]:
    """Re-ranks each (folder, variant) as it was indexed, and says where matching ignores the objects."""
    reranked: list[Evaluation] = []
    for (out, variant), evaluation, of_set in zip(sets, evaluations, weights, strict=True):
        features = FeatureSet.open(out, variant)
        setting = perturbation_of(features)
        if setting is not None and "itm" not in setting.stages:
            advice = "was indexed without the stage itm (--perturbation.stages itc itm)"
            logger.info(f"matching is plain: {out} {advice}")
        begun = bool(reranked)
        again = rerank_features(
            features, evaluation, setting, weights=of_set, cluster=cluster, rules=rules, begun=begun
        )
        reranked.append(again)
    return reranked


def rerank_features(
    features: FeatureSet,
    evaluation: Evaluation,
    perturbation: Perturbation | None,
    *,
    weights: str | None = None,
    cluster: ClusterOptions,
    rules: SourceRules | None = None,
    begun: bool = False,
) -> Evaluation:
    """Re-ranks by the features' own encoder, with `perturbation` where its stages include `itm`.

    The scores are kept in `OUT`/rerank, so that a rerun goes on where this one stopped.

    Args:
        features: whose photos are matched.
        evaluation: made with `candidates`.
        perturbation: the setting.
        weights: where the encoder's weights are now, if they have moved.
        cluster: how it is used; without GPU types or a patience, those of the features count.
        rules: what may be read of the photos, whose places the features name; None for what is allowed everywhere.
        begun: the command has found all GPU types that it names before: those that are left will do.

    Raises:
        QpertError: too many pairs, or a setting of boxes that features do not keep.
    """
    _check_boxes(perturbation, features.root)
    made_with = MadeWith.of(features.manifest, features.root)
    chosen = EncoderChoice.of(made_with.encoder, absolute_weights(made_with.weights(weights)), made_with.image_size)
    resolution = {} if made_with.image_size is None else {"image_size": made_with.image_size}
    gpus, patience = _as_indexed(made_with, cluster, begun)
    spec = MatchSpec(
        features=FeatureStore(features.folder),
        pairs=_pairs(features, evaluation),
        texts=evaluation.texts,
        encoder=replace(chosen, identity=chosen.identity | {"dtype": made_with.dtype, **resolution}),
        perturbation=perturbation,
        worker=Worker(
            dtype=made_with.dtype or "auto",
            micro_batch=_PHOTOS,
            max_pixels=round(made_with.max_megapixels * 1e6),
            allow_truncated=made_with.allow_truncated,
            patience=patience / 3,  # as in indexing
        ),
        gpus=gpus,
        patience=patience,
        rules=rules or DEFAULT_RULES,
    )
    scores = MatchRun(spec, address=cluster.address, cpus=cluster.cpus, verbose=cluster.verbose).run()
    return rerank(evaluation, scores)


def _as_indexed(made_with: MadeWith, cluster: ClusterOptions, begun: bool) -> tuple[NamedGpus, float]:
    """The GPU types, and the patience in seconds: those of the command, or else those that the features were made with.

    Features from another cluster may name types that this one does not have: then every GPU is used.
    """
    patience = 60 * (cluster.patience or made_with.patience or PATIENCE / 60)
    if cluster.accelerators is None:
        return NamedGpus(made_with.accelerators, cluster.wait, begun=True, wished=True), patience
    return NamedGpus(cluster.accelerators, cluster.wait, begun=begun), patience


def _pairs(features: FeatureSet, evaluation: Evaluation) -> pa.Table:
    """The photos of the gallery that have candidate texts, and these, in the order of the evaluation."""
    assert evaluation.candidates is not None
    starts, texts = evaluation.candidates.texts_of_images()
    if len(texts) > np.iinfo(np.int32).max:
        raise QpertError(f"{len(texts):,} pairs are too many to match: lower --rerank-k")
    rows = rows_of(features, evaluation.photo_ids, ["uri", "objects"])
    lists = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), pa.array(texts, pa.int32()))
    columns = {
        "image_id": list(evaluation.photo_ids),
        "uri": [rows[image_id]["uri"] for image_id in evaluation.photo_ids],
        "objects": [rows[image_id]["objects"] for image_id in evaluation.photo_ids],
        "texts": lists,
    }
    return pa.table(columns, schema=PAIRS_SCHEMA).filter(pa.array(np.diff(starts) > 0))


def perturbation_of(features: FeatureSet) -> Perturbation | None:
    """The perturbation that the features were made with; for a set with several, that of the variant."""
    variants = features.manifest.variants
    return _recorded(features.manifest, variants[features.variant] if variants else None, features.root)


def _recorded(manifest: Manifest, variant: str | None, out: str) -> Perturbation | None:
    recorded = manifest.identity.get("perturbation")
    if manifest.variants:
        recorded = recorded.get(variant) if isinstance(recorded, dict) else None
    return perturbation_from(recorded, out)


def _check_boxes(perturbation: Perturbation | None, out: str) -> None:
    """Refuse a setting that matches with boxes that features do not keep."""
    if perturbation is not None and "itm" in perturbation.stages and perturbation.boxes == "shuffled":
        raise QpertError(
            f"{out} was indexed with the boxes of other photos (--perturbation.boxes shuffled), which a set"
            " does not keep, so matching cannot use them: index with --perturbation.stages itc"
        )
