"""The confirming run: photos that took no part in the choice, indexed plain and with the chosen setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from pipeline.cluster.remote import run_as_task
from pipeline.experiments.indexing import index_variants
from pipeline.experiments.material import Material
from pipeline.experiments.ranking import rank_variants
from pipeline.experiments.variants import PLAIN, Variant
from pipeline.features.store import FeatureStore
from pipeline.method.settings import Perturbation
from pipeline.retrieval.evaluation import evaluate
from pipeline.retrieval.text import embed_texts, load_text_encoder
from pipeline.runs.reranking import rerank_features
from pipeline.runs.spec import IndexSpec, Variants
from pipeline.tuning.tuning_report import Confirmation

BEST = "best"


def confirm(
    spec: IndexSpec,
    material: Material,
    best: Perturbation,
    controls: Sequence[Perturbation] = (),
    *,
    device: str,
    dtype: str,
    rerank_k: int | None,
) -> Confirmation:
    """Indexes and measures what is not indexed yet, whichever of the GPU types are left by now.

    Args:
        spec: source, output, encoder and detector.
        material: the photos with captions and boxes.
        best: the setting.
        controls: the same with shuffled boxes, if that was searched for.
        device: torch device of the text encoder.
        dtype: number format of the text encoder.
        rerank_k: number of best answers to re-rank by matching, which `best` perturbs if its stages include `itm`;
            None: do not re-rank.
    """
    shuffled = {f"{BEST}, shuffled boxes, draw {number}": one for number, one in enumerate(controls, 1)}
    index_variants(spec, Variants({PLAIN: None, BEST: best, **shuffled}), begun=True)
    store = FeatureStore(spec.out)
    sets = {name: store.open(name) for name in (PLAIN, BEST)}
    areas = material.areas(sets[PLAIN])
    ranks = run_as_task(
        "confirming",
        rank_variants,
        {name: Variant(store, name) for name in (*sets, *shuffled)},
        material.captions,
        areas,
        spec.weights,
        device,
        dtype,
        address=spec.address,
        cpus=spec.cpus,
        verbose=spec.verbose,
    )
    confirmation = Confirmation(ranks[PLAIN], ranks[BEST], tuple(ranks[name] for name in shuffled))
    if rerank_k is None:
        return confirmation
    embed = partial(embed_texts, load_text_encoder(sets[PLAIN], weights=spec.weights, device=device, dtype=dtype))
    plain, perturbed = (
        rerank_features(
            features,
            evaluate(features, material.captions, embed, areas=areas, candidates=rerank_k),
            best if name == BEST and "itm" in best.stages else None,
            weights=spec.weights,
            cluster=spec,
            begun=True,
        ).ranks
        for name, features in sets.items()
    )
    return replace(confirmation, matched=(plain, perturbed), candidates=rerank_k)
