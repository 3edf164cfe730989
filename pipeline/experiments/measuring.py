"""The outcomes of variants, measured in a Ray task; those on disk are not measured again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from pipeline.cluster.remote import run_as_task
from pipeline.experiments.material import Material
from pipeline.experiments.outcomes import Outcomes, outcomes_key
from pipeline.experiments.ranking import rank_variants
from pipeline.experiments.variants import Variant
from pipeline.features.feature_set import FeatureSet
from pipeline.method.objects import Objects
from pipeline.retrieval.ranks import Ranks
from pipeline.runs.options import ClusterOptions
from pipeline.stages.columns import objects_from_row

_log = logging.getLogger(__name__)


def measure_variants(
    folder: Path,
    material: Material,
    features: FeatureSet,
    variants: Mapping[str, Variant],
    *,
    weights: str | None,
    device: str,
    cluster: ClusterOptions,
) -> dict[str, Ranks]:
    """The outcomes of all variants, by name.

    Args:
        folder: where outcomes are kept, in a folder for each question.
        material: the captions, and the annotated boxes for the size bins.
        features: any of the sets, for the sizes of photos.
        variants: all of one encoder.
        weights: see `load_text_encoder`.
        device: torch device of the text encoder.
        cluster: how the cluster is used.
    """
    outcomes = Outcomes(folder / outcomes_key(variants, material))
    kept = {name: outcomes.find(name) for name in variants}
    left = {name: variants[name] for name, ranks in kept.items() if ranks is None}
    new: dict[str, Ranks] = {}
    if left:
        _log.info(f"measuring {len(left)} settings ...")
        new = run_as_task(
            "measuring",
            rank_variants,
            left,
            material.captions,
            material.areas(features),
            weights,
            device,
            address=cluster.address,
            cpus=cluster.cpus,
            verbose=cluster.verbose,
        )
        for name, ranks in new.items():
            outcomes.keep(name, ranks)
    return {name: new[name] if ranks is None else ranks for name, ranks in kept.items()}


def first_objects(features: FeatureSet, count: int) -> list[Objects]:
    """The objects of the first photos, to time an encoder with."""
    block = next(features.iter_blocks(["objects", "width", "height"], count))
    return [objects_from_row(row["objects"], (row["width"], row["height"])) for row in block.to_pylist()]
