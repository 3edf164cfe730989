"""From the options of `qpert evaluate --rerank` to the match stage: which photos, which texts, which encoder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from jobs.options import OnMachines
from pipeline.errors import QpertError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.store import FeatureStore

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.cluster.waiting import NamedGpus
    from pipeline.datasets.photos.rules import SourceRules
    from pipeline.features.provenance import MadeWith
    from pipeline.method.settings import Perturbation
    from pipeline.retrieval import Evaluation

_PHOTOS = 8
"""Photos per pass of the vision tower; their matching goes photo by photo."""


def check_reranking(outs: Sequence[str]) -> None:
    """Find out before the work whether the encoder of every feature set can match.

    Raises:
        QpertError: one cannot, or there are no features.
    """
    from pipeline.encoders import can_match
    from pipeline.features.provenance import MadeWith

    for out in outs:
        name = MadeWith.of(FeatureStore(out).manifest(), out).encoder
        if not can_match(name):
            raise QpertError(
                f"--rerank needs image-text matching, which the encoder {name} of {out} has not; BLIP-2 has"
            )


def rerank_sets(
    sets: Sequence[tuple[str, str | None]],
    evaluations: Sequence[Evaluation],
    *,
    weights: Sequence[str | None],
    machines: OnMachines,
    rules: SourceRules,
) -> list[Evaluation]:
    """Each (folder, variant) re-ranked as it was indexed. Says where matching sees no objects."""
    found: list[Evaluation] = []
    for (out, variant), evaluation, of_set in zip(sets, evaluations, weights, strict=True):
        features = FeatureSet.open(out, variant)
        setting = perturbation_of(features)
        if setting is not None and "itm" not in setting.stages:
            advice = "was indexed without the stage itm (--perturbation.stages itc itm)"
            print(f"matching is plain: {out} {advice}", file=sys.stderr)
        again = bool(found)
        reranked = rerank_features(
            features, evaluation, setting, weights=of_set, machines=machines, rules=rules, begun=again
        )
        found.append(reranked)
    return found


def rerank_features(
    features: FeatureSet,
    evaluation: Evaluation,
    perturbation: Perturbation | None,
    *,
    weights: str | None = None,
    machines: OnMachines,
    rules: SourceRules | None = None,
    begun: bool = False,
) -> Evaluation:
    """`evaluation` re-ranked by the features' own encoder, with `perturbation` where its stages include `itm`.

    The scores are kept in `OUT`/rerank, so that a rerun goes on where this one stopped.

    Args:
        features: whose photos are matched.
        evaluation: made with `candidates`.
        perturbation: the setting.
        weights: where the encoder's weights are now, if they have moved.
        machines: how they are used; GPU types that the user does not name are those of the features, where there are
            such, and so is the patience.
        rules: what may be read of the photos, whose places the features name; None for what is allowed everywhere.
        begun: the command has found the GPU types that it names before, and those do that are left.
    """
    from pipeline.datasets.photos.rules import DEFAULT_RULES
    from pipeline.encoders import encoder_spec, load_encoder, prepare_environment, resolve_weights, runtime_env
    from pipeline.features.fingerprint import weights_identity
    from pipeline.features.provenance import MadeWith
    from pipeline.io.model_weights import absolute_weights
    from pipeline.retrieval.reranking import rerank
    from pipeline.runs.match_run import Matching, match_pairs
    from pipeline.workers.worker import Worker

    made_with = MadeWith.of(features.manifest, features.root)
    name, chosen = made_with.encoder, absolute_weights(made_with.weights(weights))
    prepare_environment(name)
    pairs = _pairs(features, evaluation)
    gpus, patience = _as_indexed(made_with, machines, begun)
    identity = weights_identity(resolve_weights(name, chosen))
    matching = Matching(
        store=FeatureStore(features.folder),
        pairs=pairs,
        texts=evaluation.texts,
        make_encoder=partial(load_encoder, name, weights=chosen),
        encoder={"name": name, "weights": identity, "dtype": made_with.dtype},
        perturbation=perturbation,
        worker=Worker(
            dtype=made_with.dtype or "auto",
            micro_batch=_PHOTOS,
            max_pixels=round(made_with.max_megapixels * 1e6),
            allow_truncated=made_with.allow_truncated,
            patience=patience / 3,  # as in indexing
        ),
        need=encoder_spec(name, chosen).memory,
        environment=runtime_env(name),
        gpus=gpus,
        patience=patience,
        rules=rules or DEFAULT_RULES,
    )
    scores = match_pairs(matching, address=machines.address, cpus=machines.cpus, verbose=machines.verbose)
    return rerank(evaluation, scores)


def _as_indexed(made_with: MadeWith, machines: OnMachines, begun: bool) -> tuple[NamedGpus, float]:
    """The GPU types, and the patience in seconds: as the command has them, else as the features were made.

    What was made elsewhere may name types that there are not here: then every GPU is used.
    """
    from pipeline.cluster.waiting import NamedGpus
    from pipeline.runs.graph import Graph

    patience = 60 * (machines.patience or made_with.patience or Graph.patience / 60)
    if machines.accelerators is None:
        return NamedGpus(made_with.accelerators, machines.wait, begun=True, wished=True), patience
    return NamedGpus(machines.accelerators, machines.wait, begun=begun), patience


def _pairs(features: FeatureSet, evaluation: Evaluation) -> pa.Table:
    """The photos of the gallery that have candidates, with them, in the order of the evaluation."""
    import numpy as np
    import pyarrow as pa

    from pipeline.retrieval.similarity import rows_of
    from pipeline.runs.match_run import PAIRS_SCHEMA

    assert evaluation.candidates is not None
    starts, texts = evaluation.candidates.texts_of_images()
    if len(texts) > np.iinfo(np.int32).max:
        raise QpertError(f"{len(texts):,} pairs are too many to match: lower --rerank-k")
    rows = rows_of(features, evaluation.photo_ids, ["uri", "objects"])
    lists = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), pa.array(texts, pa.int32()))
    columns: dict[str, Any] = {
        "image_id": list(evaluation.photo_ids),
        "uri": [rows[image_id]["uri"] for image_id in evaluation.photo_ids],
        "objects": [rows[image_id]["objects"] for image_id in evaluation.photo_ids],
        "texts": lists,
    }
    return pa.table(columns, schema=PAIRS_SCHEMA).filter(pa.array(np.diff(starts) > 0))


def perturbation_of(features: FeatureSet) -> Perturbation | None:
    """What the features were made with; of a set with several settings, the variant's."""
    from pipeline.features.provenance import perturbation_from

    found = features.manifest.identity.get("perturbation")
    if features.manifest.variants:
        found = found.get(features.manifest.variants[features.variant]) if isinstance(found, dict) else None
    return perturbation_from(found, features.root)
