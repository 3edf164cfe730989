"""From the options of `qpert evaluate --rerank` to the match stage: which photos, which texts, which encoder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.errors import QpertError
from pipeline.features import FeatureSet
from pipeline.manifest import Manifest
from pipeline.storage import absolute, join

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.perturbation import Perturbation
    from pipeline.retrieval import Evaluation

_PHOTOS = 8
"""Photos per pass of the vision tower; their matching goes photo by photo."""


def check_reranking(outs: Sequence[str]) -> None:
    """Find out before the work whether the encoder of every feature set can match.

    Raises:
        QpertError: one cannot, or there are no features.
    """
    from pipeline.encoders import can_match
    from pipeline.provenance import MadeWith

    for out in outs:
        name = MadeWith.of(Manifest.read(out), out).encoder
        if not can_match(name):
            raise QpertError(
                f"--rerank needs image-text matching, which the encoder {name} of {out} has not; BLIP-2 has"
            )


def rerank_sets(
    sets: Sequence[tuple[str, str | None]],
    evaluations: Sequence[Evaluation],
    *,
    weights: Sequence[str | None],
    verbose: bool,
) -> list[Evaluation]:
    """Each (folder, variant) re-ranked as it was indexed; needs a Ray session. Says where matching sees no objects."""
    found = []
    for (out, variant), evaluation, of_set in zip(sets, evaluations, weights, strict=True):
        features = FeatureSet.open(out, variant)
        setting = perturbation_of(features)
        if setting is not None and "itm" not in setting.stages:
            advice = "was indexed without the stage itm (--perturbation.stages itc itm)"
            print(f"matching is plain: {out} {advice}", file=sys.stderr)
        found.append(rerank_features(features, evaluation, setting, weights=of_set, verbose=verbose))
    return found


def rerank_features(
    features: FeatureSet,
    evaluation: Evaluation,
    perturbation: Perturbation | None,
    *,
    weights: str | None = None,
    verbose: bool = False,
) -> Evaluation:
    """`evaluation` re-ranked by the features' own encoder, with `perturbation` where its stages include `itm`.

    Needs a Ray session. The scores are kept in `OUT`/rerank, so that a rerun goes on where this one stopped.
    """
    from pipeline.encoders import load_encoder, memory_needed, miniature_of, prepare_environment, runtime_env
    from pipeline.provenance import MadeWith
    from pipeline.retrieval.reranking import rerank
    from pipeline.stages.actor import Worker
    from pipeline.stages.identity import bundled, weights_identity
    from pipeline.stages.match_graph import Matching, match_pairs
    from pipeline.weights import absolute_weights

    made_with = MadeWith.of(features.manifest, features.out)
    name, chosen = made_with.encoder, absolute_weights(made_with.weights(weights))
    prepare_environment(name)
    pairs = _pairs(features, evaluation)
    identity = weights_identity(bundled(chosen, miniature_of(name)))
    matching = Matching(
        out=join(absolute(features.out), "rerank"),
        pairs=pairs,
        texts=evaluation.texts,
        make_encoder=partial(load_encoder, name, weights=chosen),
        encoder={"name": name, "weights": identity, "dtype": made_with.dtype},
        perturbation=perturbation,
        worker=Worker(
            dtype=made_with.dtype or "auto",
            micro_batch=_PHOTOS,
            max_pixels=round(made_with.max_megapixels * 1e6),
        ),
        need=partial(memory_needed, name, chosen),
        environment=runtime_env(name),
    )
    return rerank(evaluation, match_pairs(matching, verbose=verbose))


def _pairs(features: FeatureSet, evaluation: Evaluation) -> pa.Table:
    """The photos of the gallery that have candidates, with them, in the order of the evaluation."""
    import numpy as np
    import pyarrow as pa

    from pipeline.retrieval.similarity import rows_of
    from pipeline.stages.match_graph import PAIRS_SCHEMA

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
    from pipeline.provenance import perturbation_from

    found = features.manifest.identity.get("perturbation")
    if features.manifest.variants:
        found = found.get(features.manifest.variants[features.variant]) if isinstance(found, dict) else None
    return perturbation_from(found, features.out)
