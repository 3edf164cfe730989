"""The options of a run, checked against the encoder, the detector and what the output holds already."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pipeline.encoders.spec import NO_SITES
from pipeline.errors import QpertError
from pipeline.features.store import FeatureStore
from pipeline.io.model_weights import absolute_weights
from pipeline.method.settings import Perturbation
from pipeline.runs.encoder_choice import EncoderChoice
from pipeline.runs.perturbation_config import EARLIER_DEFAULT, IndexPerturbationConfig, preset_of
from pipeline.runs.spec import IndexSpec, Variants

logger = logging.getLogger(__name__)


def shuffle_seeds(settings: Iterable[Perturbation | None]) -> tuple[int, ...]:
    """The seeds with which settings take the boxes of other photos."""
    return tuple(sorted({setting.seed for setting in settings if setting is not None and setting.boxes == "shuffled"}))


def check_multi(spec: IndexSpec, encoder: EncoderChoice) -> None:
    """Refuses further views that there would be none of."""
    multi = spec.multi
    if encoder.sites == 0 and multi.needs_sites:
        raise QpertError(f"{spec.encoder} {spec.weights}: {NO_SITES}: no --multi {' '.join(multi.needs_sites)}")
    if spec.detector.model == "none" and multi.needs_objects:
        raise QpertError(f"--multi {' '.join(multi.needs_objects)} needs objects: choose a --detector")


def with_recorded_default(spec: IndexSpec) -> IndexSpec:
    """The options, with the perturbation of features that were begun when another one was the default.

    So that the same command goes on with them.
    """
    manifest = FeatureStore(spec.out).find_manifest()
    recorded = None if manifest is None else preset_of(manifest.identity.get("perturbation"))
    if recorded != EARLIER_DEFAULT:
        return spec
    logger.info(f"{spec.out} goes on with --perturbation {recorded}, the default when it was begun")
    return spec.model_copy(update={"perturbation": IndexPerturbationConfig(preset=EARLIER_DEFAULT)})


def plain_only(spec: IndexSpec, variants: Variants | None) -> IndexSpec:
    """The options for an encoder without cross-attentions: plain embeddings, and a word about it."""
    settings = [] if variants is None else [*variants.settings.values(), *variants.to_come]
    if any(setting is not None for setting in settings) or (variants is not None and variants.with_objects):
        raise QpertError(f"{spec.encoder} {spec.weights}: {NO_SITES}, and variants of its embeddings would be the same")
    if spec.perturbation.preset != "none":
        logger.warning(
            f"{spec.encoder} {spec.weights}: {NO_SITES}: its embeddings are plain, as with --perturbation none"
        )
    return spec.model_copy(update={"perturbation": IndexPerturbationConfig(preset="none")})


def with_absolute_paths(spec: IndexSpec) -> IndexSpec:
    """Makes paths of local weights and annotations absolute: workers, and later searches, run in other folders."""
    detector = {
        name: absolute_weights(value)
        for name, value in (("model", spec.detector.model), ("annotations", spec.detector.annotations))
    }
    return spec.model_copy(
        update={"weights": absolute_weights(spec.weights), "detector": spec.detector.model_copy(update=detector)}
    )
