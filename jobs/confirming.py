"""The confirming run: photos that took no part in a choice, indexed plain and with what was chosen."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import ray

from jobs.evaluate import annotated_areas
from pipeline.cluster.machines import SMALL
from pipeline.cluster.session import ray_session
from pipeline.cluster.waiting import result_of
from pipeline.experiments.indexing import index_variants
from pipeline.experiments.measuring import Variant, measure
from pipeline.experiments.settings import PLAIN
from pipeline.features.feature_set import FeatureSet
from pipeline.retrieval import embed_texts, evaluate, load_text_encoder
from pipeline.retrieval.ranks import Ranks
from pipeline.runs.options import OnMachines
from pipeline.runs.spec import IndexSpec, Variants
from pipeline.tuning.tuning_report import Confirmed

if TYPE_CHECKING:
    from pipeline.experiments.material import Material
    from pipeline.method.settings import Perturbation

BEST = "best"


def confirm(
    options: IndexSpec, material: Material, best: Perturbation, *, device: str, dtype: str, rerank_k: int | None
) -> Confirmed:
    """Index and measure; what is indexed already is not indexed again. GPU types that are gone by now do not matter.

    Args:
        options: source, output, encoder and detector.
        material: the photos with captions and boxes.
        best: the setting.
        device: torch device for the texts.
        dtype: of the encoder that reads them.
        rerank_k: re-rank so many of the best by matching, which `best` perturbs where its stages include `itm`.
    """
    index_variants(options, Variants({PLAIN: None, BEST: best}), begun=True)
    sets = {name: FeatureSet.open(options.out, name) for name in (PLAIN, BEST)}
    captions = list(material.captions)
    areas = annotated_areas(material.annotations, captions, sets[PLAIN]) if material.annotations else None
    variants = {name: Variant(options.out, name) for name in sets}
    with ray_session(options.address, cpus=options.cpus, verbose=options.verbose):
        measured = ray.remote(num_cpus=SMALL)(measure).remote(variants, captions, areas, options.weights, device, dtype)
        ranks: dict[str, Ranks] = result_of(measured, "confirming")
    found = Confirmed(ranks[PLAIN], ranks[BEST])
    if rerank_k is None:
        return found
    from pipeline.runs.reranking import rerank_features

    reader = partial(embed_texts, load_text_encoder(sets[PLAIN], weights=options.weights, device=device, dtype=dtype))
    matched = [
        rerank_features(
            features,
            evaluate(features, captions, reader, areas=areas, candidates=rerank_k),
            best if name == BEST and "itm" in best.stages else None,
            weights=options.weights,
            machines=OnMachines.of(options),
            begun=True,
        ).ranks
        for name, features in sets.items()
    ]
    return replace(found, matched=(matched[0], matched[1]), candidates=rerank_k)
